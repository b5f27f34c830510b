/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/array.h"
#include "mbgate/base/clock.h"

#include "app.h"

/* Mail handled in one turn of the loop; the rest waits for the next, so that other sources get theirs. */
#define BUS_MAIL_BATCH 64

static struct app_bus *bus_free(struct app_bus *b)
{
        struct mail *mail;

        if (!b)
                return NULL;
        b->io = loop_io_free(b->io);
        b->worker = worker_free(b->worker);
        while (b->up && (mail = mailbox_take(b->up)))
                mail_free(mail);
        b->up = mailbox_free(b->up);
        free(b->devices);
        free(b->port);
        free(b->name);
        free(b);
        return NULL;
}
DEFINE_CLEANUP(struct app_bus *, bus_free)

/* Notes what the status line tells; the gateway is told by the same mail. */
static void bus_note_device(struct app_bus *b, const struct mail *mail)
{
        const struct bus_device_state *state = (const void *)mail;

        if (mail->kind != BUS_MAIL_DEVICE || state->generation != b->app->conf->generation ||
            state->device >= b->n_devices)
                return;
        if (b->devices[state->device] != state->status) {
                b->devices[state->device] = state->status;
                app_notify_status(b->app, "");
        }
}

static void bus_note_learned(struct app_bus *b, const struct mail *mail)
{
        const struct bus_learned *learned = (const void *)mail;
        const struct conf_bus *bus;

        if (mail->kind != BUS_MAIL_LEARNED || learned->generation != b->app->conf->generation ||
            !b->app->learned)
                return;
        bus = &b->app->conf->buses[learned->bus];
        learned_note(b->app->learned, &bus->devices[learned->device], learned);
}

static void bus_take_mail(struct app_bus *b, unsigned n_most)
{
        struct mail *mail;

        for (unsigned n = 0; n < n_most && (mail = mailbox_take(b->up)); n++) {
                bus_note_device(b, mail);
                shares_on_mail(b, mail);
                bus_note_learned(b, mail);
                gateway_on_bus_mail(b->app->gateway, mail);
        }
}

static void bus_on_mail(void *user, int fd, uint32_t events)
{
        (void)fd;
        (void)events;
        bus_take_mail(user, BUS_MAIL_BATCH);
}

static int bus_set_devices(struct app_bus *b, const struct conf_bus *conf)
{
        enum device_status *devices =
                array_reserve(b->devices, conf->n_devices, &b->devices_size, sizeof(*devices));

        if (!devices)
                return -ENOMEM;
        b->devices = devices;
        b->n_devices = conf->n_devices;
        for (size_t i = 0; i < b->n_devices; i++)
                devices[i] = DEVICE_UNKNOWN;
        return 0;
}

/* A bus with its mailbox and worker, not yet started. */
static int bus_new(struct app *app, struct conf *conf, uint32_t index, struct app_bus **ret)
{
        CLEANUP(bus_freep)
        struct app_bus *b = calloc(1, sizeof(*b));
        struct port *port;
        int r;

        if (!b)
                return -ENOMEM;
        b->app = app;
        b->index = index;
        b->name = strdup(conf->buses[index].name);
        b->port = strdup(conf->buses[index].port);
        if (!b->name || !b->port)
                return -ENOMEM;
        r = bus_set_devices(b, &conf->buses[index]);
        if (r < 0)
                return r;
        r = mailbox_new(worker_up_capacity(conf, index), &b->up);
        if (r < 0)
                return r;
        r = port_libmodbus_new(&conf->buses[index], &port);
        if (r < 0)
                return r;
        r = worker_new(conf, index, port, b->up, &b->worker);
        if (r < 0)
                return r;
        for (uint32_t i = 0; app->learned && i < conf->buses[index].n_devices; i++) {
                size_t n_holes = 0;
                const struct bus_hole *holes =
                        learned_find(app->learned, &conf->buses[index].devices[i], &n_holes);

                if (holes)
                        worker_learn(b->worker, i, holes, n_holes);
        }
        r = loop_add_io(app->loop, mailbox_fd(b->up), EPOLLIN, bus_on_mail, b, &b->io);
        if (r < 0)
                return r;
        *ret = TAKE(b);
        return 0;
}

/* Without a thread it stays idle until the next reload, and its commands are refused. */
static int bus_start(struct app_bus *b)
{
        int r = worker_start(b->worker);
        struct log_fields fields = { .bus = b->name, .error = -r };

        b->is_waiting = false;
        if (r < 0) {
                log_error(&fields, "bus %s: cannot start its thread: %s", b->name, strerror(-r));
        } else {
                gateway_set_bus(b->app->gateway, b->index, worker_mailbox(b->worker));
                shares_connect(b);
        }
        return r;
}

int buses_start(struct app *app)
{
        struct app_bus **end = &app->buses;
        int r;

        for (uint32_t i = 0; i < app->conf->n_buses; i++) {
                r = bus_new(app, app->conf, i, end);
                if (r < 0)
                        return r;
                r = bus_start(*end);
                if (r < 0)
                        return r;
                end = &(*end)->next;
        }
        return 0;
}

static struct app_bus *bus_by_name(struct app *app, const char *name)
{
        for (struct app_bus *b = app->buses; b; b = b->next) {
                if (!b->is_ending && strcmp(b->name, name) == 0)
                        return b;
        }
        return NULL;
}

