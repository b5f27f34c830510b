/* SPDX-License-Identifier: MIT */
/*
 * The messages of a link that wait: a queue in memory, bounded by messages and by bytes. When it is full,
 * room is made by dropping live values that a newer message of their topic has superseded, and then the
 * oldest of the others. The newest live message of a topic is what the topic stands at: it does not count
 * among the messages, and goes only when nothing else is left to keep the bound of bytes, which
 * spool_take_lost() tells. Owned by the link's thread; holds references; every call is O(1).
 */
#ifndef MBGATE_CLIENT_SPOOL_H
#define MBGATE_CLIENT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/model/message.h"

struct spool;

/* −ENOMEM. */
MUST_CHECK int spool_new(size_t max_messages, size_t max_bytes, struct spool **ret_spool);

/* Drops what is left. Takes NULL, returns NULL. */
struct spool *spool_free(struct spool *s);
DEFINE_CLEANUP(struct spool *, spool_free)

/*
 * Appends a message (takes a reference). 0, with the number of messages dropped for it in *ret_dropped;
 * −EMSGSIZE: larger than the whole spool; −ENOMEM. On an error nothing has changed.
 */
MUST_CHECK int spool_push(struct spool *s, struct message *m, size_t *ret_dropped);

/*
 * Puts back at the front what had been taken and was not acknowledged. Takes a reference. May exceed the
 * bounds by what was in flight. −ENOMEM.
 */
MUST_CHECK int spool_push_front(struct spool *s, struct message *m);

/* The oldest message, whose reference is now the caller's, or NULL. */
struct message *spool_pop(struct spool *s);

/* Whether the newest live message of a topic was dropped since this was asked last. */
bool spool_take_lost(struct spool *s);

size_t spool_n_messages(const struct spool *s);
size_t spool_n_bytes(const struct spool *s);

/* Memory that a message is counted with. */
size_t spool_message_bytes(const struct message *m);

#endif
