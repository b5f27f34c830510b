/* SPDX-License-Identifier: MIT */
/*
 * uthash with a hash that is keyed with a secret of this run: who chooses the keys (client ids, say) does not
 * know which of them collide. Any thread may hash; a table belongs to one thread.
 */
#ifndef MBGATE_BASE_HASH_H
#define MBGATE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint32_t hash_bytes(const void *bytes, size_t n);

#define HASH_FUNCTION(key, n_bytes, ret) ((ret) = hash_bytes((key), (n_bytes)))

#include <uthash.h> /* IWYU pragma: export */

#endif
