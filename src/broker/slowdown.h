/* SPDX-License-Identifier: MIT */
/*
 * Addresses that have failed to log in lately: the more often, the longer their next answers wait. A fixed
 * table: of more addresses than it holds, the one that failed longest ago is forgotten. An IPv6 client has
 * its /64 to itself and counts as that. Owned by one thread; knows no clock.
 */
#ifndef MBGATE_BROKER_SLOWDOWN_H
#define MBGATE_BROKER_SLOWDOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOWDOWN_ADDRESSES 256

/* The first failure costs this, each further one twice as much … */
#define SLOWDOWN_FIRST_US UINT64_C(100000)
/* … up to this … */
#define SLOWDOWN_MAX_US UINT64_C(5000000)
/* … until there was none for this long. */
#define SLOWDOWN_FORGET_US UINT64_C(300000000)
/* Answers to one address wait one behind the other: no further than this. */
#define SLOWDOWN_QUEUE_US (2 * SLOWDOWN_MAX_US)
#define SLOWDOWN_REFUSED  UINT64_MAX

struct slowdown_key {
        uint8_t bytes[16];
};

/* All zero at start. */
struct slowdown {
        struct slowdown_entry {
                struct slowdown_key key;
                uint32_t n_failures; /* 0: free */
                uint64_t last_us;
                uint64_t free_us; /* when the last answer that waits is told */
        } entries[SLOWDOWN_ADDRESSES];
};

/* Two addresses of one client have one key. */
struct slowdown_key slowdown_key_of(const char *address);

/* What one answer to that address costs now: 0 to SLOWDOWN_MAX_US, to SLOWDOWN_FIRST_US on this machine. */
uint64_t slowdown_delay_us(const struct slowdown *s, const char *address, uint64_t now_us);

/*
 * How long this answer has to wait: its delay, behind those that wait already, so that many connections do
 * not guess faster than one. On this machine they do not wait for each other: nobody there is to be held up
 * by another's broken script. SLOWDOWN_REFUSED: too many wait.
 */
uint64_t slowdown_take_us(struct slowdown *s, const char *address, uint64_t now_us);

/* Whether slowdown_take_us() would refuse. */
bool slowdown_is_full(const struct slowdown *s, const char *address, uint64_t now_us);

/* Counts a failure. */
void slowdown_fail(struct slowdown *s, const char *address, uint64_t now_us);

#endif
