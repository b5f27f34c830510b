/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "mbgate/bus/plan.h"
#include "mbgate/codec/rtu.h"

#define REQUEST_CHARS        8    /* unit, function, address, count, CRC */
#define REPLY_OVERHEAD_CHARS 5    /* unit, function, byte count, CRC */
#define TURNAROUND_US        5000 /* until it has been measured */
#define TCP_OVERHEAD_US      1000
#define INTERVAL_MIN_US      UINT64_C(1000)

/* What a reading that comes once weighs beside those that come again: hardly anything, but not nothing. */
#define INTERVAL_ONCE_US (UINT64_C(30) * 86400 * 1000000)

#define GROUP_DONE UINT_MAX

/* The device's points while they are distributed. */
struct plan_work {
        const struct conf_point **points; /* by area and address */
        const struct conf_point **some;   /* those of the search that runs */
        unsigned *groups;                 /* of each of points: intervals planned together, or GROUP_DONE */
        size_t n_points;
};

/* What one search looks at. */
struct plan_search {
        const struct conf_device *device;
        const struct plan_cost *cost;
        const struct plan_hole *holes;
        size_t n_holes;
        double *best; /* [n + 1] the least rate of the first i points */
        size_t *from; /* [n + 1] where the last block of that optimum begins */
};

struct plan_cost plan_cost_of_bus(const struct conf_bus *bus)
{
        if (bus->kind == CONF_PORT_TCP)
                return (struct plan_cost){ .turnaround_us = TURNAROUND_US, .overhead_us = TCP_OVERHEAD_US };
        return (struct plan_cost){
                .baud = bus->baud,
                .char_bits = conf_bus_char_bits(bus),
                .t35_us = rtu_t35_us(bus->baud),
                .turnaround_us = TURNAROUND_US,
                .overhead_us = bus->kind == CONF_PORT_RTU_TCP ? TCP_OVERHEAD_US : 0,
        };
}

enum pdu_function plan_function(enum conf_area area)
{
        switch (area) {
        case CONF_HOLDING: return PDU_READ_HOLDING;
        case CONF_INPUT: return PDU_READ_INPUT;
        case CONF_COIL: return PDU_READ_COILS;
        case CONF_DISCRETE: return PDU_READ_DISCRETE;
        }
        return PDU_READ_HOLDING;
}

static bool area_is_bits(enum conf_area area)
{
        return area == CONF_COIL || area == CONF_DISCRETE;
}

uint64_t plan_read_us(const struct plan_cost *cost, enum pdu_function function, unsigned count)
{
        bool is_bits = function == PDU_READ_COILS || function == PDU_READ_DISCRETE;
        size_t data_chars = is_bits ? (count + 7u) / 8u : 2u * count;
        uint64_t us = (uint64_t)cost->turnaround_us + cost->overhead_us + 2 * (uint64_t)cost->t35_us;

        if (cost->baud != 0)
                us += rtu_wire_us(cost->baud, cost->char_bits,
                                  REQUEST_CHARS + REPLY_OVERHEAD_CHARS + data_chars);
        return us;
}

static uint64_t point_interval_us(const struct conf_point *p)
{
        if (p->poll == CONF_POLL_ONCE)
                return INTERVAL_ONCE_US;
        return MBGATE_MAX((uint64_t)p->interval_ms * 1000, INTERVAL_MIN_US);
}

static uint32_t point_end(const struct conf_point *p)
{
        return (uint32_t)p->address + value_n_regs(&p->format);
}

/* By area, address, end, and id, so that a plan does not depend on the order of the file. */
static int point_compare(const void *a, const void *b)
{
        const struct conf_point *x = *(const struct conf_point *const *)a;
        const struct conf_point *y = *(const struct conf_point *const *)b;

        if (x->area != y->area)
                return x->area < y->area ? -1 : 1;
        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        if (point_end(x) != point_end(y))
                return point_end(x) < point_end(y) ? -1 : 1;
        return x->id < y->id ? -1 : x->id > y->id;
}

