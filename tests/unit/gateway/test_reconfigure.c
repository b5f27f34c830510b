/* SPDX-License-Identifier: MIT */
/* A new configuration under a running gateway. */
#include <stdio.h>
#include <string.h>

#include "rig.h"

#define CONF(devices)                     \
        "gateway = { name = \"gw\"; };\n" \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n" devices "); } );\n"
#define DEVICE(name, unit, points) "{ name = \"" name "\"; unit_id = " unit "; points = ( " points " ); }"
#define TEMP                       "{ name = \"temp\"; holding = 0; }"
#define HUM                        "{ name = \"hum\"; holding = 1; }"
#define LED                        "{ name = \"led\"; holding = 2; write = true; }"

static void unchanged_points_keep_their_state(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        /* Another point before it: the index changes, the topic stays. */
        rig_reconfigure(r, CONF(DEVICE("dev", "1", HUM ", " TEMP)));
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/temp", INT(1));
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/hum", INT(50));
        rig_expect(r, 0, "gw/dev/hum 50", NULL);
        fake_link_online(r->links[0]);
        rig_expect(r, 0, "gw/status online", "gw/dev/availability online", "gw/dev/hum 50", "gw/dev/temp 1",
                   NULL);
        rig_free(r);
}

static void what_is_gone_is_cleared(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP ", " HUM) ", " DEVICE("old", "2", TEMP)));

        (void)state;
        rig_sample(r, "dev/hum", INT(50));
        fake_link_clear(r->links[0]);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        assert_int_equal(r->links[0]->n_published, 3);
        for (size_t i = 0; i < 3; i++) {
                assert_true(r->links[0]->published[i]->retain);
                assert_int_equal(r->links[0]->published[i]->payload_bytes, 0);
        }
        assert_non_null(fake_link_last(r->links[0], "gw/dev/hum"));
        assert_non_null(fake_link_last(r->links[0], "gw/old/temp"));
        assert_non_null(fake_link_last(r->links[0], "gw/old/availability"));
        rig_free(r);
}

static void what_was_never_retained_is_not_cleared(void **state)
{
        struct rig *r =
                rig_new(CONF(DEVICE("dev", "1", TEMP ", { name = \"hum\"; holding = 1; retain = false; }")));

        (void)state;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void what_is_no_longer_retained_is_cleared(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", "{ name = \"temp\"; holding = 0; retain = false; }")));
        rig_expect(r, 0, "gw/dev/temp ", NULL);
        rig_free(r);
}

static void links_that_retain_nothing_are_not_cleared(void **state)
{
        static const char link[] = "links = ( { name = \"a\"; host = \"h\"; retain = false; } );\n";
        char before[1024], after[1024];
        struct rig *r;

        (void)state;
        (void)snprintf(before, sizeof(before), "%s%s", CONF(DEVICE("dev", "1", TEMP ", " HUM)), link);
        (void)snprintf(after, sizeof(after), "%s%s", CONF(DEVICE("dev", "1", TEMP)), link);
        r = rig_new(before);
        rig_reconfigure(r, after);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void object_is_cleared_with_its_device(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP) ", " DEVICE(
                "obj", "2", "{ name = \"x\"; holding = 0; payload = \"object\"; }")));

        (void)state;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        assert_int_equal(fake_link_count(r->links[0], "gw/obj"), 1);
        assert_int_equal(fake_link_count(r->links[0], "gw/obj/availability"), 1);
        assert_int_equal(r->links[0]->n_published, 2);
        rig_free(r);
}

static void point_that_goes_into_an_object_leaves_its_topic(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        rig_reconfigure(r,
                        CONF(DEVICE("dev", "1", "{ name = \"temp\"; holding = 0; payload = \"object\"; }")));
        rig_expect(r, 0, "gw/dev/temp ", NULL);
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev {\"temp\":1}", NULL);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        rig_expect(r, 0, "gw/dev ", NULL);
        rig_free(r);
}

static void bus_counters_are_cleared(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_reconfigure(r, "gateway = { name = \"gw\"; };\n"
                           "buses = ( { name = \"c\"; port = \"/dev/ttyS0\"; devices = (" DEVICE(
                                   "dev", "1", TEMP) "); } );\n");
        rig_expect(r, 0, "gw/bus/b ", NULL);
        rig_free(r);
}

