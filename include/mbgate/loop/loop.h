/* SPDX-License-Identifier: MIT */
/*
 * The event loop of the main thread: descriptors, timers, signals, the service manager's notifications and
 * watchdog, over sd-event(3). Everything is called on the main thread, callbacks too; a callback never
 * blocks. Tests link another implementation of this header that runs in virtual time
 * (tests/support/fake_loop.c).
 */
#ifndef MBGATE_LOOP_LOOP_H
#define MBGATE_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

typedef void (*loop_io_fn)(void *user, int fd, uint32_t events);
typedef void (*loop_timer_fn)(void *user, uint64_t now_us);
typedef void (*loop_signal_fn)(void *user, int signo);

/* Asked before each feeding of the watchdog: false lets it starve. */
typedef bool (*loop_alive_fn)(void *user);

MUST_CHECK int loop_new(struct loop **ret_loop);

/* Every source must be gone before. Takes NULL, returns NULL. */
struct loop *loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free)

/* Watches a descriptor for EPOLLIN, EPOLLOUT …, level-triggered. The descriptor stays the caller's. −errno.
 */
MUST_CHECK int loop_add_io(struct loop *loop, int fd, uint32_t events, loop_io_fn fn, void *user,
                           struct loop_io **ret_io);
MUST_CHECK int loop_io_set_events(struct loop_io *io, uint32_t events);
struct loop_io *loop_io_free(struct loop_io *io);

/* A timer that is off until it is set. One shot; may be set again from its callback. −errno. */
MUST_CHECK int loop_add_timer(struct loop *loop, loop_timer_fn fn, void *user, struct loop_timer **ret_timer);

/* At a monotonic time; CLOCK_NEVER_US switches it off. Never fails. */
void loop_timer_set(struct loop_timer *timer, uint64_t at_us);
struct loop_timer *loop_timer_free(struct loop_timer *timer);

/* The signal must be blocked on every thread (signalfd(2)). −errno. */
MUST_CHECK int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *user,
                               struct loop_signal **ret_signal);
struct loop_signal *loop_signal_free(struct loop_signal *signal);

/* Monotonic time at the start of this turn, or now when the loop does not run. */
uint64_t loop_now_us(struct loop *loop);

/* Monotonic time now, also in the middle of a turn: from which a delay counts that must not end early. */
uint64_t loop_clock_us(struct loop *loop);

/* Runs until loop_exit(); the code given there, or −errno. */
MUST_CHECK int loop_run(struct loop *loop);
void loop_exit(struct loop *loop, int code);

/* A socket that the service manager has opened for us, sd_listen_fds_with_names(3). */
struct loop_socket {
        int fd;
        char *name;
};

/*
 * All of them, or none. They are the caller's, with the array, which loop_sockets_free() frees; they are not
 * closed by it. Asked once: a program that is started from here does not get them. −errno.
 */
MUST_CHECK int loop_take_sockets(struct loop_socket **ret_sockets, size_t *ret_n);
void loop_sockets_free(struct loop_socket *sockets, size_t n);

/* What stands in WATCHDOG_USEC or WATCHDOG_PID is no number: there is no watchdog. */
#define LOOP_WATCHDOG_UNREADABLE 1

/*
 * Feeds the service manager's watchdog (WATCHDOG_USEC) at half its period while `alive` says so. Without a
 * watchdog asked for, nothing. LOOP_WATCHDOG_UNREADABLE, −errno.
 */
MUST_CHECK int loop_watch(struct loop *loop, loop_alive_fn alive, void *user);

/*
 * sd_notify(3) with a formatted state, "READY=1\nSTATUS=…". Without a service manager, nothing. Never waits:
 * what the manager does not take now is sent later, in order; of more than a few that wait the last are lost.
 */
void loop_notify(struct loop *loop, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
