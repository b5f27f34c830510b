/* SPDX-License-Identifier: MIT */
/* The rules of files that links and the broker name, and of their topic filters. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/codec/topic.h"

#include "loader.h"

/* A descriptor of a file that can be read, or −1 with a finding. */
static int open_file(struct loader *l, const char *key, const char *file)
{
        int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0)
                source_error(&l->source, loader_pos(l, key), "%s: cannot read %s \"%s\": %s", PLACE(l), key,
                             file, strerror(errno));
        return fd;
}

void check_file(struct loader *l, const char *key, const char *file)
{
        CLEANUP(cleanup_close)
        int fd = *file ? open_file(l, key, file) : -1;
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
                source_error(&l->source, loader_pos(l, key), "%s: %s \"%s\" is a folder, not a file",
                             PLACE(l), key, file);
}

void check_folder(struct loader *l, const char *key, const char *folder)
{
        struct stat st;

        if (!*folder || (stat(folder, &st) == 0 && S_ISDIR(st.st_mode)))
                return;
        source_error(&l->source, loader_pos(l, key), "%s: %s \"%s\" is no folder", PLACE(l), key, folder);
}

int open_secret(struct loader *l, const char *key, const char *file)
{
        CLEANUP(cleanup_close)
        int fd = open_file(l, key, file);
        struct stat st;
        int keep = fd;

        if (fd < 0)
                return -1;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                source_error(&l->source, loader_pos(l, key), "%s: %s \"%s\" is not a file", PLACE(l), key,
                             file);
                return -1;
        }
        if (st.st_mode & S_IRWXO) {
                source_error(&l->source, loader_pos(l, key),
                             "%s: everybody can read %s \"%s\": run chmod o-rwx %s", PLACE(l), key, file,
                             file);
                return -1;
        }
        fd = -1; // NOLINT(clang-analyzer-deadcode.DeadStores): for the cleanup
        return keep;
}

void check_secret(struct loader *l, const char *key, const char *file)
{
        CLEANUP(cleanup_close)
        int fd = *file ? open_secret(l, key, file) : -1;

        (void)fd;
}

void check_filters(struct loader *l, const char *key, char *const *filters, size_t n)
{
        const struct tree *t = loader_own(l, key);

        for (size_t i = 0; i < n; i++) {
                if (!topic_is_filter(filters[i], strlen(filters[i])))
                        source_error(&l->source, t ? t->items[i].pos : 0,
                                     "%s: %s has \"%s\", which is no topic filter: + stands for a whole "
                                     "level, # for all "
                                     "levels at the end",
                                     PLACE(l), key, filters[i]);
        }
}
