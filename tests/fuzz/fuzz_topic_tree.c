/* SPDX-License-Identifier: MIT */
/*
 * Subscriptions and retained messages against plain lists. The input is lines: an operation, a client (for
 * subscriptions), and a topic.
 *
 *   +1a/#   client 1 subscribes      -1a/#   and unsubscribes     !1   is gone
 *   =a/b    retains                  _a/b    clears               ?a/b matches, both ways
 */
#include "mbgate/codec/topic.h"
#include "retained.h"
#include "subscriptions.h"

#include "fuzz.h"

#define N_CLIENTS 4
#define MAX_ITEMS 64

struct item {
        unsigned client;
        char text[64];
        size_t n;
};

struct list {
        struct item items[MAX_ITEMS];
        size_t n;
};

struct rig {
        struct subscriptions *subs;
        struct retained *retained;
        struct subscriber clients[N_CLIENTS];
        struct list subscribed, kept;
        unsigned hits; /* bit of a client */
};

static struct item *list_find(struct list *l, unsigned client, const char *text, size_t n)
{
        for (size_t i = 0; i < l->n; i++)
                if (l->items[i].client == client && l->items[i].n == n &&
                    memcmp(l->items[i].text, text, n) == 0)
                        return &l->items[i];
        return NULL;
}

static void list_add(struct list *l, unsigned client, const char *text, size_t n)
{
        if (list_find(l, client, text, n))
                return;
        l->items[l->n] = (struct item){ .client = client, .n = n };
        memcpy(l->items[l->n++].text, text, n);
}

static void list_remove(struct list *l, struct item *item)
{
        if (item)
                *item = l->items[--l->n];
}

static void on_hit(void *user, const struct subscription_hit *hit)
{
        struct rig *rig = user;
        unsigned bit = 1u << (hit->subscriber - rig->clients);

        FUZZ_ASSERT(hit->is_shared || !(rig->hits & bit)); /* one copy */
        if (!hit->is_shared)
                rig->hits |= bit;
}

static void check_subscriptions(struct rig *rig, const char *topic, size_t n)
{
        static const struct subscriptions_calls calls = { .hit = on_hit };
        unsigned expected = 0;

        rig->hits = 0;
        (void)subscriptions_match(rig->subs, topic, n, NULL, &calls, rig);
        for (size_t i = 0; i < rig->subscribed.n; i++) {
                const struct item *item = &rig->subscribed.items[i];
                size_t unused;

                if (subscriptions_shared(item->text, item->n, &unused, &unused) == 0 &&
                    topic_matches(item->text, item->n, topic, n))
                        expected |= 1u << item->client;
        }
        FUZZ_ASSERT(rig->hits == expected);
}

static void check_retained(struct rig *rig, const char *filter, size_t n)
{
        struct retained_cursor *c;
        size_t n_found = 0, n_expected = 0, looks = 100000;
        struct message *m;

        FUZZ_ASSERT(retained_cursor_new(rig->retained, filter, n, &c) == 0);
        for (; retained_cursor_next(c, 0, &looks, &m) == RETAINED_MESSAGE; n_found++)
                FUZZ_ASSERT(topic_matches(filter, n, m->topic, m->topic_bytes));
        for (size_t i = 0; i < rig->kept.n; i++)
                n_expected += topic_matches(filter, n, rig->kept.items[i].text, rig->kept.items[i].n);
        FUZZ_ASSERT(n_found == n_expected && looks > 0);
        (void)retained_cursor_free(c);
}

static void do_retain(struct rig *rig, const char *topic, size_t n, const char *payload)
{
        char text[64] = "";
        struct message_init init = { .topic = text, .payload = payload, .payload_bytes = strlen(payload) };
        struct message *m;

        memcpy(text, topic, n);
        FUZZ_ASSERT(message_new(&init, &m) == 0);
        FUZZ_ASSERT(retained_set(rig->retained, m, NULL, 0) == 0);
        (void)message_unref(m);
        if (*payload)
                list_add(&rig->kept, 0, topic, n);
        else
                list_remove(&rig->kept, list_find(&rig->kept, 0, topic, n));
}

static void do_subscribe(struct rig *rig, unsigned client, const char *filter, size_t n)
{
        struct subscription_options options = { .qos = 1 };
        bool known = list_find(&rig->subscribed, client, filter, n) != NULL;
        int r = subscriptions_add(rig->subs, &rig->clients[client], filter, n, &options);

        FUZZ_ASSERT(r == (known ? SUBSCRIPTIONS_REPLACED : 0) || (r == SUBSCRIPTIONS_INVALID && !known));
        if (r == 0)
                list_add(&rig->subscribed, client, filter, n);
}

static void do_unsubscribe(struct rig *rig, unsigned client, const char *filter, size_t n)
{
        struct item *known = list_find(&rig->subscribed, client, filter, n);

        FUZZ_ASSERT(subscriptions_remove(rig->subs, &rig->clients[client], filter, n) ==
                    (known ? 0 : SUBSCRIPTIONS_NONE));
        list_remove(&rig->subscribed, known);
}

static void do_clear(struct rig *rig, unsigned client)
{
        subscriptions_clear(rig->subs, &rig->clients[client]);
        for (size_t i = rig->subscribed.n; i-- > 0;)
                if (rig->subscribed.items[i].client == client)
                        list_remove(&rig->subscribed, &rig->subscribed.items[i]);
        FUZZ_ASSERT(subscriptions_total(rig->subs) == rig->subscribed.n);
}

static void do_line(struct rig *rig, const char *line, size_t n)
{
        bool has_client = n > 1 && (line[0] == '+' || line[0] == '-' || line[0] == '!');
        unsigned client = has_client ? (unsigned char)line[1] % N_CLIENTS : 0;
        const char *text = line + 1 + has_client;
        bool is_filter, is_name;

        if (n < 2)
                return;
        n -= 1u + has_client;
        if (line[0] == '!')
                do_clear(rig, client);
        if (n > 60)
                return;
        is_filter = topic_is_filter(text, n);
        is_name = topic_is_name(text, n);
        if (line[0] == '+' && is_filter && rig->subscribed.n < MAX_ITEMS)
                do_subscribe(rig, client, text, n);
        else if (line[0] == '-' && is_filter)
                do_unsubscribe(rig, client, text, n);
        else if (line[0] == '=' && is_name && rig->kept.n < MAX_ITEMS)
                do_retain(rig, text, n, "x");
        else if (line[0] == '_' && is_name)
                do_retain(rig, text, n, "");
        else if (line[0] == '?' && is_filter) {
                if (is_name)
                        check_subscriptions(rig, text, n);
                check_retained(rig, text, n);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const struct subscriptions_limits limits = { 200, 1000000, 1000000, 1000000 };
        static const struct retained_limits retained_limits = { 200, 1000000, 1000000, 100000000, false };
        static struct rig rig;

        memset(&rig, 0, sizeof(rig));
        FUZZ_ASSERT(subscriptions_new(&limits, &rig.subs) == 0);
        FUZZ_ASSERT(retained_new(&retained_limits, &rig.retained) == 0);
        for (size_t at = 0; at < n;) {
                const uint8_t *newline = memchr(data + at, '\n', n - at);
                size_t end = newline ? (size_t)(newline - data) : n;

                do_line(&rig, (const char *)data + at, end - at);
                at = end + 1;
        }
        for (unsigned i = 0; i < N_CLIENTS; i++)
                do_clear(&rig, i);
        (void)subscriptions_free(rig.subs);
        (void)retained_free(rig.retained);
        return 0;
}
