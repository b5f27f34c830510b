/* SPDX-License-Identifier: MIT */
/* Samples become the newest values of points, and these publications. */
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/array.h"
#include "mbgate/base/clock.h"

#include "gateway_private.h"

/* What is due of a point whose write is under way waits this long. */
#define UNSETTLED_PAUSE_US (100 * USEC_PER_MSEC)

static bool format_has_label(const struct value_format *f, const char *text)
{
        for (size_t i = 0; i < f->n_labels; i++) {
                if (strcmp(f->labels[i].label, text) == 0)
                        return true;
        }
        return false;
}

/* false: no memory; the old text stays. */
static bool value_set_text(struct gw_value *v, const struct buf *text)
{
        /* In steps of 16: what grows by a digit mostly has the room. */
        char *room = array_reserve(v->text, (text->len_bytes + 16) & ~(size_t)15, &v->text_size, 1);

        if (!room)
                return false;
        v->text = room;
        memcpy(v->text, text->data, text->len_bytes + 1);
        v->fingerprint = gw_fingerprint(text->data, text->len_bytes);
        return true;
}

static void value_take(struct gateway *g, const struct gw_point *p, struct gw_value *v,
                       const struct sample *s, const struct bus_samples *from)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        v->quality = s->quality;
        if (p->conf->payload == CONF_PAYLOAD_JSON) /* nobody else shows it */
                v->wall_us = gw_wall_us(g, from->wall_us);
        v->began_us = from->began_us;
        v->is_known = true;
        if (s->quality != QUALITY_GOOD)
                return;
        value_print(&p->conf->format, &s->value, &b);
        if (b.overflowed || !value_set_text(v, &b)) {
                v->quality = QUALITY_BAD; /* a label beyond all measure, or no memory: no value is not a wrong
                                             one */
                return;
        }
        v->kind = s->value.kind;
        v->number = value_as_double(&s->value);
        v->is_label = format_has_label(&p->conf->format, v->text);
}

static void point_say_quality(struct gw_point *p)
{
        bool is_bad = p->value.quality == QUALITY_BAD;
        const struct conf_device *d = p->conf->device;
        struct log_fields fields = { .bus = d->bus->name, .device = d->name, .point = p->conf->name };

        if (is_bad == p->bad_said)
                return;
        p->bad_said = is_bad;
        if (is_bad)
                log_warn(&fields,
                         "device %s: %s: no value: the device says not available, or has no such register",
                         d->name, p->conf->name);
        else
                log_info(&fields, "device %s: %s: has a value again", d->name, p->conf->name);
}

static void point_note_published(struct gw_point *p, uint64_t now_us)
{
        p->last = (struct policy_last){
                .is_known = true,
                .at_us = now_us,
                .fingerprint = p->value.fingerprint,
                .number = p->value.number,
                .quality = p->value.quality,
        };
        p->due_us = CLOCK_NEVER_US;
}

void gw_publish_point_to(struct gateway *g, struct gw_point *p, struct gw_link *only)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        if (p->conf->payload == CONF_PAYLOAD_JSON)
                gw_payload_json(p, &b);
        else if (p->value.quality == QUALITY_GOOD && p->value.text)
                buf_append(&b, p->value.text);
        else
                return;
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = p->conf->topic,
                           .payload = b.data,
                           .payload_bytes = b.len_bytes,
                           .qos = p->conf->qos,
                           .retain = p->conf->retain,
                           .is_state = true,
                           .state = p->state,
                           .is_forced = only != NULL,
                   },
                   only);
}

/* Writes the object into the gateway's own room, which grows as it must. */
static bool object_write(struct gateway *g, const struct gw_device *d, struct buf *ret)
{
        for (;;) {
                size_t size = g->object_size ? 2 * g->object_size : GW_PAYLOAD_BYTES;
                char *bigger;

                if (g->object_text) {
                        *ret = buf_on(g->object_text, g->object_size);
                        gw_payload_object(d, ret);
                        if (!ret->overflowed)
                                return ret->len_bytes > 0;
                }
                bigger = size <= GW_OBJECT_BYTES_MAX ? realloc(g->object_text, size) : NULL;
                if (!bigger)
                        return false;
                g->object_text = bigger;
                g->object_size = size;
        }
}

void gw_publish_object_to(struct gateway *g, struct gw_device *d, struct gw_link *only)
{
        struct buf b;

        if (!d->object_first || !object_write(g, d, &b))
                return;
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = d->conf->topic,
                           .payload = b.data,
                           .payload_bytes = b.len_bytes,
                           .qos = d->object_first->qos,
                           .retain = d->object_first->retain,
                           .is_state = true,
                           .state = d->object_state,
                           .is_forced = only != NULL,
                   },
                   only);
}

/* At the end of this turn of the loop: one object for all points that a reply brings. */
static void object_soon(struct gateway *g, struct gw_device *d, uint64_t now_us)
{
        if (d->object_due)
                return;
        d->object_due = true;
        d->next_object = g->objects_due;
        g->objects_due = d;
        gw_wake_at(g, now_us);
}

void gw_objects_flush(struct gateway *g)
{
        while (g->objects_due) {
                struct gw_device *d = g->objects_due;

                g->objects_due = d->next_object;
                d->object_due = false;
                gw_publish_object_to(g, d, NULL);
        }
}

void gw_device_wake_at(struct gateway *g, struct gw_device *d, uint64_t at_us)
{
        d->next_us = MBGATE_MIN(d->next_us, at_us);
        gw_wake_at(g, at_us);
}

