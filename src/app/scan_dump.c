/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "mbgate/base/buf.h"

#include "scan_dump.h"

#define REAL_DECIMALS 6
#define LIKELY_MIN    1e-3
#define LIKELY_MAX    1e7
#define BITS_A_LINE   16
#define TEXT_MIN      3 /* characters in a row */

static const char *const order_names[] = { "ABCD", "CDAB", "BADC", "DCBA" };

static const struct {
        enum value_type type;
        const char *name;
        unsigned n_regs;
        bool only_two; /* orders: of 16 bits only high byte first and low byte first */
} kinds[] = {
        { VALUE_TYPE_UINT16, "uint16", 1, true }, { VALUE_TYPE_INT16, "int16", 1, true },
        { VALUE_TYPE_BCD16, "bcd16", 1, true },   { VALUE_TYPE_UINT32, "uint32", 2, false },
        { VALUE_TYPE_INT32, "int32", 2, false },  { VALUE_TYPE_FLOAT32, "float32", 2, false },
        { VALUE_TYPE_BCD32, "bcd32", 2, false },  { VALUE_TYPE_UINT64, "uint64", 4, false },
        { VALUE_TYPE_INT64, "int64", 4, false },  { VALUE_TYPE_FLOAT64, "float64", 4, false },
};

bool scan_dump_is_likely(double v)
{
        return isfinite(v) && fabs(v) >= LIKELY_MIN && fabs(v) <= LIKELY_MAX;
}

/* One interpretation; "-" for what is none. A float whose size no measurement has is shown short. */
static void print_value(const struct value_format *f, const uint16_t *regs, FILE *out)
{
        bool is_real = f->type == VALUE_TYPE_FLOAT32 || f->type == VALUE_TYPE_FLOAT64;
        char text[400];
        struct buf b = BUF_ON(text);
        struct value v;

        if (value_decode(f, regs, NULL, &v) != 0) {
                (void)fprintf(out, " %22s ", "-");
                return;
        }
        if (is_real && v.kind == VALUE_REAL && v.r != 0 && !scan_dump_is_likely(v.r))
                buf_printf(&b, "%.4g", v.r);
        else
                value_print(f, &v, &b);
        (void)fprintf(out, " %22s%c", b.overflowed ? "?" : text,
                      is_real && scan_dump_is_likely(value_as_double(&v)) ? '*' : ' ');
}

static bool are_there(const struct scan_cell *cells, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (cells[i].exception || cells[i].is_silent)
                        return false;
        }
        return true;
}

static void print_kind(size_t k, const uint16_t *regs, FILE *out)
{
        (void)fprintf(out, "    %-8s", kinds[k].name);
        for (unsigned o = 0; o < ARRAY_SIZE(order_names); o++) {
                struct value_format f = { .type = kinds[k].type,
                                          .order = (enum value_order)o,
                                          .scale = 1,
                                          .decimals = REAL_DECIMALS };

                if (f.type != VALUE_TYPE_FLOAT32 && f.type != VALUE_TYPE_FLOAT64)
                        f.decimals = 0;
                /* ABCD and BADC are all there is in one register. */
                if (!kinds[k].only_two || o == VALUE_ORDER_ABCD || o == VALUE_ORDER_BADC)
                        print_value(&f, regs, out);
                else
                        (void)fprintf(out, " %22s ", "");
        }
        (void)fputc('\n', out);
}

static char printable(unsigned c)
{
        return c >= ' ' && c <= '~' ? (char)c : '.';
}

static void print_head(const char *area, unsigned address, const struct scan_cell *c, FILE *out)
{
        (void)fprintf(out, "%s %u (0x%04X): ", area, address, address);
        if (c->is_silent)
                (void)fprintf(out, "no answer\n");
        else if (c->exception)
                (void)fprintf(out, "exception %u, %s\n", c->exception, pdu_exception_name(c->exception));
        else
                (void)fprintf(out, "0x%04X \"%c%c\"\n", c->value, printable(c->value >> 8),
                              printable(c->value & 0xFFu));
}

static void print_register(const char *area, unsigned address, const struct scan_cell *cells, size_t n,
                           FILE *out)
{
        uint16_t regs[4];

        print_head(area, address, cells, out);
        if (!are_there(cells, 1))
                return;
        for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
                regs[i] = i < n ? cells[i].value : 0;
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
                if (kinds[k].n_regs <= n && are_there(cells, kinds[k].n_regs))
                        print_kind(k, regs, out);
        }
}

static bool has_text(const char *text)
{
        size_t run = 0;

        for (; *text && run < TEXT_MIN; text++)
                run = *text == '.' ? 0 : run + 1;
        return run == TEXT_MIN;
}

/* All registers as characters, in both byte orders; what cannot be printed is a '.'. */
static void print_texts(const char *area, uint16_t address, const struct scan_cell *cells, size_t n,
                        FILE *out)
{
        for (int is_swapped = 0; is_swapped < 2; is_swapped++) {
                char text[2 * VALUE_REGS_MAX + 1];
                size_t len = 0;

                for (size_t i = 0; i < n && len + 2 < sizeof(text); i++) {
                        char high = printable(cells[i].value >> 8), low = printable(cells[i].value & 0xFFu);

                        text[len++] = is_swapped ? low : high;
                        text[len++] = is_swapped ? high : low;
                }
                text[len] = '\0';
                if (has_text(text))
                        (void)fprintf(out, "%s %u as string, %s: \"%s\"\n", area, (unsigned)address,
                                      is_swapped ? "BADC" : "ABCD", text);
        }
}

static void print_bits(const char *area, uint16_t address, const struct scan_cell *cells, size_t n, FILE *out)
{
        for (size_t i = 0; i < n; i++) {
                if (i % BITS_A_LINE == 0)
                        (void)fprintf(out, "%s%s %5u:", i ? "\n" : "", area, (unsigned)(address + i));
                if (cells[i].is_silent)
                        (void)fputs(" ?", out);
                else if (cells[i].exception)
                        (void)fprintf(out, " E%u", cells[i].exception);
                else
                        (void)fprintf(out, " %u", cells[i].value ? 1 : 0);
        }
        (void)fputc('\n', out);
}

void scan_dump_print(enum conf_area area, uint16_t address, const struct scan_cell *cells, size_t n,
                     FILE *out)
{
        static const char *const names[] = {
                [CONF_HOLDING] = "holding",
                [CONF_INPUT] = "input",
                [CONF_COIL] = "coil",
                [CONF_DISCRETE] = "discrete",
        };

        if (area == CONF_COIL || area == CONF_DISCRETE) {
                print_bits(names[area], address, cells, n, out);
                return;
        }
        (void)fprintf(out, "%12s", "");
        for (size_t o = 0; o < ARRAY_SIZE(order_names); o++)
                (void)fprintf(out, " %22s ", order_names[o]);
        (void)fputs("   * has the size of a measurement\n", out);
        for (size_t i = 0; i < n; i++)
                print_register(names[area], (unsigned)address + (unsigned)i, cells + i, n - i, out);
        print_texts(names[area], address, cells, n, out);
}
