/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/log.h"

#include "store_private.h"

#define DIRECTORY_MODE 0700
#define FILE_MODE      0600
#define CORRUPT_MAX    4 /* files kept aside: a dying card must not fill itself with them */

#define DATABASE_BYTES_MIN 512 /* SQLite's smallest page */

static int directory_prepare(const char *directory)
{
        struct stat st;

        if (mkdir(directory, DIRECTORY_MODE) < 0 && errno != EEXIST)
                return -errno;
        if (stat(directory, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* SQLite gives the log the mode of the file. */
static int file_check(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_size > 0 && st.st_size < DATABASE_BYTES_MIN)
                return DATABASE_CORRUPT;
        if ((st.st_mode & ~(mode_t)S_IFMT & ~(mode_t)FILE_MODE) != 0 && fchmod(fd, FILE_MODE) < 0)
                return -errno;
        return 0;
}

/* The name of the file is on the disk too. */
static int directory_sync(const char *directory)
{
        CLEANUP(cleanup_close)
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        /* Some file systems cannot: theirs is no better way. */
        return fd < 0 || (fsync(fd) < 0 && errno == EIO) ? -errno : 0;
}

static int file_prepare(const char *directory, const char *path)
{
        CLEANUP(cleanup_close)
        int fd = -1;
        int r = directory_prepare(directory);

        if (r < 0)
                return r;
        /* Made here, so that nobody else can read it from the first moment. */
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
        if (fd < 0)
                return -errno;
        r = file_check(fd);
        return r != 0 ? r : directory_sync(directory);
}

int store_file_prepare(const char *directory, const char *path, char reason[STORE_REASON_BYTES])
{
        int r = file_prepare(directory, path);

        if (r != 0)
                (void)snprintf(reason, STORE_REASON_BYTES, "%s",
                               r > 0 ? "it is too short for a database" : strerror(-r));
        return r;
}

/* The first name that is free, or the last one. */
static int aside_name(const char *path, char to[PATH_MAX])
{
        for (unsigned i = 1; i <= CORRUPT_MAX; i++) {
                if (snprintf(to, PATH_MAX, "%s.corrupt-%u", path, i) >= PATH_MAX)
                        return -ENAMETOOLONG;
                if (access(to, F_OK) < 0)
                        break;
        }
        return 0;
}

static int rename_part(const char *path, const char *aside, const char *part)
{
        char from[PATH_MAX], to[PATH_MAX];

        if (snprintf(from, sizeof(from), "%s%s", path, part) >= PATH_MAX ||
            snprintf(to, sizeof(to), "%s%s", aside, part) >= PATH_MAX)
                return -ENAMETOOLONG;
        return rename(from, to) < 0 && errno != ENOENT ? -errno : 0;
}

/* A damaged file is evidence: it is kept. Its log belongs to it, and must not be taken for the new one's. */
int store_file_move_aside(const char *path, const char *reason)
{
        static const char *const parts[] = { "-wal", "-journal", "" };
        char aside[PATH_MAX];
        int r = aside_name(path, aside);

        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
                r = rename_part(path, aside, parts[i]);
        if (r < 0)
                log_error(&(struct log_fields){ .error = -r },
                          "store: %s is damaged (%s) and cannot be moved aside: %s", path, reason,
                          strerror(-r));
        else
                log_error(NULL, "store: %s is damaged (%s): kept as %s, and an empty one begun", path, reason,
                          aside);
        return r;
}
