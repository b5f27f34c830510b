/* SPDX-License-Identifier: MIT */
/* One simulated bus: its devices, its line settings, its faults and its counters. Owned by main. */
#ifndef MBSIM_SIMBUS_H
#define MBSIM_SIMBUS_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "framelog.h"
#include "map.h"
#include "mbgate/base/random.h"
#include "pace.h"
#include "stats.h"

#define SIMBUS_NAME_BYTES 64

struct simbus {
        char name[SIMBUS_NAME_BYTES];
        struct pace pace;
        uint64_t turnaround_min_ns, turnaround_max_ns; /* last character of a request to first of the reply */
        unsigned chunk; /* characters delivered at a time; 0: the whole frame */
        bool strict;    /* requests that break t3.5 are not heard */
        bool exact;     /* nor those at another speed or format (pseudo-terminals) */
        bool garble;    /* who speaks at the same time destroys both */
        struct map *map;
        struct faults faults;
        struct random random;
        struct stats stats;
        struct framelog *log; /* NULL: none */
};

#endif
