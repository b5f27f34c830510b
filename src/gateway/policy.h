/* SPDX-License-Identifier: MIT */
/* When a point's value is published. Pure: no state but what is handed in, no clock. */
#ifndef MBGATE_GATEWAY_POLICY_H
#define MBGATE_GATEWAY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/config/conf.h"
#include "mbgate/model/sample.h"

/* The last publication of a point. */
struct policy_last {
        bool is_known;
        uint64_t at_us;
        uint64_t fingerprint; /* of the text */
        double number;        /* NaN: no number */
        enum quality quality;
};

/* The newest sample. */
struct policy_now {
        uint64_t now_us;
        uint64_t fingerprint;
        double number;
        enum quality quality;
        bool on_demand;
        bool is_paced; /* the device has a send interval: only what is urgent goes out between its ticks */
};

enum policy_verdict {
        POLICY_SILENT, /* nothing to say */
        POLICY_NOW,
        POLICY_LATER, /* at *ret_due_us, if nothing happens before */
};

enum policy_verdict policy_judge(const struct conf_point *p, const struct policy_last *last,
                                 const struct policy_now *now, uint64_t *ret_due_us);

/* When an unchanged value must be said again, by max_interval_s; CLOCK_NEVER_US for never. */
uint64_t policy_repeat_us(const struct conf_point *p, const struct policy_last *last);

#endif
