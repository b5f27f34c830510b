/* SPDX-License-Identifier: MIT */
/* The gateway's link in process, and what the broker tells of itself, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/broker/link_local.h"

#include "broker_private.h"
#include "broker_rig.h"
#include "fake_loop.h"

#define EVENTS_MAX 2048

#define FEED(t, client, ...)                                                  \
        do {                                                                  \
                const uint8_t bytes_[] = { __VA_ARGS__ };                     \
                broker_rig_feed(&(t)->rig, (client), bytes_, sizeof(bytes_)); \
        } while (0)

#define ASSERT_OUT(t, client, ...)                                                       \
        do {                                                                             \
                const uint8_t want_[] = { __VA_ARGS__ };                                 \
                assert_int_equal((t)->rig.clients[client].n_out, sizeof(want_));         \
                assert_memory_equal((t)->rig.clients[client].out, want_, sizeof(want_)); \
                broker_rig_clear(&(t)->rig, (client));                                   \
        } while (0)

struct seen {
        enum link_event_kind kind;
        struct message *message;
        bool was_retained;
};

struct fixture {
        struct broker_rig rig;
        struct link *link;
        struct seen seen[EVENTS_MAX];
        size_t n_seen;
        bool is_inside; /* a call to the link is under way: no event may come */
        bool answers;   /* publishes from within the event */
};

static struct message *message(const char *topic, const char *payload, bool retain)
{
        struct message *m;
        const struct message_init init = {
                .topic = topic, .payload = payload, .payload_bytes = strlen(payload), .retain = retain
        };

        assert_int_equal(message_new(&init, &m), 0);
        return m;
}

static int publish(struct fixture *f, const char *topic, const char *payload, bool retain)
{
        struct message *m = message(topic, payload, retain);
        int r;

        f->is_inside = true;
        r = link_publish(f->link, m);
        f->is_inside = false;
        (void)message_unref(m);
        return r;
}

static void on_event(void *user, struct link *link, const struct link_event *event)
{
        struct fixture *f = user;

        assert_ptr_equal(link, f->link);
        assert_false(f->is_inside);
        assert_true(f->n_seen < EVENTS_MAX);
        f->seen[f->n_seen++] = (struct seen){
                .kind = event->kind,
                .message = event->message ? message_ref(event->message) : NULL,
                .was_retained = event->was_retained,
        };
        if (f->answers && event->kind == LINK_MESSAGE)
                assert_int_equal(publish(f, "answer", event->message->payload, false), 0);
}

static void forget(struct fixture *f)
{
        while (f->n_seen > 0)
                (void)message_unref(f->seen[--f->n_seen].message);
}

static struct fixture *start(const char *options)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        log_set_level(LOG_LEVEL_ERROR);
        broker_rig_init(&f->rig, options);
        assert_int_equal(
                link_local_new(
                        &(struct link_local_init){ .broker = f->rig.broker, .on_event = on_event, .user = f },
                        &f->link),
                0);
        return f;
}

static void finish(struct fixture *f)
{
        forget(f);
        f->link = link_free(f->link);
        broker_rig_done(&f->rig);
        free(f);
}

static void online(struct fixture *f)
{
        assert_int_equal(link_start(f->link), 0);
        assert_int_equal(f->n_seen, 0);
        broker_rig_turn(&f->rig);
        assert_int_equal(f->seen[0].kind, LINK_ONLINE);
}

/* A 3.1.1 client, clean; what it was told is forgotten. */
static int client(struct fixture *f, char letter)
{
        int c = broker_rig_connect(&f->rig);

        FEED(f, c, 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, (uint8_t)letter);
        ASSERT_OUT(f, c, 0x20, 2, 0, 0);
        return c;
}

