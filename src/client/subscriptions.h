/* SPDX-License-Identifier: MIT */
/* The topic filters of a link and how far each of them got with the broker. Owned by the link's thread. */
#ifndef MBGATE_CLIENT_SUBSCRIPTIONS_H
#define MBGATE_CLIENT_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

struct subscription {
        char *filter;
        uint8_t qos;
        bool is_gone; /* unsubscribed while away: a kept session has to be told */
        int mid;      /* of the SUBSCRIBE that waits for its answer; 0: none */
};

struct subscriptions {
        struct subscription *list;
        size_t n, n_allocated;
        size_t n_waiting; /* for a SUBACK */
};

/* An empty list is all zero. */
void link_subscriptions_done(struct subscriptions *subs);

/* Adds a filter or changes its QoS; *ret is valid until the next call. −ENOMEM. */
MUST_CHECK int link_subscriptions_add(struct subscriptions *subs, const char *filter, uint8_t qos,
                                      struct subscription **ret);

/* Forgets a filter, or, with `keep`, marks it as gone. */
void link_subscriptions_remove(struct subscriptions *subs, const char *filter, bool keep);

/* Forgets those that are gone. */
void link_subscriptions_purge(struct subscriptions *subs);

/* The connection ended: nothing waits any more. */
void link_subscriptions_reset(struct subscriptions *subs);

void link_subscriptions_sent(struct subscriptions *subs, struct subscription *sub, int mid);

/* The next filter of packet `mid` has its answer: returns it, or NULL when there is none. */
const struct subscription *link_subscriptions_answered(struct subscriptions *subs, int mid);

#endif
