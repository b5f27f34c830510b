/* SPDX-License-Identifier: MIT */
/*
 * The port on a pseudo-terminal and over TCP, against a peer that does what lines do: late, doubled, broken,
 * trickled and echoed replies, noise, a hang-up. A read's right answer is its address, so that every mix-up
 * shows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/bus/worker.h"

#include "bus_conf.h"
#include "serial_mode.h"

#define UNIT        17
#define TIMEOUT_US  (200 * USEC_PER_MSEC) /* half of it is what a busy machine may hold up the peer */
#define PATIENCE_US (20 * USEC_PER_SEC)   /* for what comes in any case */

enum act {
        ACT_ANSWER,
        ACT_SILENT,
        ACT_LATE, /* after the time-out, before its double */
        ACT_TWICE,
        ACT_AGAIN,         /* its last answer, and then the right one */
        ACT_AGAIN_AT_ONCE, /* both in one portion */
        ACT_AGAIN_BROKEN,
        ACT_AGAIN_ONLY,
        ACT_NOISE_BEFORE,
        ACT_NOISE_AFTER,
        ACT_ECHO,
        ACT_ECHO_ONLY,
        ACT_WRITES_ONLY,      /* silent to reads */
        ACT_ECHO_WRITES_ONLY, /* but for their echo */
        ACT_WRONG_CRC,
        ACT_WRONG_UNIT,
        ACT_WRONG_ECHO, /* of a write: another value */
        ACT_SHORT,
        ACT_TRICKLE,
        ACT_EXCEPTION,
        ACT_HANG_UP,
};

#define AGAIN_US UINT64_C(5000)

struct peer {
        uint8_t answer[RTU_ADU_MAX_BYTES]; /* the last one */
        size_t n_answer;
        pthread_t thread;
        int fd; /* the line's other end */
        bool is_tcp;
        int listener;
        _Atomic int act;
        _Atomic unsigned n_requests;
        atomic_uint n_written; /* by the test itself, beside the peer */
        uint64_t last_us;      /* of a byte on the line, in either direction */
        _Atomic uint64_t min_gap_us;
};

static struct bus_conf c;
static struct peer peer;
static struct port *port;
static int listener = -1;
static int keep_fd = -1; /* the line stays when the port is closed */

static void put(const uint8_t *bytes, size_t n)
{
        /* Read before: a peer that is preempted behind write(2) would see a gap shorter than it was. */
        peer.last_us = clock_monotonic_us();
        assert_int_equal(write(peer.fd, bytes, n), (ssize_t)n);
}

static void pause_us(uint64_t us)
{
        struct timespec t = { .tv_sec = 0, .tv_nsec = (long)us * 1000 };

        (void)nanosleep(&t, NULL);
}

/* The right reply PDU: reads give their addresses, writes themselves. */
static size_t make_reply(const uint8_t *request, size_t n, uint8_t *pdu)
{
        uint16_t address = get_be16(request + 1), count = get_be16(request + 3);

        if (request[0] > PDU_READ_INPUT) {
                memcpy(pdu, request, n);
                return request[0] == PDU_WRITE_REGISTERS ? 5 : n;
        }
        pdu[0] = request[0];
        pdu[1] = (uint8_t)(2 * count);
        for (unsigned i = 0; i < count; i++)
                put_be16(pdu + 2 + 2 * i, (uint16_t)(address + i));
        return 2 + 2u * count;
}

/* The last answer once more, and behind it what belongs there. */
static void act_again(enum act act, uint8_t *adu, size_t n)
{
        uint8_t both[2 * RTU_ADU_MAX_BYTES];

        if (act == ACT_AGAIN_AT_ONCE) {
                memcpy(both, peer.answer, peer.n_answer);
                memcpy(both + peer.n_answer, adu, n);
                put(both, peer.n_answer + n);
                return;
        }
        put(peer.answer, peer.n_answer);
        if (act == ACT_AGAIN_ONLY)
                return;
        pause_us(AGAIN_US);
        adu[n - 1] ^= act == ACT_AGAIN_BROKEN;
        put(adu, n);
}

