/* SPDX-License-Identifier: MIT */
/* What two others say to each other: frames, pairs, and what is left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "listen.h"

#define T35_US   4011
#define REPLY_US 1000000
#define START_US UINT64_C(1000000)

/* A line: each frame is written with a time, and what is heard is kept as one letter each. */
struct line {
        struct listen listen;
        struct listen_pair pairs[64];
        char heard[65]; /* R reply, E exception, S silence, B broadcast, O orphan */
        size_t n;
        uint64_t now_us;
};

static void line_init(struct line *t)
{
        memset(t, 0, sizeof(*t));
        listen_init(&t->listen, T35_US, REPLY_US);
        t->now_us = START_US;
}

static void take(struct line *t)
{
        static const char letters[] = ".RESBO";
        struct listen_pair pair;
        enum listen_kind kind;

        while ((kind = listen_next(&t->listen, t->now_us, &pair)) != LISTEN_NONE) {
                assert_true(t->n < 64);
                assert_int_equal(kind, pair.kind);
                t->pairs[t->n] = pair;
                t->heard[t->n++] = letters[kind];
        }
}

static void bytes(struct line *t, const uint8_t *data, size_t n)
{
        listen_feed(&t->listen, data, n, t->now_us);
        take(t);
}

static void wait_ms(struct line *t, unsigned ms)
{
        t->now_us += ms * UINT64_C(1000);
        take(t);
}

/* A frame 10 ms after what was before. */
static void adu(struct line *t, uint8_t unit, const struct pdu *pdu)
{
        uint8_t frame[RTU_ADU_MAX_BYTES];

        wait_ms(t, 10);
        bytes(t, frame, rtu_frame(unit, pdu->bytes, pdu->n_bytes, frame));
}

static struct pdu read_of(enum pdu_function function, uint16_t address, uint16_t count)
{
        struct pdu pdu;

        pdu_read_request(&pdu, function, address, count);
        return pdu;
}

/* A reply with registers 1, 2, 3 … */
static struct pdu values(enum pdu_function function, unsigned n)
{
        struct pdu pdu = { .bytes = { (uint8_t)function, (uint8_t)(2 * n) }, .n_bytes = 2 + 2 * n };

        for (unsigned i = 0; i < n; i++)
                pdu.bytes[3 + 2 * i] = (uint8_t)(i + 1);
        return pdu;
}

static struct pdu raw(const char *data, size_t n)
{
        struct pdu pdu = { .n_bytes = n };

        memcpy(pdu.bytes, data, n);
        return pdu;
}
#define RAW(text) raw(text, sizeof(text) - 1)

static void ask(struct line *t, uint8_t unit, uint16_t address, uint16_t count)
{
        struct pdu pdu = read_of(PDU_READ_HOLDING, address, count);

        adu(t, unit, &pdu);
}

static void answer(struct line *t, uint8_t unit, unsigned count)
{
        struct pdu pdu = values(PDU_READ_HOLDING, count);

        adu(t, unit, &pdu);
}

static void test_request_and_reply_are_a_pair(void **state)
{
        struct line t;
        uint16_t regs[2];

        (void)state;
        line_init(&t);
        ask(&t, 17, 100, 2);
        assert_string_equal(t.heard, "");
        answer(&t, 17, 2);
        assert_string_equal(t.heard, "R");
        assert_int_equal(t.pairs[0].unit, 17);
        assert_int_equal(pdu_read_reply(&t.pairs[0].request, &t.pairs[0].reply, regs, 2), 0);
        assert_int_equal(regs[0], 1);
        assert_int_equal(regs[1], 2);
        assert_int_equal(t.pairs[0].asked_us, START_US + 10000);
        assert_int_equal(t.pairs[0].done_us, START_US + 20000);
        assert_int_equal(t.pairs[0].n_bytes, 8 + 9);
        assert_int_equal(t.listen.counts.n_pairs, 1);
        assert_int_equal(t.listen.counts.n_junk_bytes, 0);
        assert_int_equal(listen_wake_us(&t.listen), UINT64_MAX);
}

