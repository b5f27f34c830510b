/* SPDX-License-Identifier: MIT */
/* The broker as a whole, in virtual time: what needs time, limits, or a client that does not read. What the
 * specification says of packets is proven by tests/broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "broker_private.h"
#include "broker_rig.h"

#define FEED(rig, client, ...)                                            \
        do {                                                              \
                const uint8_t bytes_[] = { __VA_ARGS__ };                 \
                broker_rig_feed((rig), (client), bytes_, sizeof(bytes_)); \
        } while (0)

#define ASSERT_OUT(rig, client, ...)                                                   \
        do {                                                                           \
                const uint8_t want_[] = { __VA_ARGS__ };                               \
                assert_int_equal((rig)->clients[client].n_out, sizeof(want_));         \
                assert_memory_equal((rig)->clients[client].out, want_, sizeof(want_)); \
                broker_rig_clear((rig), (client));                                     \
        } while (0)

static void rig_start(struct broker_rig *rig, const char *options)
{
        log_set_level(LOG_LEVEL_ERROR);
        broker_rig_init(rig, options);
}

/* A 3.1.1 client of the id `letter`. */
static int client_v4(struct broker_rig *rig, char letter, bool clean, uint8_t keepalive_s)
{
        int c = broker_rig_connect(rig);

        FEED(rig, c, 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, clean ? 2 : 0, 0, keepalive_s, 0, 1,
             (uint8_t)letter);
        assert_int_equal(rig->clients[c].out[0], 0x20);
        broker_rig_clear(rig, c);
        return c;
}

static void subscribe_a(struct broker_rig *rig, int c, uint8_t qos)
{
        FEED(rig, c, 0x82, 0x06, 0, 1, 0, 1, 'a', qos);
        ASSERT_OUT(rig, c, 0x90, 0x03, 0, 1, qos);
}

static void a_message_reaches_who_has_subscribed(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "");
        to = client_v4(&rig, 't', true, 0);
        from = client_v4(&rig, 'f', true, 0);
        subscribe_a(&rig, to, 0);
        FEED(&rig, from, 0x30, 0x05, 0, 1, 'a', 'h', 'i');
        ASSERT_OUT(&rig, to, 0x30, 0x05, 0, 1, 'a', 'h', 'i');
        assert_int_equal(rig.clients[from].n_out, 0);
        broker_rig_done(&rig);
}

static void one_byte_a_read_is_the_same(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = broker_rig_connect(&rig);
        rig.clients[c].piece = 1;
        FEED(&rig, c, 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c', 0x82, 0x06, 0, 1, 0, 1,
             'a', 1, 0x32, 0x07, 0, 1, 'a', 0, 9, 'h', 'i');
        ASSERT_OUT(&rig, c, 0x20, 2, 0, 0, 0x90, 3, 0, 1, 1, 0x40, 2, 0, 9, 0x32, 7, 0, 1, 'a', 0, 1, 'h',
                   'i');
        broker_rig_done(&rig);
}

static void silence_ends_after_one_and_a_half_keepalives(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = client_v4(&rig, 'c', true, 10);
        broker_rig_advance(&rig, 14 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        FEED(&rig, c, 0xC0, 0);
        ASSERT_OUT(&rig, c, 0xD0, 0);
        broker_rig_advance(&rig, 14 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_true(rig.clients[c].is_closed);
        broker_rig_done(&rig);
}

static void who_says_nothing_is_sent_away(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "connect_timeout_s = 3;");
        c = broker_rig_connect(&rig);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_true(rig.clients[c].is_closed);
        broker_rig_done(&rig);
}

static void who_takes_nothing_is_sent_away(void **state)
{
        static uint8_t packet[3 + 3 + 1000];
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "stall_timeout_s = 5; max_queued_messages = 10;");
        to = client_v4(&rig, 't', true, 0);
        from = client_v4(&rig, 'f', true, 0);
        subscribe_a(&rig, to, 0);
        rig.clients[to].is_stuck = true;
        packet[0] = 0x30;
        packet[1] = 0xEB;
        packet[2] = 0x07; /* 1003 */
        packet[4] = 1;
        packet[5] = 'a';
        for (int i = 0; i < 1000; i++)
                broker_rig_feed(&rig, from, packet, sizeof(packet));
        assert_true(rig.broker->stats.n_publish_dropped > 900);
        assert_true(rig.broker->n_queued_bytes < 20000);
        assert_false(rig.clients[to].is_closed);
        broker_rig_advance(&rig, 6 * USEC_PER_SEC);
        broker_rig_advance(&rig, 6 * USEC_PER_SEC);
        assert_true(rig.clients[to].is_closed);
        assert_int_equal(rig.broker->n_queued_bytes, 0);
        broker_rig_done(&rig);
}

