/* SPDX-License-Identifier: MIT */
/* Status of the gateway, availability of devices, counters of buses. */
#include <string.h>

#include "rig.h"

#define TWO_DEVICES                                                                             \
        "gateway = { name = \"gw\"; };\n"                                                       \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n"                        \
        "  { name = \"one\"; unit_id = 1; points = ( { name = \"temp\"; holding = 0; } ); },\n" \
        "  { name = \"two\"; unit_id = 2; points = ( { name = \"temp\"; holding = 0; } ); } ); } );\n"

static void will_is_offline_retained(void **state)
{
        struct conf *conf = rig_conf(TWO_DEVICES);
        struct message *m;

        (void)state;
        assert_int_equal(gateway_will_new(conf, &m), 0);
        assert_string_equal(m->topic, "gw/status");
        assert_string_equal(m->payload, "offline");
        assert_true(m->retain);
        assert_int_equal(m->qos, 1);
        message_unref(m);
        conf_unref(conf);
}

static void connected_link_is_told_everything(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        rig_sample(r, "one/temp", INT(1));
        rig_device(r, "two", DEVICE_OFFLINE);
        fake_link_clear(r->links[0]);
        fake_link_away(r->links[0]);
        rig_expect_nothing(r, 0);
        fake_link_online(r->links[0]);
        for (size_t i = 0; i < r->links[0]->n_published; i++)
                assert_true(r->links[0]->published[i]->retain);
        rig_expect(r, 0, "gw/status online", "gw/one/availability online", "gw/one/temp 1",
                   "gw/two/availability offline", NULL);
        rig_free(r);
}

static void device_that_was_never_asked_has_no_availability(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        fake_link_online(r->links[0]);
        rig_expect(r, 0, "gw/status online", NULL);
        rig_device(r, "one", DEVICE_UNKNOWN);
        rig_expect_nothing(r, 0);
        rig_free(r);
}

static void availability_follows_the_device(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        rig_device(r, "one", DEVICE_ONLINE);
        rig_device(r, "one", DEVICE_ONLINE);
        rig_expect(r, 0, "gw/one/availability online", NULL);
        rig_device(r, "one", DEVICE_OFFLINE);
        rig_device(r, "one", DEVICE_OFFLINE);
        rig_expect(r, 0, "gw/one/availability offline", NULL);
        rig_sample_bad(r, "one/temp"); /* an exception is an answer */
        rig_expect(r, 0, "gw/one/availability online", NULL);
        rig_free(r);
}

static void value_after_an_outage_goes_out_though_the_same(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        rig_sample(r, "one/temp", INT(1));
        rig_device(r, "one", DEVICE_OFFLINE);
        fake_link_clear(r->links[0]);
        rig_sample(r, "one/temp", INT(1));
        rig_expect(r, 0, "gw/one/availability online", "gw/one/temp 1", NULL);
        rig_free(r);
}

static void lost_port_takes_all_its_devices_off(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);
        const struct message *m;

        (void)state;
        rig_sample(r, "one/temp", INT(1));
        fake_link_clear(r->links[0]);
        rig_port(r, 0, false, "No such device");
        assert_string_equal(fake_link_last(r->links[0], "gw/one/availability")->payload, "offline");
        assert_string_equal(fake_link_last(r->links[0], "gw/two/availability")->payload, "offline");
        m = fake_link_last(r->links[0], "gw/bus/b");
        assert_non_null(strstr(m->payload, "\"port\":\"lost\",\"reason\":\"No such device\""));
        fake_link_clear(r->links[0]);
        rig_port(r, 0, true, "");
        m = fake_link_last(r->links[0], "gw/bus/b");
        assert_non_null(strstr(m->payload, "\"port\":\"open\",\"reason\":\"\""));
        /* The port alone makes nobody available. */
        assert_null(fake_link_last(r->links[0], "gw/one/availability"));
        rig_free(r);
}

static void post_stats(struct rig *r)
{
        struct bus_stats_mail *mail;

        assert_int_equal(bus_stats_mail_new(&mail), 0);
        mail->generation = r->conf->generation;
        mail->stats.n_transactions = 12;
        gateway_on_bus_mail(r->gateway, &mail->mail);
}

