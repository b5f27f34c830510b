/* SPDX-License-Identifier: MIT */
/* PDUs and Modbus TCP. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/random.h"
#include "mbgate/codec/rtu.h"

#include "guarded.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void assert_pdu(const struct pdu *p, const uint8_t *bytes, size_t n)
{
        assert_int_equal(p->n_bytes, n);
        assert_memory_equal(p->bytes, bytes, n);
}

/* The worked examples of Modbus 1.1b3 §6, addresses as on the wire. */
static void test_requests(void **state)
{
        static const uint16_t bits[10] = { 1, 0, 1, 1, 0, 0, 1, 1, 1, 0 };
        struct pdu p;

        (void)state;
        pdu_read_request(&p, PDU_READ_COILS, 0x13, 0x13);
        assert_pdu(&p, BYTES(1, 0, 0x13, 0, 0x13));
        pdu_read_request(&p, PDU_READ_DISCRETE, 0xC4, 0x16);
        assert_pdu(&p, BYTES(2, 0, 0xC4, 0, 0x16));
        pdu_read_request(&p, PDU_READ_HOLDING, 0x6B, 3);
        assert_pdu(&p, BYTES(3, 0, 0x6B, 0, 3));
        pdu_read_request(&p, PDU_READ_INPUT, 0xFFFF, 125);
        assert_pdu(&p, BYTES(4, 0xFF, 0xFF, 0, 125));
        pdu_write_request(&p, PDU_WRITE_COIL, 0xAC, (const uint16_t[]){ 7 }, 1);
        assert_pdu(&p, BYTES(5, 0, 0xAC, 0xFF, 0));
        pdu_write_request(&p, PDU_WRITE_COIL, 0xAC, (const uint16_t[]){ 0 }, 1);
        assert_pdu(&p, BYTES(5, 0, 0xAC, 0, 0));
        pdu_write_request(&p, PDU_WRITE_REGISTER, 1, (const uint16_t[]){ 0xFF03 }, 1);
        assert_pdu(&p, BYTES(6, 0, 1, 0xFF, 3));
        pdu_write_request(&p, PDU_WRITE_COILS, 0x13, bits, 10);
        assert_pdu(&p, BYTES(15, 0, 0x13, 0, 10, 2, 0xCD, 1));
        pdu_write_request(&p, PDU_WRITE_REGISTERS, 1, (const uint16_t[]){ 0x0A, 0x102 }, 2);
        assert_pdu(&p, BYTES(16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2));
        pdu_mask_write_request(&p, 4, 0xF2, 0x25);
        assert_pdu(&p, BYTES(22, 0, 4, 0, 0xF2, 0, 0x25));
}

static void test_largest(void **state)
{
        uint16_t many[PDU_WRITE_BITS_MAX] = { 0 };
        struct pdu p;

        (void)state;
        pdu_write_request(&p, PDU_WRITE_REGISTERS, 0, many, PDU_WRITE_REGS_MAX);
        assert_int_equal(p.n_bytes, 252);
        pdu_write_request(&p, PDU_WRITE_COILS, 0, many, PDU_WRITE_BITS_MAX);
        assert_int_equal(p.n_bytes, 252);
        pdu_read_request(&p, PDU_READ_COILS, 0, PDU_READ_BITS_MAX);
        assert_int_equal(pdu_reply_bytes(&p), 252);
        pdu_read_request(&p, PDU_READ_HOLDING, 0, PDU_READ_REGS_MAX);
        assert_int_equal(pdu_reply_bytes(&p), 252);
}

