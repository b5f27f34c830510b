/* SPDX-License-Identifier: MIT */
/*
 * What happened on one bus, counted. All times are line time in ns; the JSON shows µs. Plain values, owned by
 * the bus.
 */
#ifndef MBSIM_STATS_H
#define MBSIM_STATS_H

#include <stdint.h>
#include <stdio.h>

#include "fault.h"
#include "mbgate/base/histogram.h"

struct stats_unit {
        uint64_t n_requests;   /* well-formed and addressed to it */
        uint64_t n_ok;         /* replies that left whole, not late, no exceptions */
        uint64_t n_exceptions; /* exception replies */
        uint64_t n_faults;     /* requests that a fault took effect on */
        uint64_t n_silent;     /* requests without a reply: dead, lost, not heard */
        uint64_t n_registers_read, n_bits_read;
        uint64_t n_written;
        uint64_t last_read_ns; /* end of the last good reply to a read; 0: none yet */
        uint64_t worst_ns;     /* longest time between two of them */
};

struct stats {
        struct stats_unit units[256];
        uint64_t n_requests;
        uint64_t n_unknown_unit; /* requests to units that are not here */
        uint64_t n_broken;       /* requests with a wrong CRC or cut off */
        uint64_t n_too_early;    /* begun less than t3.5 after the frame before */
        uint64_t n_collisions;   /* two spoke at once */
        uint64_t n_lost_bytes;   /* the port took them no more */
        uint64_t n_hangups;
        uint64_t n_faults[FAULT_KINDS];
        uint64_t gap_min_ns; /* LINE_NEVER: none yet */
        struct histogram gaps;
        uint64_t busy_ns;                          /* characters on the line, both ways */
        uint64_t first_ns, last_ns;                /* first byte of the first request, last byte of all */
        uint64_t late_max_ns, late_sum_ns, n_sent; /* how late last bytes were written */
        uint64_t start_ns;                         /* of the counting */
};

void stats_reset(struct stats *s, uint64_t now_ns);

/* A good reply to a read has left. */
void stats_count_read(struct stats_unit *u, uint64_t now_ns);

/* One JSON object, without a newline. */
struct simbus;
void stats_print(const struct simbus *bus, uint64_t now_ns, FILE *out);

/* All buses as one JSON object and a newline. */
void stats_print_all(const struct simbus *const *buses, size_t n_buses, uint64_t now_ns, FILE *out);

/* A few lines for a person. */
void stats_print_summary(const struct simbus *bus, uint64_t now_ns, FILE *out);

#endif
