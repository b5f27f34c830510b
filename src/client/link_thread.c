/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "connector.h"
#include "inflight.h"
#include "link_core.h"
#include "link_thread.h"
#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/base/text.h"
#include "mqtt_session.h"
#include "reason.h"
#include "spool.h"
#include "subscriptions.h"
#include "targets.h"

/* The thread is seen at least this often, but for DNS and certificate files. */
#define THREAD_SLEEP_MAX_US   UINT64_C(10000000)
#define THREAD_PROMISE_US     UINT64_C(30000000)
#define THREAD_PROMISE_DNS_US UINT64_C(120000000)
/* An event that found no room is offered again after this. */
#define THREAD_RETRY_US UINT64_C(20000)
/* Messages of one turn, so that the socket gets its turn too. */
#define THREAD_TAKE_MAX    4096
#define THREAD_PUBLISH_MAX 256
/* Refused topics that are remembered, so that each is told once. */
#define THREAD_POISON_TOPICS 32

struct link_thread {
        struct link_core *core;
        const struct conf_link *conf;
        struct log_fields fields;
        struct spool *spool;
        struct connector connector;
        struct targets targets;
        struct mqtt_session *session; /* or NULL */
        struct subscriptions subs;
        struct inflight inflight;
        bool has_state;             /* an event that the main thread has not got yet */
        enum link_event_kind state; /* LINK_ONLINE or LINK_AWAY */
        char state_reason[LINK_REASON_BYTES];
        bool has_dropped_events;
        bool has_room;             /* LINK_ROOM is to be told */
        bool has_lost;             /* LINK_LOST is, once there is room */
        uint64_t stop_deadline_us; /* 0: not stopping */
        bool is_leaving;           /* DISCONNECT is on its way */
        bool is_done;
        bool has_more;                         /* this turn did not finish its work */
        uint32_t poison[THREAD_POISON_TOPICS]; /* hashes of topics; 0: free */
        size_t next_poison;
};

/* Events for the main thread. */

static void thread_offer_state(struct link_thread *t)
{
        if (t->has_state && link_core_post_event(t->core, t->state, NULL, false, t->state_reason) == 0)
                t->has_state = false;
}

static void thread_set_state(struct link_thread *t, enum link_event_kind state, const char *reason)
{
        t->has_state = true;
        t->state = state;
        (void)snprintf(t->state_reason, sizeof(t->state_reason), "%.*s", LINK_REASON_BYTES - 1, reason);
        thread_offer_state(t);
}

/* Tells that there is room again, to who waits for it or has to send everything again. */
static void thread_offer_room(struct link_thread *t)
{
        t->has_lost |= spool_take_lost(t->spool);
        t->has_room |= link_core_take_wish(t->core, t->has_lost);
        if (t->has_room &&
            link_core_post_event(t->core, t->has_lost ? LINK_LOST : LINK_ROOM, NULL, false, NULL) == 0)
                t->has_room = t->has_lost = false;
}

static void thread_on_message(void *user, const struct message_init *init)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct link_thread *t = user;
        int r;

        link_core_count(&t->core->n_received, 1);
        r = message_new(init, &m);
        if (r == 0)
                r = link_core_post_event(t->core, LINK_MESSAGE, m, init->retain, NULL);
        if (r == 0) {
                t->has_dropped_events = false;
                return;
        }
        link_core_count(&t->core->n_dropped, 1);
        log_at(t->has_dropped_events ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, &t->fields,
               "link %s: received messages are dropped: %s", t->conf->name,
               r == -ENOBUFS ? "too many wait to be handled" : strerrordesc_np(-r));
        t->has_dropped_events = true;
}

/* Messages to the broker. */

static void thread_count_waiting(struct link_thread *t)
{
        atomic_store(&t->core->n_waiting, spool_n_messages(t->spool) + t->inflight.n);
        atomic_store(&t->core->waiting_bytes, spool_n_bytes(t->spool));
}