struct plan_range plan_range(const struct conf_device *device, enum conf_area area, uint32_t begin,
                             uint32_t end)
{
        bool is_even = device->even_addresses && !area_is_bits(area);

        if (is_even) {
                begin -= begin % 2;
                end += end % 2;
        }
        return (struct plan_range){ .address = (uint16_t)begin, .count = (uint16_t)(end - begin) };
}

bool plan_may_read(const struct conf_device *device, const struct plan_hole *holes, size_t n_holes,
                   enum conf_area area, struct plan_range range)
{
        uint32_t begin = range.address, end = begin + range.count;

        if (range.count > (area_is_bits(area) ? device->max_bits : device->max_registers) ||
            end > UINT16_MAX + 1u)
                return false;
        for (size_t i = 0; i < n_holes; i++) {
                const struct plan_hole *h = &holes[i];

                if (h->area != area)
                        continue;
                if (h->count == 0 && h->address > begin && h->address < end)
                        return false;
                if (h->count != 0 && h->address < end && (uint32_t)h->address + h->count > begin)
                        return false;
        }
        return true;
}

/* Whether a block that covers begin..end so far may take p too. */
static bool block_may_take(const struct plan_search *s, const struct conf_point *first,
                           const struct conf_point *p, uint32_t end)
{
        uint32_t new_end = MBGATE_MAX(end, point_end(p));

        if (p->area != first->area || !s->device->join_points || (!s->device->join_gaps && p->address > end))
                return false;
        return new_end - first->address <= PDU_READ_BITS_MAX &&
               plan_may_read(s->device, s->holes, s->n_holes, p->area,
                             plan_range(s->device, p->area, first->address, new_end));
}

static double block_rate(const struct plan_search *s, enum conf_area area, uint32_t begin, uint32_t end,
                         uint64_t interval_us)
{
        unsigned count = plan_range(s->device, area, begin, end).count;

        return (double)plan_read_us(s->cost, plan_function(area), count) / (double)interval_us;
}

/* The dynamic program: best[j] = min over i of best[i] + the rate of a block of points i..j−1. */
static void search_run(struct plan_search *s, const struct conf_point **points, size_t n)
{
        s->best[0] = 0;
        for (size_t j = 1; j <= n; j++)
                s->best[j] = -1;
        for (size_t i = 0; i < n; i++) {
                uint32_t begin = points[i]->address, end = begin;
                uint64_t interval_us = UINT64_MAX;

                for (size_t j = i; j < n; j++) {
                        double rate;

                        /* A lone point always fits: the configuration has checked its length. */
                        if (j > i && !block_may_take(s, points[i], points[j], end))
                                break;
                        end = MBGATE_MAX(end, point_end(points[j]));
                        interval_us = MBGATE_MIN(interval_us, point_interval_us(points[j]));
                        rate = s->best[i] + block_rate(s, points[i]->area, begin, end, interval_us);
                        if (s->best[j + 1] < 0 || rate < s->best[j + 1]) {
                                s->best[j + 1] = rate;
                                s->from[j + 1] = i;
                        }
                }
        }
}

/* The points of groups lo..hi, in order; returns how many. */
static size_t group_collect(const struct plan_work *w, unsigned lo, unsigned hi,
                            const struct conf_point **ret_points)
{
        size_t n = 0;

        for (size_t i = 0; i < w->n_points; i++) {
                if (w->groups[i] >= lo && w->groups[i] <= hi)
                        ret_points[n++] = w->points[i];
        }
        return n;
}

static double group_rate(struct plan_work *w, struct plan_search *s, unsigned lo, unsigned hi)
{
        size_t n = group_collect(w, lo, hi, w->some);

        search_run(s, w->some, n);
        return s->best[n];
}

