/* SPDX-License-Identifier: MIT */
/* A link that has just come, and one without room: every state reaches it, in pieces and once. */
#include <stdio.h>
#include <string.h>

#include "rig.h"

#define DEVICES 100
#define POINTS  3
#define STATES  (1 + DEVICES * (1 + POINTS)) /* status, availability, values */

#define MANY_OF(points)                                                  \
        "gateway = { name = \"gw\"; };\n"                                \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = (\n" \
        "  { name = \"d${unit_id}\"; unit_ids = \"1-100\"; points = (" points " ); } ); } );\n"
#define MANY                                                                         \
        MANY_OF("{ name = \"p0\"; holding = 0; }, { name = \"p1\"; holding = 1; }, " \
                "{ name = \"p2\"; holding = 2; }")
#define SLOW_LINK(settings) MANY "links = ( { name = \"slow\"; host = \"h\"; " settings " } );\n"

static void sample_all(struct rig *r, int64_t value)
{
        char name[32];

        for (unsigned d = 1; d <= DEVICES; d++) {
                for (unsigned p = 0; p < POINTS; p++) {
                        (void)snprintf(name, sizeof(name), "d%u/p%u", d, p);
                        rig_sample(r, name, INT(value));
                }
        }
}

/* Every state is known, and the link has been away since. */
static struct rig *rig_many(const char *text)
{
        struct rig *r = rig_new(text);

        r->links[0]->is_blind = true;
        sample_all(r, 1);
        r->links[0]->is_blind = false;
        fake_link_away(r->links[0]);
        return r;
}

/* How often each state has come. */
struct tally {
        unsigned status, availability[DEVICES + 1], values[DEVICES + 1][POINTS], others;
};

static void tally_add(struct tally *t, struct fake_link *l, const char *value)
{
        for (size_t i = 0; i < l->n_published; i++) {
                const struct message *m = l->published[i];
                unsigned d, p;
                int n = 0;

                if (strcmp(m->topic, "gw/status") == 0)
                        t->status++;
                else if (sscanf(m->topic, "gw/d%u/availability%n", &d, &n) == 1 && n > 0)
                        t->availability[d]++;
                else if (sscanf(m->topic, "gw/d%u/p%u", &d, &p) == 2 && strcmp(m->payload, value) == 0)
                        t->values[d][p]++;
                else
                        t->others++;
        }
        fake_link_clear(l);
}

static void tally_expect(const struct tally *t, unsigned status, unsigned availability, unsigned values)
{
        assert_int_equal(t->status, status);
        assert_int_equal(t->others, 0);
        for (unsigned d = 1; d <= DEVICES; d++) {
                assert_int_equal(t->availability[d], availability);
                for (unsigned p = 0; p < POINTS; p++)
                        assert_int_equal(t->values[d][p], values);
        }
}

/* What the link has taken is sent, so that it has room, until there is no more. */
static void drain(struct rig *r, struct tally *t, const char *value)
{
        struct fake_link *l = r->links[0];
        unsigned n_rounds = 0;

        fake_loop_turn(r->loop);
        while (l->n_published > 0) {
                assert_true(++n_rounds < STATES);
                tally_add(t, l, value);
                fake_link_room(l);
                fake_loop_turn(r->loop);
        }
}

static void all_comes_in_pieces(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        fake_link_online(l);
        assert_in_range(l->n_published, 1, 64);
        assert_string_equal(l->published[0]->topic, "gw/status");
        fake_loop_turn(r->loop);
        assert_int_equal(l->n_published, STATES);
        tally_add(&t, l, "1");
        tally_expect(&t, 1, 1, 1);
        rig_free(r);
}

static void small_queue_gets_everything(void **state)
{
        struct rig *r = rig_many(MANY);
        struct tally t = { .status = 0 };

        (void)state;
        r->links[0]->capacity = 10;
        fake_link_online(r->links[0]);
        fake_loop_turn(r->loop);
        assert_int_equal(r->links[0]->n_published, 5); /* it is not filled to the brim */
        drain(r, &t, "1");
        tally_expect(&t, 1, 1, 1);
        rig_free(r);
}

static void what_found_no_room_comes_later_and_as_it_is_then(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        l->is_blind = true;
        fake_link_online(l);
        fake_loop_turn(r->loop);
        l->is_blind = false;
        l->capacity = 20;
        sample_all(r, 2);
        sample_all(r, 3);
        assert_int_equal(l->n_published, 20);
        fake_link_clear(l);
        fake_link_room(l);
        drain(r, &t, "3");
        tally_expect(&t, 0, 0, 1);
        rig_free(r);
}

/* What has gone out by itself is not sent a second time. */
static void newer_message_pays(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        l->capacity = 4;
        fake_link_online(l);
        tally_add(&t, l, "1");
        r->on_demand = true;
        rig_sample(r, "d100/p0", INT(1));
        assert_string_equal(l->published[0]->topic, "gw/d100/p0");
        drain(r, &t, "1");
        tally_expect(&t, 1, 1, 1);
        rig_free(r);
}

static void status_does_not_wait_for_room(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];

        (void)state;
        l->capacity = 1; /* never has room, by its word */
        fake_link_online(l);
        rig_expect(r, 0, "gw/status online", NULL);
        rig_free(r);
}

static void lost_states_are_all_sent_again(void **state)
{
        struct rig *r = rig_many(SLOW_LINK("publish_on_connect = false;"));
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        fake_link_online(l);
        drain(r, &t, "1");
        tally_expect(&t, 1, 1, 0);
        fake_link_lost(l);
        drain(r, &t, "1");
        tally_expect(&t, 2, 2, 1);
        rig_free(r);
}

/* Refused, though it says that it has room: tried again after a pause, and nothing else with it. */
static void refused_state_is_tried_again_later(void **state)
{
        struct rig *r = rig_new(MANY);
        struct fake_link *l = r->links[0];

        (void)state;
        rig_sample(r, "d1/p0", INT(1));
        fake_link_clear(l);
        l->is_stubborn = true;
        rig_sample(r, "d1/p0", INT(2));
        fake_loop_turn(r->loop);
        l->is_stubborn = false;
        rig_expect_nothing(r, 0);
        fake_loop_advance(r->loop, 11 * USEC_PER_SEC);
        rig_expect(r, 0, "gw/d1/p0 2", NULL);
        rig_free(r);
}

static void connection_in_between_begins_anew(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        l->capacity = 100;
        fake_link_online(l);
        fake_link_away(l);
        fake_link_clear(l);
        fake_loop_turn(r->loop);
        rig_expect_nothing(r, 0);
        fake_link_online(l);
        drain(r, &t, "1");
        tally_expect(&t, 1, 1, 1);
        rig_free(r);
}

static void reload_in_between_begins_anew(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];
        struct tally t = { .status = 0 };

        (void)state;
        l->capacity = 100;
        fake_link_online(l);
        fake_loop_turn(r->loop);
        fake_link_clear(l);
        rig_reconfigure(r, MANY);
        fake_link_room(l);
        drain(r, &t, "1");
        tally_expect(&t, 1, 1, 1);
        rig_free(r);
}

static void end_says_offline_and_no_more(void **state)
{
        struct rig *r = rig_many(MANY);
        struct fake_link *l = r->links[0];

        (void)state;
        fake_link_online(l);
        fake_link_clear(l);
        gateway_stop(r->gateway);
        fake_loop_turn(r->loop);
        assert_int_equal(l->n_published, 1 + DEVICES);
        for (size_t i = 0; i < l->n_published; i++)
                assert_string_equal(l->published[i]->payload, "offline");
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_comes_in_pieces),
                cmocka_unit_test(small_queue_gets_everything),
                cmocka_unit_test(what_found_no_room_comes_later_and_as_it_is_then),
                cmocka_unit_test(newer_message_pays),
                cmocka_unit_test(status_does_not_wait_for_room),
                cmocka_unit_test(lost_states_are_all_sent_again),
                cmocka_unit_test(refused_state_is_tried_again_later),
                cmocka_unit_test(connection_in_between_begins_anew),
                cmocka_unit_test(reload_in_between_begins_anew),
                cmocka_unit_test(end_says_offline_and_no_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
