/* SPDX-License-Identifier: MIT */
/* The silence that a device needs is found where there is one to be found, and only there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/random.h"

#include "gap.h"

#define MS UINT64_C(1000)
#define S  UINT64_C(1000000)

struct line {
        struct gap gap;
        struct random random;
        uint64_t needs_us; /* the device loses 60 % of what comes sooner */
        unsigned noise;    /* percent lost whatever the silence is */
        uint64_t now_us, configured_us, max_us;
        unsigned n_lost, n_found;
};

static void run(struct line *l, unsigned n)
{
        l->n_lost = 0;
        for (unsigned i = 0; i < n; i++) {
                bool lost = random_below(&l->random, 100) < l->noise ||
                            (gap_us(&l->gap, l->configured_us, l->max_us) < l->needs_us &&
                             random_below(&l->random, 100) < 60);

                l->now_us += 50 * MS;
                l->n_lost += lost;
                l->n_found += gap_result(&l->gap, lost, l->now_us, l->configured_us, l->max_us);
        }
}

static void test_finds_what_a_device_needs(void **state)
{
        static const struct {
                uint64_t needs_us, configured_us, found_us;
        } cases[] = { { 4 * MS, 0, 5 * MS },
                      { 18 * MS, 0, 20 * MS },
                      { 45 * MS, 0, 50 * MS },
                      { 30 * MS, 12 * MS, 50 * MS } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct line l = { .random = { .state = i + 1 },
                                  .needs_us = cases[i].needs_us,
                                  .configured_us = cases[i].configured_us,
                                  .max_us = 50 * MS,
                                  .noise = 1 };

                run(&l, 400);
                assert_int_equal(l.n_found, 1);
                assert_int_equal(gap_us(&l.gap, l.configured_us, l.max_us), cases[i].found_us);
                run(&l, 1000);
                assert_true(l.n_lost < 30);
        }
}

/* A line that loses a third whatever is done: nothing is found, and most of the time nothing is slowed down.
 */
static void test_noise_is_not_taken_for_haste(void **state)
{
        struct line l = { .random = { .state = 7 }, .max_us = 50 * MS, .noise = 33 };
        unsigned n_slow = 0;

        (void)state;
        for (unsigned i = 0; i < 100000; i++) {
                run(&l, 1);
                n_slow += gap_us(&l.gap, 0, l.max_us) != 0;
        }
        assert_int_equal(l.n_found, 0);
        assert_true(n_slow < 2000);
}

static void test_a_good_device_is_left_alone(void **state)
{
        struct line l = { .random = { .state = 9 }, .max_us = 50 * MS, .noise = 5 };

        (void)state;
        for (unsigned i = 0; i < 20000; i++) {
                run(&l, 1);
                if (l.gap.stage == GAP_WATCH)
                        assert_int_equal(gap_us(&l.gap, 0, l.max_us), 0);
        }
        assert_int_equal(l.n_found, 0);
}

static void test_none_is_looked_for(void **state)
{
        struct line l = { .random = { .state = 11 }, .needs_us = 20 * MS, .max_us = 0 };

        (void)state;
        run(&l, 1000);
        assert_int_equal(gap_us(&l.gap, 0, 0), 0);
        assert_int_equal(l.n_found, 0);
        /* Configured: kept, also by probes. */
        assert_int_equal(gap_us(&l.gap, 7 * MS, 0), 7 * MS);
        assert_int_equal(gap_probe_us(&l.gap, 1, 7 * MS, 0), 7 * MS);
        assert_int_equal(gap_probe_us(&l.gap, 1, 7 * MS, 50 * MS), 50 * MS);
        assert_int_equal(gap_probe_us(&l.gap, 2, 7 * MS, 50 * MS), 7 * MS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_finds_what_a_device_needs),
                cmocka_unit_test(test_noise_is_not_taken_for_haste),
                cmocka_unit_test(test_a_good_device_is_left_alone),
                cmocka_unit_test(test_none_is_looked_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
