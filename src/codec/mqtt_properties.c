/* SPDX-License-Identifier: MIT */
/* The properties of MQTT 5.0 §2.2.2.2: one table says what each is, where it may stand and where it goes. */
#include <string.h>

#include "mqtt_cursor.h"

enum property_type {
        PROPERTY_BOOL, /* a byte that must be 0 or 1 */
        PROPERTY_U16,
        PROPERTY_U32,
        PROPERTY_VARINT,
        PROPERTY_UTF8,
        PROPERTY_BINARY,
        PROPERTY_PAIR,
};

struct property_row {
        uint8_t id;
        enum property_type type;
        unsigned places; /* of enum mqtt_property_place: what a client may send */
        size_t offset;   /* in struct mqtt_properties; unused for pairs */
        bool not_zero;
};

#define AT(member) offsetof(struct mqtt_properties, member)
#define IN_ALL     0xFFu

/* What stands in no packet of a client is absent. Bits of enum mqtt_property_own are numbers of rows. */
static const struct property_row property_rows[] = {
        { 0x01, PROPERTY_BOOL, MQTT_IN_PUBLISH | MQTT_IN_WILL, AT(payload_is_utf8), false },
        { 0x02, PROPERTY_U32, MQTT_IN_PUBLISH | MQTT_IN_WILL, AT(message_expiry_s), false },
        { 0x03, PROPERTY_UTF8, MQTT_IN_PUBLISH | MQTT_IN_WILL, AT(content_type), false },
        { 0x08, PROPERTY_UTF8, MQTT_IN_PUBLISH | MQTT_IN_WILL, AT(response_topic), false },
        { 0x09, PROPERTY_BINARY, MQTT_IN_PUBLISH | MQTT_IN_WILL, AT(correlation), false },
        { 0x0B, PROPERTY_VARINT, MQTT_IN_SUBSCRIBE, AT(subscription_id), true },
        { 0x11, PROPERTY_U32, MQTT_IN_CONNECT | MQTT_IN_DISCONNECT, AT(session_expiry_s), false },
        { 0x15, PROPERTY_UTF8, MQTT_IN_CONNECT | MQTT_IN_AUTH, AT(auth_method), false },
        { 0x16, PROPERTY_BINARY, MQTT_IN_CONNECT | MQTT_IN_AUTH, AT(auth_data), false },
        { 0x17, PROPERTY_BOOL, MQTT_IN_CONNECT, AT(want_problem_information), false },
        { 0x18, PROPERTY_U32, MQTT_IN_WILL, AT(will_delay_s), false },
        { 0x19, PROPERTY_BOOL, MQTT_IN_CONNECT, AT(want_response_information), false },
        { 0x1F, PROPERTY_UTF8, MQTT_IN_ACK | MQTT_IN_DISCONNECT | MQTT_IN_AUTH, AT(reason_string), false },
        { 0x21, PROPERTY_U16, MQTT_IN_CONNECT, AT(receive_max), true },
        { 0x22, PROPERTY_U16, MQTT_IN_CONNECT, AT(alias_max), false },
        { 0x23, PROPERTY_U16, MQTT_IN_PUBLISH, AT(alias),
          false }, /* 0 is Topic Alias invalid: the broker says so */
        { 0x26, PROPERTY_PAIR, IN_ALL, 0, false },
        { 0x27, PROPERTY_U32, MQTT_IN_CONNECT, AT(max_packet_bytes), true },
        { 0x1C, PROPERTY_UTF8, MQTT_IN_DISCONNECT, AT(server_reference), false },
};

static const struct property_row *property_find(uint32_t id)
{
        for (size_t i = 0; i < ARRAY_SIZE(property_rows); i++) {
                if (property_rows[i].id == id)
                        return &property_rows[i];
        }
        return NULL;
}

/* §2.2.2.2: an identifier that is not valid for the type of the packet makes it malformed. A subscription
 * identifier is valid for PUBLISH, though not for a client's. */
static bool property_fits(const struct property_row *row, enum mqtt_property_place place)
{
        return row->places & (unsigned)place || (row->id == 0x0B && place == MQTT_IN_PUBLISH);
}

