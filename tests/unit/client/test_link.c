/* SPDX-License-Identifier: MIT */
/* Links to a real mosquitto, and to what can go wrong between here and there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "mbgate/base/clock.h"
#include "mosquitto_broker.h"
#include "peer.h"
#include "resolver.h"
#include "rig.h"

static struct rig rig;
static struct mosquitto_broker broker;

static int set_up(void **state)
{
        (void)state;
        memset(&broker, 0, sizeof(broker));
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        mosquitto_broker_done(&broker);
        return 0;
}

static void open_broker(const char *settings)
{
        mosquitto_broker_init(&broker, settings);
        mosquitto_broker_start(&broker);
}

#define ANONYMOUS "allow_anonymous true\n"

static void subscribe(unsigned i, const char *filter, uint8_t qos)
{
        assert_int_equal(link_subscribe(rig.at[i].link, filter, qos), 0);
}

static void start_subscribed(unsigned i, const char *filter)
{
        rig_open(&rig, i, NULL);
        subscribe(i, filter, 2);
        rig_start(&rig, i);
        rig_wait_online(&rig, i);
}

static const char *payload(unsigned i, size_t k)
{
        return rig.at[i].received[k].message->payload;
}

static double cpu_s(void)
{
        struct rusage u;

        assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
        return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Ordinary life. */

static void check_round_trip(unsigned protocol)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = {
                .topic = "t/x",
                .payload = "question",
                .payload_bytes = 8,
                .qos = 1,
                .expiry_s = 100,
                .response_topic = "t/answer",
                .correlation = "a\0b",
                .correlation_bytes = 3,
        };
        const struct message *got;

        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig.links[0].protocol = protocol;
        start_subscribed(0, "t/#");
        for (uint8_t qos = 0; qos <= 2; qos++) {
                rig_publish(&rig, 0, "t/temp", "21.5", qos, false);
                rig_wait_received(&rig, 0, qos + 1U);
                got = rig.at[0].received[qos].message;
                assert_string_equal(got->topic, "t/temp");
                assert_string_equal(got->payload, "21.5");
                assert_int_equal(got->qos, qos);
                assert_false(rig.at[0].received[qos].was_retained);
        }
        assert_int_equal(message_new(&init, &m), 0);
        assert_int_equal(link_publish(rig.at[0].link, m), 0);
        rig_wait_received(&rig, 0, 4);
        got = rig.at[0].received[3].message;
        if (protocol == 5) {
                assert_string_equal(got->response_topic, "t/answer");
                assert_int_equal(got->correlation_bytes, 3);
                assert_memory_equal(got->correlation, "a\0b", 3);
                assert_in_range(got->expiry_s, 98, 100);
        } else {
                assert_null(got->response_topic);
        }
        rig_publish(&rig, 0, "t/empty", "", 1, false);
        rig_wait_received(&rig, 0, 5);
        assert_int_equal(rig.at[0].received[4].message->payload_bytes, 0);
        rig_wait_sent(&rig, 0, 5);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 0);
        assert_int_equal(rig_stats(&rig, 0).n_received, 5);
        assert_int_equal(rig_stats(&rig, 0).n_published, 5);
        rig_expect_log(&rig, protocol == 5 ? "(MQTT 5)" : "(MQTT 3.1.1)");
        rig_done(&rig);
}

static void test_round_trip_v5(void **state)
{
        (void)state;
        check_round_trip(5);
}

static void test_round_trip_v311(void **state)
{
        (void)state;
        check_round_trip(4);
}

static void check_retained(unsigned protocol)
{
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig.links[0].protocol = rig.links[1].protocol = protocol;
        rig_start(&rig, 0);
        rig_publish(&rig, 0, "r/x", "old", 1, true);
        rig_wait_sent(&rig, 0, 1);
        start_subscribed(1, "r/#");
        rig_wait_received(&rig, 1, 1);
        assert_true(rig.at[1].received[0].was_retained);
        rig_publish(&rig, 0, "r/x", "new", 1, true);
        rig_wait_received(&rig, 1, 2);
        assert_false(rig.at[1].received[1].was_retained);
        assert_string_equal(payload(1, 1), "new");
        rig_done(&rig);
}

static void test_retained_v5(void **state)
{
        (void)state;
        check_retained(5);
}

static void test_retained_v311(void **state)
{
        (void)state;
        check_retained(4);
}

static void test_subscribe_while_online(void **state)
{
        (void)state;
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        start_subscribed(0, "a");
        subscribe(0, "b/+", 1);
        rig_publish(&rig, 0, "b/1", "1", 1, false);
        rig_wait_received(&rig, 0, 1);
        assert_int_equal(link_unsubscribe(rig.at[0].link, "b/+"), 0);
        rig_publish(&rig, 0, "b/1", "2", 1, false);
        rig_publish(&rig, 0, "a", "3", 1, false);
        rig_wait_received(&rig, 0, 2);
        assert_string_equal(payload(0, 1), "3");
        assert_int_equal(link_subscribe(rig.at[0].link, "b/#/c", 1), -EINVAL);
        rig_done(&rig);
}

