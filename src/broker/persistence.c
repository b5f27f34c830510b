/* SPDX-License-Identifier: MIT */
/* Placeholder while src/store is being built: nothing outlives the program. */
#include <stdlib.h>

#include "broker_private.h"

int persistence_new(struct broker *b, persistence_committed_fn fn, void *user, struct persistence **r)
{
        (void)b;
        (void)fn;
        (void)user;
        *r = NULL;
        return 0;
}
struct persistence *persistence_free(struct persistence *p)
{
        (void)p;
        return NULL;
}
bool persistence_has(const struct persistence *p, uint64_t n)
{
        (void)p;
        (void)n;
        return true;
}
uint64_t persistence_last(const struct persistence *p)
{
        (void)p;
        return 0;
}
bool persistence_is_late(struct persistence *p, uint64_t n)
{
        (void)p;
        (void)n;
        return false;
}
uint64_t persistence_retain(struct persistence *p, struct message *m)
{
        (void)p;
        (void)m;
        return 0;
}
void persistence_session(struct persistence *p, struct session *s)
{
        (void)p;
        (void)s;
}
void persistence_session_end(struct persistence *p, struct session *s)
{
        (void)p;
        (void)s;
}
void persistence_subscribe(struct persistence *p, struct session *s, struct mqtt_bytes f,
                           const struct subscription_options *o)
{
        (void)p;
        (void)s;
        (void)f;
        (void)o;
}
void persistence_unsubscribe(struct persistence *p, struct session *s, struct mqtt_bytes f)
{
        (void)p;
        (void)s;
        (void)f;
}
uint64_t persistence_queued(struct persistence *p, struct session *s, const struct queue_message *m,
                            uint64_t n)
{
        (void)p;
        (void)s;
        (void)m;
        (void)n;
        return 0;
}
uint64_t persistence_sent(struct persistence *p, struct session *s, uint64_t n, uint16_t id)
{
        (void)p;
        (void)s;
        (void)n;
        (void)id;
        return 0;
}
uint64_t persistence_pubrec(struct persistence *p, struct session *s, uint64_t n)
{
        (void)p;
        (void)s;
        (void)n;
        return 0;
}
uint64_t persistence_acked(struct persistence *p, struct session *s, uint64_t n)
{
        (void)p;
        (void)s;
        (void)n;
        return 0;
}
uint64_t persistence_received(struct persistence *p, struct session *s, uint16_t n)
{
        (void)p;
        (void)s;
        (void)n;
        return 0;
}
uint64_t persistence_released(struct persistence *p, struct session *s, uint16_t n)
{
        (void)p;
        (void)s;
        (void)n;
        return 0;
}
void persistence_stats(const struct persistence *p, uint64_t *a, uint64_t *b)
{
        (void)p;
        *a = *b = 0;
}
