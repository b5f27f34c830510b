/* SPDX-License-Identifier: MIT */
/* One datagram to the service manager: the protocol of sd_notify(3), but never waiting. Any thread. */
#ifndef MBGATE_LOOP_NOTIFY_H
#define MBGATE_LOOP_NOTIFY_H

#include "mbgate/base/macros.h"

/* 0: sent, or $NOTIFY_SOCKET is not set. −EAGAIN: the manager has not read what it was sent before. −errno.
 */
MUST_CHECK int notify_send(const char *state);

#endif
