/* SPDX-License-Identifier: MIT */
/* Schedule and health in virtual time: days in ms, every promise asserted at each step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"

#include "health.h"
#include "schedule.h"

#define DEVICES_MAX 16
#define JOBS_MAX    64
#define MS          UINT64_C(1000)
#define S           UINT64_C(1000000)

/* A line with devices that die and return; a transaction costs `cost_us`, silence the time-out. */
struct line {
        struct schedule schedule;
        struct health health[DEVICES_MAX];
        bool is_dead[DEVICES_MAX];
        uint64_t back_us[DEVICES_MAX]; /* since when it would answer */
        uint64_t served_us[JOBS_MAX];  /* last good reading */
        uint64_t worst_us[JOBS_MAX];
        uint64_t n_served[JOBS_MAX];
        uint64_t now_us, cost_us, timeout_us, command_cost_us;
        uint64_t probe_us, poll_us, command_us, worst_return_us;
        uint64_t shared_us;
        bool is_shared; /* another master always wants the line */
        unsigned n_dead;
};

static void line_init(struct line *l, size_t n_devices, size_t jobs_each, uint64_t interval_us)
{
        memset(l, 0, sizeof(*l));
        l->now_us = 1000 * S;
        l->cost_us = 20 * MS;
        l->timeout_us = 500 * MS;
        l->command_cost_us = 20 * MS;
        assert_int_equal(schedule_init(&l->schedule, n_devices * jobs_each, n_devices, l->now_us), 0);
        l->schedule.probe_saved_us = SCHEDULE_PROBE_SAVED_US;
        for (size_t i = 0; i < n_devices * jobs_each; i++) {
                l->schedule.jobs[i].device = (uint32_t)(i / jobs_each);
                l->schedule.jobs[i].interval_us = interval_us;
                l->schedule.jobs[i].is_first = true;
        }
        for (size_t i = 0; i < n_devices; i++)
                health_init(&l->health[i], l->now_us);
        schedule_spread(&l->schedule, l->now_us);
}

static void line_silence(struct line *l, uint32_t device, enum schedule_kind kind, uint64_t timeout_us)
{
        struct health *h = &l->health[device];

        l->now_us += timeout_us;
        schedule_charge(&l->schedule, kind, timeout_us);
        l->schedule.devices[device].held_until_us = l->now_us + l->timeout_us;
        if (health_failed(h, l->now_us))
                schedule_pause(&l->schedule, device, l->now_us + h->pause_us);
        else if (h->status == DEVICE_OFFLINE)
                l->schedule.devices[device].probe_due_us = l->now_us + h->pause_us;
}

static void line_answer(struct line *l, uint32_t device, enum schedule_kind kind)
{
        struct health *h = &l->health[device];
        bool was_offline = h->status == DEVICE_OFFLINE;

        l->now_us += l->cost_us;
        schedule_charge(&l->schedule, kind, l->cost_us);
        health_measured(h, 5 * MS, 10 * MS);
        if (health_answered(h, l->now_us) && was_offline) {
                schedule_resume(&l->schedule, device, l->now_us);
                l->worst_return_us = MBGATE_MAX(l->worst_return_us, l->now_us - l->back_us[device]);
        }
}

static void line_poll(struct line *l, size_t job)
{
        struct schedule_job *j = &l->schedule.jobs[job];
        uint64_t start_us = l->now_us;

        assert_true(j->due_us <= start_us);
        assert_true(l->health[j->device].status != DEVICE_OFFLINE);
        assert_true(l->schedule.devices[j->device].held_until_us <= start_us);
        if (l->is_dead[j->device]) {
                line_silence(l, j->device, SCHEDULE_POLL,
                             health_timeout_us(&l->health[j->device], l->timeout_us, 0, true));
                schedule_served(&l->schedule, job, start_us);
                return;
        }
        line_answer(l, j->device, SCHEDULE_POLL);
        l->poll_us += l->cost_us;
        if (l->served_us[job] != 0)
                l->worst_us[job] = MBGATE_MAX(l->worst_us[job], start_us - l->served_us[job]);
        l->served_us[job] = start_us;
        l->n_served[job]++;
        schedule_served(&l->schedule, job, start_us);
        assert_true(j->due_us > start_us);
}

