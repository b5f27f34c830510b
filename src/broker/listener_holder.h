/* SPDX-License-Identifier: MIT */
/* Who has a TCP port, for an error message: looks through /proc as far as that is permitted. */
#ifndef MBGATE_BROKER_LISTENER_HOLDER_H
#define MBGATE_BROKER_LISTENER_HOLDER_H

#include <stdint.h>

#include "mbgate/base/buf.h"

/* Appends ": mosquitto (process 4711) has it", or nothing when that cannot be found out. */
void listener_holder_describe(uint16_t port, struct buf *about);

#endif
