/* SPDX-License-Identifier: MIT */
/*
 * Rows of the broker's store: keys and values as bytes, numbers with their high byte first. Decoders believe
 * nothing: whatever stands in a row, they stay inside it. Pure; decoded texts point into the row.
 */
#ifndef MBGATE_BROKER_RECORD_H
#define MBGATE_BROKER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/broker/acl.h"
#include "mbgate/codec/mqtt.h"
#include "mbgate/model/message.h"

/* Tables in the order in which they are read: what others refer to comes first. */
enum record_table {
        RECORD_RETAINED = 1, /* topic → message */
        RECORD_MESSAGE,      /* number → message, shared by queues */
        RECORD_SESSION,      /* client id → session */
        RECORD_SUBSCRIPTION, /* session number, filter → options */
        RECORD_STATE,        /* session number, queue number → packet id and how far it is */
        RECORD_QUEUED,       /* session number, queue number → message number, how it goes */
        RECORD_UNRELEASED,   /* session number, packet id → nothing */
        RECORD_WILL,         /* session number → when it is due, and the message */
};

#define RECORD_KEY_BYTES        12 /* the longest of those that are not texts */
#define RECORD_SESSION_BYTES    (16 + 65535)
#define RECORD_QUEUED_BYTES     (11 + 255 * 4)
#define RECORD_SUBSCRIBED_BYTES 5
#define RECORD_STATE_BYTES      3

struct record_message {
        struct mqtt_bytes topic, properties, payload;
        int64_t wall_us; /* when it was made; 0: the clock was not set */
        uint32_t expiry_s;
        uint8_t qos;
        bool retain, is_live;
        struct mqtt_bytes source_id,
                source_user; /* who has published it, if that is kept; data == NULL: none */
};

/* `source`: NULL: it is not kept. */
size_t record_message_bytes(const struct message *m, const struct acl_client *source);
void record_put_message(uint8_t *out, const struct message *m, const struct acl_client *source,
                        int64_t wall_us);
bool record_take_message(const uint8_t *bytes, size_t n, struct record_message *ret);

struct record_session {
        uint32_t number;
        uint32_t expiry_s;
        int64_t away_us; /* wall time since when it has been away; 0: connected, or the clock was not set */
        struct mqtt_bytes user; /* data == NULL: none */
        bool is_proven;         /* the user's name */
};

size_t record_put_session(uint8_t *out, const struct record_session *s);
bool record_take_session(const uint8_t *bytes, size_t n, struct record_session *ret);

struct record_will {
        uint64_t left_us; /* until it is due, when it was written */
        int64_t wall_us;  /* the same as wall time; 0: a client was connected, or the clock was not set */
        struct record_message message;
};

#define RECORD_WILL_HEAD_BYTES 16

size_t record_will_bytes(const struct message *m);
void record_put_will(uint8_t *out, uint64_t left_us, int64_t wall_us, const struct message *m);
bool record_take_will(const uint8_t *bytes, size_t n, struct record_will *ret);

struct record_subscription {
        uint32_t id;
        uint8_t qos;
        bool no_local, retain_as_published;
};

void record_put_subscription(uint8_t out[RECORD_SUBSCRIBED_BYTES], const struct record_subscription *s);
bool record_take_subscription(const uint8_t *bytes, size_t n, struct record_subscription *ret);

struct record_queued {
        uint64_t message;
        uint8_t qos;
        bool retain;
        uint8_t n_sub_ids;
        uint32_t sub_ids[255];
};

size_t record_put_queued(uint8_t *out, uint64_t message, uint8_t qos, bool retain, const uint32_t *sub_ids,
                         uint8_t n_sub_ids);
bool record_take_queued(const uint8_t *bytes, size_t n, struct record_queued *ret);

struct record_state {
        uint16_t packet_id;
        bool is_released; /* PUBREC has come: it awaits PUBCOMP */
};

void record_put_state(uint8_t out[RECORD_STATE_BYTES], const struct record_state *s);
bool record_take_state(const uint8_t *bytes, size_t n, struct record_state *ret);

/* A number of four bytes, then one of eight: the key of items; order of bytes is order of numbers. */
void record_put_item_key(uint8_t out[12], uint32_t session, uint64_t number);
bool record_take_item_key(const uint8_t *bytes, size_t n, uint32_t *ret_session, uint64_t *ret_number);

void record_put_u64(uint8_t out[8], uint64_t v);
uint64_t record_get_u64(const uint8_t in[8]);

#endif