static void test_reply_lengths(void **state)
{
        struct pdu p;

        (void)state;
        for (uint16_t n = 1; n <= PDU_READ_BITS_MAX; n++) {
                pdu_read_request(&p, PDU_READ_DISCRETE, 0, n);
                assert_int_equal(pdu_reply_bytes(&p), 2 + (n + 7) / 8);
        }
        pdu_write_request(&p, PDU_WRITE_REGISTERS, 0, (const uint16_t[]){ 1, 2 }, 2);
        assert_int_equal(pdu_reply_bytes(&p), 5);
        pdu_mask_write_request(&p, 0, 0, 0);
        assert_int_equal(pdu_reply_bytes(&p), 7);
        p = (struct pdu){ .bytes = { 23, 0, 0, 0, 6, 0, 0, 0, 1, 2, 0, 1 }, .n_bytes = 12 };
        assert_int_equal(pdu_reply_bytes(&p), 14);
        p = (struct pdu){ .bytes = { 0x42 }, .n_bytes = 1 };
        assert_int_equal(pdu_reply_bytes(&p), 0);
        p = (struct pdu){ .bytes = { 3, 0, 0, 0xFF, 0xFF },
                          .n_bytes = 5 }; /* a raw request beyond the limits */
        assert_int_equal(pdu_reply_bytes(&p), 0);
        p = (struct pdu){ .bytes = { 3, 0 }, .n_bytes = 2 };
        assert_int_equal(pdu_reply_bytes(&p), 0);
}

static void test_read_replies(void **state)
{
        struct pdu request, reply = { .bytes = { 1, 3, 0xCD, 0x6B, 0x05 }, .n_bytes = 5 };
        uint16_t regs[19];
        static const uint16_t want[19] = { 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1 };

        (void)state;
        pdu_read_request(&request, PDU_READ_COILS, 0x13, 19);
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 19), 0);
        assert_memory_equal(regs, want, sizeof(want));
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 20), -EBADMSG);
        reply.n_bytes = 4;
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 19), -EBADMSG);
        reply.n_bytes = 5;
        reply.bytes[1] = 2;
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 19), -EBADMSG);

        pdu_read_request(&request, PDU_READ_HOLDING, 0x6B, 3);
        reply = (struct pdu){ .bytes = { 3, 6, 2, 0x2B, 0, 0, 0, 0x64 }, .n_bytes = 8 };
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 3), 0);
        assert_int_equal(regs[0], 0x022B);
        assert_int_equal(regs[2], 100);
        reply.bytes[0] = 4;
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 3), -EBADMSG);
        reply = (struct pdu){ .bytes = { 0x83, 2 }, .n_bytes = 2 };
        assert_int_equal(pdu_read_reply(&request, &reply, regs, 3), -EBADMSG);
        pdu_write_request(&request, PDU_WRITE_REGISTER, 0, regs, 1);
        assert_int_equal(pdu_read_reply(&request, &request, regs, 1), -EBADMSG);
}

/* The length is told by no more bytes than needed, and stays the same with more of them. */
static void assert_foretold(int (*foretell)(const uint8_t *, size_t), const uint8_t *bytes, size_t n,
                            size_t n_needed)
{
        struct guarded g = guarded_new(256);

        for (size_t i = 0; i <= n; i++)
                assert_int_equal(foretell(guarded_copy(&g, bytes, i), i), i < n_needed ? 0 : (int)n);
        guarded_done(&g);
}

