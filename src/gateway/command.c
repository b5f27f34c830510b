/* SPDX-License-Identifier: MIT */
/*
 * Commands: from a message to a bus command.
 *
 *   message ─► which point? ─► retained? too long? readable? in range? ─► bus ─► result.c
 *                └── no: nothing is written; a result and a log line say why
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"

#include "command.h"

#define SEND_INTERVAL_MAX_S 86400

/* Refused, nothing was written. `quiet` keeps the log from being flooded. */
static void refuse_within(struct gateway *g, struct gw_request *q, struct gw_quiet *quiet, const char *error)
{
        const struct conf_point *p = q->point->conf;
        struct log_fields fields = { .bus = p->device->bus->name,
                                     .device = p->device->name,
                                     .point = p->name };
        char more[GW_QUIET_BYTES];
        enum log_level level = gw_quiet_level(quiet, loop_now_us(g->loop), more);

        log_at(level, &fields, "device %s: %s: command refused: %s%s", p->device->name, p->name, error, more);
        gw_answer(g, q->from, q->message, p->result_topic, p->qos,
                  &(struct gw_json_result){
                          .value_json = q->value_json, .error = error, .id_json = q->id_json });
}

static void refuse(struct gateway *g, struct gw_request *q, const char *error)
{
        refuse_within(g, q, &q->point->refused, error);
}

/* What was asked for as a JSON string; NULL when it is too long to be repeated in an answer. */
static char *text_as_json(const char *text, size_t n)
{
        char room[GW_PAYLOAD_BYTES], copy[VALUE_TEXT_MAX_BYTES + 1];
        struct buf b = BUF_ON(room);

        if (n >= sizeof(copy))
                return NULL;
        memcpy(copy, text, n);
        copy[n] = '\0';
        gw_json_string(copy, &b);
        return b.overflowed ? NULL : strdup(b.data);
}

/* The value that a payload asks for; a text lies in the message or in *ret_text, which the caller frees. */
static int request_read_value(struct gw_request *q, struct value *ret, char **ret_text)
{
        const char *text = q->message->payload;
        size_t n = q->message->payload_bytes;
        struct gw_json_command json = { .value = NULL };

        if (gw_json_is_object(text, n)) {
                int r = gw_json_parse_command(text, n, &json);

                if (r < 0) {
                        q->json_error = json.error;
                        return r;
                }
                *ret_text = TAKE(json.value);
                q->id_json = TAKE(json.id);
                text = *ret_text;
                n = strlen(text);
        }
        if (!text_is_mqtt_utf8(text, n))
                return VALUE_E_UNREADABLE;
        q->value_json = text_as_json(text, n);
        return value_parse(&q->point->conf->format, text, n, ret);
}

/*
 * Numbers are repeated as numbers, with the point's decimals, whatever word or label stood for them, and as
 * they are written: 21.47 in steps of 0.1 is 21.5.
 */
static void request_note_number(struct gw_request *q, const struct value *asked, const uint16_t *regs)
{
        char room[GW_PAYLOAD_BYTES];
        struct buf b = BUF_ON(room);
        struct value_format plain = q->point->conf->format;
        struct value written;

        if (asked->kind == VALUE_TEXT)
                return;
        plain.n_labels = 0;
        if (value_decode(&plain, regs, NULL, &written) != 0)
                written = *asked; /* a sentinel can be written, but has no value */
        value_print(&plain, &written, &b);
        free(q->value_json);
        q->value_json = b.overflowed ? NULL : strdup(b.data);
}

/* One end of what is allowed: the setting, or what the registers can hold where that is narrower. */
static void error_append_end(const struct value_format *f, bool is_set, double setting,
                             const struct value *limit, bool is_max, struct buf *b)
{
        struct value_format plain = *f;
        double held = limit ? value_as_double(limit) : 0;

        plain.n_labels = 0;
        if (limit && (!is_set || (is_max ? held < setting : held > setting)))
                value_print(&plain, limit, b);
        else
                buf_printf(b, "%.12g", setting);
}

