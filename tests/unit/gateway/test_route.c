/* SPDX-License-Identifier: MIT */
/* Several links, each with its masks, prefix, QoS, retain and on_change; and what they subscribe to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define BUS                                                                          \
        "gateway = { name = \"gw\"; };\n"                                            \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n"             \
        "  { name = \"dev\"; unit_id = 1; qos = 2; points = (\n"                     \
        "    { name = \"temp\"; holding = 0; }, { name = \"hum\"; holding = 1; },\n" \
        "    { name = \"led\"; holding = 2; write = true; } ); } ); } );\n"
#define LINK(name, rest) "{ name = \"" name "\"; host = \"" name "\"; " rest " }"
#define LINKS(list)      BUS "links = ( " list " );\n"

static void links_share_one_message(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "") ", " LINK("b", "prefix = \"p/\";") ", " LINK("c", "")));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        assert_ptr_equal(fake_link_last(r->links[0], "gw/dev/temp"),
                         fake_link_last(r->links[2], "gw/dev/temp"));
        rig_expect(r, 1, "p/gw/dev/availability online", "p/gw/dev/temp 1", NULL);
        rig_free(r);
}

static void more_forms_than_are_kept(void **state)
{
        struct rig *r =
                rig_new(LINKS(LINK("a", "prefix = \"1/\";") ", " LINK("b", "prefix = \"2/\";") ", " LINK(
                        "c", "prefix = \"3/\";") ", " LINK("d", "prefix = \"4/\";")));
        struct fake_link *more = fake_link_new("local", gateway_on_link_event, r->gateway);

        (void)state;
        assert_int_equal(gateway_add_link(r->gateway, &more->link, GATEWAY_LINK_LOCAL), 0);
        rig_sample(r, "dev/temp", INT(1));
        assert_non_null(fake_link_last(r->links[0], "1/gw/dev/temp"));
        assert_non_null(fake_link_last(r->links[1], "2/gw/dev/temp"));
        assert_non_null(fake_link_last(r->links[2], "3/gw/dev/temp"));
        assert_non_null(fake_link_last(r->links[3], "4/gw/dev/temp"));
        assert_non_null(fake_link_last(more, "gw/dev/temp"));
        gateway_remove_link(r->gateway, &more->link);
        fake_link_free(more);
        rig_free(r);
}

/* The configuration is refused with such a prefix; were it not, no value may go out under half a topic. */
static void a_topic_that_is_cut_off_is_not_published(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "prefix = \"p/\";")));
        char *kept = r->conf->links[0].prefix;
        char prefix[CONF_TOPIC_BYTES_MAX];

        (void)state;
        memset(prefix, 'p', sizeof(prefix) - 1);
        prefix[sizeof(prefix) - 1] = '\0';
        r->conf->links[0].prefix = prefix;
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/hum", INT(2));
        rig_expect_nothing(r, 0);
        r->conf->links[0].prefix = kept;
        rig_sample(r, "dev/temp", INT(3));
        rig_expect(r, 0, "p/gw/dev/temp 3", NULL);
        rig_free(r);
}

static void masks_are_tested_before_the_prefix(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "prefix = \"p/\"; publish = [ \"gw/+/temp\" ];")));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/hum", INT(2));
        rig_expect(r, 0, "p/gw/dev/temp 1", NULL);
        rig_free(r);
}

/* The will is set on every link: without "online", "offline" would stay for ever. */
static void status_goes_everywhere(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "publish = [ \"nothing/like/it\" ];")));

        (void)state;
        fake_link_online(r->links[0]);
        rig_expect(r, 0, "gw/status online", NULL);
        gateway_stop(r->gateway);
        rig_expect(r, 0, "gw/status offline", NULL);
        rig_free(r);
}

static void who_asks_gets_the_result(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "publish = [ \"gw/dev/temp\" ];") ", " LINK(
                "b", "publish = [ \"gw/dev/temp\" ];") ", " LINK("c", "")));

        (void)state;
        rig_command(r, "gw/dev/led/set", "5");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/led/result"), 1);
        assert_int_equal(fake_link_count(r->links[1], "gw/dev/led/result"), 0);
        assert_int_equal(fake_link_count(r->links[2], "gw/dev/led/result"), 1);
        rig_free(r);
}

static void qos_is_capped_and_retain_stripped(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "qos = 0; retain = false;") ", " LINK("b", "qos = 2;")));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        assert_int_equal(fake_link_last(r->links[0], "gw/dev/temp")->qos, 0);
        assert_false(fake_link_last(r->links[0], "gw/dev/temp")->retain);
        assert_int_equal(fake_link_last(r->links[1], "gw/dev/temp")->qos, 2);
        assert_true(fake_link_last(r->links[1], "gw/dev/temp")->retain);
        assert_int_equal(r->links[0]->qos, 0);
        assert_int_equal(r->links[1]->qos, 2);
        rig_free(r);
}

static void on_change_sends_a_payload_once(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "on_change = true;") ", " LINK("b", "")));

        (void)state;
        r->on_demand = true; /* goes out whether changed or not */
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/temp", INT(1));
        rig_sample(r, "dev/temp", INT(2));
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/availability online", "gw/dev/temp 1", "gw/dev/temp 2", "gw/dev/temp 1",
                   NULL);
        assert_int_equal(fake_link_count(r->links[1], "gw/dev/temp"), 4);
        /* A connection is another matter. */
        fake_link_online(r->links[0]);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/temp"), 1);
        rig_free(r);
}

static void on_change_lets_results_through(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "on_change = true;")));

        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                rig_command(r, "gw/dev/led/set", "5");
                rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 0);
        }
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/led/result"), 2);
        rig_free(r);
}

