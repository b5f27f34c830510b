/* SPDX-License-Identifier: MIT */
#include "worker_private.h"

/* The wire time of a probe with both silences, for its share of the line. */
#define PROBE_REGS 2

/* Blocks that one request may read beside the one that is due. */
#define PICK_UP_MAX 7

/* Points that a line of the log names. */
#define NAMES_MAX 8

struct names {
        char text[512];
};

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

/* The names of its points, the first few of them. */
static const char *names_of(const struct worker_block *b, struct names *ret)
{
        size_t n = MBGATE_MIN(b->plan->n_points, (size_t)NAMES_MAX);
        struct buf text = BUF_ON(ret->text);

        for (size_t i = 0; i < n; i++)
                buf_printf(&text, "%s%s", i ? ", " : "", b->plan->points[i]->name);
        if (n < b->plan->n_points)
                buf_printf(&text, " and %zu others", b->plan->n_points - n);
        return ret->text;
}

static void post_block(struct worker *w, const struct worker_block *b, const uint16_t *regs,
                       const struct port_reply *reply)
{
        worker_post_samples(w, b->plan->points, b->plan->n_points, b->plan->address, regs, reply, false);
}

/*
 * The block's turn ended in silence. While others of its device answer, nobody else would say that its values
 * are old; it is said again from time to time, in case that a reading on demand brought one.
 */
static void silent(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        struct log_fields fields;
        struct names names;

        if (b->n_silent++ == 0)
                b->silent_since_us = reply->done_us;
        if (w->devices[b->device].health.status != DEVICE_ONLINE ||
            (!b->is_stale && b->n_silent < WORKER_SILENT_TURNS))
                return;
        if (!b->is_stale)
                log_warn(fields_of(w, b, reply, &fields),
                         "bus %s: unit %u: point %s: no reply to function %u, %u from %u, %u times in a "
                         "row: its last value is stale, asked less and less often",
                         w->bus->name, (unsigned)b->plan->device->unit_id, names_of(b, &names),
                         (unsigned)b->plan->function, (unsigned)b->plan->count, (unsigned)b->plan->address,
                         b->n_silent);
        worker_post_stale(w, b->plan->points, b->plan->n_points, reply);
        b->is_stale = true;
        w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
}

/* It was answered, with values or an exception. */
static void heard(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        struct log_fields fields;
        struct names names;

        if (b->is_stale)
                log_info(fields_of(w, b, reply, &fields),
                         "bus %s: unit %u: point %s: answers again after %llu s and %u turns without a "
                         "reply",
                         w->bus->name, (unsigned)b->plan->device->unit_id, names_of(b, &names),
                         (unsigned long long)((reply->done_us - b->silent_since_us) / USEC_PER_SEC),
                         b->n_silent);
        b->is_stale = false;
        b->n_silent = 0;
        b->heard_us = reply->done_us;
        w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
}

/* The device does not give these points: read seldom from now on, and said once. */
static void refuse(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        struct log_fields fields;
        struct names names;

        post_block(w, b, NULL, reply);
        if (!b->is_refused)
                log_warn(fields_of(w, b, reply, &fields),
                         "bus %s: unit %u: point %s: refused with exception %u (%s), asked again every 60 s",
                         w->bus->name, (unsigned)b->plan->device->unit_id, names_of(b, &names),
                         (unsigned)reply->exception, pdu_exception_name(reply->exception));
        b->is_refused = true;
        w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
}

/* The device has trouble of its own. When that goes on turn for turn, it is asked less often, and said once.
 */
static void trouble(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        struct log_fields fields;
        struct names names;

        post_block(w, b, NULL, reply);
        if (++b->n_failed != WORKER_FAILED_TURNS)
                return;
        w->schedule.jobs[job].interval_us = worker_block_interval_us(b);
        log_warn(
                fields_of(w, b, reply, &fields),
                "bus %s: unit %u: point %s: exception %u (%s) %u times in a row, asked less often until that "
                "is over",
                w->bus->name, (unsigned)b->plan->device->unit_id, names_of(b, &names),
                (unsigned)reply->exception, pdu_exception_name(reply->exception), b->n_failed);
}

