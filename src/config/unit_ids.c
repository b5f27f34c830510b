/* SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "unit_ids.h"

static const char *skip_blanks(const char *p)
{
        while (*p == ' ' || *p == '\t')
                p++;
        return p;
}

/* A number up to 255 and the blanks around it; NULL: there is none. */
static const char *take_id(const char *p, unsigned *ret)
{
        unsigned v = 0;

        p = skip_blanks(p);
        if (*p < '0' || *p > '9')
                return NULL;
        for (; *p >= '0' && *p <= '9'; p++) {
                v = v * 10 + (unsigned)(*p - '0');
                if (v > 255)
                        return NULL;
        }
        *ret = v;
        return skip_blanks(p);
}

static bool add_range(struct unit_ids *ids, bool seen[256], unsigned first, unsigned last)
{
        for (unsigned v = first; v <= last; v++) {
                if (seen[v])
                        return false;
                seen[v] = true;
                ids->ids[ids->n++] = (uint8_t)v;
        }
        return first <= last;
}

bool unit_ids_parse(const char *text, struct unit_ids *ret)
{
        struct unit_ids ids = { .n = 0 };
        bool seen[256] = { false };

        for (const char *p = text;; p++) {
                unsigned first = 0, last;

                p = take_id(p, &first);
                last = first;
                if (p && *p == '-')
                        p = take_id(p + 1, &last);
                if (!p || !add_range(&ids, seen, first, last))
                        return false;
                if (*p == '\0')
                        break;
                if (*p != ',')
                        return false;
        }
        *ret = ids;
        return true;
}
