/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/codec/topic.h"

#include "record.h"

#define MESSAGE_HEAD_BYTES 19 /* flags, expiry, time, two lengths */
#define SOURCE_HEAD_BYTES  4  /* two lengths */
#define SESSION_HEAD_BYTES 17

enum message_flags {
        FLAG_QOS = 0x03,
        FLAG_RETAIN = 0x04,
        FLAG_NO_LOCAL = 0x08,
        FLAG_AS_PUBLISHED = 0x10,
        FLAG_USER = 0x20,
        FLAG_LIVE = 0x40,
        FLAG_SOURCE = 0x80, /* of messages */
        FLAG_PROVEN = 0x80, /* of sessions */
};

void record_put_u64(uint8_t out[8], uint64_t v)
{
        put_be32(out, (uint32_t)(v >> 32));
        put_be32(out + 4, (uint32_t)v);
}

uint64_t record_get_u64(const uint8_t in[8])
{
        return (uint64_t)get_be32(in) << 32 | get_be32(in + 4);
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t n)
{
        if (n > 0)
                memcpy(at, bytes, n);
        return at + n;
}

/* ---- messages ---- */

static size_t text_bytes(const char *text)
{
        return text ? strlen(text) : 0;
}

size_t record_message_bytes(const struct message *m, const struct acl_client *source)
{
        return MESSAGE_HEAD_BYTES + m->topic_bytes + m->properties_bytes + m->payload_bytes +
               (source ? SOURCE_HEAD_BYTES + text_bytes(source->id) + text_bytes(source->user) : 0);
}

/* Behind the head. */
static uint8_t *put_source(uint8_t *out, const struct acl_client *source)
{
        size_t n_id = text_bytes(source->id), n_user = text_bytes(source->user);

        put_be16(out, (uint16_t)n_id);
        put_be16(out + 2, (uint16_t)n_user);
        out = put_bytes(out + SOURCE_HEAD_BYTES, source->id, n_id);
        return put_bytes(out, source->user, n_user);
}

void record_put_message(uint8_t *out, const struct message *m, const struct acl_client *source,
                        int64_t wall_us)
{
        uint8_t *at = out + MESSAGE_HEAD_BYTES;

        out[0] = (uint8_t)(m->qos | (m->retain ? FLAG_RETAIN : 0) | (m->is_live ? FLAG_LIVE : 0) |
                           (source ? FLAG_SOURCE : 0) | (source && source->user ? FLAG_USER : 0));
        put_be32(out + 1, m->expiry_s);
        record_put_u64(out + 5, (uint64_t)wall_us);
        put_be16(out + 13, (uint16_t)m->topic_bytes);
        put_be32(out + 15, (uint32_t)m->properties_bytes);
        if (source)
                at = put_source(at, source);
        at = put_bytes(at, m->topic, m->topic_bytes);
        at = put_bytes(at, m->properties, m->properties_bytes);
        (void)put_bytes(at, m->payload, m->payload_bytes);
}

/* What stands behind the head of a row of `n` bytes; the bytes that it takes, or 0: it does not fit. */
static size_t take_source(const uint8_t *bytes, size_t n, struct record_message *ret)
{
        bool has_user = bytes[0] & FLAG_USER;
        const uint8_t *at = bytes + MESSAGE_HEAD_BYTES;
        size_t n_id, n_user;

        if (n < MESSAGE_HEAD_BYTES + SOURCE_HEAD_BYTES)
                return 0;
        n_id = get_be16(at);
        n_user = get_be16(at + 2);
        if (n_id == 0 || (!has_user && n_user > 0) ||
            n_id + n_user > n - MESSAGE_HEAD_BYTES - SOURCE_HEAD_BYTES)
                return 0;
        ret->source_id = (struct mqtt_bytes){ at + SOURCE_HEAD_BYTES, n_id };
        if (has_user)
                ret->source_user = (struct mqtt_bytes){ at + SOURCE_HEAD_BYTES + n_id, n_user };
        return SOURCE_HEAD_BYTES + n_id + n_user;
}

bool record_take_message(const uint8_t *bytes, size_t n, struct record_message *ret)
{
        size_t n_topic, n_properties, n_source = 0, at = MESSAGE_HEAD_BYTES;

        if (n < MESSAGE_HEAD_BYTES || (bytes[0] & FLAG_QOS) > 2)
                return false;
        *ret = (struct record_message){
                .wall_us = (int64_t)record_get_u64(bytes + 5),
                .expiry_s = get_be32(bytes + 1),
                .qos = bytes[0] & FLAG_QOS,
                .retain = bytes[0] & FLAG_RETAIN,
                .is_live = bytes[0] & FLAG_LIVE,
        };
        if (bytes[0] & FLAG_SOURCE) {
                n_source = take_source(bytes, n, ret);
                if (n_source == 0)
                        return false;
                at += n_source;
        }
        n_topic = get_be16(bytes + 13);
        n_properties = get_be32(bytes + 15);
        if (n_topic > n - at || n_properties > n - at - n_topic)
                return false;
        ret->topic = (struct mqtt_bytes){ bytes + at, n_topic };
        ret->properties = (struct mqtt_bytes){ bytes + at + n_topic, n_properties };
        at += n_topic + n_properties;
        ret->payload = (struct mqtt_bytes){ bytes + at, n - at };
        return topic_is_name((const char *)ret->topic.data, n_topic);
}

/* ---- wills ---- */

