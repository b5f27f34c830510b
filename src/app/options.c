/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <string.h>

#include "options.h"

enum {
        OPT_CHECK = 256,
        OPT_HASH,
        OPT_TEMPLATES,
        OPT_CONTROL,
        OPT_LOG_LEVEL,
        OPT_LOG_TARGET,
        OPT_SCAN,
        OPT_DUMP,
        OPT_SPEEDS,
        OPT_FORMATS,
        OPT_UNITS,
        OPT_REPLY_TIMEOUT,
        OPT_DIRECTION,
        OPT_ALL_SETTINGS,
        OPT_REGISTERS,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "config", required_argument, NULL, 'c' },
        { "check-config", required_argument, NULL, OPT_CHECK },
        { "hash-password", required_argument, NULL, OPT_HASH },
        { "template-dir", required_argument, NULL, OPT_TEMPLATES },
        { "control", required_argument, NULL, OPT_CONTROL },
        { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
        { "log-target", required_argument, NULL, OPT_LOG_TARGET },
        { "scan", required_argument, NULL, OPT_SCAN },
        { "dump", required_argument, NULL, OPT_DUMP },
        { "speeds", required_argument, NULL, OPT_SPEEDS },
        { "formats", required_argument, NULL, OPT_FORMATS },
        { "units", required_argument, NULL, OPT_UNITS },
        { "direction", required_argument, NULL, OPT_DIRECTION },
        { "reply-timeout", required_argument, NULL, OPT_REPLY_TIMEOUT },
        { "all-settings", no_argument, NULL, OPT_ALL_SETTINGS },
        { "registers", required_argument, NULL, OPT_REGISTERS },
        { 0 },
};

static void print_help(FILE *out)
{
        (void)fputs(
                "Usage: mbgated [OPTION...] [FILE]\n"
                "       mbgated --check-config FILE\n"
                "       mbgated --hash-password USER >> FILE\n"
                "       mbgated --scan PORT > FILE\n"
                "       mbgated --dump PORT --units N [--speeds N] [--formats 8E1] [--registers LIST]\n"
                "\n"
                "Carries values between Modbus devices and MQTT brokers, until SIGTERM.\n"
                "\n"
                "  -c, --config FILE        the configuration; default " MBGATE_CONFIG_FILE "\n"
                "      --check-config FILE  print every error, or the effective configuration and the\n"
                "                           load of each line; exit with 0 or 78\n"
                "      --hash-password USER ask for a password, and print the line of the broker's\n"
                "                           password_file for it\n"
                "      --template-dir DIR   where else device templates are, before\n"
                "                           " MBGATE_TEMPLATE_DIR "\n"
                "      --control PATH       the socket for mbgatectl(1); default control in the service\n"
                "                           manager's $RUNTIME_DIRECTORY, else none; \"\": none\n"
                "      --log-level LEVEL    error, warning, notice, info or debug; default: the\n"
                "                           configuration's\n"
                "      --log-target WHERE   auto, stderr or journal; default auto\n"
                "      --scan PORT          find speed, format and devices of a line (/dev/ttyUSB0) or a\n"
                "                           gateway (tcp://HOST:PORT), and print a configuration for it;\n"
                "                           nothing is ever written to a device\n"
                "      --dump PORT          read one device and print its registers in every type and order\n"
                "      --speeds LIST        of --scan and --dump: 9600,19200\n"
                "      --formats LIST       the same: 8N1,8E1\n"
                "      --units LIST         the same: 1-20,30; default: 1-247\n"
                "      --direction WHO      the same: auto, kernel, rts or none turns the RS-485 driver\n"
                "                           round\n"
                "      --reply-timeout MS   of each question of --scan; default 120, on TCP 1000\n"
                "      --all-settings       go on with other speeds and formats when a device was found\n"
                "      --registers RANGE    of --dump: holding:0-19 (the default), input:0x100-0x11F,\n"
                "                           coil:0-63, discrete:3\n"
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

static enum options_result set_scan_port(struct options *o, const char *port, bool is_dump, FILE *err)
{
        if (o->scan.port) {
                (void)fprintf(err, "mbgated: --scan and --dump take one port: \"%s\" or \"%s\"\n",
                              o->scan.port, port);
                return OPTIONS_WRONG;
        }
        o->scan.port = port;
        o->scan.is_dump = is_dump;
        return OPTIONS_RUN;
}

static enum options_result set_scan_list(struct options *o, int key, const char *text, FILE *err)
{
        static const struct {
                int key;
                int (*set)(struct scan_options *o, const char *text);
                const char *name, *remedy;
        } lists[] = {
                { OPT_SPEEDS, scan_options_speeds, "speeds", "give numbers such as 9600,19200" },
                { OPT_FORMATS, scan_options_formats, "formats", "give 8N1, 8E1, 8O1, 8N2 and the like" },
                { OPT_UNITS, scan_options_units, "units", "give numbers from 1 to 247 such as 1-20,30" },
                { OPT_DIRECTION, scan_options_direction, "direction", "not one of auto, kernel, rts, none" },
                { OPT_REPLY_TIMEOUT, scan_options_timeout, "reply-timeout", "give 5 to 10000 ms" },
                { OPT_REGISTERS, scan_options_registers, "registers",
                  "give a range such as holding:0-19, input:0x100, coil:0-63; at most 2000" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
                if (lists[i].key != key)
                        continue;
                if (lists[i].set(&o->scan, text) == 0)
                        return OPTIONS_RUN;
                (void)fprintf(err, "mbgated: --%s \"%s\": %s\n", lists[i].name, text, lists[i].remedy);
        }
        return OPTIONS_WRONG;
}

/* What goes together is only known at the end. */
static enum options_result check_scan(struct options *o, FILE *err)
{
        const char *wrong = scan_options_wrong(&o->scan);

        o->scan.template_dirs[0] = MBGATE_OWN_TEMPLATE_DIR;
        o->scan.template_dirs[1] = o->template_dir;
        o->scan.template_dirs[2] = MBGATE_TEMPLATE_DIR;
        if (!wrong && o->scan.port && o->config_file)
                wrong = "--scan and --dump need no configuration";
        if (!wrong)
                return OPTIONS_RUN;
        (void)fprintf(err, "mbgated: %s\n", wrong);
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
        case OPT_CONTROL: o->control_path = argument; return OPTIONS_RUN;
        case OPT_LOG_LEVEL: return set_level(o, argument, err);
        case OPT_LOG_TARGET: return set_target(o, argument, err);
        case OPT_SCAN:
        case OPT_DUMP: return set_scan_port(o, argument, key == OPT_DUMP, err);
        case OPT_ALL_SETTINGS: o->scan.finds_all = true; return OPTIONS_RUN;
        }
        return set_scan_list(o, key, argument, err);
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
        if (r == OPTIONS_RUN)
                r = check_scan(&o, err);
        if (r != OPTIONS_RUN)
                return r;
        if (!o.config_file)
                o.config_file = MBGATE_CONFIG_FILE;
        *ret_options = o;
        return OPTIONS_RUN;
}
