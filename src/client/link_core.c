/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link_core.h"
#include "spool.h"

/* A copy of `will` whose topic begins with `prefix`. */
static int link_core_prefix_will(const struct message *will, const char *prefix, struct message **ret)
{
        CLEANUP(cleanup_free)
        char *topic = NULL;
        struct message_init init;

        if (asprintf(&topic, "%s%s", prefix, will->topic) < 0)
                return -ENOMEM;
        init = (struct message_init){
                .topic = topic,
                .payload = will->payload,
                .payload_bytes = will->payload_bytes,
                .qos = will->qos,
                .retain = will->retain,
                .made_us = will->made_us,
        };
        return message_new(&init, ret);
}

static int link_core_open(struct link_core *core, const struct message *will)
{
        int r;

        /* Bounded by link_core_post_publish(). */
        r = mailbox_new(SIZE_MAX, &core->publishes);
        if (r < 0)
                return r;
        r = mailbox_new(LINK_ORDERS_MAX, &core->orders);
        if (r < 0)
                return r;
        /* One more than is ever asked for, kept for LINK_STOPPED. */
        r = mailbox_new(LINK_EVENTS_MAX + LINK_STATES_MAX + 1, &core->events);
        if (r < 0)
                return r;
        core->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (core->wake_fd < 0)
                return -errno;
        return will ? link_core_prefix_will(will, core->conf->prefix, &core->will) : 0;
}

int link_core_new(struct conf *conf, uint32_t link, const struct message *will, struct link_core **ret_core)
{
        CLEANUP(link_core_unrefp)
        struct link_core *core = calloc(1, sizeof(*core));
        int r;

        if (!core)
                return -ENOMEM;
        atomic_init(&core->n_refs, 1);
        core->wake_fd = -1;
        core->conf_owner = conf_ref(conf);
        core->conf = &core->conf_owner->links[link];
        r = link_core_open(core, will);
        if (r < 0)
                return r;
        *ret_core = TAKE(core);
        return 0;
}

struct link_core *link_core_ref(struct link_core *core)
{
        (void)atomic_fetch_add_explicit(&core->n_refs, 1, memory_order_relaxed);
        return core;
}