size_t record_will_bytes(const struct message *m)
{
        return RECORD_WILL_HEAD_BYTES + record_message_bytes(m, NULL);
}

void record_put_will(uint8_t *out, uint64_t left_us, int64_t wall_us, const struct message *m)
{
        record_put_u64(out, left_us);
        record_put_u64(out + 8, (uint64_t)wall_us);
        record_put_message(out + RECORD_WILL_HEAD_BYTES, m, NULL, 0);
}

bool record_take_will(const uint8_t *bytes, size_t n, struct record_will *ret)
{
        if (n < RECORD_WILL_HEAD_BYTES)
                return false;
        ret->left_us = record_get_u64(bytes);
        ret->wall_us = (int64_t)record_get_u64(bytes + 8);
        return ret->left_us <= UINT32_MAX * UINT64_C(1000000) &&
               record_take_message(bytes + RECORD_WILL_HEAD_BYTES, n - RECORD_WILL_HEAD_BYTES, &ret->message);
}

/* ---- sessions ---- */

size_t record_put_session(uint8_t *out, const struct record_session *s)
{
        put_be32(out, s->number);
        put_be32(out + 4, s->expiry_s);
        record_put_u64(out + 8, (uint64_t)s->away_us);
        out[16] = (uint8_t)((s->user.data ? FLAG_USER : 0) | (s->is_proven ? FLAG_PROVEN : 0));
        (void)put_bytes(out + SESSION_HEAD_BYTES, s->user.data, s->user.n);
        return SESSION_HEAD_BYTES + s->user.n;
}

bool record_take_session(const uint8_t *bytes, size_t n, struct record_session *ret)
{
        if (n < SESSION_HEAD_BYTES || n > RECORD_SESSION_BYTES + 1)
                return false;
        *ret = (struct record_session){
                .number = get_be32(bytes),
                .expiry_s = get_be32(bytes + 4),
                .away_us = (int64_t)record_get_u64(bytes + 8),
                .is_proven = bytes[16] & FLAG_PROVEN,
        };
        if (bytes[16] & FLAG_USER)
                ret->user = (struct mqtt_bytes){ bytes + SESSION_HEAD_BYTES, n - SESSION_HEAD_BYTES };
        return ret->number != 0 && ret->expiry_s != 0;
}

void record_put_subscription(uint8_t out[RECORD_SUBSCRIBED_BYTES], const struct record_subscription *s)
{
        out[0] = (uint8_t)(s->qos | (s->no_local ? FLAG_NO_LOCAL : 0) |
                           (s->retain_as_published ? FLAG_AS_PUBLISHED : 0));
        put_be32(out + 1, s->id);
}

bool record_take_subscription(const uint8_t *bytes, size_t n, struct record_subscription *ret)
{
        if (n != RECORD_SUBSCRIBED_BYTES || (bytes[0] & FLAG_QOS) > 2)
                return false;
        *ret = (struct record_subscription){
                .id = get_be32(bytes + 1),
                .qos = bytes[0] & FLAG_QOS,
                .no_local = bytes[0] & FLAG_NO_LOCAL,
                .retain_as_published = bytes[0] & FLAG_AS_PUBLISHED,
        };
        return true;
}

/* ---- queues ---- */

size_t record_put_queued(uint8_t *out, uint64_t message, uint8_t qos, bool retain, const uint32_t *sub_ids,
                         uint8_t n_sub_ids)
{
        record_put_u64(out, message);
        out[8] = (uint8_t)(qos | (retain ? FLAG_RETAIN : 0));
        out[9] = n_sub_ids;
        for (size_t i = 0; i < n_sub_ids; i++)
                put_be32(out + 10 + 4 * i, sub_ids[i]);
        return 10 + 4 * (size_t)n_sub_ids;
}

bool record_take_queued(const uint8_t *bytes, size_t n, struct record_queued *ret)
{
        if (n < 10 || n != 10 + 4 * (size_t)bytes[9] || (bytes[8] & FLAG_QOS) == 0 ||
            (bytes[8] & FLAG_QOS) > 2)
                return false;
        ret->message = record_get_u64(bytes);
        ret->qos = bytes[8] & FLAG_QOS;
        ret->retain = bytes[8] & FLAG_RETAIN;
        ret->n_sub_ids = bytes[9];
        for (size_t i = 0; i < ret->n_sub_ids; i++)
                ret->sub_ids[i] = get_be32(bytes + 10 + 4 * i);
        return true;
}

void record_put_state(uint8_t out[RECORD_STATE_BYTES], const struct record_state *s)
{
        put_be16(out, s->packet_id);
        out[2] = s->is_released;
}

bool record_take_state(const uint8_t *bytes, size_t n, struct record_state *ret)
{
        if (n != RECORD_STATE_BYTES || bytes[2] > 1 || get_be16(bytes) == 0)
                return false;
        *ret = (struct record_state){ .packet_id = get_be16(bytes), .is_released = bytes[2] };
        return true;
}

void record_put_item_key(uint8_t out[12], uint32_t session, uint64_t number)
{
        put_be32(out, session);
        record_put_u64(out + 4, number);
}

bool record_take_item_key(const uint8_t *bytes, size_t n, uint32_t *ret_session, uint64_t *ret_number)
{
        if (n != 12)
                return false;
        *ret_session = get_be32(bytes);
        *ret_number = record_get_u64(bytes + 4);
        return true;
}
