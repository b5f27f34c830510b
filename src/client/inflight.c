/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <string.h>

#include "inflight.h"

struct inflight_slot *inflight_add(struct inflight *in, struct message *m, uint8_t qos)
{
        struct inflight_slot *slot;

        assert(in->n < MQTT_SESSION_INFLIGHT_MAX);
        slot = &in->slots[in->n++];
        *slot = (struct inflight_slot){ .message = m, .qos = qos };
        return slot;
}

struct inflight_slot *inflight_find(struct inflight *in, int mid)
{
        for (size_t i = 0; i < in->n; i++) {
                if (in->slots[i].mid == mid)
                        return &in->slots[i];
        }
        return NULL;
}

struct message *inflight_remove(struct inflight *in, struct inflight_slot *slot)
{
        struct message *m = slot->message;

        in->n--;
        memmove(slot, slot + 1, (size_t)(in->slots + in->n - slot) * sizeof(*slot));
        return m;
}
