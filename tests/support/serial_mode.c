/* SPDX-License-Identifier: MIT */
/* A file of its own: <asm/termbits.h> cannot be had beside <termios.h>. */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "serial_mode.h"

bool serial_mode_is_known(void)
{
        struct termios2 mode;
        int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        /* No kernel says ENOSYS of an ioctl; all else is a failure of the test that meets it. */
        bool is_known = fd < 0 || ioctl(fd, TCGETS2, &mode) == 0 || errno != ENOSYS;

        if (fd >= 0)
                (void)close(fd);
        return is_known;
}
