/* SPDX-License-Identifier: MIT */
/*
 *   running ──app_stop──► ending buses ──threads ended──► offline published, ending links ──stopped─┐
 *                              │                                      │                             ▼
 *                              └── 5 s: say what hangs, leave with 70 ┴── ending broker: its clients are told
 *                                                                                                   │
 *                                                              exit ◄── gone: what lasts is written ┘
 */
#include <sysexits.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

#include "app.h"

#define STOP_DRAIN_US  (2 * USEC_PER_SEC)
#define STOP_BROKER_US (1 * USEC_PER_SEC)
#define STOP_GUARD_US  (5 * USEC_PER_SEC)

static void stop_name_what_hangs(const struct app *app)
{
        for (struct app_bus *b = app->buses; b; b = b->next) {
                if (!b->is_waiting)
                        log_error(NULL, "bus %s: its thread does not end; leaving it", b->name);
        }
        for (struct app_link *l = app->links; l; l = l->next) {
                if (!l->is_waiting)
                        log_error(NULL, "link %s: does not stop; leaving it", l->link->name);
        }
        if (app->phase == APP_ENDING_BROKER)
                log_error(NULL, "broker: does not end; leaving it");
}

static void stop_on_guard(void *user, uint64_t now_us)
{
        (void)now_us;
        stop_name_what_hangs(user);
        _exit(EX_SOFTWARE);
}

void app_stop(struct app *app)
{
        if (app->phase != APP_RUNNING) {
                log_warn(NULL, "asked to stop again: leaving at once");
                _exit(EX_SOFTWARE);
        }
        log_info(NULL, "stopping");
        loop_notify(app->loop, "STOPPING=1\nSTATUS=stopping");
        app->phase = APP_ENDING_BUSES;
        if (loop_add_timer(app->loop, stop_on_guard, app, &app->guard) == 0)
                loop_timer_set(app->guard, clock_monotonic_us() + STOP_GUARD_US);
        shares_free(app);
        buses_stop(app);
        app_reap_soon(app);
}

void app_stop_continue(struct app *app)
{
        uint64_t now_us = clock_monotonic_us();

        if (app->phase == APP_ENDING_BUSES && !app->buses) {
                app->phase = APP_ENDING_LINKS;
                gateway_stop(app->gateway);
                links_stop(app, now_us + STOP_DRAIN_US);
        }
        if (app->phase == APP_ENDING_LINKS && !app->links) {
                app->phase = APP_ENDING_BROKER;
                app_broker_end(app, now_us + STOP_BROKER_US);
        }
        if (app->phase == APP_ENDING_BROKER && !app_broker_reap(app)) {
                log_info(NULL, "stopped");
                loop_exit(app->loop, EX_OK);
                return;
        }
        loop_timer_set(app->reap, now_us + APP_REAP_INTERVAL_US);
}
