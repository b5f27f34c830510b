/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json.h"

#define ROOM 4096

static void strings_are_escaped(void **state)
{
        char text[ROOM];
        struct buf b = BUF_ON(text);

        (void)state;
        gw_json_string("a\"b\\c\n\x01 \xc2\xb0"
                       "C",
                       &b);
        assert_string_equal(text, "\"a\\\"b\\\\c\\n\\u0001 \xc2\xb0"
                                  "C\"");
        buf_reset(&b);
        gw_json_string("\xff\xfe", &b);
        assert_string_equal(text, "\"\"");
}

static void objects_are_recognised(void **state)
{
        (void)state;
        assert_true(gw_json_is_object("{}", 2));
        assert_true(gw_json_is_object(" \t\r\n{", 5));
        assert_false(gw_json_is_object("", 0));
        assert_false(gw_json_is_object("  ", 2));
        assert_false(gw_json_is_object("5", 1));
        assert_false(gw_json_is_object("\0{", 2));
        assert_false(gw_json_is_object("[{}]", 4));
}

static void expect_command(const char *text, const char *value, const char *id)
{
        struct gw_json_command c;

        assert_int_equal(gw_json_parse_command(text, strlen(text), &c), 0);
        assert_string_equal(c.value, value);
        if (id)
                assert_string_equal(c.id, id);
        else
                assert_null(c.id);
        gw_json_command_done(&c);
}

static void commands_of_every_kind(void **state)
{
        (void)state;
        expect_command("{\"value\":5}", "5", NULL);
        expect_command("{\"value\":-9223372036854775808}", "-9223372036854775808", NULL);
        expect_command(" { \"value\" : 21.5 , \"id\" : 7 } \n", "21.5", "7");
        expect_command("{\"value\":true,\"id\":\"a\\\"b\"}", "true", "\"a\\\"b\"");
        expect_command("{\"value\":false,\"id\":{\"x\":[1,2]}}", "false", "{\"x\":[1,2]}");
        expect_command("{\"value\":\"heat\",\"other\":null}", "heat", NULL);
}

static void bad_commands_are_refused(void **state)
{
        static const char *const bad[] = {
                "{",
                "{}",
                "{\"value\":}",
                "{\"value\":null}",
                "{\"value\":[1]}",
                "{\"val\":1}",
                "[1]",
                "{\"value\":{}}",
                "{\"value\":1}x",
                "{\"value\":1e400}",
                "nonsense",
                "{'value':1}",
                "{\"value\":\"\\u0000\"}",
                "{\"value\":1,\"value\":2}",
                "{\"value\":NaN}",
                "{\"value\":99999999999999999999}",
        };
        struct gw_json_command c;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_not_equal(gw_json_parse_command(bad[i], strlen(bad[i]), &c), 0);
        assert_int_not_equal(gw_json_parse_command("{\"value\":\"\xff\"}", 13, &c), 0);
}

static void deep_nesting_is_refused(void **state)
{
        size_t n = 100000;
        char *text = malloc(n);
        struct gw_json_command c;

        (void)state;
        assert_non_null(text);
        memset(text, '[', n);
        memcpy(text, "{\"value\":", 9);
        assert_int_not_equal(gw_json_parse_command(text, n, &c), 0);
        free(text);
}

static void results_have_every_member(void **state)
{
        char text[ROOM];
        struct buf b = BUF_ON(text);

        (void)state;
        gw_json_result(&(struct gw_json_result){ .ok = true, .value_json = "512", .latency_ms = 12.34 }, &b);
        assert_string_equal(
                text, "{\"ok\":true,\"value\":512,\"error\":null,\"exception\":null,\"latency_ms\":12.3}");
        buf_reset(&b);
        gw_json_result(&(struct gw_json_result){ .error = "no \"x\"", .exception = 2, .id_json = "[7]" }, &b);
        assert_string_equal(text, "{\"ok\":false,\"value\":null,\"error\":\"no \\\"x\\\"\",\"exception\":2,"
                                  "\"latency_ms\":0.0,\"id\":[7]}");
}

static void counters_have_every_member(void **state)
{
        struct bus_stats s = {
                .n_transactions = 1000,
                .n_ok = 990,
                .n_timeouts = 4,
                .n_crc = 3,
                .n_exceptions = { [0] = 1, [2] = 5 },
                .n_foreign = 6,
                .n_retries = 7,
                .n_missed_deadlines = 8,
                .round_trip_p50_us = 12300,
                .round_trip_p90_us = 15000,
                .round_trip_p99_us = 20500,
                .round_trip_max_us = 99000,
                .load_permille = 455,
                .min_gap_us = 4010,
        };
        char text[ROOM];
        struct buf b = BUF_ON(text);

        (void)state;
        gw_json_bus(&s, true, "", &b);
        assert_non_null(strstr(text, "\"port\":\"open\""));
        assert_non_null(strstr(text, "\"transactions\":1000,\"ok\":990,\"timeouts\":4,\"crc\":3"));
        assert_non_null(strstr(text, "\"exceptions\":{\"other\":1,\"2\":5}"));
        assert_non_null(strstr(text, "\"foreign\":6"));
        assert_non_null(strstr(text, "\"retries\":7"));
        assert_non_null(strstr(text, "\"missed_deadlines\":8"));
        assert_non_null(
                strstr(text, "\"round_trip_ms\":{\"p50\":12.3,\"p90\":15.0,\"p99\":20.5,\"max\":99.0}"));
        assert_non_null(strstr(text, "\"load_percent\":45.5"));
        assert_non_null(strstr(text, "\"min_gap_ms\":4.01"));
        buf_reset(&b);
        gw_json_bus(&s, false, "no such \"device\"", &b);
        assert_non_null(strstr(text, "\"port\":\"lost\",\"reason\":\"no such \\\"device\\\"\""));
}

static void largest_counters_fit(void **state)
{
        struct bus_stats s;
        char text[2048];
        struct buf b = BUF_ON(text);

        (void)state;
        memset(&s, 0x7f, sizeof(s));
        gw_json_bus(&s, true, "", &b);
        assert_false(b.overflowed);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(strings_are_escaped),        cmocka_unit_test(objects_are_recognised),
                cmocka_unit_test(commands_of_every_kind),     cmocka_unit_test(bad_commands_are_refused),
                cmocka_unit_test(deep_nesting_is_refused),    cmocka_unit_test(results_have_every_member),
                cmocka_unit_test(counters_have_every_member), cmocka_unit_test(largest_counters_fit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
