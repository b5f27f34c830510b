/* SPDX-License-Identifier: MIT */
/*
 * The port on libmodbus, which builds and sends the requests on a descriptor that we opened; replies are
 * received by rx.c. One transaction:
 *
 *        busy_us        began_us   sent_us                  deadline_us = sent + time-out + wire time of
 * reply ───────┤ ≥ t3.5 / gap ├─request─┤ ……… ├──reply──┤ done_us     ┊
 *
 * libmodbus 3.1.6 needs these precautions: modbus_close() is never called (it restores terminal settings that
 * it never saved); a raw request over TCP always has transaction id 0, so libmodbus writes it into a
 * socket pair, and it leaves with an id of its own.
 */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/bus/worker.h"

#include "rx.h"
#include "serial.h"
#include "tcp.h"

#define ABOUT_BYTES    256
#define EXCEPTION_ADU  5
#define RTU_ADU_EXTRA  3
#define SEND_FAILS_MAX 3 /* in a row; then the line is stuck and is opened anew */
#define TCP_SEND_US    UINT64_C(1000000)
#define GOT_SLOTS      1024
#define REPEATED_US    UINT64_C(600000000) /* a line that repeated a reply may do it again so long */

enum { PAIR_MODBUS, PAIR_PORT };

struct port_modbus {
        struct port port;
        struct conf_bus bus; /* a copy; host and port are ours */
        modbus_t *modbus;
        struct rx rx;
        int fd; /* −1: closed */
        int cancel_fd;
        int pair[2]; /* Modbus TCP: libmodbus writes into the first */
        uint16_t tid;
        unsigned char_bits;
        enum rtu_echo echo; /* what is known by now */
        unsigned n_send_fails;
        uint64_t not_before_us; /* a broadcast is being worked on */
        struct port_last {
                uint8_t unit;
                struct pdu request, reply; /* reply.n_bytes 0: none yet */
        } last;                            /* transaction that was answered, not of Modbus TCP */
        uint32_t got[GOT_SLOTS];           /* port_modbus_got() */
        uint64_t repeated_us;              /* a reply came twice; 0: never */
        char about[ABOUT_BYTES];
};

static struct port_modbus *port_modbus(const struct port *p)
{
        return CONTAINER_OF((uintptr_t)p, struct port_modbus, port);
}

static bool is_tcp(const struct port_modbus *p)
{
        return p->bus.kind == CONF_PORT_TCP;
}

/* Wire time of n characters; nothing on TCP. */
static uint64_t wire_us(const struct port_modbus *p, size_t n_chars)
{
        return is_tcp(p) ? 0 : rtu_wire_us(p->bus.baud, p->char_bits, n_chars);
}

static void port_modbus_close(struct port *port)
{
        struct port_modbus *p = port_modbus(port);

        if (p->fd < 0)
                return;
        (void)modbus_set_socket(p->modbus, -1);
        (void)close(p->fd);
        p->fd = -1;
}

