/* SPDX-License-Identifier: MIT */
/*
 * A listening socket, for Modbus TCP or for RTU frames in a stream. Every connection has a line of its own:
 * requests of one are answered in turn, those of several at the same time.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "line.h"
#include "simclock.h"

#define TCP_CONNECTIONS_MAX 64
#define TCP_READ_MAX        4096
#define TCP_RETRY_NS        NS_PER_S

struct tcp_connection {
        struct source source;
        struct line line;
        struct tcp *tcp;
};

struct tcp {
        struct endpoint endpoint;
        struct source listener;
        struct sockaddr_storage address; /* bound to, with the port that it got */
        socklen_t n_address;
        enum framing framing;
        struct tcp_connection *connections[TCP_CONNECTIONS_MAX];
};

static struct tcp *tcp_of(struct endpoint *e)
{
        return CONTAINER_OF(e, struct tcp, endpoint);
}

static size_t tcp_write(void *user, const uint8_t *bytes, size_t n_bytes)
{
        struct tcp_connection *c = user;
        ssize_t n = send(c->source.fd, bytes, n_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

        return n < 0 ? n_bytes : n_bytes - (size_t)n;
}

/* The memory stays until tcp_sweep(): an event of this turn may still name it. */
static void tcp_connection_close(struct tcp_connection *c)
{
        if (c->source.fd < 0)
                return;
        close(c->source.fd);
        c->source.fd = -1;
        line_reset(&c->line);
}

/* Frees the slots of closed connections; not while events are handed out. */
static void tcp_sweep(struct tcp *t)
{
        for (size_t i = 0; i < TCP_CONNECTIONS_MAX; i++) {
                if (t->connections[i] && t->connections[i]->source.fd < 0) {
                        free(t->connections[i]);
                        t->connections[i] = NULL;
                }
        }
}

static void tcp_after_line(struct tcp_connection *c, uint64_t now_ns)
{
        uint64_t duration_ns = c->line.hangup_ns;

        c->line.hangup_ns = 0;
        if (duration_ns > 0)
                endpoint_hangup(&c->tcp->endpoint, now_ns, duration_ns);
        else if (c->line.closed)
                tcp_connection_close(c);
}

static void tcp_connection_ready(struct source *s, uint32_t events)
{
        struct tcp_connection *c = CONTAINER_OF(s, struct tcp_connection, source);
        uint8_t bytes[TCP_READ_MAX];
        ssize_t n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        uint64_t now_ns = simclock_now_ns();

        (void)events;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                tcp_connection_close(c);
                return;
        }
        line_receive(&c->line, bytes, (size_t)n, now_ns);
        tcp_after_line(c, now_ns);
}

static struct tcp_connection *tcp_connection_new(struct tcp *t, int fd)
{
        struct tcp_connection *c;

        for (size_t i = 0; i < TCP_CONNECTIONS_MAX; i++) {
                if (t->connections[i])
                        continue;
                c = calloc(1, sizeof(*c));
                if (!c)
                        return NULL;
                c->source = (struct source){ .fd = fd, .ready = tcp_connection_ready };
                c->tcp = t;
                line_init(&c->line, t->endpoint.bus, t->framing, false, tcp_write, c);
                t->connections[i] = c;
                return c;
        }
        return NULL;
}

static void tcp_listener_ready(struct source *s, uint32_t events)
{
        struct tcp *t = CONTAINER_OF(s, struct tcp, listener);
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct tcp_connection *c;

        (void)events;
        if (fd < 0)
                return;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        c = tcp_connection_new(t, fd);
        if (!c)
                close(fd);
        else if (loop_add(t->endpoint.loop, &c->source) < 0)
                tcp_connection_close(c);
}

