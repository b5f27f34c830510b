/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fault.h"
#include "simclock.h"

static struct faults faults_of(const char *text)
{
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct faults f = { .n_rules = 0 };
        struct fault_rule rule;

        if (fault_parse(text, &rule, &error) != 0)
                fail_msg("%s: %s", text, reason);
        assert_int_equal(faults_add(&f, &rule), 0);
        return f;
}

static bool hits(struct faults *f, struct random *random, uint8_t unit, uint8_t function, uint16_t address)
{
        struct fault_query q = { unit, function, true, address, 4 };
        struct fault_effects e;

        faults_choose(f, random, &q, &e);
        return e.kinds != 0;
}

static void selectors_choose(void **state)
{
        struct random r = { 1 };
        struct faults f = faults_of("no-reply@unit=5,function=3");

        (void)state;
        assert_true(hits(&f, &r, 5, 3, 0));
        assert_false(hits(&f, &r, 6, 3, 0));
        assert_false(hits(&f, &r, 5, 4, 0));
        f = faults_of("exception:2@address=10");
        assert_true(hits(&f, &r, 1, 3, 10));
        assert_true(hits(&f, &r, 1, 3, 7));
        assert_false(hits(&f, &r, 1, 3, 6));
        assert_false(hits(&f, &r, 1, 3, 11));
        f = faults_of("late@write");
        assert_true(hits(&f, &r, 1, 6, 0));
        assert_false(hits(&f, &r, 1, 3, 0));
        f = faults_of("late@read");
        assert_false(hits(&f, &r, 1, 16, 0));
        assert_true(hits(&f, &r, 1, 3, 0));
}

static void the_nth_is_counted_among_the_selected(void **state)
{
        struct random r = { 1 };
        struct faults f = faults_of("wrong-crc@unit=5,n=3");
        int n_hits = 0;

        (void)state;
        for (int i = 1; i <= 10; i++) {
                assert_false(hits(&f, &r, 4, 3, 0));
                if (hits(&f, &r, 5, 3, 0)) {
                        n_hits++;
                        assert_int_equal(i, 3);
                }
        }
        assert_int_equal(n_hits, 1);
        f = faults_of("wrong-crc@every=4,max=2");
        n_hits = 0;
        for (int i = 1; i <= 40; i++)
                n_hits += hits(&f, &r, 5, 3, 0);
        assert_int_equal(n_hits, 2);
}

static void probability_is_kept_and_repeats(void **state)
{
        struct random a = { 7 }, b = { 7 };
        struct faults f = faults_of("late@p=0.02"), g = f;
        int n_hits = 0;

        (void)state;
        for (int i = 0; i < 100000; i++) {
                bool hit = hits(&f, &a, 1, 3, 0);

                assert_int_equal(hit, hits(&g, &b, 1, 3, 0));
                n_hits += hit;
        }
        assert_in_range(n_hits, 1800, 2200);
        f = faults_of("late@p=0");
        assert_false(hits(&f, &a, 1, 3, 0));
}

static void parameters_are_read(void **state)
{
        struct faults f = faults_of("late:200ms..900ms@unit=1");
        struct random r = { 1 };

        (void)state;
        assert_int_equal(f.rules[0].param_min, 200 * NS_PER_MS);
        assert_int_equal(f.rules[0].param_max, 900 * NS_PER_MS);
        for (int i = 0; i < 1000; i++) {
                struct fault_query q = { .unit = 1, .function = 3 };
                struct fault_effects e;

                faults_choose(&f, &r, &q, &e);
                assert_true(fault_has(&e, FAULT_LATE));
                assert_in_range(e.param[FAULT_LATE], 200 * NS_PER_MS, 900 * NS_PER_MS);
        }
        assert_int_equal(faults_of("exception").rules[0].param_min, 4);
        assert_int_equal(faults_of("exception:6").rules[0].param_min, 6);
        assert_true(faults_of("hangup-and-return").rules[0].param_min == 2 * NS_PER_S);
}

static void rules_add_up(void **state)
{
        struct faults f = faults_of("noise-before:2");
        struct faults g = faults_of("late");
        struct random r = { 1 };
        struct fault_query q = { .unit = 1, .function = 3 };
        struct fault_effects e;

        (void)state;
        assert_int_equal(faults_add(&f, &g.rules[0]), 0);
        faults_choose(&f, &r, &q, &e);
        assert_true(fault_has(&e, FAULT_NOISE_BEFORE) && fault_has(&e, FAULT_LATE));
        assert_false(fault_has(&e, FAULT_ECHO));
        while (f.n_rules < FAULT_RULES_MAX)
                assert_int_equal(faults_add(&f, &g.rules[0]), 0);
        assert_true(faults_add(&f, &g.rules[0]) < 0);
}

static void bad_rules_are_refused_with_a_reason(void **state)
{
        static const char *const bad[] = {
                "",
                "norely",
                "no-reply:5",
                "late:x",
                "late:-5ms",
                "exception:0",
                "exception:x",
                "exception:256",
                "noise-before:65",
                "echo@unit",
                "echo@unit=256",
                "echo@p=2",
                "echo@p=x",
                "echo@n=0",
                "echo@colour=red",
                "echo@unit=5,bogus",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                char reason[300] = "";
                struct buf error = BUF_ON(reason);
                struct fault_rule rule = { .unit = 42 };

                if (fault_parse(bad[i], &rule, &error) == 0)
                        fail_msg("\"%s\" was taken", bad[i]);
                assert_true(strlen(reason) > 5);
                assert_int_equal(rule.unit, 42);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(selectors_choose),
                cmocka_unit_test(the_nth_is_counted_among_the_selected),
                cmocka_unit_test(probability_is_kept_and_repeats),
                cmocka_unit_test(parameters_are_read),
                cmocka_unit_test(rules_add_up),
                cmocka_unit_test(bad_rules_are_refused_with_a_reason),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
