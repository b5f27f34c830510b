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
#include "mbgate/codec/topic.h"
#include "retained.h"

static struct retained *make(size_t max_messages, size_t max_bytes)
{
        struct retained_limits limits = {
                .max_levels = 200, .max_nodes = 100000, .max_messages = max_messages, .max_bytes = max_bytes
        };
        struct retained *r;

        assert_int_equal(retained_new(&limits, &r), 0);
        return r;
}

static int set_expiring(struct retained *r, const char *topic, const char *payload, uint64_t now_us,
                        uint32_t expiry_s)
{
        struct message_init init = { .topic = topic,
                                     .payload = payload,
                                     .payload_bytes = strlen(payload),
                                     .retain = true,
                                     .made_us = now_us,
                                     .expiry_s = expiry_s };
        CLEANUP(message_unrefp)
        struct message *m = NULL;

        assert_int_equal(message_new(&init, &m), 0);
        return retained_set(r, m, NULL, now_us);
}

static int set(struct retained *r, const char *topic, const char *payload)
{
        return set_expiring(r, topic, payload, 0, 0);
}

static struct message *get(struct retained *r, const char *topic, uint64_t now_us)
{
        return retained_get(r, topic, strlen(topic), now_us);
}

static struct retained_cursor *walk(struct retained *r, const char *filter)
{
        struct retained_cursor *c;

        assert_int_equal(retained_cursor_new(r, filter, strlen(filter), &c), 0);
        return c;
}

/* All that a filter finds, with so many looks a call. */
static size_t count(struct retained *r, const char *filter, size_t looks_a_call, uint64_t now_us)
{
        CLEANUP(retained_cursor_freep)
        struct retained_cursor *c = walk(r, filter);
        size_t n = 0;

        for (;;) {
                size_t looks = looks_a_call;
                struct message *m;
                int result = retained_cursor_next(c, now_us, &looks, &m);

                if (result == 0)
                        return n;
                if (result == RETAINED_MESSAGE) {
                        assert_true(topic_matches(filter, strlen(filter), m->topic, m->topic_bytes));
                        n++;
                } else {
                        assert_int_equal(looks, 0);
                }
        }
}

static void test_set_replace_clear(void **state)
{
        CLEANUP(retained_freep)
        struct retained *r = make(10, 10000);

        (void)state;
        assert_null(get(r, "a/b", 0));
        assert_int_equal(set(r, "a/b", "1"), 0);
        assert_int_equal(set(r, "a", "2"), 0);
        assert_int_equal(set(r, "a/b", "3"), 0);
        assert_string_equal(get(r, "a/b", 0)->payload, "3");
        assert_int_equal(retained_n_messages(r), 2);
        assert_int_equal(set(r, "a/b", ""), 0);
        assert_int_equal(set(r, "x", ""), 0);
        assert_null(get(r, "a/b", 0));
        assert_int_equal(set(r, "a", ""), 0);
        assert_int_equal(retained_n_messages(r), 0);
        assert_int_equal(retained_n_bytes(r), 0);
        assert_int_equal(set(r, "left/for/free", "x"), 0);
        assert_int_equal(set(r, "left", "x"), 0);
}

