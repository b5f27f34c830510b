/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mbgate/base/random.h"
#include "mbgate/codec/value.h"

#include "guarded.h"

#define FORMAT(t, ...) with_scale((struct value_format){ .type = VALUE_TYPE_##t, ##__VA_ARGS__ })
#define REGS(...)      ((const uint16_t[]){ __VA_ARGS__ })
#define INT(n)         ((struct value){ .kind = VALUE_INT, .i = (n) })
#define REAL(x)        ((struct value){ .kind = VALUE_REAL, .r = (x) })
#define BOOLEAN(x)     ((struct value){ .kind = VALUE_BOOL, .b = (x) })
#define TEXT(s)        ((struct value){ .kind = VALUE_TEXT, .text = { .data = (s), .len_bytes = strlen(s) } })

/* Scale 1 where none is named. */
static struct value_format with_scale(struct value_format f)
{
        if (fabs(f.scale) <= 0.0)
                f.scale = 1.0;
        return f;
}

/* Decodes registers that end at an unmapped page. */
static int decode(const struct value_format *f, const uint16_t *regs, struct value *ret)
{
        static char text[VALUE_TEXT_MAX_BYTES];
        static struct guarded g;
        size_t n_bytes = sizeof(uint16_t) * value_n_regs(f);

        if (!g.map)
                g = guarded_new(2 * VALUE_TEXT_MAX_BYTES);
        return value_decode(f, (const uint16_t *)(void *)guarded_copy(&g, regs, n_bytes), text, ret);
}

static const char *print(const struct value_format *f, const struct value *v)
{
        static char text[400];
        struct buf b = BUF_ON(text);

        value_print(f, v, &b);
        assert_false(b.overflowed);
        return text;
}

/* Decodes and prints; an error as "!" and its number. */
static const char *show(struct value_format f, const uint16_t *regs)
{
        static char error[8];
        struct value v = { .kind = VALUE_NONE };
        int r = decode(&f, regs, &v);

        if (r == 0)
                return print(&f, &v);
        assert_int_equal(v.kind, VALUE_NONE);
        (void)snprintf(error, sizeof(error), "!%d", r);
        return error;
}

static void test_types_and_orders(void **state)
{
        static const uint16_t abcd[4] = { 0xAABB, 0xCCDD, 0xEEFF, 0x1122 };
        static const struct {
                enum value_order order;
                const char *u16, *u32, *u64;
        } rows[] = {
                { VALUE_ORDER_ABCD, "43707", "2864434397", "12302652060662173986" }, /* AABBCCDDEEFF1122 */
                { VALUE_ORDER_CDAB, "43707", "3437079227", "1234812030274087611" },  /* 1122EEFFCCDDAABB */
                { VALUE_ORDER_BADC, "48042", "3148537292", "13522864703670198801" }, /* BBAADDCCFFEE2211 */
                { VALUE_ORDER_DCBA, "56780", "3721182122", "2455024673282112426" },  /* 2211FFEEDDCCBBAA */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct value_format f = FORMAT(UINT32, .order = rows[i].order);

                assert_string_equal(show(f, abcd), rows[i].u32);
                f.type = VALUE_TYPE_UINT64;
                assert_string_equal(show(f, abcd), rows[i].u64);
        }
        assert_string_equal(show(FORMAT(UINT16), abcd), "43707");
        assert_string_equal(show(FORMAT(UINT16, .order = VALUE_ORDER_CDAB), abcd), "43707");
        assert_string_equal(show(FORMAT(UINT16, .order = VALUE_ORDER_BADC), abcd), "48042");
        assert_string_equal(show(FORMAT(UINT16, .order = VALUE_ORDER_DCBA), abcd), "48042");
        assert_string_equal(show(FORMAT(INT16), REGS(0xFF63)), "-157");
        assert_string_equal(show(FORMAT(INT16), REGS(0x8000)), "-32768");
        assert_string_equal(show(FORMAT(INT32), REGS(0x8000, 0)), "-2147483648");
        assert_string_equal(show(FORMAT(INT64), REGS(0x8000, 0, 0, 0)), "-9223372036854775808");
        assert_string_equal(show(FORMAT(INT64), REGS(0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF)), "9223372036854775807");
        assert_string_equal(show(FORMAT(UINT64), REGS(0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)),
                            "18446744073709551615");
        assert_string_equal(show(FORMAT(FLOAT32, .decimals = 1), REGS(0x435C, 0)), "220.0");
        assert_string_equal(show(FORMAT(FLOAT32, .decimals = 1, .order = VALUE_ORDER_CDAB), REGS(0, 0x435C)),
                            "220.0");
        assert_string_equal(show(FORMAT(FLOAT64, .decimals = 3), REGS(0x4009, 0x21FB, 0x5444, 0x2D18)),
                            "3.142");
        assert_string_equal(show(FORMAT(BCD16), REGS(0x1234)), "1234");
        assert_string_equal(show(FORMAT(BCD32, .scale = 0.01, .decimals = 2), REGS(0x1234, 0x5678)),
                            "123456.78");
        assert_string_equal(show(FORMAT(BCD16), REGS(0x12A4)), "!3");
        assert_string_equal(show(FORMAT(BOOL), REGS(0)), "false");
        assert_string_equal(show(FORMAT(BOOL), REGS(0x100)), "true");
        assert_string_equal(show(FORMAT(BOOL, .has_bits = true, .bit_lo = 3, .bit_hi = 3), REGS(0xFFF7)),
                            "false");
        assert_string_equal(show(FORMAT(UINT16, .has_bits = true, .bit_lo = 4, .bit_hi = 7), REGS(0x12A4)),
                            "10");
        assert_string_equal(show(FORMAT(INT16, .has_bits = true, .bit_lo = 15, .bit_hi = 15), REGS(0x8000)),
                            "1");
        assert_string_equal(show(FORMAT(UINT64, .has_bits = true, .bit_hi = 63), REGS(1, 0, 0, 1)),
                            "281474976710657");
}

