/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

static uint64_t clock_read_us(clockid_t id)
{
        struct timespec ts;

        /* Cannot fail for the clocks used here: clock_gettime(2). */
        (void)clock_gettime(id, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_monotonic_us(void)
{
        return clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
        return (int64_t)clock_read_us(CLOCK_REALTIME);
}

/* systemd-timesyncd(8) makes it. Where adjtimex(2) is forbidden, even asking is: seccomp sees no arguments.
 */
#define TIMESYNC_STAMP "/run/systemd/timesync/synchronized"

bool clock_is_synchronised(void)
{
        struct timex tx = { .modes = 0 };

        if (adjtimex(&tx) >= 0)
                return !(tx.status & STA_UNSYNC);
        return access(TIMESYNC_STAMP, F_OK) == 0;
}

struct timespec clock_remaining(uint64_t deadline_us, uint64_t now_us)
{
        uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;

        return (struct timespec){
                .tv_sec = (time_t)(left_us / USEC_PER_SEC),
                .tv_nsec = (long)(left_us % USEC_PER_SEC) * 1000,
        };
}

void clock_format_rfc3339(int64_t wall_us, char text[CLOCK_RFC3339_BYTES])
{
        time_t seconds = (time_t)(wall_us / (int64_t)USEC_PER_SEC);
        unsigned ms = (unsigned)(wall_us / (int64_t)USEC_PER_MSEC % 1000);
        struct tm tm;
        size_t n;

        if (wall_us < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900) {
                memcpy(text, "1970-01-01T00:00:00.000Z", CLOCK_RFC3339_BYTES);
                return;
        }
        n = strftime(text, CLOCK_RFC3339_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(text + n, CLOCK_RFC3339_BYTES - n, ".%03uZ", ms % 1000);
}
