/* SPDX-License-Identifier: MIT */
/*
 * mbgated --scan: finds speed, format and unit ids on an unknown line, says who answers and prints a ready
 * configuration; mbgated --dump: one device's registers in every interpretation. Neither ever writes. The
 * configuration or the table goes to `out`, all else to `err`.
 *
 *   listen ─► ask, likely guesses first ─► all units at the setting that answered ─► who are you? ─► print
 */
#ifndef MBGATE_APP_SCAN_H
#define MBGATE_APP_SCAN_H

#include <stdio.h>

#include "scan_options.h"

/*
 * An exit code: 0; EX_UNAVAILABLE nobody answered; EX_TEMPFAIL another master speaks on the line; EX_NOINPUT
 * the port cannot be opened; EX_USAGE no such port can be; EX_IOERR it was lost; EX_OSERR; 130 stopped by
 * SIGINT or SIGTERM, after what was found has been printed.
 */
MUST_CHECK int scan_run(const struct scan_options *o, FILE *out, FILE *err);

#endif