static int tcp_listen(struct tcp *t)
{
        t->listener.fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (t->listener.fd < 0)
                return -errno;
        (void)setsockopt(t->listener.fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        if (bind(t->listener.fd, (struct sockaddr *)&t->address, t->n_address) < 0 ||
            listen(t->listener.fd, TCP_CONNECTIONS_MAX) < 0 ||
            getsockname(t->listener.fd, (struct sockaddr *)&t->address, &t->n_address) < 0)
                return -errno;
        return loop_add(t->endpoint.loop, &t->listener);
}

static void tcp_close(struct tcp *t)
{
        if (t->listener.fd >= 0)
                close(t->listener.fd);
        t->listener.fd = -1;
        for (size_t i = 0; i < TCP_CONNECTIONS_MAX; i++) {
                if (t->connections[i])
                        tcp_connection_close(t->connections[i]);
        }
}

static uint64_t tcp_next_ns(struct endpoint *e, bool *ret_sharp)
{
        const struct tcp *t = tcp_of(e);
        uint64_t next_ns = e->back_ns;

        *ret_sharp = false;
        for (size_t i = 0; i < TCP_CONNECTIONS_MAX; i++) {
                const struct tcp_connection *c = t->connections[i];
                uint64_t at_ns = c && c->source.fd >= 0 ? line_next_ns(&c->line) : LINE_NEVER;

                if (at_ns >= next_ns)
                        continue;
                next_ns = at_ns;
                *ret_sharp = e->bus->pace.on && line_next_is_sharp(&c->line);
        }
        return next_ns;
}

static void tcp_come_back(struct tcp *t, uint64_t now_ns)
{
        struct endpoint *e = &t->endpoint;

        if (tcp_listen(t) < 0) {
                tcp_close(t);
                e->back_ns = now_ns + TCP_RETRY_NS;
                return;
        }
        e->back_ns = LINE_NEVER;
        framelog_event(e->bus->log, e->bus->name, now_ns, "is back");
}

static void tcp_advance(struct endpoint *e, uint64_t now_ns)
{
        struct tcp *t = tcp_of(e);

        tcp_sweep(t);
        for (size_t i = 0; i < TCP_CONNECTIONS_MAX; i++) {
                struct tcp_connection *c = t->connections[i];

                if (!c || c->source.fd < 0)
                        continue;
                line_advance(&c->line, now_ns);
                tcp_after_line(c, now_ns);
        }
        if (e->back_ns != LINE_NEVER && now_ns >= e->back_ns)
                tcp_come_back(t, now_ns);
}

static void tcp_hangup(struct endpoint *e, uint64_t back_ns)
{
        tcp_close(tcp_of(e));
        e->back_ns = back_ns;
}

static void tcp_describe(struct endpoint *e, struct buf *out)
{
        const struct tcp *t = tcp_of(e);
        char host[64], port[16];
        bool six = t->address.ss_family == AF_INET6;

        if (getnameinfo((const struct sockaddr *)&t->address, t->n_address, host, sizeof(host), port,
                        sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                return;
        buf_printf(out, "%s://%s%s%s:%s", t->framing == FRAMING_MBAP ? "tcp" : "rtu+tcp", six ? "[" : "",
                   host, six ? "]" : "", port);
}

static void tcp_free(struct endpoint *e)
{
        struct tcp *t = tcp_of(e);

        tcp_close(t);
        tcp_sweep(t);
        free(t);
}

static const struct endpoint_ops tcp_ops = {
        .next_ns = tcp_next_ns,
        .advance = tcp_advance,
        .hangup = tcp_hangup,
        .describe = tcp_describe,
        .free = tcp_free,
};

/* "127.0.0.1:1502", "[::1]:1502", "1502" (then on the loopback). */
static int tcp_resolve(const char *text, struct tcp *t)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *found = NULL;
        const char *colon = strrchr(text, ':');
        char host[128] = "127.0.0.1";

        if (colon) {
                size_t n = (size_t)(colon - text);
                bool bracket = n >= 2 && text[0] == '[' && text[n - 1] == ']';

                if (n >= sizeof(host) || n == 0)
                        return -EINVAL;
                memcpy(host, text + bracket, n - 2 * (size_t)bracket);
                host[n - 2 * (size_t)bracket] = '\0';
        }
        if (getaddrinfo(host, colon ? colon + 1 : text, &hints, &found) != 0)
                return -EINVAL;
        memcpy(&t->address, found->ai_addr, found->ai_addrlen);
        t->n_address = found->ai_addrlen;
        freeaddrinfo(found);
        return 0;
}

int endpoint_new_tcp(struct loop *loop, struct simbus *bus, const char *address, enum framing framing,
                     struct endpoint **ret)
{
        void *endpoint = calloc(1, sizeof(struct tcp));
        struct tcp *t = endpoint;
        int r;

        if (!t)
                return -ENOMEM;
        t->endpoint = (struct endpoint){ .ops = &tcp_ops, .bus = bus, .loop = loop, .back_ns = LINE_NEVER };
        t->listener = (struct source){ .fd = -1, .ready = tcp_listener_ready };
        t->framing = framing;
        r = tcp_resolve(address, t);
        if (r == 0)
                r = tcp_listen(t);
        if (r < 0) {
                tcp_free(endpoint);
                return r;
        }
        *ret = endpoint;
        return 0;
}
