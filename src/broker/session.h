/* SPDX-License-Identifier: MIT */
/*
 * What the broker knows of a client as long as its session lives, connected or not: subscriptions, messages
 * that wait, the will. Sessions belong to one table; a connection and its session point to each other and
 * both are told when the other goes. Owned by the main thread.
 *
 *   (none) ──session_open──► connected ⇄ away ──expiry, or at once when clean──► (none)
 *                               │ ▲          will: at min(will delay, end of session)
 *                               └─┘ take-over
 */
#ifndef MBGATE_BROKER_SESSION_H
#define MBGATE_BROKER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/hash.h"
#include "mbgate/base/macros.h"
#include "mbgate/broker/acl.h"
#include "mbgate/model/message.h"

#include "queue.h"
#include "retained.h"
#include "router.h"
#include "session_owner.h"
#include "subscriptions.h"

struct broker;
struct connection;
struct session;

#define SESSION_NEVER_S UINT32_MAX /* MQTT 5.0 §3.1.2.11.2: it does not expire */

/* Retained (or last known) messages on their way to who has subscribed, in the order of subscriptions; or,
 * paced, to who has connected. */
struct session_walk {
        struct session_walk *next;
        struct retained_cursor *cursor;
        uint64_t next_us;  /* not before */
        size_t n_bytes;    /* of its filter */
        uint32_t pause_us; /* between two messages; 0: as fast as the client takes them */
        uint32_t sub_id;
        uint8_t qos;
        bool is_known;           /* walks the last known values */
        bool is_of_subscription; /* ends with it; what is stored after it comes through it */
        bool is_rest;            /* of what is retained: without the topics that are known */
        bool is_push;            /* paced, without a subscription */
        bool is_left;            /* from an earlier connection */
};

/* The gateway's own subscriber gets its messages so. Never from within router_publish() of its own. */
typedef void (*session_local_fn)(void *user, struct publication *p, uint8_t qos, bool retain);

struct session {
        struct subscriber subscriber;
        struct broker *broker;
        struct connection *connection; /* NULL: away */
        char *id;
        char *user;     /* NULL: none */
        bool is_proven; /* the user's name, by a password or a certificate: nobody else gets the session */
        bool is_will_stored;
        struct session_owner *owner; /* whose limit it counts against; NULL: nobody's */
        UT_hash_handle hh;
        struct queue *queue; /* NULL until something must wait */
        struct session_walk *walks, *last_walk;
        struct session_walk *pushes; /* paced: they hold nobody up but each other */
        bool has_left;               /* some of its walks may be of an earlier connection */
        size_t n_walks;
        size_t n_text_bytes; /* id, user, filters, walks, will: charged to it, and to all together */
        struct message *will;
        uint64_t will_us; /* when it is due; CLOCK_NEVER_US */
        uint64_t ends_us; /* when the session ends; CLOCK_NEVER_US: connected, or never */
        uint32_t expiry_s;
        uint32_t will_delay_s;
        uint32_t n_dropped; /* messages for it, for want of room */
        uint32_t stored;    /* persistence's number of it; 0: it does not outlive the program */
        session_local_fn local;
        void *local_user;
};

/* How a client asks for its session. */
struct session_ask {
        const char *id; /* not empty */
        const char *user;
        bool is_proven; /* the user's name */
        const char *address;
        bool clean;
        uint32_t expiry_s;
        struct message *will; /* or NULL; a reference is taken */
        uint32_t will_delay_s;
};

enum session_result {
        SESSION_RESUMED = 1, /* it was there: session present */
        SESSION_FULL,        /* more sessions than the limit, and none that is away could go */
        SESSION_TOO_LARGE,   /* its id, user name and will take more memory than it, or all, may */
        SESSION_FOREIGN,     /* another user, whose name has been proven, has a session of this id */
};

/*
 * Finds or makes the client's session. A connection that has it is taken over: closed with reason 0x8E. 0:
 * new. SESSION_…; −ENOMEM.
 */
MUST_CHECK int session_open(struct broker *b, const struct session_ask *ask, struct session **ret_session);

/*
 * Its connection has gone. `with_will`: it did not say goodbye, so the will is due. The session may be freed
 * here or live on, away.
 */
void session_leave(struct session *s, bool with_will);

/* Ends it now: will if due, subscriptions, queue. */
void session_end(struct session *s);

/* Ends those whose time has come and publishes due wills. The next moment at which that must be asked. */
uint64_t session_tick(struct broker *b, uint64_t now_us);

/* Ends all; wills that are not yet due go on in the store: an orderly stop of the broker. */
void session_end_all(struct broker *b);

/* A session that the store has kept, away for so long. Of the ask counts who asks, and the expiry. −ENOMEM,
 * −EEXIST. */
MUST_CHECK int session_restore(struct broker *b, const struct session_ask *ask, uint64_t away_s,
                               struct session **ret_session);

/* Its will, from the store, due so long from now. Takes a reference. */
void session_restore_will(struct session *s, struct message *will, uint64_t due_us);

/* So much text everybody may have, even when all together have as much as they may: nobody is shut out. */
#define SESSION_FREE_BYTES 4096

/* Whether it (its connection's aliases counted in) may have `n` more bytes of text. */
bool session_has_room(const struct session *s, size_t n);

void session_charge(struct session *s, size_t n);
void session_discharge(struct session *s, size_t n);

/* Takes the reference over; NULL: none. */
void session_set_will(struct session *s, struct message *will);

struct session *session_find(struct broker *b, const char *id);

/* A session of the broker's own that has no connection and never ends. −ENOMEM. */
MUST_CHECK int session_new_local(struct broker *b, const char *id, session_local_fn fn, void *user,
                                 struct session **ret_session);

/* The queue, made when there is none. −ENOMEM. */
MUST_CHECK int session_queue(struct session *s, struct queue **ret_queue);

/* Brings a message to it: out, into its queue, or nowhere. `p` and the hit: router.c. */
void session_deliver(struct session *s, struct publication *p, const struct subscription_hit *hit);

/*
 * Keeps it for the client (QoS ≥ 1, or QoS 0 that cannot go now). 0; QUEUE_FULL: dropped and counted;
 * −ENOMEM.
 */
MUST_CHECK int session_enqueue(struct session *s, const struct queue_message *m);

/*
 * Begins to send what a table holds of a filter, in place of what an earlier connection has left of that.
 * −ENOMEM; more walks than filters, or texts than it may have: the oldest goes.
 */
MUST_CHECK int session_walk_begin(struct session *s, struct session_walk *like, const char *filter,
                                  size_t n_filter);
/* Ends the oldest of its walks, or of its pushes. */
void session_walk_end(struct session *s, struct session_walk **list);
void session_walks_drop(struct session *s);

/* The subscription to this filter ends: no more for it. */
void session_walks_cancel(struct session *s, const char *filter, size_t n_filter);

/* Whether nothing keeps the message from it: the rules, or the options of its listener (the broker's, while
 * it is away). */
bool session_wants(const struct session *s, const struct publication *p);

/* Whether a client of this session may get the topic. */
bool session_may_read(const struct session *s, const char *topic, size_t n_topic);

struct acl_client session_acl_client(const struct session *s);

#endif