/* More filters than fit into one SUBSCRIBE, of several QoS, and again after a restart of the broker. */
static void test_many_filters(void **state)
{
        char text[32];

        (void)state;
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig_open(&rig, 0, NULL);
        for (unsigned i = 0; i < 1000; i++) {
                (void)snprintf(text, sizeof(text), "many/%u/set", i);
                subscribe(0, text, (uint8_t)(i / 100 % 3));
        }
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        rig_publish(&rig, 0, "many/999/set", "x", 1, false);
        rig_wait_received(&rig, 0, 1);
        mosquitto_broker_kill(&broker);
        rig_wait_away(&rig, 0, "");
        mosquitto_broker_start(&broker);
        rig_wait_online(&rig, 0);
        rig_publish(&rig, 0, "many/0/set", "y", 1, false);
        rig_wait_received(&rig, 0, 2);
        rig_done(&rig);
}

static void check_persistent(unsigned protocol)
{
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig.links[0].protocol = protocol;
        rig.links[0].clean_session = false;
        rig.links[0].session_expiry_s = 3600;
        start_subscribed(0, "p/#");
        rig_stop(&rig, 0, 2000);
        rig_start(&rig, 1);
        rig_publish(&rig, 1, "p/x", "kept for you", 1, false);
        rig_wait_sent(&rig, 1, 1);
        /* No subscription by this one: what comes was kept. */
        free(rig.at[0].received);
        rig.at[0] = (struct rig_link){ .n_online = 0 };
        rig_start(&rig, 0);
        rig_wait_received(&rig, 0, 1);
        assert_string_equal(payload(0, 0), "kept for you");
        assert_false(rig.at[0].received[0].was_retained);
        rig_done(&rig);
}

static void test_persistent_v5(void **state)
{
        (void)state;
        check_persistent(5);
}

static void test_persistent_v311(void **state)
{
        (void)state;
        check_persistent(4);
}

static void test_will(void **state)
{
        struct message_init init = {
                .topic = "gw/status", .payload = "offline", .payload_bytes = 7, .qos = 1, .retain = true
        };
        CLEANUP(message_unrefp)
        struct message *will = NULL;
        static char prefix[] = "site1/";
        static struct relay relay;

        (void)state;
        open_broker(ANONYMOUS);
        relay_start(&relay, broker.port);
        rig_init(&rig, broker.port);
        assert_int_equal(message_new(&init, &will), 0);
        rig.links[0].port = relay.port;
        rig.links[0].prefix = prefix;
        rig_open(&rig, 0, will);
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        start_subscribed(1, "#");
        atomic_store(&relay.mode, RELAY_CUT);
        rig_wait_received(&rig, 1, 1);
        assert_string_equal(rig.at[1].received[0].message->topic, "site1/gw/status");
        assert_string_equal(payload(1, 0), "offline");
        /* An orderly stop brings none. */
        rig_wait_away(&rig, 0, "closed");
        rig_wait_online(&rig, 0);
        rig_publish(&rig, 0, "last", "words", 1, false);
        rig_stop(&rig, 0, 2000);
        rig_wait_received(&rig, 1, 2);
        rig_run_ms(&rig, 100);
        assert_int_equal(rig.at[1].n_received, 2);
        assert_string_equal(payload(1, 1), "words");
        rig_done(&rig);
        relay_stop(&relay);
}

/* Away. */

static void test_broker_away_at_start(void **state)
{
        (void)state;
        mosquitto_broker_init(&broker, ANONYMOUS);
        rig_init(&rig, broker.port);
        rig_open(&rig, 0, NULL);
        subscribe(0, "x/#", 1);
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "Connection refused");
        for (unsigned i = 0; i < 5; i++)
                rig_publish(&rig, 0, "x/y", "z", (uint8_t)(i % 3), false);
        mosquitto_broker_start(&broker);
        rig_wait_online(&rig, 0);
        rig_wait_received(&rig, 0, 5);
        rig_expect_log(&rig, "info: link one: connected to 127.0.0.1");
        rig_done(&rig);
}

/* kill -9 under load, twice: everything is acknowledged in the end. */
static void test_broker_restarts_under_load(void **state)
{
        char text[16];
        unsigned seq = 0;

        (void)state;
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < 3000; i++) {
                        (void)snprintf(text, sizeof(text), "%u", seq++);
                        rig_publish(&rig, 0, "load/seq", text, (uint8_t)(1 + round), false);
                        if (i == 1500)
                                rig_run_ms(&rig, 20);
                }
                mosquitto_broker_kill(&broker);
                rig_wait_away(&rig, 0, "");
                mosquitto_broker_start(&broker);
                rig_wait_online(&rig, 0);
        }
        rig_wait_sent(&rig, 0, seq);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 0);
        rig_done(&rig);
}