static void act_serial(enum act act, const uint8_t *request, size_t n_request, uint8_t *adu, size_t n)
{
        static const uint8_t noise[] = { 0x00, UNIT, 0x55 };
        uint8_t other[RTU_ADU_MAX_BYTES];

        switch (act) {
        case ACT_SILENT: return;
        case ACT_LATE: pause_us(TIMEOUT_US + TIMEOUT_US / 2); break;
        case ACT_TWICE: put(adu, n); break;
        case ACT_NOISE_BEFORE: put(noise, sizeof(noise)); break;
        case ACT_ECHO: put(request, n_request); break;
        case ACT_ECHO_ONLY: put(request, n_request); return;
        case ACT_WRITES_ONLY:
                if (request[1] <= PDU_READ_INPUT)
                        return;
                break;
        case ACT_ECHO_WRITES_ONLY:
                put(request, n_request);
                if (request[1] <= PDU_READ_INPUT)
                        return;
                break;
        case ACT_WRONG_CRC: adu[n - 1] ^= 1; break;
        case ACT_WRONG_UNIT:
                n = rtu_frame(UNIT + 1, adu + 1, n - 3, other);
                memcpy(adu, other, n);
                break;
        case ACT_WRONG_ECHO:
                adu[5] ^= 1;
                n = rtu_frame(UNIT, adu + 1, n - 3, other);
                memcpy(adu, other, n);
                break;
        case ACT_SHORT: n -= 3; break;
        case ACT_TRICKLE:
                for (size_t i = 0; i < n; i++) {
                        put(adu + i, 1);
                        pause_us(2000);
                }
                return;
        case ACT_EXCEPTION: n = rtu_frame(UNIT, (const uint8_t[]){ adu[1] | 0x80, 4 }, 2, adu); break;
        case ACT_HANG_UP:
                (void)close(peer.fd);
                peer.fd = -1;
                return;
        case ACT_AGAIN:
        case ACT_AGAIN_AT_ONCE:
        case ACT_AGAIN_BROKEN:
        case ACT_AGAIN_ONLY: act_again(act, adu, n); return;
        case ACT_ANSWER:
                memcpy(peer.answer, adu, n);
                peer.n_answer = n;
                break;
        case ACT_NOISE_AFTER: break;
        }
        put(adu, n);
        if (act == ACT_NOISE_AFTER)
                put(noise, sizeof(noise));
}

static void serve_rtu(const uint8_t *request, size_t n)
{
        uint8_t pdu[PDU_MAX_BYTES], adu[RTU_ADU_MAX_BYTES];
        size_t n_pdu = make_reply(request + 1, n - 3, pdu);

        assert_int_equal(rtu_crc(request, n), 0);
        if (request[0] != UNIT)
                return;
        act_serial((enum act)atomic_load(&peer.act), request, n, adu, rtu_frame(UNIT, pdu, n_pdu, adu));
}

static void serve_tcp(const uint8_t *request, size_t n)
{
        uint8_t adu[MBAP_BYTES + PDU_MAX_BYTES];
        size_t n_pdu = make_reply(request + MBAP_BYTES, n - MBAP_BYTES, adu + MBAP_BYTES);

        memcpy(adu, request, MBAP_BYTES);
        put_be16(adu + 4, (uint16_t)(n_pdu + 1));
        if (atomic_load(&peer.act) == ACT_SILENT)
                return;
        if (atomic_load(&peer.act) == ACT_LATE)
                pause_us(TIMEOUT_US + TIMEOUT_US / 2);
        if (atomic_load(&peer.act) == ACT_HANG_UP) {
                (void)close(peer.fd);
                peer.fd = -1;
                return;
        }
        put(adu, MBAP_BYTES + n_pdu);
}

