/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "mbgate/config/conf.h"

#include "arena.h"

struct conf *conf_ref(const struct conf *conf)
{
        /* The count is the one thing in a configuration that changes. */
        struct conf *c = (struct conf *)(uintptr_t)conf;

        atomic_fetch_add_explicit(&c->n_refs, 1, memory_order_relaxed);
        return c;
}

struct conf *conf_unref(struct conf *conf)
{
        if (conf && atomic_fetch_sub_explicit(&conf->n_refs, 1, memory_order_acq_rel) == 1)
                (void)arena_free(conf->arena);
        return NULL;
}