static bool fake_has_all(struct rig *r, void *arg)
{
        struct fake_broker *b = arg;

        (void)r;
        return atomic_load(&b->n_different) >= 2000;
}

/* A broker that hangs up before and after it notes a message: none is lost, the order is kept, few come
 * twice. */
static void test_no_loss(void **state)
{
        struct fake_broker *b = calloc(1, sizeof(*b));
        unsigned n_twice;
        char text[16];

        (void)state;
        fake_broker_start(b);
        rig_init(&rig, b->port);
        rig.links[0].protocol = 4;
        rig.links[0].reconnect_min_s = 0; /* the back-off's own floor: no pause to speak of */
        rig.links[0].reconnect_max_s = 0;
        atomic_store(&b->hangs_up, true);
        rig_start(&rig, 0);
        for (unsigned i = 0; i < 2000; i++) {
                (void)snprintf(text, sizeof(text), "%u", i);
                rig_publish(&rig, 0, "s", text, 1, false);
                if (i % 100 == 0)
                        rig_run_ms(&rig, 5);
        }
        rig_wait(&rig, fake_has_all, b);
        atomic_store(&b->hangs_up, false);
        rig_wait_sent(&rig, 0, 2000);
        n_twice = atomic_load(&b->n_received) - 2000;
        print_message("no loss: %u connections, %u of 2000 twice\n", atomic_load(&b->n_connections), n_twice);
        assert_true(atomic_load(&b->n_connections) > 20);
        assert_false(atomic_load(&b->out_of_order));
        assert_true(n_twice <= 20 * atomic_load(&b->n_connections));
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 0);
        rig_done(&rig);
        fake_broker_stop(b);
        free(b);
}

/* The same with a session that is kept, which libmosquitto sends again by itself. */
static void test_no_loss_persistent(void **state)
{
        char text[16];
        static struct relay relay;

        (void)state;
        open_broker(ANONYMOUS "max_queued_messages 0\n");
        relay_start(&relay, broker.port);
        rig_init(&rig, broker.port);
        rig.links[0].port = relay.port;
        rig.links[0].clean_session = false;
        rig.links[0].session_expiry_s = 3600;
        start_subscribed(1, "k");
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        for (unsigned i = 0; i < 3000; i++) {
                (void)snprintf(text, sizeof(text), "%u", i);
                rig_publish(&rig, 0, "k", text, 2, false);
                if (i % 600 == 300) {
                        rig_run_ms(&rig, 30);
                        atomic_store(&relay.mode, RELAY_CUT);
                }
        }
        rig_wait_sent(&rig, 0, 3000);
        rig_wait_received(&rig, 1, 3000);
        rig_run_ms(&rig, 100);
        assert_int_equal(rig.at[1].n_received, 3000); /* QoS 2 in a kept session: exactly once */
        for (unsigned i = 0; i < 3000; i++)
                assert_int_equal(atoi(payload(1, i)), i);
        rig_done(&rig);
        relay_stop(&relay);
}

struct wanted {
        unsigned *count, n;
};

static bool has_come(struct rig *r, void *arg)
{
        const struct wanted *w = arg;

        (void)r;
        return *w->count >= w->n;
}

/* Nothing lies between the threads. */
static bool queue_is_taken(struct rig *r, void *arg)
{
        struct link_stats stats = rig_stats(r, 0);

        (void)arg;
        return stats.n_queued + stats.n_sent + stats.n_dropped == stats.n_published;
}

static bool queue_is_empty(struct rig *r, void *arg)
{
        return queue_is_taken(r, arg) && rig_stats(r, 0).n_queued == 0;
}

/* "state/3/345": so that not all have to be fetched at once. */
static void publish_state(unsigned number, const char *text)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        char topic[32];
        struct message_init init = {
                .topic = topic, .payload = text, .qos = 1, .retain = true, .is_live = true
        };

        (void)snprintf(topic, sizeof(topic), "state/%u/%u", number / 100, number);
        init.payload_bytes = strlen(text);
        assert_int_equal(message_new(&init, &m), 0);
        assert_int_equal(link_publish(rig.at[0].link, m), 0);
}

static void expect_states(unsigned hundred, const char *text)
{
        size_t first = rig.at[1].n_received;
        char filter[32];

        (void)snprintf(filter, sizeof(filter), "state/%u/+", hundred);
        subscribe(1, filter, 1);
        rig_wait_received(&rig, 1, first + 100);
        for (size_t i = first; i < first + 100; i++)
                assert_string_equal(payload(1, i), text);
}

