/* SPDX-License-Identifier: MIT */
/* The command line of mbsim. Strings are borrowed from argv. */
#ifndef MBSIM_OPTIONS_H
#define MBSIM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "from_conf.h"
#include "mbgate/base/macros.h"

#define OPTIONS_LIST_MAX 256

struct options_list {
        const char *items[OPTIONS_LIST_MAX];
        unsigned n;
};

struct options {
        const char *config;    /* NULL unless given; exactly one of these three */
        const char *registers; /* a register file */
        bool reference;
        const char *template_dir;
        const char *bus;
        const char *link, *link_dir, *tcp, *rtu_tcp;
        enum from_conf_values values;
        struct options_list sets, faults;
        bool sparse_ok;
        uint32_t baud;      /* 0: the configuration's */
        const char *format; /* NULL: the configuration's */
        int pace;           /* −1: on for pseudo-terminals, off for TCP */
        bool has_turnaround;
        uint64_t turnaround_min_ns, turnaround_max_ns;
        uint32_t chunk;
        uint32_t spin_us;
        double speed;
        uint64_t seed;
        bool garble;
        bool strict;
        bool exact;
        const char *control, *log, *csv, *stats;
        double for_s; /* 0: until a signal */
};

enum options_result {
        OPTIONS_HELP = 1, /* --help or --version has been printed */
        OPTIONS_BAD,      /* what is wrong has been printed */
};

/* 0, or OPTIONS_HELP, OPTIONS_BAD. */
MUST_CHECK int options_parse(int argc, char **argv, struct options *ret);

#endif
