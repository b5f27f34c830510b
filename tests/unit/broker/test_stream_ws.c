/* SPDX-License-Identifier: MIT */
/* WebSocket frames, byte by byte, over a stream in memory. RFC 6455 §5, MQTT 5.0 §6. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <cmocka.h>

#include "fake_stream.h"
#include "stream.h"

#define REQUEST                                                                          \
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"   \
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define ANSWER_END "\r\n\r\n"

/* Frames of a client. */
struct frames {
        uint8_t bytes[256 * 1024];
        size_t n;
};

static void frame_add(struct frames *f, uint8_t first, const void *payload, size_t n)
{
        static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
        uint8_t *at = f->bytes + f->n;

        *at++ = first;
        if (n < 126) {
                *at++ = (uint8_t)(0x80 | n);
        } else if (n <= UINT16_MAX) {
                *at++ = 0x80 | 126;
                *at++ = (uint8_t)(n >> 8);
                *at++ = (uint8_t)n;
        } else {
                *at++ = 0x80 | 127;
                for (int shift = 56; shift >= 0; shift -= 8)
                        *at++ = (uint8_t)((uint64_t)n >> shift);
        }
        memcpy(at, mask, 4);
        at += 4;
        for (size_t i = 0; i < n; i++)
                *at++ = ((const uint8_t *)payload)[i] ^ mask[i % 4];
        f->n = (size_t)(at - f->bytes);
        assert_true(f->n <= sizeof(f->bytes));
}

struct fixture {
        struct fake_stream inner;
        struct stream *ws;
        struct frames frames;
        uint8_t got[256 * 1024];
        size_t n_got;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        fake_stream_init(&f->inner);
        assert_int_equal(stream_ws_new(&f->inner.stream, &f->ws), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        f->ws = stream_free(f->ws);
        assert_true(f->inner.is_freed);
        fake_stream_done(&f->inner);
        free(f);
        return 0;
}

/* Reads until there is no more; what the last read said. */
static ssize_t read_all(struct fixture *f, size_t n_at_most)
{
        ssize_t n;

        do {
                n = stream_read(f->ws, f->got + f->n_got, n_at_most);
                f->n_got += n > 0 ? (size_t)n : 0;
        } while (n > 0 || (n == -EAGAIN && f->inner.n_input > 0)); /* epoll would tell of more */
        assert_false(stream_has_input(f->ws));
        return n;
}

static void upgrade(struct fixture *f)
{
        fake_stream_feed(&f->inner, REQUEST, strlen(REQUEST));
        assert_int_equal(read_all(f, 64), -EAGAIN);
        assert_true(f->inner.n_output > 4);
        assert_memory_equal(f->inner.output, "HTTP/1.1 101 ", 13);
        assert_memory_equal(f->inner.output + f->inner.n_output - 4, ANSWER_END, 4);
        f->inner.n_output = 0;
}

static ssize_t feed(struct fixture *f, size_t piece)
{
        ssize_t r;

        fake_stream_feed(&f->inner, f->frames.bytes, f->frames.n);
        f->inner.piece = piece;
        r = read_all(f, 4096);
        f->frames.n = 0;
        return r;
}

static void expect_out(struct fixture *f, const void *bytes, size_t n)
{
        assert_int_equal(f->inner.n_output, n);
        assert_memory_equal(f->inner.output, bytes, n);
        f->inner.n_output = 0;
}

static ssize_t write_one(struct fixture *f, const void *bytes, size_t n)
{
        struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };

        return stream_write(f->ws, &part, 1);
}

/* ---- the upgrade ---- */

static void test_nothing_before_upgrade(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(write_one(f, "a", 1), -EAGAIN);
        assert_int_equal(read_all(f, 64), -EAGAIN);
        assert_int_equal(f->inner.n_output, 0);
}

static void test_upgrade_byte_by_byte(void **state)
{
        struct fixture *f = *state;

        f->inner.piece = 1;
        upgrade(f);
        frame_add(&f->frames, 0x82, "abc", 3);
        assert_int_equal(feed(f, 1), -EAGAIN);
        assert_int_equal(f->n_got, 3);
        assert_memory_equal(f->got, "abc", 3);
}

