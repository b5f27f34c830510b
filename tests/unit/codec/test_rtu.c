/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mbgate/base/random.h"
#include "mbgate/codec/rtu.h"

#include "guarded.h"

#define UNIT 0x0A

/* Bytes on the line, joined from frames and noise. */
struct line {
        uint8_t bytes[4096];
        size_t n;
};

static void line_add(struct line *l, const void *bytes, size_t n)
{
        assert_true(l->n + n <= sizeof(l->bytes));
        memcpy(l->bytes + l->n, bytes, n);
        l->n += n;
}

static void line_frame(struct line *l, uint8_t unit, const void *pdu, size_t n)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];

        line_add(l, adu, rtu_frame(unit, pdu, n, adu));
}

#define LINE_BYTES(l, ...) \
        line_add((l), (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define LINE_FRAME(l, unit, ...) \
        line_frame((l), (unit), (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static struct pdu read_request(uint16_t address, uint16_t count)
{
        struct pdu p;

        pdu_read_request(&p, PDU_READ_HOLDING, address, count);
        return p;
}

static struct pdu write_request(enum pdu_function function, uint16_t address, uint16_t value)
{
        struct pdu p;

        pdu_write_request(&p, function, address, &value, 1);
        return p;
}

/* What a reply to `request` looks like, with register contents from `seed`. */
static struct pdu reply_to(const struct pdu *request, uint64_t seed)
{
        struct random random = { .state = seed };
        struct pdu reply = { .n_bytes = pdu_reply_bytes(request) };

        memcpy(reply.bytes, request->bytes, reply.n_bytes > 7 ? 7 : reply.n_bytes);
        if (request->bytes[0] <= PDU_READ_INPUT) {
                reply.bytes[1] = (uint8_t)(reply.n_bytes - 2);
                for (size_t i = 2; i < reply.n_bytes; i++)
                        reply.bytes[i] = (uint8_t)random_next(&random);
        }
        return reply;
}

static void line_pdu(struct line *l, uint8_t unit, const struct pdu *p)
{
        line_frame(l, unit, p->bytes, p->n_bytes);
}

struct outcome {
        enum rtu_match match;
        struct pdu reply;
        struct rtu_counts counts;
        bool of_device;
        size_t n_fed; /* bytes fed when the match came */
};

/* Feeds all bytes in portions of n_portion, the last ones placed against an unmapped page. */
static struct outcome run(const struct line *l, const struct pdu *request, enum rtu_echo echo,
                          size_t n_portion)
{
        static struct guarded g;
        struct outcome o = { .match = RTU_MATCH_MORE };
        struct rtu_matcher m;

        if (!g.map)
                g = guarded_new(4096);
        rtu_matcher_start(&m, UNIT, request, echo);
        for (size_t i = 0; i < l->n && o.match == RTU_MATCH_MORE; i += n_portion) {
                size_t n = MBGATE_MIN(n_portion, l->n - i);

                o.match = rtu_matcher_feed(&m, guarded_copy(&g, l->bytes + i, n), n, &o.reply);
                o.n_fed = i + n;
        }
        if (o.match == RTU_MATCH_MORE)
                o.match = rtu_matcher_settle(&m, &o.reply);
        o.counts = m.scan.counts;
        o.of_device = rtu_matcher_finish(&m);
        return o;
}

/* Runs in every portion size, demands the same outcome, and returns it. */
static struct outcome run_all(const struct line *l, const struct pdu *request, enum rtu_echo echo)
{
        struct outcome first = run(l, request, echo, 1);

        for (size_t n = 2; n <= l->n + 1; n++) {
                struct outcome o = run(l, request, echo, n);

                assert_int_equal(o.match, first.match);
                assert_memory_equal(&o.counts, &first.counts, sizeof(o.counts));
                assert_int_equal(o.reply.n_bytes, first.reply.n_bytes);
                assert_memory_equal(o.reply.bytes, first.reply.bytes, first.reply.n_bytes);
                if (o.match == RTU_MATCH_MORE)
                        assert_int_equal(o.of_device, first.of_device);
        }
        return first;
}

static void assert_reply(const struct outcome *o, const struct pdu *reply)
{
        assert_int_equal(o->match, RTU_MATCH_REPLY);
        assert_int_equal(o->reply.n_bytes, reply->n_bytes);
        assert_memory_equal(o->reply.bytes, reply->bytes, reply->n_bytes);
}

static uint16_t crc_bitwise(const uint8_t *bytes, size_t n)
{
        uint16_t crc = 0xFFFF;

        for (size_t i = 0; i < n; i++) {
                crc ^= bytes[i];
                for (int bit = 0; bit < 8; bit++)
                        crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1);
        }
        return crc;
}

static void test_crc(void **state)
{
        struct random random = { .state = 1 };
        uint8_t bytes[300];

        (void)state;
        for (int round = 0; round < 2000; round++) {
                size_t n = (size_t)random_below(&random, sizeof(bytes) + 1);

                for (size_t i = 0; i < n; i++)
                        bytes[i] = (uint8_t)random_next(&random);
                assert_int_equal(rtu_crc(bytes, n), crc_bitwise(bytes, n));
        }
        /* The check value of CRC-16/MODBUS, and the worked example of §6.2.2 (unit 2, function 7). */
        assert_int_equal(rtu_crc((const uint8_t *)"123456789", 9), 0x4B37);
        assert_int_equal(rtu_crc((const uint8_t[]){ 0x02, 0x07 }, 2), 0x1241);
        assert_int_equal(rtu_crc((const uint8_t[]){ 0x01, 0x03, 0, 0, 0, 0x0A }, 6), 0xCDC5);
}

static void test_frame(void **state)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];
        static const uint8_t want[] = { 0x01, 0x03, 0x00, 0x00, 0x00, 0x0A, 0xC5, 0xCD };

        (void)state;
        assert_int_equal(rtu_frame(1, want + 1, 5, adu), 8);
        assert_memory_equal(adu, want, 8);
        memset(adu, 7, sizeof(adu));
        assert_int_equal(rtu_frame(1, (const uint8_t[PDU_MAX_BYTES]){ 0 }, PDU_MAX_BYTES, adu), 256);
}

static void test_times(void **state)
{
        (void)state;
        assert_int_equal(rtu_t35_us(9600), 4011);
        assert_int_equal(rtu_t35_us(19200), 2006);
        assert_int_equal(rtu_t35_us(38400), 1750);
        assert_int_equal(rtu_t35_us(300), 128334);
        assert_int_equal(rtu_t35_us(0), 0);
        assert_int_equal(rtu_wire_us(9600, 11, 8), 9167);
        assert_int_equal(rtu_wire_us(115200, 10, 256), 22223);
        assert_int_equal(rtu_wire_us(1200, 12, 1000000), UINT64_C(10000000000));
        assert_int_equal(rtu_wire_us(0, 11, 8), 0);
}

/* Every row of the table of what happens on a line, for every echo mode: the right data at once, or none. */
static void test_scenarios_read(void **state)
{
        struct pdu request = read_request(0, 4), other = read_request(0, 2), reply = reply_to(&request, 7);
        struct pdu other_reply = reply_to(&other, 8);

        (void)state;
        for (enum rtu_echo echo = RTU_ECHO_AUTO; echo <= RTU_ECHO_OFF; echo++) {
                static const uint8_t noises[][3] = { { 0 }, { UNIT }, { 0xFF, 0xFF }, { 0xF8, 0, 0x0A } };
                struct line clean = { .n = 0 };
                struct outcome o;

                line_pdu(&clean, UNIT, &reply);
                o = run_all(&clean, &request, echo);
                assert_reply(&o, &reply);
                assert_int_equal(o.counts.n_junk_bytes + o.counts.n_crc + o.counts.n_foreign, 0);

                for (size_t i = 0; i < ARRAY_SIZE(noises); i++) {
                        for (size_t n = 1; n <= 3; n++) {
                                struct line l = { .n = 0 };

                                line_add(&l, noises[i], n);
                                line_pdu(&l, UNIT, &reply);
                                o = run_all(&l, &request, echo);
                                assert_reply(&o, &reply);
                                assert_int_equal(o.counts.n_junk_bytes, n);
                        }
                }

                struct line twice = clean, echoed = { .n = 0 }, late = { .n = 0 }, foreign = { .n = 0 };
                line_pdu(&twice, UNIT, &reply);
                line_add(&twice, "\x01\x02\x03", 3);
                o = run_all(&twice, &request, echo);
                assert_reply(&o, &reply);

                line_pdu(&echoed, UNIT, &request);
                line_pdu(&echoed, UNIT, &reply);
                o = run_all(&echoed, &request, echo);
                assert_reply(&o, &reply);
                assert_int_equal(o.counts.n_echo, 1);

                line_pdu(&late, UNIT, &other_reply);
                line_pdu(&late, UNIT, &reply);
                o = run_all(&late, &request, echo);
                assert_reply(&o, &reply);
                assert_int_equal(o.counts.n_foreign, 1);

                line_pdu(&foreign, UNIT + 1, &reply);
                line_pdu(&foreign, UNIT, &reply);
                o = run_all(&foreign, &request, echo);
                assert_reply(&o, &reply);
                assert_int_equal(o.counts.n_foreign, 1);
        }
}

static void test_never_a_reply(void **state)
{
        struct pdu request = read_request(0, 4), reply = reply_to(&request, 7),
                   short_request = read_request(0, 3);
        struct pdu short_reply = reply_to(&short_request, 3), input = reply;
        struct line l = { .n = 0 };
        struct outcome o;

        (void)state;
        line_pdu(&l, UNIT + 1, &reply);   /* another unit */
        line_pdu(&l, UNIT, &short_reply); /* another length */
        input.bytes[0] = PDU_READ_INPUT;
        line_pdu(&l, UNIT, &input);    /* another function */
        LINE_FRAME(&l, UNIT, 0x84, 2); /* an exception to another function */
        line_pdu(&l, UNIT, &request);  /* the echo */
        o = run_all(&l, &request, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_MORE);
        assert_int_equal(o.counts.n_foreign, 4);
        assert_int_equal(o.counts.n_echo, 1);
        assert_int_equal(o.counts.n_junk_bytes, 0);
        assert_true(o.of_device);

        l.n = 0;
        line_pdu(&l, UNIT, &request);
        o = run_all(&l, &request, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_MORE);
        assert_false(o.of_device); /* nothing but our own echo */
}

static void test_every_bit_flip(void **state)
{
        struct pdu request = read_request(16, 5), reply = reply_to(&request, 9);
        struct line clean = { .n = 0 };

        (void)state;
        line_pdu(&clean, UNIT, &reply);
        for (size_t bit = 0; bit < 8 * clean.n; bit++) {
                struct line l = clean;
                struct outcome o;

                l.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
                o = run(&l, &request, RTU_ECHO_AUTO, 1);
                assert_int_equal(o.match, RTU_MATCH_MORE);
                if (bit >= 24) {
                        assert_int_equal(o.counts.n_crc, 1);
                        assert_true(o.of_device);
                }
                line_pdu(&l, UNIT, &reply); /* said again: found behind the broken one */
                o = run_all(&l, &request, RTU_ECHO_AUTO);
                assert_reply(&o, &reply);
        }
}

static void test_every_truncation(void **state)
{
        static const enum pdu_function functions[] = { PDU_READ_HOLDING,    PDU_WRITE_COIL,
                                                       PDU_WRITE_REGISTER,  PDU_WRITE_COILS,
                                                       PDU_WRITE_REGISTERS, PDU_MASK_WRITE };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
                struct pdu request, reply;
                struct line whole = { .n = 0 };

                if (functions[i] == PDU_READ_HOLDING)
                        request = read_request(3, 125);
                else if (functions[i] == PDU_MASK_WRITE)
                        pdu_mask_write_request(&request, 4, 0xF2, 0x25);
                else
                        request = write_request(functions[i], 2, 513);
                reply = reply_to(&request, 4);
                line_pdu(&whole, UNIT, &reply);
                for (size_t n = 0; n < whole.n; n++) {
                        struct line l = { .n = 0 };
                        struct outcome o;

                        line_add(&l, whole.bytes, n);
                        o = run_all(&l, &request, RTU_ECHO_OFF);
                        assert_int_equal(o.match, RTU_MATCH_MORE);
                        assert_int_equal(o.of_device, n >= 2);
                        line_pdu(&l, UNIT, &reply);
                        o = run(&l, &request, RTU_ECHO_OFF, 1);
                        assert_reply(&o, &reply);
                }
        }
}

