/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"
#include "queue.h"

static struct queue *make(unsigned max_inflight, size_t max_messages, size_t max_bytes)
{
        struct queue_limits limits = { .max_inflight = max_inflight,
                                       .max_unreleased = 3,
                                       .max_messages = max_messages,
                                       .max_bytes = max_bytes };
        struct queue *q;

        assert_int_equal(queue_new(&limits, &q), 0);
        return q;
}

static int push_at(struct queue *q, uint8_t qos, const char *payload, uint64_t now_us, uint32_t expiry_s)
{
        struct message_init init = { .topic = "t",
                                     .payload = payload,
                                     .payload_bytes = strlen(payload),
                                     .made_us = now_us,
                                     .expiry_s = expiry_s };
        struct queue_message m = { .qos = qos };
        int r;

        assert_int_equal(message_new(&init, &m.message), 0);
        r = queue_push(q, &m, now_us);
        (void)message_unref(m.message);
        return r;
}

static void push(struct queue *q, uint8_t qos, const char *payload)
{
        assert_int_equal(push_at(q, qos, payload, 0, 0), 0);
}

static void expect_publish(struct queue *q, const char *payload, uint8_t qos, uint16_t packet_id, bool dup)
{
        struct queue_next next;

        queue_next(q, 0, &next);
        assert_int_equal(next.send, QUEUE_PUBLISH);
        assert_string_equal(next.out.message->payload, payload);
        assert_int_equal(next.out.qos, qos);
        assert_int_equal(next.packet_id, packet_id);
        assert_int_equal(next.dup, dup);
}

static void expect_pubrel(struct queue *q, uint16_t packet_id)
{
        struct queue_next next;

        queue_next(q, 0, &next);
        assert_int_equal(next.send, QUEUE_PUBREL);
        assert_int_equal(next.packet_id, packet_id);
}

static void expect_nothing(struct queue *q)
{
        struct queue_next next;

        queue_next(q, 0, &next);
        assert_int_equal(next.send, QUEUE_NOTHING);
}

static void test_each_qos(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);

        (void)state;
        push(q, 1, "a");
        push(q, 0, "b");
        push(q, 2, "c");
        expect_publish(q, "a", 1, 1, false);
        expect_publish(q, "b", 0, 0, false);
        expect_publish(q, "c", 2, 2, false);
        expect_nothing(q);
        assert_int_equal(queue_n_waiting(q), 0);
        assert_int_equal(queue_n_inflight(q), 2);
        assert_int_equal(queue_puback(q, 2), QUEUE_WRONG); /* that is QoS 2 */
        assert_int_equal(queue_pubrec(q, 1, 0), QUEUE_WRONG);
        assert_int_equal(queue_pubcomp(q, 2), QUEUE_WRONG); /* too early */
        assert_int_equal(queue_puback(q, 1), 0);
        assert_int_equal(queue_puback(q, 1), QUEUE_UNKNOWN);
        assert_int_equal(queue_pubrec(q, 2, 0), 0);
        assert_int_equal(queue_pubrec(q, 2, 0), 0);
        assert_int_equal(queue_pubcomp(q, 2), 0);
        assert_int_equal(queue_pubcomp(q, 2), QUEUE_UNKNOWN);
        assert_int_equal(queue_puback(q, 0), QUEUE_UNKNOWN);
        assert_int_equal(queue_n_inflight(q), 0);
        assert_int_equal(queue_n_bytes(q), 0);
        push(q, 1, "d");
        expect_publish(q, "d", 1, 3, false);
}

static void test_refused_pubrec_and_skip(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(1, 100, 100000);

        (void)state;
        for (unsigned i = 0; i < 3; i++)
                push(q, 2, "x");
        push(q, 0, "y");
        expect_publish(q, "x", 2, 1, false);
        assert_int_equal(queue_pubrec(q, 1, 0x97), 0);
        expect_publish(q, "x", 2, 2, false);
        queue_skip(q); /* too large for the client */
        expect_publish(q, "x", 2, 3, false);
        expect_publish(q, "y", 0, 0, false);
        queue_skip(q);
        expect_nothing(q);
        assert_int_equal(queue_n_inflight(q), 1);
        assert_int_equal(queue_n_waiting(q), 0);
}