static void *peer_run(void *user)
{
        uint8_t bytes[512];
        ssize_t n;

        (void)user;
        if (peer.is_tcp) {
                peer.fd = accept(peer.listener, NULL, NULL);
                (void)setsockopt(peer.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        }
        while (peer.fd >= 0 && (n = read(peer.fd, bytes, sizeof(bytes))) > 0) {
                uint64_t now_us = clock_monotonic_us();

                if (peer.last_us != 0 && now_us - peer.last_us < atomic_load(&peer.min_gap_us))
                        atomic_store(&peer.min_gap_us, now_us - peer.last_us);
                atomic_fetch_add(&peer.n_requests, 1);
                if (peer.is_tcp)
                        serve_tcp(bytes, (size_t)n);
                else
                        serve_rtu(bytes, (size_t)n);
        }
        (void)atomic_load(&peer.n_written); /* what the test wrote itself comes before the close */
        if (peer.fd >= 0)
                (void)close(peer.fd);
        return NULL;
}

static void start_peer(void)
{
        atomic_store(&peer.min_gap_us, UINT64_MAX);
        assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, NULL), 0);
}

static int start_serial(void **state)
{
        static char name[64];

        (void)state;
        memset(&peer, 0, sizeof(peer));
        peer.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(peer.fd >= 0);
        assert_int_equal(grantpt(peer.fd), 0);
        assert_int_equal(unlockpt(peer.fd), 0);
        assert_int_equal(ptsname_r(peer.fd, name, sizeof(name)), 0);
        bus_conf_init(&c, name);
        c.bus.baud = 115200;
        assert_int_equal(port_libmodbus_new(&c.bus, &port), 0);
        /* A pty whose slave was never open reads as hung up. */
        keep_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_int_equal(port_open(port), 0);
        start_peer();
        return 0;
}

