/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker_private.h"

/* A set of devices with their blocks and schedule, while it is made or taken down. */
struct setup {
        struct worker_device *devices;
        size_t n_devices;
        struct worker_block *blocks;
        struct schedule schedule;
};

static void setup_done(struct setup *s)
{
        for (size_t i = 0; s->devices && i < s->n_devices; i++) {
                plan_done(&s->devices[i].plan);
                worker_outputs_done(&s->devices[i]);
        }
        free(s->devices);
        free(s->blocks);
        schedule_done(&s->schedule);
        *s = (struct setup){ 0 };
}

uint64_t worker_block_interval_us(const struct worker_block *b)
{
        uint64_t us = b->plan->interval_us;

        return b->is_refused ? MBGATE_MAX(us, WORKER_SLOW_US) : us;
}

/* The device of the same name and unit id before, or NULL. */
static const struct worker_device *device_before(const struct worker *w, const struct conf_device *conf)
{
        for (size_t i = 0; i < w->n_devices; i++) {
                const struct conf_device *old = w->devices[i].conf;

                if (old->unit_id == conf->unit_id && strcmp(old->name, conf->name) == 0)
                        return &w->devices[i];
        }
        return NULL;
}

static bool points_are_equal(const struct conf_device *a, const struct conf_device *b)
{
        if (a->n_points != b->n_points)
                return false;
        for (size_t i = 0; i < a->n_points; i++) {
                if (a->points[i].id != b->points[i].id || a->points[i].area != b->points[i].area ||
                    a->points[i].address != b->points[i].address)
                        return false;
        }
        return true;
}

/* Health and what was learned stay with a device; holes are named by point ids and stay if those do. */
static void device_carry(struct worker_device *d, const struct worker_device *old)
{
        const struct conf_device *conf = d->conf;
        struct holes none = { .n = 0 };

        *d = *old;
        d->conf = conf;
        d->plan = (struct plan){ 0 };
        d->outputs = NULL;
        d->n_outputs = 0;
        if (!points_are_equal(conf, old->conf))
                d->holes = none;
        if (!points_are_equal(conf, old->conf))
                d->picks_up_nothing = false;
}

static int setup_devices(struct setup *s, const struct worker *w, const struct conf_bus *bus, uint64_t now_us)
{
        struct plan_cost cost = plan_cost_of_bus(bus);

        s->devices = calloc(bus->n_devices + 1, sizeof(*s->devices));
        if (!s->devices)
                return -ENOMEM;
        for (size_t i = 0; i < bus->n_devices; i++) {
                struct worker_device *d = &s->devices[i];
                const struct worker_device *old = device_before(w, &bus->devices[i]);
                int r;

                d->conf = &bus->devices[i];
                s->n_devices++;
                if (old)
                        device_carry(d, old);
                else
                        health_init(&d->health, now_us);
                if (d->n_measured >= WORKER_REPLAN_REPLIES)
                        cost.turnaround_us = d->turnaround_us;
                r = worker_outputs_make(d, old);
                if (r == 0)
                        r = plan_device(d->conf, &cost, d->holes.list, d->holes.n, &d->plan);
                cost = plan_cost_of_bus(bus);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool blocks_are_equal(const struct plan_block *a, const struct plan_block *b)
{
        return a->function == b->function && a->address == b->address && a->count == b->count &&
               a->interval_us == b->interval_us && a->device->unit_id == b->device->unit_id &&
               strcmp(a->device->name, b->device->name) == 0;
}

/* The job that read the same block before, or NULL. */
static const struct schedule_job *job_before(const struct worker *w, const struct plan_block *plan,
                                             bool *ret_is_refused)
{
        for (size_t i = 0; i < w->schedule.n_jobs; i++) {
                if (blocks_are_equal(w->blocks[i].plan, plan)) {
                        *ret_is_refused = w->blocks[i].is_refused;
                        return &w->schedule.jobs[i];
                }
        }
        return NULL;
}

static void setup_job(struct setup *s, const struct worker *w, size_t i, uint32_t device,
                      const struct plan_block *plan)
{
        struct worker_block *b = &s->blocks[i];
        struct schedule_job *j = &s->schedule.jobs[i];
        const struct schedule_job *old;

        *b = (struct worker_block){ .device = device, .plan = plan };
        old = job_before(w, plan, &b->is_refused);
        if (old)
                *j = *old;
        else
                j->is_first = true;
        j->device = device;
        j->interval_us = worker_block_interval_us(b);
        j->is_paused = s->devices[device].health.status == DEVICE_OFFLINE;
}

static int setup_schedule(struct setup *s, const struct worker *w, uint64_t now_us)
{
        size_t n_jobs = 0, job = 0;
        int r;

        for (size_t i = 0; i < s->n_devices; i++)
                n_jobs += s->devices[i].plan.n_blocks;
        s->blocks = calloc(n_jobs + 1, sizeof(*s->blocks));
        r = schedule_init(&s->schedule, n_jobs, s->n_devices, now_us);
        if (!s->blocks || r < 0)
                return -ENOMEM;
        for (uint32_t i = 0; i < s->n_devices; i++) {
                struct worker_device *d = &s->devices[i];
                const struct worker_device *old = device_before(w, d->conf);

                for (size_t k = 0; k < d->plan.n_blocks; k++)
                        setup_job(s, w, job++, i, &d->plan.blocks[k]);
                if (old)
                        s->schedule.devices[i] = w->schedule.devices[old - w->devices];
        }
        s->schedule.command_ahead_us = w->schedule.command_ahead_us;
        s->schedule.probe_saved_us =
                w->schedule.saved_at_us ? w->schedule.probe_saved_us : SCHEDULE_PROBE_SAVED_US;
        s->schedule.shared = w->schedule.shared;
        s->schedule.n_missed = w->schedule.n_missed;
        s->schedule.overload_until_us = w->schedule.overload_until_us;
        schedule_spread(&s->schedule, now_us);
        return 0;
}

void worker_setup_done(struct worker *w)
{
        struct setup s = { w->devices, w->n_devices, w->blocks, w->schedule };

        setup_done(&s);
        w->devices = NULL;
        w->n_devices = 0;
        w->blocks = NULL;
        w->schedule = s.schedule;
}

int worker_setup(struct worker *w, struct conf *conf, uint32_t bus, uint64_t now_us)
{
        struct setup s = { 0 };
        int r;

        r = setup_devices(&s, w, &conf->buses[bus], now_us);
        if (r == 0)
                r = setup_schedule(&s, w, now_us);
        if (r < 0) {
                setup_done(&s);
                return r;
        }
        worker_setup_done(w);
        w->devices = s.devices;
        w->n_devices = s.n_devices;
        w->blocks = s.blocks;
        w->schedule = s.schedule;
        w->bus = &conf->buses[bus];
        w->cost = plan_cost_of_bus(w->bus);
        w->replan = false;
        return 0;
}

void worker_replan(struct worker *w, uint64_t now_us)
{
        w->replan = false;
        /* Without memory the old plan goes on: it only costs more, or is refused again. */
        if (worker_setup(w, w->conf, w->bus->id, now_us) < 0)
                log_debug(NULL, "bus %s: no memory for a better plan", w->bus->name);
}