static void test_receive_maximum(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);

        (void)state;
        queue_connect(q, 2);
        for (unsigned i = 0; i < 4; i++)
                push(q, i % 2 ? 2 : 1, "x");
        push(q, 0, "zero");
        expect_publish(q, "x", 1, 1, false);
        expect_publish(q, "x", 2, 2, false);
        expect_publish(q, "zero", 0, 0, false); /* passes */
        expect_nothing(q);
        assert_int_equal(queue_pubrec(q, 2, 0), 0);
        expect_nothing(q); /* still on its way: §4.9 */
        assert_int_equal(queue_pubcomp(q, 2), 0);
        expect_publish(q, "x", 1, 3, false);
        expect_nothing(q);
        assert_int_equal(queue_puback(q, 1), 0);
        assert_int_equal(queue_puback(q, 3), 0);
        expect_publish(q, "x", 2, 4, false);
        expect_nothing(q);
}

static void test_reconnection(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);

        (void)state;
        queue_connect(q, 10);
        push(q, 2, "a");
        push(q, 1, "b");
        push(q, 2, "c");
        push(q, 1, "d");
        expect_publish(q, "a", 2, 1, false);
        expect_publish(q, "b", 1, 2, false);
        expect_publish(q, "c", 2, 3, false);
        assert_int_equal(queue_pubrec(q, 1, 0), 0);
        queue_connect(q, 1); /* the new connection takes less */
        push(q, 0, "zero");
        expect_pubrel(q, 1);
        expect_publish(q, "b", 1, 2, true);
        expect_publish(q, "zero", 0, 0, false);
        expect_nothing(q);
        assert_int_equal(queue_pubcomp(q, 1), 0); /* not of this connection's quota */
        expect_nothing(q);
        assert_int_equal(queue_puback(q, 2), 0);
        expect_publish(q, "c", 2, 3, true);
        expect_nothing(q);
        queue_connect(q, 5);
        assert_int_equal(queue_pubrec(q, 3, 0), 0); /* before it was sent again */
        expect_pubrel(q, 3);
        expect_publish(q, "d", 1, 4, false);
        assert_int_equal(queue_pubcomp(q, 3), 0);
        assert_int_equal(queue_puback(q, 4), 0);
        expect_nothing(q);
        assert_int_equal(queue_n_bytes(q), 0);
}

static void test_from_the_client(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);

        (void)state;
        assert_int_equal(queue_receive(q, 7), 0);
        assert_int_equal(queue_receive(q, 7), QUEUE_AGAIN);
        assert_int_equal(queue_receive(q, 65535), 0);
        assert_int_equal(queue_receive(q, 1), 0);
        assert_int_equal(queue_receive(q, 2), QUEUE_EXCEEDED);
        assert_int_equal(queue_receive(q, 1), QUEUE_AGAIN);
        assert_int_equal(queue_release(q, 3), QUEUE_UNKNOWN);
        assert_int_equal(queue_release(q, 7), 0);
        assert_int_equal(queue_release(q, 7), QUEUE_UNKNOWN);
        queue_connect(q, 10);
        assert_int_equal(queue_receive(q, 1), QUEUE_AGAIN); /* outlives the connection */
        assert_int_equal(queue_receive(q, 7), 0);
        assert_int_equal(queue_release(q, 1), 0);
        assert_int_equal(queue_release(q, 65535), 0);
        assert_int_equal(queue_release(q, 7), 0);
}

static void test_full_drops_qos0_first(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 4, 100000);

        (void)state;
        push(q, 0, "z1");
        push(q, 1, "a");
        push(q, 0, "z2");
        push(q, 1, "b");
        push(q, 1, "c");  /* z1 goes */
        push(q, 0, "z3"); /* z2 goes */
        push(q, 2, "d");  /* z3 goes */
        assert_int_equal(push_at(q, 0, "z4", 0, 0), QUEUE_FULL);
        assert_int_equal(push_at(q, 1, "e", 0, 0), QUEUE_FULL);
        assert_int_equal(queue_counts(q).n_dropped_qos0, 4);
        assert_int_equal(queue_counts(q).n_dropped, 1);
        expect_publish(q, "a", 1, 1, false);
        push(q, 0, "z5"); /* what is on its way does not wait */
        expect_publish(q, "b", 1, 2, false);
        expect_publish(q, "c", 1, 3, false);
        expect_publish(q, "d", 2, 4, false);
        expect_publish(q, "z5", 0, 0, false);
        expect_nothing(q);
}

