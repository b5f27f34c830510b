/* SPDX-License-Identifier: MIT */
/* All listeners of the broker, at start and when the configuration changes. Owned by the main thread. */
#ifndef MBGATE_BROKER_LISTENERS_H
#define MBGATE_BROKER_LISTENERS_H

#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/broker/broker.h"

struct broker;

/* Remembers the sockets that the service manager gave us. −ENOMEM. */
MUST_CHECK int listeners_prepare(struct broker *b, const struct broker_socket *sockets, size_t n_sockets);

/* Closes all, and forgets those sockets. Clients stay. */
void listeners_close(struct broker *b);

#endif