static void publish_point(struct gateway *g, struct gw_point *p, uint64_t now_us)
{
        if (p->conf->payload == CONF_PAYLOAD_OBJECT)
                object_soon(g, p->device, now_us);
        else
                gw_publish_point_to(g, p, NULL);
        point_note_published(p, now_us);
        if (p->device->send_interval_s == 0)
                gw_device_wake_at(g, p->device, policy_repeat_us(p->conf, &p->last));
}

static void point_judge(struct gateway *g, struct gw_point *p, uint64_t now_us, bool on_demand)
{
        struct policy_now now = {
                .now_us = now_us,
                .fingerprint = p->value.fingerprint,
                .number = p->value.number,
                .quality = p->value.quality,
                .on_demand = on_demand,
                .is_paced = p->device->send_interval_s > 0,
        };

        switch (policy_judge(p->conf, &p->last, &now, &p->due_us)) {
        case POLICY_SILENT: p->due_us = CLOCK_NEVER_US; return; /* what waited has been taken back */
        case POLICY_NOW: publish_point(g, p, now_us); return;
        case POLICY_LATER: gw_device_wake_at(g, p->device, p->due_us); return;
        }
}

/* Whether a read began before the last write of the point was done: then it shows what was. */
static bool point_is_older_than_write(const struct gw_point *p, uint64_t began_us)
{
        return p->n_writes > 0 || began_us < p->hold_us;
}

/* Whoever asked by /get gets what the device said then; it is not published, since a write has made it old.
 */
static void answer_only(struct gateway *g, const struct gw_point *p, const struct sample *s,
                        const struct bus_samples *from)
{
        struct gw_value v = { .text = NULL };

        value_take(g, p, &v, s, from);
        gw_on_demanded_sample(g, p, &v);
        free(v.text);
}

/* Its value is the last one known: `time` stays that of the value. */
static void point_became_stale(struct gateway *g, struct gw_point *p, uint64_t now_us)
{
        if (!p->value.is_known || p->value.quality == QUALITY_STALE)
                return;
        p->value.quality = QUALITY_STALE;
        point_judge(g, p, now_us, false);
}

void gw_on_samples(struct gateway *g, const struct bus_samples *samples)
{
        uint64_t now_us = loop_now_us(g->loop);

        if (samples->generation == g->conf->generation && samples->bus >= g->conf->n_buses)
                return;
        for (size_t i = 0; i < samples->n_samples; i++) {
                const struct sample *s = &samples->samples[i];
                struct gw_point *p = gw_point_named(g, samples->generation, s->point);

                if (!p)
                        continue;
                if (s->quality == QUALITY_STALE) {
                        if (!point_is_older_than_write(p, samples->began_us))
                                point_became_stale(g, p, now_us);
                        continue;
                }
                gw_set_device_status(g, p->device, DEVICE_ONLINE);
                if (point_is_older_than_write(p, samples->began_us)) {
                        if (samples->on_demand)
                                answer_only(g, p, s, samples);
                        continue;
                }
                value_take(g, p, &p->value, s, samples);
                point_say_quality(p);
                point_judge(g, p, now_us, samples->on_demand);
                if (samples->on_demand)
                        gw_on_demanded_sample(g, p, &p->value);
        }
}

void gw_points_became_stale(struct gateway *g, struct gw_device *d)
{
        uint64_t now_us = loop_now_us(g->loop);

        for (size_t i = 0; i < d->conf->n_points; i++)
                point_became_stale(g, &d->points[i], now_us);
}

/* All points with their newest values; what a write has made old comes with its read-back. */
static void device_send_all(struct gateway *g, struct gw_device *d, uint64_t now_us)
{
        for (size_t i = 0; i < d->conf->n_points; i++) {
                struct gw_point *p = &d->points[i];

                if (p->value.is_known && !point_is_older_than_write(p, p->value.began_us))
                        publish_point(g, p, now_us);
        }
}

static void device_tick_paced(struct gateway *g, struct gw_device *d, uint64_t now_us)
{
        uint64_t interval_us = d->send_interval_s * USEC_PER_SEC;

        if (now_us >= d->send_due_us) {
                if (d->send_due_us > 0 && d->status == DEVICE_ONLINE)
                        device_send_all(g, d, now_us);
                /* Without drift, and without a burst for what was missed. */
                d->send_due_us += interval_us;
                if (d->send_due_us <= now_us)
                        d->send_due_us = now_us + interval_us;
        }
        gw_device_wake_at(g, d, d->send_due_us);
}

static void point_tick(struct gateway *g, struct gw_point *p, uint64_t now_us)
{
        uint64_t due_us = MBGATE_MIN(p->due_us, policy_repeat_us(p->conf, &p->last));

        if (due_us > now_us) {
                gw_device_wake_at(g, p->device, due_us);
                return;
        }
        if (p->device->status == DEVICE_OFFLINE)
                p->due_us = CLOCK_NEVER_US; /* its first value after that goes out at once */
        else if (point_is_older_than_write(p, p->value.began_us))
                gw_device_wake_at(g, p->device, now_us + UNSETTLED_PAUSE_US);
        else
                publish_point(g, p, now_us);
}

void gw_device_tick(struct gateway *g, struct gw_device *d, uint64_t now_us)
{
        if (now_us < d->next_us) {
                gw_wake_at(g, d->next_us);
                return;
        }
        d->next_us = CLOCK_NEVER_US;
        if (d->send_interval_s > 0) {
                device_tick_paced(g, d, now_us);
                return;
        }
        for (size_t i = 0; i < d->conf->n_points; i++)
                point_tick(g, &d->points[i], now_us);
}
