/* SPDX-License-Identifier: MIT */
/* The line in virtual time: what is written when. 9600 8E1: a character is 1.145833 ms, t3.5 is 4.011 ms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "line.h"
#include "simclock.h"
#include "support.h"

#define CHAR_NS       UINT64_C(1145834)
#define TURNAROUND_NS (5 * NS_PER_MS)

static const char devices[] = "unit 10\nholding 0..9 = address\nunit 11\nholding 0..9 = unit-address\n";
static const uint8_t read4[] = { 3, 0, 0, 0, 4 };

struct wire {
        struct simbus bus;
        struct line line;
        uint8_t bytes[4096]; /* that came from the line */
        uint64_t at_ns[4096];
        size_t n, n_writes;
        uint64_t now_ns;
};

static size_t wire_write(void *user, const uint8_t *bytes, size_t n_bytes)
{
        struct wire *w = user;

        for (size_t i = 0; i < n_bytes; i++) {
                w->bytes[w->n] = bytes[i];
                w->at_ns[w->n++] = w->now_ns;
        }
        w->n_writes++;
        return 0;
}

static struct wire *wire_new_framed(const char *fault, enum framing framing)
{
        struct wire *w = calloc(1, sizeof(*w));
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct fault_rule rule;

        assert_non_null(w);
        snprintf(w->bus.name, sizeof(w->bus.name), "b");
        w->bus.pace = (struct pace){ .baud = 9600, .on = framing == FRAMING_RTU };
        assert_int_equal(pace_set_format(&w->bus.pace, "8E1"), 0);
        w->bus.turnaround_min_ns = w->bus.turnaround_max_ns = TURNAROUND_NS;
        w->bus.map = map_of(devices, false);
        w->now_ns = NS_PER_S;
        stats_reset(&w->bus.stats, w->now_ns);
        if (fault) {
                assert_int_equal(fault_parse(fault, &rule, &error), 0);
                assert_int_equal(faults_add(&w->bus.faults, &rule), 0);
        }
        line_init(&w->line, &w->bus, framing, framing == FRAMING_RTU, wire_write, w);
        return w;
}

static struct wire *wire_new(const char *fault)
{
        return wire_new_framed(fault, FRAMING_RTU);
}

static void wire_free(struct wire *w)
{
        line_reset(&w->line);
        map_free(w->bus.map);
        free(w);
}

/* Runs the line event by event, as a loop that is never late would. */
static void wire_run_until(struct wire *w, uint64_t until_ns)
{
        uint64_t next_ns;

        while ((next_ns = line_next_ns(&w->line)) <= until_ns) {
                w->now_ns = MBGATE_MAX(w->now_ns, next_ns);
                line_advance(&w->line, w->now_ns);
        }
        w->now_ns = until_ns;
}

static void wire_run(struct wire *w, uint64_t duration_ns)
{
        wire_run_until(w, w->now_ns + duration_ns);
}

static void wire_ask(struct wire *w, uint8_t unit, const uint8_t *pdu, size_t n)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];

        line_receive(&w->line, adu, rtu_frame(unit, pdu, n, adu), w->now_ns);
}

/* Whether a frame is in what came; its offset, or −1. */
static int wire_find(const struct wire *w, uint8_t unit, const uint8_t *pdu, size_t n_pdu, size_t from)
{
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(unit, pdu, n_pdu, adu);

        for (size_t i = from; i + n <= w->n; i++) {
                if (memcmp(w->bytes + i, adu, n) == 0)
                        return (int)i;
        }
        return -1;
}

static const uint8_t reply4[] = { 3, 8, 0, 0, 0, 1, 0, 2, 0, 3 }; /* of unit 10: 13 characters */

