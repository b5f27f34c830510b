/* SPDX-License-Identifier: MIT */
/*
 * A port carries one transaction at a time over a serial line or a TCP connection. One worker thread owns it
 * and makes every call; a call blocks until the reply, the deadline, or cancellation. Kinds: a libmodbus port
 * (bus/port_libmodbus.c) and the fake of the tests.
 *
 *   closed ──open──► open ──transact──► open        any call: −errno = the port is lost: close() it, open()
 * later
 */
#ifndef MBGATE_MODEL_PORT_H
#define MBGATE_MODEL_PORT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/pdu.h"
#include "mbgate/codec/rtu.h"

enum port_result {
        PORT_OK = 0,
        PORT_EXCEPTION = 1, /* the device answered with an exception: reply.exception */
        PORT_TIMEOUT = 2,   /* nothing of this device until the deadline */
        PORT_BROKEN = 3,    /* bytes came, but no whole, right frame until the deadline */
        PORT_CANCELLED = 4, /* port_cancel() was called */
};

struct port_request {
        uint8_t unit; /* 0: broadcast, no reply is waited for; on Modbus TCP a unit like any other */
        struct pdu pdu;
        /*
         * From the request's last character to the reply's first. The deadline is later by the wire time of
         * the whole reply that the request asks for: at 9600 Bd 125 registers alone take 286 ms.
         */
        uint64_t timeout_us;
        uint64_t silence_us; /* at least this long since the last byte seen; t3.5 is kept anyway */
        /*
         * A reply that repeats the last one on this line, though that answered another request, and is not
         * what this request got the last time, may be that one once more: another one is waited for that may
         * begin so long after our last character. 0: no reply is doubted.
         */
        uint64_t usual_us;
};

struct port_reply {
        struct pdu pdu;
        uint8_t exception;
        uint64_t began_us;        /* the request's first byte; 0: never sent */
        uint64_t sent_us;         /* the request's last character has left (computed from the line's speed) */
        uint64_t done_us;         /* the reply's last byte, or the deadline */
        uint64_t deadline_us;     /* until when the reply was waited for; 0: never sent */
        uint64_t gap_us;          /* silence before the request; UINT64_MAX for the first */
        struct rtu_counts counts; /* what else was seen */
};

/* What a UART saw since it was opened or before: only differences mean something. */
struct port_line_errors {
        uint32_t n_parity;
        uint32_t n_framing;
        uint32_t n_breaks;
};

struct port;

struct port_ops {
        /* Opens it. 0 or −errno; blocks at most 5 s (TCP). Logs nothing. */
        int (*open)(struct port *p);

        /* Closes it; open() may follow. Closed already: nothing. */
        void (*close)(struct port *p);

        /*
         * Keeps the silence, sends, receives. 0 and enum port_result, or −errno: lost. A result with
         * ret_reply->began_us 0: the request was never sent (the line was not silent, or took nothing).
         */
        int (*transact)(struct port *p, const struct port_request *request, struct port_reply *ret_reply);

        /*
         * Waits until just before a request that needs `silence_us` could be sent, so that what it asks need
         * not be decided before, or until `wake_fd` (−1: none) is readable. 0: the line is free, or
         * transact() will tell why not; 1: woken; −errno: lost. NULL: it is always free.
         */
        int (*await)(struct port *p, uint64_t silence_us, int wake_fd);

        /*
         * After a time-out or broken frame: reads and counts whatever comes until `until_us`, and then until
         * the line has been silent for t3.5; a late reply ends in here. 0 or −errno. Returns early when
         * cancelled.
         */
        int (*drain)(struct port *p, uint64_t until_us, struct rtu_counts *ret_counts);

        /*
         * What has come, without waiting, for a bus that listens only. Bytes, 0: nothing there, −errno: lost.
         * NULL: this kind cannot.
         */
        int (*receive)(struct port *p, uint8_t *bytes, size_t n_bytes);

        /* For good: ends a running call soon, and all later ones at once. Safe on any thread. */
        void (*cancel)(struct port *p);

        /* The driver's own counters. 0 or −errno: it has none. NULL: this kind has none. */
        int (*line_errors)(struct port *p, struct port_line_errors *ret);

        /* A descriptor to poll for POLLIN/POLLHUP while idle, or −1. */
        int (*fd)(const struct port *p);

        /*
         * What a line of the log may say about the open port ("9600 8E1, low latency on"), or why open()
         * failed ("held by mbpoll (process 4711)"), or "": then its errno is all there is to say.
         */
        const char *(*describe)(const struct port *p);

        void (*free)(struct port *p);
};

/* The first member of every kind of port. */
struct port {
        const struct port_ops *ops;
};

MUST_CHECK static inline int port_open(struct port *p)
{
        return p->ops->open(p);
}

static inline void port_close(struct port *p)
{
        p->ops->close(p);
}

MUST_CHECK static inline int port_transact(struct port *p, const struct port_request *request,
                                           struct port_reply *ret_reply)
{
        return p->ops->transact(p, request, ret_reply);
}

MUST_CHECK static inline int port_await(struct port *p, uint64_t silence_us, int wake_fd)
{
        return p->ops->await ? p->ops->await(p, silence_us, wake_fd) : 0;
}

MUST_CHECK static inline int port_drain(struct port *p, uint64_t until_us, struct rtu_counts *ret_counts)
{
        return p->ops->drain(p, until_us, ret_counts);
}

MUST_CHECK static inline int port_receive(struct port *p, uint8_t *bytes, size_t n_bytes)
{
        return p->ops->receive ? p->ops->receive(p, bytes, n_bytes) : -ENOTSUP;
}

MUST_CHECK static inline int port_line_errors(struct port *p, struct port_line_errors *ret)
{
        return p->ops->line_errors ? p->ops->line_errors(p, ret) : -ENOTSUP;
}

static inline void port_cancel(struct port *p)
{
        p->ops->cancel(p);
}

static inline int port_fd(const struct port *p)
{
        return p->ops->fd(p);
}

static inline const char *port_describe(const struct port *p)
{
        return p->ops->describe(p);
}

static inline struct port *port_free(struct port *p)
{
        if (p)
                p->ops->free(p);
        return NULL;
}
DEFINE_CLEANUP(struct port *, port_free)

#endif
