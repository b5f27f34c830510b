/* SPDX-License-Identifier: MIT */
/*
 * The MQTT connection of one client: bytes in, packets, state, bytes out. Owned by the main thread.
 *
 *   accept ─► CONNECT? ─► LOGIN ─► OPEN ─► LINGER ─► dead (freed at the end of the batch)
 *               │ time-out  │ refused │ DISCONNECT,     our last words are sent, our side is shut,
 *               └───────────┴─────────┘ fault            what still comes is thrown away
 *
 * Nothing here frees a connection or ends a session while packets are handled: faults mark it doomed, and the
 * end of the batch (connection_settle()) does the rest. So no pointer dies under a loop that uses it.
 */
#ifndef MBGATE_BROKER_CONNECTION_H
#define MBGATE_BROKER_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/mqtt.h"
#include "mbgate/config/conf.h"

#include "authority.h"
#include "listener.h"
#include "output.h"
#include "stream.h"
#include "transport.h"

struct broker;
struct session;

enum connection_state {
        CONNECTION_CONNECT, /* nothing but CONNECT may come */
        CONNECTION_LOGIN,   /* the password is being checked: nothing is read */
        CONNECTION_OPEN,
        CONNECTION_LINGER,
        CONNECTION_DEAD,
};

/* More than these waiting for one client, and its messages stay in its queue. */
#define CONNECTION_HIGH_BYTES (64u * 1024)

/* What a CONNECT may be at most: five strings of 65535 bytes, and properties. */
#define CONNECTION_CONNECT_BYTES (6u * 64 * 1024)

/* Topic aliases, MQTT 5.0 §3.3.2.3.4: a topic for each number from 1. */
struct connection_aliases {
        uint16_t n_out;
        uint16_t max_out; /* what the client takes, and we use */
        char *in[16];     /* that the client has named */
        struct {
                uint32_t hash;
                size_t n;
                char *topic;
        } out[16]; /* that we have named */
};
#define CONNECTION_ALIASES_MAX 16

/* So many answers may wait for the store: then no more is read (one read may bring more). */
#define CONNECTION_ANSWERS_HELD_MAX 1024u

/* What may be sent only when the store has it. */
struct connection_held {
        struct connection_held *next;
        uint64_t stored;
        struct message *payload; /* to be sent after the bytes, or NULL */
        bool is_answer;          /* to a PUBLISH of the client: counts against its receive maximum */
        size_t n;
        uint8_t bytes[];
};

struct connection {
        struct transport_io io;
        struct stream *stream;
        struct broker *broker;
        struct session *session; /* NULL until CONNECT is through, and again from LINGER on */
        struct listener *listener;
        const struct conf_listener_options *options; /* of its listener */
        struct peer *peer;
        struct connection *prev, *next; /* all */
        struct connection *next_dirty, *next_dead;
        struct output output;
        size_t n_over;  /* answers put into the output while it was full */
        uint8_t *input; /* the beginning of a packet, or what is not read while the client is held up */
        size_t n_input, size_input;
        size_t n_packet;                    /* how long that packet is; 0: not known yet */
        size_t n_login;                     /* bytes of the packet that waits in LOGIN */
        struct connection_aliases *aliases; /* NULL until one is used */
        size_t n_alias_bytes;               /* of their topics */
        struct connection_held *held, *last_held;
        struct connection_login *login; /* LOGIN: the CONNECT packet and the question */
        const char *why; /* it ends, in the words of a log; static; NULL: what the reason says */
        uint64_t since_us;
        uint64_t begin_us;     /* when the first of what `input` holds came */
        uint64_t part_us;      /* and the last */
        uint64_t seen_us;      /* when the last packet came */
        uint64_t taken_us;     /* when the client last took or acknowledged something, or there was nothing to
                                  take */
        uint64_t walk_us;      /* when its next walk goes on */
        uint32_t keepalive_ms; /* 0: none */
        uint32_t max_packet_bytes;
        uint32_t n_answers_held;
        uint16_t n_early_looks;     /* of its walks, since the end of the last batch */
        uint32_t told_packet_bytes; /* a longer packet ends it; before CONNECT nobody has been told */
        uint16_t told_receive_max, told_alias_max; /* in CONNACK; a reload does not change them */
        uint16_t receive_max;                      /* of the client */
        uint16_t alias_max;                        /* of the client */
        uint8_t version;                           /* enum mqtt_version */
        uint8_t state;                             /* enum connection_state */
        uint8_t doom;                              /* reason for the end; with has_doom */
        bool has_doom;
        bool wants_turn; /* has more to send or to read, in the next batch */
        bool is_paused;  /* it was held up while it was read: connection_resume() goes on */
        bool is_gone;    /* the peer has hung up: it is read to its end */
        bool told_no_retain;
        bool is_dirty;     /* in the broker's list */
        bool said_goodbye; /* DISCONNECT without will */
        bool is_bridge;    /* it wants nothing of its own back, and the retain flag as it was */
        bool is_buried;    /* in the list of the dead */
        bool is_shut;      /* our side */
};

