/* SPDX-License-Identifier: MIT */
/*
 * The log of frames, for people ("12.345678 rs485 >> 0A 03 00 00 00 04 45 72") and for programs (CSV).
 * ">>" came from the master and shows when its first byte arrived; "<<" went to it and shows when its last
 * byte was written.
 */
#ifndef MBSIM_FRAMELOG_H
#define MBSIM_FRAMELOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mbgate/base/macros.h"

struct framelog {
        FILE *text; /* NULL: off */
        FILE *csv;  /* NULL: off */
};

/* Opens what is asked for; NULL: not. "-" is standard output. −errno, *ret_failed names the file. */
MUST_CHECK int framelog_open(struct framelog *log, const char *text_path, const char *csv_path,
                             const char **ret_failed);
void framelog_close(struct framelog *log);

/* Takes log = NULL. `note` may be "". */
void framelog_frame(struct framelog *log, const char *bus, const char *direction, uint64_t line_ns,
                    const uint8_t *bytes, size_t n_bytes, const char *note);

/* A line without a frame: "12.345678 rs485 -- hung up". */
void framelog_event(struct framelog *log, const char *bus, uint64_t line_ns, const char *text);

static inline bool framelog_is_on(const struct framelog *log)
{
        return log->text || log->csv;
}

/* Hands on what is buffered. */
void framelog_flush(struct framelog *log);

#endif
