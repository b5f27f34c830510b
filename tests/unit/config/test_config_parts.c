/* SPDX-License-Identifier: MIT */
/* The small parts: arena, sets of names, lists of unit ids, consoles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "console.h"
#include "names.h"
#include "unit_ids.h"

static void test_arena_aligns_and_zeroes(void **state UNUSED)
{
        struct arena *a = NULL;

        assert_int_equal(arena_new(128, &a), 0);
        for (size_t i = 0; i < 200; i++) { /* also larger than a chunk */
                unsigned char *p;

                assert_non_null(arena_copy(a, "x"));
                p = arena_alloc(a, i);
                assert_non_null(p);
                assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
                for (size_t j = 0; j < i; j++)
                        assert_int_equal(p[j], 0);
                memset(p, 0xFF, i);
        }
        assert_null(arena_array(a, SIZE_MAX / 2, 4));
        assert_null(arena_alloc(a, SIZE_MAX - 4));
        assert_string_equal(arena_printf(a, "%s-%d", "a", 7), "a-7");
        assert_string_equal(arena_copy_bytes(a, "abc", 2), "ab");
        assert_null(arena_free(a));
        assert_null(arena_free(NULL));
}

static void test_names(void **state UNUSED)
{
        struct arena *a = NULL;
        struct names n = { 0 };

        assert_int_equal(arena_new(1024, &a), 0);
        assert_null(names_find(&n, "x"));
        for (uint32_t i = 0; i < 1000; i++) {
                char *name = arena_printf(a, "name%u", i);

                assert_int_equal(names_add(&n, a, name, (struct names_use){ .pos = i }), 0);
        }
        assert_int_equal(names_find(&n, "name999")->pos, 999);
        assert_null(names_find(&n, "name1000"));
        names_done(&n);
        (void)arena_free(a);
}

static void check_ids(const char *text, const char *expected)
{
        struct unit_ids ids = { .n = 77 };
        char found[1024] = "";

        if (!unit_ids_parse(text, &ids)) {
                assert_null(expected);
                assert_int_equal(ids.n, 77);
                return;
        }
        for (unsigned i = 0; i < ids.n; i++)
                (void)snprintf(found + strlen(found), sizeof(found) - strlen(found), "%u ", ids.ids[i]);
        assert_non_null(expected);
        assert_string_equal(found, expected);
}

static void test_unit_ids(void **state UNUSED)
{
        check_ids("1", "1 ");
        check_ids("1,2,5-8", "1 2 5 6 7 8 ");
        check_ids(" 3 , 1 - 2 ", "3 1 2 ");
        check_ids("255", "255 ");
        check_ids("7-7", "7 ");
        check_ids("", NULL);
        check_ids(",", NULL);
        check_ids("1,", NULL);
        check_ids("-1", NULL);
        check_ids("1-", NULL);
        check_ids("2-1", NULL);
        check_ids("1 2", NULL);
        check_ids("1,1", NULL);
        check_ids("1-5,3", NULL);
        check_ids("256", NULL);
        check_ids("99999999999999999999", NULL);
        check_ids("1-2-3", NULL);
        check_ids("x", NULL);
}

static void test_consoles(void **state UNUSED)
{
        static const char cmdline[] =
                "quiet console=tty1 console=ttyS0,115200n8 root=/dev/ttyS1 kgdboc=ttyS2\n";

        assert_true(console_is_named(cmdline, "console=", "ttyS0"));
        assert_true(console_is_named(cmdline, "console=", "tty1"));
        assert_false(console_is_named(cmdline, "console=", "ttyS"));
        assert_false(console_is_named(cmdline, "console=", "ttyS01"));
        assert_false(console_is_named(cmdline, "console=", "ttyS1"));
        assert_false(console_is_named(cmdline, "console=", "ttyS2"));
        assert_true(console_is_named("tty0 ttyS0\n", "", "ttyS0"));
        assert_true(console_is_named("ttyAMA0", "", "ttyAMA0"));
        assert_false(console_is_named("tty0 ttyS0\n", "", "ttyUSB0"));
        assert_false(console_is_named("", "console=", "ttyS0"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arena_aligns_and_zeroes),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_unit_ids),
                cmocka_unit_test(test_consoles),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