static void test_filters(void **state)
{
        static const struct {
                const char *filter;
                size_t n;
        } cases[] = {
                { "#", 6 },     { "+", 2 },           { "+/+", 3 },    { "a/#", 4 },      { "a/+", 2 },
                { "a/b", 1 },   { "a/b/#", 2 },       { "+/b/#", 2 },  { "a//", 0 },      { "/+", 1 },
                { "+/", 0 },    { "$SYS/#", 1 },      { "$SYS/+", 1 }, { "+/uptime", 0 }, { "b", 1 },
                { "b/#", 1 },   { "a/b/c/d/#", 0 },   { "x/#", 0 },    { "/#", 1 },       { "+/+/+", 1 },
                { "a/+/#", 3 }, { "$SYS/uptime", 1 },
        };
        CLEANUP(retained_freep)
        struct retained *r = make(100, 100000);

        (void)state;
        assert_int_equal(count(r, "#", 1, 0), 0);
        assert_int_equal(set(r, "a", "1"), 0);
        assert_int_equal(set(r, "a/b", "1"), 0);
        assert_int_equal(set(r, "a/b/c", "1"), 0);
        assert_int_equal(set(r, "a/x", "1"), 0);
        assert_int_equal(set(r, "b", "1"), 0);
        assert_int_equal(set(r, "/x", "1"), 0);
        assert_int_equal(set(r, "$SYS/uptime", "1"), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t looks = 1; looks < 20; looks += 6)
                        if (count(r, cases[i].filter, looks, 0) != cases[i].n)
                                fail_msg("%s: %zu", cases[i].filter, count(r, cases[i].filter, looks, 0));
}

static void test_expiry(void **state)
{
        CLEANUP(retained_freep)
        struct retained *r = make(100, 100000);

        (void)state;
        assert_int_equal(set_expiring(r, "a", "1", 0, 10), 0);
        assert_int_equal(set_expiring(r, "b", "1", 0, 20), 0);
        assert_int_equal(set_expiring(r, "c", "1", 0, 0), 0);
        assert_non_null(get(r, "a", 10 * USEC_PER_SEC - 1));
        assert_null(get(r, "a", 10 * USEC_PER_SEC)); /* gone at its moment, whether swept or not */
        assert_int_equal(count(r, "#", 100, 15 * USEC_PER_SEC), 2);
        assert_int_equal(retained_expire(r, 5 * USEC_PER_SEC, 100), 0);
        assert_int_equal(retained_expire(r, 15 * USEC_PER_SEC, 1) + retained_expire(r, 15 * USEC_PER_SEC, 1),
                         1);
        assert_int_equal(retained_n_messages(r), 2);
        assert_int_equal(set_expiring(r, "b", "1", 0, 0), 0); /* forever now */
        assert_int_equal(retained_expire(r, 100 * USEC_PER_SEC, 100), 0);
        assert_int_equal(retained_n_messages(r), 2);
}

static void test_limits(void **state)
{
        struct retained_limits limits = {
                .max_levels = 3, .max_nodes = 5, .max_messages = 3, .max_bytes = 2000
        };
        char large[3000];
        CLEANUP(retained_freep)
        struct retained *r = NULL;

        (void)state;
        memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        assert_int_equal(retained_new(&limits, &r), 0);
        assert_int_equal(set(r, "a/b/c/d", "1"), RETAINED_TOO_DEEP);
        assert_int_equal(set(r, "a/b/c", "1"), 0);
        assert_int_equal(set(r, "d/e/f", "1"), RETAINED_FULL); /* nodes */
        assert_int_equal(set(r, "d", large), RETAINED_FULL);
        assert_int_equal(set(r, "a/b/c", large), RETAINED_FULL);
        assert_string_equal(get(r, "a/b/c", 0)->payload, "1");
        assert_int_equal(set_expiring(r, "d", "1", 0, 10), 0);
        assert_int_equal(set(r, "e", "1"), 0);
        assert_int_equal(set(r, "a", "1"), RETAINED_FULL);                    /* messages */
        assert_int_equal(set_expiring(r, "a", "1", 11 * USEC_PER_SEC, 0), 0); /* "d" made room */
        assert_int_equal(retained_n_messages(r), 3);
        assert_int_equal(set(r, "e", "2"), 0); /* full, but it replaces */
}

