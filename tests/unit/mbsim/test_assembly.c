/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "assembly.h"

static const uint8_t read4[] = { 0x0A, 0x03, 0x00, 0x00, 0x00, 0x04, 0x45, 0x72 };

static void a_request_in_pieces_is_whole_at_its_last_byte(void **state)
{
        struct assembly a = { .framing = FRAMING_RTU };
        struct request r;

        (void)state;
        for (size_t i = 0; i < sizeof(read4); i++) {
                assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
                assert_int_equal(assembly_add(&a, read4 + i, 1), 1);
        }
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(r.unit, 10);
        assert_int_equal(r.pdu.n_bytes, 5);
        assert_memory_equal(r.pdu.bytes, read4 + 1, 5);
        assert_int_equal(r.n_adu, 8);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assert_int_equal(assembly_end(&a, &r), ASSEMBLY_MORE);
}

static void two_requests_in_one_piece_are_two(void **state)
{
        struct assembly a = { .framing = FRAMING_RTU };
        struct request r;

        (void)state;
        assembly_add(&a, read4, 8);
        assembly_add(&a, read4, 8);
        assembly_add(&a, read4, 3);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assert_int_equal(a.n, 3);
}

static void lengths_follow_the_function(void **state)
{
        static const uint8_t pdu[] = { 16, 0, 1, 0, 2, 4, 1, 2, 3, 4 };
        struct assembly a = { .framing = FRAMING_RTU };
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(1, pdu, sizeof(pdu), adu);
        struct request r;

        (void)state;
        assembly_add(&a, adu, n - 1);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assembly_add(&a, adu + n - 1, 1);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(r.pdu.n_bytes, sizeof(pdu));
}

static void a_wrong_crc_is_broken(void **state)
{
        struct assembly a = { .framing = FRAMING_RTU };
        uint8_t bad[sizeof(read4)];
        struct request r;

        (void)state;
        memcpy(bad, read4, sizeof(bad));
        bad[7] ^= 1;
        assembly_add(&a, bad, sizeof(bad));
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_BROKEN);
        assert_int_equal(a.n, 0);
}

static void silence_ends_what_was_cut_off(void **state)
{
        struct assembly a = { .framing = FRAMING_RTU };
        struct request r;

        (void)state;
        assembly_add(&a, read4, 5);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assert_int_equal(assembly_end(&a, &r), ASSEMBLY_BROKEN);
        assert_int_equal(r.n_adu, 5);
        assembly_add(&a, read4, 1);
        assert_int_equal(assembly_end(&a, &r), ASSEMBLY_BROKEN);
        assert_int_equal(a.n, 0);
}

static void silence_ends_an_unknown_function(void **state)
{
        static const uint8_t pdu[] = { 0x65, 1, 2, 3 };
        struct assembly a = { .framing = FRAMING_RTU };
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(7, pdu, sizeof(pdu), adu);
        struct request r;

        (void)state;
        assembly_add(&a, adu, n);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assert_int_equal(assembly_end(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(r.unit, 7);
        assert_memory_equal(r.pdu.bytes, pdu, sizeof(pdu));
}

static void endless_nonsense_fills_no_memory(void **state)
{
        struct assembly a = { .framing = FRAMING_RTU };
        uint8_t noise[300];
        struct request r;
        size_t n;

        (void)state;
        memset(noise, 0x65, sizeof(noise));
        n = assembly_add(&a, noise, sizeof(noise));
        assert_int_equal(n, ASSEMBLY_MAX_BYTES);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_BROKEN);
        assert_int_equal(a.n, 0);
}

static void tcp_requests_carry_their_id(void **state)
{
        static const uint8_t adu[] = { 0x12, 0x34, 0, 0, 0, 6, 10, 3, 0, 0, 0, 4 };
        struct assembly a = { .framing = FRAMING_MBAP };
        struct request r;

        (void)state;
        assembly_add(&a, adu, 11);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_MORE);
        assembly_add(&a, adu + 11, 1);
        assert_int_equal(assembly_take(&a, &r), ASSEMBLY_REQUEST);
        assert_int_equal(r.tid, 0x1234);
        assert_int_equal(r.unit, 10);
        assert_int_equal(r.pdu.n_bytes, 5);
}

static void tcp_nonsense_is_broken(void **state)
{
        static const uint8_t bad[][7] = {
                { 0, 1, 0, 1, 0, 6, 1 }, /* protocol 1 */
                { 0, 1, 0, 0, 0, 1, 1 }, /* no function */
                { 0, 1, 0, 0, 1, 0, 1 }, /* longer than any */
        };
        struct request r;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct assembly a = { .framing = FRAMING_MBAP };

                assembly_add(&a, bad[i], 7);
                assert_int_equal(assembly_take(&a, &r), ASSEMBLY_BROKEN);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_request_in_pieces_is_whole_at_its_last_byte),
                cmocka_unit_test(two_requests_in_one_piece_are_two),
                cmocka_unit_test(lengths_follow_the_function),
                cmocka_unit_test(a_wrong_crc_is_broken),
                cmocka_unit_test(silence_ends_what_was_cut_off),
                cmocka_unit_test(silence_ends_an_unknown_function),
                cmocka_unit_test(endless_nonsense_fills_no_memory),
                cmocka_unit_test(tcp_requests_carry_their_id),
                cmocka_unit_test(tcp_nonsense_is_broken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
