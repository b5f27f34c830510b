/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "serve.h"
#include "simclock.h"

/* A master may be scheduled out between two writes of one frame; shorter silences than this end none. */
#define SILENCE_MIN_NS  (2 * NS_PER_MS)
#define UNIT_BROADCAST  0
#define UNIT_TCP_ITSELF 255 /* Messaging on TCP/IP 1.0b §4.4.2.2: the device at the address itself */

void line_init(struct line *l, struct simbus *bus, enum framing framing, bool keeps_gaps, line_write_fn write,
               void *user)
{
        *l = (struct line){ .bus = bus, .write = write, .user = user, .keeps_gaps = keeps_gaps };
        l->assembly.framing = framing;
}

void line_reset(struct line *l)
{
        for (unsigned i = 0; i < l->n_replies; i++)
                free(l->replies[i]);
        free(l->echo);
        line_init(l, l->bus, l->assembly.framing, l->keeps_gaps, l->write, l->user);
}

/* The end of the first n characters of a frame. */
static uint64_t tx_done_ns(const struct line *l, const struct line_tx *tx, size_t n)
{
        return tx->start_ns + pace_wire_ns(&l->bus->pace, n) + (n > 0 ? (n - 1) * tx->pause_ns : 0);
}

/* When its next piece is to be written. */
static uint64_t tx_next_ns(const struct line *l, const struct line_tx *tx)
{
        unsigned chunk = tx->pause_ns > 0 ? 1 : l->bus->chunk;
        size_t n = chunk == 0 ? tx->n : MBGATE_MIN(tx->n, tx->n_sent + chunk);

        return tx_done_ns(l, tx, n);
}

/* ---- what the master sends ---- */

static void line_note_effects(const struct fault_effects *e, struct buf *note)
{
        for (int k = 0; k < FAULT_KINDS; k++) {
                if (!fault_has(e, (enum fault_kind)k))
                        continue;
                buf_printf(note, "%s%s", note->len_bytes > 0 ? " " : "", fault_kind_name((enum fault_kind)k));
                if (k == FAULT_LATE)
                        buf_printf(note, ":%lums", (unsigned long)(e->param[k] / NS_PER_MS));
        }
}

static void line_choose_faults(struct line *l, struct line_request *r)
{
        struct fault_query q = { .unit = r->request.unit, .function = r->request.pdu.bytes[0] };
        struct stats *s = &l->bus->stats;

        q.has_address = serve_address(&r->request.pdu, &q.address, &q.count);
        faults_choose(&l->bus->faults, &l->bus->random, &q, &r->effects);
        if (r->effects.kinds == 0)
                return;
        s->units[q.unit].n_faults++;
        for (int k = 0; k < FAULT_KINDS; k++)
                s->n_faults[k] += fault_has(&r->effects, (enum fault_kind)k);
}

/* A local echo: the characters come back as they go out. An older one still under way is finished at once. */
static void line_start_echo(struct line *l, const struct line_request *r)
{
        struct line_tx *tx = calloc(1, sizeof(*tx));

        if (!tx)
                return;
        if (l->echo) {
                l->bus->stats.n_lost_bytes += l->echo->n - l->echo->n_sent;
                free(l->echo);
        }
        memcpy(tx->bytes, r->request.adu, r->request.n_adu);
        tx->n = r->request.n_adu;
        tx->start_ns = l->begin_ns;
        tx->is_echo = true;
        snprintf(tx->note, sizeof(tx->note), "echo");
        l->echo = tx;
}

static void line_queue_request(struct line *l, const struct request *request, uint64_t end_ns)
{
        struct stats *s = &l->bus->stats;
        struct line_request *r;
        char text[120];
        struct buf note = BUF_ON(text);

        s->busy_ns += pace_chars_ns(&l->bus->pace, request->n_adu);
        if (l->n_requests == LINE_REQUESTS_MAX) {
                s->n_broken++;
                return;
        }
        r = &l->requests[l->n_requests++];
        *r = (struct line_request){ .request = *request, .end_ns = end_ns, .heard = l->begin_heard };
        s->n_requests++;
        if (r->heard)
                line_choose_faults(l, r);
        else
                buf_append(&note, "too early");
        line_note_effects(&r->effects, &note);
        framelog_frame(l->bus->log, l->bus->name, ">>", l->begin_ns, request->adu, request->n_adu, text);
        if (fault_has(&r->effects, FAULT_ECHO))
                line_start_echo(l, r);
}

