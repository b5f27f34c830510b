/* SPDX-License-Identifier: MIT */
/*
 * What was read of a bus lately, in the runs in which it was read. Pure: the caller has the clock. Bounded:
 * the oldest runs go first.
 */
#ifndef MBGATE_SHARE_CACHE_H
#define MBGATE_SHARE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/codec/pdu.h"

#define CACHE_RUNS_MAX 512
#define CACHE_REGS_MAX 32768

struct cache_run;

struct cache {
        struct cache_run *runs; /* newest first */
        size_t n_runs, n_regs;
};

void cache_done(struct cache *c);

/* Registers or bits (0, 1) of `area`, a function of 1..4, as they were at `done_us`. No memory: not kept. */
void cache_put(struct cache *c, uint8_t unit, enum pdu_function area, uint16_t address, const uint16_t *regs,
               size_t n_regs, uint64_t done_us);

/* All of them, each as it was read last, if that was at `since_us` or later; else false, `regs` undefined. */
bool cache_get(const struct cache *c, uint8_t unit, enum pdu_function area, uint16_t address, size_t n_regs,
               uint64_t since_us, uint16_t *regs);

/* What is known of a unit is no longer true; 0: of any. */
void cache_forget(struct cache *c, uint8_t unit);

#endif
