/* SPDX-License-Identifier: MIT */
/*
 * What the main thread and a link's thread share: mailboxes, counters, the wish to stop. Two references, one
 * each; the last one frees. All members are immutable, atomic, or mailboxes.
 */
#ifndef MBGATE_CLIENT_LINK_CORE_H
#define MBGATE_CLIENT_LINK_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/mailbox.h"
#include "mbgate/base/thread.h"
#include "mbgate/config/conf.h"
#include "mbgate/model/link.h"
#include "mbgate/model/message.h"

/* Filters that may wait to be subscribed or unsubscribed. */
#define LINK_ORDERS_MAX 65536
/* Received messages that may wait for the main thread, and their bytes; more are dropped and counted. */
#define LINK_EVENTS_MAX       512
#define LINK_EVENTS_MAX_BYTES ((size_t)8 * 1024 * 1024)
/* Changes of state that may wait besides. */
#define LINK_STATES_MAX 64

struct link_core {
        atomic_uint n_refs;
        struct conf *conf_owner;
        const struct conf_link *conf;
        struct message *will; /* topic with the prefix, or NULL */
        struct mailbox *publishes;
        struct mailbox *orders;
        struct mailbox *events;
        int wake_fd;                       /* eventfd: stop_deadline_us was set */
        _Atomic uint64_t stop_deadline_us; /* 0: run on */
        atomic_bool is_finished;           /* the thread is about to return */
        struct heartbeat heartbeat;

        atomic_size_t n_publishes;      /* in `publishes` */
        atomic_size_t n_publish_events; /* of these, not live */
        atomic_size_t publish_bytes;
        atomic_size_t n_events; /* in `events` */
        atomic_size_t event_bytes;

        _Atomic uint64_t n_sent;
        _Atomic uint64_t n_dropped;
        _Atomic uint64_t n_overflowed; /* of these, for want of room */
        _Atomic uint64_t n_received;
        _Atomic uint64_t n_connects;
        _Atomic uint64_t n_waiting;  /* spool and in flight */
        atomic_size_t waiting_bytes; /* in the spool */
        atomic_bool wants_room;      /* link_core_has_room() said no: LINK_ROOM is owed */
};

enum link_order_kind {
        LINK_ORDER_SUBSCRIBE = 1,
        LINK_ORDER_UNSUBSCRIBE,
};

struct link_publish_mail {
        struct mail mail;
        struct link_core *core;
        struct message *message;
};

struct link_order_mail {
        struct mail mail; /* kind: enum link_order_kind */
        uint8_t qos;
        char filter[];
};

#define LINK_REASON_BYTES 256

struct link_event_mail {
        struct mail mail; /* kind: enum link_event_kind */
        struct link_core *core;
        struct message *message;
        bool was_retained;
        char reason[LINK_REASON_BYTES];
};

/* −ENOMEM, −errno. Takes references to `conf`; `will` gets the link's prefix. */
MUST_CHECK int link_core_new(struct conf *conf, uint32_t link, const struct message *will,
                             struct link_core **ret_core);
struct link_core *link_core_ref(struct link_core *core);
struct link_core *link_core_unref(struct link_core *core);
DEFINE_CLEANUP(struct link_core *, link_core_unref)

/*
 * Main → thread. 0, −ENOBUFS, −ENOMEM; a message that is larger than the whole queue: −EMSGSIZE. Live ones
 * are bounded by bytes alone: there are as many as there are topics.
 */
MUST_CHECK int link_core_post_publish(struct link_core *core, struct message *m);
MUST_CHECK int link_core_post_order(struct link_core *core, enum link_order_kind kind, const char *filter,
                                    uint8_t qos);
/* Whether less than half of the queue is taken, mailbox, spool and what is in flight together. */
bool link_core_has_room(const struct link_core *core);

/* Thread: whether there is plenty of room, a quarter taken at most, and main waits for it, or has to hear of
 * a loss. Main waits no longer then. */
bool link_core_take_wish(struct link_core *core, bool has_lost);

void link_core_post_stop(struct link_core *core, uint64_t deadline_us);

/* Thread → main (or main to itself). Takes a reference to the message. 0, −ENOBUFS, −ENOMEM. */
MUST_CHECK int link_core_post_event(struct link_core *core, enum link_event_kind kind, struct message *m,
                                    bool was_retained, const char *reason);

static inline void link_core_count(_Atomic uint64_t *counter, uint64_t n)
{
        (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
