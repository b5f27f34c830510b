/* SPDX-License-Identifier: MIT */
/*
 * The line between one master and the devices of a bus, in line time: requests take their characters, devices
 * their turnaround, replies their characters. Pure: the caller brings bytes and the time, and writes what the
 * line hands out. One for a pseudo-terminal, one for each TCP connection.
 *
 *   arrival                end             due       start                    last byte written
 *   ├── request's characters ┼─ turnaround ─┤ (waits) ├── reply's characters ──┤
 *
 * One thing at a time: what comes while the line is taken (a late reply, an impatient master) waits for its
 * turn, or with simbus.garble destroys what is there and itself.
 */
#ifndef MBSIM_LINE_H
#define MBSIM_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "assembly.h"
#include "fault.h"
#include "simbus.h"

#define LINE_REQUESTS_MAX 8
#define LINE_REPLIES_MAX  64
#define LINE_TX_MAX_BYTES (ASSEMBLY_MAX_BYTES + 2 * 64) /* a reply with noise before and after */

/* Writes to the master; what it cannot take is lost, and returned as a number of bytes. */
typedef size_t (*line_write_fn)(void *user, const uint8_t *bytes, size_t n_bytes);

struct line_request {
        struct request request;
        uint64_t end_ns;
        bool heard;
        struct fault_effects effects;
};

/* A frame on its way to the master. */
struct line_tx {
        uint8_t bytes[LINE_TX_MAX_BYTES];
        size_t n, n_sent;
        uint64_t due_ns, start_ns;
        uint64_t pause_ns; /* before each character but the first: trickle */
        bool counts;       /* a whole, timely reply: with what it brings */
        bool is_echo;
        uint8_t unit;
        unsigned n_registers, n_bits, n_written;
        char note[80];
};

struct line {
        struct simbus *bus;
        line_write_fn write;
        void *user;
        bool keeps_gaps; /* a serial line, where t3.5 means something */

        struct assembly assembly;
        uint64_t begin_ns;  /* of the frame in the assembly */
        bool begin_heard;   /* not too early, not in a collision */
        uint64_t rx_end_ns; /* the master's last character ends */

        struct line_request requests[LINE_REQUESTS_MAX];
        unsigned n_requests;

        struct line_tx *replies[LINE_REPLIES_MAX]; /* by due_ns; [0] is being sent if `sending` */
        unsigned n_replies;
        bool sending;
        struct line_tx *echo;
        uint64_t tx_end_ns;    /* the last character sent to the master ends */
        uint64_t last_byte_ns; /* it was written */

        bool used;          /* something was on the line */
        bool closed;        /* Modbus TCP: nonsense came; close the connection */
        uint64_t hangup_ns; /* a fault wants the port to hang up for so long; 0: no */
};

void line_init(struct line *l, struct simbus *bus, enum framing framing, bool keeps_gaps, line_write_fn write,
               void *user);

/* Forgets everything under way: the port has hung up. Frees what it holds. */
void line_reset(struct line *l);

/* Bytes have come from the master. */
void line_receive(struct line *l, const uint8_t *bytes, size_t n_bytes, uint64_t now_ns);

/* When line_advance() must be called next; LINE_NEVER: not before more bytes come. */
uint64_t line_next_ns(const struct line *l);

/* Whether the next event is the last byte of a frame, which should be exact. */
bool line_next_is_sharp(const struct line *l);

/* Does what is due at `now_ns`. */
void line_advance(struct line *l, uint64_t now_ns);

#endif
