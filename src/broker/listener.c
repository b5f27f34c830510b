/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "listener.h"
#include "listener_socket.h"
#include "stream_tls.h"

#define ACCEPTS_PER_BATCH 64                    /* the clients that are here come first */
#define PAUSE_US          (100 * USEC_PER_MSEC) /* when there are no descriptors or memory left */
#define NAME_BYTES        256

/* One socket that listens. */
struct door {
        struct transport_io io;
        struct listener *listener;
        struct listener_socket socket;
};

struct listener {
        struct listener_init init;
        const struct conf_listener *conf;
        struct tls_server *tls; /* NULL: none */
        struct door *doors;
        size_t n_doors;
        struct loop_timer *pause;
        int spare;     /* a descriptor that is given up to send a client away when there are none left */
        bool is_short; /* of descriptors or memory: has been said */
        uint64_t short_since_us;
        unsigned n_sent_away; /* since then */
        char name[NAME_BYTES];
};

/* ---- no descriptors or memory left ---- */

static void listener_watch(struct listener *l, uint32_t events)
{
        for (size_t i = 0; i < l->n_doors; i++)
                transport_set_events(&l->doors[i].io, events);
}

static void listener_on_pause(void *user, uint64_t now_us)
{
        (void)now_us;
        listener_watch(user, EPOLLIN);
}

