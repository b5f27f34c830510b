/* SPDX-License-Identifier: MIT */
/* The only file that knows sd-event(3) and sd-daemon(3). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "mbgate/base/clock.h"
#include "mbgate/loop/loop.h"

#include "notify.h"

/* Timers may be this late so that neighbours share a wake-up. */
#define LOOP_TIMER_ACCURACY_US 500

#define LOOP_NOTIFY_BYTES 512

/* A manager that does not read is tried again this often; more states than this do not wait for it. */
#define LOOP_NOTIFY_RETRY_US (100 * USEC_PER_MSEC)
#define LOOP_NOTIFY_MAX      16

struct loop {
        sd_event *event;
        struct loop_timer *notify; /* on while something is unsent */
        char *unsent[LOOP_NOTIFY_MAX];
        size_t n_unsent; /* oldest first */
        struct loop_timer *watchdog;
        uint64_t watchdog_us;
        loop_alive_fn alive;
        void *alive_user;
        bool is_running;
};

struct loop_io {
        sd_event_source *source;
        loop_io_fn fn;
        void *user;
};

struct loop_timer {
        sd_event_source *source;
        loop_timer_fn fn;
        void *user;
};

struct loop_signal {
        sd_event_source *source;
        loop_signal_fn fn;
        void *user;
};

/* Sends what waits, until the manager takes no more. */
static void loop_on_notify(void *user, uint64_t now_us)
{
        struct loop *loop = user;

        while (loop->n_unsent > 0 && notify_send(loop->unsent[0]) != -EAGAIN) {
                free(loop->unsent[0]);
                loop->n_unsent--;
                memmove(loop->unsent, loop->unsent + 1, loop->n_unsent * sizeof(loop->unsent[0]));
        }
        if (loop->n_unsent > 0)
                loop_timer_set(loop->notify, now_us + LOOP_NOTIFY_RETRY_US);
}

int loop_new(struct loop **ret_loop)
{
        CLEANUP(loop_freep)
        struct loop *loop = calloc(1, sizeof(*loop));
        int r;

        if (!loop)
                return -ENOMEM;
        r = sd_event_new(&loop->event);
        if (r < 0)
                return r;
        r = loop_add_timer(loop, loop_on_notify, loop, &loop->notify);
        if (r < 0)
                return r;
        *ret_loop = TAKE(loop);
        return 0;
}

struct loop *loop_free(struct loop *loop)
{
        if (!loop)
                return NULL;
        loop->watchdog = loop_timer_free(loop->watchdog);
        loop->notify = loop_timer_free(loop->notify);
        for (size_t i = 0; i < loop->n_unsent; i++)
                free(loop->unsent[i]);
        (void)sd_event_unref(loop->event);
        free(loop);
        return NULL;
}

static int loop_on_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
        struct loop_io *io = user;

        (void)source;
        io->fn(io->user, fd, events);
        return 0;
}

int loop_add_io(struct loop *loop, int fd, uint32_t events, loop_io_fn fn, void *user,
                struct loop_io **ret_io)
{
        struct loop_io *io = calloc(1, sizeof(*io));
        int r;

        if (!io)
                return -ENOMEM;
        io->fn = fn;
        io->user = user;
        r = sd_event_add_io(loop->event, &io->source, fd, events, loop_on_io, io);
        if (r < 0) {
                free(io);
                return r;
        }
        *ret_io = io;
        return 0;
}

int loop_io_set_events(struct loop_io *io, uint32_t events)
{
        return sd_event_source_set_io_events(io->source, events);
}

struct loop_io *loop_io_free(struct loop_io *io)
{
        if (!io)
                return NULL;
        (void)sd_event_source_disable_unref(io->source);
        free(io);
        return NULL;
}

static int loop_on_timer(sd_event_source *source, uint64_t usec, void *user)
{
        struct loop_timer *timer = user;

        (void)source;
        (void)usec;
        timer->fn(timer->user, clock_monotonic_us());
        return 0;
}

