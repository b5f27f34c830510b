/* SPDX-License-Identifier: MIT */
/*
 * What a stream has taken and the stream below it has not: it waits here until the peer reads again. Costs no
 * memory while nothing waits. Owned by the stream that holds it.
 */
#ifndef MBGATE_BROKER_STREAM_BACKLOG_H
#define MBGATE_BROKER_STREAM_BACKLOG_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#include "stream.h"

/* More than this waits never: who lets it come that far has not looked at what waits. */
#define STREAM_BACKLOG_MAX_BYTES (256u * 1024)

struct stream_backlog {
        uint8_t *bytes; /* NULL: nothing waits */
        size_t at, n;   /* what waits is bytes[at .. n) */
};

/*
 * Gives all parts to `inner`, behind what waits already; what it does not take waits. 0; −errno: the
 * connection is lost; −ENOMEM, −ENOBUFS: so is it, since a part is missing.
 */
MUST_CHECK int stream_backlog_put(struct stream_backlog *b, struct stream *inner, const struct iovec *parts,
                                  size_t n_parts);

/* 0: nothing waits any more, here and in `inner`; −EAGAIN; −errno. */
MUST_CHECK int stream_backlog_flush(struct stream_backlog *b, struct stream *inner);

void stream_backlog_done(struct stream_backlog *b);

static inline size_t stream_backlog_bytes(const struct stream_backlog *b)
{
        return b->n - b->at;
}

#endif