/* Whether this topic was refused before; remembers it. */
static bool thread_is_known_poison(struct link_thread *t, const struct message *m)
{
        uint32_t hash = text_hash(m->topic, m->topic_bytes) | 1;

        for (size_t i = 0; i < THREAD_POISON_TOPICS; i++) {
                if (t->poison[i] == hash)
                        return true;
        }
        t->poison[t->next_poison] = hash;
        t->next_poison = (t->next_poison + 1) % THREAD_POISON_TOPICS;
        return false;
}

static void thread_poison(struct link_thread *t, const struct message *m, const char *reason)
{
        enum log_level level = thread_is_known_poison(t, m) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING;

        link_core_count(&t->core->n_dropped, 1);
        log_at(level, &t->fields, "link %s: a message on %s was refused for good and is dropped: %s",
               t->conf->name, m->topic, reason);
}

static void thread_on_done(void *user, int mid, unsigned reason)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct link_thread *t = user;
        struct inflight_slot *slot = inflight_find(&t->inflight, mid);

        if (!slot)
                return;
        m = inflight_remove(&t->inflight, slot);
        if (reason >= 0x80)
                thread_poison(t, m, reason_text(reason));
        else
                link_core_count(&t->core->n_sent, 1);
}

static void thread_on_suback(void *user, int mid, const int *codes, size_t n_codes)
{
        struct link_thread *t = user;

        for (size_t i = 0; i < n_codes; i++) {
                const struct subscription *sub = link_subscriptions_answered(&t->subs, mid);

                if (!sub)
                        return;
                if (codes[i] >= 0x80)
                        log_warn(&t->fields, "link %s: the broker refuses the subscription %s: %s",
                                 t->conf->name, sub->filter,
                                 codes[i] == 0x80 ? "no reason given" : reason_text((unsigned)codes[i]));
        }
}

static const struct mqtt_session_handler thread_handler = {
        .on_message = thread_on_message,
        .on_done = thread_on_done,
        .on_suback = thread_on_suback,
};

/* What is left of a message's expiry: 0: none; UINT32_MAX: it has passed. */
static uint32_t thread_expiry_s(const struct message *m, uint64_t now_us)
{
        uint64_t age_s = m->made_us > 0 && now_us > m->made_us ? (now_us - m->made_us) / USEC_PER_SEC : 0;

        if (m->expiry_s == 0)
                return 0;
        return age_s >= m->expiry_s ? UINT32_MAX : m->expiry_s - (uint32_t)age_s;
}

/* Puts messages that were not acknowledged back in front, oldest first. */
static void thread_refill(struct link_thread *t, bool with_qos)
{
        for (size_t i = t->inflight.n; i > 0; i--) {
                CLEANUP(message_unrefp)
                struct message *m = NULL;
                struct inflight_slot *slot = &t->inflight.slots[i - 1];

                if (slot->qos > 0 && !with_qos)
                        continue;
                m = inflight_remove(&t->inflight, slot);
                if (spool_push_front(t->spool, m) == 0)
                        continue;
                link_core_count(&t->core->n_dropped, 1);
                t->has_lost |= m->is_live;
        }
}

/*
 * Ends the connection. A clean session ends with it; a kept one stays with its libmosquitto handle, which
 * sends what is in flight again, with the packet identifiers that the broker knows (MQTT 5.0 §4.4).
 */
static void thread_drop_session(struct link_thread *t)
{
        if (!t->session)
                return;
        if (t->conf->clean_session)
                t->session = mqtt_session_free(t->session);
        else
                mqtt_session_drop(t->session);
        thread_refill(t, t->conf->clean_session);
        link_subscriptions_reset(&t->subs);
}

