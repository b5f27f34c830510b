/* SPDX-License-Identifier: MIT */
/* Commands on their way: who waits, what the bus says, and the answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "command.h"

/*
 * A worker answers every command. Should an answer be lost, the point must not be deaf for ever: after the
 * command's own deadline, all its tries, and this.
 */
#define PENDING_SLACK_US (30 * USEC_PER_SEC)

static void result_print(const struct gw_json_result *result, struct buf *out)
{
        struct gw_json_result less = *result;

        gw_json_result(result, out);
        if (!out->overflowed)
                return;
        /* A value or id that is too long to be repeated. */
        less.value_json = less.id_json = NULL;
        buf_reset(out);
        gw_json_result(&less, out);
}

void gw_answer_json(struct gateway *g, struct gw_link *origin, const struct message *request,
                    const char *result_topic, uint8_t qos, const char *json)
{
        if (result_topic)
                gw_publish(g,
                           &(struct gw_publication){
                                   .topic = result_topic,
                                   .payload = json,
                                   .payload_bytes = strlen(json),
                                   .qos = qos,
                                   .also = origin ? origin->link : NULL,
                           },
                           NULL);
        if (origin)
                gw_respond(origin, request, json);
}

void gw_answer(struct gateway *g, struct gw_link *origin, const struct message *request,
               const char *result_topic, uint8_t qos, const struct gw_json_result *result)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        result_print(result, &b);
        gw_answer_json(g, origin, request, result_topic, qos, b.data);
}

/* When the last try of the slowest command is over, with room to spare. */
static uint64_t pending_deadline_us(const struct conf_device *d, const struct bus_command *command)
{
        uint64_t tries = 3 * (uint64_t)(d->retries + 1);

        return command->deadline_us + tries * d->response_timeout_ms * USEC_PER_MSEC + PENDING_SLACK_US;
}

static void pending_free(struct gw_pending *w)
{
        message_unref(w->request);
        conf_unref(w->conf_ref);
        free(w->value_json);
        free(w->id_json);
        free(w);
}

static void pending_remove(struct gateway *g, struct gw_pending *w)
{
        HASH_DEL(g->pending, w);
        pending_free(w);
}

static int pending_new(struct gateway *g, const struct gw_request *q, enum gw_target_kind kind,
                       const struct bus_command *command, struct gw_pending **ret)
{
        const struct conf_point *p = q->point->conf;
        struct gw_pending *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        w->id = command->id;
        w->kind = kind;
        w->box = g->buses[p->device->bus->id].commands;
        w->point = p->id;
        w->conf_ref = conf_ref(g->conf);
        w->asked = p;
        w->deadline_us = pending_deadline_us(p->device, command);
        w->origin = q->from->link;
        w->request = message_ref(q->message);
        HASH_ADD(hh, g->pending, id, sizeof(w->id), w);
        if (!gw_was_added(w)) {
                pending_free(w);
                return -ENOMEM;
        }
        *ret = w;
        return 0;
}

/* −errno as of mailbox_post(). *ret_old: what the command made pointless before the worker saw it, or NULL.
 */
static int command_post(struct mailbox *box, const struct conf_point *p, struct bus_command *command,
                        struct mail **ret_old)
{
        *ret_old = NULL;
        if (!box)
                return -ESHUTDOWN;
        if (command->op == BUS_OP_WRITE && p->writes == CONF_WRITES_NEWEST)
                return mailbox_post_newest(box, &command->mail, bus_command_is_newer, ret_old);
        return mailbox_post(box, &command->mail);
}

static void answer_replaced(struct gateway *g, struct mail *old)
{
        const struct bus_command *c = CONTAINER_OF(old, struct bus_command, mail);

        gw_on_result(g, &(struct bus_result){ .id = c->id, .outcome = BUS_RESULT_REPLACED });
        mail_free(old);
}

int gw_pending_post(struct gateway *g, struct gw_request *q, enum gw_target_kind kind,
                    struct bus_command *command)
{
        const struct conf_point *p = q->point->conf;
        struct mailbox *box = g->buses[p->device->bus->id].commands;
        struct mail *old = NULL;
        struct gw_pending *w;
        int r;

