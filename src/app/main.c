/* SPDX-License-Identifier: MIT */
/* mbgated: the Modbus RTU to MQTT gateway. See mbgated(8). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "app.h"
#include "check_config.h"
#include "check_files.h"
#include "hash_password.h"
#include "journal.h"
#include "scan.h"

static void print_report(const struct conf_report *report)
{
        for (size_t i = 0; i < report->n_lines; i++)
                (void)fprintf(stderr, "%s\n", report->lines[i]);
}

/* All errors at once on stderr: 78. */
static int load_config(const struct options *o, struct conf **ret_conf)
{
        struct conf_load_options load = { .template_dir = o->template_dir };
        struct conf_report report = { .n_lines = 0 };
        int r;

        r = conf_load(o->config_file, &load, &report, ret_conf);
        print_report(&report);
        if (r == 0)
                r = check_files(*ret_conf, stderr);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "mbgated: out of memory\n");
        conf_report_done(&report);
        return r == 0 ? EX_OK : r == -ENOMEM ? EX_OSERR : EX_CONFIG;
}

static int check_config(const struct conf *conf)
{
        int r = check_config_print(conf, stdout, stderr);

        if (r < 0)
                (void)fprintf(stderr, "mbgated: cannot print: %s\n", strerror(-r));
        return r == 0 ? EX_OK : r == -ENOMEM ? EX_OSERR : EX_IOERR;
}

int main(int argc, char *argv[])
{
        CLEANUP(conf_unrefp)
        struct conf *conf = NULL;
        struct options options;
        enum log_level level;
        int code;

        switch (options_parse(argc, argv, stdout, stderr, &options)) {
        case OPTIONS_RUN: break;
        case OPTIONS_DONE: return EX_OK;
        case OPTIONS_WRONG: return EX_USAGE;
        }
        if (options.hash_user)
                return hash_password(options.hash_user, stdin, stdout, stderr);
        if (options.scan.port)
                return scan_run(&options.scan, stdout, stderr);
        (void)umask(077);
        if (!options.check_config)
                app_block_signals();
        code = load_config(&options, &conf);
        if (code != EX_OK)
                return code;
        if (options.check_config)
                return check_config(conf);
        journal_install(options.log_target);
        if (options.has_log_level)
                log_set_level(options.log_level);
        else if (log_level_parse(conf->gateway.log_level, &level) == 0)
                log_set_level(level);
        return app_run(&options, conf);
}
