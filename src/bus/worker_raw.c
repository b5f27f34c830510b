/* SPDX-License-Identifier: MIT */
/*
 * Requests as they go to the line, of any function and to any unit: the gateway's, as urgent as writes, and
 * those of other masters. What becomes of them says nothing about a device's health, since a device may be
 * silent at what it does not know; but that a late reply could still come holds for its polls as well.
 *
 *   raw ─► port there? unit alive? ─► its turn ─► line ─► result; blocks that a write touched are read soon
 *            └── no: the result says so at once
 */
#include <string.h>

#include "worker_private.h"

/* A unit that polls do not know to be there may be silent so often; then it is tried again after 1, 2, 4, 8,
 * 8 … s. */
#define SILENT_MAX      2
#define PAUSE_SHIFT_MAX 3

/* The device of a unit, or NULL. */
static struct worker_device *device_of(const struct worker *w, uint8_t unit)
{
        for (size_t i = 0; i < w->n_devices; i++) {
                if (w->devices[i].conf->unit_id == unit)
                        return &w->devices[i];
        }
        return NULL;
}

static struct schedule_device *schedule_of(const struct worker *w, const struct worker_device *d)
{
        return &w->schedule.devices[d - w->devices];
}

/* ---- results ---- */

static void post_result(struct worker *w, const struct bus_raw *raw, enum bus_outcome outcome,
                        const struct port_reply *reply)
{
        struct log_fields fields = { .bus = w->bus->name };
        struct bus_raw_result *result;

        if (bus_raw_result_new(raw, outcome, &result) < 0) {
                log_error(&fields, "bus %s: no memory for the result of a request", w->bus->name);
                return;
        }
        result->done_us = reply ? reply->done_us : clock_monotonic_us();
        if (reply) {
                result->began_us = reply->began_us;
                result->exception = outcome == BUS_RESULT_EXCEPTION ? reply->exception : 0;
                if (outcome == BUS_RESULT_OK)
                        result->reply = reply->pdu;
        }
        worker_post(w, &result->mail);
}

void worker_raw_refuse(struct worker *w, struct bus_raw *raw, enum bus_outcome outcome)
{
        w->stats.n_shared_refused += raw->raw_class == BUS_RAW_SHARED;
        post_result(w, raw, outcome, NULL);
        mail_free(&raw->mail);
}

static struct bus_raw *take_out(struct worker *w, size_t i)
{
        struct worker_raws *raws = &w->raws;
        struct bus_raw *raw = raws->list[i];

        raws->n--;
        memmove(&raws->list[i], &raws->list[i + 1], (raws->n - i) * sizeof(struct bus_raw *));
        return raw;
}

void worker_raw_fail_all(struct worker *w, enum bus_outcome outcome)
{
        while (w->raws.n > 0)
                worker_raw_refuse(w, take_out(w, 0), outcome);
        if (outcome == BUS_RESULT_PORT) /* what comes on a line that is opened anew answers nothing */
                memset(w->raws.units, 0, sizeof(w->raws.units));
}

/* ---- what waits ---- */

/* Polls say that it is there: it may be silent at what it does not know. */
static bool is_there(const struct worker_device *d)
{
        return d && d->health.status == DEVICE_ONLINE;
}

/* Masters are not made to wait for what will not come; a person who tries is believed to know why. */
static bool is_given_up(const struct worker *w, const struct bus_raw *raw, uint64_t now_us)
{
        const struct worker_device *d = device_of(w, raw->unit);

        if (raw->raw_class == BUS_RAW_COMMAND || is_there(d))
                return false;
        return (d && d->health.status == DEVICE_OFFLINE) || now_us < w->raws.units[raw->unit].pause_until_us;
}

/* Of a unit, or of all with a broadcast. */
static bool is_asked(const struct bus_raw *raw, const struct conf_device *device)
{
        return device->unit_id == raw->unit || raw->unit == 0;
}

