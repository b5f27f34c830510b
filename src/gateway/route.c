/* SPDX-License-Identifier: MIT */
/* From a publication to the links that want it: mask, prefix, QoS, retain, repeated payloads. */
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"
#include "mbgate/codec/topic.h"

#include "gateway_private.h"

static bool route_link_wants(const struct gw_link *l, const char *topic)
{
        size_t n = strlen(topic);

        if (!l->conf || l->takes_all)
                return true;
        for (size_t i = 0; i < l->conf->n_publish; i++) {
                if (topic_matches(l->conf->publish[i], strlen(l->conf->publish[i]), topic, n))
                        return true;
        }
        return false;
}

/* Whether the payload is what this link has last sent to the topic; notes it if not. Without memory: it is
 * not. */
static bool route_is_repeated(struct gw_link *l, const struct gw_publication *p)
{
        uint32_t hash = text_hash(p->payload, p->payload_bytes);
        size_t n = strlen(p->topic);
        struct gw_sent *s = NULL;

        HASH_FIND(hh, l->sent, p->topic, n, s);
        if (s && s->payload_hash == hash && s->payload_bytes == p->payload_bytes)
                return true;
        if (!s) {
                s = malloc(sizeof(*s) + n + 1);
                if (!s)
                        return false;
                memcpy(s->topic, p->topic, n + 1);
                HASH_ADD(hh, l->sent, topic, n, s);
        }
        s->payload_hash = hash;
        s->payload_bytes = p->payload_bytes;
        return false;
}

void gw_sent_free(struct gw_link *l)
{
        struct gw_sent *s, *next;

        HASH_ITER (hh, l->sent, s, next) {
                HASH_DEL(l->sent, s);
                free(s);
        }
}

static const char *route_prefix(const struct gw_link *l)
{
        return l->conf ? l->conf->prefix : "";
}

/* The form in which a link is given a publication. */
struct route_form {
        const char *prefix;
        uint8_t qos;
        bool retain;
};

static struct route_form route_form(const struct gw_link *l, const struct gw_publication *p)
{
        return (struct route_form){
                .prefix = route_prefix(l),
                .qos = l->conf ? MBGATE_MIN(p->qos, l->conf->qos) : p->qos,
                .retain = p->retain && (!l->conf || l->conf->retain),
        };
}

static bool route_form_equal(const struct route_form *a, const struct route_form *b)
{
        return a->qos == b->qos && a->retain == b->retain && strcmp(a->prefix, b->prefix) == 0;
}

static int route_message_new(const struct gw_publication *p, const struct route_form *form,
                             struct message **ret)
{
        char topic[GW_TOPIC_BYTES];
        struct message_init init = {
                .topic = p->topic,
                .payload = p->payload,
                .payload_bytes = p->payload_bytes,
                .qos = form->qos,
                .retain = form->retain,
                .is_live = p->is_state,
                .made_us = clock_monotonic_us(),
        };
        struct buf b = BUF_ON(topic);

        if (form->prefix[0]) {
                buf_append(&b, form->prefix);
                buf_append(&b, p->topic);
                init.topic = topic;
        }
        return message_new(&init, ret);
}

/* One message serves all links that want it in the same form, as long as they follow each other. */
void gw_publish(struct gateway *g, const struct gw_publication *p, struct gw_link *only)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct route_form form = { .prefix = "" };

        for (struct gw_link *l = g->links; l; l = l->next) {
                struct route_form wanted = route_form(l, p);

                if ((only && l != only) || !route_link_wants(l, p->topic))
                        continue;
                if (l->conf && l->conf->on_change && p->is_state && route_is_repeated(l, p) && !p->is_forced)
                        continue;
                if (!m || !route_form_equal(&form, &wanted)) {
                        m = message_unref(m);
                        form = wanted;
                        if (route_message_new(p, &form, &m) < 0)
                                return;
                }
                /* A full queue is counted by the link, which says it. */
                int r = link_publish(l->link, m);
                (void)r;
        }
}

void gw_publish_text(struct gateway *g, const char *topic, const char *text, bool retain,
                     struct gw_link *only)
{
        struct gw_publication p = {
                .topic = topic,
                .payload = text,
                .payload_bytes = strlen(text),
                .qos = 1,
                .retain = retain,
                .is_state = retain,
                .is_forced = true,
        };

        gw_publish(g, &p, only);
}

void gw_respond(struct gw_link *l, const struct message *request, const char *json)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = {
                .topic = request->response_topic,
                .payload = json,
                .payload_bytes = strlen(json),
                .qos = request->qos,
                .correlation = request->correlation,
                .correlation_bytes = request->correlation_bytes,
                .made_us = clock_monotonic_us(),
        };

        if (message_new(&init, &m) == 0) {
                int r = link_publish(l->link, m);
                (void)r;
        }
}