static void test_bytes(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 1000);
        char large[2000];

        (void)state;
        memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        push(q, 0, "zero");
        assert_int_equal(push_at(q, 1, large, 0, 0), QUEUE_FULL);
        assert_int_equal(queue_n_waiting(q), 1); /* nothing had to go for it */
        large[850] = '\0';
        push(q, 0, large);
        assert_int_equal(queue_n_waiting(q), 1);
        push(q, 1, large);
        assert_int_equal(push_at(q, 1, large, 0, 0), QUEUE_FULL);
        expect_publish(q, large, 1, 1, false);
        assert_int_equal(push_at(q, 1, large, 0, 0), QUEUE_FULL); /* on its way: held all the same */
        assert_int_equal(queue_puback(q, 1), 0);
        push(q, 1, large);
}

static void test_expiry(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 3, 100000);
        struct queue_next next;

        (void)state;
        assert_int_equal(push_at(q, 1, "a", 0, 10), 0);
        assert_int_equal(push_at(q, 0, "b", 0, 10), 0);
        assert_int_equal(push_at(q, 1, "c", 0, 30), 0);
        queue_next(q, 11 * USEC_PER_SEC, &next);
        assert_string_equal(next.out.message->payload, "c");
        assert_int_equal(next.expiry_s, 19);
        assert_int_equal(queue_counts(q).n_expired, 2);
        queue_connect(q, 10); /* sent once, it has to be sent again: §4.4 */
        queue_next(q, 60 * USEC_PER_SEC, &next);
        assert_int_equal(next.send, QUEUE_PUBLISH);
        assert_int_equal(next.expiry_s, 1);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(push_at(q, 1, "x", 0, 5), 0);
        assert_int_equal(push_at(q, 1, "y", 6 * USEC_PER_SEC, 0), 0); /* room of what has expired */
        assert_int_equal(queue_n_waiting(q), 1);
        assert_int_equal(queue_expire(q, 100 * USEC_PER_SEC), 0);
        queue_next(q, 100 * USEC_PER_SEC, &next);
        assert_int_equal(next.expiry_s, 0);
}

static void test_ids_go_round(void **state)
{
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);

        (void)state;
        push(q, 1, "stuck");
        expect_publish(q, "stuck", 1, 1, false);
        for (unsigned i = 2; i <= 65535; i++) {
                push(q, 1, "x");
                expect_publish(q, "x", 1, (uint16_t)i, false);
                assert_int_equal(queue_puback(q, (uint16_t)i), 0);
        }
        push(q, 1, "x");
        expect_publish(q, "x", 1, 2, false); /* neither 0 nor 1 */
}

static void test_subscription_ids(void **state)
{
        static const uint32_t ids[] = { 1, 268435455 };
        struct message_init init = { .topic = "t" };
        struct queue_message m = { .qos = 1, .retain = true, .n_sub_ids = 2, .sub_ids = ids };
        CLEANUP(queue_freep)
        struct queue *q = make(20, 100, 100000);
        struct queue_next next;

        (void)state;
        assert_int_equal(message_new(&init, &m.message), 0);
        assert_int_equal(queue_push(q, &m, 0), 0);
        (void)message_unref(m.message);
        queue_next(q, 0, &next);
        assert_true(next.out.retain);
        assert_int_equal(next.out.n_sub_ids, 2);
        assert_memory_equal(next.out.sub_ids, ids, sizeof(ids));
}

#define N_MESSAGES 300

static void each_id(void *user, uint16_t packet_id)
{
        assert_true(packet_id > *(unsigned *)user);
        *(unsigned *)user = packet_id;
}

static void each_item(void *user, uint64_t number)
{
        (void)user;
        (void)number;
        fail();
}