static void test_scale(void **state)
{
        (void)state;
        for (int raw = -32768; raw < 32768; raw++) {
                char want[32];

                (void)snprintf(want, sizeof(want), "%s%d.%d", raw < 0 ? "-" : "", abs(raw) / 10,
                               abs(raw) % 10);
                assert_string_equal(show(FORMAT(INT16, .scale = 0.1, .decimals = 1), REGS((uint16_t)raw)),
                                    want);
                (void)snprintf(want, sizeof(want), "%s%d.%03d", raw < 0 ? "-" : "", abs(raw) / 1000,
                               abs(raw) % 1000);
                assert_string_equal(show(FORMAT(INT16, .scale = 0.001, .decimals = 3), REGS((uint16_t)raw)),
                                    want);
                /* One decimal less: halves away from zero. */
                (void)snprintf(want, sizeof(want), "%s%d.%d", raw < -4 ? "-" : "", (abs(raw) + 5) / 100,
                               (abs(raw) + 5) / 10 % 10);
                assert_string_equal(show(FORMAT(INT16, .scale = 0.01, .decimals = 1), REGS((uint16_t)raw)),
                                    want);
        }
        assert_string_equal(show(FORMAT(UINT16, .scale = 0.1, .offset = -40, .decimals = 1), REGS(615)),
                            "21.5");
        assert_string_equal(show(FORMAT(UINT16, .scale = 1000), REGS(65535)), "65535000");
        assert_string_equal(show(FORMAT(INT16, .scale = -2, .offset = 7), REGS(5)), "-3");
        assert_string_equal(show(FORMAT(UINT64, .scale = 10), REGS(0x7FFF, 0, 0, 0)), "92230905618780652000");
        assert_string_equal(show(FORMAT(INT32, .decimals = 2), REGS(0, 5)), "5.00");
        assert_string_equal(show(FORMAT(FLOAT64, .scale = 1e300, .decimals = 0), REGS(0x7FE0, 0, 0, 0)),
                            "!2");
}

