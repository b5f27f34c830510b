/* SPDX-License-Identifier: MIT */
/* Lists of numbers as people write them: "0-99,1000". */
#ifndef MBGATE_CONFIG_RANGES_H
#define MBGATE_CONFIG_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/config/conf_share.h"

#include "arena.h"

/* More in one list are refused. */
#define RANGES_MAX 64

/* A number up to `max` with blanks around it. What stands behind it, or NULL: there is none. */
const char *ranges_take_number(const char *text, uint32_t max, uint32_t *ret);

/* "5" or "5-18", rising. What stands behind it, or NULL: it is none. */
const char *ranges_take(const char *text, uint32_t max, struct conf_range *ret);

/* 0; −EINVAL: no such list, or more than RANGES_MAX; −ENOMEM. */
MUST_CHECK int ranges_parse(struct arena *arena, const char *text, uint32_t max, struct conf_ranges *ret);

#endif