static void answered(struct worker *w, size_t job, const uint16_t *regs, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        bool was_bad = b->is_refused || b->n_failed >= WORKER_FAILED_TURNS;
        struct log_fields fields;
        struct names names;

        b->is_refused = false;
        b->n_failed = 0;
        heard(w, job, reply);
        post_block(w, b, regs, reply);
        worker_outputs_read(w, &w->devices[b->device], b->plan->points, b->plan->n_points, b->plan->address,
                            regs);
        if (was_bad)
                log_info(fields_of(w, b, reply, &fields), "bus %s: unit %u: point %s: answered again",
                         w->bus->name, (unsigned)b->plan->device->unit_id, names_of(b, &names));
        if (holes_answered(&w->devices[b->device].holes, b->plan) == HOLES_REPLAN)
                w->replan = true;
}

/* An illegal address or value: perhaps only a part of the block is meant. true: the block will be cut. */
static bool cut(struct worker *w, size_t job, const struct port_reply *reply)
{
        struct worker_block *b = &w->blocks[job];
        bool was_bad = b->plan->is_fixed || holes_is_bad(&w->devices[b->device].holes, b->plan);
        enum holes_verdict verdict = HOLES_BAD;
        struct log_fields fields;

        if (!b->plan->is_fixed)
                verdict = holes_refused(&w->devices[b->device].holes, b->plan);
        if (!was_bad && (verdict == HOLES_REPLAN || holes_is_bad(&w->devices[b->device].holes, b->plan)))
                w->replan = true;
        b->was_cut = true;
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

        if (!worker_is_silence(PORT_EXCEPTION, reply))
                heard(w, job, reply);
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
        default: trouble(w, job, reply); return false;
        }
        post_block(w, &w->blocks[job], NULL, reply);
        return false;
}

/* true: it is tried again, once the device's hold is over. */
static bool retry(struct worker *w, size_t job, const struct port_reply *reply)
{
        const struct worker_device *d = &w->devices[w->blocks[job].device];
        /* Whether an unknown one is there should not be left to one request. */
        unsigned n_max =
                d->health.status == DEVICE_UNKNOWN ? MBGATE_MAX(d->conf->retries, 1u) : d->conf->retries;
        struct log_fields fields;

        log_debug(fields_of(w, &w->blocks[job], reply, &fields), "bus %s: unit %u: no reply to %u from %u",
                  w->bus->name, (unsigned)d->conf->unit_id, (unsigned)w->blocks[job].plan->count,
                  (unsigned)w->blocks[job].plan->address);
        if (d->health.status == DEVICE_OFFLINE || w->blocks[job].is_stale ||
            w->schedule.jobs[job].n_attempts >= n_max)
                return false;
        w->stats.n_retries++;
        schedule_retry(&w->schedule, job, 0);
        return true;
}

/* One request, for one block or several. */
struct reading {
        struct plan_range range;
        size_t jobs[PICK_UP_MAX + 1]; /* the one that is due first */
        size_t n_jobs;
};

static bool may_be_joined(const struct worker *w, size_t job)
{
        const struct worker_block *b = &w->blocks[job];
        const struct schedule_job *j = &w->schedule.jobs[job];

        return !b->is_refused && !b->plan->is_fixed && !j->is_paused && j->n_attempts == 0 &&
               b->n_silent == 0 && j->interval_us != 0;
}

/* The range of both when that costs less than apart, or a count of 0. */
static struct plan_range join(const struct worker *w, const struct reading *r, const struct plan_block *b)
{
        const struct worker_device *d = &w->devices[w->blocks[r->jobs[0]].device];
        enum conf_area area = b->points[0]->area;
        uint32_t r_end = (uint32_t)r->range.address + r->range.count, b_end = (uint32_t)b->address + b->count;
        uint32_t begin = MBGATE_MIN(r->range.address, b->address), end = MBGATE_MAX(r_end, b_end);
        struct plan_range both;

        if (end - begin > PDU_READ_BITS_MAX || ((!d->conf->join_gaps || d->cost.skips_gaps) &&
                                                end - begin > (uint32_t)r->range.count + b->count))
                return (struct plan_range){ 0 };
        both = plan_range(d->conf, area, begin, end);
        if (!plan_may_read(d->conf, d->holes.list, d->holes.n, area, both) ||
            plan_is_long(&d->cost, b->function, both.count) ||
            plan_read_us(&d->cost, b->function, both.count) >=
                    plan_read_us(&d->cost, b->function, r->range.count) +
                            plan_read_us(&d->cost, b->function, b->count))
                return (struct plan_range){ 0 };
        return both;
}