struct link_core *link_core_unref(struct link_core *core)
{
        if (!core || atomic_fetch_sub_explicit(&core->n_refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        mailbox_free(core->publishes);
        mailbox_free(core->orders);
        mailbox_free(core->events);
        if (core->wake_fd >= 0)
                (void)close(core->wake_fd);
        message_unref(core->will);
        conf_unref(core->conf_owner);
        free(core);
        return NULL;
}

static void link_publish_mail_free(struct mail *mail)
{
        struct link_publish_mail *p = CONTAINER_OF(mail, struct link_publish_mail, mail);

        struct link_core *core = p->core;

        (void)atomic_fetch_sub(&core->n_publishes, 1);
        if (!p->message->is_live)
                (void)atomic_fetch_sub(&core->n_publish_events, 1);
        (void)atomic_fetch_sub(&core->publish_bytes, spool_message_bytes(p->message));
        message_unref(p->message);
        free(p);
}

/* Only the main thread adds, so the answer holds until it does. */
static bool link_core_takes(const struct link_core *core, const struct message *m, size_t n_bytes)
{
        if (atomic_load(&core->publish_bytes) + n_bytes > core->conf->queue_bytes)
                return false;
        return m->is_live ||
               atomic_load(&core->n_publish_events) < MBGATE_MAX(core->conf->queue_messages, 1U);
}

int link_core_post_publish(struct link_core *core, struct message *m)
{
        size_t n_bytes = spool_message_bytes(m);
        struct link_publish_mail *p;
        int r;

        if (n_bytes > core->conf->queue_bytes)
                return -EMSGSIZE;
        if (!link_core_takes(core, m, n_bytes))
                return -ENOBUFS;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->mail.free = link_publish_mail_free;
        p->core = core;
        p->message = message_ref(m);
        (void)atomic_fetch_add(&core->n_publishes, 1);
        if (!m->is_live)
                (void)atomic_fetch_add(&core->n_publish_events, 1);
        (void)atomic_fetch_add(&core->publish_bytes, n_bytes);
        r = mailbox_post(core->publishes, &p->mail);
        if (r < 0)
                link_publish_mail_free(&p->mail);
        return r;
}

/* Whether at most one part in `parts` of the queue is taken; an empty one always is. */
static bool link_core_is_below(const struct link_core *core, unsigned parts)
{
        uint64_t n = atomic_load(&core->n_publishes) + atomic_load(&core->n_waiting);
        uint64_t n_bytes = atomic_load(&core->publish_bytes) + atomic_load(&core->waiting_bytes);

        return n == 0 ||
               (n < core->conf->queue_messages / parts && n_bytes < core->conf->queue_bytes / parts);
}

bool link_core_has_room(const struct link_core *core)
{
        return link_core_is_below(core, 2);
}

bool link_core_take_wish(struct link_core *core, bool has_lost)
{
        if (!(has_lost || atomic_load(&core->wants_room)) || !link_core_is_below(core, 4))
                return false;
        return atomic_exchange(&core->wants_room, false) || has_lost;
}

static void link_order_mail_free(struct mail *mail)
{
        free(CONTAINER_OF(mail, struct link_order_mail, mail));
}

int link_core_post_order(struct link_core *core, enum link_order_kind kind, const char *filter, uint8_t qos)
{
        size_t n_bytes = strlen(filter) + 1;
        struct link_order_mail *o = calloc(1, sizeof(*o) + n_bytes);
        int r;

        if (!o)
                return -ENOMEM;
        o->mail.kind = kind;
        o->mail.free = link_order_mail_free;
        o->qos = qos;
        memcpy(o->filter, filter, n_bytes);
        r = mailbox_post(core->orders, &o->mail);
        if (r < 0)
                free(o);
        return r;
}

void link_core_post_stop(struct link_core *core, uint64_t deadline_us)
{
        ssize_t n;

        atomic_store(&core->stop_deadline_us, MBGATE_MAX(deadline_us, 1));
        n = write(core->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
        (void)n; /* fails only when the counter overflows, and then the thread is awake */
}

static size_t link_event_bytes(const struct message *m)
{
        return m ? sizeof(*m) + m->topic_bytes + m->payload_bytes + m->correlation_bytes : 0;
}

static void link_event_mail_free(struct mail *mail)
{
        struct link_event_mail *e = CONTAINER_OF(mail, struct link_event_mail, mail);

        (void)atomic_fetch_sub(&e->core->n_events, 1);
        (void)atomic_fetch_sub(&e->core->event_bytes, link_event_bytes(e->message));
        message_unref(e->message);
        free(e);
}

/* Whether there is room for one more. Only the link's thread adds, so the answer holds until it does. */
static bool link_core_takes_event(struct link_core *core, enum link_event_kind kind, const struct message *m)
{
        size_t n_events = atomic_load(&core->n_events);

        switch (kind) {
        case LINK_MESSAGE:
                return n_events < LINK_EVENTS_MAX &&
                       atomic_load(&core->event_bytes) + link_event_bytes(m) <= LINK_EVENTS_MAX_BYTES;
        case LINK_ONLINE:
        case LINK_AWAY:
        case LINK_ROOM:
        case LINK_LOST: return n_events < LINK_EVENTS_MAX + LINK_STATES_MAX;
        case LINK_STOPPED: break;
        }
        return true;
}

int link_core_post_event(struct link_core *core, enum link_event_kind kind, struct message *m,
                         bool was_retained, const char *reason)
{
        struct link_event_mail *e;
        int r;

        if (!link_core_takes_event(core, kind, m))
                return -ENOBUFS;
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->mail.kind = (uint32_t)kind;
        e->mail.free = link_event_mail_free;
        e->core = core;
        e->message = m ? message_ref(m) : NULL;
        e->was_retained = was_retained;
        (void)snprintf(e->reason, sizeof(e->reason), "%s", reason ? reason : "");
        (void)atomic_fetch_add(&core->n_events, 1);
        (void)atomic_fetch_add(&core->event_bytes, link_event_bytes(m));
        r = mailbox_post(core->events, &e->mail);
        if (r < 0)
                link_event_mail_free(&e->mail);
        return r;
}
