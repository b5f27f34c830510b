/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/text.h"
#include "mbgate/codec/value.h"

#define NUMBER_MAX_BYTES \
        64 /* of a command's text; 17 digits and an exponent say all that a double can hold */
#define EXPONENT_MAX      9999
#define DIGITS_OF_DECIMAL 15 /* decimals of so many digits survive a double (DBL_DIG) */
#define DIGITS_OF_DOUBLE  17 /* doubles survive decimals of so many digits */
#define EXACT_REAL_MAX    1e15
#define INT64_MIN_REAL    (-9223372036854775808.0)

/* 0.d₁d₂…dₙ × 10^point, without a locale. */
struct value_decimal {
        char digits[DIGITS_OF_DOUBLE + 1];
        int n_digits;
        int point;
        bool negative;
};

/* A decimal number as written: digits without their point, which moves into the exponent. */
struct value_literal {
        char digits[NUMBER_MAX_BYTES + 1];
        size_t n_digits;
        int exponent;
        bool negative;
        bool is_integer; /* neither point nor exponent was written */
};

/* The number as somebody would write it: 21.5 and not 21.4999999999999982. */
static void value_to_decimal(double r, struct value_decimal *ret)
{
        int precision = fabs(r) < EXACT_REAL_MAX ? DIGITS_OF_DECIMAL : DIGITS_OF_DOUBLE;
        char text[64];
        const char *p = text;

        (void)snprintf(text, sizeof(text), "%.*e", precision - 1, fabs(r));
        ret->n_digits = 0;
        for (; *p != 'e' && *p != '\0';
             p++) { /* whatever the locale puts between the digits is passed over */
                if (*p >= '0' && *p <= '9' && ret->n_digits < precision)
                        ret->digits[ret->n_digits++] = *p;
        }
        ret->point = *p == 'e' ? (int)strtol(p + 1, NULL, 10) + 1 : 0;
        ret->negative = r < 0;
}

/* Keeps n digits (≤ 0: none), rounded half away from zero. */
static void value_round_decimal(struct value_decimal *d, int n)
{
        bool up = n >= 0 && n < d->n_digits && d->digits[n] >= '5';

        if (n >= d->n_digits)
                return;
        d->n_digits = n > 0 ? n : 0;
        for (int i = d->n_digits; up && i-- > 0;) {
                up = d->digits[i] == '9';
                d->digits[i] = up ? '0' : (char)(d->digits[i] + 1);
        }
        if (up) {
                memmove(d->digits + 1, d->digits, (size_t)d->n_digits);
                d->digits[0] = '1';
                d->n_digits++;
                d->point++;
        }
}

static bool value_decimal_is_zero(const struct value_decimal *d)
{
        for (int i = 0; i < d->n_digits; i++) {
                if (d->digits[i] != '0')
                        return false;
        }
        return true;
}

static char value_digit_at(const struct value_decimal *d, int i)
{
        return i >= 0 && i < d->n_digits ? d->digits[i] : '0';
}

static void value_print_real(double r, int decimals, struct buf *out)
{
        struct value_decimal d;

        value_to_decimal(r, &d);
        value_round_decimal(&d, d.point + decimals);
        if (d.negative && !value_decimal_is_zero(&d))
                buf_append_char(out, '-');
        for (int i = d.point > 0 ? 0 : d.point - 1; i < d.point; i++)
                buf_append_char(out, value_digit_at(&d, i));
        if (decimals > 0)
                buf_append_char(out, '.');
        for (int i = d.point; i < d.point + decimals; i++)
                buf_append_char(out, value_digit_at(&d, i));
}

static void value_print_fraction_zeros(unsigned decimals, struct buf *out)
{
        if (decimals > 0)
                buf_append_char(out, '.');
        for (unsigned i = 0; i < decimals; i++)
                buf_append_char(out, '0');
}

static bool value_label_fits(const struct value_label *label, const struct value *v)
{
        switch (v->kind) {
        case VALUE_BOOL: return label->value == v->b;
        case VALUE_INT: return label->value == v->i;
        case VALUE_REAL: return (double)label->value >= v->r && (double)label->value <= v->r;
        case VALUE_NONE:
        case VALUE_UINT:
        case VALUE_TEXT: break;
        }
        return false;
}

static bool value_print_label(const struct value_format *f, const struct value *v, struct buf *out)
{
        for (size_t i = 0; i < f->n_labels; i++) {
                if (value_label_fits(&f->labels[i], v)) {
                        buf_append(out, f->labels[i].label);
                        return true;
                }
        }
        return false;
}

void value_print(const struct value_format *f, const struct value *v, struct buf *out)
{
        if (value_print_label(f, v, out))
                return;
        switch (v->kind) {
        case VALUE_NONE: break;
        case VALUE_BOOL: buf_append(out, v->b ? "true" : "false"); break;
        case VALUE_INT:
                buf_printf(out, "%lld", (long long)v->i);
                value_print_fraction_zeros(f->decimals, out);
                break;
        case VALUE_UINT:
                buf_printf(out, "%llu", (unsigned long long)v->u);
                value_print_fraction_zeros(f->decimals, out);
                break;
        case VALUE_REAL: value_print_real(v->r, (int)f->decimals, out); break;
        case VALUE_TEXT: buf_append_bytes(out, v->text.data, v->text.len_bytes); break;
        }
}

static bool value_is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool value_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Signed decimal exponent at the end of a number, limited to ±EXPONENT_MAX. */
static bool value_scan_exponent(const char *text, size_t n, int *ret)
{
        bool negative = n > 0 && text[0] == '-';
        size_t i = n > 0 && (text[0] == '-' || text[0] == '+');
        int exponent = 0;

        if (i == n)
                return false;
        for (; i < n; i++) {
                if (!value_is_digit(text[i]))
                        return false;
                exponent = MBGATE_MIN(exponent * 10 + (text[i] - '0'), EXPONENT_MAX);
        }
        *ret = negative ? -exponent : exponent;
        return true;
}

