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

/* Bytes that a client goes on to send as they are read. */
static void offer(struct broker_rig *rig, int c, const uint8_t *bytes, size_t n)
{
        rig->clients[c].in = bytes;
        rig->clients[c].n_in = n;
        broker_rig_turn(rig);
}

/* Nor is it read any more, and so its keepalive says nothing; none of the answers is lost. */
static void answers_to_who_takes_none_are_bounded(void **state)
{
        static uint8_t pings[600 * 1024];
        struct broker_rig rig;
        size_t n_answers = 0;
        int c;

        (void)state;
        for (size_t i = 0; i < sizeof(pings); i += 2)
                pings[i] = 0xC0;
        rig_start(&rig, "stall_timeout_s = 60;");
        c = client_v4(&rig, 'c', true, 10);
        rig.clients[c].is_stuck = true;
        offer(&rig, c, pings, sizeof(pings));
        assert_true(rig.clients[c].n_in >= sizeof(pings) - 4 * BROKER_READ_BYTES);
        assert_true(rig.broker->connections->output.n_bytes <= 3 * CONNECTION_HIGH_BYTES);
        broker_rig_advance(&rig, 50 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        rig.clients[c].is_stuck = false;
        for (unsigned i = 0; i < 100 && n_answers < sizeof(pings); i++) {
                n_answers += rig.clients[c].n_out;
                broker_rig_clear(&rig, c);
                broker_rig_turn(&rig);
        }
        assert_int_equal(n_answers, sizeof(pings));
        broker_rig_advance(&rig, 14 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_true(rig.clients[c].is_closed);
        broker_rig_done(&rig);
}

/* Messages that wait for it keep nobody from publishing: only answers do. */
static void who_is_slow_to_read_may_still_publish(void **state)
{
        static uint8_t packet[4 + 3 + 120000] = { 0x30, 0xC3, 0xA9, 0x07, 0, 1, 'a' };
        struct broker_rig rig;
        int c, to;

        (void)state;
        rig_start(&rig, "");
        c = client_v4(&rig, 'c', true, 0);
        to = client_v4(&rig, 't', true, 0);
        FEED(&rig, c, 0x82, 0x06, 0, 1, 0, 1, 'a', 0);
        broker_rig_clear(&rig, c);
        rig.clients[c].is_stuck = true;
        broker_rig_feed(&rig, to, packet, sizeof(packet));
        FEED(&rig, to, 0x82, 0x06, 0, 1, 0, 1, 'b', 0);
        broker_rig_clear(&rig, to);
        FEED(&rig, c, 0x30, 0x04, 0, 1, 'b', '1');
        ASSERT_OUT(&rig, to, 0x30, 0x04, 0, 1, 'b', '1');
        broker_rig_done(&rig);
}

/* ---- unfinished packets ---- */

static void a_packet_that_does_not_go_on_ends_it(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "packet_timeout_s = 30;");
        c = client_v4(&rig, 'c', true, 0);
        FEED(&rig, c, 0x30, 0x05, 0, 1);
        broker_rig_advance(&rig, 29 * USEC_PER_SEC);
        FEED(&rig, c, 'a');
        broker_rig_advance(&rig, 29 * USEC_PER_SEC);
        FEED(&rig, c, 'h', 'i');
        broker_rig_advance(&rig, 100 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        FEED(&rig, c, 0x30);
        broker_rig_advance(&rig, 29 * USEC_PER_SEC);
        assert_false(rig.clients[c].is_closed);
        broker_rig_advance(&rig, 2 * USEC_PER_SEC);
        assert_true(rig.clients[c].is_closed);
        broker_rig_done(&rig);
}

static void a_packets_memory_grows_no_further_than_announced(void **state)
{
        static uint8_t bytes[60000] = { 0x30, 0xF0, 0xA2, 0x04, 0, 1, 'a' }; /* 4 + 70000 */
        struct connection *connection;
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = client_v4(&rig, 'c', true, 0);
        connection = rig.broker->connections;
        broker_rig_feed(&rig, c, bytes, 10000);
        assert_int_equal(rig.broker->n_input_bytes, 10000);
        broker_rig_feed(&rig, c, bytes + 10000, 50000);
        assert_int_equal(connection->size_input, 4 + 70000);
        broker_rig_feed(&rig, c, bytes + 10, 14004);
        assert_int_equal(rig.broker->n_input_bytes, 0);
        assert_int_equal(rig.broker->stats.n_publish_in, 1);
        broker_rig_done(&rig);
}

/* Who has held the most for the longest pays, not who comes last. */
static void unfinished_packets_of_others_starve_nobody(void **state)
{
        static uint8_t bytes[65000] = { 0x30, 0xE4, 0xFB, 0x03, 0, 1, 'a' }; /* 4 + 64996 */
        struct broker_rig rig;
        int hogs[3], c;

        (void)state;
        rig_start(&rig,
                  "max_queued_bytes = 65536; max_queued_bytes_total = 65536; max_packet_bytes = 65536;");
        for (unsigned i = 0; i < 3; i++) {
                hogs[i] = client_v4(&rig, (char)('0' + i), true, 0);
                broker_rig_feed(&rig, hogs[i], bytes, i == 2 ? 1000 : 60000);
                broker_rig_advance(&rig, USEC_PER_SEC);
        }
        c = client_v4(&rig, 'c', true, 0);
        broker_rig_feed(&rig, c, bytes, 20000);
        assert_true(rig.clients[hogs[0]].is_shut);
        assert_false(rig.clients[hogs[1]].is_shut);
        broker_rig_feed(&rig, c, bytes + 20000, sizeof(bytes) - 20000);
        assert_int_equal(rig.broker->stats.n_publish_in, 1);
        assert_false(rig.clients[hogs[1]].is_shut);
        assert_false(rig.clients[hogs[2]].is_shut);
        assert_false(rig.clients[c].is_shut);
        broker_rig_done(&rig);
}

/* ---- CONNECT ---- */

/* A 3.1.1 client whose id, and the topic and payload of whose will, are as long as they can be. */
static void the_longest_connect_is_taken(void **state)
{
        enum { N = 65535, BODY = 10 + 3 * (2 + N) };
        static uint8_t packet[4 + BODY] = { 0x10, 0x8D, 0x80, 0x0C, 0, 4, 'M', 'Q', 'T', 'T', 4, 6, 0, 0 };
        struct broker_rig rig;
        int c;

        (void)state;
        for (unsigned i = 0; i < 3; i++) {
                uint8_t *at = packet + 4 + 10 + (size_t)i * (2 + N);

                memset(at, 'x', 2 + N);
                at[0] = at[1] = 0xFF;
        }
        rig_start(&rig, "");
        c = broker_rig_connect(&rig);
        broker_rig_feed(&rig, c, packet, sizeof(packet));
        ASSERT_OUT(&rig, c, 0x20, 2, 0, 0);
        broker_rig_done(&rig);
}

static void a_connect_that_is_too_large_is_told_so(void **state)
{
        static const uint8_t head[] = { 0x10, 0x80, 0x80, 0x40, 0, 4, 'M', 'Q', 'T', 'T', 5 };
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = broker_rig_connect(&rig);
        for (size_t i = 0; i < sizeof(head); i++) {
                assert_false(rig.clients[c].is_shut);
                broker_rig_feed(&rig, c, head + i, 1);
        }
        ASSERT_OUT(&rig, c, 0x20, 3, 0, 0x95, 0);
        assert_true(rig.clients[c].is_shut);
        c = broker_rig_connect(&rig);
        FEED(&rig, c, 0x10, 0x80, 0x80, 0x40, 0, 4, 'M', 'Q', 'T', 'T', 4);
        assert_int_equal(rig.clients[c].n_out, 0);
        assert_true(rig.clients[c].is_shut);
        broker_rig_done(&rig);
}

/* It need not be waited for. */
static void what_does_not_begin_with_connect_ends_at_its_first_byte(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = broker_rig_connect(&rig);
        FEED(&rig, c, 0x30);
        assert_true(rig.clients[c].is_shut);
        broker_rig_done(&rig);
}

/* ---- texts ---- */

#define LONG_BYTES 3000

/* A packet whose body is `n_head` bytes, then a text of LONG_BYTES of `letter`, then `n_tail` bytes. */
static void feed_long(struct broker_rig *rig, int c, uint8_t first, const void *head, size_t n_head,
                      char letter, const void *tail, size_t n_tail)
{
        uint8_t packet[3 + LONG_BYTES + 100], *at = packet + 3;
        size_t n = n_head + 2 + LONG_BYTES + n_tail;

        packet[0] = first;
        packet[1] = (uint8_t)(n | 0x80);
        packet[2] = (uint8_t)(n >> 7);
        memcpy(at, head, n_head);
        at += n_head;
        *at++ = LONG_BYTES >> 8;
        *at++ = LONG_BYTES & 0xFF;
        memset(at, letter, LONG_BYTES);
        memcpy(at + LONG_BYTES, tail, n_tail);
        broker_rig_feed(rig, c, packet, 3 + n);
}

static void subscribe_long(struct broker_rig *rig, int c, char letter, uint8_t code)
{
        feed_long(rig, c, 0x82, "\0\1\0", 3, letter, "\0", 1);
        ASSERT_OUT(rig, c, 0x90, 4, 0, 1, 0, code);
}

static void publish_alias(struct broker_rig *rig, int c, char letter, uint8_t alias)
{
        feed_long(rig, c, 0x30, "", 0, letter, (const uint8_t[]){ 3, 0x23, 0, alias, 'x' }, 5);
}

static int client_v5(struct broker_rig *rig, char letter, bool clean)
{
        int c = broker_rig_connect(rig);

        FEED(rig, c, 0x10, 0x13, 0, 4, 'M', 'Q', 'T', 'T', 5, clean ? 2 : 0, 0, 0, 5, 0x11, 0, 0, 0, 60, 0, 1,
             (uint8_t)letter);
        assert_int_equal(rig->clients[c].out[0], 0x20);
        broker_rig_clear(rig, c);
        return c;
}

/* Filters and aliases of one client are charged together, and given back when they go. */
static void the_texts_of_a_client_are_bounded(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "max_client_bytes = 10000;");
        c = client_v5(&rig, 'c', true);
        for (char letter = 'a'; letter < 'd'; letter++)
                subscribe_long(&rig, c, letter, 0);
        subscribe_long(&rig, c, 'a', 0); /* once more is none more */
        subscribe_long(&rig, c, 'd', 0x97);
        feed_long(&rig, c, 0xA2, "\0\2\0", 3, 'a', "", 0);
        ASSERT_OUT(&rig, c, 0xB0, 4, 0, 2, 0, 0);
        publish_alias(&rig, c, 'x', 1);
        publish_alias(&rig, c, 'y', 1);
        subscribe_long(&rig, c, 'd', 0x97);
        assert_false(rig.clients[c].is_shut);
        assert_int_equal(rig.broker->n_text_bytes, 1 + 3 * LONG_BYTES);
        publish_alias(&rig, c, 'x', 2);
        ASSERT_OUT(&rig, c, 0xE0, 1, 0x97);
        assert_int_equal(rig.broker->n_text_bytes, 1 + 2 * LONG_BYTES); /* its session lives on */
        c = client_v5(&rig, 'c', false);
        subscribe_long(&rig, c, 'd', 0);
        c = client_v5(&rig, 'c', true);
        assert_int_equal(rig.broker->n_text_bytes, 1);
        broker_rig_done(&rig);
}

/* A will that is too much: refused before anything is done for it, or to the session of its id. */
static void a_will_is_charged(void **state)
{
        static const uint8_t head[] = { 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 0, 0, 0, 1, 'c', 0, 0, 1, 'w' };
        struct broker_rig rig;
        int old, c;

        (void)state;
        rig_start(&rig, "max_client_bytes = 3002;");
        c = broker_rig_connect(&rig);
        feed_long(&rig, c, 0x10, head, sizeof(head), 'w', "", 0);
        assert_int_equal(rig.clients[c].out[3], 0);
        assert_int_equal(rig.broker->n_text_bytes, 1 + 1 + LONG_BYTES);
        FEED(&rig, c, 0xE0, 0);
        assert_int_equal(rig.broker->n_text_bytes, 0);
        broker_rig_reload(&rig, "max_client_bytes = 3001;");
        old = client_v5(&rig, 'c', true);
        c = broker_rig_connect(&rig);
        feed_long(&rig, c, 0x10, head, sizeof(head), 'w', "", 0);
        ASSERT_OUT(&rig, c, 0x20, 3, 0, 0x97, 0);
        assert_false(rig.clients[old].is_shut);
        broker_rig_done(&rig);
}

/* Together they have so much, but who has little gets it in any case. */
static void the_texts_of_all_are_bounded(void **state)
{
        struct broker_rig rig;
        unsigned n_granted = 0;
        int c;

        (void)state;
        rig_start(&rig, "max_client_bytes = 40000; max_client_bytes_total = 65536;");
        for (char client = 'A'; client < 'D'; client++) {
                c = client_v5(&rig, client, true);
                for (char letter = 'a'; letter < 'l'; letter++) {
                        feed_long(&rig, c, 0x82, "\0\1\0", 3, letter, "\0", 1);
                        n_granted += rig.clients[c].out[5] == 0;
                        broker_rig_clear(&rig, c);
                }
        }
        assert_int_equal(n_granted, 65536 / LONG_BYTES + 1); /* the one of the last client */
        c = client_v5(&rig, 'z', true);
        subscribe_long(&rig, c, 'a', 0);
        subscribe_long(&rig, c, 'b', 0x97);
        subscribe_long(&rig, c, 'a', 0);
        broker_rig_done(&rig);
}

/* Repeated subscriptions of who does not read leave walks behind; they are texts, too. */
static void walks_are_charged(void **state)
{
        struct broker_rig rig;
        int from, c;

        (void)state;
        rig_start(&rig, "max_client_bytes = 10000; publish_pause_ms = 1000; remember = true;");
        from = client_v5(&rig, 'f', true);
        feed_long(&rig, from, 0x31, "", 0, 'a', "\0x", 2);
        c = client_v5(&rig, 'c', true);
        rig.clients[c].is_stuck = true;
        for (unsigned i = 0; i < 50; i++)
                feed_long(&rig, c, 0x82, "\0\1\0", 3, 'a', "\0", 1);
        assert_true(rig.broker->n_text_bytes <= 10000 + 1);
        broker_rig_close(&rig, c);
        broker_rig_done(&rig);
}

/* An alias of a topic that is refused anyhow costs nothing, and what is sent by it is refused, too. */
static void an_alias_of_a_bad_topic_keeps_nothing(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "max_topic_bytes = 100; max_topic_levels = 2;");
        c = client_v5(&rig, 'c', true);
        publish_alias(&rig, c, 'x', 1);
        FEED(&rig, c, 0x30, 12, 0, 5, 'a', '/', 'b', '/', 'c', 3, 0x23, 0, 2, 'x');
        assert_int_equal(rig.broker->n_text_bytes, 1);
        FEED(&rig, c, 0x32, 9, 0, 0, 0, 7, 3, 0x23, 0, 1, 'x', 0x34, 9, 0, 0, 0, 8, 3, 0x23, 0, 2, 'x');
        ASSERT_OUT(&rig, c, 0x40, 3, 0, 7, 0x90, 0x50, 3, 0, 8, 0x90);
        FEED(&rig, c, 0x32, 10, 0, 1, 'a', 0, 9, 3, 0x23, 0, 1, 'x', 0x32, 9, 0, 0, 0, 10, 3, 0x23, 0, 1,
             'x');
        ASSERT_OUT(&rig, c, 0x40, 3, 0, 9, 0x10, 0x40, 3, 0, 10, 0x10);
        broker_rig_done(&rig);
}