static void line_probe(struct line *l, uint32_t device)
{
        uint64_t start_us = l->now_us, timeout_us;

        assert_int_equal(l->health[device].status, DEVICE_OFFLINE);
        timeout_us = health_probe_timeout_us(&l->health[device], l->timeout_us, l->n_dead, l->cost_us,
                                             l->schedule.probe_saved_us >= 0);
        if (l->is_dead[device])
                line_silence(l, device, SCHEDULE_PROBE, timeout_us + l->cost_us);
        else
                line_answer(l, device, SCHEDULE_PROBE);
        l->probe_us += l->now_us - start_us;
}

/* One step of the line; never beyond until_us when idle. */
static void line_step(struct line *l, uint64_t until_us, bool commands)
{
        struct schedule_choice c;

        l->schedule.shared.is_ready = l->is_shared;
        c = schedule_next(&l->schedule, l->now_us, commands);
        l->n_dead = 0;
        for (size_t i = 0; i < l->schedule.n_devices; i++)
                l->n_dead += l->schedule.devices[i].is_probing;
        switch (c.kind) {
        case SCHEDULE_IDLE:
                assert_true(c.wake_us > l->now_us);
                l->now_us = MBGATE_MIN(c.wake_us, until_us);
                break;
        case SCHEDULE_COMMAND:
                l->now_us += l->command_cost_us;
                l->command_us += l->command_cost_us;
                schedule_charge(&l->schedule, SCHEDULE_COMMAND, l->command_cost_us);
                break;
        case SCHEDULE_POLL: line_poll(l, c.index); break;
        case SCHEDULE_PROBE: line_probe(l, (uint32_t)c.index); break;
        case SCHEDULE_SHARED:
                if (!l->is_shared)
                        fail_msg("nobody else has asked");
                l->now_us += l->cost_us;
                l->shared_us += l->cost_us;
                schedule_charge(&l->schedule, SCHEDULE_SHARED, l->cost_us);
                break;
        }
}

static void line_run(struct line *l, uint64_t duration_us, bool commands)
{
        uint64_t until_us = l->now_us + duration_us;

        while (l->now_us < until_us)
                line_step(l, until_us, commands);
}

static void test_keeps_intervals(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 4, 4, S);
        line_run(&l, 3600 * S, false);
        for (size_t i = 0; i < 16; i++) {
                assert_in_range(l.n_served[i], 3598, 3602);
                assert_true(l.worst_us[i] <= 2 * S); /* once, when the phases are spread */
        }
        assert_int_equal(l.schedule.n_missed, 0);
        schedule_done(&l.schedule);
}

static void test_starts_at_once_then_spread(void **state)
{
        struct line l;
        uint64_t start_us;

        (void)state;
        line_init(&l, 4, 4, 10 * S);
        start_us = l.now_us;
        line_run(&l, S, false);
        for (size_t i = 0; i < 16; i++)
                assert_int_equal(l.n_served[i], 1);
        for (size_t i = 0; i < 16; i++) {
                for (size_t k = 0; k < i; k++)
                        assert_true(l.schedule.jobs[i].due_us != l.schedule.jobs[k].due_us);
                assert_true(l.schedule.jobs[i].due_us <= start_us + 16 * S);
        }
        schedule_done(&l.schedule);
}

/* More work than the line can do, by a seventh up to six times: every interval is stretched by that factor.
 */
