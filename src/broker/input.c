/* SPDX-License-Identifier: MIT */
/* What a client sends: from bytes to packets, and each packet to who handles it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/clock.h"
#include "mbgate/codec/mqtt_encode.h"

#include "broker_private.h"

#define READS_PER_BATCH 4 /* of one connection: the others come next */

typedef int (*packet_fn)(struct connection *c, const struct mqtt_frame *f);

static int connection_on_pingreq(struct connection *c, const struct mqtt_frame *f)
{
        uint8_t packet[2];

        if (f->n_body > 0)
                return MQTT_MALFORMED;
        connection_put(c, packet, mqtt_encode_pingresp(packet, sizeof(packet)));
        return 0;
}

static int connection_on_disconnect(struct connection *c, const struct mqtt_frame *f)
{
        struct mqtt_ack a;
        struct session *s = c->session;
        int r = mqtt_decode_disconnect(f, (enum mqtt_version)c->version, &a);

        if (r != 0)
                return r;
        if (a.properties.seen & MQTT_HAS_SESSION_EXPIRY && c->options->session == CONF_SESSION_CLIENT) {
                if (a.properties.session_expiry_s > 0 && s->expiry_s == 0)
                        return MQTT_PROTOCOL_ERROR; /* §3.14.2.2.2: 0 cannot be made longer */
                s->expiry_s = MBGATE_MIN(a.properties.session_expiry_s,
                                         broker_conf(c->broker)->max_session_expiry_s);
        }
        c->said_goodbye = a.reason == MQTT_SUCCESS; /* MQTT-3.14.4-3: every other one sends the will */
        connection_doom(c, a.reason < 0x80 ? a.reason : MQTT_SUCCESS);
        return 0;
}

static int connection_on_auth(struct connection *c, const struct mqtt_frame *f)
{
        (void)c;
        (void)f;
        return MQTT_PROTOCOL_ERROR; /* §4.12: no method was given in CONNECT */
}

/* What an open connection takes; everything else is for servers to send, or a second CONNECT: it ends it. */
static const packet_fn packet_table[16] = {
        [MQTT_PUBLISH] = connection_on_publish,
        [MQTT_PUBACK] = connection_on_ack,
        [MQTT_PUBREC] = connection_on_ack,
        [MQTT_PUBREL] = connection_on_ack,
        [MQTT_PUBCOMP] = connection_on_ack,
        [MQTT_SUBSCRIBE] = connection_on_subscribe,
        [MQTT_UNSUBSCRIBE] = connection_on_unsubscribe,
        [MQTT_PINGREQ] = connection_on_pingreq,
        [MQTT_DISCONNECT] = connection_on_disconnect,
        [MQTT_AUTH] = connection_on_auth,
};

static int connection_on_packet(struct connection *c, const struct mqtt_frame *f)
{
        packet_fn fn = packet_table[f->type];

        c->broker->stats.n_packets_in++;
        c->seen_us = transport_now_us(c->broker->transport);
        if (c->state == CONNECTION_CONNECT)
                return f->type == MQTT_CONNECT ? connection_on_connect(c, f) : MQTT_PROTOCOL_ERROR;
        if (!fn || (f->type == MQTT_AUTH && c->version < MQTT_V5))
                return MQTT_PROTOCOL_ERROR;
        return fn(c, f);
}

static bool connection_takes_packets(const struct connection *c)
{
        return !c->has_doom && (c->state == CONNECTION_CONNECT || c->state == CONNECTION_OPEN);
}

/* A CONNECT of 5.0 is answered, which takes so much of it that its version is seen; others just end. */
static void connection_on_too_large(struct connection *c, const uint8_t *bytes, size_t n,
                                    const struct mqtt_frame *f)
{
        static const uint8_t v5[] = { 0, 4, 'M', 'Q', 'T', 'T', 5 };
        bool is_connect = c->state == CONNECTION_CONNECT && f->type == MQTT_CONNECT;

        if (is_connect && (size_t)(f->body - bytes) + sizeof(v5) > n)
                return;
        if (is_connect && memcmp(f->body, v5, sizeof(v5)) == 0) {
                c->version = MQTT_V5;
                connection_refuse(c, MQTT_TOO_LARGE);
        } else {
                connection_doom(c, MQTT_TOO_LARGE);
        }
}

