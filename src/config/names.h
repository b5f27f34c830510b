/* SPDX-License-Identifier: MIT */
/* A set of texts, each with what it stands for, to find the second use of one. Entries live in an arena. */
#ifndef MBGATE_CONFIG_NAMES_H
#define MBGATE_CONFIG_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#include "arena.h"

struct names_entry;

struct names {
        struct names_entry *first;
};

/* What a name was first used for. */
struct names_use {
        const void *thing;
        uint32_t pos;
};

/* The use of a name, or NULL. */
const struct names_use *names_find(const struct names *n, const char *name);

/* Adds a name that is not there yet; it and the arena must outlive the set. −ENOMEM. */
MUST_CHECK int names_add(struct names *n, struct arena *a, const char *name, struct names_use use);

/* Frees what is not in the arena. */
void names_done(struct names *n);

#endif
