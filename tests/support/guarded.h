/* SPDX-License-Identifier: MIT */
/*
 * Memory that ends at an unmapped page, so that reading or writing one byte too far crashes the test, in the
 * release build and under qemu as well.
 */
#ifndef MBGATE_TESTS_GUARDED_H
#define MBGATE_TESTS_GUARDED_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
        uint8_t *map;
        size_t n_map;
        uint8_t *end; /* the first byte that must not be touched */
};

static inline struct guarded guarded_new(size_t n_max)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t n_usable = (n_max + page) / page * page;
        struct guarded g = { .n_map = n_usable + page };

        g.map = mmap(NULL, g.n_map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (g.map == MAP_FAILED || mprotect(g.map + n_usable, page, PROT_NONE) != 0)
                abort();
        g.end = g.map + n_usable;
        return g;
}

static inline void guarded_done(struct guarded *g)
{
        (void)munmap(g->map, g->n_map);
}

/* A copy of n bytes that ends at the edge. */
static inline uint8_t *guarded_copy(const struct guarded *g, const void *bytes, size_t n)
{
        if (n > 0)
                memcpy(g->end - n, bytes, n);
        return g->end - n;
}

#endif
