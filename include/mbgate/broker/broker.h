/* SPDX-License-Identifier: MIT */
/*
 * The embedded MQTT broker: 3.1, 3.1.1 and 5.0 over TCP, TLS, WebSocket and Unix sockets. It lives in the
 * main loop; every call is made on the main thread, and none blocks: what takes long (password hashes, the
 * disk) happens on threads of its own.
 *
 *   new ──start──► serving ──reconfigure──► serving ──stop──► silent ──► free
 */
#ifndef MBGATE_BROKER_BROKER_H
#define MBGATE_BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/thread.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/link.h"

struct broker;

/* A socket that the service manager has opened for us, sd_listen_fds_with_names(3). */
struct broker_socket {
        int fd;
        const char *name;
};

struct broker_init {
        struct loop *loop;
        struct conf *conf; /* a reference is taken; conf->broker.on */
        const struct broker_socket *sockets;
        size_t n_sockets;
};

/*
 * Reads password and ACL file and what the store holds. Nobody is served yet. −errno; what is wrong has been
 * told in the log.
 */
MUST_CHECK int broker_new(const struct broker_init *init, struct broker **ret_broker);

/* Opens the listeners. One that cannot be opened is an error: −errno, told in the log. */
MUST_CHECK int broker_start(struct broker *b);

/* Not all listeners of the new configuration could be opened; everything else of it is in force. */
#define BROKER_PARTLY 1

/*
 * Goes on with another configuration: listeners that are new are opened, those that are gone closed with
 * their clients, the others and their clients stay. Certificates, password and ACL file are read again; who
 * may not be there any more is sent away. What cannot be read or opened is told. 0; BROKER_PARTLY; −errno:
 * nothing has changed.
 */
MUST_CHECK int broker_reconfigure(struct broker *b, struct conf *conf);

/* Says goodbye to all clients (reason 0x8B) and closes the listeners. Sessions and messages are kept. */
void broker_stop(struct broker *b);

/* Whether all connections have ended after broker_stop(). */
bool broker_is_silent(const struct broker *b);

/* Writes what is to outlive the program and frees all. Links on it must be gone. Takes NULL, returns NULL. */
struct broker *broker_free(struct broker *b);
DEFINE_CLEANUP(struct broker *, broker_free)

/* Whether its threads are late, for the watchdog: the name of the first that is, or NULL. */
const char *broker_late_thread(struct broker *b, uint64_t now_us);

/*
 * Tells of a link to another broker in $SYS/broker/connection/NAME/state, as bridges of mosquitto do: "1",
 * "0", and "" when it is gone.
 */
void broker_tell_link(struct broker *b, const char *name, const char *state);

#endif
