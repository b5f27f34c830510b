/* SPDX-License-Identifier: MIT */
/* Memory that is given out piece by piece and freed as a whole. One thread at a time. */
#ifndef MBGATE_CONFIG_ARENA_H
#define MBGATE_CONFIG_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "mbgate/base/macros.h"

struct arena;

/* `chunk_bytes`: how much is asked of malloc(3) at a time. −ENOMEM. */
MUST_CHECK int arena_new(size_t chunk_bytes, struct arena **ret_arena);

/* Takes NULL, returns NULL. */
struct arena *arena_free(struct arena *a);
DEFINE_CLEANUP(struct arena *, arena_free)

/* Zeroed, aligned for any type; NULL when there is no memory. n_bytes 0 gives a pointer too. */
void *arena_alloc(struct arena *a, size_t n_bytes);

/* An array of n things of `size_bytes`; NULL when there is no memory. */
void *arena_array(struct arena *a, size_t n, size_t size_bytes);

/* Terminated copies; NULL when there is no memory. */
char *arena_copy(struct arena *a, const char *text);
char *arena_copy_bytes(struct arena *a, const char *text, size_t len_bytes);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

#endif
