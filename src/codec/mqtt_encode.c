/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/codec/mqtt_encode.h"

/* Where bytes go; what does not fit marks it full and is not written. */
struct writer {
        uint8_t *at;
        uint8_t *start;
        uint8_t *end;
        bool is_full;
};

static struct writer writer_on(uint8_t *out, size_t size)
{
        return (struct writer){ .at = out, .start = out, .end = out + size };
}

static size_t writer_bytes(const struct writer *w)
{
        return w->is_full ? 0 : (size_t)(w->at - w->start);
}

static void put_bytes(struct writer *w, const void *bytes, size_t n)
{
        if (w->is_full || n > (size_t)(w->end - w->at)) {
                w->is_full = true;
                return;
        }
        if (n > 0)
                memcpy(w->at, bytes, n);
        w->at += n;
}

static void put_u8(struct writer *w, unsigned v)
{
        put_bytes(w, &(uint8_t){ (uint8_t)v }, 1);
}

static void put_u16(struct writer *w, unsigned v)
{
        uint8_t b[2];

        put_be16(b, (uint16_t)v);
        put_bytes(w, b, sizeof(b));
}

static void put_u32(struct writer *w, uint32_t v)
{
        uint8_t b[4];

        put_be32(b, v);
        put_bytes(w, b, sizeof(b));
}

static void put_varint(struct writer *w, size_t v)
{
        do {
                put_u8(w, (unsigned)(v & 0x7F) | (v > 0x7F ? 0x80u : 0u));
                v >>= 7;
        } while (v > 0);
}

