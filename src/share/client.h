/* SPDX-License-Identifier: MIT */
/*
 * One connection of a master. It knows bytes and the order of requests; what becomes of a request is asked of
 * its share. Main thread.
 *
 *   in ─► [ waiting, oldest first ] ─► the first one: answered at once, or handed to the bus ─► out
 */
#ifndef MBGATE_SHARE_CLIENT_H
#define MBGATE_SHARE_CLIENT_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>

#include "mbgate/codec/rtu.h"
#include "mbgate/loop/loop.h"

#define CLIENT_IN_BYTES  2048
#define CLIENT_OUT_BYTES 8192

struct share;

struct request {
        uint16_t tid;
        uint8_t unit; /* as the master calls it */
        struct pdu pdu;
};

struct client {
        struct share *share;
        struct client *next;
        int fd;
        struct loop_io *io;
        uint8_t address[16];
        char name[INET6_ADDRSTRLEN];
        uint64_t active_us; /* the last request, or byte taken by the master */
        bool is_broken;     /* to be closed by whoever is at it */
        bool is_at_bus;     /* the first request is there, as … */
        uint64_t bus_id;
        struct request *waiting; /* a ring of n_most */
        size_t first, n_waiting, n_most;
        uint8_t in[CLIENT_IN_BYTES];
        size_t n_in;
        uint8_t out[CLIENT_OUT_BYTES];
        size_t n_out;
        uint32_t events; /* what the loop watches for */
};

/* Takes the socket over, also on error. −ENOMEM, −errno of the loop. */
MUST_CHECK int client_new(struct share *s, int fd, const uint8_t address[16], size_t n_most,
                          struct client **ret_client);
struct client *client_free(struct client *c);
DEFINE_CLEANUP(struct client *, client_free)

/* The first of those that wait, which the bus has now, is answered with a reply PDU. */
void client_answer(struct client *c, const struct pdu *reply);

/* Carries on with those that wait, and sends. Frees nothing: look at is_broken. */
void client_run(struct client *c);

/* ---- what a client asks of its share (share.c) ---- */

enum share_verdict {
        SHARE_ANSWERED, /* *ret_reply */
        SHARE_AT_BUS,   /* client_answer() will come, with the id *ret_id */
};
enum share_verdict share_ask(struct share *s, struct client *c, const struct request *q,
                             struct pdu *ret_reply, uint64_t *ret_id);

/* What came is no Modbus TCP, or the connection broke: it is closed when this turn is over. */
void share_on_garbage(struct share *s, const struct client *c);
void share_on_broken(struct share *s, struct client *c);
uint64_t share_now_us(struct share *s);
struct loop *share_loop(struct share *s);

void share_exception(const struct pdu *request, unsigned code, struct pdu *ret_reply);

#endif
