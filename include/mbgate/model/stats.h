/* SPDX-License-Identifier: MIT */
/*
 * Counters of a bus and of its devices, as the worker keeps them and as `<gateway>/bus/<bus>` shows them.
 * Plain values; the worker owns the live ones and posts copies. All count since the worker started.
 */
#ifndef MBGATE_MODEL_STATS_H
#define MBGATE_MODEL_STATS_H

#include <stdint.h>

#define STATS_EXCEPTION_CODES 16 /* by code; 0 collects those above 15 and 0 itself */

struct bus_stats {
        uint64_t n_transactions; /* requests sent */
        uint64_t n_ok;
        uint64_t n_timeouts;
        uint64_t n_crc;
        uint64_t n_exceptions[STATS_EXCEPTION_CODES];
        uint64_t n_foreign; /* frames that answered nothing we asked */
        uint64_t n_junk_bytes;
        uint64_t n_echo;
        uint64_t n_retries;
        uint64_t n_writes;
        uint64_t n_shared;         /* of other masters, among n_transactions */
        uint64_t n_shared_refused; /* theirs that were not sent: too late, the unit silent, no port */
        uint64_t n_missed_deadlines;
        uint64_t n_port_lost;
        uint64_t n_samples_lost;    /* replaced in the mailbox before the gateway took them */
        uint32_t round_trip_p50_us; /* request's last character to reply's last */
        uint32_t round_trip_p90_us;
        uint32_t round_trip_p99_us;
        uint32_t round_trip_max_us;
        uint32_t load_permille; /* time the line was busy, of the last measured window */
        uint32_t min_gap_us;    /* smallest silence kept before a request; 0: none yet */
};

struct device_stats {
        uint64_t n_transactions;
        uint64_t n_ok;
        uint64_t n_timeouts;
        uint64_t n_crc;
        uint64_t n_exceptions;
        uint32_t round_trip_p50_us;
        uint32_t round_trip_p90_us;
        uint32_t round_trip_p99_us;
        uint32_t round_trip_max_us;
        uint32_t timeout_us; /* how long a reply is waited for while others want the line */
        uint32_t gap_us;     /* silence before each request: configured or found; 0: t3.5 */
};

/* One request of the plan. */
struct block_stats {
        uint8_t function; /* 1..4 */
        uint16_t address, count;
        uint64_t interval_us; /* 0: read once */
        uint64_t n_reads;     /* turns served */
        uint64_t n_missed;    /* turns that were skipped since the line was too slow */
        uint64_t late_us;     /* smoothed: how long after its moment it is begun */
        uint64_t late_max_us;
};

#endif
