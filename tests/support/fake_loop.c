/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"

#include "fake_loop.h"

#define SOURCES_MAX 64
#define TURNS_MAX   10000

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

struct loop_signal {
        struct loop *loop;
        int signo;
        loop_signal_fn fn;
        void *user;
};

struct loop {
        uint64_t now_us;
        void *ios[SOURCES_MAX]; /* struct loop_io */
        void *timers[SOURCES_MAX];
        void *signals[SOURCES_MAX];
        unsigned n_wakes;
        bool has_exit;
        int code;
};

int loop_new(struct loop **ret_loop)
{
        *ret_loop = calloc(1, sizeof(**ret_loop));
        if (!*ret_loop)
                return -ENOMEM;
        (*ret_loop)->now_us = FAKE_LOOP_START_US;
        return 0;
}

struct loop *loop_free(struct loop *loop)
{
        for (unsigned i = 0; loop && i < SOURCES_MAX; i++) {
                if (loop->ios[i] || loop->timers[i] || loop->signals[i])
                        abort(); /* "Every source must be gone before." */
        }
        free(loop);
        return NULL;
}

static void *source_new(void **slots, size_t n_bytes)
{
        unsigned i = 0;
        void *source;

        while (i < SOURCES_MAX && slots[i])
                i++;
        if (i == SOURCES_MAX)
                abort();
        source = calloc(1, n_bytes);
        slots[i] = source;
        return source;
}

static void source_free(void **slots, void *source)
{
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                if (slots[i] == source)
                        slots[i] = NULL;
        }
        free(source);
}

int loop_add_io(struct loop *loop, int fd, uint32_t events, loop_io_fn fn, void *user,
                struct loop_io **ret_io)
{
        struct loop_io *source = source_new(loop->ios, sizeof(*source));

        if (!source)
                return -ENOMEM;
        *source = (struct loop_io){ loop, fd, events, fn, user };
        *ret_io = source;
        return 0;
}

int loop_io_set_events(struct loop_io *io, uint32_t events)
{
        io->events = events;
        return 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
        if (io)
                source_free(io->loop->ios, io);
        return NULL;
}

int loop_add_timer(struct loop *loop, loop_timer_fn fn, void *user, struct loop_timer **ret_timer)
{
        struct loop_timer *source = source_new(loop->timers, sizeof(*source));

        if (!source)
                return -ENOMEM;
        *source = (struct loop_timer){ loop, CLOCK_NEVER_US, fn, user };
        *ret_timer = source;
        return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t at_us)
{
        timer->at_us = at_us;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
        if (timer)
                source_free(timer->loop->timers, timer);
        return NULL;
}

int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *user,
                    struct loop_signal **ret_signal)
{
        struct loop_signal *source = source_new(loop->signals, sizeof(*source));

        if (!source)
                return -ENOMEM;
        *source = (struct loop_signal){ loop, signo, fn, user };
        *ret_signal = source;
        return 0;
}

struct loop_signal *loop_signal_free(struct loop_signal *signal)
{
        if (signal)
                source_free(signal->loop->signals, signal);
        return NULL;
}

uint64_t loop_clock_us(struct loop *loop)
{
        return loop->now_us;
}

uint64_t loop_now_us(struct loop *loop)
{
        return loop->now_us;
}

static struct loop_timer *earliest(const struct loop *loop)
{
        struct loop_timer *first = NULL;

        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                struct loop_timer *t = loop->timers[i];

                if (t && t->at_us != CLOCK_NEVER_US && (!first || t->at_us < first->at_us))
                        first = t;
        }
        return first;
}

static bool run_one(struct loop *loop, uint64_t until_us)
{
        struct loop_timer *t = earliest(loop);

        if (!t || t->at_us > until_us)
                return false;
        loop->now_us = MBGATE_MAX(loop->now_us, t->at_us);
        t->at_us = CLOCK_NEVER_US;
        loop->n_wakes++;
        t->fn(t->user, loop->now_us);
        return true;
}

void fake_loop_turn(struct loop *loop)
{
        for (unsigned i = 0; run_one(loop, loop->now_us); i++) {
                if (i == TURNS_MAX)
                        abort(); /* somebody sets his timer to now for ever */
        }
}

void fake_loop_advance(struct loop *loop, uint64_t us)
{
        uint64_t until_us = loop->now_us + us, was_us = 0;

        for (unsigned i = 0; run_one(loop, until_us); i++) {
                if (loop->now_us != was_us)
                        i = 0;
                if (i == TURNS_MAX)
                        abort();
                was_us = loop->now_us;
        }
        loop->now_us = until_us;
}

uint64_t fake_loop_next_us(const struct loop *loop)
{
        const struct loop_timer *t = earliest(loop);

        return t ? t->at_us : CLOCK_NEVER_US;
}

unsigned fake_loop_wakes(const struct loop *loop)
{
        return loop->n_wakes;
}

void fake_loop_fire_io(struct loop *loop, int fd, uint32_t events)
{
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                struct loop_io *io = loop->ios[i];

                if (io && io->fd == fd && (events & io->events))
                        io->fn(io->user, fd, events & io->events);
        }
}

bool fake_loop_poll(struct loop *loop, int timeout_ms)
{
        struct pollfd fds[SOURCES_MAX];

        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                const struct loop_io *io = loop->ios[i];

                fds[i] = (struct pollfd){ .fd = io ? io->fd : -1, .events = io ? (short)io->events : 0 };
        }
        if (poll(fds, SOURCES_MAX, timeout_ms) <= 0)
                return false;
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                if (fds[i].revents)
                        fake_loop_fire_io(loop, fds[i].fd, (uint32_t)fds[i].revents);
        }
        return true;
}

void fake_loop_raise(struct loop *loop, int signo)
{
        for (unsigned i = 0; i < SOURCES_MAX; i++) {
                struct loop_signal *s = loop->signals[i];

                if (s && s->signo == signo)
                        s->fn(s->user, signo);
        }
}

/* Until somebody ends it, or nothing is left to happen. */
int loop_run(struct loop *loop)
{
        while (!loop->has_exit && run_one(loop, CLOCK_NEVER_US - 1))
                continue;
        loop->has_exit = false;
        return loop->code;
}

void loop_exit(struct loop *loop, int code)
{
        loop->has_exit = true;
        loop->code = code;
}

/* No service manager is there: nothing to feed, nothing to tell. */
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
