/* SPDX-License-Identifier: MIT */
/*
 * Text and bytes written into a buffer of fixed size. An append that does not fit writes nothing and marks
 * the buffer as overflowed; who reads the result asks once at the end. The caller owns the memory. No heap.
 */
#ifndef MBGATE_BASE_BUF_H
#define MBGATE_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"

struct buf {
        char *data; /* always NUL-terminated */
        size_t len_bytes;
        size_t size_bytes; /* of data, the NUL included */
        bool overflowed;
};

/* A buffer over an array: char text[64]; struct buf b = BUF_ON(text); */
#define BUF_ON(array) buf_on((array), sizeof(array))
struct buf buf_on(char *data, size_t size_bytes);

void buf_append(struct buf *b, const char *text);
void buf_append_bytes(struct buf *b, const void *bytes, size_t n_bytes);
void buf_append_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* Empties it and forgets an overflow. */
void buf_reset(struct buf *b);

#endif
