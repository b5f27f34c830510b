/* SPDX-License-Identifier: MIT */
/* Masters on socket pairs, the bus a mailbox, time virtual. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "fake_loop.h"
#include "share_private.h"

static const uint8_t local[16] = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 };

static struct {
        struct conf conf;
        struct conf_bus bus;
        struct loop *loop;
        struct share *share;
        struct mailbox *box;
        unsigned n_lines;
        char line[LOG_LINE_BYTES];
} rig;

static void on_line(void *user UNUSED, enum log_level level UNUSED, const struct log_fields *fields UNUSED,
                    const char *line)
{
        rig.n_lines += level <= LOG_LEVEL_WARNING;
        (void)snprintf(rig.line, sizeof(rig.line), "%s", line);
}

static void rig_start(uint32_t max_age_ms)
{
        static char name[] = "line", host[] = "127.0.0.1", listen[] = "127.0.0.1:0";

        memset(&rig, 0, sizeof(rig));
        log_set_sink(on_line, NULL);
        rig.bus = (struct conf_bus){ .name = name, .kind = CONF_PORT_SERIAL };
        rig.bus.share = (struct conf_share){ .on = true,
                                             .listen = listen,
                                             .host = host,
                                             .max_age_ms = max_age_ms,
                                             .max_clients = 3,
                                             .max_requests = 4,
                                             .idle_timeout_s = 60,
                                             .request_timeout_ms = 1000,
                                             .response_timeout_ms = 300 };
        for (unsigned u = 0; u < 256; u++)
                rig.bus.share.units[u] = (uint8_t)u;
        rig.conf = (struct conf){ .generation = 1, .buses = &rig.bus, .n_buses = 1 };
        atomic_init(&rig.conf.n_refs, 1);
        assert_int_equal(loop_new(&rig.loop), 0);
        assert_int_equal(mailbox_new(BUS_RAWS_MAX, &rig.box), 0);
        assert_int_equal(share_new(rig.loop, &rig.conf, 0, &rig.share), 0);
        share_set_bus(rig.share, rig.box);
}

static int rig_done(void **state UNUSED)
{
        rig.share = share_free(rig.share);
        rig.loop = loop_free(rig.loop);
        rig.box = mailbox_free(rig.box);
        log_set_sink(NULL, NULL);
        assert_int_equal(rig.conf.n_refs, 1);
        return 0;
}

static int connect_master(void)
{
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        share_take_socket(rig.share, fds[1], local);
        return fds[0];
}

static void turn(void)
{
        while (fake_loop_poll(rig.loop, 0))
                ;
}

static size_t frame(uint8_t *adu, uint16_t tid, uint8_t unit, const uint8_t *pdu, size_t n)
{
        return mbap_frame(tid, unit, pdu, n, adu);
}

static void send_read(int fd, uint16_t tid, uint8_t unit, uint16_t address, uint16_t count)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES];
        struct pdu pdu;

        pdu_read_request(&pdu, PDU_READ_HOLDING, address, count);
        assert_int_equal(send(fd, adu, frame(adu, tid, unit, pdu.bytes, pdu.n_bytes), 0), 12);
        turn();
}

static void send_write(int fd, uint16_t tid, uint8_t unit, uint16_t address, uint16_t value)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES];
        struct pdu pdu;

        pdu_write_request(&pdu, PDU_WRITE_REGISTER, address, &value, 1);
        assert_int_equal(send(fd, adu, frame(adu, tid, unit, pdu.bytes, pdu.n_bytes), 0), 12);
        turn();
}

/* What the bus has been asked; the test fails when nothing was. */
static struct bus_raw *asked(void)
{
        struct mail *mail = mailbox_take(rig.box);

        assert_non_null(mail);
        assert_int_equal(mail->kind, BUS_MAIL_RAW);
        return CONTAINER_OF(mail, struct bus_raw, mail);
}

static void assert_not_asked(void)
{
        assert_null(mailbox_take(rig.box));
}