/* The first in the queue gets the spare descriptor and is sent away, rather than waiting for ever. */
static void door_send_away(struct door *door)
{
        struct listener *l = door->listener;
        int fd;

        if (l->spare >= 0)
                (void)close(l->spare);
        fd = accept4(door->socket.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
                (void)close(fd);
                l->n_sent_away++;
        }
        l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool is_short_of(int error)
{
        return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* Its socket stays readable: a pause, or the loop would do nothing else. */
static void listener_falls_short(struct listener *l, struct door *door, int error)
{
        bool has_no_fd = error == EMFILE || error == ENFILE;

        if (has_no_fd)
                door_send_away(door);
        listener_watch(l, 0);
        loop_timer_set(l->pause, loop_now_us(l->init.loop) + PAUSE_US);
        if (l->is_short)
                return;
        l->is_short = true;
        l->short_since_us = loop_now_us(l->init.loop);
        log_warn(&(struct log_fields){ .error = error }, "broker: %s: clients are sent away: %s%s", l->name,
                 strerror(error), has_no_fd ? ": LimitNOFILE= of the service is too low" : "");
}

static void listener_recovers(struct listener *l)
{
        if (!l->is_short)
                return;
        l->is_short = false;
        log_info(NULL, "broker: %s: clients come in again, after %.1f s in which %u were sent away", l->name,
                 (double)(loop_now_us(l->init.loop) - l->short_since_us) / (double)USEC_PER_SEC,
                 l->n_sent_away);
        l->n_sent_away = 0;
}

/* ---- clients coming in ---- */

/* Socket, TLS and WebSocket on each other. −ENOMEM: the descriptor is closed. */
static int listener_stream_new(const struct listener *l, int fd, struct stream **ret_stream)
{
        CLEANUP(stream_freep)
        struct stream *s = NULL;
        int r = stream_socket_new(fd, &s);

        if (r < 0) {
                (void)close(fd);
                return r;
        }
        if (l->tls) {
                r = stream_tls_new(l->tls, s, &s);
                if (r < 0)
                        return r;
        }
        if (l->conf->websocket) {
                r = stream_ws_new(s, &s);
                if (r < 0)
                        return r;
        }
        *ret_stream = TAKE(s);
        return 0;
}

/* −errno of accept4(2), −ENOMEM: nobody came in. */
static int door_accept(struct door *door)
{
        struct listener *l = door->listener;
        struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
        CLEANUP(peer_freep)
        struct peer *peer = NULL;
        struct stream *stream = NULL;
        int r, fd = accept4(door->socket.fd, (struct sockaddr *)&from, &(socklen_t){ sizeof(from) },
                            SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
                return -errno;
        r = peer_new(&from, &peer);
        if (r < 0) {
                (void)close(fd);
                return r;
        }
        r = listener_stream_new(l, fd, &stream);
        if (r < 0)
                return r;
        l->init.accept(l->init.user, l, stream, TAKE(peer));
        return 0;
}

static void door_on_io(struct transport_io *io, uint32_t events)
{
        struct door *door = CONTAINER_OF(io, struct door, io);

        (void)events;
        for (unsigned i = 0; i < ACCEPTS_PER_BATCH; i++) {
                int r = door_accept(door);

                if (r == -EAGAIN)
                        return;
                if (is_short_of(-r)) {
                        listener_falls_short(door->listener, door, -r);
                        return;
                }
                /* All other errors are those of a client that has gone again: accept(2). */
                if (r == 0)
                        listener_recovers(door->listener);
        }
}

/* ---- certificates ---- */

static int listener_read_tls(struct listener *l, const char *consequence, struct tls_server **ret_tls)
{
        char fault[TLS_FAULT_BYTES] = "out of memory";
        int r;

        if (!l->conf->tls)
                return 0;
        r = tls_server_new(l->conf, fault, ret_tls);
        if (r < 0)
                log_error(NULL, "broker: %s: %s%s", l->name, fault, consequence);
        return r;
}

void listener_reload_tls(struct listener *l)
{
        struct tls_server *tls = NULL;

        if (listener_read_tls(l, ": it goes on with the certificate that it has", &tls) < 0 || !tls)
                return;
        (void)tls_server_unref(l->tls);
        l->tls = tls;
}

/* ---- opening and closing ---- */

static void listener_make_name(struct listener *l)
{
        struct buf b = BUF_ON(l->name);

        for (size_t i = 0; i < l->n_doors; i++)
                buf_printf(&b, "%s%s", i > 0 ? " and " : "", l->doors[i].socket.name);
        if (l->conf->websocket || l->conf->tls)
                buf_printf(&b, " (%s%s%s)", l->conf->websocket ? "websocket" : "",
                           l->conf->websocket && l->conf->tls ? ", " : "", l->conf->tls ? "TLS" : "");
}

static int listener_open_doors(struct listener *l)
{
        CLEANUP(cleanup_free)
        struct listener_socket *sockets = NULL;
        size_t n = 0;
        int r = listener_sockets_open(&l->init, &sockets, &n);

        if (r < 0)
                return r;
        l->doors = calloc(n, sizeof(*l->doors));
        if (!l->doors) {
                listener_sockets_close(sockets, n);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++)
                l->doors[i] = (struct door){ .listener = l, .socket = sockets[i] };
        l->n_doors = n;
        return 0;
}

static int listener_watch_doors(struct listener *l)
{
        for (size_t i = 0; i < l->n_doors; i++) {
                struct door *door = &l->doors[i];
                int r = transport_add(l->init.transport, &door->io, door->socket.fd, EPOLLIN, door_on_io);

                if (r < 0) {
                        log_error(&(struct log_fields){ .error = -r }, "broker: cannot watch %s: %s", l->name,
                                  strerror(-r));
                        return r;
                }
        }
        return 0;
}

static int listener_open(struct listener *l)
{
        int r = loop_add_timer(l->init.loop, listener_on_pause, l, &l->pause);

        if (r < 0)
                return r;
        listener_describe(l->conf, l->name, sizeof(l->name));
        r = listener_read_tls(l, "", &l->tls);
        if (r < 0)
                return r;
        r = listener_open_doors(l);
        if (r < 0)
                return r;
        listener_make_name(l);
        return listener_watch_doors(l);
}

int listener_new(const struct listener_init *init, struct listener **ret_listener)
{
        CLEANUP(listener_freep)
        struct listener *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->init = *init;
        l->conf = init->conf;
        l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        r = listener_open(l);
        l->init.inherited = NULL; /* the array is the caller's, and conf may change */
        l->init.conf = NULL;
        if (r < 0)
                return r;
        *ret_listener = TAKE(l);
        return 0;
}

struct listener *listener_free(struct listener *l)
{
        if (!l)
                return NULL;
        for (size_t i = 0; i < l->n_doors; i++) {
                if (l->doors[i].io.transport)
                        transport_remove(&l->doors[i].io);
                listener_sockets_close(&l->doors[i].socket, 1);
        }
        free(l->doors);
        if (l->spare >= 0)
                (void)close(l->spare);
        l->pause = loop_timer_free(l->pause);
        l->tls = tls_server_unref(l->tls);
        free(l);
        return NULL;
}

/* ---- while it runs ---- */

const struct conf_listener *listener_conf(const struct listener *l)
{
        return l->conf;
}

void listener_set_conf(struct listener *l, const struct conf_listener *conf)
{
        l->conf = conf;
}

const char *listener_name(const struct listener *l)
{
        return l->name;
}
