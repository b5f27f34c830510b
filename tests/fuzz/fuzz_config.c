/* SPDX-License-Identifier: MIT */
/* Any bytes as a configuration file: errors or a configuration, and its dump loads to the same again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbgate/config/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* libconfig 1.5 loses the text that it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void); // NOLINT(bugprone-reserved-identifier): its name
const char *__lsan_default_suppressions(void)  // NOLINT(bugprone-reserved-identifier)
{
        return "leak:libconfig.so\n";
}

static struct conf *load(const void *data, size_t n_bytes)
{
        int fd = memfd_create("config", MFD_CLOEXEC);
        struct conf_report report = { 0 };
        struct conf *c = NULL;
        char name[32];
        int r;

        if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes)
                abort();
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        r = conf_load(name, NULL, &report, &c);
        if ((r == 0) != (c != NULL) || (r == 0) != (report.n_errors == 0))
                abort();
        conf_report_done(&report);
        (void)close(fd);
        return c;
}

static char *dump(const struct conf *c, size_t *ret_n)
{
        char *text = NULL;
        FILE *out = open_memstream(&text, ret_n);

        if (!out || conf_dump(c, out) < 0)
                abort();
        (void)fclose(out);
        return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
        struct conf *c = load(data, n_bytes), *again;
        char *text, *same;
        size_t n_text = 0, n_same = 0;

        if (!c)
                return 0;
        text = dump(c, &n_text);
        again = load(text, n_text);
        if (!again)
                abort();
        same = dump(again, &n_same);
        if (n_text != n_same || memcmp(text, same, n_text) != 0)
                abort();
        free(text);
        free(same);
        (void)conf_unref(again);
        (void)conf_unref(c);
        return 0;
}