/* 8 characters, turnaround, 13 characters; the last byte when its stop bit ends. */
static void a_transaction_takes_its_time(void **state)
{
        struct wire *w = wire_new(NULL);
        uint64_t start_ns = w->now_ns, end_ns;
        const struct stats *s = &w->bus.stats;

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 13);
        assert_int_equal(wire_find(w, 10, reply4, sizeof(reply4), 0), 0);
        end_ns = start_ns + 8 * CHAR_NS + TURNAROUND_NS + 13 * CHAR_NS;
        assert_in_range(w->at_ns[12], end_ns - 25, end_ns + 5);
        assert_int_equal(w->n_writes, 1);
        assert_int_equal(s->units[10].n_ok, 1);
        assert_int_equal(s->units[10].n_registers_read, 4);
        assert_in_range(s->busy_ns, 21 * CHAR_NS - 50, 21 * CHAR_NS + 50);
        assert_true(s->late_max_ns == 0);
        wire_free(w);
}

static void chunks_arrive_as_their_characters_end(void **state)
{
        struct wire *w = wire_new(NULL);
        uint64_t start_ns = w->now_ns + 8 * CHAR_NS + TURNAROUND_NS;

        (void)state;
        w->bus.chunk = 5;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n_writes, 3);
        assert_in_range(w->at_ns[0], start_ns + 5 * CHAR_NS - 30, start_ns + 5 * CHAR_NS + 5);
        assert_in_range(w->at_ns[5], start_ns + 10 * CHAR_NS - 30, start_ns + 10 * CHAR_NS + 5);
        assert_in_range(w->at_ns[12], start_ns + 13 * CHAR_NS - 30, start_ns + 13 * CHAR_NS + 5);
        wire_free(w);
}

/* A loop that comes late finds the reply late, but the line's own times do not drift. */
static void late_wake_ups_are_counted(void **state)
{
        struct wire *w = wire_new(NULL);

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        w->now_ns += NS_PER_S;
        line_advance(&w->line, w->now_ns);
        assert_int_equal(w->n, 13);
        assert_true(w->bus.stats.late_max_ns > 900 * NS_PER_MS);
        wire_free(w);
}

static void requests_in_pieces_end_with_the_last(void **state)
{
        struct wire *w = wire_new(NULL);
        uint8_t adu[RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(10, read4, sizeof(read4), adu);
        uint64_t end_ns;

        (void)state;
        line_receive(&w->line, adu, 3, w->now_ns);
        wire_run(w, 5 * NS_PER_MS); /* 3 characters and 1.6 ms of silence */
        line_receive(&w->line, adu + 3, n - 3, w->now_ns);
        end_ns = w->now_ns + 5 * CHAR_NS + TURNAROUND_NS + 13 * CHAR_NS;
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 13);
        assert_in_range(w->at_ns[12], end_ns - 25, end_ns + 5);
        wire_free(w);
}

static void cut_off_requests_are_forgotten_after_a_silence(void **state)
{
        struct wire *w = wire_new(NULL);

        (void)state;
        line_receive(&w->line, read4, 3, w->now_ns);
        wire_run(w, 20 * NS_PER_MS);
        assert_int_equal(w->bus.stats.n_broken, 1);
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 13);
        wire_free(w);
}

static void unknown_units_and_functions(void **state)
{
        struct wire *w = wire_new(NULL);
        static const uint8_t strange[] = { 0x65, 1, 2 }, refused[] = { 0xE5, 1 };

        (void)state;
        wire_ask(w, 99, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 0);
        assert_int_equal(w->bus.stats.n_unknown_unit, 1);
        wire_ask(w, 10, strange, sizeof(strange));
        wire_run(w, NS_PER_S);
        assert_int_equal(wire_find(w, 10, refused, sizeof(refused), 0), 0);
        wire_free(w);
}

static void broadcasts_are_done_by_all(void **state)
{
        static const uint8_t write[] = { 6, 0, 1, 0, 99 };
        struct wire *w = wire_new(NULL);
        uint16_t v;

        (void)state;
        wire_ask(w, 0, write, sizeof(write));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 0);
        for (uint8_t unit = 10; unit <= 11; unit++) {
                assert_int_equal(map_read(w->bus.map, unit, MAP_HOLDING, 1, 1, 0, &v), 0);
                assert_int_equal(v, 99);
        }
        wire_free(w);
}