/* The bus answers a read with registers address, address + 1, … */
static void answer(struct bus_raw *raw, enum bus_outcome outcome, uint8_t exception)
{
        struct bus_raw_result *result;

        assert_int_equal(bus_raw_result_new(raw, outcome, &result), 0);
        result->exception = exception;
        result->done_us = loop_now_us(rig.loop);
        if (outcome == BUS_RESULT_OK && raw->pdu.bytes[0] == PDU_READ_HOLDING) {
                uint16_t regs[PDU_READ_REGS_MAX];

                for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
                        regs[i] = (uint16_t)(get_be16(raw->pdu.bytes + 1) + i);
                pdu_read_answer(&raw->pdu, regs, &result->reply);
        } else if (outcome == BUS_RESULT_OK && raw->unit != 0) {
                result->reply = raw->pdu;
        }
        share_on_bus_mail(rig.share, &result->mail);
        mail_free(&result->mail);
        mail_free(&raw->mail);
}

/* The next reply's PDU; its length. 0: none is there; −1: the connection has ended. */
static int receive(int fd, uint16_t *ret_tid, uint8_t *pdu)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES];
        size_t n_got = 0, n_wanted = MBAP_BYTES;

        while (n_got < n_wanted) {
                ssize_t n;

                turn();
                n = recv(fd, adu + n_got, n_wanted - n_got, 0);
                if (n <= 0)
                        return n == 0 || errno != EAGAIN ? -1 : 0;
                n_got += (size_t)n;
                if (n_got >= MBAP_BYTES)
                        n_wanted = 6u + get_be16(adu + 4);
        }
        *ret_tid = get_be16(adu);
        assert_int_equal(get_be16(adu + 2), 0);
        memcpy(pdu, adu + MBAP_BYTES, n_got - MBAP_BYTES);
        return (int)(n_got - MBAP_BYTES);
}

static void assert_exception(int fd, uint16_t tid, unsigned code)
{
        uint8_t pdu[PDU_MAX_BYTES];
        uint16_t got = 0;

        assert_int_equal(receive(fd, &got, pdu), 2);
        assert_int_equal(got, tid);
        assert_true(pdu[0] & 0x80);
        assert_int_equal(pdu[1], code);
}

static void assert_register(int fd, uint16_t tid, uint16_t value)
{
        uint8_t pdu[PDU_MAX_BYTES];
        uint16_t got = 0;

        assert_true(receive(fd, &got, pdu) >= 4);
        assert_int_equal(got, tid);
        assert_int_equal(pdu[0], PDU_READ_HOLDING);
        assert_int_equal(get_be16(pdu + 2), value);
}

static void assert_ended(int fd)
{
        uint8_t pdu[PDU_MAX_BYTES];
        uint16_t tid;

        assert_int_equal(receive(fd, &tid, pdu), -1);
        (void)close(fd);
}

static void test_request(void **state UNUSED)
{
        struct bus_raw *raw;
        int fd;

        rig_start(0);
        rig.bus.share.units[77] = 7;
        fd = connect_master();
        send_read(fd, 0x1234, 77, 100, 3);
        raw = asked();
        assert_int_equal(raw->raw_class, BUS_RAW_SHARED);
        assert_int_equal(raw->unit, 7);
        assert_int_equal(raw->timeout_ms, 300);
        assert_int_equal(raw->deadline_us, loop_now_us(rig.loop) + 1000 * USEC_PER_MSEC);
        assert_int_equal(raw->pdu.n_bytes, 5);
        answer(raw, BUS_RESULT_OK, 0);
        assert_register(fd, 0x1234, 100);
        assert_int_equal(share_n_clients(rig.share), 1);
        (void)close(fd);
        turn();
        assert_int_equal(share_n_clients(rig.share), 0);
}

