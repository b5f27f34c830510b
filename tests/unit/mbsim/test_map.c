/* SPDX-License-Identifier: MIT */
/* The registers, and what devices answer from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "serve.h"
#include "support.h"

static const char devices[] = "unit 1\n"
                              "holding 0..9 = address\n"
                              "holding 20 = 5\n"
                              "input 0..199 = unit-address\n"
                              "coil 0..19 = address\n"
                              "discrete 0..2999 = address\n"
                              "unit 2\n"
                              "holding 0 = 7\n";

static struct serve_result ask(struct map *map, const uint8_t *bytes, size_t n)
{
        struct pdu request = { .n_bytes = n };
        struct serve_result r;

        memcpy(request.bytes, bytes, n);
        serve_request(map, 1, &request, 0, &r);
        return r;
}
#define ASK(map, ...) ask(map, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void assert_reply(struct serve_result r, const uint8_t *bytes, size_t n)
{
        assert_int_equal(r.exception, 0);
        assert_int_equal(r.reply.n_bytes, n);
        assert_memory_equal(r.reply.bytes, bytes, n);
}
#define ASSERT_REPLY(r, ...) \
        assert_reply((r), (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void reads_are_answered(void **state)
{
        struct map *map = map_of(devices, false);

        (void)state;
        ASSERT_REPLY(ASK(map, 3, 0, 1, 0, 2), 3, 4, 0, 1, 0, 2);
        ASSERT_REPLY(ASK(map, 4, 0, 5, 0, 1), 4, 2, 0x03, 0xED); /* 1005 */
        ASSERT_REPLY(ASK(map, 1, 0, 0, 0, 10), 1, 2, 0xAA, 0x02);
        ASSERT_REPLY(ASK(map, 2, 0, 1, 0, 3), 2, 1, 0x05);
        assert_int_equal(ASK(map, 4, 0, 0, 0, 125).n_read, 125);
        assert_int_equal(ASK(map, 2, 0, 0, 0x07, 0xD0).n_read, 2000);
        map_free(map);
}

static void writes_are_kept(void **state)
{
        struct map *map = map_of(devices, false);

        (void)state;
        ASSERT_REPLY(ASK(map, 6, 0, 20, 0x12, 0x34), 6, 0, 20, 0x12, 0x34);
        ASSERT_REPLY(ASK(map, 3, 0, 20, 0, 1), 3, 2, 0x12, 0x34);
        ASSERT_REPLY(ASK(map, 16, 0, 3, 0, 2, 4, 0xAA, 1, 0xBB, 2), 16, 0, 3, 0, 2);
        ASSERT_REPLY(ASK(map, 3, 0, 2, 0, 4), 3, 8, 0, 2, 0xAA, 1, 0xBB, 2, 0, 5);
        ASSERT_REPLY(ASK(map, 5, 0, 0, 0xFF, 0), 5, 0, 0, 0xFF, 0);
        ASSERT_REPLY(ASK(map, 15, 0, 1, 0, 9, 2, 0x55, 0x01), 15, 0, 1, 0, 9);
        ASSERT_REPLY(ASK(map, 1, 0, 0, 0, 10), 1, 2, 0xAB, 0x02);
        ASSERT_REPLY(ASK(map, 22, 0, 20, 0xFF, 0x00, 0x00, 0x56), 22, 0, 20, 0xFF, 0x00, 0x00, 0x56);
        ASSERT_REPLY(ASK(map, 3, 0, 20, 0, 1), 3, 2, 0x12, 0x56);
        ASSERT_REPLY(ASK(map, 23, 0, 20, 0, 1, 0, 20, 0, 1, 2, 9, 9), 23, 2, 9, 9);
        map_free(map);
}

static void bad_requests_get_their_exception(void **state)
{
        struct map *map = map_of(devices, false);

        (void)state;
        assert_int_equal(ASK(map, 3, 0, 0, 0, 0).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 3, 0, 0, 0, 126).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 1, 0, 0, 0x07, 0xD1).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 3, 0, 9, 0, 2).exception, PDU_EXC_ADDRESS);
        assert_int_equal(ASK(map, 3, 0xFF, 0xFF, 0, 2).exception, PDU_EXC_ADDRESS);
        assert_int_equal(ASK(map, 6, 0, 10, 0, 1).exception, PDU_EXC_ADDRESS);
        assert_int_equal(ASK(map, 5, 0, 0, 1, 0).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 16, 0, 0, 0, 2, 3, 0, 0, 0).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 15, 0, 0, 0, 9, 1, 0).exception, PDU_EXC_VALUE);
        assert_int_equal(ASK(map, 99, 0).exception, PDU_EXC_FUNCTION);
        assert_int_equal(ASK(map, 3).exception, PDU_EXC_VALUE);
        ASK(map, 16, 0, 9, 0, 2, 4, 1, 1, 1, 1); /* the second is not there: nothing is written */
        ASSERT_REPLY(ASK(map, 3, 0, 9, 0, 1), 3, 2, 0, 9);
        map_free(map);
}

