/* SPDX-License-Identifier: MIT */
/*
 * The broker's sockets: one epoll instance that hangs as one descriptor in the main loop, so that a turn of
 * that loop serves a whole batch of connections. What all of them have written is sent at the end of the
 * batch, with one system call a connection.
 *
 *   loop turn ─► epoll_wait: up to TRANSPORT_BATCH sources ─► each source's fn ─► end of batch: flush, free
 *
 * Owned by the main thread.
 */
#ifndef MBGATE_BROKER_TRANSPORT_H
#define MBGATE_BROKER_TRANSPORT_H

#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/loop/loop.h"

#define TRANSPORT_BATCH 256

struct transport;
struct transport_io;

/* `events` as epoll(7) gives them. */
typedef void (*transport_io_fn)(struct transport_io *io, uint32_t events);

/* Embedded in what owns a descriptor. All zero but for these while it is not watched. */
struct transport_io {
        struct transport *transport; /* NULL: not watched */
        transport_io_fn fn;
        int fd;
        uint32_t events; /* asked for */
        uint32_t slot;   /* of the current batch, +1; 0: none */
};

/* Called after each batch in which something happened, and when transport_wake() was called. */
typedef void (*transport_batch_fn)(void *user);

/* −ENOMEM, −errno of epoll_create1(2). */
MUST_CHECK int transport_new(struct loop *loop, transport_batch_fn at_end, void *user,
                             struct transport **ret_transport);

/* Every source must be gone. Takes NULL, returns NULL. */
struct transport *transport_free(struct transport *t);
DEFINE_CLEANUP(struct transport *, transport_free)

/* Watches a descriptor, level-triggered; it stays the caller's. −errno of epoll_ctl(2). */
MUST_CHECK int transport_add(struct transport *t, struct transport_io *io, int fd, uint32_t events,
                             transport_io_fn fn);

/* Changes what is waited for; a no-op if it is the same. Cannot fail for a watched descriptor. */
void transport_set_events(struct transport_io *io, uint32_t events);

/*
 * Forgets a source, also from its own or another one's fn: what the batch still held for it is not
 * delivered. EPOLL_CTL_DEL is always made: the kernel ties registrations to the open file, not the number.
 */
void transport_remove(struct transport_io *io);

/* Has the end of a batch come in this turn of the loop, or the next one, though no descriptor is ready. */
void transport_wake(struct transport *t);

/* What is readable while a source is ready: the descriptor that hangs in the loop. */
int transport_fd(const struct transport *t);

/* Monotonic time at the start of the batch, or now outside of one. */
uint64_t transport_now_us(const struct transport *t);

#endif
