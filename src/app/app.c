/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

#include "app.h"

static void app_on_signal(void *user, int signo)
{
        struct app *app = user;

        if (signo != SIGHUP)
                app_stop(app);
        else if (app->phase == APP_RUNNING)
                app_reload(app);
}

static void app_on_reap(void *user, uint64_t now_us)
{
        struct app *app = user;
        bool is_ending = buses_reap(app);

        is_ending |= links_reap(app);
        if (app->phase == APP_RUNNING)
                is_ending |= app_broker_reap(app);
        if (app->phase != APP_RUNNING)
                app_stop_continue(app);
        else if (is_ending)
                loop_timer_set(app->reap, now_us + APP_REAP_INTERVAL_US);
}

void app_reap_soon(struct app *app)
{
        loop_timer_set(app->reap, clock_monotonic_us());
}

/* Says once which thread is late; the watchdog starves as long as one is. */
static bool app_is_late(struct app *app, struct heartbeat *beat, const char *what, const char *name)
{
        if (!heartbeat_is_late(beat, clock_monotonic_us()))
                return false;
        if (app->late != name)
                log_error(NULL, "%s %s: its thread is stuck; the watchdog is not fed", what, name);
        app->late = name;
        return true;
}

static bool app_broker_is_late(struct app *app)
{
        const char *name = app->broker ? broker_late_thread(app->broker, clock_monotonic_us()) : NULL;

        if (name && app->late != name)
                log_error(NULL, "broker: its thread for the %s is stuck; the watchdog is not fed", name);
        if (name)
                app->late = name;
        return name != NULL;
}

static bool app_is_alive(void *user)
{
        struct app *app = user;

        for (struct app_bus *b = app->buses; b; b = b->next) {
                if (!b->is_ending && !b->is_waiting &&
                    app_is_late(app, worker_heartbeat(b->worker), "bus", app->conf->buses[b->index].name))
                        return false;
        }
        for (struct app_link *l = app->links; l; l = l->next) {
                if (!l->is_ending && !l->is_waiting && l->index != GATEWAY_LINK_LOCAL &&
                    app_is_late(app, link_mosquitto_heartbeat(l->link), "link",
                                app->conf->links[l->index].name))
                        return false;
        }
        if (app_broker_is_late(app))
                return false;
        app->late = "";
        return true;
}

/* What cannot be read is said, and no reason not to run. */
static int app_watch(struct app *app)
{
        int r = loop_watch(app->loop, app_is_alive, app);

        if (r != LOOP_WATCHDOG_UNREADABLE)
                return r;
        log_warn(NULL,
                 "environment: WATCHDOG_USEC must be a number of microseconds above 0, and WATCHDOG_PID a "
                 "process id: going on without a watchdog");
        return 0;
}

static int app_add_signals(struct app *app)
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
                r = loop_add_signal(app->loop, signals[i], app_on_signal, app, &app->signals[i]);
        return r;
}

int app_control_connect(struct app *app)
{
        return app->control ? gateway_add_link(app->gateway, control_link(app->control), GATEWAY_LINK_CONTROL)
                            : 0;
}

/* Where it cannot listen it says so: no reason not to run. */
static int app_control_start(struct app *app)
{
        CLEANUP(cleanup_free)
        char *otherwise = control_default_path();
        const char *path = app->options->control_path ? app->options->control_path : otherwise;
        int r;

        if (!path || !path[0])
                return 0;
        r = control_new(app->loop, app->gateway, path, &app->control);
        if (r < 0)
                log_warn(&(struct log_fields){ .error = -r },
                         "control: cannot listen on %s: %s: going on without, mbgatectl finds nobody", path,
                         strerror(-r));
        return app_control_connect(app);
}

static int app_init(struct app *app)
{
        int r;

        r = loop_new(&app->loop);
        if (r < 0)
                return r;
        r = app_add_signals(app);
        if (r < 0)
                return r;
        r = loop_add_timer(app->loop, app_on_reap, app, &app->reap);
        if (r < 0)
                return r;
        r = gateway_new(app->loop, app->conf, &app->gateway);
        if (r < 0)
                return r;
        r = shares_start(app);
        if (r < 0)
                return r;
        r = learned_new(app->loop, app->conf, &app->learned);
        if (r < 0)
                return r;
        r = buses_start(app);
        if (r < 0)
                return r;
        r = loop_take_sockets(&app->sockets, &app->n_sockets);
        if (r < 0)
                return r;
        r = app->conf->broker.on ? app_broker_start(app) : 0;
        if (r < 0)
                return r;
        r = links_start(app);
        if (r < 0)
                return r;
        r = app_control_start(app);
        if (r < 0)
                return r;
        return app_watch(app);
}

static void app_done(struct app *app)
{
        shares_free(app);
        buses_free(app);
        links_free(app);
        app_broker_free(app);
        loop_sockets_free(app->sockets, app->n_sockets);
        app->learned = learned_free(app->learned);
        app->gateway = gateway_free(app->gateway);
        app->control = control_free(app->control);
        for (size_t i = 0; i < ARRAY_SIZE(app->signals); i++)
                app->signals[i] = loop_signal_free(app->signals[i]);
        app->reap = loop_timer_free(app->reap);
        app->guard = loop_timer_free(app->guard);
        app->loop = loop_free(app->loop);
        app->conf = conf_unref(app->conf);
}

void app_block_signals(void)
{
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
}

static void app_greet(const struct app *app)
{
        const struct conf *conf = app->conf;
        size_t n_devices = 0;

        for (size_t i = 0; i < conf->n_buses; i++)
                n_devices += conf->buses[i].n_devices;
        log_info(NULL, "mbgated %s: %s: %zu bus(es), %zu device(s), %zu point(s), %zu link(s)",
                 MBGATE_VERSION, conf->file, conf->n_buses, n_devices, conf->n_points, conf->n_links);
        if (conf->n_links == 0 && !conf->broker.on)
                log_warn(NULL, "neither a link nor the broker is configured: values go nowhere");
}

int app_run(const struct options *options, struct conf *conf)
{
        struct app app = { .options = options, .conf = conf_ref(conf), .late = "" };
        int r;

        app_greet(&app);
        r = link_mosquitto_global_init();
        if (r == 0)
                r = app_init(&app);
        if (r < 0) {
                log_error(&(struct log_fields){ .error = -r }, "cannot start: %s", strerror(-r));
        } else {
                app_notify_status(&app, "READY=1\n");
                r = loop_run(app.loop);
                if (r < 0)
                        log_error(&(struct log_fields){ .error = -r }, "event loop: %s", strerror(-r));
        }
        /* Links that run cannot be freed: without the loop they cannot be stopped either. */
        if (r < 0 && app.links)
                _exit(EX_OSERR);
        app_done(&app);
        link_mosquitto_global_done();
        return r < 0 ? EX_OSERR : r;
}
