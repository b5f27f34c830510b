/* SPDX-License-Identifier: MIT */
/* Buses that are shared with other masters: each has a server, which outlives the bus's worker. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/log.h"

#include "app.h"

static struct app_share *share_by_name(const struct app *app, const char *name)
{
        struct app_share *s = app->shares;

        while (s && strcmp(s->name, name) != 0)
                s = s->next;
        return s;
}

static void app_share_free(struct app_share *s)
{
        if (!s)
                return;
        share_free(s->share);
        free(s->name);
        free(s);
}
static void app_share_freep(struct app_share **s)
{
        app_share_free(*s);
}

static int shares_add(struct app *app, uint32_t bus)
{
        CLEANUP(app_share_freep)
        struct app_share *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->name = strdup(app->conf->buses[bus].name);
        if (!s->name)
                return -ENOMEM;
        r = share_new(app->loop, app->conf, bus, &s->share);
        if (r < 0)
                return r;
        s->next = app->shares;
        app->shares = TAKE(s);
        return 0;
}

int shares_start(struct app *app)
{
        int r = 0;

        for (uint32_t i = 0; i < app->conf->n_buses && r == 0; i++) {
                if (app->conf->buses[i].share.on)
                        r = shares_add(app, i);
        }
        return r;
}

void shares_connect(struct app_bus *b)
{
        struct app_share *s = share_by_name(b->app, b->name);

        if (!s)
                return;
        s->bus = b;
        share_set_bus(s->share, worker_mailbox(b->worker));
}

void shares_disconnect(struct app_bus *b)
{
        struct app_share *s = share_by_name(b->app, b->name);

        if (!s || s->bus != b)
                return;
        s->bus = NULL;
        share_set_bus(s->share, NULL);
}

void shares_on_mail(struct app_bus *b, const struct mail *mail)
{
        struct app_share *s;

        if (mail->kind != BUS_MAIL_RAW_RESULT && mail->kind != BUS_MAIL_REGS)
                return;
        s = share_by_name(b->app, b->name);
        if (s && s->bus == b)
                share_on_bus_mail(s->share, mail);
}

/* The bus of the configuration in force that it is for, or NULL. */
static const struct conf_bus *bus_of(const struct app *app, const struct app_share *s)
{
        for (size_t i = 0; i < app->conf->n_buses; i++) {
                const struct conf_bus *b = &app->conf->buses[i];

                if (b->share.on && strcmp(b->name, s->name) == 0)
                        return b;
        }
        return NULL;
}

/* First those that go, so that others can have their addresses. */
static void shares_drop_gone(struct app *app)
{
        for (struct app_share **at = &app->shares; *at;) {
                struct app_share *s = *at;

                if (bus_of(app, s)) {
                        at = &s->next;
                        continue;
                }
                *at = s->next;
                app_share_free(s);
        }
}

void shares_reconfigure(struct app *app)
{
        shares_drop_gone(app);
        for (struct app_share *s = app->shares; s; s = s->next) {
                const struct conf_bus *b = bus_of(app, s);

                if (b)
                        share_reconfigure(s->share, app->conf, b->id);
        }
        for (struct app_bus *b = app->buses; b; b = b->next) {
                struct log_fields fields = { .bus = b->name };
                int r;

                if (b->is_replaced || !app->conf->buses[b->index].share.on || share_by_name(app, b->name))
                        continue;
                r = shares_add(app, b->index);
                fields.error = -r;
                if (r < 0)
                        log_error(&fields, "bus %s: cannot be shared: %s", b->name, strerror(-r));
                else if (!b->is_waiting && !b->is_ending)
                        shares_connect(b);
        }
}

void shares_free(struct app *app)
{
        while (app->shares) {
                struct app_share *s = app->shares;

                app->shares = s->next;
                app_share_free(s);
        }
}