static void line_count_broken(struct line *l, const struct request *request)
{
        l->bus->stats.n_broken++;
        l->bus->stats.busy_ns += pace_chars_ns(&l->bus->pace, request->n_adu);
        l->closed = l->assembly.framing == FRAMING_MBAP;
        framelog_frame(l->bus->log, l->bus->name, ">>", l->begin_ns, request->adu, request->n_adu, "broken");
}

/* The silence before a frame; too short a one makes it unheard in strict mode. */
static void line_count_gap(struct line *l, uint64_t gap_ns)
{
        struct stats *s = &l->bus->stats;

        if (!l->used || !l->keeps_gaps)
                return;
        s->gap_min_ns = MBGATE_MIN(s->gap_min_ns, gap_ns);
        histogram_add(&s->gaps, gap_ns / NS_PER_US);
        l->begin_heard = true;
        if (gap_ns >= pace_t35_ns(&l->bus->pace))
                return;
        s->n_too_early++;
        l->begin_heard = !l->bus->strict;
}

/* From the last byte on the line, whoever sent it, to a frame that begins now. */
static void line_measure_gap(struct line *l, uint64_t now_ns)
{
        uint64_t last_ns = MBGATE_MAX(l->rx_end_ns, l->last_byte_ns);

        line_count_gap(l, l->sending || last_ns > now_ns ? 0 : now_ns - last_ns);
}

static uint64_t line_silence_ns(const struct line *l)
{
        uint64_t min_ns = (uint64_t)(SILENCE_MIN_NS * simclock_speed());

        return MBGATE_MAX(min_ns, pace_t35_ns(&l->bus->pace));
}

static void line_take_requests(struct line *l)
{
        enum assembly_result result;
        struct request request;

        while ((result = assembly_take(&l->assembly, &request)) != ASSEMBLY_MORE) {
                /* what is left behind it has still to come over the line */
                uint64_t end_ns = l->rx_end_ns - pace_wire_ns(&l->bus->pace, l->assembly.n);

                if (result == ASSEMBLY_REQUEST)
                        line_queue_request(l, &request, end_ns);
                else
                        line_count_broken(l, &request);
                l->begin_ns = end_ns;
                if (l->assembly.n > 0)
                        line_count_gap(l, 0); /* the next one follows without a pause */
        }
}

static void line_end_assembly(struct line *l)
{
        struct request request;

        switch (assembly_end(&l->assembly, &request)) {
        case ASSEMBLY_REQUEST: line_queue_request(l, &request, l->rx_end_ns); break;
        case ASSEMBLY_BROKEN: line_count_broken(l, &request); break;
        case ASSEMBLY_MORE: break;
        }
}

/* Characters not yet delivered become others. */
static void line_garble(struct line *l, struct line_tx *tx)
{
        for (size_t i = tx->n_sent; i < tx->n; i++)
                tx->bytes[i] ^= (uint8_t)(1 + random_below(&l->bus->random, 255));
        tx->counts = false;
        snprintf(tx->note, sizeof(tx->note), "collision");
}

static void line_begin_frame(struct line *l, uint64_t now_ns)
{
        l->begin_heard = true;
        line_measure_gap(l, now_ns);
        l->begin_ns = now_ns;
        if (l->sending) {
                l->bus->stats.n_collisions++;
                if (l->bus->garble) {
                        line_garble(l, l->replies[0]);
                        l->begin_heard = false;
                } else {
                        l->begin_ns = tx_done_ns(l, l->replies[0], l->replies[0]->n);
                }
        }
        if (l->bus->stats.first_ns == 0)
                l->bus->stats.first_ns = now_ns;
        l->used = true;
}

void line_receive(struct line *l, const uint8_t *bytes, size_t n_bytes, uint64_t now_ns)
{
        line_advance(l, now_ns);
        while (n_bytes > 0) {
                size_t n;

                if (l->assembly.n == 0)
                        line_begin_frame(l, now_ns);
                n = assembly_add(&l->assembly, bytes, n_bytes);
                l->rx_end_ns = MBGATE_MAX(MBGATE_MAX(l->rx_end_ns, now_ns), l->begin_ns);
                l->rx_end_ns += pace_wire_ns(&l->bus->pace, n);
                bytes += n;
                n_bytes -= n;
                line_take_requests(l);
        }
        l->bus->stats.last_ns = MBGATE_MAX(l->bus->stats.last_ns, l->rx_end_ns);
        line_advance(l, now_ns);
}

/* ---- what the devices answer ---- */

static void line_insert_reply(struct line *l, struct line_tx *tx)
{
        unsigned i = l->n_replies;

        if (l->n_replies == LINE_REPLIES_MAX) {
                l->bus->stats.n_lost_bytes += tx->n;
                free(tx);
                return;
        }
        while (i > (l->sending ? 1u : 0u) && l->replies[i - 1]->due_ns > tx->due_ns) {
                l->replies[i] = l->replies[i - 1];
                i--;
        }
        l->replies[i] = tx;
        l->n_replies++;
}

