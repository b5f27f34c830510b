/* SPDX-License-Identifier: MIT */
/* SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 §3.8 to §3.11). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/codec/mqtt_encode.h"

#include "broker_private.h"

/* Reason codes of one packet: as many as filters fit into it. */
struct reasons {
        uint8_t *codes;
        size_t n;
};

static int reasons_new(const struct mqtt_subscribe *s, struct reasons *ret)
{
        /* A filter takes two bytes of length and one of text at least. */
        *ret = (struct reasons){ .codes = malloc(s->filters.n / 3 + 1) };
        return ret->codes ? 0 : -ENOMEM;
}

static void reasons_put(struct connection *c, enum mqtt_type type, uint16_t packet_id,
                        const struct reasons *reasons)
{
        size_t size = reasons->n + 16;
        uint8_t small[64], *packet = size <= sizeof(small) ? small : malloc(size);

        if (packet)
                connection_put(c, packet,
                               mqtt_encode_suback(packet, size, (enum mqtt_version)c->version, type,
                                                  packet_id, reasons->codes, reasons->n));
        else
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
        if (packet != small)
                free(packet);
}

/* The part of a filter that topics are matched with. */
static struct mqtt_bytes filter_plain(struct mqtt_bytes filter, bool *ret_is_shared)
{
        size_t n_group, at;

        *ret_is_shared = subscriptions_shared((const char *)filter.data, filter.n, &n_group, &at) > 0;
        if (*ret_is_shared)
                return (struct mqtt_bytes){ filter.data + at, filter.n - at };
        return filter;
}

/* What is retained (or, if the listener remembers, known) goes to who subscribes: §3.3.1.3, §3.8.3.1. */
static int subscribe_walk(struct connection *c, const struct mqtt_filter *f, uint32_t sub_id, bool is_new)
{
        bool is_shared;
        struct mqtt_bytes plain = filter_plain(f->filter, &is_shared);
        struct session_walk walk = {
                .qos = f->qos,
                .sub_id = sub_id,
                .is_known = c->options->remember && c->broker->known,
                .is_of_subscription = true,
        };
        int r;

        if (is_shared || f->retain_handling == 2 || (f->retain_handling == 1 && !is_new))
                return 0;
        r = session_walk_begin(c->session, &walk, (const char *)plain.data, plain.n);
        if (r < 0 || !walk.is_known)
                return r;
        walk.is_known =
                false; /* what is retained and not known: $SYS, and what an empty payload has put out */
        walk.is_rest = true;
        return session_walk_begin(c->session, &walk, (const char *)plain.data, plain.n);
}

static uint8_t subscribe_one(struct connection *c, const struct mqtt_filter *f, uint32_t sub_id)
{
        struct broker *b = c->broker;
        struct session *s = c->session;
        const struct acl_client client = session_acl_client(s);
        struct subscription_options options = {
                .qos = f->qos,
                .no_local = f->no_local,
                .retain_as_published = f->retain_as_published,
                .id = sub_id,
        };
        const char *filter = (const char *)f->filter.data;
        bool is_shared;
        struct mqtt_bytes plain = filter_plain(f->filter, &is_shared);
        int r;

        options.no_local |= c->is_bridge && !is_shared;
        options.retain_as_published |= c->is_bridge;
        if (plain.n > broker_conf(b)->max_topic_bytes)
                return MQTT_BAD_FILTER;
        if (!authority_may_subscribe(b->authority, &client, (const char *)plain.data, plain.n))
                return MQTT_NOT_AUTHORISED;
        r = subscriptions_add(b->subscriptions, &s->subscriber, filter, f->filter.n, &options);
        if (r == SUBSCRIPTIONS_INVALID)
                return MQTT_BAD_FILTER;
        if (r == 0 && !session_has_room(s, f->filter.n)) {
                (void)subscriptions_remove(b->subscriptions, &s->subscriber, filter, f->filter.n);
                return MQTT_QUOTA_EXCEEDED;
        }
        if (r < 0 || r == SUBSCRIPTIONS_FULL)
                return MQTT_QUOTA_EXCEEDED;
        session_charge(s, r == 0 ? f->filter.n : 0);
        persistence_subscribe(b->persistence, s, f->filter, &options);
        if (subscribe_walk(c, f, sub_id, r == 0) < 0)
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
        return f->qos;
}

int connection_on_subscribe(struct connection *c, const struct mqtt_frame *f)
{
        struct mqtt_subscribe s;
        struct mqtt_filter filter;
        struct reasons reasons;
        int r = mqtt_decode_subscribe(f, (enum mqtt_version)c->version, &s);

        if (r != 0)
                return r;
        if (reasons_new(&s, &reasons) < 0)
                return MQTT_QUOTA_EXCEEDED;
        while (mqtt_next_filter(&s, true, &filter))
                reasons.codes[reasons.n++] = subscribe_one(c, &filter, s.properties.subscription_id);
        reasons_put(c, MQTT_SUBACK, s.packet_id, &reasons);
        free(reasons.codes);
        connection_pump_early(c);
        return 0;
}

/* A subscription has ended: MQTT-3.10.4-2, nothing more is begun for it. */
static void unsubscribe_end(struct session *s, struct mqtt_bytes filter)
{
        bool is_shared;
        struct mqtt_bytes plain = filter_plain(filter, &is_shared);

        persistence_unsubscribe(s->broker->persistence, s, filter);
        if (!is_shared)
                session_walks_cancel(s, (const char *)plain.data, plain.n);
}

int connection_on_unsubscribe(struct connection *c, const struct mqtt_frame *f)
{
        struct broker *b = c->broker;
        struct mqtt_subscribe s;
        struct mqtt_filter filter;
        struct reasons reasons;
        int r = mqtt_decode_subscribe(f, (enum mqtt_version)c->version, &s);

        if (r != 0)
                return r;
        if (reasons_new(&s, &reasons) < 0)
                return MQTT_QUOTA_EXCEEDED;
        while (mqtt_next_filter(&s, false, &filter)) {
                r = subscriptions_remove(b->subscriptions, &c->session->subscriber,
                                         (const char *)filter.filter.data, filter.filter.n);
                if (r == 0) {
                        session_discharge(c->session, filter.filter.n);
                        unsubscribe_end(c->session, filter.filter);
                }
                reasons.codes[reasons.n++] = r == 0 ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION;
        }
        reasons_put(c, MQTT_UNSUBACK, s.packet_id, &reasons);
        free(reasons.codes);
        return 0;
}
