/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "value_raw.h"

#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2⁵³: doubles up to here count in ones */

static const struct value_trait value_traits[] = {
        [VALUE_TYPE_BOOL] = { "bool", VALUE_CLASS_BOOL, 1 },
        [VALUE_TYPE_INT16] = { "int16", VALUE_CLASS_SIGNED, 1 },
        [VALUE_TYPE_UINT16] = { "uint16", VALUE_CLASS_UNSIGNED, 1 },
        [VALUE_TYPE_INT32] = { "int32", VALUE_CLASS_SIGNED, 2 },
        [VALUE_TYPE_UINT32] = { "uint32", VALUE_CLASS_UNSIGNED, 2 },
        [VALUE_TYPE_INT64] = { "int64", VALUE_CLASS_SIGNED, 4 },
        [VALUE_TYPE_UINT64] = { "uint64", VALUE_CLASS_UNSIGNED, 4 },
        [VALUE_TYPE_FLOAT32] = { "float32", VALUE_CLASS_FLOAT, 2 },
        [VALUE_TYPE_FLOAT64] = { "float64", VALUE_CLASS_FLOAT, 4 },
        [VALUE_TYPE_BCD16] = { "bcd16", VALUE_CLASS_BCD, 1 },
        [VALUE_TYPE_BCD32] = { "bcd32", VALUE_CLASS_BCD, 2 },
        [VALUE_TYPE_STRING] = { "string", VALUE_CLASS_STRING, 0 },
};

const struct value_trait *value_trait(enum value_type type)
{
        return &value_traits[type];
}

int value_type_parse(const char *name, enum value_type *ret)
{
        for (size_t i = 0; i < ARRAY_SIZE(value_traits); i++) {
                if (strcmp(name, value_traits[i].name) == 0) {
                        *ret = (enum value_type)i;
                        return 0;
                }
        }
        return -EINVAL;
}

const char *value_type_name(enum value_type type)
{
        return value_traits[type].name;
}

const char *value_error_text(enum value_error e)
{
        switch (e) {
        case VALUE_E_SENTINEL: return "not available";
        case VALUE_E_NOT_FINITE: return "not a finite number";
        case VALUE_E_DIGITS: return "invalid digits or characters";
        case VALUE_E_UNREADABLE: return "unreadable";
        case VALUE_E_RANGE: return "out of range";
        case VALUE_E_KIND: return "wrong kind of value";
        case VALUE_E_TOO_LONG: return "too long";
        }
        return "?";
}

unsigned value_n_regs(const struct value_format *f)
{
        unsigned n = value_traits[f->type].n_regs;

        return n ? n : (f->length_bytes + 1) / 2;
}

enum value_class value_class_of(const struct value_format *f)
{
        enum value_class class = value_traits[f->type].class;

        if (f->has_bits && class != VALUE_CLASS_BOOL && class != VALUE_CLASS_STRING)
                return VALUE_CLASS_UNSIGNED;
        return class;
}

unsigned value_width(const struct value_format *f)
{
        return f->has_bits ? f->bit_hi - f->bit_lo + 1 : 16 * value_traits[f->type].n_regs;
}

static bool value_swaps_bytes(const struct value_format *f)
{
        return f->order == VALUE_ORDER_BADC || f->order == VALUE_ORDER_DCBA;
}

static bool value_swaps_words(const struct value_format *f)
{
        return f->order == VALUE_ORDER_CDAB || f->order == VALUE_ORDER_DCBA;
}

/* The register that holds word i, counted from the most significant. */
static unsigned value_word_at(const struct value_format *f, unsigned i)
{
        return value_swaps_words(f) ? value_traits[f->type].n_regs - 1 - i : i;
}

uint64_t value_join(const struct value_format *f, const uint16_t *regs)
{
        uint64_t raw = 0;

        for (unsigned i = 0; i < value_traits[f->type].n_regs; i++) {
                uint16_t reg = regs[value_word_at(f, i)];

                raw = raw << 16 | (value_swaps_bytes(f) ? __builtin_bswap16(reg) : reg);
        }
        return raw;
}

void value_split(const struct value_format *f, uint64_t raw, uint16_t *ret_regs)
{
        for (unsigned i = value_traits[f->type].n_regs; i-- > 0; raw >>= 16) {
                uint16_t reg = (uint16_t)raw;

                ret_regs[value_word_at(f, i)] = value_swaps_bytes(f) ? __builtin_bswap16(reg) : reg;
        }
}

void value_string_bytes(const struct value_format *f, uint16_t reg, char ret_bytes[2])
{
        uint16_t sent = value_swaps_bytes(f) ? __builtin_bswap16(reg) : reg;

        ret_bytes[0] = (char)(sent >> 8);
        ret_bytes[1] = (char)(sent & 0xFF);
}

double value_divisor(double scale)
{
        double divisor = round(1.0 / scale);

        /* Equal is meant: the literal 0.1 is the double next to 1/10. */
        return fabs(divisor) > 1.0 && fabs(divisor) < EXACT_INTEGER_MAX && 1.0 / divisor >= scale &&
                               1.0 / divisor <= scale
                       ? divisor
                       : 0.0;
}

static bool value_is_whole(double d)
{
        return fabs(d) <= EXACT_INTEGER_MAX && trunc(d) >= d && trunc(d) <= d;
}

bool value_is_integral(const struct value_format *f, int64_t *ret_scale, int64_t *ret_offset)
{
        if (!value_is_whole(f->scale) || !value_is_whole(f->offset) || fabs(f->scale) < 1.0)
                return false;
        *ret_scale = (int64_t)f->scale;
        *ret_offset = (int64_t)f->offset;
        return true;
}

double value_as_double(const struct value *v)
{
        switch (v->kind) {
        case VALUE_BOOL: return v->b ? 1.0 : 0.0;
        case VALUE_INT: return (double)v->i;
        case VALUE_UINT: return (double)v->u;
        case VALUE_REAL: return v->r;
        case VALUE_NONE:
        case VALUE_TEXT: break;
        }
        return (double)NAN;
}