static void error_append_range(const struct value_format *f, struct buf *b)
{
        struct value low, high;
        bool is_limited = value_limits(f, &low, &high);
        bool has_min = f->has_min || is_limited, has_max = f->has_max || is_limited;

        if (f->type == VALUE_TYPE_BOOL)
                buf_append(b, ": on or off is wanted");
        if (f->type == VALUE_TYPE_BOOL || !(has_min || has_max))
                return;
        buf_append(b, ": ");
        if (has_min)
                error_append_end(f, f->has_min, f->min, is_limited ? &low : NULL, false, b);
        if (has_min && has_max)
                buf_append(b, " to ");
        if (has_max)
                error_append_end(f, f->has_max, f->max, is_limited ? &high : NULL, true, b);
        buf_append(b, has_min && has_max ? " is allowed"
                      : has_min          ? " or more is allowed"
                                         : " or less is allowed");
}

static const char *request_error(struct gw_request *q, int r)
{
        const struct value_format *f = &q->point->conf->format;
        struct buf b = BUF_ON(q->error_text);

        if (r == -EINVAL)
                buf_printf(&b, "unreadable: %s", q->json_error);
        if (r < 0)
                return r == -EINVAL ? b.data : strerror(-r);
        buf_append(&b, value_error_text((enum value_error)r));
        if (r == VALUE_E_RANGE)
                error_append_range(f, &b);
        else if (r == VALUE_E_UNREADABLE && f->type != VALUE_TYPE_STRING)
                buf_append(&b, f->n_labels                  ? ": a number or one of the labels is wanted"
                               : f->type == VALUE_TYPE_BOOL ? ": on or off is wanted"
                                                            : ": a number is wanted");
        return b.data;
}

/* What can only be written as another value that nobody would take for the same; or NULL. */
static const char *request_step_error(struct gw_request *q, const struct value *value)
{
        struct buf b = BUF_ON(q->error_text);
        double below, above;

        if (!value_is_between_steps(&q->point->conf->format, value, &below, &above))
                return NULL;
        buf_printf(&b, "between two values that can be written: %.15g and %.15g", below, above);
        return b.data;
}

static void request_hand_over(struct gateway *g, struct gw_request *q, enum gw_target_kind kind,
                              struct bus_command *command)
{
        int r = gw_pending_post(g, q, kind, command);

        if (r == 0)
                return;
        mail_free(&command->mail);
        /* The bus's trouble, whatever its points. */
        refuse_within(g, q, &g->buses[q->point->conf->device->bus->id].refused,
                      r == -ENOBUFS  ? "too many commands wait for this bus: try again later"
                      : r == -ENOMEM ? "out of memory"
                                     : bus_outcome_text(BUS_RESULT_STOPPED));
}

/*
 * Whether the command came before, as its id shows: then it is answered with what the first became. While
 * that is under way there is nothing to say: its answer, on the same topic and with the same id, will be that
 * of both.
 */
static bool command_is_repeated(struct gateway *g, struct gw_request *q)
{
        const struct conf_point *p = q->point->conf;
        struct log_fields fields = { .device = p->device->name, .point = p->name };
        const struct gw_seen *seen;

        if (!q->id_json || strcmp(q->id_json, "null") == 0 || q->from->is_control)
                return false;
        q->dedupe_key = gw_dedupe_key(p->result_topic, q->message->payload, q->message->payload_bytes);
        seen = gw_dedupe_find(&g->dedupe, q->dedupe_key, loop_now_us(g->loop));
        if (!seen)
                return false;
        log_info(&fields, "device %s: %s: a command came again with its id %.64s: not carried out twice",
                 p->device->name, p->name, q->id_json);
        if (seen->answer)
                gw_answer_json(g, q->from, q->message, p->result_topic, p->qos, seen->answer);
        return true;
}

