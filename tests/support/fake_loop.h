/* SPDX-License-Identifier: MIT */
/*
 * loop.h in virtual time: link fake_loop.c instead of the layer `loop`. Time stands still until the test
 * moves it; timers run in the order of their times. Descriptors and signals fire when the test says so.
 */
#ifndef MBGATE_TESTS_FAKE_LOOP_H
#define MBGATE_TESTS_FAKE_LOOP_H

#include "mbgate/loop/loop.h"

/* Where time begins. */
#define FAKE_LOOP_START_US UINT64_C(1000000000)

/* Runs what is due now, and what becomes due by that. Aborts when this does not end. */
void fake_loop_turn(struct loop *loop);

/* Moves time on, with everything that is due in between at its own time. */
void fake_loop_advance(struct loop *loop, uint64_t us);

/* When the next timer is due; CLOCK_NEVER_US: none. */
uint64_t fake_loop_next_us(const struct loop *loop);

/* How many timer callbacks were run. */
unsigned fake_loop_wakes(const struct loop *loop);

void fake_loop_fire_io(struct loop *loop, int fd, uint32_t events);
/* Waits in real time until a descriptor that is watched is ready, and serves all that are. False: none was
 * within `timeout_ms`. For what threads send; virtual time stands still. */
bool fake_loop_poll(struct loop *loop, int timeout_ms);
void fake_loop_raise(struct loop *loop, int signo);

#endif
