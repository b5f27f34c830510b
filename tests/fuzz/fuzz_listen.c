/* SPDX-License-Identifier: MIT */
/*
 * The listener: pieces of a line, each behind a pause. Every byte must end in one frame or as junk, every
 * frame must have been on the line with a right CRC, and replies must fit their requests. Without pauses, at
 * once and byte by byte must agree. A frame with a right CRC made from the input stands between the pieces,
 * so that there is something to find.
 */
#include "mbgate/codec/rtu.h"

#include "fuzz.h"
#include "listen.h"

#define T35_US     4000
#define REPLY_US   100000
#define LINE_BYTES 8192
#define PAIRS_MAX  4096

struct line {
        struct listen listen;
        uint8_t bytes[LINE_BYTES];
        size_t n;
        uint64_t now_us;
        size_t n_in_pairs;
        size_t n_pairs;
        enum listen_kind kinds[PAIRS_MAX];
};

static void check_frame(const struct line *t, uint8_t unit, const struct pdu *pdu)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n;

        if (pdu->n_bytes == 0)
                return;
        FUZZ_ASSERT(pdu->n_bytes <= PDU_MAX_BYTES);
        n = rtu_frame(unit, pdu->bytes, pdu->n_bytes, adu);
        FUZZ_ASSERT(memmem(t->bytes, t->n, adu, n));
}

static void take(struct line *t)
{
        struct listen_pair p;
        enum listen_kind kind;

        while ((kind = listen_next(&t->listen, t->now_us, &p)) != LISTEN_NONE) {
                FUZZ_ASSERT(kind == p.kind && t->n_pairs < PAIRS_MAX);
                check_frame(t, p.unit, &p.request);
                check_frame(t, p.unit, &p.reply);
                if (kind == LISTEN_REPLY)
                        FUZZ_ASSERT(pdu_is_reply(&p.request, p.reply.bytes, p.reply.n_bytes));
                if (kind == LISTEN_EXCEPTION)
                        FUZZ_ASSERT(pdu_is_exception(&p.request, p.reply.bytes, p.reply.n_bytes));
                FUZZ_ASSERT(p.asked_us <= p.asked_to_us && p.asked_to_us <= p.done_us);
                t->n_in_pairs += p.n_bytes;
                t->kinds[t->n_pairs++] = kind;
        }
        FUZZ_ASSERT(t->listen.n - t->listen.at < RTU_ADU_MAX_BYTES + 1);
}

static void feed(struct line *t, const uint8_t *bytes, size_t n, size_t piece)
{
        if (n > LINE_BYTES - t->n)
                n = LINE_BYTES - t->n;
        memcpy(t->bytes + t->n, bytes, n);
        t->n += n;
        for (size_t i = 0; i < n; i += piece) {
                listen_feed(&t->listen, bytes + i, n - i < piece ? n - i : piece, t->now_us);
                take(t);
        }
}

static void end(struct line *t)
{
        t->now_us += LISTEN_SETTLE_US;
        take(t);
        t->now_us += REPLY_US + 1;
        take(t);
        FUZZ_ASSERT(listen_wake_us(&t->listen) == UINT64_MAX);
        FUZZ_ASSERT(t->n_in_pairs + t->listen.counts.n_junk_bytes == t->n);
}

static void start(struct line *t)
{
        t->n = t->n_in_pairs = t->n_pairs = 0;
        listen_init(&t->listen, T35_US, REPLY_US);
        t->now_us = 1000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static struct line paused, whole, bytewise;
        struct fuzz_input in = { data, n };

        start(&paused);
        start(&whole);
        start(&bytewise);
        while (in.n > 0) {
                uint8_t how = fuzz_u8(&in), piece[RTU_ADU_MAX_BYTES];
                size_t len = 1 + (size_t)fuzz_u8(&in) % (how & 1 ? PDU_MAX_BYTES : 32);

                len = len < in.n ? len : in.n;
                if (len == 0)
                        break;
                fuzz_take(&in, piece, len);
                if (how & 2 && len <= PDU_MAX_BYTES + 1 && len >= 2) {
                        uint8_t pdu[PDU_MAX_BYTES + 1];

                        memcpy(pdu, piece + 1, len - 1);
                        len = rtu_frame(piece[0], pdu, len - 1, piece);
                }
                paused.now_us += (uint64_t)(how >> 2) * 1500;
                take(&paused);
                feed(&paused, piece, len, how & 4 ? 1 : 14);
                feed(&whole, piece, len, sizeof(piece));
                feed(&bytewise, piece, len, 1);
        }
        end(&paused);
        end(&whole);
        end(&bytewise);
        FUZZ_ASSERT(whole.n_pairs == bytewise.n_pairs);
        FUZZ_ASSERT(memcmp(whole.kinds, bytewise.kinds, whole.n_pairs * sizeof(*whole.kinds)) == 0);
        FUZZ_ASSERT(memcmp(&whole.listen.counts, &bytewise.listen.counts, sizeof(whole.listen.counts)) == 0);
        return 0;
}
