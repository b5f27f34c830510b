/* SPDX-License-Identifier: MIT */
#include "mbgate/base/clock.h"
#include "mbgate/base/macros.h"

#include "health.h"

#define PAUSE_FIRST_US       USEC_PER_SEC
#define PROBE_TIMEOUT_MIN_US UINT64_C(20000)
#define PROBE_LEARNED_ADD_US UINT64_C(10000)
#define USUAL_ADD_US         UINT64_C(2000)

/* 2 % of the longest pause: what the short probes of one round should take together. */
#define PROBE_ROUND_US (HEALTH_PAUSE_MAX_US / 50)

/* 5 %: what the full ones may take as well. */
#define PROBE_ALL_US (HEALTH_PAUSE_MAX_US / 20)

void health_init(struct health *h, uint64_t now_us)
{
        *h = (struct health){ .pause_us = PAUSE_FIRST_US, .since_us = now_us };
}

static void health_set(struct health *h, enum device_status status, uint64_t now_us)
{
        h->status = status;
        h->since_us = now_us;
        h->n_failures = h->n_silent = 0;
}

bool health_answered(struct health *h, uint64_t now_us)
{
        bool returned = h->status != DEVICE_ONLINE;

        h->n_failures = h->n_silent = 0;
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

static void health_pause_longer(struct health *h)
{
        h->pause_us = MBGATE_MIN(2 * h->pause_us, HEALTH_PAUSE_MAX_US);
}

/* Whether so many failures are enough. */
static bool health_is_over(const struct health *h)
{
        bool is_trusted = h->status == DEVICE_ONLINE && h->probation == 0;

        return h->n_silent >= (is_trusted ? HEALTH_FAILURES_MAX : HEALTH_DOUBTS_MAX) ||
               h->n_failures >= HEALTH_BROKEN_MAX;
}

static bool health_fail(struct health *h, uint64_t now_us)
{
        if (!health_is_over(h))
                return false;
        if (h->probation > 0)
                health_pause_longer(h);
        h->n_lost = h->n_failures;
        h->n_probes = 0;
        health_set(h, DEVICE_OFFLINE, now_us);
        return true;
}

bool health_failed(struct health *h, uint64_t now_us)
{
        h->n_failures++;
        h->n_silent++;
        h->n_lost++;
        if (h->status != DEVICE_OFFLINE)
                return health_fail(h, now_us);
        h->n_probes++;
        health_pause_longer(h);
        return false;
}

bool health_broken(struct health *h, uint64_t now_us)
{
        bool is_news = h->n_failures == 0 || h->n_silent > 0;

        h->n_failures++;
        h->n_silent = 0;
        h->n_lost++;
        if (h->status != DEVICE_OFFLINE)
                return health_fail(h, now_us);
        h->n_probes++;
        if (is_news)
                h->pause_us = PAUSE_FIRST_US; /* it is there: the next one will do */
        else
                health_pause_longer(h);
        return false;
}

void health_forget(struct health *h, uint64_t now_us)
{
        health_set(h, DEVICE_UNKNOWN, now_us);
        h->pause_us = PAUSE_FIRST_US;
        h->probation = 0;
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

uint64_t health_usual_us(const struct health *h)
{
        if (h->turnaround.n_total < HEALTH_LEARNED_MIN)
                return MBGATE_MAX((uint64_t)h->turnaround.max_us, PROBE_TIMEOUT_MIN_US);
        return histogram_percentile_us(&h->turnaround, 990) + USUAL_ADD_US;
}

void health_measured(struct health *h, uint64_t turnaround_us, uint64_t round_trip_us)
{
        if (turnaround_us > learned_us(h, UINT64_MAX))
                health_slower(h);
        histogram_add(&h->turnaround, turnaround_us);
        histogram_add(&h->round_trip, round_trip_us);
}

void health_slower(struct health *h)
{
        h->turnaround = (struct histogram){ 0 };
}

uint64_t health_timeout_us(const struct health *h, uint64_t configured_us, uint64_t min_us, bool others_wait)
{
        if (!others_wait || h->status == DEVICE_UNKNOWN || h->n_silent > 0 || min_us >= configured_us)
                return configured_us;
        return MBGATE_MAX(learned_us(h, configured_us), min_us);
}

bool health_heard(struct health *h)
{
        /* Who was waited for long enough and did not answer said something else. */
        if (h->status != DEVICE_OFFLINE || h->n_short == 0 || h->was_heard)
                return false;
        h->was_heard = true;
        return true;
}

static uint64_t probe_short_us(const struct health *h, unsigned n_dead, uint64_t wire_us)
{
        uint64_t share_us = PROBE_ROUND_US / n_dead, usual_us;

        share_us = share_us > wire_us + PROBE_TIMEOUT_MIN_US ? share_us - wire_us : PROBE_TIMEOUT_MIN_US;
        if (h->turnaround.n_total < HEALTH_LEARNED_MIN)
                return share_us;
        usual_us = histogram_percentile_us(&h->turnaround, 990) + PROBE_LEARNED_ADD_US;
        /* Where all cannot be waited for so long, a late reply tells. */
        return (usual_us + wire_us) * n_dead <= PROBE_ALL_US ? usual_us : MBGATE_MIN(usual_us, share_us);
}

/* One full probe in so many rounds is within the 5 % beside the short ones. */
static uint64_t probe_full_every(uint64_t full_us, uint64_t round_us)
{
        uint64_t left_us = round_us < PROBE_ALL_US ? PROBE_ALL_US - round_us : 1;

        return MBGATE_MIN((full_us + left_us - 1) / left_us, (uint64_t)HEALTH_PROBE_FULL);
}

uint64_t health_probe_timeout_us(struct health *h, uint64_t configured_us, unsigned n_dead, uint64_t wire_us,
                                 bool may_be_long)
{
        uint64_t short_us = probe_short_us(h, MBGATE_MAX(n_dead, 1u), wire_us), every;

        every = probe_full_every(configured_us + wire_us, (short_us + wire_us) * MBGATE_MAX(n_dead, 1u));
        h->n_short++;
        if (h->was_heard || (may_be_long && h->n_short >= every * MBGATE_MAX(n_dead, 1u))) {
                h->was_heard = false;
                h->n_short = 0;
                return configured_us;
        }
        return MBGATE_MIN(short_us, configured_us);
}
