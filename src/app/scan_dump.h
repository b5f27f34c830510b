/* SPDX-License-Identifier: MIT */
/*
 * One device's registers in every interpretation, types × orders, to find out what they are: as a table with
 * a block for each register, where what looks like a measurement is marked. Pure but for the stream.
 */
#ifndef MBGATE_APP_SCAN_DUMP_H
#define MBGATE_APP_SCAN_DUMP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "mbgate/config/conf.h"

/* A register, coil or discrete input that was asked for. */
struct scan_cell {
        uint16_t value;
        uint8_t exception; /* 0: there is a value */
        bool is_silent;    /* no answer */
};

/*
 * `cells` begin at `address`. For registers: each with its 16-bit numbers, and those of 32 and 64 bits that
 * begin there; behind them the whole as texts, if there are any. For coils and discrete inputs: the bits.
 */
void scan_dump_print(enum conf_area area, uint16_t address, const struct scan_cell *cells, size_t n,
                     FILE *out);

/* Whether a real number has the size of a measurement: then it is marked with a '*'. */
bool scan_dump_is_likely(double v);

#endif
