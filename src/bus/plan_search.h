/* SPDX-License-Identifier: MIT */
/*
 * The cheapest blocks for some points of one area, of a few intervals. Pure; used by plan_draft.c.
 *
 * A dynamic program over the points by address. For each interval at most one block is open; a point extends
 * the open block of its own interval or of a shorter one, or begins a new one there. What the line is asked
 * for is charged as it grows, so that ways that differ in what is open can be compared: one that is dearer
 * than another by more than the other would pay to open the same blocks is dropped. As long as no more than
 * PLAN_WAYS are left at a point nothing else is dropped, and the result is the optimum; else some go.
 */
#ifndef MBGATE_BUS_PLAN_SEARCH_H
#define MBGATE_BUS_PLAN_SEARCH_H

#include "mbgate/bus/plan.h"

#define PLAN_WAYS          32
#define PLAN_WAYS_THOROUGH 256
#define PLAN_CLASSES       6 /* intervals in one search */

/* What one search looks at. */
struct plan_search {
        const struct conf_device *device;
        const struct plan_cost *cost;
        const struct plan_hole *holes;
        size_t n_holes;
        bool is_thorough; /* takes a hundred times as long; for tests to compare with */
};

struct search;

/* Characters of request and reply. */
size_t plan_read_chars(enum pdu_function function, unsigned count);

uint64_t plan_point_interval_us(const struct conf_point *p);
uint32_t plan_point_end(const struct conf_point *p);

/* For up to `n_points` at a time; `in` must live as long. −ENOMEM. */
MUST_CHECK int plan_search_new(const struct plan_search *in, enum conf_area area, size_t n_points,
                               struct search **ret_search);
void plan_search_free(struct search *s);

/*
 * The number of each point's block, from `first` on, for points by address, of which none is read more often
 * than the shortest of up to PLAN_CLASSES intervals, which stand from the shortest on. The load: line time
 * for each time.
 */
double plan_search_run(struct search *s, const uint64_t *intervals_us, unsigned n_intervals,
                       const struct conf_point *const *points, size_t n, size_t first, size_t *ret_blocks);

/* The load of one block. */
double plan_search_rate(const struct search *s, uint64_t interval_us, uint32_t begin, uint32_t end);

/* Whether the last result may not be the optimum. */
bool plan_search_was_cut(const struct search *s);

/* So many comparisons of ways were made since it was new: some 30 ns each on a PC, ten times that on a board.
 */
uint64_t plan_search_work(const struct search *s);

#endif
