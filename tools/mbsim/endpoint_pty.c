/* SPDX-License-Identifier: MIT */
/*
 * A pseudo-terminal. We keep the slave side open, raw, so that neither echo nor EIO troubles us while no
 * master is there. But the exclusive mode (TIOCEXCL) of a master that has gone would then stay for ever and
 * shut the next one out: inotify tells of the closing, and we take the mode back and forget unread bytes, as
 * a serial port does when its last user leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "endpoint.h"
#include "line.h"
#include "ptymode.h"
#include "simclock.h"

#define PTY_RETRY_NS  NS_PER_S
#define PTY_READ_MAX  4096
#define PTY_NAME_SIZE 64

struct pty {
        struct endpoint endpoint;
        struct source master;
        struct source watch; /* inotify on the slave's node */
        int slave_fd;
        long n_users; /* that opened the slave by its name, besides us */
        char name[PTY_NAME_SIZE];
        char link[PATH_MAX];
        struct line line;
};

static struct pty *pty_of(struct endpoint *e)
{
        return CONTAINER_OF(e, struct pty, endpoint);
}

static size_t pty_write(void *user, const uint8_t *bytes, size_t n_bytes)
{
        struct pty *p = user;
        ssize_t n = write(p->master.fd, bytes, n_bytes);

        return n < 0 ? n_bytes : n_bytes - (size_t)n;
}

static void pty_make_raw(int fd)
{
        struct termios t;

        if (tcgetattr(fd, &t) < 0)
                return;
        cfmakeraw(&t);
        t.c_cflag |= CLOCAL;
        (void)tcsetattr(fd, TCSANOW, &t);
}

/* Whether a fault asked for a hang-up while the line went on. */
static void pty_after_line(struct pty *p, uint64_t now_ns)
{
        uint64_t duration_ns = p->line.hangup_ns;

        if (duration_ns == 0)
                return;
        p->line.hangup_ns = 0;
        endpoint_hangup(&p->endpoint, now_ns, duration_ns);
}

static void pty_master_ready(struct source *s, uint32_t events)
{
        struct pty *p = CONTAINER_OF(s, struct pty, master);
        uint8_t bytes[PTY_READ_MAX];
        ssize_t n;
        uint64_t now_ns;

        (void)events;
        n = read(s->fd, bytes, sizeof(bytes));
        if (n <= 0)
                return;
        if (p->endpoint.bus->exact && !ptymode_fits(p->slave_fd, &p->endpoint.bus->pace))
                return; /* a UART makes nothing of it */
        now_ns = simclock_now_ns();
        line_receive(&p->line, bytes, (size_t)n, now_ns);
        pty_after_line(p, now_ns);
}

static void pty_last_user_left(struct pty *p)
{
        (void)ioctl(p->slave_fd, TIOCNXCL);
        (void)tcflush(p->slave_fd, TCIFLUSH);
        pty_make_raw(p->slave_fd);
        framelog_event(p->endpoint.bus->log, p->endpoint.bus->name, simclock_now_ns(),
                       "closed by its last user");
}

static void pty_watch_ready(struct source *s, uint32_t events)
{
        struct pty *p = CONTAINER_OF(s, struct pty, watch);
        char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(s->fd, data, sizeof(data));
        bool closed = false;

        (void)events;
        for (ssize_t i = 0; i < n;) {
                const struct inotify_event *e = (const void *)(data + i);

                if (e->mask & IN_OPEN)
                        p->n_users++;
                if (e->mask & IN_CLOSE) {
                        p->n_users -= p->n_users > 0;
                        closed = true;
                }
                i += (ssize_t)(sizeof(*e) + e->len);
        }
        if (closed && p->n_users == 0)
                pty_last_user_left(p);
}

/* Points the link to the slave in one step: who opens it finds the old or the new one. */
static int pty_make_link(const struct pty *p)
{
        char temporary[PATH_MAX + 8];
        struct stat st;

        if (lstat(p->link, &st) == 0 && !S_ISLNK(st.st_mode))
                return -EEXIST;
        snprintf(temporary, sizeof(temporary), "%s.new", p->link);
        (void)unlink(temporary);
        if (symlink(p->name, temporary) < 0 || rename(temporary, p->link) < 0)
                return -errno;
        return 0;
}