int loop_add_timer(struct loop *loop, loop_timer_fn fn, void *user, struct loop_timer **ret_timer)
{
        struct loop_timer *timer = calloc(1, sizeof(*timer));
        int r;

        if (!timer)
                return -ENOMEM;
        timer->fn = fn;
        timer->user = user;
        r = sd_event_add_time(loop->event, &timer->source, CLOCK_MONOTONIC, CLOCK_NEVER_US,
                              LOOP_TIMER_ACCURACY_US, loop_on_timer, timer);
        if (r < 0) {
                free(timer);
                return r;
        }
        (void)sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
        *ret_timer = timer;
        return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t at_us)
{
        /* Neither call can fail for a timer source of this process: sd_event_source_set_time(3). */
        if (at_us != CLOCK_NEVER_US)
                (void)sd_event_source_set_time(timer->source, at_us);
        (void)sd_event_source_set_enabled(timer->source,
                                          at_us == CLOCK_NEVER_US ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
        if (!timer)
                return NULL;
        (void)sd_event_source_disable_unref(timer->source);
        free(timer);
        return NULL;
}

static int loop_on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
        struct loop_signal *signal = user;

        (void)source;
        signal->fn(signal->user, (int)info->ssi_signo);
        return 0;
}

int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *user,
                    struct loop_signal **ret_signal)
{
        struct loop_signal *signal = calloc(1, sizeof(*signal));
        int r;

        if (!signal)
                return -ENOMEM;
        signal->fn = fn;
        signal->user = user;
        r = sd_event_add_signal(loop->event, &signal->source, signo, loop_on_signal, signal);
        if (r < 0) {
                free(signal);
                return r;
        }
        *ret_signal = signal;
        return 0;
}

struct loop_signal *loop_signal_free(struct loop_signal *signal)
{
        if (!signal)
                return NULL;
        (void)sd_event_source_disable_unref(signal->source);
        free(signal);
        return NULL;
}

uint64_t loop_clock_us(struct loop *loop)
{
        (void)loop;
        return clock_monotonic_us();
}

uint64_t loop_now_us(struct loop *loop)
{
        uint64_t now_us;

        if (!loop->is_running || sd_event_now(loop->event, CLOCK_MONOTONIC, &now_us) < 0)
                return clock_monotonic_us();
        return now_us;
}

int loop_run(struct loop *loop)
{
        int r;

        loop->is_running = true;
        r = sd_event_loop(loop->event);
        loop->is_running = false;
        return r;
}

void loop_exit(struct loop *loop, int code)
{
        (void)sd_event_exit(loop->event, code);
}

int loop_take_sockets(struct loop_socket **ret_sockets, size_t *ret_n)
{
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names);
        struct loop_socket *sockets;

        if (n < 0)
                return n;
        sockets = calloc((size_t)n + 1, sizeof(*sockets));
        for (int i = 0; i < n; i++) {
                if (sockets)
                        sockets[i] = (struct loop_socket){ .fd = SD_LISTEN_FDS_START + i, .name = names[i] };
                else
                        free(names[i]);
        }
        free(names);
        if (!sockets)
                return -ENOMEM;
        *ret_sockets = sockets;
        *ret_n = (size_t)n;
        return 0;
}

void loop_sockets_free(struct loop_socket *sockets, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(sockets[i].name);
        free(sockets);
}

static void loop_on_watchdog(void *user, uint64_t now_us)
{
        struct loop *loop = user;
        uint64_t next_us = loop->watchdog_us / 2;

        if (loop->alive(loop->alive_user) && notify_send("WATCHDOG=1") == -EAGAIN)
                next_us = MBGATE_MIN(next_us, LOOP_NOTIFY_RETRY_US);
        loop_timer_set(loop->watchdog, now_us + next_us);
}

int loop_watch(struct loop *loop, loop_alive_fn alive, void *user)
{
        int r;

        r = sd_watchdog_enabled(0, &loop->watchdog_us);
        if (r < 0)
                return LOOP_WATCHDOG_UNREADABLE;
        if (r == 0)
                return 0;
        loop->alive = alive;
        loop->alive_user = user;
        r = loop_add_timer(loop, loop_on_watchdog, loop, &loop->watchdog);
        if (r < 0)
                return r;
        loop_timer_set(loop->watchdog, clock_monotonic_us());
        return 0;
}

void loop_notify(struct loop *loop, const char *fmt, ...)
{
        char state[LOOP_NOTIFY_BYTES];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(state, sizeof(state), fmt, ap);
        va_end(ap);
        /* In order. Nobody listening (−ECONNREFUSED and the like) is no fault of ours. */
        if (loop->n_unsent == 0 && notify_send(state) != -EAGAIN)
                return;
        if (loop->n_unsent == LOOP_NOTIFY_MAX)
                return;
        loop->unsent[loop->n_unsent] = strdup(state);
        if (!loop->unsent[loop->n_unsent])
                return;
        if (loop->n_unsent++ == 0)
                loop_timer_set(loop->notify, clock_monotonic_us() + LOOP_NOTIFY_RETRY_US);
}