static void test_exceptions_are_raw(void **state)
{
        struct pdu request = read_request(0, 10);

        (void)state;
        for (unsigned code = 0; code < 256; code++) {
                struct line l = { .n = 0 };
                struct outcome o;

                LINE_FRAME(&l, UNIT, 0x83, (uint8_t)code);
                o = run_all(&l, &request, RTU_ECHO_AUTO);
                assert_int_equal(o.match, RTU_MATCH_EXCEPTION);
                assert_int_equal(o.reply.n_bytes, 2);
                assert_int_equal(o.reply.bytes[1], code);
        }
}

/* One copy is no answer unless the line is known to be silent; the second one is. */
static void test_write_of_one_and_echo(void **state)
{
        struct pdu requests[3] = { write_request(PDU_WRITE_COIL, 2, 1),
                                   write_request(PDU_WRITE_REGISTER, 2, 512) };

        (void)state;
        pdu_mask_write_request(&requests[2], 4, 0xF2, 0x25);
        for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
                const struct pdu *request = &requests[i];
                struct line once = { .n = 0 }, twice, refused, other = { .n = 0 };
                struct pdu wrong = *request;
                struct outcome o;

                assert_true(rtu_echo_is_ambiguous(request));
                line_pdu(&once, UNIT, request);
                twice = refused = once;
                line_pdu(&twice, UNIT, request);
                LINE_FRAME(&refused, UNIT, (uint8_t)(request->bytes[0] | 0x80), 4);

                for (enum rtu_echo echo = RTU_ECHO_AUTO; echo <= RTU_ECHO_OFF; echo++) {
                        o = run_all(&once, request, echo);
                        assert_int_equal(o.match, echo == RTU_ECHO_OFF ? RTU_MATCH_REPLY : RTU_MATCH_MORE);
                        if (echo != RTU_ECHO_OFF)
                                assert_false(o.of_device);
                        o = run_all(&twice, request, echo);
                        assert_reply(&o, request);
                        assert_int_equal(o.counts.n_echo, echo == RTU_ECHO_OFF ? 0 : 1);
                        if (echo != RTU_ECHO_OFF) {
                                o = run_all(&refused, request, echo);
                                assert_int_equal(o.match, RTU_MATCH_EXCEPTION);
                                assert_int_equal(o.counts.n_echo, 1);
                        }
                        /* Any other address, value or mask is not ours, echo or not. */
                        for (size_t bit = 8; bit < 8 * request->n_bytes; bit++) {
                                wrong = *request;
                                wrong.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
                                other.n = 0;
                                line_pdu(&other, UNIT, &wrong);
                                o = run_all(&other, request, echo);
                                assert_int_equal(o.match, RTU_MATCH_MORE);
                                assert_int_equal(o.counts.n_foreign, 1);
                                assert_true(o.of_device);
                        }
                }
        }
}