static size_t line_frame_reply(const struct line *l, const struct request *request, uint8_t unit,
                               const struct pdu *pdu, bool wrong_check, uint8_t *ret)
{
        size_t n;

        if (l->assembly.framing == FRAMING_RTU) {
                n = rtu_frame(unit, pdu->bytes, pdu->n_bytes, ret);
                ret[n - 1] ^= wrong_check ? 0x55 : 0;
                return n;
        }
        memcpy(ret, request->adu, 4);
        ret[1] ^= wrong_check ? 0x55 : 0;
        ret[4] = (uint8_t)((pdu->n_bytes + 1) >> 8);
        ret[5] = (uint8_t)(pdu->n_bytes + 1);
        ret[6] = unit;
        memcpy(ret + MBAP_BYTES, pdu->bytes, pdu->n_bytes);
        return pdu->n_bytes + MBAP_BYTES;
}

static void line_add_noise(struct line *l, struct line_tx *tx, uint64_t n_bytes)
{
        for (uint64_t i = 0; i < n_bytes && tx->n < sizeof(tx->bytes); i++)
                tx->bytes[tx->n++] = (uint8_t)random_next(&l->bus->random);
}

/* The bytes of a reply, with everything that is wrong with them. */
static void line_fill_reply(struct line *l, struct line_tx *tx, const struct line_request *r, uint8_t unit,
                            const struct pdu *pdu)
{
        const struct fault_effects *e = &r->effects;
        uint8_t adu[ASSEMBLY_MAX_BYTES];
        size_t n, cut;

        if (fault_has(e, FAULT_WRONG_UNIT))
                unit = (uint8_t)(e->param[FAULT_WRONG_UNIT] ? e->param[FAULT_WRONG_UNIT] : unit + 1u);
        if (fault_has(e, FAULT_NOISE_BEFORE))
                line_add_noise(l, tx, e->param[FAULT_NOISE_BEFORE]);
        n = line_frame_reply(l, &r->request, unit, pdu, fault_has(e, FAULT_WRONG_CRC), adu);
        cut = e->param[FAULT_TRUNCATE] ? (size_t)e->param[FAULT_TRUNCATE] : n / 2;
        if (fault_has(e, FAULT_TRUNCATE))
                n -= MBGATE_MIN(cut, n - 1);
        memcpy(tx->bytes + tx->n, adu, n);
        tx->n += n;
        if (fault_has(e, FAULT_NOISE_AFTER))
                line_add_noise(l, tx, e->param[FAULT_NOISE_AFTER]);
}

static uint64_t line_turnaround_ns(struct line *l)
{
        const struct simbus *b = l->bus;
        uint64_t width_ns = b->turnaround_max_ns - b->turnaround_min_ns;

        return b->turnaround_min_ns + (width_ns > 0 ? random_below(&l->bus->random, width_ns + 1) : 0);
}

static void line_repeat_reply(struct line *l, const struct line_tx *tx)
{
        struct line_tx *copy = malloc(sizeof(*copy));

        if (!copy)
                return;
        *copy = *tx;
        copy->counts = false;
        copy->due_ns += pace_wire_ns(&l->bus->pace, tx->n) + pace_t35_ns(&l->bus->pace);
        snprintf(copy->note, sizeof(copy->note), "duplicate");
        line_insert_reply(l, copy);
}

static void line_send_reply(struct line *l, const struct line_request *r, uint8_t unit,
                            const struct serve_result *result)
{
        const uint32_t spoilt =
                1u << FAULT_LATE | 1u << FAULT_WRONG_CRC | 1u << FAULT_TRUNCATE | 1u << FAULT_WRONG_UNIT;
        const struct fault_effects *e = &r->effects;
        struct line_tx *tx = calloc(1, sizeof(*tx));
        uint8_t function = r->request.pdu.bytes[0];
        struct buf note;

        if (!tx)
                return;
        note = BUF_ON(tx->note);
        line_note_effects(e, &note);
        tx->unit = unit;
        tx->counts = (e->kinds & spoilt) == 0;
        tx->n_registers = function == PDU_READ_COILS || function == PDU_READ_DISCRETE ? 0 : result->n_read;
        tx->n_bits = result->n_read - tx->n_registers;
        tx->n_written = result->n_written;
        tx->due_ns = r->end_ns + line_turnaround_ns(l) + e->param[FAULT_LATE];
        tx->pause_ns = e->param[FAULT_TRICKLE];
        line_fill_reply(l, tx, r, r->request.unit, &result->reply);
        if (result->exception != 0) {
                l->bus->stats.units[unit].n_exceptions++;
                tx->counts = false;
        }
        if (fault_has(e, FAULT_DUPLICATE))
                line_repeat_reply(l, tx);
        line_insert_reply(l, tx);
}