static void counters_are_retained_without_qos(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);
        const struct message *m;

        (void)state;
        rig_port(r, 0, true, "");
        fake_link_clear(r->links[0]);
        post_stats(r);
        m = fake_link_last(r->links[0], "gw/bus/b");
        assert_non_null(m);
        assert_true(m->retain);
        assert_int_equal(m->qos, 0);
        assert_non_null(strstr(m->payload, "\"transactions\":12,"));
        fake_link_clear(r->links[0]);
        fake_link_online(r->links[0]);
        assert_int_equal(fake_link_count(r->links[0], "gw/bus/b"), 1);
        rig_free(r);
}

/* What each connection brings anyway does not wait in the queue of a link that is away: it would come twice.
 */
static void link_that_is_away_gets_states_with_its_connection(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        fake_link_away(r->links[0]);
        rig_port(r, 0, true, "");
        rig_device(r, "one", DEVICE_ONLINE);
        post_stats(r);
        rig_expect_nothing(r, 0);
        fake_link_online(r->links[0]);
        assert_int_equal(fake_link_count(r->links[0], "gw/bus/b"), 1);
        assert_int_equal(fake_link_count(r->links[0], "gw/one/availability"), 1);
        assert_int_equal(fake_link_count(r->links[0], "gw/status"), 1);
        rig_free(r);
}

static void counters_that_nobody_wants_stay(void **state)
{
        struct rig *r = rig_new(
                "gateway = { name = \"gw\"; };\n"
                "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; stats_interval_s = 0; devices = (\n"
                "  { name = \"one\"; unit_id = 1; points = ( { name = \"temp\"; holding = 0; } ); } ); } );");

        (void)state;
        rig_port(r, 0, true, "");
        post_stats(r);
        fake_link_online(r->links[0]);
        rig_expect(r, 0, "gw/status online", NULL);
        rig_free(r);
}

static void stop_says_offline_everywhere(void **state)
{
        struct rig *r = rig_new(TWO_DEVICES);

        (void)state;
        rig_sample(r, "one/temp", INT(1));
        fake_link_clear(r->links[0]);
        gateway_stop(r->gateway);
        /* "two" was never heard of; an earlier run may have left "online" there. */
        rig_expect(r, 0, "gw/one/availability offline", "gw/two/availability offline", "gw/status offline",
                   NULL);
        /* A link that comes now is not told otherwise. */
        fake_link_online(r->links[0]);
        assert_string_equal(fake_link_last(r->links[0], "gw/status")->payload, "offline");
        assert_string_equal(fake_link_last(r->links[0], "gw/one/availability")->payload, "offline");
        rig_free(r);
}

static void object_that_is_due_goes_out_before_the_stop(void **state)
{
        struct rig *r = rig_new_points("{ name = \"temp\"; holding = 0; payload = \"object\"; }");
        struct bus_samples *mail;
        char *text;

        (void)state;
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->samples[0].value = INT(3);
        gateway_on_bus_mail(r->gateway, &mail->mail); /* no turn of the loop follows */
        gateway_stop(r->gateway);
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev {\"temp\":3}", "gw/dev/availability offline",
                   "gw/status offline", NULL);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(will_is_offline_retained),
                cmocka_unit_test(connected_link_is_told_everything),
                cmocka_unit_test(device_that_was_never_asked_has_no_availability),
                cmocka_unit_test(availability_follows_the_device),
                cmocka_unit_test(value_after_an_outage_goes_out_though_the_same),
                cmocka_unit_test(lost_port_takes_all_its_devices_off),
                cmocka_unit_test(counters_are_retained_without_qos),
                cmocka_unit_test(link_that_is_away_gets_states_with_its_connection),
                cmocka_unit_test(counters_that_nobody_wants_stay),
                cmocka_unit_test(stop_says_offline_everywhere),
                cmocka_unit_test(object_that_is_due_goes_out_before_the_stop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
