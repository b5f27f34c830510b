/* SPDX-License-Identifier: MIT */
/*
 * The server of a shared bus behind socket pairs: masters that come, send anything, take replies or not, and
 * a bus that answers anything. The input is steps, a byte each and what it needs; the low nibble is the
 * master.
 *
 *   0x connect   1x LEN bytes   2x ends   3x OUTCOME CODE LEN bytes: the bus answers its oldest request
 *   4x LEN: so many 100 ms pass   5x takes what came   6x the bus goes, or comes   7x UNIT FC LEN bytes:
 *   a request that is framed well   8x LEN registers from ADDRESS were polled
 *
 * What reaches the bus is a request that any server would have to look at; what reaches a master is framed,
 * and nothing grows without end.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "fake_loop.h"
#include "fuzz.h"
#include "share_private.h"

#define STEPS_MAX 300
#define MASTERS   4

struct world {
        struct conf conf;
        struct conf_bus bus;
        struct loop *loop;
        struct share *share;
        struct mailbox *box;
        bool has_bus;
        int masters[MASTERS]; /* −1: not connected */
        uint8_t got[MASTERS][2 * MBAP_ADU_MAX_BYTES];
        size_t n_got[MASTERS];
};

static struct conf_range units[] = { { 0, 0 }, { 1, 100 } }, functions[] = { { 1, 127 } },
                         registers[] = { { 0, 999 }, { 2000, 65535 } };
static struct conf_allow allow[] = { { .unit_ranges = { units, 2 },
                                       .function_ranges = { functions, 1 },
                                       .register_ranges = { registers, 2 } } };

static void ignore_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        FUZZ_ASSERT(strlen(line) < LOG_LINE_BYTES);
}

static void world_init(struct world *w)
{
        static char name[] = "b", host[] = "127.0.0.1", listen[] = "127.0.0.1:0";

        memset(w, 0, sizeof(*w));
        log_set_sink(ignore_line, NULL);
        log_set_level(LOG_LEVEL_DEBUG);
        w->bus = (struct conf_bus){ .name = name, .kind = CONF_PORT_SERIAL };
        w->bus.share = (struct conf_share){ .on = true,
                                            .listen = listen,
                                            .host = host,
                                            .max_age_ms = 1000,
                                            .max_clients = MASTERS - 1,
                                            .max_requests = 3,
                                            .idle_timeout_s = 10,
                                            .request_timeout_ms = 1000,
                                            .response_timeout_ms = 300,
                                            .allow = allow,
                                            .n_allow = 1 };
        for (unsigned u = 0; u < 256; u++)
                w->bus.share.units[u] = (uint8_t)u;
        w->conf = (struct conf){ .generation = 1, .buses = &w->bus, .n_buses = 1 };
        atomic_init(&w->conf.n_refs, 1);
        for (unsigned i = 0; i < MASTERS; i++)
                w->masters[i] = -1;
        FUZZ_ASSERT(loop_new(&w->loop) == 0);
        FUZZ_ASSERT(mailbox_new(3, &w->box) == 0);
        FUZZ_ASSERT(share_new(w->loop, &w->conf, 0, &w->share) == 0);
        share_set_bus(w->share, w->box);
        w->has_bus = true;
}

static void world_done(struct world *w)
{
        for (unsigned i = 0; i < MASTERS; i++) {
                if (w->masters[i] >= 0)
                        (void)close(w->masters[i]);
        }
        share_free(w->share);
        mailbox_free(w->box);
        loop_free(w->loop);
        FUZZ_ASSERT(w->conf.n_refs == 1);
}

static void step_connect(struct world *w, unsigned m)
{
        static const uint8_t local[16] = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 };
        int fds[2];

        if (w->masters[m] >= 0)
                return;
        FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
        share_take_socket(w->share, fds[1], local);
        w->masters[m] = fds[0];
        w->n_got[m] = 0;
}

static void step_end(struct world *w, unsigned m)
{
        if (w->masters[m] >= 0)
                (void)close(w->masters[m]);
        w->masters[m] = -1;
}

static void step_bytes(const struct world *w, unsigned m, struct fuzz_input *in)
{
        uint8_t bytes[255], n = fuzz_u8(in);
        ssize_t sent = 0;

        fuzz_take(in, bytes, n);
        if (w->masters[m] >= 0)
                sent = send(w->masters[m], bytes, n, MSG_NOSIGNAL);
        (void)sent;
}

static void step_request(const struct world *w, unsigned m, struct fuzz_input *in)
{
        uint8_t adu[MBAP_ADU_MAX_BYTES], pdu[PDU_MAX_BYTES], unit = fuzz_u8(in);
        ssize_t sent = 0;
        size_t n;

        pdu[0] = fuzz_u8(in);
        n = fuzz_u8(in) % (sizeof(pdu) - 1);
        fuzz_take(in, pdu + 1, n);
        n = mbap_frame((uint16_t)(256 * m), unit, pdu, n + 1, adu);
        if (w->masters[m] >= 0)
                sent = send(w->masters[m], adu, n, MSG_NOSIGNAL);
        (void)sent;
}

