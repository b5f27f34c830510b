/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "broker_private.h"

static_assert(offsetof(struct session, subscriber) == 0, "router.c goes from one to the other");

struct acl_client session_acl_client(const struct session *s)
{
        return (struct acl_client){ .user = s->user, .id = s->id };
}

bool session_may_read(const struct session *s, const char *topic, size_t n_topic)
{
        const struct acl_client client = session_acl_client(s);

        return s->local || !authority_has_acl(s->broker->authority) ||
               authority_may(s->broker->authority, &client, ACL_READ, topic, n_topic);
}

struct session *session_find(struct broker *b, const char *id)
{
        struct session *s;

        HASH_FIND_STR(b->sessions, id, s);
        return s;
}

/* ---- texts: what clients choose, and how much of it ---- */

static bool broker_has_room(const struct broker *b, size_t n_own, size_t n_all)
{
        const struct conf_broker *conf = broker_conf(b);

        return n_own <= conf->max_client_bytes &&
               (n_own <= SESSION_FREE_BYTES || n_all <= conf->max_client_bytes_total);
}

bool session_has_room(const struct session *s, size_t n)
{
        size_t n_own = s->n_text_bytes + (s->connection ? s->connection->n_alias_bytes : 0);

        return broker_has_room(s->broker, n_own + n, s->broker->n_text_bytes + n);
}

void session_charge(struct session *s, size_t n)
{
        s->n_text_bytes += n;
        s->broker->n_text_bytes += n;
}

void session_discharge(struct session *s, size_t n)
{
        s->n_text_bytes -= n;
        s->broker->n_text_bytes -= n;
}

static size_t will_bytes(const struct message *will)
{
        return will ? will->topic_bytes + will->payload_bytes + will->properties_bytes : 0;
}

void session_set_will(struct session *s, struct message *will)
{
        session_charge(s, will_bytes(will));
        session_discharge(s, will_bytes(s->will));
        (void)message_unref(s->will);
        s->will = will;
}

/* Whether what a client brings, besides what it has, is not too much. `s`: what it has; NULL: nothing. */
static bool session_would_fit(const struct broker *b, const struct session_ask *ask, const struct session *s,
                              bool is_resumed)
{
        size_t n = strlen(ask->id) + (ask->user ? strlen(ask->user) : 0) + will_bytes(ask->will);
        size_t n_old = s ? s->n_text_bytes : 0;

        if (is_resumed)
                n = n_old - will_bytes(s->will) + will_bytes(ask->will);
        return broker_has_room(b, n, b->n_text_bytes - n_old + n);
}

/* ---- coming ---- */

static int session_new(struct broker *b, const char *id, struct session **ret_session)
{
        struct session *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->broker = b;
        s->will_us = s->ends_us = CLOCK_NEVER_US;
        s->id = strdup(id);
        if (!s->id) {
                free(s);
                return -ENOMEM;
        }
        HASH_ADD_KEYPTR(hh, b->sessions, s->id, strlen(s->id), s);
        session_charge(s, strlen(s->id));
        *ret_session = s;
        return 0;
}

int session_new_local(struct broker *b, const char *id, session_local_fn fn, void *user,
                      struct session **ret_session)
{
        int r = session_new(b, id, ret_session);

        if (r < 0)
                return r;
        (*ret_session)->local = fn;
        (*ret_session)->local_user = user;
        return 0;
}

/* Whether it should rather go: its owner has more sessions, or it would end sooner. */
static bool session_goes_before(const struct session *s, const struct session *other)
{
        size_t n = session_owner_n(s->owner), n_other = session_owner_n(other->owner);

        return n > n_other || (n == n_other && s->ends_us < other->ends_us);
}

/* Makes room for one more: of who has the most sessions the one goes that is away and would end first. So
 * nobody can push out the sessions of others. */
static bool sessions_have_room(struct broker *b)
{
        struct session *victim = NULL;

        if (HASH_COUNT(b->sessions) < broker_conf(b)->max_sessions)
                return true;
        for (struct session *s = b->sessions; s; s = s->hh.next) {
                if (!s->connection && !s->local && (!victim || session_goes_before(s, victim)))
                        victim = s;
        }
        if (!victim)
                return false;
        log_warn(&b->fields, "broker: %u sessions are the limit (max_sessions): that of client \"%s\" ends",
                 broker_conf(b)->max_sessions, victim->id);
        session_end(victim);
        return true;
}

static bool session_has_user(const struct session *s, const char *user)
{
        return s->user && user ? strcmp(s->user, user) == 0 : !s->user && !user;
}

