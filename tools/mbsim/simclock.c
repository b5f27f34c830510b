/* SPDX-License-Identifier: MIT */
#include "simclock.h"

static uint64_t start_ns;
static uint64_t stall_max_ns;
static double speed = 1.0;

uint64_t simclock_real_ns(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void simclock_start(double factor)
{
        speed = factor;
        start_ns = simclock_real_ns();
}

double simclock_speed(void)
{
        return speed;
}

uint64_t simclock_now_ns(void)
{
        /* exact to 1 ns for 104 days at speed 1 */
        return (uint64_t)((double)(simclock_real_ns() - start_ns) * speed);
}

uint64_t simclock_to_real_ns(uint64_t line_ns)
{
        return start_ns + (uint64_t)((double)line_ns / speed) + 1;
}

void simclock_note_stall(uint64_t real_ns)
{
        if (real_ns > stall_max_ns)
                stall_max_ns = real_ns;
}

uint64_t simclock_stall_max_ns(void)
{
        return stall_max_ns;
}
