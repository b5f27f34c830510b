/* SPDX-License-Identifier: MIT */
/*
 * RTU frames: unit id, PDU, CRC (Modbus over serial line 1.02 §2.5.1), and the matcher that finds the one
 * reply that answers a request in a stream of bytes that may hold noise, echoes, late replies and other
 * devices' frames. Pure: the caller owns the memory, the clock and the descriptor.
 *
 *   bytes ──► [ window ] ──► what can begin at its first byte?
 *                             our reply or exception, whole, CRC right    REPLY or EXCEPTION
 *                             another frame, whole, CRC right             counted, skipped as a whole
 *                             one of these, not yet whole                 MORE
 *                             none                                        one byte of junk, again
 *
 * The window is read strictly from left to right, so the outcome does not depend on how the bytes are cut
 * into portions, and a frame inside a longer foreign frame is not seen. The price: noise that looks like the
 * head of a longer frame (a known function code and a plausible count) hides the reply behind it until either
 * enough bytes have come to refute it, or the line has fallen silent: rtu_matcher_settle().
 *
 * What remains: RTU has no transaction number. A late reply of the same unit, function and length cannot be
 * told from the right one (hence drain and quarantine after a time-out, and requests that vary); a foreign
 * frame whose head was lost may uncover a whole frame in its payload; and a random run of bytes has a right
 * CRC once in 65536, though unit, function and byte count must fit as well.
 */
#ifndef MBGATE_CODEC_RTU_H
#define MBGATE_CODEC_RTU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/codec/pdu.h"

#define RTU_ADU_MAX_BYTES 256
#define RTU_WINDOW_BYTES  1024

/* CRC-16 of Modbus over serial line §6.2.2, low byte first on the wire. */
uint16_t rtu_crc(const uint8_t *bytes, size_t n_bytes);

/* Frames a PDU; returns the number of bytes, n_pdu + 3. */
size_t rtu_frame(uint8_t unit, const uint8_t *pdu, size_t n_pdu, uint8_t ret_adu[RTU_ADU_MAX_BYTES]);

/*
 * t3.5 in µs: up to 19200 Bd 3.5 characters of 11 bits, rounded up, also where a format sends 10, because
 * devices count so; above 1750: Modbus over serial line 1.02 §2.5.1.1. 0 for 0 Bd (no line).
 */
uint32_t rtu_t35_us(uint32_t baud);

/* Wire time of n characters in µs, rounded up; 0 for 0 Bd. */
uint64_t rtu_wire_us(uint32_t baud, unsigned bits_per_char, size_t n_chars);

enum rtu_match {
        RTU_MATCH_MORE = 0,
        RTU_MATCH_REPLY = 1,
        RTU_MATCH_EXCEPTION = 2,
};

/*
 * Local echo: some adapters receive what they send. For most requests the echo cannot be taken for a reply,
 * and it is skipped whatever the mode. But the reply to functions 5, 6 and 22 *is* a copy of the request
 * (and that to a read of 17..24 bits at 0x03xx may happen to be one): rtu_echo_is_ambiguous().
 */
enum rtu_echo {
        RTU_ECHO_AUTO, /* not known: one copy of an ambiguous request is no answer, a second one is */
        RTU_ECHO_ON,   /* every request comes back before the reply: the first copy is never an answer */
        RTU_ECHO_OFF,  /* the first copy is the answer */
};

struct rtu_counts {
        uint32_t n_junk_bytes;
        uint32_t n_crc;     /* frames of the right unit, function and length whose CRC is wrong */
        uint32_t n_foreign; /* frames with a right CRC that answer something else */
        uint32_t n_echo;
        uint8_t foreign_unit; /* of the last of those frames; 0: none */
};

/* How far the window has been read, and what was found. */
struct rtu_scan {
        size_t at;           /* first byte of the window that is not yet decided */
        bool echo_seen;      /* a copy of the request that was taken as echo */
        bool copy_seen;      /* RTU_ECHO_AUTO: one copy of an ambiguous request */
        bool of_device_seen; /* something of this unit that was no echo */
        struct rtu_counts counts;
};