/* Properties are paid for, and a topic twice: it stands in the tree, too. */
static void test_all_that_is_kept_counts(void **state)
{
        static uint8_t properties[10000];
        static char topic[5001];
        struct message_init init = { .topic = "a",
                                     .payload = "1",
                                     .payload_bytes = 1,
                                     .retain = true,
                                     .properties = properties,
                                     .properties_bytes = sizeof(properties) };
        CLEANUP(retained_freep)
        struct retained *r = make(1000, 30000);

        (void)state;
        for (unsigned i = 0; i < 3; i++) {
                CLEANUP(message_unrefp)
                struct message *m = NULL;
                char name[8];

                (void)snprintf(name, sizeof(name), "a/%u", i);
                init.topic = name;
                assert_int_equal(message_new(&init, &m), 0);
                assert_int_equal(retained_set(r, m, NULL, 0), i < 2 ? 0 : RETAINED_FULL);
        }
        assert_true(retained_n_bytes(r) > 2 * sizeof(properties));
        memset(topic, 't', sizeof(topic) - 1);
        assert_int_equal(set(r, topic, "1"), RETAINED_FULL);
        topic[4000] = '\0';
        assert_int_equal(set(r, topic, "1"), 0);
        assert_true(retained_n_bytes(r) > 2 * sizeof(properties) + 8000);
}

static void test_cursor_where_all_is_cleared(void **state)
{
        CLEANUP(retained_freep)
        struct retained *r = make(1000, 1000000);
        struct retained_cursor *c;
        struct message *m;
        size_t looks = 1000;
        char topic[32];

        (void)state;
        for (unsigned i = 0; i < 100; i++) {
                (void)snprintf(topic, sizeof(topic), "a/%u/b", i);
                assert_int_equal(set(r, topic, "1"), 0);
        }
        c = walk(r, "#");
        for (unsigned i = 0; i < 50; i++)
                assert_int_equal(retained_cursor_next(c, 0, &looks, &m), RETAINED_MESSAGE);
        for (unsigned i = 0; i < 100; i++) {
                (void)snprintf(topic, sizeof(topic), "a/%u/b", i);
                assert_int_equal(set(r, topic, ""), 0);
        }
        assert_int_equal(retained_n_messages(r), 0);
        assert_int_equal(retained_cursor_next(c, 0, &looks, &m), 0);
        assert_int_equal(retained_cursor_next(c, 0, &looks, &m), 0);
        (void)retained_cursor_free(c);
}

#define N_TOPICS 60

/* Walks while topics come and go: what stays is given once, nothing twice. */
static void walk_with_changes(struct retained *r, struct random *rnd, char topics[N_TOPICS][16],
                              bool present[N_TOPICS], const char *filter)
{
        CLEANUP(retained_cursor_freep)
        struct retained_cursor *c = walk(r, filter);
        unsigned given[N_TOPICS] = { 0 };
        bool stayed[N_TOPICS];
        int result;

        memcpy(stayed, present, sizeof(stayed));
        do {
                size_t looks = 1 + (size_t)random_below(rnd, 3), i = (size_t)random_below(rnd, N_TOPICS);
                struct message *m;

                result = retained_cursor_next(c, 0, &looks, &m);
                for (size_t k = 0; result == RETAINED_MESSAGE && k < N_TOPICS; k++)
                        given[k] += strcmp(topics[k], m->topic) == 0;
                if (random_below(rnd, 2) == 0) {
                        present[i] = random_below(rnd, 2) == 0;
                        stayed[i] &= present[i];
                        assert_int_equal(set(r, topics[i], present[i] ? "x" : ""), 0);
                }
        } while (result != 0);
        for (size_t k = 0; k < N_TOPICS; k++) {
                bool matches = topic_matches(filter, strlen(filter), topics[k], strlen(topics[k]));

                assert_true(given[k] <= matches);
                assert_true(!stayed[k] || given[k] == matches);
        }
}