static void test_not_a_number(void **state)
{
        int64_t minus_one[] = { -1 }, high[] = { 0x8000, 65535, 0x7FC00000 }, nines[] = { 9999, 0xFFFF };
        struct value_format f = FORMAT(INT16, .invalid = minus_one, .n_invalid = 1);

        (void)state;
        assert_string_equal(show(f, REGS(0xFFFF)), "!1");
        assert_string_equal(show(f, REGS(0xFFFE)), "-2");
        f.type = VALUE_TYPE_UINT16;
        assert_string_equal(show(f, REGS(0xFFFF)), "!1");
        f.type = VALUE_TYPE_UINT64;
        assert_string_equal(show(f, REGS(0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)), "!1");
        assert_string_equal(show(f, REGS(0, 0, 0, 0xFFFF)), "65535");
        f = FORMAT(INT16, .invalid = high, .n_invalid = 3);
        assert_string_equal(show(f, REGS(0x8000)), "!1");
        assert_string_equal(show(f, REGS(0xFFFF)), "!1");
        f.type = VALUE_TYPE_INT32;
        assert_string_equal(show(f, REGS(0, 0x8000)), "!1");
        assert_string_equal(show(f, REGS(0xFFFF, 0x8000)), "-32768");
        f.type = VALUE_TYPE_FLOAT32;
        assert_string_equal(show(f, REGS(0x7FC0, 0)), "!1");
        assert_string_equal(show(f, REGS(0x7FC0, 1)), "!2");
        assert_string_equal(show(f, REGS(0x7F80, 0)), "!2");
        assert_string_equal(show(f, REGS(0xFF80, 0)), "!2");
        f = FORMAT(FLOAT64);
        assert_string_equal(show(f, REGS(0x7FF0, 0, 0, 0)), "!2");
        assert_string_equal(show(f, REGS(0x7FF8, 0, 0, 1)), "!2");
        f = FORMAT(BCD16, .invalid = nines, .n_invalid = 2);
        assert_string_equal(show(f, REGS(0x9999)), "!1");
        assert_string_equal(show(f, REGS(0xFFFF)), "!1");
        assert_string_equal(show(f, REGS(0xFFFE)), "!3");
        f = FORMAT(UINT16, .has_bits = true, .bit_lo = 4, .bit_hi = 7, .invalid = minus_one, .n_invalid = 1);
        assert_string_equal(show(f, REGS(0x00F0)), "!1");
        assert_string_equal(show(f, REGS(0x00EF)), "14");
}

static void test_strings(void **state)
{
        struct value_format f = FORMAT(STRING, .length_bytes = 6);
        uint16_t regs[3], mask[3];
        struct value v;

        (void)state;
        assert_string_equal(show(f, REGS(0x6162, 0x6364, 0x6566)), "abcdef");
        assert_string_equal(show(f, REGS(0x6162, 0x0064, 0x6566)), "ab");
        assert_string_equal(show(f, REGS(0x6162, 0x2020, 0x20FF)), "ab");
        assert_string_equal(show(f, REGS(0xFFFF, 0xFFFF, 0xFFFF)), "");
        assert_string_equal(show(f, REGS(0x2061, 0xFF62, 0)), "!3");
        assert_string_equal(show(f, REGS(0x32B0, 0x4300, 0)), "!3");
        assert_string_equal(show(f, REGS(0x32C2, 0xB043, 0)), "2\xC2\xB0"
                                                              "C");
        f.order = VALUE_ORDER_BADC;
        assert_string_equal(show(f, REGS(0x6261, 0x6463, 0x6665)), "abcdef");
        f.length_bytes = 5;
        assert_int_equal(value_n_regs(&f), 3);
        assert_string_equal(show(f, REGS(0x6261, 0x6463, 0x6665)), "abcde");
        v = TEXT("abcde");
        assert_int_equal(value_encode(&f, &v, regs, mask), 0);
        assert_memory_equal(regs, REGS(0x6261, 0x6463, 0x0065), 6);
        v = TEXT("abcdef");
        assert_int_equal(value_encode(&f, &v, regs, mask), VALUE_E_TOO_LONG);
        v = INT(5);
        assert_int_equal(value_encode(&f, &v, regs, mask), VALUE_E_KIND);
        f.length_bytes = VALUE_TEXT_MAX_BYTES;
        assert_int_equal(value_n_regs(&f), VALUE_REGS_MAX);
}

