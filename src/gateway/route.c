/* SPDX-License-Identifier: MIT */
/* From a publication to the links that want it: mask, prefix, QoS, retain, repeated payloads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/codec/topic.h"

#include "gateway_private.h"

/* Forms of one publication that are kept at a time: prefixes, QoS and retain of links differ seldom. */
#define ROUTE_FORMS 4

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

static struct gw_sent *route_sent_new(struct gw_link *l, const char *topic, size_t n)
{
        struct gw_sent *s = malloc(sizeof(*s) + n + 1);

        if (!s)
                return NULL;
        memcpy(s->topic, topic, n + 1);
        HASH_ADD(hh, l->sent, topic, n, s);
        if (gw_was_added(s))
                return s;
        free(s);
        return NULL;
}

/* Notes what a link is sent; whether it was sent the same before. Without memory: it was not. */
static bool route_is_repeated(struct gw_link *l, const struct gw_publication *p)
{
        uint64_t fingerprint = gw_fingerprint(p->payload, p->payload_bytes);
        size_t n = strlen(p->topic);
        struct gw_sent *s = NULL;

        HASH_FIND(hh, l->sent, p->topic, n, s);
        if (s && s->fingerprint == fingerprint && s->payload_bytes == p->payload_bytes)
                return true;
        if (!s)
                s = route_sent_new(l, p->topic, n);
        if (s) {
                s->fingerprint = fingerprint;
                s->payload_bytes = p->payload_bytes;
        }
        return false;
}

/* What the link could not take must not be held for sent. */
static void route_forget(struct gw_link *l, const char *topic)
{
        struct gw_sent *s = NULL;

        HASH_FIND(hh, l->sent, topic, strlen(topic), s);
        if (s) {
                HASH_DEL(l->sent, s);
                free(s);
        }
}

void gw_sent_free(struct gw_link *l)
{
        struct gw_sent *s, *next;

        HASH_ITER (hh, l->sent, s, next) {
                HASH_DEL(l->sent, s);
                free(s);
        }
}

const char *gw_link_prefix(const struct gw_link *l)
{
        return l->conf ? l->conf->prefix : l->conf_ref->broker.prefix;
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
                .prefix = gw_link_prefix(l),
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
        if (b.overflowed) /* conf_load() refuses such a prefix; what is cut off would be another's topic */
                return -EMSGSIZE;
        return message_new(&init, ret);
}

/* Messages made for one publication: links that want the same form share one. */
struct route_made {
        struct route_form forms[ROUTE_FORMS];
        struct message *messages[ROUTE_FORMS];
        size_t n;
};

static struct message *route_message(struct route_made *made, const struct gw_publication *p,
                                     const struct route_form *form)
{
        for (size_t i = 0; i < made->n; i++) {
                if (route_form_equal(&made->forms[i], form))
                        return made->messages[i];
        }
        if (made->n == ROUTE_FORMS)
                made->messages[--made->n] = message_unref(made->messages[ROUTE_FORMS - 1]);
        if (route_message_new(p, form, &made->messages[made->n]) < 0)
                return NULL;
        made->forms[made->n] = *form;
        return made->messages[made->n++];
}

/* Whether a link is to have a publication now. */
static bool route_goes_to(struct gw_link *l, const struct gw_publication *p, const struct route_form *form)
{
        if (l->is_control)
                return false;
        if (!p->ignores_masks && p->also != l->link && !route_link_wants(l, p->topic))
                return false;
        if (p->is_resent && !l->is_online)
                return false;
        /* Nothing is retained there: nothing to remove. */
        if (p->retain && !form->retain && p->payload_bytes == 0)
                return false;
        return !(l->conf && l->conf->on_change && p->is_state) || !route_is_repeated(l, p) || p->is_forced;
}

/* What became of it: a full queue is counted by the link, which says it. */
static void route_note(struct gateway *g, struct gw_link *l, const struct gw_publication *p, int r)
{
        if (r < 0)
                route_forget(l, p->topic);
        if (p->state == 0)
                return;
        if (r == -ENOBUFS || r == -ENOMEM)
                gw_owe(g, l, p->state);
        else
                gw_owed_clear(l, p->state);
}

void gw_publish(struct gateway *g, const struct gw_publication *p, struct gw_link *only)
{
        struct route_made made = { .n = 0 };

        for (struct gw_link *l = g->links; l; l = l->next) {
                struct route_form form = route_form(l, p);
                struct message *m;

                if ((only && l != only) || !route_goes_to(l, p, &form))
                        continue;
                m = route_message(&made, p, &form);
                route_note(g, l, p, m ? link_publish(l->link, m) : -ENOMEM);
        }
        while (made.n > 0)
                message_unref(made.messages[--made.n]);
}

void gw_publish_state(struct gateway *g, const char *topic, const char *text, struct gw_link *only)
{
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = topic,
                           .payload = text,
                           .payload_bytes = strlen(text),
                           .qos = 1,
                           .retain = true,
                           .is_state = true,
                           .is_forced = true,
                   },
                   only);
}

void gw_respond(struct gw_link *l, const struct message *request, const char *json)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        const char *topic = request->response_topic;
        struct message_init init = {
                .topic = topic,
                .payload = json,
                .payload_bytes = strlen(json),
                .qos = request->qos,
                .correlation = request->correlation,
                .correlation_bytes = request->correlation_bytes,
                .made_us = clock_monotonic_us(),
        };
        int r = 0;

        /* A broker hangs up on who publishes to a wildcard: MQTT 5.0 §3.3.2.1. */
        if (topic && topic_is_name(topic, strlen(topic)) && message_new(&init, &m) == 0)
                r = link_publish(l->link, m);
        (void)r; /* a full queue is counted by the link, which says it */
}
