/* SPDX-License-Identifier: MIT */
/* What is asked of --scan and --dump. Lists of the command line; empty: the default. */
#ifndef MBGATE_APP_SCAN_OPTIONS_H
#define MBGATE_APP_SCAN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"

#define SCAN_SPEEDS_MAX  16
#define SCAN_FORMATS_MAX 6
#define SCAN_UNITS_MAX   247

struct scan_format {
        char parity;       /* 'N', 'E', 'O' */
        uint8_t stop_bits; /* 1, 2 */
};

struct scan_options {
        const char *port; /* NULL: neither was asked for */
        bool is_dump;     /* one device's registers, instead of the whole line */
        bool finds_all;   /* goes on with other settings after the first device was found */
        uint32_t speeds[SCAN_SPEEDS_MAX];
        size_t n_speeds;
        struct scan_format formats[SCAN_FORMATS_MAX];
        size_t n_formats;
        uint8_t units[SCAN_UNITS_MAX];
        size_t n_units;
        uint32_t timeout_ms; /* 0: by the kind of port */
        enum conf_direction direction;
        enum conf_area area; /* --dump */
        uint16_t address, count;
        const char *template_dirs[3]; /* one's own, those of --template-dir (NULL: none), the installed */
};

/* "9600,19200": 300 to 4000000, each once. 0 or −EINVAL, with *o untouched; so do all of these. */
MUST_CHECK int scan_options_speeds(struct scan_options *o, const char *text);

/* "8N1,8E1": RTU has 8 data bits. */
MUST_CHECK int scan_options_formats(struct scan_options *o, const char *text);

/* "1-20,30": 1 to 247. */
MUST_CHECK int scan_options_units(struct scan_options *o, const char *text);

/* 5 to 10000 ms. */
MUST_CHECK int scan_options_timeout(struct scan_options *o, const char *text);

/* "auto", "kernel", "rts", "none", as in a configuration. */
MUST_CHECK int scan_options_direction(struct scan_options *o, const char *text);

/* Its name there. */
const char *scan_direction_name(enum conf_direction direction);

/* "holding:0-19", "input:0x100", "coil:0-99", "discrete:3"; at most 2000. */
MUST_CHECK int scan_options_registers(struct scan_options *o, const char *text);

/* NULL, or what else is missing or too much, for a person. */
const char *scan_options_wrong(const struct scan_options *o);

#endif
