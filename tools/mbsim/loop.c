/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "loop.h"
#include "simclock.h"

#define LOOP_EVENTS_MAX 32

int loop_open(struct loop *loop, uint64_t spin_ns)
{
        (void)prctl(PR_SET_TIMERSLACK, 1UL);
        loop->spin_ns = spin_ns;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
        if (loop->epoll_fd >= 0)
                close(loop->epoll_fd);
        loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct source *s)
{
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

        return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct source *s)
{
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
}

static int loop_dispatch(struct loop *loop)
{
        struct epoll_event events[LOOP_EVENTS_MAX];
        int n = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, 0);

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                struct source *s = events[i].data.ptr;

                if (s->fd >= 0)
                        s->ready(s, events[i].events);
        }
        return n;
}

/* The rest of the way, which the kernel's timers would overshoot by some 50 µs. Requests are not kept
 * waiting. */
static int loop_spin(struct loop *loop, uint64_t deadline_ns)
{
        int n = 0;

        while (n == 0 && simclock_real_ns() < deadline_ns)
                n = loop_dispatch(loop);
        return n < 0 ? n : 0;
}

int loop_wait(struct loop *loop, uint64_t deadline_ns, bool sharp)
{
        struct pollfd p = { .fd = loop->epoll_fd, .events = POLLIN };
        uint64_t now_ns = simclock_real_ns();
        uint64_t wake_ns = sharp ? deadline_ns - MBGATE_MIN(deadline_ns, loop->spin_ns) : deadline_ns;
        uint64_t rest_ns = wake_ns > now_ns ? wake_ns - now_ns : 0;
        struct timespec t = { .tv_sec = (time_t)(rest_ns / NS_PER_S), .tv_nsec = (long)(rest_ns % NS_PER_S) };
        int r = ppoll(&p, 1, deadline_ns == LINE_NEVER ? NULL : &t, NULL);

        if (r < 0)
                return errno == EINTR ? 0 : -errno;
        if (r > 0) {
                r = loop_dispatch(loop);
                return r < 0 ? r : 0;
        }
        return sharp ? loop_spin(loop, deadline_ns) : 0;
}
