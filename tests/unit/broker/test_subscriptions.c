/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/random.h"
#include "mbgate/codec/topic.h"
#include "subscriptions.h"
#include "topic_tree.h"

#define N_CLIENTS 12
#define MAX_IDS   64

/* What a match has told. */
struct seen {
        struct {
                const struct subscriber *s;
                uint8_t qos;
                bool rap, is_shared;
                uint32_t ids[MAX_IDS];
                size_t n_ids;
        } hits[64];
        size_t n;
        enum subscriber_readiness readiness[N_CLIENTS];
};

static struct subscriber clients[N_CLIENTS];

static void on_hit(void *user, const struct subscription_hit *hit)
{
        struct seen *seen = user;
        const struct subscription *at = hit->first;
        size_t i = seen->n++;

        assert_true(i < ARRAY_SIZE(seen->hits));
        seen->hits[i].s = hit->subscriber;
        seen->hits[i].qos = hit->qos;
        seen->hits[i].rap = hit->retain_as_published;
        seen->hits[i].is_shared = hit->is_shared;
        for (uint32_t id; (id = subscription_next_id(&at)) != 0;)
                seen->hits[i].ids[seen->hits[i].n_ids++] = id;
}

static enum subscriber_readiness on_readiness(void *user, const struct subscriber *s)
{
        const struct seen *seen = user;

        return seen->readiness[s - clients];
}

static const struct subscriptions_calls calls = { .hit = on_hit, .readiness = on_readiness };

static void all_ready(struct seen *seen)
{
        memset(seen, 0, sizeof(*seen));
        for (size_t i = 0; i < N_CLIENTS; i++)
                seen->readiness[i] = SUBSCRIBER_READY;
}

static size_t match(struct subscriptions *subs, const char *topic, const struct subscriber *publisher,
                    struct seen *seen)
{
        size_t n;

        all_ready(seen);
        n = subscriptions_match(subs, topic, strlen(topic), publisher, &calls, seen);
        assert_int_equal(n, seen->n);
        return seen->n;
}

static int add(struct subscriptions *subs, size_t client, const char *filter, struct subscription_options o)
{
        return subscriptions_add(subs, &clients[client], filter, strlen(filter), &o);
}

static int take(struct subscriptions *subs, size_t client, const char *filter)
{
        return subscriptions_remove(subs, &clients[client], filter, strlen(filter));
}

static struct subscriptions *make(void)
{
        struct subscriptions_limits limits = {
                .max_levels = 200, .max_nodes = 100000, .max_total = 100000, .max_per_subscriber = 10000
        };
        struct subscriptions *subs;

        assert_int_equal(subscriptions_new(&limits, &subs), 0);
        return subs;
}

static void unmake(struct subscriptions *subs)
{
        for (size_t i = 0; i < N_CLIENTS; i++)
                subscriptions_clear(subs, &clients[i]);
        assert_int_equal(subscriptions_total(subs), 0);
        (void)subscriptions_free(subs);
}

static void test_wildcards(void **state)
{
        static const struct {
                const char *filter, *topic;
                bool matches;
        } cases[] = {
                { "a/b", "a/b", true },       { "a/b", "a/b/c", false },  { "a/b", "a", false },
                { "a/#", "a", true },         { "a/#", "a/b/c", true },   { "a/#", "ab", false },
                { "#", "a/b", true },         { "#", "/", true },         { "+", "a", true },
                { "+", "/a", false },         { "+/+", "/a", true },      { "/+", "/a", true },
                { "a/+", "a/", true },        { "a/+", "a", false },      { "+/b", "x/bc", false },
                { "a//b", "a//b", true },     { "a/+/b", "a//b", true },  { "#", "$SYS/x", false },
                { "+/x", "$SYS/x", false },   { "$SYS/#", "$SYS", true }, { "$SYS/+", "$SYS/x", true },
                { "$SYS/x", "$SYS/x", true }, { "a/#", "a/$x", true },    { "a/+", "a/$x", true },
                { "+/+/#", "a", false },      { "+/#", "a", true },       { "A", "a", false },
        };
        struct subscriptions *subs = make();
        struct seen seen;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(add(subs, 0, cases[i].filter, (struct subscription_options){ .qos = 1 }), 0);
                if (match(subs, cases[i].topic, NULL, &seen) != cases[i].matches)
                        fail_msg("%s on %s", cases[i].filter, cases[i].topic);
                assert_int_equal(take(subs, 0, cases[i].filter), 0);
        }
        unmake(subs);
}