static void on_change_forgets_what_the_queue_refused(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "on_change = true;")));

        (void)state;
        r->on_demand = true;
        r->links[0]->is_full = true;
        rig_sample(r, "dev/temp", INT(1));
        r->links[0]->is_full = false;
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 0, "gw/dev/temp 1", NULL);
        rig_free(r);
}

static void publish_on_connect_can_be_off(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "publish_on_connect = false;")));

        (void)state;
        rig_sample(r, "dev/temp", INT(1));
        fake_link_clear(r->links[0]);
        fake_link_online(r->links[0]);
        rig_expect(r, 0, "gw/status online", "gw/dev/availability online", NULL);
        rig_free(r);
}

static void prefix_is_taken_off_and_needed(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "prefix = \"p/\"; subscribe = [ \"gw/#\" ];")));
        struct bus_command *c;

        (void)state;
        rig_command(r, "p/gw/dev/led/set", "5");
        c = rig_take(r, 0);
        assert_non_null(c);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        assert_int_equal(fake_link_count(r->links[0], "p/gw/dev/led/result"), 1);
        assert_false(fake_link_has_filter(r->links[0], "gw/dev/led/set"));
        for (size_t i = 0; i < r->links[0]->n_filters; i++)
                assert_true(strncmp(r->links[0]->filters[i], "p/", 2) == 0);
        /* Whatever comes without it is not meant for us. */
        free(r->links[0]->filters[0]);
        r->links[0]->filters[0] = strdup("#");
        rig_command(r, "gw/dev/led/set", "5");
        assert_null(rig_take(r, 0));
        rig_free(r);
}

static void subscribe_masks_take_commands(void **state)
{
        struct rig *r =
                rig_new(LINKS(LINK("a", "prefix = \"p/\"; subscribe = [ \"remote/#\", \"all/+/+/set\" ];")));
        struct bus_command *c;

        (void)state;
        assert_true(fake_link_has_filter(r->links[0], "p/remote/#"));
        rig_command(r, "p/remote/gw/dev/led/set", "5");
        c = rig_take(r, 0);
        assert_non_null(c);
        rig_answer(r, c, BUS_RESULT_OK, 0);
        rig_command(r, "p/remote/nonsense", "5");
        rig_command(r, "p/all/dev/led/set", "5"); /* this filter has nothing to take off */
        assert_null(rig_take(r, 0));
        rig_free(r);
}

static void few_filters_do(void **state)
{
        struct rig *r = rig_new(BUS);

        (void)state;
        assert_true(fake_link_has_filter(r->links[0], "gw/+/+/set"));
        assert_true(fake_link_has_filter(r->links[0], "gw/+/+/get"));
        assert_true(fake_link_has_filter(r->links[0], "gw/dev/send_interval"));
        assert_int_equal(r->links[0]->n_filters, 3);
        assert_int_equal(r->links[0]->qos, 2);
        rig_free(r);
}

static void devices_with_topics_of_their_own_have_filters(void **state)
{
        struct rig *r = rig_new("gateway = { name = \"gw\"; };\n"
                                "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n"
                                "  { name = \"dev\"; unit_id = 1; topic = \"house/cellar/pump\"; points = (\n"
                                "    { name = \"on\"; coil = 0; write = true; },\n"
                                "    { name = \"far\"; holding = 2; write = true; command_topic = "
                                "\"far/away\"; } ); } ); } );");

        (void)state;
        assert_true(fake_link_has_filter(r->links[0], "house/cellar/pump/+/set"));
        assert_true(fake_link_has_filter(r->links[0], "house/cellar/pump/+/get"));
        assert_true(fake_link_has_filter(r->links[0], "house/cellar/pump/send_interval"));
        assert_true(fake_link_has_filter(r->links[0], "far/away"));
        assert_int_equal(r->links[0]->n_filters, 6);
        rig_free(r);
}

static void removed_link_gets_nothing(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "") ", " LINK("b", "")));

        (void)state;
        gateway_remove_link(r->gateway, &r->links[1]->link);
        rig_sample(r, "dev/temp", INT(1));
        rig_expect_nothing(r, 1);
        fake_link_online(r->links[1]); /* a late event */
        rig_expect_nothing(r, 1);
        rig_free(r);
}

static void full_link_harms_nobody(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("a", "") ", " LINK("b", "")));

        (void)state;
        r->links[0]->is_full = true;
        rig_sample(r, "dev/temp", INT(1));
        rig_expect(r, 1, "gw/dev/availability online", "gw/dev/temp 1", NULL);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(links_share_one_message),
                cmocka_unit_test(more_forms_than_are_kept),
                cmocka_unit_test(a_topic_that_is_cut_off_is_not_published),
                cmocka_unit_test(masks_are_tested_before_the_prefix),
                cmocka_unit_test(status_goes_everywhere),
                cmocka_unit_test(who_asks_gets_the_result),
                cmocka_unit_test(qos_is_capped_and_retain_stripped),
                cmocka_unit_test(on_change_sends_a_payload_once),
                cmocka_unit_test(on_change_lets_results_through),
                cmocka_unit_test(on_change_forgets_what_the_queue_refused),
                cmocka_unit_test(publish_on_connect_can_be_off),
                cmocka_unit_test(prefix_is_taken_off_and_needed),
                cmocka_unit_test(subscribe_masks_take_commands),
                cmocka_unit_test(few_filters_do),
                cmocka_unit_test(devices_with_topics_of_their_own_have_filters),
                cmocka_unit_test(removed_link_gets_nothing),
                cmocka_unit_test(full_link_harms_nobody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
