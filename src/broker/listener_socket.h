/* SPDX-License-Identifier: MIT */
/* The sockets of one listener: opened, named, closed; what a client's address says. Main thread only. */
#ifndef MBGATE_BROKER_LISTENER_SOCKET_H
#define MBGATE_BROKER_LISTENER_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "mbgate/base/macros.h"

#include "listener.h"

#define LISTENER_SOCKET_NAME_BYTES 160

struct listener_socket {
        int fd;
        bool is_inherited; /* the service manager's: not closed here */
        bool has_path;     /* we made the file, and remove it */
        dev_t path_dev;
        ino_t path_ino;
        char name[LISTENER_SOCKET_NAME_BYTES]; /* "192.0.2.7:1883", "[::]:1883", "/run/mbgate/mqtt.sock" */
};

/*
 * Opens all that a listener stands for, one or two, and listens on them. *ret_sockets is the caller's, to be
 * freed. On failure the log says what and why: −errno.
 */
MUST_CHECK int listener_sockets_open(const struct listener_init *init, struct listener_socket **ret_sockets,
                                     size_t *ret_n);
void listener_sockets_close(struct listener_socket *sockets, size_t n);

/* The address of a configuration as a text for the log, before anything is open. */
void listener_describe(const struct conf_listener *conf, char *text, size_t size_bytes);

/* A client by its address; an IPv4 address in IPv6's clothes is shown as what it is. −ENOMEM. */
MUST_CHECK int peer_new(const struct sockaddr_storage *from, struct peer **ret_peer);
DEFINE_CLEANUP(struct peer *, peer_free)

#endif
