/* SPDX-License-Identifier: MIT */
/* What every fuzz target uses. */
#ifndef MBGATE_TESTS_FUZZ_H
#define MBGATE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* An assertion that stays in release builds. */
#define FUZZ_ASSERT(x)           \
        do {                     \
                if (!(x))        \
                        abort(); \
        } while (0)

/* Takes numbers from the head of the input; zeros when it is used up. */
struct fuzz_input {
        const uint8_t *data;
        size_t n;
};

static inline void fuzz_take(struct fuzz_input *in, void *ret, size_t n)
{
        size_t have = n < in->n ? n : in->n;

        memset(ret, 0, n);
        if (have > 0)
                memcpy(ret, in->data, have);
        in->data += have;
        in->n -= have;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
        uint8_t v;

        fuzz_take(in, &v, sizeof(v));
        return v;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
        unsigned high = fuzz_u8(in);

        return (uint16_t)(high << 8 | fuzz_u8(in));
}

#endif
