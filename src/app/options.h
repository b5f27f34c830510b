/* SPDX-License-Identifier: MIT */
/* The command line of mbgated. Main thread, once. */
#ifndef MBGATE_APP_OPTIONS_H
#define MBGATE_APP_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "mbgate/base/log.h"

#include "scan_options.h"

enum log_target {
        LOG_TARGET_AUTO, /* the journal if stderr is it */
        LOG_TARGET_STDERR,
        LOG_TARGET_JOURNAL,
};

struct options {
        const char *config_file;
        const char *template_dir; /* NULL: the installed one */
        const char *control_path; /* NULL: where control_default_path() says; "": no control socket */
        bool check_config;
        const char *hash_user;    /* --hash-password; NULL: not asked for */
        struct scan_options scan; /* --scan, --dump */
        bool has_log_level;       /* goes before the configuration's */
        enum log_level log_level;
        enum log_target log_target;
};

/* What the caller has to do now. */
enum options_result {
        OPTIONS_RUN = 0,
        OPTIONS_DONE = 1,  /* --help or --version were printed to `out`: exit 0 */
        OPTIONS_WRONG = 2, /* said on `err`: exit 64 */
};

enum options_result options_parse(int argc, char *argv[], FILE *out, FILE *err, struct options *ret_options);

#endif
