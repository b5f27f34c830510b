/* SPDX-License-Identifier: MIT */
#include "worker_private.h"

/* A call that is due to end at some moment is given this much more before the watchdog may worry. */
#define HEARTBEAT_GRACE_US (15 * USEC_PER_SEC)

/* The longest that the port waits for a babbling line to become silent, and a little. */
#define SILENCE_MAX_US (3 * USEC_PER_SEC)

/*
 * A unit that did not answer is left alone at least so long, however short its time-out: adapters, operating
 * systems and devices can all be late by a tenth of a second. Others have the line meanwhile.
 */
#define HOLD_MIN_US (300 * USEC_PER_MSEC)

/* The turnaround is the mean of the first replies, then smoothed by an eighth, as TCP does it (RFC 6298 §2).
 */
#define SMOOTH WORKER_REPLAN_REPLIES

bool worker_block_begin(struct worker *w, uint64_t until_us)
{
        heartbeat_promise(&w->heartbeat, until_us + HEARTBEAT_GRACE_US);
        /* First say until when, then look whether to stop: worker_stop() does it the other way round. */
        atomic_store(&w->busy_until_us, until_us);
        return atomic_load(&w->stop);
}

void worker_block_end(struct worker *w)
{
        atomic_store(&w->busy_until_us, 0);
}

/* Whether another device wants the line before this one's reply would be given up. */
static bool others_wait(const struct worker *w, uint32_t device, uint64_t until_us)
{
        for (size_t i = 0; i < w->schedule.n_jobs; i++) {
                const struct schedule_job *j = &w->schedule.jobs[i];

                if (j->device != device && !j->is_paused && j->due_us <= until_us &&
                    w->schedule.devices[j->device].held_until_us <= until_us)
                        return true;
        }
        return false;
}

uint64_t worker_timeout_us(struct worker *w, uint32_t device)
{
        const struct worker_device *d = &w->devices[device];
        uint64_t configured_us = d->conf->response_timeout_ms * USEC_PER_MSEC;
        uint64_t until_us = clock_monotonic_us() + configured_us;

        return health_timeout_us(&d->health, configured_us, d->conf->response_timeout_min_ms * USEC_PER_MSEC,
                                 others_wait(w, device, until_us));
}

uint64_t worker_gap_us(const struct worker_device *d)
{
        uint64_t configured_us = d->conf->gap_ms * USEC_PER_MSEC,
                 max_us = d->conf->gap_max_ms * USEC_PER_MSEC;

        if (d->health.status == DEVICE_OFFLINE)
                return gap_probe_us(&d->gap, d->health.n_probes, configured_us, max_us);
        return gap_us(&d->gap, configured_us, max_us);
}

bool worker_is_silence(int result, const struct port_reply *reply)
{
        if (result == PORT_TIMEOUT || result == PORT_BROKEN)
                return true;
        return result == PORT_EXCEPTION &&
               (reply->exception == PDU_EXC_GATEWAY_PATH || reply->exception == PDU_EXC_GATEWAY_TARGET);
}

/*
 * Within the hold of a request, or with a transaction id of its own, it can only be the answer to that: a
 * late one, so that who was waited for too short is slower than was learned.
 */
static void hear(struct worker *w, uint8_t unit)
{
        uint64_t now_us = clock_monotonic_us();

        for (size_t i = 0; i < w->n_devices; i++) {
                struct schedule_device *s = &w->schedule.devices[i];
                bool is_late = w->bus->kind == CONF_PORT_TCP || now_us < s->held_until_us;

                if (w->devices[i].conf->unit_id != unit || !is_late)
                        continue;
                if (!s->is_probing)
                        health_slower(&w->devices[i].health);
                if (!s->is_probing || !health_heard(&w->devices[i].health))
                        continue;
                log_debug(NULL, "bus %s: unit %u: a late reply, asked again soon", w->bus->name,
                          (unsigned)unit);
                /* On a serial line the hold stays: the frame may have named a unit that it was not of. */
                if (w->bus->kind == CONF_PORT_TCP)
                        s->held_until_us = 0;
                s->probe_due_us = MBGATE_MAX(now_us, s->held_until_us);
        }
}

void worker_count_extras(struct worker *w, const struct rtu_counts *c)
{
        w->stats.n_crc += c->n_crc;
        w->stats.n_foreign += c->n_foreign;
        w->stats.n_junk_bytes += c->n_junk_bytes;
        w->stats.n_echo += c->n_echo;
        if (c->foreign_unit != 0)
                hear(w, c->foreign_unit);
}

