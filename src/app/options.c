/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <string.h>

#include "options.h"

enum {
        OPT_CHECK = 256,
        OPT_HASH,
        OPT_TEMPLATES,
        OPT_LOG_LEVEL,
        OPT_LOG_TARGET,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "config", required_argument, NULL, 'c' },
        { "check-config", required_argument, NULL, OPT_CHECK },
        { "hash-password", required_argument, NULL, OPT_HASH },
        { "template-dir", required_argument, NULL, OPT_TEMPLATES },
        { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
        { "log-target", required_argument, NULL, OPT_LOG_TARGET },
        { 0 },
};

static void print_help(FILE *out)
{
        (void)fputs("Usage: mbgated [OPTION...] [FILE]\n"
                    "       mbgated --check-config FILE\n"
                    "       mbgated --hash-password USER >> FILE\n"
                    "\n"
                    "Carries values between Modbus devices and MQTT brokers, until SIGTERM.\n"
                    "\n"
                    "  -c, --config FILE        the configuration; default " MBGATE_CONFIG_FILE "\n"
                    "      --check-config FILE  print every error, or the effective configuration and the\n"
                    "                           load of each line; exit with 0 or 78\n"
                    "      --hash-password USER ask for a password, and print the line of the broker's\n"
                    "                           password_file for it\n"
                    "      --template-dir DIR   where device templates are; default\n"
                    "                           " MBGATE_TEMPLATE_DIR "\n"
                    "      --log-level LEVEL    error, warning, notice, info or debug; default: the\n"
                    "                           configuration's\n"
                    "      --log-target WHERE   auto, stderr or journal; default auto\n"
                    "  -h, --help               this text\n"
                    "  -V, --version            the version\n"
                    "\n"
                    "SIGHUP reloads the configuration; what did not change goes on undisturbed.\n"
                    "More: mbgated(8), mbgated.conf(5)\n",
                    out);
}

static enum options_result set_file(struct options *o, const char *file, FILE *err)
{
        if (o->config_file) {
                (void)fprintf(err, "mbgated: more than one configuration: \"%s\" and \"%s\"\n",
                              o->config_file, file);
                return OPTIONS_WRONG;
        }
        o->config_file = file;
        return OPTIONS_RUN;
}

static enum options_result set_level(struct options *o, const char *text, FILE *err)
{
        if (log_level_parse(text, &o->log_level) < 0) {
                (void)fprintf(err,
                              "mbgated: --log-level \"%s\": not one of error, warning, notice, info, debug\n",
                              text);
                return OPTIONS_WRONG;
        }
        o->has_log_level = true;
        return OPTIONS_RUN;
}

static enum options_result set_target(struct options *o, const char *text, FILE *err)
{
        static const char *const names[] = {
                [LOG_TARGET_AUTO] = "auto",
                [LOG_TARGET_STDERR] = "stderr",
                [LOG_TARGET_JOURNAL] = "journal",
        };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(text, names[i]) == 0) {
                        o->log_target = (enum log_target)i;
                        return OPTIONS_RUN;
                }
        }
        (void)fprintf(err, "mbgated: --log-target \"%s\": not one of auto, stderr, journal\n", text);
        return OPTIONS_WRONG;
}

static enum options_result print_version(FILE *out)
{
        (void)fputs("mbgated " MBGATE_VERSION "\n", out);
        return OPTIONS_DONE;
}

static enum options_result take(struct options *o, int key, const char *argument, FILE *out, FILE *err)
{
        switch (key) {
        case 'h': print_help(out); return OPTIONS_DONE;
        case 'V': return print_version(out);
        case 'c': return set_file(o, argument, err);
        case OPT_CHECK: o->check_config = true; return set_file(o, argument, err);
        case OPT_HASH: o->hash_user = argument; return OPTIONS_RUN;
        case OPT_TEMPLATES: o->template_dir = argument; return OPTIONS_RUN;
        case OPT_LOG_LEVEL: return set_level(o, argument, err);
        case OPT_LOG_TARGET: return set_target(o, argument, err);
        }
        return OPTIONS_WRONG;
}

enum options_result options_parse(int argc, char *argv[], FILE *out, FILE *err, struct options *ret_options)
{
        struct options o = { .log_target = LOG_TARGET_AUTO, .log_level = LOG_LEVEL_INFO };
        enum options_result r = OPTIONS_RUN;
        int key;

        optind = 0; /* begins anew: getopt_long(3), notes */
        opterr = 0;
        while (r == OPTIONS_RUN && (key = getopt_long(argc, argv, ":hVc:", long_options, NULL)) != -1) {
                if (key != '?' && key != ':') {
                        r = take(&o, key, optarg, out, err);
                        continue;
                }
                (void)fprintf(err, "mbgated: %s: %s\n", argv[optind - 1],
                              key == '?' ? "unknown option; see mbgated --help" : "an argument is missing");
                return OPTIONS_WRONG;
        }
        for (; r == OPTIONS_RUN && optind < argc; optind++)
                r = set_file(&o, argv[optind], err);
        if (r != OPTIONS_RUN)
                return r;
        if (!o.config_file)
                o.config_file = MBGATE_CONFIG_FILE;
        *ret_options = o;
        return OPTIONS_RUN;
}
