/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "judge.h"
#include "share_private.h"

#define ACCEPTS_MAX 16 /* of one turn */
#define BACKLOG     16

/* A master whose machine is gone is noticed within a minute. */
#define KEEPALIVE_IDLE_S     30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT      3

static const struct conf_share *conf_of(const struct share *s)
{
        return &s->bus->share;
}

static struct log_fields fields_of(const struct share *s, int error)
{
        return (struct log_fields){ .bus = s->bus->name, .error = error };
}

uint64_t share_now_us(struct share *s)
{
        return loop_now_us(s->loop);
}

struct loop *share_loop(struct share *s)
{
        return s->loop;
}

size_t share_n_clients(const struct share *s)
{
        return s->n_clients;
}

/* What masters do wrong is a warning now and then. */
static enum log_level level_about_masters(struct share *s)
{
        uint64_t now_us = share_now_us(s);

        if (s->warned_us != 0 && now_us < s->warned_us + SHARE_WARNING_US)
                return LOG_LEVEL_DEBUG;
        s->warned_us = now_us;
        return LOG_LEVEL_WARNING;
}

/* ---- the timer: idle connections, what is tried again ---- */

static uint64_t idle_at_us(const struct share *s, const struct client *c)
{
        if (c->n_waiting > 0 && c->n_out == 0) /* the bus has to act, not the master */
                return CLOCK_NEVER_US;
        return c->active_us + conf_of(s)->idle_timeout_s * USEC_PER_SEC;
}

static void set_timer(struct share *s)
{
        uint64_t at_us = MBGATE_MIN(s->listen_us, s->accept_us);

        for (const struct client *c = s->clients; c; c = c->next)
                at_us = MBGATE_MIN(at_us, idle_at_us(s, c));
        loop_timer_set(s->timer, at_us);
}

static void remove_client(struct share *s, struct client *c)
{
        for (struct client **at = &s->clients; *at; at = &(*at)->next) {
                if (*at != c)
                        continue;
                *at = c->next;
                s->n_clients--;
                client_free(c);
                return;
        }
}

static void drop_client(struct share *s, struct client *c, const char *why)
{
        struct log_fields fields = fields_of(s, 0);

        log_debug(&fields, "bus %s: share: master %s: %s", s->bus->name, c->name, why);
        remove_client(s, c);
}

void share_on_broken(struct share *s, struct client *c)
{
        drop_client(s, c, "has left");
        set_timer(s);
}

void share_on_garbage(struct share *s, const struct client *c)
{
        struct log_fields fields = fields_of(s, 0);
        enum log_level level = level_about_masters(s);

        log_at(level, &fields, "bus %s: share: master %s: what it sends is no Modbus TCP: disconnected",
               s->bus->name, c->name);
}

static void try_listen(struct share *s);

static void on_timer(void *user, uint64_t now_us)
{
        struct share *s = user;
        struct client *next;

        for (struct client *c = s->clients; c; c = next) {
                next = c->next;
                if (idle_at_us(s, c) <= now_us)
                        drop_client(s, c, "idle too long: disconnected");
        }
        if (s->listen_us <= now_us)
                try_listen(s);
        if (s->accept_us <= now_us && loop_io_set_events(s->io, EPOLLIN) == 0)
                s->accept_us = CLOCK_NEVER_US;
        set_timer(s);
}

/* ---- connections ---- */

static void tune(int fd)
{
        static const struct {
                int level, name, value;
        } options[] = {
                { IPPROTO_TCP, TCP_NODELAY, 1 },
                { SOL_SOCKET, SO_KEEPALIVE, 1 },
                { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
                { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
                { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
        };

        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
                int r = setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));

                (void)r; /* it works without, less well */
        }
}

static void refuse_socket(struct share *s, int fd, const uint8_t address[16], const char *why)
{
        static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
        bool is_v4 = memcmp(address, v4, sizeof(v4)) == 0;
        struct log_fields fields = fields_of(s, 0);
        enum log_level level = level_about_masters(s);
        char name[INET6_ADDRSTRLEN] = "";

        (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address + sizeof(v4) : address, name,
                        sizeof(name));
        log_at(level, &fields, "bus %s: share: master %s not let in: %s", s->bus->name, name, why);
        (void)close(fd);
}