/*
 * A block that is due picks up neighbours that are due as well, and slower ones whose turn would come before
 * its own next one: they keep their phase and are read a little early.
 */
static void pick_up(const struct worker *w, uint64_t now_us, struct reading *r)
{
        const struct worker_block *b = &w->blocks[r->jobs[0]];
        const struct schedule_job *own = &w->schedule.jobs[r->jobs[0]];
        const struct worker_device *d = &w->devices[b->device];

        if (d->picks_up_nothing || d->cost.is_alone || !d->conf->join_points || !may_be_joined(w, r->jobs[0]))
                return;
        for (size_t i = 0; i < w->schedule.n_jobs && r->n_jobs <= (d->picks_up_one ? 1 : PICK_UP_MAX); i++) {
                const struct schedule_job *j = &w->schedule.jobs[i];
                struct plan_range both;

                if (i == r->jobs[0] || j->device != b->device ||
                    w->blocks[i].plan->function != b->plan->function || !may_be_joined(w, i))
                        continue;
                if (j->due_us > now_us &&
                    (j->interval_us < 2 * own->interval_us || j->due_us > now_us + own->interval_us))
                        continue;
                if (d->picks_up_one && !holes_are_neighbours(b->plan, w->blocks[i].plan))
                        continue;
                both = join(w, r, w->blocks[i].plan);
                if (both.count == 0)
                        continue;
                r->range = both;
                r->jobs[r->n_jobs++] = i;
        }
}

/*
 * A request for several blocks was refused: the one that was due asks alone. What lies between two neighbours
 * will not be asked for again; of more blocks, two neighbours will show where it is.
 */
static void unjoin(struct worker *w, const struct reading *r, const struct port_reply *reply)
{
        struct worker_device *d = &w->devices[w->blocks[r->jobs[0]].device];

        if (reply->exception == PDU_EXC_ADDRESS || reply->exception == PDU_EXC_VALUE) {
                const struct plan_block *a = w->blocks[r->jobs[0]].plan, *b = w->blocks[r->jobs[1]].plan;

                d->picks_up_one = r->n_jobs > 2 || !holes_are_neighbours(a, b);
                if (!d->picks_up_one)
                        d->picks_up_nothing = !holes_join_refused(&d->holes, a, b);
        }
        schedule_retry(&w->schedule, r->jobs[0], 0);
}

static void all_answered(struct worker *w, const struct reading *r, const struct pdu *request,
                         const struct port_reply *reply, uint64_t start_us)
{
        uint16_t regs[PDU_READ_BITS_MAX];

        if (pdu_read_reply(request, &reply->pdu, regs, r->range.count) < 0)
                return; /* the matcher does not let it through */
        for (size_t i = 0; i < r->n_jobs; i++) {
                answered(w, r->jobs[i], regs + (w->blocks[r->jobs[i]].plan->address - r->range.address),
                         reply);
                schedule_served(&w->schedule, r->jobs[i], start_us);
        }
}

/* The block's turn is over without a value. What is read once only is asked for again soon. */
static void failed(struct worker *w, size_t job, int result, const struct port_reply *reply,
                   uint64_t start_us)
{
        const struct worker_block *b = &w->blocks[job];

        if (worker_is_silence(result, reply))
                silent(w, job, reply);
        if (w->schedule.jobs[job].interval_us == 0)
                schedule_retry(&w->schedule, job,
                               reply->done_us + (b->is_stale ? WORKER_SLOW_US : WORKER_ONCE_AGAIN_US));
        else
                schedule_served(&w->schedule, job, start_us);
}

/* Whether an answer to a is more likely than one to b. */
static bool is_surer(const struct worker *w, size_t a, size_t b)
{
        const struct worker_block *block_a = &w->blocks[a], *block_b = &w->blocks[b];

        if (block_a->heard_us != block_b->heard_us)
                return block_a->heard_us > block_b->heard_us;
        return block_a->n_silent + w->schedule.jobs[a].n_attempts <
               block_b->n_silent + w->schedule.jobs[b].n_attempts;
}

/*
 * After silence: the block of the same device that is most likely to be answered goes first, so that one
 * which is silent for itself never takes the device down. What was due keeps its place.
 */