/* Whether a bus that is still there holds the port, under this name or another. */
static bool bus_port_is_held(const struct app *app, const struct conf *old, const char *port)
{
        for (const struct app_bus *b = app->buses; b; b = b->next) {
                if (b->is_ending || strcmp(old->buses[b->index].port, port) == 0)
                        return true;
        }
        return false;
}

/* Tells a worker that goes on about the new configuration. */
static int bus_adjust(struct app_bus *b, struct conf *new, uint32_t index)
{
        struct bus_reconf *mail;
        int r;

        r = bus_set_devices(b, &new->buses[index]);
        if (r < 0)
                return r;
        mailbox_grow(b->up, worker_up_capacity(new, index));
        r = bus_reconf_new(conf_ref(new), conf_unref, index, &mail);
        if (r < 0) {
                conf_unref(new);
                return r;
        }
        r = mailbox_post(worker_mailbox(b->worker), &mail->mail);
        if (r < 0) {
                mail_free(&mail->mail);
                return r;
        }
        b->index = index;
        return 0;
}

/* No more results come: all have been taken. */
static void bus_disconnect(struct app_bus *b)
{
        if (b->is_replaced)
                gateway_forget_bus(b->app->gateway, worker_mailbox(b->worker));
        else
                gateway_set_bus(b->app->gateway, b->index, NULL);
}

static void bus_end(struct app_bus *b)
{
        shares_disconnect(b);
        if (!b->is_ending && !b->is_waiting)
                worker_stop(b->worker);
        b->is_ending = true;
        app_reap_soon(b->app);
}

/* Whether the worker that has the bus can go on with it. */
static bool bus_can_stay(const struct app_bus *b, const struct conf_bus *old, const struct conf_bus *new)
{
        if (!b->is_waiting && worker_has_ended(b->worker))
                return false;
        return conf_compare_bus(old, new) != CONF_REPLACE;
}

/* A bus of the new configuration: the worker that has it already, or a new one. */
static int bus_take_over(struct app *app, struct conf *old, struct conf *new, uint32_t i,
                         struct app_bus **ret)
{
        struct app_bus *b = bus_by_name(app, new->buses[i].name);
        bool must_wait = b || bus_port_is_held(app, old, new->buses[i].port);
        int r;

        if (b && bus_can_stay(b, &old->buses[b->index], &new->buses[i])) {
                r = bus_adjust(b, new, i);
                if (r == 0) {
                        if (!b->is_waiting)
                                gateway_set_bus(app->gateway, i, worker_mailbox(b->worker));
                        *ret = b;
                        return 0;
                }
                /* Its box is full of commands: a new worker is better than one with the old configuration. */
                log_warn(NULL, "bus %s: cannot be told of its new configuration (%s), begins anew", b->name,
                         strerror(-r));
        }
        r = bus_new(app, new, i, ret);
        if (r < 0)
                return r;
        (*ret)->is_waiting = must_wait;
        if (!must_wait)
                (void)bus_start(*ret); /* the others go on */
        return 0;
}

static void bus_take_out(struct app *app, const struct app_bus *b)
{
        for (struct app_bus **at = &app->buses; *at; at = &(*at)->next) {
                if (*at == b) {
                        *at = b->next;
                        return;
                }
        }
}

int buses_reconfigure(struct app *app, struct conf *old, struct conf *new)
{
        struct app_bus *list = NULL, **end = &list;
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < new->n_buses; i++) {
                r = bus_take_over(app, old, new, i, end);
                if (r < 0)
                        break;
                bus_take_out(app, *end);
                (*end)->next = NULL;
                end = &(*end)->next;
        }
        for (struct app_bus *b = app->buses; b; b = b->next) {
                b->is_replaced = true;
                bus_end(b);
        }
        *end = app->buses;
        app->buses = list;
        return r;
}

void buses_stop(struct app *app)
{
        for (struct app_bus *b = app->buses; b; b = b->next)
                bus_end(b);
}

void buses_disconnect(struct app *app)
{
        for (struct app_bus *b = app->buses; b; b = b->next)
                bus_disconnect(b);
}

/* Whether a predecessor may still have the line of one that waits, or is owed a reply on it. */
static bool bus_is_held_up(const struct app *app, const struct app_bus *b)
{
        for (const struct app_bus *o = app->buses; o; o = o->next) {
                if (o->is_ending && (!worker_has_ended(o->worker) || strcmp(o->port, b->port) == 0 ||
                                     strcmp(o->name, b->name) == 0))
                        return true;
        }
        return false;
}

/* Its thread has ended, and its line may be had by another: at the end of the program nobody wants it. */
static bool bus_is_over(const struct app *app, const struct app_bus *b)
{
        return b->is_ending && worker_has_ended(b->worker) &&
               (app->phase != APP_RUNNING || clock_monotonic_us() >= worker_line_free_us(b->worker));
}

bool buses_reap(struct app *app)
{
        bool is_ending = false;

        for (struct app_bus **at = &app->buses; *at;) {
                struct app_bus *b = *at;

                if (!bus_is_over(app, b)) {
                        at = &b->next;
                        continue;
                }
                bus_take_mail(b, UINT32_MAX);
                bus_disconnect(b);
                *at = b->next;
                bus_free(b);
        }
        for (struct app_bus *b = app->buses; b; b = b->next) {
                is_ending |= b->is_ending;
                if (b->is_waiting && !b->is_ending && !bus_is_held_up(app, b))
                        (void)bus_start(b);
        }
        return is_ending;
}

void buses_free(struct app *app)
{
        while (app->buses) {
                struct app_bus *b = app->buses;

                app->buses = b->next;
                bus_free(b);
        }
}