static void test_many_pairs_and_all_kinds(void **state)
{
        struct pdu exception = RAW("\x83\x02"), write = RAW("\x06\x00\x01\x00\x05"),
                   many = RAW("\x10\x00\x01\x00\x02\x04\x00\x01\x00\x02"), done = RAW("\x10\x00\x01\x00\x02"),
                   coils = RAW("\x01\x00\x00\x00\x14"), bits = RAW("\x01\x03\xFF\x00\x0F");
        struct line t;

        (void)state;
        line_init(&t);
        ask(&t, 1, 0, 3);
        answer(&t, 1, 3);
        ask(&t, 2, 0, 3);
        adu(&t, 2, &exception);
        adu(&t, 3, &write);
        adu(&t, 3, &write);
        adu(&t, 4, &many);
        adu(&t, 4, &done);
        adu(&t, 5, &coils);
        adu(&t, 5, &bits); /* as long as a request */
        adu(&t, 0, &write);
        ask(&t, 1, 0, 1);
        answer(&t, 1, 1);
        assert_string_equal(t.heard, "RERRRBR");
        assert_int_equal(t.pairs[1].reply.bytes[1], 2);
        assert_int_equal(t.listen.counts.n_broadcasts, 1);
        assert_int_equal(t.listen.counts.n_frames, 13);
        assert_int_equal(t.listen.counts.n_orphans + t.listen.counts.n_unanswered, 0);
}

static void test_silence(void **state)
{
        struct line t;

        (void)state;
        line_init(&t);
        ask(&t, 9, 0, 1);
        wait_ms(&t, 1000);
        assert_string_equal(t.heard, "");
        assert_int_equal(listen_wake_us(&t.listen), t.now_us + 1);
        wait_ms(&t, 1);
        assert_string_equal(t.heard, "S");
        assert_int_equal(t.pairs[0].unit, 9);
        answer(&t, 9, 1); /* too late: nobody knows what it answers */
        assert_string_equal(t.heard, "SO");
        assert_int_equal(t.pairs[1].request.n_bytes, 0);
        assert_int_equal(t.listen.counts.n_unanswered, 1);
        assert_int_equal(t.listen.counts.n_orphans, 1);
}

static void test_a_master_that_goes_on(void **state)
{
        struct line t;

        (void)state;
        line_init(&t);
        ask(&t, 9, 0, 1);
        ask(&t, 9, 0, 1); /* repeats itself */
        ask(&t, 8, 4, 2);
        answer(&t, 9, 1); /* the late one of 9 is no answer of 8 */
        answer(&t, 8, 2);
        assert_string_equal(t.heard, "SSOR");
        assert_int_equal(t.pairs[3].unit, 8);
}

static void test_a_reply_of_another_length_is_none(void **state)
{
        struct line t;

        (void)state;
        line_init(&t);
        ask(&t, 9, 0, 4);
        answer(&t, 9, 3);
        answer(&t, 9, 4);
        assert_string_equal(t.heard, "OR");
}

static void test_a_late_reply_does_not_pass_for_the_next(void **state)
{
        struct line t;

        (void)state;
        line_init(&t);
        ask(&t, 9, 3, 1);
        ask(&t, 9, 0, 1); /* the master has not waited long enough */
        answer(&t, 9, 1); /* of register 3, or 0? */
        ask(&t, 9, 1, 2); /* of another length: no doubt */
        answer(&t, 9, 2);
        ask(&t, 9, 3, 1); /* the same as was not answered: whichever it is, it is right */
        answer(&t, 9, 1);
        ask(&t, 8, 0, 1); /* another unit: no doubt */
        answer(&t, 8, 1);
        assert_string_equal(t.heard, "SRRRR");
        assert_true(t.pairs[1].is_doubtful);
        assert_false(t.pairs[2].is_doubtful || t.pairs[3].is_doubtful || t.pairs[4].is_doubtful);
        wait_ms(&t, 1000); /* now it cannot come any more */
        ask(&t, 9, 0, 1);
        answer(&t, 9, 1);
        assert_false(t.pairs[5].is_doubtful);
        assert_int_equal(t.listen.counts.n_doubtful, 1);
}