static void thread_log_failure(struct link_thread *t, const struct connector_verdict *v, const char *line)
{
        uint64_t delay_s = (v->delay_us + USEC_PER_SEC / 2) / USEC_PER_SEC;

        if (v->is_flapping)
                log_error(&t->fields,
                          "link %s: thrown out right after connecting, again and again (%s): is client_id "
                          "\"%s\" in "
                          "use by another client? Next tries every %" PRIu64 " s",
                          t->conf->name, line, t->conf->client_id, delay_s);
        else
                log_at(v->is_news ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, &t->fields,
                       "link %s: %s; next try in %" PRIu64 " s", t->conf->name, line, MBGATE_MAX(delay_s, 1));
}

static void thread_failed(struct link_thread *t, const struct mqtt_session_failure *failure, uint64_t now_us)
{
        bool was_online = t->connector.state == CONNECTOR_ONLINE;
        bool needs_clock = failure->is_certificate && !clock_is_synchronised();
        size_t target = t->connector.target;
        struct connector_verdict v;
        char line[LINK_REASON_BYTES + 64];

        (void)snprintf(line, sizeof(line), "%s%s%s", was_online ? "connection lost: " : "", failure->text,
                       needs_clock ? " (the clock is not synchronised, a valid certificate may look expired)"
                                   : "");
        connector_failed(&t->connector, failure->kind, failure->code, now_us, &v);
        thread_drop_session(t);
        if (v.try_next) {
                log_debug(&t->fields, "link %s: %s: %s; trying the next address", t->conf->name,
                          t->targets.list[target].host, line);
                return;
        }
        thread_log_failure(t, &v, line);
        if (was_online || v.is_news)
                thread_set_state(t, LINK_AWAY, line);
}

/* The session ended by itself: at our wish, or not. */
static void thread_session_down(struct link_thread *t, uint64_t now_us)
{
        struct mqtt_session_failure failure = *mqtt_session_failure(t->session);

        if (t->is_leaving)
                t->is_done = true;
        else
                thread_failed(t, &failure, now_us);
}

/* Hands one message to libmosquitto. The reference moves. */
static void thread_publish(struct link_thread *t, struct message *moved, uint64_t now_us)
{
        CLEANUP(message_unrefp)
        struct message *m = moved;
        uint8_t qos = MBGATE_MIN(m->qos, t->conf->qos);
        uint32_t expiry_s = thread_expiry_s(m, now_us);
        const char *reason = "";
        struct inflight_slot *slot;
        int r;

        if (expiry_s == UINT32_MAX) {
                link_core_count(&t->core->n_dropped, 1);
                return;
        }
        slot = inflight_add(&t->inflight, message_ref(m), qos);
        r = mqtt_session_publish(t->session, m, qos, m->retain && t->conf->retain, expiry_s, &slot->mid,
                                 &reason);
        if (r == MQTT_SESSION_E_POISON) {
                message_unref(inflight_remove(&t->inflight, slot));
                thread_poison(t, m, reason);
        } else if (r == MQTT_SESSION_E_DOWN) {
                thread_session_down(t, now_us);
        }
}

static void thread_pump(struct link_thread *t, uint64_t now_us)
{
        unsigned n = 0;

        while (t->connector.state == CONNECTOR_ONLINE && !t->is_leaving && !t->is_done &&
               t->inflight.n < mqtt_session_quota(t->session)) {
                struct message *m = n < THREAD_PUBLISH_MAX ? spool_pop(t->spool) : NULL;

                if (!m) {
                        t->has_more |= spool_n_messages(t->spool) > 0;
                        return;
                }
                n++;
                thread_publish(t, m, now_us);
        }
}

/* Connecting. */

static void thread_fail_with(struct link_thread *t, enum connector_failure kind, int code, const char *text,
                             uint64_t now_us)
{
        struct mqtt_session_failure failure = { .kind = kind, .code = code };

        (void)snprintf(failure.text, sizeof(failure.text), "%.*s", (int)sizeof(failure.text) - 1, text);
        thread_failed(t, &failure, now_us);
}

