/* SPDX-License-Identifier: MIT */
/* Whether serial lines can be set up here at all: qemu-user 7.2 does not know TCGETS2. */
#ifndef MBGATE_TESTS_SERIAL_MODE_H
#define MBGATE_TESTS_SERIAL_MODE_H

#include <stdbool.h>

#define SERIAL_MODE_SKIPPED 77 /* what a test program that could do nothing exits with */

bool serial_mode_is_known(void);

#endif