/* What a topic stands at does not count: all of it arrives, whatever queue_messages says. */
static void test_states_outlive_a_full_queue(void **state)
{
        (void)state;
        open_broker(ANONYMOUS "max_queued_messages 0\n");
        mosquitto_broker_stop(&broker);
        rig_init(&rig, broker.port);
        rig.links[0].queue_messages = 100;
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "refused");
        for (unsigned i = 0; i < 1500; i++) {
                publish_state(i, "old");
                publish_state(i, "new");
        }
        mosquitto_broker_start(&broker);
        rig_wait_online(&rig, 0);
        rig_wait(&rig, queue_is_empty, NULL);
        assert_int_equal(rig_stats(&rig, 0).n_sent, 1600); /* a hundred of the old ones had room, too */
        rig_start(&rig, 1);
        rig_wait_online(&rig, 1);
        for (unsigned i = 0; i < 15; i++)
                expect_states(i, "new");
        assert_int_equal(rig.at[0].n_lost, 0);
        rig_done(&rig);
}

/* Who asks for room is told when there is some; who lost a state to the bound of bytes hears of that, too. */
static void test_room(void **state)
{
        (void)state;
        open_broker(ANONYMOUS);
        mosquitto_broker_stop(&broker);
        rig_init(&rig, broker.port);
        rig.links[0].queue_messages = 100;
        rig.links[0].queue_bytes = 1 << 16;
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "refused");
        assert_true(link_has_room(rig.at[0].link));
        for (unsigned i = 0; i < 60; i++)
                publish_state(i, "x");
        assert_false(link_has_room(rig.at[0].link));
        mosquitto_broker_start(&broker);
        rig_wait(&rig, has_come, &(struct wanted){ &rig.at[0].n_room, 1 });
        assert_true(link_has_room(rig.at[0].link));
        assert_int_equal(rig.at[0].n_lost, 0);

        mosquitto_broker_stop(&broker);
        rig_wait_away(&rig, 0, "");
        for (unsigned i = 0; i < 2000; i++) {
                publish_state(i, "x");
                if (i % 100 == 99)
                        rig_wait(&rig, queue_is_taken, NULL);
        }
        mosquitto_broker_start(&broker);
        rig_wait(&rig, has_come, &(struct wanted){ &rig.at[0].n_lost, 1 });
        assert_true(link_has_room(rig.at[0].link));
        rig_done(&rig);
}

/* Larger than the whole queue: no try will do. */
static void test_never_fits(void **state)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        static char big[4000];
        struct message_init init = {
                .topic = "q", .payload = big, .payload_bytes = sizeof(big), .is_live = true
        };

        (void)state;
        rig_init(&rig, test_free_port());
        rig.links[0].queue_bytes = 2000;
        rig_open(&rig, 0, NULL);
        assert_int_equal(message_new(&init, &m), 0);
        assert_int_equal(link_publish(rig.at[0].link, m), -EMSGSIZE);
        rig_stop(&rig, 0, 1000);
        rig_done(&rig);
}

/* A queue that fills and empties all the time says so once, and not each time. */
static void test_full_queue_is_said_once(void **state)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = { .topic = "q", .payload = "1", .payload_bytes = 1, .qos = 1 };
        const char *at = rig.log;
        unsigned n_lines = 0;

        (void)state;
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig.links[0].queue_messages = 5;
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        assert_int_equal(message_new(&init, &m), 0);
        for (unsigned burst = 0; burst < 10; burst++) {
                for (unsigned i = 0; i < 50; i++)
                        (void)!link_publish(rig.at[0].link, m);
                rig_wait(&rig, queue_is_empty, NULL);
        }
        assert_true(rig_stats(&rig, 0).n_dropped > 50);
        while ((at = strstr(at, "its queue is "))) {
                n_lines++;
                at++;
        }
        assert_int_equal(n_lines, 1);
        rig_done(&rig);
}

static void test_queue_full(void **state)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = { .topic = "q", .payload = "0123456789", .payload_bytes = 10, .qos = 1 };
        unsigned n_full = 0;

        (void)state;
        rig_init(&rig, test_free_port());
        rig.links[0].queue_messages = 100;
        rig_open(&rig, 0, NULL);
        assert_int_equal(message_new(&init, &m), 0);
        for (unsigned i = 0; i < 150; i++)
                n_full += link_publish(rig.at[0].link, m) == -ENOBUFS;
        assert_int_equal(n_full, 50);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 50);
        rig_stop(&rig, 0, 1000); /* never started */
        rig_done(&rig);
}

/* Refused. */

