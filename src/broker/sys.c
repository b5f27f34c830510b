/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/codec/topic.h"

#include "broker_private.h"

#define SYS_PREFIX      "$SYS/broker/"
#define SYS_TOPIC_BYTES 256

/* The list of clients says of how many more it has no room to tell. */
#define SYS_LIST_BYTES       ((size_t)128 * 1024)
#define SYS_LIST_ENTRY_BYTES 1024

/* Over minutes. */
static const unsigned load_minutes[] = { 1, 5, 15 };

/* A number: a member of struct broker, or worked out. */
struct sys_number {
        const char *topic;
        size_t offset;
        uint64_t (*get)(struct broker *b);
};

/* A counter whose growth a minute is averaged. */
struct sys_load {
        const char *topic;
        size_t offset;
};

#define COUNTER(member) offsetof(struct broker, stats.member)

static uint64_t get_connected(struct broker *b)
{
        return b->n_clients;
}

static uint64_t get_away(struct broker *b)
{
        return b->n_away;
}

static uint64_t get_total(struct broker *b)
{
        return b->n_clients + b->n_away;
}

static uint64_t get_maximum(struct broker *b)
{
        return b->stats.max_connected;
}

static uint64_t get_inflight(struct broker *b)
{
        uint64_t n = 0;

        for (const struct session *s = b->sessions; s; s = s->hh.next)
                n += s->queue ? queue_n_inflight(s->queue) : 0;
        return n;
}

static uint64_t get_stored(struct broker *b)
{
        uint64_t n = retained_n_messages(b->retained);

        for (const struct session *s = b->sessions; s; s = s->hh.next)
                n += s->queue ? queue_n_waiting(s->queue) + queue_n_inflight(s->queue) : 0;
        return n;
}

static uint64_t get_stored_bytes(struct broker *b)
{
        return retained_n_bytes(b->retained) + b->n_queued_bytes;
}

static uint64_t get_disk_messages(struct broker *b)
{
        uint64_t n_messages, n_bytes;

        persistence_stats(b->persistence, &n_messages, &n_bytes);
        return n_messages;
}

static uint64_t get_disk_bytes(struct broker *b)
{
        uint64_t n_messages, n_bytes;

        persistence_stats(b->persistence, &n_messages, &n_bytes);
        return n_bytes;
}

static uint64_t get_retained(struct broker *b)
{
        return retained_n_messages(b->retained);
}

static uint64_t get_subscriptions(struct broker *b)
{
        return subscriptions_total(b->subscriptions);
}

static uint64_t get_shared_subscriptions(struct broker *b)
{
        return subscriptions_total_shared(b->subscriptions);
}

static uint64_t get_heap(struct broker *b UNUSED)
{
        struct mallinfo2 m = mallinfo2();

        return m.uordblks + m.hblkhd;
}

static uint64_t get_heap_maximum(struct broker *b)
{
        static uint64_t maximum; /* of the process */
        uint64_t now = get_heap(b);

        maximum = MBGATE_MAX(maximum, now);
        return maximum;
}

/* mosquitto's names, and what it has no name for: store/disk, clients/list. */
static const struct sys_number numbers[] = {
        { "clients/connected", 0, get_connected },
        { "clients/active", 0, get_connected },
        { "clients/disconnected", 0, get_away },
        { "clients/inactive", 0, get_away },
        { "clients/total", 0, get_total },
        { "clients/maximum", 0, get_maximum },
        { "clients/expired", COUNTER(n_expired), NULL },
        { "messages/received", COUNTER(n_packets_in), NULL },
        { "messages/sent", COUNTER(n_packets_out), NULL },
        { "messages/inflight", 0, get_inflight },
        { "messages/stored", 0, get_stored },
        { "store/messages/count", 0, get_stored },
        { "store/messages/bytes", 0, get_stored_bytes },
        { "store/disk/messages", 0, get_disk_messages },
        { "store/disk/bytes", 0, get_disk_bytes },
        { "publish/messages/received", COUNTER(n_publish_in), NULL },
        { "publish/messages/sent", COUNTER(n_publish_out), NULL },
        { "publish/messages/dropped", COUNTER(n_publish_dropped), NULL },
        { "bytes/received", COUNTER(n_bytes_in), NULL },
        { "bytes/sent", COUNTER(n_bytes_out), NULL },
        { "publish/bytes/received", COUNTER(n_publish_bytes_in), NULL },
        { "publish/bytes/sent", COUNTER(n_publish_bytes_out), NULL },
        { "subscriptions/count", 0, get_subscriptions },
        { "shared_subscriptions/count", 0, get_shared_subscriptions },
        { "retained messages/count", 0, get_retained },
        { "heap/current", 0, get_heap },
        { "heap/maximum", 0, get_heap_maximum },
};

static const struct sys_load loads[] = {
        { "messages/received", COUNTER(n_packets_in) },
        { "messages/sent", COUNTER(n_packets_out) },
        { "publish/received", COUNTER(n_publish_in) },
        { "publish/sent", COUNTER(n_publish_out) },
        { "publish/dropped", COUNTER(n_publish_dropped) },
        { "bytes/received", COUNTER(n_bytes_in) },
        { "bytes/sent", COUNTER(n_bytes_out) },
        { "sockets", COUNTER(n_sockets) },
        { "connections", COUNTER(n_connects) },
};

