/* SPDX-License-Identifier: MIT */
/* Who else has a device open, for an error message: looks through /proc as far as it is permitted. */
#ifndef MBGATE_BUS_HOLDER_H
#define MBGATE_BUS_HOLDER_H

#include "mbgate/base/buf.h"

/*
 * Appends "held by mbpoll (process 4711)", "held by another bus of this program", or "held by another
 * process". `n_own`: descriptors by which the caller itself has it open.
 */
void holder_describe(const char *path, unsigned n_own, struct buf *about);

#endif
