/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <string.h>

#include "value_raw.h"

#define TWO_63         9223372036854775808.0
#define FRACTION_MAX   562949953421312.0 /* 2⁴⁹: beyond it eighths are lost, and halves are what they seem */
#define STEP_TOLERANCE 1e-6 /* of a step: what others' arithmetic in doubles leaves, 2.9999999996 for 3 */

/* A whole number of either sign: −magnitude or magnitude. */
struct value_whole {
        bool negative;
        uint64_t magnitude;
};

static struct value_whole value_whole_of(int64_t i)
{
        return (struct value_whole){ .negative = i < 0, .magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i };
}

/* −1, 0, 1 for i <, =, > d, without rounding i to a double. */
static int value_compare_int(int64_t i, double d)
{
        int64_t whole;

        if (d >= TWO_63)
                return -1;
        if (d < -TWO_63)
                return 1;
        whole = (int64_t)d;
        if (i != whole)
                return i < whole ? -1 : 1;
        return d > (double)whole ? -1 : d < (double)whole;
}

static int value_compare(const struct value *v, double d)
{
        double r;

        if (v->kind == VALUE_INT)
                return value_compare_int(v->i, d);
        if (v->kind == VALUE_UINT)
                return d < 2 * TWO_63 && d >= 0 ? (v->u < (uint64_t)d ? -1 : v->u > (uint64_t)d)
                                                : (d < 0 ? 1 : -1);
        r = value_as_double(v);
        return r < d ? -1 : r > d;
}

static bool value_is_allowed(const struct value_format *f, const struct value *v)
{
        return !(f->has_min && value_compare(v, f->min) < 0) && !(f->has_max && value_compare(v, f->max) > 0);
}

/* (v − offset) ÷ scale as a double, and how far rounding may have led it astray. */
static double value_unscale(const struct value_format *f, const struct value *v, double *ret_error)
{
        double divisor = value_divisor(f->scale);
        double d = value_as_double(v) - f->offset;

        *ret_error = 4 * DBL_EPSILON * (fabs(d) + fabs(f->offset)) / fabs(f->scale);
        return divisor != 0.0 ? d * divisor : d / f->scale;
}

/*
 * The nearest whole number, halves away from zero. What lies below a half by less than the rounding of the
 * way here is a half: 0.15 at scale 0.1 means 1.5, and becomes 2.
 */
static int value_round(double x, double error, struct value_whole *ret)
{
        double magnitude;

        if (!isfinite(x))
                return VALUE_E_RANGE;
        if (fabs(x) < FRACTION_MAX)
                magnitude = floor(fabs(x) + 0.5 + fmin(error, 0.25));
        else
                magnitude = round(fabs(x));
        if (magnitude >= 2 * TWO_63)
                return VALUE_E_RANGE;
        *ret = (struct value_whole){ .negative = x < 0 && magnitude > 0, .magnitude = (uint64_t)magnitude };
        return 0;
}

/* The same for a whole value with whole scale and offset, exact in 64 bits. False: take the other way. */
static bool value_unscale_exactly(const struct value_format *f, const struct value *v,
                                  struct value_whole *ret)
{
        int64_t scale, offset, i;
        uint64_t divisor, rest;

        if (!value_is_integral(f, &scale, &offset))
                return false;
        if (v->kind == VALUE_UINT && scale == 1 && offset == 0) {
                *ret = (struct value_whole){ .magnitude = v->u };
                return true;
        }
        if (v->kind != VALUE_INT && v->kind != VALUE_BOOL)
                return false;
        if (__builtin_sub_overflow(v->kind == VALUE_BOOL ? (int64_t)v->b : v->i, offset, &i))
                return false;
        *ret = value_whole_of(i);
        divisor = value_whole_of(scale).magnitude;
        rest = ret->magnitude % divisor;
        ret->magnitude = ret->magnitude / divisor + (rest >= divisor - rest);
        ret->negative = ret->magnitude > 0 && (i < 0) != (scale < 0);
        return true;
}