/* The same topic, but another meaning: the old value must not be shown as the new one's. */
static void point_that_means_something_else_begins_anew(void **state)
{
        static const char *const others[] = {
                "{ name = \"temp\"; holding = 5; }",
                "{ name = \"temp\"; input = 0; }",
                "{ name = \"temp\"; holding = 0; type = \"int16\"; }",
                "{ name = \"temp\"; holding = 0; scale = 0.1; }",
                "{ name = \"temp\"; holding = 0; offset = 5.0; }",
                "{ name = \"temp\"; holding = 0; bit = 3; }",
                "{ name = \"temp\"; holding = 0; map = ( { value = 1; label = \"x\"; } ); }",
                "{ name = \"temp\"; holding = 0; payload = \"json\"; }",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));
                char text[512];

                rig_sample(r, "dev/temp", INT(1));
                (void)snprintf(text, sizeof(text),
                               "gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = "
                               "\"/dev/ttyS0\"; devices = ("
                               "{ name = \"dev\"; unit_id = 1; points = ( %s ); } ); } );",
                               others[i]);
                rig_reconfigure(r, text);
                fake_link_clear(r->links[0]);
                fake_link_online(r->links[0]);
                assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 0);
                rig_free(r);
        }
}

static void another_unit_begins_anew(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_reconfigure(r, CONF(DEVICE("dev", "9", TEMP)));
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/temp", INT(1));
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 1);
        rig_free(r);
}

static void old_mail_is_dropped(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));
        struct bus_samples *mail;
        char *text;

        (void)state;
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->samples[0].value = INT(1);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", HUM)));
        fake_link_clear(r->links[0]);
        gateway_on_bus_mail(r->gateway, &mail->mail); /* point 0 was temp */
        rig_expect_nothing(r, 0);
        rig_free(r);
}

/* A reload is nothing to a command whose point goes on: its result comes, whatever the index is by then. */
static void who_waits_goes_on_waiting(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", LED)));
        struct bus_command *c;

        (void)state;
        rig_sample(r, "dev/led", INT(1));
        rig_command(r, "gw/dev/led/set", "5");
        fake_link_clear(r->links[0]);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP ", " LED)));
        rig_expect_nothing(r, 0);
        rig_sample(r, "dev/led", INT(2)); /* a reading from before the write is done */
        rig_expect_nothing(r, 0);
        c = rig_take(r, 0);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", LED)));
        fake_link_clear(r->links[0]);
        rig_answer(r, c, BUS_RESULT_OK, 1000);
        rig_expect(r, 0,
                   "gw/dev/led/result {\"ok\":true,\"value\":5,\"error\":null,\"exception\":null,"
                   "\"latency_ms\":1.0}",
                   NULL);
        r->began_us = loop_now_us(r->loop) - 500;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP ", " LED)));
        rig_sample(r, "dev/led", INT(1)); /* one that began before */
        rig_expect_nothing(r, 0);
        r->began_us = 0;
        rig_sample(r, "dev/led", INT(5));
        rig_expect(r, 0, "gw/dev/led 5", NULL);
        rig_free(r);
}

/* The worker knows whether it was written: its word is passed on, where it was asked. */
static void who_waits_for_what_is_gone_is_answered(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", LED ", " TEMP)));
        struct bus_command *set, *get;

        (void)state;
        rig_command(r, "gw/dev/led/set", "5");
        rig_command(r, "gw/dev/led/get", "");
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        rig_expect(r, 0, "gw/dev/led ", NULL);
        set = rig_take(r, 0);
        get = rig_take(r, 0);
        rig_answer(r, set, BUS_RESULT_OK, 1000);
        rig_expect(r, 0,
                   "gw/dev/led/result {\"ok\":true,\"value\":5,\"error\":null,\"exception\":null,"
                   "\"latency_ms\":1.0}",
                   NULL);
        rig_answer(r, get, BUS_RESULT_STOPPED, 0);
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/dev/led/result")->payload, "reconfigured"));
        rig_free(r);
}

/* A bus that is replaced: its worker says what became of its commands, and what it forgot is said at its end.
 */
