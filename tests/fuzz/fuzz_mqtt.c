/* SPDX-License-Identifier: MIT */
/*
 * Packets from clients: the framing of a stream, and each decoder on what it has framed. The first byte is
 * the version. What is decoded must lie inside the packet; what is passed on of properties must decode to the
 * same again; what is framed whole must not be framed otherwise when it comes in pieces.
 */
#include "mbgate/codec/mqtt.h"
#include "mbgate/codec/mqtt_encode.h"
#include "mbgate/codec/topic.h"

#include "fuzz.h"

static const struct mqtt_frame *packet;

static void check_inside(struct mqtt_bytes b)
{
        if (b.data)
                FUZZ_ASSERT(b.data >= packet->body && b.data + b.n <= packet->body + packet->n_body);
}

static void check_properties(const struct mqtt_properties *p)
{
        check_inside(p->all);
        check_inside(p->content_type);
        check_inside(p->response_topic);
        check_inside(p->correlation);
        check_inside(p->auth_method);
        check_inside(p->auth_data);
        check_inside(p->reason_string);
}

static void check_connect(const struct mqtt_frame *f)
{
        struct mqtt_connect k = { .version = MQTT_V311 };

        if (mqtt_decode_connect(f, &k) != 0)
                return;
        check_properties(&k.properties);
        check_properties(&k.will_properties);
        check_inside(k.client_id);
        check_inside(k.will_topic);
        check_inside(k.will_payload);
        check_inside(k.username);
        check_inside(k.password);
}

/* A PUBLISH that was taken in goes out again, and that decodes. */
static void check_again(const struct mqtt_publish *p, enum mqtt_version v)
{
        size_t size = p->topic.n + p->properties.all.n + p->payload.n + 64;
        uint8_t *properties = malloc(p->properties.all.n + 1), *out = malloc(size);
        struct mqtt_publish_head head = { .qos = p->qos,
                                          .packet_id = p->packet_id,
                                          .topic = p->topic,
                                          .alias = p->topic.n == 0,
                                          .n_payload = p->payload.n };
        const struct mqtt_frame *was = packet;
        struct mqtt_frame f;
        struct mqtt_publish again;
        size_t n;

        FUZZ_ASSERT(properties && out);
        if (v == MQTT_V5)
                head.properties =
                        (struct mqtt_bytes){ properties, mqtt_pass_properties(&p->properties, properties) };
        n = mqtt_encode_publish_head(out, size, v, &head);
        FUZZ_ASSERT(n > 0 && n + p->payload.n <= size);
        if (p->payload.n > 0)
                memcpy(out + n, p->payload.data, p->payload.n);
        FUZZ_ASSERT(mqtt_frame(out, n + p->payload.n, MQTT_V5, &f) == 1 && f.n_total == n + p->payload.n);
        packet = &f;
        FUZZ_ASSERT(mqtt_decode_publish(&f, v, &again) == 0);
        FUZZ_ASSERT(again.payload.n == p->payload.n && again.topic.n == p->topic.n);
        FUZZ_ASSERT(again.properties.content_type.n == p->properties.content_type.n);
        FUZZ_ASSERT(again.properties.correlation.n == p->properties.correlation.n);
        packet = was;
        free(properties);
        free(out);
}

static void check_publish(const struct mqtt_frame *f, enum mqtt_version v)
{
        struct mqtt_publish p;

        if (mqtt_decode_publish(f, v, &p) != 0)
                return;
        check_properties(&p.properties);
        check_inside(p.payload);
        if (p.topic.n > 0)
                FUZZ_ASSERT(topic_is_name((const char *)p.topic.data, p.topic.n));
        if (p.topic.n > 0 || v == MQTT_V5)
                check_again(&p, v);
}

static void check_subscribe(const struct mqtt_frame *f, enum mqtt_version v)
{
        struct mqtt_subscribe s;
        struct mqtt_filter filter;
        bool with_options = f->type == MQTT_SUBSCRIBE;
        size_t n = 0;

        if (mqtt_decode_subscribe(f, v, &s) != 0)
                return;
        check_properties(&s.properties);
        while (mqtt_next_filter(&s, with_options, &filter)) {
                check_inside(filter.filter);
                n++;
        }
        FUZZ_ASSERT(n > 0 && s.filters.n == 0);
}

static void check_packet(const struct mqtt_frame *f, enum mqtt_version v)
{
        struct mqtt_ack a;

        packet = f;
        switch (f->type) {
        case MQTT_CONNECT: check_connect(f); break;
        case MQTT_PUBLISH: check_publish(f, v); break;
        case MQTT_PUBACK:
        case MQTT_PUBREC:
        case MQTT_PUBREL:
        case MQTT_PUBCOMP:
                if (mqtt_decode_ack(f, v, &a) == 0)
                        check_properties(&a.properties);
                break;
        case MQTT_SUBSCRIBE:
        case MQTT_UNSUBSCRIBE: check_subscribe(f, v); break;
        case MQTT_DISCONNECT:
        case MQTT_AUTH:
                if (mqtt_decode_disconnect(f, v, &a) == 0)
                        check_properties(&a.properties);
                break;
        default: break;
        }
        packet = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const enum mqtt_version versions[] = { MQTT_V31, MQTT_V311, MQTT_V5, MQTT_V5 };
        struct fuzz_input in = { data, n };
        enum mqtt_version v = versions[fuzz_u8(&in) & 3];
        struct mqtt_frame f, shorter;

        while (in.n > 0 && mqtt_frame(in.data, in.n, v, &f) == 1) {
                FUZZ_ASSERT(f.n_total <= in.n && f.body + f.n_body == in.data + f.n_total);
                for (size_t i = 0; i < f.n_total && i < 8; i++)
                        FUZZ_ASSERT(mqtt_frame(in.data, i, v, &shorter) == 0);
                check_packet(&f, v);
                in.data += f.n_total;
                in.n -= f.n_total;
        }
        return 0;
}
