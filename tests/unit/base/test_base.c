/* SPDX-License-Identifier: MIT */
/* The small modules of src/base: buf, byteorder, clock, histogram, log, random, text, thread. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/array.h"
#include "mbgate/base/buf.h"
#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/histogram.h"
#include "mbgate/base/log.h"
#include "mbgate/base/random.h"
#include "mbgate/base/text.h"
#include "mbgate/base/thread.h"

static void test_array_grows_and_keeps_what_it_holds(void **state)
{
        uint32_t *list = NULL, *kept;
        size_t size = 0, n_moves = 0;

        (void)state;
        for (size_t n = 0; n < 1000; n++) {
                size_t before = size;

                list = array_reserve(list, n + 1, &size, sizeof(*list));
                assert_non_null(list);
                n_moves += size != before;
                list[n] = (uint32_t)n;
        }
        for (size_t n = 0; n < 1000; n++)
                assert_int_equal(list[n], n);
        assert_true(n_moves <= 11);
        kept = list;
        assert_null(array_reserve(list, SIZE_MAX / 2, &size, sizeof(*list)));
        assert_int_equal(size, 1024);
        assert_int_equal(kept[999], 999);
        free(list);
        size = 0;
        list = array_reserve(NULL, 0, &size, sizeof(*list)); /* never NULL but for want of memory */
        assert_non_null(list);
        free(list);
}

static void test_buf_writes_what_fits_and_remembers_the_rest(void **state)
{
        char room[8];
        struct buf b = BUF_ON(room);

        (void)state;
        buf_append(&b, "abc");
        buf_printf(&b, "%d", 4567);
        assert_string_equal(b.data, "abc4567");
        assert_false(b.overflowed);
        buf_append_char(&b, '!');
        assert_true(b.overflowed);
        assert_string_equal(b.data, "abc4567");
        buf_reset(&b);
        buf_printf(&b, "%s", "12345678");
        assert_true(b.overflowed);
        assert_string_equal(b.data, "");
        buf_append(&b, "x");
        assert_string_equal(b.data, "");
}

static void test_byteorder(void **state)
{
        uint8_t b[4];

        (void)state;
        put_be32(b, UINT32_C(0xFEDCBA98));
        assert_int_equal(b[0], 0xFE);
        assert_int_equal(get_be16(b + 1), 0xDCBA);
        assert_int_equal(get_be32(b), UINT32_C(0xFEDCBA98));
}

static void test_clock_text(void **state)
{
        char text[CLOCK_RFC3339_BYTES];

        (void)state;
        clock_format_rfc3339(INT64_C(1795428930123456), text);
        assert_string_equal(text, "2026-11-23T10:15:30.123Z");
        clock_format_rfc3339(0, text);
        assert_string_equal(text, "1970-01-01T00:00:00.000Z");
        clock_format_rfc3339(-1, text);
        assert_string_equal(text, "1970-01-01T00:00:00.000Z");
        clock_format_rfc3339(INT64_MAX, text);
        assert_string_equal(text, "1970-01-01T00:00:00.000Z");
        /* Behind 2038: time_t has 64 bits here, on 32-bit machines too. */
        clock_format_rfc3339(INT64_C(4102444800000000), text);
        assert_string_equal(text, "2100-01-01T00:00:00.000Z");
}

static void test_clock_remaining(void **state)
{
        struct timespec ts = clock_remaining(UINT64_C(3500000), 1000000);

        (void)state;
        assert_int_equal(ts.tv_sec, 2);
        assert_int_equal(ts.tv_nsec, 500000000);
        ts = clock_remaining(5, 6);
        assert_true(ts.tv_sec == 0 && ts.tv_nsec == 0);
        assert_true(clock_monotonic_us() <= clock_monotonic_us());
}

static void test_histogram_percentiles_are_at_most_an_eighth_above(void **state)
{
        struct histogram h = { .n_total = 0 };

        (void)state;
        assert_int_equal(histogram_percentile_us(&h, 500), 0);
        for (unsigned i = 1; i <= 1000; i++)
                histogram_add(&h, i * 100u);
        for (unsigned permille = 10; permille <= 990; permille += 10) {
                uint32_t true_us = permille * 100u, got_us = histogram_percentile_us(&h, permille);

                assert_true(got_us >= true_us);
                assert_true(got_us <= true_us + true_us / 8 + 64);
        }
        assert_int_equal(histogram_percentile_us(&h, 1000), 100000);
        histogram_fade(&h);
        assert_in_range(h.n_total, 400, 500);
}

