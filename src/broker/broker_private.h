/* SPDX-License-Identifier: MIT */
/* What the parts of the broker share. Owned by the main thread. */
#ifndef MBGATE_BROKER_BROKER_PRIVATE_H
#define MBGATE_BROKER_BROKER_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/log.h"
#include "mbgate/broker/broker.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"

#include "authority.h"
#include "connection.h"
#include "listener.h"
#include "listeners.h"
#include "output.h"
#include "persistence.h"
#include "retained.h"
#include "session.h"
#include "subscriptions.h"
#include "sys.h"
#include "transport.h"

/* Read by all connections, one after the other; a packet that is larger goes into a buffer of its own. */
#define BROKER_READ_BYTES (64u * 1024)

/* So much written in one batch is sent before more is read: it stays in the processor's cache. */
#define BROKER_FLUSH_BYTES (256u * 1024)

/* Counters since start, for $SYS. */
struct broker_stats {
        uint64_t n_packets_in, n_packets_out; /* all types */
        uint64_t n_bytes_in, n_bytes_out;
        uint64_t n_publish_in, n_publish_out;
        uint64_t n_publish_bytes_in, n_publish_bytes_out; /* payloads */
        uint64_t n_publish_dropped;
        uint64_t n_sockets;  /* accepted */
        uint64_t n_connects; /* CONNECTs let in */
        uint64_t n_refused;
        uint64_t n_expired; /* sessions */
        size_t max_connected;
};

struct broker {
        struct loop *loop;
        struct conf *conf; /* a reference */
        struct transport *transport;
        struct loop_timer *timer;
        uint64_t timer_us;
        struct authority *authority;
        struct subscriptions *subscriptions;
        struct retained *retained;
        struct retained *known; /* the last message of each topic, for on_change, remember and
                                   publish_on_connect; NULL: nobody wants it */
        struct persistence *persistence;
        struct sys *sys;
        struct session *sessions;     /* uthash, by id */
        size_t n_away;                /* sessions without a connection */
        struct session_owner *owners; /* uthash */
        struct listener **listeners;
        size_t n_listeners;
        struct {
                int fd;
                char *name;
        } * sockets; /* that the service manager opened */
        size_t n_sockets;
        struct connection *connections;
        size_t n_connections;     /* accepted and not yet gone */
        size_t n_clients;         /* CONNECT is through */
        size_t n_gone;            /* connections, since memory was given back the last time */
        uint64_t trim_us;         /* when it is again, once enough have gone */
        struct connection *dirty; /* to be settled at the end of this batch */
        struct connection *later; /* at the end of the next one */
        struct connection *dead;
        size_t n_unsent;       /* written in this batch */
        size_t n_input_bytes;  /* of unfinished packets */
        size_t n_queued_bytes; /* of all queues */
        size_t n_text_bytes;   /* of all sessions, and the aliases of all connections */
        struct output_pool pool;
        struct broker_stats stats;
        struct log_fields fields;
        uint64_t log_window_us; /* connections coming and going are told, but no flood of them */
        unsigned n_logged, n_not_logged;
        uint32_t id_counter; /* of assigned client ids */
        uint64_t id_secret;
        bool is_stopping;
        bool retained_is_full; /* has been said */
        uint8_t read_buffer[BROKER_READ_BYTES];
        uint8_t scratch[1024]; /* heads of packets */
};

/* At `at_us` at the latest somebody's time runs out. */
void broker_wake_at(struct broker *b, uint64_t at_us);

/* Writes out what connections have to write, ends those that are doomed, frees the dead. */
void broker_settle(struct broker *b);

/* Limits and the table of last known messages as the configuration wants them now. −ENOMEM. */
MUST_CHECK int broker_adjust_tables(struct broker *b);

/* Whether an event that clients can cause at will may be logged now: at most 20 in a second. */
bool broker_may_log(struct broker *b);

static inline const struct conf_broker *broker_conf(const struct broker *b)
{
        return &b->conf->broker;
}

#endif
