/* SPDX-License-Identifier: MIT */
/*
 * Register files: devices described address by address, for those who have no configuration yet.
 *
 *   unit 10
 *   holding 0 = 215                                 # a number, -32768..65535
 *   holding 10..59 = address
 *   input 3 float32 CDAB = sine 0..100 period 60
 *   holding 60 string 16 ro = "hello"
 *   coil 2 = 1
 */
#ifndef MBSIM_REGFILE_H
#define MBSIM_REGFILE_H

#include <stdio.h>

#include "map.h"
#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"

/* The reference sensor of mbgate's documentation, as a register file. */
extern const char regfile_reference[];

/*
 * Adds what stands in a file to a map. 0; −EINVAL with "NAME:LINE: error: …" in *error; −errno of the stream.
 * The caller seals the map.
 */
MUST_CHECK int regfile_load(FILE *file, const char *name, struct map *map, struct buf *error);

#endif