static void check_refused(unsigned protocol)
{
        static char user[] = "gateway", right[] = "correct horse", wrong[] = "battery staple";

        mosquitto_broker_init(&broker, "allow_anonymous false\npassword_file passwd\n");
        mosquitto_broker_shell(&broker, "mosquitto_passwd -b -c passwd gateway 'correct horse'");
        mosquitto_broker_start(&broker);
        rig_init(&rig, broker.port);
        rig.links[0].protocol = rig.links[1].protocol = protocol;
        rig.links[0].username = rig.links[1].username = user;
        rig.links[0].password = wrong;
        rig.links[1].password = right;
        rig_start(&rig, 0);
        rig_start(&rig, 1);
        rig_wait_away(&rig, 0, "connection refused: not authorised");
        rig_wait_online(&rig, 1);
        rig_expect_log(&rig, "warning: link one: connection refused: not authorised; next try in 2 s");
        assert_false(rig_has_logged(&rig, "battery"));
        assert_false(rig_has_logged(&rig, "horse"));
        rig_stop(&rig, 0, 500);
        rig_done(&rig);
}

static void test_refused_v5(void **state)
{
        (void)state;
        check_refused(5);
}

static void test_refused_v311(void **state)
{
        (void)state;
        check_refused(4);
}

static void test_poison(void **state)
{
        (void)state;
        mosquitto_broker_init(&broker, ANONYMOUS "acl_file acl\nmax_packet_size 2000\n");
        mosquitto_broker_shell(&broker, "echo 'topic readwrite ok/#' >acl");
        mosquitto_broker_start(&broker);
        rig_init(&rig, broker.port);
        start_subscribed(0, "ok/#");
        for (uint8_t qos = 1; qos <= 2; qos++) {
                for (unsigned i = 0; i < 30; i++)
                        rig_publish(&rig, 0, "denied/x", "1", qos, false);
        }
        rig_publish(&rig, 0, "ok/x", "2", 1, false);
        rig_wait_received(&rig, 0, 1);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 60);
        rig_expect_log(&rig, "warning: link one: a message on denied/x was refused for good and is "
                             "dropped: not authorised");
        rig_done(&rig);
}

static void test_too_large(void **state)
{
        char big[2100];
        const size_t limit = 2000, overhead = 1 + 2 + 2 + 4 + 2 + 1; /* PUBLISH of topic "ok/x", QoS 1 */

        (void)state;
        open_broker(ANONYMOUS "max_packet_size 2000\n");
        rig_init(&rig, broker.port);
        start_subscribed(0, "ok/#");
        memset(big, 'x', sizeof(big));
        for (size_t n = limit - overhead - 5; n < limit - overhead + 5; n++) {
                big[n] = '\0';
                rig_publish(&rig, 0, "ok/x", big, 1, false);
                big[n] = 'x';
        }
        rig_publish(&rig, 0, "ok/x", "small", 1, false);
        rig_wait_received(&rig, 0, 7);
        assert_string_equal(payload(0, 6), "small");
        assert_int_equal(strlen(payload(0, 5)), limit - overhead);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 4);
        assert_int_equal(rig.at[0].n_away, 0);
        rig_done(&rig);
}

/* What a CONNACK forbids is not done, and nothing is lost for it. */
static void test_limits_of_the_broker(void **state)
{
        (void)state;
        open_broker(ANONYMOUS
                    "max_inflight_messages 3\nretain_available false\nmax_qos 1\nmax_keepalive 20\n");
        rig_init(&rig, broker.port);
        start_subscribed(0, "l/#");
        for (unsigned i = 0; i < 100; i++)
                rig_publish(&rig, 0, "l/x", "1", (uint8_t)(i % 3), true);
        rig_wait_received(&rig, 0, 100);
        rig_wait_sent(&rig, 0, 100);
        for (unsigned i = 0; i < 100; i++) {
                assert_true(rig.at[0].received[i].message->qos <= 1);
                assert_false(rig.at[0].received[i].was_retained);
        }
        assert_int_equal(rig.at[0].n_away, 0);
        assert_int_equal(rig_stats(&rig, 0).n_dropped, 0);
        rig_done(&rig);
}

static void test_client_id_in_use(void **state)
{
        (void)state;
        open_broker(ANONYMOUS);
        rig_init(&rig, broker.port);
        rig.links[1].client_id = rig.links[0].client_id;
        rig.links[0].reconnect_max_s = rig.links[1].reconnect_max_s = 1;
        rig_start(&rig, 0);
        rig_start(&rig, 1);
        rig_wait_log(&rig, "error: link two: thrown out right after connecting");
        rig_stop(&rig, 0, 1000);
        rig_wait_log(&rig, "and it holds");
        rig_done(&rig);
}

/* Nobody there, or nobody who speaks. */

static void test_syn_black_hole(void **state)
{
        static struct black_hole hole;

        (void)state;
        black_hole_open(&hole, AF_INET, 0);
        rig_init(&rig, hole.port);
        rig.links[0].connect_timeout_s = 1;
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "no answer");
        rig_publish(&rig, 0, "x", "y", 1, false);
        rig_run_ms(&rig, 1200); /* into the next try */
        rig_stop(&rig, 0, 300);
        rig_expect_log(&rig, "stopped with 1 messages undelivered");
        rig_done(&rig);
        black_hole_close(&hole);
}

