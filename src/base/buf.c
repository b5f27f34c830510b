/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "mbgate/base/buf.h"

struct buf buf_on(char *data, size_t size_bytes)
{
        data[0] = '\0';
        return (struct buf){ .data = data, .size_bytes = size_bytes };
}

void buf_append_bytes(struct buf *b, const void *bytes, size_t n_bytes)
{
        if (b->overflowed || n_bytes >= b->size_bytes - b->len_bytes) {
                b->overflowed = true;
                return;
        }
        memcpy(b->data + b->len_bytes, bytes, n_bytes);
        b->len_bytes += n_bytes;
        b->data[b->len_bytes] = '\0';
}

void buf_append(struct buf *b, const char *text)
{
        buf_append_bytes(b, text, strlen(text));
}

void buf_append_char(struct buf *b, char c)
{
        buf_append_bytes(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
        size_t room = b->size_bytes - b->len_bytes;
        int n = vsnprintf(b->data + b->len_bytes, room, fmt, ap);

        if (b->overflowed || n < 0 || (size_t)n >= room) {
                b->overflowed = true;
                b->data[b->len_bytes] = '\0';
                return;
        }
        b->len_bytes += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        buf_vprintf(b, fmt, ap);
        va_end(ap);
}

void buf_reset(struct buf *b)
{
        b->len_bytes = 0;
        b->data[0] = '\0';
        b->overflowed = false;
}
