/* SPDX-License-Identifier: MIT */
#include <asm/termbits.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "ptymode.h"

#define BAUD_ERROR_PERCENT 2

bool ptymode_fits(int fd, const struct pace *pace)
{
        struct termios2 mode;
        char parity = 'N', stop;
        uint32_t error;

        if (ioctl(fd, TCGETS2, &mode) < 0)
                return true;
        error = mode.c_ospeed > pace->baud ? mode.c_ospeed - pace->baud : pace->baud - mode.c_ospeed;
        if ((mode.c_iflag & INPCK) || (mode.c_cflag & PARENB))
                parity = mode.c_cflag & PARODD ? 'O' : 'E';
        stop = mode.c_cflag & CSTOPB ? '2' : '1';
        return (uint64_t)error * 100 <= (uint64_t)pace->baud * BAUD_ERROR_PERCENT &&
               pace->format[1] == parity && pace->format[2] == stop;
}
