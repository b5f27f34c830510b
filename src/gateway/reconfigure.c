/* SPDX-License-Identifier: MIT */
/* A new configuration: what kept its topic keeps its state, what is gone is cleared at the brokers. */
#include <stdlib.h>
#include <string.h>

#include "gateway_private.h"

/* Old state by topic, for the time of a reload. */
struct by_topic {
        const char *topic;
        struct gw_point *point; /* one of these */
        struct gw_device *device;
        bool is_taken;
        UT_hash_handle hh;
};

static int index_add(struct by_topic **index, const char *topic, struct gw_point *p, struct gw_device *d)
{
        struct by_topic *e = calloc(1, sizeof(*e));

        if (!e)
                return -1;
        e->topic = topic;
        e->point = p;
        e->device = d;
        HASH_ADD_KEYPTR(hh, *index, e->topic, strlen(e->topic), e);
        return 0;
}

static void index_free(struct by_topic *index)
{
        struct by_topic *e, *next;

        HASH_ITER (hh, index, e, next) {
                HASH_DEL(index, e);
                free(e);
        }
}

static int index_old(struct gateway *g, struct by_topic **index)
{
        int r = 0;

        for (size_t i = 0; i < g->conf->n_points && r == 0; i++)
                r = index_add(index, g->points[i]->conf->topic, g->points[i], NULL);
        for (size_t b = 0; b < g->conf->n_buses; b++) {
                for (size_t d = 0; d < g->conf->buses[b].n_devices && r == 0; d++) {
                        struct gw_device *device = &g->buses[b].devices[d];

                        r = index_add(index, device->conf->availability_topic, NULL, device);
                }
        }
        return r;
}

static struct by_topic *index_take(struct by_topic *index, const char *topic)
{
        struct by_topic *e = NULL;

        HASH_FIND_STR(index, topic, e);
        if (e)
                e->is_taken = true;
        return e;
}

/* The value goes on only if it still means the same. */
static void point_inherit(struct gw_point *p, struct gw_point *old)
{
        const struct value_format *a = &p->conf->format, *b = &old->conf->format;

        if (p->conf->area != old->conf->area || p->conf->address != old->conf->address ||
            a->type != b->type || a->order != b->order || a->scale != b->scale || a->offset != b->offset ||
            a->decimals != b->decimals || p->conf->payload != old->conf->payload)
                return;
        p->value = old->value;
        old->value.text = NULL;
        p->last = old->last;
        p->due_us = old->due_us;
        p->hold_us = old->hold_us;
        p->bad_said = old->bad_said;
        p->retained_said = old->retained_said;
        p->refused_said = old->refused_said;
}

static void device_inherit(struct gw_device *d, const struct gw_device *old)
{
        d->status = old->status;
        if (d->conf->send_interval_s == old->conf->send_interval_s) {
                d->send_interval_s = old->send_interval_s;
                d->send_due_us = old->send_due_us;
        }
}

static void bus_inherit(struct gw_bus *b, const struct gateway *g)
{
        for (size_t i = 0; i < g->conf->n_buses; i++) {
                const struct gw_bus *old = &g->buses[i];

                if (strcmp(old->conf->name, b->conf->name) != 0)
                        continue;
                b->port_known = old->port_known;
                b->port_open = old->port_open;
                memcpy(b->port_reason, old->port_reason, sizeof(b->port_reason));
                b->stats_known = old->stats_known;
                b->stats = old->stats;
        }
}

static void state_inherit(const struct gateway *g, struct conf *conf, struct gw_bus *buses,
                          struct gw_point **points, struct by_topic *index)
{
        for (size_t i = 0; i < conf->n_points; i++) {
                struct by_topic *e = index_take(index, conf->points[i]->topic);

                if (e && e->point)
                        point_inherit(points[i], e->point);
        }
        for (size_t b = 0; b < conf->n_buses; b++) {
                bus_inherit(&buses[b], g);
                for (size_t d = 0; d < conf->buses[b].n_devices; d++) {
                        struct by_topic *e = index_take(index, buses[b].devices[d].conf->availability_topic);

                        if (e && e->device)
                                device_inherit(&buses[b].devices[d], e->device);
                }
        }
}

/* An empty retained message removes what a broker keeps: MQTT 5.0 §3.3.1.3. */
static void clear_what_is_gone(struct gateway *g, struct by_topic *index)
{
        struct by_topic *e, *next;

        HASH_ITER (hh, index, e, next) {
                if (!e->is_taken && (e->device || e->point->conf->retain))
                        gw_publish_text(g, e->topic, "", true, NULL);
        }
}

/* Links read their settings from the configuration they were added under, until the caller adds them again.
 */
static int links_follow(struct gateway *g)
{
        int r = 0;

        for (struct gw_link *l = g->links; l && r == 0; l = l->next)
                r = gw_subscribe_all(g, l);
        return r;
}

int gateway_reconfigure(struct gateway *g, struct conf *conf)
{
        struct by_topic *index = NULL;
        struct gw_target *map = NULL;
        struct gw_point **points;
        struct gw_bus *buses;
        int r;

        r = gw_state_new(conf, &buses, &points, &map);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < g->conf->n_buses; i++)
                gateway_set_bus(g, i, NULL);
        if (index_old(g, &index) == 0) {
                state_inherit(g, conf, buses, points, index);
                clear_what_is_gone(g, index);
        }
        index_free(index);
        gw_state_free(g->conf, g->buses, g->points, g->map);
        conf_unref(g->conf);
        g->conf = conf_ref(conf);
        g->buses = buses;
        g->points = points;
        g->map = map;
        gw_wake_at(g, loop_now_us(g->loop));
        return links_follow(g);
}