/* Reads one value into its member. Returns false where the value itself is not allowed. */
static bool property_take(struct mqtt_cursor *c, const struct property_row *row, struct mqtt_properties *p)
{
        void *member = (char *)p + row->offset;
        uint32_t number = 1;

        switch (row->type) {
        case PROPERTY_BOOL:
                number = mqtt_take_u8(c);
                if (number > 1)
                        return false;
                *(bool *)member = number;
                return true;
        case PROPERTY_U16: number = *(uint16_t *)member = mqtt_take_u16(c); break;
        case PROPERTY_U32: number = *(uint32_t *)member = mqtt_take_u32(c); break;
        case PROPERTY_VARINT: number = *(uint32_t *)member = mqtt_take_varint(c); break;
        case PROPERTY_UTF8: *(struct mqtt_bytes *)member = mqtt_take_utf8(c); break;
        case PROPERTY_BINARY: *(struct mqtt_bytes *)member = mqtt_take_binary(c); break;
        case PROPERTY_PAIR:
                (void)mqtt_take_utf8(c);
                (void)mqtt_take_utf8(c);
                break;
        }
        return c->is_bad || !row->not_zero || number != 0;
}

static struct mqtt_properties property_defaults(void)
{
        /* §3.1.2.11: what holds when a property is absent. */
        return (struct mqtt_properties){
                .receive_max = 65535,
                .max_packet_bytes = UINT32_MAX,
                .want_problem_information = true,
        };
}

int mqtt_take_properties(struct mqtt_cursor *c, enum mqtt_property_place place, struct mqtt_properties *ret)
{
        struct mqtt_properties p = property_defaults();
        struct mqtt_cursor in;

        p.all = mqtt_take_bytes(c, mqtt_take_varint(c));
        if (c->is_bad)
                return MQTT_MALFORMED;
        in = mqtt_cursor_on(p.all.data, p.all.n);
        while (mqtt_cursor_left(&in) > 0) {
                uint32_t id = mqtt_take_varint(&in);
                const struct property_row *row = in.is_bad ? NULL : property_find(id);
                uint32_t bit;

                if (!row || !property_fits(row, place))
                        return MQTT_MALFORMED;
                bit = UINT32_C(1) << (row - property_rows);
                if ((p.seen & bit) && row->type != PROPERTY_PAIR)
                        return MQTT_PROTOCOL_ERROR;
                p.seen |= bit;
                if (!property_take(&in, row, &p))
                        return MQTT_PROTOCOL_ERROR;
                if (in.is_bad)
                        return MQTT_MALFORMED;
                if (!(row->places & (unsigned)place))
                        return MQTT_PROTOCOL_ERROR; /* MQTT-3.3.4-6 */
        }
        *ret = p;
        return 0;
}

/* Takes one property, whose value is known to be sound, without looking at it. */
static void property_skip(struct mqtt_cursor *c, const struct property_row *row)
{
        struct mqtt_properties ignored;

        (void)property_take(c, row, &ignored);
}

size_t mqtt_pass_properties(const struct mqtt_properties *p, uint8_t *out)
{
        struct mqtt_cursor c = mqtt_cursor_on(p->all.data, p->all.n);
        size_t n = 0;

        while (mqtt_cursor_left(&c) > 0) {
                const uint8_t *start = c.at;
                const struct property_row *row = property_find(mqtt_take_varint(&c));

                if (!row)
                        return n; /* cannot be: the decoder has seen them all */
                property_skip(&c, row);
                if ((UINT32_C(1) << (row - property_rows)) & MQTT_HAS_OWN)
                        continue;
                memcpy(out + n, start, (size_t)(c.at - start));
                n += (size_t)(c.at - start);
        }
        return n;
}

void mqtt_request_properties(struct mqtt_bytes encoded, struct mqtt_bytes *ret_response_topic,
                             struct mqtt_bytes *ret_correlation)
{
        struct mqtt_cursor c = mqtt_cursor_on(encoded.data, encoded.n);
        struct mqtt_properties p = { .seen = 0 };

        while (mqtt_cursor_left(&c) > 0) {
                const struct property_row *row = property_find(mqtt_take_varint(&c));

                if (!row || !property_take(&c, row, &p) || c.is_bad)
                        break;
        }
        *ret_response_topic = p.response_topic;
        *ret_correlation = p.correlation;
}