/* All ids that there are, in any order, each in constant time. */
static void a_client_may_leave_all_its_ids_unreleased(void **state)
{
        struct queue_limits limits = { .max_inflight = 1, .max_unreleased = UINT16_MAX, .max_messages = 1 };
        unsigned last = 0;
        struct queue *q;

        (void)state;
        assert_int_equal(queue_new(&limits, &q), 0);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned id = 1; id <= UINT16_MAX; id++) {
                        assert_int_equal(queue_receive(q, (uint16_t)id), 0);
                        assert_int_equal(queue_receive(q, (uint16_t)id), QUEUE_AGAIN);
                }
                assert_int_equal(queue_n_unreleased(q), UINT16_MAX);
                last = 0;
                queue_each(q, each_item, each_id, &last);
                assert_int_equal(last, UINT16_MAX);
                for (unsigned id = UINT16_MAX; id >= 1; id--) {
                        assert_true(queue_has_received(q, (uint16_t)id));
                        assert_int_equal(queue_release(q, (uint16_t)id), 0);
                        assert_int_equal(queue_release(q, (uint16_t)id), QUEUE_UNKNOWN);
                        assert_false(queue_has_received(q, (uint16_t)id));
                }
        }
        (void)queue_free(q);
}

/* A client behind a line that breaks: what it has got of each message, and which QoS 2 ids it holds. */
struct client {
        unsigned got[N_MESSAGES];
        bool holds[65536];
        int last[3]; /* the newest first copy of each QoS */
};

static void client_gets(struct client *c, const struct queue_next *next)
{
        int i = atoi(next->out.message->payload);

        if (next->out.qos == 2 && c->holds[next->packet_id])
                return; /* it has that one */
        if (next->out.qos == 2)
                c->holds[next->packet_id] = true;
        if (c->got[i]++ == 0) {
                assert_true(i > c->last[next->out.qos]); /* order: §4.6 */
                c->last[next->out.qos] = i;
        }
}

/* One packet to the client and its answer; either may be lost with the connection. */
static void client_turn(struct queue *q, struct client *c, struct random *r)
{
        struct queue_next next;

        queue_next(q, 0, &next);
        if (random_below(r, 10) == 0) {
                queue_connect(q, (uint16_t)(1 + random_below(r, 5)));
                return;
        }
        if (next.send == QUEUE_PUBREL)
                c->holds[next.packet_id] = false;
        if (next.send == QUEUE_PUBLISH)
                client_gets(c, &next);
        if (random_below(r, 10) == 0 || next.send == QUEUE_NOTHING) {
                queue_connect(q, (uint16_t)(1 + random_below(r, 5)));
                return;
        }
        if (next.send == QUEUE_PUBREL)
                assert_int_equal(queue_pubcomp(q, next.packet_id), 0);
        else if (next.out.qos == 1)
                assert_int_equal(queue_puback(q, next.packet_id), 0);
        else if (next.out.qos == 2) {
                assert_int_equal(queue_pubrec(q, next.packet_id, 0), 0);
                if (random_below(r, 3) > 0) { /* the PUBREL follows at once, unless the line breaks */
                        c->holds[next.packet_id] = false;
                        assert_int_equal(queue_pubcomp(q, next.packet_id), 0);
                }
        }
}

static void test_line_that_breaks(void **state)
{
        static struct client c;
        struct random r = { .state = 9 };

        (void)state;
        for (unsigned round = 0; round < 50; round++) {
                CLEANUP(queue_freep)
                struct queue *q = make(8, N_MESSAGES, 10000000);
                unsigned turns = 0;
                int n = 0;

                memset(&c, 0, sizeof(c));
                for (unsigned i = 0; i < 3; i++)
                        c.last[i] = -1;
                while (n < N_MESSAGES || queue_n_waiting(q) + queue_n_inflight(q) > 0) {
                        char payload[12];

                        (void)snprintf(payload, sizeof(payload), "%d", n);
                        if (n < N_MESSAGES && random_below(&r, 2) == 0)
                                push(q, (uint8_t)(1 + n++ % 2), payload);
                        client_turn(q, &c, &r);
                        assert_true(turns++ < 100000);
                }
                for (unsigned i = 0; i < N_MESSAGES; i++)
                        assert_true(i % 2 ? c.got[i] == 1 : c.got[i] >= 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_qos),
                cmocka_unit_test(a_client_may_leave_all_its_ids_unreleased),
                cmocka_unit_test(test_refused_pubrec_and_skip),
                cmocka_unit_test(test_receive_maximum),
                cmocka_unit_test(test_reconnection),
                cmocka_unit_test(test_from_the_client),
                cmocka_unit_test(test_full_drops_qos0_first),
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_expiry),
                cmocka_unit_test(test_ids_go_round),
                cmocka_unit_test(test_subscription_ids),
                cmocka_unit_test(test_line_that_breaks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
