/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "mbgate/base/log.h"
#include "mbgate/base/text.h"

#define ESCAPE_BYTES 4 /* "\x1b" */

static void log_to_stderr(void *user, enum log_level level, const struct log_fields *fields,
                          const char *line);

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn log_sink = log_to_stderr;
static void *log_sink_user;
static atomic_int log_threshold = LOG_LEVEL_INFO;

static const struct {
        enum log_level level;
        const char *name;
} log_names[] = {
        { LOG_LEVEL_ERROR, "error" }, { LOG_LEVEL_WARNING, "warning" }, { LOG_LEVEL_NOTICE, "notice" },
        { LOG_LEVEL_INFO, "info" },   { LOG_LEVEL_DEBUG, "debug" },
};

static void log_to_stderr(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)fields;
        (void)fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

void log_set_sink(log_sink_fn sink, void *user)
{
        (void)pthread_mutex_lock(&log_mutex);
        log_sink = sink ? sink : log_to_stderr;
        log_sink_user = user;
        (void)pthread_mutex_unlock(&log_mutex);
}

void log_set_level(enum log_level level)
{
        atomic_store_explicit(&log_threshold, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
        return (int)level <= atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
        for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
                if (strcmp(text, log_names[i].name) == 0) {
                        *ret_level = log_names[i].level;
                        return 0;
                }
        }
        return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
        for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
                if (log_names[i].level == level)
                        return log_names[i].name;
        }
        return "?";
}

/* Whether a well-formed sequence is something to be read: no control character, neither of ASCII nor of C1.
 */
static bool log_may_show(const char *p, size_t n)
{
        unsigned char first = (unsigned char)p[0], second = (unsigned char)p[1];

        return n == 1 ? first >= 0x20 && first != 0x7F : n > 2 || first != 0xC2 || second >= 0xA0;
}

static size_t log_escape(char *out, size_t room, const char *p, size_t n)
{
        if (n * ESCAPE_BYTES >= room)
                return 0;
        for (size_t i = 0; i < n; i++)
                (void)snprintf(out + i * ESCAPE_BYTES, room - i * ESCAPE_BYTES, "\\x%02x",
                               (unsigned)(unsigned char)p[i]);
        return n * ESCAPE_BYTES;
}

/*
 * Much of what is logged was written by others: names, ids, topics. A line feed of theirs must not begin a
 * line of the log, nor an escape sequence reach a terminal.
 */
static void log_clean(const char *line, bool is_cut, char out[LOG_LINE_BYTES])
{
        size_t n = strlen(line), at = 0, k, used;

        for (size_t i = 0; i < n; i += k) {
                size_t room = LOG_LINE_BYTES - at;

                k = text_utf8_sequence(line + i, n - i);
                if (k == 0 && is_cut && n - i < 4)
                        break; /* the cut has halved it */
                if (k > 0 && log_may_show(line + i, k)) {
                        used = k < room ? k : 0;
                        memcpy(out + at, line + i, used);
                } else {
                        k = k > 0 ? k : 1;
                        used = log_escape(out + at, room, line + i, k);
                }
                if (used == 0)
                        break;
                at += used;
        }
        out[at] = '\0';
}

void log_write(enum log_level level, const struct log_fields *fields, const char *fmt, ...)
{
        static const struct log_fields none;
        char text[LOG_LINE_BYTES], line[LOG_LINE_BYTES];
        int saved = errno, n;
        va_list ap;

        va_start(ap, fmt);
        n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        log_clean(text, n >= (int)sizeof(text), line);

        (void)pthread_mutex_lock(&log_mutex);
        log_sink(log_sink_user, level, fields ? fields : &none, line);
        (void)pthread_mutex_unlock(&log_mutex);
        errno = saved;
}
