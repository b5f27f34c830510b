/* SPDX-License-Identifier: MIT */
/* From messages to bus commands, and from results to answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define LED          "{ name = \"led\"; holding = 2; type = \"uint16\"; write = true; min = 0; max = 1023; }"
#define NO_EXCEPTION "\"exception\":null,\"latency_ms\":"

/* Refused: the result has this error, and nothing came to the bus. */
static void expect_refused(struct rig *r, const char *point, const char *error)
{
        const struct message *m;
        char topic[64], wanted[256];

        (void)snprintf(topic, sizeof(topic), "gw/dev/%s/result", point);
        (void)snprintf(wanted, sizeof(wanted), "\"error\":\"%s", error);
        m = fake_link_last(r->links[0], topic);
        assert_non_null(m);
        assert_false(m->retain);
        if (!strstr(m->payload, "\"ok\":false") || !strstr(m->payload, wanted))
                fail_msg("wanted: %s; got: %s", wanted, (const char *)m->payload);
        assert_null(rig_take(r, 0));
        fake_link_clear(r->links[0]);
}

static void expect_written(struct rig *r, const char *point, const char *payload, uint16_t reg)
{
        char topic[64];
        struct bus_command *c;

        (void)snprintf(topic, sizeof(topic), "gw/dev/%s/set", point);
        rig_command(r, topic, payload);
        c = rig_take(r, 0);
        if (!c)
                fail_msg("%s %s: %s", point, payload, (const char *)r->links[0]->published[0]->payload);
        assert_int_equal(c->op, BUS_OP_WRITE);
        assert_int_equal(c->regs[0], reg);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        fake_link_clear(r->links[0]);
}

static void command_becomes_a_write(void **state)
{
        struct rig *r = rig_new_points(LED);
        struct bus_command *c;

        (void)state;
        rig_command(r, "gw/dev/led/set", "512");
        c = rig_take(r, 0);
        assert_non_null(c);
        assert_int_equal(c->op, BUS_OP_WRITE);
        assert_int_equal(c->point, rig_point(r, "dev/led"));
        assert_int_equal(c->generation, r->conf->generation);
        assert_int_equal(c->n_regs, 1);
        assert_int_equal(c->regs[0], 512);
        assert_int_equal(c->mask[0], 0xffff);
        assert_true(c->read_back);
        assert_true(c->posted_us == loop_now_us(r->loop));
        assert_true(c->deadline_us == c->posted_us + r->conf->gateway.command_timeout_ms * USEC_PER_MSEC);
        rig_expect_nothing(r, 0);
        rig_answer(r, c, BUS_RESULT_OK, 12300);
        assert_int_equal(r->links[0]->published[0]->qos, 1);
        assert_false(r->links[0]->published[0]->retain);
        assert_false(r->links[0]->published[0]->is_live);
        rig_expect(r, 0, "gw/dev/led/result {\"ok\":true,\"value\":512,\"error\":null," NO_EXCEPTION "12.3}",
                   NULL);
        rig_free(r);
}

static void commands_in_every_form(void **state)
{
        struct rig *r = rig_new_points(
                LED ", { name = \"relay\"; coil = 0; type = \"bool\"; write = true; },"
                    "{ name = \"level\"; holding = 4; type = \"int16\"; scale = 0.1; write = true; },"
                    "{ name = \"mode\"; holding = 5; type = \"uint16\"; write = true;"
                    "  map = ( { value = 0; label = \"Off\"; }, { value = 7; label = \"heat\"; } ); }");

        (void)state;
        expect_written(r, "led", "0", 0);
        expect_written(r, "led", " 1023 \n", 1023);
        expect_written(r, "led", "{\"value\":5}", 5);
        expect_written(r, "led", "{\"value\":\"6\"}", 6);
        expect_written(r, "led", "on", 1);
        expect_written(r, "led", "{\"value\":true}", 1);
        expect_written(r, "relay", "ON", 1);
        expect_written(r, "relay", "False", 0);
        expect_written(r, "relay", "1", 1);
        expect_written(r, "relay", "{\"value\":false}", 0);
        expect_written(r, "level", "-12.3", (uint16_t)-123);
        expect_written(r, "level", "{\"value\":0.1}", 1);
        expect_written(r, "mode", "HEAT", 7);
        expect_written(r, "mode", "{\"value\":\"heat\"}", 7);
        expect_written(r, "mode", "7", 7);
        rig_free(r);
}

