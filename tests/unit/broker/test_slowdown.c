/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mbgate/base/macros.h"

#include "slowdown.h"

#define SECOND UINT64_C(1000000)

static struct slowdown *new (void)
{
        struct slowdown *s = calloc(1, sizeof(*s));

        assert_non_null(s);
        return s;
}

static void test_grows_and_is_forgotten(void **state UNUSED)
{
        struct slowdown *s = new ();
        uint64_t now_us = SECOND, expected_us = SLOWDOWN_FIRST_US;

        assert_int_equal(slowdown_delay_us(s, "192.0.2.7", now_us), 0);
        for (int i = 0; i < 100; i++) {
                slowdown_fail(s, "192.0.2.7", now_us);
                assert_int_equal(slowdown_delay_us(s, "192.0.2.7", now_us), expected_us);
                assert_int_equal(slowdown_delay_us(s, "192.0.2.8", now_us), 0);
                expected_us = MBGATE_MIN(2 * expected_us, SLOWDOWN_MAX_US);
        }
        now_us += SLOWDOWN_FORGET_US;
        assert_int_equal(slowdown_delay_us(s, "192.0.2.7", now_us), SLOWDOWN_MAX_US);
        assert_int_equal(slowdown_delay_us(s, "192.0.2.7", now_us + 1), 0);
        slowdown_fail(s, "192.0.2.7", now_us + 1); /* from the start */
        assert_int_equal(slowdown_delay_us(s, "192.0.2.7", now_us + 1), SLOWDOWN_FIRST_US);
        free(s);
}

static void test_answers_wait_behind_each_other(void **state UNUSED)
{
        struct slowdown *s = new ();

        assert_int_equal(slowdown_take_us(s, "192.0.2.7", SECOND), 0);
        for (int i = 0; i < 20; i++)
                slowdown_fail(s, "192.0.2.7", SECOND);
        for (unsigned i = 1; i <= 3; i++) {
                assert_false(slowdown_is_full(s, "192.0.2.7", SECOND));
                assert_int_equal(slowdown_take_us(s, "192.0.2.7", SECOND), i * SLOWDOWN_MAX_US);
        }
        assert_true(slowdown_is_full(s, "192.0.2.7", SECOND));
        assert_int_equal(slowdown_take_us(s, "192.0.2.7", SECOND), SLOWDOWN_REFUSED);
        assert_int_equal(slowdown_take_us(s, "192.0.2.8", SECOND), 0);
        assert_int_equal(slowdown_take_us(s, "192.0.2.7", SECOND + SLOWDOWN_MAX_US), 3 * SLOWDOWN_MAX_US);
        slowdown_fail(s, "127.0.0.1", SECOND); /* on this machine nobody holds up another */
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(slowdown_take_us(s, "127.0.0.1", SECOND), SLOWDOWN_FIRST_US);
        free(s);
}

static void test_names_of_one_client(void **state UNUSED)
{
        static const struct {
                const char *a, *b;
                int same;
        } cases[] = {
                { "192.0.2.7", "::ffff:192.0.2.7", 1 },
                { "2001:db8::1", "2001:db8::2", 1 },
                { "2001:db8::1", "2001:db8:0:0:ffff::", 1 },
                { "2001:db8::1", "2001:db8:0:1::1", 0 },
                { "0.0.0.0", "::", 0 },
                { "127.0.0.1", "::1", 0 },
                { "unix", "unix", 1 },
                { "unix", "::", 0 },
                { "fe80::1%eth0", "fe80::1%eth1", 0 },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct slowdown *s = new ();

                slowdown_fail(s, cases[i].a, SECOND);
                assert_int_equal(slowdown_delay_us(s, cases[i].b, SECOND) > 0, cases[i].same);
                free(s);
        }
}

static void test_table_is_bounded(void **state UNUSED)
{
        struct slowdown *s = new ();
        char address[32];

        for (unsigned i = 0; i <= SLOWDOWN_ADDRESSES; i++) {
                (void)snprintf(address, sizeof(address), "10.0.%u.%u", i >> 8, i & 255);
                slowdown_fail(s, address, SECOND + i);
        }
        assert_int_equal(slowdown_delay_us(s, "10.0.0.0", 2 * SECOND), 0); /* the oldest made room */
        assert_int_equal(slowdown_delay_us(s, "10.0.0.1", 2 * SECOND), SLOWDOWN_FIRST_US);
        assert_int_equal(slowdown_delay_us(s, "10.0.1.0", 2 * SECOND), SLOWDOWN_FIRST_US);
        free(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grows_and_is_forgotten),
                cmocka_unit_test(test_answers_wait_behind_each_other),
                cmocka_unit_test(test_names_of_one_client),
                cmocka_unit_test(test_table_is_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
