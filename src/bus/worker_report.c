/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "worker_private.h"

/* Keys of samples: by a block's first point, and apart from those a point read on demand. */
#define KEY_ON_DEMAND UINT32_C(0x20000000)

static void backlog_add(struct worker *w, struct mail *mail)
{
        mail->next = NULL;
        *w->backlog_tail = mail;
        w->backlog_tail = &mail->next;
}

/*
 * Never waits: what may be replaced by a newer one is dropped when `up` has no room at all, everything else
 * is kept here, in order.
 */
void worker_post(struct worker *w, struct mail *mail)
{
        if ((w->backlog && mail->key == 0) || mailbox_post(w->up, mail) < 0) {
                if (mail->key == 0) {
                        backlog_add(w, mail);
                } else {
                        w->n_lost += mail->kind == BUS_MAIL_SAMPLES;
                        mail_free(mail);
                }
        }
}

void worker_post_backlog(struct worker *w)
{
        while (w->backlog) {
                struct mail *mail = w->backlog, *next = mail->next;

                if (mailbox_post(w->up, mail) < 0) {
                        mail->next = next;
                        return;
                }
                w->backlog = next;
                if (!next)
                        w->backlog_tail = &w->backlog;
        }
}

void worker_post_result(struct worker *w, const struct bus_command *c, enum bus_outcome outcome,
                        const struct port_reply *reply)
{
        struct log_fields fields = { .bus = w->bus->name };
        struct bus_result *result;

        if (bus_result_new(c, outcome, &result) < 0) {
                log_error(&fields, "bus %s: no memory for the result of a command", w->bus->name);
                return;
        }
        result->done_us = reply ? reply->done_us : clock_monotonic_us();
        if (reply) {
                result->began_us = reply->began_us;
                result->exception = reply->exception;
        }
        worker_post(w, &result->mail);
}

static size_t count_texts(const struct conf_point *const *points, size_t n_points)
{
        size_t n = 0;

        for (size_t i = 0; i < n_points; i++)
                n += points[i]->format.type == VALUE_TYPE_STRING;
        return n;
}

static void fill_sample(struct sample *s, const struct conf_point *p, const uint16_t *regs, char **text)
{
        *s = (struct sample){ .point = p->id, .quality = QUALITY_BAD };
        if (!regs || value_decode(&p->format, regs, *text, &s->value) != 0)
                return;
        s->quality = QUALITY_GOOD;
        if (p->format.type == VALUE_TYPE_STRING)
                *text += (size_t)VALUE_TEXT_MAX_BYTES;
}

/* A message for the points, its samples still to be filled in, or NULL: lost. */
static struct bus_samples *samples_new(struct worker *w, const struct conf_point *const *points,
                                       size_t n_points, const struct port_reply *reply, char **ret_text)
{
        size_t text_bytes = (size_t)VALUE_TEXT_MAX_BYTES * count_texts(points, n_points);
        struct bus_samples *mail;

        if (bus_samples_new(points[0]->id, n_points, text_bytes, &mail, ret_text) < 0) {
                w->n_lost++;
                return NULL;
        }
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->began_us = reply->began_us;
        mail->done_us = reply->done_us;
        mail->wall_us = clock_wall_us() - (int64_t)(clock_monotonic_us() - reply->done_us);
        return mail;
}

void worker_post_stale(struct worker *w, const struct conf_point *const *points, size_t n_points,
                       const struct port_reply *reply)
{
        char *text;
        struct bus_samples *mail = samples_new(w, points, n_points, reply, &text);

        if (!mail)
                return;
        for (size_t i = 0; i < n_points; i++)
                mail->samples[i] = (struct sample){ .point = points[i]->id, .quality = QUALITY_STALE };
        worker_post(w, &mail->mail);
}