        command->id = ++g->next_command_id;
        command->generation = g->conf->generation;
        command->op = kind == GW_TARGET_SET ? BUS_OP_WRITE : BUS_OP_READ;
        command->point = p->id;
        command->posted_us = loop_now_us(g->loop);
        command->deadline_us = command->posted_us + g->conf->gateway.command_timeout_ms * USEC_PER_MSEC;
        r = pending_new(g, q, kind, command, &w);
        if (r < 0)
                return r;
        r = command_post(box, p, command, &old);
        if (r < 0) {
                pending_remove(g, w);
                return r;
        }
        w->value_json = TAKE(q->value_json);
        w->id_json = TAKE(q->id_json);
        w->dedupe_key = q->dedupe_key;
        if (w->dedupe_key)
                gw_dedupe_begin(&g->dedupe, w->dedupe_key, command->posted_us);
        g->pending_due_us = MBGATE_MIN(g->pending_due_us, w->deadline_us);
        gw_wake_at(g, g->pending_due_us);
        if (kind == GW_TARGET_SET)
                q->point->n_writes++;
        if (old)
                answer_replaced(g, old);
        return 0;
}

static double pending_latency_ms(struct gateway *g, const struct gw_pending *w)
{
        uint64_t now_us = loop_now_us(g->loop), made_us = w->request->made_us;

        return now_us > made_us ? (double)(now_us - made_us) / 1e3 : 0.0;
}

/* NULL: its point is no more there. */
static struct gw_point *point_of(const struct gateway *g, const struct gw_pending *w)
{
        return w->point == GW_GONE ? NULL : g->points[w->point];
}

/* `point` is NULL when a reload took it away: then each failure is said. */
static void log_failure(struct gateway *g, const struct conf_point *p, struct gw_point *point,
                        const struct bus_result *result, const char *error)
{
        struct log_fields fields = { .bus = p->device->bus->name,
                                     .device = p->device->name,
                                     .point = p->name,
                                     .exception = result->exception };
        struct gw_quiet gone = { .until_us = 0 };
        char more[GW_QUIET_BYTES];
        enum log_level level;

        if (result->outcome == BUS_RESULT_REPLACED)
                return; /* as configured */
        level = gw_quiet_level(point ? &point->refused : &gone, loop_now_us(g->loop), more);
        log_at(level, &fields, "device %s: %s: command failed: %s%s", p->device->name, p->name, error, more);
}

static const char *result_error(const struct bus_result *result, char text[GW_ERROR_BYTES])
{
        struct buf b = buf_on(text, GW_ERROR_BYTES);

        if (result->outcome == BUS_RESULT_OK)
                return NULL;
        if (result->outcome != BUS_RESULT_EXCEPTION)
                return bus_outcome_text(result->outcome);
        buf_printf(&b, "exception %u: %s", result->exception, pdu_exception_name(result->exception));
        return b.data;
}

static void point_was_written(struct gw_point *p, const struct bus_result *result)
{
        p->n_writes -= p->n_writes > 0;
        if (result->began_us > 0 && result->done_us > p->hold_us)
                p->hold_us = result->done_us;
}

/* Whether a write was done, or may have been: then it must not be done again. */
static bool result_is_final(const struct bus_result *result)
{
        return result->outcome == BUS_RESULT_OK || result->outcome == BUS_RESULT_TIMEOUT ||
               (result->outcome == BUS_RESULT_PORT && result->began_us > 0);
}

static void pending_answer(struct gateway *g, struct gw_pending *w, const struct bus_result *result,
                           const char *error)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(text);

        result_print(
                &(struct gw_json_result){
                        .ok = !error,
                        .value_json = w->value_json,
                        .error = error,
                        .exception = result->outcome == BUS_RESULT_EXCEPTION ? result->exception : 0,
                        .latency_ms = pending_latency_ms(g, w),
                        .id_json = w->id_json,
                },
                &b);
        gw_answer_json(g, gw_link_find(g, w->origin), w->request, w->asked->result_topic, w->asked->qos,
                       b.data);
        gw_dedupe_end(&g->dedupe, w->dedupe_key, result_is_final(result) ? b.data : NULL);
}

