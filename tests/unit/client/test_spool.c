/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/random.h"
#include "spool.h"

static struct message *make(const char *topic, const char *payload, bool is_live)
{
        struct message_init init = {
                .topic = topic, .payload = payload, .payload_bytes = strlen(payload), .is_live = is_live
        };
        struct message *m;

        assert_int_equal(message_new(&init, &m), 0);
        return m;
}

static size_t push(struct spool *s, const char *topic, const char *payload, bool is_live)
{
        CLEANUP(message_unrefp)
        struct message *m = make(topic, payload, is_live);
        size_t n_dropped = 99;

        assert_int_equal(spool_push(s, m, &n_dropped), 0);
        return n_dropped;
}

static void expect(struct spool *s, const char *payload)
{
        CLEANUP(message_unrefp)
        struct message *m = spool_pop(s);

        assert_non_null(m);
        assert_string_equal(m->payload, payload);
}

static void test_order(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;

        (void)state;
        assert_int_equal(spool_new(10, 100000, &s), 0);
        assert_null(spool_pop(s));
        assert_int_equal(push(s, "a", "1", true), 0);
        assert_int_equal(push(s, "a", "2", true), 0);
        assert_int_equal(push(s, "b", "3", false), 0);
        assert_int_equal(spool_n_messages(s), 3);
        expect(s, "1"); /* superseded, but there was room */
        expect(s, "2");
        expect(s, "3");
        assert_int_equal(spool_n_bytes(s), 0);
}

static void test_full_drops_superseded_first(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;

        (void)state;
        assert_int_equal(spool_new(2, 100000, &s), 0);
        push(s, "event", "e1", false);
        push(s, "temp", "t1", true);
        push(s, "hum", "h1", true);
        push(s, "temp", "t2", true);
        assert_int_equal(push(s, "event", "e2", false), 1); /* t1: superseded by t2 */
        assert_int_equal(push(s, "hum", "h2", true), 1);    /* h1: superseded by itself */
        assert_int_equal(push(s, "event", "e3", false), 1); /* none left: e1, the oldest */
        expect(s, "t2");
        expect(s, "e2");
        expect(s, "h2");
        expect(s, "e3");
        assert_null(spool_pop(s));
}

static void test_events_of_a_topic_do_not_supersede(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;

        (void)state;
        assert_int_equal(spool_new(2, 100000, &s), 0);
        push(s, "alarm", "1", false);
        push(s, "alarm", "2", false);
        assert_int_equal(push(s, "alarm", "3", false), 1);
        expect(s, "2");
        expect(s, "3");
}

