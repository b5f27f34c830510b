/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/codec/pdu.h"

#define PDU_READ_WRITE_REGS_MAX 121 /* written by function 23 */

/* Where the lengths of a function's request and reply come from. Counts of bytes stand behind the fixed part.
 */
struct pdu_shape {
        uint8_t n_request; /* fixed part of a request, its byte count included */
        uint8_t n_reply;   /* fixed part of a reply, its byte count included */
        bool request_counts;
        bool reply_counts;
        bool reply_counts_regs; /* the byte count must be even */
};

static const struct pdu_shape pdu_shapes[] = {
        [PDU_READ_COILS] = { 5, 2, false, true, false },
        [PDU_READ_DISCRETE] = { 5, 2, false, true, false },
        [PDU_READ_HOLDING] = { 5, 2, false, true, true },
        [PDU_READ_INPUT] = { 5, 2, false, true, true },
        [PDU_WRITE_COIL] = { 5, 5, false, false, false },
        [PDU_WRITE_REGISTER] = { 5, 5, false, false, false },
        [PDU_WRITE_COILS] = { 6, 5, true, false, false },
        [PDU_WRITE_REGISTERS] = { 6, 5, true, false, false },
        [PDU_REPORT_SERVER_ID] = { 1, 2, false, true, false },
        [PDU_MASK_WRITE] = { 7, 7, false, false, false },
        [PDU_READ_WRITE_REGISTERS] = { 10, 2, true, true, true },
};

/* NULL for a function whose lengths nobody can foretell. */
static const struct pdu_shape *pdu_shape_of(unsigned function)
{
        if (function >= ARRAY_SIZE(pdu_shapes) || pdu_shapes[function].n_request == 0)
                return NULL;
        return &pdu_shapes[function];
}

const char *pdu_exception_name(unsigned code)
{
        switch (code) {
        case PDU_EXC_FUNCTION: return "illegal function";
        case PDU_EXC_ADDRESS: return "illegal data address";
        case PDU_EXC_VALUE: return "illegal data value";
        case PDU_EXC_FAILURE: return "server device failure";
        case PDU_EXC_ACKNOWLEDGE: return "acknowledge";
        case PDU_EXC_BUSY: return "server device busy";
        case PDU_EXC_PARITY: return "memory parity error";
        case PDU_EXC_GATEWAY_PATH: return "gateway path unavailable";
        case PDU_EXC_GATEWAY_TARGET: return "gateway target failed to respond";
        default: return "exception";
        }
}

void pdu_read_request(struct pdu *ret, enum pdu_function function, uint16_t address, uint16_t count)
{
        UNUSED bool is_bits = function == PDU_READ_COILS || function == PDU_READ_DISCRETE;

        assert(is_bits || function == PDU_READ_HOLDING || function == PDU_READ_INPUT);
        assert(count >= 1 && count <= (is_bits ? PDU_READ_BITS_MAX : PDU_READ_REGS_MAX));
        ret->bytes[0] = (uint8_t)function;
        put_be16(ret->bytes + 1, address);
        put_be16(ret->bytes + 3, count);
        ret->n_bytes = 5;
}

static void pdu_put_bits(struct pdu *ret, const uint16_t *bits, unsigned count)
{
        unsigned n_bytes = (count + 7) / 8;

        ret->bytes[5] = (uint8_t)n_bytes;
        memset(ret->bytes + 6, 0, n_bytes);
        for (unsigned i = 0; i < count; i++) {
                if (bits[i])
                        ret->bytes[6 + i / 8] |= (uint8_t)(1u << i % 8);
        }
        ret->n_bytes = 6 + n_bytes;
}

static void pdu_put_regs(struct pdu *ret, const uint16_t *regs, unsigned count)
{
        ret->bytes[5] = (uint8_t)(2 * count);
        for (unsigned i = 0; i < count; i++)
                put_be16(ret->bytes + 6 + (size_t)2 * i, regs[i]);
        ret->n_bytes = 6 + (size_t)2 * count;
}

void pdu_write_request(struct pdu *ret, enum pdu_function function, uint16_t address, const uint16_t *regs,
                       uint16_t count)
{
        ret->bytes[0] = (uint8_t)function;
        put_be16(ret->bytes + 1, address);
        if (function == PDU_WRITE_COIL || function == PDU_WRITE_REGISTER) {
                assert(count == 1);
                put_be16(ret->bytes + 3,
                         function == PDU_WRITE_REGISTER ? regs[0] : (uint16_t)(regs[0] ? 0xFF00 : 0));
                ret->n_bytes = 5;
                return;
        }
        put_be16(ret->bytes + 3, count);
        if (function == PDU_WRITE_COILS) {
                assert(count >= 1 && count <= PDU_WRITE_BITS_MAX);
                pdu_put_bits(ret, regs, count);
        } else {
                assert(function == PDU_WRITE_REGISTERS && count >= 1 && count <= PDU_WRITE_REGS_MAX);
                pdu_put_regs(ret, regs, count);
        }
}

