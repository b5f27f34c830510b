/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/clock.h"
#include "mbgate/codec/mqtt_encode.h"

#include "broker_private.h"

#define LINGER_US          (5 * USEC_PER_SEC) /* for our last words to arrive */
#define FIRST_PACKET_BYTES (64u * 1024)       /* what a CONNECT may be at most, before we know who it is */
#define SENDS_PER_BATCH    4                  /* likewise */
#define READS_PER_BATCH    4                  /* of one connection: the others come next */

/* ---- coming ---- */

static void connection_on_io(struct transport_io *io, uint32_t events);

static bool connection_is_welcome(const struct broker *b, const struct listener *l, const struct peer *peer)
{
        const struct conf_broker *conf = broker_conf(b);
        uint32_t max_here = l ? listener_conf(l)->max_clients : 0, n_here = 0, n_address = 0;

        if (b->is_stopping || b->n_connections >= conf->max_clients)
                return false;
        if (conf->max_clients_per_address == 0 && max_here == 0)
                return true;
        for (const struct connection *c = b->connections; c; c = c->next) {
                n_here += c->listener == l;
                n_address += strcmp(c->peer->address, peer->address) == 0;
        }
        return (max_here == 0 || n_here < max_here) &&
               (conf->max_clients_per_address == 0 || n_address < conf->max_clients_per_address);
}

static void connection_link(struct connection *c)
{
        struct broker *b = c->broker;

        c->next = b->connections;
        if (c->next)
                c->next->prev = c;
        b->connections = c;
        b->n_connections++;
}

static void connection_unlink(struct connection *c)
{
        struct broker *b = c->broker;

        *(c->prev ? &c->prev->next : &b->connections) = c->next;
        if (c->next)
                c->next->prev = c->prev;
        b->n_connections--;
}

static struct connection *connection_new(struct broker *b, struct listener *l, struct stream *stream,
                                         struct peer *peer)
{
        struct connection *c = calloc(1, sizeof(*c));
        uint64_t now_us = transport_now_us(b->transport);

        if (!c)
                return NULL;
        *c = (struct connection){
                .broker = b,
                .listener = l,
                .options = l ? &listener_conf(l)->options : &broker_conf(b)->options,
                .stream = stream,
                .peer = peer,
                .since_us = now_us,
                .seen_us = now_us,
                .taken_us = now_us,
                .max_packet_bytes = UINT32_MAX,
                .receive_max = UINT16_MAX,
                .version = MQTT_V311,
                .state = CONNECTION_CONNECT,
        };
        return c;
}

void connection_accept(struct broker *b, struct listener *l, struct stream *stream, struct peer *peer)
{
        struct connection *c = NULL;
        bool is_welcome = connection_is_welcome(b, l, peer);

        b->stats.n_sockets++;
        if (is_welcome)
                c = connection_new(b, l, stream, peer);
        if (c && transport_add(b->transport, &c->io, stream->fd, EPOLLIN, connection_on_io) == 0) {
                connection_link(c);
                broker_wake_at(b, c->since_us + broker_conf(b)->connect_timeout_s * USEC_PER_SEC);
                return;
        }
        b->stats.n_refused++;
        if (broker_may_log(b))
                log_warn(&b->fields, "broker: connection from %s refused: %s", peer->address,
                         b->is_stopping ? "shutting down"
                         : is_welcome   ? "out of memory"
                                        : "too many clients (max_clients, max_clients_per_address)");
        free(c);
        (void)stream_free(stream);
        (void)peer_free(peer);
}

/* ---- going ---- */

void connection_mark_dirty(struct connection *c)
{
        struct broker *b = c->broker;

        if (c->is_dirty || c->state == CONNECTION_DEAD)
                return;
        c->is_dirty = true;
        c->next_dirty = b->dirty;
        b->dirty = c;
        transport_wake(b->transport);
}

void connection_doom(struct connection *c, uint8_t reason)
{
        if (c->has_doom || c->state >= CONNECTION_LINGER)
                return;
        c->has_doom = true;
        c->doom = reason;
        connection_mark_dirty(c);
}