static void test_cursor_survives_changes(void **state)
{
        static const char *const filters[] = { "#",     "+/#",  "a/#",   "+/b", "a/+/c",
                                               "+/+/+", "$x/#", "a/b/c", "+" };
        static const char *const words[] = { "a", "b", "c", "", "$x" };
        CLEANUP(retained_freep)
        struct retained *r = make(1000, 1000000);
        struct random rnd = { .state = 5 };
        char topics[N_TOPICS][16];
        bool present[N_TOPICS] = { false };

        (void)state;
        for (size_t i = 0; i < N_TOPICS;) { /* all different */
                size_t n = 1 + (size_t)random_below(&rnd, 4), at = 0, same = 0;

                for (size_t k = 0; k < n; k++)
                        at += (size_t)sprintf(topics[i] + at, "%s%s", k ? "/" : "",
                                              words[random_below(&rnd, 5)]);
                while (same < i && strcmp(topics[same], topics[i]) != 0)
                        same++;
                i += same == i && at > 0;
        }
        for (unsigned round = 0; round < 3000; round++)
                walk_with_changes(r, &rnd, topics, present, filters[random_below(&rnd, ARRAY_SIZE(filters))]);
}

/* The next payload of a walk, or "". */
static const char *step(struct retained_cursor *c)
{
        size_t looks = 100;
        struct message *m;

        return retained_cursor_next(c, 0, &looks, &m) == RETAINED_MESSAGE ? m->payload : "";
}

/* A subscription gets what is newer in another way. */
static void test_cursor_that_skips_newer(void **state)
{
        CLEANUP(retained_freep)
        struct retained *r = make(100, 100000);
        CLEANUP(retained_cursor_freep)
        struct retained_cursor *all = NULL;
        CLEANUP(retained_cursor_freep)
        struct retained_cursor *old = NULL;

        (void)state;
        assert_int_equal(set(r, "t/a", "1"), 0);
        assert_int_equal(set(r, "t/b", "2"), 0);
        assert_int_equal(set(r, "t/c", "3"), 0);
        all = walk(r, "t/#");
        old = walk(r, "t/#");
        retained_cursor_skip_newer(old);
        assert_true(retained_cursor_is_on(old, "t/#", 3));
        assert_false(retained_cursor_is_on(old, "t/+", 3));
        assert_false(retained_cursor_is_on(old, "t/#/", 4));
        assert_int_equal(set(r, "t/b", "new"), 0);
        assert_int_equal(set(r, "t/d", "new"), 0);
        assert_string_equal(step(old), "3"); /* the topic that came last comes first */
        assert_string_equal(step(old), "1");
        assert_string_equal(step(old), "");
        assert_string_equal(step(all), "new");
        assert_string_equal(step(all), "3");
        assert_string_equal(step(all), "new");
        assert_string_equal(step(all), "1");
}

/* What was last said of a topic may be nothing: it is known, and given to nobody. */
static void test_empty_ones_can_be_kept(void **state)
{
        struct retained_limits limits = { .max_levels = 200,
                                          .max_nodes = 100,
                                          .max_messages = 10,
                                          .max_bytes = 10000,
                                          .keeps_empty = true };
        CLEANUP(retained_freep)
        struct retained *r = NULL;

        (void)state;
        assert_int_equal(retained_new(&limits, &r), 0);
        assert_int_equal(set(r, "t/a", "1"), 0);
        assert_int_equal(set(r, "t/b", "2"), 0);
        assert_int_equal(set(r, "t/a", ""), 0);
        assert_int_equal(get(r, "t/a", 0)->payload_bytes, 0);
        assert_int_equal(count(r, "t/#", 100, 0), 1);
        assert_int_equal(set(r, "t/a", "3"), 0);
        assert_int_equal(count(r, "t/#", 100, 0), 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_set_replace_clear),
                cmocka_unit_test(test_filters),
                cmocka_unit_test(test_expiry),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_all_that_is_kept_counts),
                cmocka_unit_test(test_cursor_where_all_is_cleared),
                cmocka_unit_test(test_cursor_survives_changes),
                cmocka_unit_test(test_cursor_that_skips_newer),
                cmocka_unit_test(test_empty_ones_can_be_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