static void test_exceptions(void **state UNUSED)
{
        static const struct {
                enum bus_outcome outcome;
                uint8_t exception, expected;
        } cases[] = {
                { BUS_RESULT_EXCEPTION, 2, 2 }, { BUS_RESULT_EXCEPTION, 200, 200 },
                { BUS_RESULT_TIMEOUT, 0, 11 },  { BUS_RESULT_OFFLINE, 0, 11 },
                { BUS_RESULT_EXPIRED, 0, 6 },   { BUS_RESULT_PORT, 0, 10 },
                { BUS_RESULT_STOPPED, 0, 10 },
        };
        int fd;

        rig_start(0);
        fd = connect_master();
        for (uint16_t i = 0; i < ARRAY_SIZE(cases); i++) {
                send_read(fd, i, 1, 0, 1);
                answer(asked(), cases[i].outcome, cases[i].exception);
                assert_exception(fd, i, cases[i].expected);
        }
        send_read(fd, 50, 248, 0, 1); /* no unit of a line */
        assert_exception(fd, 50, 10);
        send_write(fd, 51, 0, 0, 1); /* a broadcast has to be allowed */
        assert_exception(fd, 51, 10);
        share_set_bus(rig.share, NULL);
        send_read(fd, 52, 1, 0, 1);
        assert_exception(fd, 52, 10);
        share_set_bus(rig.share, rig.box);
        mailbox_close(rig.box);
        send_read(fd, 53, 1, 0, 1);
        assert_exception(fd, 53, 10);
        assert_not_asked();
        (void)close(fd);
}

/* In order, one at a time, and not more than may wait. */
static void test_pipeline(void **state UNUSED)
{
        uint8_t adus[6][MBAP_ADU_MAX_BYTES], all[1024];
        size_t n = 0;
        int fd;

        rig_start(0);
        fd = connect_master();
        for (uint16_t i = 0; i < 6; i++) {
                struct pdu pdu;
                size_t bytes;

                pdu_read_request(&pdu, PDU_READ_HOLDING, (uint16_t)(10 * i), 1);
                bytes = frame(adus[i], i, 1, pdu.bytes, pdu.n_bytes);
                memcpy(all + n, adus[i], bytes);
                n += bytes;
        }
        for (size_t i = 0; i < n; i++) { /* each byte alone */
                assert_int_equal(send(fd, all + i, 1, 0), 1);
                turn();
        }
        assert_exception(fd, 4, 6);
        assert_exception(fd, 5, 6);
        for (uint16_t i = 0; i < 4; i++) {
                struct bus_raw *raw = asked();

                assert_not_asked();
                assert_int_equal(get_be16(raw->pdu.bytes + 1), 10 * i);
                answer(raw, BUS_RESULT_OK, 0);
                assert_register(fd, i, (uint16_t)(10 * i));
        }
        assert_not_asked();
        (void)close(fd);
}

static void test_masters_in_turn(void **state UNUSED)
{
        struct bus_raw *raws[3];
        int fds[3];

        rig_start(0);
        for (unsigned i = 0; i < 3; i++)
                fds[i] = connect_master();
        for (uint16_t k = 0; k < 2; k++) {
                for (uint16_t i = 0; i < 3; i++)
                        send_read(fds[i], k, 1, (uint16_t)(100 * i + k), 1);
        }
        for (uint16_t k = 0; k < 2; k++) {
                for (unsigned i = 0; i < 3; i++)
                        raws[i] = asked();
                assert_not_asked();
                for (unsigned i = 3; i-- > 0;) /* in whatever order the line has them */
                        answer(raws[i], BUS_RESULT_OK, 0);
                for (uint16_t i = 0; i < 3; i++)
                        assert_register(fds[i], k, (uint16_t)(100 * i + k));
        }
        fds[0] = close(fds[0]) + connect_master();
        for (unsigned i = 0; i < 3; i++)
                (void)close(fds[i]);
}

static void test_too_many_masters(void **state UNUSED)
{
        static const uint8_t stranger[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 };
        int fds[2], masters[3], fd;

        rig_start(0);
        for (unsigned i = 0; i < 3; i++)
                masters[i] = connect_master();
        fd = connect_master();
        assert_ended(fd);
        assert_int_equal(share_n_clients(rig.share), 3);
        assert_int_equal(rig.n_lines, 1);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        (void)close(masters[0]);
        turn();
        share_take_socket(rig.share, fds[1], stranger);
        assert_ended(fds[0]);
        assert_int_equal(share_n_clients(rig.share), 2);
        assert_int_equal(rig.n_lines, 1); /* a second one within the minute is at debug */
        for (unsigned i = 1; i < 3; i++)
                (void)close(masters[i]);
}