/* What it writes, as far as that is known: how many spans. */
static unsigned written_spans(const struct bus_raw *raw, struct pdu_span ret[PDU_SPANS_MAX])
{
        unsigned n = pdu_check_request(&raw->pdu) == 0 ? pdu_spans(&raw->pdu, ret) : 0, n_writes = 0;

        for (unsigned k = 0; k < n; k++) {
                if (ret[k].is_write)
                        ret[n_writes++] = ret[k];
        }
        return n_writes;
}

/*
 * Whether it writes to a point whose write_pause_ms is not over: the master is told to come again, rather
 * than to wait for longer than it would. The gateway's raw requests are for who knows what he does.
 */
static bool is_too_soon(const struct worker *w, const struct bus_raw *raw, uint64_t now_us)
{
        struct pdu_span spans[PDU_SPANS_MAX];
        unsigned n = raw->raw_class == BUS_RAW_SHARED ? written_spans(raw, spans) : 0;

        for (size_t i = 0; i < w->n_devices && n > 0; i++) {
                for (unsigned k = 0; k < n && is_asked(raw, w->devices[i].conf); k++) {
                        if (worker_outputs_pause(w, &w->devices[i], &spans[k], now_us))
                                return true;
                }
        }
        return false;
}

void worker_raw_add(struct worker *w, struct bus_raw *raw)
{
        if (w->listen)
                worker_raw_refuse(w, raw, BUS_RESULT_LISTENS);
        else if (!w->is_open)
                worker_raw_refuse(w, raw, BUS_RESULT_PORT);
        else if (w->raws.n == BUS_RAWS_MAX)
                worker_raw_refuse(w, raw, BUS_RESULT_EXPIRED);
        else if (is_given_up(w, raw, clock_monotonic_us()))
                worker_raw_refuse(w, raw, BUS_RESULT_OFFLINE);
        else
                w->raws.list[w->raws.n++] = raw;
}

static uint64_t ready_us(const struct worker *w, const struct bus_raw *raw)
{
        const struct worker_device *d = device_of(w, raw->unit);
        uint64_t held_us = w->raws.units[raw->unit].held_until_us;

        return d ? MBGATE_MAX(held_us, schedule_of(w, d)->held_until_us) : held_us;
}

/* The oldest that may go now, or raws.n. Those to one unit keep their order. */
static size_t pick(const struct worker *w, enum bus_raw_class raw_class, uint64_t now_us, uint64_t *wake_us)
{
        for (size_t i = 0; i < w->raws.n; i++) {
                uint64_t at_us;

                if (w->raws.list[i]->raw_class != raw_class)
                        continue;
                at_us = ready_us(w, w->raws.list[i]);
                if (at_us <= now_us)
                        return i;
                *wake_us = MBGATE_MIN(*wake_us, at_us);
        }
        return w->raws.n;
}

bool worker_raw_ready(struct worker *w, enum bus_raw_class raw_class, uint64_t now_us, uint64_t *ret_wake_us)
{
        for (size_t i = w->raws.n; i-- > 0;) {
                const struct bus_raw *raw = w->raws.list[i];
                bool has_expired = raw->deadline_us != 0 && now_us > raw->deadline_us;

                if (raw->raw_class != raw_class)
                        continue;
                if (is_given_up(w, raw, now_us))
                        worker_raw_refuse(w, take_out(w, i), BUS_RESULT_OFFLINE);
                else if (has_expired)
                        worker_raw_refuse(w, take_out(w, i), BUS_RESULT_EXPIRED);
                else if (is_too_soon(w, raw, now_us))
                        worker_raw_refuse(w, take_out(w, i), BUS_RESULT_CROWDED);
                else if (raw->deadline_us != 0)
                        *ret_wake_us = MBGATE_MIN(*ret_wake_us, raw->deadline_us + 1);
        }
        return pick(w, raw_class, now_us, ret_wake_us) < w->raws.n;
}

uint64_t worker_raw_free_us(const struct worker *w)
{
        uint64_t free_us = 0;

        for (size_t u = 0; u < ARRAY_SIZE(w->raws.units); u++)
                free_us = MBGATE_MAX(free_us, w->raws.units[u].held_until_us);
        return free_us;
}

