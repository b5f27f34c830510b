/* SPDX-License-Identifier: MIT */
/* Whether gateway, devices and buses are there, and how they do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_private.h"
#include "json.h"

#define STATUS_ONLINE  "online"
#define STATUS_OFFLINE "offline"

int gateway_will_new(const struct conf *conf, struct message **ret_message)
{
        return message_new(
                &(struct message_init){
                        .topic = conf->gateway.status_topic,
                        .payload = STATUS_OFFLINE,
                        .payload_bytes = sizeof(STATUS_OFFLINE) - 1,
                        .qos = 1,
                        .retain = true,
                        .is_live = true,
                },
                ret_message);
}

static void publish_availability(struct gateway *g, const struct gw_device *d, struct gw_link *only)
{
        const char *text = d->status == DEVICE_ONLINE && !g->is_stopping ? STATUS_ONLINE : STATUS_OFFLINE;

        if (d->status == DEVICE_UNKNOWN)
                return;
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = d->conf->availability_topic,
                           .payload = text,
                           .payload_bytes = strlen(text),
                           .qos = 1,
                           .retain = true,
                           .is_state = true,
                           .is_forced = true,
                           .is_resent = true,
                           .state = d->state,
                   },
                   only);
}

/* Goes where the will goes: to every link, whatever its masks say. Else "offline" would stay for ever. */
static void publish_status(struct gateway *g, const char *topic, const char *text, struct gw_link *only)
{
        gw_publish(g,
                   &(struct gw_publication){
                           .topic = topic,
                           .payload = text,
                           .payload_bytes = strlen(text),
                           .qos = 1,
                           .retain = true,
                           .is_state = true,
                           .is_forced = true,
                           .ignores_masks = true,
                           .state = GW_STATE_OF_GATEWAY,
                   },
                   only);
}

void gw_set_device_status(struct gateway *g, struct gw_device *d, enum device_status status)
{
        if (d->status == status || status == DEVICE_UNKNOWN)
                return;
        d->status = status;
        publish_availability(g, d, NULL);
        if (status == DEVICE_OFFLINE)
                gw_points_became_stale(g, d);
}

static bool bus_is_published(const struct gw_bus *b)
{
        return (b->stats_known || b->port_known) && b->conf->stats_interval_s > 0;
}

static void publish_bus(struct gateway *g, const struct gw_bus *b, struct gw_link *only)
{
        char text[GW_PAYLOAD_BYTES];
        struct buf out = BUF_ON(text);
        struct gw_publication p = { .topic = b->conf->topic,
                                    .retain = true,
                                    .is_state = true,
                                    .is_resent = true,
                                    .state = b->state };

        if (!bus_is_published(b))
                return;
        gw_json_bus(&b->stats, b->port_open, b->port_reason, &out);
        p.payload = out.data;
        p.payload_bytes = out.len_bytes;
        if (!out.overflowed)
                gw_publish(g, &p, only);
}

void gw_on_port(struct gateway *g, const struct bus_port_state *state)
{
        struct gw_bus *b = &g->buses[state->bus];

        b->port_known = true;
        b->port_open = state->is_open;
        (void)snprintf(b->port_reason, sizeof(b->port_reason), "%s", state->is_open ? "" : state->reason);
        for (size_t i = 0; !state->is_open && i < b->conf->n_devices; i++)
                gw_set_device_status(g, &b->devices[i], DEVICE_OFFLINE);
        publish_bus(g, b, NULL);
}

void gw_on_stats(struct gateway *g, const struct bus_stats_mail *mail)
{
        struct gw_bus *b = &g->buses[mail->bus];

        b->stats = mail->stats;
        b->stats_known = true;
        publish_bus(g, b, NULL);
}

void gw_on_report(struct gateway *g, const struct bus_report *report)
{
        const struct conf_bus *bus = &g->conf->buses[report->bus];
        size_t n = gw_json_report_bytes(report);
        CLEANUP(cleanup_free)
        char *text = malloc(n);
        char topic[GW_TOPIC_BYTES];
        struct buf t = BUF_ON(topic), out;

        if (!text || report->device >= bus->n_devices || bus->stats_interval_s == 0)
                return;
        out = buf_on(text, n);
        buf_printf(&t, "%s/%s", bus->topic, bus->devices[report->device].name);
        gw_json_report(report, &out);
        if (!t.overflowed && !out.overflowed)
                gw_publish(g,
                           &(struct gw_publication){ .topic = t.data,
                                                     .payload = out.data,
                                                     .payload_bytes = out.len_bytes,
                                                     .is_state = true },
                           NULL);
}

void gw_publish_owed(struct gateway *g, const struct gw_state *state, struct gw_link *only)
{
        switch (state->kind) {
        case GW_STATE_STATUS:
                publish_status(g, g->conf->gateway.status_topic,
                               g->is_stopping ? STATUS_OFFLINE : STATUS_ONLINE, only);
                return;
        case GW_STATE_BUS: publish_bus(g, state->bus, only); return;
        case GW_STATE_AVAILABILITY: publish_availability(g, state->device, only); return;
        case GW_STATE_POINT:
                if (state->point->value.is_known && state->point->conf->payload != CONF_PAYLOAD_OBJECT)
                        gw_publish_point_to(g, state->point, only);
                return;
        case GW_STATE_OBJECT: gw_publish_object_to(g, state->device, only); return;
        }
}

void gw_publish_offline(struct gateway *g)
{
        for (size_t b = 0; b < g->conf->n_buses; b++) {
                for (size_t d = 0; d < g->conf->buses[b].n_devices; d++)
                        gw_publish_state(g, g->conf->buses[b].devices[d].availability_topic, STATUS_OFFLINE,
                                         NULL);
        }
        publish_status(g, g->conf->gateway.status_topic, STATUS_OFFLINE, NULL);
}

/* Values stay as the last known ones; availability says what they are worth. */
void gw_publish_farewell(struct gateway *g, struct gw_link *l)
{
        for (size_t b = 0; b < g->conf->n_buses; b++) {
                const struct gw_bus *bus = &g->buses[b];

                if (bus_is_published(bus))
                        gw_publish_state(g, bus->conf->topic, "", l);
                for (size_t d = 0; d < bus->conf->n_devices; d++) {
                        if (bus->devices[d].status != DEVICE_UNKNOWN)
                                gw_publish_state(g, bus->devices[d].conf->availability_topic, STATUS_OFFLINE,
                                                 l);
                }
        }
        /* The topic that it had as its will: the configuration in force may have another. */
        publish_status(g, l->conf_ref->gateway.status_topic, STATUS_OFFLINE, l);
}