static void thread_resolve(struct link_thread *t)
{
        char text[TARGETS_TEXT_BYTES], line[sizeof(text) + 32];
        uint64_t now_us = clock_monotonic_us();
        int r;

        connector_resolving(&t->connector);
        heartbeat_promise(&t->core->heartbeat, now_us + THREAD_PROMISE_DNS_US);
        r = targets_resolve(t->conf->host, t->conf->tls.on, &t->targets, text);
        now_us = clock_monotonic_us();
        heartbeat_promise(&t->core->heartbeat, now_us + THREAD_PROMISE_US);
        if (r == 0) {
                connector_resolved(&t->connector, t->targets.n, now_us);
                return;
        }
        (void)snprintf(line, sizeof(line), "name lookup: %s", text);
        thread_fail_with(t, CONNECTOR_F_DNS, 0, line, now_us);
}

static int thread_make_session(struct link_thread *t, uint64_t now_us)
{
        struct mqtt_session_init init = {
                .conf = t->conf, .will = t->core->will, .handler = &thread_handler, .user = t
        };
        struct mqtt_session_failure failure;
        int r;

        if (t->session)
                return 0;
        r = mqtt_session_new(&init, &failure, &t->session);
        if (r < 0)
                thread_fail_with(t, CONNECTOR_F_LOCAL, -r, strerrordesc_np(-r), now_us);
        else if (r > 0)
                thread_failed(t, &failure, now_us);
        return r;
}

static void thread_connect(struct link_thread *t)
{
        uint64_t now_us = clock_monotonic_us();
        int r;

        if (thread_make_session(t, now_us) != 0)
                return;
        heartbeat_promise(&t->core->heartbeat, now_us + THREAD_PROMISE_DNS_US);
        r = mqtt_session_connect(t->session, &t->targets.list[t->connector.target], now_us);
        now_us = clock_monotonic_us();
        heartbeat_promise(&t->core->heartbeat, now_us + THREAD_PROMISE_US);
        if (r != 0)
                thread_session_down(t, now_us);
}

static void thread_overdue(struct link_thread *t, uint64_t now_us)
{
        char line[LINK_REASON_BYTES];
        struct buf b = BUF_ON(line);

        switch (mqtt_session_phase(t->session)) {
        case MQTT_SESSION_DOWN:
        case MQTT_SESSION_TCP:
                buf_printf(&b, "no connection to %s port %u: no answer",
                           t->targets.list[t->connector.target].host, t->conf->port);
                break;
        case MQTT_SESSION_OPENING:
                buf_printf(&b, "no CONNACK from %s within %" PRIu32 " s", t->conf->host,
                           t->conf->connect_timeout_s);
                break;
        case MQTT_SESSION_ACTIVE:
                buf_printf(&b, "no SUBACK from %s within %" PRIu32 " s", t->conf->host,
                           t->conf->connect_timeout_s);
                break;
        }
        thread_fail_with(t, CONNECTOR_F_TIMEOUT, (int)mqtt_session_phase(t->session), line, now_us);
}

/* Sends the filters from *at on that fit into one SUBSCRIBE, and moves *at behind them. */
static int thread_subscribe_some(struct link_thread *t, size_t *at)
{
        const char *filters[MQTT_SESSION_FILTERS_MAX];
        size_t first = *at, n = 0;
        uint8_t qos = t->subs.list[first].qos;
        int mid = 0;
        int r;

        while (*at < t->subs.n && n < MQTT_SESSION_FILTERS_MAX && t->subs.list[*at].qos == qos)
                filters[n++] = t->subs.list[(*at)++].filter;
        r = mqtt_session_subscribe(t->session, filters, n, MBGATE_MIN(qos, t->conf->qos), &mid);
        for (size_t i = 0; r == 0 && i < n; i++)
                link_subscriptions_sent(&t->subs, &t->subs.list[first + i], mid);
        return r;
}

