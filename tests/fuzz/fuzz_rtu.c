/* SPDX-License-Identifier: MIT */
/*
 * The matcher: unit, echo mode, request, then the line. At once and byte by byte must agree; a reply must fit
 * the request and stand on the line with a right CRC.
 */
#include <errno.h>

#include "mbgate/codec/rtu.h"

#include "fuzz.h"

static void make_request(struct fuzz_input *in, struct pdu *ret)
{
        static const uint16_t regs[16] = { 1, 0, 3, 0xFFFF };
        unsigned kind = fuzz_u8(in) % 10;
        uint16_t address = fuzz_u16(in);
        uint16_t count = (uint16_t)(1 + fuzz_u8(in) % 125);

        switch (kind) {
        case 0: pdu_mask_write_request(ret, address, 0xF2, 0x25); break;
        case 1:
        case 2:
        case 3:
        case 4: pdu_read_request(ret, (enum pdu_function)kind, address, count); break;
        case 5:
        case 6: pdu_write_request(ret, (enum pdu_function)kind, address, &count, 1); break;
        case 7: pdu_write_request(ret, PDU_WRITE_COILS, address, regs, (uint16_t)(1 + count % 16)); break;
        case 8: pdu_write_request(ret, PDU_WRITE_REGISTERS, address, regs, (uint16_t)(1 + count % 16)); break;
        default:
                ret->n_bytes = (size_t)(1 + count % 8);
                fuzz_take(in, ret->bytes, ret->n_bytes);
                break;
        }
}

static void check_reply(const struct rtu_matcher *m, enum rtu_match match, const struct pdu *reply,
                        const struct fuzz_input *line)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(m->unit, reply->bytes, reply->n_bytes, adu);

        FUZZ_ASSERT(memmem(line->data, line->n, adu, n));
        if (match == RTU_MATCH_EXCEPTION)
                FUZZ_ASSERT(pdu_is_exception(&m->request, reply->bytes, reply->n_bytes));
        else
                FUZZ_ASSERT(pdu_is_reply(&m->request, reply->bytes, reply->n_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static struct rtu_matcher whole, bytewise;
        struct fuzz_input in = { data, n };
        uint8_t unit = fuzz_u8(&in);
        enum rtu_echo echo = (enum rtu_echo)(fuzz_u8(&in) % 3);
        struct pdu request, replies[2] = { { .n_bytes = 0 }, { .n_bytes = 0 } };
        enum rtu_match match, match_bytewise = RTU_MATCH_MORE;
        size_t n_fed = 0;

        make_request(&in, &request);
        if (in.n > RTU_WINDOW_BYTES)
                in.n = RTU_WINDOW_BYTES;
        rtu_matcher_start(&whole, unit, &request, echo);
        rtu_matcher_start(&bytewise, unit, &request, echo);
        match = rtu_matcher_feed(&whole, in.data, in.n, &replies[0]);
        while (n_fed < in.n && match_bytewise == RTU_MATCH_MORE)
                match_bytewise = rtu_matcher_feed(&bytewise, in.data + n_fed++, 1, &replies[1]);
        if (match == RTU_MATCH_MORE) {
                FUZZ_ASSERT(match_bytewise == RTU_MATCH_MORE);
                match = rtu_matcher_settle(&whole, &replies[0]);
                match_bytewise = rtu_matcher_settle(&bytewise, &replies[1]);
        }
        FUZZ_ASSERT(match == match_bytewise && replies[0].n_bytes == replies[1].n_bytes);
        FUZZ_ASSERT(memcmp(replies[0].bytes, replies[1].bytes, replies[0].n_bytes) == 0);
        FUZZ_ASSERT(memcmp(&whole.scan.counts, &bytewise.scan.counts, sizeof(whole.scan.counts)) == 0);
        if (match != RTU_MATCH_MORE)
                check_reply(&whole, match, &replies[0], &in);
        (void)rtu_echo_learn(echo, &whole, match);
        (void)rtu_matcher_finish(&whole);
        FUZZ_ASSERT(!rtu_matcher_is_pending(&whole));
        return 0;
}
