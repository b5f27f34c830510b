/* SPDX-License-Identifier: MIT */
/*
 * A link to an external broker: one thread that runs libmosquitto as a foreign loop, with its own deadlines
 * for TCP, TLS and CONNACK, its own back-off with jitter, and a bounded queue in front. See model/link.h for
 * its life.
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

/* For the watchdog. */
struct heartbeat *link_mosquitto_heartbeat(struct link *l);

/* mosquitto_lib_init() and _cleanup(): once each, on the main thread, around all links. */
MUST_CHECK int link_mosquitto_global_init(void);
void link_mosquitto_global_done(void);

#endif
