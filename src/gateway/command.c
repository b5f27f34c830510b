/* SPDX-License-Identifier: MIT */
/*
 * Commands: from a message to a bus command, and from its result to an answer.
 *
 *   message ─► which point? ─► retained? too long? readable? in range? ─► bus ─► result ─► answer
 *                └── no: nothing is written; a result or a log line says why ──────┘
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"
#include "mbgate/codec/topic.h"

#include "gateway_private.h"
#include "json.h"

#define ERROR_BYTES         160
#define SEND_INTERVAL_MAX_S 86400

/* What is known of a command while it is looked at. */
struct request {
        struct gw_link *from;
        struct message *message;
        struct gw_point *point;
        char *value_json; /* what was asked for, as JSON; owned */
        char *id_json;    /* owned */
        char error_text[ERROR_BYTES];
};

static void answer(struct gateway *g, struct gw_link *origin, const struct message *request,
                   const char *result_topic, const struct gw_json_result *result)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        gw_json_result(result, &b);
        if (b.overflowed) {
                struct gw_json_result less = *result;

                /* A value or id that is too long to be repeated. */
                less.value_json = less.id_json = NULL;
                buf_reset(&b);
                gw_json_result(&less, &b);
        }
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = result_topic, .payload = b.data, .payload_bytes = b.len_bytes, .qos = 1 },
                   NULL);
        if (origin && request->response_topic)
                gw_respond(origin, request, b.data);
}

/* Without a command on its way: refused, nothing was written. First a warning, repeats at debug. */
static void refuse(struct gateway *g, struct request *q, const char *error)
{
        const struct conf_point *p = q->point->conf;
        struct log_fields fields = { .bus = p->device->bus->name,
                                     .device = p->device->name,
                                     .point = p->name };
        enum log_level level = q->point->refused_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING;

        q->point->refused_said = true;
        log_at(level, &fields, "device %s: %s: command refused: %s", p->device->name, p->name, error);
        answer(g, q->from, q->message, p->result_topic,
               &(struct gw_json_result){
                       .value_json = q->value_json, .error = error, .id_json = q->id_json });
}

/* What was asked for, as JSON, when it is short enough to be repeated in an answer. */
static char *text_as_json(const char *text, size_t n, bool is_plain_json)
{
        char room[ERROR_BYTES * 2], copy[ERROR_BYTES];
        struct buf b = BUF_ON(room);

        if (n >= sizeof(copy))
                return NULL;
        memcpy(copy, text, n);
        copy[n] = '\0';
        if (is_plain_json)
                buf_append(&b, copy);
        else
                gw_json_string(copy, &b);
        return b.overflowed ? NULL : strdup(b.data);
}

/* The value that a payload asks for, as a struct value over `*ret_text`, which the caller frees. */
static int request_read_value(struct request *q, struct value *ret, char **ret_text)
{
        const struct value_format *f = &q->point->conf->format;
        const char *text = q->message->payload;
        size_t n = q->message->payload_bytes;
        struct gw_json_command json = { .value = NULL };
        int r;

        if (f->type != VALUE_TYPE_STRING || gw_json_is_object(text, n)) {
                if (gw_json_is_object(text, n)) {
                        r = gw_json_parse_command(text, n, &json);
                        if (r < 0)
                                return r;
                        *ret_text = TAKE(json.value);
                        q->id_json = TAKE(json.id);
                        text = *ret_text;
                        n = strlen(text);
                }
        }
        if (!text_is_mqtt_utf8(text, n))
                return VALUE_E_UNREADABLE;
        q->value_json = text_as_json(text, n, false);
        return value_parse(f, text, n, ret);
}

static const char *request_error(struct request *q, int r)
{
        const struct value_format *f = &q->point->conf->format;
        struct buf b = BUF_ON(q->error_text);

        if (r == -EINVAL)
                return "unreadable: JSON must be an object with \"value\"";
        if (r < 0)
                return strerror(-r);
        buf_append(&b, value_error_text((enum value_error)r));
        if (r == VALUE_E_RANGE && f->has_min && f->has_max)
                buf_printf(&b, ": %.12g to %.12g is allowed", f->min, f->max);
        else if (r == VALUE_E_UNREADABLE)
                buf_append(&b, f->n_labels ? ": a number or one of the labels is wanted"
                                           : ": a number is wanted");
        return b.data;
}

