/* SPDX-License-Identifier: MIT */
/*
 * Tells when something may have changed on the way to a device's name: an adapter came back, under the same
 * node or another, and its links in /dev/serial/by-id are made anew. Folders that are not there yet are
 * waited for in the nearest one that is. Owned by the worker while its port is not open.
 */
#ifndef MBGATE_BUS_PATH_WATCH_H
#define MBGATE_BUS_PATH_WATCH_H

#include "mbgate/base/macros.h"

struct path_watch {
        int fd; /* −1: not watching; readable: path_watch_take() */
};

/* Watches the folder of `path`, and that of what it leads to. −errno of inotify(7); then fd is −1. */
MUST_CHECK int path_watch_open(struct path_watch *w, const char *path);

/* Forgets what was told, and watches the way as it is now. */
void path_watch_take(struct path_watch *w, const char *path);

void path_watch_close(struct path_watch *w);

#endif
