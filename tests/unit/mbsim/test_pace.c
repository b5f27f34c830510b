/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pace.h"
#include "simclock.h"

static struct pace pace_of(uint32_t baud, const char *format)
{
        struct pace p = { .baud = baud, .on = true };

        assert_int_equal(pace_set_format(&p, format), 0);
        return p;
}

static void characters_take_their_bits(void **state)
{
        struct pace p = pace_of(9600, "8E1");

        (void)state;
        assert_int_equal(p.char_bits, 11);
        assert_int_equal(pace_wire_ns(&p, 0), 0);
        assert_int_equal(pace_wire_ns(&p, 8), 9166667); /* 88 bits at 9600 Bd, rounded up */
        p = pace_of(115200, "8N1");
        assert_int_equal(p.char_bits, 10);
        assert_int_equal(pace_wire_ns(&p, 255), 22135417);
        assert_int_equal(pace_of(300, "8N2").char_bits, 11);
        assert_int_equal(pace_of(300, "7E1").char_bits, 10);
}

static void long_frames_do_not_overflow(void **state)
{
        struct pace p = pace_of(50, "8E2");

        (void)state;
        assert_true(pace_wire_ns(&p, 600) == UINT64_C(144000000000));
}

static void pacing_can_be_off(void **state)
{
        struct pace p = pace_of(9600, "8E1");

        (void)state;
        p.on = false;
        assert_int_equal(pace_wire_ns(&p, 100), 0);
        assert_true(pace_chars_ns(&p, 100) > 0);
        assert_true(pace_t35_ns(&p) > 4 * NS_PER_MS);
}

static void t35_is_fixed_above_19200(void **state)
{
        struct pace slow = pace_of(9600, "8E1"), fast = pace_of(115200, "8N1");

        (void)state;
        assert_in_range(pace_t35_ns(&slow), 4010000, 4012000);
        assert_int_equal(pace_t35_ns(&fast), 1750000);
}

static void bad_formats_are_refused(void **state)
{
        static const char *const bad[] = { "", "8E", "8E11", "9N1", "8X1", "8E0", "8E3", "E81" };
        struct pace p = { .char_bits = 99 };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_true(pace_set_format(&p, bad[i]) < 0);
        assert_int_equal(p.char_bits, 99);
}

static void times_are_read_with_units(void **state)
{
        uint64_t min, max;

        (void)state;
        assert_int_equal(pace_parse_time_range("800ms", NS_PER_S, &min, &max), 0);
        assert_int_equal(min, 800 * NS_PER_MS);
        assert_int_equal(max, min);
        assert_int_equal(pace_parse_time_range("5..8", NS_PER_MS, &min, &max), 0);
        assert_int_equal(min, 5 * NS_PER_MS);
        assert_int_equal(max, 8 * NS_PER_MS);
        assert_int_equal(pace_parse_time_range("0.5s..2m", NS_PER_MS, &min, &max), 0);
        assert_int_equal(min, 500 * NS_PER_MS);
        assert_true(max == 120 * NS_PER_S);
        assert_int_equal(pace_parse_time_range("150us", NS_PER_MS, &min, &max), 0);
        assert_int_equal(min, 150 * NS_PER_US);
}

static void bad_times_are_refused(void **state)
{
        static const char *const bad[] = {
                "", "ms", "-1", "1h", "8..5", "5..", "..5", "1e300", "nan", "1 s"
        };
        uint64_t min, max;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_true(pace_parse_time_range(bad[i], NS_PER_MS, &min, &max) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(characters_take_their_bits), cmocka_unit_test(long_frames_do_not_overflow),
                cmocka_unit_test(pacing_can_be_off),          cmocka_unit_test(t35_is_fixed_above_19200),
                cmocka_unit_test(bad_formats_are_refused),    cmocka_unit_test(times_are_read_with_units),
                cmocka_unit_test(bad_times_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