static void test_overload_is_fair(void **state)
{
        static const uint64_t intervals_ms[] = { 100, 150, 1000, 5000 };
        static const uint64_t costs_us[] = { 8000, 10000, 14000, 20000, 40000 };

        (void)state;
        for (size_t k = 0; k < ARRAY_SIZE(costs_us); k++) {
                double factor =
                        8 * (double)costs_us[k] / 1000 * (1 / 100.0 + 1 / 150.0 + 1 / 1000.0 + 1 / 5000.0);
                struct line l;

                line_init(&l, 8, 4, 100 * MS);
                l.cost_us = costs_us[k];
                for (size_t i = 0; i < 32; i++)
                        l.schedule.jobs[i].interval_us = intervals_ms[i % 4] * MS;
                line_run(&l, 1200 * S, false);
                for (size_t i = 0; i < 32; i++) {
                        const struct schedule_job *j = &l.schedule.jobs[i];
                        double stretch =
                                1200.0 * 1000 / ((double)l.n_served[i] * (double)intervals_ms[i % 4]);

                        assert_true(stretch > factor * 0.92 && stretch < factor * 1.08);
                        assert_true((double)l.worst_us[i] < (factor + 1.2) * (double)j->interval_us * 1.2);
                        assert_int_equal(j->n_served, l.n_served[i]);
                        assert_true(factor < 2 || j->n_missed > 0);
                        assert_true(j->late_max_us > 0 && j->late_us > 0);
                }
                assert_true(l.schedule.n_missed > 0);
                schedule_done(&l.schedule);
        }
}

/* Just too much work: nobody starves, whatever the interval, and nobody is spared. */
static void test_slight_overload_is_fair(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 8, 4, 600 * MS); /* 620 ms of work in 600 ms, and a little */
        l.schedule.jobs[31].interval_us = 60 * S;
        line_run(&l, 7200 * S, false);
        for (size_t i = 0; i < 32; i++) {
                double share = (double)l.n_served[i] * (double)l.schedule.jobs[i].interval_us / (7200.0 * S);

                assert_true(share > 0.9 && share < 1.0);
                assert_true(l.worst_us[i] <= 3 * l.schedule.jobs[i].interval_us);
        }
        schedule_done(&l.schedule);
}

static void test_all_intervals(void **state)
{
        static const struct {
                uint64_t interval_us, duration_us;
        } cases[] = { { 10 * MS, 1800 * S }, { 600 * S, 86400 * S }, { 86400 * S, 7 * 86400 * S } };

        (void)state;
        for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
                struct line l;

                line_init(&l, 4, 1, cases[k].interval_us);
                l.cost_us = 4 * MS;
                l.schedule.jobs[1].interval_us = 60 * cases[k].interval_us;
                l.schedule.jobs[2].interval_us = MBGATE_MIN(6000 * cases[k].interval_us, 86400 * S);
                l.schedule.jobs[3].interval_us = 86400 * S;
                line_run(&l, cases[k].duration_us, false);
                for (size_t i = 0; i < 4; i++) {
                        uint64_t turns = cases[k].duration_us / l.schedule.jobs[i].interval_us;

                        assert_in_range(l.n_served[i], turns > 2 ? turns - 2 : 0, turns + 2);
                        assert_true(l.schedule.jobs[i].late_max_us <= 2 * l.cost_us);
                }
                assert_int_equal(l.schedule.n_missed, 0);
                schedule_done(&l.schedule);
        }
}

/* Once at the start, once after each return. */
static void test_once(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 2, 2, S);
        l.schedule.jobs[0].interval_us = 0;
        line_run(&l, 600 * S, false);
        assert_int_equal(l.n_served[0], 1);
        assert_true(l.n_served[1] >= 598);
        l.is_dead[0] = true;
        line_run(&l, 60 * S, false);
        assert_int_equal(l.health[0].status, DEVICE_OFFLINE);
        l.is_dead[0] = false;
        l.back_us[0] = l.now_us;
        line_run(&l, 60 * S, false);
        assert_int_equal(l.n_served[0], 2);
        schedule_done(&l.schedule);
}

static void test_command_flood(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 8, 4, 100 * MS);
        line_run(&l, 600 * S, true);
        assert_true(l.poll_us * 100 >= (l.poll_us + l.command_us) * 49);
        assert_true(l.command_us * 100 >= (l.poll_us + l.command_us) * 40);
        schedule_done(&l.schedule);
}

