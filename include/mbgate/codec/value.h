/* SPDX-License-Identifier: MIT */
/*
 * Registers to values and back. A `struct value_format` says how the registers of one point become its value
 * in engineering units; it belongs to the configuration and never changes. Pure: no heap, no I/O, no log, no
 * thread.
 *
 *   registers ──order──► raw bits ──bits──► raw number ──sentinel?──► ×scale +offset ──► value ──decimals──►
 * text
 */
#ifndef MBGATE_CODEC_VALUE_H
#define MBGATE_CODEC_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"

/* A string of 125 registers: all that one read can bring. */
#define VALUE_REGS_MAX       125
#define VALUE_TEXT_MAX_BYTES (2 * VALUE_REGS_MAX)
#define VALUE_DECIMALS_MAX   9

enum value_type {
        VALUE_TYPE_BOOL, /* a coil or discrete input; of a register: not zero */
        VALUE_TYPE_INT16,
        VALUE_TYPE_UINT16,
        VALUE_TYPE_INT32,
        VALUE_TYPE_UINT32,
        VALUE_TYPE_INT64,
        VALUE_TYPE_UINT64,
        VALUE_TYPE_FLOAT32, /* IEEE 754 binary32 */
        VALUE_TYPE_FLOAT64, /* IEEE 754 binary64 */
        VALUE_TYPE_BCD16,   /* four decimal digits */
        VALUE_TYPE_BCD32,   /* eight decimal digits */
        VALUE_TYPE_STRING,  /* two characters a register, ends at NUL; blanks and 0xFF at the end are cut */
};

/*
 * Named by the bytes of 0xAABBCCDD as they are sent. For 64 bits the same rule with words: ABCD = ABCDEFGH,
 * CDAB = GHEFCDAB (words reversed), BADC = BADCFEHG (bytes swapped in each word), DCBA = HGFEDCBA.
 * For 16 bits and strings: ABCD and CDAB high byte first, BADC and DCBA low byte first.
 */
enum value_order {
        VALUE_ORDER_ABCD,
        VALUE_ORDER_CDAB,
        VALUE_ORDER_BADC,
        VALUE_ORDER_DCBA,
};

/* One entry of a point's value map: the number (after scale and offset) and its name. */
struct value_label {
        int64_t value;
        char *label;
};

struct value_format {
        enum value_type type;
        enum value_order order;
        unsigned length_bytes; /* VALUE_TYPE_STRING: 1..250 */
        bool has_bits;         /* take bits bit_lo..bit_hi (0 = least significant) of the raw integer */
        unsigned bit_lo, bit_hi;
        double scale, offset;
        unsigned decimals; /* digits after the point in text, 0..9 */
        struct value_label *labels;
        size_t n_labels;
        int64_t *invalid; /* sentinels, compared with the raw number (of floats its bits; after `bits` the
                             field) as signed and as unsigned of its width; for BCD with the decimal number */
        size_t n_invalid;
        bool has_min, has_max;
        double min, max; /* of a command, in engineering units, both inclusive */
};

enum value_kind {
        VALUE_NONE,
        VALUE_BOOL,
        VALUE_INT,  /* i: an integer type, scale 1, offset 0, or any that fits */
        VALUE_UINT, /* u: above INT64_MAX only */
        VALUE_REAL, /* r: finite */
        VALUE_TEXT, /* text: borrowed, not terminated, valid UTF-8 */
};

struct value {
        enum value_kind kind;
        union {
                bool b;
                int64_t i;
                uint64_t u;
                double r;
                struct {
                        const char *data;
                        size_t len_bytes;
                } text;
        };
};

/* Why there is no value, or why it cannot be written. */
enum value_error {
        VALUE_E_SENTINEL = 1, /* the raw number is one of `invalid` */
        VALUE_E_NOT_FINITE,   /* NaN or infinity */
        VALUE_E_DIGITS,       /* a BCD digit above 9; a string that is not UTF-8 */
        VALUE_E_UNREADABLE,   /* the text is no number, switch word or label of this point */
        VALUE_E_RANGE,        /* outside min..max, or of what the registers can hold */
        VALUE_E_KIND,         /* a text for a number, or the reverse */
        VALUE_E_TOO_LONG,     /* a string longer than length_bytes */
};

/* A short phrase for a person, "out of range". */
const char *value_error_text(enum value_error e);

/* Registers (or, for coils, bits) that the format covers: 1..125. */
unsigned value_n_regs(const struct value_format *f);

/*
 * Decodes value_n_regs() registers in host order, as the wire sent them. `text` holds the characters of a
 * string (VALUE_TEXT_MAX_BYTES) and must live as long as the value; may be NULL for other types. 0, or
 * VALUE_E_SENTINEL, _NOT_FINITE, _DIGITS with *ret untouched.
 */
MUST_CHECK int value_decode(const struct value_format *f, const uint16_t *regs, char *text,
                            struct value *ret);

/*
 * The registers that stand for a value: inverse scale, rounded half away from zero, checked against min, max
 * and the type. For a format with bits, *ret_regs holds them in place and the mask (same number of registers)
 * says which bits are meant; else the mask is all ones. 0, or VALUE_E_RANGE, _KIND, _TOO_LONG, _NOT_FINITE;
 * outputs untouched.
 */
MUST_CHECK int value_encode(const struct value_format *f, const struct value *v, uint16_t *ret_regs,
                            uint16_t *ret_mask);

/*
 * Whether the registers can hold only the values to both sides of this one, and rounding would be a surprise:
 * 1.5 for a relay or a counter. So it is for integers, BCD and bits that count in ones (scale 1 or −1, no
 * decimals) and for those with a map; others have a resolution, and 21.47 for one with scale 0.1 means 21.5.
 * Ask after value_encode(), which rounds. The two values are set only if so.
 */
bool value_is_between_steps(const struct value_format *f, const struct value *v, double *ret_below,
                            double *ret_above);

/*
 * The lowest and the highest value that the registers can hold, with scale and offset; sentinels, min and max
 * do not matter. False, outputs untouched: floating point, truth values and strings.
 */
bool value_limits(const struct value_format *f, struct value *ret_min, struct value *ret_max);

/*
 * The plain text of a value: label if the map has one, `true`/`false` for bool, else a number with
 * f->decimals digits and never an exponent; halves are rounded away from zero as they read in decimal (0.15
 * becomes 0.2), and zero has no sign. VALUE_NONE has no text. An overflow shows in the buffer; 330 bytes hold
 * any number.
 */
void value_print(const struct value_format *f, const struct value *v, struct buf *out);

/*
 * Reads a command's text (design: commands): a label in any case, on/off/true/false in any case (VALUE_BOOL,
 * for any type; for bool 1/0 as well), or a decimal number of at most 64 characters ("-12.50", ".5", "1e3";
 * no hexadecimal). White space around is ignored. For strings the text itself (borrowed, as it is). 0, or
 * VALUE_E_UNREADABLE, _NOT_FINITE (the words nan, inf, infinity), _RANGE (beyond a double) with *ret
 * untouched. No locale matters.
 */
MUST_CHECK int value_parse(const struct value_format *f, const char *text, size_t len_bytes,
                           struct value *ret);

/* The value as a double for comparisons; NaN for VALUE_NONE and VALUE_TEXT. */
double value_as_double(const struct value *v);

/* Type and order by the names of the configuration: "int16", "CDAB". 0 or −EINVAL. */
MUST_CHECK int value_type_parse(const char *name, enum value_type *ret);
const char *value_type_name(enum value_type type);

#endif
