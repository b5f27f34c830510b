/* SPDX-License-Identifier: MIT */
/*
 * Where a broker's name leads: its addresses, in the order in which they should be tried. Owned by the link's
 * thread.
 */
#ifndef MBGATE_CLIENT_TARGETS_H
#define MBGATE_CLIENT_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#define TARGETS_MAX        8
#define TARGET_HOST_BYTES  256
#define TARGETS_TEXT_BYTES 160

struct target {
        char host[TARGET_HOST_BYTES]; /* what libmosquitto is given: an address, or with TLS the name */
        const char *bind;             /* "0.0.0.0" or "::": holds it to one family; or NULL */
};

struct targets {
        struct target list[TARGETS_MAX];
        size_t n;
};

/*
 * Asks the resolver: blocks, for minutes if need be. For TLS the name itself has to be handed on, since the
 * certificate is compared with it; then there is one target for each address family. 0, or −EHOSTUNREACH
 * with the resolver's words in `ret_text`.
 */
MUST_CHECK int targets_resolve(const char *host, bool is_tls, struct targets *ret,
                               char ret_text[TARGETS_TEXT_BYTES]);

#endif
