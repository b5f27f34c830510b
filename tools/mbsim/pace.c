/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/codec/rtu.h"
#include "pace.h"
#include "simclock.h"

#define TIME_MAX_S 1e6

int pace_set_format(struct pace *p, const char *format)
{
        if (strlen(format) != 3 || (format[0] != '7' && format[0] != '8') || !strchr("NEO", format[1]) ||
            (format[2] != '1' && format[2] != '2'))
                return -EINVAL;
        p->char_bits = 1u + (unsigned)(format[0] - '0') + (format[1] != 'N') + (unsigned)(format[2] - '0');
        memcpy(p->format, format, sizeof(p->format));
        return 0;
}

uint64_t pace_chars_ns(const struct pace *p, size_t n_chars)
{
        return ((uint64_t)n_chars * p->char_bits * NS_PER_S + p->baud - 1) / p->baud;
}

uint64_t pace_wire_ns(const struct pace *p, size_t n_chars)
{
        return p->on ? pace_chars_ns(p, n_chars) : 0;
}

uint64_t pace_t35_ns(const struct pace *p)
{
        return rtu_t35_us(p->baud) * NS_PER_US;
}

static int pace_time_unit(const char *suffix, uint64_t unit_ns, double *ret)
{
        static const struct {
                const char *name;
                double ns;
        } units[] = { { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 } };

        if (suffix[0] == '\0') {
                *ret = (double)unit_ns;
                return 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
                if (strcmp(suffix, units[i].name) == 0) {
                        *ret = units[i].ns;
                        return 0;
                }
        }
        return -EINVAL;
}

int pace_parse_time(const char *text, size_t len_bytes, uint64_t unit_ns, uint64_t *ret_ns)
{
        char copy[32];
        char *end;
        double v, unit;

        if (len_bytes == 0 || len_bytes >= sizeof(copy) || text[0] < '.' || text[0] > '9')
                return -EINVAL;
        memcpy(copy, text, len_bytes);
        copy[len_bytes] = '\0';
        v = strtod(copy, &end);
        if (end == copy || pace_time_unit(end, unit_ns, &unit) < 0 || !(v * unit <= TIME_MAX_S * 1e9))
                return -EINVAL;
        *ret_ns = (uint64_t)(v * unit + 0.5);
        return 0;
}

int pace_parse_time_range(const char *text, uint64_t unit_ns, uint64_t *ret_min_ns, uint64_t *ret_max_ns)
{
        const char *dots = strstr(text, "..");
        size_t n_first = dots ? (size_t)(dots - text) : strlen(text);
        uint64_t min, max;

        if (pace_parse_time(text, n_first, unit_ns, &min) < 0)
                return -EINVAL;
        max = min;
        if (dots && pace_parse_time(dots + 2, strlen(dots + 2), unit_ns, &max) < 0)
                return -EINVAL;
        if (min > max)
                return -EINVAL;
        *ret_min_ns = min;
        *ret_max_ns = max;
        return 0;
}
