/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "mqtt_cursor.h"

#include "mbgate/codec/topic.h"

#define FIXED_HEADER_MAX_BYTES 5
#define BRIDGE_LEVEL           0x80u

/* Flags that a packet type must carry, §2.1.3; PUBLISH may have any, and those of CONNECT depend on its
 * version. 3.1 calls most of them "not used" (§3) and sets DUP where it sends again (§4.2). */
static bool mqtt_flags_fit(unsigned type, unsigned flags, enum mqtt_version v)
{
        switch (type) {
        case MQTT_CONNECT:
        case MQTT_PUBLISH: return true;
        case MQTT_PUBREL:
        case MQTT_SUBSCRIBE:
        case MQTT_UNSUBSCRIBE: return flags == 2 || (v == MQTT_V31 && (flags & ~9u) == 2);
        default: return flags == 0 || v == MQTT_V31;
        }
}

int mqtt_frame(const uint8_t *bytes, size_t n_bytes, enum mqtt_version v, struct mqtt_frame *ret_frame)
{
        size_t n_header = 1;
        uint32_t remaining = 0;

        *ret_frame = (struct mqtt_frame){ .n_total = 0 };
        if (n_bytes == 0)
                return 0;
        if (bytes[0] >> 4 == 0)
                return -EPROTO;
        if (!mqtt_flags_fit(bytes[0] >> 4, bytes[0] & 0x0F, v))
                return -EBADMSG;
        for (;;) {
                uint8_t b;

                if (n_header == FIXED_HEADER_MAX_BYTES)
                        return -EBADMSG;
                if (n_header == n_bytes)
                        return 0;
                b = bytes[n_header];
                remaining |= (uint32_t)(b & 0x7F) << 7 * (n_header - 1);
                n_header++;
                if (!(b & 0x80))
                        break;
        }
        if (n_header > 2 && bytes[n_header - 1] == 0)
                return -EBADMSG; /* not the shortest form */
        ret_frame->type = (enum mqtt_type)(bytes[0] >> 4);
        ret_frame->flags = bytes[0] & 0x0F;
        ret_frame->body = bytes + n_header;
        ret_frame->n_body = remaining;
        ret_frame->n_total = n_header + remaining;
        return ret_frame->n_total <= n_bytes;
}

static bool mqtt_bytes_equal(struct mqtt_bytes b, const char *text)
{
        return b.n == strlen(text) && memcmp(b.data, text, b.n) == 0;
}

/* Protocol name and level, §3.1.2.1 and .2. A level that nobody knows is told in the words of 3.1.1, which
 * demands an answer (MQTT-3.1.2-2), where 5.0 allows one; bridges that try "private" levels wait for it. */
static int connect_take_version(struct mqtt_cursor *c, enum mqtt_version *ret, bool *ret_is_bridge)
{
        struct mqtt_bytes name = mqtt_take_utf8(c);
        uint8_t level = mqtt_take_u8(c);

        if (c->is_bad)
                return MQTT_MALFORMED;
        *ret_is_bridge = level == (MQTT_V31 | BRIDGE_LEVEL) || level == (MQTT_V311 | BRIDGE_LEVEL);
        if (*ret_is_bridge)
                level &= (uint8_t)~BRIDGE_LEVEL;
        *ret = level == MQTT_V5 ? MQTT_V5 : level == MQTT_V31 ? MQTT_V31 : MQTT_V311;
        if (mqtt_bytes_equal(name, "MQIsdp"))
                return level == MQTT_V31 ? 0 : MQTT_BAD_VERSION;
        if (mqtt_bytes_equal(name, "MQTT"))
                return level == MQTT_V311 || level == MQTT_V5 ? 0 : MQTT_BAD_VERSION;
        return MQTT_BAD_VERSION;
}

enum connect_flags {
        CONNECT_RESERVED = 0x01,
        CONNECT_CLEAN = 0x02,
        CONNECT_WILL = 0x04,
        CONNECT_WILL_RETAIN = 0x20,
        CONNECT_PASSWORD = 0x40,
        CONNECT_USERNAME = 0x80,
};