static void labels_and_words_are_answered_as_numbers(void **state)
{
        struct rig *r = rig_new_points(
                "{ name = \"mode\"; holding = 5; write = true;"
                "  map = ( { value = 7; label = \"heat\"; } ); },"
                "{ name = \"name\"; holding = 6; type = \"string\"; length = 8; write = true; }");

        (void)state;
        rig_command(r, "gw/dev/mode/set", "{\"value\":\"heat\",\"id\":\"x1\"}");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_command(r, "gw/dev/name/set", "a\"b");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_expect(r, 0,
                   "gw/dev/mode/result {\"ok\":true,\"value\":7,\"error\":null," NO_EXCEPTION
                   "0.0,\"id\":\"x1\"}",
                   "gw/dev/name/result {\"ok\":true,\"value\":\"a\\\"b\",\"error\":null," NO_EXCEPTION "0.0}",
                   NULL);
        rig_free(r);
}

static void fractions_of_what_counts_are_refused(void **state)
{
        struct rig *r = rig_new_points(
                LED ", { name = \"mode\"; holding = 5; scale = 10; write = true;"
                    "    map = ( { value = 10; label = \"low\"; }, { value = 20; label = \"high\"; } ); }");

        (void)state;
        rig_command(r, "gw/dev/led/set", "1.5");
        expect_refused(r, "led", "between two values that can be written: 1 and 2");
        rig_command(r, "gw/dev/led/set", "1023.4");
        expect_refused(r, "led", "out of range: 0 to 1023 is allowed");
        rig_command(r, "gw/dev/mode/set", "{\"value\":14}");
        expect_refused(r, "mode", "between two values that can be written: 10 and 20");
        expect_written(r, "led", "2.0", 2);
        rig_free(r);
}

static void the_result_says_what_is_written(void **state)
{
        struct rig *r = rig_new_points(
                "{ name = \"level\"; holding = 4; type = \"int16\"; scale = 0.5; write = true; },"
                "{ name = \"field\"; holding = 5; bits = [ 4, 7 ]; scale = 0.1; write = true; },"
                "{ name = \"odd\"; holding = 6; invalid = [ 7 ]; write = true; }");

        (void)state;
        rig_command(r, "gw/dev/level/set", "21.3");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_command(r, "gw/dev/field/set", "1.14");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_command(r, "gw/dev/odd/set", "7");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_expect(r, 0,
                   "gw/dev/level/result {\"ok\":true,\"value\":21.5,\"error\":null," NO_EXCEPTION "0.0}",
                   "gw/dev/field/result {\"ok\":true,\"value\":1.1,\"error\":null," NO_EXCEPTION "0.0}",
                   "gw/dev/odd/result {\"ok\":true,\"value\":7,\"error\":null," NO_EXCEPTION "0.0}", NULL);
        rig_free(r);
}

static void unreadable_commands_are_refused(void **state)
{
        static const char *const bad[] = {
                "",         " ",   "abc",  "5 6",      "0x10",
                "1023.5.5", "[5]", "null", "\xff\xfe", "{\"value\":\"x\"}",
                "5\xc2",
        };
        static const char *const bad_json[] = { "{", "{}", "{\"val\":5}" };
        static const char *const no_value[][2] = {
                { "{\"value\":null}",
                  "unreadable: \\\"value\\\" is null: a number, true, false or a string" },
                { "{\"value\":[1]}", "unreadable: \\\"value\\\" is an array: " },
                { "{\"value\":{}}", "unreadable: \\\"value\\\" is an object: " },
                { "{\"value\":18446744073709551615}",
                  "unreadable: JSON numbers have 64 bits signed: send a larger one as a string" },
        };
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                rig_command(r, "gw/dev/led/set", bad[i]);
                expect_refused(r, "led", "unreadable");
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad_json); i++) {
                rig_command(r, "gw/dev/led/set", bad_json[i]);
                expect_refused(r, "led", "unreadable: JSON must be an object with \\\"value\\\"");
        }
        for (size_t i = 0; i < ARRAY_SIZE(no_value); i++) {
                rig_command(r, "gw/dev/led/set", no_value[i][0]);
                expect_refused(r, "led", no_value[i][1]);
        }
        assert_true(fake_link_receive(
                r->links[0],
                &(struct message_init){ .topic = "gw/dev/led/set", .payload = "5\0005", .payload_bytes = 3 },
                false));
        expect_refused(r, "led", "unreadable");
        rig_free(r);
}

static void out_of_range_is_refused(void **state)
{
        struct rig *r = rig_new_points(LED ", { name = \"level\"; holding = 4; type = \"int16\"; scale = 0.1;"
                                           "  write = true; }");

        (void)state;
        rig_command(r, "gw/dev/led/set", "1024");
        expect_refused(r, "led", "out of range: 0 to 1023 is allowed");
        rig_command(r, "gw/dev/led/set", "{\"value\":-1}");
        expect_refused(r, "led", "out of range");
        rig_command(r, "gw/dev/level/set", "3276.8");
        expect_refused(r, "level", "out of range: -3276.8 to 3276.7 is allowed");
        rig_free(r);
}

