/* SPDX-License-Identifier: MIT */
/* Packets on their way to a client: answers, messages from its queue, walks and straight from a publisher. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"
#include "mbgate/codec/mqtt_encode.h"

#include "broker_private.h"

/* Around topic and properties: fixed header, lengths, packet id, alias, expiry, property length. */
#define HEAD_EXTRA_BYTES  32
#define SUB_ID_BYTES      5    /* with its identifier */
#define WALK_LOOKS        256  /* levels that one client's walk may look at in a batch */
#define PUMP_MESSAGES_MAX 1024 /* messages that one client gets in a batch */

/* ---- answers ---- */

static void connection_wrote(struct connection *c, size_t n)
{
        c->broker->n_unsent += n;
        c->broker->stats.n_packets_out++;
        connection_mark_dirty(c);
}

void connection_put(struct connection *c, const uint8_t *packet, size_t n)
{
        if (n == 0 || c->state >= CONNECTION_LINGER)
                return;
        if (c->output.n_bytes >= CONNECTION_HIGH_BYTES)
                c->n_over += n;
        /* MQTT-3.1.2-24: what its client does not take is not sent, and it cannot go on without it. */
        if (n > c->max_packet_bytes)
                connection_doom(c, MQTT_TOO_LARGE);
        else if (output_put(&c->output, &c->broker->pool, packet, n) < 0)
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
        else
                connection_wrote(c, n);
}

static int connection_hold(struct connection *c, const uint8_t *bytes, size_t n, struct message *payload,
                           uint64_t stored, bool is_answer)
{
        struct connection_held *h = malloc(sizeof(*h) + n);

        if (!h)
                return -ENOMEM;
        *h = (struct connection_held){
                .stored = stored,
                .payload = payload ? message_ref(payload) : NULL,
                .is_answer = is_answer,
                .n = n,
        };
        memcpy(h->bytes, bytes, n);
        *(c->last_held ? &c->last_held->next : &c->held) = h;
        c->last_held = h;
        c->n_answers_held += is_answer;
        return 0;
}

static bool connection_must_hold(const struct connection *c, uint64_t stored)
{
        return c->held || !persistence_has(c->broker->persistence, stored);
}

void connection_put_after(struct connection *c, const uint8_t *packet, size_t n, uint64_t stored,
                          bool is_answer)
{
        if (!connection_must_hold(c, stored))
                connection_put(c, packet, n);
        else if (connection_hold(c, packet, n, NULL, stored, is_answer) < 0)
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
}

void connection_put_ack(struct connection *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason,
                        uint64_t stored)
{
        uint8_t packet[8];
        size_t n = mqtt_encode_ack(packet, sizeof(packet), (enum mqtt_version)c->version, type, packet_id,
                                   reason);

        connection_put_after(c, packet, n, stored, type == MQTT_PUBACK || type == MQTT_PUBREC);
}

void connection_release_held(struct connection *c)
{
        while (c->held && persistence_has(c->broker->persistence, c->held->stored)) {
                struct connection_held *h = c->held;

                c->held = h->next;
                if (!c->held)
                        c->last_held = NULL;
                c->n_answers_held -= h->is_answer;
                connection_put(c, h->bytes, h->n);
                if (h->payload && c->state == CONNECTION_OPEN &&
                    output_put_payload(&c->output, &c->broker->pool, h->payload) < 0)
                        connection_doom(c, MQTT_QUOTA_EXCEEDED);
                (void)message_unref(h->payload);
                free(h);
        }
}

/* ---- topic aliases that we use, §3.3.2.3.4 ---- */

/* Names the topic by an alias, or gives it one as long as there are any. 0: none. *ret_known: it can be left
 * out. */
static uint16_t alias_for(struct connection *c, const char *topic, size_t n_topic, bool *ret_known)
{
        unsigned max = MBGATE_MIN(MBGATE_MIN(c->alias_max, broker_conf(c->broker)->max_topic_alias),
                                  (unsigned)CONNECTION_ALIASES_MAX);
        uint32_t hash = max > 0 ? text_hash(topic, n_topic) : 0;
        struct connection_aliases *a = c->aliases;

        *ret_known = false;
        if (max == 0)
                return 0;
        if (!a)
                a = c->aliases = calloc(1, sizeof(*a));
        for (unsigned i = 0; a && i < a->n_out; i++) {
                if (a->out[i].hash == hash && a->out[i].n == n_topic &&
                    memcmp(a->out[i].topic, topic, n_topic) == 0) {
                        *ret_known = true;
                        return (uint16_t)(i + 1);
                }
        }
        if (!a || a->n_out >= max || !session_has_room(c->session, n_topic))
                return 0;
        a->out[a->n_out].topic = strndup(topic, n_topic);
        if (!a->out[a->n_out].topic)
                return 0;
        connection_charge_aliases(c, n_topic, 0);
        a->out[a->n_out].hash = hash;
        a->out[a->n_out].n = n_topic;
        return ++a->n_out;
}

