/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

#include "tcp.h"

#define KEEPALIVE_IDLE_S     10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3
#define USER_TIMEOUT_MS      20000

static void tcp_set_options(int fd)
{
        const struct {
                int level, name, value;
        } options[] = {
                { SOL_SOCKET, SO_KEEPALIVE, 1 },
                { IPPROTO_TCP, TCP_NODELAY, 1 },
                { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
                { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
                { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
                { IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS },
        };

        /* Each of them only makes things better. */
        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
                (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                                 sizeof(options[i].value));
        }
}

static int tcp_wait(int fd, int cancel_fd, uint64_t deadline_us)
{
        struct pollfd fds[] = { { .fd = fd, .events = POLLOUT }, { .fd = cancel_fd, .events = POLLIN } };
        socklen_t length = sizeof(int);
        int error = 0;

        for (;;) {
                struct timespec left = clock_remaining(deadline_us, clock_monotonic_us());
                int n = ppoll(fds, ARRAY_SIZE(fds), &left, NULL);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && fds[1].revents != 0)
                        return -ECANCELED;
                if (n > 0 && fds[0].revents != 0)
                        break;
                if (n == 0)
                        return -ETIMEDOUT;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
                return -errno;
        return -error;
}

static int tcp_try(const struct addrinfo *ai, int cancel_fd, uint64_t deadline_us, int *ret_fd)
{
        CLEANUP(cleanup_close)
        int fd = -1;
        int r = 0;

        fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
        if (fd < 0)
                return -errno;
        tcp_set_options(fd);
        if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0)
                r = errno == EINPROGRESS ? tcp_wait(fd, cancel_fd, deadline_us) : -errno;
        if (r < 0)
                return r;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* The first of `n_left` addresses may take its share of the time that is left. */
static uint64_t share_of(uint64_t deadline_us, size_t n_left)
{
        uint64_t now_us = clock_monotonic_us();

        return now_us >= deadline_us ? deadline_us : now_us + (deadline_us - now_us) / n_left;
}

static int tcp_try_all(const struct addrinfo *list, int cancel_fd, uint64_t deadline_us, int *ret_fd)
{
        size_t n_left = 0;
        int r = -EHOSTUNREACH;

        for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
                n_left++;
        for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
                r = tcp_try(ai, cancel_fd, share_of(deadline_us, n_left--), ret_fd);
                if (r == 0 || r == -ECANCELED)
                        return r;
        }
        return r;
}

int tcp_connect(const char *host, uint16_t port, uint64_t timeout_us, int cancel_fd, struct buf *about,
                int *ret_fd)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
        uint64_t deadline_us = clock_monotonic_us() + timeout_us;
        struct addrinfo *list;
        char service[8];
        int r;

        (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
        r = getaddrinfo(host, service, &hints, &list);
        if (r == EAI_SYSTEM)
                return errno ? -errno : -EHOSTUNREACH;
        if (r != 0) {
                buf_append(about, gai_strerror(r));
                return -EHOSTUNREACH;
        }
        r = tcp_try_all(list, cancel_fd, deadline_us, ret_fd);
        freeaddrinfo(list);
        return r;
}
