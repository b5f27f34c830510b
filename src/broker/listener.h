/* SPDX-License-Identifier: MIT */
/*
 * Where clients come in: a TCP port (IPv4, IPv6 or both), a Unix socket, or a socket that systemd has opened
 * for us; with TLS, WebSocket, or both on it. It accepts, bounds how many may come, and hands out streams.
 * Owned by the main thread.
 */
#ifndef MBGATE_BROKER_LISTENER_H
#define MBGATE_BROKER_LISTENER_H

#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"

#include "stream.h"
#include "transport.h"

struct listener;

/*
 * A client has come in; stream and peer (its address) are the callee's from here on. The certificate's name
 * is known after the TLS handshake only: stream_tls_client_name().
 */
typedef void (*listener_accept_fn)(void *user, struct listener *l, struct stream *stream, struct peer *peer);

struct listener_init {
        struct transport *transport;
        struct loop *loop;                /* for the pause when descriptors have run out */
        const struct conf_listener *conf; /* valid as long as the listener */
        const char *default_address; /* where conf names none: "127.0.0.1" and "::1", or any; NULL: any */
        const int *inherited;        /* sockets given by the service manager for this listener */
        size_t n_inherited;
        listener_accept_fn accept;
        void *user;
};

/*
 * Opens it. On failure the log says what and why (address in use and by what, no permission, bad
 * certificate): −errno.
 */
MUST_CHECK int listener_new(const struct listener_init *init, struct listener **ret_listener);

/* Closes it; streams that it gave live on. Takes NULL, returns NULL. */
struct listener *listener_free(struct listener *l);
DEFINE_CLEANUP(struct listener *, listener_free)

const struct conf_listener *listener_conf(const struct listener *l);

/* The same listener in another configuration (it compares equal but for what can change while it runs). */
void listener_set_conf(struct listener *l, const struct conf_listener *conf);

/* Reads certificates again (SIGHUP); those that are bad are told and the old ones stay. Clients stay too. */
void listener_reload_tls(struct listener *l);

/* "0.0.0.0:1883", "[::1]:1884 (websocket)", "/run/mbgate/mqtt.sock": for the log. */
const char *listener_name(const struct listener *l);

/* Frees what the accept callback was given. Takes NULL, returns NULL. */
struct peer *peer_free(struct peer *p);

#endif
