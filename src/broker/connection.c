/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/clock.h"
#include "mbgate/codec/mqtt_encode.h"

#include "broker_private.h"

#define LINGER_US       (5 * USEC_PER_SEC) /* for our last words to arrive */
#define SENDS_PER_BATCH 4                  /* of one connection: the others come next */

/* ---- coming ---- */

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
                .told_packet_bytes = MBGATE_MIN(broker_conf(b)->max_packet_bytes, CONNECTION_CONNECT_BYTES),
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
        const char *why = c->why ? c->why : c->stream->reason ? c->stream->reason : reason_text(c->doom);

        if (c->doom == MQTT_TAKEN_OVER || !broker_may_log(b))
                return;
        if (!id)
                log_warn(&b->fields, "broker: connection from %s ends before CONNECT is through: %s",
                         c->peer->address, c->doom == MQTT_UNSPECIFIED ? "closed or silent" : why);
        else if (c->doom == MQTT_UNSPECIFIED)
                log_info(&b->fields, "broker: client \"%s\" (%s): connection lost", id, c->peer->address);
        else
                log_info(&b->fields, "broker: client \"%s\" (%s) disconnected: %s", id, c->peer->address,
                         why);
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
        connection_aliases_free(c);
        c->n_over = 0;
        c->is_paused = false;
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

void connection_bury(struct connection *c)
{
        c->state = CONNECTION_DEAD;
        if (c->is_buried)
                return;
        c->is_buried = true;
        c->next_dead = c->broker->dead;
        c->broker->dead = c;
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
        if (c->output.n_bytes < CONNECTION_HIGH_BYTES)
                c->n_over = 0;
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

        if (c->state != CONNECTION_LOGIN && !c->is_paused && !connection_is_held_up(c))
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
        else if (c->is_paused && !connection_is_held_up(c))
                c->wants_turn = true; /* broker_at_batch_end() goes on reading */
}

/* ---- time ---- */

/* So long the rest of a packet may be waited for. */
static uint64_t connection_part_ends_us(const struct connection *c)
{
        if (c->state != CONNECTION_OPEN || c->n_input == 0 || c->is_paused)
                return CLOCK_NEVER_US;
        return c->part_us + broker_conf(c->broker)->packet_timeout_s * USEC_PER_SEC;
}

uint64_t connection_tick(struct connection *c, uint64_t now_us)
{
        const struct conf_broker *conf = broker_conf(c->broker);
        uint64_t at_us = CLOCK_NEVER_US, stall_us = c->taken_us + conf->stall_timeout_s * USEC_PER_SEC;
        uint64_t part_us = connection_part_ends_us(c);

        if (c->state == CONNECTION_LINGER)
                at_us = c->since_us + LINGER_US;
        else if (c->state != CONNECTION_OPEN)
                at_us = c->since_us + conf->connect_timeout_s * USEC_PER_SEC;
        else if (c->keepalive_ms > 0 && !c->is_paused && !connection_is_held_up(c))
                at_us = c->seen_us + c->keepalive_ms * USEC_PER_MSEC * 3 / 2; /* MQTT-3.1.2-22 */
        if (at_us <= now_us) {
                if (c->state == CONNECTION_LINGER)
                        connection_bury(c);
                else
                        connection_doom(c, c->state == CONNECTION_OPEN ? MQTT_KEEPALIVE_TIMEOUT
                                                                       : MQTT_UNSPECIFIED);
                return CLOCK_NEVER_US;
        }
        if (part_us <= now_us) {
                c->why = "a packet that it has begun does not go on (packet_timeout_s)";
                connection_doom(c, MQTT_IMPLEMENTATION);
                return CLOCK_NEVER_US;
        }
        at_us = MBGATE_MIN(at_us, part_us);
        if (c->session && (c->session->walks || c->session->pushes)) {
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