static void command_set(struct gateway *g, struct gw_request *q)
{
        const struct conf_point *p = q->point->conf;
        CLEANUP(cleanup_free)
        char *text = NULL;
        struct bus_command *command;
        struct value value;
        const char *error;
        int r;

        if (!p->writable)
                return refuse(g, q, "not writable");
        r = request_read_value(q, &value, &text);
        if (r != 0)
                return refuse(g, q, request_error(q, r));
        if (command_is_repeated(g, q))
                return;
        if (bus_command_new(&command) < 0)
                return refuse(g, q, "out of memory");
        r = value_encode(&p->format, &value, command->regs, command->mask);
        error = r != 0 ? request_error(q, r) : request_step_error(q, &value);
        if (error) {
                mail_free(&command->mail);
                return refuse(g, q, error);
        }
        request_note_number(q, &value, command->regs);
        command->n_regs = (uint16_t)value_n_regs(&p->format);
        command->read_back = p->read_back;
        request_hand_over(g, q, GW_TARGET_SET, command);
}

static void command_get(struct gateway *g, struct gw_request *q)
{
        struct bus_command *command;

        if (bus_command_new(&command) < 0)
                return refuse(g, q, "out of memory");
        request_hand_over(g, q, GW_TARGET_GET, command);
}

/* A retained command comes again with each connection: only points that say so take it. */
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

void gw_on_point_message(struct gateway *g, struct gw_link *l, const struct link_event *event,
                         enum gw_target_kind kind, uint32_t point)
{
        struct gw_request q = { .from = l, .message = event->message, .point = g->points[point] };
        uint32_t most = g->conf->gateway.command_max_bytes;
        struct buf b = BUF_ON(q.error_text);

        if (is_retained_refused(q.point, event))
                return;
        if (g->is_stopping) {
                refuse(g, &q, "the gateway is stopping");
        } else if (event->message->payload_bytes > most) {
                buf_printf(&b, "too long: at most %" PRIu32 " bytes are taken", most);
                refuse(g, &q, b.data);
        } else if (kind == GW_TARGET_SET) {
                command_set(g, &q);
        } else {
                command_get(g, &q);
        }
        free(q.value_json);
        free(q.id_json);
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The seconds that a payload asks for, plain or {"value":…}; 0 for what means the default. */
static int64_t send_interval_read(const struct gateway *g, const struct message *m)
{
        struct gw_json_command json = { .value = NULL };
        const char *text = m->payload;
        size_t n = m->payload_bytes;
        int64_t seconds = 0;

        if (n > g->conf->gateway.command_max_bytes)
                return 0;
        if (gw_json_is_object(text, n)) {
                if (gw_json_parse_command(text, n, &json) < 0)
                        return 0;
                text = json.value;
                n = strlen(text);
        }
        while (n > 0 && is_blank(text[n - 1]))
                n--;
        while (n > 0 && is_blank(text[0])) {
                text++;
                n--;
        }
        if (text_parse_i64(text, n, 1, SEND_INTERVAL_MAX_S, &seconds) < 0)
                seconds = 0;
        gw_json_command_done(&json);
        return seconds;
}

/* 0 and what is unreadable mean the default: the configured one, or 10. Retained or not: twice does no harm.
 */
static void command_send_interval(struct gateway *g, struct gw_link *from, struct gw_device *d,
                                  const struct message *m)
{
        char topic[GW_TOPIC_BYTES], value[24];
        struct buf t = BUF_ON(topic), v = BUF_ON(value);
        int64_t seconds = send_interval_read(g, m);
        size_t n = strlen(d->conf->topic);

        if (seconds == 0)
                seconds = d->conf->send_interval_s ? d->conf->send_interval_s : GW_SEND_INTERVAL_DEFAULT_S;
        if (d->send_interval_s != (uint32_t)seconds)
                log_info(&(struct log_fields){ .device = d->conf->name },
                         "device %s: send interval is %" PRId64 " s now", d->conf->name, seconds);
        d->send_interval_s = (uint32_t)seconds;
        d->send_due_us = loop_now_us(g->loop) + (uint64_t)seconds * USEC_PER_SEC;
        gw_device_wake_at(g, d, d->send_due_us);
        buf_printf(&t, "%s%ssend_interval/result", d->conf->topic,
                   n > 0 && d->conf->topic[n - 1] == '/' ? "" : "/");
        buf_printf(&v, "%" PRId64, seconds);
        if (!t.overflowed)
                gw_answer(g, from, m, t.data, 1,
                          &(struct gw_json_result){ .ok = true, .value_json = v.data });
}

/* What stands in the place of a `subscribe` filter's "#": of "remote/#" what comes after "remote/". */
static const char *behind_mask(const char *mask, const char *topic)
{
        size_t n = strlen(mask);

        if (n < 2 || mask[n - 1] != '#' || strncmp(mask, topic, n - 1) != 0)
                return NULL;
        return topic + n - 1;
}

/* What a topic means on a link: its prefix taken off, and what a filter of its `subscribe` begins with. */
static struct gw_target *target_of(struct gateway *g, const struct gw_link *l, const char *topic)
{
        const char *prefix = gw_link_prefix(l);
        size_t n_prefix = strlen(prefix);
        struct gw_target *t = NULL;

