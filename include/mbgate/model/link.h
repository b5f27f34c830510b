/* SPDX-License-Identifier: MIT */
/*
 * A link is one place to publish to and to take commands from: an external broker through libmosquitto
 * (client/link_mosquitto.c), the embedded broker in process (broker/link_local.c), or the fake of the tests.
 * The gateway knows no other way to MQTT. Every call and every event happens on the main thread.
 *
 *   new ──start──► away ⇄ online ──stop──► stopping ──LINK_STOPPED──► free
 */
#ifndef MBGATE_MODEL_LINK_H
#define MBGATE_MODEL_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/model/message.h"

struct link;

enum link_event_kind {
        LINK_ONLINE,  /* connected and subscribed: commands flow */
        LINK_AWAY,    /* connection lost or refused; `reason` says why; it comes back by itself */
        LINK_MESSAGE, /* a message on a subscribed topic: `message` (borrowed; message_ref() to keep) */
        LINK_ROOM,    /* there is room again after link_has_room() said no */
        LINK_LOST,    /* the newest live message of a topic was given up for want of room, nobody knows which;
                       * there is room again: whoever keeps states publishes them all */
        LINK_STOPPED, /* the answer to link_stop(): nothing follows */
};

struct link_event {
        enum link_event_kind kind;
        struct message *message;
        bool was_retained; /* LINK_MESSAGE: the broker sent it because it was retained, nobody published it
                              now */
        const char *reason;
};

typedef void (*link_event_fn)(void *user, struct link *link, const struct link_event *event);

/* Counters of a link, for its status topic. */
struct link_stats {
        uint64_t n_published; /* handed over by the gateway */
        uint64_t n_sent;      /* acknowledged by the broker, or written (QoS 0) */
        uint64_t n_dropped;   /* given up because the queue was full or the broker refused for good */
        uint64_t n_received;
        uint64_t n_connects;
        uint64_t n_queued; /* waiting now */
        bool is_online;
};

struct link_ops {
        /* Begins to connect. Returns at once. The subscriptions made before are sent at each connect. 0 or
         * −errno. */
        int (*start)(struct link *l);

        /*
         * Queues a message (takes a reference of its own). Never blocks. 0; −ENOBUFS, −ENOMEM: no room now,
         * it was dropped and counted; −EMSGSIZE, −EDQUOT: there never will be; −ESHUTDOWN: stopping.
         *
         * To make room for it the link may drop older messages: superseded live ones first. The newest live
         * message of a topic stays, unless LINK_LOST says otherwise.
         */
        int (*publish)(struct link *l, struct message *m);

        /*
         * Whether a few messages more would make the queue drop nothing: who has many, and is in no hurry,
         * asks before each. After a false, LINK_ROOM comes when there is room again. NULL: always.
         */
        bool (*has_room)(struct link *l);

        /* Adds a topic filter, in effect from now on, or from the next connect. 0, −ENOMEM, −EINVAL. */
        int (*subscribe)(struct link *l, const char *filter, uint8_t qos);
        int (*unsubscribe)(struct link *l, const char *filter);

        /* What is left of QoS ≥ 1 goes out until `deadline_us`, then LINK_STOPPED comes. */
        void (*stop)(struct link *l, uint64_t deadline_us);

        void (*stats)(const struct link *l, struct link_stats *ret);

        /* Stopped, or never started. */
        void (*free)(struct link *l);
};

/* The first member of every kind of link. */
struct link {
        const struct link_ops *ops;
        const char *name; /* for topics and the log; owned by the kind */
        link_event_fn on_event;
        void *user;
};

MUST_CHECK static inline int link_start(struct link *l)
{
        return l->ops->start(l);
}

MUST_CHECK static inline int link_publish(struct link *l, struct message *m)
{
        return l->ops->publish(l, m);
}

static inline bool link_has_room(struct link *l)
{
        return !l->ops->has_room || l->ops->has_room(l);
}

MUST_CHECK static inline int link_subscribe(struct link *l, const char *filter, uint8_t qos)
{
        return l->ops->subscribe(l, filter, qos);
}

MUST_CHECK static inline int link_unsubscribe(struct link *l, const char *filter)
{
        return l->ops->unsubscribe(l, filter);
}

static inline void link_stop(struct link *l, uint64_t deadline_us)
{
        l->ops->stop(l, deadline_us);
}

static inline void link_get_stats(const struct link *l, struct link_stats *ret)
{
        l->ops->stats(l, ret);
}

static inline struct link *link_free(struct link *l)
{
        if (l)
                l->ops->free(l);
        return NULL;
}
DEFINE_CLEANUP(struct link *, link_free)

#endif
