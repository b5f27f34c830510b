/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/random.h"
#include "mbgate/base/thread.h"
#include "peer.h"

#define RELAY_PAIRS 8

union address {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
};

static union address peer_address(int family, uint16_t port)
{
        union address a = { .v4 = { .sin_family = AF_INET } };

        if (family == AF_INET6)
                a = (union address){ .v6 = { .sin6_family = AF_INET6,
                                             .sin6_addr = IN6ADDR_LOOPBACK_INIT,
                                             .sin6_port = htons(port) } };
        else
                a.v4 = (struct sockaddr_in){ .sin_family = AF_INET,
                                             .sin_addr = { htonl(INADDR_LOOPBACK) },
                                             .sin_port = htons(port) };
        return a;
}

static int peer_listen(int family, uint16_t port, int backlog, uint16_t *ret_port)
{
        union address a = peer_address(family, port);
        socklen_t len = sizeof(a);
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
        assert_int_equal(bind(fd, &a.any, sizeof(a)), 0);
        assert_int_equal(listen(fd, backlog), 0);
        assert_int_equal(getsockname(fd, &a.any, &len), 0);
        *ret_port = ntohs(family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
        return fd;
}

static int peer_connect(int family, uint16_t port, int flags)
{
        union address a = peer_address(family, port);
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

        if (connect(fd, &a.any, sizeof(a)) < 0 && errno != EINPROGRESS) {
                (void)close(fd);
                return -1;
        }
        return fd;
}

void black_hole_open(struct black_hole *b, int family, uint16_t port)
{
        b->fd = peer_listen(family, port, 0, &b->port);
        for (unsigned i = 0; i < PEER_FILLERS; i++)
                b->fillers[i] = peer_connect(family, b->port, SOCK_NONBLOCK);
        (void)poll(NULL, 0, 50); /* until the backlog has taken what it takes */
}

void black_hole_close(struct black_hole *b)
{
        (void)close(b->fd);
        for (unsigned i = 0; i < PEER_FILLERS; i++) {
                if (b->fillers[i] >= 0)
                        (void)close(b->fillers[i]);
        }
}

/* Moves what there is from one to the other; false: one of them has closed. */
static bool relay_move(int from, int to, bool is_slow)
{
        char bytes[4096];
        ssize_t n;

        if (is_slow)
                (void)poll(NULL, 0, 20);
        n = recv(from, bytes, is_slow ? 300 : sizeof(bytes), 0);
        if (n <= 0)
                return false;
        return to < 0 || send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void relay_close(int pair[2])
{
        for (unsigned k = 0; k < 2; k++) {
                if (pair[k] >= 0)
                        (void)close(pair[k]);
                pair[k] = -1;
        }
}

static void relay_accept(struct relay *r, int pairs[RELAY_PAIRS][2])
{
        int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC);

        for (unsigned i = 0; i < RELAY_PAIRS && fd >= 0; i++) {
                if (pairs[i][0] >= 0)
                        continue;
                pairs[i][0] = fd;
                pairs[i][1] = r->to_port ? peer_connect(AF_INET, r->to_port, 0) : -1;
                if (r->to_port && pairs[i][1] < 0)
                        relay_close(pairs[i]);
                return;
        }
        if (fd >= 0)
                (void)close(fd);
}

static void relay_turn(struct relay *r, int pairs[RELAY_PAIRS][2])
{
        struct pollfd fds[1 + 2 * RELAY_PAIRS];
        int mode = atomic_load(&r->mode);

        if (mode == RELAY_CUT) {
                for (unsigned i = 0; i < RELAY_PAIRS; i++)
                        relay_close(pairs[i]);
                atomic_store(&r->mode, RELAY_PASS);
        }
        fds[0] = (struct pollfd){ .fd = r->fd, .events = POLLIN };
        for (unsigned i = 0; i < 2 * RELAY_PAIRS; i++)
                fds[1 + i] = (struct pollfd){ .fd = mode == RELAY_FREEZE ? -1 : pairs[i / 2][i % 2],
                                              .events = POLLIN };
        if (poll(fds, ARRAY_SIZE(fds), 5) <= 0)
                return;
        for (unsigned i = 0; i < 2 * RELAY_PAIRS; i++) {
                if (fds[1 + i].revents &&
                    !relay_move(pairs[i / 2][i % 2], pairs[i / 2][1 - i % 2], mode == RELAY_SLOW)) {
                        relay_close(pairs[i / 2]);
                        return;
                }
        }
        if (fds[0].revents)
                relay_accept(r, pairs);
}

static void *relay_main(void *user)
{
        struct relay *r = user;
        int pairs[RELAY_PAIRS][2];

        memset(pairs, 0xff, sizeof(pairs));
        while (!atomic_load(&r->stop))
                relay_turn(r, pairs);
        for (unsigned i = 0; i < RELAY_PAIRS; i++)
                relay_close(pairs[i]);
        return NULL;
}

void relay_start(struct relay *r, uint16_t to_port)
{
        memset(r, 0, sizeof(*r));
        r->to_port = to_port;
        r->fd = peer_listen(AF_INET, 0, 8, &r->port);
        assert_int_equal(thread_start(&r->thread, "relay", relay_main, r), 0);
}

void relay_stop(struct relay *r)
{
        atomic_store(&r->stop, true);
        assert_int_equal(pthread_join(r->thread, NULL), 0);
        (void)close(r->fd);
}

/* The little broker. */

static bool fake_read(struct fake_broker *b, int fd, uint8_t *bytes, size_t n)
{
        while (n > 0) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t got;

                if (atomic_load(&b->stop))
                        return false;
                if (poll(&p, 1, 20) <= 0)
                        continue;
                got = recv(fd, bytes, n, 0);
                if (got <= 0)
                        return false;
                bytes += got;
                n -= (size_t)got;
        }
        return true;
}

