/* SPDX-License-Identifier: MIT */
/* The one loop of mbsim: descriptors, and waking up at a time to within microseconds. */
#ifndef MBSIM_LOOP_H
#define MBSIM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

/* A descriptor that is watched. Embedded in its owner; must outlive the loop_wait() in which it is removed.
 */
struct source {
        int fd;
        void (*ready)(struct source *s, uint32_t epoll_events);
};

struct loop {
        int epoll_fd;
        uint64_t spin_ns; /* how long before a sharp deadline sleeping ends and looking at the clock begins */
};

/* Sets the timer slack of the thread to 1 ns. −errno. */
MUST_CHECK int loop_open(struct loop *loop, uint64_t spin_ns);
void loop_close(struct loop *loop);

/* Watches s->fd for reading. −errno. */
MUST_CHECK int loop_add(struct loop *loop, struct source *s);
void loop_remove(struct loop *loop, struct source *s);

/*
 * Waits until a descriptor is ready, whose function is called, or until CLOCK_MONOTONIC passes `deadline_ns`
 * (LINE_NEVER: no deadline). A sharp deadline is met to a few µs by spinning at its end. −errno.
 */
MUST_CHECK int loop_wait(struct loop *loop, uint64_t deadline_ns, bool sharp);

#endif