/* [+-] digits [. digits] [e exponent], a digit at least, and nothing else. */
static bool value_scan_literal(const char *text, size_t n, struct value_literal *ret)
{
        size_t i = n > 0 && (text[0] == '-' || text[0] == '+');
        int exponent = 0;
        bool point = false;

        if (n == 0 || n > NUMBER_MAX_BYTES)
                return false;
        *ret = (struct value_literal){ .negative = text[0] == '-', .is_integer = true };
        for (; i < n && (value_is_digit(text[i]) || (text[i] == '.' && !point)); i++) {
                if (text[i] == '.')
                        point = true;
                else
                        ret->digits[ret->n_digits++] = text[i];
                if (text[i] != '.' && point)
                        ret->exponent--;
        }
        if (ret->n_digits == 0)
                return false;
        ret->is_integer = !point && i == n;
        if (i == n)
                return true;
        if ((text[i] != 'e' && text[i] != 'E') || !value_scan_exponent(text + i + 1, n - i - 1, &exponent))
                return false;
        ret->exponent += exponent;
        return true;
}

static bool value_literal_to_integer(const struct value_literal *l, struct value *ret)
{
        uint64_t u = 0;

        for (size_t i = 0; i < l->n_digits; i++) {
                if (__builtin_mul_overflow(u, 10u, &u) ||
                    __builtin_add_overflow(u, (uint64_t)(l->digits[i] - '0'), &u))
                        return false;
        }
        if (l->negative && u > (uint64_t)INT64_MAX + 1)
                return false;
        if (l->negative)
                *ret = (struct value){ .kind = VALUE_INT, .i = u == 0 ? 0 : -1 - (int64_t)(u - 1) };
        else if (u <= INT64_MAX)
                *ret = (struct value){ .kind = VALUE_INT, .i = (int64_t)u };
        else
                *ret = (struct value){ .kind = VALUE_UINT, .u = u };
        return true;
}

/* Through strtod(3), which reads a whole number with an exponent alike in every locale. */
static int value_literal_to_real(const struct value_literal *l, struct value *ret)
{
        char text[NUMBER_MAX_BYTES + 16];
        double r;

        (void)snprintf(text, sizeof(text), "%s%se%d", l->negative ? "-" : "", l->digits, l->exponent);
        r = strtod(text, NULL);
        if (!isfinite(r))
                return VALUE_E_RANGE;
        *ret = (struct value){ .kind = VALUE_REAL, .r = r };
        return 0;
}

static int value_parse_number(const char *text, size_t n, struct value *ret)
{
        struct value_literal literal;
        int r;

        if (!value_scan_literal(text, n, &literal))
                return VALUE_E_UNREADABLE;
        if (literal.is_integer && value_literal_to_integer(&literal, ret))
                return 0;
        r = value_literal_to_real(&literal, ret);
        /* A whole number just below −2⁶³ must not be rounded up to what an int64 can hold. */
        if (r == 0 && literal.is_integer && literal.negative && ret->r >= INT64_MIN_REAL)
                ret->r = nextafter(INT64_MIN_REAL, -HUGE_VAL);
        return r;
}

static bool value_parse_label(const struct value_format *f, const char *text, size_t n, struct value *ret)
{
        for (size_t i = 0; i < f->n_labels; i++) {
                if (!text_equal_nocase(text, n, f->labels[i].label))
                        continue;
                if (f->type == VALUE_TYPE_BOOL)
                        *ret = (struct value){ .kind = VALUE_BOOL, .b = f->labels[i].value != 0 };
                else
                        *ret = (struct value){ .kind = VALUE_INT, .i = f->labels[i].value };
                return true;
        }
        return false;
}

static bool value_parse_switch(const struct value_format *f, const char *text, size_t n, struct value *ret)
{
        static const struct {
                const char *word;
                bool b;
                bool is_number;
        } words[] = {
                { "on", true, false },     { "off", false, false }, { "true", true, false },
                { "false", false, false }, { "1", true, true },     { "0", false, true },
        };

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                if (words[i].is_number && f->type != VALUE_TYPE_BOOL)
                        continue;
                if (text_equal_nocase(text, n, words[i].word)) {
                        *ret = (struct value){ .kind = VALUE_BOOL, .b = words[i].b };
                        return true;
                }
        }
        return false;
}

static bool value_is_not_finite_word(const char *text, size_t n)
{
        if (n > 0 && (text[0] == '+' || text[0] == '-')) {
                text++;
                n--;
        }
        return text_equal_nocase(text, n, "nan") || text_equal_nocase(text, n, "inf") ||
               text_equal_nocase(text, n, "infinity");
}

int value_parse(const struct value_format *f, const char *text, size_t len_bytes, struct value *ret)
{
        if (f->type == VALUE_TYPE_STRING) {
                if (!text_is_mqtt_utf8(text, len_bytes))
                        return VALUE_E_UNREADABLE;
                *ret = (struct value){ .kind = VALUE_TEXT, .text = { .data = text, .len_bytes = len_bytes } };
                return 0;
        }
        while (len_bytes > 0 && value_is_blank(text[0])) {
                text++;
                len_bytes--;
        }
        while (len_bytes > 0 && value_is_blank(text[len_bytes - 1]))
                len_bytes--;
        if (value_parse_label(f, text, len_bytes, ret) || value_parse_switch(f, text, len_bytes, ret))
                return 0;
        if (value_is_not_finite_word(text, len_bytes))
                return VALUE_E_NOT_FINITE;
        return value_parse_number(text, len_bytes, ret);
}
