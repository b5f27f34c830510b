/* SPDX-License-Identifier: MIT */
/* Large maps of many intervals: how near the plan is to that of a search that takes a hundred times as long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "bus_conf.h"
#include "plan_draft.h"

#define EXCESS_MAX 0.01
#define POINTS     60
#define MAPS       3 /* for each number of intervals */

static struct bus_conf c;

static double load_of(const struct plan_search *in, const struct conf_point *const *points, size_t n,
                      const size_t *blocks)
{
        double load = 0;

        for (size_t b = 0; b < n; b++) {
                uint32_t begin = UINT32_MAX, end = 0;
                uint64_t interval_us = UINT64_MAX;

                for (size_t i = 0; i < n; i++) {
                        if (blocks[i] != b)
                                continue;
                        begin = MBGATE_MIN(begin, points[i]->address);
                        end = MBGATE_MAX(end, plan_point_end(points[i]));
                        interval_us = MBGATE_MIN(interval_us, plan_point_interval_us(points[i]));
                }
                if (end != 0)
                        load += (double)plan_read_us(in->cost, PDU_READ_HOLDING, end - begin) /
                                (double)interval_us;
        }
        return load;
}

static void random_map(struct random *random, unsigned n_intervals, const struct conf_point **ret_points)
{
        static const uint32_t intervals_ms[] = { 1000,   2000, 5000, 10000, 30000, 60000,
                                                 300000, 500,  250,  100,   15000, 3000 };
        uint32_t address = 0, spread = random_below(random, 2) ? 4 : 14;

        bus_conf_init(&c, "/dev/null");
        (void)bus_conf_device(&c, 1, 500, 1);
        for (size_t i = 0; i < POINTS; i++) {
                unsigned n_regs = 1u << random_below(random, 2);

                ret_points[i] = bus_conf_point(&c, CONF_HOLDING, (uint16_t)address, n_regs,
                                               intervals_ms[random_below(random, n_intervals)]);
                address += n_regs + (random_below(random, 2) ? (uint32_t)random_below(random, spread) : 0);
        }
}

static double make(const struct conf_point *const *points, bool is_thorough)
{
        const struct plan_cost cost = plan_cost_of_bus(&c.bus);
        const struct plan_search in = { .device = &c.devices[0], .cost = &cost, .is_thorough = is_thorough };
        size_t blocks[POINTS];

        assert_int_equal(plan_draft_run(&in, points, POINTS, blocks), 0);
        for (size_t i = 0; i < POINTS; i++)
                assert_true(blocks[i] < POINTS);
        return load_of(&in, points, POINTS, blocks);
}

static void test_near(void **state)
{
        static const uint32_t bauds[] = { 9600, 19200, 115200 };
        struct random random = { .state = 4 };

        (void)state;
        for (unsigned n_intervals = 2; n_intervals <= 12; n_intervals++) {
                for (unsigned map = 0; map < MAPS; map++) {
                        const struct conf_point *points[POINTS];
                        double load, best;

                        random_map(&random, n_intervals, points);
                        c.bus.baud = bauds[map % ARRAY_SIZE(bauds)];
                        load = make(points, false);
                        best = make(points, true);
                        if (load > best * (1 + (n_intervals <= 2 ? 1e-9 : EXCESS_MAX)))
                                fail_msg("%u intervals, map %u: %g > %g", n_intervals, map, load, best);
                }
        }
}

/* More intervals than are told apart: it is a plan all the same, and cheaper than no joining. */
static void test_many_intervals(void **state)
{
        const struct conf_point *points[POINTS];
        struct plan_cost cost;
        double apart = 0;

        (void)state;
        bus_conf_init(&c, "/dev/null");
        (void)bus_conf_device(&c, 1, 500, 1);
        cost = plan_cost_of_bus(&c.bus);
        for (uint16_t i = 0; i < POINTS; i++) {
                points[i] = bus_conf_point(&c, CONF_HOLDING, i, 1, 1000u + 100u * i);
                apart += (double)plan_read_us(&cost, PDU_READ_HOLDING, 1) / (1000.0 * points[i]->interval_ms);
        }
        assert_true(make(points, false) < apart / 5);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_near),
                cmocka_unit_test(test_many_intervals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
