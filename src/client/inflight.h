/* SPDX-License-Identifier: MIT */
/* The messages that libmosquitto holds, in the order in which it got them. Owned by the link's thread. */
#ifndef MBGATE_CLIENT_INFLIGHT_H
#define MBGATE_CLIENT_INFLIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/model/message.h"
#include "mqtt_session.h"

struct inflight_slot {
        struct message *message; /* a reference */
        int mid;
        uint8_t qos; /* as it was sent */
};

struct inflight {
        struct inflight_slot slots[MQTT_SESSION_INFLIGHT_MAX];
        size_t n;
};

/* The next free slot, taken; the message's reference moves in. There must be one. */
struct inflight_slot *inflight_add(struct inflight *in, struct message *m, uint8_t qos);

/* The slot of a packet identifier, or NULL. */
struct inflight_slot *inflight_find(struct inflight *in, int mid);

/* Takes a message out; its reference is the caller's. */
struct message *inflight_remove(struct inflight *in, struct inflight_slot *slot);

#endif
