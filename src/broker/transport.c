/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport.h"

/* Batches served in one turn of the loop, while there are any: the loop's own work is done once for all. */
#define BATCHES_PER_TURN 8
#define VAIN_MAX         4
#define VAIN_TRY         16

struct transport {
        struct loop *loop;
        struct loop_io *io;
        struct loop_timer *timer;
        transport_batch_fn at_end;
        void *user;
        struct transport_io *batch[TRANSPORT_BATCH]; /* still to be called; NULL: removed or done */
        uint64_t now_us;
        size_t n_sources;
        int fd;
        unsigned n_vain; /* turns in a row whose second look found nothing */
        bool is_running;
        bool is_woken; /* another batch is wanted though nothing may be ready */
};

static bool transport_run_batch(struct transport *t)
{
        struct epoll_event events[TRANSPORT_BATCH];
        int n = epoll_wait(t->fd, events, TRANSPORT_BATCH, 0);

        if (n <= 0 && !t->is_woken)
                return false;
        t->is_running = true;
        t->now_us = loop_clock_us(t->loop); /* the turn may have begun before what happened here */
        for (int i = 0; i < n; i++) {
                t->batch[i] = events[i].data.ptr;
                t->batch[i]->slot = (uint32_t)i + 1;
        }
        for (int i = 0; i < n; i++) {
                struct transport_io *io = TAKE(t->batch[i]);

                if (!io)
                        continue;
                io->slot = 0;
                io->fn(io, events[i].events);
        }
        t->is_woken = false;
        t->at_end(t->user);
        t->is_running = false;
        return true;
}

/* Whether to look again before the loop does: not while that has been in vain, but for a try now and then. */
static bool transport_looks_again(const struct transport *t)
{
        return t->is_woken || t->n_vain < VAIN_MAX || t->n_vain % VAIN_TRY == 0;
}

static void transport_run(struct transport *t)
{
        if (!transport_run_batch(t))
                return;
        if (!transport_looks_again(t)) {
                t->n_vain++;
                return;
        }
        for (unsigned i = 1; i < BATCHES_PER_TURN; i++) {
                if (!transport_run_batch(t)) {
                        t->n_vain = i == 1 ? t->n_vain + 1 : 0;
                        return;
                }
        }
        t->n_vain = 0;
        if (t->is_woken)
                loop_timer_set(t->timer, t->now_us);
}

static void transport_on_io(void *user, int fd, uint32_t events)
{
        (void)fd;
        (void)events;
        transport_run(user);
}

static void transport_on_timer(void *user, uint64_t now_us)
{
        (void)now_us;
        transport_run(user);
}

static int transport_init(struct transport *t)
{
        int r;

        t->fd = epoll_create1(EPOLL_CLOEXEC);
        if (t->fd < 0)
                return -errno;
        r = loop_add_io(t->loop, t->fd, EPOLLIN, transport_on_io, t, &t->io);
        if (r < 0)
                return r;
        return loop_add_timer(t->loop, transport_on_timer, t, &t->timer);
}

int transport_new(struct loop *loop, transport_batch_fn at_end, void *user, struct transport **ret_transport)
{
        CLEANUP(transport_freep)
        struct transport *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        t->loop = loop;
        t->at_end = at_end;
        t->user = user;
        r = transport_init(t);
        if (r < 0)
                return r;
        *ret_transport = TAKE(t);
        return 0;
}

struct transport *transport_free(struct transport *t)
{
        if (!t)
                return NULL;
        assert(t->n_sources == 0);
        t->io = loop_io_free(t->io);
        t->timer = loop_timer_free(t->timer);
        if (t->fd >= 0)
                (void)close(t->fd);
        free(t);
        return NULL;
}

int transport_add(struct transport *t, struct transport_io *io, int fd, uint32_t events, transport_io_fn fn)
{
        struct epoll_event event = { .events = events, .data.ptr = io };

        if (epoll_ctl(t->fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;
        *io = (struct transport_io){ .transport = t, .fn = fn, .fd = fd, .events = events };
        t->n_sources++;
        return 0;
}

void transport_set_events(struct transport_io *io, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = io };
        int r;

        if (io->events == events)
                return;
        io->events = events;
        r = epoll_ctl(io->transport->fd, EPOLL_CTL_MOD, io->fd, &event);
        assert(r == 0);
        (void)r;
}

void transport_remove(struct transport_io *io)
{
        struct transport *t = io->transport;

        if (io->slot > 0)
                t->batch[io->slot - 1] = NULL;
        (void)epoll_ctl(t->fd, EPOLL_CTL_DEL, io->fd, NULL);
        t->n_sources--;
        *io = (struct transport_io){ .fd = -1 };
}

void transport_wake(struct transport *t)
{
        bool was_woken = t->is_woken;

        t->is_woken = true;
        if (!t->is_running && !was_woken)
                loop_timer_set(t->timer, loop_now_us(t->loop));
}

int transport_fd(const struct transport *t)
{
        return t->fd;
}

uint64_t transport_now_us(const struct transport *t)
{
        return t->is_running ? t->now_us : loop_now_us(t->loop);
}