static int thread_subscribe_all(struct link_thread *t)
{
        size_t at = 0;

        for (size_t i = 0; i < t->subs.n; i++) {
                if (t->subs.list[i].is_gone && mqtt_session_unsubscribe(t->session, t->subs.list[i].filter))
                        return MQTT_SESSION_E_DOWN;
        }
        link_subscriptions_purge(&t->subs);
        while (at < t->subs.n) {
                if (thread_subscribe_some(t, &at))
                        return MQTT_SESSION_E_DOWN;
        }
        return 0;
}

static void thread_accepted(struct link_thread *t, uint64_t now_us)
{
        connector_accepted(&t->connector, now_us);
        if (thread_subscribe_all(t))
                thread_session_down(t, now_us);
}

static void thread_online(struct link_thread *t, uint64_t now_us)
{
        struct connector_recovery recovery;
        enum log_level level;

        connector_online(&t->connector, now_us, &recovery);
        link_core_count(&t->core->n_connects, 1);
        /* One that is thrown out again and again has been told of; the next news is that it stays. */
        level = connector_is_flapping(&t->connector) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
        if (recovery.n_failures > 0)
                log_at(level, &t->fields,
                       "link %s: connected to %s:%u (%s), back after %" PRIu64 " s and %u failures",
                       t->conf->name, t->conf->host, t->conf->port, mqtt_session_describe(t->session),
                       recovery.duration_us / USEC_PER_SEC, recovery.n_failures);
        else
                log_at(level, &t->fields, "link %s: connected to %s:%u (%s)", t->conf->name, t->conf->host,
                       t->conf->port, mqtt_session_describe(t->session));
        thread_set_state(t, LINK_ONLINE, "");
}

/* CONNECTING: what the session and the clock have brought. */
static void thread_step_connecting(struct link_thread *t, uint64_t now_us)
{
        if (!t->session || mqtt_session_phase(t->session) == MQTT_SESSION_DOWN) {
                thread_connect(t);
                return;
        }
        if (connector_is_overdue(&t->connector, now_us)) {
                thread_overdue(t, now_us);
                return;
        }
        if (mqtt_session_phase(t->session) == MQTT_SESSION_OPENING)
                connector_tcp_up(&t->connector);
        if (mqtt_session_phase(t->session) != MQTT_SESSION_ACTIVE)
                return;
        if (t->connector.accepted_us == 0)
                thread_accepted(t, now_us);
        if (t->connector.state == CONNECTOR_CONNECTING && t->connector.accepted_us > 0 &&
            t->subs.n_waiting == 0)
                thread_online(t, now_us);
}

/* What main sends. */

static void thread_take_publishes(struct link_thread *t)
{
        for (unsigned n = 0; n < THREAD_TAKE_MAX; n++) {
                CLEANUP(mail_freep)
                struct mail *mail = mailbox_take(t->core->publishes);
                struct message *m;
                size_t n_dropped = 0;

                if (!mail)
                        return;
                m = CONTAINER_OF(mail, struct link_publish_mail, mail)->message;
                if (spool_push(t->spool, m, &n_dropped) < 0) {
                        n_dropped = 1;
                        t->has_lost |= m->is_live;
                }
                link_core_count(&t->core->n_dropped, n_dropped);
                link_core_count(&t->core->n_overflowed, n_dropped);
                /* Before it leaves the mailbox: it must not be counted nowhere. */
                thread_count_waiting(t);
        }
        t->has_more = true;
}

/* In effect now, if there is a connection whose filters have been sent; else with all the others. */
static void thread_subscribe(struct link_thread *t, const char *filter, uint8_t qos, uint64_t now_us)
{
        struct subscription *sub;
        int mid = 0;

        if (link_subscriptions_add(&t->subs, filter, qos, &sub) < 0) {
                log_error(&t->fields, "link %s: out of memory: not subscribed to %s", t->conf->name, filter);
                return;
        }
        if (t->connector.accepted_us == 0 || t->is_leaving)
                return;
        if (mqtt_session_subscribe(t->session, &(const char *){ sub->filter }, 1,
                                   MBGATE_MIN(qos, t->conf->qos), &mid))
                thread_session_down(t, now_us);
        else
                link_subscriptions_sent(&t->subs, sub, mid);
}