void pdu_mask_write_request(struct pdu *ret, uint16_t address, uint16_t and_mask, uint16_t or_mask)
{
        ret->bytes[0] = PDU_MASK_WRITE;
        put_be16(ret->bytes + 1, address);
        put_be16(ret->bytes + 3, and_mask);
        put_be16(ret->bytes + 5, or_mask);
        ret->n_bytes = 7;
}

size_t pdu_reply_bytes(const struct pdu *request)
{
        const struct pdu_shape *shape = pdu_shape_of(request->bytes[0]);
        size_t n_data;

        if (!shape || request->n_bytes < shape->n_request)
                return 0;
        if (!shape->reply_counts)
                return shape->n_reply;
        if (request->bytes[0] == PDU_REPORT_SERVER_ID)
                return 0;
        n_data = get_be16(request->bytes + 3);
        n_data = shape->reply_counts_regs ? 2 * n_data : (n_data + 7) / 8;
        return shape->n_reply + n_data <= PDU_MAX_BYTES ? shape->n_reply + n_data : 0;
}

int pdu_read_reply(const struct pdu *request, const struct pdu *reply, uint16_t *regs, size_t n_regs)
{
        size_t n_bytes = pdu_reply_bytes(request);
        const uint8_t *data = reply->bytes + 2;

        if (n_bytes < 3 || request->bytes[0] > PDU_READ_INPUT || n_regs > get_be16(request->bytes + 3))
                return -EBADMSG;
        if (reply->n_bytes != n_bytes || reply->bytes[0] != request->bytes[0] ||
            reply->bytes[1] != n_bytes - 2)
                return -EBADMSG;
        for (size_t i = 0; i < n_regs; i++) {
                if (request->bytes[0] <= PDU_READ_DISCRETE)
                        regs[i] = data[i / 8] >> i % 8 & 1;
                else
                        regs[i] = get_be16(data + 2 * i);
        }
        return 0;
}

bool pdu_is_reply(const struct pdu *request, const uint8_t *bytes, size_t n)
{
        size_t n_expected = pdu_reply_bytes(request);

        if (n == 0 || bytes[0] != request->bytes[0])
                return false;
        if (n_expected == 0)
                return true;
        if (n != n_expected)
                return false;
        switch (request->bytes[0]) {
        case PDU_WRITE_COIL:
        case PDU_WRITE_REGISTER:
        case PDU_WRITE_COILS:
        case PDU_WRITE_REGISTERS:
        case PDU_MASK_WRITE: return memcmp(bytes, request->bytes, n) == 0;
        default: return bytes[1] == n - 2;
        }
}

bool pdu_is_exception(const struct pdu *request, const uint8_t *bytes, size_t n)
{
        return n == 2 && bytes[0] == (request->bytes[0] | PDU_EXCEPTION_FLAG);
}

int pdu_request_bytes(const uint8_t *bytes, size_t n)
{
        const struct pdu_shape *shape;
        unsigned n_data;

        if (n == 0)
                return 0;
        shape = pdu_shape_of(bytes[0]);
        if (!shape)
                return -EBADMSG;
        if (!shape->request_counts)
                return shape->n_request;
        if (n < shape->n_request)
                return 0;
        n_data = bytes[shape->n_request - 1];
        return n_data == 0 || shape->n_request + n_data > PDU_MAX_BYTES ? -EBADMSG
                                                                        : (int)(shape->n_request + n_data);
}

int pdu_reply_bytes_by_content(const uint8_t *bytes, size_t n)
{
        const struct pdu_shape *shape;
        unsigned n_data;

        if (n == 0)
                return 0;
        shape = pdu_shape_of(bytes[0] & ~(unsigned)PDU_EXCEPTION_FLAG);
        if (!shape)
                return -EBADMSG;
        if (bytes[0] & PDU_EXCEPTION_FLAG)
                return 2;
        if (!shape->reply_counts)
                return shape->n_reply;
        if (n < shape->n_reply)
                return 0;
        n_data = bytes[shape->n_reply - 1];
        if (n_data == 0 || shape->n_reply + n_data > PDU_MAX_BYTES ||
            (shape->reply_counts_regs && n_data % 2))
                return -EBADMSG;
        return (int)(shape->n_reply + n_data);
}