void share_take_socket(struct share *s, int fd, const uint8_t address[16])
{
        struct log_fields fields = fields_of(s, 0);
        struct client *c;

        if (!judge_address(conf_of(s), address)) {
                refuse_socket(s, fd, address, "its address is not allowed");
                return;
        }
        if (s->n_clients >= conf_of(s)->max_clients) {
                refuse_socket(s, fd, address, "there are max_clients already");
                return;
        }
        if (client_new(s, fd, address, conf_of(s)->max_requests, &c) < 0)
                return; /* no memory for this one */
        c->next = s->clients;
        s->clients = c;
        s->n_clients++;
        log_debug(&fields, "bus %s: share: master %s has come", s->bus->name, c->name);
        set_timer(s);
}

static void address_of(const struct sockaddr_storage *from, uint8_t ret[16])
{
        const struct sockaddr_in *v4 = (const void *)from;
        const struct sockaddr_in6 *v6 = (const void *)from;

        memset(ret, 0, 16);
        if (from->ss_family == AF_INET6) {
                memcpy(ret, &v6->sin6_addr, 16);
                return;
        }
        ret[10] = ret[11] = 0xff;
        memcpy(ret + 12, &v4->sin_addr, 4);
}

static void on_listener(void *user, int fd, uint32_t events UNUSED)
{
        struct share *s = user;

        for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
                struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
                socklen_t n = sizeof(from);
                int client = accept4(fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
                uint8_t address[16];

                if (client < 0) {
                        bool is_over =
                                errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;

                        if (is_over && loop_io_set_events(s->io, 0) == 0) {
                                s->accept_us = share_now_us(s) + SHARE_ACCEPT_REST_US;
                                set_timer(s);
                        }
                        return;
                }
                tune(client);
                address_of(&from, address);
                share_take_socket(s, client, address);
        }
}

/* ---- listening ---- */

static socklen_t socket_address(const struct conf_share *share, struct sockaddr_storage *ret)
{
        struct sockaddr_in *v4 = (void *)ret;
        struct sockaddr_in6 *v6 = (void *)ret;

        *ret = (struct sockaddr_storage){ 0 };
        if (inet_pton(AF_INET6, share->host, &v6->sin6_addr) == 1) {
                v6->sin6_family = AF_INET6;
                v6->sin6_port = htons(share->tcp_port);
                return sizeof(*v6);
        }
        v4->sin_family = AF_INET;
        v4->sin_port = htons(share->tcp_port);
        (void)inet_pton(AF_INET, share->host, &v4->sin_addr); /* the configuration has made sure */
        return sizeof(*v4);
}

/* A descriptor or −errno. */
static int open_listener(const struct conf_share *share)
{
        struct sockaddr_storage at;
        socklen_t n = socket_address(share, &at);
        CLEANUP(cleanup_close)
        int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int taken;

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0)
                return -errno;
        /* [::] is all addresses, those of IPv4 too. */
        if (at.ss_family == AF_INET6 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)) < 0)
                return -errno;
        if (bind(fd, (const struct sockaddr *)&at, n) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        taken = fd;
        fd = -1;
        return taken;
}

static void close_listener(struct share *s)
{
        s->io = loop_io_free(s->io);
        if (s->fd >= 0)
                (void)close(s->fd);
        s->fd = -1;
        s->accept_us = CLOCK_NEVER_US;
}

static void try_listen(struct share *s)
{
        struct log_fields fields;
        int r = open_listener(conf_of(s));

        if (r >= 0) {
                s->fd = r;
                r = loop_add_io(s->loop, s->fd, EPOLLIN, on_listener, s, &s->io);
        }
        fields = fields_of(s, r < 0 ? -r : 0);
        if (r < 0) {
                close_listener(s);
                s->listen_us = share_now_us(s) + SHARE_RETRY_US;
                log_at(s->failure_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, &fields,
                       "bus %s: share: cannot listen on %s: %s%s, tried again every 10 s", s->bus->name,
                       conf_of(s)->listen, strerror(-r),
                       r == -EACCES
                               ? " (ports below 1024 need CAP_NET_BIND_SERVICE: take another, such as 1502)"
                               : "");
                s->failure_said = true;
                return;
        }
        s->listen_us = CLOCK_NEVER_US;
        s->failure_said = false;
        log_info(&fields, "bus %s: share: other masters can connect to %s", s->bus->name, conf_of(s)->listen);
}

