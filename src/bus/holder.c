/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/macros.h"

#include "holder.h"

#define PROC_PATH_BYTES 320
#define COMM_BYTES      32

/* By how many descriptors. */
static unsigned process_holds(const char *pid, dev_t device)
{
        char path[PROC_PATH_BYTES];
        struct dirent *entry;
        unsigned n = 0;
        DIR *dir;

        (void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
        dir = opendir(path);
        if (!dir)
                return 0;
        while ((entry = readdir(dir))) {
                struct stat st;

                n += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISCHR(st.st_mode) &&
                     st.st_rdev == device;
        }
        (void)closedir(dir);
        return n;
}

static void process_name(const char *pid, char ret_name[COMM_BYTES])
{
        char path[PROC_PATH_BYTES];
        FILE *file;

        (void)snprintf(ret_name, COMM_BYTES, "a process");
        (void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        file = fopen(path, "re");
        if (!file)
                return;
        if (fgets(ret_name, COMM_BYTES, file))
                ret_name[strcspn(ret_name, "\n")] = '\0';
        (void)fclose(file);
}

/* Appends who else has the device open, but for those that also have `peer` (0: nobody). false: none is seen.
 */
static bool holder_name(dev_t device, dev_t peer, struct buf *about)
{
        char own[16], name[COMM_BYTES];
        struct dirent *entry;
        bool found = false;
        DIR *proc = opendir("/proc");

        (void)snprintf(own, sizeof(own), "%ld", (long)getpid());
        while (proc && !found && (entry = readdir(proc))) {
                if (!isdigit((unsigned char)entry->d_name[0]) || strcmp(entry->d_name, own) == 0 ||
                    process_holds(entry->d_name, device) == 0 ||
                    (peer != 0 && process_holds(entry->d_name, peer) > 0))
                        continue;
                process_name(entry->d_name, name);
                buf_printf(about, "%s (process %s)", name, entry->d_name);
                found = true;
        }
        if (proc)
                (void)closedir(proc);
        return found;
}

void holder_describe(const char *path, unsigned n_own, struct buf *about)
{
        struct stat st = { .st_rdev = 0 };
        bool is_there = stat(path, &st) == 0;
        char own[16];

        (void)snprintf(own, sizeof(own), "%ld", (long)getpid());
        if (is_there && process_holds(own, st.st_rdev) > n_own) {
                buf_append(about, "held by another bus of this program: two names lead to one device");
                return;
        }
        buf_append(about, "held by ");
        if (!is_there || !holder_name(st.st_rdev, 0, about))
                buf_printf(about, "another process: \"sudo fuser -v %s\" names it", path);
}

bool holder_shares(const char *path, struct buf *about)
{
        struct stat st, multiplexer = { .st_rdev = 0 };

        if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
                return false;
        (void)stat("/dev/ptmx", &multiplexer);
        return holder_name(st.st_rdev, multiplexer.st_rdev, about);
}