/* The limits are those of the registers where no setting is narrower. */
static void out_of_range_names_the_limits(void **state)
{
        static const struct {
                const char *point, *payload, *error;
        } cases[] = {
                { "type = \"uint16\"; scale = 0.1; offset = -40.0;", "-41", ": -40.0 to 6513.5 is allowed" },
                { "type = \"uint16\"; scale = -1;", "1", ": -65535 to 0 is allowed" },
                { "type = \"int64\";", "1e19", ": -9223372036854775808 to 9223372036854775807 is allowed" },
                { "type = \"uint64\";", "-1", ": 0 to 18446744073709551615 is allowed" },
                { "type = \"bcd16\"; min = 5;", "10000", ": 5 to 9999 is allowed" },
                { "type = \"uint16\"; bits = [ 4, 6 ];", "8", ": 0 to 7 is allowed" },
                { "type = \"int16\"; max = 10;", "11", ": -32768 to 10 is allowed" },
                { "type = \"int16\"; invalid = [ -32768 ];", "40000", ": -32768 to 32767 is allowed" },
                { "type = \"float32\"; max = 10;", "11", ": 10 or less is allowed" },
                { "type = \"float32\";", "1e39", "" },
                { "type = \"bool\";", "2", ": on or off is wanted" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char points[256], error[256];
                struct rig *r;

                (void)snprintf(points, sizeof(points), "{ name = \"x\"; holding = 0; write = true; %s }",
                               cases[i].point);
                (void)snprintf(error, sizeof(error), "out of range%s\"", cases[i].error);
                r = rig_new_points(points);
                rig_command(r, "gw/dev/x/set", cases[i].payload);
                expect_refused(r, "x", error);
                rig_free(r);
        }
}

static void oversize_is_refused(void **state)
{
        struct rig *r = rig_new_points(LED);
        size_t n = 1000000;
        char *text = malloc(n + 1);

        (void)state;
        assert_non_null(text);
        memset(text, '5', n);
        text[n] = '\0';
        rig_command(r, "gw/dev/led/set", text);
        assert_true(fake_link_last(r->links[0], "gw/dev/led/result")->payload_bytes < 200);
        expect_refused(r, "led", "too long: at most ");
        rig_command(r, "gw/dev/send_interval/set", text);
        assert_non_null(strstr(r->links[0]->published[0]->payload, "\"value\":10"));
        free(text);
        rig_free(r);
}

static void read_only_point_says_so(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; input = 0; }");

        (void)state;
        rig_command(r, "gw/dev/temp/set", "5");
        expect_refused(r, "temp", "not writable");
        rig_free(r);
}

static void unknown_point_is_logged_and_answered_to_who_waits(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        rig_command(r, "gw/dev/nosuch/set", "5");
        assert_non_null(strstr(r->warning, "no point takes commands at \"gw/dev/nosuch/set\""));
        rig_command(r, "gw/dev/nosuch/set", "5");
        assert_int_equal(r->n_warnings, 1); /* the repeat is for debug */
        rig_expect_nothing(r, 0);
        assert_true(fake_link_receive(r->links[0],
                                      &(struct message_init){ .topic = "gw/nosuch/led/set",
                                                              .payload = "5",
                                                              .payload_bytes = 1,
                                                              .response_topic = "me/answers" },
                                      false));
        assert_int_equal(r->n_warnings, 2); /* another topic is another mistake */
        rig_expect(r, 0,
                   "me/answers {\"ok\":false,\"value\":null,\"error\":\"no such point\"," NO_EXCEPTION "0.0}",
                   NULL);
        /* Somebody else's mistake, much later, is worth a line. */
        fake_loop_advance(r->loop, 61 * USEC_PER_SEC);
        rig_command(r, "gw/dev/nosuch/set", "5");
        assert_int_equal(r->n_warnings, 3);
        assert_null(rig_take(r, 0));
        rig_free(r);
}

/* Each topic has its line, but a flood of them does not. */
static void unknown_topics_are_bounded(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (unsigned round = 1; round <= 2; round++) {
                for (unsigned i = 0; i < 1000; i++) {
                        char topic[64];

                        (void)snprintf(topic, sizeof(topic), "gw/dev/nosuch%u/set", i);
                        rig_command(r, topic, "5");
                }
                assert_int_equal(r->n_warnings, 16 * round);
                fake_loop_advance(r->loop, 61 * USEC_PER_SEC);
        }
        rig_free(r);
}