/* `regs` begin at `address`; NULL: the device answered, but with no values. */
void worker_post_samples(struct worker *w, const struct conf_point *const *points, size_t n_points,
                         uint16_t address, const uint16_t *regs, const struct port_reply *reply,
                         bool on_demand)
{
        char *text;
        struct bus_samples *mail = samples_new(w, points, n_points, reply, &text);

        if (!mail)
                return;
        if (on_demand)
                mail->mail.key |= KEY_ON_DEMAND;
        mail->on_demand = on_demand;
        for (size_t i = 0; i < n_points; i++) {
                const uint16_t *at = regs ? regs + (points[i]->address - address) : NULL;

                fill_sample(&mail->samples[i], points[i], at, &text);
        }
        worker_post(w, &mail->mail);
        if (regs)
                worker_raw_note(w, points, n_points, address, regs, reply);
}

static void fill_device_stats(struct worker_device *d)
{
        d->stats.round_trip_p50_us = histogram_percentile_us(&d->health.round_trip, 500);
        d->stats.round_trip_p90_us = histogram_percentile_us(&d->health.round_trip, 900);
        d->stats.round_trip_p99_us = histogram_percentile_us(&d->health.round_trip, 990);
        d->stats.round_trip_max_us = d->health.round_trip.max_us;
        d->stats.timeout_us =
                (uint32_t)health_timeout_us(&d->health, d->conf->response_timeout_ms * USEC_PER_MSEC,
                                            d->conf->response_timeout_min_ms * USEC_PER_MSEC, true);
        d->stats.gap_us = (uint32_t)gap_us(&d->gap, d->conf->gap_ms * USEC_PER_MSEC,
                                           d->conf->gap_max_ms * USEC_PER_MSEC);
}

void worker_post_device(struct worker *w, uint32_t device)
{
        struct worker_device *d = &w->devices[device];
        struct bus_device_state *mail;

        if (bus_device_state_new(device, &mail) < 0)
                return;
        fill_device_stats(d);
        d->n_reported = d->stats.n_transactions;
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->status = d->health.status;
        mail->stats = d->stats;
        worker_post(w, &mail->mail);
}

static void fill_block(const struct worker_block *b, const struct schedule_job *j, struct block_stats *ret)
{
        *ret = (struct block_stats){
                .function = (uint8_t)b->plan->function,
                .address = b->plan->address,
                .count = b->plan->count,
                .interval_us = j->interval_us,
                .n_reads = j->n_served,
                .n_missed = j->n_missed,
                .late_us = j->late_us,
                .late_max_us = j->late_max_us,
        };
}

void worker_post_report(struct worker *w, uint32_t device)
{
        struct worker_device *d = &w->devices[device];
        struct bus_report *mail;
        size_t n = 0;

        if (bus_report_new(device, d->plan.n_blocks, &mail) < 0)
                return;
        fill_device_stats(d);
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->stats = d->stats;
        for (size_t i = 0; i < w->schedule.n_jobs && n < mail->n_blocks; i++) {
                if (w->blocks[i].device == device)
                        fill_block(&w->blocks[i], &w->schedule.jobs[i], &mail->blocks[n++]);
        }
        worker_post(w, &mail->mail);
}

/* Whatever the order: the list is not sorted. */
static uint64_t sum_of_known(const struct holes *h)
{
        uint64_t sum = (uint64_t)h->care << 60;

        for (size_t i = 0; i < h->n; i++) {
                uint64_t x = (uint64_t)h->list[i].area << 32 | (uint64_t)h->list[i].address << 16 |
                             h->list[i].count;

                if (h->notes[i].state == HOLE_KNOWN)
                        sum += (x + 1) * (x + UINT64_C(0x9e3779b97f4a7c15));
        }
        return sum;
}

static void post_learned(struct worker *w, uint32_t device)
{
        const struct worker_device *d = &w->devices[device];
        struct bus_learned *mail;
        size_t n = 0;

        if (bus_learned_new(device, d->holes.n + 1, &mail) < 0)
                return;
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->fingerprint = plan_fingerprint(d->conf);
        for (size_t i = 0; i < d->holes.n; i++) {
                const struct plan_hole *h = &d->holes.list[i];

                if (d->holes.notes[i].state == HOLE_KNOWN)
                        mail->holes[n++] = (struct bus_hole){ (uint8_t)h->area, h->address, h->count };
        }
        if (d->holes.care != HOLES_CARE_NONE)
                mail->holes[n++].area =
                        d->holes.care == HOLES_CARE_GAPS ? BUS_HOLE_ALL_GAPS : BUS_HOLE_ALL_JOINS;
        mail->n_holes = n;
        worker_post(w, &mail->mail);
}

