/* SPDX-License-Identifier: MIT */
/*
 * The log: one line for each change of state, with its journal fields. Safe on any thread; a mutex keeps
 * lines whole. Where lines go is a sink that the program installs (journal or stderr); until then, and in
 * tests, stderr. `base codec config model loop` never log: they return errors.
 */
#ifndef MBGATE_BASE_LOG_H
#define MBGATE_BASE_LOG_H

#include <stdbool.h>

#include "mbgate/base/macros.h"

/* The numbers are syslog(3)'s. */
enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7,
};

/* A line may be up to this long, its final NUL included; the rest is cut. */
#define LOG_LINE_BYTES 1024

/* What the line is about; every member may be NULL or 0. The strings are borrowed for the call. */
struct log_fields {
        const char *bus;    /* MBGATE_BUS */
        const char *device; /* MBGATE_DEVICE */
        const char *point;  /* MBGATE_POINT */
        const char *link;   /* MBGATE_LINK */
        int error;          /* ERRNO: an errno value, positive */
        int exception;      /* MBGATE_EXCEPTION: a Modbus exception code */
};

/* Receives finished lines without a newline, control characters and bytes that are no UTF-8 as "\x1b", one at
 * a time (the log's mutex is held: do not log from it). */
typedef void (*log_sink_fn)(void *user, enum log_level level, const struct log_fields *fields,
                            const char *line);

/* Installs the sink; NULL goes back to stderr. */
void log_set_sink(log_sink_fn sink, void *user);

/* Lines above this level are not formatted at all. INFO at start. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

/* "error", "warning", "notice", "info", "debug" → level. 0, or −EINVAL with *ret_level untouched. */
MUST_CHECK int log_level_parse(const char *text, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const struct log_fields *fields, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* log_warn(&fields_or_NULL, "bus %s: …", …) */
#define log_at(level, fields, ...)                                 \
        do {                                                       \
                if (log_is_on(level))                              \
                        log_write((level), (fields), __VA_ARGS__); \
        } while (0)
#define log_error(fields, ...)  log_at(LOG_LEVEL_ERROR, fields, __VA_ARGS__)
#define log_warn(fields, ...)   log_at(LOG_LEVEL_WARNING, fields, __VA_ARGS__)
#define log_notice(fields, ...) log_at(LOG_LEVEL_NOTICE, fields, __VA_ARGS__)
#define log_info(fields, ...)   log_at(LOG_LEVEL_INFO, fields, __VA_ARGS__)
#define log_debug(fields, ...)  log_at(LOG_LEVEL_DEBUG, fields, __VA_ARGS__)

#endif