static size_t varint_bytes(size_t v)
{
        return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

static void put_text(struct writer *w, struct mqtt_bytes text)
{
        put_u16(w, (unsigned)text.n);
        put_bytes(w, text.data, text.n);
}

static void put_property_u8(struct writer *w, unsigned id, unsigned v)
{
        put_u8(w, id);
        put_u8(w, v);
}

static void put_property_u16(struct writer *w, unsigned id, unsigned v)
{
        put_u8(w, id);
        put_u16(w, v);
}

static void put_property_u32(struct writer *w, unsigned id, uint32_t v)
{
        put_u8(w, id);
        put_u32(w, v);
}

static void put_property_text(struct writer *w, unsigned id, struct mqtt_bytes text)
{
        if (!text.data)
                return;
        put_u8(w, id);
        put_text(w, text);
}

/* Puts the fixed header in front of what `w` holds behind a gap, and moves the body up to it. */
static size_t finish_packet(uint8_t *out, size_t size, unsigned first_byte, const struct writer *body)
{
        size_t n = writer_bytes(body);
        struct writer w = writer_on(out, size);
        size_t n_header = 1 + varint_bytes(n);

        if (body->is_full || n > MQTT_REMAINING_MAX || n_header + n > size)
                return 0;
        memmove(out + n_header, body->start, n);
        put_u8(&w, first_byte);
        put_varint(&w, n);
        return n_header + n;
}

/* The return codes of 3.1.1 §3.2.2.3. */
static uint8_t connack_v3_code(uint8_t reason)
{
        switch (reason) {
        case MQTT_SUCCESS: return 0;
        case MQTT_BAD_VERSION: return 1;
        case MQTT_BAD_CLIENT_ID: return 2;
        case MQTT_BAD_CREDENTIALS: return 4;
        case MQTT_NOT_AUTHORISED:
        case MQTT_BANNED: return 5;
        default: return 3; /* server unavailable */
        }
}

/* Their order means nothing; it is mosquitto's, for programs that compare bytes with those of mosquitto. */
static void put_connack_properties(struct writer *w, const struct mqtt_connack *k)
{
        if (k->alias_max != 0)
                put_property_u16(w, 0x22, k->alias_max);
        put_property_text(w, 0x12, k->assigned_id);
        if (k->session_expiry_s != MQTT_CONNACK_NO_EXPIRY)
                put_property_u32(w, 0x11, k->session_expiry_s);
        if (k->no_retain)
                put_property_u8(w, 0x25, 0);
        if (k->max_packet_bytes != 0)
                put_property_u32(w, 0x27, k->max_packet_bytes);
        if (k->receive_max != 0)
                put_property_u16(w, 0x21, k->receive_max);
        if (k->max_qos < 2)
                put_property_u8(w, 0x24, k->max_qos);
        put_property_text(w, 0x1F, k->reason_string);
        if (k->no_wildcards)
                put_property_u8(w, 0x28, 0);
        if (k->no_sub_ids)
                put_property_u8(w, 0x29, 0);
        if (k->no_shared)
                put_property_u8(w, 0x2A, 0);
        if (k->server_keepalive_s != UINT32_MAX)
                put_property_u16(w, 0x13, k->server_keepalive_s);
        put_property_text(w, 0x1A, k->response_information);
}

/* Copies what `props` holds behind its length into `body`. */
static void put_property_block(struct writer *body, const struct writer *props)
{
        size_t n = (size_t)(props->at - props->start);

        body->is_full |= props->is_full;
        put_varint(body, n);
        put_bytes(body, props->start, n);
}

#define CONNACK_MAX_BYTES 512

size_t mqtt_encode_connack(uint8_t *out, size_t size, enum mqtt_version v, const struct mqtt_connack *k)
{
        uint8_t property_bytes[CONNACK_MAX_BYTES], body_bytes[CONNACK_MAX_BYTES];
        struct writer props = writer_on(property_bytes, sizeof(property_bytes));
        struct writer body = writer_on(body_bytes, sizeof(body_bytes));

        /* 3.1 has no session flag: its byte is reserved. */
        put_u8(&body, k->session_present && k->reason == 0 && v != MQTT_V31);
        if (v == MQTT_V5) {
                put_u8(&body, k->reason);
                put_connack_properties(&props, k);
                put_property_block(&body, &props);
        } else {
                put_u8(&body, connack_v3_code(k->reason));
        }
        return finish_packet(out, size, MQTT_CONNACK << 4, &body);
}

size_t mqtt_encode_ack(uint8_t *out, size_t size, enum mqtt_version v, enum mqtt_type type,
                       uint16_t packet_id, uint8_t reason)
{
        bool with_reason = v == MQTT_V5 && reason != 0;
        struct writer w = writer_on(out, size);

        put_u8(&w, (unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0u));
        put_u8(&w, with_reason ? 3 : 2);
        put_u16(&w, packet_id);
        if (with_reason)
                put_u8(&w, reason);
        return writer_bytes(&w);
}

size_t mqtt_encode_suback(uint8_t *out, size_t size, enum mqtt_version v, enum mqtt_type type,
                          uint16_t packet_id, const uint8_t *reasons, size_t n_reasons)
{
        size_t n_codes = type == MQTT_UNSUBACK && v != MQTT_V5 ? 0 : n_reasons;
        struct writer w = writer_on(out, size);

        put_u8(&w, (unsigned)type << 4);
        put_varint(&w, 2 + (v == MQTT_V5 ? 1u : 0u) + n_codes);
        put_u16(&w, packet_id);
        if (v == MQTT_V5)
                put_u8(&w, 0); /* no properties */
        for (size_t i = 0; i < n_codes; i++)
                put_u8(&w, v != MQTT_V5 && reasons[i] > 2 ? 0x80u : reasons[i]);
        return writer_bytes(&w);
}

size_t mqtt_encode_disconnect(uint8_t *out, size_t size, enum mqtt_version v, uint8_t reason)
{
        struct writer w = writer_on(out, size);

        if (v != MQTT_V5)
                return 0;
        put_u8(&w, MQTT_DISCONNECT << 4);
        put_u8(&w, 1);
        put_u8(&w, reason);
        return writer_bytes(&w);
}

size_t mqtt_encode_pingresp(uint8_t *out, size_t size)
{
        struct writer w = writer_on(out, size);

        put_u8(&w, MQTT_PINGRESP << 4);
        put_u8(&w, 0);
        return writer_bytes(&w);
}

static size_t publish_property_bytes(const struct mqtt_publish_head *p)
{
        size_t n = p->properties.n + (p->alias ? 3u : 0u) + (p->has_expiry ? 5u : 0u);

        for (size_t i = 0; i < p->n_sub_ids; i++)
                n += 1 + varint_bytes(p->sub_ids[i]);
        return n;
}

static void put_publish_properties(struct writer *w, const struct mqtt_publish_head *p)
{
        put_varint(w, publish_property_bytes(p));
        if (p->has_expiry)
                put_property_u32(w, 0x02, p->expiry_s);
        if (p->alias)
                put_property_u16(w, 0x23, p->alias);
        for (size_t i = 0; i < p->n_sub_ids; i++) {
                put_u8(w, 0x0B);
                put_varint(w, p->sub_ids[i]);
        }
        put_bytes(w, p->properties.data, p->properties.n);
}

size_t mqtt_encode_publish_head(uint8_t *out, size_t size, enum mqtt_version v,
                                const struct mqtt_publish_head *p)
{
        size_t n_props = v == MQTT_V5 ? publish_property_bytes(p) : 0;
        size_t n = 2 + p->topic.n + (p->qos ? 2u : 0u) + p->n_payload;
        struct writer w = writer_on(out, size);

        if (v == MQTT_V5)
                n += varint_bytes(n_props) + n_props;
        if (n > MQTT_REMAINING_MAX)
                return 0;
        put_u8(&w, MQTT_PUBLISH << 4 | (p->dup ? 8u : 0u) | (unsigned)p->qos << 1 | (p->retain ? 1u : 0u));
        put_varint(&w, n);
        put_text(&w, p->topic);
        if (p->qos)
                put_u16(&w, p->packet_id);
        if (v == MQTT_V5)
                put_publish_properties(&w, p);
        return writer_bytes(&w);
}
