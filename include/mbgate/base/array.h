/* SPDX-License-Identifier: MIT */
/* Arrays on the heap that grow. Plain pointers; who embeds one owns it and free()s it. */
#ifndef MBGATE_BASE_ARRAY_H
#define MBGATE_BASE_ARRAY_H

#include <stddef.h>

#include "mbgate/base/macros.h"

/*
 * Room for `n_wanted` items of `item_bytes` each, where there is room for *size now. It at least doubles, so
 * that adding one by one costs O(1). The array, perhaps elsewhere, with its room in *size; or NULL: no
 * memory, array and *size are as they were.
 */
MUST_CHECK void *array_reserve(void *array, size_t n_wanted, size_t *size, size_t item_bytes);

#endif