/* decode(encode(x)) gives x back, for raw contents of all types, orders and scales. */
static void test_there_and_back(void **state)
{
        static const double scales[] = { 1, 10, 1000, -1, 0.1, 0.01, 0.001, 0.05, 0.25, 2.5, -0.1, 1e-6 };
        static const double offsets[] = { 0, -40, 273.15, 1000, 0.5 };
        struct random random = { .state = 42 };
        unsigned n_checked = 0;

        (void)state;
        for (enum value_type type = VALUE_TYPE_BOOL; type < VALUE_TYPE_STRING; type++) {
                for (unsigned round = 0; round < 4000; round++) {
                        struct value_format f = { .type = type };
                        uint16_t raw[4], regs[4], mask[4];
                        struct value v, again;
                        bool plain;
                        int r;

                        f.order = (enum value_order)random_below(&random, 4);
                        f.scale = scales[random_below(&random, ARRAY_SIZE(scales))];
                        f.offset = offsets[random_below(&random, ARRAY_SIZE(offsets))];
                        for (size_t i = 0; i < 4; i++)
                                raw[i] = (uint16_t)(random_next(&random) & random_next(&random));
                        if (type == VALUE_TYPE_BOOL) /* true is written as 1 */
                                f.order = VALUE_ORDER_ABCD;
                        if (type == VALUE_TYPE_BOOL || type == VALUE_TYPE_BCD16)
                                raw[0] &= type == VALUE_TYPE_BOOL ? 1 : 0x7777;
                        if (type == VALUE_TYPE_BCD32) {
                                raw[0] &= 0x7777;
                                raw[1] &= 0x7777;
                        }
                        r = decode(&f, raw, &v);
                        if (r == VALUE_E_NOT_FINITE)
                                continue;
                        assert_int_equal(r, 0);
                        r = value_encode(&f, &v, regs, mask);
                        plain = f.scale == 1 && f.offset == 0;
                        if ((type == VALUE_TYPE_FLOAT32 || type == VALUE_TYPE_FLOAT64) && !plain)
                                continue; /* as exact as doubles are, which is not exact */
                        if ((type == VALUE_TYPE_INT64 || type == VALUE_TYPE_UINT64) && v.kind == VALUE_REAL)
                                continue; /* 53 bits of 64 */
                        assert_int_equal(r, 0);
                        assert_memory_equal(regs, raw, sizeof(uint16_t) * value_n_regs(&f));
                        for (unsigned i = 0; i < value_n_regs(&f); i++)
                                assert_int_equal(mask[i], 0xFFFF);
                        assert_int_equal(decode(&f, regs, &again), 0);
                        n_checked++;
                }
        }
        assert_true(n_checked > 25000);
}

/* What is printed can be read as a command, and leads to the same registers. */
static void test_print_and_parse(void **state)
{
        struct random random = { .state = 43 };

        (void)state;
        for (unsigned round = 0; round < 20000; round++) {
                static const double scales[] = { 1, 0.1, 0.01, 0.001 };
                unsigned decimals = (unsigned)random_below(&random, 4);
                struct value_format f = { .type = VALUE_TYPE_INT16,
                                          .decimals = decimals,
                                          .scale = scales[decimals] };
                uint16_t raw[2] = { (uint16_t)random_next(&random), (uint16_t)random_next(&random) };
                uint16_t regs[2], mask[2];
                struct value v, parsed;
                const char *text;

                f.type = round % 2 ? VALUE_TYPE_INT32 : VALUE_TYPE_INT16;
                assert_int_equal(decode(&f, raw, &v), 0);
                text = print(&f, &v);
                assert_int_equal(value_parse(&f, text, strlen(text), &parsed), 0);
                assert_int_equal(value_encode(&f, &parsed, regs, mask), 0);
                assert_memory_equal(regs, raw, sizeof(uint16_t) * value_n_regs(&f));
        }
}

static void test_bits_there_and_back(void **state)
{
        static const enum value_type types[] = { VALUE_TYPE_INT16,  VALUE_TYPE_UINT16, VALUE_TYPE_INT32,
                                                 VALUE_TYPE_UINT32, VALUE_TYPE_INT64,  VALUE_TYPE_UINT64 };
        struct random random = { .state = 44 };

        (void)state;
        for (unsigned round = 0; round < 20000; round++) {
                struct value_format f = { .type = types[random_below(&random, 6)],
                                          .has_bits = true,
                                          .scale = 1 };
                unsigned n_regs = value_n_regs(&f);
                uint16_t raw[4], regs[4], mask[4];
                unsigned n_bits = 0;
                struct value v;

                f.order = (enum value_order)random_below(&random, 4);
                f.bit_hi = (unsigned)random_below(&random, 16 * n_regs);
                f.bit_lo = (unsigned)random_below(&random, f.bit_hi + 1);
                for (size_t i = 0; i < 4; i++)
                        raw[i] = (uint16_t)random_next(&random);
                assert_int_equal(decode(&f, raw, &v), 0);
                assert_int_equal(value_encode(&f, &v, regs, mask), 0);
                for (unsigned i = 0; i < n_regs; i++) {
                        n_bits += (unsigned)__builtin_popcount(mask[i]);
                        assert_int_equal(regs[i], raw[i] & mask[i]);
                }
                assert_int_equal(n_bits, f.bit_hi - f.bit_lo + 1);
                if (v.kind == VALUE_INT && f.bit_hi - f.bit_lo < 60) {
                        v.i += INT64_C(1) << (f.bit_hi - f.bit_lo + 1);
                        assert_int_equal(value_encode(&f, &v, regs, mask), VALUE_E_RANGE);
                        v.i = -1;
                        assert_int_equal(value_encode(&f, &v, regs, mask), VALUE_E_RANGE);
                }
        }
}

