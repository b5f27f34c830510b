/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/codec/topic.h"

#include "fake_link.h"

static int op_start(struct link *link)
{
        (void)link;
        return 0;
}

static int op_publish(struct link *link, struct message *m)
{
        struct fake_link *l = CONTAINER_OF(link, struct fake_link, link);

        if (l->is_full || l->is_stubborn || (l->capacity > 0 && l->n_published >= l->capacity))
                return -ENOBUFS;
        if (l->is_blind)
                return 0;
        if (l->n_published == FAKE_LINK_MESSAGES)
                abort();
        l->published[l->n_published++] = message_ref(m);
        return 0;
}

static bool op_has_room(struct link *link)
{
        const struct fake_link *l = CONTAINER_OF(link, struct fake_link, link);

        return !l->is_full && (l->capacity == 0 || l->n_published < l->capacity / 2);
}

static int op_subscribe(struct link *link, const char *filter, uint8_t qos)
{
        struct fake_link *l = CONTAINER_OF(link, struct fake_link, link);

        l->n_subscribes++;
        l->qos = qos;
        if (fake_link_has_filter(l, filter))
                return 0;
        if (l->n_filters == FAKE_LINK_FILTERS || !topic_is_filter(filter, strlen(filter)))
                abort();
        l->filters[l->n_filters] = strdup(filter);
        return l->filters[l->n_filters++] ? 0 : -ENOMEM;
}

static int op_unsubscribe(struct link *link, const char *filter)
{
        struct fake_link *l = CONTAINER_OF(link, struct fake_link, link);

        l->n_unsubscribes++;
        for (size_t i = 0; i < l->n_filters; i++) {
                if (strcmp(l->filters[i], filter) != 0)
                        continue;
                free(l->filters[i]);
                l->filters[i] = l->filters[--l->n_filters];
                return 0;
        }
        return 0;
}

static void op_stop(struct link *link, uint64_t deadline_us)
{
        (void)deadline_us;
        link->on_event(link->user, link, &(struct link_event){ .kind = LINK_STOPPED });
}

static void op_stats(const struct link *link, struct link_stats *ret)
{
        const struct fake_link *l = (const void *)link; /* its first member */

        *ret = (struct link_stats){ .n_published = l->n_published };
}

static void op_free(struct link *link)
{
        fake_link_free(CONTAINER_OF(link, struct fake_link, link));
}

struct fake_link *fake_link_new(const char *name, link_event_fn on_event, void *user)
{
        static const struct link_ops ops = {
                .start = op_start,
                .publish = op_publish,
                .has_room = op_has_room,
                .subscribe = op_subscribe,
                .unsubscribe = op_unsubscribe,
                .stop = op_stop,
                .stats = op_stats,
                .free = op_free,
        };
        struct fake_link *l = calloc(1, sizeof(*l));

        if (!l)
                abort();
        l->link = (struct link){ .ops = &ops, .name = name, .on_event = on_event, .user = user };
        return l;
}

struct fake_link *fake_link_free(struct fake_link *l)
{
        if (!l)
                return NULL;
        fake_link_clear(l);
        for (size_t i = 0; i < l->n_filters; i++)
                free(l->filters[i]);
        free(l);
        return NULL;
}

void fake_link_online(struct fake_link *l)
{
        l->link.on_event(l->link.user, &l->link, &(struct link_event){ .kind = LINK_ONLINE });
}

void fake_link_away(struct fake_link *l)
{
        l->link.on_event(l->link.user, &l->link, &(struct link_event){ .kind = LINK_AWAY, .reason = "test" });
}

void fake_link_room(struct fake_link *l)
{
        l->link.on_event(l->link.user, &l->link, &(struct link_event){ .kind = LINK_ROOM });
}

void fake_link_lost(struct fake_link *l)
{
        l->link.on_event(l->link.user, &l->link, &(struct link_event){ .kind = LINK_LOST });
}

bool fake_link_receive(struct fake_link *l, const struct message_init *init, bool was_retained)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        bool is_wanted = false;

        for (size_t i = 0; i < l->n_filters && !is_wanted; i++)
                is_wanted =
                        topic_matches(l->filters[i], strlen(l->filters[i]), init->topic, strlen(init->topic));
        if (!is_wanted)
                return false;
        if (message_new(init, &m) < 0)
                abort();
        l->link.on_event(
                l->link.user, &l->link,
                &(struct link_event){ .kind = LINK_MESSAGE, .message = m, .was_retained = was_retained });
        return true;
}

void fake_link_clear(struct fake_link *l)
{
        for (size_t i = 0; i < l->n_published; i++)
                message_unref(l->published[i]);
        l->n_published = 0;
}

const struct message *fake_link_last(const struct fake_link *l, const char *topic)
{
        for (size_t i = l->n_published; i-- > 0;) {
                if (strcmp(l->published[i]->topic, topic) == 0)
                        return l->published[i];
        }
        return NULL;
}

size_t fake_link_count(const struct fake_link *l, const char *topic)
{
        size_t n = 0;

        for (size_t i = 0; i < l->n_published; i++)
                n += strcmp(l->published[i]->topic, topic) == 0;
        return n;
}

bool fake_link_has_filter(const struct fake_link *l, const char *filter)
{
        for (size_t i = 0; i < l->n_filters; i++) {
                if (strcmp(l->filters[i], filter) == 0)
                        return true;
        }
        return false;
}
