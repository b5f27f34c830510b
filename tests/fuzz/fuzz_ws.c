/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket peer: the upgrade and frames. The first byte says how the bytes come: so many a read (0: all),
 * with bit 7 behind an upgrade that is well. What is read is written back, so that frames of both directions
 * and control frames mix. Nothing may come out that did not go in.
 */
#include <errno.h>
#include <stdlib.h>

#include "stream.h"

#include "fuzz.h"

#define OUT_MAX_BYTES (1 << 20)

struct wire {
        struct stream stream; /* the first member */
        struct fuzz_input in;
        size_t piece, n_out;
        unsigned n_writes;
};

static ssize_t wire_read(struct stream *s, void *bytes, size_t n)
{
        struct wire *w = (struct wire *)(void *)s;

        if (w->in.n == 0)
                return 0;
        n = n < w->in.n ? n : w->in.n;
        if (w->piece > 0 && n > w->piece)
                n = w->piece;
        fuzz_take(&w->in, bytes, n);
        return (ssize_t)n;
}

/* Takes a part of every third write, and nothing of every seventh. */
static ssize_t wire_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct wire *w = (struct wire *)(void *)s;
        size_t n = 0;

        w->n_writes++;
        if (w->n_writes % 7 == 0)
                return -EAGAIN;
        for (size_t i = 0; i < n_parts; i++) {
                volatile uint8_t sum = 0;

                for (size_t k = 0; k < parts[i].iov_len; k++)
                        sum = (uint8_t)(sum + ((const uint8_t *)parts[i].iov_base)[k]);
                n += parts[i].iov_len;
        }
        if (w->n_writes % 3 == 0 && n > 1)
                n /= 2;
        w->n_out += n;
        return (ssize_t)n;
}

static int wire_flush(struct stream *s)
{
        (void)s;
        return 0;
}

static uint32_t wire_events(const struct stream *s)
{
        (void)s;
        return 0;
}

static bool wire_has_input(const struct stream *s)
{
        (void)s;
        return false;
}

static void wire_shutdown(struct stream *s)
{
        (void)s;
}

static void wire_free(struct stream *s)
{
        free(s);
}

static const struct stream_ops wire_ops = {
        .read = wire_read,
        .write = wire_write,
        .flush = wire_flush,
        .events = wire_events,
        .has_input = wire_has_input,
        .shutdown = wire_shutdown,
        .free = wire_free,
};

static const char upgrade[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

static void talk(struct stream *ws, size_t n_in)
{
        static uint8_t bytes[16384];
        size_t n_read = 0;

        for (unsigned i = 0; i < 100000; i++) {
                ssize_t n = stream_read(ws, bytes, sizeof(bytes));
                struct iovec part = { .iov_base = bytes, .iov_len = n > 0 ? (size_t)n : 0 };

                if (n == -EAGAIN)
                        continue;
                if (n <= 0)
                        return;
                n_read += (size_t)n;
                FUZZ_ASSERT(n_read <= n_in);
                if (n_read < OUT_MAX_BYTES)
                        (void)!stream_write(ws, &part, 1);
                (void)stream_flush(ws);
                (void)stream_events(ws);
        }
        FUZZ_ASSERT(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct wire *w = calloc(1, sizeof(*w));
        uint8_t how = n > 0 ? data[0] : 0;
        size_t n_head = how & 0x80 ? sizeof(upgrade) - 1 : 0, n_rest = n > 0 ? n - 1 : 0;
        uint8_t *bytes = malloc(n_head + n_rest + 1);
        struct stream *ws;

        FUZZ_ASSERT(w && bytes);
        memcpy(bytes, upgrade, n_head);
        memcpy(bytes + n_head, data + 1, n_rest);
        *w = (struct wire){ .stream = { .ops = &wire_ops, .fd = -1 },
                            .in = { bytes, n_head + n_rest },
                            .piece = how & 0x7F };
        FUZZ_ASSERT(stream_ws_new(&w->stream, &ws) == 0);
        talk(ws, n_head + n_rest);
        stream_shutdown(ws);
        (void)stream_free(ws);
        free(bytes);
        return 0;
}