static struct gw_pending *pending_new(struct gateway *g, const struct request *q, enum gw_target_kind kind)
{
        struct gw_pending *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        w->id = ++g->next_command_id;
        w->kind = kind;
        w->bus = q->point->conf->device->bus->id;
        w->point = q->point->conf->id;
        w->origin = q->from ? q->from->link : NULL;
        w->request = message_ref(q->message);
        return w;
}

static void pending_free(struct gw_pending *w)
{
        message_unref(w->request);
        free(w->value_json);
        free(w->id_json);
        free(w);
}

static void pending_remove(struct gateway *g, struct gw_pending *w)
{
        HASH_DEL(g->pending, w);
        pending_free(w);
}

static struct gw_link *link_of(struct gateway *g, const struct link *link)
{
        for (struct gw_link *l = g->links; l; l = l->next) {
                if (l->link == link)
                        return l;
        }
        return NULL;
}

/* Hands a command to the bus. 0, or −errno with nothing done. Takes the texts of *q on success. */
static int request_post(struct gateway *g, struct request *q, enum gw_target_kind kind,
                        struct bus_command *command)
{
        struct mailbox *box = g->buses[q->point->conf->device->bus->id].commands;
        struct gw_pending *w = pending_new(g, q, kind);
        int r;

        if (!w)
                return -ENOMEM;
        command->id = w->id;
        command->generation = g->conf->generation;
        command->op = kind == GW_TARGET_SET ? BUS_OP_WRITE : BUS_OP_READ;
        command->point = q->point->conf->id;
        command->posted_us = loop_now_us(g->loop);
        command->deadline_us = command->posted_us + g->conf->gateway.command_timeout_ms * USEC_PER_MSEC;
        r = box ? mailbox_post(box, &command->mail) : -ESHUTDOWN;
        if (r < 0) {
                pending_free(w);
                return r;
        }
        w->value_json = TAKE(q->value_json);
        w->id_json = TAKE(q->id_json);
        HASH_ADD(hh, g->pending, id, sizeof(w->id), w);
        if (kind == GW_TARGET_SET)
                q->point->n_writes++;
        return 0;
}

static void request_hand_over(struct gateway *g, struct request *q, enum gw_target_kind kind,
                              struct bus_command *command)
{
        int r = request_post(g, q, kind, command);

        if (r == 0)
                return;
        mail_free(&command->mail);
        refuse(g, q,
               r == -ENOBUFS  ? "too many commands wait for this bus: try again later"
               : r == -ENOMEM ? "out of memory"
                              : bus_outcome_text(BUS_RESULT_STOPPED));
}

static void command_set(struct gateway *g, struct request *q)
{
        const struct conf_point *p = q->point->conf;
        CLEANUP(cleanup_free)
        char *text = NULL;
        struct bus_command *command;
        struct value value;
        int r;

        if (!p->writable)
                return refuse(g, q, "not writable");
        r = request_read_value(q, &value, &text);
        if (r != 0)
                return refuse(g, q, request_error(q, r));
        if (bus_command_new(&command) < 0)
                return refuse(g, q, "out of memory");
        r = value_encode(&p->format, &value, command->regs, command->mask);
        if (r != 0) {
                mail_free(&command->mail);
                return refuse(g, q, request_error(q, r));
        }
        if (value.kind != VALUE_TEXT) {
                /* Numbers are answered as numbers. */
                char room[GW_PAYLOAD_BYTES];
                struct buf b = BUF_ON(room);
                struct value_format plain = p->format;

                plain.n_labels = 0;
                value_print(&plain, &value, &b);
                free(q->value_json);
                q->value_json = text_as_json(b.data, b.len_bytes, true);
        }
        command->n_regs = (uint16_t)value_n_regs(&p->format);
        command->read_back = p->read_back;
        request_hand_over(g, q, GW_TARGET_SET, command);
}

