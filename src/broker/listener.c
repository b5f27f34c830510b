/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "listener.h"
#include "stream_tls.h"

#define DOORS_MAX        8                     /* sockets of one listener */
#define BACKLOG          1024                  /* SOMAXCONN of older kernels is less, and counts */
#define ACCEPTS_A_BATCH  64                    /* the clients that are here come first */
#define PAUSE_US         (100 * USEC_PER_MSEC) /* when there are no descriptors left */
#define SYSTEMD_PREFIX   "systemd:"
#define UNIX_SOCKET_MODE 0660
#define SERVICE_BYTES    6

/* One listening socket. */
struct door {
        struct transport_io io;
        struct listener *listener;
        int fd;
};

struct listener {
        struct listener_init init;
        const struct conf_listener *conf;
        struct tls_server *tls; /* NULL: none */
        struct loop_timer *pause;
        struct door doors[DOORS_MAX];
        size_t n_doors;
        char *unix_path; /* to be removed at the end */
        int spare;       /* a descriptor that is given up to say goodbye when there are none left */
        unsigned n_turned_away;
        char name[160];
};

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

struct peer *peer_free(struct peer *p)
{
        if (!p)
                return NULL;
        free(p->address);
        free(p->certificate);
        free(p);
        return NULL;
}

/* ---- who comes in ---- */

/* IPv4 in IPv6 is shown as IPv4. */
static void peer_take_ipv6(struct peer *p, const struct sockaddr_in6 *in, char text[INET6_ADDRSTRLEN])
{
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
                (void)inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], text, INET6_ADDRSTRLEN);
                p->is_local = in->sin6_addr.s6_addr[12] == 127;
        } else {
                (void)inet_ntop(AF_INET6, &in->sin6_addr, text, INET6_ADDRSTRLEN);
                p->is_local = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
        }
        p->port = ntohs(in->sin6_port);
}

static struct peer *peer_new(const struct sockaddr_storage *address)
{
        struct peer *p = calloc(1, sizeof(*p));
        char text[INET6_ADDRSTRLEN] = "unix";

        if (!p)
                return NULL;
        if (address->ss_family == AF_INET) {
                const struct sockaddr_in *in = (const void *)address;

                (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
                p->port = ntohs(in->sin_port);
                p->is_local = ntohl(in->sin_addr.s_addr) >> 24 == 127;
        } else if (address->ss_family == AF_INET6) {
                peer_take_ipv6(p, (const void *)address, text);
        } else {
                p->is_local = true;
        }
        p->address = strdup(text);
        return p->address ? p : peer_free(p);
}

/* Socket, TLS and WebSocket on each other. On failure the descriptor is closed. */
static struct stream *listener_stream_new(const struct listener *l, int fd)
{
        CLEANUP(stream_freep)
        struct stream *s = NULL;
        struct stream *outer;

