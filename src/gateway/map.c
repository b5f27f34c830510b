/* SPDX-License-Identifier: MIT */
/* Command topics and what they mean, and the state that stands beside a configuration. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "gateway_private.h"

static int map_add_entry(struct gw_target **map, struct gw_target *t)
{
        HASH_ADD_KEYPTR(hh, *map, t->topic, strlen(t->topic), t);
        if (gw_was_added(t))
                return 0;
        free(t);
        return -ENOMEM;
}

static bool map_has(struct gw_target *map, const char *topic)
{
        struct gw_target *t = NULL;

        HASH_FIND_STR(map, topic, t);
        return t != NULL;
}

static int map_add(struct gw_target **map, const char *topic, const struct gw_target *target)
{
        struct gw_target *t;

        if (topic[0] == '\0' || map_has(*map, topic))
                return 0; /* the configuration has made sure that a topic has one meaning */
        t = malloc(sizeof(*t));
        if (!t)
                return -ENOMEM;
        memcpy(t, target, sizeof(*t));
        t->topic = topic;
        return map_add_entry(map, t);
}

/* `…/set` beside the `…/get` of a point that takes no commands: who tries is told so. */
static int map_add_read_only(struct gw_target **map, const struct conf_point *p)
{
        size_t n = strlen(p->get_topic);
        struct gw_target *t;

        if (p->writable || n < 4 || strcmp(p->get_topic + n - 4, "/get") != 0)
                return 0;
        t = malloc(sizeof(*t) + n + 1);
        if (!t)
                return -ENOMEM;
        memcpy(t, &(struct gw_target){ .kind = GW_TARGET_SET, .point = p->id }, sizeof(*t));
        memcpy(t->own_topic, p->get_topic, n + 1);
        memcpy(t->own_topic + n - 3, "set", 3);
        t->topic = t->own_topic;
        if (!map_has(*map, t->topic))
                return map_add_entry(map, t);
        free(t);
        return 0;
}

static int map_add_device(struct gw_target **map, struct gw_device *d)
{
        struct gw_target interval = { .kind = GW_TARGET_SEND_INTERVAL, .device = d };
        int r = 0;

        for (size_t i = 0; i < d->conf->n_points && r == 0; i++) {
                const struct conf_point *p = &d->conf->points[i];

                r = map_add(map, p->command_topic,
                            &(struct gw_target){ .kind = GW_TARGET_SET, .point = p->id });
                if (r == 0)
                        r = map_add(map, p->get_topic,
                                    &(struct gw_target){ .kind = GW_TARGET_GET, .point = p->id });
        }
        if (r == 0)
                r = map_add(map, d->conf->send_interval_topic, &interval);
        return r < 0 ? r : map_add(map, d->conf->send_interval_topic_short, &interval);
}

static int gw_map_build(struct conf *conf, struct gw_bus *buses, struct gw_target **map)
{
        for (uint32_t b = 0; b < conf->n_buses; b++) {
                int r = 0;

                if (conf->buses[b].raw)
                        r = map_add(map, conf->buses[b].raw_topic,
                                    &(struct gw_target){ .kind = GW_TARGET_RAW, .bus = b });
                for (size_t d = 0; d < conf->buses[b].n_devices && r == 0; d++)
                        r = map_add_device(map, &buses[b].devices[d]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < conf->n_points; i++) {
                int r = map_add_read_only(map, conf->points[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void gw_map_free(struct gw_target *map)
{
        struct gw_target *t, *next;

        HASH_ITER (hh, map, t, next) {
                HASH_DEL(map, t);
                free(t);
        }
}

static int state_init_device(struct gw_device *d, const struct conf_device *conf, struct gw_point **points)
{
        d->conf = conf;
        d->send_interval_s = conf->send_interval_s;
        d->points = calloc(conf->n_points ? conf->n_points : 1, sizeof(*d->points));
        if (!d->points)
                return -ENOMEM;
        for (size_t i = 0; i < conf->n_points; i++) {
                struct gw_point *p = &d->points[i];

                p->conf = &conf->points[i];
                p->device = d;
                p->due_us = CLOCK_NEVER_US;
                p->value.number = (double)NAN;
                if (p->conf->payload == CONF_PAYLOAD_OBJECT && !d->object_first)
                        d->object_first = p->conf;
                points[p->conf->id] = p;
        }
        return 0;
}

static int state_init_bus(struct gw_bus *b, const struct conf_bus *conf, struct gw_point **points)
{
        b->conf = conf;
        b->devices = calloc(conf->n_devices ? conf->n_devices : 1, sizeof(*b->devices));
        if (!b->devices)
                return -ENOMEM;
        for (size_t i = 0; i < conf->n_devices; i++) {
                int r = state_init_device(&b->devices[i], &conf->devices[i], points);

                if (r < 0)
                        return r;
        }
        return 0;
}

int gw_state_new(struct conf *conf, struct gw_bus **ret_buses, struct gw_point ***ret_points,
                 struct gw_target **ret_map)
{
        struct gw_bus *buses = calloc(conf->n_buses ? conf->n_buses : 1, sizeof(*buses));
        struct gw_point **points = calloc(conf->n_points ? conf->n_points : 1, sizeof(struct gw_point *));
        struct gw_target *map = NULL;
        int r = buses && points ? 0 : -ENOMEM;

        for (size_t i = 0; i < conf->n_buses && r == 0; i++)
                r = state_init_bus(&buses[i], &conf->buses[i], points);
        if (r == 0)
                r = gw_map_build(conf, buses, &map);
        if (r < 0) {
                gw_state_free(conf, buses, points, map);
                return r;
        }
        *ret_buses = buses;
        *ret_points = points;
        *ret_map = map;
        return 0;
}

void gw_state_free(const struct conf *conf, struct gw_bus *buses, struct gw_point **points,
                   struct gw_target *map)
{
        gw_map_free(map);
        for (size_t i = 0; points && i < conf->n_points; i++) {
                if (points[i])
                        free(points[i]->value.text);
        }
        for (size_t b = 0; buses && b < conf->n_buses; b++) {
                for (size_t d = 0; buses[b].devices && d < conf->buses[b].n_devices; d++)
                        free(buses[b].devices[d].points);
                free(buses[b].devices);
        }
        free(buses);
        free(points);
}
