/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/client/link_mosquitto.h"
#include "rig.h"

static char rig_empty[] = "";
static char rig_host[] = "127.0.0.1";
static char rig_names[RIG_LINKS][8] = { "one", "two", "three", "four" };
static pthread_mutex_t rig_log_mutex = PTHREAD_MUTEX_INITIALIZER;

static void rig_on_log(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        struct rig *rig = user;
        int n;

        (void)fields;
        (void)pthread_mutex_lock(&rig_log_mutex);
        n = snprintf(rig->log + rig->n_log, sizeof(rig->log) - rig->n_log, "%s: %s\n", log_level_name(level),
                     line);
        if (n > 0 && (size_t)n < sizeof(rig->log) - rig->n_log)
                rig->n_log += (size_t)n;
        (void)pthread_mutex_unlock(&rig_log_mutex);
}

void rig_expect_log(struct rig *rig, const char *text)
{
        if (!rig_has_logged(rig, text))
                fail_msg("not logged: %s; the log:\n%s", text, rig->log);
}

bool rig_has_logged(struct rig *rig, const char *text)
{
        bool has;

        (void)pthread_mutex_lock(&rig_log_mutex);
        has = strstr(rig->log, text) != NULL;
        (void)pthread_mutex_unlock(&rig_log_mutex);
        return has;
}

static void rig_init_link(struct conf_link *l, unsigned i, uint16_t port)
{
        *l = (struct conf_link){
                .id = i,
                .name = rig_names[i],
                .host = rig_host,
                .port = port,
                .protocol = 5,
                .tls = { .ca_file = rig_empty,
                         .ca_path = rig_empty,
                         .cert_file = rig_empty,
                         .key_file = rig_empty,
                         .version = rig_empty,
                         .ciphers = rig_empty,
                         .alpn = rig_empty },
                .username = rig_empty,
                .password = rig_empty,
                .password_file = rig_empty,
                .client_id = rig_names[i],
                .keepalive_s = 60,
                .clean_session = true,
                .prefix = rig_empty,
                .qos = 2,
                .retain = true,
                .connect_timeout_s = 5,
                .reconnect_min_s = 1,
                .reconnect_max_s = 2,
                .queue_messages = 10000,
                .queue_bytes = 16 * 1024 * 1024,
        };
}

void rig_init(struct rig *rig, uint16_t port)
{
        memset(rig, 0, sizeof(*rig));
        log_set_level(LOG_LEVEL_DEBUG);
        log_set_sink(rig_on_log, rig);
        assert_int_equal(link_mosquitto_global_init(), 0);
        assert_int_equal(loop_new(&rig->loop), 0);
        atomic_init(&rig->conf.n_refs, 1);
        rig->conf.generation = 1;
        rig->conf.links = rig->links;
        rig->conf.n_links = RIG_LINKS;
        for (unsigned i = 0; i < RIG_LINKS; i++)
                rig_init_link(&rig->links[i], i, port);
}

static void rig_on_event(void *user, struct link *link, const struct link_event *event)
{
        struct rig_link *l = user;

        assert_ptr_equal(l->link, link);
        assert_int_equal(l->n_stopped, 0);
        switch (event->kind) {
        case LINK_ONLINE:
                l->is_online = true;
                l->n_online++;
                break;
        case LINK_AWAY:
                l->is_online = false;
                l->n_away++;
                (void)snprintf(l->reason, sizeof(l->reason), "%s", event->reason);
                break;
        case LINK_MESSAGE:
                assert_true(l->n_received < RIG_MAX);
                l->received[l->n_received++] = (struct rig_received){
                        .message = message_ref(event->message),
                        .was_retained = event->was_retained,
                        .at_us = clock_monotonic_us(),
                };
                break;
        case LINK_ROOM: l->n_room++; break;
        case LINK_LOST: l->n_lost++; break;
        case LINK_STOPPED:
                l->n_stopped++;
                l->is_stopped = true;
                /* The hardest case: freed inside its own last event. */
                l->link = link_free(link);
                break;
        }
}

void rig_open(struct rig *rig, unsigned i, struct message *will)
{
        struct link_mosquitto_init init = {
                .conf = &rig->conf, .link = i, .will = will, .on_event = rig_on_event, .user = &rig->at[i]
        };

        rig->at[i].received = calloc(RIG_MAX, sizeof(*rig->at[i].received));
        assert_non_null(rig->at[i].received);
        assert_int_equal(link_mosquitto_new(rig->loop, &init, &rig->at[i].link), 0);
}

void rig_start(struct rig *rig, unsigned i)
{
        if (!rig->at[i].link)
                rig_open(rig, i, NULL);
        assert_int_equal(link_start(rig->at[i].link), 0);
}

struct rig_waiter {
        struct rig *rig;
        struct loop_timer *timer;
        rig_condition_fn condition;
        void *arg;
        uint64_t deadline_us;
};

