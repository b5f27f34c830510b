/* SPDX-License-Identifier: MIT */
/*
 * Topics as a tree of their levels, for subscriptions (filters) and for retained messages (names). A node is
 * found by its parent and the text of its level in one hash table for the whole tree, so that a node with a
 * hundred thousand children costs no more than one with two.
 *
 *   home ── kitchen ── temp        a node stands for the path to it; the owner of the tree
 *     │         └───── hum         hangs what belongs to that path into its slots
 *     └──── + ──────── temp
 *
 * The hash is keyed with a secret, so that nobody can choose levels that collide. Nothing recurses. Owned by
 * one thread; no I/O. Memory for a node on 32 bits: 44 bytes and the text of its level.
 */
#ifndef MBGATE_BROKER_TOPIC_TREE_H
#define MBGATE_BROKER_TOPIC_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#define TOPIC_TREE_LEVELS_MAX 200 /* what anybody may set as the limit; also mosquitto's */
#define TOPIC_TREE_SLOTS      2

enum topic_tree_kind {
        TOPIC_TREE_NAMES,   /* children can be walked */
        TOPIC_TREE_FILTERS, /* wildcard children are at hand */
};

enum topic_tree_error {
        TOPIC_TREE_TOO_DEEP = 1, /* more levels than the limit */
        TOPIC_TREE_FULL,         /* as many nodes as the limit */
};

struct topic_node {
        struct topic_node *parent; /* NULL: the root */
        struct topic_node *chain;  /* next in the bucket */
        union {
                struct {
                        struct topic_node *first_child, *next, *prev; /* the newest first */
                };
                struct {
                        struct topic_node *plus, *multi; /* the children "+" and "#" */
                        uint32_t child_bits;             /* a clear bit: no child with such a hash */
                };
        };
        void *slots[TOPIC_TREE_SLOTS]; /* the owner's; a node lives while one is not NULL */
        uint32_t hash;
        uint32_t n_holds; /* children, and cursors that stand here */
        uint16_t depth;   /* 0: the root */
        uint16_t n_level;
        char level[]; /* not terminated */
};

struct topic_tree {
        struct topic_node *root;
        struct topic_node **buckets;
        size_t n_buckets; /* a power of two */
        size_t n_nodes;   /* without the root */
        size_t max_nodes;
        unsigned max_levels;
        enum topic_tree_kind kind;
        uint32_t key[2];
};

/* A level of a topic that has been split. */
struct topic_level {
        uint32_t hash;
        uint16_t at, n; /* bytes */
};

/* `max_levels` above TOPIC_TREE_LEVELS_MAX counts as that. −ENOMEM. */
MUST_CHECK int topic_tree_init(struct topic_tree *t, enum topic_tree_kind kind, unsigned max_levels,
                               size_t max_nodes);

/* Asserts that all nodes are gone. */
void topic_tree_done(struct topic_tree *t);

/* `text` of at most 65535 bytes. TOPIC_TREE_TOO_DEEP. */
MUST_CHECK int topic_tree_split(const struct topic_tree *t, const char *text, size_t n_text,
                                struct topic_level levels[TOPIC_TREE_LEVELS_MAX], size_t *ret_n);

/* The child of a node by a level of `text`, or NULL. */
struct topic_node *topic_tree_child(const struct topic_tree *t, const struct topic_node *parent,
                                    const char *text, const struct topic_level *level);

/*
 * The node of a topic, made when there is none. Whoever puts nothing into its slots gives it back with
 * topic_tree_release(). −ENOMEM, TOPIC_TREE_TOO_DEEP, TOPIC_TREE_FULL.
 */
MUST_CHECK int topic_tree_add(struct topic_tree *t, const char *text, size_t n_text,
                              struct topic_node **ret_node);

struct topic_node *topic_tree_find(const struct topic_tree *t, const char *text, size_t n_text);

/* Frees the node, and then its parents, as far as they have empty slots and nothing holds them. */
void topic_tree_release(struct topic_tree *t, struct topic_node *node);

/* A held node stays where it is, even with empty slots. Unhold releases it. */
void topic_tree_hold(struct topic_node *node);
void topic_tree_unhold(struct topic_tree *t, struct topic_node *node);

#endif
