/* SPDX-License-Identifier: MIT */
/* What clients publish, and what they acknowledge (MQTT 5.0 §3.3 to §3.7, §4.3). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/log.h"
#include "mbgate/base/text.h"
#include "mbgate/codec/topic.h"

#include "broker_private.h"

/* ---- topic aliases, §3.3.2.3.4 ---- */

void connection_charge_aliases(struct connection *c, size_t n_more, size_t n_less)
{
        c->n_alias_bytes += n_more - n_less;
        c->broker->n_text_bytes += n_more - n_less;
}

void connection_aliases_free(struct connection *c)
{
        struct connection_aliases *a = TAKE(c->aliases);

        if (!a)
                return;
        connection_charge_aliases(c, 0, c->n_alias_bytes);
        for (size_t i = 0; i < CONNECTION_ALIASES_MAX; i++) {
                free(a->in[i]);
                free(a->out[i].topic);
        }
        free(a);
}

/* What is refused in any case is not kept: the alias of such a topic stands for an empty one. */
static size_t topic_kept_bytes(const struct connection *c, struct mqtt_bytes topic)
{
        const struct conf_broker *conf = broker_conf(c->broker);
        unsigned n_levels = 1;

        for (size_t i = 0; i < topic.n; i++)
                n_levels += topic.data[i] == '/';
        return topic.n > conf->max_topic_bytes || n_levels > conf->max_topic_levels ? 0 : topic.n;
}

static int alias_learn(struct connection *c, char **ret_topic, struct mqtt_bytes topic)
{
        size_t n = topic_kept_bytes(c, topic), n_old = *ret_topic ? strlen(*ret_topic) : 0;
        char *text = NULL;

        if (n <= n_old || session_has_room(c->session, n - n_old))
                text = strndup((const char *)topic.data, n);
        if (!text)
                return MQTT_QUOTA_EXCEEDED;
        connection_charge_aliases(c, n, n_old);
        free(*ret_topic);
        *ret_topic = text;
        return 0;
}

/* Learns an alias, or finds the topic that it stands for. 0, or the reason. */
static int publish_resolve_alias(struct connection *c, struct mqtt_publish *p)
{
        unsigned alias = p->properties.alias;
        char **topic;

        if (!(p->properties.seen & MQTT_HAS_ALIAS))
                return 0;
        if (alias == 0 || alias > c->told_alias_max)
                return MQTT_BAD_ALIAS;
        if (!c->aliases)
                c->aliases = calloc(1, sizeof(*c->aliases));
        if (!c->aliases)
                return MQTT_QUOTA_EXCEEDED;
        topic = &c->aliases->in[alias - 1];
        if (p->topic.n == 0) {
                if (!*topic)
                        return MQTT_PROTOCOL_ERROR;
                p->topic = (struct mqtt_bytes){ (const uint8_t *)*topic, strlen(*topic) };
                return 0;
        }
        return alias_learn(c, topic, p->topic);
}

/* ---- PUBLISH ---- */

static bool publish_is_ignored(const struct connection *c, const struct mqtt_publish *p)
{
        const struct conf_listener_options *o = c->options;

        for (size_t i = 0; i < o->n_ignore; i++) {
                if (topic_matches(o->ignore[i], strlen(o->ignore[i]), (const char *)p->topic.data,
                                  p->topic.n))
                        return true;
        }
        return false;
}

/* Whether it may be given on. 0, or a reason for PUBACK or PUBREC; what 3.x cannot be told is dropped. */
static int publish_check(const struct connection *c, const struct mqtt_publish *p)
{
        const struct acl_client client = session_acl_client(c->session);
        const char *topic = (const char *)p->topic.data;

        if (p->topic.n == 0 || p->topic.n > broker_conf(c->broker)->max_topic_bytes)
                return MQTT_BAD_TOPIC;
        if (!authority_may(c->broker->authority, &client, ACL_WRITE, topic, p->topic.n))
                return MQTT_NOT_AUTHORISED;
        if (p->properties.payload_is_utf8 && !text_is_mqtt_utf8((const char *)p->payload.data, p->payload.n))
                return MQTT_BAD_PAYLOAD_FORMAT;
        return 0;
}