/* A client that does not wait for the answer. */
static void test_frames_right_behind(void **state)
{
        struct fixture *f = *state;
        uint8_t all[1024];

        frame_add(&f->frames, 0x82, "abcdefghij", 10);
        frame_add(&f->frames, 0x82, "k", 1);
        memcpy(all, REQUEST, strlen(REQUEST));
        memcpy(all + strlen(REQUEST), f->frames.bytes, f->frames.n);
        fake_stream_feed(&f->inner, all, strlen(REQUEST) + f->frames.n);
        assert_int_equal(stream_read(f->ws, f->got, 16), 10); /* as much as 16 bytes of frames hold */
        assert_true(stream_has_input(f->ws));
        f->n_got = 10;
        assert_int_equal(read_all(f, 3), -EAGAIN);
        assert_int_equal(f->n_got, 11);
        assert_memory_equal(f->got, "abcdefghijk", 11);
}

static void test_refused(void **state)
{
        static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        struct fixture *f = *state;

        fake_stream_feed(&f->inner, request, sizeof(request) - 1);
        assert_int_equal(read_all(f, 64), -EPROTO);
        assert_non_null(f->ws->reason);
        assert_memory_equal(f->inner.output, "HTTP/1.1 426 ", 13);
        /* last words, and what still comes is thrown away */
        stream_shutdown(f->ws);
        assert_true(f->inner.is_shut);
        fake_stream_feed(&f->inner, "more", 4);
        assert_int_equal(read_all(f, 64), -EAGAIN);
        f->inner.has_end = true;
        assert_int_equal(read_all(f, 64), 0);
}

/* The answer of 101 does not fit either: it waits. */
static void test_refused_slowly(void **state)
{
        struct fixture *f = *state;

        f->inner.room = 10;
        fake_stream_feed(&f->inner, "\x10\x02", 2);
        assert_int_equal(read_all(f, 64), -EPROTO);
        assert_string_equal(f->ws->reason, "WebSocket: this is no HTTP");
        assert_int_equal(f->inner.n_output, 10);
        assert_int_equal(stream_events(f->ws), EPOLLOUT);
        stream_shutdown(f->ws);
        assert_false(f->inner.is_shut);
        assert_int_equal(stream_flush(f->ws), -EAGAIN);
        f->inner.room = 4096;
        assert_int_equal(stream_flush(f->ws), 0);
        assert_true(f->inner.is_shut);
        assert_int_equal(stream_events(f->ws), 0);
}

static void test_long_request(void **state)
{
        static char request[9000] = "GET / HTTP/1.1\r\nX: ";
        struct fixture *f = *state;

        memset(request + strlen(request), 'x', sizeof(request) - strlen(request));
        fake_stream_feed(&f->inner, request, sizeof(request));
        assert_int_equal(read_all(f, 64), -EPROTO);
        assert_memory_equal(f->inner.output, "HTTP/1.1 431 ", 13);
}

static void test_end_in_upgrade(void **state)
{
        struct fixture *f = *state;

        fake_stream_feed(&f->inner, "GET / HT", 8);
        f->inner.has_end = true;
        assert_int_equal(read_all(f, 64), 0);
}

/* ---- frames in ---- */

/* RFC 6455 §5.7 has these frames. */
static void test_examples(void **state)
{
        static const uint8_t fragments[] = { 0x02, 0x83, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d,
                                             0x80, 0x82, 0x3d, 0x54, 0x23, 0x06, 0x51, 0x3b };
        static const uint8_t ping[] = { 0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
        static const uint8_t pong[] = { 0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f };
        struct fixture *f = *state;

        upgrade(f);
        fake_stream_feed(&f->inner, fragments, sizeof(fragments));
        assert_int_equal(read_all(f, 64), -EAGAIN);
        assert_int_equal(f->n_got, 5);
        assert_memory_equal(f->got, "Hello", 3);
        fake_stream_feed(&f->inner, ping, sizeof(ping));
        assert_int_equal(read_all(f, 64), -EAGAIN);
        expect_out(f, pong, sizeof(pong));
}

/* All lengths around the places where the head changes, in pieces that cut it everywhere. */
static void test_lengths(void **state)
{
        static const size_t lengths[] = { 0, 1, 125, 126, 127, 4093, 4096, 65535, 65536, 70000 };
        static const size_t pieces[] = { 0, 1, 2, 3, 7, 4095, 4096, 4097 };
        static uint8_t payload[70000];
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof(payload); i++)
                payload[i] = (uint8_t)(i * 7 + i / 256);
        upgrade(f);
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
                for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
                        f->n_got = 0;
                        frame_add(&f->frames, 0x82, payload, lengths[i]);
                        frame_add(&f->frames, 0x02, payload, lengths[i] / 2);
                        frame_add(&f->frames, 0x89, "now", 3);
                        frame_add(&f->frames, 0x80, payload + lengths[i] / 2, lengths[i] - lengths[i] / 2);
                        assert_int_equal(feed(f, pieces[k]), -EAGAIN);
                        assert_int_equal(f->n_got, 2 * lengths[i]);
                        assert_memory_equal(f->got, payload, lengths[i]);
                        assert_memory_equal(f->got + lengths[i], payload, lengths[i]);
                        expect_out(f, "\x8a\x03now", 5);
                }
        }
}

