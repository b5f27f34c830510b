/* SPDX-License-Identifier: MIT */
/*
 * Commands that come twice. With QoS 1 whoever is not sure that a message came sends it again, and DUP, which
 * would tell, does not get past a broker (MQTT 5.0 §4.3.2, §3.3.1.1). A command with an "id" is known again:
 * the same payload, id included, for the same point within five minutes is the same command. An id alone is
 * not enough: many clients count from 1 each time they start.
 *
 * Pure: no I/O, no log; memory for the answers only. Owned by the gateway; main thread.
 */
#ifndef MBGATE_GATEWAY_DEDUPE_H
#define MBGATE_GATEWAY_DEDUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_DEDUPE_MAX 256                       /* the last so many of all points are known */
#define GW_DEDUPE_US  (UINT64_C(300) * 1000000) /* for so long */

struct gw_seen {
        uint64_t key; /* 0: free */
        uint64_t at_us;
        char *answer; /* owned; NULL: the first is still under way */
};

/* All zero is empty. */
struct gw_dedupe {
        struct gw_seen seen[GW_DEDUPE_MAX];
        size_t next; /* the oldest */
};

/* What tells a command from others; never 0. */
uint64_t gw_dedupe_key(const char *topic, const void *payload, size_t n_bytes);

/* The same command, if it came before and is not forgotten; else NULL. */
const struct gw_seen *gw_dedupe_find(const struct gw_dedupe *d, uint64_t key, uint64_t now_us);

/* A command is under way. The oldest one is forgotten for it. */
void gw_dedupe_begin(struct gw_dedupe *d, uint64_t key, uint64_t now_us);

/*
 * What became of it: copied. NULL: nothing, if it comes again it is a new one; so it is when there is no
 * memory. A key that is 0 or not known any more is ignored.
 */
void gw_dedupe_end(struct gw_dedupe *d, uint64_t key, const char *answer);

void gw_dedupe_done(struct gw_dedupe *d);

#endif