static void test_histogram_takes_any_duration(void **state)
{
        static const uint64_t durations[] = { 0, 1, 63, 64, 65, 127, 128, 129, UINT32_MAX, UINT64_MAX };
        struct histogram h = { .n_total = 0 };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
                histogram_add(&h, durations[i]);
        assert_int_equal(h.n_total, ARRAY_SIZE(durations));
        assert_int_equal(h.max_us, UINT32_MAX);
        assert_int_equal(histogram_percentile_us(&h, 1), 64);
}

static int log_n_lines;
static char log_last[LOG_LINE_BYTES];
static int log_last_error;

static void log_catch(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        log_n_lines++;
        log_last_error = fields->error;
        (void)snprintf(log_last, sizeof(log_last), "%s", line);
}

static void test_log_level_fields_and_errno(void **state)
{
        struct log_fields fields = { .bus = "b", .error = EIO };
        enum log_level level = LOG_LEVEL_INFO;
        char longer[2 * LOG_LINE_BYTES];

        (void)state;
        log_n_lines = 0;
        log_set_sink(log_catch, NULL);
        log_debug(NULL, "not seen");
        assert_int_equal(log_n_lines, 0);
        errno = ENOENT;
        log_warn(&fields, "bus %s: %d", "b", 5);
        assert_int_equal(errno, ENOENT);
        assert_string_equal(log_last, "bus b: 5");
        assert_int_equal(log_last_error, EIO);
        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        log_error(NULL, "%s", longer);
        assert_int_equal(strlen(log_last), LOG_LINE_BYTES - 1);
        assert_int_equal(log_level_parse("debug", &level), 0);
        log_set_level(level);
        log_debug(NULL, "seen");
        assert_string_equal(log_last, "seen");
        assert_int_equal(log_level_parse("loud", &level), -EINVAL);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
        log_set_level(LOG_LEVEL_INFO);
        log_set_sink(NULL, NULL);
}

