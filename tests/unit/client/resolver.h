/* SPDX-License-Identifier: MIT */
/* Takes the place of getaddrinfo(3), for us and for libmosquitto: three names that no /etc/hosts has. */
#ifndef MBGATE_TESTS_RESOLVER_H
#define MBGATE_TESTS_RESOLVER_H

#include <stdbool.h>

#include "rig.h"

#define RESOLVER_TWO_NAME  "two.mbgate.test"  /* ::1, then 127.0.0.1 */
#define RESOLVER_HANG_NAME "hang.mbgate.test" /* until resolver_release(), then no such name */
#define RESOLVER_NONE_NAME "none.mbgate.test" /* no such name; nobody is asked */

/* A rig_condition_fn: somebody waits. */
bool resolver_hangs(struct rig *rig, void *arg);
void resolver_release(void);

#endif
