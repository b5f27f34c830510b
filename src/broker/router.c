/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/codec/topic.h"

#include "broker_private.h"

void publication_done(struct publication *p)
{
        p->message = message_unref(p->message);
}

struct publication publication_of(struct message *m)
{
        return (struct publication){
                .topic = m->topic,
                .n_topic = m->topic_bytes,
                .payload = m->payload,
                .n_payload = m->payload_bytes,
                .properties = { m->properties, m->properties_bytes },
                .made_us = m->made_us,
                .expiry_s = m->expiry_s,
                .expires = m->expiry_s > 0,
                .qos = m->qos,
                .retain = m->retain,
                .message = message_ref(m),
        };
}

/* In a message 0 s means that it never expires: one that expires at once is one of 1 s, of which nothing is
 * left when this batch is over. */
#define AT_ONCE_US (USEC_PER_SEC - 1)

int publication_message(struct publication *p, struct message **ret_message)
{
        bool at_once = p->expires && p->expiry_s == 0;
        struct message_init init = {
                .topic = p->topic,
                .topic_bytes = p->n_topic,
                .payload = p->payload,
                .payload_bytes = p->n_payload,
                .qos = p->qos,
                .retain = p->retain,
                .expiry_s = at_once ? 1 : p->expiry_s,
                .made_us = p->made_us - (at_once ? AT_ONCE_US : 0),
                .properties = p->properties.data,
                .properties_bytes = p->properties.n,
        };
        int r = p->message ? 0 : message_new(&init, &p->message);

        if (r == 0)
                *ret_message = p->message;
        return r;
}

/* A table that is full is told once, until it has taken something again. */
static int router_retain(struct broker *b, struct publication *p, const struct acl_client *source,
                         uint64_t *ret_stored)
{
        struct message *m;
        int r;

        r = publication_message(p, &m);
        if (r < 0)
                return r;
        r = retained_set(b->retained, m, source, p->made_us);
        if (r == RETAINED_FULL) {
                if (!b->retained_is_full)
                        log_warn(
                                &b->fields,
                                "broker: no room for more retained messages (%zu, %zu bytes): new topics are "
                                "not kept; see max_retained_messages and max_retained_bytes",
                                retained_n_messages(b->retained), retained_n_bytes(b->retained));
                b->retained_is_full = true;
                return ROUTER_QUOTA;
        }
        if (r != 0)
                return r < 0 ? r : ROUTER_TOO_DEEP;
        b->retained_is_full = false;
        if (!p->is_own)
                *ret_stored = persistence_retain(b->persistence, m, source);
        return 0;
}

/* Keeps it as what its topic said last. What has no room is forgotten: it counts as news then. */
static void router_remember(struct broker *b, struct publication *p, const struct acl_client *source)
{
        struct message *m = retained_get(b->known, p->topic, p->n_topic, p->made_us);

        p->is_repeat = m && m->payload_bytes == p->n_payload &&
                       (p->n_payload == 0 || memcmp(m->payload, p->payload, p->n_payload) == 0);
        if (p->is_repeat && retained_is_from(b->known, p->topic, p->n_topic, source))
                return;
        if (publication_message(p, &m) == 0 && retained_set(b->known, m, source, p->made_us) != 0)
                p->is_repeat = false;
}

bool router_source_may(const struct broker *b, const struct retained_cursor *cursor, const struct message *m)
{
        const struct acl_client *source;

        if (!authority_has_acl(b->authority))
                return true;
        source = retained_cursor_source(cursor);
        return !source || authority_may(b->authority, source, ACL_WRITE, m->topic, m->topic_bytes);
}

struct routing {
        struct publication *p;
        struct session *from;
};

static void router_hit(void *user, const struct subscription_hit *hit)
{
        struct routing *way = user;

        session_deliver(CONTAINER_OF(hit->subscriber, struct session, subscriber), way->p, hit);
}

/* Who is connected and not behind gets what a group shares; never who would not be given it. */
static enum subscriber_readiness router_readiness(void *user, const struct subscriber *subscriber)
{
        const struct routing *way = user;
        const struct session *s = (const struct session *)(const void *)subscriber;

        if (!session_wants(s, way->p))
                return SUBSCRIBER_CANNOT;
        if (s->connection && connection_has_room(s->connection))
                return SUBSCRIBER_READY;
        return way->p->qos > 0 && (s->connection || s->expiry_s > 0) ? SUBSCRIBER_WAITS : SUBSCRIBER_CANNOT;
}

int router_publish(struct broker *b, struct publication *p, struct session *from, uint64_t *ret_stored)
{
        static const struct subscriptions_calls calls = { .hit = router_hit, .readiness = router_readiness };
        struct routing way = { .p = p, .from = from };
        bool is_client = from && !from->local;
        struct acl_client source = is_client ? session_acl_client(from) : (struct acl_client){ .id = NULL };
        uint64_t before = persistence_last(b->persistence), stored = 0;
        size_t n_hits;
        int r = 0;

        if (p->retain && broker_conf(b)->max_retained_messages > 0)
                r = router_retain(b, p, is_client ? &source : NULL, &stored);
        if (r < 0 || r == ROUTER_TOO_DEEP)
                return r;
        if (b->known && !p->is_own)
                router_remember(b, p, is_client ? &source : NULL);
        n_hits = subscriptions_match(b->subscriptions, p->topic, p->n_topic, from ? &from->subscriber : NULL,
                                     &calls, &way);
        /* What others have changed is not this one's matter. */
        if (persistence_last(b->persistence) > before)
                stored = persistence_last(b->persistence);
        *ret_stored = stored;
        if (r == 0 && n_hits == 0)
                return ROUTER_NOBODY;
        return r;
}