void worker_post_learned(struct worker *w)
{
        for (uint32_t i = 0; i < w->n_devices; i++) {
                uint64_t sum = sum_of_known(&w->devices[i].holes);

                if (sum == w->devices[i].holes_told)
                        continue;
                w->devices[i].holes_told = sum;
                post_learned(w, i);
        }
}

void worker_note_learned(struct worker_device *d)
{
        d->holes_told = sum_of_known(&d->holes);
}

void worker_post_port(struct worker *w, const char *reason)
{
        struct bus_port_state *mail;

        if (bus_port_state_new(&mail) < 0)
                return;
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->is_open = w->is_open;
        (void)snprintf(mail->reason, sizeof(mail->reason), "%s", reason);
        worker_post(w, &mail->mail);
}

static void fill_stats(struct worker *w, uint64_t now_us)
{
        uint64_t window_us = now_us - w->window_began_us;

        w->stats.n_missed_deadlines = w->schedule.n_missed;
        w->stats.n_samples_lost = w->n_lost + mailbox_replaced(w->up);
        w->stats.round_trip_p50_us = histogram_percentile_us(&w->round_trip, 500);
        w->stats.round_trip_p90_us = histogram_percentile_us(&w->round_trip, 900);
        w->stats.round_trip_p99_us = histogram_percentile_us(&w->round_trip, 990);
        w->stats.round_trip_max_us = w->round_trip.max_us;
        if (window_us > 0)
                w->stats.load_permille = (uint32_t)MBGATE_MIN(w->window_busy_us * 1000 / window_us, 1000);
        w->window_began_us = now_us;
        w->window_busy_us = 0;
}

void worker_post_stats(struct worker *w, uint64_t now_us)
{
        uint64_t interval_us = w->bus->stats_interval_s * USEC_PER_SEC;
        struct bus_stats_mail *mail;

        w->next_stats_us = interval_us ? now_us + interval_us : CLOCK_NEVER_US;
        fill_stats(w, now_us);
        if (bus_stats_mail_new(&mail) < 0)
                return;
        mail->generation = w->conf->generation;
        mail->bus = w->bus->id;
        mail->stats = w->stats;
        worker_post(w, &mail->mail);
        for (uint32_t i = 0; i < w->n_devices; i++) {
                if (w->devices[i].n_reported == w->devices[i].stats.n_transactions)
                        continue;
                worker_post_device(w, i);
                worker_post_report(w, i);
        }
}

void worker_log_offline(struct worker *w, uint32_t device, uint64_t timeout_us)
{
        const struct worker_device *d = &w->devices[device];
        struct log_fields fields = { .bus = w->bus->name, .device = d->conf->name };

        if (timeout_us == 0) {
                log_warn(&fields, "bus %s: unit %u: broken replies only, next try in %llu s", w->bus->name,
                         (unsigned)d->conf->unit_id, (unsigned long long)(d->health.pause_us / USEC_PER_SEC));
                return;
        }
        log_warn(&fields, "bus %s: unit %u: no reply within %llu ms, next try in %llu s", w->bus->name,
                 (unsigned)d->conf->unit_id, (unsigned long long)(timeout_us / USEC_PER_MSEC),
                 (unsigned long long)(d->health.pause_us / USEC_PER_SEC));
}

void worker_log_online(struct worker *w, uint32_t device, uint64_t since_us, uint64_t n_lost)
{
        const struct worker_device *d = &w->devices[device];
        struct log_fields fields = { .bus = w->bus->name, .device = d->conf->name };

        log_info(&fields, "bus %s: unit %u: answers again after %llu s and %llu unanswered requests",
                 w->bus->name, (unsigned)d->conf->unit_id,
                 (unsigned long long)((clock_monotonic_us() - since_us) / USEC_PER_SEC),
                 (unsigned long long)n_lost);
}