/* ---- one request ---- */

static void count(struct worker *w, const struct bus_raw *raw, int result, const struct port_reply *reply)
{
        struct bus_stats *s = &w->stats;

        worker_count_extras(w, &reply->counts);
        if (reply->began_us == 0)
                return;
        s->n_transactions++;
        s->n_shared += raw->raw_class == BUS_RAW_SHARED;
        s->n_writes += raw->pdu.bytes[0] >= PDU_WRITE_COIL;
        s->n_ok += result == PORT_OK;
        s->n_timeouts += result == PORT_TIMEOUT || result == PORT_BROKEN;
        if (result == PORT_EXCEPTION)
                s->n_exceptions[reply->exception < STATS_EXCEPTION_CODES ? reply->exception : 0]++;
}

static void hold(struct worker *w, const struct bus_raw *raw, int result, uint64_t timeout_us,
                 const struct port_reply *reply)
{
        struct worker_device *d = device_of(w, raw->unit);
        uint64_t until_us = worker_held_until_us(w, result, timeout_us, timeout_us, reply);

        w->raws.units[raw->unit].held_until_us = until_us;
        if (d && until_us != 0)
                schedule_of(w, d)->held_until_us = until_us;
}

/* Whether masters should be told at once the next time that nobody is there. */
static void judge(struct worker *w, const struct bus_raw *raw, int result, const struct port_reply *reply)
{
        struct worker_unit *u = &w->raws.units[raw->unit];
        unsigned shift;

        if (!worker_is_silence(result, reply) || is_there(device_of(w, raw->unit))) {
                u->n_silent = 0;
                u->pause_until_us = 0;
                return;
        }
        u->n_silent++;
        if (u->n_silent < SILENT_MAX)
                return;
        shift = MBGATE_MIN(u->n_silent - SILENT_MAX, PAUSE_SHIFT_MAX);
        u->pause_until_us = reply->done_us + (USEC_PER_SEC << shift);
}

static int exchange(struct worker *w, const struct bus_raw *raw, struct port_reply *ret_reply)
{
        const struct worker_device *d = device_of(w, raw->unit);
        uint64_t timeout_us = (d ? d->conf->response_timeout_ms : raw->timeout_ms) * USEC_PER_MSEC;
        struct port_request request = {
                .unit = raw->unit,
                .pdu = raw->pdu,
                .timeout_us = timeout_us,
                .silence_us = d ? worker_gap_us(d) : 0,
        };
        int drained = 0,
            r = worker_transact(w, &request,
                                raw->raw_class == BUS_RAW_SHARED ? SCHEDULE_SHARED : SCHEDULE_COMMAND,
                                ret_reply);

        if (r >= 0)
                hold(w, raw, r, timeout_us, ret_reply);
        if (r >= 0 && r != PORT_CANCELLED) {
                count(w, raw, r, ret_reply);
                judge(w, raw, r, ret_reply);
                if (r == PORT_TIMEOUT || r == PORT_BROKEN)
                        drained = worker_settle(w);
                else
                        worker_port_works(w);
        }
        if (r < 0 || drained < 0)
                worker_port_lost(w, r < 0 ? r : drained);
        return r;
}

static enum bus_outcome outcome_of(const struct bus_raw *raw, int result, const struct port_reply *reply)
{
        if (result < 0) /* what was on the wire may have been carried out */
                return reply->began_us != 0 && raw->pdu.bytes[0] > PDU_READ_INPUT ? BUS_RESULT_TIMEOUT
                                                                                  : BUS_RESULT_PORT;
        switch ((enum port_result)result) {
        case PORT_OK: return BUS_RESULT_OK;
        case PORT_EXCEPTION: return BUS_RESULT_EXCEPTION;
        case PORT_CANCELLED: return reply->began_us == 0 ? BUS_RESULT_STOPPED : BUS_RESULT_TIMEOUT;
        case PORT_TIMEOUT:
        case PORT_BROKEN: break;
        }
        return reply->began_us == 0 ? BUS_RESULT_EXPIRED : BUS_RESULT_TIMEOUT;
}