static bool fake_send(int fd, const uint8_t *bytes, size_t n)
{
        return send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void fake_note(struct fake_broker *b, const uint8_t *payload, size_t n)
{
        char text[16] = "";
        long seq;

        memcpy(text, payload, MBGATE_MIN(n, sizeof(text) - 1));
        seq = strtol(text, NULL, 10);
        atomic_fetch_add(&b->n_received, 1);
        if (seq < 0 || seq >= PEER_SEQS || b->seen[seq]++ > 0)
                return;
        atomic_fetch_add(&b->n_different, 1);
        if (seq < b->largest)
                atomic_store(&b->out_of_order, true);
        b->largest = MBGATE_MAX(b->largest, seq);
}

/* One packet of MQTT 3.1.1; false: hang up. */
static bool fake_packet(struct fake_broker *b, int fd, struct random *random)
{
        uint8_t head[2], body[128];

        if (!fake_read(b, fd, head, 2) || head[1] > 127 || !fake_read(b, fd, body, head[1]))
                return false;
        switch (head[0] >> 4) {
        case 1: return fake_send(fd, (uint8_t[]){ 0x20, 2, 0, 0 }, 4);
        case 3: {
                size_t topic = (size_t)body[0] << 8 | body[1];

                if (atomic_load(&b->hangs_up) && random_below(random, 40) == 0)
                        return false; /* before it has seen the message, as far as anybody knows */
                fake_note(b, body + 4 + topic, head[1] - 4 - topic);
                if (atomic_load(&b->hangs_up) && random_below(random, 40) == 0)
                        return false; /* and not acknowledged */
                return fake_send(fd, (uint8_t[]){ 0x40, 2, body[2 + topic], body[3 + topic] }, 4);
        }
        case 8:
                return atomic_load(&b->no_suback) ||
                       fake_send(fd, (uint8_t[]){ 0x90, 3, body[0], body[1], 1 }, 5);
        case 12: return fake_send(fd, (uint8_t[]){ 0xd0, 0 }, 2);
        default: return false;
        }
}

static void *fake_main(void *user)
{
        struct fake_broker *b = user;
        struct random random = { .state = 11 };

        while (!atomic_load(&b->stop)) {
                struct pollfd p = { .fd = b->fd, .events = POLLIN };
                int fd = poll(&p, 1, 20) > 0 ? accept4(b->fd, NULL, NULL, SOCK_CLOEXEC) : -1;

                if (fd < 0)
                        continue;
                atomic_fetch_add(&b->n_connections, 1);
                while (fake_packet(b, fd, &random))
                        ;
                (void)close(fd);
        }
        return NULL;
}

void fake_broker_start(struct fake_broker *b)
{
        memset(b, 0, sizeof(*b));
        b->fd = peer_listen(AF_INET, 0, 8, &b->port);
        assert_int_equal(thread_start(&b->thread, "fake", fake_main, b), 0);
}

void fake_broker_stop(struct fake_broker *b)
{
        atomic_store(&b->stop, true);
        assert_int_equal(pthread_join(b->thread, NULL), 0);
        (void)close(b->fd);
}
