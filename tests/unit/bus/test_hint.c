/* SPDX-License-Identifier: MIT */
/* The patterns a technician knows, out of counters; and that none is named twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hint.h"

static size_t n_new;
static enum hint new[HINTS];
static size_t device;

static void judge(struct hints *h, const struct hint_window *w)
{
        n_new = hints_judge(h, w, new, &device);
}

/* Judges so many equal windows; the hints that are new in the last. */
static void judge_times(struct hints *h, const struct hint_window *w, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                judge(h, w);
}

static void assert_only(const struct hint_window *w, enum hint hint, size_t of_device)
{
        struct hints h = { 0 };

        judge(&h, w);
        assert_int_equal(n_new, 0);
        judge(&h, w);
        assert_int_equal(n_new, 1);
        assert_int_equal(new[0], hint);
        assert_int_equal(device, of_device);
}

static void assert_none(const struct hint_window *w)
{
        struct hints h = { 0 };

        for (unsigned i = 0; i < 10; i++) {
                judge(&h, w);
                assert_int_equal(n_new, 0);
        }
}

#define WINDOW(devs, ...)      \
        ((struct hint_window){ \
                .devices = (devs), .n_devices = sizeof(devs) / sizeof((devs)[0]), __VA_ARGS__ })

static void test_a_healthy_line(void **state)
{
        static const struct hint_device all[] = { { 100, 0, 0 }, { 100, 1, 1 }, { 100, 0, 0 } };
        static const struct hint_device one_dead[] = { { 100, 0, 0 }, { 0, 5, 0 } };
        struct hint_window w = WINDOW(all, .n_junk_bytes = 6, .n_foreign = 1);

        (void)state;
        assert_none(&w);
        w = WINDOW(one_dead, .has_parity = true, .may_lack_parity = true);
        assert_none(&w);
}

static void test_nobody_answers(void **state)
{
        static const struct hint_device dead[] = { { 0, 10, 0 }, { 0, 10, 0 } };
        struct hint_window w = WINDOW(dead);

        (void)state;
        assert_only(&w, HINT_DEAD, HINT_NO_DEVICE);
        w.has_parity = true;
        assert_only(&w, HINT_DEAD, HINT_NO_DEVICE);
        w.may_lack_parity = true;
        assert_only(&w, HINT_NO_PARITY, HINT_NO_DEVICE);
        w.n_junk_bytes = 20;
        assert_only(&w, HINT_SWAPPED, HINT_NO_DEVICE);
        w.n_junk_bytes = 200;
        assert_only(&w, HINT_GARBLED, HINT_NO_DEVICE);
}

static void test_what_the_driver_counts(void **state)
{
        static const struct hint_device all[] = { { 0, 2, 18 } }, silent[] = { { 0, 20, 0 } },
                                        good[] = { { 20, 0, 0 } };
        struct hint_window w = WINDOW(all, .n_parity_errors = 90, .n_framing_errors = 3);

        (void)state;
        assert_only(&w, HINT_PARITY, HINT_NO_DEVICE);
        w.n_parity_errors = 0;
        assert_only(&w, HINT_SPEED, HINT_NO_DEVICE);
        w = WINDOW(silent, .n_breaks = 1);
        assert_only(&w, HINT_SWAPPED, HINT_NO_DEVICE);
        w = WINDOW(good, .n_breaks = 5, .n_parity_errors = 5, .n_framing_errors = 5);
        assert_none(&w);
}

static void test_broken_replies_only(void **state)
{
        static const struct hint_device all[] = { { 0, 2, 18 } };
        struct hint_window w = WINDOW(all, .n_junk_bytes = 10);

        (void)state;
        assert_only(&w, HINT_GARBLED, HINT_NO_DEVICE);
}

static void test_one_unit_twice(void **state)
{
        static const struct hint_device one[] = { { 100, 0, 0 }, { 20, 0, 30 }, { 100, 0, 1 } };
        static const struct hint_device alone[] = { { 20, 0, 30 } };
        static const struct hint_device both[] = { { 20, 0, 30 }, { 90, 0, 10 } };
        struct hint_window w = WINDOW(one);

        (void)state;
        assert_only(&w, HINT_DUPLICATE, 1);
        w = WINDOW(alone); /* nothing to compare with */
        assert_only(&w, HINT_DISTURBED, HINT_NO_DEVICE);
        w = WINDOW(both);
        assert_only(&w, HINT_DISTURBED, HINT_NO_DEVICE);
}