static void command_get(struct gateway *g, struct request *q)
{
        struct bus_command *command;

        if (bus_command_new(&command) < 0)
                return refuse(g, q, "out of memory");
        request_hand_over(g, q, GW_TARGET_GET, command);
}

/* Whole seconds; 0 and what is unreadable mean the default: the configured one, or 10. */
static void command_send_interval(struct gateway *g, struct gw_link *from, struct gw_device *d,
                                  const struct message *m)
{
        char topic[GW_TOPIC_BYTES], value[16];
        struct buf t = BUF_ON(topic), v = BUF_ON(value);
        int64_t seconds = 0;

        if (text_parse_i64(m->payload, m->payload_bytes, 1, SEND_INTERVAL_MAX_S, &seconds) < 0)
                seconds = d->conf->send_interval_s ? d->conf->send_interval_s : GW_SEND_INTERVAL_DEFAULT_S;
        if (d->send_interval_s != (uint32_t)seconds)
                log_info(&(struct log_fields){ .device = d->conf->name },
                         "device %s: send interval is %" PRId64 " s now", d->conf->name, seconds);
        d->send_interval_s = (uint32_t)seconds;
        d->send_due_us = loop_now_us(g->loop) + (uint64_t)seconds * USEC_PER_SEC;
        gw_wake_at(g, d->send_due_us);
        buf_printf(&t, "%s/send_interval/result", d->conf->topic);
        buf_printf(&v, "%" PRId64, seconds);
        answer(g, from, m, t.data, &(struct gw_json_result){ .ok = true, .value_json = v.data });
}

/* The topic behind the part of a `subscribe` filter that stands before its wildcard: "remote/#" takes
 * "remote/" off. */
static struct gw_target *target_behind_mask(struct gateway *g, const struct gw_link *l, const char *topic)
{
        struct gw_target *t = NULL;

        for (size_t i = 0; l->conf && i < l->conf->n_subscribe && !t; i++) {
                const char *mask = l->conf->subscribe[i];
                size_t n = strlen(mask);

                if (n < 2 || mask[n - 1] != '#' || strncmp(mask, topic, n - 1) != 0)
                        continue;
                HASH_FIND_STR(g->map, topic + n - 1, t);
        }
        return t;
}

static struct gw_target *target_of(struct gateway *g, const struct gw_link *l, const struct message *m)
{
        const char *prefix = l->conf ? l->conf->prefix : "", *topic = m->topic;
        struct gw_target *t = NULL;

        if (strncmp(topic, prefix, strlen(prefix)) == 0)
                topic += strlen(prefix);
        HASH_FIND_STR(g->map, topic, t);
        return t ? t : target_behind_mask(g, l, topic);
}

/* A retained command fires at every start: only points that say so take it. */
static bool is_retained_refused(struct gw_point *p, const struct link_event *event)
{
        const struct conf_point *conf = p->conf;
        struct log_fields fields = { .device = conf->device->name, .point = conf->name };

        if (!event->was_retained || conf->accept_retained)
                return false;
        log_at(p->retained_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, &fields,
               "device %s: %s: retained command ignored (accept_retained is off)", conf->device->name,
               conf->name);
        p->retained_said = true;
        return true;
}

static void on_point_message(struct gateway *g, struct gw_link *l, const struct link_event *event,
                             const struct gw_target *t)
{
        struct request q = { .from = l, .message = event->message, .point = g->points[t->point] };

        if (is_retained_refused(q.point, event))
                return;
        if (g->is_stopping)
                refuse(g, &q, "the gateway is stopping");
        else if (event->message->payload_bytes > g->conf->gateway.command_max_bytes)
                refuse(g, &q, "too long");
        else if (t->kind == GW_TARGET_SET)
                command_set(g, &q);
        else
                command_get(g, &q);
        free(q.value_json);
        free(q.id_json);
}

void gw_on_message(struct gateway *g, struct gw_link *l, const struct link_event *event)
{
        struct gw_target *t = target_of(g, l, event->message);

        if (!t) {
                if (!event->was_retained || !g->unknown_said)
                        log_at(g->unknown_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, NULL,
                               "link %s: no point takes commands at \"%.200s\"", l->link->name,
                               event->message->topic);
                g->unknown_said = true;
                return;
        }
        if (t->kind == GW_TARGET_SEND_INTERVAL)
                command_send_interval(g, l, t->device, event->message);
        else
                on_point_message(g, l, event, t);
}