static void test_write_of_many(void **state)
{
        uint16_t regs[20] = { 1, 2, 3 };

        (void)state;
        for (int bits = 0; bits < 2; bits++) {
                struct pdu request, reply;
                struct line echoed = { .n = 0 }, alone = { .n = 0 };
                struct outcome o;

                pdu_write_request(&request, bits ? PDU_WRITE_COILS : PDU_WRITE_REGISTERS, 100, regs, 20);
                reply = reply_to(&request, 0);
                assert_false(rtu_echo_is_ambiguous(&request));
                line_pdu(&alone, UNIT, &request);
                for (enum rtu_echo echo = RTU_ECHO_AUTO; echo <= RTU_ECHO_OFF; echo++) {
                        o = run_all(&alone, &request, echo);
                        assert_int_equal(o.match, RTU_MATCH_MORE);
                        assert_int_equal(o.counts.n_echo, 1);
                        echoed = alone;
                        line_pdu(&echoed, UNIT, &reply);
                        o = run_all(&echoed, &request, echo);
                        assert_reply(&o, &reply);
                        for (size_t i = 1; i < 5; i++) {
                                struct pdu wrong = reply;
                                struct line l = { .n = 0 };

                                wrong.bytes[i] ^= 1;
                                line_pdu(&l, UNIT, &wrong);
                                o = run_all(&l, &request, echo);
                                assert_int_equal(o.match, RTU_MATCH_MORE);
                                assert_int_equal(o.counts.n_foreign, 1);
                        }
                }
        }
}