static int start_tcp(void **state)
{
        static char host[] = "127.0.0.1";
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t length = sizeof(at);

        (void)state;
        memset(&peer, 0, sizeof(peer));
        peer.is_tcp = true;
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(listen(listener, 4), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
        bus_conf_init(&c, "tcp");
        c.bus.kind = CONF_PORT_TCP;
        c.bus.host = host;
        c.bus.tcp_port = ntohs(at.sin_port);
        peer.listener = listener;
        assert_int_equal(port_libmodbus_new(&c.bus, &port), 0);
        start_peer();
        assert_int_equal(port_open(port), 0);
        return 0;
}

static int stop(void **state)
{
        (void)state;
        port = port_free(port);
        if (keep_fd >= 0)
                (void)close(keep_fd); /* the peer reads the end of the line */
        keep_fd = -1;
        (void)pthread_join(peer.thread, NULL);
        if (listener >= 0)
                (void)close(listener);
        listener = -1;
        return 0;
}

/* Only what the port must give up waiting for is waited for in vain. */
static uint64_t timeout_us(void)
{
        switch ((enum act)atomic_load(&peer.act)) {
        case ACT_SILENT:
        case ACT_LATE:
        case ACT_ECHO_ONLY:
        case ACT_WRITES_ONLY:
        case ACT_ECHO_WRITES_ONLY:
        case ACT_WRONG_CRC:
        case ACT_WRONG_UNIT:
        case ACT_WRONG_ECHO:
        case ACT_AGAIN_BROKEN:
        case ACT_SHORT: return TIMEOUT_US;
        case ACT_ANSWER:
        case ACT_TWICE:
        case ACT_AGAIN:
        case ACT_AGAIN_AT_ONCE:
        case ACT_AGAIN_ONLY:
        case ACT_NOISE_BEFORE:
        case ACT_NOISE_AFTER:
        case ACT_ECHO:
        case ACT_TRICKLE:
        case ACT_EXCEPTION:
        case ACT_HANG_UP: break;
        }
        return PATIENCE_US;
}

static int ask(uint16_t address, struct port_reply *reply)
{
        struct port_request request = { .unit = UNIT, .timeout_us = timeout_us() };
        uint16_t regs[4];
        int r;

        pdu_read_request(&request.pdu, PDU_READ_HOLDING, address, 4);
        r = port_transact(port, &request, reply);
        if (r == PORT_OK) {
                assert_int_equal(pdu_read_reply(&request.pdu, &reply->pdu, regs, 4), 0);
                for (unsigned i = 0; i < 4; i++)
                        assert_int_equal(regs[i], address + i);
                assert_true(reply->began_us <= reply->sent_us && reply->sent_us <= reply->deadline_us);
        }
        return r;
}

static int set(uint16_t value, struct port_reply *reply)
{
        struct port_request request = { .unit = UNIT, .timeout_us = timeout_us() };

        pdu_write_request(&request.pdu, PDU_WRITE_REGISTER, 5, &value, 1);
        return port_transact(port, &request, reply);
}

/* What the worker does after silence: nothing to this unit while a late reply could come. */
static struct rtu_counts hold(const struct port_reply *reply)
{
        struct rtu_counts counts = { 0 };

        assert_int_equal(port_drain(port, reply->deadline_us + TIMEOUT_US, &counts), 0);
        return counts;
}

static void do_act(enum act act)
{
        atomic_store(&peer.act, (int)act);
}

/* After any of it the next transaction is right. */
static void assert_healthy(uint16_t address)
{
        struct port_reply reply;

        do_act(ACT_ANSWER);
        assert_int_equal(ask(address, &reply), PORT_OK);
}

static void test_answers_keep_t35(void **state)
{
        struct port_reply reply;

        (void)state;
        for (uint16_t i = 0; i < 200; i++)
                assert_int_equal(ask(i, &reply), PORT_OK);
        assert_true(reply.gap_us >= 1750);
        assert_true(atomic_load(&peer.min_gap_us) >= 1750);
}

static void test_late(void **state)
{
        struct port_reply reply;

        (void)state;
        for (uint16_t i = 0; i < 5; i++) {
                do_act(ACT_LATE);
                assert_int_equal(ask((uint16_t)(100 * i), &reply), PORT_TIMEOUT);
                assert_int_equal(hold(&reply).n_foreign, 1);
                assert_healthy((uint16_t)(100 * i + 10));
        }
}

static int ask_doubting(uint16_t address, uint64_t usual_us, struct port_reply *reply)
{
        struct port_request request = { .unit = UNIT, .timeout_us = timeout_us(), .usual_us = usual_us };

        pdu_read_request(&request.pdu, PDU_READ_HOLDING, address, 4);
        return port_transact(port, &request, reply);
}

/* The last reply once more is no answer to another request, when its own comes as well. */
static void test_again(void **state)
{
        static const enum act acts[] = { ACT_AGAIN, ACT_AGAIN_AT_ONCE };
        struct port_reply reply;

        (void)state;
        for (uint16_t i = 0; i < 6; i++) {
                assert_healthy((uint16_t)(100 * i));
                do_act(acts[i % 2]);
                assert_int_equal(ask_doubting((uint16_t)(100 * i + 10), TIMEOUT_US, &reply), PORT_OK);
                assert_int_equal(get_be16(reply.pdu.bytes + 2), 100 * i + 10);
                assert_int_equal(reply.counts.n_foreign, 1);
        }
        assert_healthy(700);
        do_act(ACT_AGAIN_BROKEN);
        assert_int_equal(ask_doubting(710, TIMEOUT_US, &reply), PORT_BROKEN);
}

/* Registers that hold the same: the first time costs little, later ones nothing. */
static void test_equal_replies(void **state)
{
        struct port_reply reply;

        (void)state;
        assert_healthy(100);
        do_act(ACT_AGAIN_ONLY);
        assert_int_equal(ask_doubting(110, AGAIN_US, &reply), PORT_OK);
        assert_int_equal(get_be16(reply.pdu.bytes + 2), 100);
        assert_int_equal(ask_doubting(120, AGAIN_US, &reply), PORT_OK);
        assert_int_equal(reply.counts.n_foreign, 0);
        for (unsigned i = 0; i < 2; i++) {
                for (uint16_t address = 110; address <= 120; address = (uint16_t)(address + 10)) {
                        assert_int_equal(ask_doubting(address, PATIENCE_US / 2, &reply), PORT_OK);
                        assert_true(clock_monotonic_us() < reply.sent_us + PATIENCE_US / 2);
                }
        }
}

/* On a line that repeats replies, one that changes something is believed when it comes to the retry as well.
 */
static void test_again_without_an_answer(void **state)
{
        struct port_reply reply;

        (void)state;
        assert_healthy(10);
        assert_healthy(100);
        do_act(ACT_AGAIN);
        assert_int_equal(ask_doubting(10, TIMEOUT_US, &reply), PORT_OK); /* it repeats */
        assert_healthy(100);
        do_act(ACT_AGAIN_ONLY);
        assert_int_equal(ask_doubting(10, AGAIN_US, &reply), PORT_BROKEN);
        assert_int_equal(reply.counts.n_foreign, 1);
        assert_int_equal(ask_doubting(10, PATIENCE_US / 2, &reply), PORT_OK);
        assert_int_equal(get_be16(reply.pdu.bytes + 2), 100);
}

/* Right in the same transaction. */
static void test_borne(void **state)
{
        static const enum act acts[] = { ACT_TWICE, ACT_NOISE_BEFORE, ACT_NOISE_AFTER, ACT_ECHO,
                                         ACT_TRICKLE };
        struct port_reply reply;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
                do_act(acts[i]);
                assert_int_equal(ask((uint16_t)(7 * i), &reply), PORT_OK);
                if (acts[i] == ACT_ECHO)
                        assert_int_equal(reply.counts.n_echo, 1);
                if (acts[i] == ACT_NOISE_BEFORE)
                        assert_int_equal(reply.counts.n_junk_bytes, 3);
                /* The line was seen to echo; it does no more: open anew. */
                if (acts[i] == ACT_ECHO)
                        continue;
                assert_healthy((uint16_t)(7 * i + 100));
        }
}

