/* SPDX-License-Identifier: MIT */
/*
 * Configuration files as one text: includes put in their place, what libconfig 1.5 would misread found or put
 * right, and every line of every file numbered, so that a finding can say where it is. Belongs to one load.
 */
#ifndef MBGATE_CONFIG_SOURCE_H
#define MBGATE_CONFIG_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/config/load.h"

#include "arena.h"

/* A line of a file: what a finding is sorted by and named after. 0: no line, the main file as a whole. */
typedef uint32_t source_pos;

struct source_finding {
        source_pos pos;
        uint32_t number; /* keeps the order of findings of one line */
        bool is_error;
        char *text;
};

struct source_segment {
        source_pos first;
        uint32_t first_line;
        const char *file;
};

struct source {
        struct arena *arena; /* borrowed */
        const char *main_file;
        struct source_segment *segments;
        size_t n_segments, segments_size;
        source_pos n_pos; /* lines so far */
        struct source_finding *findings;
        size_t n_findings, findings_size;
        size_t n_errors;
        bool no_memory; /* a finding was lost: the load fails */
};

void source_init(struct source *s, struct arena *arena, const char *main_file);
void source_done(struct source *s);

void source_error(struct source *s, source_pos pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
void source_warning(struct source *s, source_pos pos, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Reads `file` with its includes. *ret_text is terminated and lives in the arena; its line n has the position
 * *ret_base + n. `asked` is the position of what asked for the file, or 0. 0; −EINVAL: it cannot be read or
 * parsed at all, and a finding says why; −ENOMEM.
 */
MUST_CHECK int source_read(struct source *s, const char *file, source_pos asked, char **ret_text,
                           source_pos *ret_base);

/* "FILE:LINE" of a position, cut at SOURCE_NAME_BYTES; returns `text`. */
#define SOURCE_NAME_BYTES 512
const char *source_name(const struct source *s, source_pos pos, char text[SOURCE_NAME_BYTES]);

/* The folder of a file with its final '/', or "". NULL: no memory. */
char *source_folder(struct arena *a, const char *file);

/* Findings in order of their place, each once, as complete lines. −ENOMEM. */
MUST_CHECK int source_report(struct source *s, struct conf_report *ret_report);

#endif
