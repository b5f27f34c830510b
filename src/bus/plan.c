/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "mbgate/bus/plan.h"
#include "mbgate/codec/rtu.h"

#include "plan_draft.h"

#define REQUEST_CHARS        8    /* unit, function, address, count, CRC */
#define REPLY_OVERHEAD_CHARS 5    /* unit, function, byte count, CRC */
#define TURNAROUND_US        5000 /* until it has been measured, behind the silence that ends a request */
#define TCP_OVERHEAD_US      1000
#define INTERVAL_MIN_US      UINT64_C(1000)

/* What a reading that comes once weighs beside those that come again: hardly anything, but not nothing. */
#define INTERVAL_ONCE_US (UINT64_C(30) * 86400 * 1000000)

/* The device's points while they are distributed. */
struct plan_work {
        const struct conf_point **points; /* by area and address */
        const struct conf_point **some;   /* those of one block or search */
        bool *is_done;                    /* of each of points */
        size_t *blocks;                   /* what the search says of each of some */
        size_t n_points;
};

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t fnv_add(uint64_t hash, uint32_t number)
{
        for (unsigned i = 0; i < sizeof(number); i++) {
                hash ^= number >> 8 * i & 0xff;
                hash *= FNV_PRIME;
        }
        return hash;
}

uint64_t plan_fingerprint(const struct conf_device *device)
{
        uint64_t hash = fnv_add(FNV_BASIS, device->unit_id);

        for (size_t i = 0; i < device->n_points; i++) {
                const struct conf_point *p = &device->points[i];

                hash = fnv_add(hash, (uint32_t)p->area);
                hash = fnv_add(hash, p->address);
                hash = fnv_add(hash, value_n_regs(&p->format));
        }
        return hash;
}

static bool bus_turns_driver(const struct conf_bus *bus)
{
        return bus->kind == CONF_PORT_SERIAL &&
               (bus->direction == CONF_DIRECTION_RTS || bus->direction == CONF_DIRECTION_KERNEL);
}

struct plan_cost plan_cost_of_bus(const struct conf_bus *bus)
{
        bool turns = bus_turns_driver(bus);
        uint32_t turnaround_us = TURNAROUND_US;

        if (bus->kind == CONF_PORT_TCP)
                return (struct plan_cost){ .turnaround_us = turnaround_us, .overhead_us = TCP_OVERHEAD_US };
        turnaround_us += rtu_t35_us(bus->baud);
        return (struct plan_cost){
                .baud = bus->baud,
                .char_bits = conf_bus_char_bits(bus),
                .t35_us = rtu_t35_us(bus->baud),
                /* No reply is heard before the driver has been turned back. */
                .turnaround_us =
                        turns ? MBGATE_MAX(turnaround_us, bus->rts_delay_after_ms * 1000) : turnaround_us,
                .lead_us = turns ? bus->rts_delay_before_ms * 1000 : 0,
                .overhead_us = bus->kind == CONF_PORT_RTU_TCP ? TCP_OVERHEAD_US : 0,
        };
}

struct plan_cost plan_cost_of_device(const struct conf_device *device)
{
        struct plan_cost cost = plan_cost_of_bus(device->bus);