static void thread_unsubscribe(struct link_thread *t, const char *filter, uint64_t now_us)
{
        bool is_up = t->connector.accepted_us > 0 && !t->is_leaving;

        link_subscriptions_remove(&t->subs, filter, !is_up && !t->conf->clean_session);
        if (is_up && mqtt_session_unsubscribe(t->session, filter))
                thread_session_down(t, now_us);
}

static void thread_take_orders(struct link_thread *t, uint64_t now_us)
{
        for (unsigned n = 0; n < THREAD_TAKE_MAX; n++) {
                CLEANUP(mail_freep)
                struct mail *mail = mailbox_take(t->core->orders);
                const struct link_order_mail *order;

                if (!mail)
                        return;
                order = CONTAINER_OF(mail, struct link_order_mail, mail);
                switch ((enum link_order_kind)mail->kind) {
                case LINK_ORDER_SUBSCRIBE: thread_subscribe(t, order->filter, order->qos, now_us); break;
                case LINK_ORDER_UNSUBSCRIBE: thread_unsubscribe(t, order->filter, now_us); break;
                }
        }
        t->has_more = true;
}

/* Stopping. */

static void thread_step_stopping(struct link_thread *t, uint64_t now_us)
{
        bool is_empty = spool_n_messages(t->spool) == 0 && t->inflight.n == 0;

        if (t->stop_deadline_us == 0 || t->is_done)
                return;
        if (now_us >= t->stop_deadline_us || t->connector.state == CONNECTOR_WAITING) {
                t->is_done = true;
                return;
        }
        if (!is_empty || t->has_more || t->is_leaving)
                return;
        if (t->connector.state != CONNECTOR_ONLINE) {
                t->is_done = true;
                return;
        }
        t->is_leaving = true;
        mqtt_session_disconnect(t->session, false);
        if (mqtt_session_phase(t->session) == MQTT_SESSION_DOWN)
                t->is_done = true;
}

static void thread_finish(struct link_thread *t)
{
        size_t n_left = spool_n_messages(t->spool) + t->inflight.n;

        /* Something was not said, "offline" perhaps: the will says it. */
        if (t->session && !t->is_leaving && mqtt_session_phase(t->session) == MQTT_SESSION_ACTIVE)
                mqtt_session_disconnect(t->session, n_left > 0);
        if (n_left > 0) {
                log_warn(&t->fields, "link %s: stopped with %zu messages undelivered", t->conf->name, n_left);
                link_core_count(&t->core->n_dropped, n_left);
        }
        t->session = mqtt_session_free(t->session);
        while (t->inflight.n > 0)
                message_unref(inflight_remove(&t->inflight, t->inflight.slots));
        atomic_store(&t->core->n_waiting, 0);
        atomic_store(&t->core->waiting_bytes, 0);
        if (link_core_post_event(t->core, LINK_STOPPED, NULL, false, "") < 0)
                log_error(&t->fields, "link %s: out of memory while stopping", t->conf->name);
}

/* The loop. */

static void thread_step(struct link_thread *t, uint64_t now_us)
{
        if (connector_is_due(&t->connector, now_us) && t->stop_deadline_us == 0)
                thread_resolve(t);
        if (t->connector.state == CONNECTOR_CONNECTING)
                thread_step_connecting(t, now_us);
        if (connector_has_settled(&t->connector, now_us))
                log_info(&t->fields, "link %s: connected to %s:%u, and it holds", t->conf->name,
                         t->conf->host, t->conf->port);
        thread_pump(t, now_us);
        thread_step_stopping(t, now_us);
}