/* An alias that was given in a packet which was never sent. */
static void alias_take_back(struct connection *c, uint16_t alias, bool was_known)
{
        if (alias > 0 && !was_known) {
                c->aliases->n_out--;
                connection_charge_aliases(c, 0, c->aliases->out[c->aliases->n_out].n);
                free(c->aliases->out[c->aliases->n_out].topic);
                c->aliases->out[c->aliases->n_out].topic = NULL;
        }
}

/* ---- messages ---- */

bool connection_has_room(const struct connection *c)
{
        return c->state == CONNECTION_OPEN && c->output.n_bytes < CONNECTION_HIGH_BYTES && !c->held &&
               (!c->session->queue || queue_n_waiting(c->session->queue) == 0);
}

/* How one PUBLISH goes to one client. */
struct outgoing {
        const struct publication *p;
        struct message *message; /* for a payload by reference; made if NULL */
        struct mqtt_publish_head head;
        uint64_t stored;
};

enum {
        OUTGOING_TOO_LARGE = 1, /* for this client: MQTT-3.1.2-24 */
};

static void connection_count_publish(struct connection *c, size_t n_payload)
{
        c->broker->stats.n_publish_out++;
        c->broker->stats.n_publish_bytes_out += n_payload;
}

/* The head in one piece, then the payload, copied or by reference. */
static int outgoing_put(struct connection *c, struct outgoing *o, const uint8_t *head, size_t n_head)
{
        const struct publication *p = o->p;
        bool by_reference = p->n_payload > OUTPUT_COPY_BYTES;
        size_t n = n_head + (by_reference ? 0 : p->n_payload);
        uint8_t *room = output_reserve(&c->output, &c->broker->pool, n);

        if (!room)
                return -ENOMEM;
        memcpy(room, head, n_head);
        if (!by_reference && p->n_payload > 0)
                memcpy(room + n_head, p->payload, p->n_payload);
        output_commit(&c->output, n);
        if (by_reference && output_put_payload(&c->output, &c->broker->pool, o->message) < 0) {
                output_take_back(&c->output, n); /* never half a packet */
                return -ENOMEM;
        }
        connection_wrote(c, n_head + p->n_payload);
        return 0;
}

/* The same, but not before the store has it (QoS 2 under "sync"), or behind others that wait so. */
static int outgoing_hold(struct connection *c, struct outgoing *o, const uint8_t *head, size_t n_head)
{
        return connection_hold(c, head, n_head, o->p->n_payload > 0 ? o->message : NULL, o->stored, false);
}

static int outgoing_encode(struct connection *c, struct outgoing *o, uint8_t *room, size_t size)
{
        bool is_known;
        uint16_t alias = alias_for(c, o->p->topic, o->p->n_topic, &is_known);
        size_t n_head;
        int r;

        o->head.topic = (struct mqtt_bytes){ (const uint8_t *)o->p->topic, is_known ? 0 : o->p->n_topic };
        o->head.alias = alias;
        n_head = mqtt_encode_publish_head(room, size, (enum mqtt_version)c->version, &o->head);
        if (n_head == 0 || n_head + o->p->n_payload > c->max_packet_bytes) {
                alias_take_back(c, alias, is_known);
                return OUTGOING_TOO_LARGE;
        }
        r = connection_must_hold(c, o->stored) ? outgoing_hold(c, o, room, n_head)
                                               : outgoing_put(c, o, room, n_head);
        if (r == 0)
                connection_count_publish(c, o->p->n_payload);
        else
                alias_take_back(c, alias, is_known);
        return r;
}

/* 0, OUTGOING_TOO_LARGE, −ENOMEM. */
static int outgoing_send(struct connection *c, struct outgoing *o)
{
        const struct publication *p = o->p;
        size_t size = HEAD_EXTRA_BYTES + p->n_topic + o->head.n_sub_ids * SUB_ID_BYTES + p->properties.n;
        uint8_t *room = c->broker->scratch;
        int r;

        o->head.n_payload = p->n_payload;
        o->head.properties = p->properties;
        if (size > sizeof(c->broker->scratch)) {
                room = malloc(size);
                if (!room)
                        return -ENOMEM;
        }
        r = outgoing_encode(c, o, room, size);
        if (room != c->broker->scratch)
                free(room);
        return r;
}