/* What an MQTT 5.0 reason is in the words of a log. */
static const char *reason_text(uint8_t reason)
{
        switch (reason) {
        case MQTT_SUCCESS: return "by its wish";
        case MQTT_DISCONNECT_WITH_WILL: return "by its wish, with its will";
        case MQTT_MALFORMED: return "malformed packet";
        case MQTT_PROTOCOL_ERROR: return "protocol error";
        case MQTT_BAD_VERSION: return "protocol version not supported";
        case MQTT_BAD_CLIENT_ID: return "client id not valid";
        case MQTT_BAD_CREDENTIALS: return "wrong user name or password";
        case MQTT_NOT_AUTHORISED: return "not authorised";
        case MQTT_SERVER_BUSY: return "too many log-ins wait";
        case MQTT_SHUTTING_DOWN: return "shutting down";
        case MQTT_BAD_AUTH_METHOD: return "authentication method not supported";
        case MQTT_KEEPALIVE_TIMEOUT: return "nothing heard within 1.5 times its keepalive";
        case MQTT_TAKEN_OVER: return "taken over";
        case MQTT_BAD_FILTER: return "topic filter not valid";
        case MQTT_BAD_TOPIC: return "topic name not valid";
        case MQTT_RECEIVE_MAXIMUM: return "more messages at once than it was allowed";
        case MQTT_BAD_ALIAS: return "topic alias not valid";
        case MQTT_TOO_LARGE: return "packet too large";
        case MQTT_QUOTA_EXCEEDED: return "takes nothing of what waits for it";
        case MQTT_ADMIN_ACTION: return "sent away";
        default: return "error";
        }
}

static void connection_log_end(const struct connection *c)
{
        struct broker *b = c->broker;
        const char *id = c->session ? c->session->id : NULL;

        if (c->doom == MQTT_TAKEN_OVER || !broker_may_log(b))
                return;
        if (!id)
                log_warn(&b->fields, "broker: connection from %s ends before CONNECT is through: %s",
                         c->peer->address,
                         c->doom == MQTT_UNSPECIFIED ? "closed or silent"
                         : c->stream->reason         ? c->stream->reason
                                                     : reason_text(c->doom));
        else if (c->doom == MQTT_UNSPECIFIED)
                log_info(&b->fields, "broker: client \"%s\" (%s): connection lost", id, c->peer->address);
        else
                log_info(&b->fields, "broker: client \"%s\" (%s) disconnected: %s", id, c->peer->address,
                         c->stream->reason ? c->stream->reason : reason_text(c->doom));
}

/* 5.0 clients are told; 3.x servers have no words for it. Refusals of CONNECT: connect.c. */
static void connection_say_why(struct connection *c)
{
        uint8_t packet[16];

        if (c->state == CONNECTION_OPEN && c->doom >= 0x80)
                connection_put(c, packet,
                               mqtt_encode_disconnect(packet, sizeof(packet), (enum mqtt_version)c->version,
                                                      c->doom));
}

static void connection_drop_input(struct connection *c)
{
        c->broker->n_input_bytes -= c->size_input;
        free(c->input);
        c->input = NULL;
        c->n_input = c->size_input = 0;
}

static void connection_drop_held(struct connection *c)
{
        while (c->held) {
                struct connection_held *h = c->held;

                c->held = h->next;
                (void)message_unref(h->payload);
                free(h);
        }
        c->last_held = NULL;
        c->n_answers_held = 0;
}

/* From here on the session is on its own, and only our last words go out. */
static void connection_end(struct connection *c)
{
        bool is_lost = c->doom == MQTT_UNSPECIFIED;
        struct session *s;

        connection_log_end(c);
        if (!is_lost)
                connection_say_why(c);
        if (c->state != CONNECTION_OPEN)
                c->broker->stats.n_refused++;
        connection_login_free(c);
        connection_drop_input(c);
        connection_drop_held(c);
        c->state = is_lost ? CONNECTION_DEAD : CONNECTION_LINGER;
        c->since_us = transport_now_us(c->broker->transport);
        if (!is_lost)
                broker_wake_at(c->broker, c->since_us + LINGER_US);
        s = TAKE(c->session);
        if (s)
                session_leave(s, !c->said_goodbye);
}

void connection_free(struct connection *c)
{
        struct broker *b = c->broker;

        assert(!c->session);
        connection_login_free(c);
        connection_drop_input(c);
        connection_drop_held(c);
        connection_aliases_free(c);
        output_clear(&c->output, &b->pool);
        if (c->io.transport)
                transport_remove(&c->io);
        connection_unlink(c);
        (void)stream_free(c->stream);
        (void)peer_free(c->peer);
        free(c);
}