static void test_overlapping_are_one_copy(void **state)
{
        struct subscriptions *subs = make();
        struct seen seen;
        uint32_t sum = 0;

        (void)state;
        assert_int_equal(add(subs, 0, "a/#", (struct subscription_options){ .qos = 0, .id = 1 }), 0);
        assert_int_equal(add(subs, 0, "a/+", (struct subscription_options){ .qos = 2, .id = 2 }), 0);
        assert_int_equal(
                add(subs, 0, "a/b", (struct subscription_options){ .qos = 1, .retain_as_published = true }),
                0);
        assert_int_equal(add(subs, 0, "+/b", (struct subscription_options){ .id = 4 }), 0);
        assert_int_equal(add(subs, 1, "a/b", (struct subscription_options){ .qos = 1 }), 0);
        assert_int_equal(match(subs, "a/b", NULL, &seen), 2);
        for (size_t i = 0; i < 2; i++) {
                if (seen.hits[i].s == &clients[1]) {
                        assert_int_equal(seen.hits[i].n_ids, 0);
                        assert_false(seen.hits[i].rap);
                        continue;
                }
                assert_int_equal(seen.hits[i].qos, 2);
                assert_true(seen.hits[i].rap);
                assert_int_equal(seen.hits[i].n_ids, 3);
                for (size_t k = 0; k < 3; k++)
                        sum += seen.hits[i].ids[k];
        }
        assert_int_equal(sum, 7);
        assert_int_equal(match(subs, "a/b", NULL, &seen), 2); /* marks of the last match do not stay */
        unmake(subs);
}

static void test_replace_no_local(void **state)
{
        struct subscriptions *subs = make();
        struct seen seen;

        (void)state;
        assert_int_equal(add(subs, 0, "a", (struct subscription_options){ .qos = 2, .id = 9 }), 0);
        assert_int_equal(add(subs, 0, "a", (struct subscription_options){ .no_local = true }),
                         SUBSCRIPTIONS_REPLACED);
        assert_int_equal(subscriptions_total(subs), 1);
        assert_int_equal(match(subs, "a", &clients[0], &seen), 0);
        assert_int_equal(match(subs, "a", &clients[1], &seen), 1);
        assert_int_equal(seen.hits[0].qos, 0);
        assert_int_equal(seen.hits[0].n_ids, 0);
        assert_int_equal(add(subs, 0, "#", (struct subscription_options){ .qos = 1 }), 0);
        assert_int_equal(match(subs, "a", &clients[0], &seen), 1); /* by the other filter */
        assert_int_equal(seen.hits[0].qos, 1);
        assert_int_equal(take(subs, 1, "a"), SUBSCRIPTIONS_NONE);
        assert_int_equal(take(subs, 0, "b"), SUBSCRIPTIONS_NONE);
        unmake(subs);
}

static void test_shared_turns(void **state)
{
        struct subscriptions *subs = make();
        struct seen seen;
        unsigned count[3] = { 0 };

        (void)state;
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(add(subs, i, "$share/g/a/+", (struct subscription_options){ .qos = 1 }), 0);
        assert_int_equal(add(subs, 3, "$share/h/a/b", (struct subscription_options){ .id = 5 }), 0);
        assert_int_equal(add(subs, 0, "a/b", (struct subscription_options){ 0 }), 0);
        for (unsigned i = 0; i < 9; i++) {
                assert_int_equal(match(subs, "a/b", NULL, &seen), 3); /* its own, one of g, one of h */
                for (size_t k = 0; k < 3; k++)
                        if (seen.hits[k].is_shared && seen.hits[k].s != &clients[3])
                                count[seen.hits[k].s - clients]++;
        }
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(count[i], 3);
        assert_int_equal(match(subs, "a/c", NULL, &seen), 1);
        unmake(subs);
}

static const struct subscriber *one_of(struct subscriptions *subs, const char *topic, struct seen *seen)
{
        seen->n = 0;
        return subscriptions_match(subs, topic, strlen(topic), NULL, &calls, seen) ? seen->hits[0].s : NULL;
}

