/* SPDX-License-Identifier: MIT */
/*
 * Text files of one entry a line: read whole, taken line by line, complained about by file and line. Blocks
 * on the disk: at start and on SIGHUP only. No thread of its own.
 */
#ifndef MBGATE_BROKER_LINES_H
#define MBGATE_BROKER_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/broker/findings.h"

#define LINES_FILE_MAX_BYTES (4u << 20)

struct lines {
        const char *file; /* as it is called in complaints */
        const char *at, *end;
        unsigned number; /* of the last line taken; from 1 */
        struct findings *findings;
        bool failed; /* a complaint was made */
};

/*
 * The whole file, terminated. A secret must be a regular file that others can neither read nor write. −EINVAL
 * with a finding that says why and what helps; −ENOMEM.
 */
MUST_CHECK int lines_read_file(const char *file, bool is_secret, struct findings *findings, char **ret_text,
                               size_t *ret_bytes);

struct lines lines_of(const char *file, const char *text, size_t n_text, struct findings *findings);

/* The next line without blanks at its ends; empty lines and those that begin with '#' are left out. */
bool lines_next(struct lines *l, const char **ret_line, size_t *ret_bytes);

/* "FILE:NUMBER: error: …" */
void lines_complain(struct lines *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