static bool connect_flags_fit(uint8_t flags, enum mqtt_version v)
{
        unsigned will_qos = flags >> 3 & 3;

        if ((flags & CONNECT_RESERVED && v != MQTT_V31) || will_qos == 3)
                return false; /* 3.1 does not use the bit */
        if (!(flags & CONNECT_WILL) && (will_qos != 0 || flags & CONNECT_WILL_RETAIN))
                return false;
        /* 3.1.1 §3.1.2.9: no password without a user name; 5.0 allows it. */
        return v == MQTT_V5 || !(flags & CONNECT_PASSWORD) || flags & CONNECT_USERNAME;
}

/* §3.3.2.3.5: no wildcards. As a string it is well-formed, so it is the protocol that is hurt. */
static int response_topic_check(struct mqtt_bytes topic)
{
        if (topic.data && !topic_is_name((const char *)topic.data, topic.n))
                return MQTT_PROTOCOL_ERROR;
        return 0;
}

static int connect_take_will(struct mqtt_cursor *c, uint8_t flags, struct mqtt_connect *k)
{
        struct mqtt_bytes answer = { NULL, 0 };
        int r;

        k->has_will = true;
        k->will_qos = flags >> 3 & 3;
        k->will_retain = flags & CONNECT_WILL_RETAIN;
        if (k->version == MQTT_V5) {
                r = mqtt_take_properties(c, MQTT_IN_WILL, &k->will_properties);
                if (r != 0)
                        return r;
                answer = k->will_properties.response_topic;
        }
        k->will_topic = mqtt_take_utf8(c);
        k->will_payload = mqtt_take_binary(c);
        if (c->is_bad)
                return MQTT_MALFORMED;
        return topic_is_name((const char *)k->will_topic.data, k->will_topic.n) ? response_topic_check(answer)
                                                                                : MQTT_MALFORMED;
}

/* Whether the string that a flag announces is to be read. 3.1 §3.1: the length of the packet counts, not the
 * flag, so that it may be missing. */
static bool connect_has_string(const struct mqtt_cursor *c, uint8_t flags, enum connect_flags flag,
                               enum mqtt_version v)
{
        return flags & flag && (v != MQTT_V31 || mqtt_cursor_left(c) > 0);
}

static int connect_take_payload(struct mqtt_cursor *c, uint8_t flags, struct mqtt_connect *k)
{
        int r;

        k->client_id = mqtt_take_utf8(c);
        if (c->is_bad)
                return MQTT_MALFORMED;
        if (flags & CONNECT_WILL) {
                r = connect_take_will(c, flags, k);
                if (r != 0)
                        return r;
        }
        if (connect_has_string(c, flags, CONNECT_USERNAME, k->version))
                k->username = mqtt_take_utf8(c);
        if (connect_has_string(c, flags, CONNECT_PASSWORD, k->version))
                k->password = mqtt_take_binary(c);
        return c->is_bad || mqtt_cursor_left(c) > 0 ? MQTT_MALFORMED : 0;
}

int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret_connect)
{
        struct mqtt_cursor c = mqtt_cursor_on(f->body, f->n_body);
        struct mqtt_connect k = { .version = MQTT_V311 };
        uint8_t flags;
        int r;

        r = connect_take_version(&c, &k.version, &k.is_bridge);
        ret_connect->version = k.version;
        if (r != 0)
                return r;
        flags = mqtt_take_u8(&c);
        k.keepalive_s = mqtt_take_u16(&c);
        if (c.is_bad || !connect_flags_fit(flags, k.version) || (f->flags != 0 && k.version != MQTT_V31))
                return MQTT_MALFORMED;
        k.clean = flags & CONNECT_CLEAN;
        if (k.version == MQTT_V5) {
                r = mqtt_take_properties(&c, MQTT_IN_CONNECT, &k.properties);
                if (r != 0)
                        return r;
                if (k.properties.auth_data.data && !k.properties.auth_method.data)
                        return MQTT_PROTOCOL_ERROR; /* §3.1.2.11.10 */
        }
        r = connect_take_payload(&c, flags, &k);
        if (r != 0)
                return r;
        *ret_connect = k;
        return 0;
}

/* A topic name of zero length needs an alias (§3.3.2.1). 0x90 is for names that are "correctly formed, but
 * not accepted" (§2.4): one with wildcards is malformed. */
