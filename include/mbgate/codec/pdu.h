/* SPDX-License-Identifier: MIT */
/*
 * Modbus protocol data units: requests built, replies taken apart, lengths foretold (Modbus Application
 * Protocol 1.1b3 §6). A PDU starts with the function code; unit id and CRC or MBAP belong to the frames
 * around it. Pure.
 */
#ifndef MBGATE_CODEC_PDU_H
#define MBGATE_CODEC_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#define PDU_MAX_BYTES      253
#define PDU_READ_REGS_MAX  125
#define PDU_READ_BITS_MAX  2000
#define PDU_WRITE_REGS_MAX 123
#define PDU_WRITE_BITS_MAX 1968
#define PDU_EXCEPTION_FLAG 0x80
#define PDU_FUNCTION_MAX   127
#define PDU_SPANS_MAX      2

enum pdu_function {
        PDU_READ_COILS = 1,
        PDU_READ_DISCRETE = 2,
        PDU_READ_HOLDING = 3,
        PDU_READ_INPUT = 4,
        PDU_WRITE_COIL = 5,
        PDU_WRITE_REGISTER = 6,
        PDU_WRITE_COILS = 15,
        PDU_WRITE_REGISTERS = 16,
        PDU_REPORT_SERVER_ID = 17,
        PDU_MASK_WRITE = 22,
        PDU_READ_WRITE_REGISTERS = 23,
};

/* Exception codes (Modbus 1.1b3 §7). */
enum pdu_exception {
        PDU_EXC_FUNCTION = 1,
        PDU_EXC_ADDRESS = 2,
        PDU_EXC_VALUE = 3,
        PDU_EXC_FAILURE = 4,
        PDU_EXC_ACKNOWLEDGE = 5,
        PDU_EXC_BUSY = 6,
        PDU_EXC_PARITY = 8,
        PDU_EXC_GATEWAY_PATH = 10,
        PDU_EXC_GATEWAY_TARGET = 11,
};

/* "illegal data address"; "exception" for a code that the specification does not name. */
const char *pdu_exception_name(unsigned code);

struct pdu {
        uint8_t bytes[PDU_MAX_BYTES];
        size_t n_bytes;
};

/* A request of functions 1..4. `count` must keep the function's maximum (asserted). */
void pdu_read_request(struct pdu *ret, enum pdu_function function, uint16_t address, uint16_t count);

/*
 * A write of `count` registers or coils (a coil's register is 0 or not 0). Function 5, 6, 15 or 16; 5 and 6
 * write one. Function 5 sends 0xFF00 or 0x0000.
 */
void pdu_write_request(struct pdu *ret, enum pdu_function function, uint16_t address, const uint16_t *regs,
                       uint16_t count);

/* Function 22: register = (register AND and_mask) OR (or_mask AND NOT and_mask), §6.16. */
void pdu_mask_write_request(struct pdu *ret, uint16_t address, uint16_t and_mask, uint16_t or_mask);

/* Bytes of the reply PDU to a request, exceptions apart; 0 when the function does not tell (then by content).
 */
size_t pdu_reply_bytes(const struct pdu *request);

/*
 * Takes values out of a reply to functions 1..4 into `regs` (bits become 0 or 1). 0; −EBADMSG when the reply
 * does not fit the request (function, byte count).
 */
MUST_CHECK int pdu_read_reply(const struct pdu *request, const struct pdu *reply, uint16_t *regs,
                              size_t n_regs);

/*
 * The exception with which any server has to refuse a request as it stands: PDU_EXC_FUNCTION (no function
 * code), PDU_EXC_VALUE (its length, a count or a coil's value is wrong), PDU_EXC_ADDRESS (it goes beyond
 * 65535). 0: there is nothing to say against it; functions of unknown form are never refused.
 */
unsigned pdu_check_request(const struct pdu *request);

/* Registers or bits that a request names. */
struct pdu_span {
        enum pdu_function area; /* the one of 1..4 that reads them */
        uint16_t address;
        uint16_t count;
        bool is_write;
};

/* What a request that has passed pdu_check_request() touches: how many spans; 0: it names nothing. */
unsigned pdu_spans(const struct pdu *request, struct pdu_span ret[PDU_SPANS_MAX]);

/* The reply to a request of functions 1..4 that has passed pdu_check_request(); of bits 0 and not 0. */
void pdu_read_answer(const struct pdu *request, const uint16_t *regs, struct pdu *ret_reply);

/*
 * Bytes of a *request* PDU whose first `n` bytes are known: the whole length; 0 when more must be known;
 * −EBADMSG for a function that nobody can foretell. For simulators and listeners.
 */
int pdu_request_bytes(const uint8_t *bytes, size_t n);

/* The same of a *reply* PDU whose request is not known; exceptions to known functions included. */
int pdu_reply_bytes_by_content(const uint8_t *bytes, size_t n);

/*
 * Whether a whole PDU answers the request: function, length and byte count; writes of one (5, 6, 22) must
 * repeat it exactly, writes of many (15, 16) its address and count. For functions whose reply length is not
 * known only the function is compared.
 */
bool pdu_is_reply(const struct pdu *request, const uint8_t *bytes, size_t n);

/* Whether a whole PDU is an exception to the request, of any code. */
bool pdu_is_exception(const struct pdu *request, const uint8_t *bytes, size_t n);

#endif