static void test_shared_readiness(void **state)
{
        struct subscriptions *subs = make();
        struct seen seen;

        (void)state;
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(add(subs, i, "$share/g/a", (struct subscription_options){ 0 }), 0);
        all_ready(&seen);
        seen.readiness[0] = SUBSCRIBER_CANNOT;
        seen.readiness[1] = SUBSCRIBER_WAITS;
        for (unsigned i = 0; i < 4; i++)
                assert_ptr_equal(one_of(subs, "a", &seen), &clients[2]);
        seen.readiness[2] = SUBSCRIBER_CANNOT;
        for (unsigned i = 0; i < 4; i++)
                assert_ptr_equal(one_of(subs, "a", &seen), &clients[1]);
        seen.readiness[1] = SUBSCRIBER_CANNOT;
        assert_null(one_of(subs, "a", &seen));
        assert_int_equal(take(subs, 1, "$share/g/a"), 0);
        assert_int_equal(take(subs, 1, "$share/x/a"), SUBSCRIPTIONS_NONE);
        subscriptions_clear(subs, &clients[0]);
        all_ready(&seen);
        assert_ptr_equal(one_of(subs, "a", &seen), &clients[2]);
        unmake(subs);
}

static void test_shared_filters(void **state)
{
        static const char *const wrong[] = { "$share",    "$share/",     "$share/g",
                                             "$share//a", "$share/g/",   "$share/+/a",
                                             "$share/#",  "$share/g/a#", "$share/g+/a" };
        struct subscriptions *subs = make();

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                int r = add(subs, 0, wrong[i], (struct subscription_options){ 0 });

                /* "$share" alone is a topic like any other */
                assert_int_equal(r, strcmp(wrong[i], "$share") == 0 ? 0 : SUBSCRIPTIONS_INVALID);
        }
        assert_int_equal(add(subs, 0, "$share/g//", (struct subscription_options){ 0 }), 0);
        assert_int_equal(add(subs, 0, "$share/g/a", (struct subscription_options){ .no_local = true }),
                         SUBSCRIPTIONS_INVALID);
        unmake(subs);
}

static void test_limits(void **state)
{
        struct subscriptions_limits limits = {
                .max_levels = 4, .max_nodes = 6, .max_total = 4, .max_per_subscriber = 3
        };
        struct subscription_options o = { 0 };
        struct subscriptions *subs;
        struct seen seen;

        (void)state;
        assert_int_equal(subscriptions_new(&limits, &subs), 0);
        assert_int_equal(add(subs, 0, "a/b/c/d/e", o), SUBSCRIPTIONS_INVALID);
        assert_int_equal(add(subs, 0, "a/b/c/d", o), 0);
        assert_int_equal(add(subs, 0, "x/y/z", o), SUBSCRIPTIONS_FULL); /* nodes; nothing of it stays */
        assert_int_equal(add(subs, 0, "p/q", o), 0);
        assert_int_equal(add(subs, 0, "a/b", o), 0);
        assert_int_equal(add(subs, 0, "a", o), SUBSCRIPTIONS_FULL); /* this one's */
        assert_int_equal(add(subs, 0, "a/b", o), SUBSCRIPTIONS_REPLACED);
        assert_int_equal(add(subs, 1, "a", o), 0);
        assert_int_equal(add(subs, 2, "a", o), SUBSCRIPTIONS_FULL); /* all */
        assert_int_equal(match(subs, "a/b/c/d/e", NULL, &seen), 0);
        unmake(subs);
}

static void test_deep(void **state)
{
        struct subscriptions *subs = make();
        char filter[400], topic[65535];
        struct seen seen;

        (void)state;
        for (size_t i = 0; i < 200; i++) { /* every combination of "+" and a name would be 2^200 walks */
                filter[2 * i] = '+';
                filter[2 * i + 1] = '/';
        }
        assert_int_equal(
                subscriptions_add(subs, &clients[0], filter, 399, &(struct subscription_options){ 0 }), 0);
        memset(topic, '/', sizeof(topic));
        all_ready(&seen);
        assert_int_equal(subscriptions_match(subs, topic, 199, NULL, &calls, &seen), 1);
        assert_int_equal(subscriptions_match(subs, topic, 200, NULL, &calls, &seen), 0);
        assert_int_equal(subscriptions_match(subs, topic, sizeof(topic), NULL, &calls, &seen), 0);
        unmake(subs);
}

/* A word of few levels from few names, so that much matches. */
static void random_topic(struct random *r, bool is_filter, char out[32])
{
        static const char *const words[] = { "a", "b", "", "$S", "+", "+" };
        size_t n = 1 + (size_t)random_below(r, 4), at = 0;

        for (size_t i = 0; i < n; i++)
                at += (size_t)sprintf(out + at, "%s%s", i ? "/" : "",
                                      words[random_below(r, is_filter ? 6 : 4)]);
        if (is_filter && random_below(r, 4) == 0)
                (void)strcpy(out + at, "/#");
        else if (at == 0)
                (void)strcpy(out, "a");
}