/* Commands, another master and dead devices, all at once: half of the line is still the polls'. */
static void test_flood_from_all_sides(void **state)
{
        (void)state;
        for (unsigned mix = 0; mix < 4; mix++) {
                struct line l;

                line_init(&l, 8, 4, 100 * MS);
                line_run(&l, 10 * S, false);
                l.is_shared = mix & 1;
                l.is_dead[3] = l.is_dead[7] = mix & 2;
                line_run(&l, 60 * S, true);
                l.poll_us = l.command_us = l.shared_us = l.probe_us = 0;
                line_run(&l, 600 * S, true);
                assert_true(l.poll_us * 100 >= 600 * S * 49);
                assert_true(l.command_us * 100 >= 600 * S * 20);
                assert_true(l.shared_us > 0 || !l.is_shared);
                assert_true(l.probe_us > 0 || !l.is_dead[3]);
                schedule_done(&l.schedule);
        }
}

/* However much the others had: the first command does not pay for it. */
static void test_lone_command_beside_others(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 8, 4, 100 * MS);
        l.is_shared = true;
        l.is_dead[3] = l.is_dead[7] = true;
        line_run(&l, 60 * S, false);
        for (unsigned i = 0; i < 1000; i++) {
                uint64_t before_us = l.command_us;

                line_run(&l, 400 * MS, false);
                line_step(&l, UINT64_MAX, true);
                assert_true(l.command_us > before_us);
        }
        schedule_done(&l.schedule);
}

static void test_lone_command_goes_first(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 8, 4, 100 * MS);
        for (unsigned i = 0; i < 1000; i++) {
                uint64_t before_us = l.command_us;

                line_run(&l, 200 * MS, false);
                line_step(&l, UINT64_MAX, true);
                assert_true(l.command_us > before_us);
        }
        schedule_done(&l.schedule);
}

static void test_dead_devices(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 10, 2, 500 * MS);
        line_run(&l, 60 * S, false);
        l.is_dead[2] = l.is_dead[5] = true;
        line_run(&l, 10 * S, false);
        l.probe_us = l.poll_us = 0;
        line_run(&l, 3600 * S, false);
        assert_true(l.probe_us * 1000 <= 3600 * S * 51);
        for (size_t i = 0; i < 20; i++)
                assert_true(l.is_dead[i / 2] || l.n_served[i] >= 7200);
        l.is_dead[2] = false;
        l.back_us[2] = l.now_us;
        line_run(&l, 10 * S, false);
        assert_int_equal(l.health[2].status, DEVICE_ONLINE);
        assert_true(l.worst_return_us <= 10 * S);
        schedule_done(&l.schedule);
}

/* Flat out: two dead of ten take no more than 5 % of what the other eight can have. */
static void test_dead_devices_on_a_full_line(void **state)
{
        uint64_t n[2] = { 0 };

        (void)state;
        for (size_t run = 0; run < 2; run++) {
                struct line l;

                line_init(&l, run == 0 ? 8 : 10, 2, 100 * MS);
                line_run(&l, 60 * S, false);
                if (run == 1)
                        l.is_dead[3] = l.is_dead[7] = true;
                line_run(&l, 10 * S, false);
                for (size_t i = 0; i < l.schedule.n_jobs; i++)
                        n[run] -= l.is_dead[i / 2] ? 0 : l.n_served[i];
                line_run(&l, 600 * S, false);
                for (size_t i = 0; i < l.schedule.n_jobs; i++)
                        n[run] += l.is_dead[i / 2] ? 0 : l.n_served[i];
                schedule_done(&l.schedule);
        }
        assert_true(n[1] * 100 >= n[0] * 95);
}

/* All dead from the start: none was ever heard, the time-outs are full ones at first. */
static void test_all_dead_then_back(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 8, 2, 500 * MS);
        for (size_t i = 0; i < 8; i++)
                l.is_dead[i] = true;
        line_run(&l, 3600 * S, false);
        assert_true(l.probe_us * 1000 <= 3600 * S * 51);
        for (size_t i = 0; i < 8; i++) {
                l.is_dead[i] = false;
                l.back_us[i] = l.now_us;
        }
        line_run(&l, 11 * S, false);
        for (size_t i = 0; i < 8; i++)
                assert_int_equal(l.health[i].status, DEVICE_ONLINE);
        assert_true(l.worst_return_us <= 10 * S + 500 * MS);
        schedule_done(&l.schedule);
}