static void test_publishes_to_clients(void **state UNUSED)
{
        struct fixture *f = start("");
        struct link_stats stats;
        int c = client(f, 'c');

        online(f);
        FEED(f, c, 0x82, 6, 0, 1, 0, 1, 'a', 0);
        ASSERT_OUT(f, c, 0x90, 3, 0, 1, 0);
        assert_int_equal(publish(f, "a", "hi", false), 0);
        assert_int_equal(publish(f, "nobody", "hi", false), 0);
        broker_rig_turn(&f->rig);
        ASSERT_OUT(f, c, 0x30, 5, 0, 1, 'a', 'h', 'i');
        link_get_stats(f->link, &stats);
        assert_true(stats.is_online);
        assert_int_equal(stats.n_published, 2);
        assert_int_equal(stats.n_sent, 2);
        assert_int_equal(stats.n_dropped, 0);
        finish(f);
}

static void test_retained_is_kept_without_a_copy(void **state UNUSED)
{
        struct fixture *f = start("");
        struct message *m = message("a", "kept", true);
        int c;

        online(f);
        assert_int_equal(link_publish(f->link, m), 0);
        assert_ptr_equal(retained_get(f->rig.broker->retained, "a", 1, 0), m);
        c = client(f, 'c');
        FEED(f, c, 0x82, 6, 0, 1, 0, 1, 'a', 0);
        ASSERT_OUT(f, c, 0x90, 3, 0, 1, 0, 0x31, 7, 0, 1, 'a', 'k', 'e', 'p', 't');
        (void)message_unref(m);
        finish(f);
}

static void test_receives_from_the_loop(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, 'c');

        assert_int_equal(link_subscribe(f->link, "g/+/set", 2), 0);
        online(f);
        forget(f);
        FEED(f, c, 0x30, 9, 0, 7, 'g', '/', 'x', '/', 's', 'e', 't', 0x30, 10, 0, 7, 'g', '/', 'y', '/', 's',
             'e', 't', '1');
        assert_int_equal(f->n_seen, 2);
        assert_int_equal(f->seen[0].kind, LINK_MESSAGE);
        assert_string_equal(f->seen[0].message->topic, "g/x/set");
        assert_int_equal(f->seen[0].message->payload_bytes, 0);
        assert_string_equal(f->seen[1].message->payload, "1");
        assert_false(f->seen[1].was_retained);
        forget(f);
        assert_int_equal(link_unsubscribe(f->link, "g/+/set"), 0);
        FEED(f, c, 0x30, 9, 0, 7, 'g', '/', 'x', '/', 's', 'e', 't');
        assert_int_equal(f->n_seen, 0);
        assert_int_equal(link_subscribe(f->link, "a/#/b", 0), -EINVAL);
        finish(f);
}

static void test_answers_from_within_an_event(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, 'c');

        online(f);
        assert_int_equal(link_subscribe(f->link, "#", 0), 0); /* and does not hear itself */
        forget(f);
        f->answers = true;
        FEED(f, c, 0x82, 11, 0, 1, 0, 6, 'a', 'n', 's', 'w', 'e', 'r', 0);
        broker_rig_clear(&f->rig, c);
        FEED(f, c, 0x30, 4, 0, 1, 'q', '7');
        broker_rig_turn(&f->rig);
        ASSERT_OUT(f, c, 0x30, 9, 0, 6, 'a', 'n', 's', 'w', 'e', 'r', '7');
        assert_int_equal(f->n_seen, 1);
        finish(f);
}

static void test_retained_commands_are_told_as_such(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, 'c');

        FEED(f, c, 0x31, 4, 0, 1, 'q', '7', 0x31, 4, 0, 1, 'r', '8');
        assert_int_equal(link_subscribe(f->link, "q", 0), 0);
        broker_rig_turn(&f->rig);
        assert_int_equal(f->n_seen, 0); /* not before it is online */
        online(f);
        assert_int_equal(f->n_seen, 2);
        assert_int_equal(f->seen[1].kind, LINK_MESSAGE);
        assert_string_equal(f->seen[1].message->payload, "7");
        assert_true(f->seen[1].was_retained);
        assert_int_equal(link_subscribe(f->link, "r", 0), 0);
        broker_rig_turn(&f->rig);
        assert_true(f->seen[2].was_retained);
        FEED(f, c, 0x31, 4, 0, 1, 'q', '9');
        assert_string_equal(f->seen[3].message->payload, "9");
        assert_false(f->seen[3].was_retained); /* published now */
        finish(f);
}

