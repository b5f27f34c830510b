/* SPDX-License-Identifier: MIT */
/* What masters may do, and what was read lately: the pure parts of a shared bus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "cache.h"
#include "judge.h"

static const uint8_t local_v4[16] = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 };
static const uint8_t local_v6[16] = { [15] = 1 };
static const uint8_t lan[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 129 };
static const uint8_t other[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 3, 1 };

static struct conf_bus bus_new(struct conf_allow *allow, size_t n)
{
        struct conf_bus b = { .kind = CONF_PORT_SERIAL };

        for (unsigned u = 0; u < 256; u++)
                b.share.units[u] = (uint8_t)u;
        b.share.on = true;
        b.share.allow = allow;
        b.share.n_allow = n;
        return b;
}

static unsigned judge(const struct conf_bus *b, const uint8_t *address, uint8_t unit, const char *hex)
{
        struct pdu pdu = { 0 };

        for (; *hex; hex += 2) {
                unsigned byte = 0;

                assert_int_equal(sscanf(hex, "%2x", &byte), 1);
                pdu.bytes[pdu.n_bytes++] = (uint8_t)byte;
        }
        return judge_request(b, address, unit, &pdu);
}

static void test_without_list(void **state UNUSED)
{
        struct conf_bus b = bus_new(NULL, 0);

        assert_true(judge_address(&b.share, local_v4));
        assert_true(judge_address(&b.share, local_v6));
        assert_false(judge_address(&b.share, lan));
        assert_int_equal(judge(&b, local_v4, 1, "0300000001"), 0);
        assert_int_equal(judge(&b, local_v4, 247, "2b0e0100"), 0);
        assert_int_equal(judge(&b, local_v4, 248, "0300000001"), PDU_EXC_GATEWAY_PATH);
        assert_int_equal(judge(&b, local_v4, 0, "0600000001"), PDU_EXC_GATEWAY_PATH);
        assert_int_equal(judge(&b, local_v4, 1, "0300000000"), PDU_EXC_VALUE);
        assert_int_equal(judge(&b, local_v4, 1, "03ffff0002"), PDU_EXC_ADDRESS);
        assert_int_equal(judge(&b, local_v4, 1, "00"), PDU_EXC_FUNCTION);
        assert_int_equal(judge(&b, local_v4, 1, "8301"), PDU_EXC_FUNCTION);
        b.kind = CONF_PORT_TCP;
        assert_int_equal(judge(&b, local_v4, 0, "0300000001"), 0);
        assert_int_equal(judge(&b, local_v4, 255, "0300000001"), 0);
}

static void test_list(void **state UNUSED)
{
        static struct conf_range units[] = { { 1, 2 }, { 5, 18 } }, reads[] = { { 1, 4 } };
        static struct conf_range regs[] = { { 0, 99 }, { 1000, 1999 } }, all[] = { { 0, 65535 } },
                                 three[] = { { 3, 3 } };
        struct conf_allow allow[] = {
                { .network = { { [10] = 0xff, [11] = 0xff, 192, 0, 2, 128 }, 96 + 25 },
                  .unit_ranges = { units, 2 },
                  .function_ranges = { reads, 1 },
                  .register_ranges = { regs, 2 } },
                { .network = { { 0 }, 0 },
                  .unit_ranges = { three, 1 },
                  .function_ranges = { all, 1 },
                  .register_ranges = { all, 1 } },
        };
        struct conf_bus b = bus_new(allow, 1);

        assert_true(judge_address(&b.share, lan));
        assert_false(judge_address(&b.share, other));
        assert_false(judge_address(&b.share, local_v4));
        assert_int_equal(judge(&b, lan, 1, "0300000064"), 0);
        assert_int_equal(judge(&b, lan, 18, "0303e80001"), 0);
        assert_int_equal(judge(&b, lan, 3, "0300000001"), PDU_EXC_GATEWAY_PATH);
        assert_int_equal(judge(&b, lan, 1, "0600000001"), PDU_EXC_FUNCTION);
        assert_int_equal(judge(&b, lan, 1, "2b0e0100"), PDU_EXC_FUNCTION);
        assert_int_equal(judge(&b, lan, 1, "0300000065"), PDU_EXC_ADDRESS); /* one beyond 99 */
        assert_int_equal(judge(&b, lan, 1, "0300640001"), PDU_EXC_ADDRESS);
        assert_int_equal(judge(&b, lan, 1, "0300000000"), PDU_EXC_VALUE);
        b.share.n_allow = 2;
        assert_true(judge_address(&b.share, other));
        assert_int_equal(judge(&b, lan, 3, "0600000001"), 0); /* by the second entry */
        assert_int_equal(judge(&b, other, 3, "1700000001ffff0001020000"), 0);
        assert_int_equal(judge(&b, other, 1, "0300000001"), PDU_EXC_GATEWAY_PATH);
        regs[0].last = 65535; /* function 23 writes elsewhere than it reads */
        reads[0].last = 127;
        regs[0] = (struct conf_range){ 0, 99 };
        assert_int_equal(judge(&b, lan, 1, "1700000001012c0001020000"), PDU_EXC_ADDRESS);
}

