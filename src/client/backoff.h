/* SPDX-License-Identifier: MIT */
/*
 * Growing pauses between tries: the n-th is drawn from the upper half of min × 2ⁿ, at most max, so that a
 * thousand gateways do not knock at once. Pure; owned by whoever embeds it.
 */
#ifndef MBGATE_CLIENT_BACKOFF_H
#define MBGATE_CLIENT_BACKOFF_H

#include <stdint.h>

#include "mbgate/base/random.h"

struct backoff {
        uint64_t min_us, max_us;
        uint64_t next_us; /* upper bound of the next pause */
        struct random random;
};

/* 0 < min ≤ max; a max below min counts as min. */
void backoff_init(struct backoff *b, uint64_t min_us, uint64_t max_us, uint64_t seed);

/* The next pause, in (bound/2, bound]; the bound doubles. */
uint64_t backoff_next_us(struct backoff *b);

/* A pause near the upper limit, for what will not heal by itself soon. */
uint64_t backoff_longest_us(struct backoff *b);

/* Starts again at min. */
void backoff_reset(struct backoff *b);

#endif