/* The same bytes go to each client that can take them: without alias, subscription ids, and with room. */
static bool publication_reuse(struct connection *c, struct publication *p, uint32_t key)
{
        uint8_t *room;

        if (!p->encoded || p->encoded_key != key || p->n_encoded > c->max_packet_bytes)
                return false;
        room = output_reserve(&c->output, &c->broker->pool, p->n_encoded);
        if (!room)
                return false;
        memcpy(room, p->encoded, p->n_encoded);
        p->encoded = room; /* nearer in the cache than the one before */
        output_commit(&c->output, p->n_encoded);
        connection_wrote(c, p->n_encoded);
        connection_count_publish(c, p->n_payload);
        return true;
}

/* Remembers what has just been put at the end of the output for the next client. */
static void publication_keep(struct connection *c, struct publication *p, uint32_t key, size_t n_before)
{
        const struct output_chunk *last = c->output.last;
        size_t n = c->output.n_bytes - n_before;

        if (last->message || n > last->n)
                return; /* by reference */
        p->encoded = last->bytes + last->n - n;
        p->n_encoded = n;
        p->encoded_key = key;
}

void connection_put_publication(struct connection *c, struct publication *p, bool retain,
                                const uint32_t *sub_ids, size_t n_sub_ids)
{
        bool is_plain = n_sub_ids == 0 && c->alias_max == 0;
        uint32_t key = (uint32_t)(c->version == MQTT_V5) << 1 | retain;
        size_t n_before = c->output.n_bytes;
        struct outgoing o = {
                .p = p,
                .head = { .retain = retain,
                          .has_expiry = p->expires,
                          .expiry_s = p->expiry_s,
                          .sub_ids = sub_ids,
                          .n_sub_ids = n_sub_ids },
        };
        int r = 0;

        if (is_plain && publication_reuse(c, p, key))
                return;
        if (p->n_payload > OUTPUT_COPY_BYTES)
                r = publication_message(p, &o.message);
        if (r == 0)
                r = outgoing_send(c, &o);
        if (r != 0)
                c->broker->stats.n_publish_dropped++;
        else if (is_plain)
                publication_keep(c, p, key, n_before);
}

/* ---- from the queue ---- */

/* What has been given is not for this client, any more or at all: as if it had been acknowledged. */
static void pump_skip(struct connection *c, struct queue *q, const struct queue_next *next)
{
        if (next->out.qos > 0)
                (void)persistence_acked(c->broker->persistence, c->session, next->number);
        queue_skip(q);
        c->broker->stats.n_publish_dropped++;
}

/* false: nothing more may go now. */
static bool pump_one(struct connection *c, struct queue *q, uint64_t now_us)
{
        struct broker *b = c->broker;
        struct publication p;
        struct outgoing o = { .p = &p };
        struct queue_next next;
        int r;

        queue_next(q, now_us, &next);
        if (next.send == QUEUE_NOTHING)
                return false;
        if (next.send == QUEUE_PUBREL) {
                connection_put_ack(c, MQTT_PUBREL, next.packet_id, MQTT_SUCCESS, 0);
                return true;
        }
        if (!session_may_read(c->session, next.out.message->topic, next.out.message->topic_bytes)) {
                pump_skip(c, q, &next); /* the rules have changed meanwhile */
                return true;
        }
        p = publication_of(next.out.message);
        o.message = next.out.message;
        o.head = (struct mqtt_publish_head){
                .dup = next.dup,
                .retain = next.out.retain,
                .qos = next.out.qos,
                .packet_id = next.packet_id,
                .has_expiry = p.expires,
                .expiry_s = next.expiry_s,
                .sub_ids = next.out.sub_ids,
                .n_sub_ids = next.out.n_sub_ids,
        };
        if (next.out.qos > 0 && !next.dup) {
                uint64_t stored = persistence_sent(b->persistence, c->session, next.number, next.packet_id);

                o.stored = next.out.qos == 2 ? stored : 0; /* a second one of QoS 1 is allowed */
        }
        r = outgoing_send(c, &o);
        publication_done(&p);
        if (r == OUTGOING_TOO_LARGE)
                pump_skip(c, q, &next);
        else if (r < 0)
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
        return r >= 0;
}

static void pump_queue(struct connection *c)
{
        struct queue *q = c->session->queue;
        uint64_t now_us = transport_now_us(c->broker->transport);
        size_t n_before;

        if (!q)
                return;
        n_before = queue_n_bytes(q);
        for (unsigned i = 0; c->output.n_bytes < CONNECTION_HIGH_BYTES && !c->has_doom; i++) {
                if (i == PUMP_MESSAGES_MAX)
                        break;
                if (!pump_one(c, q, now_us))
                        break;
        }
        c->broker->n_queued_bytes -= n_before - queue_n_bytes(q);
}