static int value_to_whole(const struct value_format *f, const struct value *v, struct value_whole *ret)
{
        double error, x;

        if (value_unscale_exactly(f, v, ret))
                return 0;
        x = value_unscale(f, v, &error);
        return value_round(x, error, ret);
}

/* Whether fractions mean nothing to the point: see value_is_between_steps(). */
static bool value_is_counted(const struct value_format *f)
{
        enum value_class class = value_class_of(f);
        int64_t scale, offset;

        if (class != VALUE_CLASS_SIGNED && class != VALUE_CLASS_UNSIGNED && class != VALUE_CLASS_BCD)
                return false;
        return f->n_labels > 0 ||
               (f->decimals == 0 && value_is_integral(f, &scale, &offset) && (scale == 1 || scale == -1));
}

bool value_is_between_steps(const struct value_format *f, const struct value *v, double *ret_below,
                            double *ret_above)
{
        double error, x, a, b;

        if (v->kind == VALUE_TEXT || v->kind == VALUE_NONE || !value_is_counted(f))
                return false;
        x = value_unscale(f, v, &error);
        if (!isfinite(x) || fabs(x - round(x)) <= STEP_TOLERANCE + error)
                return false;
        a = floor(x) * f->scale + f->offset;
        b = ceil(x) * f->scale + f->offset;
        *ret_below = fmin(a, b);
        *ret_above = fmax(a, b);
        return true;
}

static int value_to_bcd(const struct value_format *f, struct value_whole w, uint64_t *ret_raw)
{
        uint64_t raw = 0;
        unsigned width = value_width(f);

        if (w.negative)
                return VALUE_E_RANGE;
        for (unsigned shift = 0; shift < width; shift += 4) {
                raw |= w.magnitude % 10 << shift;
                w.magnitude /= 10;
        }
        if (w.magnitude > 0)
                return VALUE_E_RANGE;
        *ret_raw = raw;
        return 0;
}

static int value_to_integer(const struct value_format *f, struct value_whole w, uint64_t *ret_raw)
{
        unsigned width = value_width(f);
        uint64_t max = value_ones(width);

        if (value_class_of(f) == VALUE_CLASS_SIGNED)
                max = (max >> 1) + w.negative;
        else if (w.negative)
                return VALUE_E_RANGE;
        if (w.magnitude > max)
                return VALUE_E_RANGE;
        *ret_raw = (w.negative ? 0 - w.magnitude : w.magnitude) & value_ones(width);
        return 0;
}

static uint64_t value_double_bits(double x)
{
        uint64_t raw;

        memcpy(&raw, &x, sizeof(raw));
        return raw;
}

static int value_to_float_bits(const struct value_format *f, const struct value *v, uint64_t *ret_raw)
{
        uint32_t raw32;
        double error, x;
        float f32;

        x = value_unscale(f, v, &error);
        if (!isfinite(x))
                return VALUE_E_RANGE;
        if (f->type == VALUE_TYPE_FLOAT64) {
                *ret_raw = value_double_bits(x);
                return 0;
        }
        if (fabs(x) > (double)FLT_MAX)
                return VALUE_E_RANGE;
        f32 = (float)x;
        memcpy(&raw32, &f32, sizeof(raw32));
        *ret_raw = raw32;
        return 0;
}

static int value_to_bool(const struct value *v, uint64_t *ret_raw)
{
        bool is_one = value_compare(v, 1.0) == 0;

        if (v->kind == VALUE_BOOL) {
                *ret_raw = v->b;
                return 0;
        }
        if (!is_one && value_compare(v, 0.0) != 0)
                return VALUE_E_RANGE;
        *ret_raw = is_one;
        return 0;
}