static void test_foretelling(void **state)
{
        (void)state;
        assert_foretold(pdu_request_bytes, BYTES(3, 0, 0, 0, 1), 1);
        assert_foretold(pdu_request_bytes, BYTES(5, 0, 0, 0, 0), 1);
        assert_foretold(pdu_request_bytes, BYTES(6, 0, 0, 0, 0), 1);
        assert_foretold(pdu_request_bytes, BYTES(15, 0, 0, 0, 9, 2, 1, 1), 6);
        assert_foretold(pdu_request_bytes, BYTES(16, 0, 0, 0, 1, 2, 1, 1), 6);
        assert_foretold(pdu_request_bytes, BYTES(22, 0, 0, 0, 1, 2, 1), 1);
        assert_foretold(pdu_request_bytes, BYTES(23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 1, 1), 10);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(1, 1, 0), 2);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(3, 4, 0, 0, 0, 0), 2);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(6, 0, 0, 0, 0), 1);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(16, 0, 0, 0, 0), 1);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(22, 0, 0, 0, 0, 0, 0), 1);
        assert_foretold(pdu_reply_bytes_by_content, BYTES(0x83, 2), 1);
        assert_int_equal(pdu_request_bytes(BYTES(0x42)), -EBADMSG);
        assert_int_equal(pdu_request_bytes(BYTES(0)), -EBADMSG);
        assert_int_equal(pdu_request_bytes(BYTES(16, 0, 0, 0, 1, 255)), -EBADMSG);
        assert_int_equal(pdu_request_bytes(BYTES(16, 0, 0, 0, 1, 0)), -EBADMSG);
        assert_int_equal(pdu_reply_bytes_by_content(BYTES(3, 3)), -EBADMSG); /* odd */
        assert_int_equal(pdu_reply_bytes_by_content(BYTES(3, 254)), -EBADMSG);
        assert_int_equal(pdu_reply_bytes_by_content(BYTES(0xC2, 1)), -EBADMSG);
}

static void test_exception_names(void **state)
{
        (void)state;
        assert_string_equal(pdu_exception_name(2), "illegal data address");
        for (unsigned code = 0; code < 256; code++)
                assert_non_null(pdu_exception_name(code));
        assert_string_equal(pdu_exception_name(9), "exception");
        assert_string_equal(pdu_exception_name(200), "exception");
}

static int tcp(const struct pdu *request, const uint8_t *bytes, size_t n, enum rtu_match *ret_match)
{
        struct guarded g = guarded_new(512);
        struct pdu reply = { .n_bytes = 99 };
        int r = mbap_match(0x1234, 17, request, guarded_copy(&g, bytes, n), n, ret_match, &reply);

        if (r > 0 && *ret_match != RTU_MATCH_MORE)
                assert_int_equal(reply.n_bytes, r - MBAP_BYTES);
        else
                assert_int_equal(reply.n_bytes, 99);
        guarded_done(&g);
        return r;
}

static void test_tcp(void **state)
{
        static const uint8_t good[] = { 0x12, 0x34, 0, 0, 0, 7, 17, 3, 4, 1, 2, 3, 4 };
        enum rtu_match match = RTU_MATCH_MORE;
        struct pdu request;
        uint8_t bytes[64];

        (void)state;
        pdu_read_request(&request, PDU_READ_HOLDING, 0, 2);
        for (size_t n = 0; n < sizeof(good); n++)
                assert_int_equal(tcp(&request, good, n, &match), 0);
        assert_int_equal(tcp(&request, good, sizeof(good), &match), 13);
        assert_int_equal(match, RTU_MATCH_REPLY);

        memcpy(bytes, good, sizeof(good));
        memcpy(bytes + 13, good, sizeof(good)); /* more behind it stays where it is */
        assert_int_equal(tcp(&request, bytes, 26, &match), 13);
        bytes[1] = 0x33; /* another transaction */
        assert_int_equal(tcp(&request, bytes, 26, &match), 13);
        assert_int_equal(match, RTU_MATCH_MORE);

        static const struct {
                unsigned at;
                uint8_t byte;
                int r;
                enum rtu_match match;
        } changes[] = {
                { 2, 1, -EBADMSG, RTU_MATCH_MORE },   { 3, 1, -EBADMSG, RTU_MATCH_MORE },
                { 4, 1, -EBADMSG, RTU_MATCH_MORE },   { 5, 1, -EBADMSG, RTU_MATCH_MORE },
                { 5, 255, -EBADMSG, RTU_MATCH_MORE }, { 5, 8, 0, RTU_MATCH_MORE },
                { 5, 6, 12, RTU_MATCH_MORE },         { 6, 18, 13, RTU_MATCH_MORE },
                { 6, 0, 13, RTU_MATCH_REPLY },        { 6, 255, 13, RTU_MATCH_REPLY },
                { 7, 4, 13, RTU_MATCH_MORE },         { 8, 2, 13, RTU_MATCH_MORE },
        };
        for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
                memcpy(bytes, good, sizeof(good));
                bytes[changes[i].at] = changes[i].byte;
                match = RTU_MATCH_MORE;
                assert_int_equal(tcp(&request, bytes, sizeof(good), &match), changes[i].r);
                assert_int_equal(match, changes[i].match);
        }

        assert_int_equal(tcp(&request, BYTES(0x12, 0x34, 0, 0, 0, 3, 17, 0x83, 0), &match), 9);
        assert_int_equal(match, RTU_MATCH_EXCEPTION);
        pdu_write_request(&request, PDU_WRITE_REGISTER, 1, (const uint16_t[]){ 2 }, 1);
        assert_int_equal(tcp(&request, BYTES(0x12, 0x34, 0, 0, 0, 6, 17, 6, 0, 1, 0, 2), &match), 12);
        assert_int_equal(match, RTU_MATCH_REPLY);
        assert_int_equal(tcp(&request, BYTES(0x12, 0x34, 0, 0, 0, 6, 17, 6, 0, 1, 0, 3), &match), 12);
        assert_int_equal(match, RTU_MATCH_MORE);
}

