/* SPDX-License-Identifier: MIT */
/*
 * Whether a device loses requests that come too soon after others, found by trial. Pure; one a device, owned
 * by the worker. Errors on a line have many causes, so a longer silence must prove itself twice:
 *
 *   WATCH ──5 of 16 lost──► FIRST ──≤ 1 of 16 lost──► CHECK ──3 of 16 lost──► SECOND ──≤ 1 of 16 lost──► kept
 *     ▲  as configured       longer   │ more lost:      as configured            longer
 *     │                               ▼ longer still       │ not lost                 │ more lost
 *     └──────── none helps: rest ◄────┴────────────────────┴──────────────────────────┘
 */
#ifndef MBGATE_BUS_GAP_H
#define MBGATE_BUS_GAP_H

#include <stdbool.h>
#include <stdint.h>

#define GAP_WINDOW  16
#define GAP_REST_US (UINT64_C(600) * 1000000) /* after trials that did not help */

enum gap_stage {
        GAP_WATCH,
        GAP_FIRST,
        GAP_CHECK,
        GAP_SECOND,
};

struct gap {
        enum gap_stage stage;
        uint32_t lost;     /* of the last requests, the newest in bit 0 */
        unsigned n;        /* requests of this stage, at most GAP_WINDOW */
        unsigned rung;     /* the silence on trial */
        uint32_t found_us; /* 0: none */
        uint64_t rest_until_us;
};

/* Silence before the next request: configured, found, or on trial. */
uint64_t gap_us(const struct gap *g, uint64_t configured_us, uint64_t max_us);

/*
 * Silence before a probe of a device that is offline: now and then as long as it may be, since a device that
 * needs it cannot be heard otherwise.
 */
uint64_t gap_probe_us(const struct gap *g, uint32_t n_probes, uint64_t configured_us, uint64_t max_us);

/* A request to a device that is online was answered or not. true: a longer silence was just found. */
bool gap_result(struct gap *g, bool was_lost, uint64_t now_us, uint64_t configured_us, uint64_t max_us);

#endif
