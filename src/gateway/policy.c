/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "mbgate/base/clock.h"

#include "policy.h"

/* Seconds of a configuration in µs. */
static uint64_t seconds_us(double seconds)
{
        return (uint64_t)(seconds * 1e6);
}

/* Whether the difference to the last publication is large enough to speak of. */
static bool policy_has_changed(const struct conf_point *p, const struct policy_last *last,
                               const struct policy_now *now)
{
        double difference;

        if (now->fingerprint == last->fingerprint)
                return false;
        if (isnan(now->number) || isnan(last->number))
                return true;
        difference = fabs(now->number - last->number);
        if (p->deadband > 0 && difference < p->deadband)
                return false;
        return !(p->deadband_percent > 0 && difference < fabs(last->number) * p->deadband_percent / 100.0);
}

enum policy_verdict policy_judge(const struct conf_point *p, const struct policy_last *last,
                                 const struct policy_now *now, uint64_t *ret_due_us)
{
        uint64_t earliest_us;

        if (!last->is_known || now->on_demand || now->quality != last->quality)
                return POLICY_NOW;
        if (now->is_paced)
                return POLICY_SILENT;
        if (p->publish == CONF_PUBLISH_CHANGE && !policy_has_changed(p, last, now))
                return POLICY_SILENT;
        earliest_us = last->at_us + seconds_us(p->min_interval_s);
        if (now->now_us >= earliest_us)
                return POLICY_NOW;
        *ret_due_us = earliest_us;
        return POLICY_LATER;
}

uint64_t policy_repeat_us(const struct conf_point *p, const struct policy_last *last)
{
        if (!last->is_known || p->max_interval_s <= 0)
                return CLOCK_NEVER_US;
        return last->at_us + seconds_us(p->max_interval_s);
}
