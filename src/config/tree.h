/* SPDX-License-Identifier: MIT */
/* A parsed file as a tree of settings, each with its place. Lives in the loader's scratch arena; read only.
 */
#ifndef MBGATE_CONFIG_TREE_H
#define MBGATE_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "source.h"

enum tree_kind {
        TREE_GROUP, /* { } */
        TREE_LIST,  /* ( ) */
        TREE_ARRAY, /* [ ] */
        TREE_INT,
        TREE_REAL,
        TREE_BOOL,
        TREE_TEXT,
};

struct tree {
        const char *name; /* NULL: an element of a list or array */
        enum tree_kind kind;
        source_pos pos;
        union {
                int64_t i;
                double r;
                bool b;
                const char *text;
                struct {
                        struct tree *items;
                        size_t n_items;
                };
        };
};

/* Parses a file with its includes. 0; −EINVAL: findings say why; −ENOMEM. */
MUST_CHECK int tree_read(struct source *s, const char *file, source_pos asked, struct tree *ret_root);

/* The setting of that name in a group, or NULL. `group` may be NULL. */
static inline const struct tree *tree_get(const struct tree *group, const char *name)
{
        for (size_t i = 0; group && i < group->n_items; i++) {
                if (strcmp(group->items[i].name, name) == 0)
                        return &group->items[i];
        }
        return NULL;
}

static inline bool tree_is_sequence(const struct tree *t)
{
        return t->kind == TREE_LIST || t->kind == TREE_ARRAY;
}

#endif
