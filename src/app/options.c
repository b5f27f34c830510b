/* SPDX-License-Identifier: MIT */
#include <getopt.h>

#include "mbgate/app/options.h"

enum {
        OPT_CHECK = 256,
        OPT_LOG_LEVEL,
        OPT_LOG_TARGET,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "config", required_argument, NULL, 'c' },
        { "check-config", required_argument, NULL, OPT_CHECK },
        { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
        { "log-target", required_argument, NULL, OPT_LOG_TARGET },
        { 0 },
};

void options_print_help(FILE *out)
{
        (void)fputs("Usage: mbgated [OPTION...] [FILE]\n"
                    "       mbgated --check-config FILE\n"
                    "\n"
                    "Carries values between Modbus devices and MQTT brokers, until SIGTERM.\n"
                    "\n"
                    "  -c, --config FILE        the configuration; default " MBGATE_CONFIG_FILE "\n"
                    "      --check-config FILE  print every error, or the effective configuration and the\n"
                    "                           load of each line; exit with 0 or 78\n"
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

static int options_set_file(struct options *o, const char *file, FILE *err)
{
        if (o->file) {
                (void)fprintf(err, "mbgated: more than one configuration: \"%s\" and \"%s\"\n", o->file,
                              file);
                return OPTIONS_E_USAGE;
        }
        o->file = file;
        return 0;
}

static int options_set_level(struct options *o, const char *text, FILE *err)
{
        if (log_level_parse(text, &o->log_level) < 0) {
                (void)fprintf(err,
                              "mbgated: --log-level \"%s\": not one of error, warning, notice, info, debug\n",
                              text);
                return OPTIONS_E_USAGE;
        }
        o->has_log_level = true;
        return 0;
}

static int options_set_target(struct options *o, const char *text, FILE *err)
{
        if (journal_target_parse(text, &o->log_target) == 0)
                return 0;
        (void)fprintf(err, "mbgated: --log-target \"%s\": not one of auto, stderr, journal\n", text);
        return OPTIONS_E_USAGE;
}

static int options_take(struct options *o, int key, const char *argument, FILE *err)
{
        switch (key) {
        case 'h': o->action = OPTIONS_HELP; return 0;
        case 'V': o->action = OPTIONS_VERSION; return 0;
        case 'c': return options_set_file(o, argument, err);
        case OPT_CHECK: o->action = OPTIONS_CHECK_CONFIG; return options_set_file(o, argument, err);
        case OPT_LOG_LEVEL: return options_set_level(o, argument, err);
        case OPT_LOG_TARGET: return options_set_target(o, argument, err);
        }
        return OPTIONS_E_USAGE;
}

int options_parse(int argc, char **argv, FILE *err, struct options *ret_options)
{
        struct options o = { .action = OPTIONS_RUN };
        int key, r;

        optind = 0; /* starts anew: getopt_long(3), notes */
        opterr = 0;
        while ((key = getopt_long(argc, argv, ":hVc:", long_options, NULL)) != -1) {
                if (key == '?' || key == ':') {
                        (void)fprintf(err, "mbgated: %s: %s\n", argv[optind - 1],
                                      key == '?' ? "unknown option" : "an argument is missing");
                        return OPTIONS_E_USAGE;
                }
                r = options_take(&o, key, optarg, err);
                if (r > 0)
                        return r;
                if (o.action == OPTIONS_HELP || o.action == OPTIONS_VERSION)
                        break;
        }
        for (; optind < argc && o.action != OPTIONS_HELP && o.action != OPTIONS_VERSION; optind++) {
                r = options_set_file(&o, argv[optind], err);
                if (r > 0)
                        return r;
        }
        if (!o.file)
                o.file = MBGATE_CONFIG_FILE;
        *ret_options = o;
        return 0;
}
