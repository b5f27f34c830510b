/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mbgate/base/macros.h"

#include "listener_holder.h"

#define STATE_LISTEN 0x0Au /* TCP_LISTEN of the kernel */

static void cleanup_file(FILE **file)
{
        if (*file)
                (void)fclose(*file);
}

static void cleanup_dir(DIR **dir)
{
        if (*dir)
                (void)closedir(*dir);
}

/* The inode of the socket that listens on a port, by proc(5) /proc/net/tcp; 0: none. */
static uint64_t find_inode(const char *table, uint16_t port)
{
        CLEANUP(cleanup_file)
        FILE *file = fopen(table, "re");
        char line[512];

        while (file && fgets(line, sizeof(line), file)) {
                unsigned local = 0, state = 0;
                uint64_t inode = 0;
                int n = sscanf(line,
                               " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %" SCNu64,
                               &local, &state, &inode);

                if (n == 3 && local == port && state == STATE_LISTEN)
                        return inode;
        }
        return 0;
}

/* Whether a process has a descriptor that is the link `wanted`, "socket:[4711]". */
static bool process_has(const char *pid, const char *wanted)
{
        char path[64], target[64];
        CLEANUP(cleanup_dir)
        DIR *dir = NULL;
        const struct dirent *entry;

        (void)snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
        dir = opendir(path);
        while (dir && (entry = readdir(dir)) != NULL) {
                ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

                if (n > 0 && (size_t)n == strlen(wanted) && memcmp(target, wanted, (size_t)n) == 0)
                        return true;
        }
        return false;
}

static void say_process(const char *pid, struct buf *about)
{
        char path[64], name[32] = "";
        CLEANUP(cleanup_file)
        FILE *file = NULL;

        (void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
        file = fopen(path, "re");
        if (file && fgets(name, sizeof(name), file))
                name[strcspn(name, "\n")] = '\0';
        buf_printf(about, ": %s (process %s) has it", name[0] != '\0' ? name : "a program", pid);
}

void listener_holder_describe(uint16_t port, struct buf *about)
{
        char wanted[40];
        CLEANUP(cleanup_dir)
        DIR *proc = NULL;
        const struct dirent *entry;
        uint64_t inode = find_inode("/proc/net/tcp", port);

        if (inode == 0)
                inode = find_inode("/proc/net/tcp6", port);
        if (inode == 0)
                return;
        (void)snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", inode);
        proc = opendir("/proc");
        while (proc && (entry = readdir(proc)) != NULL) {
                if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !process_has(entry->d_name, wanted))
                        continue;
                say_process(entry->d_name, about);
                return;
        }
}
