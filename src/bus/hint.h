/* SPDX-License-Identifier: MIT */
/*
 * What a technician reads out of the counters of a line: each pattern is named once, when it has shown for
 * some time, and again only after it was gone. Pure; owned by the worker.
 *
 *            in HINT_RAISE windows in a row           in HINT_CLEAR windows no more
 *   absent ──────────────────────────────────► present ──────────────────────────────► absent
 *                                               (said)
 *
 * A window is a stretch of at least HINT_REQUESTS_MIN requests, less when none was answered. What the
 * counters cannot tell apart stands in one hint: swapped wires from none; and a wrong speed from
 * a wrong format, where the driver does not count what the UART saw.
 */
#ifndef MBGATE_BUS_HINT_H
#define MBGATE_BUS_HINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

enum hint {
        HINT_DEAD,         /* nobody answers, and nothing at all is heard */
        HINT_NO_PARITY,    /* the same, with parity, on an adapter whose older chips have none (CH341) */
        HINT_SWAPPED,      /* nobody answers, and single bytes are heard */
        HINT_PARITY,       /* something answers, and the adapter's driver counts parity errors */
        HINT_SPEED,        /* the same with framing errors */
        HINT_GARBLED,      /* something answers, but no frame is right, and the driver does not tell why */
        HINT_DUPLICATE,    /* replies of one device are broken, those of others are not */
        HINT_DISTURBED,    /* replies of several devices are broken now and then */
        HINT_LATE,         /* replies come after their time-out */
        HINT_OTHER_MASTER, /* frames that nobody here asked for */
        HINTS,
};

#define HINT_REQUESTS_MIN 20
#define HINT_PROBES_MIN   4 /* enough when none of them was answered */
#define HINT_RAISE        2
#define HINT_CLEAR        3
#define HINT_NO_DEVICE    SIZE_MAX

/* Of one device, in one window. */
struct hint_device {
        uint64_t n_answers; /* replies and exceptions */
        uint64_t n_silent;  /* requests with no reply at all */
        uint64_t n_broken;  /* requests whose reply came broken */
};

struct hint_window {
        const struct hint_device *devices;
        size_t n_devices;
        uint64_t n_junk_bytes;
        uint64_t n_foreign; /* frames that answered nothing we asked */
        uint64_t n_parity_errors, n_framing_errors,
                n_breaks; /* that the driver counted; 0 where it does not */
        bool has_parity;
        bool may_lack_parity; /* the adapter is a CH341 */
        bool is_listening;    /* then `devices` tell what others asked */
};

struct hints {
        bool is_there[HINTS];
        unsigned n_shown[HINTS]; /* windows in a row with it while it is not there, without it while it is */
};

/* Whether a window of so many requests can be judged, or must grow. */
bool hint_window_is_full(const struct hint_window *w);

/*
 * Judges a window. Fills `ret` with the hints that are new now and returns how many. *ret_device: the device
 * that HINT_DUPLICATE and HINT_LATE mean, HINT_NO_DEVICE: none, or several.
 */
size_t hints_judge(struct hints *h, const struct hint_window *w, enum hint ret[HINTS], size_t *ret_device);

/* What is seen, and what to do. */
const char *hint_text(enum hint hint);

#endif
