/* SPDX-License-Identifier: MIT */
/*
 * The cheapest blocks for some points of one area. Pure; used by plan.c.
 *
 * A dynamic program over the points by address. For each interval at most one block is open; a point extends
 * the open block of its own interval or of a shorter one, or begins a new one there. What the line is asked
 * for is charged as it grows, so that ways that differ in what is open can be compared: one that is dearer
 * than another by more than the other would pay to open the same blocks is dropped. As long as no more than
 * PLAN_WAYS are left at a point, and a device has no more than PLAN_INTERVALS different intervals, nothing
 * else is dropped, and the result is the optimum.
 */
#ifndef MBGATE_BUS_PLAN_SEARCH_H
#define MBGATE_BUS_PLAN_SEARCH_H

#include "mbgate/bus/plan.h"

#define PLAN_WAYS      32
#define PLAN_INTERVALS 6

/* What one search looks at. */
struct plan_search {
        const struct conf_device *device;
        const struct plan_cost *cost;
        const struct plan_hole *holes;
        size_t n_holes;
};

/* Characters of request and reply. */
size_t plan_read_chars(enum pdu_function function, unsigned count);

uint64_t plan_point_interval_us(const struct conf_point *p);
uint32_t plan_point_end(const struct conf_point *p);

/* The number of each point's block, < n, for points of one area by address. −ENOMEM. */
MUST_CHECK int plan_search_run(const struct plan_search *s, const struct conf_point *const *points, size_t n,
                               size_t *ret_blocks);

#endif