static void messages_wait_for_who_is_away(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "");
        to = client_v4(&rig, 't', false, 0);
        from = client_v4(&rig, 'f', true, 0);
        subscribe_a(&rig, to, 1);
        broker_rig_close(&rig, to);
        FEED(&rig, from, 0x32, 0x06, 0, 1, 'a', 0, 7, '1', 0x32, 0x06, 0, 1, 'a', 0, 8, '2');
        ASSERT_OUT(&rig, from, 0x40, 2, 0, 7, 0x40, 2, 0, 8);
        to = broker_rig_connect(&rig);
        FEED(&rig, to, 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 1, 't');
        ASSERT_OUT(&rig, to, 0x20, 2, 1, 0, 0x32, 6, 0, 1, 'a', 0, 1, '1', 0x32, 6, 0, 1, 'a', 0, 2, '2');
        broker_rig_done(&rig);
}

static void a_session_ends_at_its_expiry(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "max_session_expiry_s = 60;");
        c = client_v4(&rig, 'c', false, 0);
        subscribe_a(&rig, c, 1);
        broker_rig_close(&rig, c);
        broker_rig_advance(&rig, 59 * USEC_PER_SEC);
        assert_int_equal(rig.broker->n_away, 1);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_int_equal(rig.broker->n_away, 0);
        assert_int_equal(subscriptions_total(rig.broker->subscriptions), 0);
        broker_rig_done(&rig);
}

/* A 5.0 client with a will on "a", which is due so long after it has gone. */
static int client_with_will(struct broker_rig *rig, uint8_t delay_s, uint8_t expiry_s)
{
        int c = broker_rig_connect(rig);

        FEED(rig, c, 0x10, 31, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 0, 5, 0x11, 0, 0, 0, expiry_s, 0, 1, 'w',
             5, 0x18, 0, 0, 0, delay_s, 0, 1, 'a', 0, 1, '!');
        assert_int_equal(rig->clients[c].out[0], 0x20);
        broker_rig_clear(rig, c);
        return c;
}

static void a_will_is_neither_early_nor_late(void **state)
{
        struct broker_rig rig;
        int to, c;

        (void)state;
        rig_start(&rig, "");
        to = client_v4(&rig, 't', true, 0);
        subscribe_a(&rig, to, 0);
        c = client_with_will(&rig, 3, 60);
        broker_rig_close(&rig, c);
        broker_rig_advance(&rig, 3 * USEC_PER_SEC - 1);
        assert_int_equal(rig.clients[to].n_out, 0);
        broker_rig_advance(&rig, 20 * USEC_PER_MSEC);
        ASSERT_OUT(&rig, to, 0x30, 4, 0, 1, 'a', '!');
        c = client_with_will(&rig, 60, 2); /* the end of the session comes first */
        broker_rig_close(&rig, c);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC + 20 * USEC_PER_MSEC);
        ASSERT_OUT(&rig, to, 0x30, 4, 0, 1, 'a', '!');
        c = client_with_will(&rig, 0, 0);
        FEED(&rig, c, 0xE0, 0); /* goodbye: no will */
        broker_rig_advance(&rig, 10 * USEC_PER_SEC);
        assert_int_equal(rig.clients[to].n_out, 0);
        broker_rig_done(&rig);
}

