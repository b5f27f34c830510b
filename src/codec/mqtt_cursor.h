/* SPDX-License-Identifier: MIT */
/*
 * The one way to read bytes of an MQTT packet: bounded, with an error that sticks. After the first read that
 * goes too far every read gives zero, and who decodes asks once at the end. Pure; lives on the stack.
 */
#ifndef MBGATE_CODEC_MQTT_CURSOR_H
#define MBGATE_CODEC_MQTT_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/codec/mqtt.h"

struct mqtt_cursor {
        const uint8_t *at;
        const uint8_t *end;
        bool is_bad;
};

static inline struct mqtt_cursor mqtt_cursor_on(const uint8_t *bytes, size_t n)
{
        return (struct mqtt_cursor){ .at = bytes, .end = bytes + n };
}

static inline size_t mqtt_cursor_left(const struct mqtt_cursor *c)
{
        return (size_t)(c->end - c->at);
}

uint8_t mqtt_take_u8(struct mqtt_cursor *c);
uint16_t mqtt_take_u16(struct mqtt_cursor *c);
uint32_t mqtt_take_u32(struct mqtt_cursor *c);

/* Variable byte integer of at most four bytes, in its shortest form: MQTT 5.0 §1.5.5. */
uint32_t mqtt_take_varint(struct mqtt_cursor *c);

/* Length of two bytes, then that many. .data is never NULL. */
struct mqtt_bytes mqtt_take_binary(struct mqtt_cursor *c);

/* The same, and well-formed UTF-8 without U+0000: §1.5.4. */
struct mqtt_bytes mqtt_take_utf8(struct mqtt_cursor *c);

/* Exactly `n` bytes. */
struct mqtt_bytes mqtt_take_bytes(struct mqtt_cursor *c, size_t n);

/* Which packet the properties belong to; wills have their own set. */
enum mqtt_property_place {
        MQTT_IN_CONNECT = 1 << 0,
        MQTT_IN_WILL = 1 << 1,
        MQTT_IN_PUBLISH = 1 << 2,
        MQTT_IN_ACK = 1 << 3,
        MQTT_IN_SUBSCRIBE = 1 << 4,
        MQTT_IN_UNSUBSCRIBE = 1 << 5,
        MQTT_IN_DISCONNECT = 1 << 6,
        MQTT_IN_AUTH = 1 << 7,
};

/* Property length and properties. 0, MQTT_MALFORMED (unknown, or not in this packet), or MQTT_PROTOCOL_ERROR
 * (twice, or a value that is not allowed). */
MUST_CHECK int mqtt_take_properties(struct mqtt_cursor *c, enum mqtt_property_place place,
                                    struct mqtt_properties *ret);

#endif