/* ---- requests of others ---- */

unsigned pdu_spans(const struct pdu *request, struct pdu_span ret[PDU_SPANS_MAX])
{
        const uint8_t *b = request->bytes;
        uint16_t address = get_be16(b + 1), count = get_be16(b + 3);

        switch (b[0]) {
        case PDU_READ_COILS:
        case PDU_READ_DISCRETE:
        case PDU_READ_HOLDING:
        case PDU_READ_INPUT:
                ret[0] = (struct pdu_span){ (enum pdu_function)b[0], address, count, false };
                return 1;
        case PDU_WRITE_COIL: ret[0] = (struct pdu_span){ PDU_READ_COILS, address, 1, true }; return 1;
        case PDU_WRITE_COILS: ret[0] = (struct pdu_span){ PDU_READ_COILS, address, count, true }; return 1;
        case PDU_WRITE_REGISTER:
        case PDU_MASK_WRITE: ret[0] = (struct pdu_span){ PDU_READ_HOLDING, address, 1, true }; return 1;
        case PDU_WRITE_REGISTERS:
                ret[0] = (struct pdu_span){ PDU_READ_HOLDING, address, count, true };
                return 1;
        case PDU_READ_WRITE_REGISTERS:
                ret[0] = (struct pdu_span){ PDU_READ_HOLDING, address, count, false };
                ret[1] = (struct pdu_span){ PDU_READ_HOLDING, get_be16(b + 5), get_be16(b + 7), true };
                return 2;
        default: return 0;
        }
}

/* Whether counts are within the function's maximum, and the count of bytes is theirs. */
static bool pdu_counts_are_right(const struct pdu *request)
{
        const uint8_t *b = request->bytes;
        unsigned count = get_be16(b + 3);

        switch (b[0]) {
        case PDU_READ_COILS:
        case PDU_READ_DISCRETE: return count >= 1 && count <= PDU_READ_BITS_MAX;
        case PDU_READ_HOLDING:
        case PDU_READ_INPUT: return count >= 1 && count <= PDU_READ_REGS_MAX;
        case PDU_WRITE_COIL: return count == 0 || count == 0xFF00;
        case PDU_WRITE_COILS: return count >= 1 && count <= PDU_WRITE_BITS_MAX && b[5] == (count + 7) / 8;
        case PDU_WRITE_REGISTERS: return count >= 1 && count <= PDU_WRITE_REGS_MAX && b[5] == 2 * count;
        case PDU_READ_WRITE_REGISTERS:
                return count >= 1 && count <= PDU_READ_REGS_MAX && get_be16(b + 7) >= 1 &&
                       get_be16(b + 7) <= PDU_READ_WRITE_REGS_MAX && b[9] == 2 * get_be16(b + 7);
        default: return true;
        }
}

unsigned pdu_check_request(const struct pdu *request)
{
        struct pdu_span spans[PDU_SPANS_MAX];
        unsigned n;

        if (request->n_bytes == 0 || request->bytes[0] == 0 || request->bytes[0] > PDU_FUNCTION_MAX)
                return PDU_EXC_FUNCTION;
        if (!pdu_shape_of(request->bytes[0]))
                return 0;
        if (pdu_request_bytes(request->bytes, request->n_bytes) != (int)request->n_bytes ||
            !pdu_counts_are_right(request))
                return PDU_EXC_VALUE;
        n = pdu_spans(request, spans);
        for (unsigned i = 0; i < n; i++) {
                if (spans[i].address + spans[i].count > UINT16_MAX + 1)
                        return PDU_EXC_ADDRESS;
        }
        return 0;
}

void pdu_read_answer(const struct pdu *request, const uint16_t *regs, struct pdu *ret_reply)
{
        unsigned count = get_be16(request->bytes + 3);
        bool is_bits = request->bytes[0] <= PDU_READ_DISCRETE;
        unsigned n_bytes = is_bits ? (count + 7) / 8 : 2 * count;

        assert(count >= 1 && count <= (is_bits ? PDU_READ_BITS_MAX : PDU_READ_REGS_MAX));
        memset(ret_reply->bytes, 0, sizeof(ret_reply->bytes));
        ret_reply->bytes[0] = request->bytes[0];
        ret_reply->bytes[1] = (uint8_t)n_bytes;
        ret_reply->n_bytes = 2 + (size_t)n_bytes;
        for (unsigned i = 0; i < count; i++) {
                if (!is_bits)
                        put_be16(ret_reply->bytes + 2 + (size_t)2 * i, regs[i]);
                else if (regs[i])
                        ret_reply->bytes[2 + i / 8] |= (uint8_t)(1u << i % 8);
        }
}
