/* SPDX-License-Identifier: MIT */
/* The only file that knows jansson. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "mbgate/base/macros.h"

#include "json.h"

/* Deeper nesting or more is refused by the length limit of commands; jansson itself stops at 2048 levels. */
#define JSON_NUMBER_BYTES 32

static void json_free(json_t **j)
{
        json_decref(*j);
}

static void json_append(json_t *j, size_t flags, struct buf *out)
{
        char *text = j ? json_dumps(j, flags | JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

        buf_append(out, text ? text : "\"\"");
        free(text);
}

/* Whether a text stands in JSON as it is; names and labels nearly always do. */
static bool json_is_simple(const char *text)
{
        for (; *text; text++) {
                unsigned char c = (unsigned char)*text;

                if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
                        return false;
        }
        return true;
}

void gw_json_string(const char *text, struct buf *out)
{
        CLEANUP(json_free)
        json_t *j = NULL;

        if (json_is_simple(text)) {
                buf_append_char(out, '"');
                buf_append(out, text);
                buf_append_char(out, '"');
                return;
        }
        j = json_string(text);
        json_append(j, 0, out);
}

bool gw_json_is_object(const char *text, size_t n)
{
        size_t i = 0;

        while (i < n && strchr(" \t\r\n", text[i]) && text[i])
                i++;
        return i < n && text[i] == '{';
}

/* Why a payload is no command, and what would be one. */
static const char *json_command_error(const json_t *value, const json_error_t *error)
{
        if (!value && json_error_code(error) == json_error_numeric_overflow)
                return "JSON numbers have 64 bits signed: send a larger one as a string, {\"value\":\"…\"}";
        if (json_is_null(value))
                return "\"value\" is null: a number, true, false or a string is wanted";
        if (json_is_array(value))
                return "\"value\" is an array: a number, true, false or a string is wanted";
        if (json_is_object(value))
                return "\"value\" is an object: a number, true, false or a string is wanted";
        return "JSON must be an object with \"value\"";
}

/* The text that a plain command would have had; NULL for what cannot be a value, or without memory. */
static char *json_command_text(const json_t *value)
{
        char number[JSON_NUMBER_BYTES];

        switch (json_typeof(value)) {
        case JSON_STRING: return strdup(json_string_value(value));
        case JSON_TRUE: return strdup("true");
        case JSON_FALSE: return strdup("false");
        case JSON_INTEGER:
                (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
                return strdup(number);
        case JSON_REAL: return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        case JSON_OBJECT:
        case JSON_ARRAY:
        case JSON_NULL: break;
        }
        return NULL;
}

int gw_json_parse_command(const char *text, size_t n, struct gw_json_command *ret)
{
        CLEANUP(json_free)
        json_t *j = NULL;
        const json_t *value, *id;
        struct gw_json_command c = { .value = NULL };
        json_error_t error;

        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        value = json_object_get(j, "value");
        id = json_object_get(j, "id");
        if (!value || json_is_null(value) || json_is_array(value) || json_is_object(value)) {
                ret->error = json_command_error(value, &error);
                return -EINVAL;
        }
        c.value = json_command_text(value);
        if (!c.value)
                return -ENOMEM;
        if (id)
                c.id = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
        *ret = c;
        return 0;
}

void gw_json_command_done(struct gw_json_command *c)
{
        free(c->value);
        free(c->id);
        *c = (struct gw_json_command){ .value = NULL };
}

/* ---- raw requests ---- */

/* A register or a bit. */
static bool json_take_value(const json_t *value, struct gw_json_raw *ret)
{
        json_int_t i = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);

        if (ret->n_values == ARRAY_SIZE(ret->values) || i < INT16_MIN || i > UINT16_MAX ||
            !(json_is_boolean(value) || json_is_integer(value)))
                return false;
        ret->values[ret->n_values++] = (uint16_t)i; /* −1 is 0xFFFF */
        return true;
}

static bool json_take_values(const json_t *one, const json_t *many, struct gw_json_raw *ret)
{
        if (one && many)
                return false;
        if (one)
                return json_take_value(one, ret);
        if (many && !json_is_array(many))
                return false;
        for (size_t i = 0; i < json_array_size(many); i++) {
                if (!json_take_value(json_array_get(many, i), ret))
                        return false;
        }
        return true;
}

static int raw_error(struct gw_json_raw *ret, const char *text)
{
        (void)snprintf(ret->error, sizeof(ret->error), "unreadable: %.80s", text);
        return -EINVAL;
}

int gw_json_parse_raw(const char *text, size_t n, struct gw_json_raw *ret)
{
        CLEANUP(json_free)
        json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        const char *bytes = NULL, *data = NULL;
        json_t *id = NULL, *value = NULL, *values = NULL;
        json_int_t numbers[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
        json_error_t error;

        *ret = (struct gw_json_raw){ .bytes = NULL };
        if (!j)
                return raw_error(ret, "it is no JSON object");
        if (json_unpack_ex(j, &error, JSON_STRICT, "{s?s,s?s,s?o,s?o,s?o,s?I,s?I,s?I,s?I,s?I,s?I,s?I,s?I}",
                           "bytes", &bytes, "data", &data, "id", &id, "value", &value, "values", &values,
                           "unit", &numbers[0], "function", &numbers[1], "address", &numbers[2], "count",
                           &numbers[3], "write_address", &numbers[4], "and_mask", &numbers[5], "or_mask",
                           &numbers[6], "timeout_ms", &numbers[7]) < 0)
                return raw_error(ret, error.text);
        if (!json_take_values(value, values, ret))
                return raw_error(ret, "value must be a register or a bit, or values a list of them");
        ret->unit = numbers[0];
        ret->function = numbers[1];
        ret->address = numbers[2];
        ret->count = numbers[3];
        ret->write_address = numbers[4];
        ret->and_mask = numbers[5];
        ret->or_mask = numbers[6];
        ret->timeout_ms = numbers[7];
        ret->bytes = bytes ? strdup(bytes) : NULL;
        ret->data = data ? strdup(data) : NULL;
        ret->id = id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        if ((bytes && !ret->bytes) || (data && !ret->data) || (id && !ret->id)) {
                gw_json_raw_done(ret);
                return -ENOMEM;
        }
        return 0;
}

void gw_json_raw_done(struct gw_json_raw *r)
{
        free(r->bytes);
        free(r->data);
        free(r->id);
        r->bytes = r->data = r->id = NULL;
}

void gw_json_result(const struct gw_json_result *r, struct buf *out)
{
        buf_printf(out, "{\"ok\":%s,\"value\":%s,\"error\":", r->ok ? "true" : "false",
                   r->value_json ? r->value_json : "null");
        if (r->error)
                gw_json_string(r->error, out);
        else
                buf_append(out, "null");
        if (r->exception)
                buf_printf(out, ",\"exception\":%u", r->exception);
        else
                buf_append(out, ",\"exception\":null");
        buf_printf(out, ",\"latency_ms\":%.1f", r->latency_ms);
        if (r->id_json)
                buf_printf(out, ",\"id\":%s", r->id_json);
        buf_append_char(out, '}');
}

static json_t *json_exceptions(const struct bus_stats *s)
{
        json_t *j = json_object();
        char code[8];

        for (unsigned i = 0; i < STATS_EXCEPTION_CODES; i++) {
                if (s->n_exceptions[i] == 0)
                        continue;
                (void)snprintf(code, sizeof(code), "%u", i);
                (void)json_object_set_new(j, i ? code : "other",
                                          json_integer((json_int_t)s->n_exceptions[i]));
        }
        return j;
}

static json_t *json_round_trip(const struct bus_stats *s)
{
        return json_pack("{s:f,s:f,s:f,s:f}", "p50", s->round_trip_p50_us / 1e3, "p90",
                         s->round_trip_p90_us / 1e3, "p99", s->round_trip_p99_us / 1e3, "max",
                         s->round_trip_max_us / 1e3);
}

void gw_json_bus(const struct bus_stats *s, bool is_open, const char *port_reason, struct buf *out)
{
        CLEANUP(json_free)
        json_t *j = json_pack(
                "{s:s,s:s,s:I,s:I,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:f,s:f}", "port",
                is_open ? "open" : "lost", "reason", port_reason, "transactions",
                (json_int_t)s->n_transactions, "ok", (json_int_t)s->n_ok, "timeouts",
                (json_int_t)s->n_timeouts, "crc", (json_int_t)s->n_crc, "exceptions", json_exceptions(s),
                "foreign", (json_int_t)s->n_foreign, "junk_bytes", (json_int_t)s->n_junk_bytes, "echo",
                (json_int_t)s->n_echo, "retries", (json_int_t)s->n_retries, "writes", (json_int_t)s->n_writes,
                "shared", (json_int_t)s->n_shared, "shared_refused", (json_int_t)s->n_shared_refused,
                "missed_deadlines", (json_int_t)s->n_missed_deadlines, "port_lost",
                (json_int_t)s->n_port_lost, "samples_lost", (json_int_t)s->n_samples_lost, "round_trip_ms",
                json_round_trip(s), "load_percent", s->load_permille / 10.0, "min_gap_ms",
                s->min_gap_us / 1e3);

        json_append(j, JSON_REAL_PRECISION(6), out);
}

#define REPORT_HEAD_BYTES  512
#define REPORT_BLOCK_BYTES 256

size_t gw_json_report_bytes(const struct bus_report *report)
{
        return REPORT_HEAD_BYTES + report->n_blocks * REPORT_BLOCK_BYTES;
}

static void report_block(const struct block_stats *b, struct buf *out)
{
        buf_printf(out, "{\"function\":%u,\"address\":%u,\"count\":%u,\"interval_ms\":%" PRIu64,
                   (unsigned)b->function, (unsigned)b->address, (unsigned)b->count, b->interval_us / 1000);
        buf_printf(out, ",\"reads\":%" PRIu64 ",\"missed\":%" PRIu64, b->n_reads, b->n_missed);
        buf_printf(out, ",\"late_ms\":%.1f,\"late_max_ms\":%.1f}", (double)b->late_us / 1e3,
                   (double)b->late_max_us / 1e3);
}

void gw_json_report(const struct bus_report *report, struct buf *out)
{
        const struct device_stats *s = &report->stats;

        buf_printf(out, "{\"transactions\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"timeouts\":%" PRIu64,
                   s->n_transactions, s->n_ok, s->n_timeouts);
        buf_printf(out, ",\"crc\":%" PRIu64 ",\"exceptions\":%" PRIu64, s->n_crc, s->n_exceptions);
        buf_printf(out, ",\"round_trip_ms\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}",
                   s->round_trip_p50_us / 1e3, s->round_trip_p90_us / 1e3, s->round_trip_p99_us / 1e3,
                   s->round_trip_max_us / 1e3);
        buf_printf(out, ",\"timeout_ms\":%.1f,\"gap_ms\":%.1f,\"blocks\":[", s->timeout_us / 1e3,
                   s->gap_us / 1e3);
        for (size_t i = 0; i < report->n_blocks; i++) {
                if (i > 0)
                        buf_append_char(out, ',');
                report_block(&report->blocks[i], out);
        }
        buf_append(out, "]}");
}
