/* SPDX-License-Identifier: MIT */
/* Who else has a device open, for an error message: looks through /proc as far as it is permitted. */
#ifndef MBGATE_BUS_HOLDER_H
#define MBGATE_BUS_HOLDER_H

#include <stdbool.h>

#include "mbgate/base/buf.h"

/*
 * Appends "held by mbpoll (process 4711)", "held by another bus of this program", or where it cannot be seen
 * (other users' processes; all of them under the shipped unit) "held by another process" and how to find it.
 * `n_own`: descriptors by which the caller itself has it open.
 */
void holder_describe(const char *path, unsigned n_own, struct buf *about);

/*
 * Whether another process has the device open beside the caller, as far as that can be seen; then its name is
 * appended. Who plays the other end of a pseudo-terminal may keep this end open.
 */
bool holder_shares(const char *path, struct buf *about);

#endif