static void test_encode_limits(void **state)
{
        static const struct {
                enum value_type type;
                double scale;
                const char *text;
                int r;
                uint64_t raw;
        } rows[] = {
                { VALUE_TYPE_UINT16, 1, "65535", 0, 65535 },
                { VALUE_TYPE_UINT16, 1, "65536", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT16, 1, "-1", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT16, 1, "-0.4", 0, 0 },
                { VALUE_TYPE_UINT16, 1, "-0.5", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT16, 1, "65535.4", 0, 65535 },
                { VALUE_TYPE_UINT16, 1, "65535.5", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT16, 1, "2.5", 0, 3 },
                { VALUE_TYPE_UINT16, 1, "1e3", 0, 1000 },
                { VALUE_TYPE_UINT16, 1, "1e30", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT16, 1, "-2.5", 0, 0xFFFD },
                { VALUE_TYPE_INT16, 1, "-32768", 0, 0x8000 },
                { VALUE_TYPE_INT16, 1, "-32769", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT16, 1, "32768", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT16, 0.1, "21.5", 0, 215 },
                { VALUE_TYPE_INT16, 0.1, "0.15", 0, 2 },
                { VALUE_TYPE_INT16, 0.1, "-0.15", 0, 0xFFFE },
                { VALUE_TYPE_INT16, 0.1, "0.14", 0, 1 },
                { VALUE_TYPE_INT16, 0.1, "3276.7", 0, 32767 },
                { VALUE_TYPE_INT16, 0.1, "3276.8", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT16, 10, "15", 0, 2 },
                { VALUE_TYPE_INT16, 10, "14", 0, 1 },
                { VALUE_TYPE_INT16, 10, "-15", 0, 0xFFFE },
                { VALUE_TYPE_INT16, -10, "15", 0, 0xFFFE },
                { VALUE_TYPE_INT32, 1, "2147483647", 0, 2147483647 },
                { VALUE_TYPE_INT32, 1, "2147483648", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT32, 1, "4294967295", 0, 4294967295 },
                { VALUE_TYPE_UINT32, 1, "4294967296", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT64, 1, "9223372036854775807", 0, INT64_MAX },
                { VALUE_TYPE_INT64, 1, "9223372036854775808", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT64, 1, "-9223372036854775808", 0, UINT64_C(1) << 63 },
                { VALUE_TYPE_INT64, 1, "-9223372036854775809", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT64, 1, "-9.3e18", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_INT64, 1, "9007199254740993", 0, 9007199254740993 },
                { VALUE_TYPE_UINT64, 1, "18446744073709551615", 0, UINT64_MAX },
                { VALUE_TYPE_UINT64, 1, "18446744073709551616", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT64, 1, "1.8e19", 0, UINT64_C(18000000000000000000) },
                { VALUE_TYPE_BCD16, 1, "9999", 0, 0x9999 },
                { VALUE_TYPE_BCD16, 1, "10000", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_BCD16, 1, "-1", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_BCD32, 0.01, "123456.78", 0, 0x12345678 },
                { VALUE_TYPE_FLOAT32, 1, "220", 0, 0x435C0000 },
                { VALUE_TYPE_FLOAT32, 1, "3.4028234663852886e38", 0, 0x7F7FFFFF },
                { VALUE_TYPE_FLOAT32, 1, "3.4028236e38", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_FLOAT32, 1, "-3.5e38", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_FLOAT32, 1, "1e-60", 0, 0 },
                { VALUE_TYPE_FLOAT32, 1e-300, "1e30", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_FLOAT64, 1, "0.1", 0, UINT64_C(0x3FB999999999999A) },
                { VALUE_TYPE_FLOAT64, 1e-300, "1e30", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_BOOL, 1, "on", 0, 1 },
                { VALUE_TYPE_BOOL, 1, "0", 0, 0 },
                { VALUE_TYPE_BOOL, 1, "1.0", 0, 1 },
                { VALUE_TYPE_BOOL, 1, "2", VALUE_E_RANGE, 0 },
                { VALUE_TYPE_UINT16, 1, "ON", 0, 1 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct value_format f = { .type = rows[i].type, .scale = rows[i].scale };
                uint16_t regs[4] = { 0 }, mask[4];
                uint64_t raw = 0;
                struct value v;
                int r;

                assert_int_equal(value_parse(&f, rows[i].text, strlen(rows[i].text), &v), 0);
                r = value_encode(&f, &v, regs, mask);
                for (unsigned w = 0; w < value_n_regs(&f); w++)
                        raw = raw << 16 | regs[w];
                if (r != rows[i].r || raw != rows[i].raw)
                        fail_msg("%s as %s: %d, %llx", rows[i].text, value_type_name(f.type), r,
                                 (unsigned long long)raw);
        }
}

static void test_between_steps(void **state)
{
        static char off[] = "off", on[] = "on";
        static struct value_label labels[] = { { 0, off }, { 20, on } };
        const struct {
                struct value_format f;
                const char *text;
                bool is_between;
                double below, above;
        } rows[] = {
                { FORMAT(INT16), "1.5", true, 1, 2 },
                { FORMAT(INT16), "-1.5", true, -2, -1 },
                { FORMAT(INT16, .scale = -1), "1.5", true, 1, 2 },
                { FORMAT(UINT32), "0.001", true, 0, 1 },
                { FORMAT(BCD16), "7.5", true, 7, 8 },
                { FORMAT(UINT16, .has_bits = true, .bit_lo = 4, .bit_hi = 7), "2.5", true, 2, 3 },
                { FORMAT(UINT16, .offset = 100), "100.5", true, 100, 101 },
                { FORMAT(UINT16, .scale = 10, .labels = labels, .n_labels = 2), "14", true, 10, 20 },
                { FORMAT(UINT16, .scale = 10, .labels = labels, .n_labels = 2), "on", false, 0, 0 },
                { FORMAT(INT16), "2.0", false, 0, 0 },
                { FORMAT(INT16), "2.9999999996", false, 0, 0 },
                { FORMAT(INT16), "on", false, 0, 0 },
                { FORMAT(INT64), "9007199254740993", false, 0, 0 },
                { FORMAT(UINT64), "18446744073709551615", false, 0, 0 },
                { FORMAT(INT16, .scale = 0.1, .decimals = 1), "21.47", false, 0, 0 },
                { FORMAT(INT16, .scale = 10), "14", false, 0, 0 },
                { FORMAT(INT16, .decimals = 1), "21.4", false, 0, 0 },
                { FORMAT(INT16, .offset = 0.5), "1", false, 0, 0 },
                { FORMAT(FLOAT32), "1.5", false, 0, 0 },
                { FORMAT(BOOL), "1", false, 0, 0 },
                { FORMAT(STRING, .length_bytes = 4), "1.5", false, 0, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                double below = 0, above = 0;
                struct value v;

                assert_int_equal(value_parse(&rows[i].f, rows[i].text, strlen(rows[i].text), &v), 0);
                if (value_is_between_steps(&rows[i].f, &v, &below, &above) != rows[i].is_between ||
                    below != rows[i].below || above != rows[i].above)
                        fail_msg("row %zu, %s: %g and %g", i, rows[i].text, below, above);
        }
}

static void test_min_max(void **state)
{
        struct value_format f =
                FORMAT(UINT16, .scale = 0.1, .has_min = true, .has_max = true, .min = 0.3, .max = 102.3);
        uint16_t reg, mask;

        (void)state;
        static const struct {
                double r;
                int want;
        } rows[] = { { 0.3, 0 },
                     { 102.3, 0 },
                     { 0.29, VALUE_E_RANGE },
                     { 102.31, VALUE_E_RANGE },
                     { -1e300, VALUE_E_RANGE } };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                assert_int_equal(value_encode(&f, &REAL(rows[i].r), &reg, &mask), rows[i].want);
        assert_int_equal(value_encode(&f, &INT(102), &reg, &mask), 0);
        assert_int_equal(value_encode(&f, &INT(103), &reg, &mask), VALUE_E_RANGE);
        assert_int_equal(value_encode(&f, &INT(INT64_MIN), &reg, &mask), VALUE_E_RANGE);
        assert_int_equal(value_encode(&f, &REAL((double)NAN), &reg, &mask), VALUE_E_NOT_FINITE);
        assert_int_equal(value_encode(&f, &REAL((double)INFINITY), &reg, &mask), VALUE_E_NOT_FINITE);
        assert_int_equal(value_encode(&f, &TEXT("1"), &reg, &mask), VALUE_E_KIND);
        assert_int_equal(value_encode(&f, &(struct value){ .kind = VALUE_NONE }, &reg, &mask), VALUE_E_KIND);

        uint16_t regs[4], masks[4];
        f = FORMAT(INT64, .has_max = true, .max = 9007199254740992.0);
        assert_int_equal(value_encode(&f, &INT(9007199254740992), regs, masks), 0);
        assert_int_equal(value_encode(&f, &INT(9007199254740993), regs, masks), VALUE_E_RANGE);
}

static void test_print(void **state)
{
        static const struct {
                double r;
                unsigned decimals;
                const char *text;
        } rows[] = {
                { 0.0, 0, "0" },
                { -0.0, 0, "0" },
                { -0.0, 2, "0.00" },
                { -0.04, 1, "0.0" },
                { -0.05, 1, "-0.1" },
                { 0.5, 0, "1" },
                { 1.5, 0, "2" },
                { 2.5, 0, "3" },
                { -2.5, 0, "-3" },
                { 0.15, 1, "0.2" },
                { 0.25, 1, "0.3" },
                { 1.005, 2, "1.01" },
                { 9.995, 2, "10.00" },
                { 99.95, 1, "100.0" },
                { 0.0949, 1, "0.1" },
                { 0.0449, 1, "0.0" },
                { 0.94, 0, "1" },
                { 0.049, 0, "0" },
                { 215 * 0.1, 1, "21.5" },
                { 3 * 0.1, 1, "0.3" },
                { 1e-300, 9, "0.000000000" },
                { 4.9e-324, 3, "0.000" },
                { 1e15, 1, "1000000000000000.0" },
                { 1e22, 0, "10000000000000000000000" },
                { 123456789012345680.0, 0, "123456789012345680" },
                { 999999999999999.0, 0, "999999999999999" },
                { 123456.789, 9, "123456.789000000" },
        };
        struct value_format f = FORMAT(FLOAT64);
        struct buf small;
        char room[5];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                f.decimals = rows[i].decimals;
                assert_string_equal(print(&f, &REAL(rows[i].r)), rows[i].text);
        }
        f.decimals = 9;
        assert_int_equal(strlen(print(&f, &REAL(-DBL_MAX))), 1 + 309 + 1 + 9);
        small = buf_on(room, sizeof(room));
        value_print(&f, &REAL(12345), &small);
        assert_true(small.overflowed);
        assert_string_equal(print(&f, &(struct value){ .kind = VALUE_NONE }), "");
        assert_string_equal(print(&f, &TEXT("a b")), "a b");
}

static void test_labels(void **state)
{
        char off[] = "off", heat[] = "Heat", cool[] = "cool down";
        struct value_label labels[] = { { 0, off }, { 1, heat }, { -5, cool } };
        struct value_format f = FORMAT(INT16, .labels = labels, .n_labels = 3);
        struct value v;

        (void)state;
        assert_string_equal(show(f, REGS(0)), "off");
        assert_string_equal(show(f, REGS(0xFFFB)), "cool down");
        assert_string_equal(show(f, REGS(7)), "7");
        assert_string_equal(print(&f, &REAL(1.0)), "Heat");
        assert_int_equal(value_parse(&f, " COOL down\n", 11, &v), 0);
        assert_int_equal(v.kind, VALUE_INT);
        assert_int_equal(v.i, -5);
        assert_int_equal(value_parse(&f, "off", 3, &v), 0);
        assert_int_equal(v.kind, VALUE_INT);
        assert_int_equal(value_parse(&f, "freeze", 6, &v), VALUE_E_UNREADABLE);
        f.type = VALUE_TYPE_BOOL;
        assert_string_equal(show(f, REGS(1)), "Heat");
        assert_int_equal(value_parse(&f, "heat", 4, &v), 0);
        assert_int_equal(v.kind, VALUE_BOOL);
        assert_true(v.b);
}

static void test_parse(void **state)
{
        static const struct {
                const char *text;
                int r;
                enum value_kind kind;
                double number;
        } rows[] = {
                { "0", 0, VALUE_INT, 0 },
                { "-0", 0, VALUE_INT, 0 },
                { "+7", 0, VALUE_INT, 7 },
                { "007", 0, VALUE_INT, 7 },
                { " \t42\r\n", 0, VALUE_INT, 42 },
                { "-12.50", 0, VALUE_REAL, -12.5 },
                { ".5", 0, VALUE_REAL, 0.5 },
                { "5.", 0, VALUE_REAL, 5 },
                { "1e3", 0, VALUE_REAL, 1000 },
                { "1E+3", 0, VALUE_REAL, 1000 },
                { "-1.5e-2", 0, VALUE_REAL, -0.015 },
                { "0.1", 0, VALUE_REAL, 0.1 },
                { "1e-400", 0, VALUE_REAL, 0 },
                { "0e99999999999999999999", 0, VALUE_REAL, 0 },
                { "9223372036854775808", 0, VALUE_UINT, 9223372036854775808.0 },
                { "-9223372036854775808", 0, VALUE_INT, -9223372036854775808.0 },
                { "99999999999999999999999", 0, VALUE_REAL, 1e23 },
                { "on", 0, VALUE_BOOL, 1 },
                { "OFF", 0, VALUE_BOOL, 0 },
                { "True", 0, VALUE_BOOL, 1 },
                { "fAlSe", 0, VALUE_BOOL, 0 },
                { "1e400", VALUE_E_RANGE, VALUE_NONE, 0 },
                { "1e99999999999999999999", VALUE_E_RANGE, VALUE_NONE, 0 },
                { "nan", VALUE_E_NOT_FINITE, VALUE_NONE, 0 },
                { "-NaN", VALUE_E_NOT_FINITE, VALUE_NONE, 0 },
                { "inf", VALUE_E_NOT_FINITE, VALUE_NONE, 0 },
                { "+Infinity", VALUE_E_NOT_FINITE, VALUE_NONE, 0 },
                { "", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "  ", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "-", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { ".", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "-.", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1.2.3", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1,5", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1 000", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "12abc", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "0x10", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "0x1p3", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1e", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1e+", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "e5", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "1e1.5", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "--1", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "+-1", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "yes", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
                { "\xD9\xA1", VALUE_E_UNREADABLE, VALUE_NONE, 0 },
        };
        struct guarded g = guarded_new(1 << 20);
        struct value_format f = FORMAT(INT32);
        struct value v;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                size_t n = strlen(rows[i].text);
                int r;

                v.kind = VALUE_NONE;
                r = value_parse(&f, (const char *)guarded_copy(&g, rows[i].text, n), n, &v);
                if (r != rows[i].r || v.kind != rows[i].kind)
                        fail_msg("\"%s\": %d", rows[i].text, r);
                if (r == 0)
                        assert_true(value_as_double(&v) == rows[i].number);
        }
        assert_int_equal(value_parse(&f, "1\0", 2, &v), VALUE_E_UNREADABLE);
        memset(g.end - 1000000, '1', 1000000);
        assert_int_equal(value_parse(&f, (const char *)g.end - 1000000, 1000000, &v), VALUE_E_UNREADABLE);
        f.type = VALUE_TYPE_STRING;
        assert_int_equal(value_parse(&f, " 1 ", 3, &v), 0);
        assert_int_equal(v.text.len_bytes, 3);
        assert_int_equal(value_parse(&f, "a\0b", 3, &v), VALUE_E_UNREADABLE);
        assert_int_equal(value_parse(&f, "\xFF", 1, &v), VALUE_E_UNREADABLE);
        guarded_done(&g);
}

/* Where the machine has a locale with a comma, it must not matter. */
static void test_locale(void **state)
{
        static const char *const names[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8" };
        struct value_format f = FORMAT(FLOAT64, .decimals = 2);
        struct value v;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (!setlocale(LC_ALL, names[i]))
                        continue;
                assert_string_equal(print(&f, &REAL(-1234.5)), "-1234.50");
                assert_int_equal(value_parse(&f, "1.25e1", 6, &v), 0);
                assert_true(v.r == 12.5);
        }
        (void)setlocale(LC_ALL, "C");
}

static void test_names(void **state)
{
        enum value_type type;

        (void)state;
        for (enum value_type t = VALUE_TYPE_BOOL; t <= VALUE_TYPE_STRING; t++) {
                assert_int_equal(value_type_parse(value_type_name(t), &type), 0);
                assert_int_equal(type, t);
        }
        assert_int_equal(value_type_parse("int17", &type), -EINVAL);
        assert_int_equal(value_type_parse("", &type), -EINVAL);
        for (enum value_error e = VALUE_E_SENTINEL; e <= VALUE_E_TOO_LONG; e++)
                assert_true(strlen(value_error_text(e)) > 3);
        assert_true(isnan(value_as_double(&TEXT("1"))));
        assert_true(isnan(value_as_double(&(struct value){ .kind = VALUE_NONE })));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_types_and_orders),
                cmocka_unit_test(test_scale),
                cmocka_unit_test(test_not_a_number),
                cmocka_unit_test(test_strings),
                cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_print_and_parse),
                cmocka_unit_test(test_bits_there_and_back),
                cmocka_unit_test(test_encode_limits),
                cmocka_unit_test(test_between_steps),
                cmocka_unit_test(test_min_max),
                cmocka_unit_test(test_print),
                cmocka_unit_test(test_labels),
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_locale),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
