/* SPDX-License-Identifier: MIT */
/*
 * The filters that a link is given: as few as do. `<gateway>/+/+/set` and the like catch commands for points
 * that do not exist, too; a topic that a wildcard covers is not subscribed to again, since brokers may
 * deliver it twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/array.h"
#include "mbgate/codec/topic.h"

#include "gateway_private.h"

void gw_filters_free(struct gw_link *l)
{
        for (size_t i = 0; i < l->n_filters; i++)
                free(l->filters[i]);
        free(l->filters);
        l->filters = NULL;
        l->n_filters = 0;
}

static bool filters_cover(char *const *filters, size_t n, const char *topic)
{
        for (size_t i = 0; i < n; i++) {
                if (strcmp(filters[i], topic) == 0 ||
                    topic_matches(filters[i], strlen(filters[i]), topic, strlen(topic)))
                        return true;
        }
        return false;
}

/* A growing set of filters. */
struct filter_set {
        const char *prefix;
        char **filters;
        size_t n, size;
        size_t n_wild; /* the first so many may have wildcards: only they are looked through */
        int r;
};

static void filter_add(struct filter_set *s, const char *text)
{
        char full[GW_TOPIC_BYTES];
        struct buf b = BUF_ON(full);
        char **filters;

        buf_append(&b, s->prefix);
        buf_append(&b, text);
        if (s->r < 0 || b.overflowed || filters_cover(s->filters, s->n_wild, full))
                return;
        filters = array_reserve(s->filters, s->n + 1, &s->size, sizeof(*filters));
        if (!filters) {
                s->r = -ENOMEM;
                return;
        }
        s->filters = filters;
        filters[s->n] = strdup(full);
        if (!filters[s->n])
                s->r = -ENOMEM;
        else
                s->n++;
}

static void filter_add_wild(struct filter_set *s, const char *base, const char *rest)
{
        char text[GW_TOPIC_BYTES];
        struct buf b = BUF_ON(text);
        size_t n = strlen(base);

        buf_printf(&b, "%s%s%s", base, n > 0 && base[n - 1] == '/' ? "" : "/", rest);
        if (!b.overflowed)
                filter_add(s, text);
        s->n_wild = s->n;
}

/* Whether the device's topic is <gateway>/<something>: the gateway's own wildcards cover it. */
static bool device_is_below(const struct conf *conf, const struct conf_device *d)
{
        size_t n = strlen(conf->gateway.name);

        return strncmp(d->topic, conf->gateway.name, n) == 0 && d->topic[n] == '/' &&
               !strchr(d->topic + n + 1, '/');
}

static void filter_add_devices(struct filter_set *s, const struct conf *conf)
{
        for (size_t b = 0; b < conf->n_buses; b++) {
                for (size_t i = 0; i < conf->buses[b].n_devices; i++) {
                        const struct conf_device *d = &conf->buses[b].devices[i];

                        if (device_is_below(conf, d))
                                continue;
                        filter_add_wild(s, d->topic, "+/set");
                        filter_add_wild(s, d->topic, "+/get");
                }
        }
}

static int filters_collect(struct gateway *g, const struct gw_link *l, struct filter_set *s)
{
        struct gw_target *t, *next;

        for (size_t i = 0; l->conf && i < l->conf->n_subscribe; i++) {
                filter_add(s, l->conf->subscribe[i]);
                s->n_wild = s->n;
        }
        filter_add_wild(s, g->conf->gateway.name, "+/+/set");
        filter_add_wild(s, g->conf->gateway.name, "+/+/get");
        filter_add_devices(s, g->conf);
        HASH_ITER (hh, g->map, t, next) {
                if (t->topic != t->own_topic)
                        filter_add(s, t->topic);
        }
        return s->r;
}

/* Unsubscribes from what is in `old` and not in `new`. */
static void filters_withdraw(struct gw_link *l, char *const *old, size_t n_old, char *const *new,
                             size_t n_new)
{
        for (size_t i = 0; i < n_old; i++) {
                bool is_kept = false;

                for (size_t k = 0; k < n_new && !is_kept; k++)
                        is_kept = strcmp(old[i], new[k]) == 0;
                if (!is_kept) {
                        int r = link_unsubscribe(l->link, old[i]);
                        (void)r; /* it may stay: what comes is for no point and said so */
                }
        }
}

static bool filters_have(char *const *filters, size_t n, const char *filter)
{
        for (size_t i = 0; i < n; i++) {
                if (strcmp(filters[i], filter) == 0)
                        return true;
        }
        return false;
}

int gw_subscribe_all(struct gateway *g, struct gw_link *l)
{
        struct filter_set s = { .prefix = gw_link_prefix(l) };
        struct gw_link old = { .filters = l->filters, .n_filters = l->n_filters };
        uint8_t qos = l->conf ? l->conf->qos : 2;
        int r = l->is_control ? 0 : filters_collect(g, l, &s);

        for (size_t i = 0; i < s.n && r == 0; i++) {
                if (!filters_have(old.filters, old.n_filters, s.filters[i]))
                        r = link_subscribe(l->link, s.filters[i], qos);
        }
        filters_withdraw(l, old.filters, old.n_filters, s.filters, s.n);
        gw_filters_free(&old);
        l->filters = s.filters;
        l->n_filters = s.n;
        return r;
}