static void refusals_warn_once(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        rig_command(r, "gw/dev/led/set", "x");
        rig_command(r, "gw/dev/led/set", "y");
        assert_int_equal(r->n_warnings, 1);
        assert_non_null(strstr(r->warning, "device dev: led: command refused: unreadable"));
        /* Successes in between change nothing, time does. */
        expect_written(r, "led", "5", 5);
        rig_command(r, "gw/dev/led/set", "z");
        assert_int_equal(r->n_warnings, 1);
        fake_loop_advance(r->loop, 61 * USEC_PER_SEC);
        rig_command(r, "gw/dev/led/set", "z");
        assert_int_equal(r->n_warnings, 2);
        assert_non_null(strstr(r->warning, " (2 more since the last line)"));
        rig_free(r);
}

/* More commands than the bus takes, some of which succeed: a line, not a flood. */
static void full_bus_warns_once(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (unsigned i = 0; i < 1000; i++) {
                struct bus_command *c;

                for (unsigned k = 0; k < 6; k++)
                        rig_command(r, "gw/dev/led/set", "5");
                while ((c = rig_take(r, 0)))
                        rig_answer(r, c, BUS_RESULT_OK, 0);
                fake_link_clear(r->links[0]);
        }
        assert_int_equal(r->n_warnings, 1);
        assert_non_null(strstr(r->warning, "too many commands wait"));
        rig_free(r);
}

static void retained_command_is_ignored(void **state)
{
        struct rig *r = rig_new_points(LED);
        unsigned n = r->n_infos;

        (void)state;
        rig_command_retained(r, "gw/dev/led/set", "5");
        rig_command_retained(r, "gw/dev/led/set", "5");
        rig_command_retained(r, "gw/dev/led/get", "");
        assert_null(rig_take(r, 0));
        rig_expect_nothing(r, 0);
        assert_int_equal(r->n_infos, n + 1);
        rig_free(r);
}

static void retained_command_is_taken_where_allowed(void **state)
{
        struct rig *r =
                rig_new_points("{ name = \"led\"; holding = 2; write = true; accept_retained = true; }");
        struct bus_command *c;

        (void)state;
        rig_command_retained(r, "gw/dev/led/set", "5");
        c = rig_take(r, 0);
        assert_non_null(c);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        rig_free(r);
}

#define ONCE   "{\"value\":5,\"id\":\"a1\"}"
#define ANSWER "gw/dev/led/result {\"ok\":true,\"value\":5,\"error\":null," NO_EXCEPTION "2.0,\"id\":\"a1\"}"

/* A message of QoS 1 that is delivered again must not be a second pulse. */
static void a_command_with_an_id_is_carried_out_once(void **state)
{
        struct rig *r = rig_new_points(LED ", { name = \"fan\"; holding = 9; write = true; }");
        struct bus_command *c;

        (void)state;
        rig_command(r, "gw/dev/led/set", ONCE);
        c = rig_take(r, 0);
        rig_command(r, "gw/dev/led/set", ONCE); /* while the first is under way: its answer is that of both */
        assert_null(rig_take(r, 0));
        rig_expect_nothing(r, 0);
        rig_answer(r, c, BUS_RESULT_OK, 2000);
        rig_expect(r, 0, ANSWER, NULL);
        rig_command(r, "gw/dev/led/set", ONCE);
        assert_null(rig_take(r, 0));
        rig_expect(r, 0, ANSWER, NULL);
        /* Another value, another point, a word without an id, five minutes later: another command. */
        expect_written(r, "led", "{\"value\":6,\"id\":\"a1\"}", 6);
        expect_written(r, "fan", ONCE, 5);
        expect_written(r, "led", "5", 5);
        expect_written(r, "led", "5", 5);
        expect_written(r, "led", "{\"value\":5,\"id\":null}", 5);
        expect_written(r, "led", "{\"value\":5,\"id\":null}", 5);
        fake_loop_advance(r->loop, 300 * USEC_PER_SEC);
        expect_written(r, "led", ONCE, 5);
        rig_free(r);
}

static void what_was_not_written_may_come_again(void **state)
{
        static const struct {
                enum bus_outcome outcome;
                bool again;
        } rows[] = { { BUS_RESULT_EXPIRED, true },
                     { BUS_RESULT_OFFLINE, true },
                     { BUS_RESULT_EXCEPTION, true },
                     { BUS_RESULT_TIMEOUT, false } };
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char payload[64];
                struct bus_command *c;

                (void)snprintf(payload, sizeof(payload), "{\"value\":5,\"id\":%zu}", i);
                rig_command(r, "gw/dev/led/set", payload);
                rig_answer(r, rig_take(r, 0), rows[i].outcome, 1000);
                rig_command(r, "gw/dev/led/set", payload);
                c = rig_take(r, 0);
                assert_int_equal(c != NULL, rows[i].again);
                if (c)
                        rig_answer(r, c, BUS_RESULT_OK, 0);
                fake_link_clear(r->links[0]);
        }
        rig_free(r);
}