static uint64_t thread_wake_us(const struct link_thread *t, uint64_t now_us)
{
        uint64_t at_us = now_us + THREAD_SLEEP_MAX_US;

        if (t->has_more || (t->connector.state == CONNECTOR_CONNECTING &&
                            (!t->session || mqtt_session_phase(t->session) == MQTT_SESSION_DOWN)))
                return now_us;
        at_us = MBGATE_MIN(at_us, connector_wake_us(&t->connector));
        if (t->session)
                at_us = MBGATE_MIN(at_us, mqtt_session_wake_us(t->session));
        if (t->has_state || t->has_room)
                at_us = MBGATE_MIN(at_us, now_us + THREAD_RETRY_US);
        if (t->stop_deadline_us > 0)
                at_us = MBGATE_MIN(at_us, t->stop_deadline_us);
        return at_us;
}

/* Sleeps until something comes or is due; the session's events are handled here. */
static void thread_poll(struct link_thread *t)
{
        uint64_t now_us = clock_monotonic_us();
        struct timespec timeout = clock_remaining(thread_wake_us(t, now_us), now_us);
        struct pollfd fds[] = {
                { .fd = mailbox_fd(t->core->publishes), .events = POLLIN },
                { .fd = mailbox_fd(t->core->orders), .events = POLLIN },
                { .fd = t->stop_deadline_us == 0 ? t->core->wake_fd : -1, .events = POLLIN },
                { .fd = -1 },
        };
        struct pollfd *net = &fds[3];

        if (t->session && mqtt_session_phase(t->session) != MQTT_SESSION_DOWN) {
                net->fd = mqtt_session_fd(t->session);
                net->events = mqtt_session_events(t->session, now_us);
        }
        if (ppoll(fds, ARRAY_SIZE(fds), &timeout, NULL) < 0)
                net->revents = 0; /* EINTR or ENOMEM: as if the time had passed */
        now_us = clock_monotonic_us();
        if (net->fd >= 0 && mqtt_session_run(t->session, net->revents, now_us))
                thread_session_down(t, now_us);
}

static void thread_run(struct link_thread *t)
{
        while (!t->is_done) {
                uint64_t now_us = clock_monotonic_us();

                heartbeat_promise(&t->core->heartbeat, now_us + THREAD_PROMISE_US);
                t->has_more = false;
                /* Asked before the mail is taken: what was published before the stop is taken after it. */
                t->stop_deadline_us = atomic_load(&t->core->stop_deadline_us);
                thread_take_orders(t, now_us);
                thread_take_publishes(t);
                thread_step(t, now_us);
                thread_offer_state(t);
                thread_count_waiting(t);
                thread_offer_room(t);
                if (!t->is_done)
                        thread_poll(t);
        }
}

static int thread_init(struct link_thread *t, struct link_core *core)
{
        const struct conf_link *conf = core->conf;
        struct random random;

        *t = (struct link_thread){ .core = core, .conf = conf, .fields = { .link = conf->name } };
        random_seed_from_system(&random);
        connector_init(&t->connector, conf->connect_timeout_s * USEC_PER_SEC,
                       conf->reconnect_min_s * USEC_PER_SEC, conf->reconnect_max_s * USEC_PER_SEC,
                       random.state);
        return spool_new(conf->queue_messages, conf->queue_bytes, &t->spool);
}

void *link_thread_main(void *user)
{
        struct link_core *core = user;
        struct link_thread t;

        if (thread_init(&t, core) < 0) {
                log_error(&t.fields, "link %s: out of memory", core->conf->name);
        } else {
                thread_run(&t);
                thread_finish(&t);
        }
        spool_free(t.spool);
        link_subscriptions_done(&t.subs);
        heartbeat_promise(&core->heartbeat, 0);
        atomic_store(&core->is_finished, true);
        link_core_unref(core);
        return NULL;
}
