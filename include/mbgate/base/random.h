/* SPDX-License-Identifier: MIT */
/* Pseudo-random numbers from a seed (SplitMix64), for jitter and for tests that can be repeated. Not for
 * secrets. */
#ifndef MBGATE_BASE_RANDOM_H
#define MBGATE_BASE_RANDOM_H

#include <stdint.h>

struct random {
        uint64_t state;
};

/* Seeds from the kernel (getrandom(2)), or from the clock where that fails. */
void random_seed_from_system(struct random *r);

uint64_t random_next(struct random *r);

/* Uniform in 0 .. bound − 1; 0 for bound 0. */
uint64_t random_below(struct random *r, uint64_t bound);

/* Uniform in [0, 1). */
double random_unit(struct random *r);

#endif
