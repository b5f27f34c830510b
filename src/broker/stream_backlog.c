/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stream_backlog.h"

void stream_backlog_done(struct stream_backlog *b)
{
        free(b->bytes);
        *b = (struct stream_backlog){ .bytes = NULL };
}

/* Keeps the parts but for their first `skip` bytes. */
static int backlog_keep(struct stream_backlog *b, const struct iovec *parts, size_t n_parts, size_t skip)
{
        size_t n_new = 0, n_old = stream_backlog_bytes(b);
        uint8_t *bytes;

        for (size_t i = 0; i < n_parts; i++)
                n_new += parts[i].iov_len;
        n_new -= skip;
        if (n_new == 0)
                return 0;
        if (n_old + n_new > STREAM_BACKLOG_MAX_BYTES)
                return -ENOBUFS;
        bytes = malloc(n_old + n_new);
        if (!bytes)
                return -ENOMEM;
        if (n_old > 0)
                memcpy(bytes, b->bytes + b->at, n_old);
        free(b->bytes);
        *b = (struct stream_backlog){ .bytes = bytes, .n = n_old };
        for (size_t i = 0; i < n_parts; i++) {
                size_t n_skip = MBGATE_MIN(skip, parts[i].iov_len), n = parts[i].iov_len - n_skip;

                if (n > 0)
                        memcpy(b->bytes + b->n, (const uint8_t *)parts[i].iov_base + n_skip, n);
                b->n += n;
                skip -= n_skip;
        }
        return 0;
}

int stream_backlog_put(struct stream_backlog *b, struct stream *inner, const struct iovec *parts,
                       size_t n_parts)
{
        ssize_t n = stream_backlog_bytes(b) > 0 ? 0 : stream_write(inner, parts, n_parts);

        if (n < 0 && n != -EAGAIN)
                return (int)n;
        return backlog_keep(b, parts, n_parts, n < 0 ? 0 : (size_t)n);
}

int stream_backlog_flush(struct stream_backlog *b, struct stream *inner)
{
        while (stream_backlog_bytes(b) > 0) {
                struct iovec part = { .iov_base = b->bytes + b->at, .iov_len = stream_backlog_bytes(b) };
                ssize_t n = stream_write(inner, &part, 1);

                if (n < 0)
                        return (int)n;
                b->at += (size_t)n;
        }
        if (b->bytes)
                stream_backlog_done(b);
        return stream_flush(inner);
}
