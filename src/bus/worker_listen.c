/* SPDX-License-Identifier: MIT */
/*
 * A bus on which another master asks: nothing is ever sent (worker_exchange() refuses, the port is opened for
 * reading only), replies become samples of the points that are mapped there, and all the rest is counted.
 */
#include <errno.h>
#include <stdlib.h>

#include "mbgate/base/byteorder.h"

#include "listen.h"
#include "worker_private.h"

#define RECEIVES_MAX 16 /* in one turn, so that commands and stops are heard too */
#define POINTS_MAX   64 /* in one message */
#define LOOK_US      USEC_PER_SEC

#define FUNCTION_READ_WRITE 23
#define READ_REQUEST_BYTES  5
#define REPLY_US            USEC_PER_SEC /* of a bus without devices */

/* A device is offline when its last three requests were not answered, and it was not heard for so long. */
#define SILENT_US (2 * USEC_PER_SEC)

/* A device that nobody asks is offline after so many of its longest intervals, and at least this long. */
#define UNASKED_INTERVALS 3
#define UNASKED_MIN_US    (10 * USEC_PER_SEC)

struct worker_listen {
        struct listen listen;
        struct listen_counts reported; /* what stands in the counters of the bus already */
        uint64_t opened_us;
        uint64_t next_look_us;
};

int worker_listen_new(struct worker *w)
{
        w->listen = calloc(1, sizeof(*w->listen));
        return w->listen ? 0 : -ENOMEM;
}

void worker_listen_free(struct worker *w)
{
        free(w->listen);
        w->listen = NULL;
}

void worker_listen_opened(struct worker *w, uint64_t now_us)
{
        uint64_t reply_us = 0;

        for (size_t i = 0; i < w->n_devices; i++) {
                reply_us = MBGATE_MAX(reply_us, w->devices[i].conf->response_timeout_ms * USEC_PER_MSEC);
                w->devices[i].heard_us = 0;
        }
        listen_init(&w->listen->listen, w->cost.t35_us, reply_us ? reply_us : REPLY_US);
        w->listen->reported = (struct listen_counts){ 0 };
        w->listen->opened_us = now_us;
        w->listen->next_look_us = now_us + LOOK_US;
}

static void heard(struct worker *w, uint32_t device, uint64_t now_us)
{
        struct worker_device *d = &w->devices[device];
        uint64_t since_us = d->health.since_us, n_lost = d->health.n_lost;
        enum device_status before = d->health.status;

        d->heard_us = now_us;
        if (!health_answered(&d->health, now_us))
                return;
        if (before == DEVICE_OFFLINE)
                worker_log_online(w, device, since_us, n_lost);
        worker_post_device(w, device);
}

/* Not our request, so one that is lost means little: look_at_devices() decides. */
static void missed(struct worker *w, uint32_t device)
{
        struct health *h = &w->devices[device].health;

        h->n_failures++;
        h->n_lost++;
}

static bool area_of(uint8_t function, enum conf_area *ret)
{
        switch (function) {
        case PDU_READ_COILS: *ret = CONF_COIL; return true;
        case PDU_READ_DISCRETE: *ret = CONF_DISCRETE; return true;
        case PDU_READ_HOLDING: *ret = CONF_HOLDING; return true;
        case PDU_READ_INPUT: *ret = CONF_INPUT; return true;
        default: return false;
        }
}

/* The points of a device that lie wholly in what was read. */
static void post_points(struct worker *w, uint32_t device, const struct listen_pair *pair,
                        enum conf_area area, const uint16_t *regs)
{
        const struct conf_device *d = w->devices[device].conf;
        unsigned address = get_be16(pair->request.bytes + 1), count = get_be16(pair->request.bytes + 3);
        struct port_reply reply = { .began_us = pair->asked_us, .done_us = pair->done_us };
        const struct conf_point *points[POINTS_MAX];
        size_t n = 0;

        for (size_t i = 0; i < d->n_points; i++) {
                const struct conf_point *p = &d->points[i];

                if (p->area != area || p->address < address ||
                    p->address + value_n_regs(&p->format) > address + count)
                        continue;
                points[n++] = p;
                if (n == POINTS_MAX) {
                        worker_post_samples(w, points, n, (uint16_t)address, regs, &reply, false);
                        n = 0;
                }
        }
        if (n > 0)
                worker_post_samples(w, points, n, (uint16_t)address, regs, &reply, false);
}

/* Function 23 reads holding registers like function 3, and its request begins like that one's. */
static void as_plain_read(struct listen_pair *pair)
{
        if (pair->request.bytes[0] != FUNCTION_READ_WRITE)
                return;
        pair->request.bytes[0] = pair->reply.bytes[0] = PDU_READ_HOLDING;
        pair->request.n_bytes = READ_REQUEST_BYTES;
}

static void post_values(struct worker *w, uint32_t device, const struct listen_pair *pair)
{
        struct listen_pair read = *pair;
        uint16_t regs[PDU_READ_BITS_MAX];
        enum conf_area area;
        unsigned count;

        as_plain_read(&read);
        if (!area_of(read.request.bytes[0], &area))
                return;
        count = get_be16(read.request.bytes + 3);
        if (count <= PDU_READ_BITS_MAX && pdu_read_reply(&read.request, &read.reply, regs, count) == 0)
                post_points(w, device, &read, area, regs);
}