/* Only if it still is ours: somebody may have started a second mbsim on the same name. */
static void pty_remove_link(const struct pty *p)
{
        char target[PTY_NAME_SIZE];
        ssize_t n = readlink(p->link, target, sizeof(target));

        if (n == (ssize_t)strlen(p->name) && memcmp(target, p->name, (size_t)n) == 0)
                (void)unlink(p->link);
}

static int pty_watch(struct pty *p)
{
        p->watch.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (p->watch.fd < 0)
                return -errno;
        if (inotify_add_watch(p->watch.fd, p->name, IN_OPEN | IN_CLOSE) < 0)
                return -errno;
        return loop_add(p->endpoint.loop, &p->watch);
}

static void pty_close(struct pty *p)
{
        if (p->name[0] != '\0')
                pty_remove_link(p);
        if (p->watch.fd >= 0)
                close(p->watch.fd);
        if (p->slave_fd >= 0)
                close(p->slave_fd);
        if (p->master.fd >= 0)
                close(p->master.fd);
        p->watch.fd = p->slave_fd = p->master.fd = -1;
        p->name[0] = '\0';
        line_reset(&p->line);
}

static int pty_open_pair(struct pty *p)
{
        p->master.fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (p->master.fd < 0 || grantpt(p->master.fd) < 0 || unlockpt(p->master.fd) < 0)
                return -errno;
        if (ptsname_r(p->master.fd, p->name, sizeof(p->name)) != 0)
                return -errno;
        p->slave_fd = open(p->name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (p->slave_fd < 0)
                return -errno;
        pty_make_raw(p->slave_fd);
        return 0;
}

static int pty_open(struct pty *p)
{
        int r = pty_open_pair(p);

        p->n_users = 0;
        if (r == 0)
                r = loop_add(p->endpoint.loop, &p->master);
        if (r == 0)
                r = pty_watch(p);
        if (r == 0)
                r = pty_make_link(p);
        if (r < 0)
                pty_close(p);
        return r;
}

static uint64_t pty_next_ns(struct endpoint *e, bool *ret_sharp)
{
        const struct pty *p = pty_of(e);

        *ret_sharp = e->back_ns == LINE_NEVER && line_next_is_sharp(&p->line);
        return e->back_ns != LINE_NEVER ? e->back_ns : line_next_ns(&p->line);
}

static void pty_advance(struct endpoint *e, uint64_t now_ns)
{
        struct pty *p = pty_of(e);

        if (e->back_ns == LINE_NEVER) {
                line_advance(&p->line, now_ns);
                pty_after_line(p, now_ns);
                return;
        }
        if (now_ns < e->back_ns)
                return;
        if (pty_open(p) < 0) {
                e->back_ns = now_ns + PTY_RETRY_NS;
                return;
        }
        e->back_ns = LINE_NEVER;
        framelog_event(e->bus->log, e->bus->name, now_ns, "is back");
}

static void pty_hangup(struct endpoint *e, uint64_t back_ns)
{
        pty_close(pty_of(e));
        e->back_ns = back_ns;
}

static void pty_describe(struct endpoint *e, struct buf *out)
{
        buf_append(out, pty_of(e)->link);
}

static void pty_free(struct endpoint *e)
{
        pty_close(pty_of(e));
        free(pty_of(e));
}

static const struct endpoint_ops pty_ops = {
        .next_ns = pty_next_ns,
        .advance = pty_advance,
        .hangup = pty_hangup,
        .describe = pty_describe,
        .free = pty_free,
};

int endpoint_new_pty(struct loop *loop, struct simbus *bus, const char *link, struct endpoint **ret)
{
        struct pty *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->endpoint = (struct endpoint){ .ops = &pty_ops, .bus = bus, .loop = loop, .back_ns = LINE_NEVER };
        p->master = (struct source){ .fd = -1, .ready = pty_master_ready };
        p->watch = (struct source){ .fd = -1, .ready = pty_watch_ready };
        p->slave_fd = -1;
        line_init(&p->line, bus, FRAMING_RTU, true, pty_write, p);
        r = strlen(link) < sizeof(p->link) ? 0 : -ENAMETOOLONG;
        if (r == 0) {
                memcpy(p->link, link, strlen(link) + 1);
                r = pty_open(p);
        }
        if (r < 0) {
                pty_free(&p->endpoint);
                return r;
        }
        *ret = &p->endpoint;
        return 0;
}
