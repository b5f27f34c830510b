/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "path_watch.h"

/* Permissions are set after a node was made: attributes count. */
#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR)

#define LINKS_MAX 8

/* The nearest folder above `path` that is there. 0 or −errno. */
static int watch_folder(int fd, const char *path)
{
        char folder[PATH_MAX];
        char *slash;

        if (strlen(path) >= sizeof(folder))
                return -ENAMETOOLONG;
        memcpy(folder, path, strlen(path) + 1);
        while ((slash = strrchr(folder, '/'))) {
                slash[slash == folder] = '\0'; /* the root keeps its '/' */
                if (inotify_add_watch(fd, folder, EVENTS) >= 0)
                        return 0;
                if (errno != ENOENT && errno != ENOTDIR)
                        return -errno;
                if (slash == folder)
                        break;
        }
        return -ENOENT;
}

/* Where a link leads, as a path. False: it is none. */
static bool follow(char path[PATH_MAX])
{
        char target[PATH_MAX];
        char *slash = strrchr(path, '/');
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        size_t n_folder = slash ? (size_t)(slash - path) + 1 : 0;

        if (n <= 0)
                return false;
        target[n] = '\0';
        if (*target == '/')
                n_folder = 0;
        if (n_folder + (size_t)n >= PATH_MAX)
                return false;
        memcpy(path + n_folder, target, (size_t)n + 1);
        return true;
}

/* The folder of the name, and of each link on the way. */
static int watch_all(int fd, const char *name)
{
        char path[PATH_MAX];
        int r;

        if (strlen(name) >= sizeof(path))
                return -ENAMETOOLONG;
        memcpy(path, name, strlen(name) + 1);
        r = watch_folder(fd, path);
        for (unsigned i = 0; r == 0 && i < LINKS_MAX && follow(path); i++)
                r = watch_folder(fd, path);
        return r;
}

int path_watch_open(struct path_watch *w, const char *path)
{
        int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        int r;

        w->fd = -1;
        if (fd < 0)
                return -errno;
        r = watch_all(fd, path);
        if (r < 0) {
                (void)close(fd);
                return r;
        }
        w->fd = fd;
        return 0;
}

void path_watch_take(struct path_watch *w, const char *path)
{
        char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

        while (read(w->fd, data, sizeof(data)) > 0)
                ;
        /* What is watched already stays so; folders that have come since are added. */
        if (watch_all(w->fd, path) < 0)
                path_watch_close(w);
}

void path_watch_close(struct path_watch *w)
{
        if (w->fd >= 0)
                (void)close(w->fd);
        w->fd = -1;
}