static void take_device(struct worker *w, uint32_t device, const struct listen_pair *pair, uint64_t now_us)
{
        struct worker_device *d = &w->devices[device];
        bool is_gateway = pair->kind == LISTEN_EXCEPTION && (pair->reply.bytes[1] == PDU_EXC_GATEWAY_PATH ||
                                                             pair->reply.bytes[1] == PDU_EXC_GATEWAY_TARGET);

        d->stats.n_transactions++;
        d->stats.n_ok += pair->kind == LISTEN_REPLY;
        d->stats.n_exceptions += pair->kind == LISTEN_EXCEPTION;
        d->stats.n_timeouts += pair->kind == LISTEN_SILENCE;
        if (pair->kind == LISTEN_SILENCE || is_gateway) {
                missed(w, device);
                return;
        }
        histogram_add(&d->health.round_trip, pair->done_us - pair->asked_to_us);
        heard(w, device, now_us);
        if (pair->kind == LISTEN_REPLY && !pair->is_doubtful)
                post_values(w, device, pair);
}

static void count(struct worker *w, const struct listen_pair *pair)
{
        struct bus_stats *s = &w->stats;
        uint8_t code;

        w->window_busy_us += w->cost.baud ? rtu_wire_us(w->cost.baud, w->cost.char_bits, pair->n_bytes) : 0;
        if (pair->kind == LISTEN_ORPHAN) {
                s->n_foreign++;
                return;
        }
        s->n_transactions++;
        s->n_writes +=
                pair->request.bytes[0] >= PDU_WRITE_COIL && pair->request.bytes[0] <= PDU_WRITE_REGISTERS;
        switch (pair->kind) {
        case LISTEN_REPLY:
                s->n_ok++;
                s->n_foreign += pair->is_doubtful;
                histogram_add(&w->round_trip, pair->done_us - pair->asked_to_us);
                break;
        case LISTEN_EXCEPTION:
                code = pair->reply.bytes[1];
                s->n_exceptions[code < STATS_EXCEPTION_CODES ? code : 0]++;
                break;
        case LISTEN_SILENCE: s->n_timeouts++; break;
        case LISTEN_BROADCAST: s->n_ok++; break;
        case LISTEN_ORPHAN:
        case LISTEN_NONE: break;
        }
}

static void take(struct worker *w, uint64_t now_us)
{
        struct worker_listen *l = w->listen;
        struct listen_pair pair;

        while (listen_next(&l->listen, now_us, &pair) != LISTEN_NONE) {
                count(w, &pair);
                if (pair.request.n_bytes > 0 && pair.request.bytes[0] > PDU_READ_INPUT)
                        worker_raw_forget(w, pair.unit);
                for (uint32_t i = 0; i < w->n_devices && pair.kind < LISTEN_BROADCAST; i++) {
                        if (w->devices[i].conf->unit_id == pair.unit)
                                take_device(w, i, &pair, now_us);
                }
        }
        w->stats.n_junk_bytes += l->listen.counts.n_junk_bytes - l->reported.n_junk_bytes;
        w->stats.n_crc += l->listen.counts.n_broken - l->reported.n_broken;
        l->reported = l->listen.counts;
}

void worker_listen_receive(struct worker *w)
{
        uint8_t bytes[LISTEN_FEED_MAX];

        for (unsigned i = 0; i < RECEIVES_MAX; i++) {
                int n = port_receive(w->port, bytes, sizeof(bytes));
                uint64_t now_us = clock_monotonic_us();

                if (n < 0)
                        worker_port_lost(w, n);
                if (n <= 0)
                        return;
                listen_feed(&w->listen->listen, bytes, (size_t)n, now_us);
                take(w, now_us);
        }
}

static uint64_t longest_interval_us(const struct conf_device *d)
{
        uint32_t ms = 0;

        for (size_t i = 0; i < d->n_points; i++)
                ms = MBGATE_MAX(ms, d->points[i].interval_ms);
        return ms * USEC_PER_MSEC;
}

static void went(struct worker *w, uint32_t device, uint64_t now_us)
{
        struct health *h = &w->devices[device].health;

        h->status = DEVICE_OFFLINE;
        h->since_us = now_us;
        h->n_lost = h->n_failures;
        worker_post_device(w, device);
}

/* Who does not answer the master is gone; and values that nobody asks for any more grow old. */
static void look_at_devices(struct worker *w, uint64_t now_us)
{
        for (uint32_t i = 0; i < w->n_devices; i++) {
                struct worker_device *d = &w->devices[i];
                struct log_fields fields = { .bus = w->bus->name, .device = d->conf->name };
                uint64_t limit_us =
                        MBGATE_MAX(UNASKED_INTERVALS * longest_interval_us(d->conf), UNASKED_MIN_US);
                uint64_t last_us = MBGATE_MAX(d->heard_us, w->listen->opened_us);

                if (d->health.status == DEVICE_OFFLINE)
                        continue;
                if (d->health.n_failures >= HEALTH_FAILURES_MAX && now_us >= last_us + SILENT_US) {
                        log_warn(&fields, "bus %s: unit %u: does not answer the master", w->bus->name,
                                 (unsigned)d->conf->unit_id);
                        went(w, i, now_us);
                } else if (now_us >= last_us + limit_us) {
                        log_warn(&fields, "bus %s: unit %u: nobody has asked it for %llu s", w->bus->name,
                                 (unsigned)d->conf->unit_id, (unsigned long long)(limit_us / USEC_PER_SEC));
                        went(w, i, now_us);
                }
        }
}

uint64_t worker_listen(struct worker *w, uint64_t now_us)
{
        struct worker_listen *l = w->listen;

        take(w, now_us);
        if (now_us >= l->next_look_us) {
                look_at_devices(w, now_us);
                l->next_look_us = now_us + LOOK_US;
        }
        return MBGATE_MIN(l->next_look_us, listen_wake_us(&l->listen));
}
