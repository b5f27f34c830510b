/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"

static ssize_t socket_read(struct stream *s, void *bytes, size_t n)
{
        ssize_t r = recv(s->fd, bytes, n, 0);

        return r >= 0 ? r : errno == EINTR ? -EAGAIN : -errno;
}

static ssize_t socket_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = n_parts };
        ssize_t r = sendmsg(s->fd, &message, MSG_NOSIGNAL);

        return r >= 0 ? r : errno == EINTR ? -EAGAIN : -errno;
}

static int socket_flush(struct stream *s)
{
        (void)s;
        return 0;
}

static uint32_t socket_events(const struct stream *s)
{
        (void)s;
        return 0;
}

static bool socket_has_input(const struct stream *s)
{
        (void)s;
        return false;
}

static void socket_shutdown(struct stream *s)
{
        (void)shutdown(s->fd, SHUT_WR);
}

static void socket_free(struct stream *s)
{
        (void)close(s->fd);
        free(s);
}

static const struct stream_ops socket_ops = {
        .read = socket_read,
        .write = socket_write,
        .flush = socket_flush,
        .events = socket_events,
        .has_input = socket_has_input,
        .shutdown = socket_shutdown,
        .free = socket_free,
};

int stream_socket_new(int fd, struct stream **ret_stream)
{
        struct stream *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        *s = (struct stream){ .ops = &socket_ops, .fd = fd };
        /* No delay for small packets (a Unix socket knows neither); dead peers are found at last. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
        *ret_stream = s;
        return 0;
}
