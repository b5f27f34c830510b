/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_stream.h"

static struct fake_stream *of(struct stream *s)
{
        return (struct fake_stream *)(void *)s;
}

static ssize_t fake_read(struct stream *s, void *bytes, size_t n)
{
        struct fake_stream *f = of(s);

        if (f->error < 0)
                return f->error;
        if (f->n_input == 0)
                return f->has_end ? 0 : -EAGAIN;
        n = MBGATE_MIN(n, f->n_input);
        if (f->piece > 0)
                n = MBGATE_MIN(n, f->piece);
        memcpy(bytes, f->input, n);
        f->input += n;
        f->n_input -= n;
        return (ssize_t)n;
}

static ssize_t fake_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct fake_stream *f = of(s);
        size_t n_taken = 0;

        if (f->error < 0)
                return f->error;
        for (size_t i = 0; i < n_parts && f->room > 0; i++) {
                size_t n = MBGATE_MIN(parts[i].iov_len, f->room);

                if (n == 0)
                        continue;
                f->output = realloc(f->output, f->n_output + n);
                if (!f->output)
                        abort();
                memcpy(f->output + f->n_output, parts[i].iov_base, n);
                f->n_output += n;
                f->room -= n;
                n_taken += n;
        }
        f->n_writes += n_taken > 0;
        return n_taken > 0 ? (ssize_t)n_taken : -EAGAIN;
}

static int fake_flush(struct stream *s)
{
        (void)s;
        return 0;
}

static uint32_t fake_events(const struct stream *s)
{
        (void)s;
        return 0;
}

static bool fake_has_input(const struct stream *s)
{
        (void)s;
        return false;
}

static void fake_shutdown(struct stream *s)
{
        of(s)->is_shut = true;
}

static void fake_free(struct stream *s)
{
        of(s)->is_freed = true;
}

static const struct stream_ops fake_ops = {
        .read = fake_read,
        .write = fake_write,
        .flush = fake_flush,
        .events = fake_events,
        .has_input = fake_has_input,
        .shutdown = fake_shutdown,
        .free = fake_free,
};

void fake_stream_init(struct fake_stream *f)
{
        *f = (struct fake_stream){ .stream = { .ops = &fake_ops, .fd = -1 }, .room = SIZE_MAX };
}

void fake_stream_done(struct fake_stream *f)
{
        free(f->output);
        fake_stream_init(f);
}

void fake_stream_feed(struct fake_stream *f, const void *bytes, size_t n)
{
        f->input = bytes;
        f->n_input = n;
}