/* Broadcasts are done by all and answered by none: Modbus over serial line 1.02 §2.1. */
static void line_broadcast(struct line *l, const struct line_request *r)
{
        struct serve_result result;

        if (!serve_is_write(r->request.pdu.bytes[0]))
                return;
        for (int u = -1; (u = map_next_unit(l->bus->map, u)) >= 0;) {
                if (!map_is_dead(l->bus->map, (uint8_t)u))
                        serve_request(l->bus->map, (uint8_t)u, &r->request.pdu, r->end_ns, &result);
        }
}

/* Which device is meant; −1: none of ours. A TCP server with one device is that device under 0 and 255 too.
 */
static int line_find_unit(const struct line *l, uint8_t unit)
{
        const struct map *map = l->bus->map;

        if (map_has_unit(map, unit))
                return unit;
        if (l->assembly.framing == FRAMING_MBAP && (unit == UNIT_BROADCAST || unit == UNIT_TCP_ITSELF) &&
            map_n_units(map) == 1)
                return map_next_unit(map, -1);
        return -1;
}

static void line_unknown_unit(struct line *l, const struct line_request *r)
{
        struct serve_result result;

        l->bus->stats.n_unknown_unit++;
        if (l->assembly.framing != FRAMING_MBAP)
                return; /* on a serial line nobody is there to say so */
        serve_exception(&r->request.pdu, PDU_EXC_GATEWAY_TARGET, &result);
        line_send_reply(l, r, r->request.unit, &result);
}

static void line_answer(struct line *l, const struct line_request *r)
{
        const struct fault_effects *e = &r->effects;
        int unit = line_find_unit(l, r->request.unit);
        struct serve_result result;
        struct stats_unit *s;

        if (!r->heard)
                return;
        if (fault_has(e, FAULT_HANGUP))
                l->hangup_ns = MBGATE_MAX(e->param[FAULT_HANGUP], 1u);
        if (unit < 0 && r->request.unit == UNIT_BROADCAST && l->assembly.framing == FRAMING_RTU) {
                line_broadcast(l, r);
                return;
        }
        if (unit < 0) {
                line_unknown_unit(l, r);
                return;
        }
        s = &l->bus->stats.units[unit];
        s->n_requests++;
        if (map_is_dead(l->bus->map, (uint8_t)unit) || fault_has(e, FAULT_NO_REPLY)) {
                s->n_silent++;
                return;
        }
        if (fault_has(e, FAULT_EXCEPTION))
                serve_exception(&r->request.pdu, (uint8_t)e->param[FAULT_EXCEPTION], &result);
        else
                serve_request(l->bus->map, (uint8_t)unit, &r->request.pdu, r->end_ns, &result);
        if (fault_has(e, FAULT_LOST_REPLY))
                s->n_silent++;
        else
                line_send_reply(l, r, (uint8_t)unit, &result);
}

static void line_answer_first(struct line *l)
{
        struct line_request r = l->requests[0];

        l->n_requests--;
        memmove(l->requests, l->requests + 1, l->n_requests * sizeof(r));
        line_answer(l, &r);
}

/* ---- what goes over the line, and when ---- */

/* A reply has left: what it was good for. */
static void line_count_reply(struct line *l, const struct line_tx *tx, uint64_t now_ns)
{
        struct stats *s = &l->bus->stats;
        struct stats_unit *u = &s->units[tx->unit];
        uint64_t late_ns = now_ns - MBGATE_MIN(now_ns, tx_done_ns(l, tx, tx->n));

        framelog_frame(l->bus->log, l->bus->name, "<<", now_ns, tx->bytes, tx->n, tx->note);
        if (tx->is_echo)
                return;
        s->busy_ns += pace_chars_ns(&l->bus->pace, tx->n);
        s->late_max_ns = MBGATE_MAX(s->late_max_ns, late_ns);
        s->late_sum_ns += late_ns;
        s->n_sent++;
        if (!tx->counts)
                return;
        u->n_ok++;
        u->n_registers_read += tx->n_registers;
        u->n_bits_read += tx->n_bits;
        u->n_written += tx->n_written;
        if (tx->n_registers + tx->n_bits > 0)
                stats_count_read(u, now_ns);
}

