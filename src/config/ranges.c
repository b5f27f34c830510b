/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "ranges.h"

static const char *skip_blanks(const char *p)
{
        return p + strspn(p, " \t");
}

const char *ranges_take_number(const char *text, uint32_t max, uint32_t *ret)
{
        const char *p = skip_blanks(text);
        uint64_t v = 0;

        if (*p < '0' || *p > '9')
                return NULL;
        for (; *p >= '0' && *p <= '9'; p++) {
                v = v * 10 + (unsigned)(*p - '0');
                if (v > max)
                        return NULL;
        }
        *ret = (uint32_t)v;
        return skip_blanks(p);
}

const char *ranges_take(const char *text, uint32_t max, struct conf_range *ret)
{
        struct conf_range range = { 0 };
        const char *p = ranges_take_number(text, max, &range.first);

        range.last = range.first;
        if (p && *p == '-')
                p = ranges_take_number(p + 1, max, &range.last);
        if (!p || range.last < range.first)
                return NULL;
        *ret = range;
        return p;
}

int ranges_parse(struct arena *arena, const char *text, uint32_t max, struct conf_ranges *ret)
{
        struct conf_range list[RANGES_MAX];
        size_t n = 0;

        for (const char *p = text;; p++) {
                if (n == RANGES_MAX)
                        return -EINVAL;
                p = ranges_take(p, max, &list[n++]);
                if (!p || (*p != ',' && *p != '\0'))
                        return -EINVAL;
                if (*p == '\0')
                        break;
        }
        ret->list = arena_array(arena, n, sizeof(*ret->list));
        if (!ret->list)
                return -ENOMEM;
        memcpy(ret->list, list, n * sizeof(*list));
        ret->n = n;
        return 0;
}