/* Numbers the points' intervals from the shortest; returns how many there are. */
static unsigned group_by_interval(struct plan_work *w)
{
        unsigned n_groups = 0;
        uint64_t last_us = 0;

        for (;;) {
                uint64_t next_us = UINT64_MAX;

                for (size_t i = 0; i < w->n_points; i++) {
                        uint64_t us = point_interval_us(w->points[i]);

                        if (w->groups[i] != GROUP_DONE && us > last_us && us < next_us)
                                next_us = us;
                }
                if (next_us == UINT64_MAX)
                        return n_groups;
                for (size_t i = 0; i < w->n_points; i++) {
                        if (w->groups[i] != GROUP_DONE && point_interval_us(w->points[i]) == next_us)
                                w->groups[i] = n_groups;
                }
                last_us = next_us;
                n_groups++;
        }
}

/* Joins neighbouring interval groups as long as one plan for both is cheaper than two. */
static void group_merge(struct plan_work *w, struct plan_search *s, unsigned n_groups)
{
        unsigned lo = 0;

        for (unsigned hi = 1; hi < n_groups; hi++) {
                double apart = group_rate(w, s, lo, lo) + group_rate(w, s, hi, hi);

                if (group_rate(w, s, lo, hi) > apart) {
                        lo = hi;
                        continue;
                }
                for (size_t i = 0; i < w->n_points; i++) {
                        if (w->groups[i] == hi)
                                w->groups[i] = lo;
                }
        }
}

/* Appends a block over points first..last of `points`, with room for every point of the device. */
static int plan_append(struct plan *plan, const struct plan_work *w, const struct conf_point **points,
                       size_t n_points)
{
        struct plan_block *b = &plan->blocks[plan->n_blocks];
        struct plan_range range;
        uint32_t end = 0;

        *b = (struct plan_block){
                .device = points[0]->device,
                .function = plan_function(points[0]->area),
                .interval_us = UINT64_MAX,
                .points = calloc(w->n_points, sizeof(*b->points)),
        };
        if (!b->points)
                return -ENOMEM;
        plan->n_blocks++;
        for (size_t i = 0; i < n_points; i++) {
                b->points[b->n_points++] = points[i];
                b->interval_us = MBGATE_MIN(b->interval_us, point_interval_us(points[i]));
                end = MBGATE_MAX(end, point_end(points[i]));
        }
        if (b->interval_us == INTERVAL_ONCE_US)
                b->interval_us = 0;
        range = plan_range(b->device, points[0]->area, points[0]->address, end);
        b->address = range.address;
        b->count = range.count;
        return 0;
}

/* The points with a block number of their own, a block for each number and area. */
static int plan_fixed(struct plan *plan, struct plan_work *w)
{
        for (size_t i = 0; i < w->n_points; i++) {
                const struct conf_point *p = w->points[i];
                uint32_t end = 0;
                size_t n = 0;
                int r;

                if (p->block == 0 || w->groups[i] == GROUP_DONE)
                        continue;
                for (size_t k = i; k < w->n_points; k++) {
                        if (w->points[k]->block != p->block || w->points[k]->area != p->area)
                                continue;
                        end = MBGATE_MAX(end, point_end(w->points[k]));
                        if (k > i && !plan_may_read(p->device, NULL, 0, p->area,
                                                    plan_range(p->device, p->area, p->address, end)))
                                break; /* the rest does not fit into one reply */
                        w->some[n++] = w->points[k];
                        w->groups[k] = GROUP_DONE;
                }
                r = plan_append(plan, w, w->some, n);
                if (r < 0)
                        return r;
                plan->blocks[plan->n_blocks - 1].is_fixed = true;
        }
        return 0;
}