/* However small the reader's buffer is. */
static void test_small_reads(void **state)
{
        static uint8_t payload[300];
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof(payload); i++)
                payload[i] = (uint8_t)i;
        upgrade(f);
        for (size_t n = 1; n < 20; n++) {
                f->n_got = 0;
                frame_add(&f->frames, 0x82, payload, sizeof(payload));
                frame_add(&f->frames, 0x82, payload, 5);
                fake_stream_feed(&f->inner, f->frames.bytes, f->frames.n);
                assert_int_equal(read_all(f, n), -EAGAIN);
                assert_int_equal(f->n_got, sizeof(payload) + 5);
                assert_memory_equal(f->got, payload, sizeof(payload));
                f->frames.n = 0;
        }
}

static void expect_refusal(struct fixture *f, unsigned code)
{
        uint8_t close[] = { 0x88, 0x02, (uint8_t)(code >> 8), (uint8_t)code };

        assert_int_equal(feed(f, 0), -EPROTO);
        assert_non_null(f->ws->reason);
        expect_out(f, close, sizeof(close));
        assert_int_equal(stream_read(f->ws, f->got, 16), -EPROTO);
        /* what MQTT has to say goes nowhere: nothing may follow a close frame */
        assert_int_equal(write_one(f, "abc", 3), 3);
        assert_int_equal(f->inner.n_output, 0);
        assert_int_equal(stream_flush(f->ws), 0);
        stream_shutdown(f->ws);
        assert_true(f->inner.is_shut);
        assert_int_equal(f->inner.n_output, 0);
}

static void test_wrong_text(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x82, "ab", 2);
        frame_add(&f->frames, 0x81, "text", 4);
        frame_add(&f->frames, 0x82, "c", 1);
        expect_refusal(f, 1003);
        assert_int_equal(f->n_got, 2); /* what came before it counts */
}

static void test_wrong_mask(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        memcpy(f->frames.bytes, "\x82\x01x", 3);
        f->frames.n = 3;
        expect_refusal(f, 1002);
        assert_int_equal(f->n_got, 0);
}

static void test_wrong_first_byte(void **state)
{
        static const uint8_t first[] = {
                0xC2, 0xA2, 0x92, /* reserved bits */
                0x83, 0x84, 0x87, /* unknown data frames */
                0x8B, 0x8F,       /* unknown control frames */
                0x80, 0x00,       /* nothing to continue */
                0x08, 0x09, 0x0A, /* control frames in fragments */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
                struct fixture *f;
                void *fresh;

                assert_int_equal(setup(&fresh), 0);
                f = fresh;
                upgrade(f);
                frame_add(&f->frames, first[i], "x", 1);
                expect_refusal(f, 1002);
                (void)teardown(&fresh);
        }
}

/* A message in a message; a long control frame; a length with too many bytes; a negative one; half a code. */
static void test_wrong_frames(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
        } wrong[] = {
                { "\x02\x81\0\0\0\0x\x82\x81\0\0\0\0x", 14 },
                { "\x89\xFE\x00\x7E\0\0\0\0", 8 },
                { "\x82\xFE\x00\x05\0\0\0\0abcde", 13 },
                { "\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0abcde", 19 },
                { "\x82\xFF\x80\0\0\0\0\0\0\x05\0\0\0\0abcde", 19 },
                { "\x88\x81\0\0\0\0x", 7 },
                { "\x88\x82\0\0\0\0\x03\xED", 8 }, /* 1005 is never sent */
                { "\x88\x82\0\0\0\0\x00\x07", 8 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                struct fixture *f;
                void *fresh;

                assert_int_equal(setup(&fresh), 0);
                f = fresh;
                upgrade(f);
                memcpy(f->frames.bytes, wrong[i].bytes, wrong[i].n);
                f->frames.n = wrong[i].n;
                expect_refusal(f, 1002);
                (void)teardown(&fresh);
        }
}

static void test_end(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        f->inner.has_end = true;
        frame_add(&f->frames, 0x82, "ab", 2);
        assert_int_equal(feed(f, 0), 0);
        assert_int_equal(f->n_got, 2);
        f->inner.error = -ECONNRESET;
        assert_int_equal(read_all(f, 64), -ECONNRESET);
        assert_int_equal(write_one(f, "a", 1), -ECONNRESET);
}