static void test_bytes(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;
        CLEANUP(message_unrefp)
        struct message *m = make("t", "0123456789", false);
        char big[5001] = "";
        CLEANUP(message_unrefp)
        struct message *huge = NULL;
        size_t one = spool_message_bytes(m), n_dropped = 0;

        (void)state;
        memset(big, 'x', 5000);
        huge = make("t", big, false);
        assert_int_equal(spool_new(1000, 3 * one, &s), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(push(s, "t", "0123456789", false), 0);
        assert_int_equal(push(s, "t", "0123456789", false), 1);
        assert_int_equal(spool_n_bytes(s), 3 * one);
        assert_int_equal(spool_push(s, huge, &n_dropped), -EMSGSIZE);
        assert_int_equal(spool_n_messages(s), 3);
}

static void test_push_front(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;
        CLEANUP(message_unrefp)
        struct message *a = NULL, *b = NULL;

        (void)state;
        assert_int_equal(spool_new(3, 100000, &s), 0);
        push(s, "temp", "1", true);
        push(s, "alarm", "2", false);
        push(s, "temp", "3", true);
        a = spool_pop(s);
        b = spool_pop(s);
        assert_int_equal(push(s, "x", "4", false), 0);
        assert_int_equal(push(s, "y", "5", false), 0);
        /* As after a lost connection: newest of the two first. May exceed the bound. */
        assert_int_equal(spool_push_front(s, b), 0);
        assert_int_equal(spool_push_front(s, a), 0);
        assert_int_equal(spool_n_messages(s), 5);
        /* The next trims: the live value "1" has been superseded by "3", then the oldest go; "3" is what its
         * topic stands at. */
        assert_int_equal(push(s, "z", "6", false), 2);
        expect(s, "3");
        expect(s, "4");
        expect(s, "5");
        expect(s, "6");
}

static void test_newest_live_stays(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;

        (void)state;
        assert_int_equal(spool_new(2, 100000, &s), 0);
        for (unsigned i = 0; i < 10; i++) {
                char topic[2] = { (char)('a' + i), '\0' };

                assert_int_equal(push(s, topic, topic, true), 0);
        }
        push(s, "event", "e1", false);
        push(s, "event", "e2", false);
        assert_int_equal(push(s, "event", "e3", false), 1); /* e1 */
        assert_int_equal(push(s, "a", "new", true), 1);     /* the old a */
        assert_false(spool_take_lost(s));
        for (char topic[] = "b"; topic[0] <= 'j'; topic[0]++)
                expect(s, topic);
        expect(s, "e2");
        expect(s, "e3");
        expect(s, "new");
        assert_null(spool_pop(s));
}

/* Events go before states; a state that goes all the same is told of. */
static void test_bytes_take_states_last(void **state)
{
        CLEANUP(spool_freep)
        struct spool *s = NULL;
        CLEANUP(message_unrefp)
        struct message *m = make("a", "1", true);

        (void)state;
        assert_int_equal(spool_new(100, 3 * spool_message_bytes(m), &s), 0);
        push(s, "a", "1", true);
        push(s, "e", "2", false);
        push(s, "b", "3", true);
        assert_int_equal(push(s, "c", "4", true), 1); /* 2 */
        assert_false(spool_take_lost(s));
        assert_int_equal(push(s, "d", "5", true), 1); /* 1 */
        assert_true(spool_take_lost(s));
        assert_false(spool_take_lost(s));
        expect(s, "3");
        expect(s, "4");
        expect(s, "5");
}

/* Against a plain model: order is kept, counts and bytes are right, what is dropped is what should be. */
static void test_random(void **state)
{
        struct random r = { .state = 7 };
        int newest[40];
        CLEANUP(spool_freep)
        struct spool *s = NULL;
        size_t n_in = 0, n_out = 0, n_lost = 0;
        int last = -1;

        (void)state;
        memset(newest, 0xff, sizeof(newest));
        assert_int_equal(spool_new(50, 100000, &s), 0);
        for (int i = 0; i < 20000; i++) {
                char topic[16], payload[16];
                unsigned t = (unsigned)random_below(&r, 40);
                bool is_live = random_below(&r, 2);

                (void)snprintf(topic, sizeof(topic), "t%u", t);
                (void)snprintf(payload, sizeof(payload), "%d", i);
                n_lost += push(s, topic, payload, is_live);
                newest[t] = is_live ? i : -1;
                n_in++;
                assert_true(spool_n_messages(s) <= 50 + 40);
                while (random_below(&r, 5) < 2) {
                        CLEANUP(message_unrefp)
                        struct message *m = spool_pop(s);

                        if (!m)
                                break;
                        assert_true(atoi(m->payload) > last);
                        last = atoi(m->payload);
                        n_out++;
                        /* The newest live ones before it have all come out. */
                        for (t = 0; t < 40; t++) {
                                assert_true(newest[t] < 0 || newest[t] >= last);
                                newest[t] = newest[t] == last ? -1 : newest[t];
                        }
                }
        }
        assert_int_equal(n_in, n_out + n_lost + spool_n_messages(s));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_full_drops_superseded_first),
                cmocka_unit_test(test_events_of_a_topic_do_not_supersede),
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_push_front),
                cmocka_unit_test(test_newest_live_stays),
                cmocka_unit_test(test_bytes_take_states_last),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