/* Answers at the response topic of a /get, with the value that came, or NULL: none did. */
static void pending_respond_value(struct gateway *g, struct gw_pending *w, const struct gw_value *v)
{
        char value[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(value);
        bool is_good = v && v->quality == QUALITY_GOOD;

        if (is_good)
                gw_payload_value(v, &b);
        gw_answer(g, gw_link_find(g, w->origin), w->request, NULL, 0,
                  &(struct gw_json_result){
                          .ok = is_good,
                          .value_json = is_good ? b.data : NULL,
                          .error = is_good ? NULL : "no value",
                          .latency_ms = pending_latency_ms(g, w),
                          .id_json = w->id_json,
                  });
        pending_remove(g, w);
}

static void pending_finish(struct gateway *g, struct gw_pending *w, const struct bus_result *result)
{
        struct gw_point *p = point_of(g, w);
        char text[GW_ERROR_BYTES];
        const char *error = result_error(result, text);

        if (p && w->kind == GW_TARGET_SET)
                point_was_written(p, result);
        if (error)
                log_failure(g, w->asked, p, result, error);
        if (p && w->kind == GW_TARGET_GET && !error && w->request->response_topic) {
                w->is_answered = true; /* its sample is on the way */
                return;
        }
        if (!p && w->kind == GW_TARGET_GET && !error) {
                pending_respond_value(g, w, NULL);
                return;
        }
        /* What /get brought is published as the value; only its failure needs saying. */
        if (w->kind == GW_TARGET_SET || error)
                pending_answer(g, w, result, error);
        pending_remove(g, w);
}

void gw_on_result(struct gateway *g, const struct bus_result *result)
{
        struct gw_pending *w = NULL;

        HASH_FIND(hh, g->pending, &result->id, sizeof(result->id), w);
        if (w)
                pending_finish(g, w, result);
}

void gw_on_demanded_sample(struct gateway *g, const struct gw_point *p, const struct gw_value *v)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                if (w->is_answered && w->point == p->conf->id)
                        pending_respond_value(g, w, v);
        }
}

/* No result will come: one is made up. */
static void pending_give_up(struct gateway *g, struct gw_pending *w, enum bus_outcome outcome)
{
        if (w->is_answered)
                pending_respond_value(g, w, NULL);
        else
                pending_finish(g, w, &(struct bus_result){ .id = w->id, .outcome = outcome });
}

void gw_pending_drop_bus(struct gateway *g, const struct mailbox *box)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                if (w->box == box)
                        pending_give_up(g, w, BUS_RESULT_STOPPED);
        }
}

void gw_pending_follow(struct gateway *g, const struct gw_past *past)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                if (w->point != GW_GONE)
                        w->point = past->points[w->point];
                if (w->point == GW_GONE && w->is_answered)
                        pending_respond_value(g, w, NULL); /* the sample will be nobody's */
                else if (w->point != GW_GONE && w->kind == GW_TARGET_SET)
                        g->points[w->point]->n_writes++;
        }
}

/* Another link may get the same address. */
void gw_pending_drop_link(struct gateway *g, const struct link *link)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next) {
                if (w->origin == link)
                        w->origin = NULL;
        }
}

void gw_pending_tick(struct gateway *g, uint64_t now_us)
{
        struct gw_pending *w, *next;

        if (now_us >= g->pending_due_us) {
                g->pending_due_us = CLOCK_NEVER_US;
                HASH_ITER (hh, g->pending, w, next) {
                        if (now_us >= w->deadline_us)
                                pending_give_up(g, w, BUS_RESULT_TIMEOUT);
                        else
                                g->pending_due_us = MBGATE_MIN(g->pending_due_us, w->deadline_us);
                }
        }
        gw_wake_at(g, g->pending_due_us);
}

void gw_pending_free(struct gateway *g)
{
        struct gw_pending *w, *next;

        HASH_ITER (hh, g->pending, w, next)
                pending_remove(g, w);
}
