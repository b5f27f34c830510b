/* SPDX-License-Identifier: MIT */
/* A TCP connection under one deadline, for the port. Runs on the worker's thread: names are looked up there.
 */
#ifndef MBGATE_BUS_TCP_H
#define MBGATE_BUS_TCP_H

#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"

/*
 * Tries each address of host in turn, the time left shared among them, until `timeout_us` is over or
 * `cancel_fd` is readable. The socket is non-blocking, TCP_NODELAY, and finds a dead peer within half a
 * minute. 0, −ECANCELED, −ETIMEDOUT, −EHOSTUNREACH (no such name; `about` says why), −errno of connect(2).
 */
MUST_CHECK int tcp_connect(const char *host, uint16_t port, uint64_t timeout_us, int cancel_fd,
                           struct buf *about, int *ret_fd);

#endif