/* Whether anybody can show who he is: else sessions that the store has of such times would be out of reach.
 */
static bool broker_proves_names(const struct broker *b)
{
        const struct conf_broker *conf = broker_conf(b);
        bool does = authority_has_users(b->authority);

        for (size_t i = 0; i < conf->n_listeners && !does; i++)
                does = conf->listeners[i].certificate_is_user;
        return does;
}

/* Whether it is another's, connected or away. A name that nobody has proven binds nobody: MQTT-3.1.4-3. */
static bool session_is_foreign(const struct session *s, const struct session_ask *ask)
{
        return s->local || (s->is_proven && !(ask->is_proven && session_has_user(s, ask->user)) &&
                            broker_proves_names(s->broker));
}

/* Whether who asks goes on with it: the same user; without proven names anybody. */
static bool session_may_go_on(const struct session *s, const struct session_ask *ask)
{
        return !ask->clean && s->expiry_s > 0 &&
               ((!ask->is_proven && !s->is_proven) || session_has_user(s, ask->user));
}

/* Whose it is from now on. −ENOMEM: nothing has changed. */
static int session_bind(struct session *s, const struct session_ask *ask)
{
        struct session_owner *owner = NULL;
        char *user = ask->user ? strdup(ask->user) : NULL;

        if (ask->user && !user)
                return -ENOMEM;
        if ((ask->address || ask->is_proven) &&
            session_owner_ref(&s->broker->owners, ask->is_proven ? user : NULL, ask->address, &owner) < 0) {
                free(user);
                return -ENOMEM;
        }
        session_charge(s, user ? strlen(user) : 0);
        session_discharge(s, s->user ? strlen(s->user) : 0);
        free(s->user);
        s->user = user;
        s->is_proven = ask->is_proven;
        (void)session_owner_unref(&s->broker->owners, s->owner);
        s->owner = owner;
        return 0;
}

static void session_walks_leave(struct session *s);

static void session_take_over(struct session *s, bool clean)
{
        struct connection *old = TAKE(s->connection);

        if (broker_may_log(s->broker))
                log_info(&s->broker->fields, "broker: client \"%s\" (%s) is taken over by a new connection",
                         s->id, old->peer->address);
        old->session = NULL;
        s->broker->n_clients--;
        s->broker->n_away++;
        session_walks_leave(s);
        connection_doom(old, MQTT_TAKEN_OVER);
        /* §3.1.3.2.2 and MQTT-3.1.4-3: the old will is sent, unless the session goes on before it is due. */
        if (s->will && (clean || s->will_delay_s == 0))
                s->will_us = 0;
}

static void session_publish_will(struct session *s);
static void session_free(struct session *s);

/* A new one, away so far. */
static int session_make(struct broker *b, const struct session_ask *ask, struct session **ret_session)
{
        int r = session_new(b, ask->id, ret_session);

        if (r < 0)
                return r;
        b->n_away++;
        r = session_bind(*ret_session, ask);
        if (r < 0)
                session_free(*ret_session);
        return r;
}

static void session_take_will(struct session *s, const struct session_ask *ask)
{
        session_set_will(s, ask->will ? message_ref(ask->will) : NULL);
        s->will_delay_s = ask->will_delay_s;
        s->will_us = CLOCK_NEVER_US;
}

int session_open(struct broker *b, const struct session_ask *ask, struct session **ret_session)
{
        struct session *s = session_find(b, ask->id);
        bool is_there;
        int r;

        if (s && session_is_foreign(s, ask))
                return SESSION_FOREIGN;
        if (!session_would_fit(b, ask, s, s && session_may_go_on(s, ask)))
                return SESSION_TOO_LARGE;
        if (s && s->connection)
                session_take_over(s, ask->clean || s->expiry_s == 0);
        if (s && s->will_us == 0)
                session_publish_will(s);
        if (s && !session_may_go_on(s, ask)) {
                session_end(s);
                s = NULL;
        }
        if (!s && !sessions_have_room(b))
                return SESSION_FULL;
        is_there = s != NULL;
        r = is_there ? session_bind(s, ask) : session_make(b, ask, &s);
        if (r < 0)
                return r;
        s->ends_us = CLOCK_NEVER_US;
        s->expiry_s = ask->expiry_s;
        session_take_will(s, ask);
        if (s->stored != 0 || s->expiry_s > 0)
                persistence_session(b->persistence, s);
        persistence_will(b->persistence, s);
        *ret_session = s;
        return is_there ? SESSION_RESUMED : 0;
}

