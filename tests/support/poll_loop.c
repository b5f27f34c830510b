/* SPDX-License-Identifier: MIT */
/*
 * loop.h over poll(2), in real time, that can be run again after it was left: a test waits many times. Link
 * this file instead of the layer `loop`. Signals never come.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"
#include "mbgate/loop/loop.h"

#define SOURCES_MAX 32

struct loop_io {
        struct loop *loop;
        int fd;
        uint32_t events;
        loop_io_fn fn;
        void *user;
};

struct loop_timer {
        struct loop *loop;
        uint64_t at_us;
        loop_timer_fn fn;
        void *user;
};

struct loop {
        struct loop_io *ios[SOURCES_MAX];
        struct loop_timer *timers[SOURCES_MAX];
        bool has_exit;
        int code;
};

int loop_new(struct loop **ret_loop)
{
        *ret_loop = calloc(1, sizeof(**ret_loop));
        return *ret_loop ? 0 : -ENOMEM;
}

struct loop *loop_free(struct loop *loop)
{
        for (unsigned i = 0; loop && i < SOURCES_MAX; i++) {
                if (loop->ios[i] || loop->timers[i])
                        abort(); /* "Every source must be gone before." */
        }
        free(loop);
        return NULL;
}

int loop_add_io(struct loop *loop, int fd, uint32_t events, loop_io_fn fn, void *user,
                struct loop_io **ret_io)
{
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                if (loop->ios[i])
                        continue;
                loop->ios[i] = calloc(1, sizeof(struct loop_io));
                if (!loop->ios[i])
                        return -ENOMEM;
                *loop->ios[i] = (struct loop_io){ loop, fd, events, fn, user };
                *ret_io = loop->ios[i];
                return 0;
        }
        return -ENOBUFS;
}

int loop_io_set_events(struct loop_io *io, uint32_t events)
{
        io->events = events;
        return 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
        for (unsigned i = 0; io && i < SOURCES_MAX; i++) {
                if (io->loop->ios[i] == io)
                        io->loop->ios[i] = NULL;
        }
        free(io);
        return NULL;
}

int loop_add_timer(struct loop *loop, loop_timer_fn fn, void *user, struct loop_timer **ret_timer)
{
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                if (loop->timers[i])
                        continue;
                loop->timers[i] = calloc(1, sizeof(struct loop_timer));
                if (!loop->timers[i])
                        return -ENOMEM;
                *loop->timers[i] = (struct loop_timer){ loop, CLOCK_NEVER_US, fn, user };
                *ret_timer = loop->timers[i];
                return 0;
        }
        return -ENOBUFS;
}

void loop_timer_set(struct loop_timer *timer, uint64_t at_us)
{
        timer->at_us = at_us;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
        for (unsigned i = 0; timer && i < SOURCES_MAX; i++) {
                if (timer->loop->timers[i] == timer)
                        timer->loop->timers[i] = NULL;
        }
        free(timer);
        return NULL;
}

uint64_t loop_clock_us(struct loop *loop)
{
        return loop_now_us(loop);
}

uint64_t loop_now_us(struct loop *loop)
{
        (void)loop;
        return clock_monotonic_us();
}

int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *user,
                    struct loop_signal **ret_signal)
{
        (void)loop;
        (void)signo;
        (void)fn;
        (void)user;
        *ret_signal = NULL;
        return 0;
}

struct loop_signal *loop_signal_free(struct loop_signal *signal)
{
        (void)signal;
        return NULL;
}

int loop_watch(struct loop *loop, loop_alive_fn alive, void *user)
{
        (void)loop;
        (void)alive;
        (void)user;
        return 0;
}

int loop_take_sockets(struct loop_socket **ret_sockets, size_t *ret_n)
{
        *ret_sockets = NULL;
        *ret_n = 0;
        return 0;
}

void loop_sockets_free(struct loop_socket *sockets, size_t n)
{
        (void)sockets;
        (void)n;
}

void loop_notify(struct loop *loop, const char *fmt, ...)
{
        (void)loop;
        (void)fmt;
}

static void loop_turn(struct loop *loop)
{
        struct pollfd fds[SOURCES_MAX];
        uint64_t now_us = clock_monotonic_us(), at_us = now_us + USEC_PER_SEC;
        struct timespec timeout;

        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                fds[i] = (struct pollfd){ .fd = loop->ios[i] ? loop->ios[i]->fd : -1, .events = POLLIN };
                if (loop->timers[i])
                        at_us = MBGATE_MIN(at_us, loop->timers[i]->at_us);
        }
        timeout = clock_remaining(at_us, now_us);
        if (ppoll(fds, SOURCES_MAX, &timeout, NULL) < 0)
                return;
        for (unsigned i = 0; i < SOURCES_MAX && !loop->has_exit; i++) {
                if (fds[i].revents && loop->ios[i] && loop->ios[i]->fd == fds[i].fd)
                        loop->ios[i]->fn(loop->ios[i]->user, fds[i].fd, (uint32_t)fds[i].revents);
        }
        now_us = clock_monotonic_us();
        for (unsigned i = 0; i < SOURCES_MAX && !loop->has_exit; i++) {
                struct loop_timer *t = loop->timers[i];

                if (!t || t->at_us > now_us)
                        continue;
                t->at_us = CLOCK_NEVER_US;
                t->fn(t->user, now_us);
        }
}

int loop_run(struct loop *loop)
{
        loop->has_exit = false;
        while (!loop->has_exit)
                loop_turn(loop);
        return loop->code;
}

void loop_exit(struct loop *loop, int code)
{
        loop->has_exit = true;
        loop->code = code;
}
