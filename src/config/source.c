/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/array.h"
#include "mbgate/base/text.h"

#include "source.h"

#define SOURCE_MAX_BYTES     (64u << 20) /* of all text: some 500 000 points */
#define SOURCE_BRACKETS      64          /* kept, to say which one is not closed */
#define SOURCE_REPEAT_WINDOW 256
#define SOURCE_INCLUDE_DEPTH 10 /* libconfig's own limit */

enum scan_state {
        SCAN_PLAIN,
        SCAN_LINE_COMMENT,
        SCAN_BLOCK_COMMENT,
        SCAN_STRING,
};

struct source_bracket {
        char open;
        source_pos pos;
};

struct source_out {
        char *data;
        size_t len_bytes, size_bytes;
        source_pos base;
        uint32_t n_lines;
        struct source_bracket brackets[SOURCE_BRACKETS];
        size_t n_brackets; /* may be more than are kept */
        bool is_broken;    /* a finding says why it cannot be parsed */
};

struct scan {
        struct source *source;
        struct source_out *out;
        const char *file;
        const char *p, *end;
        uint32_t line;
        unsigned depth;
        enum scan_state state;
        source_pos state_pos; /* where the string or comment began */
        size_t comma;         /* offset + 1 of a comma that nothing has followed yet */
        bool utf8_reported;
};

void source_init(struct source *s, struct arena *arena, const char *main_file)
{
        *s = (struct source){ .arena = arena, .main_file = main_file };
}

void source_done(struct source *s)
{
        free(s->segments);
        free(s->findings);
        *s = (struct source){ 0 };
}

PRINTF_LIKE(4, 0)
static void source_find(struct source *s, source_pos pos, bool is_error, const char *fmt, va_list ap)
{
        struct source_finding *f =
                array_reserve(s->findings, s->n_findings + 1, &s->findings_size, sizeof(*f));
        char *text = arena_vprintf(s->arena, fmt, ap);

        if (f)
                s->findings = f;
        if (!f || !text) {
                s->no_memory = true;
                return;
        }
        s->findings[s->n_findings] = (struct source_finding){
                .pos = pos, .number = (uint32_t)s->n_findings, .is_error = is_error, .text = text
        };
        s->n_findings++;
        s->n_errors += is_error;
}

void source_error(struct source *s, source_pos pos, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        source_find(s, pos, true, fmt, ap);
        va_end(ap);
}

void source_warning(struct source *s, source_pos pos, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        source_find(s, pos, false, fmt, ap);
        va_end(ap);
}

char *source_folder(struct arena *a, const char *file)
{
        const char *slash = strrchr(file, '/');

        return arena_copy_bytes(a, file, slash ? (size_t)(slash - file) + 1 : 0);
}

/* From here on, lines of the output are lines of `file` from `line` on. */
static int source_begin_segment(struct source *s, source_pos first, const char *file, uint32_t line)
{
        struct source_segment *p =
                array_reserve(s->segments, s->n_segments + 1, &s->segments_size, sizeof(*p));

        if (!p)
                return -ENOMEM;
        s->segments = p;
        s->segments[s->n_segments++] = (struct source_segment){ first, line, file };
        return 0;
}