bool worker_turnaround_changed(const struct worker_device *d, uint64_t now_us)
{
        uint32_t planned_us = d->planned_with_us, us = d->turnaround_us;
        uint32_t change_us = us > planned_us ? us - planned_us : planned_us - us;

        if (d->n_measured < WORKER_REPLAN_REPLIES)
                return false;
        if (d->planned_us == 0)
                return true;
        return change_us > MBGATE_MAX(planned_us / 4, (uint32_t)WORKER_REPLAN_BY_US) &&
               now_us >= d->planned_us + WORKER_REPLAN_US;
}

/* From the request's last character to the reply's first: the silence that ends the request is in it. */
static void measure(struct worker *w, struct worker_device *d, const struct port_reply *reply)
{
        uint64_t round_trip_us = reply->done_us > reply->sent_us ? reply->done_us - reply->sent_us : 0;
        uint64_t wire_us =
                w->cost.baud ? rtu_wire_us(w->cost.baud, w->cost.char_bits, reply->pdu.n_bytes + 3) : 0;
        uint64_t turnaround_us = round_trip_us > wire_us ? round_trip_us - wire_us : 0;

        histogram_add(&w->round_trip, round_trip_us);
        health_measured(&d->health, turnaround_us, round_trip_us);
        turnaround_us = MBGATE_MIN(turnaround_us, UINT32_MAX / 2);
        if (d->n_measured < SMOOTH)
                d->n_measured++;
        d->turnaround_us = (uint32_t)((d->turnaround_us * (uint64_t)(d->n_measured - 1) + turnaround_us) /
                                      d->n_measured);
        if (worker_turnaround_changed(d, reply->done_us))
                w->replan = true;
}

static void count(struct worker *w, struct worker_device *d, const struct pdu *pdu, int result,
                  const struct port_reply *reply)
{
        worker_count_extras(w, &reply->counts);
        d->stats.n_crc += reply->counts.n_crc;
        if (reply->began_us == 0)
                return;
        w->stats.n_transactions++;
        d->stats.n_transactions++;
        w->stats.n_writes += pdu->bytes[0] >= PDU_WRITE_COIL;
        if (reply->gap_us != UINT64_MAX && (w->stats.min_gap_us == 0 || reply->gap_us < w->stats.min_gap_us))
                w->stats.min_gap_us = (uint32_t)reply->gap_us;
        switch ((enum port_result)result) {
        case PORT_OK:
                w->stats.n_ok++;
                d->stats.n_ok++;
                measure(w, d, reply);
                break;
        case PORT_EXCEPTION:
                w->stats.n_exceptions[reply->exception < STATS_EXCEPTION_CODES ? reply->exception : 0]++;
                d->stats.n_exceptions++;
                break;
        case PORT_TIMEOUT:
        case PORT_BROKEN:
                w->stats.n_timeouts++;
                d->stats.n_timeouts++;
                break;
        case PORT_CANCELLED: break;
        }
}

uint64_t worker_held_until_us(const struct worker *w, int result, uint64_t configured_us, uint64_t timeout_us,
                              const struct port_reply *reply)
{
        uint64_t wire_us;

        if (result == PORT_OK || result == PORT_EXCEPTION || reply->sent_us == 0 ||
            w->bus->kind == CONF_PORT_TCP)
                return 0;
        if (result == PORT_BROKEN && reply->counts.n_crc > 0)
                return 0;
        wire_us = reply->deadline_us - reply->sent_us - timeout_us;
        return reply->sent_us + MBGATE_MAX(2 * configured_us, HOLD_MIN_US) + wire_us;
}

static void hold(struct worker *w, uint32_t device, int result, uint64_t timeout_us,
                 const struct port_reply *reply)
{
        uint64_t configured_us = w->devices[device].conf->response_timeout_ms * USEC_PER_MSEC;
        uint64_t until_us = worker_held_until_us(w, result, configured_us, timeout_us, reply);

        if (until_us != 0)
                w->schedule.devices[device].held_until_us = until_us;
}

/* Requests that a device on line loses may have come too soon for it. Modbus TCP keeps no silence. */
static void suspect(struct worker *w, struct worker_device *d, bool was_lost, uint64_t now_us)
{
        struct log_fields fields = { .bus = w->bus->name, .device = d->conf->name };
        uint64_t configured_us = d->conf->gap_ms * USEC_PER_MSEC;

        if (w->bus->kind == CONF_PORT_TCP || d->health.status != DEVICE_ONLINE)
                return;
        if (!gap_result(&d->gap, was_lost, now_us, configured_us, d->conf->gap_max_ms * USEC_PER_MSEC))
                return;
        w->replan = true; /* each request costs more now */
        log_warn(&fields,
                 "bus %s: unit %u: loses requests that come sooner than %u ms after others: it gets "
                 "that pause from now on (set gap_ms = %u to have it at once)",
                 w->bus->name, (unsigned)d->conf->unit_id, (unsigned)(d->gap.found_us / USEC_PER_MSEC),
                 (unsigned)(d->gap.found_us / USEC_PER_MSEC));
}