struct load_state {
        uint64_t count;                           /* at the last look */
        double average[ARRAY_SIZE(load_minutes)]; /* a minute */
        uint64_t said[ARRAY_SIZE(load_minutes)];  /* in hundredths */
};

struct sys {
        struct broker *broker;
        struct loop_timer *timer;
        uint64_t start_us, last_us;
        bool has_said; /* the topics are there */
        uint64_t said[ARRAY_SIZE(numbers)];
        struct load_state loads[ARRAY_SIZE(loads)];
};

/* ---- saying ---- */

static void sys_publish(struct broker *b, const char *topic, const void *payload, size_t n_payload)
{
        struct publication p = {
                .topic = topic,
                .n_topic = strlen(topic),
                .payload = payload,
                .n_payload = n_payload,
                .made_us = transport_now_us(b->transport),
                .retain = true,
                .is_own = true,
        };
        uint64_t stored;

        (void)!router_publish(b, &p, NULL, &stored);
        publication_done(&p);
}

PRINTF_LIKE(3, 4) static void sys_say(struct broker *b, const char *topic, const char *fmt, ...)
{
        char name[SYS_TOPIC_BYTES], text[64];
        struct buf name_buf = BUF_ON(name), text_buf = BUF_ON(text);
        va_list ap;

        va_start(ap, fmt);
        buf_vprintf(&text_buf, fmt, ap);
        va_end(ap);
        buf_printf(&name_buf, SYS_PREFIX "%s", topic);
        sys_publish(b, name, text, text_buf.len_bytes);
}

static uint64_t counter_at(const struct broker *b, size_t offset)
{
        uint64_t value;

        memcpy(&value, (const char *)b + offset, sizeof(value));
        return value;
}

static void sys_say_numbers(struct sys *sys)
{
        struct broker *b = sys->broker;

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                const struct sys_number *n = &numbers[i];
                uint64_t value = n->get ? n->get(b) : counter_at(b, n->offset);

                if (sys->has_said && value == sys->said[i])
                        continue;
                sys->said[i] = value;
                sys_say(b, n->topic, "%" PRIu64, value);
        }
}

/* Exponentially weighted, as the load of a system is: what was N minutes ago counts 1/e. */
static void sys_say_load(struct sys *sys, const struct sys_load *load, struct load_state *state,
                         double minutes)
{
        uint64_t count = counter_at(sys->broker, load->offset);
        double rate = minutes > 0 ? (double)(count - state->count) / minutes : 0;

        state->count = count;
        for (size_t i = 0; i < ARRAY_SIZE(load_minutes); i++) {
                char topic[64];
                uint64_t hundredths;

                state->average[i] = rate + exp(-minutes / load_minutes[i]) * (state->average[i] - rate);
                hundredths = (uint64_t)(state->average[i] * 100 + 0.5);
                if (sys->has_said && hundredths == state->said[i])
                        continue;
                state->said[i] = hundredths;
                (void)snprintf(topic, sizeof(topic), "load/%s/%umin", load->topic, load_minutes[i]);
                sys_say(sys->broker, topic, "%" PRIu64 ".%02u", hundredths / 100,
                        (unsigned)(hundredths % 100));
        }
}

/* ---- the list of clients ---- */

static void json_text(struct buf *out, const char *text)
{
        buf_append_char(out, '"');
        for (const char *p = text; *p; p++) {
                unsigned char c = (unsigned char)*p;

                if (c == '"' || c == '\\')
                        buf_append_char(out, '\\');
                if (c < 0x20 || c == 0x7F)
                        buf_printf(out, "\\u%04x", c);
                else
                        buf_append_char(out, *p);
        }
        buf_append_char(out, '"');
}

static void list_client(const struct connection *c, int64_t wall_us, uint64_t now_us, struct buf *out)
{
        static const char *const versions[] = {
                [MQTT_V31] = "3.1", [MQTT_V311] = "3.1.1", [MQTT_V5] = "5.0"
        };
        const struct session *s = c->session;
        int64_t since_us = wall_us - (int64_t)(now_us - c->since_us);
        char since[CLOCK_RFC3339_BYTES];

        /* To the second: the two clocks do not run at quite the same rate. */
        since_us = (since_us + (int64_t)USEC_PER_SEC / 2) / (int64_t)USEC_PER_SEC * (int64_t)USEC_PER_SEC;
        clock_format_rfc3339(since_us, since);
        buf_append(out, "{\"id\":");
        json_text(out, s->id);
        buf_append(out, ",\"address\":");
        json_text(out, c->peer->address);
        buf_printf(out, ",\"port\":%u,\"user\":", c->peer->port);
        if (s->user)
                json_text(out, s->user);
        else
                buf_append(out, "null");
        buf_printf(out, ",\"protocol\":\"%s\",\"since\":\"%.19sZ\",\"queued\":%zu,\"dropped\":%" PRIu32 "}",
                   versions[c->version], since, s->queue ? queue_n_waiting(s->queue) : 0, s->n_dropped);
}

