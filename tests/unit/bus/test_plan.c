/* SPDX-License-Identifier: MIT */
/* Blocks against every partition of small random maps, and what must never be in a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"
#include "mbgate/bus/plan.h"

#include "bus_conf.h"

static struct bus_conf c;

static struct conf_device *start(void)
{
        bus_conf_init(&c, "/dev/null");
        return bus_conf_device(&c, 1, 500, 1);
}

static struct plan make(const struct conf_device *d, const struct plan_hole *holes, size_t n_holes)
{
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        struct plan plan;

        assert_int_equal(plan_device(d, &cost, holes, n_holes, &plan), 0);
        return plan;
}

static uint64_t total_us(const struct plan *plan)
{
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        uint64_t us = 0;

        for (size_t i = 0; i < plan->n_blocks; i++)
                us += plan_read_us(&cost, plan->blocks[i].function, plan->blocks[i].count);
        return us;
}

static uint32_t end_of(const struct conf_point *p)
{
        return (uint32_t)p->address + value_n_regs(&p->format);
}

/* Each point whole in exactly one block, limits kept, no block without an edge that somebody wants. */
static void check(const struct plan *plan, const struct conf_device *d)
{
        unsigned seen[BUS_CONF_POINTS] = { 0 };

        for (size_t i = 0; i < plan->n_blocks; i++) {
                const struct plan_block *b = &plan->blocks[i];
                uint32_t end = 0;

                assert_true(b->n_points > 0);
                assert_true(b->count >= 1 &&
                            b->count <= (b->function <= PDU_READ_DISCRETE ? d->max_bits : d->max_registers));
                assert_int_equal(b->address, b->points[0]->address);
                for (size_t k = 0; k < b->n_points; k++) {
                        const struct conf_point *p = b->points[k];

                        assert_int_equal(plan_function(p->area), b->function);
                        assert_true(p->address >= b->address && end_of(p) <= (uint32_t)b->address + b->count);
                        assert_true(b->interval_us <= p->interval_ms * 1000);
                        end = MBGATE_MAX(end, end_of(p));
                        seen[p->id]++;
                }
                assert_int_equal(end, (uint32_t)b->address + b->count);
        }
        for (size_t i = 0; i < d->n_points; i++)
                assert_int_equal(seen[d->points[i].id], 1);
}

static void test_contiguous(void **state)
{
        struct conf_device *d = start();
        struct plan plan;

        (void)state;
        for (uint16_t i = 0; i < 200; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 2);
        plan_done(&plan);
        d->max_registers = 10;
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 20);
        plan_done(&plan);
}

static void test_gap_when_it_pays(void **state)
{
        struct conf_device *d = start();
        struct plan plan;

        (void)state;
        bus_conf_point(&c, CONF_HOLDING, 0, 1, 1000);
        bus_conf_point(&c, CONF_HOLDING, 9, 1, 1000);
        bus_conf_point(&c, CONF_HOLDING, 100, 1, 1000);
        bus_conf_point(&c, CONF_INPUT, 10, 1, 1000);
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 3);
        plan_done(&plan);
        d->join_gaps = false;
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 4);
        plan_done(&plan);
}

static void test_holes(void **state)
{
        struct conf_device *d = start();
        const struct plan_hole hole = { CONF_HOLDING, 4, 2 }, cut = { CONF_HOLDING, 2, 0 },
                               other = { CONF_INPUT, 4, 2 };
        struct plan plan;

        (void)state;
        bus_conf_point(&c, CONF_HOLDING, 0, 4, 1000);
        bus_conf_point(&c, CONF_HOLDING, 6, 1, 1000);
        plan = make(d, &hole, 1);
        assert_int_equal(plan.n_blocks, 2);
        plan_done(&plan);
        plan = make(d, &other, 1);
        assert_int_equal(plan.n_blocks, 1);
        plan_done(&plan);
        /* A value is never cut, and a lone one is asked for even where it was refused. */
        plan = make(d, &cut, 1);
        check(&plan, d);
        plan_done(&plan);
        plan = make(d, (const struct plan_hole[]){ { CONF_HOLDING, 6, 1 } }, 1);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 2);
        plan_done(&plan);
}

static void test_intervals(void **state)
{
        struct conf_device *d = start();
        struct plan plan;

        (void)state;
        /* Side by side: one request for both. */
        bus_conf_point(&c, CONF_HOLDING, 0, 1, 1000);
        bus_conf_point(&c, CONF_HOLDING, 1, 1, 2000);
        /* Long and slow: not worth reading each second. */
        for (uint16_t i = 2; i < 100; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 60000);
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 2);
        assert_int_equal(plan.blocks[0].count, 2);
        assert_int_equal(plan.blocks[1].interval_us, 60000000);
        plan_done(&plan);
}

/* The least cost over all partitions of consecutive points. */
static uint64_t brute(const struct conf_device *d, const struct conf_point **sorted, size_t n)
{
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        uint64_t best = UINT64_MAX;

        for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) {
                uint64_t us = 0;
                bool fits = true;

                for (size_t i = 0, j; i < n && fits; i = j) {
                        uint32_t end = end_of(sorted[i]);

                        for (j = i + 1; j < n && !(cuts >> (j - 1) & 1); j++) {
                                fits = fits && sorted[j]->area == sorted[i]->area;
                                end = MBGATE_MAX(end, end_of(sorted[j]));
                        }
                        fits = fits && (j == i + 1 || end - sorted[i]->address <= d->max_registers);
                        us += plan_read_us(&cost, plan_function(sorted[i]->area), end - sorted[i]->address);
                }
                if (fits && us < best)
                        best = us;
        }
        return best;
}

static void test_optimal(void **state)
{
        struct random random = { .state = 1 };

        (void)state;
        for (unsigned round = 0; round < 400; round++) {
                struct conf_device *d = start();
                const struct conf_point *sorted[9];
                size_t n = 1 + (size_t)random_below(&random, 9);
                uint32_t address = 0;
                struct plan plan;

                d->max_registers = 4 + (uint32_t)random_below(&random, 30);
                c.bus.baud = round % 2 ? 9600 : 115200;
                for (size_t i = 0; i < n; i++) {
                        unsigned n_regs = 1u << random_below(&random, 3);

                        sorted[i] = bus_conf_point(&c, CONF_HOLDING, (uint16_t)address, n_regs, 1000);
                        address += n_regs + (uint32_t)random_below(&random, 16);
                }
                plan = make(d, NULL, 0);
                check(&plan, d);
                assert_int_equal(total_us(&plan), brute(d, sorted, n));
                plan_done(&plan);
        }
}

static void test_random_maps(void **state)
{
        static const uint32_t intervals[] = { 100, 1000, 1000, 10000 };
        struct random random = { .state = 2 };

        (void)state;
        for (unsigned round = 0; round < 200; round++) {
                struct conf_device *d = start();
                size_t n = (size_t)random_below(&random, 120);
                struct plan plan;

                for (size_t i = 0; i < n; i++) {
                        enum conf_area area = (enum conf_area)random_below(&random, 4);

                        bus_conf_point(&c, area, (uint16_t)random_below(&random, 300),
                                       1u << random_below(&random, 3), intervals[random_below(&random, 4)]);
                }
                plan = make(d, NULL, 0);
                check(&plan, d);
                plan_done(&plan);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_contiguous), cmocka_unit_test(test_gap_when_it_pays),
                cmocka_unit_test(test_holes),      cmocka_unit_test(test_intervals),
                cmocka_unit_test(test_optimal),    cmocka_unit_test(test_random_maps),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
