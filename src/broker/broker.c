/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"

#include "broker_private.h"

/* Events that clients cause are logged at most so often. */
#define LOG_WINDOW_US  USEC_PER_SEC
#define LOG_PER_WINDOW 20

/* Time-outs are looked at no more often than this: each look sees all connections and sessions. */
#define TICK_MIN_US (10 * USEC_PER_MSEC)

/* When so many clients have gone, what they had goes back to the system, a while after. */
#define TRIM_CLIENTS  16
#define TRIM_DELAY_US (2 * USEC_PER_SEC)

#define NODES_PER_TOPIC 8 /* levels that a topic has on average, for the limits of trees */

bool broker_may_log(struct broker *b)
{
        uint64_t now_us = transport_now_us(b->transport);

        if (now_us - b->log_window_us >= LOG_WINDOW_US) {
                if (b->n_not_logged > 0)
                        log_info(&b->fields, "broker: %u more events of clients are not shown",
                                 b->n_not_logged);
                b->log_window_us = now_us;
                b->n_logged = b->n_not_logged = 0;
        }
        if (b->n_logged < LOG_PER_WINDOW) {
                b->n_logged++;
                return true;
        }
        b->n_not_logged++;
        return false;
}

/* ---- end of a batch ---- */

static void broker_bury_dead(struct broker *b)
{
        while (b->dead) {
                struct connection *c = b->dead;

                b->dead = c->next_dead;
                connection_free(c);
                if (++b->n_gone == TRIM_CLIENTS) {
                        b->trim_us = transport_now_us(b->transport) + TRIM_DELAY_US;
                        broker_wake_at(b, b->trim_us);
                }
        }
}

void broker_settle(struct broker *b)
{
        /* Wills and refused clients make more to write: until nothing is left. */
        while (b->dirty) {
                struct connection *c = b->dirty;

                b->dirty = c->next_dirty;
                connection_settle(c);
                c->is_dirty = c->wants_turn;
                if (!c->wants_turn)
                        continue;
                c->next_dirty = b->later;
                b->later = c;
        }
        b->n_unsent = 0;
}

static void broker_at_batch_end(void *user)
{
        struct broker *b = user;

        struct connection *list = TAKE(b->later);

        while (list) {
                struct connection *c = list;

                list = c->next_dirty;
                c->next_dirty = b->dirty;
                b->dirty = c;
                if (c->is_paused && !connection_is_held_up(c) && c->state == CONNECTION_OPEN && !c->has_doom)
                        connection_resume(c);
        }
        broker_settle(b);
        broker_bury_dead(b);
        if (b->later)
                transport_wake(b->transport);
}

/* ---- time ---- */

void broker_wake_at(struct broker *b, uint64_t at_us)
{
        if (at_us >= b->timer_us)
                return;
        b->timer_us = at_us;
        loop_timer_set(b->timer, at_us);
}

/* We keep chunks, and the C library what lies between other memory, until they are asked. */
static uint64_t broker_trim(struct broker *b, uint64_t now_us)
{
        if (b->n_gone < TRIM_CLIENTS)
                return CLOCK_NEVER_US;
        if (now_us < b->trim_us)
                return b->trim_us;
        b->n_gone = 0;
        output_pool_done(&b->pool);
        (void)malloc_trim(0);
        return CLOCK_NEVER_US;
}

static void broker_on_timer(void *user, uint64_t now_us)
{
        struct broker *b = user;
        uint64_t at_us = broker_trim(b, now_us);

        b->timer_us = CLOCK_NEVER_US;
        for (struct connection *c = b->connections, *next; c; c = next) {
                next = c->next;
                if (c->state != CONNECTION_DEAD)
                        at_us = MBGATE_MIN(at_us, connection_tick(c, now_us));
        }
        at_us = MBGATE_MIN(at_us, session_tick(b, now_us));
        (void)retained_expire(b->retained, now_us, 64);
        if (at_us != CLOCK_NEVER_US)
                broker_wake_at(b, MBGATE_MAX(at_us, now_us + TICK_MIN_US));
        transport_wake(b->transport);
}

/* What the store has committed lets answers go. */
static void broker_on_committed(void *user)
{
        struct broker *b = user;

        for (struct connection *c = b->connections; c; c = c->next) {
                if (c->held)
                        connection_release_held(c);
                if (c->is_paused && !connection_is_held_up(c) && c->state == CONNECTION_OPEN && !c->has_doom)
                        connection_resume(c);
        }
        transport_wake(b->transport);
}

/* ---- coming and going ---- */

static struct retained_limits broker_retained_limits(const struct broker *b)
{
        const struct conf_broker *conf = broker_conf(b);

        return (struct retained_limits){
                .max_levels = conf->max_topic_levels,
                .max_nodes = (size_t)conf->max_retained_messages * NODES_PER_TOPIC,
                .max_messages = conf->max_retained_messages,
                .max_bytes = conf->max_retained_bytes,
        };
}

/* Of the last known messages: that a topic was cleared is known, too. */
static struct retained_limits broker_known_limits(const struct broker *b)
{
        struct retained_limits limits = broker_retained_limits(b);

