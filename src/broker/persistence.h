/* SPDX-License-Identifier: MIT */
/*
 * What of the broker outlives the program: retained messages, sessions, their subscriptions and their
 * messages of QoS 1 and 2 with their packet ids. The broker's parts say here what they have changed; the
 * storage thread (src/store) writes it down. Owned by the main thread; nothing blocks.
 *
 *   change ─► number ─► storage thread: commit ─► persistence_has(number) ─► answers that waited for it go
 *
 * Each call that changes something returns the number under which it will be committed; numbers grow. Without
 * a store, or with a durability other than "sync", everything counts as committed at once: what may not be
 * sent before persistence_has(number) goes at once then.
 */
#ifndef MBGATE_BROKER_PERSISTENCE_H
#define MBGATE_BROKER_PERSISTENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/mqtt.h"

struct acl_client;
struct broker;
struct message;
struct persistence;
struct queue_message;
struct queue_next;
struct session;
struct subscription_options;

/* More has been committed: persistence_has() says how far. */
typedef void (*persistence_committed_fn)(void *user);

/*
 * Opens the store of the broker's configuration and fills the broker with what it holds (retained table,
 * sessions with queues and subscriptions, all away). A store that cannot be used is told once, and the broker
 * goes on without. −ENOMEM, −errno of threads.
 */
MUST_CHECK int persistence_new(struct broker *b, persistence_committed_fn fn, void *user,
                               struct persistence **ret_persistence);

/* Commits what is left (an orderly stop), ends the thread. Takes NULL, returns NULL. */
struct persistence *persistence_free(struct persistence *p);

/* The configuration has another durability or interval: it holds from now on. Takes NULL. */
void persistence_reconfigure(struct persistence *p);

/* Whether `number` is committed, or need not be. 0 always is. */
bool persistence_has(const struct persistence *p, uint64_t number);

/* The number of the latest change. */
uint64_t persistence_last(const struct persistence *p);

/* Whether the storage thread is late, for the watchdog. */
bool persistence_is_late(struct persistence *p, uint64_t now_us);

/*
 * The retained message of its topic, and who has published it (NULL: we ourselves); one with an empty payload
 * clears it. A live one (struct message) is
 * written at an orderly stop only: the gateway says it anew after its start, and a card would wear out.
 */
uint64_t persistence_retain(struct persistence *p, struct message *m, const struct acl_client *source);

/* A session that has come, gone away, or has another expiry: written if it can outlive its connection, and
 * forgotten if it cannot any more. Keeps session.is_stored. */
void persistence_session(struct persistence *p, struct session *s);

/* Its will as it is now, with the time when it is due: kept, or forgotten if there is none any more. */
void persistence_will(struct persistence *p, struct session *s);

/* It has ended: all of it is forgotten. */
void persistence_session_end(struct persistence *p, struct session *s);

void persistence_subscribe(struct persistence *p, struct session *s, struct mqtt_bytes filter,
                           const struct subscription_options *options);
void persistence_unsubscribe(struct persistence *p, struct session *s, struct mqtt_bytes filter);

/*
 * Messages to the client, QoS 1 and 2, of sessions that are stored (others: nothing, 0). `number` is the
 * queue's: unique in the session, growing (queue.h). Sent: it has got its packet id. Pubrec: awaits PUBCOMP.
 * Acked: it has come to its end, or was dropped.
 */
uint64_t persistence_queued(struct persistence *p, struct session *s, const struct queue_message *m,
                            uint64_t number);
uint64_t persistence_sent(struct persistence *p, struct session *s, uint64_t number, uint16_t packet_id);
uint64_t persistence_pubrec(struct persistence *p, struct session *s, uint64_t number);
uint64_t persistence_acked(struct persistence *p, struct session *s, uint64_t number);

/* Packet ids of QoS 2 messages from the client: known, and forgotten after PUBREL. */
uint64_t persistence_received(struct persistence *p, struct session *s, uint16_t packet_id);
uint64_t persistence_released(struct persistence *p, struct session *s, uint16_t packet_id);

/* Counters of the store, for $SYS: messages it holds, and bytes. */
void persistence_stats(const struct persistence *p, uint64_t *ret_n_messages, uint64_t *ret_n_bytes);

#endif