/* ---- going ---- */

static void session_publish_will(struct session *s)
{
        struct broker *b = s->broker;
        const struct acl_client client = session_acl_client(s);
        struct message *will = s->will ? message_ref(s->will) : NULL;
        struct publication p;
        uint64_t stored;

        s->will_us = CLOCK_NEVER_US;
        session_set_will(s, NULL);
        if (!will)
                return;
        p = publication_of(will);
        p.made_us = transport_now_us(b->transport);
        if (p.expiry_s > 0) {
                /* It expires so long after it is sent, not after it was given: MQTT 5.0 §3.1.3.2.4. */
                publication_done(&p);
        }
        if (authority_may(b->authority, &client, ACL_WRITE, will->topic, will->topic_bytes))
                (void)!router_publish(b, &p, s, &stored);
        else
                log_debug(&b->fields, "broker: client \"%s\" may not publish its will", s->id);
        publication_done(&p);
        (void)message_unref(will);
        persistence_will(b->persistence, s);
}

static void session_free(struct session *s)
{
        struct broker *b = s->broker;

        assert(!s->connection);
        session_walks_drop(s);
        subscriptions_clear(b->subscriptions, &s->subscriber);
        if (s->queue) {
                b->n_queued_bytes -= queue_n_bytes(s->queue);
                s->queue = queue_free(s->queue);
        }
        session_set_will(s, NULL);
        session_discharge(s, s->n_text_bytes);
        HASH_DEL(b->sessions, s);
        if (!s->local)
                b->n_away--;
        (void)session_owner_unref(&b->owners, s->owner);
        free(s->id);
        free(s->user);
        free(s);
}

void session_end(struct session *s)
{
        struct connection *c = TAKE(s->connection);

        if (c) {
                c->session = NULL;
                s->broker->n_clients--;
                s->broker->n_away++;
                connection_doom(c, MQTT_ADMIN_ACTION);
        }
        session_publish_will(s);
        if (s->stored != 0)
                persistence_session_end(s->broker->persistence, s);
        session_free(s);
}

/* µs after `now_us`; never for the seconds that mean it. */
static uint64_t session_after(uint64_t now_us, uint32_t seconds)
{
        return seconds == SESSION_NEVER_S ? CLOCK_NEVER_US : now_us + seconds * USEC_PER_SEC;
}

void session_leave(struct session *s, bool with_will)
{
        struct broker *b = s->broker;
        uint64_t now_us = transport_now_us(b->transport);

        s->connection = NULL;
        b->n_clients--;
        b->n_away++;
        session_walks_leave(s);
        if (!with_will)
                session_set_will(s, NULL);
        if (s->expiry_s == 0) {
                session_end(s);
                return;
        }
        s->ends_us = session_after(now_us, s->expiry_s);
        if (s->will)
                s->will_us = MBGATE_MIN(session_after(now_us, s->will_delay_s), s->ends_us);
        if (s->will && s->will_us <= now_us)
                session_publish_will(s);
        broker_wake_at(b, MBGATE_MIN(s->ends_us, s->will_us));
        persistence_session(b->persistence, s);
        persistence_will(b->persistence, s);
}

void session_restore_will(struct session *s, struct message *will, uint64_t due_us)
{
        session_set_will(s, message_ref(will));
        s->will_us = MBGATE_MIN(loop_now_us(s->broker->loop) + due_us, s->ends_us);
        s->is_will_stored = true;
        broker_wake_at(s->broker, s->will_us);
}

int session_restore(struct broker *b, const struct session_ask *ask, uint64_t away_s,
                    struct session **ret_session)
{
        uint32_t expiry_s = ask->expiry_s;
        struct session *s;
        int r;

        if (session_find(b, ask->id))
                return -EEXIST;
        r = session_make(b, ask, &s);
        if (r < 0)
                return r;
        s->expiry_s = expiry_s;
        if (expiry_s != SESSION_NEVER_S)
                expiry_s -= (uint32_t)MBGATE_MIN(away_s, (uint64_t)expiry_s);
        s->ends_us = session_after(loop_now_us(b->loop), expiry_s);
        broker_wake_at(b, s->ends_us);
        *ret_session = s;
        return 0;
}