static void check_silence(bool is_tls)
{
        static char ca[] = "/etc/ssl/certs"; /* may be empty: nobody speaks TLS here */
        static struct relay silent;
        double began_s = cpu_s();

        relay_start(&silent, 0);
        rig_init(&rig, silent.port);
        rig.links[0].connect_timeout_s = 1;
        rig.links[0].tls.on = is_tls;
        rig.links[0].tls.ca_path = ca;
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "no CONNACK from 127.0.0.1 within 1 s");
        assert_int_equal(rig.at[0].n_online, 0);
        rig_run_ms(&rig, 1200);
        rig_publish(&rig, 0, "x", "y", 1, false);
        rig_stop(&rig, 0, 300);
        rig_done(&rig);
        relay_stop(&silent);
        print_message("silence: %.3f s of CPU\n", cpu_s() - began_s);
}

static void test_no_connack(void **state)
{
        (void)state;
        check_silence(false);
}

static void test_no_connack_tls(void **state)
{
        (void)state;
        check_silence(true);
}

static void test_no_suback(void **state)
{
        struct fake_broker *b = calloc(1, sizeof(*b));

        (void)state;
        fake_broker_start(b);
        atomic_store(&b->no_suback, true);
        rig_init(&rig, b->port);
        rig.links[0].protocol = 4;
        rig.links[0].connect_timeout_s = 1;
        rig_open(&rig, 0, NULL);
        subscribe(0, "c", 1);
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "no SUBACK");
        atomic_store(&b->no_suback, false);
        rig_wait_online(&rig, 0);
        rig_done(&rig);
        fake_broker_stop(b);
        free(b);
}

static void test_path_dies(void **state)
{
        static struct relay relay;
        uint64_t began_us;

        (void)state;
        open_broker(ANONYMOUS);
        relay_start(&relay, broker.port);
        rig_init(&rig, relay.port);
        rig.links[0].keepalive_s = 5;
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        rig_run_ms(&rig, 200);
        atomic_store(&relay.mode, RELAY_FREEZE);
        began_us = clock_monotonic_us();
        rig_publish(&rig, 0, "x", "lost, then sent again", 1, false);
        rig_wait_away(&rig, 0, "nothing from the broker");
        assert_in_range((clock_monotonic_us() - began_us) / USEC_PER_MSEC, 5000, 12000);
        rig_run_ms(&rig, 1000);
        rig_publish(&rig, 0, "x", "y", 1, false);
        atomic_store(&relay.mode, RELAY_CUT);
        rig_wait_online(&rig, 0);
        rig_wait_sent(&rig, 0, 2);
        atomic_store(&relay.mode, RELAY_FREEZE);
        rig_publish(&rig, 0, "x", "never", 1, false);
        rig_stop(&rig, 0, 500);
        rig_done(&rig);
        relay_stop(&relay);
}

static void test_unknown_host(void **state)
{
        static char nowhere[] = RESOLVER_NONE_NAME;

        (void)state;
        rig_init(&rig, 1883);
        rig.links[0].host = nowhere;
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "name lookup");
        rig_done(&rig);
}

/* ::1 answers nothing, or refuses; 127.0.0.1 is fine: the second address is tried. */
static void check_second_address(bool is_tls, bool is_refused)
{
        static char name[] = RESOLVER_TWO_NAME;
        static char ca[128];
        static struct black_hole hole;

        if (is_tls) {
                mosquitto_broker_init(&broker,
                                      ANONYMOUS "cafile ca.crt\ncertfile server.crt\nkeyfile server.key\n");
                mosquitto_broker_shell(&broker,
                                       "sh " MBGATE_SOURCE_DIR "/tests/unit/client/make-certificates");
                mosquitto_broker_start(&broker);
        } else {
                open_broker(ANONYMOUS);
        }
        if (!is_refused)
                black_hole_open(&hole, AF_INET6, broker.port);
        rig_init(&rig, broker.port);
        rig.links[0].host = name;
        (void)snprintf(ca, sizeof(ca), "%s/ca.crt", broker.folder);
        rig.links[0].tls.on = is_tls;
        rig.links[0].tls.ca_file = ca;
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        assert_int_equal(rig.at[0].n_away, 0);
        if (is_refused)
                rig_expect_log(&rig, ": Connection refused; trying the next address");
        rig_done(&rig);
        if (!is_refused)
                black_hole_close(&hole);
}

static bool conf_is_free(struct rig *r, void *arg)
{
        (void)arg;
        return atomic_load(&r->conf.n_refs) == 1;
}

