/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "gateway_private.h"

/* Sets the one timer to the earlier of what it has and `at_us`. */
void gw_wake_at(struct gateway *g, uint64_t at_us)
{
        if (at_us >= g->timer_us)
                return;
        g->timer_us = at_us;
        loop_timer_set(g->timer, at_us);
}

enum log_level gw_quiet_level(struct gw_quiet *q, uint64_t now_us, char ret_more[GW_QUIET_BYTES])
{
        struct buf more = buf_on(ret_more, GW_QUIET_BYTES);

        if (now_us < q->until_us) {
                q->n_unsaid++;
                return LOG_LEVEL_DEBUG;
        }
        if (q->n_unsaid > 0)
                buf_printf(&more, " (%u more since the last line)", q->n_unsaid);
        *q = (struct gw_quiet){ .until_us = now_us + GW_QUIET_US };
        return LOG_LEVEL_WARNING;
}

static void gateway_on_timer(void *user, uint64_t now_us)
{
        struct gateway *g = user;

        g->timer_us = CLOCK_NEVER_US;
        for (size_t b = 0; b < g->conf->n_buses; b++) {
                for (size_t d = 0; d < g->conf->buses[b].n_devices; d++)
                        gw_device_tick(g, &g->buses[b].devices[d], now_us);
        }
        gw_objects_flush(g);
        gw_pending_tick(g, now_us);
        gw_raw_tick(g, now_us);
        gw_pay_tick(g, now_us);
}

int gateway_new(struct loop *loop, struct conf *conf, struct gateway **ret_gateway)
{
        CLEANUP(gateway_freep)
        struct gateway *g = calloc(1, sizeof(*g));
        int r;

        if (!g)
                return -ENOMEM;
        g->loop = loop;
        g->timer_us = g->pending_due_us = CLOCK_NEVER_US;
        g->conf = conf_ref(conf);
        r = gw_state_new(conf, &g->buses, &g->points, &g->map);
        if (r == 0)
                r = gw_states_new(conf, g->buses, &g->states);
        if (r < 0)
                return r;
        r = loop_add_timer(loop, gateway_on_timer, g, &g->timer);
        if (r < 0)
                return r;
        /* The first tick finds when the next ones are. */
        gw_wake_at(g, loop_now_us(loop));
        *ret_gateway = TAKE(g);
        return 0;
}

static void gw_link_free(struct gw_link *l)
{
        gw_filters_free(l);
        gw_sent_free(l);
        free(l->owed);
        conf_unref(l->conf_ref);
        free(l);
}

struct gateway *gateway_free(struct gateway *g)
{
        if (!g)
                return NULL;
        gw_pending_free(g);
        gw_raw_free(g);
        gw_dedupe_done(&g->dedupe);
        while (g->links) {
                struct gw_link *l = g->links;

                g->links = l->next;
                gw_link_free(l);
        }
        gw_pasts_free(g);
        gw_state_free(g->conf, g->buses, g->points, g->map);
        g->timer = loop_timer_free(g->timer);
        conf_unref(g->conf);
        free(g->states.list);
        free(g->object_text);
        free(g);
        return NULL;
}

static bool link_takes_all(const struct conf_link *conf)
{
        for (size_t i = 0; i < conf->n_publish; i++) {
                if (strcmp(conf->publish[i], "#") == 0)
                        return true;
        }
        return false;
}

struct gw_link *gw_link_find(struct gateway *g, const struct link *link)
{
        struct gw_link *l = link ? g->links : NULL;

        while (l && l->link != link)
                l = l->next;
        return l;
}

static void link_set_conf(struct gateway *g, struct gw_link *l, uint32_t index)
{
        struct conf *old = l->conf_ref;

        l->conf_ref = conf_ref(g->conf);
        l->is_control = index == GATEWAY_LINK_CONTROL;
        l->conf = index == GATEWAY_LINK_LOCAL || l->is_control ? NULL : &g->conf->links[index];
        l->takes_all = !l->conf || link_takes_all(l->conf);
        conf_unref(old);
}

int gateway_add_link(struct gateway *g, struct link *link, uint32_t index)
{
        struct gw_link *l = gw_link_find(g, link);
        int r;

        if (l) {
                link_set_conf(g, l, index);
                return gw_subscribe_all(g, l);
        }
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->link = link;
        l->pay_us = CLOCK_NEVER_US;
        link_set_conf(g, l, index);
        r = gw_owed_new(&g->states, &l->owed);
        if (r == 0)
                r = gw_subscribe_all(g, l);
        if (r < 0) {
                gw_link_free(l);
                return r;
        }
        l->next = g->links;
        g->links = l;
        return 0;
}

