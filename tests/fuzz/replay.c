/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over the files of the folders named, without libFuzzer. */
#include <dirent.h>
#include <stdio.h>

#include "fuzz.h"
#include "guarded.h"

#define INPUT_MAX_BYTES ((size_t)1 << 20)

static int replay_file(const char *path, const struct guarded *room)
{
        FILE *file = fopen(path, "rb");
        size_t n;

        if (!file) {
                perror(path);
                return -1;
        }
        n = fread(room->map, 1, INPUT_MAX_BYTES, file);
        (void)fclose(file);
        memmove(room->end - n, room->map, n);
        (void)LLVMFuzzerTestOneInput(room->end - n, n);
        return 0;
}

/* The number of files run, or −1. */
static int replay_folder(const char *folder, const struct guarded *room)
{
        DIR *dir = opendir(folder);
        const struct dirent *entry;
        int n_files = 0;

        if (!dir) {
                perror(folder);
                return -1;
        }
        while ((entry = readdir(dir))) {
                char path[4096];

                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
                if (replay_file(path, room) < 0)
                        break;
                n_files++;
        }
        (void)closedir(dir);
        return entry ? -1 : n_files;
}

int main(int argc, char *argv[])
{
        struct guarded room = guarded_new(INPUT_MAX_BYTES);
        int n_all = 0;

        (void)LLVMFuzzerTestOneInput(room.end, 0);
        for (int i = 1; i < argc; i++) {
                int n = replay_folder(argv[i], &room);

                if (n < 0)
                        return EXIT_FAILURE;
                n_all += n;
        }
        (void)printf("%d inputs\n", n_all);
        guarded_done(&room);
        return n_all > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