/*
 * The echo of a function 16 may begin with what would be a whole, right reply. Such an address and value are
 * looked for, and the echo must not be taken for the reply.
 */
static void test_echo_that_begins_like_the_reply(void **state)
{
        unsigned n_found = 0;

        (void)state;
        for (unsigned address = 0; address < 65536; address++) {
                struct pdu request = write_request(PDU_WRITE_REGISTERS, (uint16_t)address, 0), reply;
                struct line l = { .n = 0 };
                uint16_t value;
                struct outcome o;

                reply = reply_to(&request, 0);
                line_pdu(&l, UNIT, &reply);
                if (l.bytes[6] != 2) /* the low byte of its CRC stands where the echo has its byte count */
                        continue;
                value = (uint16_t)(l.bytes[7] << 8 | 0x55);
                pdu_write_request(&request, PDU_WRITE_REGISTERS, (uint16_t)address, &value, 1);
                n_found++;

                o = run_all(&l, &request, RTU_ECHO_AUTO); /* the reply itself, on a line without echo */
                assert_reply(&o, &reply);
                l.n = 0;
                line_pdu(&l, UNIT, &request);
                o = run(&l, &request, RTU_ECHO_ON, 1);
                assert_int_equal(o.match, RTU_MATCH_MORE);
                o = run(&l, &request, RTU_ECHO_AUTO, l.n);
                assert_int_equal(o.match, RTU_MATCH_MORE);
                line_pdu(&l, UNIT, &reply);
                o = run(&l, &request, RTU_ECHO_AUTO, 1);
                assert_reply(&o, &reply);
                assert_int_equal(o.counts.n_echo, 1);
        }
        assert_true(n_found > 100);
}

