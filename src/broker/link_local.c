/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/broker/link_local.h"

#include "broker_private.h"

/* No client's id: it is no text that an id could be mistaken for, and session_open() gives it to nobody. */
#define LOCAL_ID       "$gateway"
#define LOCAL_ID_BYTES 32

/* Of one turn of the loop, so that clients get theirs. */
#define LOCAL_EVENTS_PER_TURN 64
#define LOCAL_LOOKS_PER_TURN  256

#define LOCAL_CORRELATION_MAX 65535

/* A message for the gateway that waits for the loop. */
struct local_event {
        struct local_event *next;
        struct message *message;
        bool was_retained;
};

/* Retained messages of a new filter, on their way. */
struct local_walk {
        struct local_walk *next;
        struct retained_cursor *cursor;
};

enum local_state {
        LOCAL_NEW,
        LOCAL_STARTED, /* LINK_ONLINE is to be told */
        LOCAL_ONLINE,
        LOCAL_STOPPING, /* LINK_STOPPED is to be told */
        LOCAL_STOPPED,
};

struct link_local {
        struct link link;
        struct broker *broker;
        struct session *session;
        struct loop_timer *timer;
        enum local_state state;
        struct local_event *first, **end;
        struct local_walk *first_walk, **end_walk;
        size_t n_events, n_event_bytes;
        bool drops_said; /* until one could be taken again */
        struct link_stats stats;
};

static struct link_local *local_of(struct link *link)
{
        return CONTAINER_OF(link, struct link_local, link);
}

static void local_wake(struct link_local *l)
{
        if (l->state != LOCAL_NEW && l->state != LOCAL_STOPPED)
                loop_timer_set(l->timer, loop_now_us(l->broker->loop));
}

/* ---- from the broker ---- */

static void local_drop(struct link_local *l, const char *why)
{
        l->stats.n_dropped++;
        log_at(l->drops_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, &l->broker->fields,
               "broker: messages for the gateway are dropped: %s", why);
        l->drops_said = true;
}

/* The same message with what the gateway answers to, taken out of its properties. */
static int local_message_new(const struct publication *p, struct message **ret_message)
{
        struct mqtt_bytes response, correlation;
        CLEANUP(cleanup_free)
        char *topic = NULL;

        mqtt_request_properties(p->properties, &response, &correlation);
        if (response.data) {
                topic = strndup((const char *)response.data, response.n);
                if (!topic)
                        return -ENOMEM;
        }
        return message_new(
                &(struct message_init){
                        .topic = p->topic,
                        .topic_bytes = p->n_topic,
                        .payload = p->payload,
                        .payload_bytes = p->n_payload,
                        .qos = p->qos,
                        .expiry_s = p->expiry_s,
                        .made_us = p->made_us,
                        .response_topic = topic,
                        .correlation = correlation.data,
                        .correlation_bytes = correlation.n,
                },
                ret_message);
}

static int local_message(struct publication *p, struct message **ret_message)
{
        struct message *m;
        int r;

        if (p->properties.n > 0)
                return local_message_new(p, ret_message);
        r = publication_message(p, &m);
        if (r == 0)
                *ret_message = message_ref(m);
        return r;
}

static int local_enqueue(struct link_local *l, struct publication *p, bool was_retained)
{
        struct local_event *e;
        int r;

        if (l->n_events >= LINK_LOCAL_EVENTS_MAX ||
            l->n_event_bytes + p->n_payload > LINK_LOCAL_EVENTS_MAX_BYTES)
                return -ENOBUFS;
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        r = local_message(p, &e->message);
        if (r < 0) {
                free(e);
                return r;
        }
        e->was_retained = was_retained;
        *l->end = e;
        l->end = &e->next;
        l->n_events++;
        l->n_event_bytes += p->n_payload;
        return 0;
}

static void local_receive(struct link_local *l, struct publication *p, bool was_retained)
{
        int r;

        if (l->state >= LOCAL_STOPPING)
                return;
        l->stats.n_received++;
        r = local_enqueue(l, p, was_retained);
        if (r < 0)
                local_drop(l, r == -ENOBUFS ? "too many wait to be handled" : strerror(-r));
        else
                l->drops_said = false;
        local_wake(l);
}

/* Within router_publish(): nothing is told from here. */
static void local_on_message(void *user, struct publication *p, uint8_t qos UNUSED, bool retain UNUSED)
{
        local_receive(user, p, false);
}

/* ---- to the gateway ---- */

