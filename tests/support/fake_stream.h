/* SPDX-License-Identifier: MIT */
/*
 * A stream in memory, below one that is tested: the test says which bytes come, in which pieces, and how many
 * may go out. What went out is kept.
 */
#ifndef MBGATE_TESTS_FAKE_STREAM_H
#define MBGATE_TESTS_FAKE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream.h"

struct fake_stream {
        struct stream stream; /* give this to the one above; it is never freed */
        const uint8_t *input; /* borrowed */
        size_t n_input;
        size_t piece; /* the most of one read; 0: no limit */
        bool has_end; /* after the input: 0 instead of −EAGAIN */
        int error;    /* −errno of all reads and writes; 0: none */
        uint8_t *output;
        size_t n_output;
        size_t room;       /* bytes that may go out before −EAGAIN */
        unsigned n_writes; /* that took something */
        bool is_shut, is_freed;
};

/* No input, and room without end. */
void fake_stream_init(struct fake_stream *f);
void fake_stream_done(struct fake_stream *f);

void fake_stream_feed(struct fake_stream *f, const void *bytes, size_t n);

#endif