static unsigned check(const uint8_t *bytes, size_t n)
{
        struct pdu pdu = { .n_bytes = n };

        memcpy(pdu.bytes, bytes, n);
        return pdu_check_request(&pdu);
}

/* What a server has to refuse, by function; each good one, and its neighbours across the border. */
static void test_check_request(void **state)
{
        static const struct {
                uint8_t bytes[16];
                size_t n;
                unsigned exception;
        } cases[] = {
                { { 0 }, 0, PDU_EXC_FUNCTION },
                { { 0 }, 1, PDU_EXC_FUNCTION },
                { { 0x83, 2 }, 2, PDU_EXC_FUNCTION },
                { { 3, 0, 0, 0, 125 }, 5, 0 },
                { { 3, 0, 0, 0, 126 }, 5, PDU_EXC_VALUE },
                { { 3, 0, 0, 0, 0 }, 5, PDU_EXC_VALUE },
                { { 3, 0, 0, 0 }, 4, PDU_EXC_VALUE },
                { { 3, 0, 0, 0, 1, 0 }, 6, PDU_EXC_VALUE },
                { { 3, 0xFF, 0xFF, 0, 1 }, 5, 0 },
                { { 4, 0xFF, 0xFF, 0, 2 }, 5, PDU_EXC_ADDRESS },
                { { 1, 0, 0, 0x07, 0xD0 }, 5, 0 },
                { { 2, 0, 0, 0x07, 0xD1 }, 5, PDU_EXC_VALUE },
                { { 5, 0, 0, 0xFF, 0 }, 5, 0 },
                { { 5, 0, 0, 0, 0 }, 5, 0 },
                { { 5, 0, 0, 1, 0 }, 5, PDU_EXC_VALUE },
                { { 6, 0, 0, 1, 0 }, 5, 0 },
                { { 15, 0, 0, 0, 9, 2, 1, 1 }, 8, 0 },
                { { 15, 0, 0, 0, 9, 1, 1 }, 7, PDU_EXC_VALUE },
                { { 16, 0, 0, 0, 1, 2, 0, 1 }, 8, 0 },
                { { 16, 0, 0, 0, 2, 2, 0, 1 }, 8, PDU_EXC_VALUE },
                { { 16, 0, 0, 0, 1, 2, 0 }, 7, PDU_EXC_VALUE },
                { { 16, 0, 0, 0, 0, 0 }, 6, PDU_EXC_VALUE },
                { { 16, 0xFF, 0xFF, 0, 2, 4, 0, 1, 0, 2 }, 10, PDU_EXC_ADDRESS },
                { { 22, 0, 0, 0, 1, 0, 2 }, 7, 0 },
                { { 22, 0, 0, 0, 1, 0 }, 6, PDU_EXC_VALUE },
                { { 23, 0, 0, 0, 1, 0, 9, 0, 1, 2, 0, 5 }, 12, 0 },
                { { 23, 0, 0, 0, 1, 0, 9, 0, 2, 2, 0, 5 }, 12, PDU_EXC_VALUE },
                { { 23, 0, 0, 0, 1, 0xFF, 0xFF, 0, 2, 4, 0, 5, 0, 6 }, 14, PDU_EXC_ADDRESS },
                { { 17 }, 1, 0 },
                { { 17, 0 }, 2, PDU_EXC_VALUE },
                { { 43, 14, 1, 0 }, 4, 0 }, /* of unknown form: anything goes */
                { { 100 }, 1, 0 },
        };
        struct pdu pdu;
        struct pdu_span spans[PDU_SPANS_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                if (check(cases[i].bytes, cases[i].n) != cases[i].exception)
                        fail_msg("case %zu", i);
        }
        pdu_read_request(&pdu, PDU_READ_INPUT, 7, 3);
        assert_int_equal(pdu_spans(&pdu, spans), 1);
        assert_true(spans[0].area == PDU_READ_INPUT && spans[0].address == 7 && spans[0].count == 3 &&
                    !spans[0].is_write);
        memcpy(pdu.bytes, cases[25].bytes, 12);
        assert_int_equal(pdu_spans(&pdu, spans), 2);
        assert_true(spans[1].address == 9 && spans[1].count == 1 && spans[1].is_write && !spans[0].is_write);
        pdu.bytes[0] = 43;
        assert_int_equal(pdu_spans(&pdu, spans), 0);
}