static void test_not_taken(void **state)
{
        static const struct {
                enum act act;
                int result;
        } cases[] = {
                { ACT_SILENT, PORT_TIMEOUT },     { ACT_WRONG_CRC, PORT_BROKEN },
                { ACT_WRONG_UNIT, PORT_TIMEOUT }, { ACT_SHORT, PORT_BROKEN },
                { ACT_ECHO_ONLY, PORT_TIMEOUT },  { ACT_EXCEPTION, PORT_EXCEPTION },
        };
        struct port_reply reply;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                do_act(cases[i].act);
                assert_int_equal(ask((uint16_t)(50 * i), &reply), cases[i].result);
                if (cases[i].result == PORT_EXCEPTION)
                        assert_int_equal(reply.exception, 4);
                else
                        (void)hold(&reply);
                assert_healthy((uint16_t)(50 * i + 20));
        }
}

static void test_writes(void **state)
{
        struct port_reply reply;

        (void)state;
        assert_int_equal(set(1, &reply), PORT_OK);
        assert_int_equal(atomic_load(&peer.n_requests), 2); /* a read first: does the line echo? */
        assert_int_equal(set(2, &reply), PORT_OK);
        assert_int_equal(atomic_load(&peer.n_requests), 3);
        do_act(ACT_WRONG_ECHO);
        assert_true(set(3, &reply) != PORT_OK);
        (void)hold(&reply);
        assert_healthy(9);
}

/* Nobody there, but the adapter echoes: a write has not succeeded. */
static void test_write_echo_is_no_answer(void **state)
{
        struct port_reply reply;

        (void)state;
        do_act(ACT_ECHO_ONLY);
        assert_int_equal(set(1, &reply), PORT_TIMEOUT);
        assert_true(reply.began_us > 0 && reply.counts.n_echo == 1);
        do_act(ACT_ECHO);
        assert_int_equal(set(1, &reply), PORT_OK);
        do_act(ACT_ECHO_ONLY);
        assert_int_equal(set(1, &reply), PORT_TIMEOUT);
}

