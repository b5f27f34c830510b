/* SPDX-License-Identifier: MIT */
/* How long characters take on a serial line (Modbus over serial line 1.02 §2.5.1). Pure. */
#ifndef MBSIM_PACE_H
#define MBSIM_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

struct pace {
        uint32_t baud;
        unsigned char_bits; /* start, data, parity and stop bits */
        char format[4];     /* "8E1" */
        bool on;            /* false: characters take no time, gaps are still those of the baud rate */
};

/* Sets format and char_bits from "8E1": 7 or 8 data bits, N E O, 1 or 2 stop bits. 0 or −EINVAL. */
MUST_CHECK int pace_set_format(struct pace *p, const char *format);

/* Wire time of n characters, rounded up. */
uint64_t pace_chars_ns(const struct pace *p, size_t n_chars);

/* The time they are given here: 0 when pacing is off. */
uint64_t pace_wire_ns(const struct pace *p, size_t n_chars);

/* The silence that must stand between frames: 3.5 characters, above 19200 Bd 1.75 ms. */
uint64_t pace_t35_ns(const struct pace *p);

/* "800ms", "2s", "150us", "2m", "5" (then in `unit_ns`) → ns. 0 or −EINVAL. `len_bytes` of text. */
MUST_CHECK int pace_parse_time(const char *text, size_t len_bytes, uint64_t unit_ns, uint64_t *ret_ns);

/* "5" or "5..8" (both ends inclusive), each a time. 0 or −EINVAL: unreadable, or the first above the second.
 */
MUST_CHECK int pace_parse_time_range(const char *text, uint64_t unit_ns, uint64_t *ret_min_ns,
                                     uint64_t *ret_max_ns);

#endif