static size_t witness(const struct worker *w, size_t job)
{
        size_t best = job;

        if (w->devices[w->blocks[job].device].health.n_silent == 0)
                return job;
        for (size_t i = 0; i < w->schedule.n_jobs; i++) {
                const struct schedule_job *j = &w->schedule.jobs[i];

                if (j->device == w->blocks[job].device && j->interval_us != 0 && is_surer(w, i, best))
                        best = i;
        }
        return best;
}

/* A block that was silent may be slower than what was learned from the others. */
static uint64_t timeout_of(struct worker *w, size_t job)
{
        const struct worker_block *b = &w->blocks[job];

        if (b->was_lost)
                return w->devices[b->device].conf->response_timeout_ms * USEC_PER_MSEC;
        return worker_timeout_us(w, b->device);
}

void worker_poll(struct worker *w, size_t due)
{
        size_t job = witness(w, due);
        const struct plan_block *plan = w->blocks[job].plan;
        uint32_t device = w->blocks[job].device;
        uint64_t start_us = clock_monotonic_us();
        struct reading reading = { { plan->address, plan->count }, { job }, 1 };
        struct port_reply reply;
        struct pdu request;
        int r;

        pick_up(w, start_us, &reading);
        pdu_read_request(&request, plan->function, reading.range.address, reading.range.count);
        r = worker_exchange(w, device, &request, timeout_of(w, job), SCHEDULE_POLL, &reply);
        if (r < 0 || r == PORT_CANCELLED || !w->is_open)
                return;
        w->blocks[job].was_lost = r == PORT_TIMEOUT;
        if (r == PORT_OK)
                all_answered(w, &reading, &request, &reply, start_us);
        else if (r == PORT_EXCEPTION && reading.n_jobs > 1)
                unjoin(w, &reading, &reply);
        else if (!(r == PORT_EXCEPTION ? excepted(w, job, &reply) : retry(w, job, &reply)))
                failed(w, job, r, &reply, start_us);
}

static unsigned count_dead(const struct worker *w)
{
        unsigned n = 0;

        for (size_t i = 0; i < w->n_devices; i++)
                n += w->schedule.devices[i].is_probing;
        return n;
}

/*
 * The point that a probe reads: the first of the block that answered last. Of one that never answered, block
 * for block, but for those that the device is known to refuse: it may be silent at some of them.
 */
static const struct conf_point *probe_point(const struct worker *w, uint32_t device)
{
        const struct worker_device *d = &w->devices[device];
        const struct worker_block *best = NULL;
        uint64_t turn = d->health.n_probes;

        for (size_t i = 0; i < w->schedule.n_jobs; i++) {
                const struct worker_block *b = &w->blocks[i];

                if (b->device == device && b->heard_us != 0 && !holes_is_bad(&d->holes, b->plan) &&
                    (!best || b->heard_us > best->heard_us))
                        best = b;
        }
        if (best)
                return best->plan->points[0];
        for (size_t i = 0; i < d->plan.n_blocks; i++) {
                const struct plan_block *b = &d->plan.blocks[(turn + i) % d->plan.n_blocks];

                if (!holes_is_bad(&d->holes, b))
                        return b->points[0];
        }
        return &d->conf->points[0];
}

void worker_probe(struct worker *w, uint32_t device)
{
        struct worker_device *d = &w->devices[device];
        uint64_t configured_us = d->conf->response_timeout_ms * USEC_PER_MSEC;
        uint64_t wire_us =
                plan_read_us(&d->cost, PDU_READ_HOLDING, PROBE_REGS) - d->cost.turnaround_us + d->cost.t35_us;
        const struct conf_point *p;
        struct plan_range range;
        struct port_reply reply;
        struct pdu request;
        int r;

        if (d->conf->n_points == 0) {
                w->schedule.devices[device].is_probing = false;
                return;
        }
        p = probe_point(w, device);
        range = plan_range(d->conf, p->area, p->address, p->address + value_n_regs(&p->format));
        pdu_read_request(&request, plan_function(p->area), range.address, range.count);
        r = worker_exchange(w, device, &request,
                            health_probe_timeout_us(&d->health, configured_us, count_dead(w), wire_us,
                                                    w->schedule.probe_saved_us >= 0),
                            SCHEDULE_PROBE, &reply);
        (void)r; /* health, schedule and port have learned of it */
}