static int publish_check_topics(const struct mqtt_publish *p)
{
        if (p->topic.n == 0) {
                if (p->properties.alias == 0)
                        return MQTT_PROTOCOL_ERROR;
        } else if (!topic_is_name((const char *)p->topic.data, p->topic.n)) {
                return MQTT_MALFORMED;
        }
        return response_topic_check(p->properties.response_topic);
}

int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *ret_publish)
{
        struct mqtt_cursor c = mqtt_cursor_on(f->body, f->n_body);
        struct mqtt_publish p = {
                .dup = f->flags & 8,
                .qos = f->flags >> 1 & 3,
                .retain = f->flags & 1,
        };
        int r;

        if (p.qos == 3 || (p.dup && p.qos == 0))
                return MQTT_MALFORMED; /* §3.3.1.1, §3.3.1.2 */
        p.topic = mqtt_take_utf8(&c);
        if (p.qos > 0) {
                p.packet_id = mqtt_take_u16(&c);
                if (!c.is_bad && p.packet_id == 0)
                        return MQTT_PROTOCOL_ERROR; /* §2.2.1 */
        }
        if (c.is_bad)
                return MQTT_MALFORMED;
        if (v == MQTT_V5) {
                r = mqtt_take_properties(&c, MQTT_IN_PUBLISH, &p.properties);
                if (r != 0)
                        return r;
        }
        p.payload = mqtt_take_bytes(&c, mqtt_cursor_left(&c));
        r = publish_check_topics(&p);
        if (r != 0)
                return r;
        *ret_publish = p;
        return 0;
}

/* What stands behind the id of an acknowledgement, or is a whole DISCONNECT: reason and properties, both
 * optional. */
static int ack_take_rest(struct mqtt_cursor *c, enum mqtt_version v, enum mqtt_property_place place,
                         struct mqtt_ack *a)
{
        int r;

        if (v == MQTT_V5 && mqtt_cursor_left(c) > 0) {
                a->reason = mqtt_take_u8(c);
                if (mqtt_cursor_left(c) > 0) {
                        r = mqtt_take_properties(c, place, &a->properties);
                        if (r != 0)
                                return r;
                }
        }
        return c->is_bad || mqtt_cursor_left(c) > 0 ? MQTT_MALFORMED : 0;
}

/* Which reason codes may stand in an acknowledgement: §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1. */
static bool ack_reason_fits(enum mqtt_type type, uint8_t reason)
{
        static const uint8_t received[] = { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 };

        if (type == MQTT_PUBREL || type == MQTT_PUBCOMP)
                return reason == MQTT_SUCCESS || reason == MQTT_ID_NOT_FOUND;
        return memchr(received, reason, sizeof(received)) != NULL;
}

int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *ret_ack)
{
        struct mqtt_cursor c = mqtt_cursor_on(f->body, f->n_body);
        struct mqtt_ack a = { .packet_id = mqtt_take_u16(&c) };
        int r;

        if (c.is_bad)
                return MQTT_MALFORMED;
        if (a.packet_id == 0)
                return MQTT_PROTOCOL_ERROR;
        r = ack_take_rest(&c, v, MQTT_IN_ACK, &a);
        if (r != 0)
                return r;
        if (!ack_reason_fits(f->type, a.reason))
                return MQTT_PROTOCOL_ERROR;
        *ret_ack = a;
        return 0;
}

int mqtt_decode_disconnect(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *ret_ack)
{
        /* §3.14.2.1: the codes that a client may send. */
        static const uint8_t from_client[] = { 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                               0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99 };
        static const uint8_t in_auth[] = { 0x00, 0x18, 0x19 };
        struct mqtt_cursor c = mqtt_cursor_on(f->body, f->n_body);
        bool is_auth = f->type == MQTT_AUTH;
        struct mqtt_ack a = { .packet_id = 0 };
        int r;

        r = ack_take_rest(&c, v, is_auth ? MQTT_IN_AUTH : MQTT_IN_DISCONNECT, &a);
        if (r != 0)
                return r;
        if (is_auth ? !memchr(in_auth, a.reason, sizeof(in_auth))
                    : !memchr(from_client, a.reason, sizeof(from_client)))
                return MQTT_PROTOCOL_ERROR;
        *ret_ack = a;
        return 0;
}