/* Slower points that lie in a block anyway are read with it and cost nothing. */
static void plan_absorb(struct plan_block *b, struct plan_work *w, unsigned group)
{
        if (!b->device->join_points)
                return;
        for (size_t i = 0; i < w->n_points; i++) {
                const struct conf_point *p = w->points[i];

                if (w->groups[i] == GROUP_DONE || w->groups[i] <= group ||
                    plan_function(p->area) != b->function || p->address < b->address ||
                    point_end(p) > (uint32_t)b->address + b->count)
                        continue;
                b->points[b->n_points++] = p;
                w->groups[i] = GROUP_DONE;
        }
        qsort(b->points, b->n_points, sizeof(const struct conf_point *), point_compare);
}

/* The blocks of one group, from the last to the first as the search's back pointers go. */
static int plan_group(struct plan *plan, struct plan_work *w, struct plan_search *s, unsigned group)
{
        size_t n = group_collect(w, group, group, w->some);
        size_t first_block = plan->n_blocks;

        if (n == 0)
                return 0;
        search_run(s, w->some, n);
        for (size_t j = n; j > 0; j = s->from[j]) {
                int r = plan_append(plan, w, w->some + s->from[j], j - s->from[j]);

                if (r < 0)
                        return r;
        }
        for (size_t i = first_block; i < plan->n_blocks; i++)
                plan_absorb(&plan->blocks[i], w, group);
        return 0;
}

static int block_compare(const void *a, const void *b)
{
        const struct plan_block *x = a, *y = b;

        if (x->function != y->function)
                return x->function < y->function ? -1 : 1;
        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return x->count < y->count ? -1 : x->count > y->count;
}

static int work_init(struct plan_work *w, struct plan_search *s, const struct conf_device *device)
{
        size_t n = device->n_points;

        *w = (struct plan_work){ 0 };
        w->points = calloc(n, sizeof(*w->points));
        w->some = calloc(n, sizeof(*w->some));
        w->groups = calloc(n, sizeof(*w->groups));
        s->best = calloc(n + 1, sizeof(*s->best));
        s->from = calloc(n + 1, sizeof(*s->from));
        if (!w->points || !w->some || !w->groups || !s->best || !s->from)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (device->points[i].poll != CONF_POLL_DEMAND)
                        w->points[w->n_points++] = &device->points[i];
        }
        qsort(w->points, w->n_points, sizeof(const struct conf_point *), point_compare);
        return 0;
}

static void work_done(struct plan_work *w, struct plan_search *s)
{
        free(w->points);
        free(w->some);
        free(w->groups);
        free(s->best);
        free(s->from);
}

static int plan_fill(struct plan *plan, struct plan_work *w, struct plan_search *s)
{
        unsigned n_groups;
        int r;

        r = plan_fixed(plan, w);
        if (r < 0)
                return r;
        n_groups = group_by_interval(w);
        group_merge(w, s, n_groups);
        for (unsigned g = 0; g < n_groups; g++) {
                r = plan_group(plan, w, s, g);
                if (r < 0)
                        return r;
        }
        qsort(plan->blocks, plan->n_blocks, sizeof(*plan->blocks), block_compare);
        return 0;
}

int plan_device(const struct conf_device *device, const struct plan_cost *cost, const struct plan_hole *holes,
                size_t n_holes, struct plan *ret_plan)
{
        struct plan_search s = { .device = device, .cost = cost, .holes = holes, .n_holes = n_holes };
        struct plan plan = { 0 };
        struct plan_work w;
        int r;

        if (device->n_points == 0) {
                *ret_plan = plan;
                return 0;
        }
        r = work_init(&w, &s, device);
        plan.blocks = calloc(device->n_points, sizeof(*plan.blocks));
        if (r == 0 && !plan.blocks)
                r = -ENOMEM;
        if (r == 0)
                r = plan_fill(&plan, &w, &s);
        work_done(&w, &s);
        if (r < 0) {
                plan_done(&plan);
                return r;
        }
        *ret_plan = plan;
        return 0;
}

void plan_done(struct plan *plan)
{
        for (size_t i = 0; i < plan->n_blocks; i++)
                free(plan->blocks[i].points);
        free(plan->blocks);
        *plan = (struct plan){ 0 };
}
