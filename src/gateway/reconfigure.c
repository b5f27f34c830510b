/* SPDX-License-Identifier: MIT */
/* A new configuration: what kept its topic keeps its state, what is gone is cleared at the brokers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/config/load.h"

#include "gateway_private.h"

/* Topics of a kind are told apart from those of another: points of one object have ones that nobody uses. */
enum thing_kind {
        THING_POINT,
        THING_DEVICE,
        THING_OBJECT,
        THING_BUS,
        THING_KINDS,
};

/* An old thing by its topic, for the time of a reload. */
struct thing {
        const char *topic; /* of the old configuration */
        struct gw_point *point;
        struct gw_device *device;
        struct gw_bus *bus;
        bool is_retained; /* brokers keep a message of its topic */
        bool is_taken;    /* and go on doing so */
        UT_hash_handle hh;
};

struct index {
        struct thing *things[THING_KINDS];
};

static int index_add(struct index *index, enum thing_kind kind, const char *topic, const struct thing *init)
{
        struct thing *t = malloc(sizeof(*t));

        if (!t)
                return -ENOMEM;
        *t = *init;
        t->topic = topic;
        HASH_ADD_KEYPTR(hh, index->things[kind], t->topic, strlen(t->topic), t);
        if (gw_was_added(t))
                return 0;
        free(t);
        return -ENOMEM;
}

static void index_done(struct index *index)
{
        for (size_t i = 0; i < THING_KINDS; i++) {
                struct thing *t, *next;

                HASH_ITER (hh, index->things[i], t, next) {
                        HASH_DEL(index->things[i], t);
                        free(t);
                }
        }
}

/* Whether the point has a retained message of its own. */
static bool point_is_retained(const struct conf_point *p)
{
        return p->retain && p->payload != CONF_PAYLOAD_OBJECT;
}

static int index_add_point(struct index *index, struct gw_point *p)
{
        return index_add(index, THING_POINT, p->conf->topic,
                         &(struct thing){ .point = p, .is_retained = point_is_retained(p->conf) });
}

static int index_add_device(struct index *index, struct gw_device *d)
{
        int r = 0;

        for (size_t i = 0; i < d->conf->n_points && r == 0; i++)
                r = index_add_point(index, &d->points[i]);
        if (r == 0 && d->object_first)
                r = index_add(index, THING_OBJECT, d->conf->topic,
                              &(struct thing){ .is_retained = d->object_first->retain });
        if (r == 0)
                r = index_add(index, THING_DEVICE, d->conf->availability_topic,
                              &(struct thing){ .device = d, .is_retained = true });
        return r;
}

static int index_old(struct gateway *g, struct index *index)
{
        int r = 0;

        for (size_t b = 0; b < g->conf->n_buses && r == 0; b++) {
                const struct conf_bus *bus = &g->conf->buses[b];

                r = index_add(
                        index, THING_BUS, bus->topic,
                        &(struct thing){ .bus = &g->buses[b], .is_retained = bus->stats_interval_s > 0 });
                for (size_t d = 0; d < bus->n_devices && r == 0; d++)
                        r = index_add_device(index, &g->buses[b].devices[d]);
        }
        return r;
}

/* The old thing of a topic; from now on it stands for the new one, which keeps its retained message or not.
 */
static struct thing *index_take(struct index *index, enum thing_kind kind, const char *topic,
                                bool is_retained)
{
        struct thing *t = NULL;

        HASH_FIND_STR(index->things[kind], topic, t);
        if (t)
                t->is_taken = is_retained;
        return t;
}

static bool labels_equal(const struct value_format *a, const struct value_format *b)
{
        if (a->n_labels != b->n_labels)
                return false;
        for (size_t i = 0; i < a->n_labels; i++) {
                if (a->labels[i].value != b->labels[i].value ||
                    strcmp(a->labels[i].label, b->labels[i].label) != 0)
                        return false;
        }
        return true;
}

/* Whether what was last published of the point would be published again. */
static bool point_looks_the_same(const struct conf_point *a, const struct conf_point *b)
{
        return conf_is_same_value(a, b) && a->format.decimals == b->format.decimals &&
               labels_equal(&a->format, &b->format) && a->payload == b->payload;
}

static void point_inherit(struct gw_point *p, struct gw_point *old)
{
        p->retained_said = old->retained_said;
        p->refused = old->refused;
        if (!point_looks_the_same(p->conf, old->conf))
                return;
        p->value = old->value;
        old->value.text = NULL;
        p->last = old->last;
        p->due_us = old->due_us;
        p->hold_us = old->hold_us;
        p->bad_said = old->bad_said;
}

static void device_inherit(struct gw_device *d, const struct gw_device *old)
{
        d->status = old->status;
        if (d->conf->send_interval_s == old->conf->send_interval_s) {
                d->send_interval_s = old->send_interval_s;
                d->send_due_us = old->send_due_us;
        }
}

