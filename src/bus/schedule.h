/* SPDX-License-Identifier: MIT */
/*
 * What the line does next. Pure: the caller owns the clock and does the work. One job a block, at most one
 * outstanding. Earliest deadline first as long as the line keeps up. Once a turn was missed, and a while
 * longer, the job goes first whose last turn is longest ago in relation to its interval, so that in overload
 * every block is stretched by the same share: 100 ms become 200 ms and 10 s become 20 s.
 *
 *   released (due) ──► served ──► next due = due + k × interval, the smallest k in the future (k − 1 missed)
 *
 * Order at a transaction boundary: a command, unless commands have taken more than what polls leave of the
 * line: half of it, less what probes and other masters take while polls are due;
 * a probe of a dead device, as long as all probes together stay within 5 %; a request of another master, when
 * no poll is due, or within the share of the line that those have; the poll with the earliest deadline.
 */
#ifndef MBGATE_BUS_SCHEDULE_H
#define MBGATE_BUS_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

/* Commands may be ahead of polls by this much; then polls that are due get as much time as commands. */
#define SCHEDULE_COMMAND_AHEAD_US UINT64_C(300000)

/* The first reading, and one that comes once only, should not take longer than this. */
#define SCHEDULE_FIRST_US UINT64_C(1000000)

/* After a missed turn the line is taken for overloaded for two intervals of that job, at most so long. */
#define SCHEDULE_OVERLOAD_MAX_US UINT64_C(60000000)

/* Lateness is smoothed by an eighth. */
#define SCHEDULE_SMOOTH 8

/* Share of the line for probes, and how much of it may be saved up or owed: a long probe must not stop the
 * others. */
#define SCHEDULE_PROBE_PERMILLE 50
#define SCHEDULE_PROBE_SAVED_US INT64_C(500000)

/*
 * Share of the line for other masters while polls are due, less once a poll is late by half its interval (at
 * most 0.5 s), and how much of it may be saved up or owed.
 */
#define SCHEDULE_SHARED_PERMILLE         200
#define SCHEDULE_SHARED_PRESSED_PERMILLE 100
#define SCHEDULE_SHARED_PRESSED_US       UINT64_C(500000)
#define SCHEDULE_SHARED_SAVED_US         INT64_C(50000)
#define SCHEDULE_SHARED_OWED_US          INT64_C(2000000)

/* Requests of other masters. */
struct schedule_shared {
        bool is_ready;    /* one waits whose unit is not held: set before schedule_next() */
        bool is_free;     /* the last one was let go as nobody else wanted the line */
        int64_t saved_us; /* what they may take from polls; < 0: owed */
        uint64_t saved_at_us;
};

struct schedule_job {
        uint32_t device;
        uint64_t interval_us; /* 0: once, after the start and after each return of its device */
        uint64_t phase_us;    /* moment within the interval at which it is due once the start is over */
        uint64_t due_us;
        uint64_t began_us;      /* its last turn; before the first one, when that was due */
        uint64_t not_before_us; /* a retry waits for the device's hold */
        uint32_t n_attempts;    /* of the reading under way */
        bool is_paused;         /* its device is offline */
        bool is_first;          /* not served yet: due at once, then spread */
        uint64_t n_served, n_missed;
        uint64_t late_us, late_max_us; /* smoothed, and the worst; first readings excepted */
};

struct schedule_device {
        uint64_t held_until_us; /* nothing may be sent to it before */
        bool is_probing;
        uint64_t probe_due_us;
};

struct schedule {
        struct schedule_job *jobs; /* owned */
        size_t n_jobs;
        struct schedule_device *devices; /* owned */
        size_t n_devices;
        int64_t command_ahead_us; /* line time of commands − that of polls; ≥ 0 */
        int64_t others_ahead_us;  /* what probes and other masters took from polls; commands pay for it */
        bool poll_waits;          /* at the last choice */
        int64_t probe_saved_us;   /* what probes may still spend; < 0: overspent */
        uint64_t saved_at_us;
        struct schedule_shared shared;
        uint64_t n_missed;
        uint64_t overload_until_us; /* shares, not deadlines, decide */
        uint32_t last_device;       /* of equal deadlines the other device goes first */
};

enum schedule_kind {
        SCHEDULE_IDLE, /* nothing until wake_us */
        SCHEDULE_COMMAND,
        SCHEDULE_POLL,  /* index: the job */
        SCHEDULE_PROBE, /* index: the device */
        SCHEDULE_SHARED,
};

struct schedule_choice {
        enum schedule_kind kind;
        size_t index;
        uint64_t wake_us; /* SCHEDULE_IDLE: look again then, CLOCK_NEVER_US if nothing waits */
};

/* Room for jobs and devices, all of them zero. −ENOMEM. */
MUST_CHECK int schedule_init(struct schedule *s, size_t n_jobs, size_t n_devices, uint64_t now_us);
void schedule_done(struct schedule *s);

/* Makes every job that is_first due now, and spreads their later turns over the intervals. */
void schedule_spread(struct schedule *s, uint64_t now_us);

/* `commands_ready`: a command waits whose device is not held. Settles what probes may spend. */
struct schedule_choice schedule_next(struct schedule *s, uint64_t now_us, bool commands_ready);

/* The choice was carried out and took the line for `busy_us`. Before schedule_served() or _retry(). */
void schedule_charge(struct schedule *s, enum schedule_kind kind, uint64_t busy_us);

/* The job was begun at `began_us` and is over, well or not: counts missed turns, sets the next one. */
void schedule_served(struct schedule *s, size_t job, uint64_t began_us);

/* The job keeps its place and is tried again, not before a moment. */
void schedule_retry(struct schedule *s, size_t job, uint64_t not_before_us);

/* Something of it was changed: it is due now. */
void schedule_hurry(struct schedule *s, size_t job, uint64_t now_us);

/* A device went: its jobs rest, probes begin at `probe_due_us`. */
void schedule_pause(struct schedule *s, uint32_t device, uint64_t probe_due_us);

/* A device is back: all its jobs are due at once. */
void schedule_resume(struct schedule *s, uint32_t device, uint64_t now_us);

#endif