/* The part of a shared subscription behind "$share/NAME/", or the whole filter: §4.8.2. Empty where it is
 * wrong. */
static struct mqtt_bytes filter_without_share(struct mqtt_bytes filter)
{
        static const char prefix[] = "$share/";
        const size_t n_prefix = sizeof(prefix) - 1;
        const uint8_t *name = filter.data + n_prefix;
        const uint8_t *slash;

        if (filter.n < n_prefix || memcmp(filter.data, prefix, n_prefix) != 0)
                return filter;
        slash = memchr(name, '/', filter.n - n_prefix);
        if (!slash || slash == name || memchr(name, '+', (size_t)(slash - name)) ||
            memchr(name, '#', (size_t)(slash - name)))
                return (struct mqtt_bytes){ filter.data, 0 };
        return (struct mqtt_bytes){ slash + 1, filter.n - (size_t)(slash + 1 - filter.data) };
}

/* One filter and, for SUBSCRIBE, its options: §3.8.3.1. In 3.x only the QoS bits may be set. */
static int subscribe_take_filter(struct mqtt_cursor *c, bool with_options, enum mqtt_version v,
                                 struct mqtt_filter *ret)
{
        struct mqtt_filter s = { .filter = mqtt_take_utf8(c) };
        struct mqtt_bytes plain;
        uint8_t options = with_options ? mqtt_take_u8(c) : 0;

        if (c->is_bad || (options & 3) == 3 || options & (v == MQTT_V5 ? 0xC0 : 0xFC))
                return MQTT_MALFORMED;
        s.qos = options & 3;
        s.no_local = options & 4;
        s.retain_as_published = options & 8;
        s.retain_handling = options >> 4 & 3;
        if (s.retain_handling == 3)
                return MQTT_PROTOCOL_ERROR;
        if (!topic_is_filter((const char *)s.filter.data, s.filter.n))
                return MQTT_MALFORMED;
        plain = filter_without_share(s.filter);
        if (plain.n == 0)
                return MQTT_PROTOCOL_ERROR; /* a shared one without name or filter: §4.8.2 */
        if (s.no_local && plain.data != s.filter.data)
                return MQTT_PROTOCOL_ERROR; /* no-local on a shared subscription */
        *ret = s;
        return 0;
}

int mqtt_decode_subscribe(const struct mqtt_frame *f, enum mqtt_version v,
                          struct mqtt_subscribe *ret_subscribe)
{
        bool with_options = f->type == MQTT_SUBSCRIBE;
        struct mqtt_cursor c = mqtt_cursor_on(f->body, f->n_body);
        struct mqtt_subscribe s = { .packet_id = mqtt_take_u16(&c) };
        struct mqtt_filter filter;
        int r;

        if (c.is_bad || s.packet_id == 0)
                return MQTT_MALFORMED;
        if (v == MQTT_V5) {
                r = mqtt_take_properties(&c, with_options ? MQTT_IN_SUBSCRIBE : MQTT_IN_UNSUBSCRIBE,
                                         &s.properties);
                if (r != 0)
                        return r;
        }
        s.filters = (struct mqtt_bytes){ c.at, mqtt_cursor_left(&c) };
        if (s.filters.n == 0)
                return MQTT_PROTOCOL_ERROR; /* §3.8.3, §3.10.3: at least one */
        while (mqtt_cursor_left(&c) > 0) {
                r = subscribe_take_filter(&c, with_options, v, &filter);
                if (r != 0)
                        return r;
        }
        *ret_subscribe = s;
        return 0;
}

int mqtt_next_filter(struct mqtt_subscribe *s, bool with_options, struct mqtt_filter *ret_filter)
{
        struct mqtt_cursor c = mqtt_cursor_on(s->filters.data, s->filters.n);

        if (s->filters.n == 0 || subscribe_take_filter(&c, with_options, MQTT_V5, ret_filter) != 0)
                return 0;
        s->filters = (struct mqtt_bytes){ c.at, mqtt_cursor_left(&c) };
        return 1;
}
