/* SPDX-License-Identifier: MIT */
#include "mqtt_cursor.h"

#include "mbgate/base/byteorder.h"
#include "mbgate/base/text.h"

static const uint8_t *mqtt_cursor_advance(struct mqtt_cursor *c, size_t n)
{
        const uint8_t *at = c->at;

        if (c->is_bad || n > mqtt_cursor_left(c)) {
                c->is_bad = true;
                return NULL;
        }
        c->at += n;
        return at;
}

uint8_t mqtt_take_u8(struct mqtt_cursor *c)
{
        const uint8_t *p = mqtt_cursor_advance(c, 1);

        return p ? p[0] : 0;
}

uint16_t mqtt_take_u16(struct mqtt_cursor *c)
{
        const uint8_t *p = mqtt_cursor_advance(c, 2);

        return p ? get_be16(p) : 0;
}

uint32_t mqtt_take_u32(struct mqtt_cursor *c)
{
        const uint8_t *p = mqtt_cursor_advance(c, 4);

        return p ? get_be32(p) : 0;
}

uint32_t mqtt_take_varint(struct mqtt_cursor *c)
{
        uint32_t v = 0;

        for (unsigned i = 0; i < 4; i++) {
                uint8_t b = mqtt_take_u8(c);

                v |= (uint32_t)(b & 0x7F) << 7 * i;
                if (!(b & 0x80)) {
                        if (b == 0 && i > 0)
                                c->is_bad = true;
                        return c->is_bad ? 0 : v;
                }
        }
        c->is_bad = true;
        return 0;
}

struct mqtt_bytes mqtt_take_bytes(struct mqtt_cursor *c, size_t n)
{
        const uint8_t *p = mqtt_cursor_advance(c, n);

        return p ? (struct mqtt_bytes){ p, n } : (struct mqtt_bytes){ (const uint8_t *)"", 0 };
}

struct mqtt_bytes mqtt_take_binary(struct mqtt_cursor *c)
{
        return mqtt_take_bytes(c, mqtt_take_u16(c));
}

struct mqtt_bytes mqtt_take_utf8(struct mqtt_cursor *c)
{
        struct mqtt_bytes b = mqtt_take_binary(c);

        if (!text_is_mqtt_utf8((const char *)b.data, b.n))
                c->is_bad = true;
        return b;
}
