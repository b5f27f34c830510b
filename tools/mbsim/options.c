/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/text.h"
#include "options.h"
#include "pace.h"
#include "simclock.h"

static const char usage_text[] =
        "Usage: mbsim [options] CONFIG\n"
        "       mbsim [options] --registers FILE\n"
        "       mbsim [options] --reference\n"
        "\n"
        "Plays every device of an mbgate configuration, of a register file, or the reference sensor (unit "
        "10),\n"
        "on pseudo-terminals or Modbus TCP, at the pace of the real line. Stops with SIGINT or SIGTERM.\n"
        "\n"
        "Where\n"
        "  -b, --bus NAME          only this bus of the configuration; default: all\n"
        "      --link PATH         name of the pseudo-terminal (one bus); default: the bus's port, or\n"
        "                          /tmp/mbsim-BUS when that is below /dev\n"
        "      --link-dir DIR      name them DIR/BUS\n"
        "      --tcp ADDR:PORT     play on Modbus TCP (one bus); port 0: any\n"
        "      --rtu-tcp ADDR:PORT the same with RTU frames\n"
        "      --template-dir DIR  device templates of the configuration\n"
        "\n"
        "What\n"
        "      --values KIND       plausible (default), address, unit-address, zero\n"
        "      --set POINT=VALUE   DEVICE.POINT or UNIT:AREA:ADDRESS; VALUE is a number, a \"text\", or one "
        "of\n"
        "                          ramp|sine A..B [period S], walk A..B [step X] [every S], random A..B,\n"
        "                          counter [from A] [rate X], toggle [A..B] [period S], raw W..., address,\n"
        "                          unit-address\n"
        "      --sparse-ok         addresses that nobody described read 0 (default: exception 2)\n"
        "\n"
        "How\n"
        "      --baud N, --format 8E1   other line settings than the configuration's (9600 8E1)\n"
        "      --pace, --no-pace   characters take their time; default: on pseudo-terminals only\n"
        "      --turnaround MS     silence between request and reply, 5 (TCP: 0); 5..8: at random\n"
        "      --chunk N           deliver replies N characters at a time, 14; 0: in one piece at their end\n"
        "      --speed FACTOR      everything FACTOR times as fast\n"
        "      --strict            ignore requests that begin less than t3.5 after the last byte\n"
        "      --exact-settings    ignore a master that has set another speed or format\n"
        "      --spin US           meet last bytes by looking at the clock for the last US, 200; 0: never\n"
        "\n"
        "Faults\n"
        "      --fault KIND[:PARAMETER][@SELECTOR,...]\n"
        "                          no-reply, lost-reply, late:800ms, wrong-crc, truncate:N, trickle:20ms,\n"
        "                          noise-before:N, noise-after:N, duplicate, wrong-unit:N, exception:N, "
        "echo,\n"
        "                          hangup-and-return:2s; selectors unit= function= address= bus= p= n= "
        "every=\n"
        "                          max= read write\n"
        "      --seed N            of all that is random, 1\n"
        "      --collision KIND    sequence (default): who comes later waits; garble: both are destroyed\n"
        "\n"
        "Watching and control\n"
        "      --log FILE          every frame with its time; -: standard output\n"
        "      --csv FILE          the same for programs\n"
        "      --stats FILE        counters as JSON at the end\n"
        "      --control PATH      commands over a Unix socket; -: over standard input\n"
        "      --for SECONDS       stop after that time\n"
        "  -h, --help              this text\n"
        "      --version           the version\n"
        "\n"
        "mbsim(1) has the rest: register files, generators, faults, commands, the keys of the JSON.\n";

enum option_id {
        OPTION_BUS = 'b',
        OPTION_HELP = 'h',
        OPTION_REGISTERS = 'r',
        OPTION_LINK = 256,
        OPTION_LINK_DIR,
        OPTION_TCP,
        OPTION_RTU_TCP,
        OPTION_TEMPLATE_DIR,
        OPTION_REFERENCE,
        OPTION_VALUES,
        OPTION_SET,
        OPTION_SPARSE_OK,
        OPTION_BAUD,
        OPTION_FORMAT,
        OPTION_PACE,
        OPTION_NO_PACE,
        OPTION_TURNAROUND,
        OPTION_CHUNK,
        OPTION_SPEED,
        OPTION_STRICT,
        OPTION_EXACT,
        OPTION_SPIN,
        OPTION_FAULT,
        OPTION_SEED,
        OPTION_COLLISION,
        OPTION_LOG,
        OPTION_CSV,
        OPTION_STATS,
        OPTION_CONTROL,
        OPTION_FOR,
        OPTION_VERSION,
};