        limits.keeps_empty = true;
        return limits;
}

static struct subscriptions_limits broker_subscriptions_limits(const struct broker *b)
{
        const struct conf_broker *conf = broker_conf(b);

        return (struct subscriptions_limits){
                .max_levels = conf->max_topic_levels,
                .max_nodes = (size_t)conf->max_subscriptions * NODES_PER_TOPIC,
                .max_total = conf->max_subscriptions,
                .max_per_subscriber = conf->max_subscriptions_per_client,
        };
}

static bool options_need_known(const struct conf_listener_options *o)
{
        return o->on_change || o->remember || o->n_publish_on_connect > 0;
}

static bool broker_needs_known(const struct broker *b)
{
        const struct conf_broker *conf = broker_conf(b);
        bool needs = options_need_known(&conf->options);

        for (size_t i = 0; i < conf->n_listeners && !needs; i++)
                needs = options_need_known(&conf->listeners[i].options);
        return needs;
}

static int broker_new_tables(struct broker *b)
{
        struct subscriptions_limits subscriptions = broker_subscriptions_limits(b);
        struct retained_limits retained = broker_retained_limits(b), known = broker_known_limits(b);
        int r;

        r = subscriptions_new(&subscriptions, &b->subscriptions);
        if (r < 0)
                return r;
        r = retained_new(&retained, &b->retained);
        if (r < 0 || !broker_needs_known(b))
                return r;
        return retained_new(&known, &b->known);
}

int broker_adjust_tables(struct broker *b)
{
        struct subscriptions_limits subscriptions = broker_subscriptions_limits(b);
        struct retained_limits retained = broker_retained_limits(b), known = broker_known_limits(b);

        subscriptions_set_limits(b->subscriptions, &subscriptions);
        retained_set_limits(b->retained, &retained);
        if (b->known)
                retained_set_limits(b->known, &known);
        else if (broker_needs_known(b))
                return retained_new(&known, &b->known);
        return 0;
}

static int broker_init(struct broker *b, const struct broker_init *init)
{
        struct random random;
        int r;

        random_seed_from_system(&random);
        b->id_secret = random_next(&random);
        b->timer_us = CLOCK_NEVER_US;
        b->loop = init->loop;
        b->conf = conf_ref(init->conf);
        r = transport_new(b->loop, broker_at_batch_end, b, &b->transport);
        if (r < 0)
                return r;
        r = loop_add_timer(b->loop, broker_on_timer, b, &b->timer);
        if (r < 0)
                return r;
        r = authority_new(b->loop, broker_conf(b), &b->authority);
        if (r < 0)
                return r;
        r = broker_new_tables(b);
        if (r < 0)
                return r;
        r = persistence_new(b, broker_on_committed, b, &b->persistence);
        if (r < 0)
                return r;
        return sys_new(b, &b->sys);
}

int broker_new(const struct broker_init *init, struct broker **ret_broker)
{
        CLEANUP(broker_freep)
        struct broker *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        r = broker_init(b, init);
        if (r < 0)
                return r;
        r = listeners_prepare(b, init->sockets, init->n_sockets);
        if (r < 0)
                return r;
        *ret_broker = TAKE(b);
        return 0;
}

void broker_stop(struct broker *b)
{
        b->is_stopping = true;
        listeners_close(b);
        for (struct connection *c = b->connections; c; c = c->next)
                connection_doom(c, MQTT_SHUTTING_DOWN);
        transport_wake(b->transport);
}

bool broker_is_silent(const struct broker *b)
{
        return b->n_connections == 0;
}

/* Those who are still there lose their connection without a word; their sessions stay as they are. */
static void broker_drop_connections(struct broker *b)
{
        for (struct connection *c = b->connections; c; c = c->next) {
                c->said_goodbye = true;
                connection_doom(c, MQTT_UNSPECIFIED);
        }
        broker_settle(b);
        while (b->connections)
                connection_free(b->connections);
        b->dead = NULL;
}

struct broker *broker_free(struct broker *b)
{
        if (!b)
                return NULL;
        listeners_close(b);
        b->sys = sys_free(b->sys);
        if (b->transport)
                broker_drop_connections(b);
        b->persistence = persistence_free(b->persistence);
        if (b->subscriptions)
                session_end_all(b);
        b->known = retained_free(b->known);
        b->retained = retained_free(b->retained);
        b->subscriptions = subscriptions_free(b->subscriptions);
        b->authority = authority_free(b->authority);
        b->timer = loop_timer_free(b->timer);
        b->transport = transport_free(b->transport);
        output_pool_done(&b->pool);
        assert(b->n_input_bytes == 0 && b->n_text_bytes == 0);
        b->conf = conf_unref(b->conf);
        free(b);
        return NULL;
}

const char *broker_late_thread(struct broker *b, uint64_t now_us)
{
        if (heartbeat_is_late(authority_heartbeat(b->authority), now_us))
                return "log-ins";
        if (persistence_is_late(b->persistence, now_us))
                return "store";
        return NULL;
}
