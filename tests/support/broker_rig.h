/* SPDX-License-Identifier: MIT */
/*
 * The whole broker without sockets, in virtual time (fake_loop.h): bytes of clients go in, bytes to them come
 * out, and a test says when. What it hides: the kernel's buffers, TLS and WebSocket (tests of stream_*).
 */
#ifndef MBGATE_TESTS_BROKER_RIG_H
#define MBGATE_TESTS_BROKER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/broker/broker.h"

#define RIG_CLIENTS   16
#define RIG_OUT_BYTES (64 * 1024)

struct rig_client {
        bool is_used;
        bool is_stuck;  /* takes nothing */
        bool is_shut;   /* the broker has ended its side */
        bool is_closed; /* the broker has closed it */
        bool ends;      /* we end our side behind what is in `in` */
        const uint8_t *in;
        size_t n_in, piece; /* at most so much a read; 0: all */
        uint8_t *out;
        size_t n_out;
};

struct broker_rig {
        struct loop *loop;
        struct conf *conf;
        struct broker *broker;
        struct rig_client clients[RIG_CLIENTS];
};

/* `options`: what stands in the configuration's group "broker", without a store. Aborts on failure. */
void broker_rig_init(struct broker_rig *rig, const char *options);

/* With a configuration that has been loaded by another rig. */
void broker_rig_init_with(struct broker_rig *rig, struct conf *conf);
void broker_rig_done(struct broker_rig *rig);

/* As SIGHUP does, without listeners and files. */
void broker_rig_reload(struct broker_rig *rig, const char *options);

/* A client comes in; its number, or −1 when all are used. */
int broker_rig_connect(struct broker_rig *rig);
int broker_rig_connect_from(struct broker_rig *rig, const char *address);

/* Bytes of a client; they are all taken, or the connection is over. */
void broker_rig_feed(struct broker_rig *rig, int client, const void *bytes, size_t n);

/* The client ends its side, and is forgotten once the broker has closed it. */
void broker_rig_close(struct broker_rig *rig, int client);

/* Runs the loop until nothing happens any more. */
void broker_rig_turn(struct broker_rig *rig);

/* Moves time on. */
void broker_rig_advance(struct broker_rig *rig, uint64_t us);

/* Forgets what has come out for a client. */
void broker_rig_clear(struct broker_rig *rig, int client);

#endif
