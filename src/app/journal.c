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

#include "mbgate/app/journal.h"
#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

/* All fields of one line; names are cut before a line is. */
#define JOURNAL_FIELDS     8
#define JOURNAL_TEXT_BYTES (LOG_LINE_BYTES + 1024)

struct journal_entry {
        char text[JOURNAL_TEXT_BYTES];
        struct buf buf;
        struct iovec fields[JOURNAL_FIELDS];
        int n_fields;
};

int journal_target_parse(const char *text, enum journal_target *ret_target)
{
        static const char *const names[] = { "auto", "stderr", "journal" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(text, names[i]) == 0) {
                        *ret_target = (enum journal_target)i;
                        return 0;
                }
        }
        return -EINVAL;
}

/* systemd.exec(5), $JOURNAL_STREAM */
static bool journal_is_stream(const struct journal_surroundings *s)
{
        char expected[48];

        (void)snprintf(expected, sizeof(expected), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)s->stderr_device,
                       (uintmax_t)s->stderr_inode);
        return s->journal_stream && strcmp(s->journal_stream, expected) == 0;
}

/* A shell that a service started hands its variables on; the process id tells us from its children. */
static bool journal_is_service(const struct journal_surroundings *s)
{
        char expected[24];

        (void)snprintf(expected, sizeof(expected), "%jd", (intmax_t)s->pid);
        return s->exec_pid && strcmp(s->exec_pid, expected) == 0;
}

enum journal_sink journal_choose(enum journal_target target, const struct journal_surroundings *s)
{
        switch (target) {
        case JOURNAL_TARGET_JOURNAL: return JOURNAL_SINK_JOURNAL;
        case JOURNAL_TARGET_AUTO:
                if (journal_is_stream(s))
                        return JOURNAL_SINK_JOURNAL;
                break;
        case JOURNAL_TARGET_STDERR: break;
        }
        return journal_is_service(s) ? JOURNAL_SINK_PREFIXED : JOURNAL_SINK_READABLE;
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

void journal_install(enum journal_target target)
{
        static const log_sink_fn sinks[] = {
                [JOURNAL_SINK_JOURNAL] = journal_to_journal,
                [JOURNAL_SINK_PREFIXED] = journal_to_prefixed,
                [JOURNAL_SINK_READABLE] = journal_to_readable,
        };
        struct journal_surroundings s = {
                .journal_stream = getenv("JOURNAL_STREAM"),
                .exec_pid = getenv("SYSTEMD_EXEC_PID"),
                .pid = getpid(),
        };
        struct stat st;

        if (fstat(STDERR_FILENO, &st) == 0) {
                s.stderr_device = st.st_dev;
                s.stderr_inode = st.st_ino;
        } else {
                s.journal_stream = NULL;
        }
        log_set_sink(sinks[journal_choose(target, &s)], NULL);
}