static const struct option long_options[] = {
        { "bus", required_argument, NULL, OPTION_BUS },
        { "registers", required_argument, NULL, OPTION_REGISTERS },
        { "reference", no_argument, NULL, OPTION_REFERENCE },
        { "link", required_argument, NULL, OPTION_LINK },
        { "link-dir", required_argument, NULL, OPTION_LINK_DIR },
        { "tcp", required_argument, NULL, OPTION_TCP },
        { "rtu-tcp", required_argument, NULL, OPTION_RTU_TCP },
        { "template-dir", required_argument, NULL, OPTION_TEMPLATE_DIR },
        { "values", required_argument, NULL, OPTION_VALUES },
        { "set", required_argument, NULL, OPTION_SET },
        { "sparse-ok", no_argument, NULL, OPTION_SPARSE_OK },
        { "baud", required_argument, NULL, OPTION_BAUD },
        { "format", required_argument, NULL, OPTION_FORMAT },
        { "pace", no_argument, NULL, OPTION_PACE },
        { "no-pace", no_argument, NULL, OPTION_NO_PACE },
        { "turnaround", required_argument, NULL, OPTION_TURNAROUND },
        { "chunk", required_argument, NULL, OPTION_CHUNK },
        { "speed", required_argument, NULL, OPTION_SPEED },
        { "strict", no_argument, NULL, OPTION_STRICT },
        { "exact-settings", no_argument, NULL, OPTION_EXACT },
        { "spin", required_argument, NULL, OPTION_SPIN },
        { "fault", required_argument, NULL, OPTION_FAULT },
        { "seed", required_argument, NULL, OPTION_SEED },
        { "collision", required_argument, NULL, OPTION_COLLISION },
        { "log", required_argument, NULL, OPTION_LOG },
        { "csv", required_argument, NULL, OPTION_CSV },
        { "stats", required_argument, NULL, OPTION_STATS },
        { "control", required_argument, NULL, OPTION_CONTROL },
        { "for", required_argument, NULL, OPTION_FOR },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { NULL, 0, NULL, 0 },
};

static int options_fail(const char *what, const char *value, const char *remedy)
{
        fprintf(stderr, "mbsim: error: --%s %s: %s\n", what, value, remedy);
        return OPTIONS_BAD;
}

static int options_number(const char *what, const char *value, int64_t min, int64_t max, int64_t *ret)
{
        char remedy[80];

        if (text_parse_i64(value, strlen(value), min, max, ret) == 0)
                return 0;
        snprintf(remedy, sizeof(remedy), "give a whole number of %lld to %lld", (long long)min,
                 (long long)max);
        return options_fail(what, value, remedy);
}

static int options_real(const char *what, const char *value, double *ret)
{
        char *end;
        double v = strtod(value, &end);

        if (end != value && *end == '\0' && v > 0 && v <= 1e9) {
                *ret = v;
                return 0;
        }
        return options_fail(what, value, "give a number above 0");
}

static int options_u32(const char *what, const char *value, int64_t min, int64_t max, uint32_t *ret)
{
        int64_t v;
        int r = options_number(what, value, min, max, &v);

        if (r == 0)
                *ret = (uint32_t)v;
        return r;
}

static int options_append(const char *what, const char *value, struct options_list *list)
{
        if (list->n == OPTIONS_LIST_MAX)
                return options_fail(what, value, "given too many times");
        list->items[list->n++] = value;
        return 0;
}

static int options_values(const char *value, enum from_conf_values *ret)
{
        static const char *const names[] = { "plausible", "address", "unit-address", "zero" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(value, names[i]) == 0) {
                        *ret = (enum from_conf_values)i;
                        return 0;
                }
        }
        return options_fail("values", value, "there are plausible, address, unit-address and zero");
}

static int options_turnaround(const char *value, struct options *o)
{
        if (pace_parse_time_range(value, NS_PER_MS, &o->turnaround_min_ns, &o->turnaround_max_ns) < 0)
                return options_fail("turnaround", value, "give milliseconds, or a range such as 5..8");
        o->has_turnaround = true;
        return 0;
}

static int options_seed(const char *value, struct options *o)
{
        int64_t seed;
        int r = options_number("seed", value, 0, INT64_MAX, &seed);

        if (r == 0)
                o->seed = (uint64_t)seed;
        return r;
}

