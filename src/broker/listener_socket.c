/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/log.h"

#include "listener_holder.h"
#include "listener_socket.h"

#define BACKLOG        1024
#define SOCKET_MODE    0660
#define SOCKETS_MAX    2 /* an IPv4 and an IPv6 one */
#define SYSTEMD_PREFIX "systemd:"

/* ---- addresses as text ---- */

static void name_v4(const struct in_addr *address, char text[INET6_ADDRSTRLEN])
{
        (void)inet_ntop(AF_INET, address, text, INET6_ADDRSTRLEN);
}

static void name_v6(const struct in6_addr *address, char text[INET6_ADDRSTRLEN])
{
        if (IN6_IS_ADDR_V4MAPPED(address))
                (void)inet_ntop(AF_INET, &address->s6_addr[12], text, INET6_ADDRSTRLEN);
        else
                (void)inet_ntop(AF_INET6, address, text, INET6_ADDRSTRLEN);
}

static bool is_v4_loopback(const uint8_t address[4])
{
        return address[0] == 127;
}

static bool is_v6_loopback(const struct in6_addr *address)
{
        return IN6_IS_ADDR_LOOPBACK(address) ||
               (IN6_IS_ADDR_V4MAPPED(address) && is_v4_loopback(&address->s6_addr[12]));
}

static void peer_describe(const struct sockaddr_storage *from, struct peer *p, char text[INET6_ADDRSTRLEN])
{
        const struct sockaddr_in *v4 = (const void *)from;
        const struct sockaddr_in6 *v6 = (const void *)from;

        if (from->ss_family == AF_INET) {
                name_v4(&v4->sin_addr, text);
                p->port = ntohs(v4->sin_port);
                p->is_local = is_v4_loopback((const void *)&v4->sin_addr);
        } else if (from->ss_family == AF_INET6) {
                name_v6(&v6->sin6_addr, text);
                p->port = ntohs(v6->sin6_port);
                p->is_local = is_v6_loopback(&v6->sin6_addr);
        } else {
                (void)strcpy(text, "unix");
                p->is_local = true;
        }
}

int peer_new(const struct sockaddr_storage *from, struct peer **ret_peer)
{
        struct peer *p = calloc(1, sizeof(*p));
        char text[INET6_ADDRSTRLEN] = "";

        if (!p)
                return -ENOMEM;
        peer_describe(from, p, text);
        p->address = strdup(text);
        if (!p->address) {
                free(p);
                return -ENOMEM;
        }
        *ret_peer = p;
        return 0;
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

/* "192.0.2.7:1883", "[::1]:1883": where a socket is bound. */
static void socket_say_name(struct listener_socket *s)
{
        struct sockaddr_storage at = { .ss_family = AF_UNSPEC };
        const struct sockaddr_un *local = (const void *)&at;
        socklen_t n = sizeof(at);
        struct peer p = { .port = 0 };
        char text[INET6_ADDRSTRLEN];
        bool is_v6;

        if (getsockname(s->fd, (struct sockaddr *)&at, &n) < 0)
                return;
        if (at.ss_family == AF_UNIX) {
                /* A socket without a name, or with an abstract one, has no path. */
                if (n > offsetof(struct sockaddr_un, sun_path) && local->sun_path[0] != '\0')
                        (void)snprintf(s->name, sizeof(s->name), "%.*s", (int)sizeof(local->sun_path),
                                       local->sun_path);
                else
                        (void)snprintf(s->name, sizeof(s->name), "unix");
                return;
        }
        peer_describe(&at, &p, text);
        is_v6 = strchr(text, ':') != NULL;
        (void)snprintf(s->name, sizeof(s->name), "%s%s%s:%u", is_v6 ? "[" : "", text, is_v6 ? "]" : "",
                       p.port);
}

void listener_describe(const struct conf_listener *conf, char *text, size_t size_bytes)
{
        struct buf b = buf_on(text, size_bytes);
        const char *address = conf->address ? conf->address : "";

        if (address[0] == '/' || strncmp(address, SYSTEMD_PREFIX, strlen(SYSTEMD_PREFIX)) == 0)
                buf_append(&b, address);
        else if (address[0] == '\0')
                buf_printf(&b, "port %u", conf->port);
        else
                buf_printf(&b, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, conf->port);
}

/* ---- TCP ---- */

static bool socket_bind(int fd, const struct addrinfo *at, const char *name)
{
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0)
                return true;
        if (errno != EADDRNOTAVAIL || setsockopt(fd, SOL_IP, IP_FREEBIND, &(int){ 1 }, sizeof(int)) < 0)
                return false;
        /* At boot the network may come up after us. */
        log_warn(NULL,
                 "broker: %s: this machine does not have the address yet: it is used as soon as it does",
                 name);
        return bind(fd, at->ai_addr, at->ai_addrlen) == 0;
}

