/* SPDX-License-Identifier: MIT */
/*
 * Random ACL files, read by a real mosquitto and by us: what each lets a client publish and receive must be
 * the same. Files have denying patterns or rules of users, not both, since there alone we mean to differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"
#include "mbgate/broker/acl.h"

#include "mosquitto_broker.h"

#define N_FILES      40
#define N_TOPICS     40
#define TOPIC_BYTES  40
#define MAX_MIDS     400
#define NOT_SEEN     0xffff
#define TEST_WAIT_US (30 * USEC_PER_SEC)

static const struct acl_client clients[] = { { NULL, "c1" }, { "u1", "c1" }, { "u2", "c2" }, { "u3", "u1" } };

/* One connection, and what it was told. */
struct peer {
        struct mosquitto *m;
        bool is_connected, is_subscribed;
        int reasons[MAX_MIDS]; /* of PUBACK, by packet id */
        bool received[N_TOPICS];
};

static char topics[N_TOPICS][TOPIC_BYTES];

static void on_connect(struct mosquitto *m, void *user, int rc)
{
        (void)m;
        ((struct peer *)user)->is_connected = rc == 0;
}

static void on_subscribe(struct mosquitto *m, void *user, int mid, int n, const int *qos)
{
        (void)m, (void)mid, (void)n, (void)qos;
        ((struct peer *)user)->is_subscribed = true;
}

static void on_publish(struct mosquitto *m, void *user, int mid, int reason, const mosquitto_property *p)
{
        (void)m, (void)p;
        assert_in_range(mid, 1, MAX_MIDS - 1);
        ((struct peer *)user)->reasons[mid] = reason;
}

static void on_message(struct mosquitto *m, void *user, const struct mosquitto_message *message)
{
        (void)m;
        for (size_t i = 0; i < N_TOPICS; i++)
                if (strcmp(topics[i], message->topic) == 0)
                        ((struct peer *)user)->received[i] = true;
}

static void peer_turn(struct peer *p, uint64_t until_us)
{
        assert_int_equal(mosquitto_loop(p->m, 100, 1), MOSQ_ERR_SUCCESS);
        if (clock_monotonic_us() > until_us)
                fail_msg("mosquitto does not answer");
}