static void rig_on_timer(void *user, uint64_t now_us)
{
        struct rig_waiter *w = user;

        if (w->condition(w->rig, w->arg))
                loop_exit(w->rig->loop, 0);
        else if (now_us >= w->deadline_us)
                loop_exit(w->rig->loop, 1);
        else
                loop_timer_set(w->timer, now_us + 1000);
}

static bool rig_wait_ms(struct rig *rig, rig_condition_fn condition, void *arg, unsigned ms)
{
        struct rig_waiter w = { .rig = rig, .condition = condition, .arg = arg };
        int r;

        w.deadline_us = clock_monotonic_us() + ms * USEC_PER_MSEC;
        assert_int_equal(loop_add_timer(rig->loop, rig_on_timer, &w, &w.timer), 0);
        loop_timer_set(w.timer, 0);
        r = loop_run(rig->loop);
        loop_timer_free(w.timer);
        return r == 0;
}

void rig_wait(struct rig *rig, rig_condition_fn condition, void *arg)
{
        if (!rig_wait_ms(rig, condition, arg, RIG_WAIT_MS))
                fail_msg("waited in vain; the log:\n%s", rig->log);
}

static bool rig_never(struct rig *rig, void *arg)
{
        (void)rig;
        (void)arg;
        return false;
}

void rig_run_ms(struct rig *rig, unsigned ms)
{
        (void)rig_wait_ms(rig, rig_never, NULL, ms);
}

static bool rig_is_online(struct rig *rig, void *arg)
{
        return rig->at[*(unsigned *)arg].is_online;
}

void rig_wait_online(struct rig *rig, unsigned i)
{
        rig_wait(rig, rig_is_online, &i);
}

struct rig_away {
        unsigned i;
        const char *reason;
};

static bool rig_is_away(struct rig *rig, void *arg)
{
        const struct rig_away *a = arg;
        const struct rig_link *l = &rig->at[a->i];

        return l->n_away > 0 && !l->is_online && strstr(l->reason, a->reason);
}

void rig_wait_away(struct rig *rig, unsigned i, const char *reason)
{
        rig_wait(rig, rig_is_away, &(struct rig_away){ i, reason });
}

struct rig_count {
        unsigned i;
        uint64_t n;
};

static bool rig_has_received(struct rig *rig, void *arg)
{
        const struct rig_count *c = arg;

        return rig->at[c->i].n_received >= c->n;
}

void rig_wait_received(struct rig *rig, unsigned i, size_t n)
{
        rig_wait(rig, rig_has_received, &(struct rig_count){ i, n });
}

static bool rig_has_sent(struct rig *rig, void *arg)
{
        const struct rig_count *c = arg;

        return rig_stats(rig, c->i).n_sent >= c->n;
}

void rig_wait_sent(struct rig *rig, unsigned i, uint64_t n)
{
        rig_wait(rig, rig_has_sent, &(struct rig_count){ i, n });
}

static bool rig_logged(struct rig *rig, void *arg)
{
        return rig_has_logged(rig, arg);
}

void rig_wait_log(struct rig *rig, const char *text)
{
        char copy[256];

        (void)snprintf(copy, sizeof(copy), "%s", text);
        rig_wait(rig, rig_logged, copy);
}

void rig_publish(struct rig *rig, unsigned i, const char *topic, const char *payload, uint8_t qos,
                 bool retain)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = {
                .topic = topic,
                .payload = payload,
                .payload_bytes = strlen(payload),
                .qos = qos,
                .retain = retain,
                .made_us = clock_monotonic_us(),
        };

        assert_int_equal(message_new(&init, &m), 0);
        assert_int_equal(link_publish(rig->at[i].link, m), 0);
}

struct link_stats rig_stats(struct rig *rig, unsigned i)
{
        struct link_stats stats;

        link_get_stats(rig->at[i].link, &stats);
        return stats;
}

static bool rig_is_stopped(struct rig *rig, void *arg)
{
        return rig->at[*(unsigned *)arg].is_stopped;
}

void rig_stop(struct rig *rig, unsigned i, unsigned timeout_ms)
{
        uint64_t began_us = clock_monotonic_us();

        link_stop(rig->at[i].link, began_us + timeout_ms * USEC_PER_MSEC);
        rig_wait(rig, rig_is_stopped, &i);
        assert_true(clock_monotonic_us() - began_us <= (timeout_ms + 1500) * USEC_PER_MSEC);
}

void rig_done(struct rig *rig)
{
        for (unsigned i = 0; i < RIG_LINKS; i++) {
                struct rig_link *l = &rig->at[i];

                if (l->link)
                        rig_stop(rig, i, 2000);
                for (size_t k = 0; k < l->n_received; k++)
                        message_unref(l->received[k].message);
                free(l->received);
        }
        /* Every reference to the configuration has come back: no thread, no core is left. */
        assert_int_equal(atomic_load(&rig->conf.n_refs), 1);
        rig->loop = loop_free(rig->loop);
        link_mosquitto_global_done();
        log_set_sink(NULL, NULL);
}
