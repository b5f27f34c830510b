/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/random.h"
#include "topic_tree.h"

#define TREE_BUCKETS_MIN 64

static uint32_t rotate(uint32_t x, unsigned bits)
{
        return x << bits | x >> (32 - bits);
}

static void sip_round(uint32_t v[4])
{
        v[0] += v[1];
        v[1] = rotate(v[1], 5) ^ v[0];
        v[0] = rotate(v[0], 16);
        v[2] += v[3];
        v[3] = rotate(v[3], 8) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 7) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 13) ^ v[2];
        v[2] = rotate(v[2], 16);
}

static void sip_word(uint32_t v[4], uint32_t word)
{
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
}

/* HalfSipHash-1-3 (Aumasson and Bernstein): a keyed hash that is cheap on 32 bits. */
static uint32_t level_hash(const uint32_t key[2], const char *text, size_t n)
{
        uint32_t v[4] = { key[0], key[1], 0x6c796765u ^ key[0], 0x74656462u ^ key[1] };
        uint32_t word, tail = (uint32_t)n << 24;
        size_t i;

        for (i = 0; i + 4 <= n; i += 4) {
                memcpy(&word, text + i, 4);
                sip_word(v, word);
        }
        for (unsigned shift = 0; i < n; i++, shift += 8)
                tail |= (uint32_t)(uint8_t)text[i] << shift;
        sip_word(v, tail);
        v[2] ^= 0xff;
        for (unsigned round = 0; round < 3; round++)
                sip_round(v);
        return v[1] ^ v[3];
}

static uint32_t node_hash(const struct topic_node *parent, uint32_t hash)
{
        uint64_t x = ((uint64_t)((uintptr_t)parent >> 4) ^ hash) * UINT64_C(0x9e3779b97f4a7c15);

        return (uint32_t)(x >> 32) ^ hash;
}

static uint32_t child_bit(uint32_t hash)
{
        return UINT32_C(1) << (hash >> 27);
}

int topic_tree_init(struct topic_tree *t, enum topic_tree_kind kind, unsigned max_levels, size_t max_nodes)
{
        struct random r;
        uint64_t key;

        random_seed_from_system(&r);
        key = random_next(&r);
        *t = (struct topic_tree){
                .kind = kind,
                .max_levels = MBGATE_MIN(max_levels, TOPIC_TREE_LEVELS_MAX),
                .max_nodes = max_nodes,
                .n_buckets = TREE_BUCKETS_MIN,
                .key = { (uint32_t)key, (uint32_t)(key >> 32) },
        };
        t->root = calloc(1, sizeof(*t->root));
        t->buckets = calloc(t->n_buckets, sizeof(struct topic_node *));
        if (t->root && t->buckets)
                return 0;
        topic_tree_done(t);
        return -ENOMEM;
}

void topic_tree_done(struct topic_tree *t)
{
        assert(t->n_nodes == 0);
        assert(!t->root || t->root->n_holds == 0);
        free(t->root);
        free(t->buckets);
        *t = (struct topic_tree){ 0 };
}

int topic_tree_split(const struct topic_tree *t, const char *text, size_t n_text,
                     struct topic_level levels[TOPIC_TREE_LEVELS_MAX], size_t *ret_n)
{
        size_t n = 0;

        assert(n_text <= UINT16_MAX);
        for (size_t at = 0; at <= n_text; n++) {
                const char *slash = memchr(text + at, '/', n_text - at);
                size_t n_level = slash ? (size_t)(slash - text) - at : n_text - at;

                if (n == t->max_levels)
                        return TOPIC_TREE_TOO_DEEP;
                levels[n] = (struct topic_level){
                        .hash = level_hash(t->key, text + at, n_level),
                        .at = (uint16_t)at,
                        .n = (uint16_t)n_level,
                };
                at += n_level + 1;
        }
        *ret_n = n;
        return 0;
}

struct topic_node *topic_tree_child(const struct topic_tree *t, const struct topic_node *parent,
                                    const char *text, const struct topic_level *level)
{
        uint32_t hash = node_hash(parent, level->hash);

        if (t->kind == TOPIC_TREE_FILTERS && !(parent->child_bits & child_bit(hash)))
                return NULL;
        for (struct topic_node *node = t->buckets[hash & (t->n_buckets - 1)]; node; node = node->chain)
                if (node->hash == hash && node->parent == parent && node->n_level == level->n &&
                    memcmp(node->level, text + level->at, level->n) == 0)
                        return node;
        return NULL;
}