/* The resolver hangs: the stop keeps its time all the same, and what was left behind ends when it can. */
static void test_resolver_hangs(void **state)
{
        static char name[] = RESOLVER_HANG_NAME;

        (void)state;
        rig_init(&rig, 1883);
        rig.links[0].host = name;
        rig_start(&rig, 0);
        for (unsigned i = 0; i < 20; i++)
                rig_publish(&rig, 0, "x", "y", 1, false);
        rig_wait(&rig, resolver_hangs, NULL);
        rig_stop(&rig, 0, 300);
        rig_expect_log(&rig, "still waits for the resolver and is left behind");
        assert_int_equal(atomic_load(&rig.conf.n_refs), 2);
        resolver_release();
        rig_wait(&rig, conf_is_free, NULL);
        rig_done(&rig);
}

static void test_second_address(void **state)
{
        (void)state;
        check_second_address(false, false);
}

static void test_second_address_tls(void **state)
{
        (void)state;
        check_second_address(true, false);
}

static void test_second_address_after_refusal(void **state)
{
        (void)state;
        check_second_address(false, true);
}

static void test_second_address_after_refusal_tls(void **state)
{
        (void)state;
        check_second_address(true, true);
}

/* A closed port is called one, with TLS and without. */
static void test_closed_port(void **state)
{
        (void)state;
        rig_init(&rig, test_free_port());
        rig.links[1].tls.on = true;
        rig_start(&rig, 0);
        rig_start(&rig, 1);
        rig_wait_away(&rig, 0, "Connection refused");
        rig_wait_away(&rig, 1, "Connection refused");
        rig_done(&rig);
}

/* TLS. */

static char tls_ca[128], tls_other_ca[128], tls_cert[128], tls_key[128];

static void open_tls_broker(const char *settings)
{
        char all[512];

        (void)snprintf(all, sizeof(all), "%scafile ca.crt\ncertfile server.crt\nkeyfile server.key\n%s",
                       ANONYMOUS, settings);
        mosquitto_broker_init(&broker, all);
        mosquitto_broker_shell(&broker, "sh " MBGATE_SOURCE_DIR "/tests/unit/client/make-certificates");
        mosquitto_broker_start(&broker);
        (void)snprintf(tls_ca, sizeof(tls_ca), "%s/ca.crt", broker.folder);
        (void)snprintf(tls_other_ca, sizeof(tls_other_ca), "%s/other.crt", broker.folder);
        (void)snprintf(tls_cert, sizeof(tls_cert), "%s/client.crt", broker.folder);
        (void)snprintf(tls_key, sizeof(tls_key), "%s/client.key", broker.folder);
}

static void test_tls(void **state)
{
        static char missing[] = "/nonexistent/ca.crt";

        (void)state;
        open_tls_broker("");
        rig_init(&rig, broker.port);
        for (unsigned i = 0; i < RIG_LINKS; i++) {
                rig.links[i].tls.on = true;
                rig.links[i].tls.ca_file = tls_ca;
        }
        rig.links[1].tls.ca_file = tls_other_ca;
        rig.links[2].tls.ca_file = missing;
        rig.links[3].protocol = 4;
        start_subscribed(0, "tls/#");
        rig_start(&rig, 1);
        rig_start(&rig, 2);
        rig_start(&rig, 3);
        rig_wait_online(&rig, 3);
        rig_wait_away(&rig, 1, "TLS: certificate verify failed");
        rig_wait_away(&rig, 2, "ca_file \"/nonexistent/ca.crt\": No such file or directory");
        for (unsigned i = 0; i < 100; i++)
                rig_publish(&rig, 3, "tls/x", "secret", 1, false);
        rig_wait_received(&rig, 0, 100);
        rig_expect_log(&rig, "(MQTT 5, TLS)");
        rig_done(&rig);
}

/* The certificate is for localhost and 127.0.0.1; under another name only `insecure` takes it. */
static void test_tls_host_name(void **state)
{
        (void)state;
        open_tls_broker("");
        mosquitto_broker_stop(&broker);
        mosquitto_broker_shell(&broker, "cp wrong.crt server.crt");
        mosquitto_broker_start(&broker);
        rig_init(&rig, broker.port);
        for (unsigned i = 0; i < 2; i++) {
                rig.links[i].tls.on = true;
                rig.links[i].tls.ca_file = tls_ca;
                rig.links[i].tls.insecure = i == 1;
                rig_start(&rig, i);
        }
        rig_wait_online(&rig, 1);
        rig_wait_away(&rig, 0, "TLS: ");
        assert_int_equal(rig.at[0].n_online, 0);
        rig_done(&rig);
}

static void test_tls_client_certificate(void **state)
{
        (void)state;
        open_tls_broker("require_certificate true\n");
        rig_init(&rig, broker.port);
        for (unsigned i = 0; i < 2; i++) {
                rig.links[i].tls.on = true;
                rig.links[i].tls.ca_file = tls_ca;
        }
        rig.links[0].tls.cert_file = tls_cert;
        rig.links[0].tls.key_file = tls_key;
        rig_start(&rig, 0);
        rig_start(&rig, 1);
        rig_wait_online(&rig, 0);
        rig_wait_away(&rig, 1, "");
        assert_int_equal(rig.at[1].n_online, 0);
        rig_done(&rig);
}