static void publish_trace(const struct connection *c, const struct mqtt_publish *p)
{
        log_info(&c->broker->fields, "broker: client \"%s\" publishes \"%.*s\": %zu bytes, QoS %u%s",
                 c->session->id, (int)p->topic.n, (const char *)p->topic.data, p->payload.n, p->qos,
                 p->retain ? ", retained" : "");
}

static uint8_t router_reason(int r)
{
        switch (r) {
        case 0: return MQTT_SUCCESS;
        case ROUTER_NOBODY: return MQTT_NO_SUBSCRIBERS;
        case ROUTER_QUOTA: return MQTT_QUOTA_EXCEEDED;
        case ROUTER_TOO_DEEP: return MQTT_BAD_TOPIC;
        default: return MQTT_IMPLEMENTATION;
        }
}

/* Gives it on. The reason for PUBACK or PUBREC; *ret_stored: when that may be sent. */
static uint8_t publish_route(struct connection *c, const struct mqtt_publish *p, uint64_t *ret_stored)
{
        struct broker *b = c->broker;
        CLEANUP(cleanup_free)
        uint8_t *properties = NULL;
        struct publication pub = {
                .topic = (const char *)p->topic.data,
                .n_topic = p->topic.n,
                .payload = p->payload.data,
                .n_payload = p->payload.n,
                .properties = p->properties.all,
                .made_us = transport_now_us(b->transport),
                .expiry_s = p->properties.message_expiry_s,
                .expires = p->properties.seen & MQTT_HAS_EXPIRY,
                .qos = p->qos,
                .retain = p->retain,
        };
        int r;

        if (p->properties.seen & MQTT_HAS_OWN) {
                properties = malloc(p->properties.all.n);
                if (!properties)
                        return MQTT_QUOTA_EXCEEDED;
                pub.properties =
                        (struct mqtt_bytes){ properties, mqtt_pass_properties(&p->properties, properties) };
        }
        r = router_publish(b, &pub, c->session, ret_stored);
        publication_done(&pub);
        return router_reason(r);
}

/* Whether one more of QoS 1 or 2 is within what the client was told (MQTT-3.3.4-9); one that comes again is
 * none more. */
static bool publish_is_within_receive_max(const struct connection *c, const struct mqtt_publish *p)
{
        const struct queue *q = c->session->queue;
        size_t n = c->n_answers_held + (q ? queue_n_unreleased(q) : 0u);

        return c->version < MQTT_V5 || p->qos == 0 || n < c->told_receive_max ||
               (p->qos == 2 && q && queue_has_received(q, p->packet_id));
}

/* Nothing is retained here, and the client has been told: §3.2.2.3.5. To 3.x clients it cannot be told. */
static bool publish_may_retain(const struct connection *c, struct mqtt_publish *p)
{
        if (!p->retain || broker_conf(c->broker)->max_retained_messages > 0)
                return true;
        p->retain = false;
        return c->version < MQTT_V5 || !c->told_no_retain;
}

/* QoS 2, §4.3.3 method A: it is given on at once, and its id kept until PUBREL. 0 or the reason to end. */
static int publish_receive(struct connection *c, const struct mqtt_publish *p)
{
        struct session *s = c->session;
        uint64_t stored = 0;
        struct queue *q;
        uint8_t reason;
        int r = session_queue(s, &q);

        if (r < 0)
                return MQTT_QUOTA_EXCEEDED;
        r = queue_receive(q, p->packet_id);
        if (r == QUEUE_AGAIN) {
                stored = persistence_last(c->broker->persistence);
                connection_put_ack(c, MQTT_PUBREC, p->packet_id, MQTT_SUCCESS, stored);
                return 0;
        }
        if (r != 0)
                return r == QUEUE_EXCEEDED ? MQTT_RECEIVE_MAXIMUM : MQTT_QUOTA_EXCEEDED;
        reason = (uint8_t)publish_check(c, p);
        if (reason == 0 && !publish_is_ignored(c, p))
                reason = publish_route(c, p, &stored);
        if (c->version < MQTT_V5 || reason < 0x80)
                stored = MBGATE_MAX(stored, persistence_received(c->broker->persistence, s, p->packet_id));
        else
                (void)queue_release(q, p->packet_id); /* §4.3.3: the id is free again */
        connection_put_ack(c, MQTT_PUBREC, p->packet_id, reason, stored);
        return 0;
}