/* The next request `gap_ns` after the last byte of the reply. */
static void ask_after(struct wire *w, uint64_t gap_ns)
{
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        w->now_ns = w->line.last_byte_ns + gap_ns;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
}

static void short_gaps_are_counted_and_in_strict_mode_not_heard(void **state)
{
        struct wire *w = wire_new(NULL);
        uint64_t t35_ns = pace_t35_ns(&w->bus.pace);

        (void)state;
        ask_after(w, t35_ns);
        assert_int_equal(w->bus.stats.n_too_early, 0);
        assert_true(w->bus.stats.gap_min_ns == t35_ns);
        ask_after(w, t35_ns - 1);
        assert_int_equal(w->bus.stats.n_too_early, 1);
        assert_int_equal(w->bus.stats.units[10].n_ok, 4);
        w->bus.strict = true;
        ask_after(w, t35_ns - 1);
        assert_int_equal(w->bus.stats.n_too_early, 2);
        assert_int_equal(w->bus.stats.units[10].n_ok, 5);
        ask_after(w, t35_ns);
        assert_int_equal(w->bus.stats.units[10].n_ok, 7);
        wire_free(w);
}

static void requests_without_a_pause_between_are_too_early(void **state)
{
        struct wire *w = wire_new(NULL);
        uint8_t adu[2 * RTU_ADU_MAX_BYTES];
        size_t n = rtu_frame(10, read4, sizeof(read4), adu);

        (void)state;
        memcpy(adu + n, adu, n);
        w->bus.strict = true;
        line_receive(&w->line, adu, 2 * n, w->now_ns);
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 13);
        assert_int_equal(w->bus.stats.n_too_early, 1);
        assert_true(w->bus.stats.gap_min_ns == 0);
        wire_free(w);
}

static void a_request_into_a_reply_waits_for_it(void **state)
{
        struct wire *w = wire_new(NULL);

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, 8 * CHAR_NS + TURNAROUND_NS + 4 * CHAR_NS);
        wire_ask(w, 11, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 26);
        assert_int_equal(wire_find(w, 10, reply4, sizeof(reply4), 0), 0);
        assert_int_equal(w->bus.stats.n_too_early, 1);
        assert_int_equal(w->bus.stats.n_collisions, 1);
        wire_free(w);
}

static void with_garble_both_are_destroyed(void **state)
{
        struct wire *w = wire_new(NULL);

        (void)state;
        w->bus.garble = true;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, 8 * CHAR_NS + TURNAROUND_NS + 4 * CHAR_NS);
        wire_ask(w, 11, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 13);
        assert_int_equal(wire_find(w, 10, reply4, sizeof(reply4), 0), -1);
        assert_int_equal(w->bus.stats.units[10].n_ok, 0);
        wire_free(w);
}

/* The late reply of 10 is due while the master speaks to 11: it comes first, then the right one. */
static void a_late_reply_stands_before_the_right_one(void **state)
{
        static const uint8_t reply11[] = { 3, 8, 0x2A, 0xF8, 0x2A, 0xF9, 0x2A, 0xFA, 0x2A, 0xFB };
        struct wire *w = wire_new("late:100ms@unit=10");

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, 8 * CHAR_NS + TURNAROUND_NS + 96 * NS_PER_MS);
        assert_int_equal(w->n, 0);
        wire_ask(w, 11, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 26);
        assert_int_equal(wire_find(w, 10, reply4, sizeof(reply4), 0), 0);
        assert_int_equal(wire_find(w, 11, reply11, sizeof(reply11), 0), 13);
        assert_int_equal(w->bus.stats.units[10].n_ok, 0);
        assert_int_equal(w->bus.stats.units[11].n_ok, 1);
        assert_int_equal(w->bus.stats.n_faults[FAULT_LATE], 1);
        wire_free(w);
}

