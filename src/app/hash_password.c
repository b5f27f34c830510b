/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include "mbgate/broker/passwd.h"

#include "hash_password.h"

#define PASSWORD_MAX_BYTES 65535 /* MQTT 5.0 §3.1.3.6 */
#define KEY_CTRL_C         3

struct secret {
        char text[PASSWORD_MAX_BYTES + 2];
        size_t n;
};

static void secret_free(struct secret *s)
{
        explicit_bzero(s, sizeof(*s));
        free(s);
}

static void secret_freep(struct secret **s)
{
        if (*s)
                secret_free(*s);
}

/* One line without its end. False: there is none, it is too long, or the user has thought better of it. */
static bool read_line(FILE *in, struct secret *s)
{
        if (!fgets(s->text, sizeof(s->text), in))
                return false;
        s->n = strcspn(s->text, "\r\n");
        return s->n <= PASSWORD_MAX_BYTES && s->text[s->n] != '\0' && !memchr(s->text, KEY_CTRL_C, s->n);
}

/* Ctrl-C must not leave a terminal without echo: it ends the line instead, which is refused then. */
static bool read_hidden(FILE *in, FILE *err, const char *prompt, struct secret *s)
{
        int fd = fileno(in);
        struct termios old, hidden;
        bool is_read;

        if (tcgetattr(fd, &old) < 0)
                return false;
        hidden = old;
        hidden.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
        hidden.c_cc[VEOL] = KEY_CTRL_C;
        (void)fputs(prompt, err);
        (void)fflush(err);
        if (tcsetattr(fd, TCSAFLUSH, &hidden) < 0)
                return false;
        is_read = read_line(in, s);
        (void)tcsetattr(fd, TCSAFLUSH, &old);
        (void)fputc('\n', err);
        return is_read;
}

static bool read_password(FILE *in, FILE *err, struct secret *s)
{
        CLEANUP(secret_freep)
        struct secret *again = NULL;

        if (!isatty(fileno(in)))
                return read_line(in, s);
        again = calloc(1, sizeof(*again));
        if (!again || !read_hidden(in, err, "Password: ", s) || !read_hidden(in, err, "Again: ", again))
                return false;
        if (again->n == s->n && memcmp(again->text, s->text, s->n) == 0)
                return true;
        (void)fputs("mbgated: these are two different ones\n", err);
        return false;
}

int hash_password(const char *user, FILE *in, FILE *out, FILE *err)
{
        CLEANUP(secret_freep)
        struct secret *secret = calloc(1, sizeof(*secret));
        size_t size = strlen(user) + PASSWD_LINE_EXTRA_BYTES;
        CLEANUP(cleanup_free)
        char *line = malloc(size);
        int r;

        if (!secret || !line)
                return EX_OSERR;
        if (!read_password(in, err, secret)) {
                (void)fputs("mbgated: no password was given\n", err);
                return EX_NOINPUT;
        }
        r = passwd_make_line(user, secret->text, secret->n, line, size);
        if (r < 0) {
                (void)fprintf(err, "mbgated: \"%s\" cannot be hashed: %s\n", user,
                              r == -EINVAL ? "a name is text without ':'" : strerror(-r));
                return r == -EINVAL ? EX_USAGE : EX_OSERR;
        }
        return fprintf(out, "%s\n", line) > 0 && fflush(out) == 0 ? EX_OK : EX_IOERR;
}