/* What devices were known to hold is not known any more, and our own writes keep their distance. */
static void note_write(struct worker *w, const struct bus_raw *raw, uint64_t began_us)
{
        struct pdu_span spans[PDU_SPANS_MAX];
        unsigned n = written_spans(raw, spans);

        for (size_t i = 0; i < w->n_devices && raw->pdu.bytes[0] > PDU_READ_INPUT; i++) {
                if (!is_asked(raw, w->devices[i].conf))
                        continue;
                worker_outputs_forget(&w->devices[i]);
                for (unsigned k = 0; k < n; k++)
                        worker_outputs_touch(w, &w->devices[i], &spans[k], began_us);
        }
}

/* What was written is read at the next turn, so that who subscribes sees it soon. */
static void hurry(struct worker *w, const struct bus_raw *raw, uint64_t now_us)
{
        struct pdu_span spans[PDU_SPANS_MAX];
        unsigned n = written_spans(raw, spans);

        for (unsigned k = 0; k < n; k++) {
                const struct pdu_span *s = &spans[k];

                for (size_t i = 0; i < w->schedule.n_jobs; i++) {
                        const struct plan_block *b = w->blocks[i].plan;

                        if (is_asked(raw, b->device) && b->function == s->area &&
                            b->address < s->address + s->count && s->address < b->address + b->count)
                                schedule_hurry(&w->schedule, i, now_us);
                }
        }
}

uint64_t worker_raw_gap_us(const struct worker *w, enum bus_raw_class raw_class, uint64_t now_us)
{
        uint64_t wake_us = CLOCK_NEVER_US;
        size_t i = pick(w, raw_class, now_us, &wake_us);
        const struct worker_device *d = i < w->raws.n ? device_of(w, w->raws.list[i]->unit) : NULL;

        return d ? worker_gap_us(d) : 0;
}

void worker_raw_run(struct worker *w, enum bus_raw_class raw_class)
{
        uint64_t wake_us = CLOCK_NEVER_US;
        size_t i = pick(w, raw_class, clock_monotonic_us(), &wake_us);
        struct port_reply reply = { 0 };
        struct bus_raw *raw;
        int r;

        if (i == w->raws.n)
                return;
        raw = take_out(w, i);
        r = exchange(w, raw, &reply);
        post_result(w, raw, outcome_of(raw, r, &reply), &reply);
        if (reply.began_us != 0)
                note_write(w, raw, reply.began_us);
        if (r >= 0 && reply.began_us != 0 && w->is_open)
                hurry(w, raw, reply.done_us);
        mail_free(&raw->mail);
}

/* ---- what other masters may be answered with ---- */

static bool is_noted(const struct worker *w)
{
        return w->bus->share.on && w->bus->share.max_age_ms > 0;
}

void worker_raw_note(struct worker *w, const struct conf_point *const *points, size_t n_points,
                     uint16_t address, const uint16_t *regs, const struct port_reply *reply)
{
        struct bus_regs *mail;
        size_t n = 0;

        if (!is_noted(w))
                return;
        for (size_t i = 0; i < n_points; i++)
                n = MBGATE_MAX(n, (size_t)(points[i]->address - address) + value_n_regs(&points[i]->format));
        if (bus_regs_new(BUS_KEY_REGS | (points[0]->id + 1), n, &mail) < 0)
                return;
        mail->unit = points[0]->device->unit_id;
        mail->area = plan_function(points[0]->area);
        mail->address = address;
        mail->done_us = reply->done_us;
        memcpy(mail->regs, regs, n * sizeof(*regs));
        worker_post(w, &mail->mail);
}

void worker_raw_forget(struct worker *w, uint8_t unit)
{
        struct bus_regs *mail;

        if (!is_noted(w) || bus_regs_new(0, 0, &mail) < 0)
                return;
        mail->unit = unit;
        mail->done_us = clock_monotonic_us();
        worker_post(w, &mail->mail);
}
