/* SPDX-License-Identifier: MIT */
/*
 * What two others say to each other on a line: finds the RTU frames in the bytes, tells requests from replies
 * and pairs them. Pure; owned by the worker of a bus that listens only.
 *
 *   bytes with their times ─► [ window ] ─► frame ─► request: waits for its reply
 *                                 │                   reply to it: a pair
 *                                 │                   neither: an orphan
 *                                 └► no frame: one byte of junk, again
 *
 * Where a frame ends is told by its function, its counts and its CRC, never by silence, which USB adapters
 * distort. But a frame that seems to have begun and does not become whole is given up when a whole one stands
 * behind it after at least t3.5 of silence, or when nothing has come for LISTEN_SETTLE_US.
 *
 * Request and reply of one frame look alike for functions 5, 6 and 22 (equal), 15 and 16 (the reply is the
 * head), and reads of 17 to 24 bits (8 bytes each): whatever fits the request that waits is its reply, but a
 * read that repeats the request to the byte is a repeated request.
 *
 * RTU has no transaction number: when a master goes on to other registers of a unit that has not answered
 * yet, a reply of the right length may be the late one. Such a pair is marked as doubtful until the time in
 * which a reply can come is over. What remains: a cut frame and the head of the next have a right CRC
 * together once in 65536.
 */
#ifndef MBGATE_BUS_LISTEN_H
#define MBGATE_BUS_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/pdu.h"
#include "mbgate/codec/rtu.h"

#define LISTEN_WINDOW_BYTES RTU_WINDOW_BYTES
#define LISTEN_SETTLE_US    UINT64_C(40000) /* as in rx.c: no gap inside a frame is longer */

enum listen_kind {
        LISTEN_NONE = 0,  /* nothing more to be had from the bytes that have come */
        LISTEN_REPLY,     /* request and reply */
        LISTEN_EXCEPTION, /* request and exception: reply.bytes[1] */
        LISTEN_SILENCE,   /* a request that nobody has answered in time, or before the next one */
        LISTEN_BROADCAST, /* a request to unit 0 */
        LISTEN_ORPHAN,    /* a reply to nothing that was heard: it says nothing, its address is not known */
};

struct listen_pair {
        bool is_doubtful; /* LISTEN_REPLY: it may as well answer a request before, to another address */
        enum listen_kind kind;
        uint8_t unit;
        struct pdu request;             /* n_bytes 0: an orphan's */
        struct pdu reply;               /* n_bytes 0: none came */
        uint64_t asked_us, asked_to_us; /* the request's first and last byte, as they were received */
        uint64_t done_us;               /* the reply's last byte */
        size_t n_bytes;                 /* of both on the wire */
};

struct listen_counts {
        uint64_t n_frames; /* with a right CRC */
        uint64_t n_pairs;  /* replies and exceptions with their requests */
        uint64_t n_unanswered;
        uint64_t n_broadcasts;
        uint64_t n_orphans;
        uint64_t n_doubtful;   /* among the pairs */
        uint64_t n_broken;     /* frames of a known shape that were given up: a wrong CRC, or cut off */
        uint64_t n_junk_bytes; /* in no frame; those of broken ones included */
};

/* Requests that were not answered, while a late answer may still come. */
#define LISTEN_OWED_MAX 16

struct listen_owed {
        uint8_t unit;
        struct pdu request; /* n_bytes 0: none */
        uint64_t until_us;
};

struct listen {
        uint8_t window[LISTEN_WINDOW_BYTES];
        uint64_t at_us[LISTEN_WINDOW_BYTES]; /* when each byte was received */
        size_t n, at;                        /* bytes there; the first that is not decided */
        uint64_t last_us;                    /* of all bytes */
        uint64_t before_us;                  /* of the byte before window[0]; 0: none */
        uint32_t t35_us;
        uint64_t reply_us;                        /* a reply comes within this time, or never */
        struct listen_pair open;                  /* the request that waits; request.n_bytes 0: none does */
        bool open_is_broken;                      /* a broken reply to it has come: nothing is owed */
        struct listen_owed owed[LISTEN_OWED_MAX]; /* a ring */
        size_t n_owed;
        bool in_junk; /* the bytes before `at` were in no frame */
        struct listen_counts counts;
};

void listen_init(struct listen *l, uint32_t t35_us, uint64_t reply_us);

/*
 * Adds bytes received at `now_us`. Call listen_next() until it has no more before the next call: then nothing
 * is ever lost. At most LISTEN_FEED_MAX at a time.
 */
#define LISTEN_FEED_MAX 512
void listen_feed(struct listen *l, const uint8_t *bytes, size_t n, uint64_t now_us);

/* The next thing that was said, until LISTEN_NONE. */
enum listen_kind listen_next(struct listen *l, uint64_t now_us, struct listen_pair *ret);

/* When listen_next() may have something although nothing has come; UINT64_MAX: never. */
uint64_t listen_wake_us(const struct listen *l);

#endif