/* A register that can only be written: the silence of the read that asks for an echo says nothing of it. */
static void test_write_only(void **state)
{
        struct port_reply reply;

        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                do_act(ACT_WRITES_ONLY);
                assert_int_equal(set(1, &reply), PORT_OK);
                assert_int_equal(reply.counts.n_echo, 0);
                assert_int_equal(atomic_load(&peer.n_requests), 2 * (i + 1));
        }
        /* What silence taught was for that write only. */
        do_act(ACT_ECHO_ONLY);
        assert_int_equal(set(1, &reply), PORT_TIMEOUT);
        assert_int_equal(reply.counts.n_echo, 1);
        do_act(ACT_ECHO_WRITES_ONLY);
        assert_int_equal(set(1, &reply), PORT_OK);
        assert_int_equal(reply.counts.n_echo, 1);
}

static void test_write_only_with_echo(void **state)
{
        struct port_reply reply;

        (void)state;
        do_act(ACT_ECHO_WRITES_ONLY);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(set(1, &reply), PORT_OK);
                assert_int_equal(reply.counts.n_echo, 1);
        }
        assert_int_equal(atomic_load(&peer.n_requests), 3);
}

/* What is to be asked may be decided when the line is free; t3.5 is kept whether that was awaited or not. */
static void test_await(void **state)
{
        static const uint8_t noise[] = { 0x55, 0x00, 0x55 };
        int wake_fd = eventfd(0, EFD_CLOEXEC);
        struct port_reply reply;
        uint64_t done_us;

        (void)state;
        assert_true(wake_fd >= 0);
        assert_int_equal(ask(1, &reply), PORT_OK);
        done_us = reply.done_us;
        assert_int_equal(port_await(port, 100 * USEC_PER_MSEC, wake_fd), 0);
        assert_true(clock_monotonic_us() >= done_us + 99 * USEC_PER_MSEC);
        assert_int_equal(ask(2, &reply), PORT_OK);
        assert_true(reply.gap_us >= 99 * USEC_PER_MSEC);
        assert_int_equal(eventfd_write(wake_fd, 1), 0);
        assert_int_equal(port_await(port, PATIENCE_US, wake_fd), 1);
        assert_true(clock_monotonic_us() < reply.done_us + PATIENCE_US);
        for (uint16_t i = 3; i < 50; i++) {
                assert_int_equal(ask(i, &reply), PORT_OK);
                assert_true(reply.gap_us >= 1750);
                assert_int_equal(port_await(port, 0, i % 2 ? wake_fd : -1), i % 2);
        }
        /* What comes meanwhile is not lost, and the silence begins anew. */
        assert_int_equal(write(peer.fd, noise, sizeof(noise)), sizeof(noise));
        atomic_fetch_add(&peer.n_written, 1);
        assert_int_equal(port_await(port, 20 * USEC_PER_MSEC, -1), 0);
        assert_int_equal(ask(50, &reply), PORT_OK);
        assert_int_equal(reply.counts.n_junk_bytes, sizeof(noise));
        assert_true(atomic_load(&peer.min_gap_us) >= 1750);
        (void)close(wake_fd);
}

static void test_hang_up(void **state)
{
        struct port_reply reply;

        (void)state;
        do_act(ACT_HANG_UP);
        assert_true(ask(1, &reply) < 0);
        port_close(port);
        assert_true(ask(1, &reply) < 0);
}

static void *cancel_soon(void *user)
{
        while (atomic_load(&peer.n_requests) == 0)
                pause_us(500);
        port_cancel(user);
        return NULL;
}

static void test_cancel(void **state)
{
        struct port_request request = { .unit = UNIT, .timeout_us = 60 * USEC_PER_SEC };
        struct port_reply reply;
        pthread_t thread;

        (void)state;
        do_act(ACT_SILENT);
        pdu_read_request(&request.pdu, PDU_READ_HOLDING, 0, 1);
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, port), 0);
        assert_int_equal(port_transact(port, &request, &reply), PORT_CANCELLED);
        (void)pthread_join(thread, NULL);
        assert_int_equal(ask(1, &reply), PORT_CANCELLED);
}

