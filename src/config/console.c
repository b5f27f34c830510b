/* SPDX-License-Identifier: MIT */
/* Serial ports on which the kernel and a login prompt talk: their lines would be told what no device asked
 * for. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "console.h"
#include "loader.h"

#define CONSOLE_FILE "/dev/console"
#define TEXT_BYTES   4096 /* a kernel's command line has at most 2048 or 4096 */

bool console_is_named(const char *text, const char *prefix, const char *tty)
{
        size_t n_prefix = strlen(prefix), n = strlen(tty);

        while (*(text += strspn(text, " \t\n"))) {
                size_t n_word = strcspn(text, " \t\n");
                const char *name = text + n_prefix;

                if (n_word >= n_prefix + n && strncmp(text, prefix, n_prefix) == 0 &&
                    strncmp(name, tty, n) == 0 && (n_word == n_prefix + n || name[n] == ','))
                        return true;
                text += n_word;
        }
        return false;
}

/* Whether a file names it; false when it cannot be read, as /proc/cmdline in our unit. */
static bool file_names(const char *file, const char *prefix, const char *tty)
{
        CLEANUP(cleanup_close)
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        char text[TEXT_BYTES];
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (n < 0)
                return false;
        text[n] = '\0';
        return console_is_named(text, prefix, tty);
}

static bool is_console(const struct loader *l, const char *tty)
{
        if (l->options->cmdline_file)
                return file_names(l->options->cmdline_file, "console=", tty);
        return file_names("/sys/class/tty/console/active", "", tty) ||
               file_names("/proc/cmdline", "console=", tty);
}

/* The name of its node, "ttyS0", also when it is not there. −ENOMEM. */
static int tty_of(struct loader *l, const char *port, const char **ret)
{
        CLEANUP(cleanup_free)
        char *path = realpath(port, NULL);
        const char *slash = strrchr(path ? path : port, '/');

        *ret = arena_copy(l->scratch, slash ? slash + 1 : port);
        return *ret ? 0 : -ENOMEM;
}

static bool is_the_console(const char *port)
{
        struct stat st;

        return strcmp(port, CONSOLE_FILE) == 0 ||
               (stat(port, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 1));
}

int check_console(struct loader *l, const struct conf_bus *b)
{
        const char *tty;
        int r;

        if (is_the_console(b->port)) {
                source_error(&l->source, loader_own_pos(l, "port"),
                             "%s: port \"%s\" is the console of this system: name a serial device that "
                             "nothing else writes to",
                             PLACE(l), b->port);
                return 0;
        }
        r = tty_of(l, b->port, &tty);
        if (r == 0 && is_console(l, tty))
                source_warning(&l->source, loader_own_pos(l, "port"),
                               "%s: port \"%s\" is a console: the kernel's messages go to the line, and a "
                               "login may read from it: take console=%s out of the kernel's command line and "
                               "run systemctl disable --now serial-getty@%s",
                               PLACE(l), b->port, tty, tty);
        return r;
}
