/* SPDX-License-Identifier: MIT */
/*
 * When to connect, to which of a broker's addresses, for how long, and what of it is news. Pure: time comes
 * in as an argument, what to do goes out as a state and a verdict. Owned by the link's thread.
 *
 *             due            resolved          accepted, subscribed
 *   WAITING ──────► RESOLVING ──────► CONNECTING ──────────────────► ONLINE
 *      ▲                │ failed        │  ▲ │ failed                  │ failed
 *      │                │               │  └─┘ next address            │
 *      └────────────────┴───────────────┴──────────────────────────────┘  back-off
 */
#ifndef MBGATE_CLIENT_CONNECTOR_H
#define MBGATE_CLIENT_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backoff.h"

/* A connection that ends this soon after its CONNACK was thrown out, most likely by a namesake. */
#define CONNECTOR_QUICK_LOSS_US UINT64_C(2000000)
#define CONNECTOR_QUICK_LOSSES  3
/* A connection that held this long ends the growth of the pauses. */
#define CONNECTOR_SETTLED_US UINT64_C(10000000)
/* While other addresses are left, TCP gets no longer than this. */
#define CONNECTOR_TCP_SHARE_US UINT64_C(3000000)
/* The shortest pause after a refusal of who we are. */
#define CONNECTOR_AUTH_PAUSE_US UINT64_C(30000000)

enum connector_state {
        CONNECTOR_WAITING,
        CONNECTOR_RESOLVING,
        CONNECTOR_CONNECTING,
        CONNECTOR_ONLINE,
};

enum connector_failure {
        CONNECTOR_F_DNS = 1,
        CONNECTOR_F_TCP,     /* no connection: another address may do */
        CONNECTOR_F_TIMEOUT, /* the deadline passed: another address may do */
        CONNECTOR_F_TLS,
        CONNECTOR_F_AUTH,    /* refused for who we are: slow */
        CONNECTOR_F_REFUSED, /* refused for another reason */
        CONNECTOR_F_LOST,
        CONNECTOR_F_LOCAL, /* memory, files, settings */
};

struct connector {
        enum connector_state state;
        struct backoff backoff;
        uint64_t timeout_us;
        size_t n_targets, target;
        uint64_t next_us;         /* WAITING: the next try */
        uint64_t tcp_deadline_us; /* CONNECTING: until TCP is up */
        uint64_t deadline_us;     /* CONNECTING: until the SUBACKs */
        uint64_t accepted_us;     /* the CONNACK of this connection; 0: none */
        unsigned n_quick_losses;
        unsigned n_failures; /* since the last success */
        uint64_t first_failure_us;
        enum connector_failure last_failure;
        int last_code;
};

struct connector_verdict {
        bool try_next;    /* the next address, now */
        bool is_news;     /* not the same as last time */
        bool is_flapping; /* thrown out again and again right after CONNACK; true once in a row of them */
        uint64_t delay_us;
};

struct connector_recovery {
        unsigned n_failures; /* 0: it was the first try */
        uint64_t duration_us;
};

/* Due at once. */
void connector_init(struct connector *c, uint64_t timeout_us, uint64_t min_us, uint64_t max_us,
                    uint64_t seed);

bool connector_is_due(const struct connector *c, uint64_t now_us);
void connector_resolving(struct connector *c);

/* Addresses are known, n ≥ 1: begin with the first. */
void connector_resolved(struct connector *c, size_t n_targets, uint64_t now_us);

/* TCP is up: the share of this address no longer counts. */
void connector_tcp_up(struct connector *c);
bool connector_is_overdue(const struct connector *c, uint64_t now_us);

/* CONNACK said yes: the SUBACKs get the same time again. */
void connector_accepted(struct connector *c, uint64_t now_us);
void connector_online(struct connector *c, uint64_t now_us, struct connector_recovery *ret);

/* Thrown out more than CONNECTOR_QUICK_LOSSES times in a row. */
bool connector_is_flapping(const struct connector *c);

/* Once, when a connection outlives CONNECTOR_QUICK_LOSS_US after such a row: the row is over. */
bool connector_has_settled(struct connector *c, uint64_t now_us);

/* `code` tells failures of one kind apart: a reason code, an errno. */
void connector_failed(struct connector *c, enum connector_failure failure, int code, uint64_t now_us,
                      struct connector_verdict *ret);

/* When something is due by time alone, or CLOCK_NEVER_US. */
uint64_t connector_wake_us(const struct connector *c);

#endif
