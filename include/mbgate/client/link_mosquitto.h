/* SPDX-License-Identifier: MIT */
/*
 * A link to an external broker: one thread that runs libmosquitto as a foreign loop, with its own deadlines
 * for TCP, TLS, CONNACK and SUBACK, its own back-off with jitter, and a bounded queue in front. See
 * model/link.h for its life.
 *
 * Topics of messages and filters are taken as they are: who publishes puts the prefix in front; of the will
 * the link does it, since it knows the prefix. QoS and retain are held to what the link's configuration and
 * the broker allow. A message whose expiry passes in the queue is dropped. Delivery is at least once (QoS 2
 * in a kept session: exactly once). link_publish() returns −ENOBUFS only when the thread is held up by the
 * resolver for so long that its mailbox is full; what the queue behind it drops is counted in n_dropped.
 */
#ifndef MBGATE_CLIENT_LINK_MOSQUITTO_H
#define MBGATE_CLIENT_LINK_MOSQUITTO_H

#include "mbgate/base/thread.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/link.h"

struct link_mosquitto_init {
        struct conf *conf;    /* a reference is taken */
        uint32_t link;        /* index in conf->links */
        struct message *will; /* or NULL; published by the broker when we vanish, topics before the prefix */
        link_event_fn on_event;
        void *user;
};

/* −ENOMEM, −errno. */
MUST_CHECK int link_mosquitto_new(struct loop *loop, const struct link_mosquitto_init *init,
                                  struct link **ret_link);

/* For the watchdog; valid until link_free(). A link that is away keeps its promises too. */
struct heartbeat *link_mosquitto_heartbeat(struct link *l);

/*
 * mosquitto_lib_init() and _cleanup(): once each, on the main thread, around all links. The latter does
 * nothing when a thread had to be left behind in the resolver: its memory goes with the process.
 */
MUST_CHECK int link_mosquitto_global_init(void);
void link_mosquitto_global_done(void);

#endif
