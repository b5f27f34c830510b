/* SPDX-License-Identifier: MIT */
/* From samples to messages: payloads, policies, intervals, the send interval. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define TEMP "{ name = \"temp\"; holding = 0; type = \"int16\"; scale = 0.1; "

static void first_value_is_published_and_retained(void **state)
{
        struct rig *r = rig_new_points(TEMP "qos = 2; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(21.5));
        assert_true(r->links[0]->published[1]->retain);
        assert_true(r->links[0]->published[1]->is_live);
        assert_int_equal(r->links[0]->published[1]->qos, 2);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 21.5", NULL);
        rig_free(r);
}

static void unchanged_value_is_not(void **state)
{
        struct rig *r = rig_new_points(TEMP "}");

        (void)state;
        rig_sample(r, "dev/temp", REAL(21.5));
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_sample(r, "dev/temp", REAL(21.54)); /* reads the same */
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(21.6));
        rig_expect(r, 0, "gw/dev/temp 21.6", NULL);
        rig_free(r);
}

static void always_publishes_each_sample(void **state)
{
        struct rig *r = rig_new_points(TEMP "publish = \"always\"; retain = false; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        rig_sample(r, "dev/temp", REAL(1));
        assert_false(r->links[0]->published[1]->retain);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1.0", "gw/dev/temp 1.0", NULL);
        rig_free(r);
}

static void deadband_is_kept_to_the_published_value(void **state)
{
        struct rig *r = rig_new_points(TEMP "deadband = 1.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(20));
        fake_link_clear(r->links[0]);
        /* A slow drift does not slip through: each step is small, the sum is not. */
        rig_sample(r, "dev/temp", REAL(20.6));
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(21.2));
        rig_expect(r, 0, "gw/dev/temp 21.2", NULL);
        rig_free(r);
}

static void deadband_percent_is_kept(void **state)
{
        struct rig *r = rig_new_points(TEMP "deadband_percent = 5.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(100));
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/temp", REAL(104.9));
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(105));
        rig_expect(r, 0, "gw/dev/temp 105.0", NULL);
        rig_free(r);
}

static void min_interval_sends_the_newest_when_it_is_over(void **state)
{
        struct rig *r = rig_new_points(TEMP "min_interval_s = 10.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 1 * USEC_PER_SEC);
        rig_sample(r, "dev/temp", REAL(2));
        fake_loop_advance(r->loop, 5 * USEC_PER_SEC);
        rig_sample(r, "dev/temp", REAL(3));
        fake_loop_advance(r->loop, 4 * USEC_PER_SEC - 1);
        rig_expect_nothing(r, 0);
        fake_loop_advance(r->loop, 1);
        rig_expect(r, 0, "gw/dev/temp 3.0", NULL);
        fake_loop_advance(r->loop, 100 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void min_interval_forgets_what_was_taken_back(void **state)
{
        struct rig *r = rig_new_points(TEMP "min_interval_s = 10.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/temp", REAL(2));
        rig_sample(r, "dev/temp", REAL(1));
        fake_loop_advance(r->loop, 20 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void max_interval_repeats_the_value(void **state)
{
        struct rig *r = rig_new_points(TEMP "max_interval_s = 60.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 59 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        fake_loop_advance(r->loop, 1 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 1.0", NULL);
        fake_loop_advance(r->loop, 120 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 1.0", "gw/dev/temp 1.0", NULL);
        /* An old value of a device that is gone is not repeated as if it were there. */
        rig_device(r, "dev", DEVICE_OFFLINE);
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 300 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(1));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1.0", NULL);
        fake_loop_advance(r->loop, 60 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 1.0", NULL);
        rig_free(r);
}

static void nothing_to_do_means_no_wake_ups(void **state)
{
        struct rig *r = rig_new_points(TEMP "}");
        unsigned n;

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        n = fake_loop_wakes(r->loop);
        assert_true(fake_loop_next_us(r->loop) == CLOCK_NEVER_US);
        fake_loop_advance(r->loop, 3600 * USEC_PER_SEC);
        assert_int_equal(fake_loop_wakes(r->loop), n);
        rig_free(r);
}

static void bad_plain_keeps_the_last_value_and_says_so_once(void **state)
{
        struct rig *r = rig_new_points(TEMP "}");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        fake_link_clear(r->links[0]);
        rig_sample_bad(r, "dev/temp");
        rig_sample_bad(r, "dev/temp");
        rig_expect_nothing(r, 0);
        assert_int_equal(r->n_warnings, 1);
        assert_non_null(strstr(r->warning, "device dev: temp: no value"));
        rig_sample(r, "dev/temp", REAL(1)); /* the same, but it is one again */
        rig_expect(r, 0, "gw/dev/temp 1.0", NULL);
        rig_free(r);
}

static void bad_from_the_start_has_no_plain_payload(void **state)
{
        struct rig *r = rig_new_points(TEMP "max_interval_s = 1.0; }");

        (void)state;
        rig_sample_bad(r, "dev/temp");
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/availability online", NULL);
        fake_link_online(r->links[0]);
        assert_null(fake_link_last(r->links[0], "gw/dev/temp"));
        rig_free(r);
}

static void json_has_value_quality_and_time(void **state)
{
        struct rig *r = rig_new_points(TEMP "payload = \"json\"; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_sample_bad(r, "dev/temp");
        rig_sample(r, "dev/temp", REAL(-0.5));
        rig_device(r, "dev", DEVICE_OFFLINE);
        rig_expect(r, 0, "gw/dev/availability online",
                   "gw/dev/temp {\"value\":21.5,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/temp {\"value\":null,\"quality\":\"bad\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/temp {\"value\":-0.5,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/availability offline",
                   "gw/dev/temp {\"value\":-0.5,\"quality\":\"stale\",\"time\":\"" RIG_WALL_TEXT "\"}", NULL);
        rig_free(r);
}

/* A board without a battery: a time that looks right is worse than none. */
static void no_time_before_the_clock_is_right(void **state)
{
        struct rig *r = rig_new_points(TEMP "payload = \"json\"; }");

        (void)state;
        rig_set_clock(false);
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_expect(r, 0, "gw/dev/availability online",
                   "gw/dev/temp {\"value\":21.5,\"quality\":\"good\",\"time\":null}", NULL);
        assert_non_null(strstr(r->info, "put clock = \"always\" into gateway"));
        assert_int_equal(r->n_infos, 1);
        fake_loop_advance(r->loop, USEC_PER_SEC);
        rig_sample(r, "dev/temp", REAL(22));
        assert_int_equal(r->n_infos, 1);
        rig_set_clock(true);
        fake_loop_advance(r->loop, USEC_PER_SEC);
        rig_sample(r, "dev/temp", REAL(23));
        rig_set_clock(false); /* it was right: it does not become wrong by the loss of a server */
        fake_loop_advance(r->loop, USEC_PER_SEC);
        rig_sample(r, "dev/temp", REAL(24));
        rig_expect(r, 0, "gw/dev/temp {\"value\":22.0,\"quality\":\"good\",\"time\":null}",
                   "gw/dev/temp {\"value\":23.0,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/temp {\"value\":24.0,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}", NULL);
        assert_int_equal(r->n_infos, 2);
        rig_free(r);
}

static void a_clock_can_be_trusted_by_configuration(void **state)
{
        struct rig *r =
                rig_new("gateway = { name = \"gw\"; clock = \"always\"; };\n"
                        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ( { name = \"dev\";\n"
                        "  unit_id = 1; points = ( { name = \"p\"; holding = 0; payload = \"json\"; } );\n"
                        "} ); } );\n");

        (void)state;
        rig_set_clock(false);
        rig_sample(r, "dev/p", INT(1));
        rig_expect(r, 0, "gw/dev/availability online",
                   "gw/dev/p {\"value\":1,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}", NULL);
        rig_free(r);
}

/* A block that is silent: "stale" with the last value and its time, once; availability stays. */
static void json_of_a_silent_block_is_stale(void **state)
{
        struct rig *r = rig_new_points(TEMP "payload = \"json\"; }");

        (void)state;
        rig_sample_stale(r, "dev/temp"); /* never read: there is no value to be old */
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_sample_stale(r, "dev/temp");
        rig_sample_stale(r, "dev/temp");
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_expect(r, 0, "gw/dev/availability online",
                   "gw/dev/temp {\"value\":21.5,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/temp {\"value\":21.5,\"quality\":\"stale\",\"time\":\"" RIG_WALL_TEXT "\"}",
                   "gw/dev/temp {\"value\":21.5,\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}", NULL);
        rig_free(r);
}

/* Plain text has no word for it: it is not repeated as if it were new. */
static void plain_of_a_silent_block_is_not_repeated(void **state)
{
        struct rig *r = rig_new_points(TEMP "max_interval_s = 1.0; }");

        (void)state;
        rig_sample(r, "dev/temp", REAL(21.5));
        fake_loop_advance(r->loop, USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 21.5", "gw/dev/temp 21.5", NULL);
        rig_sample_stale(r, "dev/temp");
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", REAL(21.5));
        rig_expect(r, 0, "gw/dev/temp 21.5", NULL);
        rig_free(r);
}

static void object_with_a_silent_block_has_null(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; holding = 0; payload = \"object\"; },"
                                       "{ name = \"hum\"; holding = 9; payload = \"object\"; }");

        (void)state;
        rig_sample(r, "dev/temp", INT(3));
        rig_sample(r, "dev/hum", INT(50));
        fake_link_clear(r->links[0]);
        rig_sample_stale(r, "dev/hum");
        rig_expect(r, 0, "gw/dev {\"temp\":3,\"hum\":null}", NULL);
        rig_free(r);
}

#define KINDS                                                                                                \
        "{ name = \"text\"; holding = 0; type = \"string\"; length = 8; payload = PAYLOAD; },"               \
        "{ name = \"flag\"; coil = 0; type = \"bool\"; payload = PAYLOAD; },"                                \
        "{ name = \"mode\"; holding = 9; type = \"uint16\"; map = ( { value = 1; label = \"on \\\"1\\\"\"; " \
        "} );"                                                                                               \
        "  payload = PAYLOAD; },"                                                                            \
        "{ name = \"big\"; holding = 10; type = \"uint64\"; payload = PAYLOAD; }"

static char *with_payload(const char *payload)
{
        const char *at = KINDS;
        char *text = calloc(1, 4096);

        assert_non_null(text);
        for (const char *found; (found = strstr(at, "PAYLOAD")); at = found + 7) {
                strncat(text, at, (size_t)(found - at));
                strcat(text, payload);
        }
        return strcat(text, at);
}

static void sample_kinds(struct rig *r)
{
        const char *const points[] = { "dev/text", "dev/flag", "dev/mode", "dev/big" };
        const struct value values[] = { TEXT("a\"b\xc2\xb0"), BOOL(true), INT(1), UINT(UINT64_MAX) };

        rig_samples(r, points, values, 4);
}

static void every_kind_in_plain(void **state)
{
        char *points = with_payload("\"plain\"");
        struct rig *r = rig_new_points(points);

        (void)state;
        sample_kinds(r);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/text a\"b\xc2\xb0", "gw/dev/flag true",
                   "gw/dev/mode on \"1\"", "gw/dev/big 18446744073709551615", NULL);
        rig_free(r);
        free(points);
}

#define FRAME "\"quality\":\"good\",\"time\":\"" RIG_WALL_TEXT "\"}"

static void every_kind_in_json(void **state)
{
        char *points = with_payload("\"json\"");
        struct rig *r = rig_new_points(points);

        (void)state;
        sample_kinds(r);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/text {\"value\":\"a\\\"b\xc2\xb0\"," FRAME,
                   "gw/dev/flag {\"value\":true," FRAME, "gw/dev/mode {\"value\":\"on \\\"1\\\"\"," FRAME,
                   "gw/dev/big {\"value\":18446744073709551615," FRAME, NULL);
        rig_sample(r, "dev/mode", INT(2)); /* no label of that number: a number */
        rig_expect(r, 0, "gw/dev/mode {\"value\":2," FRAME, NULL);
        rig_free(r);
        free(points);
}

static void every_kind_in_one_object(void **state)
{
        char *points = with_payload("\"object\"");
        struct rig *r = rig_new_points(points);

        (void)state;
        sample_kinds(r);
        rig_expect(r, 0, "gw/dev/availability online",
                   "gw/dev {\"text\":\"a\\\"b\xc2\xb0\",\"flag\":true,\"mode\":\"on \\\"1\\\"\","
                   "\"big\":18446744073709551615}",
                   NULL);
        rig_sample_bad(r, "dev/flag");
        rig_expect(r, 0,
                   "gw/dev {\"text\":\"a\\\"b\xc2\xb0\",\"flag\":null,\"mode\":\"on \\\"1\\\"\","
                   "\"big\":18446744073709551615}",
                   NULL);
        sample_kinds(r);
        fake_link_clear(r->links[0]);
        sample_kinds(r); /* nothing has changed */
        rig_expect_nothing(r, 0);
        rig_free(r);
        free(points);
}

/* Larger than any buffer on the stack. */
static void large_object_is_whole(void **state)
{
        char *points = calloc(1, 400 * 128);
        struct rig *r;
        const char *payload;

        (void)state;
        assert_non_null(points);
        for (unsigned i = 0; i < 300; i++)
                (void)sprintf(points + strlen(points),
                              "%s{ name = \"a_rather_long_name_of_a_point_%u\"; holding = %u; payload = "
                              "\"object\"; }",
                              i ? "," : "", i, i);
        r = rig_new_points(points);
        for (unsigned i = 0; i < 300; i++) {
                char name[64];

                (void)snprintf(name, sizeof(name), "dev/a_rather_long_name_of_a_point_%u", i);
                rig_sample(r, name, INT(i));
        }
        payload = fake_link_last(r->links[0], "gw/dev")->payload;
        assert_non_null(strstr(payload, "{\"a_rather_long_name_of_a_point_0\":0,"));
        assert_non_null(strstr(payload, ",\"a_rather_long_name_of_a_point_299\":299}"));
        rig_free(r);
        free(points);
}

#define PACED                                                                      \
        "gateway = { name = \"gw\"; };\n"                                          \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n"           \
        "  { name = \"dev\"; unit_id = 1; send_interval_s = 10; points = (\n"      \
        "    { name = \"temp\"; holding = 0; type = \"int16\"; write = true; },\n" \
        "    { name = \"hum\"; holding = 1; } ); } ); } );\n"

static void paced_device_sends_together(void **state)
{
        struct rig *r = rig_new(PACED);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/hum", INT(50));
        /* First values go out at once. */
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1", "gw/dev/hum 50", NULL);
        rig_sample(r, "dev/temp", INT(2));
        rig_sample(r, "dev/temp", INT(3));
        rig_expect_nothing(r, 0);
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 3", "gw/dev/hum 50", NULL);
        /* Changed or not, and on time. */
        fake_loop_advance(r->loop, 30 * USEC_PER_SEC);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 3);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/hum"), 3);
        rig_free(r);
}

static void paced_device_sends_bad_and_demanded_at_once(void **state)
{
        struct rig *r = rig_new(PACED);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        rig_sample_bad(r, "dev/temp");
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/temp 1", NULL);
        r->on_demand = true;
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/temp 1", NULL);
        rig_free(r);
}

static void paced_device_leaves_out_a_silent_block(void **state)
{
        struct rig *r = rig_new(PACED);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/hum", INT(50));
        rig_sample_stale(r, "dev/temp");
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/hum 50", NULL);
        rig_free(r);
}

static void paced_device_that_is_offline_is_silent(void **state)
{
        struct rig *r = rig_new(PACED);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_device(r, "dev", DEVICE_OFFLINE);
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 60 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void paced_ticks_do_not_pile_up(void **state)
{
        struct rig *r = rig_new(PACED);
        unsigned n = fake_loop_wakes(r->loop);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_loop_advance(r->loop, 100 * USEC_PER_SEC);
        assert_true(fake_loop_wakes(r->loop) - n <= 12);
        rig_free(r);
}

#define RESULT_OK(n) "{\"ok\":true,\"value\":" #n ",\"error\":null,\"exception\":null,\"latency_ms\":0.0}"

static void send_interval_is_set_by_command(void **state)
{
        struct rig *r = rig_new(PACED);

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/send_interval/set", "3");
        rig_expect(r, 0, "gw/dev/send_interval/result " RESULT_OK(3), NULL);
        fake_loop_advance(r->loop, 9 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 1", "gw/dev/temp 1", "gw/dev/temp 1", NULL);
        /* The short topic, white space, JSON, retained. */
        rig_command(r, "gw/dev/send_interval", " 4\n");
        rig_command(r, "gw/dev/send_interval", "{\"value\":5}");
        rig_command_retained(r, "gw/dev/send_interval/set", "6");
        rig_expect(r, 0, "gw/dev/send_interval/result " RESULT_OK(4),
                   "gw/dev/send_interval/result " RESULT_OK(5), "gw/dev/send_interval/result " RESULT_OK(6),
                   NULL);
        rig_free(r);
}

static void send_interval_falls_back_to_what_is_configured(void **state)
{
        static const char *const unreadable[] = { "0", "",   "abc", "-5", "86401", "1.5", "{\"value\":0}",
                                                  "{", "5 6" };
        struct rig *r = rig_new(PACED);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(unreadable); i++) {
                rig_command(r, "gw/dev/send_interval/set", "3");
                fake_link_clear(r->links[0]);
                rig_command(r, "gw/dev/send_interval/set", unreadable[i]);
                rig_expect(r, 0, "gw/dev/send_interval/result " RESULT_OK(10), NULL);
        }
        rig_command(r, "gw/dev/send_interval/set", "86400");
        rig_expect(r, 0, "gw/dev/send_interval/result " RESULT_OK(86400), NULL);
        rig_free(r);
}

static void send_interval_of_an_unpaced_device_is_ten(void **state)
{
        struct rig *r = rig_new_points(TEMP "}");

        (void)state;
        rig_sample(r, "dev/temp", REAL(1));
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/send_interval/set", "0");
        rig_expect(r, 0, "gw/dev/send_interval/result " RESULT_OK(10), NULL);
        rig_sample(r, "dev/temp", REAL(2));
        rig_expect_nothing(r, 0);
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/temp 2.0", NULL);
        rig_free(r);
}

static void samples_of_another_generation_are_dropped(void **state)
{
        struct rig *r = rig_new_points(TEMP "}");
        struct bus_samples *mail;
        char *text;

        (void)state;
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation + 1;
        mail->samples[0].value = INT(1);
        gateway_on_bus_mail(r->gateway, &mail->mail);
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->samples[0].point = 999;
        gateway_on_bus_mail(r->gateway, &mail->mail);
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->bus = 999;
        gateway_on_bus_mail(r->gateway, &mail->mail);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(first_value_is_published_and_retained),
                cmocka_unit_test(unchanged_value_is_not),
                cmocka_unit_test(always_publishes_each_sample),
                cmocka_unit_test(deadband_is_kept_to_the_published_value),
                cmocka_unit_test(deadband_percent_is_kept),
                cmocka_unit_test(min_interval_sends_the_newest_when_it_is_over),
                cmocka_unit_test(min_interval_forgets_what_was_taken_back),
                cmocka_unit_test(max_interval_repeats_the_value),
                cmocka_unit_test(nothing_to_do_means_no_wake_ups),
                cmocka_unit_test(bad_plain_keeps_the_last_value_and_says_so_once),
                cmocka_unit_test(bad_from_the_start_has_no_plain_payload),
                cmocka_unit_test(json_has_value_quality_and_time),
                cmocka_unit_test(no_time_before_the_clock_is_right),
                cmocka_unit_test(a_clock_can_be_trusted_by_configuration),
                cmocka_unit_test(json_of_a_silent_block_is_stale),
                cmocka_unit_test(plain_of_a_silent_block_is_not_repeated),
                cmocka_unit_test(object_with_a_silent_block_has_null),
                cmocka_unit_test(every_kind_in_plain),
                cmocka_unit_test(every_kind_in_json),
                cmocka_unit_test(every_kind_in_one_object),
                cmocka_unit_test(large_object_is_whole),
                cmocka_unit_test(paced_device_sends_together),
                cmocka_unit_test(paced_device_sends_bad_and_demanded_at_once),
                cmocka_unit_test(paced_device_leaves_out_a_silent_block),
                cmocka_unit_test(paced_device_that_is_offline_is_silent),
                cmocka_unit_test(paced_ticks_do_not_pile_up),
                cmocka_unit_test(send_interval_is_set_by_command),
                cmocka_unit_test(send_interval_falls_back_to_what_is_configured),
                cmocka_unit_test(send_interval_of_an_unpaced_device_is_ten),
                cmocka_unit_test(samples_of_another_generation_are_dropped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
