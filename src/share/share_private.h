/* SPDX-License-Identifier: MIT */
/* The state behind struct share. Main thread. */
#ifndef MBGATE_SHARE_PRIVATE_H
#define MBGATE_SHARE_PRIVATE_H

#include "mbgate/share/share.h"

#include "cache.h"
#include "client.h"

#define SHARE_POSTED_MAX     48                  /* of BUS_RAWS_MAX: those of masters who left included */
#define SHARE_RETRY_US       (10 * USEC_PER_SEC) /* for an address that cannot be had */
#define SHARE_ACCEPT_REST_US (1 * USEC_PER_SEC)  /* when there are no descriptors */
#define SHARE_WARNING_US     (60 * USEC_PER_SEC) /* between two warnings about masters; others at debug */

struct share {
        struct loop *loop;
        struct loop_timer *timer;
        struct conf *conf; /* a reference */
        const struct conf_bus *bus;
        struct mailbox *requests; /* borrowed; NULL: the bus is not there */
        int fd;                   /* −1: does not listen */
        struct loop_io *io;
        uint64_t listen_us; /* tried again then; CLOCK_NEVER_US: it listens */
        uint64_t accept_us; /* accepts again then; CLOCK_NEVER_US: it does */
        bool failure_said;
        uint64_t warned_us; /* 0: never */
        struct client *clients;
        size_t n_clients;
        struct cache cache;
        uint64_t next_id;  /* of requests */
        uint64_t first_id; /* the first that was posted to this mailbox */
        size_t n_posted;
};

/* Takes over a connected socket, or closes it. For the listener, and for tests. */
void share_take_socket(struct share *s, int fd, const uint8_t address[16]);

#endif
