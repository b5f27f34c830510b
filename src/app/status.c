/* SPDX-License-Identifier: MIT */
#include "mbgate/base/buf.h"

#include "app.h"

static void status_add_devices(struct buf *b, const struct app *app)
{
        size_t n_buses = 0, n_devices = 0, n_online = 0;

        for (const struct app_bus *bus = app->buses; bus; bus = bus->next) {
                if (bus->is_ending)
                        continue;
                n_buses++;
                n_devices += bus->n_devices;
                for (size_t i = 0; i < bus->n_devices; i++)
                        n_online += bus->devices[i] == DEVICE_ONLINE;
        }
        buf_printf(b, "%zu %s, %zu %s (%zu online)", n_buses, n_buses == 1 ? "bus" : "buses", n_devices,
                   n_devices == 1 ? "device" : "devices", n_online);
}

static void status_add_links(struct buf *b, const struct app *app)
{
        size_t n_links = 0, n_online = 0;

        for (const struct app_link *l = app->links; l; l = l->next) {
                if (l->is_ending || l->index == GATEWAY_LINK_LOCAL)
                        continue;
                n_links++;
                n_online += l->is_online;
        }
        if (n_links > 0 || !app->broker)
                buf_printf(b, ", %zu of %zu links online", n_online, n_links);
        if (app->broker)
                buf_append(b, ", broker running");
}

void app_notify_status(struct app *app, const char *prefix)
{
        char text[256];
        struct buf b = BUF_ON(text);

        if (app->phase != APP_RUNNING)
                return;
        if (app->has_old_conf)
                buf_append(&b, "reload failed, the old configuration stays: see the journal; ");
        status_add_devices(&b, app);
        status_add_links(&b, app);
        loop_notify(app->loop, "%sSTATUS=%s", prefix, b.data);
}
