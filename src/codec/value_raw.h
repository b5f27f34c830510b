/* SPDX-License-Identifier: MIT */
/* What the two directions of value.h share: the table of types, and registers ↔ one raw integer. */
#ifndef MBGATE_CODEC_VALUE_RAW_H
#define MBGATE_CODEC_VALUE_RAW_H

#include "mbgate/codec/value.h"

enum value_class {
        VALUE_CLASS_SIGNED,
        VALUE_CLASS_UNSIGNED,
        VALUE_CLASS_FLOAT,
        VALUE_CLASS_BCD,
        VALUE_CLASS_BOOL,
        VALUE_CLASS_STRING,
};

struct value_trait {
        const char *name;
        enum value_class class;
        unsigned n_regs; /* 0: by the length of the string */
};

const struct value_trait *value_trait(enum value_type type);

/* The class of the number that the format means: bits are unsigned, whatever they are taken from. */
enum value_class value_class_of(const struct value_format *f);

/* Bits of the raw number: of the field, or of the registers. */
unsigned value_width(const struct value_format *f);

/* The lowest `width` bits set, 1..64. */
static inline uint64_t value_ones(unsigned width)
{
        return UINT64_MAX >> (64 - width);
}

/* Up to four registers in the format's order ↔ one integer, the most significant word first. */
uint64_t value_join(const struct value_format *f, const uint16_t *regs);
void value_split(const struct value_format *f, uint64_t raw, uint16_t *ret_regs);

/* Bytes of a string register, the first one first. */
void value_string_bytes(const struct value_format *f, uint16_t reg, char ret_bytes[2]);

/* 1/scale where that is the whole number meant (0.1 → 10): dividing by it rounds once; else 0. */
double value_divisor(double scale);

/* Whether value = raw × scale + offset in whole numbers, which then are *ret_scale and *ret_offset. */
bool value_is_integral(const struct value_format *f, int64_t *ret_scale, int64_t *ret_offset);

#endif