/* Keeps the table between an eighth full and full. Without memory the old one serves, only slower. */
static void tree_resize(struct topic_tree *t, size_t n_buckets)
{
        struct topic_node **buckets = calloc(n_buckets, sizeof(struct topic_node *));

        if (!buckets)
                return;
        for (size_t i = 0; i < t->n_buckets; i++) {
                for (struct topic_node *node = t->buckets[i], *next; node; node = next) {
                        struct topic_node **bucket = &buckets[node->hash & (n_buckets - 1)];

                        next = node->chain;
                        node->chain = *bucket;
                        *bucket = node;
                }
        }
        free(t->buckets);
        t->buckets = buckets;
        t->n_buckets = n_buckets;
}

static bool node_is(const struct topic_node *node, char wildcard)
{
        return node->n_level == 1 && node->level[0] == wildcard;
}

static void node_link(struct topic_tree *t, struct topic_node *node)
{
        struct topic_node *parent = node->parent, **bucket = &t->buckets[node->hash & (t->n_buckets - 1)];

        node->chain = *bucket;
        *bucket = node;
        t->n_nodes++;
        parent->n_holds++;
        if (t->kind == TOPIC_TREE_NAMES) {
                node->next = parent->first_child;
                if (node->next)
                        node->next->prev = node;
                parent->first_child = node;
                return;
        }
        parent->child_bits |= child_bit(node->hash);
        if (node_is(node, '+'))
                parent->plus = node;
        if (node_is(node, '#'))
                parent->multi = node;
}

static void node_unlink(struct topic_tree *t, struct topic_node *node)
{
        struct topic_node *parent = node->parent, **at = &t->buckets[node->hash & (t->n_buckets - 1)];

        while (*at != node)
                at = &(*at)->chain;
        *at = node->chain;
        t->n_nodes--;
        parent->n_holds--;
        if (t->kind == TOPIC_TREE_NAMES) {
                *(node->prev ? &node->prev->next : &parent->first_child) = node->next;
                if (node->next)
                        node->next->prev = node->prev;
                return;
        }
        if (parent->plus == node)
                parent->plus = NULL;
        if (parent->multi == node)
                parent->multi = NULL;
        if (parent->n_holds == 0)
                parent->child_bits = 0;
}

static int node_new(struct topic_tree *t, struct topic_node *parent, const char *text,
                    const struct topic_level *level, struct topic_node **ret)
{
        struct topic_node *node;

        if (t->n_nodes >= t->max_nodes)
                return TOPIC_TREE_FULL;
        node = calloc(1, sizeof(*node) + level->n);
        if (!node)
                return -ENOMEM;
        node->parent = parent;
        node->hash = node_hash(parent, level->hash);
        node->depth = (uint16_t)(parent->depth + 1);
        node->n_level = level->n;
        memcpy(node->level, text + level->at, level->n);
        if (t->n_nodes >= t->n_buckets)
                tree_resize(t, 2 * t->n_buckets);
        node_link(t, node);
        *ret = node;
        return 0;
}

int topic_tree_add(struct topic_tree *t, const char *text, size_t n_text, struct topic_node **ret_node)
{
        struct topic_level levels[TOPIC_TREE_LEVELS_MAX];
        struct topic_node *node = t->root;
        size_t n;
        int r = topic_tree_split(t, text, n_text, levels, &n);

        if (r != 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                struct topic_node *child = topic_tree_child(t, node, text, &levels[i]);

                if (!child)
                        r = node_new(t, node, text, &levels[i], &child);
                if (r != 0) {
                        topic_tree_release(t, node);
                        return r;
                }
                node = child;
        }
        *ret_node = node;
        return 0;
}

struct topic_node *topic_tree_find(const struct topic_tree *t, const char *text, size_t n_text)
{
        struct topic_level levels[TOPIC_TREE_LEVELS_MAX];
        struct topic_node *node = t->root;
        size_t n;

        if (topic_tree_split(t, text, n_text, levels, &n) != 0)
                return NULL;
        for (size_t i = 0; i < n && node; i++)
                node = topic_tree_child(t, node, text, &levels[i]);
        return node;
}

static bool node_is_empty(const struct topic_node *node)
{
        for (size_t i = 0; i < TOPIC_TREE_SLOTS; i++)
                if (node->slots[i])
                        return false;
        return node->n_holds == 0;
}

void topic_tree_release(struct topic_tree *t, struct topic_node *node)
{
        while (node->parent && node_is_empty(node)) {
                struct topic_node *parent = node->parent;

                node_unlink(t, node);
                free(node);
                node = parent;
        }
        if (t->n_buckets > TREE_BUCKETS_MIN && t->n_nodes < t->n_buckets / 8)
                tree_resize(t, t->n_buckets / 2);
}

void topic_tree_hold(struct topic_node *node)
{
        node->n_holds++;
}

void topic_tree_unhold(struct topic_tree *t, struct topic_node *node)
{
        assert(node->n_holds > 0);
        node->n_holds--;
        topic_tree_release(t, node);
}