/* What others have written makes no line of its own and nothing that a terminal obeys. */
static void test_log_escapes_what_is_not_text(void **state)
{
        static const char *const cases[][2] = {
                { "a\nerror: forged", "a\\x0aerror: forged" },
                { "\x1b[2J\r\t\x7f", "\\x1b[2J\\x0d\\x09\\x7f" },
                { "\xc2\x9b"
                  "2J\xc2\xa0",
                  "\\xc2\\x9b2J\xc2\xa0" },
                { "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
                  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
                { "\xff\xc3(\xe2\x82", "\\xff\\xc3(\\xe2\\x82" },
        };
        char longer[LOG_LINE_BYTES + 100];

        (void)state;
        log_set_sink(log_catch, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                log_warn(NULL, "%s", cases[i][0]);
                assert_string_equal(log_last, cases[i][1]);
        }
        memset(longer, '\n', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        log_warn(NULL, "%s", longer);
        assert_int_equal(strlen(log_last), (LOG_LINE_BYTES - 1) / 4 * 4);
        for (size_t i = 0; i + 2 < sizeof(longer); i += 2)
                memcpy(longer + i, "\xc3\xbc", 2);
        log_warn(NULL, "%s", longer);
        assert_true(text_is_mqtt_utf8(log_last, strlen(log_last))); /* a halved letter is left out */
        assert_int_equal(strlen(log_last), LOG_LINE_BYTES - 2);
        log_set_sink(NULL, NULL);
}

static void test_random_is_repeatable_and_bounded(void **state)
{
        struct random a = { 42 }, b = { 42 };

        (void)state;
        for (unsigned i = 0; i < 1000; i++) {
                double unit = random_unit(&a);

                assert_true(unit >= 0.0 && unit < 1.0);
                (void)random_next(&b);
        }
        assert_int_equal(a.state, b.state);
        assert_int_equal(random_below(&a, 0), 0);
        assert_true(random_below(&a, 7) < 7);
        random_seed_from_system(&a);
        random_seed_from_system(&b);
        assert_true(a.state != b.state);
}

static void test_text_parse_i64(void **state)
{
        static const struct {
                const char *text;
                int r;
                int64_t value;
        } rows[] = {
                { "0", 0, 0 },
                { "-7", 0, -7 },
                { "9223372036854775807", 0, INT64_MAX },
                { "-9223372036854775808", 0, INT64_MIN },
                { "9223372036854775808", -ERANGE, 0 },
                { "99999999999999999999999", -ERANGE, 0 },
                { "", -EINVAL, 0 },
                { "-", -EINVAL, 0 },
                { "+1", -EINVAL, 0 },
                { " 1", -EINVAL, 0 },
                { "1x", -EINVAL, 0 },
                { "0x10", -EINVAL, 0 },
                { "99999999999999999999999x", -EINVAL, 0 },
        };
        int64_t v = 5;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                assert_int_equal(text_parse_i64(rows[i].text, strlen(rows[i].text), INT64_MIN, INT64_MAX, &v),
                                 rows[i].r);
                if (rows[i].r == 0)
                        assert_true(v == rows[i].value);
        }
        assert_int_equal(text_parse_i64("11", 2, 0, 10, &v), -ERANGE);
}

static void test_text_utf8(void **state)
{
        static const struct {
                const char *text;
                bool is_good;
        } rows[] = {
                { "", true },
                { "plain", true },
                { "\xC2\xB0"
                  "C",
                  true },
                { "\xE2\x82\xAC", true },
                { "\xF0\x9F\x98\x80", true },
                { "\xF4\x8F\xBF\xBF", true },
                { "\xC0\xAF", false },
                { "\xC1\x81", false },
                { "\xE0\x80\x80", false },
                { "\xED\xA0\x80", false },
                { "\xF4\x90\x80\x80", false },
                { "\xF5\x80\x80\x80", false },
                { "\x80", false },
                { "\xC2", false },
                { "\xE2\x82", false },
                { "\xF0\x9F\x98", false },
                { "\xFF", false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                assert_int_equal(text_is_mqtt_utf8(rows[i].text, strlen(rows[i].text)), rows[i].is_good);
        assert_false(text_is_mqtt_utf8("a\0b", 3));
}

static void test_text_comparisons(void **state)
{
        (void)state;
        assert_true(text_equal_nocase("ON!", 2, "on"));
        assert_false(text_equal_nocase("on", 2, "off"));
        assert_int_equal(text_distance("bauds", "baud"), 1);
        assert_int_equal(text_distance("", "baud"), 4);
        assert_int_equal(text_distance("kitten", "sitting"), 3);
        assert_int_equal(text_hash("", 0), UINT32_C(2166136261));
        assert_int_equal(text_hash("a", 1), UINT32_C(0xE40C292C));
}

static void *signal_mask_of_thread(void *user)
{
        (void)pthread_sigmask(SIG_SETMASK, NULL, user);
        return NULL;
}

static void test_thread_blocks_signals(void **state)
{
        sigset_t mask, mine;
        pthread_t thread;

        (void)state;
        assert_int_equal(sigemptyset(&mask), 0);
        assert_int_equal(thread_start(&thread, "a-name-longer-than-fifteen", signal_mask_of_thread, &mask),
                         0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP));
        assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mine), 0);
        assert_false(sigismember(&mine, SIGTERM));
}

static void test_heartbeat(void **state)
{
        struct heartbeat h = { 0 };

        (void)state;
        assert_false(heartbeat_is_late(&h, UINT64_MAX));
        heartbeat_promise(&h, 100);
        assert_false(heartbeat_is_late(&h, 100));
        assert_true(heartbeat_is_late(&h, 101));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_array_grows_and_keeps_what_it_holds),
                cmocka_unit_test(test_buf_writes_what_fits_and_remembers_the_rest),
                cmocka_unit_test(test_byteorder),
                cmocka_unit_test(test_clock_text),
                cmocka_unit_test(test_clock_remaining),
                cmocka_unit_test(test_histogram_percentiles_are_at_most_an_eighth_above),
                cmocka_unit_test(test_histogram_takes_any_duration),
                cmocka_unit_test(test_log_level_fields_and_errno),
                cmocka_unit_test(test_log_escapes_what_is_not_text),
                cmocka_unit_test(test_random_is_repeatable_and_bounded),
                cmocka_unit_test(test_text_parse_i64),
                cmocka_unit_test(test_text_utf8),
                cmocka_unit_test(test_text_comparisons),
                cmocka_unit_test(test_thread_blocks_signals),
                cmocka_unit_test(test_heartbeat),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
