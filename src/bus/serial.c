/* SPDX-License-Identifier: MIT */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "mbgate/base/clock.h"

#include "holder.h"
#include "serial.h"

/* Documentation/admin-guide/devices.txt of Linux: Unix98 pseudo-terminals. */
#define PTY_MAJOR_FIRST 136
#define PTY_MAJOR_LAST  143

#define BAUD_ERROR_PERMILLE 20

/* A UART's shift register may still hold this much when its line status is asked for. */
#define RTS_EMPTY_WAIT_US UINT64_C(5000)
#define RTS_EMPTY_STEP_US UINT64_C(100)

/* The whole reason of a failure, in place of what was said of the port so far. */
PRINTF_LIKE(3, 4) static int serial_fail(int r, struct buf *about, const char *fmt, ...)
{
        va_list ap;

        buf_reset(about);
        va_start(ap, fmt);
        buf_vprintf(about, fmt, ap);
        va_end(ap);
        return r;
}

static bool fd_is_pty(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) >= PTY_MAJOR_FIRST &&
               major(st.st_rdev) <= PTY_MAJOR_LAST;
}

/* Both locks: TIOCEXCL keeps out later opens (but root's), flock(2) those who ask before they use it. */
static int serial_lock(int fd)
{
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (ioctl(fd, TIOCEXCL) < 0)
                return -errno;
        return 0;
}

static tcflag_t serial_cflag(const struct conf_bus *bus)
{
        tcflag_t flags = CREAD | CLOCAL | BOTHER | (BOTHER << IBSHIFT);

        flags |= bus->data_bits == 7 ? CS7 : CS8;
        if (bus->stop_bits == 2)
                flags |= CSTOPB;
        if (bus->parity != 'N')
                flags |= PARENB;
        if (bus->parity == 'O')
                flags |= PARODD;
        return flags;
}

/* The driver keeps what it can; what it dropped silently is found by reading back. */
static int serial_check_mode(int fd, const struct conf_bus *bus, const struct termios2 *asked,
                             struct buf *about)
{
        const tcflag_t format = CSIZE | CSTOPB | PARENB | PARODD;
        struct termios2 got;
        uint64_t error;

        if (ioctl(fd, TCGETS2, &got) < 0)
                return -errno;
        error = got.c_ospeed > bus->baud ? got.c_ospeed - bus->baud : bus->baud - got.c_ospeed;
        if (error * 1000 > (uint64_t)bus->baud * BAUD_ERROR_PERMILLE)
                return serial_fail(-ENOTSUP, about, "the driver runs %u Bd instead of %u",
                                   (unsigned)got.c_ospeed, (unsigned)bus->baud);
        /* A pseudo-terminal has no parity and drops the flag. */
        if (((got.c_cflag ^ asked->c_cflag) & format) != 0 && !fd_is_pty(fd))
                return serial_fail(-ENOTSUP, about, "the driver does not take the format %u%c%u",
                                   (unsigned)bus->data_bits, bus->parity, (unsigned)bus->stop_bits);
        return 0;
}

/* Raw, no flow control, no hang-up on close (a falling DTR resets some devices). Bad parity arrives as 0. */
static int serial_set_mode(int fd, const struct conf_bus *bus, struct buf *about)
{
        struct termios2 mode;

        if (ioctl(fd, TCGETS2, &mode) < 0)
                return -errno;
        mode.c_iflag = bus->parity != 'N' ? INPCK : IGNPAR;
        mode.c_oflag = 0;
        mode.c_lflag = 0;
        mode.c_cflag = serial_cflag(bus);
        mode.c_cc[VMIN] = 1; /* with 0 an empty line reads like a hang-up */
        mode.c_cc[VTIME] = 0;
        mode.c_ispeed = bus->baud;
        mode.c_ospeed = bus->baud;
        if (ioctl(fd, TCSETS2, &mode) < 0)
                return -errno;
        return serial_check_mode(fd, bus, &mode, about);
}

static int serial_set_rs485(int fd, const struct conf_bus *bus, struct buf *about)
{
        struct serial_rs485 ask = { .flags = SER_RS485_ENABLED }, got = { .flags = 0 };

        ask.flags |= bus->rts_on_send ? SER_RS485_RTS_ON_SEND : SER_RS485_RTS_AFTER_SEND;
        ask.delay_rts_before_send = bus->rts_delay_before_ms;
        ask.delay_rts_after_send = bus->rts_delay_after_ms;
        if (ioctl(fd, TIOCSRS485, &ask) < 0 || ioctl(fd, TIOCGRS485, &got) < 0)
                return serial_fail(-ENOTSUP, about,
                                   "the driver does not know RS-485; set direction = \"rts\" or \"none\"");
        if (!(got.flags & SER_RS485_ENABLED))
                return serial_fail(-ENOTSUP, about, "the driver refused RS-485 mode");
        buf_append(about, ", RS-485 by the kernel");
        if (((got.flags ^ ask.flags) & (SER_RS485_RTS_ON_SEND | SER_RS485_RTS_AFTER_SEND)) != 0)
                buf_append(about, " with the driver's own RTS level");
        if (got.delay_rts_before_send != ask.delay_rts_before_send ||
            got.delay_rts_after_send != ask.delay_rts_after_send)
                buf_printf(about, " and delays of %u and %u ms", (unsigned)got.delay_rts_before_send,
                           (unsigned)got.delay_rts_after_send);
        return 0;
}