static void devices_say_who_they_are(void **state)
{
        struct map *map = map_of(devices, false);
        struct serve_result r = ASK(map, 17);

        (void)state;
        assert_int_equal(r.exception, 0);
        assert_memory_equal(r.reply.bytes + 2, "mbsim", 5);
        r = ASK(map, 43, 14, 1, 0);
        assert_int_equal(r.exception, 0);
        assert_int_equal(r.reply.bytes[6], 3);
        assert_int_equal(ASK(map, 43, 13, 1, 0).exception, PDU_EXC_FUNCTION);
        map_free(map);
}

static void sparse_maps_take_everything(void **state)
{
        struct map *map = map_of(devices, true);

        (void)state;
        ASSERT_REPLY(ASK(map, 3, 0, 8, 0, 4), 3, 8, 0, 8, 0, 9, 0, 0, 0, 0);
        ASSERT_REPLY(ASK(map, 6, 1, 0, 0, 77), 6, 1, 0, 0, 77);
        ASSERT_REPLY(ASK(map, 3, 0, 255, 0, 2), 3, 4, 0, 0, 0, 77);
        map_free(map);
}

static void points_share_a_register_by_bits(void **state)
{
        struct map_point low = { .name = (char *)(uintptr_t) "d.low", .unit = 1, .first = 3, .count = 1 };
        struct map_point high;
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct map *map;
        uint16_t v;

        (void)state;
        assert_int_equal(map_new(false, 1, &map), 0);
        low.format =
                (struct value_format){ .type = VALUE_TYPE_UINT16, .scale = 1, .has_bits = true, .bit_hi = 3 };
        low.gen = (struct gen){ .kind = GEN_CONSTANT, .low = 5 };
        high = low;
        high.name = (char *)(uintptr_t) "d.high";
        high.format.bit_lo = 4;
        high.format.bit_hi = 7;
        high.gen.low = 10;
        assert_int_equal(map_add_point(map, &low), 0);
        assert_int_equal(map_add_point(map, &high), 0);
        map_seal(map);
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 3, 1, 0, &v), 0);
        assert_int_equal(v, 0xA5);
        assert_int_equal(map_set(map, "d.low", "3", &error), 0);
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 3, 1, 0, &v), 0);
        assert_int_equal(v, 0xA3);
        assert_true(map_set(map, "d.low", "16", &error) < 0);
        map_free(map);
}

static void setting_names_points_or_addresses(void **state)
{
        struct map *map = map_of(devices, false);
        char reason[300];
        struct buf error = BUF_ON(reason);
        uint16_t v[VALUE_REGS_MAX];
        unsigned n;

        (void)state;
        assert_int_equal(map_set(map, "1:holding:20", "-2", &error), 0);
        assert_int_equal(map_get(map, "1:holding:20", 0, v, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(v[0], 0xFFFE);
        assert_int_equal(map_set(map, "1:input:20", "raw 0x1234", &error), 0);
        assert_int_equal(map_get(map, "1:input:20", 0, v, &n), 0);
        assert_int_equal(v[0], 0x1234);
        assert_true(map_set(map, "9:holding:0", "1", &error) < 0);
        assert_true(map_set(map, "nobody.here", "1", &error) < 0);
        assert_true(map_set(map, "1:holding:20", "sine 0..1", &error) < 0);
        assert_true(map_get(map, "1:holding:500", 0, v, &n) < 0);
        map_free(map);
}

static void addresses_are_found(void **state)
{
        struct pdu p = { .bytes = { 3, 0, 7, 0, 9 }, .n_bytes = 5 };
        uint16_t address, count;

        (void)state;
        assert_true(serve_address(&p, &address, &count));
        assert_int_equal(address, 7);
        assert_int_equal(count, 9);
        p.bytes[0] = 6;
        assert_true(serve_address(&p, &address, &count));
        assert_int_equal(count, 1);
        p.bytes[0] = 17;
        assert_false(serve_address(&p, &address, &count));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_are_answered),
                cmocka_unit_test(writes_are_kept),
                cmocka_unit_test(bad_requests_get_their_exception),
                cmocka_unit_test(devices_say_who_they_are),
                cmocka_unit_test(sparse_maps_take_everything),
                cmocka_unit_test(points_share_a_register_by_bits),
                cmocka_unit_test(setting_names_points_or_addresses),
                cmocka_unit_test(addresses_are_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