static void step_answer(struct world *w, struct fuzz_input *in)
{
        struct mail *mail = mailbox_take(w->box);
        struct bus_raw *raw = (void *)mail;
        struct bus_raw_result *result;
        enum bus_outcome outcome = (enum bus_outcome)(fuzz_u8(in) % (BUS_RESULT_STOPPED + 1));

        if (!mail)
                return;
        FUZZ_ASSERT(mail->kind == BUS_MAIL_RAW && raw->raw_class == BUS_RAW_SHARED);
        FUZZ_ASSERT(pdu_check_request(&raw->pdu) == 0);
        FUZZ_ASSERT(raw->unit <= 100);
        FUZZ_ASSERT(bus_raw_result_new(raw, outcome, &result) == 0);
        result->exception = fuzz_u8(in);
        result->done_us = loop_now_us(w->loop);
        if (outcome == BUS_RESULT_OK) { /* the port lets nothing through that does not fit */
                result->reply.n_bytes = pdu_reply_bytes(&raw->pdu);
                if (result->reply.n_bytes == 0)
                        result->reply.n_bytes = 1 + fuzz_u8(in) % (PDU_MAX_BYTES - 1u);
                fuzz_take(in, result->reply.bytes, MBGATE_MIN(result->reply.n_bytes, 16u));
                result->reply.bytes[0] = raw->pdu.bytes[0];
                result->reply.bytes[1] = (uint8_t)(result->reply.n_bytes - 2);
                if (raw->unit == 0)
                        result->reply.n_bytes = 0;
        }
        share_on_bus_mail(w->share, &result->mail);
        mail_free(&result->mail);
        mail_free(mail);
}

static void step_regs(struct world *w, struct fuzz_input *in)
{
        size_t n = fuzz_u8(in) % 20;
        struct bus_regs *regs;

        FUZZ_ASSERT(bus_regs_new(1, n, &regs) == 0);
        regs->unit = 1 + fuzz_u8(in) % 3;
        regs->area = (enum pdu_function)(1 + fuzz_u8(in) % 4);
        regs->address = fuzz_u8(in);
        regs->done_us = loop_now_us(w->loop);
        share_on_bus_mail(w->share, &regs->mail);
        mail_free(&regs->mail);
}

/* Replies are whole, and of those that were asked for: their ids say whose. */
static void step_take(struct world *w, unsigned m)
{
        size_t at = 0;
        ssize_t n;

        if (w->masters[m] < 0)
                return;
        n = recv(w->masters[m], w->got[m] + w->n_got[m], sizeof(w->got[m]) - w->n_got[m], 0);
        if (n <= 0)
                return;
        w->n_got[m] += (size_t)n;
        for (;;) {
                uint16_t tid;
                uint8_t unit;
                struct pdu pdu;
                int r = mbap_request(w->got[m] + at, w->n_got[m] - at, &tid, &unit, &pdu);

                FUZZ_ASSERT(r >= 0);
                if (r == 0)
                        break;
                at += (size_t)r;
        }
        w->n_got[m] -= at;
        memmove(w->got[m], w->got[m] + at, w->n_got[m]);
}

static void step(struct world *w, struct fuzz_input *in)
{
        uint8_t code = fuzz_u8(in);
        unsigned m = code % MASTERS;

        switch (code >> 4) {
        case 0: step_connect(w, m); break;
        case 1: step_bytes(w, m, in); break;
        case 2: step_end(w, m); break;
        case 3: step_answer(w, in); break;
        case 4: fake_loop_advance(w->loop, fuzz_u8(in) * UINT64_C(100000)); break;
        case 5: step_take(w, m); break;
        case 6:
                w->has_bus = !w->has_bus;
                share_set_bus(w->share, w->has_bus ? w->box : NULL);
                break;
        case 7: step_request(w, m, in); break;
        case 8: step_regs(w, in); break;
        default: break;
        }
}

static void check(const struct world *w)
{
        size_t n = 0;

        for (const struct client *c = w->share->clients; c; c = c->next, n++) {
                FUZZ_ASSERT(c->n_waiting <= c->n_most && c->first < c->n_most);
                FUZZ_ASSERT(!c->is_at_bus || c->n_waiting > 0);
                FUZZ_ASSERT(c->n_in <= sizeof(c->in) && c->n_out <= sizeof(c->out));
                FUZZ_ASSERT(!c->is_broken);
        }
        FUZZ_ASSERT(n == w->share->n_clients && n <= w->bus.share.max_clients);
        FUZZ_ASSERT(w->share->n_posted <= SHARE_POSTED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        static struct world w;

        world_init(&w);
        for (unsigned i = 0; i < STEPS_MAX && in.n > 0; i++) {
                step(&w, &in);
                for (unsigned k = 0; k < 100 && fake_loop_poll(w.loop, 0); k++)
                        ;
                check(&w);
        }
        world_done(&w);
        return 0;
}
