/* SPDX-License-Identifier: MIT */
#include "mbgate/base/hash.h"
#include "mbgate/base/random.h"

static uint32_t secret[2];

__attribute__((constructor)) static void hash_choose_secret(void)
{
        struct random r;
        uint64_t v;

        random_seed_from_system(&r);
        v = random_next(&r);
        secret[0] = (uint32_t)v;
        secret[1] = (uint32_t)(v >> 32) | 1;
}

/* FNV-1a from a secret start, with a secret turn at the end of each byte's step. */
uint32_t hash_bytes(const void *bytes, size_t n)
{
        const uint8_t *at = bytes;
        uint32_t h = secret[0];

        for (size_t i = 0; i < n; i++) {
                h = (h ^ at[i]) * UINT32_C(16777619);
                h ^= h >> 15;
        }
        h ^= secret[1];
        h *= UINT32_C(0x85EBCA6B);
        return h ^ h >> 13;
}