/* Writes what has come to an end by now; true when that was all of it. */
static bool line_send(struct line *l, struct line_tx *tx, uint64_t now_ns)
{
        size_t n = tx->n_sent;

        while (n < tx->n && tx_done_ns(l, tx, n + 1) <= now_ns)
                n++;
        if (n == tx->n_sent)
                return false;
        l->bus->stats.n_lost_bytes += l->write(l->user, tx->bytes + tx->n_sent, n - tx->n_sent);
        tx->n_sent = n;
        if (!tx->is_echo)
                l->last_byte_ns = now_ns;
        l->bus->stats.last_ns = MBGATE_MAX(l->bus->stats.last_ns, now_ns);
        if (n < tx->n)
                return false;
        line_count_reply(l, tx, now_ns);
        return true;
}

static void line_send_first(struct line *l, uint64_t now_ns)
{
        struct line_tx *tx = l->replies[0];

        if (!line_send(l, tx, now_ns))
                return;
        l->tx_end_ns = tx_done_ns(l, tx, tx->n);
        l->sending = false;
        l->n_replies--;
        memmove(l->replies, l->replies + 1, l->n_replies * sizeof(tx));
        free(tx);
}

/* When the first reply may begin: what is on the line goes first, unless collisions are real. */
static uint64_t line_start_ns(const struct line *l)
{
        uint64_t start_ns = MBGATE_MAX(l->replies[0]->due_ns, l->tx_end_ns);

        return l->bus->garble ? start_ns : MBGATE_MAX(start_ns, l->rx_end_ns);
}

static void line_start_first(struct line *l, uint64_t start_ns)
{
        l->replies[0]->start_ns = start_ns;
        l->sending = true;
        l->bus->stats.n_collisions += start_ns > l->replies[0]->due_ns || start_ns < l->rx_end_ns;
        if (start_ns >= l->rx_end_ns)
                return;
        /* only with garble: the master is still speaking */
        line_garble(l, l->replies[0]);
        l->begin_heard = false;
        for (unsigned i = 0; i < l->n_requests; i++)
                l->requests[i].heard = false;
}

enum line_event { EVENT_NONE, EVENT_REQUEST, EVENT_SILENCE, EVENT_ECHO, EVENT_START, EVENT_SEND };

/* What comes next, and when. At one moment the order of the enum decides. */
static enum line_event line_next_event(const struct line *l, uint64_t *ret_ns)
{
        uint64_t at_ns[EVENT_SEND + 1];
        enum line_event next = EVENT_NONE;

        for (int e = EVENT_NONE; e <= EVENT_SEND; e++)
                at_ns[e] = LINE_NEVER;
        if (l->n_requests > 0)
                at_ns[EVENT_REQUEST] = l->requests[0].end_ns;
        if (l->assembly.n > 0 && l->assembly.framing == FRAMING_RTU)
                at_ns[EVENT_SILENCE] = l->rx_end_ns + line_silence_ns(l);
        if (l->echo)
                at_ns[EVENT_ECHO] = tx_next_ns(l, l->echo);
        if (l->sending)
                at_ns[EVENT_SEND] = tx_next_ns(l, l->replies[0]);
        else if (l->n_replies > 0)
                at_ns[EVENT_START] = line_start_ns(l);
        for (int e = EVENT_REQUEST; e <= EVENT_SEND; e++) {
                if (at_ns[e] < at_ns[next])
                        next = (enum line_event)e;
        }
        *ret_ns = at_ns[next];
        return next;
}

uint64_t line_next_ns(const struct line *l)
{
        uint64_t at_ns;

        (void)line_next_event(l, &at_ns);
        return at_ns;
}

bool line_next_is_sharp(const struct line *l)
{
        uint64_t at_ns;

        return line_next_event(l, &at_ns) == EVENT_SEND &&
               at_ns >= tx_done_ns(l, l->replies[0], l->replies[0]->n);
}

void line_advance(struct line *l, uint64_t now_ns)
{
        enum line_event event;
        uint64_t at_ns;

        while ((event = line_next_event(l, &at_ns)) != EVENT_NONE && at_ns <= now_ns) {
                switch (event) {
                case EVENT_NONE: break;
                case EVENT_REQUEST: line_answer_first(l); break;
                case EVENT_SILENCE: line_end_assembly(l); break;
                case EVENT_ECHO:
                        if (line_send(l, l->echo, now_ns)) {
                                free(l->echo);
                                l->echo = NULL;
                        }
                        break;
                case EVENT_START: line_start_first(l, at_ns); break;
                case EVENT_SEND: line_send_first(l, now_ns); break;
                }
        }
}
