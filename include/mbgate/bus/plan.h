/* SPDX-License-Identifier: MIT */
/*
 * The planner: joins the points of a device into blocks, each read by one request, at the least cost on this
 * line. Pure; used by the worker, and by mbgated --check-config to foretell a bus's load.
 *
 *   cost of a block = max(t3.5, the device's gap) + lead of RTS + request characters × bits ÷ baud
 *                     + the device's turnaround + reply characters × bits ÷ baud
 *
 * The silence that ends the request for the device is a part of its turnaround as it is measured.
 *
 * The load of a plan is the sum over its blocks of cost ÷ interval, the shortest of the points' intervals.
 * The plan is the one of least load or near it (src/bus/plan_draft.h says when and how near). Points with a
 * block number of their own are read by one request, and nothing else with them; points that are read on
 * demand only are in no block.
 */
#ifndef MBGATE_BUS_PLAN_H
#define MBGATE_BUS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/config/conf.h"

/* What a request costs on this line. */
struct plan_cost {
        uint32_t baud; /* 0: no wire time (TCP) */
        unsigned char_bits;
        uint32_t t35_us;
        uint32_t turnaround_us; /* request's last character to reply's first; t3.5 + 5 ms until measured */
        uint32_t overhead_us;   /* TCP: round trip for a request */
        uint32_t lead_us;       /* from turning the RS-485 driver round to the request's first character */
        uint32_t gap_us;        /* silence that the device wants before a request; t3.5 is kept anyway */
        uint64_t longest_us;    /* no request for several points takes longer; 0: no limit */
        bool skips_gaps;        /* what no point asks for is not read, whatever it costs */
        bool is_alone;          /* no request reads several points */
};

struct plan_block {
        const struct conf_device *device;
        enum pdu_function function; /* 1..4 */
        uint16_t address;
        uint16_t count;                   /* registers or bits */
        uint64_t interval_us;             /* 0: read once */
        bool is_fixed;                    /* never cut, never read together with another */
        const struct conf_point **points; /* by address */
        size_t n_points;
};

struct plan {
        struct plan_block *blocks; /* by area and address */
        size_t n_blocks;
};

/*
 * Registers of a device that must not be read unless they are a point's own (exception 2 over a gap taught
 * us). `count` 0 is a cut: no block holds both address − 1 and address.
 */
struct plan_hole {
        enum conf_area area;
        uint16_t address;
        uint16_t count;
};

struct plan_cost plan_cost_of_bus(const struct conf_bus *bus);

/* The same with what this device of the bus wants. */
struct plan_cost plan_cost_of_device(const struct conf_device *device);

/* What a request costs beside its characters and those of its reply. */
uint64_t plan_fixed_us(const struct plan_cost *cost);

/* Time on the line for one transaction that reads `count` registers or bits, silences included, in µs. */
uint64_t plan_read_us(const struct plan_cost *cost, enum pdu_function function, unsigned count);

/* Whether that takes longer than the line should be held. */
bool plan_is_long(const struct plan_cost *cost, enum pdu_function function, unsigned count);

/* The function that reads an area, 1..4. */
enum pdu_function plan_function(enum conf_area area);

/* The registers or bits that a request for begin..end of this device asks for: even ones where it wants that.
 */
struct plan_range {
        uint16_t address;
        uint16_t count;
};
struct plan_range plan_range(const struct conf_device *device, enum conf_area area, uint32_t begin,
                             uint32_t end);

/* Whether one request of this device may ask for a range, as far as limits and holes go. */
bool plan_may_read(const struct conf_device *device, const struct plan_hole *holes, size_t n_holes,
                   enum conf_area area, struct plan_range range);

/* The same as long as unit id and points, as they lie in the device, are the same. */
uint64_t plan_fingerprint(const struct conf_device *device);

/* Blocks of one device. 0 or −ENOMEM. */
MUST_CHECK int plan_device(const struct conf_device *device, const struct plan_cost *cost,
                           const struct plan_hole *holes, size_t n_holes, struct plan *ret_plan);
void plan_done(struct plan *plan);

#endif
