/* SPDX-License-Identifier: MIT */
/*
 * Clients of a load generator for MQTT brokers: as little work for each message as can be, so that the broker
 * is what is measured. Knows just the packets that it needs, of 3.1.1 and 5.0. Ends the program on any fault:
 * a figure from a broken run is worth nothing. One thread.
 */
#ifndef MBGATE_BENCH_MQTT_LOAD_H
#define MBGATE_BENCH_MQTT_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_OUT_BYTES    65536
#define LOAD_LEFT_BYTES   512 /* the longest packet that may come */
#define LOAD_IN_BYTES     (1 << 18)
#define LOAD_PAYLOAD_MIN  16 /* publisher's number and time of sending */
#define LOAD_PAYLOAD_MAX  256
#define LOAD_CLIENTS_MAX  60000
#define LOAD_PACKET_BYTES (LOAD_PAYLOAD_MAX + 64)

enum load_role {
        LOAD_IDLE, /* with or without a subscription to a topic of its own */
        LOAD_PUBLISHER,
        LOAD_SUBSCRIBER,
        LOAD_VISITOR, /* disconnects as soon as it is connected */
};

enum load_state {
        LOAD_CONNECTING, /* until CONNACK */
        LOAD_SUBSCRIBING,
        LOAD_READY,
        LOAD_LEAVING, /* DISCONNECT is out; the broker closes */
};

struct load_client {
        int fd;
        uint32_t number;
        enum load_role role;
        enum load_state state;
        bool wants_out;     /* EPOLLOUT is asked for */
        uint16_t packet_id; /* the last one used */
        uint32_t n_unacked;
        uint64_t n_sent;     /* messages */
        int64_t n_delivered; /* of its messages, to all subscribers; what is lost counts too, late ones twice
                              */
        size_t n_out, n_out_done, n_left;
        uint8_t *out;
        uint8_t left[LOAD_LEFT_BYTES];
};

struct load_settings {
        struct sockaddr_in address;
        unsigned version; /* 4 or 5 */
        unsigned qos;
        unsigned n_payload;
        bool subscribe; /* idle clients too */
        bool quick_ack; /* acknowledge segments at once: a broker with Nagle's algorithm waits 40 ms else */
};

/* All clients, and what they have counted together. */
struct load {
        struct load_settings settings;
        int epoll;
        struct load_client *clients;
        size_t n_clients, n_ready, n_subscribers;
        uint64_t n_deliveries;
        uint64_t n_visits;
        double *latencies_us; /* NULL: not measured */
        size_t n_latencies, max_latencies;
        uint8_t packet[LOAD_PACKET_BYTES]; /* PUBLISH; number, time and packet id are filled in */
        size_t n_packet, id_at, payload_at;
        uint8_t in[LOAD_LEFT_BYTES + LOAD_IN_BYTES];
};

__attribute__((noreturn, format(printf, 1, 2))) void load_fail(const char *format, ...);

uint64_t load_now_ns(void);

/* `settings` and `max_clients` are set once. */
void load_init(struct load *l, const struct load_settings *settings, size_t max_clients);
void load_done(struct load *l);

/* One more client, on its way to LOAD_READY. */
struct load_client *load_add(struct load *l, enum load_role role);

/* One turn: waits at most `timeout_ms`, reads all that came, acknowledges it. Returns the events served. */
int load_turn(struct load *l, int timeout_ms);

/* Puts a message into the client's buffer. false: the buffer is full. */
bool load_publish(struct load *l, struct load_client *c, uint64_t now_ns);

/* Sends what is in the buffer, as far as the socket takes it. */
void load_flush(struct load *l, struct load_client *c);

#endif
