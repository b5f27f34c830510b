/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "app.h"

/* Every finding is a line of the log, errors as errors. */
static void reload_log_report(const struct conf_report *report)
{
        for (size_t i = 0; i < report->n_lines; i++) {
                if (strstr(report->lines[i], " error: "))
                        log_error(NULL, "%s", report->lines[i]);
                else
                        log_warn(NULL, "%s", report->lines[i]);
        }
}

/* Nothing has been touched yet when this fails. */
static int reload_load(struct app *app, struct conf **ret_conf)
{
        struct conf_load_options options = { .template_dir = app->options->template_dir };
        struct conf_report report = { .n_lines = 0 };
        int r;

        r = conf_load(app->options->config_file, &options, &report, ret_conf);
        reload_log_report(&report);
        if (r < 0) {
                log_error(NULL, "%s: not taken over, the running configuration stays: %zu error(s)",
                          app->options->config_file, report.n_errors);
        }
        conf_report_done(&report);
        return r;
}

static int reload_apply(struct app *app, struct conf *new)
{
        struct conf *old = app->conf;
        int r, broker;

        broker = app_broker_reconfigure(app, new);
        if (broker < 0) {
                conf_unref(new);
                return broker;
        }
        r = gateway_reconfigure(app->gateway, new);
        if (r < 0) {
                conf_unref(new);
                return r;
        }
        app->conf = new;
        if (app->learned)
                learned_reconfigure(app->learned, new);
        r = buses_reconfigure(app, old, new);
        shares_reconfigure(app);
        if (app_broker_follow(app) < 0)
                broker = BROKER_PARTLY;
        if (r == 0)
                r = links_reconfigure(app, old, new);
        if (r == 0)
                r = app_control_connect(app);
        conf_unref(old);
        return r < 0 ? r : broker;
}

void app_reload(struct app *app)
{
        CLEANUP(conf_unrefp)
        struct conf *new = NULL;
        enum log_level level;
        int r;

        loop_notify(app->loop, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reloading",
                    clock_monotonic_us());
        app->has_old_conf = reload_load(app, &new) < 0;
        if (app->has_old_conf) {
                app_notify_status(app, "READY=1\n");
                return;
        }
        r = reload_apply(app, conf_ref(new));
        app->has_old_conf = app->conf != new;
        if (r < 0)
                log_error(&(struct log_fields){ .error = -r }, "reload: %s%s",
                          app->has_old_conf ? "not taken over, the running configuration stays: " : "",
                          strerror(-r));
        else if (r == BROKER_PARTLY)
                log_error(NULL, "%s: taken over, but not all of the broker", app->options->config_file);
        else
                log_info(NULL, "%s: taken over", app->options->config_file);
        if (!app->options->has_log_level && log_level_parse(app->conf->gateway.log_level, &level) == 0)
                log_set_level(level);
        app_notify_status(app, "READY=1\n");
}