/* What is behind data in the same read is told by the next one, without anything more from the socket. */
static void test_fault_behind_data(void **state)
{
        struct fixture *f = *state;
        uint8_t bytes[64];

        upgrade(f);
        frame_add(&f->frames, 0x82, "ab", 2);
        frame_add(&f->frames, 0x81, "text", 4);
        fake_stream_feed(&f->inner, f->frames.bytes, f->frames.n);
        assert_int_equal(stream_read(f->ws, bytes, sizeof(bytes)), 2);
        expect_out(f, "\x88\x02\x03\xEB", 4);
        assert_true(stream_has_input(f->ws));
        assert_int_equal(stream_read(f->ws, bytes, sizeof(bytes)), -EPROTO);
        assert_false(stream_has_input(f->ws));
}

/* ---- control frames ---- */

static void test_close_behind_data(void **state)
{
        struct fixture *f = *state;
        uint8_t bytes[64];

        upgrade(f);
        frame_add(&f->frames, 0x82, "ab", 2);
        frame_add(&f->frames, 0x88, "\x03\xE8", 2);
        fake_stream_feed(&f->inner, f->frames.bytes, f->frames.n);
        assert_int_equal(stream_read(f->ws, bytes, sizeof(bytes)), 2);
        assert_true(stream_has_input(f->ws));
        assert_int_equal(stream_read(f->ws, bytes, sizeof(bytes)), 0);
        assert_false(stream_has_input(f->ws));
}

/* Nobody asks what is there once we have said goodbye. */
static void test_close_behind_data_and_shutdown(void **state)
{
        struct fixture *f = *state;
        uint8_t bytes[64];

        upgrade(f);
        frame_add(&f->frames, 0x82, "ab", 2);
        frame_add(&f->frames, 0x88, "\x03\xE8", 2);
        fake_stream_feed(&f->inner, f->frames.bytes, f->frames.n);
        assert_int_equal(stream_read(f->ws, bytes, sizeof(bytes)), 2);
        stream_shutdown(f->ws);
        assert_false(stream_has_input(f->ws));
}

/* RFC 6455 §7.4.1: 1007; U+0000 is a character like others there. */
static void test_close_reason(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x88, "\x03\xE8nul\0nul\xC3\xA4\0", 12);
        assert_int_equal(feed(f, 0), 0);
        expect_out(f, "\x88\x02\x03\xE8", 4);
}

static void test_close_reason_that_is_no_text(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x88, "\x03\xE8ok\xFF", 5);
        expect_refusal(f, 1007);
}

static void test_close(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x82, "ab", 2);
        frame_add(&f->frames, 0x88, "\x03\xE9going", 7);
        frame_add(&f->frames, 0x82, "never", 5);
        assert_int_equal(feed(f, 0), 0);
        assert_int_equal(f->n_got, 2);
        expect_out(f, "\x88\x02\x03\xE9", 4);
        stream_shutdown(f->ws);
        assert_true(f->inner.is_shut);
        assert_int_equal(f->inner.n_output, 0);
}

static void test_close_without_code(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x88, "", 0);
        assert_int_equal(feed(f, 1), 0);
        expect_out(f, "\x88\x00", 2);
}

static void test_shutdown(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        stream_shutdown(f->ws);
        expect_out(f, "\x88\x02\x03\xE8", 4);
        assert_true(f->inner.is_shut);
}

static void test_pings(void **state)
{
        static uint8_t longest[125];
        struct fixture *f = *state;

        upgrade(f);
        frame_add(&f->frames, 0x8A, "unasked", 7);
        frame_add(&f->frames, 0x89, "", 0);
        frame_add(&f->frames, 0x89, longest, sizeof(longest));
        assert_int_equal(feed(f, 1), -EAGAIN);
        assert_int_equal(f->inner.n_output, 2 + 2 + 125);
        assert_memory_equal(f->inner.output, "\x8a\x00\x8a\x7d", 4);
}

/* Who pings without reading does not make us hoard the answers. */
static void test_ping_flood(void **state)
{
        static uint8_t payload[125];
        struct fixture *f = *state;

        upgrade(f);
        f->inner.room = 0;
        for (unsigned i = 0; i < 1000; i++)
                frame_add(&f->frames, 0x89, payload, sizeof(payload));
        assert_int_equal(feed(f, 0), -EAGAIN);
        assert_int_equal(stream_events(f->ws), EPOLLOUT);
        f->inner.room = SIZE_MAX;
        assert_int_equal(stream_flush(f->ws), 0);
        assert_in_range(f->inner.n_output, 4096, 4096 + 127);
}