struct rtu_matcher {
        uint8_t window[RTU_WINDOW_BYTES];
        size_t n_window;
        uint8_t unit;
        struct pdu request; /* n_bytes 0: nothing is an answer */
        size_t n_reply;     /* bytes of the reply's ADU; 0: not known beforehand */
        uint8_t request_adu[RTU_ADU_MAX_BYTES];
        size_t n_request_adu;
        enum rtu_echo echo;
        struct rtu_scan scan; /* counts: scan.counts */
};

/*
 * Starts to look for the answer of `unit` to `request`. With request NULL nothing is an answer: all frames
 * are foreign (for draining and listening).
 */
void rtu_matcher_start(struct rtu_matcher *m, uint8_t unit, const struct pdu *request, enum rtu_echo echo);

/*
 * Adds received bytes and looks again. Replies to functions 5, 6 and 22 must repeat the request exactly,
 * those to 15 and 16 its address and count; byte counts must be those asked for. RTU_MATCH_REPLY or
 * _EXCEPTION fill *ret_reply; bytes behind it wait for rtu_matcher_finish(). A window that overflows forgets
 * its oldest bytes as junk.
 */
enum rtu_match rtu_matcher_feed(struct rtu_matcher *m, const uint8_t *bytes, size_t n_bytes,
                                struct pdu *ret_reply);

/*
 * No more bytes are on their way: the deadline has come, or the line has been silent for longer than any gap
 * inside a frame (USB adapters: 20 ms and more). Looks behind what might have become a longer frame. With
 * RTU_MATCH_MORE nothing has changed, and feeding may go on.
 */
enum rtu_match rtu_matcher_settle(struct rtu_matcher *m, struct pdu *ret_reply);

/* Whether settle() could find something: bytes wait for a decision. */
bool rtu_matcher_is_pending(const struct rtu_matcher *m);

/*
 * At the end, after a match or at the deadline: counts what is left in the window. True if anything of this
 * device came that was no echo: a broken, cut or other frame (meaningful without a match only).
 */
bool rtu_matcher_finish(struct rtu_matcher *m);

/* Whether a copy of the request could be its reply, so that under RTU_ECHO_AUTO it proves nothing. */
bool rtu_echo_is_ambiguous(const struct pdu *request);

/*
 * What a finished transaction says about the line, for a port whose mode is set to auto: it starts with
 * RTU_ECHO_AUTO whenever it is opened, and starts the next matcher with what this returns. An unambiguous
 * request that came back teaches ON, one that was answered (exceptions count) with nothing before it OFF;
 * all others, writes above all, teach nothing. A port that still has AUTO and must send an ambiguous request
 * reads any one register of that device first: whatever is answered, it knows then. Should nothing be
 * learned, a lone copy stays a time-out, and the write's outcome unknown: reported so, never as done.
 */
enum rtu_echo rtu_echo_learn(enum rtu_echo known, const struct rtu_matcher *m, enum rtu_match result);

/* Modbus TCP: the MBAP header of 7 bytes (Messaging on TCP/IP 1.0b §3.1.3). */
#define MBAP_BYTES 7

/*
 * The reply with transaction id `tid` in `bytes`: total bytes to consume (> 0) and *ret_reply filled when
 * *ret_match != RTU_MATCH_MORE; frames of another id are consumed too. 0: more bytes are needed. −EBADMSG:
 * not Modbus TCP, close the connection. A reply may carry unit 0 or 255 instead of the one asked (servers
 * that are no gateway do); one that does not fit the request is consumed like a foreign one.
 */
int mbap_match(uint16_t tid, uint8_t unit, const struct pdu *request, const uint8_t *bytes, size_t n_bytes,
               enum rtu_match *ret_match, struct pdu *ret_reply);

#define MBAP_ADU_MAX_BYTES (MBAP_BYTES + PDU_MAX_BYTES)

/*
 * For servers: the request at the start of `bytes`. Bytes to consume (> 0), and all of *ret_… filled; 0: more
 * are needed, never more than MBAP_ADU_MAX_BYTES in all; −EBADMSG: not Modbus TCP, close the connection.
 */
int mbap_request(const uint8_t *bytes, size_t n_bytes, uint16_t *ret_tid, uint8_t *ret_unit,
                 struct pdu *ret_request);

/* Frames a PDU; returns the number of bytes, n_pdu + 7. */
size_t mbap_frame(uint16_t tid, uint8_t unit, const uint8_t *pdu, size_t n_pdu,
                  uint8_t ret_adu[MBAP_ADU_MAX_BYTES]);

#endif
