/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/app/diff.h"
#include "mbgate/config/load.h"

static enum diff_action diff_action_of(enum conf_change change)
{
        switch (change) {
        case CONF_SAME: return DIFF_KEEP;
        case CONF_ADJUST: return DIFF_ADJUST;
        case CONF_REPLACE: break;
        }
        return DIFF_REPLACE;
}

static struct diff_item diff_bus(const struct conf *a, const struct conf_bus *bus)
{
        for (uint32_t i = 0; i < a->n_buses; i++) {
                if (strcmp(a->buses[i].name, bus->name) == 0)
                        return (struct diff_item){ diff_action_of(conf_compare_bus(&a->buses[i], bus)), i };
        }
        return (struct diff_item){ DIFF_NEW, DIFF_NONE };
}

/* What the link's own thread reads once and for all, though the connection could live on without it. */
static bool diff_link_thread_differs(const struct conf_link *a, const struct conf_link *b)
{
        return a->qos != b->qos || a->retain != b->retain || a->connect_timeout_s != b->connect_timeout_s ||
               a->reconnect_min_s != b->reconnect_min_s || a->reconnect_max_s != b->reconnect_max_s ||
               a->queue_messages != b->queue_messages || a->queue_bytes != b->queue_bytes;
}

/* `new_will`: what the brokers shall say when we vanish has changed, and they take it at a connect only. */
static struct diff_item diff_link(const struct conf *a, const struct conf_link *link, bool new_will)
{
        for (uint32_t i = 0; i < a->n_links; i++) {
                const struct conf_link *old = &a->links[i];

                if (strcmp(old->name, link->name) != 0)
                        continue;
                if (new_will || diff_link_thread_differs(old, link))
                        return (struct diff_item){ DIFF_REPLACE, i };
                return (struct diff_item){ diff_action_of(conf_compare_link(old, link)), i };
        }
        return (struct diff_item){ DIFF_NEW, DIFF_NONE };
}

static size_t diff_count_matched(const struct diff_item *items, size_t n_items)
{
        size_t n = 0;

        for (size_t i = 0; i < n_items; i++)
                n += items[i].old != DIFF_NONE;
        return n;
}

int diff_new(const struct conf *a, const struct conf *b, struct diff *ret_diff)
{
        bool new_will = conf_compare_gateway(&a->gateway, &b->gateway) == CONF_REPLACE;
        struct diff d = { .n_buses = b->n_buses, .n_links = b->n_links };

        d.buses = calloc(b->n_buses + 1, sizeof(*d.buses));
        d.links = calloc(b->n_links + 1, sizeof(*d.links));
        if (!d.buses || !d.links) {
                diff_done(&d);
                return -ENOMEM;
        }
        for (size_t i = 0; i < b->n_buses; i++)
                d.buses[i] = diff_bus(a, &b->buses[i]);
        for (size_t i = 0; i < b->n_links; i++)
                d.links[i] = diff_link(a, &b->links[i], new_will);
        d.n_buses_gone = a->n_buses - diff_count_matched(d.buses, d.n_buses);
        d.n_links_gone = a->n_links - diff_count_matched(d.links, d.n_links);
        *ret_diff = d;
        return 0;
}

void diff_done(struct diff *diff)
{
        free(diff->buses);
        free(diff->links);
        *diff = (struct diff){ 0 };
}

bool diff_keeps(const struct diff_item *items, size_t n_items, uint32_t old)
{
        for (size_t i = 0; i < n_items; i++) {
                if (items[i].old == old)
                        return items[i].action == DIFF_KEEP || items[i].action == DIFF_ADJUST;
        }
        return false;
}

static bool diff_all_kept(const struct diff_item *items, size_t n_items)
{
        for (size_t i = 0; i < n_items; i++) {
                if (items[i].action != DIFF_KEEP)
                        return false;
        }
        return true;
}

bool diff_is_empty(const struct diff *diff)
{
        return diff->n_buses_gone == 0 && diff->n_links_gone == 0 &&
               diff_all_kept(diff->buses, diff->n_buses) && diff_all_kept(diff->links, diff->n_links);
}