static void answer_pending(struct gateway *g, const struct gw_pending *w, const struct gw_json_result *result)
{
        const struct conf_point *p = g->points[w->point]->conf;

        answer(g, link_of(g, w->origin), w->request, p->result_topic, result);
}

static void log_failure(struct gw_point *point, const struct bus_result *result, const char *error)
{
        const struct conf_point *p = point->conf;
        struct log_fields fields = { .bus = p->device->bus->name,
                                     .device = p->device->name,
                                     .point = p->name,
                                     .exception = result->exception };

        log_at(point->refused_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, &fields,
               "device %s: %s: command failed: %s", p->device->name, p->name, error);
        point->refused_said = true;
}

static const char *result_error(const struct bus_result *result, char text[ERROR_BYTES])
{
        struct buf b = buf_on(text, ERROR_BYTES);

        if (result->outcome == BUS_RESULT_OK)
                return NULL;
        if (result->outcome != BUS_RESULT_EXCEPTION)
                return bus_outcome_text(result->outcome);
        buf_printf(&b, "exception %u: %s", result->exception, pdu_exception_name(result->exception));
        return b.data;
}

static void finish_pending(struct gateway *g, struct gw_pending *w, const struct bus_result *result)
{
        struct gw_point *p = g->points[w->point];
        char text[ERROR_BYTES];
        const char *error = result_error(result, text);

        if (w->kind == GW_TARGET_SET) {
                p->n_writes -= p->n_writes > 0;
                if (result->began_us > 0 && result->done_us > p->hold_us)
                        p->hold_us = result->done_us;
        }
        if (error)
                log_failure(p, result, error);
        else
                p->refused_said = false;
        if (w->kind == GW_TARGET_GET && !error && w->request->response_topic) {
                w->is_answered = true; /* its sample is on the way */
                return;
        }
        if (w->kind == GW_TARGET_SET || error)
                answer_pending(
                        g, w,
                        &(struct gw_json_result){
                                .ok = !error,
                                .value_json = w->value_json,
                                .error = error,
                                .exception = result->exception,
                                .latency_ms = (double)(loop_now_us(g->loop) - w->request->made_us) / 1e3,
                                .id_json = w->id_json,
                        });
        pending_remove(g, w);
}

void gw_on_result(struct gateway *g, const struct bus_result *result)
{
        struct gw_pending *w = NULL;

        HASH_FIND(hh, g->pending, &result->id, sizeof(result->id), w);
        if (w)
                finish_pending(g, w, result);
}

/* Answers those who asked with /get and a response topic. */
void gw_on_demanded_sample(struct gateway *g, struct gw_point *p)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);
        struct gw_pending *w, *next;

        if (!g->pending)
                return;
        gw_payload_value(&p->value, &b);
        HASH_ITER (hh, g->pending, w, next) {
                struct gw_link *l = link_of(g, w->origin);
                char answer_text[GW_PAYLOAD_BYTES + ERROR_BYTES];
                struct buf out = BUF_ON(answer_text);

                if (!w->is_answered || w->point != p->conf->id)
                        continue;
                gw_json_result(
                        &(struct gw_json_result){
                                .ok = p->value.quality == QUALITY_GOOD,
                                .value_json = b.data,
                                .error = p->value.quality == QUALITY_GOOD ? NULL : "no value",
                                .latency_ms = (double)(loop_now_us(g->loop) - w->request->made_us) / 1e3,
                                .id_json = w->id_json },
                        &out);
                if (l)
                        gw_respond(l, w->request, out.data);
                pending_remove(g, w);
        }
}

void gw_pending_drop_bus(struct gateway *g, uint32_t bus)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                if (w->bus != bus)
                        continue;
                if (w->is_answered)
                        pending_remove(g, w);
                else
                        finish_pending(g, w,
                                       &(struct bus_result){ .id = w->id, .outcome = BUS_RESULT_STOPPED });
        }
}

void gw_pending_free(struct gateway *g)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                pending_remove(g, w);
        }
}
