/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mqtt_load.h"

#define TOPIC       "bench/load"
#define TOPIC_BYTES (sizeof(TOPIC) - 1)
#define EVENTS      256

enum packet_type {
        CONNECT = 1,
        CONNACK,
        PUBLISH,
        PUBACK,
        PUBREC,
        PUBREL,
        PUBCOMP,
        SUBSCRIBE,
        SUBACK,
        DISCONNECT = 14,
};

void load_fail(const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)fputs("mqtt_load: ", stderr);
        (void)vfprintf(stderr, format, arguments);
        (void)fputc('\n', stderr);
        va_end(arguments);
        exit(EXIT_FAILURE);
}

uint64_t load_now_ns(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* ---- packets out ---- */

static uint8_t *put_u16(uint8_t *at, size_t value)
{
        *at++ = (uint8_t)(value >> 8);
        *at++ = (uint8_t)value;
        return at;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t n)
{
        at = put_u16(at, n);
        memcpy(at, text, n);
        return at + n;
}

/* Up to 2 bytes: no packet of ours is longer. */
static uint8_t *put_header(uint8_t *at, unsigned first, size_t n_rest)
{
        *at++ = (uint8_t)first;
        if (n_rest >= 128)
                *at++ = (uint8_t)(n_rest | 0x80);
        *at++ = (uint8_t)(n_rest >= 128 ? n_rest >> 7 : n_rest);
        return at;
}

/* The empty list of properties of 5.0. */
static uint8_t *put_properties(const struct load *l, uint8_t *at)
{
        if (l->settings.version >= 5)
                *at++ = 0;
        return at;
}

static void out_append(struct load_client *c, const uint8_t *bytes, size_t n)
{
        if (LOAD_OUT_BYTES - c->n_out < n)
                load_fail("client %u: the broker does not take our answers", c->number);
        memcpy(c->out + c->n_out, bytes, n);
        c->n_out += n;
}

static void send_packet(struct load_client *c, unsigned first, const uint8_t *body, const uint8_t *end)
{
        uint8_t header[3];
        size_t n = (size_t)(end - body);

        out_append(c, header, (size_t)(put_header(header, first, n) - header));
        out_append(c, body, n);
}

static void send_connect(const struct load *l, struct load_client *c)
{
        uint8_t body[64], *at = put_text(body, "MQTT", 4);
        char id[24];
        int n = snprintf(id, sizeof(id), "load-%u", c->number);

        *at++ = (uint8_t)l->settings.version;
        *at++ = 0x02; /* clean */
        at = put_u16(at, 600);
        at = put_properties(l, at);
        at = put_text(at, id, (size_t)n);
        send_packet(c, CONNECT << 4, body, at);
}

static void send_subscribe(const struct load *l, struct load_client *c)
{
        uint8_t body[64], *at = put_u16(body, 1);
        char topic[32];
        int n = snprintf(topic, sizeof(topic), c->role == LOAD_IDLE ? "bench/idle/%u" : TOPIC, c->number);

        at = put_properties(l, at);
        at = put_text(at, topic, (size_t)n);
        *at++ = (uint8_t)l->settings.qos;
        send_packet(c, SUBSCRIBE << 4 | 2, body, at);
}

static void send_ack(struct load_client *c, enum packet_type type, const uint8_t *id)
{
        const uint8_t packet[] = { (uint8_t)(type << 4 | (type == PUBREL ? 2 : 0)), 2, id[0], id[1] };

        out_append(c, packet, sizeof(packet));
}

static void make_publish(struct load *l)
{
        uint8_t body[LOAD_PACKET_BYTES], *at = put_text(body, TOPIC, TOPIC_BYTES), *start;
        size_t id_at = (size_t)(at - body), payload_at;

        at += l->settings.qos > 0 ? 2 : 0;
        at = put_properties(l, at);
        payload_at = (size_t)(at - body);
        memset(at, 'x', l->settings.n_payload);
        at += l->settings.n_payload;
        start = put_header(l->packet, PUBLISH << 4 | l->settings.qos << 1, (size_t)(at - body));
        memcpy(start, body, (size_t)(at - body));
        l->id_at = (size_t)(start - l->packet) + id_at;
        l->payload_at = (size_t)(start - l->packet) + payload_at;
        l->n_packet = (size_t)(start - l->packet) + (size_t)(at - body);
}

bool load_publish(struct load *l, struct load_client *c, uint64_t now_ns)
{
        uint8_t *packet = c->out + c->n_out;

        if (LOAD_OUT_BYTES - c->n_out < l->n_packet)
                return false;
        memcpy(packet, l->packet, l->n_packet);
        memcpy(packet + l->payload_at, &c->number, sizeof(c->number));
        memcpy(packet + l->payload_at + 8, &now_ns, sizeof(now_ns));
        if (l->settings.qos > 0) {
                c->packet_id = c->packet_id == UINT16_MAX ? 1 : (uint16_t)(c->packet_id + 1);
                (void)put_u16(packet + l->id_at, c->packet_id);
                c->n_unacked++;
        }
        c->n_out += l->n_packet;
        c->n_sent++;
        return true;
}

static void client_watch(struct load *l, struct load_client *c, int operation, bool wants_out)
{
        struct epoll_event event = { .events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c };

        if (epoll_ctl(l->epoll, operation, c->fd, &event) < 0)
                load_fail("epoll: %s", strerror(errno));
        c->wants_out = wants_out;
}

void load_flush(struct load *l, struct load_client *c)
{
        while (c->n_out_done < c->n_out) {
                ssize_t n = send(c->fd, c->out + c->n_out_done, c->n_out - c->n_out_done, MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
                        load_fail("client %u: %s", c->number, strerror(errno));
                if (n < 0)
                        break;
                c->n_out_done += (size_t)n;
        }
        if (c->n_out_done == c->n_out)
                c->n_out_done = c->n_out = 0;
        if ((c->n_out > 0) != c->wants_out)
                client_watch(l, c, EPOLL_CTL_MOD, c->n_out > 0);
}

/* ---- packets in ---- */

static void client_ready(struct load *l, struct load_client *c)
{
        c->state = LOAD_READY;
        l->n_ready++;
}

static void handle_connack(struct load *l, struct load_client *c, const uint8_t *body, size_t n)
{
        if (c->state != LOAD_CONNECTING || n < 2 || body[1] != 0)
                load_fail("client %u: refused with %u", c->number, n < 2 ? 0 : body[1]);
        if (c->role == LOAD_VISITOR) {
                send_packet(c, DISCONNECT << 4, NULL, NULL);
                c->state = LOAD_LEAVING;
        } else if (c->role == LOAD_SUBSCRIBER || (c->role == LOAD_IDLE && l->settings.subscribe)) {
                send_subscribe(l, c);
                c->state = LOAD_SUBSCRIBING;
        } else {
                client_ready(l, c);
        }
}

/* Of our own making, so that lengths need no distrust beyond the end. */
static void count_delivery(struct load *l, const uint8_t *payload, const uint8_t *end, uint64_t now_ns)
{
        uint32_t number;
        uint64_t sent_ns;

        if (end - payload < LOAD_PAYLOAD_MIN)
                load_fail("a message that is none of ours");
        memcpy(&number, payload, sizeof(number));
        memcpy(&sent_ns, payload + 8, sizeof(sent_ns));
        if (number >= l->n_clients)
                load_fail("a message that is none of ours");
        l->clients[number].n_delivered++;
        l->n_deliveries++;
        if (l->latencies_us && l->n_latencies < l->max_latencies)
                l->latencies_us[l->n_latencies++] = (double)(now_ns - sent_ns) / 1000.0;
}

static void handle_publish(struct load *l, struct load_client *c, unsigned first, const uint8_t *body,
                           size_t n, uint64_t now_ns)
{
        const uint8_t *end = body + n, *at = body;
        unsigned qos = first >> 1 & 3;
        size_t n_topic;

        if (n < 2)
                load_fail("client %u: a PUBLISH without topic", c->number);
        n_topic = (size_t)(at[0] << 8 | at[1]);
        at += 2 + n_topic;
        if (n < 2 + n_topic + 3)
                load_fail("client %u: a short PUBLISH", c->number);
        if (qos > 0)
                send_ack(c, qos == 1 ? PUBACK : PUBREC, at);
        at += qos > 0 ? 2 : 0;
        if (l->settings.version >= 5)
                at += 1 + at[0]; /* fewer than 128 bytes of properties */
        count_delivery(l, at, end, now_ns);
}

static void handle_packet(struct load *l, struct load_client *c, unsigned first, const uint8_t *body,
                          size_t n, uint64_t now_ns)
{
        enum packet_type type = first >> 4;

        if (type == PUBLISH) {
                handle_publish(l, c, first, body, n, now_ns);
                return;
        }
        if (n < 2)
                load_fail("client %u: packet %02x of %zu bytes", c->number, first, n);
        if (type == CONNACK)
                handle_connack(l, c, body, n);
        else if (type == SUBACK && body[n - 1] <= 2)
                client_ready(l, c);
        else if (type == PUBREC)
                send_ack(c, PUBREL, body);
        else if (type == PUBREL)
                send_ack(c, PUBCOMP, body);
        else if (type == PUBACK || type == PUBCOMP)
                c->n_unacked--;
        else
                load_fail("client %u: packet %02x, last byte %02x", c->number, first, body[n - 1]);
}

/* The bytes of the first packet, or 0 when it is not whole. */
static size_t packet_bytes(const uint8_t *at, size_t n, size_t *ret_header)
{
        size_t length = 0;

        for (size_t i = 1; i < n && i <= 4; i++) {
                length |= (size_t)(at[i] & 0x7f) << 7 * (i - 1);
                if (at[i] & 0x80)
                        continue;
                *ret_header = i + 1;
                return n - i - 1 >= length ? i + 1 + length : 0;
        }
        return 0;
}

/* Returns how many bytes were whole packets. */
static size_t handle_packets(struct load *l, struct load_client *c, const uint8_t *bytes, size_t n)
{
        uint64_t now_ns = l->latencies_us ? load_now_ns() : 0;
        size_t at = 0, n_header = 0, n_packet;

        while ((n_packet = packet_bytes(bytes + at, n - at, &n_header)) > 0) {
                handle_packet(l, c, bytes[at], bytes + at + n_header, n_packet - n_header, now_ns);
                at += n_packet;
        }
        return at;
}

static void client_connect(struct load *l, struct load_client *c)
{
        static const int on = 1;

        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                load_fail("socket: %s", strerror(errno));
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(c->fd, (const struct sockaddr *)&l->settings.address, sizeof(l->settings.address)) < 0 &&
            errno != EINPROGRESS)
                load_fail("connect: %s", strerror(errno));
        c->state = LOAD_CONNECTING;
        c->n_left = c->n_out = c->n_out_done = 0;
        send_connect(l, c);
        client_watch(l, c, EPOLL_CTL_ADD, true);
}

/* The broker has closed: right for a visitor, which comes again. */
static void client_closed(struct load *l, struct load_client *c)
{
        if (c->state != LOAD_LEAVING)
                load_fail("client %u: the broker closed the connection", c->number);
        l->n_visits++;
        (void)close(c->fd);
        client_connect(l, c);
}

static void client_read(struct load *l, struct load_client *c)
{
        size_t n_all, n_whole;
        ssize_t n;

        memcpy(l->in, c->left, c->n_left);
        n = recv(c->fd, l->in + c->n_left, LOAD_IN_BYTES, 0);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n < 0 && errno != ECONNRESET)
                load_fail("client %u: %s", c->number, strerror(errno));
        if (n <= 0) {
                client_closed(l, c);
                return;
        }
        if (l->settings.quick_ack)
                (void)setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
        n_all = c->n_left + (size_t)n;
        n_whole = handle_packets(l, c, l->in, n_all);
        c->n_left = n_all - n_whole;
        if (c->n_left > LOAD_LEFT_BYTES)
                load_fail("client %u: a packet of more than %d bytes", c->number, LOAD_LEFT_BYTES);
        memcpy(c->left, l->in + n_whole, c->n_left);
}

