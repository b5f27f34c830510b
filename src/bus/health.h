/* SPDX-License-Identifier: MIT */
/*
 * The health of one device. Pure; owned by the worker.
 *
 *              answered                    3 requests in a row unanswered
 *   UNKNOWN ───────────────► ONLINE ──────────────────────────────────────► OFFLINE ── probes after
 *      │                       ▲                 answered                      │      1, 2, 4, 8, 9 s
 *      └── 2 unanswered ───────┼──────────────────◄────────────────────────────┘
 *          ► OFFLINE           └ until 8 more answers two in a row suffice, and the pauses go on growing
 *
 * A broken reply proves that the device lives: it ends a row of unanswered requests. But who gives nothing
 * else, 12 times in a row, is of no use, and goes as well.
 */
#ifndef MBGATE_BUS_HEALTH_H
#define MBGATE_BUS_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/histogram.h"
#include "mbgate/model/bus_mail.h"

#define HEALTH_FAILURES_MAX   3  /* unanswered in a row, then it is offline */
#define HEALTH_DOUBTS_MAX     2  /* the same of one that is not known yet, or not trusted yet */
#define HEALTH_BROKEN_MAX     12 /* failures in a row of either kind, then it is offline as well */
#define HEALTH_PROBATION      8  /* answers after a return until it is trusted again */
#define HEALTH_PAUSE_MAX_US   UINT64_C(9000000)
#define HEALTH_PROBE_FULL     8 /* × dead devices: at least each so many-th probe waits the whole time-out */
#define HEALTH_LEARNED_MIN    12 /* replies before what was learned is trusted */
#define HEALTH_LEARNED_ADD_US 20000

struct health {
        enum device_status status;
        uint32_t n_failures;         /* in a row, broken replies too */
        uint32_t n_silent;           /* unanswered in a row */
        uint32_t probation;          /* answers still to give */
        uint32_t n_probes;           /* since it went */
        uint32_t n_short;            /* probes since one that waited the whole time-out */
        bool was_heard;              /* behind a probe's time-out: the next one waits long enough */
        uint64_t pause_us;           /* before the next probe */
        uint64_t since_us;           /* of the present status */
        uint64_t n_lost;             /* unanswered requests since it went */
        struct histogram turnaround; /* request's last character to the reply's first */
        struct histogram round_trip; /* to the reply's last */
};

void health_init(struct health *h, uint64_t now_us);

/* The device answered. true: it was not online before. */
bool health_answered(struct health *h, uint64_t now_us);

/* A request to it stayed unanswered. true: it has just gone offline; probe it after h->pause_us. */
bool health_failed(struct health *h, uint64_t now_us);

/* It answered, but not so that it could be read. The same. */
bool health_broken(struct health *h, uint64_t now_us);

/*
 * The port was lost: nothing is known of the device until it is asked again. What was learned stays, but the
 * first request waits the configured time-out.
 */
void health_forget(struct health *h, uint64_t now_us);

/* A reply that took longer than what was learned allows makes that void: the device has become slower. */
void health_measured(struct health *h, uint64_t turnaround_us, uint64_t round_trip_us);

/* A reply of a device that is offline came too late. true: that is news, probe it at once. */
bool health_heard(struct health *h);

/* A reply of any other came after its request was given up: what was learned is void as well. */
void health_slower(struct health *h);

/* After what time nearly all of its replies have begun. */
uint64_t health_usual_us(const struct health *h);

/*
 * How long to wait for the reply's first character: the configured time-out, or twice the 99th percentile +
 * 20 ms when that is shorter (but not than `min_us`), enough replies have been seen, the last request was
 * answered since the port was opened, and `others_wait` for the line.
 */
uint64_t health_timeout_us(const struct health *h, uint64_t configured_us, uint64_t min_us, bool others_wait);

/*
 * The same for a probe while `n_dead` devices share the 5 %: the longest that it usually took and 10 ms, or
 * while that is not known, or too long for so many, a fair share less the `wire_us` that request, reply and
 * silences take. As often as the 5 % allow beside these, and what probes may spend now (`may_be_long`), the
 * configured time-out in full, so that a slow device that was never heard is found, too, and one that has
 * become slower. In full at once when a late reply was heard.
 */
uint64_t health_probe_timeout_us(struct health *h, uint64_t configured_us, unsigned n_dead, uint64_t wire_us,
                                 bool may_be_long);

#endif
