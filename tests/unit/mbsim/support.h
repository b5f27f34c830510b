/* SPDX-License-Identifier: MIT */
/* A map from the text of a register file. */
#ifndef MBSIM_TEST_SUPPORT_H
#define MBSIM_TEST_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "regfile.h"

static inline int load_text(const char *text, bool sparse_ok, struct buf *error, struct map **ret)
{
        char copy[4096];
        struct map *map = NULL;
        FILE *file;
        int r;

        snprintf(copy, sizeof(copy), "%s", text);
        file = fmemopen(copy, strlen(copy), "r");
        if (!file || map_new(sparse_ok, 1, &map) < 0)
                fail_msg("out of memory");
        r = regfile_load(file, "t", map, error);
        fclose(file);
        map_seal(map);
        if (r < 0)
                map_free(map);
        else
                *ret = map;
        return r;
}

static inline struct map *map_of(const char *text, bool sparse_ok)
{
        char reason[300];
        struct buf error = BUF_ON(reason);
        struct map *map = NULL;

        if (load_text(text, sparse_ok, &error, &map) < 0)
                fail_msg("%s", reason);
        return map;
}

#endif
