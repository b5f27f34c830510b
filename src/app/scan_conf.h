/* SPDX-License-Identifier: MIT */
/* The configuration that a scan ends with: works as it is, and says in comments what was seen. */
#ifndef MBGATE_APP_SCAN_CONF_H
#define MBGATE_APP_SCAN_CONF_H

#include <stdio.h>

#include "scan_device.h"

/*
 * Prints one bus for each setting at which devices were found, the first of them enabled. `port`: the name to
 * write, see scan_conf_stable_port(). `devices` in any order.
 */
void scan_conf_print(const char *port, enum conf_direction direction, const struct scan_plan *plan,
                     const struct scan_device *devices, size_t n, FILE *out);

/*
 * A name of a serial device that stays when adapters are plugged in another order: of /dev/serial/by-id, or
 * by-path for those without a serial number; else `port` itself. `folder` is /dev/serial.
 */
void scan_conf_stable_port(const char *port, const char *folder, char *ret, size_t size);

#endif
