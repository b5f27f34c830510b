/* SPDX-License-Identifier: MIT */
/*
 * Raw requests, of any function to any unit: by MQTT on buses with raw = true, by the control socket on all.
 *
 *   0A 03 0000 0002                                      unit and PDU, hexadecimal, no CRC
 *   {"bytes": "0A 03 0000 0002", "id": 1}
 *   {"unit": 10, "function": 3, "address": 0, "count": 2}
 *   {"unit": 10, "function": 43, "data": "0E 01 00"}
 *
 * The answer's value is {"unit", "function", "bytes", "values"}: bytes like those of the request, values of
 * reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "command.h"

#define RAW_TIMEOUT_MS     500 /* of a unit that is no device, unless the request says another */
#define RAW_TIMEOUT_MIN_MS 10
#define RAW_TIMEOUT_MAX_MS 10000
#define RAW_VALUES_MAX     256 /* more bits are not listed again as values */

/* Answers come a little after the last of the request can have been sent. */
#define RAW_SLACK_US (60 * USEC_PER_SEC)

/* ---- from text to a request ---- */

/* What a payload asks for. */
struct asked {
        uint8_t unit;
        struct pdu pdu;
        uint32_t timeout_ms;
        char *id_json; /* owned */
        char error[GW_ERROR_BYTES];
};