/* −errno. */
static int socket_open_at(const struct addrinfo *at, const char *name)
{
        CLEANUP(cleanup_close)
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int taken;

        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0)
                return -errno;
        /* Each family has a socket of its own: whether :: takes IPv4 too is the machine's whim else. */
        if (at->ai_family == AF_INET6 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)) < 0)
                return -errno;
        if (!socket_bind(fd, at, name) || listen(fd, BACKLOG) < 0)
                return -errno;
        taken = fd;
        fd = -1;
        return taken;
}

static void tell_failure(const char *name, int error, uint16_t port)
{
        char text[128] = "";
        struct buf about = BUF_ON(text);

        if (error == EADDRINUSE && port > 0)
                listener_holder_describe(port, &about);
        if (error == EACCES && port > 0 && port < 1024)
                buf_append(&about, ": ports below 1024 need CAP_NET_BIND_SERVICE, or mbgated.socket");
        log_error(&(struct log_fields){ .error = error }, "broker: cannot listen on %s: %s%s", name,
                  strerror(error), text);
}

/* One numeric address. Says nothing of a family that this machine does not have, if that `may_lack`. */
static int open_tcp(const char *address, uint16_t port, bool may_lack, struct listener_socket *s)
{
        static const struct addrinfo hints = {
                .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                .ai_socktype = SOCK_STREAM,
        };
        struct addrinfo *at;
        char service[8];
        int r;

        (void)snprintf(service, sizeof(service), "%u", port);
        (void)snprintf(s->name, sizeof(s->name), strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
        if (getaddrinfo(address, service, &hints, &at) != 0) {
                log_error(NULL, "broker: %s: \"%s\" is no numeric address", s->name, address);
                return -EINVAL;
        }
        r = socket_open_at(at, s->name);
        freeaddrinfo(at);
        if (r < 0) {
                if (!may_lack || (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL))
                        tell_failure(s->name, -r, port);
                return r;
        }
        s->fd = r;
        socket_say_name(s);
        return 0;
}

/* Both families; one that the machine lacks is not missed. How many, or −errno. */
static int open_both(const char *v4, const char *v6, uint16_t port, struct listener_socket *sockets)
{
        int r, n = 0;

        r = open_tcp(v4, port, true, &sockets[0]);
        if (r < 0 && r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL)
                return r;
        n += r == 0;
        r = open_tcp(v6, port, n > 0, &sockets[n]);
        if (r == 0)
                return n + 1;
        if (n > 0 && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL))
                return n;
        listener_sockets_close(sockets, (size_t)n);
        return r;
}

/* ---- Unix ---- */

/* Whether somebody answers on a socket's path. A full backlog is an answer too. */
static bool path_is_served(const struct sockaddr_un *at)
{
        CLEANUP(cleanup_close)
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return true;
        return connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno != ECONNREFUSED;
}

/* What a broker that was killed has left behind is removed, and nothing else. */
static void remove_stale(const struct sockaddr_un *at)
{
        struct stat st;

        if (lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && !path_is_served(at))
                (void)unlink(at->sun_path);
}