static void test_day(void **state)
{
        struct random random = { .state = 5 };
        struct line l;

        (void)state;
        line_init(&l, 10, 3, S);
        for (unsigned minute = 0; minute < 24 * 60; minute++) {
                uint32_t d = (uint32_t)random_below(&random, 10);

                if (l.is_dead[d]) {
                        l.is_dead[d] = false;
                        l.back_us[d] = l.now_us;
                } else if (random_below(&random, 2)) {
                        l.is_dead[d] = true;
                        for (size_t i = 0; i < 3; i++)
                                l.served_us[3 * d + i] = 0;
                }
                line_run(&l, 60 * S, random_below(&random, 4) == 0 && minute % 7 == 0);
                for (size_t i = 0; i < 10; i++)
                        assert_true(l.is_dead[i] || l.health[i].status == DEVICE_ONLINE);
        }
        assert_true(l.probe_us * 1000 <= 24 * 3600 * S * 51);
        assert_true(l.worst_return_us <= 10 * S);
        schedule_done(&l.schedule);
}

static void test_held_device(void **state)
{
        struct schedule_choice c;
        struct line l;

        (void)state;
        line_init(&l, 2, 1, S);
        l.schedule.jobs[1].interval_us = 100 * S;
        l.schedule.devices[0].held_until_us = l.now_us + S;
        line_step(&l, UINT64_MAX, false);
        assert_int_equal(l.n_served[0], 0);
        assert_int_equal(l.n_served[1], 1);
        c = schedule_next(&l.schedule, l.now_us, false);
        assert_int_equal(c.kind, SCHEDULE_IDLE);
        l.now_us = l.schedule.devices[0].held_until_us;
        c = schedule_next(&l.schedule, l.now_us, false);
        assert_int_equal(c.kind, SCHEDULE_POLL);
        schedule_retry(&l.schedule, 0, l.now_us + 5 * MS);
        c = schedule_next(&l.schedule, l.now_us, false);
        assert_int_equal(c.kind, SCHEDULE_IDLE);
        schedule_done(&l.schedule);
}

static void test_hysteresis(void **state)
{
        struct health h;

        (void)state;
        health_init(&h, 0);
        assert_true(health_answered(&h, 1));
        assert_false(health_failed(&h, 2));
        assert_false(health_answered(&h, 3));
        assert_false(health_failed(&h, 4));
        assert_false(health_failed(&h, 5));
        assert_true(health_failed(&h, 6));
        assert_int_equal(h.pause_us, S);
        assert_false(health_failed(&h, 7));
        assert_int_equal(h.pause_us, 2 * S);
        /* It answers once and goes again: two failures are enough, and the pauses go on growing. */
        assert_true(health_answered(&h, 8));
        assert_false(health_failed(&h, 9));
        assert_true(health_failed(&h, 9));
        assert_int_equal(h.pause_us, 4 * S);
        assert_true(health_answered(&h, 10));
        for (unsigned i = 0; i < HEALTH_PROBATION; i++)
                assert_false(health_answered(&h, 11));
        assert_false(health_failed(&h, 12));
        assert_int_equal(h.pause_us, S);
        /* Never heard: two requests tell. */
        health_init(&h, 0);
        assert_false(health_failed(&h, 1));
        assert_true(health_failed(&h, 2));
}

