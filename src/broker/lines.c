/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lines.h"

void findings_done(struct findings *f)
{
        for (size_t i = 0; i < f->n_texts; i++)
                free(f->texts[i]);
        *f = (struct findings){ 0 };
}

/* Without memory for the text the fault is still counted. */
PRINTF_LIKE(4, 0)
static void findings_vadd(struct findings *f, const char *file, unsigned line, const char *fmt, va_list ap)
{
        char where[24] = "", *text, *what;

        f->n++;
        if (f->n_texts == FINDINGS_MAX || vasprintf(&what, fmt, ap) < 0)
                return;
        if (line > 0)
                (void)snprintf(where, sizeof(where), ":%u", line);
        if (asprintf(&text, "%s%s: error: %s", file, where, what) >= 0)
                f->texts[f->n_texts++] = text;
        free(what);
}

PRINTF_LIKE(3, 4) static int file_refuse(struct findings *f, const char *file, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        findings_vadd(f, file, 0, fmt, ap);
        va_end(ap);
        return -EINVAL;
}

static int file_check(int fd, const char *file, bool is_secret, struct findings *findings, size_t *ret_bytes)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return file_refuse(findings, file, "%s", strerror(errno));
        if (!S_ISREG(st.st_mode))
                return file_refuse(findings, file, "is not a regular file");
        if (st.st_size > LINES_FILE_MAX_BYTES)
                return file_refuse(findings, file, "is larger than %u bytes", LINES_FILE_MAX_BYTES);
        if (is_secret && (st.st_mode & S_IROTH))
                return file_refuse(findings, file, "everybody can read it: chmod o-rwx '%s'", file);
        if (st.st_mode & S_IWOTH)
                return file_refuse(findings, file, "everybody can write it: chmod o-w '%s'", file);
        *ret_bytes = (size_t)st.st_size;
        return 0;
}

/* Reads at most `size` bytes: what is appended meanwhile is not looked at. */
static ssize_t file_read(int fd, char *text, size_t size)
{
        size_t have = 0;

        while (have < size) {
                ssize_t n = read(fd, text + have, size - have);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                have += (size_t)n;
        }
        return (ssize_t)have;
}

int lines_read_file(const char *file, bool is_secret, struct findings *findings, char **ret_text,
                    size_t *ret_bytes)
{
        /* O_NONBLOCK: a FIFO by that name must not stop the program; fstat(2) refuses it then. */
        CLEANUP(cleanup_close)
        int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        CLEANUP(cleanup_free)
        char *text = NULL;
        size_t size = 0;
        ssize_t n;
        int r;

        if (fd < 0)
                return file_refuse(findings, file, "%s", strerror(errno));
        r = file_check(fd, file, is_secret, findings, &size);
        if (r < 0)
                return r;
        text = malloc(size + 1);
        if (!text)
                return -ENOMEM;
        n = file_read(fd, text, size);
        if (n < 0)
                return file_refuse(findings, file, "%s", strerror((int)-n));
        text[n] = '\0';
        *ret_text = TAKE(text);
        *ret_bytes = (size_t)n;
        return 0;
}

struct lines lines_of(const char *file, const char *text, size_t n_text, struct findings *findings)
{
        return (struct lines){ .file = file, .at = text, .end = text + n_text, .findings = findings };
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

bool lines_next(struct lines *l, const char **ret_line, size_t *ret_bytes)
{
        while (l->at < l->end) {
                const char *line = l->at, *newline = memchr(line, '\n', (size_t)(l->end - line));
                const char *end = newline ? newline : l->end;

                l->at = newline ? newline + 1 : l->end;
                l->number++;
                while (line < end && is_blank(*line))
                        line++;
                while (end > line && is_blank(end[-1]))
                        end--;
                if (line == end || *line == '#')
                        continue;
                *ret_line = line;
                *ret_bytes = (size_t)(end - line);
                return true;
        }
        return false;
}

void lines_complain(struct lines *l, const char *fmt, ...)
{
        va_list ap;

        l->failed = true;
        va_start(ap, fmt);
        findings_vadd(l->findings, l->file, l->number, fmt, ap);
        va_end(ap);
}