static int port_modbus_open(struct port *port)
{
        struct port_modbus *p = port_modbus(port);
        struct buf about = BUF_ON(p->about);
        int r;

        /* Wake-ups within µs: t3.5 is kept without giving away much more. Of this thread only. */
        (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
        port_modbus_close(port);
        if (p->bus.kind == CONF_PORT_SERIAL)
                r = serial_open(&p->bus, &about, &p->fd);
        else
                r = tcp_connect(p->bus.host, p->bus.tcp_port, p->bus.connect_timeout_ms * USEC_PER_MSEC,
                                p->cancel_fd, &about, &p->fd);
        if (r < 0)
                return r;
        (void)modbus_set_socket(p->modbus, is_tcp(p) ? p->pair[PAIR_MODBUS] : p->fd);
        rx_open(&p->rx, p->fd, is_tcp(p), is_tcp(p) ? 0 : rtu_t35_us(p->bus.baud));
        p->echo = p->bus.kind == CONF_PORT_SERIAL ? p->bus.echo : RTU_ECHO_OFF;
        p->n_send_fails = 0;
        p->not_before_us = 0;
        return 0;
}

/* libmodbus frames and writes unit and PDU. −errno. */
static int modbus_put(struct port_modbus *p, const struct port_request *request)
{
        uint8_t raw[1 + PDU_MAX_BYTES];

        raw[0] = request->unit;
        memcpy(raw + 1, request->pdu.bytes, request->pdu.n_bytes);
        if (modbus_send_raw_request(p->modbus, raw, (int)request->pdu.n_bytes + 1) >= 0)
                return 0;
        return errno == EMBBADDATA || errno == 0 ? -EAGAIN : -errno;
}

static int tcp_send_all(struct port_modbus *p, const uint8_t *bytes, size_t n_bytes)
{
        uint64_t deadline_us = clock_monotonic_us() + TCP_SEND_US;

        while (n_bytes > 0) {
                struct pollfd fd = { .fd = p->fd, .events = POLLOUT };
                struct timespec left;
                ssize_t n = send(p->fd, bytes, n_bytes, MSG_NOSIGNAL);

                if (n > 0) {
                        bytes += n;
                        n_bytes -= (size_t)n;
                        continue;
                }
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                left = clock_remaining(deadline_us, clock_monotonic_us());
                if (ppoll(&fd, 1, &left, NULL) == 0)
                        return -ETIMEDOUT; /* half a request may be out: the stream is useless */
        }
        return 0;
}

/* Modbus TCP: what libmodbus wrote, with the next transaction id. */
static int modbus_put_tcp(struct port_modbus *p, const struct port_request *request)
{
        uint8_t adu[MBAP_BYTES + PDU_MAX_BYTES + 1];
        ssize_t n;
        int r;

        r = modbus_put(p, request);
        if (r < 0)
                return r;
        n = recv(p->pair[PAIR_PORT], adu, sizeof(adu), 0);
        if (n < MBAP_BYTES)
                return n < 0 ? -errno : -EIO;
        put_be16(adu, ++p->tid);
        return tcp_send_all(p, adu, (size_t)n);
}

static int rts_take(struct port_modbus *p)
{
        if (p->bus.kind != CONF_PORT_SERIAL || p->bus.direction != CONF_DIRECTION_RTS)
                return 0;
        return serial_rts_take(p->fd, &p->bus);
}

static int rts_give(struct port_modbus *p, uint64_t sent_us)
{
        if (p->bus.kind != CONF_PORT_SERIAL || p->bus.direction != CONF_DIRECTION_RTS)
                return 0;
        return serial_rts_give(p->fd, &p->bus, sent_us);
}

/* A line that takes nothing (no carrier of flow control here: a stuck driver). PORT_TIMEOUT or lost. */
static int send_failed(struct port_modbus *p, struct port_reply *reply)
{
        reply->began_us = 0;
        reply->deadline_us = 0;
        reply->done_us = clock_monotonic_us();
        serial_flush(p->fd);
        if (++p->n_send_fails >= SEND_FAILS_MAX)
                return -EIO;
        return PORT_TIMEOUT;
}

static int port_modbus_send(struct port_modbus *p, const struct port_request *request,
                            struct port_reply *reply)
{
        size_t n_chars = request->pdu.n_bytes + RTU_ADU_EXTRA;
        uint64_t now_us = 0;
        int r;

        r = rx_silence(&p->rx, request->silence_us, &now_us, &reply->gap_us);
        reply->done_us = clock_monotonic_us();
        if (r != 0)
                return r;
        r = rts_take(p);
        if (r < 0)
                return r;
        reply->began_us = now_us;
        r = is_tcp(p) ? modbus_put_tcp(p, request) : modbus_put(p, request);
        if (r == -EAGAIN)
                return send_failed(p, reply);
        if (r < 0)
                return r;
        p->n_send_fails = 0;
        /* From the moment after write(2): the line cannot have begun later. */
        reply->sent_us = clock_monotonic_us() + wire_us(p, n_chars);
        rx_sent(&p->rx, reply->sent_us);
        return rts_give(p, reply->sent_us);
}

/* Characters of the reply that was asked for; a function that does not tell may send a whole frame. */
static size_t reply_chars(const struct port_request *request)
{
        size_t n = pdu_reply_bytes(&request->pdu);

        return n > 0 ? n + RTU_ADU_EXTRA : RTU_ADU_MAX_BYTES;
}

static bool pdu_equals(const struct pdu *a, const struct pdu *b)
{
        return a->n_bytes == b->n_bytes && memcmp(a->bytes, b->bytes, a->n_bytes) == 0;
}

/* FNV-1a; never 0. */
static uint32_t digest(uint32_t seed, const struct pdu *pdu)
{
        uint32_t sum = UINT32_C(2166136261) ^ seed;

        for (size_t i = 0; i < pdu->n_bytes; i++)
                sum = (sum ^ pdu->bytes[i]) * UINT32_C(16777619);
        return sum | 1;
}

/* What the request got the last time: a digest; 0: it is not known. */
static uint32_t *port_modbus_got(struct port_modbus *p, const struct port_request *request)
{
        return &p->got[digest(request->unit, &request->pdu) / 2 % GOT_SLOTS];
}

/*
 * Whether the last reply, should it come again, could be taken for an answer that changes something. On a
 * line that has repeated replies lately it is none, unless it comes to the next attempt as well.
 */
static bool port_modbus_doubts(struct port_modbus *p, const struct port_request *request, uint64_t sent_us,
                               struct rx_doubt *ret)
{
        const struct pdu *last = &p->last.reply;
        uint32_t got = *port_modbus_got(p, request);

        if (request->usual_us == 0 || last->n_bytes == 0 || p->last.unit != request->unit ||
            pdu_equals(&p->last.request, &request->pdu) || got == digest(0, last))
                return false;
        *ret = (struct rx_doubt){
                .last = last,
                .until_us = sent_us + request->usual_us + wire_us(p, last->n_bytes + RTU_ADU_EXTRA) +
                            rtu_t35_us(p->bus.baud),
                .is_refused = got != 0 && p->repeated_us != 0 && sent_us < p->repeated_us + REPEATED_US,
        };
        return true;
}

/* After rx_reply(): what there is to remember. */
static void port_modbus_note(struct port_modbus *p, const struct port_request *request, int result,
                             const struct rx_doubt *doubt, const struct port_reply *reply)
{
        if (doubt && doubt->was_repeated)
                p->repeated_us = reply->sent_us;
        if (doubt && doubt->is_refused && result == PORT_BROKEN)
                *port_modbus_got(p, request) = digest(0, doubt->last);
        if (result != PORT_OK && result != PORT_EXCEPTION)
                return;
        *port_modbus_got(p, request) = digest(0, &reply->pdu);
        p->last = (struct port_last){ request->unit, request->pdu, reply->pdu };
}

static int port_modbus_exchange(struct port_modbus *p, const struct port_request *request,
                                struct port_reply *reply)
{
        struct rtu_matcher matcher;
        struct rx_doubt doubt;
        enum rtu_match match;
        bool doubts;
        int r;

        *reply = (struct port_reply){ 0 };
        r = port_modbus_send(p, request, reply);
        if (r != 0)
                return r;
        if (request->unit == 0 && !is_tcp(p)) {
                p->not_before_us = reply->sent_us + p->bus.broadcast_delay_ms * USEC_PER_MSEC;
                reply->done_us = reply->sent_us;
                return PORT_OK;
        }
        reply->deadline_us = reply->sent_us + request->timeout_us + wire_us(p, reply_chars(request));
        if (is_tcp(p))
                return rx_reply_mbap(&p->rx, p->tid, request, reply->deadline_us, reply);
        rtu_matcher_start(&matcher, request->unit, &request->pdu, p->echo);
        doubts = port_modbus_doubts(p, request, reply->sent_us, &doubt);
        r = rx_reply(&p->rx, &matcher, doubts ? &doubt : NULL, reply->deadline_us, reply);
        port_modbus_note(p, request, r, doubts ? &doubt : NULL, reply);
        if (r >= 0 && p->bus.echo == RTU_ECHO_AUTO) {
                match = r == PORT_OK ? RTU_MATCH_REPLY : RTU_MATCH_MORE;
                p->echo =
                        rtu_echo_learn(p->echo, &matcher, r == PORT_EXCEPTION ? RTU_MATCH_EXCEPTION : match);
        }
        return r;
}

static bool is_silent(const struct port_reply *reply)
{
        const struct rtu_counts *c = &reply->counts;

        return c->n_junk_bytes == 0 && c->n_crc == 0 && c->n_foreign == 0 && c->n_echo == 0;
}

/*
 * A copy of a write is both its echo and its reply. While it is not known whether the line echoes, any read
 * of that device, answered or refused, tells (rtu_echo_learn()). It may be silent at what can only be
 * written: the read's own echo tells as well, and where nothing at all came back the write that follows at
 * once has no echo either. That is good for this write only, since the adapter may have been dead.
 *
 * 0: *ret_echo holds for the write. Else the write was not sent.
 */
static int port_modbus_learn_echo(struct port_modbus *p, const struct port_request *request,
                                  struct port_reply *reply, enum rtu_echo *ret_echo)
{
        bool is_coil = request->pdu.bytes[0] == PDU_WRITE_COIL;
        struct port_request read = *request;
        int r;

        pdu_read_request(&read.pdu, is_coil ? PDU_READ_COILS : PDU_READ_HOLDING,
                         get_be16(request->pdu.bytes + 1), 1);
        r = port_modbus_exchange(p, &read, reply);
        if (r == PORT_OK || r == PORT_EXCEPTION || (r == PORT_TIMEOUT && reply->began_us != 0)) {
                *ret_echo = p->echo;
                if (r == PORT_TIMEOUT && p->echo == RTU_ECHO_AUTO && is_silent(reply))
                        *ret_echo = RTU_ECHO_OFF;
                return 0;
        }
        reply->began_us = 0; /* the write itself was never sent */
        return r;
}

/* The turnaround delay of a broadcast (§2.4.1) counts as silence, too. */
static uint64_t silence_us(const struct port_modbus *p, uint64_t asked_us)
{
        if (p->not_before_us <= clock_monotonic_us())
                return asked_us;
        return MBGATE_MAX(asked_us, p->not_before_us - MBGATE_MIN(p->not_before_us, p->rx.busy_us));
}

static int port_modbus_await(struct port *port, uint64_t asked_us, int wake_fd)
{
        struct port_modbus *p = port_modbus(port);

        if (p->fd < 0)
                return -EBADF;
        if (is_tcp(p) && asked_us == 0)
                return 0;
        return rx_await(&p->rx, silence_us(p, asked_us), wake_fd);
}

static int port_modbus_transact(struct port *port, const struct port_request *request,
                                struct port_reply *ret_reply)
{
        struct port_modbus *p = port_modbus(port);
        struct port_request r_request = *request;
        struct port_reply reply = { 0 };
        enum rtu_echo known = p->echo, echo = p->echo;
        int r;

        if (p->fd < 0)
                return -EBADF;
        if (p->bus.mode == CONF_MODE_LISTEN)
                return -EPERM;
        r_request.silence_us = silence_us(p, request->silence_us);
        if (!is_tcp(p) && p->echo == RTU_ECHO_AUTO && request->unit != 0 &&
            rtu_echo_is_ambiguous(&request->pdu)) {
                r = port_modbus_learn_echo(p, &r_request, &reply, &echo);
                if (r != 0)
                        goto out;
                known = p->echo;
        }
        p->echo = echo;
        r = port_modbus_exchange(p, &r_request, &reply);
        if (echo != known)
                p->echo = known;
out:
        *ret_reply = reply;
        return r;
}

static int port_modbus_drain(struct port *port, uint64_t until_us, struct rtu_counts *ret_counts)
{
        struct port_modbus *p = port_modbus(port);
        struct rtu_counts counts = { 0 };
        int r;

        if (p->fd < 0)
                return -EBADF;
        r = rx_drain(&p->rx, until_us, &counts);
        if (r == 0)
                *ret_counts = counts;
        return r;
}

static int port_modbus_receive(struct port *port, uint8_t *bytes, size_t n_bytes)
{
        struct port_modbus *p = port_modbus(port);

        return p->fd < 0 ? -EBADF : rx_receive(&p->rx, bytes, n_bytes);
}

static int port_modbus_line_errors(struct port *port, struct port_line_errors *ret)
{
        struct port_modbus *p = port_modbus(port);

        if (p->fd < 0)
                return -EBADF;
        return p->bus.kind == CONF_PORT_SERIAL ? serial_line_errors(p->fd, ret) : -ENOTSUP;
}

static void port_modbus_cancel(struct port *port)
{
        ssize_t n = write(port_modbus(port)->cancel_fd, &(uint64_t){ 1 }, sizeof(uint64_t));

        (void)n; /* fails only when it is readable already */
}

static int port_modbus_fd(const struct port *port)
{
        return port_modbus(port)->fd;
}

static const char *port_modbus_describe(const struct port *port)
{
        return port_modbus(port)->about;
}

static void port_modbus_free(struct port *port)
{
        struct port_modbus *p = port_modbus(port);

        port_modbus_close(port);
        if (p->modbus)
                modbus_free(p->modbus);
        if (p->cancel_fd >= 0)
                (void)close(p->cancel_fd);
        for (size_t i = 0; i < ARRAY_SIZE(p->pair); i++) {
                if (p->pair[i] >= 0)
                        (void)close(p->pair[i]);
        }
        free(p->bus.port);
        free(p->bus.host);
        free(p);
}

static const struct port_ops port_modbus_ops = {
        .open = port_modbus_open,
        .close = port_modbus_close,
        .transact = port_modbus_transact,
        .await = port_modbus_await,
        .drain = port_modbus_drain,
        .receive = port_modbus_receive,
        .line_errors = port_modbus_line_errors,
        .cancel = port_modbus_cancel,
        .fd = port_modbus_fd,
        .describe = port_modbus_describe,
        .free = port_modbus_free,
};

static int port_modbus_init(struct port_modbus *p, const struct conf_bus *bus)
{
        p->bus = *bus;
        p->bus.port = strdup(bus->port ? bus->port : "");
        p->bus.host = strdup(bus->host ? bus->host : "");
        if (!p->bus.port || !p->bus.host)
                return -ENOMEM;
        p->char_bits = conf_bus_char_bits(bus);
        p->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->cancel_fd < 0)
                return -errno;
        p->rx.cancel_fd = p->cancel_fd;
        /* Neither opens anything; the names only have to be well-formed. */
        p->modbus =
                is_tcp(p) ? modbus_new_tcp("127.0.0.1", 502) : modbus_new_rtu("/dev/null", 9600, 'N', 8, 1);
        if (!p->modbus)
                return -errno;
        if (is_tcp(p) && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p->pair) < 0)
                return -errno;
        return 0;
}

int port_libmodbus_new(const struct conf_bus *bus, struct port **ret_port)
{
        void *port = calloc(1, sizeof(struct port_modbus));
        struct port_modbus *p = port;
        int r;

        if (!p)
                return -ENOMEM;
        p->port.ops = &port_modbus_ops;
        p->fd = p->cancel_fd = p->pair[0] = p->pair[1] = -1;
        r = port_modbus_init(p, bus);
        if (r < 0) {
                port_modbus_free(port);
                return r;
        }
        *ret_port = port;
        return 0;
}