static void test_garbage(void **state UNUSED)
{
        int fd, good;

        rig_start(0);
        good = connect_master();
        fd = connect_master();
        assert_int_equal(send(fd, "GET / HTTP/1.1\r\n", 16, 0), 16);
        assert_ended(fd);
        assert_int_equal(rig.n_lines, 1);
        fd = connect_master();
        send_read(fd, 1, 1, 0, 1); /* what is at the bus is nobody's any more */
        assert_int_equal(send(fd, "\0\0\0\0\0\1\0", 7, 0), 7);
        assert_ended(fd);
        answer(asked(), BUS_RESULT_OK, 0);
        send_read(good, 2, 1, 5, 1);
        answer(asked(), BUS_RESULT_OK, 0);
        assert_register(good, 2, 5);
        (void)close(good);
}

static void test_idle(void **state UNUSED)
{
        int quiet, busy;

        rig_start(0);
        quiet = connect_master();
        busy = connect_master();
        fake_loop_advance(rig.loop, 59 * USEC_PER_SEC);
        send_read(busy, 1, 1, 0, 1);
        fake_loop_advance(rig.loop, 2 * USEC_PER_SEC);
        assert_ended(quiet);
        fake_loop_advance(rig.loop, 3600 * USEC_PER_SEC); /* the bus is slow, not the master */
        answer(asked(), BUS_RESULT_OK, 0);
        assert_register(busy, 1, 0);
        fake_loop_advance(rig.loop, 61 * USEC_PER_SEC);
        assert_ended(busy);
}

