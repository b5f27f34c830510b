/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/codec/topic.h"
#include "subscriptions.h"
#include "topic_tree.h"

#define SHARE_PREFIX       "$share/"
#define SHARE_PREFIX_BYTES (sizeof(SHARE_PREFIX) - 1)

enum {
        SLOT_SUBSCRIPTIONS, /* struct subscription, those of no group */
        SLOT_GROUPS,        /* struct group */
};

struct subscription {
        struct topic_node *node;
        struct group *group;              /* NULL: not shared */
        struct subscription *prev, *next; /* at the node; in a group a ring */
        struct subscription *own_prev, *own_next;
        struct subscriber *subscriber;
        struct subscription *next_match;
        struct subscription_options options;
};

struct group {
        struct group *prev, *next; /* at the node */
        struct topic_node *node;
        struct subscription *turn; /* whose turn it is */
        struct group *next_match;
        uint16_t n_name;
        char name[];
};

struct subscriptions {
        struct topic_tree tree;
        struct subscriptions_limits limits;
        size_t n;
        size_t n_shared; /* of them */
        uint64_t match;  /* the number of the last match */
        bool is_matching;
};

/* A filter taken apart. */
struct target {
        const char *filter;
        size_t n_filter;
        const char *group; /* NULL: not shared */
        size_t n_group;
};

/* A match under way. */
struct matching {
        uint64_t number;
        const struct subscriber *publisher;
        struct subscriber *first, **last;
        struct group *first_group, **last_group;
};

int subscriptions_new(const struct subscriptions_limits *limits, struct subscriptions **ret)
{
        struct subscriptions *subs = calloc(1, sizeof(*subs));
        int r;

        if (!subs)
                return -ENOMEM;
        r = topic_tree_init(&subs->tree, TOPIC_TREE_FILTERS, limits->max_levels, limits->max_nodes);
        if (r < 0) {
                free(subs);
                return r;
        }
        subs->limits = *limits;
        *ret = subs;
        return 0;
}

struct subscriptions *subscriptions_free(struct subscriptions *subs)
{
        if (!subs)
                return NULL;
        assert(subs->n == 0);
        topic_tree_done(&subs->tree);
        free(subs);
        return NULL;
}

size_t subscriptions_total(const struct subscriptions *subs)
{
        return subs->n;
}

size_t subscriptions_total_shared(const struct subscriptions *subs)
{
        return subs->n_shared;
}

int subscriptions_shared(const char *filter, size_t n_filter, size_t *ret_group_bytes, size_t *ret_filter_at)
{
        const char *group = filter + SHARE_PREFIX_BYTES, *slash;
        size_t n_rest;

        if (n_filter < SHARE_PREFIX_BYTES || memcmp(filter, SHARE_PREFIX, SHARE_PREFIX_BYTES) != 0)
                return 0;
        n_rest = n_filter - SHARE_PREFIX_BYTES;
        slash = memchr(group, '/', n_rest);
        if (!slash || slash == group || slash + 1 == filter + n_filter ||
            !topic_is_name(group, (size_t)(slash - group)))
                return -EINVAL; /* §4.8.2: at least one character, neither '+' nor '#', and a filter */
        *ret_group_bytes = (size_t)(slash - group);
        *ret_filter_at = (size_t)(slash + 1 - filter);
        return 1;
}

static bool target_parse(const char *filter, size_t n_filter, struct target *ret)
{
        size_t n_group, at;
        int shared;

        if (!topic_is_filter(filter, n_filter))
                return false;
        *ret = (struct target){ .filter = filter, .n_filter = n_filter };
        shared = subscriptions_shared(filter, n_filter, &n_group, &at);
        if (shared > 0)
                *ret = (struct target){ .filter = filter + at,
                                        .n_filter = n_filter - at,
                                        .group = filter + SHARE_PREFIX_BYTES,
                                        .n_group = n_group };
        return shared >= 0;
}

static struct group *node_group(const struct topic_node *node, const struct target *target)
{
        for (struct group *g = node->slots[SLOT_GROUPS]; g; g = g->next)
                if (g->n_name == target->n_group && memcmp(g->name, target->group, g->n_name) == 0)
                        return g;
        return NULL;
}

/* Walks what hangs at the node (or in the group) and what the subscriber owns side by side: the shorter ends
 * it. */