static void connection_bury(struct connection *c)
{
        c->state = CONNECTION_DEAD;
        if (c->is_buried)
                return;
        c->is_buried = true;
        c->next_dead = c->broker->dead;
        c->broker->dead = c;
}

/* ---- bytes in ---- */

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

static size_t connection_packet_limit(const struct connection *c)
{
        size_t max = broker_conf(c->broker)->max_packet_bytes;

        return c->state == CONNECTION_CONNECT ? MBGATE_MIN(max, FIRST_PACKET_BYTES) : max;
}

static bool connection_takes_packets(const struct connection *c)
{
        return !c->has_doom && (c->state == CONNECTION_CONNECT || c->state == CONNECTION_OPEN);
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
                int r = mqtt_frame(bytes + at, n - at, &f);

                if (r < 0)
                        connection_doom(c, MQTT_MALFORMED);
                else if (f.n_total > connection_packet_limit(c))
                        connection_doom(c, MQTT_TOO_LARGE);
                if (r <= 0)
                        break;
                if (c->has_doom)
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

/* Grows with what has come, not with what was announced. */
static int connection_input_reserve(struct connection *c, size_t n)
{
        struct broker *b = c->broker;
        size_t size = MBGATE_MAX(n, 2 * c->size_input);
        uint8_t *input;

        if (n <= c->size_input)
                return 0;
        if (b->n_input_bytes + size > broker_conf(b)->max_queued_bytes_total + connection_packet_limit(c))
                return -ENOMEM;
        input = realloc(c->input, size);
        if (!input)
                return -ENOMEM;
        b->n_input_bytes += size - c->size_input;
        c->input = input;
        c->size_input = size;
        return 0;
}

/* Keeps the beginning of a packet for the next read. */
static void connection_keep_input(struct connection *c, const uint8_t *bytes, size_t n)
{
        if (n == 0 || c->has_doom) {
                connection_drop_input(c);
                return;
        }
        if (connection_input_reserve(c, n) < 0) {
                connection_doom(c, MQTT_QUOTA_EXCEEDED);
                return;
        }
        memmove(c->input, bytes, n);
        c->n_input = n;
}

static void connection_take_input(struct connection *c, const uint8_t *bytes, size_t n)
{
        size_t n_total, n_done = connection_parse(c, bytes, n, &n_total);

        connection_keep_input(c, bytes + n_done, n - n_done);
}

void connection_resume(struct connection *c)
{
        if (c->n_input > 0)
                connection_take_input(c, c->input, c->n_input);
        if (c->io.transport)
                transport_set_events(&c->io, EPOLLIN | stream_events(c->stream));
        if (stream_has_input(c->stream))
                connection_on_io(&c->io, EPOLLIN);
}

/* A packet that is larger than the common buffer comes into its own. */
static ssize_t connection_read_large(struct connection *c)
{
        ssize_t n;

        if (connection_input_reserve(c, c->n_input + BROKER_READ_BYTES) < 0)
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
                        if ((size_t)n < BROKER_READ_BYTES / 2 && !stream_has_input(c->stream))
                                return; /* that was all: epoll tells of more */
                        if (connection_is_held_up(c))
                                return; /* broker_on_committed() goes on */
                        continue;
                }
                if (lingers)
                        connection_bury(c);
                else
                        connection_doom(c, n == -EPROTO ? MQTT_MALFORMED : MQTT_UNSPECIFIED);
                return;
        }
}

static void connection_on_io(struct transport_io *io, uint32_t events)
{
        struct connection *c = CONTAINER_OF(io, struct connection, io);

        if (c->state == CONNECTION_DEAD)
                return;
        if (c->state == CONNECTION_LOGIN && events & (EPOLLHUP | EPOLLERR))
                connection_doom(c, MQTT_UNSPECIFIED);
        else if (events & (EPOLLHUP | EPOLLERR) || (events & EPOLLIN && !connection_is_held_up(c)))
                connection_read(c);
        if (c->state != CONNECTION_DEAD)
                connection_mark_dirty(c);
}

/* ---- end of batch ---- */

/* Whether something waits for the client: to be written, or for it to acknowledge what it has got. */
static bool connection_owes(const struct connection *c)
{
        return c->output.n_bytes > 0 ||
               (c->session && c->session->queue && queue_n_waiting(c->session->queue) > 0);
}