static void who_waits_for_a_worker_that_ends_is_answered(void **state)
{
        struct rig *r =
                rig_new("gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = \"/dev/ttyS0\"; "
                        "devices = (" DEVICE("dev", "1", LED) "); } );\n");
        struct mailbox *old = r->boxes[0];

        (void)state;
        rig_command(r, "gw/dev/led/set", "5");
        rig_command(r, "gw/dev/led/set", "6");
        r->boxes[0] = NULL; /* another worker's */
        rig_reconfigure(r, "gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = \"/dev/ttyS1\"; "
                           "devices = (" DEVICE("dev", "1", LED) "); } );\n");
        rig_expect_nothing(r, 0);
        rig_answer(r, (void *)mailbox_take(old), BUS_RESULT_TIMEOUT, 0);
        assert_int_equal(r->links[0]->n_published, 1);
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/dev/led/result")->payload, "not known"));
        fake_link_clear(r->links[0]);
        gateway_forget_bus(r->gateway, old);
        assert_int_equal(r->links[0]->n_published, 1);
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/dev/led/result")->payload, "reconfigured"));
        fake_link_clear(r->links[0]);
        mailbox_free(old);
        rig_sample(r, "dev/led", INT(5));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/led 5", NULL);
        rig_free(r);
}

/* One sample of a point of the configuration in force. */
static struct bus_samples *sample_now(struct rig *r, const char *point, int64_t value)
{
        struct bus_samples *mail;
        char *text;

        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->began_us = loop_now_us(r->loop);
        mail->samples[0].point = rig_point(r, point);
        mail->samples[0].value = INT(value);
        return mail;
}

/* What was read while the reload came is not read again before the next turn: it may be an hour off. */
static void what_was_read_before_is_taken(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP ", " HUM)));
        struct bus_samples *temp = sample_now(r, "dev/temp", 1), *hum = sample_now(r, "dev/hum", 2);

        (void)state;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", HUM ", " TEMP)));
        gateway_on_bus_mail(r->gateway, &temp->mail);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1", NULL);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP ", " LED ", " HUM)));
        gateway_on_bus_mail(r->gateway, &hum->mail); /* two reloads late */
        rig_expect(r, 0, "gw/dev/hum 2", NULL);
        hum = sample_now(r, "dev/hum", 3);
        for (unsigned i = 0; i < 10; i++) /* nobody is as late as that, and nothing grows */
                rig_reconfigure(r, CONF(DEVICE("dev", "1", HUM ", " TEMP)));
        gateway_on_bus_mail(r->gateway, &hum->mail);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/hum"), 0);
        rig_free(r);
}

/* Another line may have other devices. */
static void what_came_by_another_line_is_dropped(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));
        struct bus_samples *temp = sample_now(r, "dev/temp", 1);

        (void)state;
        rig_reconfigure(r, "gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = \"/dev/ttyS1\"; "
                           "devices = (" DEVICE("dev", "1", TEMP) "); } );\n");
        gateway_on_bus_mail(r->gateway, &temp->mail);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void subscriptions_follow(void **state)
{
        struct rig *r = rig_new(
                "gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ("
                "{ name = \"dev\"; unit_id = 1; topic = \"x\"; points = ( " LED " ); } ); } );");
        unsigned n;

        (void)state;
        assert_true(fake_link_has_filter(r->links[0], "x/+/set"));
        n = r->links[0]->n_subscribes;
        rig_reconfigure(
                r,
                "gateway = { name = \"gw\"; };\nbuses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ("
                "{ name = \"dev\"; unit_id = 1; topic = \"y\"; points = ( " LED " ); } ); } );");
        assert_false(fake_link_has_filter(r->links[0], "x/+/set"));
        assert_true(fake_link_has_filter(r->links[0], "y/+/set"));
        assert_int_equal(r->links[0]->n_subscribes, n + 3);
        assert_int_equal(r->links[0]->n_unsubscribes, 3);
        rig_free(r);
}

/* A filter that is subscribed to again brings retained commands again. */
static void subscriptions_that_stay_are_not_made_again(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", LED)));
        unsigned n = r->links[0]->n_subscribes;

        (void)state;
        rig_reconfigure(r, CONF(DEVICE("dev", "1", LED ", " TEMP)));
        assert_int_equal(r->links[0]->n_subscribes, n);
        assert_int_equal(r->links[0]->n_unsubscribes, 0);
        rig_free(r);
}

static void link_takes_its_new_masks(void **state)
{
        struct rig *r;

        (void)state;
        r = rig_new(CONF(DEVICE(
                "dev", "1",
                TEMP ", " HUM)) "links = ( { name = \"a\"; host = \"h\"; subscribe = [ \"r/#\" ]; } );\n");
        assert_true(fake_link_has_filter(r->links[0], "r/#"));
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP ", " HUM)) "links = ( { name = \"a\"; host = \"h\"; "
                                                                   "publish = [ \"+/+/hum\" ]; } );\n");
        assert_false(fake_link_has_filter(r->links[0], "r/#"));
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/hum", INT(2));
        rig_expect(r, 0, "gw/dev/hum 2", NULL);
        rig_free(r);
}