/* However many come at once, the last one is carried out, and who is replaced is told so. */
static void newest_is_never_refused(void **state)
{
        struct rig *r = rig_new_points("{ name = \"led\"; holding = 2; type = \"uint16\"; write = true;"
                                       " writes = \"newest\"; }, { name = \"all\"; holding = 3;"
                                       " type = \"uint16\"; write = true; }");
        struct bus_command *c;
        char value[8];

        (void)state;
        for (unsigned i = 0; i < 4; i++) /* the box is full */
                rig_command(r, "gw/dev/all/set", "5");
        for (unsigned i = 0; i < 300; i++) {
                (void)snprintf(value, sizeof(value), "%u", i);
                rig_command(r, "gw/dev/led/set", value);
                assert_int_equal(r->links[0]->n_published, i > 0);
                if (i > 0)
                        assert_non_null(strstr(r->links[0]->published[0]->payload, "a newer command"));
                fake_link_clear(r->links[0]);
        }
        for (unsigned i = 0; i < 4; i++)
                rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        fake_link_clear(r->links[0]);
        c = rig_take(r, 0);
        assert_int_equal(c->regs[0], 299);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        assert_non_null(strstr(r->links[0]->published[0]->payload, "\"ok\":true,\"value\":299"));
        assert_null(rig_take(r, 0));
        rig_free(r);
}

static void full_bus_refuses(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (unsigned i = 0; i < 4; i++)
                rig_command(r, "gw/dev/led/set", "5");
        rig_expect_nothing(r, 0);
        rig_command(r, "gw/dev/led/set", "6");
        assert_non_null(strstr(r->links[0]->published[0]->payload,
                               "\"value\":6,\"error\":\"too many commands wait for this bus"));
        for (unsigned i = 0; i < 4; i++)
                rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_free(r);
}

static void missing_bus_refuses(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        gateway_set_bus(r->gateway, 0, NULL);
        rig_command(r, "gw/dev/led/set", "5");
        expect_refused(r, "led", "the bus is being stopped");
        rig_free(r);
}

static void every_outcome_is_said(void **state)
{
        static const struct {
                enum bus_outcome outcome;
                const char *error;
        } cases[] = {
                { BUS_RESULT_EXCEPTION, "exception 2: illegal data address" },
                { BUS_RESULT_TIMEOUT, "no reply: whether it was written is not known" },
                { BUS_RESULT_PORT, "the port is not there" },
                { BUS_RESULT_OFFLINE, "the device does not answer" },
                { BUS_RESULT_EXPIRED, "the bus was too busy: not sent in time" },
                { BUS_RESULT_STOPPED, "the bus is being stopped or reconfigured" },
        };
        struct rig *r = rig_new_points(LED);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char command[64], end[64]; /* an id each: the same twice is one command */

                (void)snprintf(command, sizeof(command), "{\"value\":9,\"id\":4%zu}", i);
                (void)snprintf(end, sizeof(end), "\"latency_ms\":1.0,\"id\":4%zu}", i);
                rig_command(r, "gw/dev/led/set", command);
                rig_answer(r, rig_take(r, 0), cases[i].outcome, 1000);
                assert_non_null(strstr(r->links[0]->published[0]->payload, "\"value\":9,"));
                assert_non_null(strstr(r->links[0]->published[0]->payload, end));
                assert_non_null(strstr(r->links[0]->published[0]->payload,
                                       cases[i].outcome == BUS_RESULT_EXCEPTION ? "\"exception\":2,"
                                                                                : "\"exception\":null,"));
                expect_refused(r, "led", cases[i].error);
        }
        assert_int_equal(r->n_warnings, 1);
        rig_free(r);
}

static void lost_bus_answers_all_who_wait(void **state)
{
        struct rig *r = rig_new_points(LED);
        struct bus_command *c;

        (void)state;
        rig_command(r, "gw/dev/led/set", "5");
        rig_command(r, "gw/dev/led/get", "");
        gateway_set_bus(r->gateway, 0, NULL);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/led/result"), 2);
        fake_link_clear(r->links[0]);
        /* A result that comes after all is nobody's. */
        c = rig_take(r, 0);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        rig_expect_nothing(r, 0);
        mail_free(&rig_take(r, 0)->mail);
        /* And samples flow. */
        rig_sample(r, "dev/led", INT(3));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/led 3", NULL);
        rig_free(r);
}

