/* SPDX-License-Identifier: MIT */
#include "mbgate/base/histogram.h"
#include "mbgate/base/macros.h"

#define FIRST_US      64u /* everything up to here is bucket 0 */
#define PER_OCTAVE    8u
#define FADE_AT_TOTAL 1000u

/* Bucket k > 0 holds durations in (64·2^o·(1 + s/8), 64·2^o·(1 + (s+1)/8)], o = (k−1)/8, s = (k−1) mod 8. */
static uint64_t histogram_upper_us(unsigned bucket)
{
        uint64_t base;

        if (bucket == 0)
                return FIRST_US;
        base = (uint64_t)FIRST_US << (bucket - 1) / PER_OCTAVE;
        return base + base * ((bucket - 1) % PER_OCTAVE + 1) / PER_OCTAVE;
}

static unsigned histogram_bucket(uint64_t duration_us)
{
        unsigned octave, step;

        if (duration_us <= FIRST_US)
                return 0;
        octave = 63u - (unsigned)__builtin_clzll((duration_us - 1) / FIRST_US);
        step = (unsigned)(((duration_us - 1) - ((uint64_t)FIRST_US << octave)) * PER_OCTAVE /
                          ((uint64_t)FIRST_US << octave));
        return MBGATE_MIN(1 + octave * PER_OCTAVE + step, HISTOGRAM_BUCKETS - 1u);
}

void histogram_add(struct histogram *h, uint64_t duration_us)
{
        if (h->n_total >= FADE_AT_TOTAL)
                histogram_fade(h);
        h->n[histogram_bucket(duration_us)]++;
        h->n_total++;
        if (duration_us > h->max_us)
                h->max_us = (uint32_t)MBGATE_MIN(duration_us, UINT32_MAX);
}

void histogram_fade(struct histogram *h)
{
        h->n_total = 0;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
                h->n[i] /= 2;
                h->n_total += h->n[i];
        }
}

uint32_t histogram_percentile_us(const struct histogram *h, unsigned permille)
{
        uint64_t want = ((uint64_t)h->n_total * permille + 999) / 1000;
        uint64_t seen = 0;

        if (h->n_total == 0)
                return 0;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
                seen += h->n[i];
                if (seen >= want && seen > 0)
                        return (uint32_t)MBGATE_MIN(histogram_upper_us(i), (uint64_t)h->max_us);
        }
        return h->max_us;
}