int connection_on_publish(struct connection *c, const struct mqtt_frame *f)
{
        struct mqtt_publish p;
        uint64_t stored = 0;
        uint8_t reason;
        int r = mqtt_decode_publish(f, (enum mqtt_version)c->version, &p);

        if (r == 0)
                r = publish_resolve_alias(c, &p);
        if (r != 0)
                return r;
        c->broker->stats.n_publish_in++;
        c->broker->stats.n_publish_bytes_in += p.payload.n;
        if (c->options->trace)
                publish_trace(c, &p);
        if (!publish_is_within_receive_max(c, &p))
                return MQTT_RECEIVE_MAXIMUM;
        if (!publish_may_retain(c, &p))
                return MQTT_NO_RETAIN;
        if (p.qos == 2)
                return publish_receive(c, &p);
        reason = (uint8_t)publish_check(c, &p);
        if (reason == 0 && !publish_is_ignored(c, &p))
                reason = publish_route(c, &p, &stored);
        if (p.qos == 1)
                connection_put_ack(c, MQTT_PUBACK, p.packet_id, reason, stored);
        return 0;
}

/* ---- acknowledgements ---- */

/* PUBREC: PUBREL is the answer, also to an id that we do not know (with the reason); none to an error, which
 * ends it (§4.3.3). */
static int ack_pubrec(struct connection *c, struct queue *q, const struct mqtt_ack *a, uint64_t number)
{
        struct persistence *p = c->broker->persistence;
        int r = q ? queue_pubrec(q, a->packet_id, a->reason) : QUEUE_UNKNOWN;
        uint64_t stored;

        if (r == QUEUE_WRONG)
                return r;
        if (a->reason >= 0x80) {
                if (r == 0)
                        (void)persistence_acked(p, c->session, number);
                return 0;
        }
        stored = r == 0 ? persistence_pubrec(p, c->session, number) : 0;
        connection_put_ack(c, MQTT_PUBREL, a->packet_id, r == 0 ? MQTT_SUCCESS : MQTT_ID_NOT_FOUND, stored);
        return 0;
}

static void ack_pubrel(struct connection *c, struct queue *q, const struct mqtt_ack *a)
{
        int r = q ? queue_release(q, a->packet_id) : QUEUE_UNKNOWN;
        uint64_t stored = r == 0 ? persistence_released(c->broker->persistence, c->session, a->packet_id) : 0;

        connection_put_ack(c, MQTT_PUBCOMP, a->packet_id, r == 0 ? MQTT_SUCCESS : MQTT_ID_NOT_FOUND, stored);
}

/* A message has come to its end at the client. One that nobody knows is not worth a connection. */
static int ack_done(struct connection *c, int r, uint64_t number)
{
        if (r == 0)
                (void)persistence_acked(c->broker->persistence, c->session, number);
        return r == QUEUE_WRONG ? r : 0;
}

/* 0, or QUEUE_WRONG. */
static int connection_take_ack(struct connection *c, enum mqtt_type type, const struct mqtt_ack *a)
{
        struct queue *q = c->session->queue;
        uint64_t number = q ? queue_number_of(q, a->packet_id) : 0;

        if (type == MQTT_PUBREC)
                return ack_pubrec(c, q, a, number);
        if (type == MQTT_PUBREL)
                ack_pubrel(c, q, a);
        else if (q && type == MQTT_PUBACK)
                return ack_done(c, queue_puback(q, a->packet_id), number);
        else if (q)
                return ack_done(c, queue_pubcomp(q, a->packet_id), number);
        return 0;
}

int connection_on_ack(struct connection *c, const struct mqtt_frame *f)
{
        struct broker *b = c->broker;
        struct queue *q = c->session->queue;
        size_t n_before = q ? queue_n_bytes(q) : 0;
        struct mqtt_ack a;
        int r = mqtt_decode_ack(f, (enum mqtt_version)c->version, &a);

        if (r != 0)
                return r;
        if (connection_take_ack(c, f->type, &a) != 0)
                return MQTT_PROTOCOL_ERROR;
        c->taken_us = transport_now_us(b->transport);
        if (q)
                b->n_queued_bytes -= n_before - queue_n_bytes(q);
        connection_mark_dirty(c);
        return 0;
}
