/* SPDX-License-Identifier: MIT */
/* From an mbgate configuration to simulated devices, with plausible values. */
#ifndef MBSIM_FROM_CONF_H
#define MBSIM_FROM_CONF_H

#include "map.h"
#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"

enum from_conf_values {
        FROM_CONF_PLAUSIBLE,    /* by unit and type */
        FROM_CONF_ADDRESS,      /* every register holds its address */
        FROM_CONF_UNIT_ADDRESS, /* and its unit */
        FROM_CONF_ZERO,
};

/*
 * Adds the devices of a bus to a map; points are named "device.point". The map borrows from the
 * configuration. −ENOMEM, −EINVAL: a point beyond address 65535.
 */
MUST_CHECK int from_conf(const struct conf_bus *bus, enum from_conf_values values, struct map *map);

/* The generator text that a point gets. */
void from_conf_generator(const struct conf_point *point, char *text, size_t size_bytes);

#endif