        if (stream_socket_new(fd, &s) < 0) {
                (void)close(fd);
                return NULL;
        }
        if (l->tls) {
                if (stream_tls_new(l->tls, s, &outer) < 0)
                        return NULL;
                s = outer;
        }
        if (l->conf->websocket) {
                if (stream_ws_new(s, &outer) < 0)
                        return NULL;
                s = outer;
        }
        return TAKE(s);
}

static void listener_take(struct listener *l, int fd, const struct sockaddr_storage *address)
{
        struct peer *p = peer_new(address);
        struct stream *s;

        if (!p) {
                (void)close(fd);
                return;
        }
        s = listener_stream_new(l, fd);
        if (!s) {
                (void)peer_free(p);
                return;
        }
        l->init.accept(l->init.user, l, s, p);
}

static void listener_watch(struct listener *l, uint32_t events)
{
        for (size_t i = 0; i < l->n_doors; i++)
                transport_set_events(&l->doors[i].io, events);
}

/* One is let in with the spare descriptor and sent away, so that it does not wait for ever; then a pause. */
static void listener_is_full(struct listener *l, int door, int error)
{
        int fd;

        if (l->n_turned_away++ == 0)
                log_warn(NULL, "broker: %s: no more clients can come in: %s (LimitNOFILE)", l->name,
                         strerror(error));
        if (l->spare >= 0)
                (void)close(l->spare);
        fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
                (void)close(fd);
        l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        listener_watch(l, 0);
        loop_timer_set(l->pause, loop_now_us(l->init.loop) + PAUSE_US);
}

static void listener_on_pause(void *user, uint64_t now_us)
{
        (void)now_us;
        listener_watch(user, EPOLLIN);
}

static void listener_on_io(struct transport_io *io, uint32_t events)
{
        struct door *door = CONTAINER_OF(io, struct door, io);
        struct listener *l = door->listener;

        (void)events;
        for (unsigned i = 0; i < ACCEPTS_A_BATCH; i++) {
                struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
                socklen_t n = sizeof(address);
                int fd = accept4(door->fd, (struct sockaddr *)&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
                        listener_is_full(l, door->fd, errno);
                if (fd < 0)
                        return; /* who has gone again before it was let in is nobody's fault */
                if (l->n_turned_away > 0)
                        log_info(NULL, "broker: %s: clients come in again, after %u pauses", l->name,
                                 l->n_turned_away);
                l->n_turned_away = 0;
                listener_take(l, fd, &address);
        }
}

/* ---- doors ---- */

/* Takes over a listening socket. On failure it is closed. */
static int listener_add_door(struct listener *l, int fd)
{
        struct door *door = &l->doors[l->n_doors];
        int r;

        if (l->n_doors == DOORS_MAX) {
                (void)close(fd);
                return -E2BIG;
        }
        door->listener = l;
        door->fd = fd;
        r = transport_add(l->init.transport, &door->io, fd, EPOLLIN, listener_on_io);
        if (r < 0)
                (void)close(fd);
        else
                l->n_doors++;
        return r;
}

static int socket_listen(const struct sockaddr *address, socklen_t n_address, int *ret_fd)
{
        CLEANUP(cleanup_close)
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (address->sa_family != AF_UNIX)
                (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        if (address->sa_family == AF_INET6)
                (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
        if (bind(fd, address, n_address) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

static int listener_open_ip(struct listener *l, const char *address)
{
        struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
        struct addrinfo *found;
        char service[SERVICE_BYTES];
        int r, fd;

        (void)snprintf(service, sizeof(service), "%u", l->conf->port);
        if (getaddrinfo(address, service, &hints, &found) != 0)
                return -EADDRNOTAVAIL;
        r = socket_listen(found->ai_addr, found->ai_addrlen, &fd);
        freeaddrinfo(found);
        return r < 0 ? r : listener_add_door(l, fd);
}

/* Both families; one of them may be missing on this machine. */
static int listener_open_both(struct listener *l, const char *v4, const char *v6)
{
        int r4 = listener_open_ip(l, v4), r6;

        if (r4 < 0 && r4 != -EAFNOSUPPORT)
                return r4;
        r6 = listener_open_ip(l, v6);
        if (r6 == -EAFNOSUPPORT || r6 == -EADDRNOTAVAIL)
                return r4;
        return r6;
}

/* Whether somebody listens there; what is left behind by a program that was killed is removed. */
static bool unix_is_taken(const struct sockaddr_un *address, socklen_t n_address)
{
        CLEANUP(cleanup_close)
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct stat st;

        if (lstat(address->sun_path, &st) < 0)
                return false;
        if (!S_ISSOCK(st.st_mode) || fd < 0)
                return true;
        if (connect(fd, (const struct sockaddr *)address, n_address) == 0 || errno != ECONNREFUSED)
                return true;
        (void)unlink(address->sun_path);
        return false;
}

static int listener_open_unix(struct listener *l, const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t n_address;
        int r, fd;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        n_address = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
        if (unix_is_taken(&address, n_address))
                return -EADDRINUSE;
        r = socket_listen((const struct sockaddr *)&address, n_address, &fd);
        if (r < 0)
                return r;
        l->unix_path = strdup(path);
        if (!l->unix_path || chmod(path, UNIX_SOCKET_MODE) < 0) {
                (void)close(fd);
                return l->unix_path ? -errno : -ENOMEM;
        }
        return listener_add_door(l, fd);
}

static int listener_open_inherited(struct listener *l)
{
        for (size_t i = 0; i < l->init.n_inherited; i++) {
                int fd = fcntl(l->init.inherited[i], F_DUPFD_CLOEXEC, 3), r;

                if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
                        return -errno;
                r = listener_add_door(l, fd);
                if (r < 0)
                        return r;
        }
        return l->init.n_inherited > 0 ? 0 : -ENOENT;
}

static const char *listener_address(const struct listener *l)
{
        const char *address = l->conf->address ? l->conf->address : "";

        return address[0] == '\0' && l->init.default_address ? l->init.default_address : address;
}

static int listener_open(struct listener *l)
{
        const char *address = listener_address(l);

        if (strncmp(address, SYSTEMD_PREFIX, strlen(SYSTEMD_PREFIX)) == 0)
                return listener_open_inherited(l);
        if (address[0] == '/')
                return listener_open_unix(l, address);
        if (strcmp(address, "localhost") == 0)
                return listener_open_both(l, "127.0.0.1", "::1");
        if (address[0] == '\0')
                return listener_open_both(l, "0.0.0.0", "::");
        return listener_open_ip(l, address);
}

/* ---- the whole ---- */

static void listener_make_name(struct listener *l)
{
        struct buf b = BUF_ON(l->name);
        const char *address = listener_address(l);
        bool has_port = address[0] != '/' && strncmp(address, SYSTEMD_PREFIX, strlen(SYSTEMD_PREFIX)) != 0;

        buf_printf(&b, strchr(address, ':') && has_port ? "[%s]" : "%s", address[0] == '\0' ? "*" : address);
        if (has_port)
                buf_printf(&b, ":%u", l->conf->port);
        if (l->conf->websocket || l->conf->tls)
                buf_printf(&b, " (%s%s%s)", l->conf->websocket ? "websocket" : "",
                           l->conf->websocket && l->conf->tls ? ", " : "", l->conf->tls ? "TLS" : "");
}

static const char *listener_remedy(int error)
{
        switch (error) {
        case EADDRINUSE:
                return ": another program listens there (\"ss -ltnp\" shows which), or set another port";
        case EADDRNOTAVAIL: return ": this machine has no such address";
        case EACCES: return ": ports below 1024 need CAP_NET_BIND_SERVICE, or mbgated.socket";
        case ENOENT: return ": the service manager gave no socket of this name";
        default: return "";
        }
}

static int listener_read_tls(struct listener *l, struct tls_server **ret_tls)
{
        char fault[TLS_FAULT_BYTES] = "out of memory";
        int r;

        if (!l->conf->tls)
                return 0;
        r = tls_server_new(l->conf, fault, ret_tls);
        if (r < 0)
                log_error(NULL, "broker: %s: %s", l->name, fault);
        return r;
}

void listener_reload_tls(struct listener *l)
{
        struct tls_server *tls = NULL;

        if (listener_read_tls(l, &tls) < 0) {
                log_warn(NULL, "broker: %s: goes on with the certificate that it has", l->name);
                return;
        }
        if (!tls)
                return;
        (void)tls_server_unref(l->tls);
        l->tls = tls;
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
        listener_make_name(l);
        r = loop_add_timer(init->loop, listener_on_pause, l, &l->pause);
        if (r < 0)
                return r;
        r = listener_read_tls(l, &l->tls);
        if (r < 0)
                return r;
        r = listener_open(l);
        if (r < 0) {
                log_error(&(struct log_fields){ .error = -r }, "broker: cannot listen on %s: %s%s", l->name,
                          strerror(-r), listener_remedy(-r));
                return r;
        }
        l->init.inherited = NULL;
        *ret_listener = TAKE(l);
        return 0;
}

struct listener *listener_free(struct listener *l)
{
        if (!l)
                return NULL;
        for (size_t i = 0; i < l->n_doors; i++) {
                transport_remove(&l->doors[i].io);
                (void)close(l->doors[i].fd);
        }
        if (l->unix_path)
                (void)unlink(l->unix_path);
        free(l->unix_path);
        l->pause = loop_timer_free(l->pause);
        l->tls = tls_server_unref(l->tls);
        if (l->spare >= 0)
                (void)close(l->spare);
        free(l);
        return NULL;
}