/* A broken reply proves that the device lives, but one that gives nothing else is of no use. */
static void test_broken_replies(void **state)
{
        struct health h;

        (void)state;
        health_init(&h, 0);
        for (unsigned i = 0; i < 5; i++) { /* not known, and not trusted */
                assert_false(health_broken(&h, 1));
                assert_false(health_failed(&h, 2));
        }
        assert_true(health_answered(&h, 3));
        for (unsigned i = 1; i < HEALTH_BROKEN_MAX; i++)
                assert_false(health_broken(&h, 4));
        assert_true(health_broken(&h, 5));
        assert_int_equal(h.status, DEVICE_OFFLINE);
        /* It stays there, and is asked less and less often; but after silence soon. */
        for (unsigned i = 0; i < 5; i++)
                assert_false(health_broken(&h, 6));
        assert_int_equal(h.pause_us, HEALTH_PAUSE_MAX_US);
        assert_false(health_failed(&h, 7));
        assert_false(health_broken(&h, 8));
        assert_int_equal(h.pause_us, S);
        assert_true(health_answered(&h, 9));
        for (unsigned i = 0; i < HEALTH_PROBATION; i++) {
                assert_false(health_broken(&h, 10));
                assert_false(health_failed(&h, 11));
                assert_false(health_answered(&h, 12));
        }
        assert_int_equal(h.probation, 0);
}

/* 2 % lost and 2.7 % broken for a day, each second a request: it is never taken for dead but by bad luck. */
static void test_losses_take_no_device_down(void **state)
{
        struct random random = { .state = 7 };
        unsigned n_offline = 0, n_probes = 0;
        struct health h;

        (void)state;
        for (unsigned run = 0; run < 20; run++) {
                health_init(&h, 0);
                for (uint64_t i = 1; i < 24 * 3600; i++) {
                        uint64_t fate = random_below(&random, 1000);

                        n_probes += h.status == DEVICE_OFFLINE;
                        if (fate < 20)
                                n_offline += health_failed(&h, i * S);
                        else if (fate < 47)
                                n_offline += health_broken(&h, i * S);
                        else
                                (void)health_answered(&h, i * S);
                }
        }
        /* 0.02³ × 1.7 million turns */
        assert_in_range(n_offline, 1, 40);
        assert_true(n_probes < 2 * n_offline);
}

/* One that answers probes and nothing else goes each time, and after ever longer pauses. */
static void test_flapping(void **state)
{
        uint64_t now_us = 0;
        unsigned n = 0;
        struct health h;

        (void)state;
        health_init(&h, 0);
        while (now_us < 3600 * S) {
                (void)health_answered(&h, now_us);
                while (!health_failed(&h, now_us))
                        now_us += S / 2;
                now_us += h.pause_us;
                n++;
        }
        assert_true(n < 3600 / 9 + 10);
        assert_int_equal(h.pause_us, HEALTH_PAUSE_MAX_US);
}

/* Long known as fast, now slow: percentiles follow within a thousand replies, the time-out at the first. */
static void test_learned_follows(void **state)
{
        struct health h;

        (void)state;
        health_init(&h, 0);
        (void)health_answered(&h, 1);
        for (unsigned i = 0; i < 3051; i++)
                health_measured(&h, 5 * MS, 20 * MS);
        assert_true(health_timeout_us(&h, 500 * MS, 0, true) < 40 * MS);
        health_slower(&h); /* its late reply was heard */
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        for (unsigned i = 0; i < 3051; i++)
                health_measured(&h, 5 * MS, 20 * MS);
        health_measured(&h, 200 * MS, 220 * MS);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        for (unsigned i = 0; i < 1000; i++)
                health_measured(&h, 200 * MS, 220 * MS);
        assert_true(histogram_percentile_us(&h.round_trip, 500) > 200 * MS);
        assert_in_range(health_timeout_us(&h, 500 * MS, 0, true), 400 * MS, 500 * MS);
}

static void test_learned_timeout(void **state)
{
        struct health h;

        (void)state;
        health_init(&h, 0);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        for (unsigned i = 0; i < 100; i++)
                health_measured(&h, 5 * MS, 20 * MS);
        /* Not before it has answered since the port was opened. */
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        (void)health_answered(&h, 1);
        assert_in_range(health_timeout_us(&h, 500 * MS, 0, true), 30 * MS, 32 * MS);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, false), 500 * MS);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 100 * MS, true), 100 * MS);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 900 * MS, true), 500 * MS);
        (void)health_failed(&h, 2);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        (void)health_answered(&h, 3);
        assert_in_range(health_timeout_us(&h, 500 * MS, 0, true), 30 * MS, 32 * MS);
        (void)health_broken(&h, 4); /* who sends a broken reply is not slow */
        assert_in_range(health_timeout_us(&h, 500 * MS, 0, true), 30 * MS, 32 * MS);
        (void)health_answered(&h, 4);
        health_forget(&h, 4);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
        /* One reply that is too slow for what was learned is enough. */
        (void)health_answered(&h, 5);
        health_measured(&h, 400 * MS, 420 * MS);
        assert_int_equal(health_timeout_us(&h, 500 * MS, 0, true), 500 * MS);
}

