/* SPDX-License-Identifier: MIT */
/*
 * The receiving side of a port: waits for silence, receives the one reply under one absolute deadline, drains
 * what came too late. Every byte that arrives passes here, so it knows when the line was last busy. Owned by
 * the port, on the worker's thread; only `cancel_fd` is touched by others.
 *
 *   [ rx_await() ] ── rx_silence() ── rx_sent() ── rx_reply() ── [ rx_drain() ]
 */
#ifndef MBGATE_BUS_RX_H
#define MBGATE_BUS_RX_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/rtu.h"
#include "mbgate/model/port.h"

#define RX_MBAP_BYTES 1024

struct rx {
        int fd;
        int cancel_fd; /* readable: give up */
        bool is_mbap;
        uint32_t t35_us;
        uint64_t busy_us;          /* the last byte seen, or the end of our own transmission */
        bool babbles;              /* it did not become silent in rx_await(): no need to wait so long again */
        bool has_seen_byte;        /* busy_us is more than the moment of opening */
        struct rtu_matcher idle;   /* what comes while nothing is asked */
        struct rtu_counts pending; /* counted there, not yet reported */
        uint8_t mbap[RX_MBAP_BYTES];
        size_t n_mbap;
};

/* A line that has just been opened, for the first time (all zero before) or again. */
void rx_open(struct rx *rx, int fd, bool is_mbap, uint32_t t35_us);

/*
 * Returns once the line has been silent for max(t3.5, silence_us). *ret_gap_us: measured at `*ret_now_us`;
 * UINT64_MAX when nothing was ever seen. 0; PORT_BROKEN: it does not become silent for 2 s; PORT_CANCELLED;
 * −errno: lost.
 */
MUST_CHECK int rx_silence(struct rx *rx, uint64_t silence_us, uint64_t *ret_now_us, uint64_t *ret_gap_us);

/*
 * The same, ahead of it: returns just before rx_silence() would not have to wait, or as soon as `wake_fd`
 * (−1: none) is readable. port_ops.await.
 */
MUST_CHECK int rx_await(struct rx *rx, uint64_t silence_us, int wake_fd);

/* Our own transmission ends, or ended, at `sent_us`. */
void rx_sent(struct rx *rx, uint64_t sent_us);

/* A reply that could be the last one on this line, once more: port_request.usual_us. */
struct rx_doubt {
        const struct pdu *last; /* what it would repeat */
        uint64_t until_us;      /* another one, which counts instead, may end so late */
        bool is_refused;        /* without another one it is none */
        bool was_repeated;      /* set when another one came */
};

/*
 * Waits for the reply until `deadline_us` and fills reply->pdu, exception, done_us and counts. `matcher` has
 * been started (serial kinds). `doubt` NULL: the first reply is the answer. enum port_result, −errno: lost.
 */
MUST_CHECK int rx_reply(struct rx *rx, struct rtu_matcher *matcher, struct rx_doubt *doubt,
                        uint64_t deadline_us, struct port_reply *reply);

/* The same for Modbus TCP; other transactions' replies are counted as foreign. */
MUST_CHECK int rx_reply_mbap(struct rx *rx, uint16_t tid, const struct port_request *request,
                             uint64_t deadline_us, struct port_reply *reply);

/* port_ops.receive. */
MUST_CHECK int rx_receive(struct rx *rx, uint8_t *bytes, size_t n_bytes);

/* port_ops.drain. */
MUST_CHECK int rx_drain(struct rx *rx, uint64_t until_us, struct rtu_counts *ret_counts);

#endif