static void faults_spoil_the_reply(void **state)
{
        static const struct {
                const char *fault;
                size_t n;   /* bytes that come */
                int offset; /* of the true reply; −1: not there */
                uint64_t n_ok;
        } cases[] = {
                { "no-reply", 0, -1, 0 },       { "lost-reply", 0, -1, 0 },    { "wrong-crc", 13, -1, 0 },
                { "truncate", 7, -1, 0 },       { "truncate:1", 12, -1, 0 },   { "truncate:200", 1, -1, 0 },
                { "noise-before:5", 18, 5, 1 }, { "noise-after:5", 18, 0, 1 }, { "duplicate", 26, 0, 1 },
                { "wrong-unit", 13, -1, 0 },    { "exception:6", 5, -1, 0 },   { "echo", 21, 8, 1 },
                { "trickle:20ms", 13, 0, 1 },   { "late:500ms", 13, 0, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct wire *w = wire_new(cases[i].fault);

                wire_ask(w, 10, read4, sizeof(read4));
                wire_run(w, 2 * NS_PER_S);
                if (w->n != cases[i].n || wire_find(w, 10, reply4, sizeof(reply4), 0) != cases[i].offset ||
                    w->bus.stats.units[10].n_ok != cases[i].n_ok || w->bus.stats.units[10].n_faults != 1)
                        fail_msg("%s: %zu bytes, reply at %d", cases[i].fault, w->n,
                                 wire_find(w, 10, reply4, sizeof(reply4), 0));
                wire_free(w);
        }
}

static void no_reply_does_nothing_and_lost_reply_does_it(void **state)
{
        static const uint8_t write[] = { 6, 0, 1, 0, 99 };
        static const char *const kinds[] = { "no-reply", "exception:4", "lost-reply", "late", "wrong-crc" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                struct wire *w = wire_new(kinds[i]);
                uint16_t v;

                wire_ask(w, 10, write, sizeof(write));
                wire_run(w, 2 * NS_PER_S);
                assert_int_equal(map_read(w->bus.map, 10, MAP_HOLDING, 1, 1, 0, &v), 0);
                assert_int_equal(v, i < 2 ? 1 : 99);
                wire_free(w);
        }
}

static void an_echo_comes_with_the_request_even_of_the_dead(void **state)
{
        struct wire *w = wire_new("echo");
        uint64_t start_ns = w->now_ns;

        (void)state;
        map_set_dead(w->bus.map, 10, true);
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n, 8);
        assert_in_range(w->at_ns[7], start_ns + 8 * CHAR_NS - 20, start_ns + 8 * CHAR_NS + 5);
        assert_int_equal(w->bus.stats.units[10].n_silent, 1);
        wire_free(w);
}

static void a_trickle_pauses_before_each_byte(void **state)
{
        struct wire *w = wire_new("trickle:20ms");

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->n_writes, 13);
        for (size_t i = 1; i < 13; i++)
                assert_in_range(w->at_ns[i] - w->at_ns[i - 1], 20 * NS_PER_MS + CHAR_NS - 5,
                                20 * NS_PER_MS + CHAR_NS + 5);
        wire_free(w);
}

static void a_hang_up_is_asked_for(void **state)
{
        struct wire *w = wire_new("hangup-and-return:3s@n=2");

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_true(w->line.hangup_ns == 0);
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_true(w->line.hangup_ns == 3 * NS_PER_S);
        wire_free(w);
}

static void the_worst_staleness_is_kept(void **state)
{
        struct wire *w = wire_new(NULL);

        (void)state;
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, 3 * NS_PER_S);
        wire_ask(w, 10, read4, sizeof(read4));
        wire_run(w, NS_PER_S);
        assert_int_equal(w->bus.stats.units[10].worst_ns, 3 * NS_PER_S);
        wire_free(w);
}