/* MQTT 5.0 §4.10: response topic and correlation data come, and go back. */
static void test_request_and_response(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = broker_rig_connect(&f->rig);
        struct message *m;
        const struct message_init answer = { .topic = "re",
                                             .payload = "ok",
                                             .payload_bytes = 2,
                                             .correlation = "id",
                                             .correlation_bytes = 2 };

        FEED(f, c, 0x10, 0x0E, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
        FEED(f, c, 0x82, 8, 0, 1, 0, 0, 2, 'r', 'e', 0);
        online(f);
        assert_int_equal(link_subscribe(f->link, "q", 0), 0);
        forget(f);
        broker_rig_clear(&f->rig, c);
        FEED(f, c, 0x30, 15, 0, 1, 'q', 10, 0x08, 0, 2, 'r', 'e', 0x09, 0, 2, 'i', 'd', '7');
        assert_int_equal(f->n_seen, 1);
        m = f->seen[0].message;
        assert_string_equal(m->response_topic, "re");
        assert_int_equal(m->correlation_bytes, 2);
        assert_memory_equal(m->correlation, "id", 2);
        assert_string_equal(m->payload, "7");
        assert_int_equal(message_new(&answer, &m), 0);
        assert_int_equal(link_publish(f->link, m), 0);
        (void)message_unref(m);
        broker_rig_turn(&f->rig);
        ASSERT_OUT(f, c, 0x30, 12, 0, 2, 'r', 'e', 5, 0x09, 0, 2, 'i', 'd', 'o', 'k');
        finish(f);
}

static void test_flood_is_bounded(void **state UNUSED)
{
        struct fixture *f = start("");
        uint8_t many[6 * (LINK_LOCAL_EVENTS_MAX + 200)];
        struct link_stats stats;
        int c = client(f, 'c');

        assert_int_equal(link_subscribe(f->link, "q", 0), 0);
        for (size_t i = 0; i < sizeof(many); i += 6)
                memcpy(many + i, (const uint8_t[]){ 0x30, 4, 0, 1, 'q', '7' }, 6);
        broker_rig_feed(&f->rig, c, many, sizeof(many)); /* not started: all wait */
        link_get_stats(f->link, &stats);
        assert_int_equal(stats.n_received, LINK_LOCAL_EVENTS_MAX + 200);
        assert_int_equal(stats.n_dropped, 200);
        online(f);
        for (int i = 0; i < 100; i++)
                broker_rig_turn(&f->rig);
        assert_int_equal(f->n_seen, 1 + LINK_LOCAL_EVENTS_MAX);
        finish(f);
}

static void test_many_filters_and_their_limit(void **state UNUSED)
{
        struct fixture *f = start("max_subscriptions_per_client = 2; max_subscriptions = 1000;");
        char filter[32];

        for (int i = 0; i < 5000; i++) {
                (void)snprintf(filter, sizeof(filter), "%d", i);
                if (link_subscribe(f->link, filter, 0) < 0)
                        fail_msg("filter %d", i);
        }
        finish(f);
}

static void test_stop(void **state UNUSED)
{
        struct fixture *f = start("");
        struct link *other;
        int c = client(f, 'c');

        assert_int_equal(link_subscribe(f->link, "q", 0), 0);
        online(f);
        FEED(f, c, 0x82, 6, 0, 1, 0, 1, 'a', 1);
        broker_rig_clear(&f->rig, c);
        assert_int_equal(publish(f, "a", "offline", false), 0);
        link_stop(f->link, 0);
        assert_int_equal(f->n_seen, 1); /* not from within the call */
        assert_int_equal(publish(f, "a", "x", false), -ESHUTDOWN);
        FEED(f, c, 0x30, 4, 0, 1, 'q', '7');
        assert_int_equal(f->n_seen, 2);
        assert_int_equal(f->seen[1].kind, LINK_STOPPED);
        ASSERT_OUT(f, c, 0x30, 10, 0, 1, 'a', 'o', 'f', 'f', 'l', 'i', 'n', 'e');
        /* Its successor may be there before it is gone. */
        assert_int_equal(
                link_local_new(
                        &(struct link_local_init){ .broker = f->rig.broker, .on_event = on_event, .user = f },
                        &other),
                0);
        f->link = link_free(f->link);
        f->link = other;
        finish(f);
}

static void test_its_id_is_nobodys(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = broker_rig_connect(&f->rig);

        online(f);
        FEED(f, c, 0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 8, '$', 'g', 'a', 't', 'e', 'w', 'a',
             'y');
        assert_int_equal(f->rig.clients[c].out[0], 0x20);
        assert_int_not_equal(f->rig.clients[c].out[3], 0);
        assert_int_equal(publish(f, "a", "x", false), 0);
        finish(f);
}

/* ---- $SYS ---- */

static const char *sys_text(struct fixture *f, const char *topic)
{
        char name[128];
        const struct message *m;

        (void)snprintf(name, sizeof(name), "$SYS/broker/%s", topic);
        m = retained_get(f->rig.broker->retained, name, strlen(name), 0);
        return m ? m->payload : "(none)";
}

static void test_sys_has_mosquittos_names(void **state UNUSED)
{
        static const char *const names[] = {
                "version",
                "uptime",
                "clients/connected",
                "clients/disconnected",
                "clients/total",
                "clients/maximum",
                "clients/expired",
                "clients/active",
                "clients/inactive",
                "clients/list",
                "messages/received",
                "messages/sent",
                "messages/inflight",
                "messages/stored",
                "store/messages/count",
                "store/messages/bytes",
                "store/disk/messages",
                "store/disk/bytes",
                "publish/messages/received",
                "publish/messages/sent",
                "publish/messages/dropped",
                "bytes/received",
                "bytes/sent",
                "publish/bytes/received",
                "publish/bytes/sent",
                "subscriptions/count",
                "shared_subscriptions/count",
                "retained messages/count",
                "heap/current",
                "heap/maximum",
                "load/messages/received/1min",
                "load/messages/sent/5min",
                "load/publish/received/15min",
                "load/publish/sent/1min",
                "load/publish/dropped/1min",
                "load/bytes/received/1min",
                "load/bytes/sent/1min",
                "load/sockets/1min",
                "load/connections/15min",
        };
        struct fixture *f = start("");

        fake_loop_turn(f->rig.loop);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(sys_text(f, names[i]), "(none)") == 0)
                        fail_msg("%s is missing", names[i]);
        }
        assert_string_equal(sys_text(f, "uptime"), "0 seconds");
        finish(f);
}