/* ---- QoS 2 ---- */

/* 3.1.1 knows no receive maximum: as many messages as there are ids may be under way. */
static void clients_of_3_1_1_may_leave_all_ids_unreleased(void **state)
{
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "");
        c = client_v4(&rig, 'c', true, 0);
        for (unsigned id = 1; id <= UINT16_MAX; id++) {
                FEED(&rig, c, 0x34, 5, 0, 1, 'a', (uint8_t)(id >> 8), (uint8_t)id);
                ASSERT_OUT(&rig, c, 0x50, 2, (uint8_t)(id >> 8), (uint8_t)id);
        }
        FEED(&rig, c, 0x62, 2, 0xFF, 0xFF);
        ASSERT_OUT(&rig, c, 0x70, 2, 0xFF, 0xFF);
        broker_rig_done(&rig);
}

/* ---- a reload ---- */

/* What a client was told in CONNACK holds as long as its connection. */
static void a_reload_takes_nothing_back(void **state)
{
        static uint8_t large[3 + 1000] = { 0x30, 0xE8, 0x07, 0, 1, 'a' };
        struct broker_rig rig;
        int c;

        (void)state;
        rig_start(&rig, "max_inflight = 3; max_topic_alias = 2; max_packet_bytes = 2000;");
        c = broker_rig_connect(&rig);
        FEED(&rig, c, 0x10, 0x0E, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
        broker_rig_clear(&rig, c);
        broker_rig_reload(&rig, "max_inflight = 1; max_topic_alias = 0; max_packet_bytes = 256; "
                                "max_retained_messages = 0;");
        FEED(&rig, c, 0x34, 9, 0, 1, 'a', 0, 1, 3, 0x23, 0, 2, 0x34, 8, 0, 0, 0, 2, 3, 0x23, 0, 2);
        ASSERT_OUT(&rig, c, 0x50, 3, 0, 1, 0x10, 0x50, 3, 0, 2, 0x10);
        broker_rig_feed(&rig, c, large, sizeof(large));
        FEED(&rig, c, 0x35, 8, 0, 1, 'a', 0, 3, 0, 'x', 'y');
        ASSERT_OUT(&rig, c, 0x50, 3, 0, 3, 0x10);
        assert_false(rig.clients[c].is_shut);
        FEED(&rig, c, 0x34, 8, 0, 1, 'a', 0, 4, 0, 'x', 'y');
        ASSERT_OUT(&rig, c, 0xE0, 1, 0x93);
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

/* What is retained and not known: our own words, and what an empty payload has put out. */
static void what_is_retained_comes_beside_what_is_remembered(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "remember = true;");
        from = client_v4(&rig, 'f', true, 0);
        FEED(&rig, from, 0x31, 4, 0, 1, 'a', 'k', 0x30, 3, 0, 1, 'a');
        FEED(&rig, from, 0x31, 4, 0, 1, 'b', '1', 0x30, 4, 0, 1, 'b', '2');
        to = client_v4(&rig, 't', true, 0);
        FEED(&rig, to, 0x82, 6, 0, 1, 0, 1, 'a', 0);
        ASSERT_OUT(&rig, to, 0x90, 3, 0, 1, 0, 0x31, 4, 0, 1, 'a', 'k');
        FEED(&rig, to, 0x82, 6, 0, 1, 0, 1, 'b', 0);
        ASSERT_OUT(&rig, to, 0x90, 3, 0, 1, 0, 0x31, 4, 0, 1, 'b', '2'); /* known: the newer one, and once */
        FEED(&rig, to, 0x82, 24, 0, 1, 0, 19, '$', 'S', 'Y', 'S', '/', 'b', 'r', 'o', 'k', 'e', 'r', '/', 'v',
             'e', 'r', 's', 'i', 'o', 'n', 0);
        assert_true(rig.clients[to].n_out > 5 + 25);
        assert_int_equal(rig.clients[to].out[5], 0x31);
        broker_rig_done(&rig);
}

static void a_subscription_does_not_wait_for_what_is_pushed(void **state)
{
        struct broker_rig rig;
        int from, to;

        (void)state;
        rig_start(&rig, "publish_on_connect = [\"#\"]; publish_delay_ms = 1000;");
        from = client_v4(&rig, 'f', true, 0);
        FEED(&rig, from, 0x31, 4, 0, 1, 'a', '1', 0x30, 4, 0, 1, 'b', '2');
        to = client_v4(&rig, 't', true, 0);
        FEED(&rig, to, 0x82, 6, 0, 1, 0, 1, 'a', 0);
        ASSERT_OUT(&rig, to, 0x90, 3, 0, 1, 0, 0x31, 4, 0, 1, 'a', '1');
        broker_rig_advance(&rig, 1010 * USEC_PER_MSEC);
        broker_rig_advance(&rig, USEC_PER_SEC);
        ASSERT_OUT(&rig, to, 0x30, 4, 0, 1, 'b', '2', 0x31, 4, 0, 1, 'a', '1'); /* "b" is not retained */
        broker_rig_done(&rig);
}

/* Acknowledges all that has come, and marks it: "r/XY". How many were new. */
static unsigned take_and_acknowledge(struct broker_rig *rig, int c, bool seen[3600])
{
        struct rig_client *client = &rig->clients[c];
        uint8_t acks[4 * 4096];
        size_t n_acks = 0;
        unsigned n_new = 0;

        for (size_t at = 0; at + 2 <= client->n_out; at += 2u + client->out[at + 1]) {
                const uint8_t *p = client->out + at;
                unsigned i;

                if (p[0] >> 4 != 3)
                        continue;
                i = (p[6] - '0') * 60u + p[7] - 'A';
                assert_true(i < 3600);
                n_new += !seen[i];
                seen[i] = true;
                memcpy(acks + n_acks, (const uint8_t[]){ 0x40, 2, p[8], p[9] }, 4);
                n_acks += 4;
        }
        broker_rig_clear(rig, c);
        if (n_acks > 0)
                broker_rig_feed(rig, c, acks, n_acks);
        return n_new;
}

/* MQTT 5.0 §4.1: what the session has still to get outlives the connection. */
static void a_break_loses_no_retained_message(void **state)
{
        static bool seen[3600];
        struct broker_rig rig;
        unsigned n = 0, n_more;
        int from, to;

        (void)state;
        rig_start(&rig, "");
        from = client_v4(&rig, 'f', true, 0);
        for (unsigned i = 0; i < 3000; i++)
                FEED(&rig, from, 0x33, 0x09, 0, 4, 'r', '/', (uint8_t)('0' + i / 60), (uint8_t)('A' + i % 60),
                     0, 1, 'x');
        to = client_v4(&rig, 't', false, 0);
        FEED(&rig, to, 0x82, 0x08, 0, 1, 0, 3, 'r', '/', '#', 1);
        n += take_and_acknowledge(&rig, to, seen);
        assert_in_range(n, 1, 1000);
        broker_rig_close(&rig, to);
        to = broker_rig_connect(&rig);
        FEED(&rig, to, 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 1, 't');
        while ((n_more = take_and_acknowledge(&rig, to, seen)) > 0)
                n += n_more;
        for (unsigned i = 0; i < 3000; i++)
                assert_true(seen[i]);
        assert_int_equal(session_find(rig.broker, "t")->n_walks, 0);
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
                cmocka_unit_test(answers_to_who_takes_none_are_bounded),
                cmocka_unit_test(who_is_slow_to_read_may_still_publish),
                cmocka_unit_test(a_packet_that_does_not_go_on_ends_it),
                cmocka_unit_test(a_packets_memory_grows_no_further_than_announced),
                cmocka_unit_test(unfinished_packets_of_others_starve_nobody),
                cmocka_unit_test(the_longest_connect_is_taken),
                cmocka_unit_test(a_connect_that_is_too_large_is_told_so),
                cmocka_unit_test(what_does_not_begin_with_connect_ends_at_its_first_byte),
                cmocka_unit_test(the_texts_of_a_client_are_bounded),
                cmocka_unit_test(a_will_is_charged),
                cmocka_unit_test(the_texts_of_all_are_bounded),
                cmocka_unit_test(walks_are_charged),
                cmocka_unit_test(an_alias_of_a_bad_topic_keeps_nothing),
                cmocka_unit_test(clients_of_3_1_1_may_leave_all_ids_unreleased),
                cmocka_unit_test(a_reload_takes_nothing_back),
                cmocka_unit_test(messages_wait_for_who_is_away),
                cmocka_unit_test(a_session_ends_at_its_expiry),
                cmocka_unit_test(a_will_is_neither_early_nor_late),
                cmocka_unit_test(a_second_client_of_an_id_takes_over),
                cmocka_unit_test(many_retained_messages_come_in_turns),
                cmocka_unit_test(a_repeated_value_is_not_sent_again),
                cmocka_unit_test(what_is_remembered_comes_with_a_subscription),
                cmocka_unit_test(known_topics_are_pushed_at_a_pace),
                cmocka_unit_test(what_is_retained_comes_beside_what_is_remembered),
                cmocka_unit_test(a_subscription_does_not_wait_for_what_is_pushed),
                cmocka_unit_test(a_break_loses_no_retained_message),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
