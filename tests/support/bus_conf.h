/* SPDX-License-Identifier: MIT */
/* A configuration of one bus made by hand, for tests of the bus layer. Lives as long as its holder. */
#ifndef MBGATE_TESTS_BUS_CONF_H
#define MBGATE_TESTS_BUS_CONF_H

#include "mbgate/config/conf.h"

#define BUS_CONF_DEVICES 16
#define BUS_CONF_POINTS  256

struct bus_conf {
        struct conf conf;
        struct conf_bus bus;
        struct conf_device devices[BUS_CONF_DEVICES];
        struct conf_point points[BUS_CONF_POINTS]; /* by id; a device's are consecutive */
        const struct conf_point *by_id[BUS_CONF_POINTS];
        char names[BUS_CONF_POINTS][8];
        char device_names[BUS_CONF_DEVICES][8];
};

/* A serial bus of 9600 8E1 at `port` without devices. */
void bus_conf_init(struct bus_conf *c, const char *port);

/* Adds a device, named "d<unit>"; points added from now on are its. */
struct conf_device *bus_conf_device(struct bus_conf *c, uint8_t unit, uint32_t timeout_ms, uint32_t retries);

/* Adds a point of `n_regs` registers (1: uint16, 2: uint32, 4: uint64), named "p<id>", writable by 6 or 16.
 */
struct conf_point *bus_conf_point(struct bus_conf *c, enum conf_area area, uint16_t address, unsigned n_regs,
                                  uint32_t interval_ms);

#endif
