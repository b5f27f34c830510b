/* SPDX-License-Identifier: MIT */
/*
 *   running ──app_stop──► ending buses ──► offline published, ending links ──► ending broker ──► exit
 *
 * Each phase ends when all have ended, or at its limit: what hangs is named and left behind, the others go
 * on, and the exit code is 70. The limits together are less than the 5 s after which the guard leaves in any
 * case.
 */
#include <sysexits.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

#include "app.h"

#define STOP_BUSES_US  (1500 * USEC_PER_MSEC) /* more than WORKER_STOP_GRACE_US and a turn */
#define STOP_DRAIN_US  (2 * USEC_PER_SEC)
#define STOP_LINKS_US  (STOP_DRAIN_US + 300 * USEC_PER_MSEC)
#define STOP_BROKER_US (1 * USEC_PER_SEC)
#define STOP_GUARD_US  (5 * USEC_PER_SEC)

/* Service managers and timeout(1) may send a signal twice; a person's second one comes later. */
#define STOP_REPEAT_US (1 * USEC_PER_SEC)

static void leave_buses(struct app *app)
{
        for (struct app_bus *b = app->buses; b; b = b->next) {
                if (!b->is_waiting)
                        log_error(NULL, "bus %s: its thread does not end; leaving it", b->name);
        }
        app->leaves_behind = true;
}

static void leave_links(struct app *app)
{
        for (struct app_link *l = app->links; l; l = l->next) {
                if (l->is_ending && !l->is_waiting)
                        log_error(NULL, "link %s: does not stop; leaving it", l->link->name);
        }
        app->leaves_behind = true;
}

/* Only what was asked to stop. */
static void stop_name_what_hangs(struct app *app)
{
        switch (app->phase) {
        case APP_RUNNING: break;
        case APP_ENDING_BUSES: leave_buses(app); break;
        case APP_ENDING_LINKS: leave_links(app); break;
        case APP_ENDING_BROKER: log_error(NULL, "broker: does not end; leaving it"); break;
        }
}

static void stop_on_guard(void *user, uint64_t now_us)
{
        (void)now_us;
        stop_name_what_hangs(user);
        _exit(EX_SOFTWARE);
}

void app_stop(struct app *app)
{
        uint64_t now_us = clock_monotonic_us();

        if (app->phase != APP_RUNNING && now_us < app->stop_us + STOP_REPEAT_US)
                return;
        if (app->phase != APP_RUNNING) {
                log_warn(NULL, "asked to stop again: leaving at once");
                _exit(EX_SOFTWARE);
        }
        log_info(NULL, "stopping");
        loop_notify(app->loop, "STOPPING=1\nSTATUS=stopping");
        app->phase = APP_ENDING_BUSES;
        app->stop_us = now_us;
        app->phase_us = now_us + STOP_BUSES_US;
        if (loop_add_timer(app->loop, stop_on_guard, app, &app->guard) == 0)
                loop_timer_set(app->guard, now_us + STOP_GUARD_US);
        shares_free(app);
        buses_stop(app);
        app_reap_soon(app);
}

/* A thread that hangs may use what it has at any moment: nothing that it could reach is freed. */
static void stop_without(struct app *app)
{
        if (!links_have_local(app))
                app_broker_free(app);
        app->learned = learned_free(app->learned);
        log_warn(NULL, "stopped, but for what is left behind");
        _exit(EX_SOFTWARE);
}

static void stop_end(struct app *app)
{
        if (app->leaves_behind)
                stop_without(app);
        log_info(NULL, "stopped");
        loop_exit(app->loop, EX_OK);
}

void app_stop_continue(struct app *app)
{
        uint64_t now_us = clock_monotonic_us();
        bool is_late = now_us >= app->phase_us;

        if (app->phase == APP_ENDING_BUSES && (!app->buses || is_late)) {
                if (app->buses)
                        leave_buses(app);
                buses_disconnect(app);
                app->phase = APP_ENDING_LINKS;
                app->phase_us = now_us + STOP_LINKS_US;
                is_late = false;
                gateway_stop(app->gateway);
                links_stop(app, now_us + STOP_DRAIN_US);
        }
        if (app->phase == APP_ENDING_LINKS && (!app->links || is_late)) {
                if (app->links)
                        leave_links(app);
                app->phase = APP_ENDING_BROKER;
                app_broker_end(app, now_us + STOP_BROKER_US);
        }
        if (app->phase == APP_ENDING_BROKER && !app_broker_reap(app)) {
                stop_end(app);
                return;
        }
        loop_timer_set(app->reap, now_us + APP_REAP_INTERVAL_US);
}