static void bus_inherit(struct gw_bus *b, const struct gw_bus *old)
{
        b->port_known = old->port_known;
        b->port_open = old->port_open;
        memcpy(b->port_reason, old->port_reason, sizeof(b->port_reason));
        b->stats_known = old->stats_known;
        b->stats = old->stats;
}

static void state_inherit_device(struct gw_device *d, struct index *index)
{
        struct thing *t = index_take(index, THING_DEVICE, d->conf->availability_topic, true);

        if (t)
                device_inherit(d, t->device);
        if (d->object_first)
                (void)index_take(index, THING_OBJECT, d->conf->topic, d->object_first->retain);
        for (size_t i = 0; i < d->conf->n_points; i++) {
                const struct conf_point *p = &d->conf->points[i];

                t = index_take(index, THING_POINT, p->topic, point_is_retained(p));
                if (t)
                        point_inherit(&d->points[i], t->point);
        }
}

static void state_inherit(struct gw_bus *buses, const struct conf *conf, struct index *index)
{
        for (size_t b = 0; b < conf->n_buses; b++) {
                const struct conf_bus *bus = &conf->buses[b];
                struct thing *t = index_take(index, THING_BUS, bus->topic, bus->stats_interval_s > 0);

                if (t)
                        bus_inherit(&buses[b], t->bus);
                for (size_t d = 0; d < bus->n_devices; d++)
                        state_inherit_device(&buses[b].devices[d], index);
        }
}

/* The bus that its worker goes on with, or NULL: what is under way of the old one came by another line. */
static const struct conf_bus *bus_that_stays(const struct conf *new, const struct conf_bus *old)
{
        for (size_t i = 0; i < new->n_buses; i++) {
                if (strcmp(new->buses[i].name, old->name) == 0)
                        return conf_compare_bus(old, &new->buses[i]) != CONF_REPLACE ? &new->buses[i] : NULL;
        }
        return NULL;
}

/* By name, as the workers find their commands' points again: a topic may have changed alone. */
static void points_follow(const struct gateway *g, struct gw_point *const *points, const struct conf *new,
                          struct gw_past *past)
{
        for (size_t b = 0; b < g->conf->n_buses; b++) {
                const struct conf_bus *old = &g->conf->buses[b], *bus = bus_that_stays(new, old);

                for (size_t d = 0; bus && d < old->n_devices; d++) {
                        for (size_t i = 0; i < old->devices[d].n_points; i++) {
                                const struct conf_point *was = &old->devices[d].points[i];
                                const struct conf_point *p = conf_find_again(bus, was);

                                if (!p)
                                        continue;
                                past->points[was->id] = p->id;
                                points[p->id]->hold_us = g->points[was->id]->hold_us;
                        }
                }
        }
}

/* An empty retained message removes what a broker keeps: MQTT 5.0 §3.3.1.3. */
static void clear_what_is_gone(struct gateway *g, struct index *index)
{
        for (size_t i = 0; i < THING_KINDS; i++) {
                struct thing *t, *next;

                HASH_ITER (hh, index->things[i], t, next) {
                        if (t->is_retained && !t->is_taken)
                                gw_publish_state(g, t->topic, "", NULL);
                }
        }
}

/* Links read their settings from the configuration they were added under, until the caller adds them again.
 */
static void links_follow(struct gateway *g)
{
        for (struct gw_link *l = g->links; l; l = l->next) {
                struct log_fields fields = { .link = l->link->name };
                int r = gw_subscribe_all(g, l);

                fields.error = -r;
                if (r < 0)
                        log_error(&fields, "link %s: not all commands are subscribed to: %s", l->link->name,
                                  strerror(-r));
        }
}

int gateway_reconfigure(struct gateway *g, struct conf *conf)
{
        struct index index = { .things = { NULL } };
        struct gw_states states = { .list = NULL };
        struct gw_target *map = NULL;
        struct gw_point **points = NULL;
        struct gw_bus *buses = NULL;
        struct gw_past *past = NULL;
        int r;

        r = index_old(g, &index);
        if (r == 0)
                r = gw_past_new(g->conf, &past);
        if (r == 0)
                r = gw_state_new(conf, &buses, &points, &map);
        if (r == 0)
                r = gw_states_new(conf, buses, &states);
        if (r == 0)
                r = gw_owed_prepare(g, &states);
        if (r != 0) {
                free(past);
                free(states.list);
                gw_state_free(conf, buses, points, map);
                index_done(&index);
                return r;
        }
        gw_objects_flush(g);
        state_inherit(buses, conf, &index);
        points_follow(g, points, conf, past);
        clear_what_is_gone(g, &index);
        index_done(&index);
        gw_state_free(g->conf, g->buses, g->points, g->map);
        conf_unref(g->conf);
        g->conf = conf_ref(conf);
        g->buses = buses;
        g->points = points;
        g->map = map;
        gw_past_begin(g, past);
        gw_pending_follow(g, past);
        gw_owed_renumber(g, &states);
        gw_wake_at(g, loop_now_us(g->loop));
        links_follow(g);
        return 0;
}