int share_new(struct loop *loop, struct conf *conf, uint32_t bus, struct share **ret_share)
{
        CLEANUP(share_freep)
        struct share *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->conf = conf_ref(conf);
        s->bus = &conf->buses[bus];
        s->fd = -1;
        s->listen_us = s->accept_us = CLOCK_NEVER_US;
        s->first_id = 1;
        r = loop_add_timer(loop, on_timer, s, &s->timer);
        if (r < 0)
                return r;
        try_listen(s);
        set_timer(s);
        *ret_share = TAKE(s);
        return 0;
}

static void drop_all(struct share *s)
{
        while (s->clients)
                remove_client(s, s->clients);
}

struct share *share_free(struct share *s)
{
        if (!s)
                return NULL;
        drop_all(s);
        close_listener(s);
        cache_done(&s->cache);
        s->timer = loop_timer_free(s->timer);
        conf_unref(s->conf);
        free(s);
        return NULL;
}

void share_reconfigure(struct share *s, struct conf *conf, uint32_t bus)
{
        const struct conf_share *new = &conf->buses[bus].share;
        struct conf *old = s->conf;
        bool has_moved = strcmp(conf_of(s)->host, new->host) != 0 || conf_of(s)->tcp_port != new->tcp_port;
        struct client *next;

        s->conf = conf_ref(conf);
        s->bus = &conf->buses[bus];
        conf_unref(old);
        for (struct client *c = s->clients; c; c = next) {
                next = c->next;
                if (has_moved || !judge_address(new, c->address))
                        drop_client(s, c, "is not allowed any more: disconnected");
        }
        if (has_moved) {
                close_listener(s);
                s->failure_said = false;
                try_listen(s);
        }
        set_timer(s);
}

/* ---- requests ---- */

void share_exception(const struct pdu *request, unsigned code, struct pdu *ret_reply)
{
        ret_reply->bytes[0] = request->bytes[0] | PDU_EXCEPTION_FLAG;
        ret_reply->bytes[1] = (uint8_t)code;
        ret_reply->n_bytes = 2;
}

/* Whether all that a read asks for was read lately; then its reply. */
static bool answer_from_cache(struct share *s, uint8_t unit, const struct pdu *request, struct pdu *ret_reply)
{
        uint64_t now_us = share_now_us(s), age_us = conf_of(s)->max_age_ms * USEC_PER_MSEC;
        uint16_t regs[PDU_READ_BITS_MAX];
        struct pdu_span span[PDU_SPANS_MAX];

        if (age_us == 0 || request->bytes[0] > PDU_READ_INPUT || pdu_spans(request, span) != 1)
                return false;
        if (!cache_get(&s->cache, unit, span[0].area, span[0].address, span[0].count,
                       now_us - MBGATE_MIN(now_us, age_us), regs))
                return false;
        pdu_read_answer(request, regs, ret_reply);
        return true;
}

/* 0, or the exception with which it is refused. */
static unsigned post(struct share *s, uint8_t unit, const struct pdu *request, uint64_t *ret_id)
{
        struct bus_raw *raw;

        if (!s->requests)
                return PDU_EXC_GATEWAY_PATH;
        if (s->n_posted >= SHARE_POSTED_MAX || bus_raw_new(&raw) < 0)
                return PDU_EXC_BUSY;
        raw->id = ++s->next_id;
        raw->raw_class = BUS_RAW_SHARED;
        raw->unit = unit;
        raw->pdu = *request;
        raw->posted_us = share_now_us(s);
        raw->deadline_us = raw->posted_us + conf_of(s)->request_timeout_ms * USEC_PER_MSEC;
        raw->timeout_ms = conf_of(s)->response_timeout_ms;
        *ret_id = raw->id;
        switch (mailbox_post(s->requests, &raw->mail)) {
        case 0: s->n_posted++; return 0;
        case -ESHUTDOWN: mail_free(&raw->mail); return PDU_EXC_GATEWAY_PATH;
        default: mail_free(&raw->mail); return PDU_EXC_BUSY;
        }
}

enum share_verdict share_ask(struct share *s, struct client *c, const struct request *q,
                             struct pdu *ret_reply, uint64_t *ret_id)
{
        uint8_t unit = conf_of(s)->units[q->unit];
        unsigned exception = judge_request(s->bus, c->address, q->unit, &q->pdu);

