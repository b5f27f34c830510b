/* SPDX-License-Identifier: MIT */
/*
 * The far end, when it has to misbehave: a listener that takes no connections, one that takes them and says
 * nothing, a relay that freezes, cuts or dawdles, and a little MQTT 3.1.1 broker that hangs up at random.
 */
#ifndef MBGATE_TESTS_PEER_H
#define MBGATE_TESTS_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PEER_FILLERS 16
#define PEER_SEQS    20000

enum relay_mode {
        RELAY_PASS,
        RELAY_FREEZE, /* keeps connections, moves nothing */
        RELAY_SLOW,   /* 300 bytes each 20 ms and direction */
        RELAY_CUT,    /* closes everything, then passes again */
};

/* A listener whose backlog is full: connections to it stay in SYN_SENT. */
struct black_hole {
        int fd;
        int fillers[PEER_FILLERS];
        uint16_t port;
};
void black_hole_open(struct black_hole *b, int family, uint16_t port);
void black_hole_close(struct black_hole *b);

/* Accepts, reads, never answers. */
struct relay {
        int fd;
        uint16_t port, to_port;
        pthread_t thread;
        atomic_int mode;
        atomic_bool stop;
};
void relay_start(struct relay *r, uint16_t to_port); /* to_port 0: answers nothing */
void relay_stop(struct relay *r);

/* Takes QoS 1 publications whose payload is a number. */
struct fake_broker {
        int fd;
        uint16_t port;
        pthread_t thread;
        atomic_bool stop;
        atomic_bool hangs_up; /* after a random number of publications */
        atomic_bool no_suback;
        atomic_uint n_connections;
        atomic_uint n_received;   /* publications, duplicates too */
        atomic_uint n_different;  /* numbers seen for the first time */
        atomic_bool out_of_order; /* a number seen first after a larger one */
        unsigned seen[PEER_SEQS];
        long largest;
};
void fake_broker_start(struct fake_broker *b);
void fake_broker_stop(struct fake_broker *b);

#endif
