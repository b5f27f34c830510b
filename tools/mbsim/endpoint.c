/* SPDX-License-Identifier: MIT */
#include "endpoint.h"
#include "simclock.h"

struct endpoint *endpoint_free(struct endpoint *e)
{
        if (e)
                e->ops->free(e);
        return NULL;
}

void endpoint_hangup(struct endpoint *e, uint64_t now_ns, uint64_t duration_ns)
{
        if (e->back_ns == LINE_NEVER) {
                e->bus->stats.n_hangups++;
                framelog_event(e->bus->log, e->bus->name, now_ns, "hangs up");
        }
        e->ops->hangup(e, now_ns + duration_ns);
}