#define MODEL_MAX 300

struct model {
        struct {
                size_t client;
                char filter[32];
                uint32_t id;
        } subs[MODEL_MAX];
        size_t n;
};

static void model_change(struct model *m, struct subscriptions *subs, struct random *r)
{
        size_t client = (size_t)random_below(r, N_CLIENTS), i;
        uint32_t id = 1 + (uint32_t)random_below(r, 1000000);
        char filter[32];

        random_topic(r, true, filter);
        for (i = 0; i < m->n; i++)
                if (m->subs[i].client == client && strcmp(m->subs[i].filter, filter) == 0)
                        break;
        if (m->n == MODEL_MAX || random_below(r, 3) == 0) {
                assert_int_equal(take(subs, client, filter), i == m->n ? SUBSCRIPTIONS_NONE : 0);
                if (i < m->n)
                        m->subs[i] = m->subs[--m->n];
                return;
        }
        assert_int_equal(add(subs, client, filter, (struct subscription_options){ .id = id }),
                         i == m->n ? 0 : SUBSCRIPTIONS_REPLACED);
        m->subs[i].client = client;
        m->subs[i].id = id;
        (void)strcpy(m->subs[i].filter, filter);
        m->n += i == m->n;
}

static void model_compare(const struct model *m, struct subscriptions *subs, const char *topic)
{
        uint64_t expected[N_CLIENTS] = { 0 }, got[N_CLIENTS] = { 0 };
        struct seen seen;

        for (size_t i = 0; i < m->n; i++)
                if (topic_matches(m->subs[i].filter, strlen(m->subs[i].filter), topic, strlen(topic)))
                        expected[m->subs[i].client] += m->subs[i].id;
        (void)match(subs, topic, NULL, &seen);
        for (size_t i = 0; i < seen.n; i++)
                for (size_t k = 0; k < seen.hits[i].n_ids; k++)
                        got[seen.hits[i].s - clients] += seen.hits[i].ids[k];
        assert_memory_equal(expected, got, sizeof(got));
}

static void test_random_against_plain_matching(void **state)
{
        struct random r = { .state = 7 };
        struct model m = { .n = 0 };
        struct subscriptions *subs = make();
        char topic[32];

        (void)state;
        for (unsigned i = 0; i < 20000; i++) {
                model_change(&m, subs, &r);
                random_topic(&r, false, topic);
                model_compare(&m, subs, topic);
                if (random_below(&r, 500) == 0) {
                        size_t client = (size_t)random_below(&r, N_CLIENTS), kept = 0;

                        subscriptions_clear(subs, &clients[client]);
                        for (size_t k = 0; k < m.n; k++)
                                if (m.subs[k].client != client)
                                        m.subs[kept++] = m.subs[k];
                        m.n = kept;
                }
                assert_int_equal(subscriptions_total(subs), m.n);
        }
        unmake(subs);
}

static void test_tree_shrinks(void **state)
{
        struct topic_tree t;
        struct topic_node *node;
        char text[32];

        (void)state;
        assert_int_equal(topic_tree_init(&t, TOPIC_TREE_NAMES, 200, 30000), 0);
        for (unsigned i = 0; i < 10000; i++) {
                (void)snprintf(text, sizeof(text), "a/%u/x", i);
                assert_int_equal(topic_tree_add(&t, text, strlen(text), &node), 0);
                if (i < 9999)
                        node->slots[1] = &t;
                if (i == 9999)
                        break;
        }
        assert_int_equal(t.n_nodes, 2 * 10000 + 1);
        topic_tree_release(&t, node);
        for (unsigned i = 0; i < 9999; i++) {
                (void)snprintf(text, sizeof(text), "a/%u/x", i);
                node = topic_tree_find(&t, text, strlen(text));
                assert_non_null(node);
                node->slots[1] = NULL;
                topic_tree_release(&t, node);
                assert_null(topic_tree_find(&t, text, strlen(text)));
        }
        assert_int_equal(t.n_nodes, 0);
        assert_int_equal(t.n_buckets, 64);
        topic_tree_done(&t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_wildcards),
                cmocka_unit_test(test_overlapping_are_one_copy),
                cmocka_unit_test(test_replace_no_local),
                cmocka_unit_test(test_shared_turns),
                cmocka_unit_test(test_shared_readiness),
                cmocka_unit_test(test_shared_filters),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_deep),
                cmocka_unit_test(test_random_against_plain_matching),
                cmocka_unit_test(test_tree_shrinks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