static void test_echo_is_learned(void **state)
{
        struct pdu read = read_request(0, 4), reply = reply_to(&read, 7), write = write_request(6, 2, 5),
                   spare;
        struct line l = { .n = 0 };
        struct rtu_matcher m;

        (void)state;
        rtu_matcher_start(&m, UNIT, &read, RTU_ECHO_AUTO);
        assert_int_equal(rtu_echo_learn(RTU_ECHO_AUTO, &m, RTU_MATCH_MORE), RTU_ECHO_AUTO);
        line_pdu(&l, UNIT, &read);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n, &spare), RTU_MATCH_MORE);
        for (enum rtu_echo known = RTU_ECHO_AUTO; known <= RTU_ECHO_OFF; known++)
                assert_int_equal(rtu_echo_learn(known, &m, RTU_MATCH_MORE), RTU_ECHO_ON);

        l.n = 0;
        line_pdu(&l, UNIT, &reply);
        rtu_matcher_start(&m, UNIT, &read, RTU_ECHO_ON);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n, &spare), RTU_MATCH_REPLY);
        for (enum rtu_echo known = RTU_ECHO_AUTO; known <= RTU_ECHO_OFF; known++)
                assert_int_equal(rtu_echo_learn(known, &m, RTU_MATCH_REPLY), RTU_ECHO_OFF);

        /* Junk as long as half an echo may be the rest of one. */
        l.n = 0;
        LINE_BYTES(&l, 0, 0, 0, 0);
        line_pdu(&l, UNIT, &reply);
        rtu_matcher_start(&m, UNIT, &read, RTU_ECHO_AUTO);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n, &spare), RTU_MATCH_REPLY);
        assert_int_equal(rtu_echo_learn(RTU_ECHO_ON, &m, RTU_MATCH_REPLY), RTU_ECHO_ON);

        /* Writes teach nothing: two copies may be a duplicated reply. */
        l.n = 0;
        line_pdu(&l, UNIT, &write);
        line_pdu(&l, UNIT, &write);
        rtu_matcher_start(&m, UNIT, &write, RTU_ECHO_AUTO);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n, &spare), RTU_MATCH_REPLY);
        for (enum rtu_echo known = RTU_ECHO_AUTO; known <= RTU_ECHO_OFF; known++)
                assert_int_equal(rtu_echo_learn(known, &m, RTU_MATCH_REPLY), known);
}

