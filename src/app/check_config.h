/* SPDX-License-Identifier: MIT */
/* What `mbgated --check-config` prints for an installer, before the first byte is sent. */
#ifndef MBGATE_APP_CHECK_CONFIG_H
#define MBGATE_APP_CHECK_CONFIG_H

#include <stdio.h>

#include "mbgate/config/conf.h"

/*
 * The effective configuration as loadable text, and behind it, as comments, for each bus the requests that
 * the planner made, the wire time of a full round, and the load against the intervals asked for. An
 * overloaded bus is named on `err` too, with the device to slow down. −errno, −ENOMEM.
 */
MUST_CHECK int check_config_print(const struct conf *conf, FILE *out, FILE *err);

#endif