        cost.gap_us = device->gap_ms * 1000;
        return cost;
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

size_t plan_read_chars(enum pdu_function function, unsigned count)
{
        bool is_bits = function == PDU_READ_COILS || function == PDU_READ_DISCRETE;

        return REQUEST_CHARS + REPLY_OVERHEAD_CHARS + (is_bits ? (count + 7u) / 8u : 2u * count);
}

uint64_t plan_fixed_us(const struct plan_cost *cost)
{
        return (uint64_t)MBGATE_MAX(cost->t35_us, cost->gap_us) + cost->lead_us + cost->turnaround_us +
               cost->overhead_us;
}

uint64_t plan_read_us(const struct plan_cost *cost, enum pdu_function function, unsigned count)
{
        uint64_t us = plan_fixed_us(cost);

        if (cost->baud != 0)
                us += rtu_wire_us(cost->baud, cost->char_bits, plan_read_chars(function, count));
        return us;
}

bool plan_is_long(const struct plan_cost *cost, enum pdu_function function, unsigned count)
{
        return cost->longest_us != 0 && plan_read_us(cost, function, count) > cost->longest_us;
}

uint64_t plan_point_interval_us(const struct conf_point *p)
{
        if (p->poll == CONF_POLL_ONCE)
                return INTERVAL_ONCE_US;
        return MBGATE_MAX((uint64_t)p->interval_ms * 1000, INTERVAL_MIN_US);
}

uint32_t plan_point_end(const struct conf_point *p)
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
        if (plan_point_end(x) != plan_point_end(y))
                return plan_point_end(x) < plan_point_end(y) ? -1 : 1;
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

/* Appends a block over points by address. */
static int plan_append(struct plan *plan, const struct conf_point *const *points, size_t n_points)
{
        struct plan_block *b = &plan->blocks[plan->n_blocks];
        struct plan_range range;
        uint32_t end = 0;

        *b = (struct plan_block){
                .device = points[0]->device,
                .function = plan_function(points[0]->area),
                .interval_us = UINT64_MAX,
                .points = calloc(n_points, sizeof(*b->points)),
        };
        if (!b->points)
                return -ENOMEM;
        plan->n_blocks++;
        for (size_t i = 0; i < n_points; i++) {
                b->points[b->n_points++] = points[i];
                b->interval_us = MBGATE_MIN(b->interval_us, plan_point_interval_us(points[i]));
                end = MBGATE_MAX(end, plan_point_end(points[i]));
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

                if (p->block == 0 || w->is_done[i])
                        continue;
                for (size_t k = i; k < w->n_points; k++) {
                        if (w->points[k]->block != p->block || w->points[k]->area != p->area)
                                continue;
                        end = MBGATE_MAX(end, plan_point_end(w->points[k]));
                        if (k > i && !plan_may_read(p->device, NULL, 0, p->area,
                                                    plan_range(p->device, p->area, p->address, end)))
                                break; /* the rest does not fit into one reply */
                        w->some[n++] = w->points[k];
                        w->is_done[k] = true;
                }
                r = plan_append(plan, w->some, n);
                if (r < 0)
                        return r;
                plan->blocks[plan->n_blocks - 1].is_fixed = true;
        }
        return 0;
}

/* A block of its own for each point that no other may be read with: where a hole is known, or all of them. */
static int plan_alone(struct plan *plan, struct plan_work *w, const struct plan_search *s)
{
        for (size_t i = 0; i < w->n_points; i++) {
                const struct conf_point *p = w->points[i];
                int r;

                if (w->is_done[i] ||
                    (s->device->join_points && !s->cost->is_alone &&
                     plan_may_read(s->device, s->holes, s->n_holes, p->area,
                                   plan_range(s->device, p->area, p->address, plan_point_end(p)))))
                        continue;
                r = plan_append(plan, &w->points[i], 1);
                if (r < 0)
                        return r;
                w->is_done[i] = true;
        }
        return 0;
}

/* The cheapest blocks for `n` points of one area. */
static int plan_joined(struct plan *plan, struct plan_work *w, const struct plan_search *s, size_t n)
{
        const struct conf_point **some = w->points + w->n_points; /* the other half */
        int r = plan_draft_run(s, w->some, n, w->blocks);
        size_t n_placed = 0;

        for (size_t b = 0; r == 0 && n_placed < n; b++) {
                size_t n_some = 0;

                for (size_t i = 0; i < n; i++) {
                        if (w->blocks[i] == b)
                                some[n_some++] = w->some[i];
                }
                n_placed += n_some;
                r = plan_append(plan, some, n_some);
        }
        return r;
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

static int work_init(struct plan_work *w, const struct conf_device *device)
{
        size_t n = device->n_points;

        *w = (struct plan_work){ 0 };
        w->points = calloc(2 * n, sizeof(*w->points));
        w->some = calloc(n, sizeof(*w->some));
        w->is_done = calloc(n, sizeof(*w->is_done));
        w->blocks = calloc(n, sizeof(*w->blocks));
        if (!w->points || !w->some || !w->is_done || !w->blocks)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (device->points[i].poll != CONF_POLL_DEMAND)
                        w->points[w->n_points++] = &device->points[i];
        }
        qsort(w->points, w->n_points, sizeof(const struct conf_point *), point_compare);
        return 0;
}

static void work_done(struct plan_work *w)
{
        free(w->points);
        free(w->some);
        free(w->is_done);
        free(w->blocks);
}

static int plan_fill(struct plan *plan, struct plan_work *w, const struct plan_search *s)
{
        int r = plan_fixed(plan, w);

        if (r == 0)
                r = plan_alone(plan, w, s);
        for (size_t i = 0, n; r == 0 && i < w->n_points;) {
                enum conf_area area = w->points[i]->area;

                for (n = 0; i < w->n_points && w->points[i]->area == area; i++) {
                        if (!w->is_done[i])
                                w->some[n++] = w->points[i];
                }
                r = plan_joined(plan, w, s, n);
        }
        if (r == 0)
                qsort(plan->blocks, plan->n_blocks, sizeof(*plan->blocks), block_compare);
        return r;
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
        r = work_init(&w, device);
        plan.blocks = calloc(device->n_points, sizeof(*plan.blocks));
        if (r == 0 && !plan.blocks)
                r = -ENOMEM;
        if (r == 0)
                r = plan_fill(&plan, &w, &s);
        work_done(&w);
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
