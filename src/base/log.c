/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "mbgate/base/log.h"

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

void log_write(enum log_level level, const struct log_fields *fields, const char *fmt, ...)
{
        static const struct log_fields none;
        char line[LOG_LINE_BYTES];
        int saved = errno;
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);

        (void)pthread_mutex_lock(&log_mutex);
        log_sink(log_sink_user, level, fields ? fields : &none, line);
        (void)pthread_mutex_unlock(&log_mutex);
        errno = saved;
}
