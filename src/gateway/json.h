/* SPDX-License-Identifier: MIT */
/* JSON in and out, over jansson. Main thread; no state. */
#ifndef MBGATE_GATEWAY_JSON_H
#define MBGATE_GATEWAY_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"
#include "mbgate/model/bus_mail.h"

/* Appends a text as a JSON string, quoted and escaped. Invalid UTF-8 becomes an empty string. */
void gw_json_string(const char *text, struct buf *out);

/* A command {"value": …, "id": …}. Texts are owned by the caller of gw_json_command_done(). */
struct gw_json_command {
        char *value;       /* the value as a command's plain text: number, true/false, or the string itself */
        char *id;          /* "id" as JSON, or NULL */
        const char *error; /* what is wrong, after −EINVAL; not owned */
};

/* Whether a payload is meant to be JSON: it starts with '{'. */
bool gw_json_is_object(const char *text, size_t n);

/* 0; −EINVAL with ret->error: no JSON object with a usable "value"; −ENOMEM. */
MUST_CHECK int gw_json_parse_command(const char *text, size_t n, struct gw_json_command *ret);
void gw_json_command_done(struct gw_json_command *c);

/*
 * A raw request: {"bytes": "0A 03 0000 0002"}, or {"unit", "function"} and what the function needs. Numbers
 * that are not given are −1. Texts are owned by the caller of gw_json_raw_done().
 */
struct gw_json_raw {
        char *bytes; /* hexadecimal; or NULL */
        char *data;  /* the same, behind the function code */
        char *id;    /* "id" as JSON, or NULL */
        int64_t unit, function, address, count, write_address, and_mask, or_mask, timeout_ms;
        uint16_t values[PDU_WRITE_BITS_MAX]; /* of "value", a number or a truth, or "values" */
        size_t n_values;
        char error[96]; /* what is wrong, after −EINVAL */
};

/* 0; −EINVAL with ret->error; −ENOMEM. */
MUST_CHECK int gw_json_parse_raw(const char *text, size_t n, struct gw_json_raw *ret);
void gw_json_raw_done(struct gw_json_raw *r);

/* What became of a command. Texts ending in _json are JSON already, NULL stands for null. */
struct gw_json_result {
        bool ok;
        const char *value_json;
        const char *error;
        unsigned exception; /* 0: none */
        double latency_ms;
        const char *id_json;
};

void gw_json_result(const struct gw_json_result *r, struct buf *out);

/* The counters of a bus. `port_reason`: "" when the port is open. */
void gw_json_bus(const struct bus_stats *s, bool is_open, const char *port_reason, struct buf *out);

/* Room that gw_json_report() needs at most. */
size_t gw_json_report_bytes(const struct bus_report *report);

/* The counters of a device and of each of its blocks. */
void gw_json_report(const struct bus_report *report, struct buf *out);

#endif
