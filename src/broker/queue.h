/* SPDX-License-Identifier: MIT */
/*
 * The messages of one session: those that wait for the client, those that are on their way to it, and the
 * packet ids of QoS 2 messages on their way from it. It outlives connections. Pure but for the heap: the
 * owner sends what it is told to and tells what came.
 *
 *   to the client                                                       from the client
 *
 *   push ─► WAITING ──next──► QoS 0: handed over, forgotten             PUBLISH QoS 2 ─► known id? then again
 *                      │                                                     │           (PUBREC only)
 *                      ├─ QoS 1 ─► PUBACK ◄── puback ─► done                 ▼
 *                      │                                                UNRELEASED ── pubrel ─► gone
 *                      └─ QoS 2 ─► PUBREC ── pubrec ─► PUBCOMP ── pubcomp ─► done
 *                                    └─ pubrec ≥ 0x80 ─► done
 *
 *   After a reconnection `next` gives first, in their old order, what is in PUBACK or PUBREC (as a duplicate)
 *   and in PUBCOMP (as a PUBREL): MQTT 5.0 §4.4.
 *
 * Owned by one thread; no I/O. Acknowledgements are looked up from the oldest on: constant time for clients
 * that keep the order, at most QUEUE_INFLIGHT_MAX steps for others. Packet ids of the client are a set of
 * bits, in pages that are there while one of them is set: constant time and at most 9 KiB, however many a
 * client leaves unreleased.
 */
#ifndef MBGATE_BROKER_QUEUE_H
#define MBGATE_BROKER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/macros.h"
#include "mbgate/model/message.h"

#define QUEUE_INFLIGHT_MAX 1024 /* to the client, whatever limits say */
#define QUEUE_SUB_IDS_MAX  255

struct queue;

struct queue_limits {
        unsigned max_inflight;   /* to the client: with its receive maximum the lower counts */
        unsigned max_unreleased; /* from the client; 65535: as many as there are packet ids */
        size_t max_messages;     /* that wait */
        size_t max_bytes;        /* of messages that wait or are on their way */
};

enum queue_result {
        QUEUE_FULL = 1, /* dropped and counted */
        QUEUE_AGAIN,    /* from the client: this id is known, the message is not to be given on again */
        QUEUE_EXCEEDED, /* from the client: more than it may, MQTT 5.0 reason 0x93 */
        QUEUE_UNKNOWN,  /* no message has that id; reason 0x92 */
        QUEUE_WRONG,    /* the message of that id awaits something else; 0x82 */
};

/* A message and how it goes to this client. */
struct queue_message {
        struct message *message;
        uint8_t qos; /* of the delivery: the lower of the message's and the subscription's */
        bool retain; /* as it is to be sent */
        uint8_t n_sub_ids;
        const uint32_t *sub_ids;
};

enum queue_send {
        QUEUE_NOTHING,
        QUEUE_PUBLISH,
        QUEUE_PUBREL,
};

/* What to send now. Valid until the next call. */
struct queue_next {
        enum queue_send send;
        struct queue_message out; /* QUEUE_PUBLISH */
        uint16_t packet_id;       /* 0 with QoS 0 */
        uint64_t number;          /* of arrival, unique in the queue; 0 with PUBREL */
        bool dup;
        uint32_t expiry_s; /* what is left of it; 0, too: it never expires */
};

/* Seconds until a message expires, of which the one begun counts; but one that expires at once has 1 µs (see
 * publication_message()), and no second. */
static inline uint32_t queue_left_s(uint64_t expires_us, uint64_t now_us)
{
        return (uint32_t)((expires_us - now_us + USEC_PER_SEC - 2) / USEC_PER_SEC);
}

struct queue_counts {
        uint64_t n_dropped_qos0; /* for want of room */
        uint64_t n_dropped;      /* of QoS 1 and 2, for want of room */
        uint64_t n_expired;
};

/* A message of QoS 1 or 2 has expired. */
typedef void (*queue_expired_fn)(void *user, uint64_t number);

/* −ENOMEM. */
MUST_CHECK int queue_new(const struct queue_limits *limits, struct queue **ret_queue);

/* Drops all that is left. Takes NULL, returns NULL. */
struct queue *queue_free(struct queue *q);
DEFINE_CLEANUP(struct queue *, queue_free)

void queue_on_expired(struct queue *q, queue_expired_fn fn, void *user);

/* A connection begins, with the receive maximum that its client has told; 65535 if it told none. */
void queue_connect(struct queue *q, uint16_t receive_max);

/*
 * Appends (takes a reference). Room is made by dropping what has expired, then the oldest of QoS 0.
 * QUEUE_FULL, −ENOMEM: the message is not in it.
 */
MUST_CHECK int queue_push(struct queue *q, const struct queue_message *m, uint64_t now_us);

/*
 * The next thing to send. A message of QoS 0 leaves the queue with the call after it. QoS 1 and 2 wait for
 * the receive maximum; QoS 0 passes them then.
 */
void queue_next(struct queue *q, uint64_t now_us, struct queue_next *ret_next);

/* What queue_next() has just given as QUEUE_PUBLISH cannot be sent to this client, ever (it is larger than
 * its maximum packet size): forgotten as if it had been acknowledged, MQTT-3.1.2-25. */
void queue_skip(struct queue *q);

/* What the client says about messages to it. 0, QUEUE_UNKNOWN, QUEUE_WRONG. `reason` ≥ 0x80 in a PUBREC ends
 * it. */
int queue_puback(struct queue *q, uint16_t packet_id);
int queue_pubrec(struct queue *q, uint16_t packet_id, uint8_t reason);
int queue_pubcomp(struct queue *q, uint16_t packet_id);

/* A PUBLISH of QoS 2 from the client. 0: give it on and answer. QUEUE_AGAIN: answer only. QUEUE_EXCEEDED;
 * −ENOMEM. */
int queue_receive(struct queue *q, uint16_t packet_id);

/* Whether a PUBLISH of QoS 2 with this id has come and awaits PUBREL. */
bool queue_has_received(const struct queue *q, uint16_t packet_id);

/* PUBREL from the client, or a PUBREC ≥ 0x80 to it. 0, or QUEUE_UNKNOWN. */
int queue_release(struct queue *q, uint16_t packet_id);

/* The number that the latest queue_push() gave: they grow from 1. */
uint64_t queue_last_number(const struct queue *q);

/* The number of a message on its way to the client, or 0. */
uint64_t queue_number_of(const struct queue *q, uint16_t packet_id);

/*
 * What a store has kept, in the order of numbers. `packet_id` 0: it waits; `is_released`: it awaits PUBCOMP.
 * −ENOMEM.
 */
MUST_CHECK int queue_restore(struct queue *q, const struct queue_message *m, uint64_t number,
                             uint16_t packet_id, bool is_released);

/* Calls back for each message of QoS 1 and 2 and for each packet id of the client that awaits PUBREL. Neither
 * may change the queue. */
void queue_each(const struct queue *q, void (*item)(void *user, uint64_t number),
                void (*unreleased)(void *user, uint16_t packet_id), void *user);

/* Drops what has expired. Returns how many. Looks at all that waits. */
size_t queue_expire(struct queue *q, uint64_t now_us);

size_t queue_n_waiting(const struct queue *q);
size_t queue_n_inflight(const struct queue *q);
size_t queue_n_unreleased(const struct queue *q);
size_t queue_n_bytes(const struct queue *q);
struct queue_counts queue_counts(const struct queue *q);

#endif
