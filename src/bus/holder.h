/* SPDX-License-Identifier: MIT */
/* Who else has a device open, for an error message: looks through /proc as far as it is permitted. */
#ifndef MBGATE_BUS_HOLDER_H
#define MBGATE_BUS_HOLDER_H

#include "mbgate/base/buf.h"

/* Appends "held by mbpoll (process 4711)", or "held by another process". */
void holder_describe(const char *path, struct buf *about);

#endif
