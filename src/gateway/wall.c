/* SPDX-License-Identifier: MIT */
/*
 * Whether the wall clock can be believed. A board without a battery starts with a time that looks right and
 * is not: until NTP has set the clock, no time is better than a wrong one. Once it was right it stays so as
 * long as this program runs: an hour without the network costs it milliseconds.
 */
#include "mbgate/base/clock.h"

#include "gateway_private.h"

#define ASK_AGAIN_US USEC_PER_SEC

static bool wall_is_right(struct gateway *g)
{
        struct gw_wall *w = &g->wall;
        uint64_t now_us = loop_now_us(g->loop);

        if (g->conf->gateway.clock == CONF_CLOCK_ALWAYS)
                return true;
        if (!w->is_right && now_us >= w->ask_us) {
                w->is_right = clock_is_synchronised();
                w->ask_us = now_us + ASK_AGAIN_US;
                if (w->is_right && w->is_said)
                        log_info(NULL, "the clock is synchronised: \"time\" is set from now on");
        }
        return w->is_right;
}

int64_t gw_wall_us(struct gateway *g, int64_t wall_us)
{
        if (wall_is_right(g))
                return wall_us;
        if (!g->wall.is_said)
                log_notice(NULL,
                           "the clock is not synchronised, so \"time\" in JSON is null until NTP has set it; "
                           "where nothing will ever say so (a container, a battery-backed clock without "
                           "NTP), put clock = \"always\" into gateway");
        g->wall.is_said = true;
        return GW_WALL_UNKNOWN;
}
