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

/* ---- a hasty master and bad devices, for hours of virtual time: a register's value is its unit and address
 * ---- */

#define CHAOS_LATE 8

struct chaos {
        struct listen listen;
        struct random random;
        uint64_t now_us;
        struct {
                uint64_t due_us; /* 0: none */
                uint8_t adu[RTU_ADU_MAX_BYTES];
                size_t n;
        } late[CHAOS_LATE];
        uint64_t n_good, n_doubtful, n_wrong;
};

static void chaos_take(struct chaos *c)
{
        struct listen_pair p;
        enum listen_kind kind;

        while ((kind = listen_next(&c->listen, c->now_us, &p)) != LISTEN_NONE) {
                unsigned address = p.request.bytes[2], count = p.request.bytes[4];

                if (kind != LISTEN_REPLY)
                        continue;
                if (p.is_doubtful) {
                        c->n_doubtful++;
                        continue;
                }
                c->n_good++;
                for (unsigned i = 0; i < count; i++)
                        c->n_wrong += p.reply.bytes[2 + 2 * i] != p.unit ||
                                      p.reply.bytes[3 + 2 * i] != (uint8_t)(address + i);
        }
}

/* In pieces as an adapter delivers them. */
static void chaos_hear(struct chaos *c, const uint8_t *data, size_t n)
{
        while (n > 0) {
                size_t piece = 1 + (size_t)random_below(&c->random, 20);

                piece = piece < n ? piece : n;
                listen_feed(&c->listen, data, piece, c->now_us);
                chaos_take(c);
                c->now_us += random_below(&c->random, 2000);
                data += piece;
                n -= piece;
        }
}

/* Lets time pass; what is late comes in it. */
static void chaos_wait(struct chaos *c, uint64_t us)
{
        uint64_t until_us = c->now_us + us;

        for (size_t i = 0; i < CHAOS_LATE; i++) {
                if (c->late[i].due_us == 0 || c->late[i].due_us > until_us)
                        continue;
                c->now_us = c->now_us < c->late[i].due_us ? c->late[i].due_us : c->now_us;
                c->late[i].due_us = 0;
                chaos_hear(c, c->late[i].adu, c->late[i].n);
        }
        c->now_us = c->now_us < until_us ? until_us : c->now_us;
        chaos_take(c);
}

static size_t chaos_reply(uint8_t unit, unsigned address, unsigned count, uint8_t adu[RTU_ADU_MAX_BYTES])
{
        uint8_t pdu[PDU_MAX_BYTES] = { PDU_READ_HOLDING, (uint8_t)(2 * count) };

        for (unsigned i = 0; i < count; i++) {
                pdu[2 + 2 * i] = unit;
                pdu[3 + 2 * i] = (uint8_t)(address + i);
        }
        return rtu_frame(unit, pdu, 2 + 2 * (size_t)count, adu);
}

static void chaos_answer(struct chaos *c, uint8_t *adu, size_t n)
{
        uint8_t noise[8];
        size_t slot = (size_t)random_below(&c->random, CHAOS_LATE);

        switch (random_below(&c->random, 20)) {
        case 0: return; /* silent */
        case 1:         /* late, but within the time that a reply may take */
                if (c->late[slot].due_us == 0) {
                        c->late[slot].due_us = c->now_us + random_below(&c->random, REPLY_US - 300000);
                        memcpy(c->late[slot].adu, adu, n);
                        c->late[slot].n = n;
                }
                return;
        case 2: adu[random_below(&c->random, n)] ^= (uint8_t)(1u << random_below(&c->random, 8)); break;
        case 3: n -= 1 + (size_t)random_below(&c->random, n - 1); break;
        case 4:
                for (size_t i = 0; i < sizeof(noise); i++)
                        noise[i] = (uint8_t)random_next(&c->random);
                chaos_hear(c, noise, 1 + (size_t)random_below(&c->random, sizeof(noise)));
                break;
        case 5: /* twice */
                chaos_hear(c, adu, n);
                chaos_wait(c, T35_US);
                break;
        default: break;
        }
        chaos_hear(c, adu, n);
}

static void test_hours_of_chaos(void **state)
{
        struct chaos c = { .random = { .state = 42 }, .now_us = START_US };

        (void)state;
        listen_init(&c.listen, T35_US, REPLY_US);
        for (unsigned i = 0; i < 100000; i++) {
                uint8_t unit = (uint8_t)(1 + random_below(&c.random, 4)), adu[RTU_ADU_MAX_BYTES];
                unsigned address = (unsigned)random_below(&c.random, 100);
                unsigned count = 1 + (unsigned)random_below(&c.random, 20);
                struct pdu request = read_of(PDU_READ_HOLDING, (uint16_t)address, (uint16_t)count);

                chaos_hear(&c, adu, rtu_frame(unit, request.bytes, request.n_bytes, adu));
                chaos_wait(&c, T35_US + random_below(&c.random, 20000));
                chaos_answer(&c, adu, chaos_reply(unit, address, count, adu));
                chaos_wait(&c, T35_US + random_below(&c.random, 100000));
        }
        assert_int_equal(c.n_wrong, 0);
        assert_true(c.n_good > 75000);
        assert_true(c.n_doubtful > 100);
        print_message("%u pairs, %u doubtful\n", (unsigned)c.n_good, (unsigned)c.n_doubtful);
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
                cmocka_unit_test(test_hours_of_chaos),
                cmocka_unit_test(test_more_than_fits_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
