/* SPDX-License-Identifier: MIT */
/* Blocks against every way to distribute the points of small random maps, and what must never be in a block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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
                assert_true(b->address == b->points[0]->address ||
                            (d->even_addresses && b->address + 1u == b->points[0]->address));
                for (size_t k = 0; k < b->n_points; k++) {
                        const struct conf_point *p = b->points[k];

                        assert_int_equal(plan_function(p->area), b->function);
                        assert_true(p->address >= b->address && end_of(p) <= (uint32_t)b->address + b->count);
                        assert_true(b->interval_us <= p->interval_ms * 1000);
                        end = MBGATE_MAX(end, end_of(p));
                        seen[p->id]++;
                }
                assert_true(end == (uint32_t)b->address + b->count ||
                            (d->even_addresses && end + 1 == (uint32_t)b->address + b->count));
                if (d->even_addresses && b->function >= PDU_READ_HOLDING)
                        assert_true(b->address % 2 == 0 && b->count % 2 == 0);
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

/* The silence that ends the request is in the turnaround as it is measured, and counts but once. */
static void test_cost(void **state)
{
        struct plan_cost cost = { .baud = 10000, .char_bits = 10, .t35_us = 4000, .turnaround_us = 7000 };

        (void)state;
        assert_int_equal(plan_read_us(&cost, PDU_READ_HOLDING, 2), (8 + 5 + 4) * 1000 + 4000 + 7000);
        /* Another request costs 24 ms beyond its register: twelve between two cost as much. */
        start();
        bus_conf_point(&c, CONF_HOLDING, 0, 1, 1000);
        bus_conf_point(&c, CONF_HOLDING, 13, 1, 1000);
        for (uint16_t gap = 11; gap <= 13; gap += 2) {
                struct plan plan;

                c.points[1].address = (uint16_t)(gap + 1);
                assert_int_equal(plan_device(&c.devices[0], &cost, NULL, 0, &plan), 0);
                assert_int_equal(plan.n_blocks, gap == 13 ? 2 : 1);
                plan_done(&plan);
        }
}

/* The formula of plan.h, by itself. */
static double cost_us(bool is_bits, unsigned count)
{
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        double chars = 8 + 5 + (is_bits ? (count + 7u) / 8u : 2u * count);

        return chars * cost.char_bits * 1e6 / cost.baud + cost.turnaround_us + cost.t35_us;
}

/* A block of some points, by address, in a map of one area: its load, or −1 when it is not allowed. */
static double block_load(const struct conf_device *d, const struct plan_hole *holes, size_t n_holes,
                         const struct conf_point **points, size_t n)
{
        uint32_t begin = points[0]->address, end = end_of(points[0]), interval_ms = points[0]->interval_ms;
        bool is_bits = points[0]->area == CONF_COIL;

        for (size_t i = 1; i < n; i++) {
                if (!d->join_points || (!d->join_gaps && points[i]->address > end))
                        return -1;
                end = MBGATE_MAX(end, end_of(points[i]));
                interval_ms = MBGATE_MIN(interval_ms, points[i]->interval_ms);
        }
        if (d->even_addresses && !is_bits) {
                begin -= begin % 2;
                end += end % 2;
        }
        for (size_t i = 0; i < n_holes && n > 1; i++) {
                const struct plan_hole *h = &holes[i];

                if (h->count ? h->address < end && (uint32_t)h->address + h->count > begin
                             : h->address > begin && h->address < end)
                        return -1;
        }
        if (n > 1 && end - begin > (is_bits ? d->max_bits : d->max_registers))
                return -1;
        return cost_us(is_bits, end - begin) / interval_ms;
}

/* The least load over all ways to distribute up to 8 points over blocks, neighbours or not. */
static double brute(const struct conf_device *d, const struct plan_hole *holes, size_t n_holes,
                    const struct conf_point **sorted, size_t n)
{
        unsigned block_of[8] = { 0 };
        double best = 1e300;

        for (;;) {
                unsigned n_blocks = 0;
                double load = 0;
                size_t i;

                for (i = 0; i < n; i++)
                        n_blocks = MBGATE_MAX(n_blocks, block_of[i] + 1);
                for (unsigned b = 0; b < n_blocks && load >= 0; b++) {
                        const struct conf_point *some[8];
                        size_t n_some = 0;
                        double l;

                        for (i = 0; i < n; i++) {
                                if (block_of[i] == b)
                                        some[n_some++] = sorted[i];
                        }
                        l = block_load(d, holes, n_holes, some, n_some);
                        load = l < 0 ? -1 : load + l;
                }
                if (load >= 0 && load < best)
                        best = load;
                /* The next restricted growth string: each partition once. */
                for (i = n - 1; i > 0; i--) {
                        unsigned most = 0;

                        for (size_t k = 0; k < i; k++)
                                most = MBGATE_MAX(most, block_of[k] + 1);
                        if (block_of[i] < most) {
                                block_of[i]++;
                                break;
                        }
                        block_of[i] = 0;
                }
                if (i == 0)
                        return best;
        }
}

static double load_of(const struct plan *plan)
{
        double load = 0;

        for (size_t i = 0; i < plan->n_blocks; i++) {
                const struct plan_block *b = &plan->blocks[i];

                load += cost_us(b->function <= PDU_READ_DISCRETE, b->count) / ((double)b->interval_us / 1000);
        }
        return load;
}

static int by_address(const void *a, const void *b)
{
        const struct conf_point *x = *(const struct conf_point *const *)a;
        const struct conf_point *y = *(const struct conf_point *const *)b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return end_of(x) < end_of(y) ? -1 : end_of(x) > end_of(y);
}