/* Nobody must believe for ever what a broker keeps of a gateway that has gone elsewhere. */
static void link_that_is_left_is_told(void **state)
{
        static const char more[] =
                "links = ( { name = \"a\"; host = \"h\"; client_id = \"a\"; },"
                " { name = \"b\"; host = \"h\"; prefix = \"p/\"; publish = [ \"gw/other/#\" ]; } );\n";
        char text[1024], after[1024];
        struct conf *new;
        struct rig *r;

        (void)state;
        (void)snprintf(text, sizeof(text), "%s%s",
                       CONF(DEVICE("dev", "1", TEMP) ", " DEVICE("new", "2", TEMP)), more);
        (void)snprintf(after, sizeof(after),
                       "gateway = { name = \"gw\"; status_topic = \"elsewhere\"; };\n%s",
                       strchr(text, '\n') + 1);
        r = rig_new(text);
        rig_sample(r, "dev/temp", INT(1));
        rig_device(r, "dev", DEVICE_ONLINE);
        rig_port(r, 0, true, "");
        new = rig_conf(after);
        assert_int_equal(gateway_reconfigure(r->gateway, new), 0);
        conf_unref(r->conf);
        r->conf = new;
        fake_link_clear(r->links[0]);
        fake_link_clear(r->links[1]);
        gateway_leave_link(r->gateway, &r->links[0]->link);
        rig_expect_nothing(r, 1);
        /* The value stays; of a device that was never heard of nothing is said; the will had this topic. */
        rig_expect(r, 0, "gw/bus/b ", "gw/dev/availability offline", "gw/status offline", NULL);
        gateway_leave_link(r->gateway, &r->links[0]->link);
        rig_expect_nothing(r, 0);
        gateway_leave_link(r->gateway, &r->links[1]->link);
        rig_expect(r, 1, "p/gw/status offline", NULL);
        rig_free(r);
}

#define PACED(seconds) \
        CONF("{ name = \"dev\"; unit_id = 1; send_interval_s = " seconds "; points = ( " TEMP " ); }")

static void send_interval_set_by_command_survives(void **state)
{
        struct rig *r = rig_new(PACED("10"));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_command(r, "gw/dev/send_interval/set", "2");
        rig_reconfigure(r, PACED("10"));
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 4 * USEC_PER_SEC);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 2);
        /* Unless the file says otherwise now. */
        rig_reconfigure(r, PACED("20"));
        fake_link_clear(r->links[0]);
        fake_loop_advance(r->loop, 40 * USEC_PER_SEC);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 2);
        rig_free(r);
}

static void to_nothing_and_back(void **state)
{
        struct rig *r = rig_new(CONF(DEVICE("dev", "1", TEMP)));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_reconfigure(r, "gateway = { name = \"gw\"; };\n");
        fake_link_clear(r->links[0]);
        rig_reconfigure(r, CONF(DEVICE("dev", "1", TEMP)));
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1", NULL);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(unchanged_points_keep_their_state),
                cmocka_unit_test(what_is_gone_is_cleared),
                cmocka_unit_test(what_was_never_retained_is_not_cleared),
                cmocka_unit_test(what_is_no_longer_retained_is_cleared),
                cmocka_unit_test(links_that_retain_nothing_are_not_cleared),
                cmocka_unit_test(object_is_cleared_with_its_device),
                cmocka_unit_test(point_that_goes_into_an_object_leaves_its_topic),
                cmocka_unit_test(bus_counters_are_cleared),
                cmocka_unit_test(point_that_means_something_else_begins_anew),
                cmocka_unit_test(another_unit_begins_anew),
                cmocka_unit_test(old_mail_is_dropped),
                cmocka_unit_test(who_waits_goes_on_waiting),
                cmocka_unit_test(who_waits_for_what_is_gone_is_answered),
                cmocka_unit_test(who_waits_for_a_worker_that_ends_is_answered),
                cmocka_unit_test(what_was_read_before_is_taken),
                cmocka_unit_test(what_came_by_another_line_is_dropped),
                cmocka_unit_test(subscriptions_follow),
                cmocka_unit_test(subscriptions_that_stay_are_not_made_again),
                cmocka_unit_test(link_takes_its_new_masks),
                cmocka_unit_test(link_that_is_left_is_told),
                cmocka_unit_test(send_interval_set_by_command_survives),
                cmocka_unit_test(to_nothing_and_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