static void tcp_answers_at_once_and_in_order(void **state)
{
        static const uint8_t two[] = { 0, 1, 0, 0, 0, 6, 10, 3, 0, 2, 0, 1,
                                       0, 2, 0, 0, 0, 6, 77, 3, 0, 0, 0, 1 };
        static const uint8_t replies[] = { 0, 1, 0, 0, 0, 5, 10, 3, 2, 0, 2, 0, 2, 0, 0, 0, 3, 77, 0x83, 11 };
        struct wire *w = wire_new_framed(NULL, FRAMING_MBAP);

        (void)state;
        w->bus.turnaround_min_ns = w->bus.turnaround_max_ns = 0;
        line_receive(&w->line, two, sizeof(two), w->now_ns);
        assert_int_equal(w->n, sizeof(replies));
        assert_memory_equal(w->bytes, replies, sizeof(replies));
        assert_false(w->line.closed);
        line_receive(&w->line, (const uint8_t *)"GET / HTTP/1.1\r\n", 16, w->now_ns);
        assert_true(w->line.closed);
        wire_free(w);
}

/* Ten thousand transactions with everything going wrong: bounded, and every good frame of the right unit. */
static void a_storm_of_faults_ends(void **state)
{
        static const char *const kinds[] = { "late:1ms..900ms@p=0.2", "noise-before@p=0.1",
                                             "noise-after:20@p=0.1",  "duplicate@p=0.1",
                                             "wrong-crc@p=0.1",       "truncate@p=0.1",
                                             "wrong-unit@p=0.1",      "echo@p=0.1",
                                             "no-reply@p=0.1",        "trickle:1ms..50ms@p=0.1" };
        struct wire *w = wire_new(NULL);
        struct random random = { 3 };
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct fault_rule rule;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                assert_int_equal(fault_parse(kinds[i], &rule, &error), 0);
                assert_int_equal(faults_add(&w->bus.faults, &rule), 0);
        }
        for (int i = 0; i < 10000; i++) {
                w->bus.garble = random_below(&random, 2);
                wire_ask(w, (uint8_t)(10 + random_below(&random, 2)), read4, sizeof(read4));
                wire_run(w, random_below(&random, 100) * NS_PER_MS);
                w->n = 0;
        }
        wire_run(w, 100 * NS_PER_S);
        assert_int_equal(w->line.n_replies, 0);
        assert_int_equal(w->line.n_requests, 0);
        assert_true(w->bus.stats.units[10].n_ok > 500);
        wire_free(w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_transaction_takes_its_time),
                cmocka_unit_test(chunks_arrive_as_their_characters_end),
                cmocka_unit_test(late_wake_ups_are_counted),
                cmocka_unit_test(requests_in_pieces_end_with_the_last),
                cmocka_unit_test(cut_off_requests_are_forgotten_after_a_silence),
                cmocka_unit_test(unknown_units_and_functions),
                cmocka_unit_test(broadcasts_are_done_by_all),
                cmocka_unit_test(short_gaps_are_counted_and_in_strict_mode_not_heard),
                cmocka_unit_test(requests_without_a_pause_between_are_too_early),
                cmocka_unit_test(a_request_into_a_reply_waits_for_it),
                cmocka_unit_test(with_garble_both_are_destroyed),
                cmocka_unit_test(a_late_reply_stands_before_the_right_one),
                cmocka_unit_test(faults_spoil_the_reply),
                cmocka_unit_test(no_reply_does_nothing_and_lost_reply_does_it),
                cmocka_unit_test(an_echo_comes_with_the_request_even_of_the_dead),
                cmocka_unit_test(a_trickle_pauses_before_each_byte),
                cmocka_unit_test(a_hang_up_is_asked_for),
                cmocka_unit_test(the_worst_staleness_is_kept),
                cmocka_unit_test(tcp_answers_at_once_and_in_order),
                cmocka_unit_test(a_storm_of_faults_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
