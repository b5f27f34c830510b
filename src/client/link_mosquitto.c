/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "link_core.h"
#include "link_thread.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/client/link_mosquitto.h"
#include "mbgate/codec/topic.h"
#include "mqtt_session.h"

/* Events handled in one turn of the loop. */
#define LINK_EVENTS_A_TURN     64
#define LINK_THREAD_NAME_BYTES 64
/* How long after its deadline a stop waits for a thread that is inside the resolver. */
#define LINK_STOP_GRACE_US UINT64_C(250000)
/* A queue that fills and empties all the time: lines about that are at least this far apart. */
#define LINK_DROPS_QUIET_US (60 * USEC_PER_SEC)

enum link_life {
        LINK_LIFE_NEW,
        LINK_LIFE_RUNNING,
        LINK_LIFE_STOPPING,
        LINK_LIFE_STOPPED,
};

struct link_mosquitto {
        struct link link;
        struct link_core *core;
        struct loop_io *io;
        struct loop_timer *stop_timer;
        enum link_life life;
        bool has_thread;
        bool has_heard_last; /* LINK_STOPPED came from the thread: it returns at once */
        pthread_t thread;
        bool is_online;
        uint64_t n_published;
        uint64_t n_refused;     /* by our own mailbox */
        uint64_t n_told;        /* drops that the log has said */
        bool is_dropping;       /* it has been said that messages are dropped */
        uint64_t drops_said_us; /* the last line about it; 0: none */
};

/* Threads that were left behind in the resolver: libmosquitto's globals must outlive them. */
static unsigned link_n_left_behind;

static struct link_mosquitto *link_of(struct link *l)
{
        return CONTAINER_OF(l, struct link_mosquitto, link);
}

static const struct link_mosquitto *link_of_const(const struct link *l)
{
        return (const struct link_mosquitto *)(const void *)l;
}

/* The last thing that is said: `l` may be freed by whoever hears it. */
static void link_say_stopped(struct link_mosquitto *l)
{
        struct link_event event = { .kind = LINK_STOPPED, .reason = "" };

        l->life = LINK_LIFE_STOPPED;
        l->is_online = false;
        l->io = loop_io_free(l->io);
        l->stop_timer = loop_timer_free(l->stop_timer);
        l->link.on_event(l->link.user, &l->link, &event);
}

/* True: `l` may be gone. */
static bool link_handle_mail(struct link_mosquitto *l, const struct link_event_mail *mail)
{
        struct link_event event = {
                .kind = (enum link_event_kind)mail->mail.kind,
                .message = mail->message,
                .was_retained = mail->was_retained,
                .reason = mail->reason,
        };

        switch (event.kind) {
        case LINK_STOPPED:
                l->has_heard_last = true;
                link_say_stopped(l);
                return true;
        case LINK_ONLINE: l->is_online = true; break;
        case LINK_AWAY: l->is_online = false; break;
        case LINK_MESSAGE:
        case LINK_ROOM:
        case LINK_LOST: break;
        }
        l->link.on_event(l->link.user, &l->link, &event);
        return false;
}

static void link_on_io(void *user, int fd, uint32_t events)
{
        struct link_mosquitto *l = user;
        /* The mails point to the core, which a callback may let go of. */
        CLEANUP(link_core_unrefp)
        struct link_core *core = link_core_ref(l->core);

        (void)fd;
        (void)events;
        for (unsigned n = 0; n < LINK_EVENTS_A_TURN; n++) {
                CLEANUP(mail_freep)
                struct mail *mail = mailbox_take(core->events);

                if (!mail || link_handle_mail(l, CONTAINER_OF(mail, struct link_event_mail, mail)))
                        return;
        }
}

static void link_on_stop_timer(void *user, uint64_t now_us)
{
        struct link_mosquitto *l = user;
        struct log_fields fields = { .link = l->link.name };

        (void)now_us;
        if (l->has_thread && !atomic_load(&l->core->is_finished))
                log_warn(&fields, "link %s: its thread still waits for the resolver and is left behind",
                         l->link.name);
        link_say_stopped(l);
}

static int link_op_start(struct link *link)
{
        struct link_mosquitto *l = link_of(link);
        char name[LINK_THREAD_NAME_BYTES];
        int r;

        if (l->life != LINK_LIFE_NEW)
                return -EALREADY;
        if (l->core->conf->tls.on)
                mqtt_session_prepare_tls();
        (void)snprintf(name, sizeof(name), "link %s", link->name);
        r = thread_start(&l->thread, name, link_thread_main, link_core_ref(l->core));
        if (r < 0) {
                link_core_unref(l->core);
                return r;
        }
        l->has_thread = true;
        l->life = LINK_LIFE_RUNNING;
        return 0;
}

static uint64_t link_n_dropped(const struct link_mosquitto *l)
{
        return atomic_load(&l->core->n_dropped) + l->n_refused;
}

/* Says when the queue begins to lose messages, and how many it were once it has room again. */
static void link_watch_drops(struct link_mosquitto *l)
{
        uint64_t n = atomic_load(&l->core->n_overflowed) + l->n_refused, now_us;
        struct log_fields fields = { .link = l->link.name };

        if (n == l->n_told && !l->is_dropping)
                return;
        now_us = clock_monotonic_us();
        if (l->drops_said_us > 0 && now_us < l->drops_said_us + LINK_DROPS_QUIET_US)
                return;
        if (!l->is_dropping)
                log_warn(&fields,
                         "link %s: its queue is full: the oldest messages are dropped, %" PRIu64
                         " so far (queue_messages, queue_bytes)",
                         l->link.name, n - l->n_told);
        else if (atomic_load(&l->core->n_waiting) == 0)
                log_info(&fields, "link %s: its queue is empty again; %" PRIu64 " message(s) were dropped",
                         l->link.name, n - l->n_told);
        else
                return;
        l->drops_said_us = now_us;
        l->is_dropping = !l->is_dropping;
        if (!l->is_dropping)
                l->n_told = n;
}

