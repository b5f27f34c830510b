/* SPDX-License-Identifier: MIT */
/*
 * Line time: ns since the start, running `speed` times as fast as CLOCK_MONOTONIC. Everything that the
 * simulator does happens in line time; only waiting needs the real one.
 */
#ifndef MBSIM_SIMCLOCK_H
#define MBSIM_SIMCLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US  UINT64_C(1000)
#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_S   UINT64_C(1000000000)
#define LINE_NEVER UINT64_MAX

/* Starts the clock at 0. `speed` > 0. */
void simclock_start(double speed);

double simclock_speed(void);

/* CLOCK_MONOTONIC in ns. */
uint64_t simclock_real_ns(void);

/* Line time now. */
uint64_t simclock_now_ns(void);

/* The CLOCK_MONOTONIC ns at which line time `line_ns` comes, rounded up. Not for LINE_NEVER. */
uint64_t simclock_to_real_ns(uint64_t line_ns);

/* The simulator went on so much later than it meant to, since it was not given a processor: no device is so
 * slow, and a reply may have come later than any fault would have it. */
void simclock_note_stall(uint64_t real_ns);
uint64_t simclock_stall_max_ns(void);

#endif
