/* SPDX-License-Identifier: MIT */
#include "backoff.h"

#include "mbgate/base/macros.h"

void backoff_init(struct backoff *b, uint64_t min_us, uint64_t max_us, uint64_t seed)
{
        b->min_us = MBGATE_MAX(min_us, 1);
        b->max_us = MBGATE_MAX(max_us, b->min_us);
        b->random.state = seed;
        backoff_reset(b);
}

static uint64_t backoff_jitter_us(struct backoff *b, uint64_t bound_us)
{
        return bound_us - random_below(&b->random, bound_us / 2 + 1);
}

uint64_t backoff_next_us(struct backoff *b)
{
        uint64_t bound_us = b->next_us;

        b->next_us = bound_us > b->max_us / 2 ? b->max_us : bound_us * 2;
        return backoff_jitter_us(b, bound_us);
}

uint64_t backoff_longest_us(struct backoff *b)
{
        b->next_us = b->max_us;
        return backoff_jitter_us(b, b->max_us);
}

void backoff_reset(struct backoff *b)
{
        b->next_us = b->min_us;
}
