/* SPDX-License-Identifier: MIT */
/* A device with random missing registers: the bisection ends, finds what can be read, and asks little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"
#include "mbgate/bus/plan.h"

#include "bus_conf.h"
#include "holes.h"

#define REGS 400

static struct bus_conf c;

static bool answers(const bool *missing, const struct plan_block *b)
{
        for (unsigned i = 0; i < b->count; i++) {
                if (missing[b->address + i])
                        return false;
        }
        return true;
}

static bool point_exists(const bool *missing, const struct conf_point *p)
{
        for (unsigned i = 0; i < value_n_regs(&p->format); i++) {
                if (missing[p->address + i])
                        return false;
        }
        return true;
}

/* One round: reads each block of the plan; true when nothing changed the plan. */
static bool round_is_stable(struct holes *h, const struct plan *plan, const bool *missing,
                            unsigned *n_refused)
{
        bool stable = true;

        for (size_t i = 0; i < plan->n_blocks; i++) {
                const struct plan_block *b = &plan->blocks[i];

                if (answers(missing, b)) {
                        stable = stable && holes_answered(h, b) == HOLES_NOTHING;
                } else {
                        bool was_bad = holes_is_bad(h, b);

                        (*n_refused)++;
                        stable = holes_refused(h, b) == HOLES_BAD && (was_bad || !holes_is_bad(h, b)) &&
                                 stable;
                }
                if (!stable)
                        return false; /* as the worker: a new plan at once */
        }
        return true;
}

static unsigned learn(const bool *missing, struct holes *h, struct plan *ret_plan)
{
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        unsigned n_refused = 0;

        for (unsigned round = 0; round < 2000; round++) {
                cost.skips_gaps = h->care >= HOLES_CARE_GAPS;
                cost.is_alone = h->care == HOLES_CARE_JOINS;
                assert_int_equal(plan_device(&c.devices[0], &cost, h->list, h->n, ret_plan), 0);
                if (round_is_stable(h, ret_plan, missing, &n_refused))
                        return n_refused;
                plan_done(ret_plan);
        }
        fail_msg("the bisection does not end");
        return 0;
}

static void test_gap(void **state)
{
        bool missing[REGS] = { [12] = true };
        struct holes h = { .n = 0 };
        struct plan plan;

        (void)state;
        bus_conf_init(&c, "/dev/null");
        bus_conf_device(&c, 1, 500, 1);
        for (uint16_t i = 0; i < 40; i++)
                if (i % 10 < 7)
                        bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        missing[12] = false;
        missing[18] = true;
        assert_true(learn(missing, &h, &plan) <= 3);
        assert_int_equal(plan.n_blocks, 2); /* only the hole is left out, what was cut in vain is joined */
        assert_int_equal(h.n, 1);
        assert_int_equal(h.list[0].address, 17);
        assert_int_equal(h.list[0].count, 3);
        plan_done(&plan);
}