static void test_sys_counts(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, 'c');

        FEED(f, c, 0x82, 6, 0, 1, 0, 1, 'a', 0);
        FEED(f, c, 0x82, 15, 0, 2, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b', 0);
        for (int i = 0; i < 6; i++)
                FEED(f, c, 0x30, 5, 0, 1, 'a', 'h', 'i');
        broker_rig_advance(&f->rig, 10 * USEC_PER_SEC);
        assert_string_equal(sys_text(f, "uptime"), "10 seconds");
        assert_string_equal(sys_text(f, "clients/connected"), "1");
        assert_string_equal(sys_text(f, "clients/maximum"), "1");
        assert_string_equal(sys_text(f, "publish/messages/received"), "6");
        assert_string_equal(sys_text(f, "publish/messages/sent"), "6");
        assert_string_equal(sys_text(f, "publish/bytes/sent"), "12");
        assert_string_equal(sys_text(f, "messages/received"), "9");
        assert_string_equal(sys_text(f, "subscriptions/count"), "2");
        assert_string_equal(sys_text(f, "shared_subscriptions/count"), "1");
        /* 6 in 10 s are 36 a minute; of that 1 − e^(−1/6) so far. */
        assert_string_equal(sys_text(f, "load/publish/received/1min"), "5.53");
        assert_string_equal(sys_text(f, "load/publish/received/15min"), "0.40");
        broker_rig_close(&f->rig, c);
        broker_rig_advance(&f->rig, 10 * USEC_PER_SEC);
        assert_string_equal(sys_text(f, "clients/connected"), "0");
        finish(f);
}

