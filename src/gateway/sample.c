/* SPDX-License-Identifier: MIT */
/* Samples become the newest values of points, and these publications. */
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"

#include "gateway_private.h"
#include "json.h"

static bool format_has_label(const struct value_format *f, const char *text)
{
        for (size_t i = 0; i < f->n_labels; i++) {
                if (strcmp(f->labels[i].label, text) == 0)
                        return true;
        }
        return false;
}

/* Keeps the text; without memory the old one stays, which is said to be the newest nowhere. */
static bool value_set_text(struct gw_value *v, const struct buf *text)
{
        if (text->len_bytes >= v->text_size) {
                size_t size = (text->len_bytes + 16) & ~(size_t)15;
                char *bigger = realloc(v->text, size);

                if (!bigger)
                        return false;
                v->text = bigger;
                v->text_size = size;
        }
        memcpy(v->text, text->data, text->len_bytes + 1);
        return true;
}

static void value_take(struct gw_point *p, const struct sample *s, int64_t wall_us)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);
        struct gw_value *v = &p->value;

        v->quality = s->quality;
        v->wall_us = wall_us;
        v->is_known = true;
        if (s->quality != QUALITY_GOOD)
                return;
        value_print(&p->conf->format, &s->value, &b);
        if (!value_set_text(v, &b))
                return;
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

static struct policy_now point_now(const struct gw_point *p, uint64_t now_us, bool on_demand)
{
        const struct gw_value *v = &p->value;

        return (struct policy_now){
                .now_us = now_us,
                .text_hash = v->text ? text_hash(v->text, strlen(v->text)) : 0,
                .number = v->number,
                .quality = v->quality,
                .on_demand = on_demand,
                .is_paced = p->device->send_interval_s > 0,
        };
}

static void point_note_published(struct gw_point *p, uint64_t now_us)
{
        struct policy_now now = point_now(p, now_us, false);

        p->last = (struct policy_last){
                .is_known = true,
                .at_us = now_us,
                .text_hash = now.text_hash,
                .number = now.number,
                .quality = now.quality,
        };
        p->due_us = CLOCK_NEVER_US;
}

static void publish_payload(struct gateway *g, const struct gw_point *p, const struct buf *payload,
                            struct gw_link *only)
{
        struct gw_publication publication = {
                .topic = p->conf->topic,
                .payload = payload->data,
                .payload_bytes = payload->len_bytes,
                .qos = p->conf->qos,
                .retain = p->conf->retain,
                .is_state = true,
                .is_forced = only != NULL,
        };

        gw_publish(g, &publication, only);
}

void gw_publish_point_to(struct gateway *g, struct gw_point *p, struct gw_link *only)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        switch (p->conf->payload) {
        case CONF_PAYLOAD_PLAIN:
                if (p->value.quality != QUALITY_GOOD || !p->value.text)
                        return;
                gw_payload_plain(p, &b);
                break;
        case CONF_PAYLOAD_JSON: gw_payload_json(p, &b); break;
        case CONF_PAYLOAD_OBJECT: p->device->object_due = true; return;
        }
        publish_payload(g, p, &b, only);
}

/* {"temp":21.5,"hum":48.1}: all points of the device that have this payload, as many as fit into 64 kB. */
void gw_publish_object_to(struct gateway *g, struct gw_device *d, struct gw_link *only)
{
        size_t size = 4 + d->conf->n_points * GW_PAYLOAD_BYTES / 4;
        CLEANUP(cleanup_free)
        char *text = malloc(size);
        const struct conf_point *first = NULL;
        struct buf b;

        if (!text)
                return;
        b = buf_on(text, size);
        for (size_t i = 0; i < d->conf->n_points; i++) {
                const struct gw_point *p = &d->points[i];

                if (p->conf->payload != CONF_PAYLOAD_OBJECT || !p->value.is_known)
                        continue;
                buf_append_char(&b, first ? ',' : '{');
                first = first ? first : p->conf;
                gw_json_string(p->conf->name, &b);
                buf_append_char(&b, ':');
                gw_payload_value(&p->value, &b);
        }
        buf_append_char(&b, '}');
        if (!first || b.overflowed)
                return;
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = d->conf->topic,
                           .payload = b.data,
                           .payload_bytes = b.len_bytes,
                           .qos = first->qos,
                           .retain = first->retain,
                           .is_state = true,
                           .is_forced = only != NULL,
                   },
                   only);
}