static void test_a_broken_reply_has_come(void **state)
{
        struct pdu reply = values(PDU_READ_HOLDING, 1);
        uint8_t frame[RTU_ADU_MAX_BYTES];
        struct line t;
        size_t n;

        (void)state;
        line_init(&t);
        ask(&t, 9, 3, 1);
        n = rtu_frame(9, reply.bytes, reply.n_bytes, frame);
        frame[3] ^= 1;
        wait_ms(&t, 10);
        bytes(&t, frame, n);
        ask(&t, 9, 0, 1);
        answer(&t, 9, 1);
        assert_string_equal(t.heard, "SR");
        assert_false(t.pairs[1].is_doubtful);
}

static void test_repeated_read_that_looks_like_its_reply(void **state)
{
        /* 20 coils at 0x0311: as a reply it would have 3 bytes of coils. */
        struct pdu coils = RAW("\x01\x03\x11\x00\x14"), bits = RAW("\x01\x03\x11\x00\x0F");
        struct line t;

        (void)state;
        line_init(&t);
        adu(&t, 5, &coils);
        adu(&t, 5, &coils);
        assert_string_equal(t.heard, "S");
        adu(&t, 5, &bits);
        assert_string_equal(t.heard, "SR");
}

static void test_begins_in_the_middle(void **state)
{
        struct line t;

        (void)state;
        line_init(&t);
        answer(&t, 1, 5); /* whose request was before our time */
        ask(&t, 1, 0, 5);
        answer(&t, 1, 5);
        assert_string_equal(t.heard, "OR");
        line_init(&t);
        bytes(&t, (const uint8_t *)"\x00\x07\x31", 3); /* the tail of something */
        wait_ms(&t, 5);
        ask(&t, 1, 0, 5);
        answer(&t, 1, 5);
        assert_string_equal(t.heard, "R");
        assert_int_equal(t.listen.counts.n_junk_bytes, 3);
}

static void test_a_cut_frame_does_not_hide_the_next(void **state)
{
        struct pdu request = read_of(PDU_READ_HOLDING, 0, 100), reply = values(PDU_READ_HOLDING, 100);
        uint8_t frame[RTU_ADU_MAX_BYTES];
        struct line t;

        (void)state;
        line_init(&t);
        adu(&t, 1, &request);
        (void)rtu_frame(1, reply.bytes, reply.n_bytes, frame);
        wait_ms(&t, 10);
        bytes(&t, frame, 50); /* the rest is lost */
        ask(&t, 2, 0, 1);
        answer(&t, 2, 1);
        assert_string_equal(t.heard, "SR");
        assert_int_equal(t.listen.counts.n_broken, 1);
        assert_int_equal(t.listen.counts.n_junk_bytes, 50);
}

static void test_a_wrong_crc(void **state)
{
        struct pdu reply = values(PDU_READ_HOLDING, 2);
        uint8_t frame[RTU_ADU_MAX_BYTES];
        struct line t;
        size_t n;

        (void)state;
        line_init(&t);
        ask(&t, 1, 0, 2);
        n = rtu_frame(1, reply.bytes, reply.n_bytes, frame);
        frame[4] ^= 0x10;
        wait_ms(&t, 10);
        bytes(&t, frame, n);
        wait_ms(&t, 50);
        assert_int_equal(t.listen.counts.n_broken, 1);
        assert_int_equal(t.listen.counts.n_junk_bytes, n);
        assert_string_equal(t.heard, "");
        ask(&t, 1, 0, 2);
        answer(&t, 1, 2);
        assert_string_equal(t.heard, "SR");
}