/* The raw number that stands for an engineering value. */
static int value_to_raw(const struct value_format *f, const struct value *v, uint64_t *ret_raw)
{
        enum value_class class = value_class_of(f);
        struct value_whole whole;
        int r;

        if (v->kind == VALUE_REAL && !isfinite(v->r))
                return VALUE_E_NOT_FINITE;
        if (class == VALUE_CLASS_BOOL)
                return value_to_bool(v, ret_raw);
        if (!value_is_allowed(f, v))
                return VALUE_E_RANGE;
        if (class == VALUE_CLASS_FLOAT)
                return value_to_float_bits(f, v, ret_raw);
        r = value_to_whole(f, v, &whole);
        if (r != 0)
                return r;
        return class == VALUE_CLASS_BCD ? value_to_bcd(f, whole, ret_raw)
                                        : value_to_integer(f, whole, ret_raw);
}

static int value_encode_string(const struct value_format *f, const struct value *v, uint16_t *ret_regs,
                               uint16_t *ret_mask)
{
        unsigned n_regs = value_n_regs(f);

        if (v->kind != VALUE_TEXT)
                return VALUE_E_KIND;
        if (v->text.len_bytes > f->length_bytes)
                return VALUE_E_TOO_LONG;
        for (unsigned i = 0; i < n_regs; i++) {
                uint16_t reg = 0;
                char pair[2];

                for (size_t j = (size_t)2 * i; j < (size_t)2 * i + 2; j++)
                        reg = (uint16_t)(reg << 8 |
                                         (j < v->text.len_bytes ? (unsigned char)v->text.data[j] : 0));
                value_string_bytes(f, reg, pair);
                ret_regs[i] = (uint16_t)((unsigned char)pair[0] << 8 | (unsigned char)pair[1]);
                ret_mask[i] = 0xFFFF;
        }
        return 0;
}

int value_encode(const struct value_format *f, const struct value *v, uint16_t *ret_regs, uint16_t *ret_mask)
{
        uint64_t raw, mask;
        int r;

        if (value_class_of(f) == VALUE_CLASS_STRING)
                return value_encode_string(f, v, ret_regs, ret_mask);
        if (v->kind == VALUE_TEXT || v->kind == VALUE_NONE)
                return VALUE_E_KIND;
        r = value_to_raw(f, v, &raw);
        if (r != 0)
                return r;
        mask = f->has_bits ? value_ones(value_width(f)) << f->bit_lo : UINT64_MAX;
        value_split(f, f->has_bits ? raw << f->bit_lo : raw, ret_regs);
        value_split(f, mask, ret_mask);
        return 0;
}

/* What a raw number means, sentinel or not. */
static bool value_of_raw(const struct value_format *f, uint64_t raw, struct value *ret)
{
        struct value_format plain = *f;
        uint16_t regs[4];

        plain.n_invalid = 0;
        value_split(f, f->has_bits ? raw << f->bit_lo : raw, regs);
        return value_decode(&plain, regs, NULL, ret) == 0;
}

bool value_limits(const struct value_format *f, struct value *ret_min, struct value *ret_max)
{
        unsigned width = value_width(f);
        uint64_t lowest = 0, highest = value_ones(width);
        struct value low, high;

        switch (value_class_of(f)) {
        case VALUE_CLASS_SIGNED:
                lowest = UINT64_C(1) << (width - 1);
                highest = lowest - 1;
                break;
        case VALUE_CLASS_BCD: highest = UINT64_C(0x9999999999999999) & value_ones(width); break;
        case VALUE_CLASS_UNSIGNED: break;
        case VALUE_CLASS_FLOAT:
        case VALUE_CLASS_BOOL:
        case VALUE_CLASS_STRING: return false;
        }
        if (!value_of_raw(f, lowest, &low) || !value_of_raw(f, highest, &high))
                return false;
        *ret_min = f->scale < 0 ? high : low;
        *ret_max = f->scale < 0 ? low : high;
        return true;
}
