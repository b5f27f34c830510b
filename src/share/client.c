/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

/* Reads of one turn: other sources get theirs. */
#define READS_MAX 4

static void client_on_io(void *user, int fd, uint32_t events);

static void name_address(const uint8_t address[16], char name[INET6_ADDRSTRLEN])
{
        static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
        bool is_v4 = memcmp(address, v4, sizeof(v4)) == 0;

        (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address + sizeof(v4) : address, name,
                        INET6_ADDRSTRLEN);
}

int client_new(struct share *s, int fd, const uint8_t address[16], size_t n_most, struct client **ret_client)
{
        struct client *c = calloc(1, sizeof(*c));
        int r = -ENOMEM;

        if (!c) {
                (void)close(fd);
                return -ENOMEM;
        }
        c->share = s;
        c->fd = fd;
        c->n_most = n_most;
        c->active_us = share_now_us(s);
        c->events = EPOLLIN;
        memcpy(c->address, address, sizeof(c->address));
        name_address(address, c->name);
        c->waiting = calloc(n_most, sizeof(*c->waiting));
        if (c->waiting)
                r = loop_add_io(share_loop(s), fd, c->events, client_on_io, c, &c->io);
        if (r < 0) {
                client_free(c);
                return r;
        }
        *ret_client = c;
        return 0;
}

struct client *client_free(struct client *c)
{
        if (!c)
                return NULL;
        c->io = loop_io_free(c->io);
        (void)close(c->fd);
        free(c->waiting);
        free(c);
        return NULL;
}

/* ---- out ---- */

/* For one more reply, beside that of the request that the bus has. */
static bool has_room(const struct client *c)
{
        return c->n_out + (c->is_at_bus ? 2 : 1) * (size_t)MBAP_ADU_MAX_BYTES <= sizeof(c->out);
}

static void reply(struct client *c, const struct request *q, const struct pdu *pdu)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES];
        size_t n = mbap_frame(q->tid, q->unit, pdu->bytes, pdu->n_bytes, adu);

        memcpy(c->out + c->n_out, adu, n);
        c->n_out += n;
}

static void flush(struct client *c)
{
        ssize_t n;

        if (c->n_out == 0 || c->is_broken)
                return;
        n = send(c->fd, c->out, c->n_out, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
                c->is_broken = errno != EAGAIN && errno != EINTR;
                return;
        }
        c->active_us = share_now_us(c->share);
        c->n_out -= (size_t)n;
        memmove(c->out, c->out + n, c->n_out);
}

/* ---- what waits ---- */

static void pop(struct client *c)
{
        c->first = (c->first + 1) % c->n_most;
        c->n_waiting--;
}

/* Up to the first that has to wait for the bus, or for room. */
static void serve(struct client *c)
{
        while (c->n_waiting > 0 && !c->is_at_bus && has_room(c)) {
                const struct request *q = &c->waiting[c->first];
                struct pdu answer;

                if (share_ask(c->share, c, q, &answer, &c->bus_id) == SHARE_AT_BUS) {
                        c->is_at_bus = true;
                        return;
                }
                reply(c, q, &answer);
                pop(c);
        }
}

void client_answer(struct client *c, const struct pdu *answer)
{
        c->is_at_bus = false;
        reply(c, &c->waiting[c->first], answer);
        pop(c);
}

/* ---- in ---- */

static void take_request(struct client *c, const struct request *q)
{
        struct pdu busy;

        c->active_us = share_now_us(c->share);
        if (c->n_waiting < c->n_most) {
                c->waiting[(c->first + c->n_waiting++) % c->n_most] = *q;
                return;
        }
        share_exception(&q->pdu, PDU_EXC_BUSY, &busy);
        reply(c, q, &busy);
}

/* Bytes to requests; one that is answered makes room for the next. */
static void take_requests(struct client *c)
{
        size_t at = 0;

        while (has_room(c)) {
                struct request q;
                int n = mbap_request(c->in + at, c->n_in - at, &q.tid, &q.unit, &q.pdu);

                if (n < 0) {
                        c->is_broken = true;
                        share_on_garbage(c->share, c);
                        return;
                }
                if (n == 0)
                        break;
                at += (size_t)n;
                take_request(c, &q);
                serve(c);
        }
        c->n_in -= at;
        memmove(c->in, c->in + at, c->n_in);
}

/* Who does not take replies is not read from. */
static bool may_read(const struct client *c)
{
        return !c->is_broken && c->n_in < sizeof(c->in) && has_room(c);
}

static void read_some(struct client *c)
{
        for (unsigned i = 0; i < READS_MAX && may_read(c); i++) {
                size_t room = sizeof(c->in) - c->n_in;
                ssize_t n = recv(c->fd, c->in + c->n_in, room, MSG_DONTWAIT);

                if (n <= 0) {
                        c->is_broken = n == 0 || (errno != EAGAIN && errno != EINTR);
                        return;
                }
                c->n_in += (size_t)n;
                take_requests(c);
                if ((size_t)n < room)
                        return;
        }
}

static void watch(struct client *c)
{
        uint32_t events = (may_read(c) ? (uint32_t)EPOLLIN : 0) | (c->n_out > 0 ? (uint32_t)EPOLLOUT : 0);

        if (events == c->events || c->is_broken)
                return;
        c->events = events;
        c->is_broken = loop_io_set_events(c->io, events) < 0;
}

void client_run(struct client *c)
{
        if (c->is_broken)
                return;
        serve(c);
        take_requests(c);
        flush(c);
        if (c->n_out == 0 && !c->is_broken) { /* what had to wait for room */
                serve(c);
                take_requests(c);
                flush(c);
        }
        watch(c);
}

static void client_on_io(void *user, int fd UNUSED, uint32_t events)
{
        struct client *c = user;

        if (events & (EPOLLERR | EPOLLHUP))
                c->is_broken = true;
        if (events & EPOLLOUT)
                flush(c);
        if (events & EPOLLIN)
                read_some(c);
        client_run(c);
        if (c->is_broken)
                share_on_broken(c->share, c);
}