uint64_t session_tick(struct broker *b, uint64_t now_us)
{
        uint64_t next_us = CLOCK_NEVER_US;
        struct session *s, *next;

        for (s = b->sessions; s; s = next) {
                next = s->hh.next;
                if (s->connection)
                        continue;
                if (s->will_us <= now_us)
                        session_publish_will(s);
                if (s->ends_us <= now_us) {
                        b->stats.n_expired++;
                        session_end(s);
                        continue;
                }
                next_us = MBGATE_MIN(next_us, MBGATE_MIN(s->ends_us, s->will_us));
        }
        return next_us;
}

void session_end_all(struct broker *b)
{
        while (b->sessions) {
                struct session *s = b->sessions;

                assert(!s->connection && !s->local);
                session_free(s);
        }
}

/* ---- what waits for it ---- */

static void session_on_expired(void *user, uint64_t number)
{
        struct session *s = user;

        (void)persistence_acked(s->broker->persistence, s, number);
}

int session_queue(struct session *s, struct queue **ret_queue)
{
        const struct conf_broker *conf = broker_conf(s->broker);
        struct queue_limits limits = {
                .max_inflight = conf->max_inflight,
                .max_unreleased = UINT16_MAX, /* 5.0 clients have been told less: inbound.c */
                .max_messages = conf->max_queued_messages,
                .max_bytes = conf->max_queued_bytes,
        };
        int r;

        if (!s->queue) {
                r = queue_new(&limits, &s->queue);
                if (r < 0)
                        return r;
                queue_on_expired(s->queue, session_on_expired, s);
                if (s->connection)
                        queue_connect(s->queue, s->connection->receive_max);
        }
        *ret_queue = s->queue;
        return 0;
}

/* What had to go for want of room, this message or older ones: counted, and told when it begins. */
static void session_count_drops(struct session *s, struct queue_counts before)
{
        struct queue_counts now = queue_counts(s->queue);
        uint64_t n = now.n_dropped + now.n_dropped_qos0 - before.n_dropped - before.n_dropped_qos0;

        if (n == 0)
                return;
        if (s->n_dropped == 0)
                log_warn(&s->broker->fields, "broker: client \"%s\" %s: messages for it are dropped", s->id,
                         s->connection ? "does not keep up" : "is away and its queue is full");
        s->n_dropped += (uint32_t)n;
        s->broker->stats.n_publish_dropped += n;
}

int session_enqueue(struct session *s, const struct queue_message *m)
{
        struct broker *b = s->broker;
        struct queue_counts before;
        struct queue *q;
        size_t n_before;
        int r = session_queue(s, &q);

        if (r < 0)
                return r;
        if (b->n_queued_bytes + m->message->payload_bytes > broker_conf(b)->max_queued_bytes_total) {
                b->stats.n_publish_dropped++;
                return QUEUE_FULL;
        }
        before = queue_counts(q);
        n_before = queue_n_bytes(q);
        r = queue_push(q, m, transport_now_us(b->transport));
        b->n_queued_bytes += queue_n_bytes(q) - n_before;
        session_count_drops(s, before);
        if (r == 0 && m->qos > 0 && s->stored != 0)
                (void)persistence_queued(b->persistence, s, m, queue_last_number(q));
        return r;
}

bool session_wants(const struct session *s, const struct publication *p)
{
        const struct conf_listener_options *options =
                s->connection ? s->connection->options : &broker_conf(s->broker)->options;

        return !(p->is_repeat && options->on_change) && session_may_read(s, p->topic, p->n_topic);
}

void session_deliver(struct session *s, struct publication *p, const struct subscription_hit *hit)
{
        struct connection *c = s->connection;
        uint8_t qos = MBGATE_MIN(hit->qos, p->qos);
        bool retain = hit->retain_as_published && p->retain;
        uint32_t sub_ids[QUEUE_SUB_IDS_MAX], id;
        const struct subscription *at = hit->first;
        struct queue_message m = { .qos = qos, .retain = retain, .sub_ids = sub_ids };

        if (s->local) {
                s->local(s->local_user, p, qos, retain);
                return;
        }
        if ((!c && (qos == 0 || s->expiry_s == 0)) || !session_wants(s, p))
                return;
        while (m.n_sub_ids < QUEUE_SUB_IDS_MAX && (id = subscription_next_id(&at)) != 0)
                sub_ids[m.n_sub_ids++] = id;
        retain = retain && !(c && c->options->strip_retain);
        if (qos == 0 && connection_has_room(c)) {
                connection_put_publication(c, p, retain, sub_ids, m.n_sub_ids);
                return;
        }
        m.retain = retain;
        if (publication_message(p, &m.message) == 0 && session_enqueue(s, &m) == 0 && c)
                connection_mark_dirty(c);
}