static void test_sys_says_only_what_changed(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, 'c');

        FEED(f, c, 0x82, 11 + 14, 0, 1, 0, 20, '$', 'S', 'Y', 'S', '/', 'b', 'r', 'o', 'k', 'e', 'r', '/',
             'c', 'l', 'i', 'e', 'n', 't', 's', '/', '+', 0);
        broker_rig_advance(&f->rig, 10 * USEC_PER_SEC);
        broker_rig_clear(&f->rig, c);
        broker_rig_advance(&f->rig, 100 * USEC_PER_SEC);
        assert_int_equal(f->rig.clients[c].n_out, 0);
        finish(f);
}

static void test_sys_lists_clients(void **state UNUSED)
{
        struct fixture *f = start("");
        int c = client(f, '"');
        const char *list;

        fake_loop_advance(f->rig.loop, 10 * USEC_PER_SEC);
        list = sys_text(f, "clients/list");
        assert_non_null(strstr(list, "{\"clients\":[{\"id\":\"\\\"\",\"address\":\"127.0.0.1\",\"port\":0,"
                                     "\"user\":null,\"protocol\":\"3.1.1\",\"since\":\"20"));
        assert_non_null(strstr(list, "Z\",\"queued\":0,\"dropped\":0}],\"not_shown\":0}"));
        broker_rig_close(&f->rig, c);
        broker_rig_advance(&f->rig, 10 * USEC_PER_SEC);
        assert_string_equal(sys_text(f, "clients/list"), "{\"clients\":[],\"not_shown\":0}");
        finish(f);
}

static void test_sys_off_and_on(void **state UNUSED)
{
        struct fixture *f = start("");
        struct conf_broker *conf = &f->rig.conf->broker;

        fake_loop_turn(f->rig.loop);
        assert_true(retained_n_messages(f->rig.broker->retained) > 50);
        conf->sys_interval_s = 0;
        sys_reconfigure(f->rig.broker->sys);
        assert_int_equal(retained_n_messages(f->rig.broker->retained), 0);
        broker_rig_advance(&f->rig, 100 * USEC_PER_SEC);
        assert_int_equal(retained_n_messages(f->rig.broker->retained), 0);
        conf->sys_interval_s = 5;
        sys_reconfigure(f->rig.broker->sys);
        broker_rig_turn(&f->rig);
        assert_string_equal(sys_text(f, "uptime"), "100 seconds");
        broker_tell_link(f->rig.broker, "cloud", "1");
        assert_string_equal(sys_text(f, "connection/cloud/state"), "1");
        broker_tell_link(f->rig.broker, "cloud", "");
        assert_string_equal(sys_text(f, "connection/cloud/state"), "(none)");
        finish(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_publishes_to_clients),
                cmocka_unit_test(test_retained_is_kept_without_a_copy),
                cmocka_unit_test(test_receives_from_the_loop),
                cmocka_unit_test(test_answers_from_within_an_event),
                cmocka_unit_test(test_retained_commands_are_told_as_such),
                cmocka_unit_test(test_request_and_response),
                cmocka_unit_test(test_flood_is_bounded),
                cmocka_unit_test(test_many_filters_and_their_limit),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_its_id_is_nobodys),
                cmocka_unit_test(test_sys_has_mosquittos_names),
                cmocka_unit_test(test_sys_counts),
                cmocka_unit_test(test_sys_says_only_what_changed),
                cmocka_unit_test(test_sys_lists_clients),
                cmocka_unit_test(test_sys_off_and_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
