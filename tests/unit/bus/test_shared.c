/* SPDX-License-Identifier: MIT */
/* Other masters on the line, in virtual time: they get what polls leave and a share more, polls live on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "schedule.h"

#define JOBS 20
#define MS   UINT64_C(1000)
#define S    UINT64_C(1000000)

struct line {
        struct schedule schedule;
        uint64_t now_us, cost_us, shared_cost_us;
        uint64_t poll_us, shared_us, worst_late_us, worst_wait_us;
        uint64_t shared_since_us;
};

/* JOBS blocks of 20 ms in `interval_us`: 400 ms are a load of 100 %. */
static void line_init(struct line *l, uint64_t interval_us)
{
        *l = (struct line){ .now_us = 1000 * S, .cost_us = 20 * MS, .shared_cost_us = 20 * MS };
        assert_int_equal(schedule_init(&l->schedule, JOBS, 1, l->now_us), 0);
        for (size_t i = 0; i < JOBS; i++) {
                l->schedule.jobs[i].interval_us = interval_us;
                l->schedule.jobs[i].is_first = true;
        }
        schedule_spread(&l->schedule, l->now_us);
}

static void line_poll(struct line *l, size_t i)
{
        const struct schedule_job *j = &l->schedule.jobs[i];
        uint64_t start_us = l->now_us;

        if (!j->is_first)
                l->worst_late_us = MBGATE_MAX(l->worst_late_us, start_us - j->due_us);
        l->now_us += l->cost_us;
        l->poll_us += l->cost_us;
        schedule_charge(&l->schedule, SCHEDULE_POLL, l->cost_us);
        schedule_served(&l->schedule, i, start_us);
}

static void line_shared(struct line *l)
{
        l->worst_wait_us = MBGATE_MAX(l->worst_wait_us, l->now_us - l->shared_since_us);
        l->now_us += l->shared_cost_us;
        l->shared_us += l->shared_cost_us;
        schedule_charge(&l->schedule, SCHEDULE_SHARED, l->shared_cost_us);
        l->shared_since_us = l->now_us; /* the next one is there already */
}

static void line_run(struct line *l, uint64_t duration_us, bool hammers)
{
        uint64_t until_us = l->now_us + duration_us;

        l->shared_since_us = l->now_us;
        while (l->now_us < until_us) {
                struct schedule_choice c;

                l->schedule.shared.is_ready = hammers;
                c = schedule_next(&l->schedule, l->now_us, false);
                if (c.kind == SCHEDULE_IDLE)
                        l->now_us = MBGATE_MIN(c.wake_us, until_us);
                else if (c.kind == SCHEDULE_POLL)
                        line_poll(l, c.index);
                else if (c.kind == SCHEDULE_SHARED)
                        line_shared(l);
                else
                        fail_msg("neither command nor probe is there");
        }
}

static void test_half_loaded(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 800 * MS);
        line_run(&l, 5 * S, false);
        l.poll_us = l.worst_late_us = 0;
        line_run(&l, 1000 * S, true);
        assert_int_equal(l.schedule.n_missed, 0);
        assert_in_range(l.poll_us, 498 * S, 502 * S);
        assert_true(l.shared_us >= 498 * S);
        assert_true(l.worst_late_us <= 150 * MS); /* saved up by the masters, and a transaction */
        assert_true(l.worst_wait_us <= 200 * MS);
        schedule_done(&l.schedule);
}

/* As good as full: polls keep their turns, masters get the little that is left and 10 to 20 %. */
static void test_nearly_full(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 420 * MS);
        line_run(&l, 1000 * S, true);
        assert_true(l.shared_us >= 100 * S && l.shared_us <= 210 * S);
        assert_true(l.worst_wait_us <= 600 * MS);
        schedule_done(&l.schedule);
}

static void test_overloaded(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 100 * MS);
        line_run(&l, 1000 * S, true);
        assert_true(l.shared_us >= 90 * S && l.shared_us <= 110 * S);
        assert_true(l.worst_wait_us <= 600 * MS);
        schedule_done(&l.schedule);
}

/* A master that asks a unit which is not there: each request costs half a second. */
static void test_dead_unit(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 800 * MS);
        l.shared_cost_us = 500 * MS;
        line_run(&l, 1000 * S, true);
        assert_true(l.poll_us >= 400 * S);
        assert_true(l.worst_late_us <= 1200 * MS);
        schedule_done(&l.schedule);
}

static void test_idle_line(void **state)
{
        struct line l;

        (void)state;
        line_init(&l, 3600 * S);
        line_run(&l, 5 * S, false);
        line_run(&l, 100 * S, true);
        assert_true(l.shared_us >= 99 * S);
        assert_int_equal(l.worst_wait_us, l.poll_us > 400 * MS ? 20 * MS : 0);
        schedule_done(&l.schedule);
}

static void test_hurry(void **state)
{
        struct schedule_choice c;
        struct line l;

        (void)state;
        line_init(&l, 3600 * S);
        line_run(&l, S, false);
        schedule_hurry(&l.schedule, 7, l.now_us);
        c = schedule_next(&l.schedule, l.now_us, false);
        assert_int_equal(c.kind, SCHEDULE_POLL);
        assert_int_equal(c.index, 7);
        schedule_served(&l.schedule, 7, l.now_us);
        assert_true(l.schedule.jobs[7].due_us > l.now_us);
        assert_int_equal(l.schedule.n_missed, 0);
        schedule_done(&l.schedule);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_half_loaded), cmocka_unit_test(test_nearly_full),
                cmocka_unit_test(test_overloaded),  cmocka_unit_test(test_dead_unit),
                cmocka_unit_test(test_idle_line),   cmocka_unit_test(test_hurry),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
