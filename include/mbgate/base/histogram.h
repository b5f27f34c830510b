/* SPDX-License-Identifier: MIT */
/*
 * Durations counted in buckets of fixed relative width, for percentiles without keeping the durations: eight
 * buckets an octave from 64 µs to 134 s, so that a percentile is at most 9 % above the true one. 690 bytes;
 * no heap; owned by whoever embeds it.
 */
#ifndef MBGATE_BASE_HISTOGRAM_H
#define MBGATE_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 170

struct histogram {
        uint32_t n[HISTOGRAM_BUCKETS];
        uint32_t n_total;
        uint32_t max_us;
};

/* Adds a duration. When the total reaches 1000 all counts are halved first, so the past fades. */
void histogram_add(struct histogram *h, uint64_t duration_us);

/* Halves all counts, so that what comes counts for more than what was. */
void histogram_fade(struct histogram *h);

/* The upper bound, in µs, of the bucket in which `permille` of all durations have been seen; 0 while empty.
 */
uint32_t histogram_percentile_us(const struct histogram *h, unsigned permille);

#endif
