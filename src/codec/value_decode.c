/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "mbgate/base/text.h"

#include "value_raw.h"

/* The raw bits of a sign that stands at bit width − 1, as a number. */
static int64_t value_sign_extend(uint64_t raw, unsigned width)
{
        uint64_t sign = UINT64_C(1) << (width - 1);

        return (int64_t)((raw ^ sign) - sign);
}

/* Whether `raw` of so many bits is the sentinel, read as signed or as unsigned. */
static bool value_equals_sentinel(uint64_t raw, unsigned width, int64_t sentinel)
{
        if (width < 64) {
                if (sentinel > (int64_t)value_ones(width) || sentinel < -(INT64_C(1) << (width - 1)))
                        return false;
        }
        return ((uint64_t)sentinel & value_ones(width)) == raw;
}

static bool value_is_sentinel(const struct value_format *f, uint64_t raw, unsigned width)
{
        for (size_t i = 0; i < f->n_invalid; i++) {
                if (value_equals_sentinel(raw, width, f->invalid[i]))
                        return true;
        }
        return false;
}

/* 0 and the number, or VALUE_E_DIGITS. */
static int value_from_bcd(uint64_t raw, uint64_t *ret)
{
        uint64_t number = 0;

        for (unsigned shift = 32; shift > 0; shift -= 4) {
                unsigned digit = raw >> (shift - 4) & 0xF;

                if (digit > 9)
                        return VALUE_E_DIGITS;
                number = number * 10 + digit;
        }
        *ret = number;
        return 0;
}

static double value_from_float_bits(uint64_t raw, unsigned width)
{
        uint32_t raw32 = (uint32_t)raw;
        float f32;
        double f64;

        if (width == 64) {
                memcpy(&f64, &raw, sizeof(f64));
                return f64;
        }
        memcpy(&f32, &raw32, sizeof(f32));
        return (double)f32;
}

/* raw × scale + offset, rounded as seldom as can be. 0 or VALUE_E_NOT_FINITE. */
static int value_scale_real(const struct value_format *f, double raw, struct value *ret)
{
        double divisor = value_divisor(f->scale);
        double scaled = divisor != 0.0 ? raw / divisor : raw * f->scale; /* 0.0 is a mark, not a result */
        double r = scaled + f->offset;

        if (!isfinite(r))
                return VALUE_E_NOT_FINITE;
        *ret = (struct value){ .kind = VALUE_REAL, .r = r };
        return 0;
}

static int value_scale_signed(const struct value_format *f, int64_t raw, struct value *ret)
{
        int64_t scale, offset, i;

        if (value_is_integral(f, &scale, &offset) && !__builtin_mul_overflow(raw, scale, &i) &&
            !__builtin_add_overflow(i, offset, &i)) {
                *ret = (struct value){ .kind = VALUE_INT, .i = i };
                return 0;
        }
        return value_scale_real(f, (double)raw, ret);
}

static int value_scale_unsigned(const struct value_format *f, uint64_t raw, struct value *ret)
{
        int64_t scale, offset;

        if (raw <= INT64_MAX)
                return value_scale_signed(f, (int64_t)raw, ret);
        if (value_is_integral(f, &scale, &offset) && scale == 1 && offset == 0) {
                *ret = (struct value){ .kind = VALUE_UINT, .u = raw };
                return 0;
        }
        return value_scale_real(f, (double)raw, ret);
}

static int value_decode_bcd(const struct value_format *f, uint64_t raw, unsigned width, struct value *ret)
{
        uint64_t number;
        int r = value_from_bcd(raw, &number);

        /* A sentinel is a number where the digits are good, and the bare bits where they are not. */
        if (value_is_sentinel(f, r == 0 ? number : raw, width))
                return VALUE_E_SENTINEL;
        return r != 0 ? r : value_scale_unsigned(f, number, ret);
}

static int value_decode_float(const struct value_format *f, uint64_t raw, unsigned width, struct value *ret)
{
        double d = value_from_float_bits(raw, width);

        return isfinite(d) ? value_scale_real(f, d, ret) : VALUE_E_NOT_FINITE;
}

/* Ends at NUL; blanks, NUL and 0xFF at the end are filling. */
static int value_decode_string(const struct value_format *f, const uint16_t *regs, char *text,
                               struct value *ret)
{
        size_t n = MBGATE_MIN(f->length_bytes, (unsigned)VALUE_TEXT_MAX_BYTES);
        char pair[2];

        assert(text);
        for (size_t i = 0; i < n; i++) {
                value_string_bytes(f, regs[i / 2], pair);
                text[i] = pair[i % 2];
        }
        n = strnlen(text, n);
        while (n > 0 && (text[n - 1] == ' ' || (unsigned char)text[n - 1] == 0xFF))
                n--;
        if (!text_is_mqtt_utf8(text, n))
                return VALUE_E_DIGITS;
        *ret = (struct value){ .kind = VALUE_TEXT, .text = { .data = text, .len_bytes = n } };
        return 0;
}

int value_decode(const struct value_format *f, const uint16_t *regs, char *text, struct value *ret)
{
        enum value_class class = value_class_of(f);
        unsigned width;
        uint64_t raw;

        if (class == VALUE_CLASS_STRING)
                return value_decode_string(f, regs, text, ret);
        width = value_width(f);
        raw = value_join(f, regs);
        if (f->has_bits)
                raw = raw >> f->bit_lo & value_ones(width);
        if (class == VALUE_CLASS_BCD)
                return value_decode_bcd(f, raw, width, ret);
        if (value_is_sentinel(f, raw, width))
                return VALUE_E_SENTINEL;
        if (class == VALUE_CLASS_FLOAT)
                return value_decode_float(f, raw, width, ret);
        if (class == VALUE_CLASS_SIGNED)
                return value_scale_signed(f, value_sign_extend(raw, width), ret);
        if (class == VALUE_CLASS_UNSIGNED)
                return value_scale_unsigned(f, raw, ret);
        *ret = (struct value){ .kind = VALUE_BOOL, .b = raw != 0 };
        return 0;
}
