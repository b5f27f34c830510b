/* SPDX-License-Identifier: MIT */
/*
 * The retained message of each topic (MQTT 5.0 §3.3.1.3), and walks over those that match a filter, a few a
 * time, so that a subscription to "#" does not stop everybody else. A walk survives any change: it gives
 * each message that was there from its start to its end once, and no topic twice.
 *
 * Owned by one thread; no I/O.
 */
#ifndef MBGATE_BROKER_RETAINED_H
#define MBGATE_BROKER_RETAINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/broker/acl.h"
#include "mbgate/model/message.h"

struct retained;
struct retained_cursor;

struct retained_limits {
        unsigned max_levels; /* of a topic; at most 200 */
        size_t max_nodes;    /* levels of all topics together */
        size_t max_messages;
        size_t max_bytes; /* of messages with all that belongs to them: topics, properties, what keeps them */
        bool keeps_empty; /* as what was last said of a topic; no walk gives them */
};

enum retained_result {
        RETAINED_FULL = 1, /* a limit */
        RETAINED_TOO_DEEP,
        RETAINED_MESSAGE, /* retained_cursor_next(): here is one */
        RETAINED_MORE,    /* retained_cursor_next(): come again */
};

/* −ENOMEM. */
MUST_CHECK int retained_new(const struct retained_limits *limits, struct retained **ret);

/* Drops all messages; asserts that no cursor is left. Takes NULL, returns NULL. */
struct retained *retained_free(struct retained *r);
DEFINE_CLEANUP(struct retained *, retained_free)

/*
 * Keeps a reference to the message in place of the one its topic had, and a copy of who has published it
 * (NULL: we ourselves); an empty payload clears the topic, unless such ones are kept.
 * RETAINED_FULL, RETAINED_TOO_DEEP, −ENOMEM: nothing has changed.
 */
MUST_CHECK int retained_set(struct retained *r, struct message *m, const struct acl_client *source,
                            uint64_t now_us);

/* The message of a topic, still the table's, or NULL. */
struct message *retained_get(const struct retained *r, const char *topic, size_t n_topic, uint64_t now_us);

/* Whether that is who has published the message of a topic. */
bool retained_is_from(const struct retained *r, const char *topic, size_t n_topic,
                      const struct acl_client *source);

/* A message has expired and goes now. NULL: nobody is told. */
typedef void (*retained_expired_fn)(void *user, const struct message *m);
void retained_on_expired(struct retained *r, retained_expired_fn fn, void *user);

/*
 * Looks at up to `max_looks` of the messages that can expire, beginning with those whose turn is longest ago,
 * and drops those that have. Returns how many.
 */
size_t retained_expire(struct retained *r, uint64_t now_us, size_t max_looks);

size_t retained_n_messages(const struct retained *r);
size_t retained_n_bytes(const struct retained *r);

/* `filter` is valid and not shared. −ENOMEM; RETAINED_TOO_DEEP: nothing can match. */
MUST_CHECK int retained_cursor_new(struct retained *r, const char *filter, size_t n_filter,
                                   struct retained_cursor **ret_cursor);

/* Leaves out what is stored from now on: whoever walks gets that in another way. */
void retained_cursor_skip_newer(struct retained_cursor *c);

bool retained_cursor_is_on(const struct retained_cursor *c, const char *filter, size_t n_filter);

/* Takes NULL, returns NULL. */
struct retained_cursor *retained_cursor_free(struct retained_cursor *c);
DEFINE_CLEANUP(struct retained_cursor *, retained_cursor_free)

/*
 * Goes on to the next message. RETAINED_MESSAGE: *ret is it, still the table's. RETAINED_MORE: so many
 * levels as *looks said have been looked at. 0: that was all. *looks is counted down.
 */
int retained_cursor_next(struct retained_cursor *c, uint64_t now_us, size_t *looks, struct message **ret);

/* Who has published the message that retained_cursor_next() has just given; NULL: we ourselves. */
const struct acl_client *retained_cursor_source(const struct retained_cursor *c);

/* What is there already stays, even if it is more. */
void retained_set_limits(struct retained *r, const struct retained_limits *limits);

#endif
