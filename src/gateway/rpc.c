/* SPDX-License-Identifier: MIT */
/*
 * Requests of the control socket: messages on a link of its own, whose "topics" name the thing by its name in
 * the configuration instead of by its topic at a broker.
 *
 *   set/<device>/<point>   payload: what a command takes      get/<device>/<point>
 *   raw/<bus>              payload: as raw = true takes it, but allowed on every bus: who may open the socket
 *                          is the operator
 *   status                 buses, their ports and devices
 *
 * Each is answered once, at the response topic of the request.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* What a status needs beside names: keys, braces, states; of a bus with the reason of its port, escaped. */
#define STATUS_FRAME_BYTES  128
#define STATUS_BUS_BYTES    1024
#define STATUS_DEVICE_BYTES 96
#define ESCAPED             6 /* a byte becomes \u0000 at worst */

static void refuse(struct gateway *g, struct gw_link *l, const struct message *m, const char *error)
{
        gw_answer(g, l, m, NULL, 0, &(struct gw_json_result){ .error = error });
}

/* ---- status ---- */

static size_t status_bytes(const struct conf *conf)
{
        size_t n = STATUS_FRAME_BYTES + ESCAPED * strlen(conf->gateway.name);

        for (size_t b = 0; b < conf->n_buses; b++) {
                const struct conf_bus *bus = &conf->buses[b];

                n += STATUS_BUS_BYTES + ESCAPED * (strlen(bus->name) + strlen(bus->port));
                for (size_t d = 0; d < bus->n_devices; d++)
                        n += STATUS_DEVICE_BYTES + ESCAPED * strlen(bus->devices[d].name);
        }
        return n;
}

static void print_devices(const struct gw_bus *bus, struct buf *out)
{
        for (size_t d = 0; d < bus->conf->n_devices; d++) {
                buf_append(out, d ? ",{\"name\":" : "{\"name\":");
                gw_json_string(bus->conf->devices[d].name, out);
                buf_printf(out, ",\"unit_id\":%u,\"status\":\"%s\"}", bus->conf->devices[d].unit_id,
                           device_status_name(bus->devices[d].status));
        }
}

static void print_bus(const struct gw_bus *bus, struct buf *out)
{
        bool is_open = bus->port_known && bus->port_open;

        buf_append(out, "{\"name\":");
        gw_json_string(bus->conf->name, out);
        buf_append(out, ",\"port\":");
        gw_json_string(bus->conf->port, out);
        buf_printf(out, ",\"open\":%s,\"reason\":", is_open ? "true" : "false");
        gw_json_string(is_open ? "" : bus->port_known ? bus->port_reason : "not opened yet", out);
        buf_append(out, ",\"devices\":[");
        print_devices(bus, out);
        buf_append(out, "]}");
}

static void on_status(struct gateway *g, struct gw_link *l, const struct message *m)
{
        size_t n = status_bytes(g->conf);
        char *text = malloc(n);
        struct buf b = text ? buf_on(text, n) : (struct buf){ .overflowed = true };

        if (!text)
                return refuse(g, l, m, "out of memory");
        buf_append(&b, "{\"ok\":true,\"value\":{\"gateway\":");
        gw_json_string(g->conf->gateway.name, &b);
        buf_append(&b, ",\"buses\":[");
        for (size_t i = 0; i < g->conf->n_buses; i++) {
                buf_append(&b, i ? "," : "");
                print_bus(&g->buses[i], &b);
        }
        buf_append(&b, "]}}");
        gw_respond(l, m, b.data);
        free(text);
}

/* ---- what names a thing ---- */

/* Whether `text` is <device>/<point>. */
static bool point_is(const struct conf_point *p, const char *text)
{
        size_t n = strlen(p->device->name);

        return strncmp(text, p->device->name, n) == 0 && text[n] == '/' && strcmp(text + n + 1, p->name) == 0;
}

static void on_point(struct gateway *g, struct gw_link *l, const struct link_event *event,
                     enum gw_target_kind kind, const char *name)
{
        for (uint32_t i = 0; i < g->conf->n_points; i++) {
                if (point_is(g->points[i]->conf, name))
                        return gw_on_point_message(g, l, event, kind, i);
        }
        refuse(g, l, event->message, "no such point: its name is DEVICE/POINT");
}

static void on_raw(struct gateway *g, struct gw_link *l, const struct link_event *event, const char *name)
{
        for (uint32_t i = 0; i < g->conf->n_buses; i++) {
                if (strcmp(g->conf->buses[i].name, name) == 0)
                        return gw_on_raw_message(g, l, event, i);
        }
        refuse(g, l, event->message, "no such bus");
}

/* What comes after `verb`, or NULL: the topic does not begin with it. */
static const char *behind(const char *verb, const char *topic)
{
        size_t n = strlen(verb);

        return strncmp(topic, verb, n) == 0 ? topic + n : NULL;
}

void gw_on_control_message(struct gateway *g, struct gw_link *l, const struct link_event *event)
{
        const char *topic = event->message->topic;
        const char *name;

        if ((name = behind("set/", topic)))
                on_point(g, l, event, GW_TARGET_SET, name);
        else if ((name = behind("get/", topic)))
                on_point(g, l, event, GW_TARGET_GET, name);
        else if ((name = behind("raw/", topic)))
                on_raw(g, l, event, name);
        else if (strcmp(topic, "status") == 0)
                on_status(g, l, event->message);
        else
                refuse(g, l, event->message, "unknown request: set, get, raw and status are known");
}