/* A client has come in. Takes stream and peer over. `l`: NULL: the broker's own options hold for it. */
void connection_accept(struct broker *b, struct listener *l, struct stream *stream, struct peer *peer);

/* Ends it with an MQTT 5.0 reason, at the end of the batch. A second call changes nothing. */
void connection_doom(struct connection *c, uint8_t reason);

/* Something has been, or is to be, written: it is looked at at the end of the batch. */
void connection_mark_dirty(struct connection *c);

/* End of batch: ends, fills from the queue, writes. */
void connection_settle(struct connection *c);

void connection_free(struct connection *c);

/* The end of the batch frees it. */
void connection_bury(struct connection *c);

/* What is held until `stored` is committed, and may go now. */
void connection_release_held(struct connection *c);

/* More answers wait for the client to take them than one that reads would ever see. */
static inline bool connection_is_full(const struct connection *c)
{
        return c->n_over >= CONNECTION_HIGH_BYTES && !c->is_gone;
}

/* Nothing is read: it has too many answers to take, or to wait for. Its keepalive does not run then. */
static inline bool connection_is_held_up(const struct connection *c)
{
        return connection_is_full(c) || (c->n_answers_held >= CONNECTION_ANSWERS_HELD_MAX && !c->is_gone);
}

/* Whether time has run out: CONNECT, keepalive, lingering, a client that takes nothing. The next moment at
 * which that must be asked. */
uint64_t connection_tick(struct connection *c, uint64_t now_us);

/* Says in a CONNACK why the client is not let in. */
void connection_refuse(struct connection *c, uint8_t reason);

void connection_login_free(struct connection *c);
void connection_aliases_free(struct connection *c);

/* Aliases have come to stand for `n_more` bytes of topics, and no more for `n_less`. */
void connection_charge_aliases(struct connection *c, size_t n_more, size_t n_less);

/* ---- receiving (input.c) ---- */

/* Something is to be read, or the other side has ended. */
void connection_on_io(struct transport_io *io, uint32_t events);

/* Goes on with what came behind a CONNECT whose password has been checked, or while it was held up. Not from
 * connection_settle(). */
void connection_resume(struct connection *c);

/* Makes room for `n` more bytes of unfinished packets: who has held the most for the longest loses its own.
 * −ENOMEM: that is `c` itself. */
MUST_CHECK int connection_input_room(struct connection *c, size_t n);

/* Forgets the beginning of a packet. */
void connection_drop_input(struct connection *c);

/* One function a packet type. 0, or the reason to end with. */
int connection_on_connect(struct connection *c, const struct mqtt_frame *f);
int connection_on_publish(struct connection *c, const struct mqtt_frame *f);
int connection_on_ack(struct connection *c, const struct mqtt_frame *f);
int connection_on_subscribe(struct connection *c, const struct mqtt_frame *f);
int connection_on_unsubscribe(struct connection *c, const struct mqtt_frame *f);

/* ---- sending (deliver.c) ---- */

/* Copies a packet to the output. One that is larger than its client takes ends the connection. */
void connection_put(struct connection *c, const uint8_t *packet, size_t n);

/* The same, not before the store has committed `stored`. */
void connection_put_after(struct connection *c, const uint8_t *packet, size_t n, uint64_t stored,
                          bool is_answer);

/* PUBACK, PUBREC, PUBREL, PUBCOMP after `stored`. */
void connection_put_ack(struct connection *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason,
                        uint64_t stored);

/* Whether a message of QoS 0 can go at once. */
bool connection_has_room(const struct connection *c);

struct publication;

/* A message of QoS 0, now. */
void connection_put_publication(struct connection *c, struct publication *p, bool retain,
                                const uint32_t *sub_ids, size_t n_sub_ids);

/* Sends from walks and queue as much as there is room for. */
void connection_pump(struct connection *c);

/* Begins its walks without waiting for the end of the batch, so that what comes next finds them done. */
void connection_pump_early(struct connection *c);

#endif