static void test_missing_termination(void **state)
{
        static const struct hint_device all[] = { { 95, 0, 5 }, { 97, 0, 3 }, { 98, 1, 2 } };
        static const struct hint_device few[] = { { 98, 0, 2 }, { 98, 0, 2 }, { 100, 0, 0 } };
        static const struct hint_device one_far[] = { { 90, 0, 10 }, { 100, 0, 0 } };
        struct hint_window w = WINDOW(all);

        (void)state;
        assert_only(&w, HINT_DISTURBED, HINT_NO_DEVICE);
        w = WINDOW(few);
        assert_none(&w);
        w = WINDOW(one_far); /* neither a duplicate nor the line as a whole */
        assert_none(&w);
}

static void test_late_replies(void **state)
{
        static const struct hint_device all[] = { { 100, 0, 0 }, { 50, 20, 0 } };
        struct hint_window w = WINDOW(all, .n_foreign = 18);

        (void)state;
        assert_only(&w, HINT_LATE, 1);
        w.n_foreign = 3;
        assert_none(&w);
}

static void test_another_master(void **state)
{
        static const struct hint_device all[] = { { 100, 1, 0 }, { 100, 0, 0 } };
        struct hint_window w = WINDOW(all, .n_foreign = 40);

        (void)state;
        assert_only(&w, HINT_OTHER_MASTER, HINT_NO_DEVICE);
}

static void test_listening_to_the_wrong_speed(void **state)
{
        static const struct hint_device none[] = { { 0, 0, 0 } };
        static const struct hint_device some[] = { { 50, 20, 0 } };
        struct hint_window w = WINDOW(none, .n_junk_bytes = 100, .is_listening = true);

        (void)state;
        assert_false(hint_window_is_full(&w));
        assert_none(&w);
        w.n_junk_bytes = 1000;
        assert_true(hint_window_is_full(&w));
        assert_only(&w, HINT_GARBLED, HINT_NO_DEVICE);
        w = WINDOW(some, .n_junk_bytes = 1000, .n_foreign = 100, .is_listening = true);
        assert_none(&w); /* what the other master does is its own affair */
}

static void test_windows(void **state)
{
        static const struct hint_device few[] = { { 10, 3, 0 }, { 5, 1, 0 } };
        static const struct hint_device enough[] = { { 10, 3, 0 }, { 6, 1, 0 } };
        static const struct hint_device silent[] = { { 0, 4, 0 } };
        static const struct hint_device too_few[] = { { 0, 3, 0 } };
        struct hint_window w = WINDOW(few);

        (void)state;
        assert_false(hint_window_is_full(&w));
        w = WINDOW(enough);
        assert_true(hint_window_is_full(&w));
        w = WINDOW(silent);
        assert_true(hint_window_is_full(&w));
        w = WINDOW(too_few);
        assert_false(hint_window_is_full(&w));
}

static void test_said_once_until_it_was_gone(void **state)
{
        static const struct hint_device bad[] = { { 95, 0, 5 }, { 95, 0, 5 } },
                                        good[] = { { 100, 0, 0 }, { 100, 0, 0 } };
        struct hint_window b = WINDOW(bad), g = WINDOW(good);
        struct hints h = { 0 };

        (void)state;
        judge(&h, &b);
        judge(&h, &g); /* a single bad window is none */
        judge(&h, &b);
        assert_int_equal(n_new, 0);
        judge(&h, &b);
        assert_int_equal(n_new, 1);
        for (unsigned i = 0; i < 100; i++) {
                judge_times(&h, &b, 5);
                assert_int_equal(n_new, 0);
                judge_times(&h, &g, HINT_CLEAR - 1); /* good for a moment */
                assert_int_equal(n_new, 0);
        }
        judge_times(&h, &g, HINT_CLEAR);
        judge_times(&h, &b, HINT_RAISE);
        assert_int_equal(n_new, 1);
        assert_int_equal(new[0], HINT_DISTURBED);
}

static void test_each_has_a_text(void **state)
{
        (void)state;
        for (unsigned i = 0; i < HINTS; i++)
                assert_true(strlen(hint_text((enum hint)i)) > 30);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_healthy_line),
                cmocka_unit_test(test_nobody_answers),
                cmocka_unit_test(test_what_the_driver_counts),
                cmocka_unit_test(test_broken_replies_only),
                cmocka_unit_test(test_one_unit_twice),
                cmocka_unit_test(test_missing_termination),
                cmocka_unit_test(test_late_replies),
                cmocka_unit_test(test_another_master),
                cmocka_unit_test(test_listening_to_the_wrong_speed),
                cmocka_unit_test(test_windows),
                cmocka_unit_test(test_said_once_until_it_was_gone),
                cmocka_unit_test(test_each_has_a_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