static struct message *local_event_take(struct link_local *l, bool *ret_was_retained)
{
        struct local_event *e = l->first;
        struct message *m = e->message;

        *ret_was_retained = e->was_retained;
        l->first = e->next;
        if (!l->first)
                l->end = &l->first;
        l->n_events--;
        l->n_event_bytes -= m->payload_bytes;
        free(e);
        return m;
}

static void local_tell(struct link_local *l, const struct link_event *event)
{
        l->link.on_event(l->link.user, &l->link, event);
}

static void local_tell_messages(struct link_local *l)
{
        for (unsigned i = 0; i < LOCAL_EVENTS_PER_TURN && l->first && l->state == LOCAL_ONLINE; i++) {
                bool was_retained;
                struct message *m = local_event_take(l, &was_retained);

                local_tell(l, &(struct link_event){
                                      .kind = LINK_MESSAGE, .message = m, .was_retained = was_retained });
                (void)message_unref(m);
        }
}

static void local_walk_end(struct link_local *l)
{
        struct local_walk *w = l->first_walk;

        l->first_walk = w->next;
        if (!l->first_walk)
                l->end_walk = &l->first_walk;
        (void)retained_cursor_free(w->cursor);
        free(w);
}

/* Retained messages join what waits, as long as there is room: they can be had later, others cannot. */
static void local_walk_on(struct link_local *l)
{
        size_t looks = LOCAL_LOOKS_PER_TURN;
        uint64_t now_us = loop_now_us(l->broker->loop);

        while (l->first_walk && looks > 0 && l->n_events < LOCAL_EVENTS_PER_TURN) {
                struct message *m;
                struct publication p;
                int r = retained_cursor_next(l->first_walk->cursor, now_us, &looks, &m);

                if (r == 0)
                        local_walk_end(l);
                if (r != RETAINED_MESSAGE || !router_source_may(l->broker, l->first_walk->cursor, m))
                        continue;
                p = publication_of(m);
                local_receive(l, &p, true);
                publication_done(&p);
        }
}

static void local_on_timer(void *user, uint64_t now_us UNUSED)
{
        struct link_local *l = user;

        if (l->state == LOCAL_STARTED) {
                l->state = LOCAL_ONLINE;
                l->stats.n_connects++;
                local_tell(l, &(struct link_event){ .kind = LINK_ONLINE });
        }
        if (l->state == LOCAL_STOPPING) {
                l->state = LOCAL_STOPPED;
                local_tell(l, &(struct link_event){ .kind = LINK_STOPPED });
                return; /* it may be gone */
        }
        local_walk_on(l);
        local_tell_messages(l);
        if (l->first || l->first_walk || l->state == LOCAL_STOPPING)
                local_wake(l);
}

/* ---- struct link ---- */

static int local_start(struct link *link)
{
        struct link_local *l = local_of(link);

        l->state = LOCAL_STARTED;
        local_wake(l);
        return 0;
}

/* The correlation data of an answer, as a property (MQTT 5.0 §3.3.2.3.6). */
static size_t local_put_correlation(const struct message *m, uint8_t *out)
{
        out[0] = 0x09;
        out[1] = (uint8_t)(m->correlation_bytes >> 8);
        out[2] = (uint8_t)m->correlation_bytes;
        memcpy(out + 3, m->correlation, m->correlation_bytes);
        return 3 + m->correlation_bytes;
}

static int local_route(struct link_local *l, struct publication *p)
{
        uint64_t stored;
        int r = router_publish(l->broker, p, l->session, &stored);

        transport_wake(l->broker->transport);
        if (r == 0 || r == ROUTER_NOBODY) {
                l->stats.n_sent++;
                return 0;
        }
        l->stats.n_dropped++;
        /* No room among what is retained, or too many levels: another try right away is none the better. */
        return r < 0 ? -ENOBUFS : -EDQUOT;
}

static int local_publish_answer(struct link_local *l, struct message *m)
{
        CLEANUP(cleanup_free)
        uint8_t *properties = NULL;
        struct publication p = publication_of(m);
        int r;

        publication_done(&p); /* the message itself has no encoded properties */
        if (m->correlation_bytes > LOCAL_CORRELATION_MAX)
                return -ENOBUFS;
        properties = malloc(3 + m->correlation_bytes);
        if (!properties)
                return -ENOBUFS;
        p.properties = (struct mqtt_bytes){ properties, local_put_correlation(m, properties) };
        r = local_route(l, &p);
        publication_done(&p);
        return r;
}