/* ---- from walks ---- */

/* Whether a known message is what its topic retains. */
static bool known_is_retained(const struct broker *b, const struct message *m, uint64_t now_us)
{
        const struct message *r = retained_get(b->retained, m->topic, m->topic_bytes, now_us);

        return r && r->payload_bytes == m->payload_bytes &&
               memcmp(r->payload, m->payload, m->payload_bytes) == 0;
}

/* Whether there is a known message for the topic; that it was put out is none. */
static bool broker_knows(const struct broker *b, const struct message *m, uint64_t now_us)
{
        const struct message *known =
                b->known ? retained_get(b->known, m->topic, m->topic_bytes, now_us) : NULL;

        return known && known->payload_bytes > 0;
}

/* Whether nothing keeps the message from the client: the rules for either side, or that it comes as known. */
static bool walk_may_give(const struct connection *c, const struct session_walk *w, const struct message *m,
                          uint64_t now_us)
{
        const struct broker *b = c->broker;

        return session_may_read(c->session, m->topic, m->topic_bytes) && router_source_may(b, w->cursor, m) &&
               !(w->is_rest && broker_knows(b, m, now_us));
}

static void walk_give(struct connection *c, const struct session_walk *w, struct message *m)
{
        struct session *s = c->session;
        struct publication p = publication_of(m);
        struct queue_message out = {
                .message = m,
                .qos = MBGATE_MIN(w->qos, m->qos),
                .n_sub_ids = w->sub_id > 0,
                .sub_ids = &w->sub_id,
        };
        uint64_t now_us = transport_now_us(c->broker->transport);

        out.retain = !c->options->strip_retain && (!w->is_push || known_is_retained(c->broker, m, now_us));
        if (p.expires) /* not yet: the table has given it */
                p.expiry_s = queue_left_s(p.made_us + p.expiry_s * USEC_PER_SEC, now_us);
        if (!walk_may_give(c, w, m, now_us))
                ;
        else if (out.qos == 0 && connection_has_room(c))
                connection_put_publication(c, &p, out.retain, out.sub_ids, out.n_sub_ids);
        else
                (void)!session_enqueue(s, &out);
        publication_done(&p);
}

/* false: come again, later or when there is room. */
static bool walk_step(struct connection *c, struct session_walk **list, size_t *looks)
{
        struct session_walk *w = *list;
        uint64_t now_us = transport_now_us(c->broker->transport);
        struct message *m;
        int r;

        if (w->next_us > now_us) {
                c->walk_us = w->next_us;
                broker_wake_at(c->broker, w->next_us);
                return false;
        }
        r = retained_cursor_next(w->cursor, now_us, looks, &m);
        if (r == RETAINED_MESSAGE) {
                walk_give(c, w, m);
                w->next_us = w->pause_us > 0 ? now_us + w->pause_us : 0;
        } else if (r == 0) {
                session_walk_end(c->session, list);
        }
        return *looks > 0;
}

/* A walk leaves room in the queue for what is published meanwhile. */
static bool walk_has_room(const struct connection *c)
{
        const struct queue *q = c->session->queue;

        return c->output.n_bytes < CONNECTION_HIGH_BYTES && !c->has_doom &&
               (!q || queue_n_waiting(q) < broker_conf(c->broker)->max_queued_messages / 2);
}

/* Returns how many looks are left. */
static size_t pump_walks(struct connection *c, size_t looks)
{
        struct session_walk **lists[] = { &c->session->pushes, &c->session->walks };

        c->walk_us = transport_now_us(c->broker->transport);
        c->wants_turn = false;
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
                while (*lists[i] && walk_has_room(c) && walk_step(c, lists[i], &looks))
                        continue;
        }
        c->wants_turn = looks == 0;
        return looks;
}

void connection_pump(struct connection *c)
{
        c->n_early_looks = 0;
        pump_queue(c);
        if (c->session->walks || c->session->pushes)
                (void)pump_walks(c, WALK_LOOKS);
        if (c->session->queue)
                pump_queue(c);
}

void connection_pump_early(struct connection *c)
{
        size_t looks = WALK_LOOKS - c->n_early_looks;

        if (!c->session->walks || looks == 0)
                return;
        c->n_early_looks = (uint16_t)(WALK_LOOKS - pump_walks(c, looks));
        if (c->session->queue)
                pump_queue(c);
}