static void test_in_pieces_and_in_one(void **state)
{
        struct pdu request = read_of(PDU_READ_INPUT, 0, 10), reply = values(PDU_READ_INPUT, 10);
        uint8_t all[600];
        struct line t;
        size_t n = 0;

        (void)state;
        n += rtu_frame(1, request.bytes, request.n_bytes, all);
        n += rtu_frame(1, reply.bytes, reply.n_bytes, all + n);
        memcpy(all + n, all, n);
        n *= 2;
        line_init(&t);
        bytes(&t, all, n); /* no gap is to be seen, as with some USB adapters */
        assert_string_equal(t.heard, "RR");
        line_init(&t);
        for (size_t i = 0; i < n; i++) {
                bytes(&t, all + i, 1);
                wait_ms(&t, 16); /* a gap behind each byte */
        }
        assert_string_equal(t.heard, "RR");
        assert_int_equal(t.listen.counts.n_junk_bytes, 0);
}

static void test_unknown_functions(void **state)
{
        struct pdu request = RAW("\x42"), reply = RAW("\x42\x01\x02\x03"), id = RAW("\x2B\x0E\x01\x00");
        struct line t;

        (void)state;
        line_init(&t);
        adu(&t, 1, &request);
        wait_ms(&t, 50);
        adu(&t, 1, &reply);
        wait_ms(&t, 50);
        assert_string_equal(t.heard, "R");
        adu(&t, 1, &id);
        wait_ms(&t, 50);
        ask(&t, 2, 0, 1);
        answer(&t, 2, 1);
        assert_string_equal(t.heard, "RSR");
        assert_int_equal(t.listen.counts.n_junk_bytes, 0);
}

static void test_noise_never_makes_values(void **state)
{
        struct random random = { .state = 7 };
        struct line t;
        uint8_t noise[512];

        (void)state;
        line_init(&t);
        for (unsigned i = 0; i < 2000; i++) {
                for (size_t k = 0; k < sizeof(noise); k++)
                        noise[k] = (uint8_t)random_next(&random);
                listen_feed(&t.listen, noise, 1 + random_next(&random) % sizeof(noise), t.now_us);
                t.now_us += random_next(&random) % 60000;
                struct listen_pair pair;
                enum listen_kind kind;

                while ((kind = listen_next(&t.listen, t.now_us, &pair)) != LISTEN_NONE)
                        assert_true(kind != LISTEN_REPLY);
        }
        assert_true(t.listen.counts.n_junk_bytes > 400000);
        /* And is forgotten as soon as the line is silent. */
        wait_ms(&t, 2000);
        t.n = 0;
        memset(t.heard, 0, sizeof(t.heard));
        ask(&t, 1, 0, 5);
        answer(&t, 1, 5);
        assert_string_equal(t.heard, "R");
}

static void test_more_than_fits_is_forgotten(void **state)
{
        static uint8_t zeros[LISTEN_FEED_MAX];
        struct line t;

        (void)state;
        line_init(&t);
        for (unsigned i = 0; i < 10; i++)
                listen_feed(&t.listen, zeros, sizeof(zeros), t.now_us); /* without listen_next() */
        assert_true(t.listen.n <= LISTEN_WINDOW_BYTES);
        wait_ms(&t, 100);
        assert_int_equal(t.listen.counts.n_junk_bytes, 10 * LISTEN_FEED_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_and_reply_are_a_pair),
                cmocka_unit_test(test_many_pairs_and_all_kinds),
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_a_master_that_goes_on),
                cmocka_unit_test(test_a_reply_of_another_length_is_none),
                cmocka_unit_test(test_a_late_reply_does_not_pass_for_the_next),
                cmocka_unit_test(test_a_broken_reply_has_come),
                cmocka_unit_test(test_repeated_read_that_looks_like_its_reply),
                cmocka_unit_test(test_begins_in_the_middle),
                cmocka_unit_test(test_a_cut_frame_does_not_hide_the_next),
                cmocka_unit_test(test_a_wrong_crc),
                cmocka_unit_test(test_in_pieces_and_in_one),
                cmocka_unit_test(test_unknown_functions),
                cmocka_unit_test(test_noise_never_makes_values),
                cmocka_unit_test(test_more_than_fits_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