static void command_without_any_result_is_given_up(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/led/set", "5");
        fake_loop_advance(r->loop, 300 * USEC_PER_SEC);
        rig_expect(r, 0,
                   "gw/dev/led/result {\"ok\":false,\"value\":5,\"error\":\"no reply: whether it was written "
                   "is not "
                   "known\"," NO_EXCEPTION "43000.0}",
                   NULL);
        rig_sample(r, "dev/led", INT(5));
        rig_expect(r, 0, "gw/dev/led 5", NULL);
        assert_true(fake_loop_next_us(r->loop) == CLOCK_NEVER_US);
        mail_free(&rig_take(r, 0)->mail);
        rig_free(r);
}

static void response_topic_and_correlation_are_honoured(void **state)
{
        struct rig *r = rig_new_points(LED);
        const struct message *m;
        struct message_init init = { .topic = "gw/dev/led/set",
                                     .payload = "5",
                                     .payload_bytes = 1,
                                     .qos = 2,
                                     .made_us = FAKE_LOOP_START_US,
                                     .response_topic = "me/answers",
                                     .correlation = "\0\1",
                                     .correlation_bytes = 2 };

        (void)state;
        assert_true(fake_link_receive(r->links[0], &init, false));
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        m = fake_link_last(r->links[0], "me/answers");
        assert_non_null(m);
        assert_int_equal(m->qos, 2);
        assert_false(m->retain);
        assert_int_equal(m->correlation_bytes, 2);
        assert_memory_equal(m->correlation, "\0\1", 2);
        rig_expect(r, 0, "gw/dev/led/result {\"ok\":true,\"value\":5,\"error\":null," NO_EXCEPTION "0.0}",
                   "me/answers {\"ok\":true,\"value\":5,\"error\":null," NO_EXCEPTION "0.0}", NULL);
        /* A refusal, too. */
        init.payload = "x";
        assert_true(fake_link_receive(r->links[0], &init, false));
        assert_int_equal(fake_link_count(r->links[0], "me/answers"), 1);
        fake_link_clear(r->links[0]);
        /* A topic that would make the broker hang up is none. */
        init.response_topic = "me/#";
        assert_true(fake_link_receive(r->links[0], &init, false));
        assert_int_equal(r->links[0]->n_published, 1);
        init.response_topic = "";
        assert_true(fake_link_receive(r->links[0], &init, false));
        assert_int_equal(r->links[0]->n_published, 2);
        rig_free(r);
}

static void asker_that_left_is_not_answered(void **state)
{
        struct rig *r = rig_new_points(LED);
        struct fake_link *other = fake_link_new("other", gateway_on_link_event, r->gateway);

        (void)state;
        assert_int_equal(gateway_add_link(r->gateway, &other->link, GATEWAY_LINK_LOCAL), 0);
        assert_true(fake_link_receive(other,
                                      &(struct message_init){ .topic = "gw/dev/led/set",
                                                              .payload = "5",
                                                              .payload_bytes = 1,
                                                              .response_topic = "me/answers" },
                                      false));
        gateway_remove_link(r->gateway, &other->link);
        /* The same address again, another link. */
        assert_int_equal(gateway_add_link(r->gateway, &other->link, GATEWAY_LINK_LOCAL), 0);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        assert_int_equal(fake_link_count(other, "gw/dev/led/result"), 1);
        assert_int_equal(fake_link_count(other, "me/answers"), 0);
        gateway_remove_link(r->gateway, &other->link);
        fake_link_free(other);
        rig_free(r);
}

/* ---- what was read before the write ---- */

static void samples_older_than_the_write_are_dropped(void **state)
{
        struct rig *r = rig_new_points(LED);
        uint64_t before_us;

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/led/set", "5");
        /* Polled while the command waits. */
        rig_sample(r, "dev/led", INT(2));
        before_us = loop_now_us(r->loop);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 1000);
        fake_link_clear(r->links[0]);
        /* Its request was sent before the write was done, its reply handled after. */
        r->began_us = before_us;
        rig_sample(r, "dev/led", INT(1));
        rig_expect_nothing(r, 0);
        /* The read-back: what the device has made of it. */
        r->began_us = 0;
        r->on_demand = true;
        rig_sample(r, "dev/led", INT(4));
        rig_expect(r, 0, "gw/dev/led 4", NULL);
        rig_free(r);
}

static void other_points_go_on_during_a_write(void **state)
{
        struct rig *r = rig_new_points(LED ", { name = \"temp\"; holding = 0; }");

        (void)state;
        rig_command(r, "gw/dev/led/set", "5");
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1", NULL);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_free(r);
}