/* A master that sends and never reads: its memory is bounded, then it is closed. */
static void test_slow_reader(void **state UNUSED)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES];
        struct pdu pdu;
        size_t n, n_sent = 0;
        int fd, small = 2048;

        rig_start(100000000);
        fd = connect_master();
        assert_int_equal(setsockopt(rig.share->clients->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
        send_read(fd, 1, 1, 0, 125);
        answer(asked(), BUS_RESULT_OK, 0); /* from now on known */
        pdu_read_request(&pdu, PDU_READ_HOLDING, 0, 125);
        n = frame(adu, 7, 1, pdu.bytes, pdu.n_bytes);
        for (unsigned i = 0; i < 100000 && send(fd, adu, n, 0) == (ssize_t)n; i++) {
                n_sent++;
                turn();
                assert_true(rig.share->clients->n_out <= CLIENT_OUT_BYTES);
        }
        assert_true(n_sent < 100000);
        assert_not_asked();
        for (size_t i = 0; i < 100; i++)
                assert_register(fd, i == 0 ? 1 : 7, 0); /* it reads on: nothing was lost */
        fake_loop_advance(rig.loop, 120 * USEC_PER_SEC);
        assert_int_equal(share_n_clients(rig.share), 0);
        (void)close(fd);
}

static void put_regs(uint16_t address, size_t n, uint64_t done_us)
{
        struct bus_regs *regs;

        assert_int_equal(bus_regs_new(n ? 1 : 0, n, &regs), 0);
        regs->unit = 1;
        regs->area = PDU_READ_HOLDING;
        regs->address = address;
        regs->done_us = done_us;
        for (size_t i = 0; i < n; i++)
                regs->regs[i] = (uint16_t)(1000 + address + i);
        share_on_bus_mail(rig.share, &regs->mail);
        mail_free(&regs->mail);
}

static void test_cache(void **state UNUSED)
{
        int fd;

        rig_start(500);
        fd = connect_master();
        put_regs(0, 10, loop_now_us(rig.loop));
        send_read(fd, 1, 1, 3, 2);
        assert_not_asked();
        assert_register(fd, 1, 1003);
        fake_loop_advance(rig.loop, 501 * USEC_PER_MSEC); /* too old */
        send_read(fd, 2, 1, 3, 2);
        answer(asked(), BUS_RESULT_OK, 0);
        assert_register(fd, 2, 3);
        send_read(fd, 3, 1, 4, 1); /* what a master read is known too */
        assert_not_asked();
        assert_register(fd, 3, 4);
        send_write(fd, 4, 1, 4, 99); /* and after a write it is not */
        send_read(fd, 5, 1, 4, 1);
        answer(asked(), BUS_RESULT_OK, 0);
        answer(asked(), BUS_RESULT_OK, 0);
        put_regs(0, 10, loop_now_us(rig.loop));
        put_regs(0, 0, loop_now_us(rig.loop)); /* somebody else wrote */
        send_read(fd, 6, 1, 3, 1);
        answer(asked(), BUS_RESULT_TIMEOUT, 0);
        (void)close(fd);
}

static void test_broadcast(void **state UNUSED)
{
        static struct conf_range all[] = { { 0, 65535 } };
        struct conf_allow allow = { .unit_ranges = { all, 1 },
                                    .function_ranges = { all, 1 },
                                    .register_ranges = { all, 1 } };
        uint8_t pdu[PDU_MAX_BYTES];
        uint16_t tid;
        int fd;

        rig_start(0);
        rig.bus.share.allow = &allow;
        rig.bus.share.n_allow = 1;
        fd = connect_master();
        send_write(fd, 1, 0, 5, 6);
        answer(asked(), BUS_RESULT_OK, 0);
        assert_int_equal(receive(fd, &tid, pdu), 5);
        assert_memory_equal(pdu, ((const uint8_t[]){ 6, 0, 5, 0, 6 }), 5);
        (void)close(fd);
}

/* The worker goes and another comes: who waits is told, late results are nobody's. */
static void test_bus_goes(void **state UNUSED)
{
        struct bus_raw *old;
        int fd;

        rig_start(0);
        fd = connect_master();
        send_read(fd, 1, 1, 0, 1);
        old = asked();
        send_read(fd, 2, 1, 0, 1);
        share_set_bus(rig.share, NULL);
        assert_exception(fd, 1, 10);
        assert_exception(fd, 2, 10);
        share_set_bus(rig.share, rig.box);
        send_read(fd, 3, 1, 9, 1);
        answer(old, BUS_RESULT_OK, 0);
        answer(asked(), BUS_RESULT_OK, 0);
        assert_register(fd, 3, 9);
        (void)close(fd);
}

static void test_reload(void **state UNUSED)
{
        static struct conf_range all[] = { { 0, 65535 } };
        struct conf_allow elsewhere = { .network = { .bytes = { 0xfe, 0x80 }, .n_bits = 16 },
                                        .unit_ranges = { all, 1 },
                                        .function_ranges = { all, 1 },
                                        .register_ranges = { all, 1 } };
        struct conf_bus bus;
        struct conf conf;
        int fd;

        rig_start(0);
        bus = rig.bus;
        conf = rig.conf;
        conf.buses = &bus;
        atomic_init(&conf.n_refs, 1);
        fd = connect_master();
        send_read(fd, 1, 1, 0, 1);
        share_reconfigure(rig.share, &conf, 0);
        answer(asked(), BUS_RESULT_OK, 0); /* as if nothing had happened */
        assert_register(fd, 1, 0);
        bus.share.allow = &elsewhere;
        bus.share.n_allow = 1;
        share_reconfigure(rig.share, &conf, 0);
        assert_ended(fd);
        share_reconfigure(rig.share, &rig.conf, 0);
        assert_int_equal(conf.n_refs, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_request, rig_done),
                cmocka_unit_test_teardown(test_exceptions, rig_done),
                cmocka_unit_test_teardown(test_pipeline, rig_done),
                cmocka_unit_test_teardown(test_masters_in_turn, rig_done),
                cmocka_unit_test_teardown(test_too_many_masters, rig_done),
                cmocka_unit_test_teardown(test_garbage, rig_done),
                cmocka_unit_test_teardown(test_idle, rig_done),
                cmocka_unit_test_teardown(test_slow_reader, rig_done),
                cmocka_unit_test_teardown(test_cache, rig_done),
                cmocka_unit_test_teardown(test_broadcast, rig_done),
                cmocka_unit_test_teardown(test_bus_goes, rig_done),
                cmocka_unit_test_teardown(test_reload, rig_done),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