/* ---- walks ---- */

static struct session_walk **walk_list(struct session *s, const struct session_walk *w)
{
        return w->is_push ? &s->pushes : &s->walks;
}

static void walk_free(struct session *s, struct session_walk *w)
{
        s->n_walks -= !w->is_push;
        session_discharge(s, w->n_bytes);
        (void)retained_cursor_free(w->cursor);
        free(w);
}

void session_walk_end(struct session *s, struct session_walk **list)
{
        struct session_walk *w = *list;

        *list = w->next;
        if (s->last_walk == w)
                s->last_walk = NULL;
        walk_free(s, w);
}

/* Takes out of a list those that `is_it` wants to go. */
static void walks_remove(struct session *s, struct session_walk **list,
                         bool (*is_it)(const struct session_walk *w, const void *what), const void *what)
{
        struct session_walk *last = NULL;

        for (struct session_walk **at = list, *w; (w = *at);) {
                if (!is_it(w, what)) {
                        last = w;
                        at = &w->next;
                        continue;
                }
                *at = w->next;
                walk_free(s, w);
        }
        if (list == &s->walks)
                s->last_walk = last;
}

static bool walk_is_any(const struct session_walk *w UNUSED, const void *what UNUSED)
{
        return true;
}

static bool walk_is_qos0(const struct session_walk *w, const void *what UNUSED)
{
        return w->qos == 0;
}

void session_walks_drop(struct session *s)
{
        walks_remove(s, &s->walks, walk_is_any, NULL);
        walks_remove(s, &s->pushes, walk_is_any, NULL);
        assert(s->n_walks == 0);
}

/* Its connection has gone. What has been promised with QoS 1 or 2 goes on with the next one: it is part of
 * the session, MQTT 5.0 §4.1. */
static void session_walks_leave(struct session *s)
{
        walks_remove(s, &s->pushes, walk_is_any, NULL);
        walks_remove(s, &s->walks, walk_is_qos0, NULL);
        for (struct session_walk *w = s->walks; w; w = w->next)
                w->is_left = true;
        s->has_left = s->walks != NULL;
}

struct walk_filter {
        const char *filter;
        size_t n_filter;
        bool is_left_only; /* from an earlier connection */
};

static bool walk_is_of(const struct session_walk *w, const void *what)
{
        const struct walk_filter *f = what;

        return w->is_of_subscription && (w->is_left || !f->is_left_only) &&
               retained_cursor_is_on(w->cursor, f->filter, f->n_filter);
}

void session_walks_cancel(struct session *s, const char *filter, size_t n_filter)
{
        walks_remove(s, &s->walks, walk_is_of,
                     &(struct walk_filter){ .filter = filter, .n_filter = n_filter });
}

/* Behind the others of its list. Those that answer SUBSCRIBE may be many: their end is known. */
static void session_walk_append(struct session *s, struct session_walk *w)
{
        size_t max = 2 * (size_t)broker_conf(s->broker)->max_subscriptions_per_client;
        struct session_walk **end = walk_list(s, w);

        if (!w->is_push && s->last_walk)
                end = &s->last_walk->next;
        while (*end)
                end = &(*end)->next;
        *end = w;
        session_charge(s, w->n_bytes);
        if (w->is_push)
                return;
        s->last_walk = w;
        s->n_walks++;
        while (s->walks && (s->n_walks > max || !session_has_room(s, 0)))
                session_walk_end(s, &s->walks);
}

int session_walk_begin(struct session *s, struct session_walk *like, const char *filter, size_t n_filter)
{
        struct broker *b = s->broker;
        struct session_walk *w;
        int r;

        s->has_left = s->has_left && s->walks;
        if (!like->is_push && s->has_left)
                walks_remove(s, &s->walks, walk_is_of,
                             &(struct walk_filter){
                                     .filter = filter, .n_filter = n_filter, .is_left_only = true });
        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = *like;
        w->next = NULL;
        w->n_bytes = n_filter;
        r = retained_cursor_new(like->is_known ? b->known : b->retained, filter, n_filter, &w->cursor);
        if (r != 0) {
                free(w);
                return r < 0 ? r : 0; /* nothing can match */
        }
        /* With on_change it may be kept from the client, being no news for others. */
        if (w->is_of_subscription && !s->connection->options->on_change)
                retained_cursor_skip_newer(w->cursor);
        session_walk_append(s, w);
        if (s->connection)
                connection_mark_dirty(s->connection);
        return 0;
}
