/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "mbgate/base/macros.h"

void cleanup_free(void *p)
{
        free(*(void **)p);
}

void cleanup_close(int *fd)
{
        int saved = errno;

        if (*fd >= 0)
                (void)close(*fd);
        errno = saved;
}
