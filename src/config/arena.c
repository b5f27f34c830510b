/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

struct arena_chunk {
        struct arena_chunk *next;
        max_align_t bytes[];
};

struct arena {
        struct arena_chunk *chunks;
        char *free;
        size_t n_free;
        size_t chunk_bytes;
};

int arena_new(size_t chunk_bytes, struct arena **ret_arena)
{
        struct arena *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->chunk_bytes = chunk_bytes;
        *ret_arena = a;
        return 0;
}

struct arena *arena_free(struct arena *a)
{
        while (a && a->chunks) {
                struct arena_chunk *next = a->chunks->next;

                free(a->chunks);
                a->chunks = next;
        }
        free(a);
        return NULL;
}

static char *arena_chunk_new(struct arena *a, size_t n_bytes)
{
        struct arena_chunk *chunk;

        if (n_bytes > SIZE_MAX - sizeof(*chunk))
                return NULL;
        chunk = calloc(1, sizeof(*chunk) + n_bytes);
        if (!chunk)
                return NULL;
        chunk->next = a->chunks;
        a->chunks = chunk;
        return (char *)chunk->bytes;
}

/* `align` is a power of two. */
static char *arena_take(struct arena *a, size_t n_bytes, size_t align)
{
        size_t skip = (size_t)(-(uintptr_t)a->free & (align - 1));
        char *p;

        if (n_bytes > a->chunk_bytes / 4) /* a chunk of its own: the rest of the current one is not lost */
                return arena_chunk_new(a, n_bytes);
        if (skip + n_bytes > a->n_free) {
                p = arena_chunk_new(a, a->chunk_bytes);
                if (!p)
                        return NULL;
                a->free = p;
                a->n_free = a->chunk_bytes;
                skip = 0;
        }
        p = a->free + skip;
        a->free += skip + n_bytes;
        a->n_free -= skip + n_bytes;
        return p;
}

void *arena_alloc(struct arena *a, size_t n_bytes)
{
        return arena_take(a, n_bytes, alignof(max_align_t));
}

void *arena_array(struct arena *a, size_t n, size_t size_bytes)
{
        size_t n_bytes;

        if (__builtin_mul_overflow(n, size_bytes, &n_bytes))
                return NULL;
        return arena_alloc(a, n_bytes);
}

char *arena_copy_bytes(struct arena *a, const char *text, size_t len_bytes)
{
        char *p = arena_take(a, len_bytes + 1, 1);

        if (p)
                memcpy(p, text, len_bytes);
        return p;
}

char *arena_copy(struct arena *a, const char *text)
{
        return arena_copy_bytes(a, text, strlen(text));
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
        va_list again;
        char *p;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again); // NOLINT(clang-analyzer-valist.Uninitialized): it is
        va_end(again);
        p = n < 0 ? NULL : arena_take(a, (size_t)n + 1, 1);
        if (p)
                (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
        return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list ap;
        char *p;

        va_start(ap, fmt);
        p = arena_vprintf(a, fmt, ap);
        va_end(ap);
        return p;
}
