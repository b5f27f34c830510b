/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker_private.h"

/* A silent block is asked after four times its interval, then after sixteen … */
#define SLOWER_MAX 8u

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
        uint64_t us = b->plan->interval_us, slow_us = us;

        if (us == 0)
                return b->is_refused ? WORKER_SLOW_US : 0;
        if (b->is_refused)
                slow_us = WORKER_SLOW_US;
        else if (b->is_stale && b->n_silent >= WORKER_SILENT_TURNS)
                slow_us = us << 2 * MBGATE_MIN(b->n_silent - WORKER_SILENT_TURNS + 1, SLOWER_MAX);
        else if (b->n_failed >= WORKER_FAILED_TURNS)
                slow_us = 4 * us;
        return MBGATE_MAX(us, MBGATE_MIN(slow_us, WORKER_SLOW_US));
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

static bool ids_are_equal(const struct conf_device *a, const struct conf_device *b)
{
        return a->n_points == b->n_points && (a->n_points == 0 || a->points[0].id == b->points[0].id);
}

/* Health and what was learned stay with a device; holes are those of its map, open questions those of its
 * points. */
static void device_carry(struct worker_device *d, const struct worker_device *old)
{
        const struct conf_device *conf = d->conf;
        struct holes none = { .n = 0 };

        *d = *old;
        d->conf = conf;
        d->plan = (struct plan){ 0 };
        d->outputs = NULL;
        d->n_outputs = 0;
        if (plan_fingerprint(conf) != plan_fingerprint(old->conf)) {
                d->holes = none;
                d->picks_up_one = d->picks_up_nothing = false;
        } else if (!ids_are_equal(conf, old->conf)) {
                holes_keep_known(&d->holes);
        }
}

/* What a request costs on this line, and how long it may take at the moment. */
static struct plan_cost cost_of(const struct worker *w, const struct conf_bus *bus, uint64_t now_us)
{
        struct plan_cost cost = plan_cost_of_bus(bus);

        if (now_us < w->writes_until_us)
                cost.longest_us = bus->write_expected_block_ms * USEC_PER_MSEC;
        return cost;
}

/* The same of requests to one device, with what was found out about it. */
static void device_cost(struct worker_device *d, uint64_t longest_us, uint64_t now_us)
{
        if (worker_turnaround_changed(d, now_us)) {
                d->planned_with_us = d->turnaround_us;
                d->planned_us = now_us;
        }
        d->cost = plan_cost_of_device(d->conf);
        d->cost.longest_us = longest_us;
        d->cost.gap_us = MBGATE_MAX(d->cost.gap_us, d->gap.found_us);
        if (d->planned_us != 0)
                d->cost.turnaround_us = d->planned_with_us;
        d->cost.skips_gaps = d->holes.care >= HOLES_CARE_GAPS;
        d->cost.is_alone = d->holes.care == HOLES_CARE_JOINS;
}

static int setup_devices(struct setup *s, const struct worker *w, const struct conf_bus *bus, uint64_t now_us)
{
        uint64_t longest_us = cost_of(w, bus, now_us).longest_us;

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
                device_cost(d, longest_us, now_us);
                r = worker_outputs_make(d, old);
                if (r == 0)
                        r = plan_device(d->conf, &d->cost, d->holes.list, d->holes.n, &d->plan);
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

/* The job that read the same block before, or n_jobs. */
static size_t job_before(const struct worker *w, const struct plan_block *plan)
{
        size_t i = 0;

        while (i < w->schedule.n_jobs && !blocks_are_equal(w->blocks[i].plan, plan))
                i++;
        return i;
}

/*
 * The job that read the first point of a block before, as often, and with success, or n_jobs: the new one
 * takes its turns, so that a new plan does not read everything at once.
 */
static size_t job_like(const struct worker *w, const struct plan_block *plan)
{
        size_t i;

        for (i = 0; i < w->schedule.n_jobs; i++) {
                const struct worker_block *b = &w->blocks[i];

                if (b->is_refused || b->was_cut || b->plan->function != plan->function ||
                    b->plan->interval_us != plan->interval_us ||
                    b->plan->device->unit_id != plan->device->unit_id ||
                    strcmp(b->plan->device->name, plan->device->name) != 0)
                        continue;
                if (plan->points[0]->address >= b->plan->address &&
                    plan->points[0]->address < (uint32_t)b->plan->address + b->plan->count)
                        break;
        }
        return i;
}

static void setup_job(struct setup *s, const struct worker *w, size_t i, uint32_t device,
                      const struct plan_block *plan, bool is_reload)
{
        struct worker_block *b = &s->blocks[i];
        struct schedule_job *j = &s->schedule.jobs[i];
        size_t old = job_before(w, plan);

        *b = (struct worker_block){ .device = device, .plan = plan };
        if (old < w->schedule.n_jobs) {
                b->is_refused = w->blocks[old].is_refused;
                b->is_stale = w->blocks[old].is_stale;
                b->n_silent = w->blocks[old].n_silent;
                b->was_lost = w->blocks[old].was_lost;
                b->n_failed = w->blocks[old].n_failed;
                b->silent_since_us = w->blocks[old].silent_since_us;
                b->heard_us = w->blocks[old].heard_us;
                *j = w->schedule.jobs[old];
        } else {
                old = is_reload || plan->interval_us == 0 ? w->schedule.n_jobs : job_like(w, plan);
                if (old < w->schedule.n_jobs)
                        *j = w->schedule.jobs[old];
                else
                        j->is_first = true;
                j->n_attempts = 0;
                j->not_before_us = 0;
        }
        j->device = device;
        j->interval_us = worker_block_interval_us(b);
        j->is_paused = s->devices[device].health.status == DEVICE_OFFLINE;
}

static int setup_schedule(struct setup *s, const struct worker *w, uint64_t now_us, bool is_reload)
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
                        setup_job(s, w, job++, i, &d->plan.blocks[k], is_reload);
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
                r = setup_schedule(&s, w, now_us, conf != w->conf);
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
        w->cost = cost_of(w, w->bus, now_us);
        w->replan = false;
        return 0;
}

void worker_replan(struct worker *w, uint64_t now_us)
{
        w->replan = false;
        /* Without memory the old plan goes on: it only costs more, or is refused again. */
        if (worker_setup(w, w->conf, w->bus->id, now_us) < 0)
                log_debug(NULL, "bus %s: no memory for a better plan", w->bus->name);
        worker_post_learned(w);
}

void worker_learn(struct worker *w, uint32_t device, const struct bus_hole *holes, size_t n_holes)
{
        struct worker_device *d = &w->devices[device];

        for (size_t i = 0; i < n_holes; i++) {
                if (holes[i].area == BUS_HOLE_ALL_GAPS || holes[i].area == BUS_HOLE_ALL_JOINS)
                        holes_add_care(&d->holes, holes[i].area == BUS_HOLE_ALL_GAPS ? HOLES_CARE_GAPS
                                                                                     : HOLES_CARE_JOINS);
                else
                        holes_add_known(&d->holes, &(struct plan_hole){ (enum conf_area)holes[i].area,
                                                                        holes[i].address, holes[i].count });
        }
        worker_note_learned(d);
        w->replan = true;
}