int load_turn(struct load *l, int timeout_ms)
{
        struct epoll_event events[EVENTS];
        int n = epoll_wait(l->epoll, events, EVENTS, timeout_ms);

        if (n < 0 && errno != EINTR)
                load_fail("epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
                struct load_client *c = events[i].data.ptr;

                if (!c) /* the caller's */
                        continue;
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                        client_read(l, c);
                if (c->n_out > 0 && c->role != LOAD_PUBLISHER)
                        load_flush(l, c);
                else if (events[i].events & EPOLLOUT || c->state != LOAD_READY)
                        load_flush(l, c);
        }
        return n;
}

/* ---- all of them ---- */

void load_init(struct load *l, const struct load_settings *settings, size_t max_clients)
{
        *l = (struct load){ .settings = *settings };
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        l->clients = calloc(max_clients, sizeof(*l->clients));
        if (l->epoll < 0 || !l->clients)
                load_fail("%s", strerror(errno));
        make_publish(l);
}

void load_done(struct load *l)
{
        for (size_t i = 0; i < l->n_clients; i++) {
                (void)close(l->clients[i].fd);
                free(l->clients[i].out);
        }
        (void)close(l->epoll);
        free(l->clients);
        free(l->latencies_us);
}

struct load_client *load_add(struct load *l, enum load_role role)
{
        struct load_client *c = &l->clients[l->n_clients];

        c->role = role;
        c->number = (uint32_t)l->n_clients++;
        c->out = malloc(LOAD_OUT_BYTES);
        if (!c->out)
                load_fail("%s", strerror(errno));
        l->n_subscribers += role == LOAD_SUBSCRIBER;
        client_connect(l, c);
        return c;
}