/*
 * Handles the whole packets at the head of `bytes`; returns how many bytes these were. *ret_total: the length
 * of the unfinished one behind them, or 0 when it is not known.
 */
static size_t connection_parse(struct connection *c, const uint8_t *bytes, size_t n, size_t *ret_total)
{
        size_t at = 0;
        struct mqtt_frame f = { .n_total = 0 };

        while (connection_takes_packets(c)) {
                int r;

                if (connection_is_full(c)) {
                        c->is_paused = true;
                        break;
                }
                r = mqtt_frame(bytes + at, n - at, (enum mqtt_version)c->version, &f);
                if (r < 0)
                        connection_doom(c, r == -EPROTO ? MQTT_PROTOCOL_ERROR : MQTT_MALFORMED);
                else if (f.n_total > c->told_packet_bytes)
                        connection_on_too_large(c, bytes + at, n - at, &f);
                else if (r == 0 && c->state == CONNECTION_CONNECT && at < n && bytes[at] >> 4 != MQTT_CONNECT)
                        connection_doom(c, MQTT_PROTOCOL_ERROR);
                if (r <= 0 || c->has_doom)
                        break;
                at += f.n_total;
                r = connection_on_packet(c, &f);
                f.n_total = 0;
                if (r != 0)
                        connection_doom(c, (uint8_t)(r < 0 ? MQTT_IMPLEMENTATION : r));
                if (c->broker->n_unsent > BROKER_FLUSH_BYTES)
                        broker_settle(c->broker);
        }
        *ret_total = f.n_total;
        return at;
}

void connection_drop_input(struct connection *c)
{
        c->broker->n_input_bytes -= c->size_input;
        free(c->input);
        c->input = NULL;
        c->n_input = c->size_input = c->n_packet = 0;
}

/* How much it has held for how long. */
static uint64_t connection_input_burden(const struct connection *c, uint64_t now_us)
{
        return (c->size_input + c->n_login) * ((now_us - c->begin_us) / USEC_PER_MSEC + 1);
}

static struct connection *input_victim(const struct broker *b)
{
        uint64_t now_us = transport_now_us(b->transport), most = 0;
        struct connection *victim = NULL;

        for (struct connection *c = b->connections; c; c = c->next) {
                uint64_t burden = connection_input_burden(c, now_us);

                if (burden > most) {
                        most = burden;
                        victim = c;
                }
        }
        return victim;
}

int connection_input_room(struct connection *c, size_t n)
{
        struct broker *b = c->broker;
        size_t max = (size_t)broker_conf(b)->max_queued_bytes_total + broker_conf(b)->max_packet_bytes;

        while (b->n_input_bytes + n > max) {
                struct connection *victim = input_victim(b);

                if (!victim || victim == c)
                        return -ENOMEM;
                connection_doom(victim, MQTT_QUOTA_EXCEEDED);
                victim->why = "its unfinished packet has long taken memory that others need";
                connection_drop_input(victim);
                connection_login_free(victim);
        }
        return 0;
}

/* Grows with what has come, not with what was announced, and no further than that. */
static int connection_input_reserve(struct connection *c, size_t n)
{
        size_t size = MBGATE_MAX(n, 2 * c->size_input);
        uint8_t *input;

        if (n <= c->size_input)
                return 0;
        if (c->n_packet > 0)
                size = MBGATE_MAX(n, MBGATE_MIN(size, c->n_packet));
        if (connection_input_room(c, size - c->size_input) < 0)
                return -ENOMEM;
        input = realloc(c->input, size);
        if (!input)
                return -ENOMEM;
        c->broker->n_input_bytes += size - c->size_input;
        c->input = input;
        c->size_input = size;
        return 0;
}

/* Keeps the beginning of a packet of `n_packet` bytes (0: not known) for the next read. */
static void connection_keep_input(struct connection *c, const uint8_t *bytes, size_t n, size_t n_packet)
{
        struct broker *b = c->broker;

        if (n == 0 || c->has_doom) {
                connection_drop_input(c);
                return;
        }
        c->n_packet = n_packet;
        if (connection_input_reserve(c, n) < 0) {
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
                return;
        }
        memmove(c->input, bytes, n);
        c->n_input = n;
        c->part_us = transport_now_us(b->transport);
        broker_wake_at(b, c->part_us + broker_conf(b)->packet_timeout_s * USEC_PER_SEC);
}

