/* SPDX-License-Identifier: MIT */
/*
 * RTU frames: unit id, PDU, CRC (Modbus over serial line 1.02 §2.5.1), and the matcher that finds the one
 * reply that answers a request in a stream of bytes that may hold noise, echoes, late replies and other
 * devices' frames. Pure: the caller owns the memory, the clock and the descriptor.
 *
 *   bytes ──► [ window ] ──► frame at any offset with right unit, function, length and CRC?
 *                             yes: REPLY or EXCEPTION, what stands before it is junk, echo or a foreign frame
 *                             no:  MORE
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

/* t3.5 and t1.5 in µs for a character time: 3.5 (1.5) characters up to 19200 Bd, else 1750 (750) µs:
 * §2.5.1.1. */
uint32_t rtu_t35_us(uint32_t baud, unsigned bits_per_char);

/* Wire time of n characters in µs, rounded up. */
uint64_t rtu_wire_us(uint32_t baud, unsigned bits_per_char, size_t n_chars);

enum rtu_match {
        RTU_MATCH_MORE = 0,
        RTU_MATCH_REPLY = 1,
        RTU_MATCH_EXCEPTION = 2,
};

enum rtu_echo {
        RTU_ECHO_AUTO, /* an exact copy of the request is an echo if another frame follows it */
        RTU_ECHO_ON,   /* every request comes back before the reply */
        RTU_ECHO_OFF,
};

struct rtu_counts {
        uint32_t n_junk_bytes;
        uint32_t n_crc;     /* frames of the right unit, function and length whose CRC is wrong */
        uint32_t n_foreign; /* frames with a right CRC that answer something else */
        uint32_t n_echo;
};

struct rtu_matcher {
        uint8_t window[RTU_WINDOW_BYTES];
        size_t n_window;
        uint8_t unit;
        struct pdu request;
        enum rtu_echo echo;
        bool echo_seen;
        struct rtu_counts counts;
};

/* Starts to look for the answer of `unit` to `request`. */
void rtu_matcher_start(struct rtu_matcher *m, uint8_t unit, const struct pdu *request, enum rtu_echo echo);

/*
 * Adds received bytes and looks again. Replies to functions 5, 6 and 22 must repeat the request exactly,
 * those to 15 and 16 its address and count; under RTU_ECHO_ON the first such frame is the echo.
 * RTU_MATCH_REPLY or _EXCEPTION fill *ret_reply. A window that overflows forgets its oldest bytes as junk.
 */
enum rtu_match rtu_matcher_feed(struct rtu_matcher *m, const uint8_t *bytes, size_t n_bytes,
                                struct pdu *ret_reply);

/* At the deadline: counts what is left in the window, and tells whether anything of this device was in it. */
bool rtu_matcher_finish(struct rtu_matcher *m);

/* Modbus TCP: the MBAP header of 7 bytes (Messaging on TCP/IP 1.0b §3.1.3). */
#define MBAP_BYTES 7

/*
 * The reply with transaction id `tid` in `bytes`: total bytes to consume (> 0) and *ret_reply filled when
 * *ret_match != RTU_MATCH_MORE; frames of another id are consumed too. 0: more bytes are needed. −EBADMSG:
 * not Modbus TCP, close the connection.
 */
int mbap_match(uint16_t tid, uint8_t unit, const struct pdu *request, const uint8_t *bytes, size_t n_bytes,
               enum rtu_match *ret_match, struct pdu *ret_reply);

#endif