/* A late reply to a short probe: the next one waits long enough, once. */
static void test_late_reply_to_a_probe(void **state)
{
        struct health h;

        (void)state;
        health_init(&h, 0);
        assert_false(health_heard(&h));
        for (unsigned i = 0; i < 100; i++)
                health_measured(&h, 5 * MS, 20 * MS);
        for (unsigned i = 0; i < HEALTH_DOUBTS_MAX; i++)
                (void)health_failed(&h, 1);
        assert_int_equal(h.status, DEVICE_OFFLINE);
        assert_true(health_probe_timeout_us(&h, 500 * MS, 1, 28 * MS, true) < 20 * MS);
        assert_true(health_heard(&h));
        assert_false(health_heard(&h));
        assert_int_equal(health_probe_timeout_us(&h, 500 * MS, 1, 28 * MS, false), 500 * MS);
        assert_false(health_heard(&h));
        assert_true(health_probe_timeout_us(&h, 500 * MS, 1, 28 * MS, true) < 20 * MS);
}

/* Probes of all who are dead, each every 9 s, are within 5 % of the line, and all are waited for in full. */
static void test_probes_in_full(void **state)
{
        static const struct {
                unsigned n_dead, every; /* each so many-th round has a full one */
                uint64_t wire_us;
        } lines[] = {
                { 1, 2, 28 * MS },
                { 2, 2, 28 * MS },
                { 6, 4, 28 * MS },
                { 15, 7, 5 * MS },
        };
        struct health h[15];

        (void)state;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                uint64_t spent_us = 0;
                unsigned n_full[15] = { 0 }, n_rounds = 1000;

                for (unsigned k = 0; k < lines[i].n_dead; k++)
                        health_init(&h[k], 0);
                for (unsigned round = 0; round < n_rounds; round++) {
                        for (unsigned k = 0; k < lines[i].n_dead; k++) {
                                uint64_t us = health_probe_timeout_us(&h[k], 500 * MS, lines[i].n_dead,
                                                                      lines[i].wire_us, true);

                                n_full[k] += us == 500 * MS;
                                spent_us += us + lines[i].wire_us;
                        }
                }
                assert_true(spent_us <= n_rounds * HEALTH_PAUSE_MAX_US / 20);
                for (unsigned k = 0; k < lines[i].n_dead; k++)
                        assert_int_equal(n_full[k], n_rounds / (lines[i].every * lines[i].n_dead));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keeps_intervals),
                cmocka_unit_test(test_starts_at_once_then_spread),
                cmocka_unit_test(test_overload_is_fair),
                cmocka_unit_test(test_slight_overload_is_fair),
                cmocka_unit_test(test_all_intervals),
                cmocka_unit_test(test_once),
                cmocka_unit_test(test_command_flood),
                cmocka_unit_test(test_lone_command_goes_first),
                cmocka_unit_test(test_flood_from_all_sides),
                cmocka_unit_test(test_lone_command_beside_others),
                cmocka_unit_test(test_dead_devices),
                cmocka_unit_test(test_dead_devices_on_a_full_line),
                cmocka_unit_test(test_all_dead_then_back),
                cmocka_unit_test(test_day),
                cmocka_unit_test(test_held_device),
                cmocka_unit_test(test_hysteresis),
                cmocka_unit_test(test_learned_timeout),
                cmocka_unit_test(test_late_reply_to_a_probe),
                cmocka_unit_test(test_probes_in_full),
                cmocka_unit_test(test_broken_replies),
                cmocka_unit_test(test_losses_take_no_device_down),
                cmocka_unit_test(test_flapping),
                cmocka_unit_test(test_learned_follows),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
