/* SPDX-License-Identifier: MIT */
/*
 * The embedded broker in the program's life.
 *
 *   none ──start──► running ⇄ reconfigured
 *    ▲                 │ end
 *    │                 ▼
 *    └── freed ◄── its clients are told ◄── its links have ended
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mbgate/base/clock.h"

#include "app.h"

/* Descriptors for all but clients: buses, links, listeners, the store, the journal. */
#define BROKER_FILES_BESIDE 128

/* How long clients may take their last messages when a reload ends the broker. */
#define BROKER_LEAVE_US (2 * USEC_PER_SEC)

/* As many clients as the configuration lets in must find a descriptor each. */
static void broker_raise_file_limit(const struct conf_broker *conf)
{
        rlim_t wanted = (rlim_t)conf->max_clients + BROKER_FILES_BESIDE;
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
                return; /* under the unit's seccomp filter it cannot be asked: LimitNOFILE is all that counts
                         */
        limit.rlim_cur = MBGATE_MIN(limit.rlim_max, wanted);
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
                return;
        log_warn(NULL,
                 "broker: max_clients is %" PRIu32 ", but only %ju files may be open: raise the limit to %ju "
                 "(LimitNOFILE in the unit, or ulimit -n)",
                 conf->max_clients, (uintmax_t)limit.rlim_cur, (uintmax_t)wanted);
}

int app_broker_start(struct app *app)
{
        CLEANUP(cleanup_free)
        struct broker_socket *sockets = calloc(app->n_sockets + 1, sizeof(*sockets));
        CLEANUP(broker_freep)
        struct broker *broker = NULL;
        struct broker_init init = {
                .loop = app->loop,
                .conf = app->conf,
                .sockets = sockets,
                .n_sockets = app->n_sockets,
        };
        int r;

        if (!sockets)
                return -ENOMEM;
        for (size_t i = 0; i < app->n_sockets; i++)
                sockets[i] = (struct broker_socket){ .fd = app->sockets[i].fd, .name = app->sockets[i].name };
        broker_raise_file_limit(&app->conf->broker);
        r = broker_new(&init, &broker);
        if (r < 0)
                return r;
        r = broker_start(broker);
        if (r < 0)
                return r;
        app->broker = TAKE(broker);
        app->broker_deadline_us = 0;
        app->broker_is_leaving = false;
        links_tell_states(app);
        return 0;
}

int app_broker_reconfigure(struct app *app, struct conf *new)
{
        const struct conf *old = app->conf;

        if (!app->broker || app->broker_deadline_us || !new->broker.on)
                return 0;
        if (conf_compare_broker(&old->broker, &new->broker) == CONF_REPLACE)
                log_warn(NULL, "broker: store_directory and store_max_bytes change with the next start");
        return broker_reconfigure(app->broker, new);
}

int app_broker_follow(struct app *app)
{
        int r;

        if (!app->conf->broker.on) {
                if (app->broker && !app->broker_deadline_us)
                        app_broker_end(app, loop_now_us(app->loop) + BROKER_LEAVE_US);
                return 0;
        }
        if (app->broker) /* one that is ending is followed by another: app_broker_reap() */
                return 0;
        r = app_broker_start(app);
        if (r < 0)
                log_error(&(struct log_fields){ .error = -r }, "broker: cannot start: %s", strerror(-r));
        return r;
}

void app_broker_end(struct app *app, uint64_t deadline_us)
{
        if (!app->broker)
                return;
        if (!app->broker_deadline_us)
                app->broker_deadline_us = deadline_us;
        app_reap_soon(app);
}

/* The configuration wants one again. */
static void broker_start_again(struct app *app)
{
        int r = app_broker_follow(app);

        if (r == 0 && app->broker)
                r = links_reconfigure(app, app->conf, app->conf);
        if (r < 0)
                log_error(&(struct log_fields){ .error = -r }, "broker: the gateway is not linked to it: %s",
                          strerror(-r));
}

bool app_broker_reap(struct app *app)
{
        if (!app->broker || !app->broker_deadline_us)
                return false;
        if (links_have_local(app))
                return true;
        if (!app->broker_is_leaving) {
                app->broker_is_leaving = true;
                broker_stop(app->broker);
        }
        if (!broker_is_silent(app->broker) && loop_now_us(app->loop) < app->broker_deadline_us)
                return true;
        app_broker_free(app);
        if (app->phase == APP_RUNNING && app->conf->broker.on)
                broker_start_again(app);
        return false;
}

void app_broker_free(struct app *app)
{
        app->broker = broker_free(app->broker);
        app->broker_deadline_us = 0;
        app->broker_is_leaving = false;
}