static int wrong(struct asked *a, const char *text)
{
        (void)snprintf(a->error, sizeof(a->error), "%s", text);
        return -EINVAL;
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Pairs of digits, with blanks, commas and colons between them. How many bytes, or −EINVAL. */
static int parse_hex(const char *text, size_t n, uint8_t *bytes, size_t n_most)
{
        size_t n_bytes = 0;

        for (size_t i = 0; i < n;) {
                int high, low;

                if (text[i] != '\0' && strchr(" \t\r\n,:", text[i])) {
                        i++;
                        continue;
                }
                high = hex_digit(text[i]);
                low = i + 1 < n ? hex_digit(text[i + 1]) : -1;
                if (high < 0 || low < 0 || n_bytes == n_most)
                        return -EINVAL;
                bytes[n_bytes++] = (uint8_t)(high << 4 | low);
                i += 2;
        }
        return (int)n_bytes;
}

static int take_bytes(struct asked *a, const char *text, size_t n)
{
        uint8_t bytes[1 + PDU_MAX_BYTES];
        int n_bytes = parse_hex(text, n, bytes, sizeof(bytes));

        if (n_bytes < 2)
                return wrong(a,
                             "unreadable: bytes are unit, function and data as hexadecimal digits, without "
                             "CRC, 254 at most");
        a->unit = bytes[0];
        a->pdu.n_bytes = (size_t)n_bytes - 1;
        memcpy(a->pdu.bytes, bytes + 1, a->pdu.n_bytes);
        if (a->pdu.bytes[0] == 0 || a->pdu.bytes[0] > PDU_FUNCTION_MAX)
                return wrong(a, "unreadable: a function code is 1 to 127");
        return 0;
}

static void put_word(struct pdu *pdu, int64_t word)
{
        pdu->bytes[pdu->n_bytes++] = (uint8_t)(word >> 8);
        pdu->bytes[pdu->n_bytes++] = (uint8_t)word;
}

/* Registers, or bits, behind their number of bytes. */
static void put_values(struct pdu *pdu, const struct gw_json_raw *j, bool is_bits)
{
        size_t n_bytes = is_bits ? (j->n_values + 7) / 8 : 2 * j->n_values;
        uint8_t *at = pdu->bytes + pdu->n_bytes + 1;

        pdu->bytes[pdu->n_bytes] = (uint8_t)n_bytes;
        memset(at, 0, n_bytes);
        for (size_t i = 0; i < j->n_values; i++) {
                if (is_bits) {
                        at[i / 8] |= (uint8_t)((j->values[i] != 0) << i % 8);
                        continue;
                }
                at[2 * i] = (uint8_t)(j->values[i] >> 8);
                at[2 * i + 1] = (uint8_t)j->values[i];
        }
        pdu->n_bytes += 1 + n_bytes;
}

static bool is_word(int64_t v)
{
        return v >= 0 && v <= UINT16_MAX;
}

/* The fields that a function needs; −EINVAL: one is missing or too many are there. */
static int put_fields(struct asked *a, const struct gw_json_raw *j)
{
        struct pdu *pdu = &a->pdu;
        int64_t count = j->count < 0 ? 1 : j->count;

        if (!is_word(j->address))
                return wrong(a, "unreadable: this function needs an \"address\" of 0 to 65535");
        put_word(pdu, j->address);
        switch (pdu->bytes[0]) {
        case PDU_READ_COILS:
        case PDU_READ_DISCRETE:
        case PDU_READ_HOLDING:
        case PDU_READ_INPUT: put_word(pdu, MBGATE_MIN(count, UINT16_MAX)); return 0;
        case PDU_WRITE_COIL:
        case PDU_WRITE_REGISTER:
                if (j->n_values != 1)
                        return wrong(a, "unreadable: this function needs one \"value\"");
                put_word(pdu, pdu->bytes[0] == PDU_WRITE_REGISTER ? j->values[0] : j->values[0] ? 0xFF00 : 0);
                return 0;
        case PDU_WRITE_COILS:
        case PDU_WRITE_REGISTERS:
                if (j->n_values == 0 || j->n_values > (pdu->bytes[0] == PDU_WRITE_COILS ? PDU_WRITE_BITS_MAX
                                                                                        : PDU_WRITE_REGS_MAX))
                        return wrong(a, "unreadable: this function needs \"values\", 123 registers or 1968 "
                                        "bits at most");
                put_word(pdu, (int64_t)j->n_values);
                put_values(pdu, j, pdu->bytes[0] == PDU_WRITE_COILS);
                return 0;
        case PDU_MASK_WRITE:
                if (!is_word(j->and_mask) || !is_word(j->or_mask))
                        return wrong(a, "unreadable: this function needs \"and_mask\" and \"or_mask\"");
                put_word(pdu, j->and_mask);
                put_word(pdu, j->or_mask);
                return 0;
        case PDU_READ_WRITE_REGISTERS:
                if (!is_word(j->write_address) || j->n_values == 0 || j->n_values > 121)
                        return wrong(a,
                                     "unreadable: this function needs \"write_address\" and \"values\", 121 "
                                     "at most");
                put_word(pdu, MBGATE_MIN(count, UINT16_MAX));
                put_word(pdu, j->write_address);
                put_word(pdu, (int64_t)j->n_values);
                put_values(pdu, j, false);
                return 0;
        default: return wrong(a, "unreadable: fields of this function are not known: give \"data\"");
        }
}

static int take_fields(struct asked *a, const struct gw_json_raw *j)
{
        int n = 0;

        if (j->unit < 0 || j->unit > UINT8_MAX || j->function < 1 || j->function > PDU_FUNCTION_MAX)
                return wrong(a, "unreadable: \"unit\" (0 to 255) and \"function\" (1 to 127) are needed, or "
                                "\"bytes\"");
        a->unit = (uint8_t)j->unit;
        a->pdu.bytes[0] = (uint8_t)j->function;
        a->pdu.n_bytes = 1;
        if (!j->data && j->address < 0 && j->function == PDU_REPORT_SERVER_ID)
                return 0;
        if (j->data) {
                n = parse_hex(j->data, strlen(j->data), a->pdu.bytes + 1, PDU_MAX_BYTES - 1);
                if (n < 0)
                        return wrong(a, "unreadable: data are hexadecimal digits, 252 bytes at most");
                a->pdu.n_bytes += (size_t)n;
                return 0;
        }
        n = put_fields(a, j);
        if (n == 0 && pdu_check_request(&a->pdu) != 0)
                return wrong(a, "out of range: no device can do this: look at address and count");
        return n;
}

static int take_json(struct asked *a, const char *text, size_t n)
{
        struct gw_json_raw j;
        int r = gw_json_parse_raw(text, n, &j);

        if (r == -EINVAL)
                return wrong(a, j.error);
        if (r < 0)
                return wrong(a, "out of memory");
        a->id_json = TAKE(j.id);
        if (j.timeout_ms >= 0)
                a->timeout_ms = (uint32_t)MBGATE_MIN(MBGATE_MAX(j.timeout_ms, RAW_TIMEOUT_MIN_MS),
                                                     RAW_TIMEOUT_MAX_MS);
        r = j.bytes ? take_bytes(a, j.bytes, strlen(j.bytes)) : take_fields(a, &j);
        gw_json_raw_done(&j);
        return r;
}

/* ---- the request on its way ---- */

static void raw_free(struct gw_raw *w)
{
        message_unref(w->request);
        conf_unref(w->conf_ref);
        free(w->id_json);
        free(w);
}

/* NULL: MQTT may not ask there, and is not told either. */
static const char *raw_result_topic(const struct conf_bus *b)
{
        return b->raw ? b->raw_result_topic : NULL;
}

static void refuse(struct gateway *g, struct gw_link *l, const struct message *m, uint32_t bus,
                   const struct asked *a, const char *error)
{
        const struct conf_bus *conf = &g->conf->buses[bus];
        struct log_fields fields = { .bus = conf->name };

        log_debug(&fields, "bus %s: raw request refused: %s", conf->name, error);
        gw_answer(g, l, m, raw_result_topic(conf), 1,
                  &(struct gw_json_result){ .error = error, .id_json = a->id_json });
}

static int post(struct gateway *g, struct gw_raw *w, const struct asked *a)
{
        struct mailbox *box = g->buses[w->asked->id].commands;
        struct bus_raw *raw;
        int r;

        if (!box)
                return -ESHUTDOWN;
        if (g->n_raws >= GW_RAWS_MAX)
                return -ENOBUFS;
        if (bus_raw_new(&raw) < 0)
                return -ENOMEM;
        raw->id = w->id;
        raw->raw_class = BUS_RAW_COMMAND;
        raw->unit = a->unit;
        raw->pdu = a->pdu;
        raw->timeout_ms = a->timeout_ms;
        raw->posted_us = loop_now_us(g->loop);
        raw->deadline_us = raw->posted_us + g->conf->gateway.command_timeout_ms * USEC_PER_MSEC;
        w->deadline_us = raw->deadline_us + RAW_SLACK_US;
        r = mailbox_post(box, &raw->mail);
        if (r < 0)
                mail_free(&raw->mail);
        return r;
}

static void hand_over(struct gateway *g, struct gw_link *l, struct message *m, uint32_t bus, struct asked *a)
{
        struct gw_raw *w = calloc(1, sizeof(*w));
        int r = -ENOMEM;

        if (w) {
                w->id = ++g->next_command_id;
                w->asked = &g->conf->buses[bus];
                w->origin = l->link;
                r = post(g, w, a);
        }
        if (r < 0) {
                free(w);
                refuse(g, l, m, bus, a,
                       r == -ENOBUFS  ? "too many requests wait for this bus: try again later"
                       : r == -ENOMEM ? "out of memory"
                                      : bus_outcome_text(BUS_RESULT_STOPPED));
                return;
        }
        w->box = g->buses[bus].commands;
        w->conf_ref = conf_ref(g->conf);
        w->request = message_ref(m);
        w->id_json = TAKE(a->id_json);
        w->next = g->raws;
        g->raws = w;
        g->n_raws++;
        gw_wake_at(g, w->deadline_us);
}

void gw_on_raw_message(struct gateway *g, struct gw_link *l, const struct link_event *event, uint32_t bus)
{
        struct message *m = event->message;
        struct asked a = { .timeout_ms = RAW_TIMEOUT_MS };
        struct log_fields fields = { .bus = g->conf->buses[bus].name };
        int r;

        if (event->was_retained) {
                log_info(&fields, "bus %s: retained raw request ignored", g->conf->buses[bus].name);
                return;
        }
        if (g->is_stopping)
                r = wrong(&a, "the gateway is stopping");
        else if (m->payload_bytes > g->conf->gateway.command_max_bytes)
                r = wrong(&a, "too long: command_max_bytes of the gateway says how long it may be");
        else if (gw_json_is_object(m->payload, m->payload_bytes))
                r = take_json(&a, m->payload, m->payload_bytes);
        else
                r = take_bytes(&a, m->payload, m->payload_bytes);
        if (r < 0)
                refuse(g, l, m, bus, &a, a.error);
        else
                hand_over(g, l, m, bus, &a);
        free(a.id_json);
}

/* ---- the answer ---- */

static void print_values(const struct bus_raw_result *result, struct buf *out)
{
        uint16_t regs[PDU_READ_BITS_MAX];
        struct pdu_span spans[PDU_SPANS_MAX];
        struct pdu read, reply = result->reply;
        unsigned n = pdu_check_request(&result->request) == 0 ? pdu_spans(&result->request, spans) : 0;

        if (n == 0 || spans[0].is_write || spans[0].count > RAW_VALUES_MAX)
                return;
        pdu_read_request(&read, spans[0].area, spans[0].address, spans[0].count);
        reply.bytes[0] = (uint8_t)spans[0].area; /* function 23 answers as a read does */
        if (pdu_read_reply(&read, &reply, regs, spans[0].count) < 0)
                return;
        buf_append(out, ",\"values\":[");
        for (unsigned i = 0; i < spans[0].count; i++)
                buf_printf(out, "%s%u", i ? "," : "", regs[i]);
        buf_append(out, "]");
}

static void print_reply(const struct bus_raw_result *result, struct buf *out)
{
        buf_printf(out, "{\"unit\":%u,\"function\":%u,\"bytes\":", result->unit, result->request.bytes[0]);
        if (result->reply.n_bytes == 0) { /* nobody answers a broadcast */
                buf_append(out, "null}");
                return;
        }
        buf_printf(out, "\"%02X", result->unit);
        for (size_t i = 0; i < result->reply.n_bytes; i++)
                buf_printf(out, " %02X", result->reply.bytes[i]);
        buf_append(out, "\"");
        print_values(result, out);
        buf_append(out, "}");
}

/* What no reply means for a request that may have been anything. */
static const char *outcome_text(enum bus_outcome outcome)
{
        return outcome == BUS_RESULT_TIMEOUT ? "no reply" : bus_outcome_text(outcome);
}

static void answer(struct gateway *g, const struct gw_raw *w, const struct bus_raw_result *result)
{
        uint64_t now_us = loop_now_us(g->loop), made_us = w->request->made_us;
        char value[GW_PAYLOAD_BYTES], error[GW_ERROR_BYTES];
        struct buf v = BUF_ON(value), e = BUF_ON(error);
        bool is_ok = result->outcome == BUS_RESULT_OK;

        if (is_ok)
                print_reply(result, &v);
        else if (result->outcome == BUS_RESULT_EXCEPTION)
                buf_printf(&e, "exception %u: %s", result->exception, pdu_exception_name(result->exception));
        else
                buf_append(&e, outcome_text(result->outcome));
        gw_answer(g, gw_link_find(g, w->origin), w->request, raw_result_topic(w->asked), 1,
                  &(struct gw_json_result){
                          .ok = is_ok,
                          .value_json = is_ok && !v.overflowed ? v.data : NULL,
                          .error = is_ok ? NULL : e.data,
                          .exception = result->outcome == BUS_RESULT_EXCEPTION ? result->exception : 0,
                          .latency_ms = now_us > made_us ? (double)(now_us - made_us) / 1e3 : 0.0,
                          .id_json = w->id_json,
                  });
}

/* Takes the one at *at out and answers it. */
static void finish(struct gateway *g, struct gw_raw **at, const struct bus_raw_result *result)
{
        struct gw_raw *w = *at;

        *at = w->next;
        g->n_raws--;
        if (result)
                answer(g, w, result);
        raw_free(w);
}

void gw_on_raw_result(struct gateway *g, const struct bus_raw_result *result)
{
        if (result->raw_class != BUS_RAW_COMMAND)
                return;
        for (struct gw_raw **at = &g->raws; *at; at = &(*at)->next) {
                if ((*at)->id == result->id) {
                        finish(g, at, result);
                        return;
                }
        }
}

void gw_raw_drop_bus(struct gateway *g, const struct mailbox *box)
{
        static const struct bus_raw_result stopped = { .outcome = BUS_RESULT_STOPPED };

        for (struct gw_raw **at = &g->raws; *at;) {
                if ((*at)->box == box)
                        finish(g, at, &stopped);
                else
                        at = &(*at)->next;
        }
}

void gw_raw_drop_link(struct gateway *g, const struct link *link)
{
        for (struct gw_raw *w = g->raws; w; w = w->next) {
                if (w->origin == link)
                        w->origin = NULL;
        }
}

void gw_raw_tick(struct gateway *g, uint64_t now_us)
{
        static const struct bus_raw_result lost = { .outcome = BUS_RESULT_TIMEOUT };

        for (struct gw_raw **at = &g->raws; *at;) {
                if (now_us >= (*at)->deadline_us) {
                        finish(g, at, &lost);
                        continue;
                }
                gw_wake_at(g, (*at)->deadline_us);
                at = &(*at)->next;
        }
}

void gw_raw_free(struct gateway *g)
{
        while (g->raws)
                finish(g, &g->raws, NULL);
}
