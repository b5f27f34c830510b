/* SPDX-License-Identifier: MIT */
/*
 * The states that a link is still to be given: all of them when it has connected, one that it had no room for
 * later. They go out as they are by then, in the order of the configuration, a piece in a turn of the loop,
 * and only while the link has room.
 *
 *   connected, LINK_LOST ──► all owed ─┐           ┌─ no room ──► LINK_ROOM ──┐
 *   no room for one ───────► one owed ─┴► a piece ─┼─ more ─────► next turn ──┼──► a piece …
 *                                          ▲       └─ refused ──► a pause ────┘
 *                                          └ what has gone out by itself meanwhile is owed no more
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "gateway_private.h"

#define OWED_BITS 64
/* Of one turn of the loop: a millisecond or so on a small board. */
#define OWED_PIECE 64
/* A link that says it has room and does not take one is left alone so long. */
#define OWED_PAUSE_US (10 * USEC_PER_SEC)

/* ---- the states of a configuration ---- */

static size_t states_count(const struct conf *conf)
{
        size_t n = 2 + conf->n_buses + conf->n_points; /* none, and the gateway's own */

        for (size_t b = 0; b < conf->n_buses; b++)
                n += 2 * conf->buses[b].n_devices;
        return n;
}

static size_t states_add_device(struct gw_state *states, size_t n, struct gw_device *d)
{
        d->state = n;
        states[n++] = (struct gw_state){ .kind = GW_STATE_AVAILABILITY, .device = d };
        for (size_t i = 0; i < d->conf->n_points; i++) {
                d->points[i].state = n;
                states[n++] = (struct gw_state){ .kind = GW_STATE_POINT, .point = &d->points[i] };
        }
        d->object_state = n;
        states[n++] = (struct gw_state){ .kind = GW_STATE_OBJECT, .device = d };
        return n;
}

int gw_states_new(const struct conf *conf, struct gw_bus *buses, struct gw_states *ret)
{
        struct gw_state *states = calloc(states_count(conf), sizeof(*states));
        size_t n = GW_STATE_OF_GATEWAY;

        if (!states)
                return -ENOMEM;
        states[n++] = (struct gw_state){ .kind = GW_STATE_STATUS };
        for (size_t b = 0; b < conf->n_buses; b++) {
                buses[b].state = n;
                states[n++] = (struct gw_state){ .kind = GW_STATE_BUS, .bus = &buses[b] };
                for (size_t d = 0; d < conf->buses[b].n_devices; d++)
                        n = states_add_device(states, n, &buses[b].devices[d]);
        }
        *ret = (struct gw_states){ .list = states, .n = n };
        return 0;
}

/* ---- what a link owes ---- */

int gw_owed_new(const struct gw_states *states, uint64_t **ret_owed)
{
        *ret_owed = calloc(states->n / OWED_BITS + 1, sizeof(**ret_owed));
        return *ret_owed ? 0 : -ENOMEM;
}

static void owed_set(struct gw_link *l, size_t state)
{
        l->owed[state / OWED_BITS] |= UINT64_C(1) << state % OWED_BITS;
        l->owed_from = MBGATE_MIN(l->owed_from, state / OWED_BITS);
}

static bool owed_has(const struct gw_link *l, size_t state)
{
        return l->owed[state / OWED_BITS] >> state % OWED_BITS & 1;
}

void gw_owed_clear(struct gw_link *l, size_t state)
{
        l->owed[state / OWED_BITS] &= ~(UINT64_C(1) << state % OWED_BITS);
}

/* The first one, or 0. */
static size_t owed_first(struct gw_link *l, const struct gw_states *states)
{
        size_t n_words = states->n / OWED_BITS + 1;

        while (l->owed_from < n_words && l->owed[l->owed_from] == 0)
                l->owed_from++;
        if (l->owed_from == n_words)
                return 0;
        return l->owed_from * OWED_BITS + (size_t)__builtin_ctzll(l->owed[l->owed_from]);
}

static void owed_pay_at(struct gateway *g, struct gw_link *l, uint64_t at_us)
{
        l->pay_us = at_us;
        gw_wake_at(g, at_us);
}

void gw_owe(struct gateway *g, struct gw_link *l, size_t state)
{
        bool was_owing = owed_first(l, &g->states) != 0;

        owed_set(l, state);
        if (!was_owing && l->is_online)
                owed_pay_at(g, l, loop_now_us(g->loop));
}

void gw_owe_all(struct gateway *g, struct gw_link *l, bool with_values)
{
        for (size_t i = GW_STATE_OF_GATEWAY; i < g->states.n; i++) {
                enum gw_state_kind kind = g->states.list[i].kind;

                if (with_values || (kind != GW_STATE_POINT && kind != GW_STATE_OBJECT))
                        owed_set(l, i);
        }
}

void gw_owe_nothing(struct gateway *g, struct gw_link *l)
{
        memset(l->owed, 0, (g->states.n / OWED_BITS + 1) * sizeof(*l->owed));
        l->pay_us = CLOCK_NEVER_US;
}

/* ---- a reload ---- */

int gw_owed_prepare(struct gateway *g, const struct gw_states *states)
{
        int r = 0;

        for (struct gw_link *l = g->links; l && r == 0; l = l->next)
                r = gw_owed_new(states, &l->owed_next);
        if (r < 0)
                gw_owed_forget_next(g);
        return r;
}

void gw_owed_forget_next(struct gateway *g)
{
        for (struct gw_link *l = g->links; l; l = l->next) {
                free(l->owed_next);
                l->owed_next = NULL;
        }
}

/* Who owes something owes everything: numbers of before mean nothing now. */
void gw_owed_renumber(struct gateway *g, const struct gw_states *states)
{
        struct gw_states old = g->states;

        g->states = *states;
        for (struct gw_link *l = g->links; l; l = l->next) {
                bool was_owing = owed_first(l, &old) != 0;

                free(l->owed);
                l->owed = TAKE(l->owed_next);
                l->owed_from = 0;
                if (!was_owing)
                        continue;
                gw_owe_all(g, l, true);
                owed_pay_at(g, l, loop_now_us(g->loop));
        }
        free(old.list);
}

/* ---- paying ---- */

void gw_pay(struct gateway *g, struct gw_link *l)
{
        l->pay_us = CLOCK_NEVER_US;
        if (!l->is_online)
                return; /* its connection brings us here again */
        for (unsigned n = 0; n < OWED_PIECE; n++) {
                size_t state = owed_first(l, &g->states);

                /* Who has a full queue of old values must hear at once that we live. */
                if (state == 0 || (state != GW_STATE_OF_GATEWAY && !link_has_room(l->link)))
                        return; /* LINK_ROOM does */
                gw_owed_clear(l, state);
                gw_publish_owed(g, &g->states.list[state], l);
                if (!owed_has(l, state))
                        continue;
                if (link_has_room(l->link))
                        owed_pay_at(g, l, loop_now_us(g->loop) + OWED_PAUSE_US);
                return;
        }
        owed_pay_at(g, l, loop_now_us(g->loop));
}

void gw_pay_tick(struct gateway *g, uint64_t now_us)
{
        for (struct gw_link *l = g->links; l; l = l->next) {
                if (now_us >= l->pay_us)
                        gw_pay(g, l);
                gw_wake_at(g, l->pay_us);
        }
}