static void list_write(const struct broker *b, struct buf *out)
{
        int64_t wall_us = clock_wall_us();
        uint64_t now_us = transport_now_us(b->transport);
        size_t n_left = b->n_clients;
        const char *separator = "";

        buf_append(out, "{\"clients\":[");
        for (const struct connection *c = b->connections; c; c = c->next) {
                char entry[SYS_LIST_ENTRY_BYTES];
                struct buf text = BUF_ON(entry);

                if (!c->session || out->len_bytes + SYS_LIST_ENTRY_BYTES + 64 > out->size_bytes)
                        continue;
                list_client(c, wall_us, now_us, &text);
                if (text.overflowed)
                        continue; /* an id of kilobytes: counted below */
                buf_append(out, separator);
                buf_append(out, entry);
                separator = ",";
                n_left--;
        }
        buf_printf(out, "],\"not_shown\":%zu}", n_left);
}

static void sys_say_clients(const struct sys *sys)
{
        static const char topic[] = SYS_PREFIX "clients/list";
        struct broker *b = sys->broker;
        CLEANUP(cleanup_free)
        char *text = malloc(SYS_LIST_BYTES);
        const struct message *last;
        struct buf out;

        if (!text)
                return;
        out = buf_on(text, SYS_LIST_BYTES);
        list_write(b, &out);
        last = retained_get(b->retained, topic, sizeof(topic) - 1, transport_now_us(b->transport));
        if (!last || last->payload_bytes != out.len_bytes || memcmp(last->payload, text, out.len_bytes) != 0)
                sys_publish(b, topic, text, out.len_bytes);
}

/* ---- time ---- */

static void sys_say_all(struct sys *sys, uint64_t now_us)
{
        struct broker *b = sys->broker;
        double minutes = (double)(now_us - sys->last_us) / (60 * (double)USEC_PER_SEC);

        if (!sys->has_said)
                sys_say(b, "version", "mbgate version " MBGATE_VERSION);
        sys_say(b, "uptime", "%" PRIu64 " seconds", (now_us - sys->start_us) / USEC_PER_SEC);
        sys_say_numbers(sys);
        for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
                sys_say_load(sys, &loads[i], &sys->loads[i], minutes);
        sys_say_clients(sys);
        sys->has_said = true;
        sys->last_us = now_us;
}

/* An empty retained message clears a topic. */
static void sys_clear(struct sys *sys)
{
        struct broker *b = sys->broker;

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                sys_say(b, numbers[i].topic, "%s", "");
        for (size_t i = 0; i < ARRAY_SIZE(loads) * ARRAY_SIZE(load_minutes); i++) {
                char topic[64];

                (void)snprintf(topic, sizeof(topic), "load/%s/%umin",
                               loads[i / ARRAY_SIZE(load_minutes)].topic,
                               load_minutes[i % ARRAY_SIZE(load_minutes)]);
                sys_say(b, topic, "%s", "");
        }
        sys_say(b, "version", "%s", "");
        sys_say(b, "uptime", "%s", "");
        sys_say(b, "clients/list", "%s", "");
        sys->has_said = false;
}

static void sys_on_timer(void *user, uint64_t now_us)
{
        struct sys *sys = user;

        sys_say_all(sys, now_us);
        sys_reconfigure(sys);
        transport_wake(sys->broker->transport);
}

void sys_reconfigure(struct sys *sys)
{
        uint32_t interval_s = broker_conf(sys->broker)->sys_interval_s;
        uint64_t next_us = sys->last_us + interval_s * USEC_PER_SEC;

        if (interval_s == 0 && sys->has_said)
                sys_clear(sys);
        loop_timer_set(sys->timer, interval_s == 0 ? CLOCK_NEVER_US
                                   : sys->has_said ? next_us
                                                   : sys->start_us);
}

int sys_new(struct broker *b, struct sys **ret_sys)
{
        struct sys *sys = calloc(1, sizeof(*sys));
        int r;

        if (!sys)
                return -ENOMEM;
        sys->broker = b;
        sys->start_us = sys->last_us = loop_now_us(b->loop);
        r = loop_add_timer(b->loop, sys_on_timer, sys, &sys->timer);
        if (r < 0) {
                free(sys);
                return r;
        }
        sys_reconfigure(sys);
        *ret_sys = sys;
        return 0;
}

struct sys *sys_free(struct sys *sys)
{
        if (!sys)
                return NULL;
        sys->timer = loop_timer_free(sys->timer);
        free(sys);
        return NULL;
}

void broker_tell_link(struct broker *b, const char *name, const char *state)
{
        char topic[SYS_TOPIC_BYTES];
        struct buf text = BUF_ON(topic);

        buf_printf(&text, SYS_PREFIX "connection/%s/state", name);
        if (broker_conf(b)->sys_interval_s == 0 || text.overflowed || !topic_is_name(topic, text.len_bytes))
                return;
        sys_publish(b, topic, state, strlen(state));
        transport_wake(b->transport);
}