        if (exception == 0 && answer_from_cache(s, unit, &q->pdu, ret_reply))
                return SHARE_ANSWERED;
        if (exception == 0)
                exception = post(s, unit, &q->pdu, ret_id);
        if (exception == 0)
                return SHARE_AT_BUS;
        share_exception(&q->pdu, exception, ret_reply);
        return SHARE_ANSWERED;
}

/* ---- what the bus says ---- */

/* Nobody answers a broadcast: the master is told what a device would say. */
static void answer_broadcast(const struct pdu *request, struct pdu *ret_reply)
{
        *ret_reply = *request;
        ret_reply->n_bytes = MBGATE_MIN(pdu_reply_bytes(request), request->n_bytes);
}

static unsigned exception_of(const struct bus_raw_result *result)
{
        switch (result->outcome) {
        case BUS_RESULT_EXCEPTION: return result->exception;
        case BUS_RESULT_TIMEOUT:
        case BUS_RESULT_OFFLINE: return PDU_EXC_GATEWAY_TARGET;
        case BUS_RESULT_EXPIRED:
        case BUS_RESULT_CROWDED: return PDU_EXC_BUSY;
        case BUS_RESULT_OK:
        case BUS_RESULT_PORT:
        case BUS_RESULT_STOPPED:
        case BUS_RESULT_LISTENS:
        case BUS_RESULT_REPLACED:
        case BUS_RESULT_IMPOSSIBLE: break;
        }
        return PDU_EXC_GATEWAY_PATH;
}

/* What a read brought is known; what anything else did is not. */
static void learn(struct share *s, const struct bus_raw_result *result)
{
        const struct pdu *request = &result->request;
        uint16_t regs[PDU_READ_BITS_MAX];
        struct pdu_span span[PDU_SPANS_MAX];

        if (request->bytes[0] > PDU_READ_INPUT) {
                cache_forget(&s->cache, result->unit);
                return;
        }
        if (result->outcome != BUS_RESULT_OK || conf_of(s)->max_age_ms == 0 ||
            pdu_check_request(request) != 0 || pdu_spans(request, span) != 1 ||
            pdu_read_reply(request, &result->reply, regs, span[0].count) < 0)
                return;
        cache_put(&s->cache, result->unit, span[0].area, span[0].address, regs, span[0].count,
                  result->done_us);
}

static struct client *client_of(struct share *s, uint64_t id)
{
        struct client *c = s->clients;

        while (c && !(c->is_at_bus && c->bus_id == id))
                c = c->next;
        return c;
}

static void answer(struct share *s, struct client *c, const struct pdu *reply)
{
        client_answer(c, reply);
        client_run(c);
        if (c->is_broken)
                drop_client(s, c, "has left");
        set_timer(s);
}

static void on_result(struct share *s, const struct bus_raw_result *result)
{
        struct pdu reply = result->reply;
        struct client *c;

        learn(s, result);
        if (result->raw_class != BUS_RAW_SHARED || result->id < s->first_id)
                return;
        s->n_posted -= s->n_posted > 0;
        c = client_of(s, result->id);
        if (!c)
                return;
        if (result->outcome != BUS_RESULT_OK)
                share_exception(&result->request, exception_of(result), &reply);
        else if (reply.n_bytes == 0)
                answer_broadcast(&result->request, &reply);
        answer(s, c, &reply);
}

static void on_regs(struct share *s, const struct bus_regs *regs)
{
        if (regs->n_regs == 0)
                cache_forget(&s->cache, regs->unit);
        else
                cache_put(&s->cache, regs->unit, regs->area, regs->address, regs->regs, regs->n_regs,
                          regs->done_us);
}

void share_on_bus_mail(struct share *s, const struct mail *mail)
{
        if (mail->kind == BUS_MAIL_RAW_RESULT)
                on_result(s, (const void *)mail);
        else if (mail->kind == BUS_MAIL_REGS)
                on_regs(s, (const void *)mail);
}

void share_set_bus(struct share *s, struct mailbox *requests)
{
        struct client *next;

        s->requests = requests;
        s->first_id = s->next_id + 1;
        s->n_posted = 0;
        cache_forget(&s->cache, 0);
        for (struct client *c = s->clients; c; c = next) {
                struct pdu reply;

                next = c->next;
                if (!c->is_at_bus)
                        continue;
                share_exception(&c->waiting[c->first].pdu, PDU_EXC_GATEWAY_PATH, &reply);
                answer(s, c, &reply);
        }
}
