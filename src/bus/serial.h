/* SPDX-License-Identifier: MIT */
/*
 * A serial line opened for us alone, raw, at exactly the speed asked for. Used by the port, on the worker's
 * thread. Nothing here logs: what is worth telling goes into a text.
 */
#ifndef MBGATE_BUS_SERIAL_H
#define MBGATE_BUS_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"
#include "mbgate/model/port.h"

/*
 * Opens bus->port: O_NONBLOCK, TIOCEXCL and flock(2), raw mode, speed by termios2 read back, RS-485 by the
 * kernel when configured, low latency where the driver knows it. `about` gets what the log may say, on
 * failure the whole reason, or nothing when the error itself says it. 0, or −errno: −EBUSY another process
 * holds it, −ENOTTY no terminal, −ENOTSUP the driver does not take the speed, the format or the direction
 * asked for.
 */
MUST_CHECK int serial_open(const struct conf_bus *bus, struct buf *about, int *ret_fd);

/* Drops what was received and not read, and what was written and not sent. */
void serial_flush(int fd);

/* TIOCGICOUNT. −errno: the driver does not count. */
MUST_CHECK int serial_line_errors(int fd, struct port_line_errors *ret);

/* Direction by RTS: takes the line before a request … */
MUST_CHECK int serial_rts_take(int fd, const struct conf_bus *bus);

/* … and gives it back after the last character, computed to leave at `sent_us`. */
MUST_CHECK int serial_rts_give(int fd, const struct conf_bus *bus, uint64_t sent_us);

#endif
