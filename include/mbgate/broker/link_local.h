/* SPDX-License-Identifier: MIT */
/*
 * The gateway's link to the embedded broker, in the same process: what it publishes goes straight to the
 * subscribers, without a socket and without a copy of the payload; what clients publish for it is handed over
 * from the loop, never from within a call. It is online from its start to its stop. ACL files do not bind it.
 *
 *   publish ──► router                        router ──► queue ──(next turn of the loop)──► on_event
 *
 * Topics and filters are taken as they are: who publishes puts the prefix in front. It has no will: when it
 * vanishes, so does the broker.
 */
#ifndef MBGATE_BROKER_LINK_LOCAL_H
#define MBGATE_BROKER_LINK_LOCAL_H

#include "mbgate/broker/broker.h"
#include "mbgate/model/link.h"

/* Messages for the gateway that may wait for the next turn of the loop; more are dropped and counted. */
#define LINK_LOCAL_EVENTS_MAX       1024
#define LINK_LOCAL_EVENTS_MAX_BYTES ((size_t)8 * 1024 * 1024)

/* Its name, for topics and the log. */
#define LINK_LOCAL_NAME "broker"

struct link_local_init {
        struct broker *broker; /* outlives the link */
        link_event_fn on_event;
        void *user;
};

/* −ENOMEM, −errno. */
MUST_CHECK int link_local_new(const struct link_local_init *init, struct link **ret_link);

#endif
