/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/text.h"

#include "scan_options.h"

#define SPEED_MIN      300
#define SPEED_MAX      4000000
#define TIMEOUT_MIN_MS 5
#define TIMEOUT_MAX_MS 10000
#define UNIT_MAX       247
#define REGISTERS_MAX  2000

/* The next piece between commas: its length; *text moves behind it. SIZE_MAX at the end. */
static size_t next_item(const char **text, const char **ret_item)
{
        size_t n;

        if (!*text)
                return SIZE_MAX;
        *ret_item = *text;
        n = strcspn(*text, ",");
        *text = (*text)[n] ? *text + n + 1 : NULL;
        return n;
}

int scan_options_speeds(struct scan_options *o, const char *text)
{
        uint32_t speeds[SCAN_SPEEDS_MAX];
        size_t n = 0, len;
        const char *item;

        while ((len = next_item(&text, &item)) != SIZE_MAX) {
                int64_t v;

                if (n == SCAN_SPEEDS_MAX || text_parse_i64(item, len, SPEED_MIN, SPEED_MAX, &v) < 0)
                        return -EINVAL;
                for (size_t i = 0; i < n; i++) {
                        if (speeds[i] == v)
                                return -EINVAL;
                }
                speeds[n++] = (uint32_t)v;
        }
        memcpy(o->speeds, speeds, n * sizeof(*speeds));
        o->n_speeds = n;
        return 0;
}

int scan_options_formats(struct scan_options *o, const char *text)
{
        struct scan_format formats[SCAN_FORMATS_MAX];
        size_t n = 0, len;
        const char *item;

        while ((len = next_item(&text, &item)) != SIZE_MAX) {
                if (n == SCAN_FORMATS_MAX || len != 3 || item[0] != '8' || !memchr("NEO", item[1], 3) ||
                    (item[2] != '1' && item[2] != '2'))
                        return -EINVAL;
                formats[n] = (struct scan_format){ item[1], (uint8_t)(item[2] - '0') };
                for (size_t i = 0; i < n; i++) {
                        if (formats[i].parity == formats[n].parity &&
                            formats[i].stop_bits == formats[n].stop_bits)
                                return -EINVAL;
                }
                n++;
        }
        memcpy(o->formats, formats, n * sizeof(*formats));
        o->n_formats = n;
        return 0;
}

/* "7" or "3-9" in `len` characters. */
static int parse_range(const char *text, size_t len, int64_t min, int64_t max, int64_t *ret_first,
                       int64_t *ret_last)
{
        const char *dash = memchr(text, '-', len);
        size_t n_first = dash ? (size_t)(dash - text) : len;

        if (text_parse_i64(text, n_first, min, max, ret_first) < 0)
                return -EINVAL;
        *ret_last = *ret_first;
        if (dash && text_parse_i64(dash + 1, len - n_first - 1, *ret_first, max, ret_last) < 0)
                return -EINVAL;
        return 0;
}

int scan_options_units(struct scan_options *o, const char *text)
{
        bool seen[UNIT_MAX + 1] = { false };
        uint8_t units[SCAN_UNITS_MAX];
        size_t n = 0, len;
        const char *item;

        while ((len = next_item(&text, &item)) != SIZE_MAX) {
                int64_t first, last;

                if (parse_range(item, len, 1, UNIT_MAX, &first, &last) < 0)
                        return -EINVAL;
                for (int64_t v = first; v <= last; v++) {
                        if (!seen[v])
                                units[n++] = (uint8_t)v;
                        seen[v] = true;
                }
        }
        memcpy(o->units, units, n);
        o->n_units = n;
        return 0;
}

int scan_options_timeout(struct scan_options *o, const char *text)
{
        int64_t v;

        if (text_parse_i64(text, strlen(text), TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, &v) < 0)
                return -EINVAL;
        o->timeout_ms = (uint32_t)v;
        return 0;
}

static const char *const directions[] = {
        [CONF_DIRECTION_AUTO] = "auto",
        [CONF_DIRECTION_KERNEL] = "kernel",
        [CONF_DIRECTION_RTS] = "rts",
        [CONF_DIRECTION_NONE] = "none",
};

int scan_options_direction(struct scan_options *o, const char *text)
{
        for (size_t i = 0; i < ARRAY_SIZE(directions); i++) {
                if (strcmp(directions[i], text) == 0) {
                        o->direction = (enum conf_direction)i;
                        return 0;
                }
        }
        return -EINVAL;
}

const char *scan_direction_name(enum conf_direction direction)
{
        return directions[direction];
}

/* Decimal, or hexadecimal behind 0x. */
static int parse_address(const char *text, char **end, long *ret)
{
        bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        *ret = strtol(text, end, is_hex ? 16 : 10);
        return errno != 0 || *ret > UINT16_MAX ? -EINVAL : 0;
}

int scan_options_registers(struct scan_options *o, const char *text)
{
        static const char *const names[] = {
                [CONF_HOLDING] = "holding:",
                [CONF_INPUT] = "input:",
                [CONF_COIL] = "coil:",
                [CONF_DISCRETE] = "discrete:",
        };
        long first, last;
        char *end;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                size_t n = strlen(names[i]);

                if (strncmp(text, names[i], n) != 0)
                        continue;
                if (parse_address(text + n, &end, &first) < 0)
                        return -EINVAL;
                last = first;
                if (*end == '-' && parse_address(end + 1, &end, &last) < 0)
                        return -EINVAL;
                if (*end || last < first || last - first >= REGISTERS_MAX)
                        return -EINVAL;
                o->area = (enum conf_area)i;
                o->address = (uint16_t)first;
                o->count = (uint16_t)(last - first + 1);
                return 0;
        }
        return -EINVAL;
}

const char *scan_options_wrong(const struct scan_options *o)
{
        bool is_asked = o->n_speeds > 0 || o->n_formats > 0 || o->n_units > 0 || o->timeout_ms > 0 ||
                        o->count > 0 || o->finds_all || o->direction != CONF_DIRECTION_AUTO;

        if (!o->port)
                return is_asked ? "--speeds, --formats, --units, --direction, --reply-timeout, --registers "
                                  "and "
                                  "--all-settings belong to --scan or --dump"
                                : NULL;
        if (!o->is_dump)
                return o->count > 0 ? "--registers belongs to --dump" : NULL;
        if (o->n_units != 1)
                return "--dump needs the unit id of one device: --units 17";
        if (o->n_speeds > 1 || o->n_formats > 1)
                return "--dump needs one speed and one format: --speeds 9600 --formats 8E1";
        return NULL;
}