static struct subscription *subscription_find(const struct subscriber *s, const struct topic_node *node,
                                              const struct group *group)
{
        struct subscription *first = group ? group->turn : node->slots[SLOT_SUBSCRIPTIONS];
        struct subscription *own = s->own;

        for (struct subscription *here = first; here && own; own = own->own_next) {
                if (own->node == node && own->group == group)
                        return own;
                if (here->subscriber == s)
                        return here;
                here = here->next;
                if (here == first) /* round the ring */
                        return NULL;
        }
        return NULL;
}

static struct subscription *target_find(const struct subscriptions *subs, const struct subscriber *s,
                                        const struct target *target)
{
        const struct topic_node *node = topic_tree_find(&subs->tree, target->filter, target->n_filter);
        const struct group *group = NULL;

        if (node && target->group) {
                group = node_group(node, target);
                if (!group)
                        return NULL;
        }
        return node ? subscription_find(s, node, group) : NULL;
}

static int group_get(struct topic_node *node, const struct target *target, struct group **ret)
{
        struct group *g = node_group(node, target);

        if (!g) {
                g = calloc(1, sizeof(*g) + target->n_group);
                if (!g)
                        return -ENOMEM;
                g->node = node;
                g->n_name = (uint16_t)target->n_group;
                memcpy(g->name, target->group, target->n_group);
                g->next = node->slots[SLOT_GROUPS];
                if (g->next)
                        g->next->prev = g;
                node->slots[SLOT_GROUPS] = g;
        }
        *ret = g;
        return 0;
}

static void group_free(struct group *g)
{
        assert(!g->turn);
        if (g->prev)
                g->prev->next = g->next;
        else
                g->node->slots[SLOT_GROUPS] = g->next;
        if (g->next)
                g->next->prev = g->prev;
        free(g);
}

/* Behind all others of the ring. */
static void group_link(struct group *g, struct subscription *sub)
{
        sub->prev = sub->next = sub;
        if (g->turn) {
                sub->next = g->turn;
                sub->prev = g->turn->prev;
                sub->prev->next = sub->next->prev = sub;
        } else {
                g->turn = sub;
        }
}

static void group_unlink(struct group *g, struct subscription *sub)
{
        sub->prev->next = sub->next;
        sub->next->prev = sub->prev;
        if (g->turn == sub)
                g->turn = sub->next == sub ? NULL : sub->next;
        if (!g->turn)
                group_free(g);
}

static void node_link(struct topic_node *node, struct subscription *sub)
{
        sub->next = node->slots[SLOT_SUBSCRIPTIONS];
        if (sub->next)
                sub->next->prev = sub;
        node->slots[SLOT_SUBSCRIPTIONS] = sub;
}

static void node_unlink(struct topic_node *node, struct subscription *sub)
{
        if (sub->prev)
                sub->prev->next = sub->next;
        else
                node->slots[SLOT_SUBSCRIPTIONS] = sub->next;
        if (sub->next)
                sub->next->prev = sub->prev;
}

static void subscription_link(struct subscriptions *subs, struct subscription *sub)
{
        struct subscriber *s = sub->subscriber;

        if (sub->group)
                group_link(sub->group, sub);
        else
                node_link(sub->node, sub);
        sub->own_next = s->own;
        if (s->own)
                s->own->own_prev = sub;
        s->own = sub;
        s->n++;
        subs->n++;
        subs->n_shared += sub->group != NULL;
}

static void subscription_free(struct subscriptions *subs, struct subscription *sub)
{
        struct subscriber *s = sub->subscriber;

        subs->n_shared -= sub->group != NULL;
        if (sub->group)
                group_unlink(sub->group, sub);
        else
                node_unlink(sub->node, sub);
        topic_tree_release(&subs->tree, sub->node);
        if (sub->own_prev)
                sub->own_prev->own_next = sub->own_next;
        else
                s->own = sub->own_next;
        if (sub->own_next)
                sub->own_next->own_prev = sub->own_prev;
        s->match = 0; /* what the last match linked is not whole any more */
        s->n--;
        subs->n--;
        free(sub);
}