static void test_broadcast(void **state)
{
        struct port_request request = { .unit = 0 };
        struct port_reply reply;
        uint64_t sent_us;

        (void)state;
        pdu_write_request(&request.pdu, PDU_WRITE_REGISTER, 1, (const uint16_t[]){ 7 }, 1);
        assert_int_equal(port_transact(port, &request, &reply), PORT_OK);
        sent_us = reply.sent_us;
        assert_int_equal(ask(3, &reply), PORT_OK);
        assert_true(reply.began_us >= sent_us + c.bus.broadcast_delay_ms * USEC_PER_MSEC);
}

static void test_busy_port(void **state)
{
        struct port *second;

        (void)state;
        assert_int_equal(port_libmodbus_new(&c.bus, &second), 0);
        assert_int_equal(port_open(second), -EBUSY);
        assert_int_equal(strncmp(port_describe(second), "held by ", 8), 0);
        port_free(second);
        assert_healthy(1);
}

/* Closed and opened; the line's other end does not notice. */
static void open_again(void)
{
        port_close(port);
        assert_int_equal(ioctl(keep_fd, TIOCNXCL), 0); /* a last close would do it */
        assert_int_equal(port_open(port), 0);
}

/* However often it is closed and opened, a request keeps its distance from what was on the line before. */
static void test_silence_over_an_open(void **state)
{
        struct port_request request = { .unit = 0 };
        static const uint16_t regs[123];
        struct port_reply reply;
        uint64_t sent_us;

        (void)state;
        for (uint16_t i = 0; i < 20; i++) {
                assert_healthy(i);
                open_again();
        }
        assert_healthy(1);
        assert_true(atomic_load(&peer.min_gap_us) >= rtu_t35_us(c.bus.baud));
        /* Nobody answers a broadcast: it is still being sent when the port is closed. */
        pdu_write_request(&request.pdu, PDU_WRITE_REGISTERS, 1, regs, 123);
        assert_int_equal(port_transact(port, &request, &reply), PORT_OK);
        sent_us = reply.sent_us;
        open_again();
        assert_int_equal(ask(3, &reply), PORT_OK);
        assert_true(reply.began_us >= sent_us + rtu_t35_us(c.bus.baud));
}

/* Unit 0 is nobody's broadcast on Modbus TCP, where it is often the device itself. */
static void test_tcp_unit_0(void **state)
{
        struct port_request request = { .unit = 0, .timeout_us = PATIENCE_US };
        struct port_reply reply;

        (void)state;
        pdu_read_request(&request.pdu, PDU_READ_HOLDING, 5, 1);
        assert_int_equal(port_transact(port, &request, &reply), PORT_OK);
        assert_int_equal(reply.pdu.n_bytes, 4);
        assert_int_equal(get_be16(reply.pdu.bytes + 2), 5);
}

/* What open() says of a port that cannot be opened: one clear text, or the error alone. */
static void test_why_it_does_not_open(void **state)
{
        static char missing[] = "/nowhere/tty", null[] = "/dev/null", no_host[] = "no.such.invalid";
        const struct {
                enum conf_port_kind kind;
                char *where;
                int error;
                const char *about;
        } wrong[] = {
                { CONF_PORT_SERIAL, missing, -ENOENT, "" },
                { CONF_PORT_SERIAL, null, -ENOTTY, "it is not a serial line" },
                { CONF_PORT_TCP, no_host, -EHOSTUNREACH, "Name or service not known" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct port *p;

                bus_conf_init(&c, wrong[i].where);
                c.bus.kind = wrong[i].kind;
                c.bus.host = wrong[i].where;
                c.bus.tcp_port = 502;
                assert_int_equal(port_libmodbus_new(&c.bus, &p), 0);
                assert_int_equal(port_open(p), wrong[i].error);
                assert_string_equal(port_describe(p), wrong[i].about);
                port_free(p);
        }
}

/* A pseudo-terminal has no RTS line and no RS-485 mode: what is said of it must be the reason alone. */
static void test_direction_that_cannot_be(void **state)
{
        static const struct {
                enum conf_direction direction;
                const char *about;
        } wrong[] = {
                { CONF_DIRECTION_RTS, "the driver has no RTS line" },
                { CONF_DIRECTION_KERNEL,
                  "the driver does not know RS-485; set direction = \"rts\" or \"none\"" },
        };

        (void)state;
        port_close(port);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct conf_bus bus = c.bus;
                struct port *p;

                assert_int_equal(ioctl(keep_fd, TIOCNXCL), 0);
                bus.direction = wrong[i].direction;
                assert_int_equal(port_libmodbus_new(&bus, &p), 0);
                assert_int_equal(port_open(p), -ENOTSUP);
                assert_string_equal(port_describe(p), wrong[i].about);
                port_free(p);
        }
        open_again();
        assert_healthy(1);
}