static void peer_open(struct peer *p, const struct mosquitto_broker *b, const struct acl_client *as)
{
        uint64_t until_us = clock_monotonic_us() + TEST_WAIT_US;

        *p = (struct peer){ .m = NULL };
        p->m = mosquitto_new(as->id, true, p);
        assert_non_null(p->m);
        (void)mosquitto_int_option(p->m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
        if (as->user)
                assert_int_equal(mosquitto_username_pw_set(p->m, as->user, "x"), 0);
        mosquitto_connect_callback_set(p->m, on_connect);
        mosquitto_subscribe_callback_set(p->m, on_subscribe);
        mosquitto_publish_v5_callback_set(p->m, on_publish);
        mosquitto_message_callback_set(p->m, on_message);
        assert_int_equal(mosquitto_connect(p->m, "127.0.0.1", b->port, 60), 0);
        while (!p->is_connected)
                peer_turn(p, until_us);
}

static void peer_close(struct peer *p)
{
        (void)mosquitto_disconnect(p->m);
        mosquitto_destroy(p->m);
}

/* Publishes with QoS 1 and returns the reason code. */
static int peer_publish(struct peer *p, const char *topic)
{
        uint64_t until_us = clock_monotonic_us() + TEST_WAIT_US;
        int mid;

        assert_int_equal(mosquitto_publish(p->m, &mid, topic, 1, "x", 1, false), 0);
        assert_in_range(mid, 1, MAX_MIDS - 1);
        p->reasons[mid] = NOT_SEEN;
        while (p->reasons[mid] == NOT_SEEN)
                peer_turn(p, until_us);
        return p->reasons[mid];
}

static void peer_subscribe(struct peer *p, const char *filter)
{
        uint64_t until_us = clock_monotonic_us() + TEST_WAIT_US;

        p->is_subscribed = false;
        assert_int_equal(mosquitto_subscribe(p->m, NULL, filter, 0), 0);
        while (!p->is_subscribed)
                peer_turn(p, until_us);
}

static void random_topic(struct random *r, bool is_filter, bool is_pattern, char out[TOPIC_BYTES])
{
        static const char *const words[] = { "a", "b", "c1", "u1", "", "+", "+", "%c", "%u", "a%c" };
        unsigned n_words = is_pattern ? 10 : is_filter ? 7 : 5;
        size_t n = 1 + (size_t)random_below(r, 3), at = 0;

        if (random_below(r, 6) == 0)
                at = (size_t)sprintf(out, "$x/");
        for (size_t i = 0; i < n; i++)
                at += (size_t)sprintf(out + at, "%s%s", i ? "/" : "", words[random_below(r, n_words)]);
        if (is_filter && random_below(r, 3) == 0)
                at += (size_t)sprintf(out + at, "%s#", at ? "/" : "");
        if (at == 0)
                (void)strcpy(out, "b");
}

static void random_rules(struct random *r, FILE *f, const char *word, bool may_deny)
{
        static const char *const access[] = { "", "read ", "write ", "readwrite ", "deny " };
        char filter[TOPIC_BYTES];

        for (size_t n = (size_t)random_below(r, 8); n > 0; n--) {
                random_topic(r, true, *word == 'p', filter);
                (void)fprintf(f, "%s %s%s\n", word, access[random_below(r, may_deny ? 5 : 4)], filter);
        }
}

static void random_file(struct random *r, const char *path)
{
        bool deny_patterns = random_below(r, 2) == 0;
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        if (!deny_patterns)
                random_rules(r, f, "topic", true);
        for (size_t i = 1; i < 4 && !deny_patterns; i++) {
                (void)fprintf(f, "user %s\n", clients[i].user);
                random_rules(r, f, "topic", true);
        }
        random_rules(r, f, "pattern", deny_patterns);
        (void)fprintf(f, "user root\ntopic #\ntopic $x/#\n");
        assert_int_equal(fclose(f), 0);
        for (size_t i = 0; i < N_TOPICS; i++)
                random_topic(r, false, false, topics[i]);
}

static void compare(const struct acl *acl, const struct acl_client *c, const char *path, const char *topic,
                    enum acl_access access, bool mosquitto_allows)
{
        if (acl_check(acl, c, access, topic, strlen(topic)) != mosquitto_allows)
                fail_msg("%s: user %s, client %s, topic %s: mosquitto %s %s", path, c->user ? c->user : "-",
                         c->id, topic, mosquitto_allows ? "allows" : "denies",
                         access == ACL_READ ? "reading" : "writing");
        if (access == ACL_READ && mosquitto_allows && !acl_check_filter(acl, c, topic, strlen(topic)))
                fail_msg("%s: topic %s can be read, but not subscribed to", path, topic);
}

static void compare_client(const struct mosquitto_broker *b, const struct acl *acl, const char *path,
                           const struct acl_client *c, size_t n_allowed[2])
{
        static const struct acl_client root = { "root", "root" };
        struct peer own, publisher;

        peer_open(&own, b, c);
        for (size_t i = 0; i < N_TOPICS; i++) {
                bool allowed = peer_publish(&own, topics[i]) < 0x80;

                n_allowed[allowed]++;
                compare(acl, c, path, topics[i], ACL_WRITE, allowed);
        }
        peer_subscribe(&own, "#");
        peer_subscribe(&own, "$x/#");
        peer_open(&publisher, b, &root);
        for (size_t i = 0; i < N_TOPICS; i++)
                assert_true(peer_publish(&publisher, topics[i]) < 0x80);
        peer_close(&publisher);
        (void)peer_publish(&own, "end"); /* all that was for us stands before its answer */
        for (size_t i = 0; i < N_TOPICS; i++) {
                n_allowed[own.received[i]]++;
                compare(acl, c, path, topics[i], ACL_READ, own.received[i]);
        }
        peer_close(&own);
}

static void test_same_as_mosquitto(void **state)
{
        struct random r = { .state = 3 };
        struct mosquitto_broker b;
        size_t n_allowed[2] = { 0 };
        char path[128];

        (void)state;
        (void)mosquitto_lib_init();
        mosquitto_broker_init(&b, "allow_anonymous true\nacl_file acl\n");
        (void)snprintf(path, sizeof(path), "%s/acl", b.folder);
        for (unsigned i = 0; i < N_FILES; i++) {
                struct findings findings = { 0 };
                struct acl *acl;

                random_file(&r, path);
                assert_int_equal(acl_load(path, &findings, &acl), 0);
                mosquitto_broker_start(&b);
                for (size_t k = 0; k < ARRAY_SIZE(clients); k++)
                        compare_client(&b, acl, path, &clients[k], n_allowed);
                mosquitto_broker_kill(&b);
                (void)acl_free(acl);
        }
        mosquitto_broker_done(&b);
        (void)mosquitto_lib_cleanup();
        /* Questions that all have the same answer would show nothing. */
        print_message("%zu allowed, %zu denied\n", n_allowed[1], n_allowed[0]);
        assert_true(n_allowed[0] > 1000 && n_allowed[1] > 1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_same_as_mosquitto),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