static void test_tcp_request(void **state)
{
        static const uint8_t good[] = { 0x12, 0x34, 0, 0, 0, 6, 17, 3, 0, 7, 0, 2 };
        uint8_t bytes[MBAP_ADU_MAX_BYTES];
        struct pdu request = { 0 };
        uint16_t tid = 0;
        uint8_t unit = 0;

        (void)state;
        for (size_t n = 0; n < sizeof(good); n++)
                assert_int_equal(mbap_request(good, n, &tid, &unit, &request), 0);
        assert_int_equal(mbap_request(good, sizeof(good), &tid, &unit, &request), 12);
        assert_int_equal(tid, 0x1234);
        assert_int_equal(unit, 17);
        assert_int_equal(request.n_bytes, 5);
        assert_memory_equal(request.bytes, good + 7, 5);
        assert_int_equal(mbap_frame(tid, unit, request.bytes, request.n_bytes, bytes), 12);
        assert_memory_equal(bytes, good, 12);
        for (size_t at = 2; at < 5; at++) {
                memcpy(bytes, good, sizeof(good));
                bytes[at] = 1;
                assert_int_equal(mbap_request(bytes, sizeof(good), &tid, &unit, &request), -EBADMSG);
        }
        memset(bytes, 0, sizeof(bytes));
        bytes[5] = 254;
        assert_int_equal(mbap_request(bytes, sizeof(bytes) - 1, &tid, &unit, &request), 0);
        assert_int_equal(mbap_request(bytes, sizeof(bytes), &tid, &unit, &request), MBAP_ADU_MAX_BYTES);
        assert_int_equal(request.n_bytes, PDU_MAX_BYTES);
        bytes[5] = 255;
        assert_int_equal(mbap_request(bytes, sizeof(bytes), &tid, &unit, &request), -EBADMSG);
        bytes[5] = 1; /* a unit, and nothing for it */
        assert_int_equal(mbap_request(bytes, sizeof(bytes), &tid, &unit, &request), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_requests),      cmocka_unit_test(test_largest),
                cmocka_unit_test(test_reply_lengths), cmocka_unit_test(test_read_replies),
                cmocka_unit_test(test_foretelling),   cmocka_unit_test(test_exception_names),
                cmocka_unit_test(test_tcp),           cmocka_unit_test(test_check_request),
                cmocka_unit_test(test_tcp_request),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
