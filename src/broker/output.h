/* SPDX-License-Identifier: MIT */
/*
 * What is to be written to one client: small things one behind the other in chunks, large payloads by
 * reference. One writev(2) sends up to OUTPUT_PARTS of them. Chunks come from a pool of the broker, so that
 * nothing is allocated for a small message while things flow.
 *
 *   chunk (4 KiB: packets) ─► chunk (a reference to a payload) ─► chunk …
 *
 * Owned by the main thread.
 */
#ifndef MBGATE_BROKER_OUTPUT_H
#define MBGATE_BROKER_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/model/message.h"

#include "stream.h"

#define OUTPUT_CHUNK_BYTES 4096 /* with its head */
#define OUTPUT_PARTS       64   /* sent with one call */
#define OUTPUT_COPY_BYTES  1024 /* payloads up to these are copied, larger ones referenced */

struct output_chunk {
        struct output_chunk *next;
        struct message *message; /* what `data` points into; NULL: data is what follows */
        const uint8_t *data;
        size_t n;     /* of data */
        size_t n_out; /* of these, sent */
        size_t size;  /* of bytes[] */
        uint8_t bytes[];
};

struct output_pool {
        struct output_chunk *free;
        size_t n_free;
};

/* All zero at start. */
struct output {
        struct output_chunk *first, *last;
        size_t n_bytes; /* not sent yet */
};

/* Frees the chunks that nobody uses. */
void output_pool_done(struct output_pool *pool);

/* Room for `n` bytes in one piece at the end, which output_commit() makes part of the output. NULL: none. */
uint8_t *output_reserve(struct output *o, struct output_pool *pool, size_t n);
void output_commit(struct output *o, size_t n);

/* Takes back what the last output_commit() has added. */
void output_take_back(struct output *o, size_t n);

/* Copies. −ENOMEM. */
MUST_CHECK int output_put(struct output *o, struct output_pool *pool, const void *bytes, size_t n);

/* Appends a payload by reference. −ENOMEM. */
MUST_CHECK int output_put_payload(struct output *o, struct output_pool *pool, struct message *m);

/* Writes as much as the stream takes. The bytes written; −EAGAIN when none; −errno. */
MUST_CHECK ssize_t output_send(struct output *o, struct output_pool *pool, struct stream *stream);

void output_clear(struct output *o, struct output_pool *pool);

#endif