static int serial_set_direction(int fd, const struct conf_bus *bus, struct buf *about)
{
        struct serial_rs485 got = { .flags = 0 };
        int bits;

        switch (bus->direction) {
        case CONF_DIRECTION_KERNEL: return serial_set_rs485(fd, bus, about);
        case CONF_DIRECTION_RTS:
                if (ioctl(fd, TIOCMGET, &bits) < 0 || serial_rts_give(fd, bus, 0) < 0)
                        return serial_fail(-ENOTSUP, about, "the driver has no RTS line");
                buf_append(about, ", direction by RTS");
                return 0;
        case CONF_DIRECTION_AUTO:
                /* The adapter turns the line round by itself, or the device tree told the kernel to. */
                if (ioctl(fd, TIOCGRS485, &got) == 0 && (got.flags & SER_RS485_ENABLED))
                        buf_append(about, ", RS-485 by the kernel as it was");
                return 0;
        case CONF_DIRECTION_NONE: return 0;
        }
        return 0;
}

/* Best effort: ftdi_sio then sends after 1 ms instead of 16; others ignore it. */
static void serial_set_low_latency(int fd, bool on, struct buf *about)
{
        struct serial_struct serial;

        if (!on)
                return;
        if (ioctl(fd, TIOCGSERIAL, &serial) < 0) {
                buf_append(about, ", low latency not known to the driver");
                return;
        }
        serial.flags |= (int)ASYNC_LOW_LATENCY;
        if (ioctl(fd, TIOCSSERIAL, &serial) < 0)
                buf_printf(about, ", low latency refused (%s)", strerrordesc_np(errno));
        else if (ioctl(fd, TIOCGSERIAL, &serial) == 0 && !(serial.flags & (int)ASYNC_LOW_LATENCY))
                buf_append(about, ", low latency not kept by the driver");
        else
                buf_append(about, ", low latency on");
}

static int serial_setup(int fd, const struct conf_bus *bus, struct buf *about)
{
        int r;

        if (!isatty(fd))
                return serial_fail(-ENOTTY, about, "it is not a serial line");
        r = serial_lock(fd);
        if (r == -EBUSY)
                holder_describe(bus->port, 1, about);
        if (r < 0)
                return r;
        r = serial_set_mode(fd, bus, about);
        if (r < 0)
                return r;
        buf_printf(about, "%u %u%c%u", (unsigned)bus->baud, (unsigned)bus->data_bits, bus->parity,
                   (unsigned)bus->stop_bits);
        if (fd_is_pty(fd))
                buf_append(about, " (pseudo-terminal)");
        r = serial_set_direction(fd, bus, about);
        if (r < 0)
                return r;
        serial_set_low_latency(fd, bus->low_latency, about);
        serial_flush(fd);
        return 0;
}

int serial_open(const struct conf_bus *bus, struct buf *about, int *ret_fd)
{
        CLEANUP(cleanup_close)
        int fd = -1;
        int r;

        /* Who only listens cannot even write by mistake. */
        fd = open(bus->port,
                  (bus->mode == CONF_MODE_LISTEN ? O_RDONLY : O_RDWR) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                if (r == -EBUSY)
                        holder_describe(bus->port, 0, about);
                if (r == -EACCES || r == -EPERM)
                        return serial_fail(
                                r, about,
                                "%s: the user needs the group dialout, and the unit a DeviceAllow= line",
                                strerrordesc_np(-r));
                return r;
        }
        r = serial_setup(fd, bus, about);
        if (r < 0)
                return r;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

void serial_flush(int fd)
{
        (void)ioctl(fd, TCFLSH, TCIOFLUSH);
}

int serial_line_errors(int fd, struct port_line_errors *ret)
{
        struct serial_icounter_struct n;

        if (ioctl(fd, TIOCGICOUNT, &n) < 0)
                return -errno;
        ret->n_parity = (uint32_t)n.parity;
        ret->n_framing = (uint32_t)n.frame;
        ret->n_breaks = (uint32_t)n.brk;
        return 0;
}

static void sleep_until(uint64_t until_us)
{
        struct timespec at = { .tv_sec = (time_t)(until_us / USEC_PER_SEC),
                               .tv_nsec = (long)(until_us % USEC_PER_SEC) * 1000 };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
                ;
}

static int rts_set(int fd, bool on)
{
        int bits = TIOCM_RTS;

        return ioctl(fd, on ? TIOCMBIS : TIOCMBIC, &bits) < 0 ? -errno : 0;
}

int serial_rts_take(int fd, const struct conf_bus *bus)
{
        int r = rts_set(fd, bus->rts_on_send);

        if (r == 0 && bus->rts_delay_before_ms > 0)
                sleep_until(clock_monotonic_us() + bus->rts_delay_before_ms * USEC_PER_MSEC);
        return r;
}

int serial_rts_give(int fd, const struct conf_bus *bus, uint64_t sent_us)
{
        uint64_t give_up_us = sent_us + RTS_EMPTY_WAIT_US;
        unsigned status;

        if (sent_us != 0) {
                sleep_until(sent_us);
                /* A UART of the board can tell; USB adapters cannot and have only the computed time. */
                while (ioctl(fd, TIOCSERGETLSR, &status) == 0 && !(status & TIOCSER_TEMT) &&
                       clock_monotonic_us() < give_up_us)
                        sleep_until(clock_monotonic_us() + RTS_EMPTY_STEP_US);
                if (bus->rts_delay_after_ms > 0)
                        sleep_until(clock_monotonic_us() + bus->rts_delay_after_ms * USEC_PER_MSEC);
        }
        return rts_set(fd, !bus->rts_on_send);
}