static int subscription_new(struct subscriptions *subs, struct subscriber *s, const struct target *target,
                            const struct subscription_options *options)
{
        CLEANUP(cleanup_free)
        struct subscription *sub = calloc(1, sizeof(*sub));
        int r;

        if (!sub)
                return -ENOMEM;
        sub->subscriber = s;
        sub->options = *options;
        r = topic_tree_add(&subs->tree, target->filter, target->n_filter, &sub->node);
        if (r != 0)
                return r == TOPIC_TREE_FULL       ? SUBSCRIPTIONS_FULL
                       : r == TOPIC_TREE_TOO_DEEP ? SUBSCRIPTIONS_INVALID
                                                  : r;
        if (target->group)
                r = group_get(sub->node, target, &sub->group);
        if (r < 0) {
                topic_tree_release(&subs->tree, sub->node);
                return r;
        }
        subscription_link(subs, TAKE(sub));
        return 0;
}

int subscriptions_add(struct subscriptions *subs, struct subscriber *s, const char *filter, size_t n_filter,
                      const struct subscription_options *options)
{
        struct subscription *sub;
        struct target target;

        assert(!subs->is_matching);
        if (!target_parse(filter, n_filter, &target) || (target.group && options->no_local))
                return SUBSCRIPTIONS_INVALID; /* no-local in a group: MQTT-3.8.3-4 */
        sub = target_find(subs, s, &target);
        if (sub) {
                sub->options = *options;
                return SUBSCRIPTIONS_REPLACED;
        }
        if (!s->is_unlimited &&
            (s->n >= subs->limits.max_per_subscriber || subs->n >= subs->limits.max_total))
                return SUBSCRIPTIONS_FULL;
        return subscription_new(subs, s, &target, options);
}

int subscriptions_remove(struct subscriptions *subs, struct subscriber *s, const char *filter,
                         size_t n_filter)
{
        struct subscription *sub = NULL;
        struct target target;

        assert(!subs->is_matching);
        if (target_parse(filter, n_filter, &target))
                sub = target_find(subs, s, &target);
        if (!sub)
                return SUBSCRIPTIONS_NONE;
        subscription_free(subs, sub);
        return 0;
}

void subscriptions_clear(struct subscriptions *subs, struct subscriber *s)
{
        assert(!subs->is_matching);
        while (s->own)
                subscription_free(subs, s->own);
        assert(s->n == 0);
}

static void match_subscription(struct matching *m, struct subscription *sub)
{
        struct subscriber *s = sub->subscriber;

        if (sub->options.no_local && s == m->publisher)
                return;
        sub->next_match = NULL;
        if (s->match == m->number) {
                s->last_match->next_match = sub;
        } else {
                s->match = m->number;
                s->first_match = sub;
                s->next_match = NULL;
                *m->last = s;
                m->last = &s->next_match;
        }
        s->last_match = sub;
}

static void match_node(struct matching *m, const struct topic_node *node)
{
        for (struct subscription *sub = node->slots[SLOT_SUBSCRIPTIONS]; sub; sub = sub->next)
                match_subscription(m, sub);
        for (struct group *g = node->slots[SLOT_GROUPS]; g; g = g->next) {
                g->next_match = NULL;
                *m->last_group = g;
                m->last_group = &g->next_match;
        }
}

/*
 * Depth first, exact levels before "+". At most one "+" waits at each depth, so the stack cannot outgrow the
 * levels.
 */
static void match_tree(const struct topic_tree *t, struct matching *m, const char *topic,
                       const struct topic_level *levels, size_t n_levels)
{
        const struct topic_node *waiting[TOPIC_TREE_LEVELS_MAX], *node = t->root;
        bool is_dollar = topic[0] == '$'; /* §4.7.2: not for wildcards at the first level */
        size_t n_waiting = 0;

        for (;;) {
                size_t depth = node->depth;
                bool wild = depth > 0 || !is_dollar;
                const struct topic_node *exact = NULL, *plus = NULL;

                if (node->multi && wild)
                        match_node(m, node->multi);
                if (depth == n_levels) {
                        match_node(m, node);
                } else {
                        exact = topic_tree_child(t, node, topic, &levels[depth]);
                        plus = wild ? node->plus : NULL;
                }
                if (exact && plus)
                        waiting[n_waiting++] = plus;
                node = exact ? exact : plus;
                if (!node && n_waiting == 0)
                        return;
                if (!node)
                        node = waiting[--n_waiting];
        }
}

