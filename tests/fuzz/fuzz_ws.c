/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket peer: the upgrade and frames. The first byte says how the bytes come: so many a read (0: all),
 * with bit 7 behind an upgrade that is well; the second how many go out at a time. What is read is written
 * back. However they come and go, the same data come of them, and what goes out are frames as they should be.
 */
#include <errno.h>
#include <stdlib.h>

#include "fake_stream.h"

#include "fuzz.h"

#define BUFFER_BYTES 4096
#define ROUNDS_MAX   1000000

static const char upgrade[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct talk {
        struct fake_stream wire;
        struct stream *ws;
        uint8_t *got, *written;
        size_t n_got, n_written;
        ssize_t end; /* what the last read said */
};

static void append(uint8_t **bytes, size_t *n, const void *more, size_t n_more)
{
        *bytes = realloc(*bytes, *n + n_more + 1);
        FUZZ_ASSERT(*bytes);
        if (n_more > 0)
                memcpy(*bytes + *n, more, n_more);
        *n += n_more;
}

static void talk_write(struct talk *t, const uint8_t *bytes, size_t n)
{
        struct iovec parts[2] = { { (void *)(uintptr_t)bytes, n / 3 },
                                  { (void *)(uintptr_t)(bytes + n / 3), n - n / 3 } };
        ssize_t r = stream_write(t->ws, parts, 2);

        FUZZ_ASSERT(r == -EAGAIN || r >= 0);
        if (r > 0)
                append(&t->written, &t->n_written, bytes, (size_t)r);
        if (r == -EAGAIN)
                FUZZ_ASSERT(stream_events(t->ws) != 0);
}

static void talk_run(struct talk *t, const uint8_t *bytes, size_t n, size_t piece, size_t room)
{
        static uint8_t buffer[BUFFER_BYTES];

        fake_stream_init(&t->wire);
        fake_stream_feed(&t->wire, bytes, n);
        t->wire.piece = piece;
        FUZZ_ASSERT(stream_ws_new(&t->wire.stream, &t->ws) == 0);
        for (unsigned i = 0;; i++) {
                FUZZ_ASSERT(i < ROUNDS_MAX);
                t->wire.room = room > 0 ? room : SIZE_MAX;
                t->end = stream_read(t->ws, buffer, sizeof(buffer));
                if (t->end == -EAGAIN && t->wire.n_input > 0)
                        continue;
                if (t->end <= 0)
                        break;
                append(&t->got, &t->n_got, buffer, (size_t)t->end);
                talk_write(t, buffer, (size_t)t->end);
        }
        FUZZ_ASSERT(t->end == 0 || t->end == -EAGAIN || (t->end == -EPROTO && t->ws->reason));
        FUZZ_ASSERT(!stream_has_input(t->ws));
        t->wire.room = SIZE_MAX;
        FUZZ_ASSERT(stream_flush(t->ws) == 0);
        stream_shutdown(t->ws);
        FUZZ_ASSERT(t->wire.is_shut && stream_events(t->ws) == 0);
}

/* What went out behind the answer: whole frames of a server, the data that were written, one close at last.
 */
static void talk_check_output(struct talk *t)
{
        uint8_t *out, *end, *data = NULL;
        size_t n_data = 0;
        bool is_closed = false;

        if (t->wire.n_output == 0 || memcmp(t->wire.output, "HTTP/1.1 101", 12) != 0)
                return;
        end = t->wire.output + t->wire.n_output;
        out = memmem(t->wire.output, t->wire.n_output, "\r\n\r\n", 4);
        for (out += 4; out < end;) {
                size_t n = out[1], n_head = 2;

                FUZZ_ASSERT(!is_closed && end - out >= 2 && n <= 126);
                FUZZ_ASSERT(out[0] == 0x82 || (out[0] == 0x88 && n <= 2) || (out[0] == 0x8A && n <= 125));
                if (n == 126) {
                        FUZZ_ASSERT(end - out >= 4);
                        n = (size_t)out[2] << 8 | out[3];
                        n_head = 4;
                        FUZZ_ASSERT(n >= 126);
                }
                FUZZ_ASSERT((size_t)(end - out) >= n_head + n);
                is_closed = out[0] == 0x88;
                if (out[0] == 0x82)
                        append(&data, &n_data, out + n_head, n);
                out += n_head + n;
        }
        FUZZ_ASSERT(is_closed);
        /* What is written behind a close frame goes nowhere. */
        FUZZ_ASSERT(t->end == -EAGAIN ? n_data == t->n_written : n_data <= t->n_written);
        FUZZ_ASSERT(n_data == 0 || memcmp(data, t->written, n_data) == 0);
        free(data);
}

static void talk_done(struct talk *t)
{
        (void)stream_free(t->ws);
        FUZZ_ASSERT(t->wire.is_freed);
        fake_stream_done(&t->wire);
        free(t->got);
        free(t->written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        uint8_t how = fuzz_u8(&in), room = fuzz_u8(&in);
        size_t n_head = how & 0x80 ? sizeof(upgrade) - 1 : 0, n_all = n_head + in.n;
        uint8_t *bytes = malloc(n_all + 1);
        struct talk whole = { .n_got = 0 }, pieces = { .n_got = 0 };

        FUZZ_ASSERT(bytes);
        memcpy(bytes, upgrade, n_head);
        if (in.n > 0)
                memcpy(bytes + n_head, in.data, in.n);
        talk_run(&whole, bytes, n_all, 0, 0);
        talk_check_output(&whole);
        talk_run(&pieces, bytes, n_all, how & 0x7F, room);
        talk_check_output(&pieces);
        FUZZ_ASSERT(whole.end == pieces.end && whole.n_got == pieces.n_got && whole.n_got <= n_all);
        FUZZ_ASSERT(whole.n_got == 0 || memcmp(whole.got, pieces.got, whole.n_got) == 0);
        talk_done(&whole);
        talk_done(&pieces);
        free(bytes);
        return 0;
}
