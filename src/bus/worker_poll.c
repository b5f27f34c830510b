/* SPDX-License-Identifier: MIT */
#include "worker_private.h"

/* The wire time of a probe with both silences, for its share of the line. */
#define PROBE_REGS 2

static const struct log_fields *fields_of(const struct worker *w, const struct worker_block *b,
                                          const struct port_reply *reply, struct log_fields *ret)
{
        *ret = (struct log_fields){
                .bus = w->bus->name,
                .device = b->plan->device->name,
                .point = b->plan->n_points == 1 ? b->plan->points[0]->name : NULL,
                .exception = reply->exception,
        };
        return ret;
}

static void post_block(struct worker *w, const struct worker_block *b, const uint16_t *regs,
                       const struct port_reply *reply)
{
        worker_post_samples(w, b->plan->points, b->plan->n_points, b->plan->address, regs, reply, false);
}

/* The device does not give these points: read seldom from now on, and said once. */
static void refuse(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        struct log_fields fields;

        post_block(w, b, NULL, reply);
        if (!b->is_refused)
                log_warn(
                        fields_of(w, b, reply, &fields),
                        "bus %s: unit %u: point %s%s: refused with exception %u (%s), asked again every 60 s",
                        w->bus->name, (unsigned)b->plan->device->unit_id, b->plan->points[0]->name,
                        b->plan->n_points > 1 ? " and others" : "", (unsigned)reply->exception,
                        pdu_exception_name(reply->exception));
        b->is_refused = true;
        w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
}

static void answered(struct worker *w, size_t job, const struct pdu *request, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        uint16_t regs[PDU_READ_BITS_MAX];
        struct log_fields fields;

        if (pdu_read_reply(request, &reply->pdu, regs, b->plan->count) < 0)
                return; /* the matcher does not let it through */
        post_block(w, b, regs, reply);
        if (b->is_refused) {
                b->is_refused = false;
                w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
                log_info(fields_of(w, b, reply, &fields), "bus %s: unit %u: point %s: answered again",
                         w->bus->name, (unsigned)b->plan->device->unit_id, b->plan->points[0]->name);
        }
        if (holes_answered(&w->devices[b->device].holes, b->plan) == HOLES_REPLAN)
                w->replan = true;
}

/* An illegal address or value: perhaps only a part of the block is meant. true: the block will be cut. */
static bool cut(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        bool was_bad = holes_is_bad(&w->devices[b->device].holes, b->plan);
        enum holes_verdict verdict = holes_refused(&w->devices[b->device].holes, b->plan);
        struct log_fields fields;

        if (!was_bad)
                w->replan = true;
        if (verdict != HOLES_REPLAN)
                return false;
        log_debug(fields_of(w, b, reply, &fields), "bus %s: unit %u: %u from %u refused (%s): cut in two",
                  w->bus->name, (unsigned)b->plan->device->unit_id, (unsigned)b->plan->count,
                  (unsigned)b->plan->address, pdu_exception_name(reply->exception));
        return true;
}

/* What the exceptions of Modbus 1.1b3 §7 mean for the job. true: it was put off. */
static bool excepted(struct worker *w, size_t job, const struct port_reply *reply)
{
        unsigned n_attempts = w->schedule.jobs[job].n_attempts;

        switch (reply->exception) {
        case PDU_EXC_ADDRESS:
        case PDU_EXC_VALUE:
                if (!cut(w, job, reply))
                        refuse(w, job, reply);
                return false;
        case PDU_EXC_FUNCTION: refuse(w, job, reply); return false;
        case PDU_EXC_ACKNOWLEDGE:
        case PDU_EXC_BUSY:
                if (n_attempts >= WORKER_BUSY_TRIES)
                        break;
                schedule_retry(&w->schedule, job, reply->done_us + (WORKER_BUSY_PAUSE_US << n_attempts));
                return true;
        case PDU_EXC_GATEWAY_PATH:
        case PDU_EXC_GATEWAY_TARGET: return false; /* silence: no sample */
        default: break;
        }
        post_block(w, &w->blocks[job], NULL, reply);
        return false;
}

/* true: it is tried again, once the device's hold is over. */
static bool retry(struct worker *w, size_t job, const struct port_reply *reply)
{
        const struct worker_device *d = &w->devices[w->blocks[job].device];
        struct log_fields fields;

        log_debug(fields_of(w, &w->blocks[job], reply, &fields), "bus %s: unit %u: no reply to %u from %u",
                  w->bus->name, (unsigned)d->conf->unit_id, (unsigned)w->blocks[job].plan->count,
                  (unsigned)w->blocks[job].plan->address);
        if (d->health.status != DEVICE_ONLINE || w->schedule.jobs[job].n_attempts >= d->conf->retries)
                return false;
        w->stats.n_retries++;
        schedule_retry(&w->schedule, job, 0);
        return true;
}

void worker_poll(struct worker *w, size_t job)
{
        const struct plan_block *plan = w->blocks[job].plan;
        uint32_t device = w->blocks[job].device;
        uint64_t start_us = clock_monotonic_us();
        struct port_reply reply;
        struct pdu request;
        bool again = false;
        int r;

        pdu_read_request(&request, plan->function, plan->address, plan->count);
        r = worker_exchange(w, device, &request, worker_timeout_us(w, device), SCHEDULE_POLL, &reply);
        if (r < 0 || r == PORT_CANCELLED || !w->is_open)
                return;
        if (r == PORT_OK)
                answered(w, job, &request, &reply);
        else if (r == PORT_EXCEPTION)
                again = excepted(w, job, &reply);
        else
                again = retry(w, job, &reply);
        if (!again)
                schedule_served(&w->schedule, job, start_us);
}

static unsigned count_dead(const struct worker *w)
{
        unsigned n = 0;

        for (size_t i = 0; i < w->n_devices; i++)
                n += w->schedule.devices[i].is_probing;
        return n;
}

/* The point that a probe reads: the first of the first block that the device is not known to refuse. */
static const struct conf_point *probe_point(const struct worker *w, uint32_t device)
{
        const struct worker_device *d = &w->devices[device];

        for (size_t i = 0; i < d->plan.n_blocks; i++) {
                if (!holes_is_bad(&d->holes, &d->plan.blocks[i]))
                        return d->plan.blocks[i].points[0];
        }
        return d->plan.blocks[0].points[0];
}

void worker_probe(struct worker *w, uint32_t device)
{
        const struct worker_device *d = &w->devices[device];
        uint64_t configured_us = d->conf->response_timeout_ms * USEC_PER_MSEC;
        uint64_t wire_us = plan_read_us(&w->cost, PDU_READ_HOLDING, PROBE_REGS) - w->cost.turnaround_us;
        const struct conf_point *p;
        struct port_reply reply;
        struct pdu request;
        int r;

        if (d->plan.n_blocks == 0) {
                w->schedule.devices[device].is_probing = false;
                return;
        }
        p = probe_point(w, device);
        pdu_read_request(&request, plan_function(p->area), p->address, (uint16_t)value_n_regs(&p->format));
        r = worker_exchange(w, device, &request,
                            health_probe_timeout_us(&d->health, configured_us, count_dead(w), wire_us),
                            SCHEDULE_PROBE, &reply);
        (void)r; /* health, schedule and port have learned of it */
}