static void a_second_client_of_an_id_takes_over(void **state)
{
        struct broker_rig rig;
        int a, b;

        (void)state;
        rig_start(&rig, "");
        a = client_v4(&rig, 'c', false, 0);
        b = client_v4(&rig, 'c', false, 0);
        assert_true(rig.clients[a].is_closed);
        assert_false(rig.clients[b].is_closed);
        assert_int_equal(rig.broker->n_clients, 1);
        broker_rig_done(&rig);
}

static void many_retained_messages_come_in_turns(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "max_queued_messages = 10;");
        from = client_v4(&rig, 'f', true, 0);
        for (unsigned i = 0; i < 2000; i++)
                FEED(&rig, from, 0x31, 0x07, 0, 4, 'r', '/', (uint8_t)('0' + i / 60), (uint8_t)('A' + i % 60),
                     'x');
        to = client_v4(&rig, 't', true, 0);
        FEED(&rig, to, 0x82, 0x06, 0, 1, 0, 1, '#', 0);
        broker_rig_advance(&rig, USEC_PER_SEC);
        assert_int_equal(rig.clients[to].n_out, 5 + 2000 * 9);
        broker_rig_done(&rig);
}

static void a_repeated_value_is_not_sent_again(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "on_change = true;");
        to = client_v4(&rig, 't', true, 0);
        from = client_v4(&rig, 'f', true, 0);
        subscribe_a(&rig, to, 0);
        FEED(&rig, from, 0x30, 4, 0, 1, 'a', '1', 0x30, 4, 0, 1, 'a', '1', 0x30, 4, 0, 1, 'a', '2');
        ASSERT_OUT(&rig, to, 0x30, 4, 0, 1, 'a', '1', 0x30, 4, 0, 1, 'a', '2');
        broker_rig_done(&rig);
}

static void what_is_remembered_comes_with_a_subscription(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "remember = true;");
        from = client_v4(&rig, 'f', true, 0);
        FEED(&rig, from, 0x30, 4, 0, 1, 'a', '1');
        to = client_v4(&rig, 't', true, 0);
        FEED(&rig, to, 0x82, 0x06, 0, 1, 0, 1, 'a', 0);
        broker_rig_advance(&rig, USEC_PER_SEC);
        ASSERT_OUT(&rig, to, 0x90, 3, 0, 1, 0, 0x31, 4, 0, 1, 'a', '1');
        broker_rig_done(&rig);
}

static void known_topics_are_pushed_at_a_pace(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig,
                  "publish_on_connect = [\"a\", \"b/#\"]; publish_delay_ms = 1000; publish_pause_ms = 100;");
        from = client_v4(&rig, 'f', true, 0);
        FEED(&rig, from, 0x30, 4, 0, 1, 'a', '1', 0x30, 6, 0, 3, 'b', '/', '1', '2', 0x30, 6, 0, 3, 'b', '/',
             '2', '3');
        to = client_v4(&rig, 't', true, 0);
        broker_rig_advance(&rig, 990 * USEC_PER_MSEC);
        assert_int_equal(rig.clients[to].n_out, 0);
        broker_rig_advance(&rig, 60 * USEC_PER_MSEC);
        assert_true(rig.clients[to].n_out <= 6 + 8);
        broker_rig_advance(&rig, USEC_PER_SEC);
        assert_int_equal(rig.clients[to].n_out, 6 + 8 + 8);
        broker_rig_done(&rig);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_message_reaches_who_has_subscribed),
                cmocka_unit_test(one_byte_a_read_is_the_same),
                cmocka_unit_test(silence_ends_after_one_and_a_half_keepalives),
                cmocka_unit_test(who_says_nothing_is_sent_away),
                cmocka_unit_test(who_takes_nothing_is_sent_away),
                cmocka_unit_test(messages_wait_for_who_is_away),
                cmocka_unit_test(a_session_ends_at_its_expiry),
                cmocka_unit_test(a_will_is_neither_early_nor_late),
                cmocka_unit_test(a_second_client_of_an_id_takes_over),
                cmocka_unit_test(many_retained_messages_come_in_turns),
                cmocka_unit_test(a_repeated_value_is_not_sent_again),
                cmocka_unit_test(what_is_remembered_comes_with_a_subscription),
                cmocka_unit_test(known_topics_are_pushed_at_a_pace),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
