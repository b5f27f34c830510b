/* SPDX-License-Identifier: MIT */
/*
 * The speed and format that a master has set on its end of a pseudo-terminal. The kernel keeps speed and stop
 * bits, but drops the flag of parity (pty.c, pty_set_termios()): there is one when input parity checking
 * (INPCK) is asked for, as libmodbus, mbgated and all that check parity do.
 */
#ifndef MBSIM_PTYMODE_H
#define MBSIM_PTYMODE_H

#include <stdbool.h>

#include "pace.h"

/* Whether a UART with the settings of `pace` would understand; the speed may be 2 % off. True if unknown. */
bool ptymode_fits(int fd, const struct pace *pace);

#endif