/* The consequences for the device's health: what is said, and what the schedule does with it. */
static void judge(struct worker *w, uint32_t device, int result, uint64_t timeout_us,
                  const struct port_reply *reply)
{
        struct worker_device *d = &w->devices[device];
        uint64_t since_us = d->health.since_us, n_lost = d->health.n_lost;
        enum device_status before = d->health.status;

        bool is_broken = result == PORT_BROKEN && reply->began_us != 0, has_gone;

        suspect(w, d, worker_is_silence(result, reply), reply->done_us);
        if (worker_is_silence(result, reply)) {
                has_gone = is_broken ? health_broken(&d->health, reply->done_us)
                                     : health_failed(&d->health, reply->done_us);
                if (has_gone) {
                        schedule_pause(&w->schedule, device, reply->done_us + d->health.pause_us);
                        worker_log_offline(w, device, is_broken ? 0 : timeout_us);
                        worker_outputs_forget(d);
                        worker_post_device(w, device);
                } else if (before == DEVICE_OFFLINE) {
                        w->schedule.devices[device].probe_due_us = reply->done_us + d->health.pause_us;
                }
                return;
        }
        if (!health_answered(&d->health, reply->done_us))
                return;
        if (before == DEVICE_OFFLINE) {
                schedule_resume(&w->schedule, device, reply->done_us);
                worker_log_online(w, device, since_us, n_lost);
        }
        worker_post_device(w, device);
}

int worker_settle(struct worker *w)
{
        struct rtu_counts counts = { 0 };
        uint64_t now_us = clock_monotonic_us();
        int r;

        if (worker_block_begin(w, now_us + SILENCE_MAX_US))
                return 0;
        r = port_drain(w->port, now_us, &counts);
        worker_block_end(w);
        worker_count_extras(w, &counts);
        return r < 0 && worker_port_let_go(w, r) ? 0 : r;
}

static int transact(struct worker *w, const struct port_request *request, enum schedule_kind kind,
                    struct port_reply *ret_reply)
{
        uint64_t takes_us = request->silence_us + request->timeout_us +
                            plan_read_us(&w->cost, PDU_READ_HOLDING, PDU_READ_REGS_MAX);
        uint64_t start_us, busy_us;
        int r;

        *ret_reply = (struct port_reply){ 0 };
        r = w->listen ? PORT_CANCELLED : worker_port_again(w);
        if (r != 0)
                return r;
        start_us = clock_monotonic_us();
        if (worker_block_begin(w, start_us + takes_us))
                return PORT_CANCELLED;
        /* Longer on a line that babbles, and with a write that finds out first whether the line echoes. */
        heartbeat_promise(&w->heartbeat, start_us + SILENCE_MAX_US + 2 * takes_us + HEARTBEAT_GRACE_US);
        r = port_transact(w->port, request, ret_reply);
        worker_block_end(w);
        busy_us = clock_monotonic_us() - start_us;
        w->window_busy_us += busy_us;
        schedule_charge(&w->schedule, kind, busy_us);
        return r;
}

int worker_transact(struct worker *w, const struct port_request *request, enum schedule_kind kind,
                    struct port_reply *ret_reply)
{
        int r = transact(w, request, kind, ret_reply);

        if (r < 0 && ret_reply->began_us == 0 && worker_port_let_go(w, r))
                r = transact(w, request, kind, ret_reply);
        return r;
}

int worker_exchange(struct worker *w, uint32_t device, const struct pdu *pdu, uint64_t timeout_us,
                    enum schedule_kind kind, struct port_reply *ret_reply)
{
        struct worker_device *d = &w->devices[device];
        struct port_request request = {
                .unit = d->conf->unit_id,
                .pdu = *pdu,
                .timeout_us = timeout_us,
                .silence_us = worker_gap_us(d),
                .usual_us = health_usual_us(&d->health),
        };
        int drained = 0, r = worker_transact(w, &request, kind, ret_reply);

        if (r >= 0 && r != PORT_CANCELLED) {
                count(w, d, pdu, r, ret_reply);
                hold(w, device, r, timeout_us, ret_reply);
                judge(w, device, r, timeout_us, ret_reply);
                if (r == PORT_TIMEOUT || r == PORT_BROKEN)
                        drained = worker_settle(w);
                else
                        worker_port_works(w);
        } else if (r == PORT_CANCELLED) {
                hold(w, device, r, timeout_us, ret_reply);
        }
        if (r < 0 || drained < 0)
                worker_port_lost(w, r < 0 ? r : drained);
        return r;
}
