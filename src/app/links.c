/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "app.h"

/* How long a link that a reload replaces may drain. */
#define LINK_REPLACE_DRAIN_US (2 * USEC_PER_SEC)

static void link_on_event(void *user, struct link *link, const struct link_event *event)
{
        struct app_link *l = user;

        if (event->kind == LINK_STOPPED) {
                l->has_stopped = true;
                app_reap_soon(l->app);
        }
        if (event->kind == LINK_ONLINE || event->kind == LINK_AWAY) {
                l->is_online = event->kind == LINK_ONLINE;
                app_notify_status(l->app, "");
        }
        if (!l->is_ending || l->app->phase != APP_RUNNING)
                gateway_on_link_event(l->app->gateway, link, event);
}

static struct app_link *app_link_free(struct app_link *l)
{
        if (!l)
                return NULL;
        l->link = link_free(l->link);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(struct app_link *, app_link_free)

static int app_link_new(struct app *app, struct conf *conf, uint32_t index, struct app_link **ret)
{
        CLEANUP(app_link_freep)
        struct app_link *l = calloc(1, sizeof(*l));
        CLEANUP(message_unrefp)
        struct message *will = NULL;
        int r;

        if (!l)
                return -ENOMEM;
        l->app = app;
        l->index = index;
        r = gateway_will_new(conf, &will);
        if (r < 0)
                return r;
        r = link_mosquitto_new(app->loop,
                               &(struct link_mosquitto_init){
                                       .conf = conf,
                                       .link = index,
                                       .will = will,
                                       .on_event = link_on_event,
                                       .user = l,
                               },
                               &l->link);
        if (r < 0)
                return r;
        *ret = TAKE(l);
        return 0;
}

static int app_link_start(struct app_link *l)
{
        int r;

        l->is_waiting = false;
        r = gateway_add_link(l->app->gateway, l->link, l->index);
        if (r < 0)
                return r;
        return link_start(l->link);
}

int links_start(struct app *app)
{
        struct app_link **end = &app->links;
        int r;

        for (uint32_t i = 0; i < app->conf->n_links; i++) {
                r = app_link_new(app, app->conf, i, end);
                if (r < 0)
                        return r;
                r = app_link_start(*end);
                if (r < 0)
                        return r;
                end = &(*end)->next;
        }
        return 0;
}

static struct app_link *link_by_name(struct app *app, const char *name)
{
        for (struct app_link *l = app->links; l; l = l->next) {
                if (!l->is_ending && strcmp(l->link->name, name) == 0)
                        return l;
        }
        return NULL;
}

static void app_link_end(struct app_link *l, uint64_t deadline_us)
{
        if (l->is_ending)
                return;
        l->is_ending = true;
        l->is_online = false;
        if (l->is_waiting)
                l->has_stopped = true;
        else
                link_stop(l->link, deadline_us);
        app_reap_soon(l->app);
}

/* A connection carries credentials and the will: when these change, a new one is needed. */
static bool link_needs_new(const struct conf *old, uint32_t old_index, const struct conf *new,
                           uint32_t new_index)
{
        return conf_compare_link(&old->links[old_index], &new->links[new_index]) == CONF_REPLACE ||
               strcmp(old->gateway.status_topic, new->gateway.status_topic) != 0;
}

/* A link of the new configuration: the one that is there, or a new one, which waits for its predecessor. */
static int app_link_take_over(struct app *app, struct conf *old, struct conf *new, uint32_t i,
                              struct app_link **ret)
{
        struct app_link *l = link_by_name(app, new->links[i].name);
        bool had_one = l != NULL;
        int r;

        if (l && !link_needs_new(old, l->index, new, i)) {
                *ret = l;
                l->index = i;
                if (l->is_waiting)
                        return 0;
                /* Its subscriptions stay: else brokers would send retained commands again. */
                return gateway_add_link(app->gateway, l->link, i);
        }
        r = app_link_new(app, new, i, ret);
        if (r < 0)
                return r;
        (*ret)->is_waiting = had_one;
        return had_one ? 0 : app_link_start(*ret);
}

static void app_link_take_out(struct app *app, const struct app_link *l)
{
        for (struct app_link **at = &app->links; *at; at = &(*at)->next) {
                if (*at == l) {
                        *at = l->next;
                        return;
                }
        }
}

int links_reconfigure(struct app *app, struct conf *old, struct conf *new)
{
        struct app_link *list = NULL, **end = &list;
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < new->n_links; i++) {
                struct app_link *l = NULL;

                r = app_link_take_over(app, old, new, i, &l);
                if (!l)
                        break;
                app_link_take_out(app, l);
                l->next = NULL;
                *end = l;
                end = &l->next;
        }
        for (struct app_link *l = app->links; l; l = l->next) {
                if (!l->is_ending && !l->is_waiting)
                        gateway_leave_link(app->gateway, l->link);
                app_link_end(l, loop_now_us(app->loop) + LINK_REPLACE_DRAIN_US);
        }
        *end = app->links;
        app->links = list;
        return r;
}

void links_stop(struct app *app, uint64_t deadline_us)
{
        for (struct app_link *l = app->links; l; l = l->next)
                app_link_end(l, deadline_us);
}

static bool link_any_ending(const struct app *app)
{
        for (struct app_link *l = app->links; l; l = l->next) {
                if (l->is_ending)
                        return true;
        }
        return false;
}

bool links_reap(struct app *app)
{
        for (struct app_link **at = &app->links; *at;) {
                struct app_link *l = *at;

                if (!l->has_stopped) {
                        at = &l->next;
                        continue;
                }
                if (app->phase != APP_RUNNING && !l->is_waiting)
                        gateway_remove_link(app->gateway, l->link);
                *at = l->next;
                app_link_free(l);
        }
        if (link_any_ending(app))
                return true;
        for (struct app_link *l = app->links; l; l = l->next) {
                int r = l->is_waiting ? app_link_start(l) : 0;

                if (r < 0)
                        log_error(NULL, "link %s: cannot start: %s", app->conf->links[l->index].name,
                                  strerror(-r));
        }
        return false;
}

void links_free(struct app *app)
{
        while (app->links) {
                struct app_link *l = app->links;

                app->links = l->next;
                app_link_free(l);
        }
}