static void connection_flush(struct connection *c)
{
        struct broker *b = c->broker;
        uint64_t now_us = transport_now_us(b->transport);
        ssize_t n = output_send(&c->output, &b->pool, c->stream);
        int r = stream_flush(c->stream);

        if (n > 0)
                b->stats.n_bytes_out += (uint64_t)n;
        if (n > 0 || !connection_owes(c))
                c->taken_us = now_us;
        if ((n < 0 && n != -EAGAIN) || (r < 0 && r != -EAGAIN)) {
                if (c->state == CONNECTION_LINGER)
                        connection_bury(c);
                else
                        connection_doom(c, MQTT_UNSPECIFIED);
        }
        if (connection_owes(c))
                broker_wake_at(b, c->taken_us + broker_conf(b)->stall_timeout_s * USEC_PER_SEC);
}

static void connection_say_last_words(struct connection *c)
{
        if (c->is_shut || c->output.n_bytes > 0 || stream_flush(c->stream) == -EAGAIN)
                return;
        c->is_shut = true;
        stream_shutdown(c->stream);
}

/* What epoll is to tell of this connection. */
static void connection_watch(struct connection *c)
{
        uint32_t events = stream_events(c->stream) | (c->output.n_bytes > 0 ? EPOLLOUT : 0);

        if (c->state != CONNECTION_LOGIN && !connection_is_held_up(c))
                events |= EPOLLIN;
        if (c->io.transport)
                transport_set_events(&c->io, events);
}

/* Fills and empties the output as long as the client takes all of it, a few times. */
static void connection_send(struct connection *c)
{
        unsigned i;

        c->wants_turn = false;
        for (i = 0; i < SENDS_PER_BATCH; i++) {
                size_t n_filled;

                if (c->state == CONNECTION_OPEN)
                        connection_pump(c);
                n_filled = c->output.n_bytes;
                connection_flush(c);
                if (n_filled == 0 || c->output.n_bytes > 0 || c->state != CONNECTION_OPEN)
                        return;
        }
        c->wants_turn = true;
}

void connection_settle(struct connection *c)
{
        if (c->has_doom && c->state < CONNECTION_LINGER)
                connection_end(c);
        if (c->state != CONNECTION_DEAD)
                connection_send(c);
        if (c->has_doom && c->state < CONNECTION_LINGER)
                connection_end(c);
        if (c->state == CONNECTION_LINGER)
                connection_say_last_words(c);
        if (c->state == CONNECTION_DEAD)
                connection_bury(c);
        else
                connection_watch(c);
        if (c->state >= CONNECTION_LINGER)
                c->wants_turn = false;
}

/* ---- time ---- */

uint64_t connection_tick(struct connection *c, uint64_t now_us)
{
        const struct conf_broker *conf = broker_conf(c->broker);
        uint64_t at_us = CLOCK_NEVER_US, stall_us = c->taken_us + conf->stall_timeout_s * USEC_PER_SEC;

        if (c->state == CONNECTION_LINGER)
                at_us = c->since_us + LINGER_US;
        else if (c->state != CONNECTION_OPEN)
                at_us = c->since_us + conf->connect_timeout_s * USEC_PER_SEC;
        else if (c->keepalive_ms > 0)
                at_us = c->seen_us + c->keepalive_ms * USEC_PER_MSEC * 3 / 2; /* MQTT-3.1.2-22 */
        if (at_us <= now_us) {
                if (c->state == CONNECTION_LINGER)
                        connection_bury(c);
                else
                        connection_doom(c, c->state == CONNECTION_OPEN ? MQTT_KEEPALIVE_TIMEOUT
                                                                       : MQTT_UNSPECIFIED);
                return CLOCK_NEVER_US;
        }
        if (c->session && c->session->walks) {
                if (c->walk_us <= now_us)
                        connection_mark_dirty(c);
                else
                        at_us = MBGATE_MIN(at_us, c->walk_us);
        }
        if (c->state == CONNECTION_OPEN && connection_owes(c)) {
                if (stall_us <= now_us)
                        connection_doom(c, MQTT_QUOTA_EXCEEDED);
                else
                        at_us = MBGATE_MIN(at_us, stall_us);
        }
        return at_us;
}
