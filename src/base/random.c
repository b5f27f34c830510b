/* SPDX-License-Identifier: MIT */
#include <sys/random.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"

void random_seed_from_system(struct random *r)
{
        if (getrandom(&r->state, sizeof(r->state), GRND_NONBLOCK) != (ssize_t)sizeof(r->state))
                r->state = clock_monotonic_us() ^ (uint64_t)clock_wall_us() << 20;
}

uint64_t random_next(struct random *r)
{
        /* Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014. */
        uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));

        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        return z ^ z >> 31;
}

uint64_t random_below(struct random *r, uint64_t bound)
{
        return bound == 0 ? 0 : random_next(r) % bound;
}

double random_unit(struct random *r)
{
        return (double)(random_next(r) >> 11) / 9007199254740992.0;
}