static const struct source_segment *source_segment_of(const struct source *s, source_pos pos)
{
        size_t low = 0, high = s->n_segments;

        while (low < high) { /* the last one that begins at or before pos */
                size_t middle = low + (high - low) / 2;

                if (s->segments[middle].first <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low ? &s->segments[low - 1] : NULL;
}

/* ---- reading ---- */

static ssize_t source_read_fd(int fd, char *data, size_t size_bytes)
{
        size_t len_bytes = 0;

        while (len_bytes < size_bytes) {
                ssize_t n = read(fd, data + len_bytes, size_bytes - len_bytes);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len_bytes += (size_t)n;
        }
        return (ssize_t)len_bytes;
}

/* The bytes of a regular file. 0; −errno (−EISDIR, −EFBIG, −ENOMEM …). */
static int source_slurp(struct arena *a, const char *file, char **ret_data, size_t *ret_len_bytes)
{
        CLEANUP(cleanup_close)
        int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;
        char *data;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -ENOTSUP;
        if (st.st_size > (off_t)SOURCE_MAX_BYTES)
                return -EFBIG;
        data = arena_alloc(a, (size_t)st.st_size + 1);
        if (!data)
                return -ENOMEM;
        n = source_read_fd(fd, data, (size_t)st.st_size);
        if (n < 0)
                return (int)n;
        *ret_data = data;
        *ret_len_bytes = (size_t)n;
        return 0;
}

/* ---- writing ---- */

static int source_put(struct source_out *o, const char *bytes, size_t n_bytes)
{
        char *data;

        if (n_bytes >= SOURCE_MAX_BYTES - o->len_bytes)
                return -EFBIG;
        data = array_reserve(o->data, o->len_bytes + n_bytes + 1, &o->size_bytes, 1);
        if (!data)
                return -ENOMEM;
        o->data = data;
        memcpy(o->data + o->len_bytes, bytes, n_bytes);
        o->len_bytes += n_bytes;
        o->data[o->len_bytes] = '\0';
        return 0;
}

static source_pos scan_pos(const struct scan *sc)
{
        return sc->out->base + sc->out->n_lines + 1;
}

/* Copies n bytes of the input that hold no newline. */
static int scan_copy(struct scan *sc, size_t n_bytes)
{
        const char *p = sc->p;

        sc->p += n_bytes;
        return source_put(sc->out, p, n_bytes);
}

static int scan_newline(struct scan *sc)
{
        if (sc->p < sc->end)
                sc->p++;
        sc->line++;
        sc->out->n_lines++;
        return source_put(sc->out, "\n", 1);
}

/* ---- the scanner ---- */

static int scan_file(struct source *s, struct source_out *out, const char *file, source_pos asked,
                     unsigned depth);

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '*';
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\f';
}

static char scan_peek(const struct scan *sc, size_t ahead)
{
        return (size_t)(sc->end - sc->p) > ahead ? sc->p[ahead] : '\0';
}

/* Length of a run of bytes of which `is` is true, from `from` on. */
static size_t scan_run(const struct scan *sc, size_t from, bool (*is)(char c))
{
        size_t n = from;

        while ((size_t)(sc->end - sc->p) > n && is(sc->p[n]))
                n++;
        return n;
}

static bool is_number_char(char c)
{
        return is_digit(c) || is_letter(c) || c == '.';
}

/*
 * Integers go on in decimal and with an L: libconfig 1.5 wraps what has more than 32 bits and no L silently,
 * and wants the elements of an array to be all with or all without it. Beyond 64 bits is an error. Reals pass
 * as they are.
 */
static int scan_number(struct scan *sc)
{
        size_t sign = *sc->p == '-' || *sc->p == '+';
        size_t n = scan_run(sc, sign, is_number_char);
        bool is_hex = scan_peek(sc, 0) == '0' && (scan_peek(sc, 1) | 0x20) == 'x';
        char text[32] = "";
        char *end;
        long long v;

        if (!is_hex && n > 0 && (sc->p[n - 1] | 0x20) == 'e') /* the sign of an exponent */
                n = scan_run(sc, n + (scan_peek(sc, n) == '-' || scan_peek(sc, n) == '+'), is_number_char);
        memcpy(text, sc->p, MBGATE_MIN(n, sizeof(text) - 1));
        errno = 0;
        v = strtoll(text, &end, is_hex ? 16 : 10);
        if (end == text || (*end != '\0' && *end != 'L'))
                return scan_copy(sc, n); /* a real, or what libconfig refuses */
        if (errno == ERANGE) {
                source_error(sc->source, scan_pos(sc), "%.*s is too large: integers have 64 bits", (int)n,
                             sc->p);
                sc->p += n;
                return source_put(sc->out, "0", 1);
        }
        sc->p += n;
        (void)snprintf(text, sizeof(text), "%lldL", v);
        return source_put(sc->out, text, strlen(text));
}

#define INCLUDE_BYTES (sizeof("@include") - 1)

static bool scan_is_include(const struct scan *sc)
{
        return (size_t)(sc->end - sc->p) >= INCLUDE_BYTES && memcmp(sc->p, "@include", INCLUDE_BYTES) == 0;
}

/* An @include that scan_include() did not take: libconfig would only say that something is wrong. */
static void scan_stray_include(struct scan *sc)
{
        if (sc->out->is_broken)
                return;
        sc->out->is_broken = true;
        source_error(sc->source, scan_pos(sc),
                     "@include must stand at the start of a line of its own, with the file's name in quotes: "
                     "@include \"other.conf\"");
}

/* The file named by @include at sc->p, if it is one: libconfig wants it first on its line. */
static int scan_include(struct scan *sc, bool *ret_done)
{
        size_t n = INCLUDE_BYTES, begin;
        source_pos pos = scan_pos(sc);
        char *folder, *file;
        const char *close;
        int r;

        if (!scan_is_include(sc))
                return 0;
        begin = scan_run(sc, n, is_blank) + 1;
        close = begin > n + 1 && scan_peek(sc, begin - 1) == '"'
                        ? memchr(sc->p + begin, '"', (size_t)(sc->end - sc->p) - begin)
                        : NULL;
        if (!close)
                return 0;
        folder = source_folder(sc->source->arena, sc->file);
        file = folder ? arena_printf(sc->source->arena, "%s%.*s", sc->p[begin] == '/' ? "" : folder,
                                     (int)(close - sc->p - (ptrdiff_t)begin), sc->p + begin)
                      : NULL;
        if (!file)
                return -ENOMEM;
        sc->p = close + 1;
        *ret_done = true;
        if (sc->depth + 1 >= SOURCE_INCLUDE_DEPTH) {
                source_error(sc->source, pos, "\"%s\" is included more than %d files deep: is it a loop?",
                             file, SOURCE_INCLUDE_DEPTH);
                return 0;
        }
        r = scan_file(sc->source, sc->out, file, pos, sc->depth + 1);
        if (r < 0 && r != -EINVAL)
                return r;
        return source_begin_segment(sc->source, scan_pos(sc), sc->file, sc->line);
}

static void scan_open(struct scan *sc, char c)
{
        struct source_out *o = sc->out;

        if (o->n_brackets < SOURCE_BRACKETS)
                o->brackets[o->n_brackets] = (struct source_bracket){ c, scan_pos(sc) };
        o->n_brackets++;
}

static char closing_of(char open)
{
        return open == '(' ? ')' : open == '[' ? ']' : '}';
}

/* Checks that a bracket closes the one that was opened last: libconfig would only say that something is
 * wrong. */
static void scan_close(struct scan *sc, char c)
{
        struct source_out *o = sc->out;
        size_t n = o->n_brackets;
        char where[SOURCE_NAME_BYTES];

        if (sc->comma) /* a comma before it, an error for libconfig 1.5 and fine for 1.7: taken out */
                o->data[sc->comma - 1] = ' ';
        o->n_brackets -= n > 0;
        if (o->is_broken || n > SOURCE_BRACKETS)
                return;
        if (n > 0 && c == closing_of(o->brackets[n - 1].open))
                return;
        o->is_broken = true;
        if (n == 0)
                source_error(sc->source, scan_pos(sc), "there is nothing open that this %c could close", c);
        else
                source_error(sc->source, scan_pos(sc),
                             "there is a %c here, but the %c of %s is still open: a %c is missing", c,
                             o->brackets[n - 1].open, source_name(sc->source, o->brackets[n - 1].pos, where),
                             closing_of(o->brackets[n - 1].open));
}

/* At the end of all files. */
static void source_check_brackets(struct source *s, struct source_out *o)
{
        size_t n = o->n_brackets;

        if (o->is_broken || n == 0 || n > SOURCE_BRACKETS)
                return;
        o->is_broken = true;
        source_error(s, o->brackets[n - 1].pos, "the %c that is opened here is never closed: a %c is missing",
                     o->brackets[n - 1].open, closing_of(o->brackets[n - 1].open));
}

static int scan_begin(struct scan *sc, enum scan_state state, size_t n_bytes)
{
        sc->state = state;
        sc->state_pos = scan_pos(sc);
        return scan_copy(sc, n_bytes);
}

static int scan_plain(struct scan *sc)
{
        char c = *sc->p, next = scan_peek(sc, 1);
        int r;

        if (is_blank(c))
                return scan_copy(sc, 1);
        if (c == '#')
                return scan_begin(sc, SCAN_LINE_COMMENT, 1);
        if (c == '/' && (next == '/' || next == '*'))
                return scan_begin(sc, next == '/' ? SCAN_LINE_COMMENT : SCAN_BLOCK_COMMENT, 2);
        if (c == '(' || c == '[' || c == '{')
                scan_open(sc, c);
        if (c == ')' || c == ']' || c == '}')
                scan_close(sc, c);
        sc->comma = 0;
        if (c == '"')
                return scan_begin(sc, SCAN_STRING, 1);
        if (is_letter(c)) {
                size_t n = 1;

                while (is_letter(scan_peek(sc, n)) || is_digit(scan_peek(sc, n)) || scan_peek(sc, n) == '-')
                        n++;
                return scan_copy(sc, n);
        }
        if (c == '@' && scan_is_include(sc))
                scan_stray_include(sc);
        if (is_digit(c) || ((c == '-' || c == '+') && is_digit(next)))
                return scan_number(sc);
        if (c == '.') /* a real without its 0 */
                return scan_copy(sc, scan_run(sc, 1, is_number_char));
        r = scan_copy(sc, 1);
        if (c == ',' && r == 0)
                sc->comma = sc->out->len_bytes;
        return r;
}

static int scan_string(struct scan *sc)
{
        if (sc->end - sc->p >= 4 && memcmp(sc->p, "\\x00", 4) == 0)
                source_error(sc->source, scan_pos(sc), "a text cannot have \\x00 in it");
        if (*sc->p == '\\' && scan_peek(sc, 1) != '\0' && scan_peek(sc, 1) != '\n')
                return scan_copy(sc, 2);
        if (*sc->p == '"')
                sc->state = SCAN_PLAIN;
        return scan_copy(sc, 1);
}

static int scan_block_comment(struct scan *sc)
{
        if (*sc->p != '*' || scan_peek(sc, 1) != '/')
                return scan_copy(sc, 1);
        sc->state = SCAN_PLAIN;
        return scan_copy(sc, 2);
}

/* Once for each file: one wrong encoding makes many wrong lines. */
static void scan_check_line(struct scan *sc)
{
        const char *newline = memchr(sc->p, '\n', (size_t)(sc->end - sc->p));
        size_t n = newline ? (size_t)(newline - sc->p) : (size_t)(sc->end - sc->p);

        if (text_is_mqtt_utf8(sc->p, n) || sc->utf8_reported)
                return;
        sc->utf8_reported = true;
        source_error(sc->source, scan_pos(sc),
                     memchr(sc->p, '\0', n) ? "there is a zero byte in this line: is this a text file?"
                                            : "this line is not UTF-8: save the file in that encoding");
}

static int scan_step(struct scan *sc)
{
        if (*sc->p == '\n') {
                if (sc->state == SCAN_LINE_COMMENT)
                        sc->state = SCAN_PLAIN;
                return scan_newline(sc);
        }
        if (*sc->p == '\0') { /* reported with its line; would end the text for libconfig */
                sc->p++;
                return 0;
        }
        if (sc->utf8_reported && (unsigned char)*sc->p >= 0x80) { /* so that nobody complains of it again */
                sc->p++;
                return source_put(sc->out, "x", 1);
        }
        switch (sc->state) {
        case SCAN_PLAIN: return scan_plain(sc);
        case SCAN_STRING: return scan_string(sc);
        case SCAN_BLOCK_COMMENT: return scan_block_comment(sc);
        case SCAN_LINE_COMMENT: break;
        }
        return scan_copy(sc, 1);
}

static int scan_line_begin(struct scan *sc, bool *ret_include)
{
        size_t blanks = scan_run(sc, 0, is_blank);
        int r;

        scan_check_line(sc);
        if (sc->state != SCAN_PLAIN)
                return 0;
        r = scan_copy(sc, blanks);
        return r < 0 ? r : scan_include(sc, ret_include);
}

static int scan_lines(struct scan *sc)
{
        while (sc->p < sc->end) {
                bool include = false;
                uint32_t line = sc->line;
                int r = scan_line_begin(sc, &include);

                while (r == 0 && sc->p < sc->end && sc->line == line)
                        r = scan_step(sc);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int scan_end(struct scan *sc)
{
        if (sc->state == SCAN_STRING)
                source_error(sc->source, sc->state_pos,
                             "the text that begins in this line is never closed: a \" is missing");
        if (sc->state == SCAN_BLOCK_COMMENT)
                source_error(sc->source, sc->state_pos,
                             "the comment that begins in this line is never closed: */ is missing");
        sc->out->is_broken |= sc->state == SCAN_STRING || sc->state == SCAN_BLOCK_COMMENT;
        return scan_newline(sc);
}

static int scan_file(struct source *s, struct source_out *out, const char *file, source_pos asked,
                     unsigned depth)
{
        struct scan sc = { .source = s, .out = out, .file = file, .line = 1, .depth = depth };
        char *data = NULL;
        size_t len_bytes = 0;
        int r = source_slurp(s->arena, file, &data, &len_bytes);

        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                source_error(s, asked, "cannot read \"%s\": %s", file,
                             r == -ENOTSUP ? "it is not a regular file" : strerror(-r));
                return -EINVAL;
        }
        r = source_begin_segment(s, scan_pos(&sc), file, 1);
        if (r < 0)
                return r;
        sc.p = data;
        sc.end = data + len_bytes;
        if (len_bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) /* a byte order mark */
                sc.p += 3;
        r = scan_lines(&sc);
        return r < 0 ? r : scan_end(&sc);
}

int source_read(struct source *s, const char *file, source_pos asked, char **ret_text, source_pos *ret_base)
{
        struct source_out out = { .base = s->n_pos };
        CLEANUP(cleanup_free)
        char *data = NULL;
        char *text;
        int r = scan_file(s, &out, file, asked, 0);

        data = out.data;
        s->n_pos += out.n_lines + 2; /* an error may be reported behind the last line */
        if (r == -EFBIG) {
                source_error(s, asked, "\"%s\" with its includes is larger than %u MiB", file,
                             SOURCE_MAX_BYTES >> 20);
                r = -EINVAL;
        }
        if (r < 0)
                return r;
        source_check_brackets(s, &out);
        if (out.is_broken)
                return -EINVAL;
        text = arena_copy_bytes(s->arena, data, out.len_bytes);
        if (!text)
                return -ENOMEM;
        *ret_text = text;
        *ret_base = out.base;
        return 0;
}

/* ---- the report ---- */

static int source_compare(const void *a, const void *b)
{
        const struct source_finding *x = a, *y = b;

        if (x->pos != y->pos)
                return x->pos < y->pos ? -1 : 1;
        return x->number < y->number ? -1 : x->number > y->number;
}

const char *source_name(const struct source *s, source_pos pos, char text[SOURCE_NAME_BYTES])
{
        const struct source_segment *segment = pos ? source_segment_of(s, pos) : NULL;

        if (segment)
                (void)snprintf(text, SOURCE_NAME_BYTES, "%s:%" PRIu32, segment->file,
                               segment->first_line + (pos - segment->first));
        else
                (void)snprintf(text, SOURCE_NAME_BYTES, "%s", s->main_file);
        return text;
}

static int source_line(const struct source *s, const struct source_finding *f, char **ret_line)
{
        char where[SOURCE_NAME_BYTES];
        int n = asprintf(ret_line, "%s: %s: %s", source_name(s, f->pos, where),
                         f->is_error ? "error" : "warning", f->text);

        return n < 0 ? -ENOMEM : 0;
}

/* Whether a finding of the same line said it already (a template has many users); looks back a little way
 * only. */
static bool source_is_repeated(const struct source *s, size_t i)
{
        const struct source_finding *f = s->findings;

        for (size_t j = i; j > 0 && i - j < SOURCE_REPEAT_WINDOW && f[j - 1].pos == f[i].pos; j--) {
                if (strcmp(f[j - 1].text, f[i].text) == 0)
                        return true;
        }
        return false;
}

int source_report(struct source *s, struct conf_report *ret_report)
{
        struct conf_report report = { 0 };

        if (s->no_memory)
                return -ENOMEM;
        if (s->n_findings == 0)
                return 0;
        qsort(s->findings, s->n_findings, sizeof(*s->findings), source_compare);
        report.lines = calloc(s->n_findings, sizeof(*report.lines));
        if (!report.lines)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_findings; i++) {
                if (source_is_repeated(s, i))
                        continue;
                if (source_line(s, &s->findings[i], &report.lines[report.n_lines]) < 0) {
                        conf_report_done(&report);
                        return -ENOMEM;
                }
                report.n_lines++;
                report.n_errors += s->findings[i].is_error;
        }
        *ret_report = report;
        return 0;
}

void conf_report_done(struct conf_report *report)
{
        for (size_t i = 0; i < report->n_lines; i++)
                free(report->lines[i]);
        free(report->lines);
        *report = (struct conf_report){ 0 };
}
