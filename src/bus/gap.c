/* SPDX-License-Identifier: MIT */
#include "mbgate/base/macros.h"

#include "gap.h"

#define LOST_SUSPECT 5 /* of GAP_WINDOW as configured: too many for a line that is only noisy */
#define LOST_CHECK   3
#define LOST_FINE    1

/* Each probe of so many keeps the longest silence. */
#define PROBE_EVERY 4

static const uint32_t rungs_us[] = { 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000 };

/* The rung's silence; the last one that is of use is the longest allowed. 0: none left. */
static uint64_t rung_us(unsigned rung, uint64_t configured_us, uint64_t max_us)
{
        unsigned k = 0;

        while (k < ARRAY_SIZE(rungs_us) && rungs_us[k] <= configured_us)
                k++;
        if (k + rung >= ARRAY_SIZE(rungs_us) || max_us <= configured_us)
                return 0;
        if (rungs_us[k + rung] <= max_us)
                return rungs_us[k + rung];
        return k + rung == 0 || rungs_us[k + rung - 1] < max_us ? max_us : 0;
}

uint64_t gap_us(const struct gap *g, uint64_t configured_us, uint64_t max_us)
{
        uint64_t trial_us = 0;

        if (g->stage == GAP_FIRST || g->stage == GAP_SECOND)
                trial_us = rung_us(g->rung, configured_us, max_us);
        else if (g->stage == GAP_WATCH)
                trial_us = MBGATE_MIN(g->found_us, max_us);
        return MBGATE_MAX(configured_us, trial_us);
}

uint64_t gap_probe_us(const struct gap *g, uint32_t n_probes, uint64_t configured_us, uint64_t max_us)
{
        if (n_probes % PROBE_EVERY == 1)
                return MBGATE_MAX(configured_us, max_us);
        return gap_us(g, configured_us, max_us);
}

static void gap_enter(struct gap *g, enum gap_stage stage)
{
        g->stage = stage;
        g->lost = 0;
        g->n = 0;
}

static void gap_give_up(struct gap *g, uint64_t now_us)
{
        gap_enter(g, GAP_WATCH);
        g->rung = 0;
        g->rest_until_us = now_us + GAP_REST_US;
}

/* The longer silence has had its window, or has failed before. true: proven. */
static bool trial_result(struct gap *g, unsigned n_lost, uint64_t now_us, uint64_t configured_us,
                         uint64_t max_us)
{
        if (n_lost > LOST_FINE) {
                g->rung++;
                if (rung_us(g->rung, configured_us, max_us) == 0)
                        gap_give_up(g, now_us);
                else
                        gap_enter(g, GAP_FIRST);
                return false;
        }
        if (g->n < GAP_WINDOW)
                return false;
        if (g->stage == GAP_FIRST) {
                gap_enter(g, GAP_CHECK);
                return false;
        }
        g->found_us = (uint32_t)rung_us(g->rung, configured_us, max_us);
        gap_enter(g, GAP_WATCH);
        return true;
}

bool gap_result(struct gap *g, bool was_lost, uint64_t now_us, uint64_t configured_us, uint64_t max_us)
{
        unsigned n_lost;

        if (max_us <= configured_us || now_us < g->rest_until_us)
                return false;
        g->lost = (g->lost << 1 | was_lost) & ((UINT32_C(1) << GAP_WINDOW) - 1);
        g->n = MBGATE_MIN(g->n + 1, (unsigned)GAP_WINDOW);
        n_lost = (unsigned)__builtin_popcount(g->lost);
        switch (g->stage) {
        case GAP_WATCH:
                if (n_lost < LOST_SUSPECT)
                        return false;
                /* What was found is not enough any more: longer still. */
                if (g->found_us != 0)
                        g->rung++;
                if (rung_us(g->rung, configured_us, max_us) == 0)
                        gap_give_up(g, now_us);
                else
                        gap_enter(g, GAP_FIRST);
                return false;
        case GAP_CHECK:
                if (n_lost >= LOST_CHECK)
                        gap_enter(g, GAP_SECOND);
                else if (g->n == GAP_WINDOW)
                        gap_give_up(g, now_us);
                return false;
        case GAP_FIRST:
        case GAP_SECOND: return trial_result(g, n_lost, now_us, configured_us, max_us);
        }
        return false;
}
