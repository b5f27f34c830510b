/* SPDX-License-Identifier: MIT */
/* A format, registers and a command's text: decode, print, parse, encode, decode again. */
#include <math.h>

#include "mbgate/codec/value.h"

#include "fuzz.h"

static double take_scale(struct fuzz_input *in)
{
        static const double scales[] = { 1, 0.1, 0.01, 0.001, 10, 1000, -1, 0.05, 2.5, 1e-9, 1e9 };
        uint8_t at = fuzz_u8(in);
        double scale;

        if (at < 128)
                return scales[at % (sizeof(scales) / sizeof(scales[0]))];
        fuzz_take(in, &scale, sizeof(scale));
        return isfinite(scale) && fabs(scale) > 0.0 ? scale : 1.0;
}

static void take_format(struct fuzz_input *in, struct value_format *ret)
{
        static char one[] = "one", minus_two[] = "minus two";
        static struct value_label labels[] = { { 1, one }, { -2, minus_two } };
        static int64_t invalid[] = { 0x8000, -1 };
        uint8_t flags = fuzz_u8(in);

        *ret = (struct value_format){ .type = (enum value_type)(fuzz_u8(in) % (VALUE_TYPE_STRING + 1)) };
        ret->order = (enum value_order)(fuzz_u8(in) % 4);
        ret->length_bytes = 1 + fuzz_u8(in) % VALUE_TEXT_MAX_BYTES;
        ret->scale = take_scale(in);
        ret->offset = flags & 1 ? (double)(int16_t)fuzz_u16(in) / 8 : 0;
        ret->decimals = flags >> 1 & 7;
        ret->labels = labels;
        ret->n_labels = flags & 0x10 ? 2 : 0;
        ret->invalid = invalid;
        ret->n_invalid = flags & 0x20 ? 2 : 0;
        ret->has_min = ret->has_max = flags & 0x40;
        ret->min = -100;
        ret->max = 1000;
        if (flags & 0x80 && ret->type != VALUE_TYPE_STRING) {
                unsigned a = fuzz_u8(in) % (16 * value_n_regs(ret)),
                         b = fuzz_u8(in) % (16 * value_n_regs(ret));

                ret->has_bits = true;
                ret->bit_lo = a < b ? a : b;
                ret->bit_hi = a < b ? b : a;
        }
}

/* An integer without scale must come back bit by bit. */
static void check_exact(const struct value_format *f, const struct value *v, const uint16_t *regs)
{
        uint16_t again[VALUE_REGS_MAX], mask[VALUE_REGS_MAX];
        bool exact = f->type >= VALUE_TYPE_INT16 && f->type <= VALUE_TYPE_UINT64 && f->scale >= 1 &&
                     f->scale <= 1 && f->offset >= 0 && f->offset <= 0;
        int r = value_encode(f, v, again, mask);

        if (!exact || f->has_min)
                return;
        FUZZ_ASSERT(r == 0);
        for (unsigned i = 0; i < value_n_regs(f); i++)
                FUZZ_ASSERT(again[i] == (regs[i] & mask[i]));
}

static void check_print(const struct value_format *f, const struct value *v)
{
        char room[512];
        struct buf text = BUF_ON(room);
        struct value parsed;

        value_print(f, v, &text);
        FUZZ_ASSERT(!text.overflowed);
        if (v->kind == VALUE_TEXT || text.len_bytes > 64)
                return;
        FUZZ_ASSERT(!strpbrk(room, "eEnN") || f->n_labels > 0 || v->kind == VALUE_BOOL);
        FUZZ_ASSERT(value_parse(f, room, text.len_bytes, &parsed) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        uint16_t regs[VALUE_REGS_MAX], mask[VALUE_REGS_MAX];
        char text[VALUE_TEXT_MAX_BYTES];
        struct value_format f;
        struct value v;

        take_format(&in, &f);
        for (unsigned i = 0; i < value_n_regs(&f); i++)
                regs[i] = fuzz_u16(&in);
        if (value_decode(&f, regs, text, &v) == 0) {
                check_print(&f, &v);
                check_exact(&f, &v, regs);
        }
        if (value_parse(&f, (const char *)in.data, in.n, &v) == 0 && value_encode(&f, &v, regs, mask) == 0 &&
            value_decode(&f, regs, text, &v) == 0)
                check_print(&f, &v);
        return 0;
}