/* The mode is set before anybody can connect: before listen(2). */
static int socket_open_path(const struct sockaddr_un *at, struct listener_socket *s)
{
        CLEANUP(cleanup_close)
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct stat st;

        if (fd < 0)
                return -errno;
        remove_stale(at);
        if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
                return -errno;
        if (chmod(at->sun_path, SOCKET_MODE) < 0 || listen(fd, BACKLOG) < 0 || lstat(at->sun_path, &st) < 0) {
                int r = -errno;

                (void)unlink(at->sun_path);
                return r;
        }
        s->fd = fd;
        s->has_path = true;
        s->path_dev = st.st_dev;
        s->path_ino = st.st_ino;
        fd = -1;
        return 0;
}

static int open_unix(const char *path, struct listener_socket *s)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        int r = -ENAMETOOLONG;

        (void)snprintf(s->name, sizeof(s->name), "%s", path);
        if (strlen(path) < sizeof(at.sun_path)) {
                (void)strcpy(at.sun_path, path);
                r = socket_open_path(&at, s);
        }
        if (r < 0)
                tell_failure(s->name, -r, 0);
        return r < 0 ? r : 1;
}

/* Only the file that we made: another program may have put its own in its place. */
static void socket_remove_path(const struct listener_socket *s)
{
        struct stat st;

        if (lstat(s->name, &st) == 0 && st.st_dev == s->path_dev && st.st_ino == s->path_ino)
                (void)unlink(s->name);
}

/* ---- from the service manager ---- */

static int socket_check_inherited(int fd)
{
        int listens = 0, type = 0, flags = fcntl(fd, F_GETFL);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){ sizeof(listens) }) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }) < 0)
                return -errno;
        if (!listens || type != SOCK_STREAM)
                return -EPROTOTYPE;
        if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        return 0;
}

static int open_inherited(const struct listener_init *init, struct listener_socket *sockets)
{
        const char *name = init->conf->address;

        if (init->n_inherited == 0) {
                log_error(NULL,
                          "broker: %s: the service manager has given no socket of this name: "
                          "FileDescriptorName= in the socket unit, and is it started?",
                          name);
                return -ENOENT;
        }
        for (size_t i = 0; i < init->n_inherited; i++) {
                int r = socket_check_inherited(init->inherited[i]);

                if (r < 0) {
                        log_error(&(struct log_fields){ .error = -r },
                                  "broker: %s: the service manager's socket is not to be used: %s", name,
                                  r == -EPROTOTYPE ? "ListenStream= is wanted, and Accept=no" : strerror(-r));
                        return r;
                }
                sockets[i] = (struct listener_socket){ .fd = init->inherited[i], .is_inherited = true };
                socket_say_name(&sockets[i]);
        }
        return (int)init->n_inherited;
}

/* ---- all of them ---- */

static int open_kind(const struct listener_init *init, struct listener_socket *sockets)
{
        const struct conf_listener *conf = init->conf;
        const char *address = conf->address ? conf->address : "";
        int r;

        if (address[0] == '\0' && init->default_address)
                address = init->default_address;
        if (address[0] == '/')
                return open_unix(address, &sockets[0]);
        if (strncmp(address, SYSTEMD_PREFIX, strlen(SYSTEMD_PREFIX)) == 0)
                return open_inherited(init, sockets);
        if (address[0] == '\0')
                return open_both("0.0.0.0", "::", conf->port, sockets);
        if (strcmp(address, "localhost") == 0)
                return open_both("127.0.0.1", "::1", conf->port, sockets);
        r = open_tcp(address, conf->port, false, &sockets[0]);
        return r < 0 ? r : 1;
}

int listener_sockets_open(const struct listener_init *init, struct listener_socket **ret_sockets,
                          size_t *ret_n)
{
        size_t n_max = MBGATE_MAX(init->n_inherited, (size_t)SOCKETS_MAX);
        CLEANUP(cleanup_free)
        struct listener_socket *sockets = calloc(n_max, sizeof(*sockets));
        int r;

        if (!sockets)
                return -ENOMEM;
        r = open_kind(init, sockets);
        if (r < 0)
                return r;
        *ret_n = (size_t)r;
        *ret_sockets = TAKE(sockets);
        return 0;
}

void listener_sockets_close(struct listener_socket *sockets, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (sockets[i].is_inherited)
                        continue;
                if (sockets[i].has_path)
                        socket_remove_path(&sockets[i]);
                (void)close(sockets[i].fd);
        }
}