/* A device that keeps whole frames in its registers does not fool us, as long as its frame is whole. */
static void test_frame_inside_a_foreign_frame(void **state)
{
        struct pdu request = read_request(0, 2), reply = reply_to(&request, 5), outer = { .n_bytes = 2 + 60 };
        struct line inner = { .n = 0 }, l = { .n = 0 };
        struct outcome o;

        (void)state;
        line_pdu(&inner, UNIT, &reply);
        for (size_t at = 2; at + inner.n <= outer.n_bytes; at++) {
                memset(outer.bytes, 0x11, outer.n_bytes);
                outer.bytes[0] = PDU_READ_INPUT;
                outer.bytes[1] = 60;
                memcpy(outer.bytes + at, inner.bytes, inner.n);
                l.n = 0;
                line_pdu(&l, UNIT + 1, &outer);
                o = run_all(&l, &request, RTU_ECHO_AUTO);
                assert_int_equal(o.match, RTU_MATCH_MORE);
                assert_int_equal(o.counts.n_foreign, 1);
        }
}

/* Noise that looks like the head of a long frame: the reply is found when the line falls silent. */
static void test_reply_behind_a_false_head(void **state)
{
        struct pdu request = read_request(0, 2), reply = reply_to(&request, 5), got;
        struct line l = { .n = 0 };
        struct rtu_matcher m;

        (void)state;
        LINE_BYTES(&l, 0x21, 0x03, 0xF0);
        line_pdu(&l, UNIT, &reply);
        rtu_matcher_start(&m, UNIT, &request, RTU_ECHO_AUTO);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n - 1, &got), RTU_MATCH_MORE);
        assert_int_equal(rtu_matcher_settle(&m, &got), RTU_MATCH_MORE);
        assert_int_equal(m.scan.counts.n_junk_bytes, 0); /* nothing has changed */
        assert_int_equal(rtu_matcher_feed(&m, l.bytes + l.n - 1, 1, &got), RTU_MATCH_MORE);
        assert_true(rtu_matcher_is_pending(&m));
        assert_int_equal(rtu_matcher_settle(&m, &got), RTU_MATCH_REPLY);
        assert_memory_equal(got.bytes, reply.bytes, reply.n_bytes);
        assert_int_equal(m.scan.counts.n_junk_bytes, 3);
        assert_false(rtu_matcher_is_pending(&m));
}

/* A function of unknown length (here 0x42, whose reply is its request): the shortest run with a right CRC. */
static void test_unknown_function(void **state)
{
        struct pdu request = { .bytes = { 0x43, 1 }, .n_bytes = 2 };
        struct pdu bare = { .bytes = { 0x42 }, .n_bytes = 1 };
        struct line l = { .n = 0 };
        struct outcome o;

        (void)state;
        LINE_FRAME(&l, UNIT, 0x43, 9, 8, 7, 6, 5, 4, 3, 2, 1);
        o = run_all(&l, &request, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_REPLY);
        assert_int_equal(o.reply.n_bytes, 10);
        l.n = 0;
        line_pdu(&l, UNIT, &bare);
        assert_true(rtu_echo_is_ambiguous(&bare));
        o = run_all(&l, &bare, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_MORE);
        o = run_all(&l, &bare, RTU_ECHO_OFF);
        assert_int_equal(o.match, RTU_MATCH_REPLY);
        l.n = 0;
        LINE_FRAME(&l, UNIT, 0xC2, 1);
        o = run_all(&l, &bare, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_EXCEPTION);
        l.bytes[4] ^= 1;
        o = run_all(&l, &bare, RTU_ECHO_AUTO);
        assert_int_equal(o.match, RTU_MATCH_MORE);
        assert_int_equal(o.counts.n_crc, 1);
}

