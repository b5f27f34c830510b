/* SPDX-License-Identifier: MIT */
/*
 * An MQTT application message: immutable once made, reference-counted, shared by every link that carries it.
 * Any thread may hold a reference; the count is atomic, the rest is read only.
 */
#ifndef MBGATE_MODEL_MESSAGE_H
#define MBGATE_MODEL_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

struct message {
        atomic_uint n_refs;
        uint8_t qos; /* 0..2 */
        bool retain;
        bool is_live;      /* worth nothing once a newer one of its topic exists (a queue may drop it then) */
        uint32_t expiry_s; /* MQTT 5 message expiry; 0: never */
        uint64_t made_us;  /* monotonic */
        const char *topic; /* terminated */
        size_t topic_bytes;
        const void *payload; /* terminated too, for convenience */
        size_t payload_bytes;
        const char *response_topic; /* or NULL */
        const void *correlation;    /* or NULL */
        size_t correlation_bytes;
        const uint8_t
                *properties; /* encoded MQTT 5.0 properties that are passed through (§3.3.2.3), or NULL */
        size_t properties_bytes;
        /* the bytes follow in the same allocation */
};

struct message_init {
        const char *topic;
        size_t topic_bytes; /* 0: it is terminated */
        const void *payload;
        size_t payload_bytes;
        uint8_t qos;
        bool retain;
        bool is_live;
        uint32_t expiry_s;
        uint64_t made_us;
        const char *response_topic;
        const void *correlation;
        size_t correlation_bytes;
        const uint8_t *properties;
        size_t properties_bytes;
};

/* Copies everything; one reference. −ENOMEM. */
MUST_CHECK int message_new(const struct message_init *init, struct message **ret);
struct message *message_ref(struct message *m);

/* Takes NULL, returns NULL. */
struct message *message_unref(struct message *m);
DEFINE_CLEANUP(struct message *, message_unref)

#endif