static void hit_subscriber(const struct subscriptions_calls *calls, void *user, struct subscriber *s)
{
        struct subscription_hit hit = { .subscriber = s, .first = s->first_match };

        for (const struct subscription *sub = s->first_match; sub; sub = sub->next_match) {
                hit.qos = MBGATE_MAX(hit.qos, sub->options.qos);
                hit.retain_as_published |= sub->options.retain_as_published;
        }
        calls->hit(user, &hit);
}

/* The first member from the turn on that is ready, else the first that would wait; its successor is next. */
static struct subscription *group_choose(struct group *g, const struct subscriptions_calls *calls, void *user)
{
        struct subscription *at = g->turn, *waits = NULL;

        for (unsigned looks = 0; looks < SUBSCRIPTIONS_GROUP_LOOKS; looks++) {
                enum subscriber_readiness ready =
                        calls->readiness ? calls->readiness(user, at->subscriber) : SUBSCRIBER_READY;

                if (ready == SUBSCRIBER_READY) {
                        g->turn = at->next;
                        return at;
                }
                if (ready == SUBSCRIBER_WAITS && !waits)
                        waits = at;
                at = at->next;
                if (at == g->turn)
                        break;
        }
        g->turn = waits ? waits->next : at;
        return waits;
}

static bool hit_group(const struct subscriptions_calls *calls, void *user, struct group *g)
{
        struct subscription *sub = group_choose(g, calls, user);
        struct subscription_hit hit;

        if (!sub)
                return false;
        sub->next_match = NULL;
        hit = (struct subscription_hit){ .subscriber = sub->subscriber,
                                         .qos = sub->options.qos,
                                         .retain_as_published = sub->options.retain_as_published,
                                         .is_shared = true,
                                         .first = sub };
        calls->hit(user, &hit);
        return true;
}

size_t subscriptions_match(struct subscriptions *subs, const char *topic, size_t n_topic,
                           const struct subscriber *publisher, const struct subscriptions_calls *calls,
                           void *user)
{
        struct topic_level levels[TOPIC_TREE_LEVELS_MAX];
        struct matching m = { .publisher = publisher };
        size_t n_levels, n_hits = 0;

        assert(!subs->is_matching);
        if (n_topic == 0 || topic_tree_split(&subs->tree, topic, n_topic, levels, &n_levels) != 0)
                return 0;
        m.number = ++subs->match;
        m.last = &m.first;
        m.last_group = &m.first_group;
        subs->is_matching = true;
        match_tree(&subs->tree, &m, topic, levels, n_levels);
        for (struct subscriber *s = m.first; s; s = s->next_match, n_hits++)
                hit_subscriber(calls, user, s);
        for (struct group *g = m.first_group; g; g = g->next_match)
                n_hits += hit_group(calls, user, g);
        subs->is_matching = false;
        return n_hits;
}

uint32_t subscription_next_id(const struct subscription **at)
{
        while (*at) {
                const struct subscription *sub = *at;

                *at = sub->next_match;
                if (sub->options.id != 0)
                        return sub->options.id;
        }
        return 0;
}

void subscriptions_set_limits(struct subscriptions *subs, const struct subscriptions_limits *limits)
{
        subs->limits = *limits;
        subs->tree.max_nodes = limits->max_nodes;
        subs->tree.max_levels = MBGATE_MIN(limits->max_levels, TOPIC_TREE_LEVELS_MAX);
}

/* Writes the path to a node before `end`; returns where it begins. */
static char *node_path(const struct topic_node *node, char *end)
{
        bool is_last = true;

        for (; node->parent; node = node->parent) {
                if (!is_last)
                        *--end = '/';
                end -= node->n_level;
                memcpy(end, node->level, node->n_level);
                is_last = false;
        }
        return end;
}

void subscriptions_each(const struct subscriber *s,
                        void (*fn)(void *user, const char *filter, size_t n_filter), void *user)
{
        static char text[TOPIC_MAX_BYTES]; /* one thread owns all subscriptions */
        char *const end = text + sizeof(text);

        for (const struct subscription *sub = s->own; sub; sub = sub->own_next) {
                char *at = node_path(sub->node, end);

                if (sub->group) {
                        *--at = '/';
                        at -= sub->group->n_name;
                        memcpy(at, sub->group->name, sub->group->n_name);
                        at -= SHARE_PREFIX_BYTES;
                        memcpy(at, SHARE_PREFIX, SHARE_PREFIX_BYTES);
                }
                fn(user, at, (size_t)(end - at));
        }
}