static void test_listening(void **state)
{
        struct pdu request = read_request(0, 2), reply = reply_to(&request, 5), got;
        struct line l = { .n = 0 };
        struct rtu_matcher m;

        (void)state;
        line_pdu(&l, UNIT, &request);
        line_pdu(&l, UNIT, &reply);
        LINE_BYTES(&l, 0, 0, 0);
        rtu_matcher_start(&m, UNIT, NULL, RTU_ECHO_OFF);
        assert_int_equal(rtu_matcher_feed(&m, l.bytes, l.n, &got), RTU_MATCH_MORE);
        (void)rtu_matcher_finish(&m);
        assert_int_equal(m.scan.counts.n_foreign, 2);
        assert_int_equal(m.scan.counts.n_junk_bytes, 3);
}

/* More noise than the window holds, then the reply. */
static void test_flood(void **state)
{
        struct pdu request = read_request(0, 20), reply = reply_to(&request, 5);
        struct random random = { .state = 11 };

        (void)state;
        for (int round = 0; round < 20; round++) {
                struct line l = { .n = 0 };
                struct outcome o;

                for (size_t i = 0; i < 3000; i++)
                        LINE_BYTES(&l, (uint8_t)random_next(&random));
                line_pdu(&l, UNIT, &reply);
                for (size_t n = 1; n <= l.n; n += 1 + n / 2) {
                        o = run(&l, &request, RTU_ECHO_AUTO, n);
                        assert_reply(&o, &reply);
                }
        }
}

/* Random transcripts: what is found is what the device said, in every portioning, or nothing. */
static void test_random_lines(void **state)
{
        struct random random = { .state = 2026 };
        unsigned n_found = 0;

        (void)state;
        for (uint64_t round = 0; round < 3000; round++) {
                struct pdu request = read_request((uint16_t)random_next(&random),
                                                  (uint16_t)(1 + random_below(&random, 30)));
                struct pdu reply = reply_to(&request, round);
                struct line l = { .n = 0 };
                struct outcome at_once, bytewise;

                for (uint64_t i = random_below(&random, 6); i > 0; i--) {
                        struct pdu other = read_request((uint16_t)random_next(&random),
                                                        (uint16_t)(31 + random_below(&random, 10)));
                        struct pdu other_reply = reply_to(&other, i);

                        switch (random_below(&random, 5)) {
                        case 0: line_pdu(&l, UNIT, &request); break;
                        case 1: line_pdu(&l, UNIT, &other_reply); break;
                        case 2: line_pdu(&l, (uint8_t)random_next(&random), &other_reply); break;
                        case 3: l.n -= (size_t)random_below(&random, l.n + 1) / 8; break;
                        default:
                                LINE_BYTES(&l, (uint8_t)random_next(&random), (uint8_t)random_next(&random));
                                break;
                        }
                }
                if (random_below(&random, 8) > 0)
                        line_pdu(&l, UNIT, &reply);
                at_once = run(&l, &request, RTU_ECHO_AUTO, sizeof(l.bytes));
                bytewise = run(&l, &request, RTU_ECHO_AUTO, 1);
                assert_int_equal(at_once.match, bytewise.match);
                assert_memory_equal(&at_once.counts, &bytewise.counts, sizeof(at_once.counts));
                if (at_once.match == RTU_MATCH_MORE)
                        continue;
                assert_reply(&at_once, &reply);
                n_found++;
        }
        assert_true(n_found > 2500);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_crc),
                cmocka_unit_test(test_frame),
                cmocka_unit_test(test_times),
                cmocka_unit_test(test_scenarios_read),
                cmocka_unit_test(test_never_a_reply),
                cmocka_unit_test(test_every_bit_flip),
                cmocka_unit_test(test_every_truncation),
                cmocka_unit_test(test_exceptions_are_raw),
                cmocka_unit_test(test_write_of_one_and_echo),
                cmocka_unit_test(test_write_of_many),
                cmocka_unit_test(test_echo_that_begins_like_the_reply),
                cmocka_unit_test(test_echo_is_learned),
                cmocka_unit_test(test_frame_inside_a_foreign_frame),
                cmocka_unit_test(test_reply_behind_a_false_head),
                cmocka_unit_test(test_unknown_function),
                cmocka_unit_test(test_listening),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_random_lines),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
