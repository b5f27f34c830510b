/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/model/message.h"

/* Copies n bytes and a NUL to *at, advances it, and returns where they stand. */
static char *message_place(char **at, const void *bytes, size_t n)
{
        char *placed = *at;

        if (n > 0)
                memcpy(placed, bytes, n);
        placed[n] = '\0';
        *at += n + 1;
        return placed;
}

int message_new(const struct message_init *init, struct message **ret)
{
        size_t topic_bytes = init->topic_bytes > 0 ? init->topic_bytes : strlen(init->topic);
        size_t response_bytes = init->response_topic ? strlen(init->response_topic) : 0;
        struct message *m;
        char *at;

        m = malloc(sizeof(*m) + topic_bytes + init->payload_bytes + response_bytes + init->correlation_bytes +
                   init->properties_bytes + 5);
        if (!m)
                return -ENOMEM;
        at = (char *)(m + 1);
        *m = (struct message){
                .qos = init->qos,
                .retain = init->retain,
                .is_live = init->is_live,
                .expiry_s = init->expiry_s,
                .made_us = init->made_us,
                .topic_bytes = topic_bytes,
                .payload_bytes = init->payload_bytes,
                .correlation_bytes = init->correlation_bytes,
                .properties_bytes = init->properties_bytes,
        };
        atomic_init(&m->n_refs, 1);
        m->topic = message_place(&at, init->topic, topic_bytes);
        m->payload = message_place(&at, init->payload, init->payload_bytes);
        if (init->response_topic)
                m->response_topic = message_place(&at, init->response_topic, response_bytes);
        if (init->correlation)
                m->correlation = message_place(&at, init->correlation, init->correlation_bytes);
        if (init->properties_bytes > 0)
                m->properties = (const uint8_t *)message_place(&at, init->properties, init->properties_bytes);
        *ret = m;
        return 0;
}

struct message *message_ref(struct message *m)
{
        atomic_fetch_add_explicit(&m->n_refs, 1, memory_order_relaxed);
        return m;
}

struct message *message_unref(struct message *m)
{
        if (m && atomic_fetch_sub_explicit(&m->n_refs, 1, memory_order_acq_rel) == 1)
                free(m);
        return NULL;
}