static int local_publish(struct link *link, struct message *m)
{
        struct link_local *l = local_of(link);
        struct publication p;
        int r;

        if (l->state >= LOCAL_STOPPING)
                return -ESHUTDOWN;
        l->stats.n_published++;
        if (m->correlation)
                return local_publish_answer(l, m);
        p = publication_of(m);
        r = local_route(l, &p);
        publication_done(&p);
        return r;
}

/* What is retained comes after what waits already. −ENOMEM. */
static int local_walk_begin(struct link_local *l, const char *filter)
{
        struct local_walk *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        r = retained_cursor_new(l->broker->retained, filter, strlen(filter), &w->cursor);
        if (r != 0) {
                free(w);
                return r < 0 ? r : 0; /* nothing can match */
        }
        *l->end_walk = w;
        l->end_walk = &w->next;
        local_wake(l);
        return 0;
}

static int local_subscribe(struct link *link, const char *filter, uint8_t qos)
{
        struct link_local *l = local_of(link);
        const struct subscription_options options = { .qos = qos, .no_local = true };
        int r;

        if (l->state >= LOCAL_STOPPING)
                return -ESHUTDOWN;
        r = subscriptions_add(l->broker->subscriptions, &l->session->subscriber, filter, strlen(filter),
                              &options);
        if (r < 0)
                return r;
        if (r == SUBSCRIPTIONS_INVALID || r == SUBSCRIPTIONS_FULL)
                return r == SUBSCRIPTIONS_INVALID ? -EINVAL : -ENOMEM;
        return local_walk_begin(l, filter);
}

static int local_unsubscribe(struct link *link, const char *filter)
{
        struct link_local *l = local_of(link);

        (void)subscriptions_remove(l->broker->subscriptions, &l->session->subscriber, filter, strlen(filter));
        return 0;
}

/* What was published has gone its way already: there is nothing to wait for. */
static void local_stop(struct link *link, uint64_t deadline_us UNUSED)
{
        struct link_local *l = local_of(link);

        if (l->state >= LOCAL_STOPPING)
                return;
        subscriptions_clear(l->broker->subscriptions, &l->session->subscriber);
        l->state = LOCAL_STOPPING;
        local_wake(l);
}

static void local_get_stats(const struct link *link, struct link_stats *ret)
{
        const struct link_local *l = (const void *)link; /* its first member */

        *ret = l->stats;
        ret->is_online = l->state == LOCAL_ONLINE;
        ret->n_queued = 0;
}

static void local_free(struct link *link)
{
        struct link_local *l = local_of(link);
        bool ignored;

        while (l->first)
                (void)message_unref(local_event_take(l, &ignored));
        while (l->first_walk)
                local_walk_end(l);
        l->timer = loop_timer_free(l->timer);
        if (l->session)
                session_end(l->session);
        free(l);
}

/* An id that is free: a link's successor may come before it has gone. */
static void local_id(struct broker *b, char id[LOCAL_ID_BYTES])
{
        (void)snprintf(id, LOCAL_ID_BYTES, LOCAL_ID);
        for (unsigned i = 2; session_find(b, id); i++)
                (void)snprintf(id, LOCAL_ID_BYTES, LOCAL_ID "-%u", i);
}

int link_local_new(const struct link_local_init *init, struct link **ret_link)
{
        static const struct link_ops ops = {
                .start = local_start,
                .publish = local_publish,
                .subscribe = local_subscribe,
                .unsubscribe = local_unsubscribe,
                .stop = local_stop,
                .stats = local_get_stats,
                .free = local_free,
        };
        CLEANUP(link_freep)
        struct link *link = NULL;
        struct link_local *l = calloc(1, sizeof(*l));
        char id[LOCAL_ID_BYTES];
        int r;

        if (!l)
                return -ENOMEM;
        l->link = (struct link){
                .ops = &ops, .name = LINK_LOCAL_NAME, .on_event = init->on_event, .user = init->user
        };
        l->broker = init->broker;
        l->end = &l->first;
        l->end_walk = &l->first_walk;
        link = &l->link;
        r = loop_add_timer(l->broker->loop, local_on_timer, l, &l->timer);
        if (r == 0)
                local_id(l->broker, id);
        if (r == 0)
                r = session_new_local(l->broker, id, local_on_message, l, &l->session);
        if (r < 0)
                return r;
        l->session->subscriber.is_unlimited = true;
        *ret_link = TAKE(link);
        return 0;
}