static int link_op_publish(struct link *link, struct message *m)
{
        struct link_mosquitto *l = link_of(link);
        int r;

        if (l->life > LINK_LIFE_RUNNING)
                return -ESHUTDOWN;
        l->n_published++;
        r = link_core_post_publish(l->core, m);
        if (r < 0)
                l->n_refused++;
        link_watch_drops(l);
        return r;
}

/* Asked again after the wish is known: the thread may have made the room in between. */
static bool link_op_has_room(struct link *link)
{
        struct link_core *core = link_of(link)->core;

        if (link_core_has_room(core))
                return true;
        atomic_store(&core->wants_room, true);
        return link_core_has_room(core);
}

static int link_op_subscribe(struct link *link, const char *filter, uint8_t qos)
{
        struct link_mosquitto *l = link_of(link);

        if (!topic_is_filter(filter, strlen(filter)) || qos > 2)
                return -EINVAL;
        if (l->life > LINK_LIFE_RUNNING)
                return -ESHUTDOWN;
        return link_core_post_order(l->core, LINK_ORDER_SUBSCRIBE, filter, qos);
}

static int link_op_unsubscribe(struct link *link, const char *filter)
{
        struct link_mosquitto *l = link_of(link);

        if (!topic_is_filter(filter, strlen(filter)))
                return -EINVAL;
        if (l->life > LINK_LIFE_RUNNING)
                return -ESHUTDOWN;
        return link_core_post_order(l->core, LINK_ORDER_UNSUBSCRIBE, filter, 0);
}

static void link_op_stop(struct link *link, uint64_t deadline_us)
{
        struct link_mosquitto *l = link_of(link);

        if (l->life > LINK_LIFE_RUNNING)
                return;
        if (l->life == LINK_LIFE_RUNNING) {
                link_core_post_stop(l->core, deadline_us);
                loop_timer_set(l->stop_timer, deadline_us + LINK_STOP_GRACE_US);
        } else {
                loop_timer_set(l->stop_timer, 0);
        }
        l->life = LINK_LIFE_STOPPING;
}

static void link_op_stats(const struct link *link, struct link_stats *ret)
{
        const struct link_mosquitto *l = link_of_const(link);
        struct link_core *core = l->core;

        *ret = (struct link_stats){
                .n_published = l->n_published,
                .n_sent = atomic_load(&core->n_sent),
                .n_dropped = link_n_dropped(l),
                .n_received = atomic_load(&core->n_received),
                .n_connects = atomic_load(&core->n_connects),
                .n_queued = atomic_load(&core->n_waiting),
                .is_online = l->is_online,
        };
}

/* A thread that has said its last word returns at once; one inside the resolver is not waited for. */
static void link_leave_thread(struct link_mosquitto *l)
{
        if (l->has_heard_last || atomic_load(&l->core->is_finished)) {
                (void)pthread_join(l->thread, NULL);
                return;
        }
        (void)pthread_detach(l->thread);
        link_n_left_behind++;
}

static void link_op_free(struct link *link)
{
        struct link_mosquitto *l = link_of(link);

        assert(l->life == LINK_LIFE_NEW || l->life == LINK_LIFE_STOPPED);
        loop_io_free(l->io);
        loop_timer_free(l->stop_timer);
        if (l->has_thread)
                link_leave_thread(l);
        link_core_unref(l->core);
        free(l);
}

static const struct link_ops link_mosquitto_ops = {
        .start = link_op_start,
        .publish = link_op_publish,
        .has_room = link_op_has_room,
        .subscribe = link_op_subscribe,
        .unsubscribe = link_op_unsubscribe,
        .stop = link_op_stop,
        .stats = link_op_stats,
        .free = link_op_free,
};

static int link_open(struct link_mosquitto *l, struct loop *loop, const struct link_mosquitto_init *init)
{
        int r;

        r = link_core_new(init->conf, init->link, init->will, &l->core);
        if (r < 0)
                return r;
        l->link.name = l->core->conf->name;
        r = loop_add_io(loop, mailbox_fd(l->core->events), EPOLLIN, link_on_io, l, &l->io);
        if (r < 0)
                return r;
        return loop_add_timer(loop, link_on_stop_timer, l, &l->stop_timer);
}

int link_mosquitto_new(struct loop *loop, const struct link_mosquitto_init *init, struct link **ret_link)
{
        struct link_mosquitto *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->link = (struct link){ .ops = &link_mosquitto_ops, .on_event = init->on_event, .user = init->user };
        r = link_open(l, loop, init);
        if (r < 0) {
                link_op_free(&l->link);
                return r;
        }
        *ret_link = &l->link;
        return 0;
}

struct heartbeat *link_mosquitto_heartbeat(struct link *l)
{
        return &link_of(l)->core->heartbeat;
}

int link_mosquitto_global_init(void)
{
        return mqtt_session_global_init();
}

void link_mosquitto_global_done(void)
{
        if (link_n_left_behind == 0)
                mqtt_session_global_done();
}
