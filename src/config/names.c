/* SPDX-License-Identifier: MIT */
#define HASH_NONFATAL_OOM              1
#define HASH_FUNCTION(text, len, hash) ((hash) = text_hash((text), (len)))

#include <errno.h>
#include <string.h>

#include <uthash.h>

#include "mbgate/base/text.h"

#include "names.h"

struct names_entry {
        struct names_use use;
        UT_hash_handle hh;
};

const struct names_use *names_find(const struct names *n, const char *name)
{
        struct names_entry *entry = NULL;

        HASH_FIND(hh, n->first, name, strlen(name), entry);
        return entry ? &entry->use : NULL;
}

int names_add(struct names *n, struct arena *a, const char *name, struct names_use use)
{
        struct names_entry *entry = arena_alloc(a, sizeof(*entry));

        if (!entry)
                return -ENOMEM;
        entry->use = use;
        HASH_ADD_KEYPTR(hh, n->first, name, strlen(name), entry);
        return entry->hh.tbl ? 0 : -ENOMEM; /* uthash takes it out again when it has no memory */
}

void names_done(struct names *n)
{
        HASH_CLEAR(hh, n->first);
}
