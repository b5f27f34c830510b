/* SPDX-License-Identifier: MIT */
#include "mbgate/base/clock.h"
#include "mbgate/base/macros.h"

#include "health.h"

#define PAUSE_FIRST_US       USEC_PER_SEC
#define PROBE_TIMEOUT_MIN_US UINT64_C(20000)
#define PROBE_LEARNED_ADD_US UINT64_C(10000)

/* 2 % of the longest pause: what the short probes of one round may take together; the full ones add about 1
 * %. */
#define PROBE_ROUND_US (HEALTH_PAUSE_MAX_US / 50)

void health_init(struct health *h, uint64_t now_us)
{
        *h = (struct health){ .pause_us = PAUSE_FIRST_US, .since_us = now_us };
}

static void health_set(struct health *h, enum device_status status, uint64_t now_us)
{
        h->status = status;
        h->since_us = now_us;
        h->n_failures = 0;
}

bool health_answered(struct health *h, uint64_t now_us)
{
        bool returned = h->status != DEVICE_ONLINE;

        h->n_failures = 0;
        if (returned) {
                h->probation = h->status == DEVICE_OFFLINE ? HEALTH_PROBATION : 0;
                health_set(h, DEVICE_ONLINE, now_us);
        } else if (h->probation > 0) {
                h->probation--;
        }
        if (h->probation == 0)
                h->pause_us = PAUSE_FIRST_US;
        return returned;
}

bool health_failed(struct health *h, uint64_t now_us)
{
        h->n_failures++;
        h->n_lost++;
        if (h->status == DEVICE_OFFLINE) {
                h->n_probes++;
                h->pause_us = MBGATE_MIN(2 * h->pause_us, HEALTH_PAUSE_MAX_US);
                return false;
        }
        if (h->status == DEVICE_ONLINE && h->probation == 0 && h->n_failures < HEALTH_FAILURES_MAX)
                return false;
        if (h->probation > 0)
                h->pause_us = MBGATE_MIN(2 * h->pause_us, HEALTH_PAUSE_MAX_US);
        h->n_lost = h->status == DEVICE_ONLINE ? h->n_failures : 1;
        h->n_probes = 0;
        health_set(h, DEVICE_OFFLINE, now_us);
        return true;
}

void health_forget(struct health *h, uint64_t now_us)
{
        health_set(h, DEVICE_UNKNOWN, now_us);
        h->pause_us = PAUSE_FIRST_US;
        h->probation = 0;
}

void health_measured(struct health *h, uint64_t turnaround_us, uint64_t round_trip_us)
{
        histogram_add(&h->turnaround, turnaround_us);
        histogram_add(&h->round_trip, round_trip_us);
}

/* What the replies seen so far allow, or the configured time-out. */
static uint64_t learned_us(const struct health *h, uint64_t configured_us)
{
        uint64_t us;

        if (h->turnaround.n_total < HEALTH_LEARNED_MIN)
                return configured_us;
        us = 2 * (uint64_t)histogram_percentile_us(&h->turnaround, 990) + HEALTH_LEARNED_ADD_US;
        return MBGATE_MIN(us, configured_us);
}

uint64_t health_timeout_us(const struct health *h, uint64_t configured_us, uint64_t min_us, bool others_wait)
{
        if (!others_wait || h->n_failures > 0 || min_us >= configured_us)
                return configured_us;
        return MBGATE_MAX(learned_us(h, configured_us), min_us);
}

uint64_t health_probe_timeout_us(struct health *h, uint64_t configured_us, unsigned n_dead, uint64_t wire_us,
                                 bool may_be_long)
{
        uint64_t share = PROBE_ROUND_US / MBGATE_MAX(n_dead, 1u);

        h->n_short++;
        if (may_be_long && h->n_short >= HEALTH_PROBE_FULL * MBGATE_MAX(n_dead, 1u)) {
                h->n_short = 0;
                return configured_us;
        }
        share = share > wire_us + PROBE_TIMEOUT_MIN_US ? share - wire_us : PROBE_TIMEOUT_MIN_US;
        /* Who is known to be slow could not be heard otherwise. */
        if (h->turnaround.n_total >= HEALTH_LEARNED_MIN)
                share = histogram_percentile_us(&h->turnaround, 990) + PROBE_LEARNED_ADD_US;
        return MBGATE_MIN(share, configured_us);
}