static void test_broadcast(void **state UNUSED)
{
        static struct conf_range all[] = { { 0, 65535 } };
        struct conf_allow allow = { .unit_ranges = { all, 1 },
                                    .function_ranges = { all, 1 },
                                    .register_ranges = { all, 1 } };
        struct conf_bus b = bus_new(&allow, 1);

        assert_int_equal(judge(&b, lan, 0, "0600000001"), 0);
        assert_int_equal(judge(&b, lan, 0, "0300000001"), PDU_EXC_GATEWAY_PATH);
        assert_int_equal(judge(&b, lan, 0, "1700000001012c0001020000"), PDU_EXC_GATEWAY_PATH);
        assert_int_equal(judge(&b, lan, 0, "2b0e0100"), PDU_EXC_GATEWAY_PATH);
        b.share.units[7] = 0;
        assert_int_equal(judge(&b, lan, 7, "0300000001"), PDU_EXC_GATEWAY_PATH);
        b.share.units[0] = 9; /* what a master calls 0 is a device */
        assert_int_equal(judge(&b, lan, 0, "0300000001"), 0);
}

static void test_cache(void **state UNUSED)
{
        static const uint16_t values[] = { 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 };
        struct cache c = { 0 };
        uint16_t regs[10];

        assert_false(cache_get(&c, 1, PDU_READ_HOLDING, 0, 1, 0, regs));
        cache_put(&c, 1, PDU_READ_HOLDING, 100, values, 5, 1000);
        cache_put(&c, 1, PDU_READ_HOLDING, 105, values + 5, 5, 2000);
        assert_true(cache_get(&c, 1, PDU_READ_HOLDING, 100, 10, 1000, regs));
        assert_memory_equal(regs, values, sizeof(values));
        assert_true(cache_get(&c, 1, PDU_READ_HOLDING, 103, 4, 1000, regs));
        assert_memory_equal(regs, values + 3, 4 * sizeof(*values));
        assert_false(cache_get(&c, 1, PDU_READ_HOLDING, 100, 10, 1001, regs)); /* a part is too old */
        assert_true(cache_get(&c, 1, PDU_READ_HOLDING, 105, 5, 2000, regs));
        assert_false(cache_get(&c, 1, PDU_READ_HOLDING, 99, 2, 0, regs));
        assert_false(cache_get(&c, 1, PDU_READ_HOLDING, 109, 2, 0, regs));
        assert_false(cache_get(&c, 2, PDU_READ_HOLDING, 100, 1, 0, regs));
        assert_false(cache_get(&c, 1, PDU_READ_INPUT, 100, 1, 0, regs));
        cache_put(&c, 1, PDU_READ_HOLDING, 102, values, 1, 3000); /* the newest counts */
        assert_true(cache_get(&c, 1, PDU_READ_HOLDING, 101, 2, 0, regs));
        assert_true(regs[0] == 11 && regs[1] == 10);
        cache_put(&c, 1, PDU_READ_HOLDING, 100, values, 10, 4000);
        assert_int_equal(c.n_runs, 1); /* covers all before */
        assert_int_equal(c.n_regs, 10);
        cache_put(&c, 2, PDU_READ_HOLDING, 100, values, 1, 4000);
        cache_forget(&c, 1);
        assert_false(cache_get(&c, 1, PDU_READ_HOLDING, 100, 1, 0, regs));
        assert_true(cache_get(&c, 2, PDU_READ_HOLDING, 100, 1, 0, regs));
        cache_forget(&c, 0);
        assert_int_equal(c.n_runs, 0);
        assert_int_equal(c.n_regs, 0);
        cache_put(&c, 1, PDU_READ_HOLDING, 0xFFFF, values, 1, 1); /* the last register */
        assert_true(cache_get(&c, 1, PDU_READ_HOLDING, 0xFFFF, 1, 0, regs));
        cache_done(&c);
}

/* Whatever is put, forgotten and asked for: what comes is the newest of each register, and it stays bounded.
 */
static void test_cache_random(void **state UNUSED)
{
        static uint16_t truth[4][1024], regs[PDU_READ_BITS_MAX];
        static uint64_t when[4][1024];
        struct random random = { .state = 7 };
        struct cache c = { 0 };

        memset(when, 0, sizeof(when));
        for (uint64_t now = 1; now < 30000; now++) {
                uint8_t unit = (uint8_t)(1 + random_below(&random, 3));
                uint16_t address = (uint16_t)random_below(&random, 1000);
                size_t n = 1 + (size_t)random_below(&random, 24);
                uint64_t since;
                bool is_there = true;

                if (random_below(&random, 500) == 0) {
                        cache_forget(&c, unit);
                        memset(when[unit], 0, sizeof(when[unit]));
                } else if (random_below(&random, 2)) {
                        for (size_t i = 0; i < n; i++) {
                                regs[i] = truth[unit][address + i] = (uint16_t)random_below(&random, 65536);
                                when[unit][address + i] = now;
                        }
                        cache_put(&c, unit, PDU_READ_HOLDING, address, regs, n, now);
                }
                since = now - MBGATE_MIN(now - 1, 200);
                for (size_t i = 0; i < n; i++)
                        is_there &= when[unit][address + i] >= since;
                assert_int_equal(cache_get(&c, unit, PDU_READ_HOLDING, address, n, since, regs), is_there);
                if (is_there)
                        assert_memory_equal(regs, &truth[unit][address], n * sizeof(*regs));
                assert_true(c.n_runs <= CACHE_RUNS_MAX);
        }
        for (unsigned i = 0; i < 100; i++)
                cache_put(&c, (uint8_t)i, PDU_READ_COILS, 0, regs, PDU_READ_BITS_MAX, 1);
        assert_true(c.n_regs <= CACHE_REGS_MAX);
        cache_done(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_list), cmocka_unit_test(test_list),
                cmocka_unit_test(test_broadcast),    cmocka_unit_test(test_cache),
                cmocka_unit_test(test_cache_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