static void write_that_was_never_sent_holds_nothing_back(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        r->began_us = loop_now_us(r->loop);
        rig_command(r, "gw/dev/led/set", "5");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_EXPIRED, 1000);
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/led", INT(2));
        rig_expect(r, 0, "gw/dev/led 2", NULL);
        rig_free(r);
}

static void read_back_is_published_though_unchanged(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        rig_command(r, "gw/dev/led/set", "1");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        fake_link_clear(r->links[0]);
        r->on_demand = true;
        rig_sample(r, "dev/led", INT(1));
        rig_expect(r, 0, "gw/dev/led 1", NULL);
        rig_free(r);
}

static void two_writes_hold_until_the_second(void **state)
{
        struct rig *r = rig_new_points(LED);
        struct bus_command *first, *second;

        (void)state;
        rig_command(r, "gw/dev/led/set", "1");
        rig_command(r, "gw/dev/led/set", "2");
        first = rig_take(r, 0);
        second = rig_take(r, 0);
        rig_answer(r, first, BUS_RESULT_OK, 1000);
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/led", INT(1)); /* the read-back of the first: the second is coming */
        rig_expect(r, 0, "gw/dev/availability online", NULL);
        rig_answer(r, second, BUS_RESULT_OK, 1000);
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/led", INT(2));
        rig_expect(r, 0, "gw/dev/led 2", NULL);
        rig_free(r);
}

static void tick_does_not_send_what_a_write_made_old(void **state)
{
        struct rig *r = rig_new("gateway = { name = \"gw\"; };\n"
                                "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n"
                                "  { name = \"dev\"; unit_id = 1; send_interval_s = 10; points = (" LED
                                "); } ); } );");

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        fake_loop_advance(r->loop, 9 * USEC_PER_SEC);
        rig_command(r, "gw/dev/led/set", "5");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 1000);
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 1 * USEC_PER_SEC); /* the tick, before the read-back */
        rig_expect_nothing(r, 0);
        r->on_demand = true;
        rig_sample(r, "dev/led", INT(5));
        rig_expect(r, 0, "gw/dev/led 5", NULL);
        fake_loop_advance(r->loop, 10 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/dev/led 5", NULL);
        rig_free(r);
}

static void repeat_waits_for_what_a_write_made_old(void **state)
{
        struct rig *r =
                rig_new_points("{ name = \"led\"; holding = 2; write = true; max_interval_s = 1.0; }");
        unsigned n;

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        rig_command(r, "gw/dev/led/set", "5");
        fake_link_clear(r->links[0]);
        n = fake_loop_wakes(r->loop);
        fake_loop_advance(r->loop, 2 * USEC_PER_SEC);
        rig_expect_nothing(r, 0);
        assert_true(fake_loop_wakes(r->loop) - n < 30);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/led", INT(5));
        rig_expect(r, 0, "gw/dev/led 5", NULL);
        rig_free(r);
}

/* ---- /get ---- */

static void get_reads_and_publishes(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; input = 0; }");
        struct bus_command *c;

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/temp/get", "whatever");
        c = rig_take(r, 0);
        assert_int_equal(c->op, BUS_OP_READ);
        assert_int_equal(c->point, rig_point(r, "dev/temp"));
        rig_answer(r, c, BUS_RESULT_OK, 0);
        rig_expect_nothing(r, 0);
        r->on_demand = true;
        rig_sample(r, "dev/temp", INT(1)); /* unchanged, but asked for */
        rig_expect(r, 0, "gw/dev/temp 1", NULL);
        rig_free(r);
}

static void get_that_fails_has_a_result(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; input = 0; }");

        (void)state;
        rig_command(r, "gw/dev/temp/get", "");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OFFLINE, 0);
        rig_expect(r, 0,
                   "gw/dev/temp/result {\"ok\":false,\"value\":null,\"error\":\"the device does not "
                   "answer\"," NO_EXCEPTION "0.0}",
                   NULL);
        rig_free(r);
}

static void receive_get(struct rig *r)
{
        assert_true(fake_link_receive(r->links[0],
                                      &(struct message_init){ .topic = "gw/dev/temp/get",
                                                              .made_us = loop_now_us(r->loop),
                                                              .response_topic = "me" },
                                      false));
}

static void get_answers_at_the_response_topic(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; input = 0; }");

        (void)state;
        receive_get(r);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 2000);
        r->on_demand = true;
        rig_sample(r, "dev/temp", INT(7));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 7",
                   "me {\"ok\":true,\"value\":7,\"error\":null," NO_EXCEPTION "2.0}", NULL);
        receive_get(r);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        rig_sample_bad(r, "dev/temp");
        rig_expect(r, 0, "me {\"ok\":false,\"value\":null,\"error\":\"no value\"," NO_EXCEPTION "0.0}", NULL);
        /* The sample is lost on its way. */
        receive_get(r);
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        fake_loop_advance(r->loop, 300 * USEC_PER_SEC);
        assert_int_equal(fake_link_count(r->links[0], "me"), 1);
        rig_free(r);
}

