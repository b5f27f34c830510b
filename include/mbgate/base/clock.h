/* SPDX-License-Identifier: MIT */
/*
 * The two clocks. Intervals, time-outs and deadlines use the monotonic one, in µs as uint64_t; the wall clock
 * appears only where a time is shown to somebody. Functions are safe on any thread. Modules whose behaviour
 * depends on time take `now_us` as an argument, so that tests run them in virtual time.
 */
#ifndef MBGATE_BASE_CLOCK_H
#define MBGATE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define USEC_PER_MSEC  UINT64_C(1000)
#define USEC_PER_SEC   UINT64_C(1000000)
#define CLOCK_NEVER_US UINT64_MAX

/* CLOCK_MONOTONIC in µs. */
uint64_t clock_monotonic_us(void);

/* CLOCK_REALTIME in µs since 1970-01-01 UTC. Jumps when somebody sets it. */
int64_t clock_wall_us(void);

/*
 * Whether NTP disciplines the clock: adjtimex(2), or the stamp of systemd-timesyncd where that is forbidden,
 * as in some containers. Our unit allows it.
 */
bool clock_is_synchronised(void);

/* `deadline_us` − `now_us` as a timespec for ppoll(2), zero when it has passed. Not for CLOCK_NEVER_US. */
struct timespec clock_remaining(uint64_t deadline_us, uint64_t now_us);

/* Writes an RFC 3339 time in UTC with ms, "2026-11-23T10:15:30.123Z", into `text`. */
#define CLOCK_RFC3339_BYTES 25
void clock_format_rfc3339(int64_t wall_us, char text[CLOCK_RFC3339_BYTES]);

#endif