static int options_format(const char *value, struct options *o)
{
        struct pace p;

        if (pace_set_format(&p, value) < 0)
                return options_fail("format", value,
                                    "give data bits, parity and stop bits, such as 8E1 or 8N2");
        o->format = value;
        return 0;
}

static int options_collision(const char *value, struct options *o)
{
        o->garble = strcmp(value, "garble") == 0;
        if (o->garble || strcmp(value, "sequence") == 0)
                return 0;
        return options_fail("collision", value, "there are sequence and garble");
}

static int options_print(const char *text)
{
        fputs(text, stdout);
        return OPTIONS_HELP;
}

/* Options that are a word or a flag. */
static bool options_take_simple(int id, const char *value, struct options *o)
{
        switch (id) {
        case OPTION_BUS: o->bus = value; break;
        case OPTION_REGISTERS: o->registers = value; break;
        case OPTION_REFERENCE: o->reference = true; break;
        case OPTION_LINK: o->link = value; break;
        case OPTION_LINK_DIR: o->link_dir = value; break;
        case OPTION_TCP: o->tcp = value; break;
        case OPTION_RTU_TCP: o->rtu_tcp = value; break;
        case OPTION_TEMPLATE_DIR: o->template_dir = value; break;
        case OPTION_SPARSE_OK: o->sparse_ok = true; break;
        case OPTION_PACE: o->pace = 1; break;
        case OPTION_NO_PACE: o->pace = 0; break;
        case OPTION_STRICT: o->strict = true; break;
        case OPTION_EXACT: o->exact = true; break;
        case OPTION_LOG: o->log = value; break;
        case OPTION_CSV: o->csv = value; break;
        case OPTION_STATS: o->stats = value; break;
        case OPTION_CONTROL: o->control = value; break;
        default: return false;
        }
        return true;
}

static int options_take(int id, const char *value, struct options *o)
{
        if (options_take_simple(id, value, o))
                return 0;
        switch (id) {
        case OPTION_VALUES: return options_values(value, &o->values);
        case OPTION_SET: return options_append("set", value, &o->sets);
        case OPTION_BAUD: return options_u32("baud", value, 50, 4000000, &o->baud);
        case OPTION_FORMAT: return options_format(value, o);
        case OPTION_TURNAROUND: return options_turnaround(value, o);
        case OPTION_CHUNK: return options_u32("chunk", value, 0, 512, &o->chunk);
        case OPTION_SPEED: return options_real("speed", value, &o->speed);
        case OPTION_SPIN: return options_u32("spin", value, 0, 10000, &o->spin_us);
        case OPTION_FAULT: return options_append("fault", value, &o->faults);
        case OPTION_SEED: return options_seed(value, o);
        case OPTION_COLLISION: return options_collision(value, o);
        case OPTION_FOR: return options_real("for", value, &o->for_s);
        case OPTION_HELP: return options_print(usage_text);
        case OPTION_VERSION: return options_print("mbsim " MBSIM_VERSION "\n");
        default: fputs("mbsim: mbsim --help lists the options\n", stderr); return OPTIONS_BAD;
        }
}

static int options_check(const struct options *o)
{
        const char *error = NULL;

        if ((o->config != NULL) + (o->registers != NULL) + o->reference != 1)
                error = "name one thing to play: a configuration, --registers FILE or --reference";
        else if ((o->link != NULL) + (o->link_dir != NULL) + (o->tcp != NULL) + (o->rtu_tcp != NULL) > 1)
                error = "--link, --link-dir, --tcp and --rtu-tcp exclude each other";
        if (!error)
                return 0;
        fprintf(stderr, "mbsim: error: %s\n", error);
        return OPTIONS_BAD;
}

int options_parse(int argc, char **argv, struct options *ret)
{
        struct options o = { .pace = -1, .chunk = 14, .spin_us = 200, .speed = 1, .seed = 1 };
        int id;

        while ((id = getopt_long(argc, argv, "b:r:h", long_options, NULL)) != -1) {
                int r = options_take(id, optarg, &o);

                if (r != 0)
                        return r;
        }
        if (optind < argc)
                o.config = argv[optind++];
        if (optind < argc) {
                fprintf(stderr, "mbsim: error: \"%s\": only one configuration can be played\n", argv[optind]);
                return OPTIONS_BAD;
        }
        if (options_check(&o) != 0)
                return OPTIONS_BAD;
        *ret = o;
        return 0;
}