static void connection_take_input(struct connection *c, const uint8_t *bytes, size_t n)
{
        size_t n_total, n_done = connection_parse(c, bytes, n, &n_total);

        if (n_done > 0 || c->size_input == 0)
                c->begin_us = transport_now_us(c->broker->transport);
        connection_keep_input(c, bytes + n_done, n - n_done, n_total);
}

void connection_resume(struct connection *c)
{
        struct broker *b = c->broker;

        c->is_paused = false;
        c->seen_us = transport_now_us(b->transport); /* what it sent meanwhile has waited for us */
        if (c->keepalive_ms > 0)
                broker_wake_at(b, c->seen_us + c->keepalive_ms * USEC_PER_MSEC * 3 / 2);
        if (c->n_input > 0)
                connection_take_input(c, c->input, c->n_input);
        if (c->is_paused)
                return;
        if (c->io.transport)
                transport_set_events(&c->io, EPOLLIN | stream_events(c->stream));
        if (stream_has_input(c->stream))
                connection_on_io(&c->io, EPOLLIN);
}

/* A packet that is larger than the common buffer comes into its own, and nothing behind it. */
static ssize_t connection_read_large(struct connection *c)
{
        size_t size = c->n_input + BROKER_READ_BYTES;
        ssize_t n;

        if (c->n_packet > 0)
                size = MBGATE_MIN(size, c->n_packet);
        if (connection_input_reserve(c, size) < 0)
                return -ENOMEM;
        n = stream_read(c->stream, c->input + c->n_input, c->size_input - c->n_input);
        if (n <= 0)
                return n;
        c->n_input += (size_t)n;
        connection_take_input(c, c->input, c->n_input);
        return n;
}

static ssize_t connection_read_once(struct connection *c)
{
        uint8_t *buffer = c->broker->read_buffer;
        size_t n_kept = c->n_input;
        ssize_t n;

        if (n_kept > BROKER_READ_BYTES / 4)
                return connection_read_large(c);
        n = stream_read(c->stream, buffer + n_kept, BROKER_READ_BYTES - n_kept);
        if (n <= 0)
                return n;
        if (n_kept > 0)
                memcpy(buffer, c->input, n_kept);
        c->n_input = 0;
        connection_take_input(c, buffer, n_kept + (size_t)n);
        return n;
}

/* Bytes that come while we say goodbye are thrown away, until the client ends its side too. */
static ssize_t connection_read_away(struct connection *c)
{
        return stream_read(c->stream, c->broker->read_buffer, BROKER_READ_BYTES);
}

static void connection_read(struct connection *c)
{
        for (unsigned i = 0; i < READS_PER_BATCH || stream_has_input(c->stream); i++) {
                bool lingers = c->state == CONNECTION_LINGER;
                ssize_t n;

                if (!lingers && !connection_takes_packets(c))
                        return;
                n = lingers ? connection_read_away(c) : connection_read_once(c);
                if (n == -EAGAIN)
                        return;
                if (n > 0) {
                        c->broker->stats.n_bytes_in += (uint64_t)n;
                        if (c->is_paused || connection_is_held_up(c)) {
                                c->is_paused = true;
                                return;
                        }
                        if ((size_t)n < BROKER_READ_BYTES / 2 && !stream_has_input(c->stream))
                                return; /* that was all: epoll tells of more */
                        continue;
                }
                if (lingers)
                        connection_bury(c);
                else
                        connection_doom(c, n == -EPROTO ? MQTT_MALFORMED : MQTT_UNSPECIFIED);
                return;
        }
}

void connection_on_io(struct transport_io *io, uint32_t events)
{
        struct connection *c = CONTAINER_OF(io, struct connection, io);

        if (c->state == CONNECTION_DEAD)
                return;
        if (events & (EPOLLHUP | EPOLLERR))
                c->is_gone = true;
        if (c->state == CONNECTION_LOGIN && c->is_gone)
                connection_doom(c, MQTT_UNSPECIFIED);
        else if (!c->is_paused && !connection_is_held_up(c) && (events & EPOLLIN || c->is_gone))
                connection_read(c);
        if (c->state != CONNECTION_DEAD)
                connection_mark_dirty(c);
}
