/* SPDX-License-Identifier: MIT */
/* All that one mbsim plays: its buses with their endpoints, and its control connections. Owned by main. */
#ifndef MBSIM_SIM_H
#define MBSIM_SIM_H

#include <stdbool.h>
#include <stddef.h>

#include "endpoint.h"
#include "framelog.h"
#include "loop.h"
#include "simbus.h"

#define SIM_BUSES_MAX 64

struct sim {
        struct loop loop;
        struct framelog log;
        struct simbus *buses[SIM_BUSES_MAX];
        struct endpoint *endpoints[SIM_BUSES_MAX];
        size_t n_buses;
        bool stop;
};

#endif
