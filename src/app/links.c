/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/broker/link_local.h"

#include "app.h"

/* How long a link that a reload replaces may drain. */
#define LINK_REPLACE_DRAIN_US (2 * USEC_PER_SEC)

/* In the embedded broker's $SYS, where bridges are told of. */
static void link_tell_state(const struct app_link *l, const char *state)
{
        if (l->app->broker && l->index != GATEWAY_LINK_LOCAL)
                broker_tell_link(l->app->broker, l->link->name, state);
}

void links_tell_states(const struct app *app)
{
        for (const struct app_link *l = app->links; l; l = l->next)
                link_tell_state(l, l->is_online ? "1" : "0");
}

static void link_on_event(void *user, struct link *link, const struct link_event *event)
{
        struct app_link *l = user;

        if (event->kind == LINK_STOPPED) {
                l->has_stopped = true;
                app_reap_soon(l->app);
        }
        if (event->kind == LINK_ONLINE || event->kind == LINK_AWAY) {
                l->is_online = event->kind == LINK_ONLINE;
                link_tell_state(l, l->is_online ? "1" : "0");
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

static int app_link_connect(struct app_link *l, struct conf *conf)
{
        const struct link_local_init local = {
                .broker = l->app->broker,
                .on_event = link_on_event,
                .user = l,
        };
        struct link_mosquitto_init external = {
                .conf = conf,
                .link = l->index,
                .on_event = link_on_event,
                .user = l,
        };
        int r;

        if (l->index == GATEWAY_LINK_LOCAL)
                return link_local_new(&local, &l->link);
        r = gateway_will_new(conf, &external.will);
        if (r < 0)
                return r;
        r = link_mosquitto_new(l->app->loop, &external, &l->link);
        (void)message_unref(external.will);
        return r;
}

static int app_link_new(struct app *app, struct conf *conf, uint32_t index, struct app_link **ret)
{
        CLEANUP(app_link_freep)
        struct app_link *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->app = app;
        l->index = index;
        r = app_link_connect(l, conf);
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

/* The links of a configuration by number: the first is that to the embedded broker, if it runs. */
static bool links_index(const struct app *app, const struct conf *conf, uint32_t number, uint32_t *ret_index)
{
        bool has_local = app->broker && !app->broker_deadline_us;

        *ret_index = has_local && number == 0 ? GATEWAY_LINK_LOCAL : number - has_local;
        return *ret_index == GATEWAY_LINK_LOCAL || *ret_index < conf->n_links;
}

int links_start(struct app *app)
{
        struct app_link **end = &app->links;
        uint32_t index;

        for (uint32_t i = 0; links_index(app, app->conf, i, &index); i++) {
                int r = app_link_new(app, app->conf, index, end);

                if (r < 0)
                        return r;
                r = app_link_start(*end);
                if (r < 0)
                        return r;
                end = &(*end)->next;
        }
        return 0;
}

/* The one that stands for the link of a configuration now; NULL: none. */
static struct app_link *link_find(struct app *app, const struct conf *conf, uint32_t index)
{
        for (struct app_link *l = app->links; l; l = l->next) {
                bool is_local = l->index == GATEWAY_LINK_LOCAL;

                if (l->is_ending || is_local != (index == GATEWAY_LINK_LOCAL))
                        continue;
                if (is_local || strcmp(l->link->name, conf->links[index].name) == 0)
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
        if (strcmp(old->gateway.status_topic, new->gateway.status_topic) != 0)
                return true;
        if (new_index == GATEWAY_LINK_LOCAL)
                return strcmp(old->broker.prefix, new->broker.prefix) != 0;
        return conf_compare_link(&old->links[old_index], &new->links[new_index]) == CONF_REPLACE;
}

/* A link of the new configuration: the one that is there, or a new one, which waits for its predecessor. */
static int app_link_take_over(struct app *app, struct conf *old, struct conf *new, uint32_t i,
                              struct app_link **ret)
{
        struct app_link *l = link_find(app, new, i);
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
        uint32_t index;
        int r = 0;

        for (uint32_t i = 0; r == 0 && links_index(app, new, i, &index); i++) {
                struct app_link *l = NULL;

                r = app_link_take_over(app, old, new, index, &l);
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

bool links_have_local(const struct app *app)
{
        for (const struct app_link *l = app->links; l; l = l->next) {
                if (l->index == GATEWAY_LINK_LOCAL)
                        return true;
        }
        return false;
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
                link_tell_state(l, "");
                app_link_free(l);
        }
        if (link_any_ending(app))
                return true;
        for (struct app_link *l = app->links; l; l = l->next) {
                int r = l->is_waiting ? app_link_start(l) : 0;

                if (r < 0)
                        log_error(NULL, "link %s: cannot start: %s", l->link->name, strerror(-r));
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
