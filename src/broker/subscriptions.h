/* SPDX-License-Identifier: MIT */
/*
 * Who wants which topics. A subscriber is embedded in what receives (a session); the subscriptions of all of
 * them hang in one tree of filters. Matching allocates nothing: what was found for one message is linked
 * through the subscriptions and subscribers themselves, marked with the number of the match.
 *
 *   match ─► subscriber ─► subscriber ─► …           one hit for each, however many of its filters match
 *              └─► subscription ─► subscription      the filters that did
 *
 * A shared subscription, "$share/GROUP/FILTER" (MQTT 5.0 §4.8.2), is a group at the filter's node. Each
 * message goes to one member of each matching group, in turn. A client in a group that also subscribes for
 * itself gets both.
 *
 * Owned by one thread; no I/O.
 */
#ifndef MBGATE_BROKER_SUBSCRIPTIONS_H
#define MBGATE_BROKER_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

/* So many members of a group are asked for one message; the next message asks the members behind them. */
#define SUBSCRIPTIONS_GROUP_LOOKS 64

struct subscriptions;
struct subscription;

/* All zero at start. The other members belong to this module. */
struct subscriber {
        struct subscription *own;
        size_t n;          /* subscriptions */
        bool is_unlimited; /* set by the owner: no limit of their number holds */
        uint64_t match;
        struct subscription *first_match, *last_match;
        struct subscriber *next_match;
};

struct subscription_options {
        uint8_t qos; /* 0..2 */
        bool no_local;
        bool retain_as_published;
        uint32_t id; /* subscription identifier; 0: none */
};

struct subscriptions_limits {
        unsigned max_levels;       /* of a filter; at most 200 */
        size_t max_nodes;          /* of the tree */
        size_t max_total;          /* subscriptions of all */
        size_t max_per_subscriber; /* subscriptions of one */
};

enum subscriptions_result {
        SUBSCRIPTIONS_REPLACED = 1, /* there was one of this filter */
        SUBSCRIPTIONS_NONE,         /* there was none of this filter */
        SUBSCRIPTIONS_FULL,         /* a limit of this subscriber, of all, or of the tree */
        SUBSCRIPTIONS_INVALID,      /* no filter, too many levels, or no-local in a group */
};

/* What one message has found. Valid during the call back only. */
struct subscription_hit {
        struct subscriber *subscriber;
        uint8_t qos;                      /* the highest of those that match */
        bool retain_as_published;         /* one of those that match wants it */
        bool is_shared;                   /* as a member of a group */
        const struct subscription *first; /* for subscription_next_id() */
};

/* How much a member of a group wants a message. */
enum subscriber_readiness {
        SUBSCRIBER_CANNOT, /* would lose it */
        SUBSCRIBER_WAITS,  /* would keep it for later: taken if nobody is ready */
        SUBSCRIBER_READY,
};

/* Neither may add or remove subscriptions. */
struct subscriptions_calls {
        void (*hit)(void *user, const struct subscription_hit *hit);
        enum subscriber_readiness (*readiness)(void *user, const struct subscriber *s); /* NULL: all ready */
};

/* −ENOMEM. */
MUST_CHECK int subscriptions_new(const struct subscriptions_limits *limits, struct subscriptions **ret);

/* Asserts that there are none left. Takes NULL, returns NULL. */
struct subscriptions *subscriptions_free(struct subscriptions *subs);
DEFINE_CLEANUP(struct subscriptions *, subscriptions_free)

/* 0: it is new. SUBSCRIPTIONS_REPLACED, _FULL, _INVALID; −ENOMEM. On an error nothing has changed. */
MUST_CHECK int subscriptions_add(struct subscriptions *subs, struct subscriber *s, const char *filter,
                                 size_t n_filter, const struct subscription_options *options);

/* 0, or SUBSCRIPTIONS_NONE. */
int subscriptions_remove(struct subscriptions *subs, struct subscriber *s, const char *filter,
                         size_t n_filter);

/* Removes all of a subscriber's, each in constant time (plus the levels that only it used). */
void subscriptions_clear(struct subscriptions *subs, struct subscriber *s);

/*
 * Calls back once for each subscriber with a matching subscription, and once for each matching group.
 * `publisher`: whose own no-local subscriptions do not count; may be NULL. Returns the number of hits. A name
 * with more levels than the limit has none.
 */
size_t subscriptions_match(struct subscriptions *subs, const char *topic, size_t n_topic,
                           const struct subscriber *publisher, const struct subscriptions_calls *calls,
                           void *user);

/* The identifiers of a hit, one a call: 0 at the end. Start with *at = hit->first. */
uint32_t subscription_next_id(const struct subscription **at);

size_t subscriptions_total(const struct subscriptions *subs);
size_t subscriptions_total_shared(const struct subscriptions *subs);

/* "$share/GROUP/FILTER": the bytes of FILTER and where it begins. 0: not shared; −EINVAL: shared, but wrong.
 */
int subscriptions_shared(const char *filter, size_t n_filter, size_t *ret_group_bytes, size_t *ret_filter_at);

/* Calls back with each filter of a subscriber, "$share/GROUP/" included. It may not change them. */
void subscriptions_each(const struct subscriber *s,
                        void (*fn)(void *user, const char *filter, size_t n_filter), void *user);

/* What is there already stays, even if it is more. */
void subscriptions_set_limits(struct subscriptions *subs, const struct subscriptions_limits *limits);

#endif