/* ---- frames out ---- */

static void test_write(void **state)
{
        char text[] = "abc";
        struct iovec parts[] = { { text, 2 }, { text, 0 }, { text + 2, 1 } };
        struct fixture *f = *state;

        upgrade(f);
        assert_int_equal(stream_write(f->ws, parts, 3), 3);
        expect_out(f,
                   "\x82\x03"
                   "abc",
                   5);
        assert_int_equal(stream_write(f->ws, parts, 0), 0);
        assert_int_equal(f->inner.n_output, 0);
}

static void test_write_long(void **state)
{
        static uint8_t payload[200000];
        struct fixture *f = *state;

        upgrade(f);
        assert_int_equal(write_one(f, payload, 125), 125);
        assert_memory_equal(f->inner.output, "\x82\x7d", 2);
        f->inner.n_output = 0;
        assert_int_equal(write_one(f, payload, 126), 126);
        assert_memory_equal(f->inner.output, "\x82\x7e\x00\x7e", 4);
        f->inner.n_output = 0;
        assert_int_equal(write_one(f, payload, sizeof(payload)), 65535);
        assert_memory_equal(f->inner.output, "\x82\x7e\xff\xff", 4);
        assert_int_equal(f->inner.n_output, 65539);
}

/* A full socket at every place of a frame: nothing is lost, doubled or torn. */
static void test_write_to_a_slow_reader(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        for (size_t room = 0; room < 12; room++) {
                f->inner.room = room;
                assert_int_equal(write_one(f, "abcdefgh", 8), 8); /* taken, though it waits in part */
                assert_int_equal(f->inner.n_output, MBGATE_MIN(room, (size_t)10));
                if (room < 10) {
                        assert_int_equal(write_one(f, "x", 1), -EAGAIN);
                        assert_int_equal(stream_events(f->ws), EPOLLOUT);
                        f->inner.room = 1;
                        assert_int_equal(stream_flush(f->ws), room == 9 ? 0 : -EAGAIN);
                }
                f->inner.room = SIZE_MAX;
                assert_int_equal(stream_flush(f->ws), 0);
                assert_int_equal(stream_events(f->ws), 0);
                expect_out(f,
                           "\x82\x08"
                           "abcdefgh",
                           10);
        }
}

/* A pong comes between frames, never into one. */
static void test_pong_behind_half_a_frame(void **state)
{
        struct fixture *f = *state;

        upgrade(f);
        f->inner.room = 4;
        assert_int_equal(write_one(f, "abcdefgh", 8), 8);
        f->inner.room = SIZE_MAX;
        frame_add(&f->frames, 0x89, "?", 1);
        assert_int_equal(feed(f, 0), -EAGAIN);
        assert_int_equal(stream_flush(f->ws), 0);
        expect_out(f,
                   "\x82\x08"
                   "abcdefgh\x8a\x01?",
                   13);
}

/* Between frames a connection holds no buffers. */
static void test_memory(void **state)
{
        struct fixture *f = *state;
        struct mallinfo2 before, after;

        upgrade(f);
        before = mallinfo2();
        for (unsigned i = 0; i < 100; i++) {
                frame_add(&f->frames, 0x82, "abc", 3);
                assert_int_equal(feed(f, 2), -EAGAIN);
                f->n_got = 0;
        }
        after = mallinfo2();
        assert_int_equal(after.uordblks, before.uordblks);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_nothing_before_upgrade),
                TEST(test_upgrade_byte_by_byte),
                TEST(test_frames_right_behind),
                TEST(test_refused),
                TEST(test_refused_slowly),
                TEST(test_long_request),
                TEST(test_end_in_upgrade),
                TEST(test_examples),
                TEST(test_lengths),
                TEST(test_small_reads),
                TEST(test_wrong_text),
                TEST(test_wrong_mask),
                cmocka_unit_test(test_wrong_first_byte),
                cmocka_unit_test(test_wrong_frames),
                TEST(test_end),
                TEST(test_fault_behind_data),
                TEST(test_close_behind_data),
                TEST(test_close_behind_data_and_shutdown),
                TEST(test_close_reason),
                TEST(test_close_reason_that_is_no_text),
                TEST(test_close),
                TEST(test_close_without_code),
                TEST(test_shutdown),
                TEST(test_pings),
                TEST(test_ping_flood),
                TEST(test_write),
                TEST(test_write_long),
                TEST(test_write_to_a_slow_reader),
                TEST(test_pong_behind_half_a_frame),
                TEST(test_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