/* Its sample comes while a later write waits: it is what was asked for, though no longer the point's value.
 */
static void get_is_answered_though_a_write_waits(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; holding = 0; write = true; }");
        struct bus_command *get, *set;

        (void)state;
        rig_device(r, "dev", DEVICE_ONLINE);
        fake_link_clear(r->links[0]);
        receive_get(r);
        rig_command(r, "gw/dev/temp/set", "9");
        get = rig_take(r, 0);
        set = rig_take(r, 0);
        rig_answer(r, get, BUS_RESULT_OK, 0);
        r->on_demand = true;
        rig_sample(r, "dev/temp", INT(7));
        rig_expect(r, 0, "me {\"ok\":true,\"value\":7,\"error\":null," NO_EXCEPTION "0.0}", NULL);
        rig_answer(r, set, BUS_RESULT_OK, 0);
        rig_sample(r, "dev/temp", INT(9));
        assert_string_equal(fake_link_last(r->links[0], "gw/dev/temp")->payload, "9");
        rig_free(r);
}

static void stopping_gateway_refuses(void **state)
{
        struct rig *r = rig_new_points(LED);

        (void)state;
        gateway_stop(r->gateway);
        fake_link_clear(r->links[0]);
        rig_command(r, "gw/dev/led/set", "5");
        expect_refused(r, "led", "the gateway is stopping");
        rig_free(r);
}

static void command_topic_of_its_own(void **state)
{
        struct rig *r = rig_new_points("{ name = \"led\"; holding = 2; write = true; topic = \"x/led/state\";"
                                       "  command_topic = \"x/led\"; }");
        struct bus_command *c;

        (void)state;
        rig_command(r, "x/led", "5");
        c = rig_take(r, 0);
        assert_non_null(c);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        fake_link_clear(r->links[0]);
        r->on_demand = true;
        rig_sample(r, "dev/led", INT(5));
        assert_int_equal(fake_link_count(r->links[0], "x/led/state"), 1);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(command_becomes_a_write),
                cmocka_unit_test(commands_in_every_form),
                cmocka_unit_test(labels_and_words_are_answered_as_numbers),
                cmocka_unit_test(fractions_of_what_counts_are_refused),
                cmocka_unit_test(the_result_says_what_is_written),
                cmocka_unit_test(unreadable_commands_are_refused),
                cmocka_unit_test(out_of_range_is_refused),
                cmocka_unit_test(oversize_is_refused),
                cmocka_unit_test(read_only_point_says_so),
                cmocka_unit_test(unknown_point_is_logged_and_answered_to_who_waits),
                cmocka_unit_test(refusals_warn_once),
                cmocka_unit_test(full_bus_warns_once),
                cmocka_unit_test(unknown_topics_are_bounded),
                cmocka_unit_test(out_of_range_names_the_limits),
                cmocka_unit_test(get_is_answered_though_a_write_waits),
                cmocka_unit_test(retained_command_is_ignored),
                cmocka_unit_test(retained_command_is_taken_where_allowed),
                cmocka_unit_test(a_command_with_an_id_is_carried_out_once),
                cmocka_unit_test(what_was_not_written_may_come_again),
                cmocka_unit_test(newest_is_never_refused),
                cmocka_unit_test(full_bus_refuses),
                cmocka_unit_test(missing_bus_refuses),
                cmocka_unit_test(every_outcome_is_said),
                cmocka_unit_test(lost_bus_answers_all_who_wait),
                cmocka_unit_test(command_without_any_result_is_given_up),
                cmocka_unit_test(response_topic_and_correlation_are_honoured),
                cmocka_unit_test(asker_that_left_is_not_answered),
                cmocka_unit_test(samples_older_than_the_write_are_dropped),
                cmocka_unit_test(other_points_go_on_during_a_write),
                cmocka_unit_test(write_that_was_never_sent_holds_nothing_back),
                cmocka_unit_test(read_back_is_published_though_unchanged),
                cmocka_unit_test(two_writes_hold_until_the_second),
                cmocka_unit_test(tick_does_not_send_what_a_write_made_old),
                cmocka_unit_test(repeat_waits_for_what_a_write_made_old),
                cmocka_unit_test(get_reads_and_publishes),
                cmocka_unit_test(get_that_fails_has_a_result),
                cmocka_unit_test(get_answers_at_the_response_topic),
                cmocka_unit_test(stopping_gateway_refuses),
                cmocka_unit_test(command_topic_of_its_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
