/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gen.h"
#include "simclock.h"

static struct gen gen_of(const char *text)
{
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct gen g;

        if (gen_parse(text, &g, &error) != 0)
                fail_msg("%s: %s", text, reason);
        gen_seed(&g, 1);
        return g;
}

static bool near(double a, double b)
{
        return fabs(a - b) < 1e-6;
}

static double value_at(const char *text, double t_s)
{
        struct gen g = gen_of(text);

        return gen_value(&g, (uint64_t)(t_s * 1e9));
}

static void constants_stay(void **state)
{
        (void)state;
        assert_true(near(value_at("21.5", 0), 21.5));
        assert_true(near(value_at("  -157 ", 99), -157));
        assert_true(near(value_at("on", 1), 1));
        assert_true(near(value_at("off", 1), 0));
}

static void shapes_follow_time(void **state)
{
        (void)state;
        assert_true(near(value_at("ramp 0..100 period 10", 0), 0));
        assert_true(near(value_at("ramp 0..100 period 10", 7.5), 75));
        assert_true(near(value_at("ramp 0..100 period 10", 12.5), 25));
        assert_true(near(value_at("sine -10..10 period 4", 0), 0));
        assert_true(near(value_at("sine -10..10 period 4", 1), 10));
        assert_true(near(value_at("sine -10..10 period 4", 3), -10));
        assert_true(near(value_at("counter from 100 rate 0.5", 10), 105));
        assert_true(near(value_at("counter", 10), 10));
        assert_true(near(value_at("toggle period 2", 0.5), 0));
        assert_true(near(value_at("toggle period 2", 1.5), 1));
        assert_true(near(value_at("toggle 5..7 period 2", 1.5), 7));
}

static void walks_stay_inside_and_repeat(void **state)
{
        struct gen a = gen_of("walk 18..25 step 3 every 0.5"), b = a, c = a;
        int n_differences = 0;

        (void)state;
        gen_seed(&c, 2);
        for (uint64_t t = 0; t < 500; t++) {
                double v = gen_value(&a, t * NS_PER_S);

                assert_true(v >= 18 && v <= 25);
                assert_true(v == gen_value(&b, t * NS_PER_S));
                n_differences += v != gen_value(&c, t * NS_PER_S);
        }
        assert_true(n_differences > 400);
}

static void a_walk_nobody_read_does_not_hang(void **state)
{
        (void)state;
        assert_true(value_at("walk 0..1 every 0.000001", 1e6) <= 1);
}

static void random_differs_at_one_time(void **state)
{
        struct gen g = gen_of("random 5..6");
        double a = gen_value(&g, 0), b = gen_value(&g, 0);

        (void)state;
        assert_true(a >= 5 && a < 6 && b >= 5 && b < 6 && a != b);
}

static void texts_and_registers_are_kept(void **state)
{
        struct gen g = gen_of("\"a # b\" ");

        (void)state;
        assert_int_equal(g.kind, GEN_TEXT);
        assert_string_equal(g.text, "a # b");
        g = gen_of("raw 0x7FC0 -1 12");
        assert_int_equal(g.n_raw, 3);
        assert_int_equal(g.raw[0], 0x7FC0);
        assert_int_equal(g.raw[1], 0xFFFF);
        assert_int_equal(g.raw[2], 12);
}

static void bad_generators_are_refused_with_a_reason(void **state)
{
        static const char *const bad[] = {
                "",
                "sine",
                "sine 5",
                "sine 9..1",
                "sine 0..1 step 3",
                "ramp 0..1 period 0",
                "walk 0..x",
                "random 1..2 3",
                "counter rate",
                "toggle 1",
                "raw",
                "raw 70000",
                "raw x",
                "\"open",
                "1 2",
                "nan",
                "inf",
                "bogus",
                "raw 1 2 3 4 5 6 7 8 9",
                "ramp 0..1 period -5",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                char reason[300] = "";
                struct buf error = BUF_ON(reason);
                struct gen g = { .low = 42 };

                if (gen_parse(bad[i], &g, &error) == 0)
                        fail_msg("\"%s\" was taken", bad[i]);
                assert_true(strlen(reason) > 5);
                assert_true(g.low == 42);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(constants_stay),
                cmocka_unit_test(shapes_follow_time),
                cmocka_unit_test(walks_stay_inside_and_repeat),
                cmocka_unit_test(a_walk_nobody_read_does_not_hang),
                cmocka_unit_test(random_differs_at_one_time),
                cmocka_unit_test(texts_and_registers_are_kept),
                cmocka_unit_test(bad_generators_are_refused_with_a_reason),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