        if (strncmp(topic, prefix, n_prefix) != 0)
                return NULL;
        topic += n_prefix;
        HASH_FIND_STR(g->map, topic, t);
        for (size_t i = 0; l->conf && i < l->conf->n_subscribe && !t; i++) {
                const char *rest = behind_mask(l->conf->subscribe[i], topic);

                if (rest)
                        HASH_FIND_STR(g->map, rest, t);
        }
        return t;
}

/* Whether a topic of no point is worth a warning: not within a minute of its last, and not too many of them.
 */
static bool unknown_is_news(struct gateway *g, const struct message *m, uint64_t now_us)
{
        uint32_t hash = text_hash(m->topic, m->topic_bytes);
        struct gw_unknown *oldest = g->unknown;

        for (struct gw_unknown *u = g->unknown; u < g->unknown + GW_UNKNOWN_MAX; u++) {
                if (u->until_us > now_us && u->hash == hash)
                        return false;
                if (u->until_us < oldest->until_us)
                        oldest = u;
        }
        if (oldest->until_us > now_us)
                return false;
        *oldest = (struct gw_unknown){ .hash = hash, .until_us = now_us + GW_QUIET_US };
        return true;
}

/* Nobody can write to what is not there; whoever tries must be able to find out. */
static void on_unknown(struct gateway *g, struct gw_link *l, const struct link_event *event)
{
        static const struct gw_json_result result = { .error = "no such point" };
        const struct message *m = event->message;
        bool is_loud = unknown_is_news(g, m, loop_now_us(g->loop));
        struct log_fields fields = { .link = l->link->name };

        log_at(is_loud ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, &fields,
               "link %s: no point takes commands at \"%.200s\"", l->link->name, m->topic);
        if (m->response_topic && !event->was_retained)
                gw_answer(g, l, m, NULL, 0, &result);
}

void gw_on_message(struct gateway *g, struct gw_link *l, const struct link_event *event)
{
        struct gw_target *t = l->is_control ? NULL : target_of(g, l, event->message->topic);

        if (l->is_control)
                gw_on_control_message(g, l, event);
        else if (!t)
                on_unknown(g, l, event);
        else if (t->kind == GW_TARGET_SEND_INTERVAL)
                command_send_interval(g, l, t->device, event->message);
        else if (t->kind == GW_TARGET_RAW)
                gw_on_raw_message(g, l, event, t->bus);
        else
                gw_on_point_message(g, l, event, t->kind, t->point);
}
