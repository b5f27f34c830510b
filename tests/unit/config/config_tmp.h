/* SPDX-License-Identifier: MIT */
/* Configurations in temporary files, for the tests of this folder. */
#ifndef MBGATE_TESTS_CONFIG_TMP_H
#define MBGATE_TESTS_CONFIG_TMP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mbgate/config/load.h"

/* Loads a text; findings go into *ret_report, which the caller frees. */
static inline int config_load_text(const char *text, size_t n_bytes, struct conf_report *ret_report,
                                   struct conf **ret_conf)
{
        char name[] = "/tmp/mbgate-config-XXXXXX";
        int fd = mkstemp(name);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "we");
        int r;

        if (!f || fwrite(text, 1, n_bytes, f) != n_bytes || fclose(f) != 0)
                abort();
        r = conf_load(name, NULL, ret_report, ret_conf);
        (void)unlink(name);
        return r;
}

#endif
