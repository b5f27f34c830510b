/* SPDX-License-Identifier: MIT */
/*
 * The way of a message through the broker: retained table, last known values, and everybody whose
 * subscriptions match. Owned by the main thread. Never called from within itself.
 *
 *   publication ─► retained ─► known ─► subscriptions_match ─► session_deliver, one for each hit
 */
#ifndef MBGATE_BROKER_ROUTER_H
#define MBGATE_BROKER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/codec/mqtt.h"
#include "mbgate/model/message.h"

struct broker;
struct retained_cursor;
struct session;

/*
 * A message on its way. What it points to is the publisher's; a struct message is made of it only when
 * somebody has to keep it.
 */
struct publication {
        const char *topic;
        size_t n_topic;
        const void *payload;
        size_t n_payload;
        struct mqtt_bytes properties; /* passed through */
        uint64_t made_us;
        uint32_t expiry_s; /* with `expires`; 0: for those who are there now */
        bool expires;
        uint8_t qos;
        bool retain;
        bool is_own;             /* the broker's own word ($SYS): not stored, and no value to be remembered */
        bool is_repeat;          /* the topic has this payload already; found out by router_publish() */
        struct message *message; /* the same, made on demand; or given */
        /* The bytes of its last encoding for a client without an alias or subscription ids (deliver.c). */
        const uint8_t *encoded;
        size_t n_encoded;
        uint32_t encoded_key;
};

enum router_result {
        ROUTER_NOBODY = 1, /* nobody has subscribed to it: MQTT 5.0 reason 0x10 */
        ROUTER_QUOTA,      /* the retained table is full: delivered, but not retained; 0x97 */
        ROUTER_TOO_DEEP,   /* more levels than the limit: 0x90 */
};

/* Drops the reference to the message. */
void publication_done(struct publication *p);

/* The publication of a message that exists. Holds a reference until publication_done(). */
struct publication publication_of(struct message *m);

/* The message of a publication, still the publication's. −ENOMEM. */
MUST_CHECK int publication_message(struct publication *p, struct message **ret_message);

/*
 * Gives it to everybody who wants it; `from`: whose own no-local subscriptions do not count, or NULL. 0 or
 * enum router_result; −ENOMEM when it was lost for somebody for want of memory. *ret_stored: what
 * persistence has to commit before it may be acknowledged.
 */
MUST_CHECK int router_publish(struct broker *b, struct publication *p, struct session *from,
                              uint64_t *ret_stored);

/* Whether who has published a retained message that is given now may still write to its topic
 * (CVE-2018-12546). */
bool router_source_may(const struct broker *b, const struct retained_cursor *cursor, const struct message *m);

#endif
