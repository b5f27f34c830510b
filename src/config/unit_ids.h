/* SPDX-License-Identifier: MIT */
/* Lists of unit ids as people write them: "1,2,5-18". Pure. */
#ifndef MBGATE_CONFIG_UNIT_IDS_H
#define MBGATE_CONFIG_UNIT_IDS_H

#include <stdbool.h>
#include <stdint.h>

struct unit_ids {
        uint8_t ids[256];
        unsigned n;
};

/* False, with *ret untouched: not such a list, empty, a number above 255, or one that comes twice. */
bool unit_ids_parse(const char *text, struct unit_ids *ret);

#endif