/* 300 bytes each 20 ms: the handshake takes its time, and none of the processor's. */
static void test_tls_slow(void **state)
{
        static struct relay relay;
        double used_s;

        (void)state;
        open_tls_broker("");
        relay_start(&relay, broker.port);
        atomic_store(&relay.mode, RELAY_SLOW);
        rig_init(&rig, relay.port);
        rig.links[0].tls.on = true;
        rig.links[0].tls.ca_file = tls_ca;
        rig.links[0].connect_timeout_s = 10;
        used_s = cpu_s();
        rig_start(&rig, 0);
        rig_wait_online(&rig, 0);
        rig_run_ms(&rig, 500);
        used_s = cpu_s() - used_s;
        print_message("slow TLS: %.3f s of CPU\n", used_s);
        assert_true(used_s < 1);
        rig_done(&rig);
        relay_stop(&relay);
}

/* TCP itself comes late: what made libmosquitto 2.0.11 spin for ever. */
static void test_tls_late_tcp(void **state)
{
        static struct black_hole hole;
        double used_s;

        (void)state;
        black_hole_open(&hole, AF_INET, 0);
        rig_init(&rig, hole.port);
        rig.links[0].tls.on = true;
        rig.links[0].connect_timeout_s = 2;
        used_s = cpu_s();
        rig_start(&rig, 0);
        rig_wait_away(&rig, 0, "no answer");
        used_s = cpu_s() - used_s;
        print_message("late TCP: %.3f s of CPU\n", used_s);
        assert_true(used_s < 1);
        rig_done(&rig);
        black_hole_close(&hole);
}

/* Figures. */

static void test_figures(void **state)
{
        uint64_t began_us, worst_us = 0, sum_us = 0;
        double used_s;

        (void)state;
        open_broker(ANONYMOUS "max_queued_messages 0\nmax_inflight_messages 0\n");
        rig_init(&rig, broker.port);
        start_subscribed(0, "f/#");
        for (unsigned i = 0; i < 200; i++) {
                uint64_t at_us = clock_monotonic_us(), took_us;

                rig_publish(&rig, 0, "f/latency", "1", 1, false);
                rig_wait_received(&rig, 0, i + 1);
                took_us = rig.at[0].received[i].at_us - at_us;
                sum_us += took_us;
                worst_us = MBGATE_MAX(worst_us, took_us);
        }
        used_s = cpu_s();
        began_us = clock_monotonic_us();
        for (unsigned i = 0; i < 9000; i++) {
                if (i >= 400) /* LINK_EVENTS_MAX would drop what we are too slow for */
                        rig_wait_received(&rig, 0, 200 + i - 400);
                rig_publish(&rig, 0, "f/load", "0123456789", 1, false);
        }
        rig_wait_sent(&rig, 0, 9200);
        rig_wait_received(&rig, 0, 9200);
        print_message("figures: there and back %.2f ms (worst %.2f ms); %.0f messages/s of QoS 1, %.3f s of "
                      "CPU for "
                      "each 1000\n",
                      (double)sum_us / 200e3, (double)worst_us / 1e3,
                      9000e6 / (double)(clock_monotonic_us() - began_us), (cpu_s() - used_s) / 9);
        rig_done(&rig);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                T(test_round_trip_v5),
                T(test_round_trip_v311),
                T(test_retained_v5),
                T(test_retained_v311),
                T(test_subscribe_while_online),
                T(test_many_filters),
                T(test_persistent_v5),
                T(test_persistent_v311),
                T(test_will),
                T(test_broker_away_at_start),
                T(test_broker_restarts_under_load),
                T(test_no_loss),
                T(test_no_loss_persistent),
                T(test_queue_full),
                T(test_states_outlive_a_full_queue),
                T(test_room),
                T(test_never_fits),
                T(test_full_queue_is_said_once),
                T(test_refused_v5),
                T(test_refused_v311),
                T(test_poison),
                T(test_too_large),
                T(test_limits_of_the_broker),
                T(test_client_id_in_use),
                T(test_syn_black_hole),
                T(test_no_connack),
                T(test_no_connack_tls),
                T(test_no_suback),
                T(test_path_dies),
                T(test_unknown_host),
                T(test_resolver_hangs),
                T(test_second_address),
                T(test_second_address_tls),
                T(test_second_address_after_refusal),
                T(test_second_address_after_refusal_tls),
                T(test_closed_port),
                T(test_tls),
                T(test_tls_host_name),
                T(test_tls_client_certificate),
                T(test_tls_slow),
                T(test_tls_late_tcp),
                T(test_figures),
        };

        if (argc > 1) /* one of them */
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
