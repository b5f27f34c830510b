/* SPDX-License-Identifier: MIT */
/* The only file that knows sd-journal(3). */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "journal.h"

/* All fields of one line; names are cut before a line is. */
#define JOURNAL_FIELDS     8
#define JOURNAL_TEXT_BYTES (LOG_LINE_BYTES + 1024)

struct journal_entry {
        char text[JOURNAL_TEXT_BYTES];
        struct buf buf;
        struct iovec fields[JOURNAL_FIELDS];
        int n_fields;
};

bool journal_is_stream(const char *journal_stream, int fd)
{
        char expected[48];
        struct stat st;

        if (!journal_stream || fstat(fd, &st) < 0)
                return false;
        (void)snprintf(expected, sizeof(expected), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)st.st_dev,
                       (uintmax_t)st.st_ino);
        return strcmp(journal_stream, expected) == 0;
}

/* A shell that a service started hands its variables on; the process id tells us from its children. */
static bool journal_is_service(void)
{
        const char *exec_pid = getenv("SYSTEMD_EXEC_PID");
        char expected[24];

        (void)snprintf(expected, sizeof(expected), "%jd", (intmax_t)getpid());
        return exec_pid && strcmp(exec_pid, expected) == 0;
}

static void journal_to_prefixed(void *user, enum log_level level, const struct log_fields *fields,
                                const char *line)
{
        (void)user;
        (void)fields;
        (void)fprintf(stderr, "<%d>%s\n", (int)level, line);
}

static void journal_to_readable(void *user, enum log_level level, const struct log_fields *fields,
                                const char *line)
{
        char time[CLOCK_RFC3339_BYTES];

        (void)user;
        (void)fields;
        clock_format_rfc3339(clock_wall_us(), time);
        (void)fprintf(stderr, "%s %s: %s\n", time, log_level_name(level), line);
}

static void entry_add(struct journal_entry *e, const char *name, const char *value)
{
        size_t begin = e->buf.len_bytes;

        if (!value || e->n_fields == JOURNAL_FIELDS)
                return;
        buf_printf(&e->buf, "%s=%s", name, value);
        if (e->buf.len_bytes == begin)
                return; /* does not fit: the line goes without it */
        e->fields[e->n_fields++] =
                (struct iovec){ .iov_base = e->text + begin, .iov_len = e->buf.len_bytes - begin };
}

static void entry_add_number(struct journal_entry *e, const char *name, int value)
{
        char text[16];

        if (value == 0)
                return;
        (void)snprintf(text, sizeof(text), "%d", value);
        entry_add(e, name, text);
}

static void journal_to_journal(void *user, enum log_level level, const struct log_fields *fields,
                               const char *line)
{
        struct journal_entry e;

        e.buf = buf_on(e.text, sizeof(e.text));
        e.n_fields = 0;
        entry_add(&e, "MESSAGE", line);
        entry_add_number(&e, "PRIORITY", (int)level);
        entry_add(&e, "MBGATE_BUS", fields->bus);
        entry_add(&e, "MBGATE_DEVICE", fields->device);
        entry_add(&e, "MBGATE_POINT", fields->point);
        entry_add(&e, "MBGATE_LINK", fields->link);
        entry_add_number(&e, "ERRNO", fields->error);
        entry_add_number(&e, "MBGATE_EXCEPTION", fields->exception);
        if (sd_journal_sendv(e.fields, e.n_fields) < 0)
                journal_to_prefixed(user, level, fields, line);
}

/*
 * sd_journal_sendv(3) succeeds and drops the text when no journal listens, so AUTO takes it only when stderr
 * is the journal's own stream.
 */
static log_sink_fn journal_sink_for(enum log_target target)
{
        switch (target) {
        case LOG_TARGET_JOURNAL: return journal_to_journal;
        case LOG_TARGET_AUTO:
                if (journal_is_stream(getenv("JOURNAL_STREAM"), STDERR_FILENO))
                        return journal_to_journal;
                break;
        case LOG_TARGET_STDERR: break;
        }
        return journal_is_service() ? journal_to_prefixed : journal_to_readable;
}

void journal_install(enum log_target target)
{
        log_set_sink(journal_sink_for(target), NULL);
}