static void test_bad_point(void **state)
{
        bool missing[REGS] = { [70] = true };
        struct holes h = { .n = 0 };
        struct plan plan;

        (void)state;
        bus_conf_init(&c, "/dev/null");
        bus_conf_device(&c, 1, 500, 1);
        for (uint16_t i = 0; i < 100; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        assert_true(learn(missing, &h, &plan) <= 10);
        assert_int_equal(plan.n_blocks, 3);
        assert_int_equal(plan.blocks[1].count, 1);
        assert_true(holes_is_bad(&h, &plan.blocks[1]));
        /* It comes to life. */
        assert_int_equal(holes_answered(&h, &plan.blocks[1]), HOLES_REPLAN);
        plan_done(&plan);
        missing[70] = false;
        assert_int_equal(learn(missing, &h, &plan), 0);
        assert_int_equal(plan.n_blocks, 1);
        plan_done(&plan);
}

/* What each of the device's points must be: read if it exists, and given up by itself if it does not. */
static void assert_all_told_apart(const struct plan *plan, const bool *missing)
{
        size_t n_points = 0;

        for (size_t i = 0; i < plan->n_blocks; i++) {
                const struct plan_block *b = &plan->blocks[i];

                n_points += b->n_points;
                for (size_t k = 0; k < b->n_points; k++)
                        assert_int_equal(answers(missing, b), point_exists(missing, b->points[k]));
        }
        assert_int_equal(n_points, c.devices[0].n_points);
}

/* The same holes after a restart: what is known for good, and the care. */
static void restart(struct holes *h)
{
        struct holes before = *h;

        *h = (struct holes){ .n = 0 };
        for (size_t i = 0; i < before.n; i++) {
                if (before.notes[i].state == HOLE_KNOWN)
                        holes_add_known(h, &before.list[i]);
        }
        holes_add_care(h, before.care);
}

/* More gaps than can be kept: none is read any more, and every point is. */
static void test_many_gaps(void **state)
{
        bool missing[REGS] = { false };
        struct holes h = { .n = 0 };
        struct plan plan;

        (void)state;
        bus_conf_init(&c, "/dev/null");
        bus_conf_device(&c, 1, 500, 1);
        for (uint16_t i = 0; i < 2 * 90; i++) {
                missing[i] = i % 2 != 0;
                if (!missing[i])
                        bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        }
        /* A long run with a bad point in it is still cut there. */
        for (uint16_t i = 200; i < 250; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        missing[225] = true;
        (void)learn(missing, &h, &plan);
        assert_all_told_apart(&plan, missing);
        assert_int_equal(h.care, HOLES_CARE_GAPS);
        assert_int_equal(plan.n_blocks, 90 + 3);
        plan_done(&plan);
        restart(&h);
        assert_int_equal(learn(missing, &h, &plan), 1);
        assert_int_equal(plan.n_blocks, 90 + 3);
        plan_done(&plan);
}

/* More bad points than can be kept: each is asked for by itself, and so is each that answers. */
static void test_many_bad_points(void **state)
{
        bool missing[REGS] = { false };
        struct holes h = { .n = 0 };
        struct plan plan;

        (void)state;
        bus_conf_init(&c, "/dev/null");
        bus_conf_device(&c, 1, 500, 1);
        for (uint16_t i = 0; i < 200; i++) {
                missing[i] = i % 2 != 0;
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        }
        /* Both of these stand for themselves, too, though no cut can tell them apart. */
        bus_conf_point(&c, CONF_HOLDING, 300, 2, 1000);
        bus_conf_point(&c, CONF_HOLDING, 301, 1, 1000);
        missing[300] = true;
        (void)learn(missing, &h, &plan);
        assert_all_told_apart(&plan, missing);
        assert_int_equal(h.care, HOLES_CARE_JOINS);
        plan_done(&plan);
        restart(&h);
        assert_true(learn(missing, &h, &plan) <= 101);
        assert_all_told_apart(&plan, missing);
        plan_done(&plan);
}

static void test_random(void **state)
{
        struct random random = { .state = 3 };

        (void)state;
        for (unsigned round = 0; round < 300; round++) {
                bool missing[REGS] = { false };
                struct holes h = { .n = 0 };
                struct plan plan;

                bus_conf_init(&c, "/dev/null");
                bus_conf_device(&c, 1, 500, 1);
                for (unsigned i = 0; i < random_below(&random, 8); i++)
                        missing[random_below(&random, 150)] = true;
                for (unsigned i = 0; i < 60; i++)
                        bus_conf_point(&c, CONF_HOLDING, (uint16_t)random_below(&random, 150),
                                       1u << random_below(&random, 2), 1000);
                (void)learn(missing, &h, &plan);
                for (size_t i = 0; i < plan.n_blocks; i++) {
                        const struct plan_block *b = &plan.blocks[i];

                        for (size_t k = 0; k < b->n_points; k++)
                                assert_int_equal(answers(missing, b), point_exists(missing, b->points[k]));
                }
                plan_done(&plan);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_gap),       cmocka_unit_test(test_bad_point),
                cmocka_unit_test(test_many_gaps), cmocka_unit_test(test_many_bad_points),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