static void test_tcp_late(void **state)
{
        struct port_reply reply;

        (void)state;
        assert_int_equal(ask(1, &reply), PORT_OK);
        do_act(ACT_LATE);
        assert_int_equal(ask(100, &reply), PORT_TIMEOUT);
        do_act(ACT_ANSWER);
        /* No hold: the late reply has another transaction id. */
        assert_int_equal(ask(200, &reply), PORT_OK);
        assert_int_equal(reply.counts.n_foreign, 1);
        assert_int_equal(set(5, &reply), PORT_OK);
}

static void test_tcp_hang_up(void **state)
{
        struct port_reply reply;

        (void)state;
        do_act(ACT_HANG_UP);
        assert_true(ask(1, &reply) < 0);
        port_close(port);
        (void)close(listener);
        listener = -1;
        assert_true(port_open(port) < 0);
}

static void test_not_there(void **state)
{
        static char path[] = "/nonexistent/tty", null[] = "/dev/null";

        (void)state;
        bus_conf_init(&c, path);
        assert_int_equal(port_libmodbus_new(&c.bus, &port), 0);
        assert_int_equal(port_open(port), -ENOENT);
        port = port_free(port);
        bus_conf_init(&c, null);
        assert_int_equal(port_libmodbus_new(&c.bus, &port), 0);
        assert_int_equal(port_open(port), -ENOTTY);
        assert_int_equal(port_fd(port), -1);
        port = port_free(port);
}

#define ON_SERIAL(test) cmocka_unit_test_setup_teardown(test, start_serial, stop)
#define ON_TCP(test)    cmocka_unit_test_setup_teardown(test, start_tcp, stop)

int main(void)
{
        const struct CMUnitTest on_serial[] = {
                ON_SERIAL(test_answers_keep_t35),
                ON_SERIAL(test_late),
                ON_SERIAL(test_again),
                ON_SERIAL(test_equal_replies),
                ON_SERIAL(test_again_without_an_answer),
                ON_SERIAL(test_borne),
                ON_SERIAL(test_not_taken),
                ON_SERIAL(test_writes),
                ON_SERIAL(test_write_echo_is_no_answer),
                ON_SERIAL(test_write_only),
                ON_SERIAL(test_write_only_with_echo),
                ON_SERIAL(test_await),
                ON_SERIAL(test_hang_up),
                ON_SERIAL(test_cancel),
                ON_SERIAL(test_broadcast),
                ON_SERIAL(test_busy_port),
                ON_SERIAL(test_silence_over_an_open),
                ON_SERIAL(test_direction_that_cannot_be),
        };
        const struct CMUnitTest others[] = {
                cmocka_unit_test(test_why_it_does_not_open),
                ON_TCP(test_tcp_unit_0),
                ON_TCP(test_tcp_late),
                ON_TCP(test_tcp_hang_up),
                ON_TCP(test_cancel),
                cmocka_unit_test(test_not_there),
        };

        int n_failed;

        (void)signal(SIGPIPE, SIG_IGN);
        n_failed = cmocka_run_group_tests(others, NULL, NULL);
        if (serial_mode_is_known())
                n_failed += cmocka_run_group_tests(on_serial, NULL, NULL);
        else
                print_message("skipped: tests on a serial line, which cannot be set up here (TCGETS2)\n");
        return n_failed;
}