/* One random small map: no plan has less load than the planner's. */
static void optimal_round(struct random *random, unsigned round)
{
        static const uint32_t bauds[] = { 9600, 115200, 1200 };
        static const uint32_t intervals_ms[] = { 1000, 2000, 5000, 60000 };
        struct conf_device *d = start();
        enum conf_area area = round % 5 == 0 ? CONF_COIL : CONF_HOLDING;
        size_t n = 1 + (size_t)random_below(random, 8), n_holes = 0;
        unsigned n_intervals = 1 + round % 4;
        const struct conf_point *sorted[8];
        struct plan_hole holes[2];
        uint32_t address = (uint32_t)random_below(random, 3);
        struct plan plan;

        d->max_registers = 6 + (uint32_t)random_below(random, 30);
        d->max_bits = 16 + (uint32_t)random_below(random, 200);
        d->even_addresses = random_below(random, 4) == 0;
        d->join_gaps = random_below(random, 6) != 0;
        d->join_points = random_below(random, 20) != 0;
        c.bus.baud = bauds[random_below(random, ARRAY_SIZE(bauds))];
        for (size_t i = 0; i < n; i++) {
                unsigned n_regs = area == CONF_COIL ? 1 : 1u << random_below(random, 3);
                uint32_t spread = area == CONF_COIL ? 60 : 14;

                sorted[i] = bus_conf_point(&c, area, (uint16_t)address, n_regs,
                                           intervals_ms[random_below(random, n_intervals)]);
                address += n_regs;
                if (random_below(random, 2))
                        address += (uint32_t)random_below(random, spread);
                else if (random_below(random, 10) == 0)
                        address -= n_regs / 2; /* they overlap */
        }
        qsort(sorted, n, sizeof(const struct conf_point *), by_address);
        for (; n_holes < round % 3 && address > 0; n_holes++)
                holes[n_holes] = (struct plan_hole){ area, (uint16_t)random_below(random, address),
                                                     (uint16_t)random_below(random, 3) };
        plan = make(d, holes, n_holes);
        check(&plan, d);
        if (load_of(&plan) > brute(d, holes, n_holes, sorted, n) * (1 + 1e-9))
                fail_msg("round %u: %g > %g", round, load_of(&plan), brute(d, holes, n_holes, sorted, n));
        plan_done(&plan);
}

static void test_optimal(void **state)
{
        struct random random = { .state = 1 };

        (void)state;
        for (unsigned round = 0; round < 6000; round++)
                optimal_round(&random, round);
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

/* All that one device can have in a test, three intervals at random: it stays cheap, and takes no time. */
static void test_large_map(void **state)
{
        static const uint32_t intervals_ms[] = { 200, 1000, 10000 };
        struct random random = { .state = 3 };
        struct conf_device *d = start();
        uint32_t address = 0;
        double apart = 0;
        struct plan plan;

        (void)state;
        for (size_t i = 0; i < BUS_CONF_POINTS; i++) {
                const struct conf_point *p = bus_conf_point(&c, CONF_HOLDING, (uint16_t)address, 1,
                                                            intervals_ms[random_below(&random, 3)]);

                address += 1 + (uint32_t)random_below(&random, 4);
                apart += cost_us(false, 1) / p->interval_ms;
        }
        plan = make(d, NULL, 0);
        check(&plan, d);
        assert_true(load_of(&plan) < apart / 2);
        plan_done(&plan);
}

static void test_fixed_blocks_and_demand(void **state)
{
        struct conf_device *d = start();
        struct plan plan;

        (void)state;
        for (uint16_t i = 0; i < 6; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        c.points[1].block = c.points[4].block = 7;
        c.points[2].poll = CONF_POLL_DEMAND;
        c.points[5].poll = CONF_POLL_ONCE;
        plan = make(d, NULL, 0);
        assert_int_equal(plan.n_blocks, 3);
        assert_int_equal(plan.blocks[0].n_points, 2);
        assert_int_equal(plan.blocks[2].interval_us, 0);
        assert_false(plan.blocks[0].is_fixed);
        assert_true(plan.blocks[1].is_fixed);
        assert_int_equal(plan.blocks[1].address, 1);
        assert_int_equal(plan.blocks[1].count, 4);
        assert_int_equal(plan.blocks[1].n_points, 2);
        plan_done(&plan);
        c.points[0].poll = c.points[3].poll = CONF_POLL_ONCE;
        plan = make(d, NULL, 0);
        assert_int_equal(plan.n_blocks, 2);
        assert_int_equal(plan.blocks[0].interval_us, 0);
        plan_done(&plan);
}

/* Nothing takes longer than it may, unless it is a value of its own. */
static void test_longest(void **state)
{
        struct conf_device *d = start();
        struct plan_cost cost = plan_cost_of_bus(&c.bus);
        struct plan plan;

        (void)state;
        for (uint16_t i = 0; i < 100; i++)
                bus_conf_point(&c, CONF_HOLDING, i, 1, 1000);
        cost.longest_us = plan_read_us(&cost, PDU_READ_HOLDING, 10);
        assert_int_equal(plan_device(d, &cost, NULL, 0, &plan), 0);
        check(&plan, d);
        assert_int_equal(plan.n_blocks, 10);
        plan_done(&plan);
        cost.longest_us = 1;
        assert_int_equal(plan_device(d, &cost, NULL, 0, &plan), 0);
        assert_int_equal(plan.n_blocks, 100);
        plan_done(&plan);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_contiguous), cmocka_unit_test(test_gap_when_it_pays),
                cmocka_unit_test(test_holes),      cmocka_unit_test(test_intervals),
                cmocka_unit_test(test_cost),       cmocka_unit_test(test_optimal),
                cmocka_unit_test(test_large_map),  cmocka_unit_test(test_fixed_blocks_and_demand),
                cmocka_unit_test(test_longest),    cmocka_unit_test(test_random_maps),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