void gw_publish_point(struct gateway *g, struct gw_point *p, uint64_t now_us)
{
        gw_publish_point_to(g, p, NULL);
        point_note_published(p, now_us);
        if (p->device->object_due)
                gw_wake_at(g, now_us);
        gw_wake_at(g, policy_repeat_us(p->conf, &p->last));
}

static void point_judge(struct gateway *g, struct gw_point *p, uint64_t now_us, bool on_demand)
{
        struct policy_now now = point_now(p, now_us, on_demand);

        switch (policy_judge(p->conf, &p->last, &now, &p->due_us)) {
        case POLICY_SILENT: return;
        case POLICY_NOW: gw_publish_point(g, p, now_us); return;
        case POLICY_LATER: gw_wake_at(g, p->due_us); return;
        }
}

/* Whether a read began before the last write of the point was done: then it shows what was. */
static bool sample_is_older_than_write(const struct gw_point *p, uint64_t began_us)
{
        return p->n_writes > 0 || began_us < p->hold_us;
}

void gw_on_samples(struct gateway *g, const struct bus_samples *samples)
{
        uint64_t now_us = loop_now_us(g->loop);

        for (size_t i = 0; i < samples->n_samples; i++) {
                const struct sample *s = &samples->samples[i];
                struct gw_point *p = s->point < g->conf->n_points ? g->points[s->point] : NULL;

                if (!p || sample_is_older_than_write(p, samples->began_us))
                        continue;
                gw_set_device_status(g, p->device, DEVICE_ONLINE);
                value_take(p, s, samples->wall_us);
                point_say_quality(p);
                point_judge(g, p, now_us, samples->on_demand);
                if (samples->on_demand)
                        gw_on_demanded_sample(g, p);
        }
}

void gw_points_became_stale(struct gateway *g, struct gw_device *d)
{
        uint64_t now_us = loop_now_us(g->loop);

        for (size_t i = 0; i < d->conf->n_points; i++) {
                struct gw_point *p = &d->points[i];

                if (!p->value.is_known || p->value.quality == QUALITY_STALE)
                        continue;
                p->value.quality = QUALITY_STALE;
                point_judge(g, p, now_us, false);
        }
}

static void device_send_all(struct gateway *g, struct gw_device *d, uint64_t now_us)
{
        for (size_t i = 0; i < d->conf->n_points; i++) {
                if (d->points[i].value.is_known && d->points[i].n_writes == 0)
                        gw_publish_point(g, &d->points[i], now_us);
        }
}

static void point_tick(struct gateway *g, struct gw_point *p, uint64_t now_us, uint64_t *next_us)
{
        uint64_t due_us = MBGATE_MIN(p->due_us, policy_repeat_us(p->conf, &p->last));

        if (due_us <= now_us && p->device->status != DEVICE_OFFLINE) {
                gw_publish_point(g, p, now_us);
                due_us = policy_repeat_us(p->conf, &p->last);
        } else if (due_us <= now_us) {
                due_us = p->due_us = CLOCK_NEVER_US;
        }
        *next_us = MBGATE_MIN(*next_us, due_us);
}

void gw_device_tick(struct gateway *g, struct gw_device *d, uint64_t now_us, uint64_t *next_us)
{
        if (d->send_interval_s > 0) {
                if (now_us >= d->send_due_us) {
                        if (d->send_due_us > 0 && d->status == DEVICE_ONLINE)
                                device_send_all(g, d, now_us);
                        /* Without drift, and without a burst for what was missed. */
                        d->send_due_us += d->send_interval_s * USEC_PER_SEC;
                        if (d->send_due_us <= now_us)
                                d->send_due_us = now_us + d->send_interval_s * USEC_PER_SEC;
                }
                *next_us = MBGATE_MIN(*next_us, d->send_due_us);
        } else {
                for (size_t i = 0; i < d->conf->n_points; i++)
                        point_tick(g, &d->points[i], now_us, next_us);
        }
        if (d->object_due) {
                d->object_due = false;
                gw_publish_object_to(g, d, NULL);
        }
}
