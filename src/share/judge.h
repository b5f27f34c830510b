/* SPDX-License-Identifier: MIT */
/* What the configuration says to masters and their requests. Pure. */
#ifndef MBGATE_SHARE_JUDGE_H
#define MBGATE_SHARE_JUDGE_H

#include "mbgate/config/conf.h"

/* Whether anybody may come in from an address (IPv6, or IPv4 as ::ffff:0:0/96). */
bool judge_address(const struct conf_share *share, const uint8_t address[16]);

/*
 * 0: the request may go to the line; else the exception to answer it with. `unit` as the master calls it.
 */
unsigned judge_request(const struct conf_bus *bus, const uint8_t address[16], uint8_t unit,
                       const struct pdu *request);

#endif