void gateway_remove_link(struct gateway *g, struct link *link)
{
        for (struct gw_link **at = &g->links; *at; at = &(*at)->next) {
                struct gw_link *l = *at;

                if (l->link != link)
                        continue;
                *at = l->next;
                gw_pending_drop_link(g, link);
                gw_raw_drop_link(g, link);
                gw_link_free(l);
                return;
        }
}

void gateway_leave_link(struct gateway *g, struct link *link)
{
        struct gw_link *l = gw_link_find(g, link);

        if (l)
                gw_publish_farewell(g, l);
        gateway_remove_link(g, link);
}

void gateway_on_link_event(void *user, struct link *link, const struct link_event *event)
{
        struct gateway *g = user;
        struct gw_link *l = gw_link_find(g, link);

        if (!l)
                return;
        if (event->kind == LINK_ONLINE || event->kind == LINK_AWAY)
                l->is_online = event->kind == LINK_ONLINE;
        switch (event->kind) {
        case LINK_ONLINE:
                gw_owe_all(g, l, !l->conf || l->conf->publish_on_connect);
                gw_pay(g, l);
                return;
        case LINK_LOST:
                gw_owe_all(g, l, true);
                gw_pay(g, l);
                return;
        case LINK_ROOM: gw_pay(g, l); return;
        case LINK_MESSAGE: gw_on_message(g, l, event); return;
        case LINK_AWAY:
        case LINK_STOPPED: return;
        }
}

void gateway_set_bus(struct gateway *g, uint32_t bus, struct mailbox *commands)
{
        const struct mailbox *old;

        if (bus >= g->conf->n_buses)
                return;
        old = g->buses[bus].commands;
        g->buses[bus].commands = commands;
        if (!commands && old)
                gateway_forget_bus(g, old);
}

void gateway_forget_bus(struct gateway *g, const struct mailbox *commands)
{
        gw_pending_drop_bus(g, commands);
        gw_raw_drop_bus(g, commands);
}

/*
 * All but results name things by index. States and counters are those of the configuration in force, or they
 * are dropped: a worker that has gone over to it tells them again. Samples are nobody's to tell again:
 * past.c.
 */
static bool mail_is_current(const struct gateway *g, uint32_t generation, uint32_t bus)
{
        return generation == g->conf->generation && bus < g->conf->n_buses;
}

static void on_device_state(struct gateway *g, const struct bus_device_state *s)
{
        if (mail_is_current(g, s->generation, s->bus) && s->device < g->conf->buses[s->bus].n_devices)
                gw_set_device_status(g, &g->buses[s->bus].devices[s->device], s->status);
}

void gateway_on_bus_mail(struct gateway *g, struct mail *mail)
{
        const struct bus_port_state *port = (const void *)mail;
        const struct bus_stats_mail *stats = (const void *)mail;
        const struct bus_report *report = (const void *)mail;

        switch ((enum bus_mail_kind)mail->kind) {
        case BUS_MAIL_SAMPLES: gw_on_samples(g, (const void *)mail); break;
        case BUS_MAIL_RESULT: gw_on_result(g, (const void *)mail); break;
        case BUS_MAIL_DEVICE: on_device_state(g, (const void *)mail); break;
        case BUS_MAIL_PORT:
                if (mail_is_current(g, port->generation, port->bus))
                        gw_on_port(g, port);
                break;
        case BUS_MAIL_STATS:
                if (mail_is_current(g, stats->generation, stats->bus))
                        gw_on_stats(g, stats);
                break;
        case BUS_MAIL_REPORT:
                if (mail_is_current(g, report->generation, report->bus))
                        gw_on_report(g, report);
                break;
        case BUS_MAIL_RAW_RESULT: gw_on_raw_result(g, (const void *)mail); break;
        case BUS_MAIL_LEARNED: /* the program's, not ours */
        case BUS_MAIL_REGS:    /* for who shares the bus */
        case BUS_MAIL_RAW:
        case BUS_MAIL_COMMAND:
        case BUS_MAIL_RECONF: break;
        }
        mail_free(mail);
}

void gateway_stop(struct gateway *g)
{
        g->is_stopping = true;
        gw_objects_flush(g);
        for (struct gw_link *l = g->links; l; l = l->next)
                gw_owe_nothing(g, l);
        gw_publish_offline(g);
}
