/* SPDX-License-Identifier: MIT */
/* Ports that are consoles of this system. */
#ifndef MBGATE_CONFIG_CONSOLE_H
#define MBGATE_CONFIG_CONSOLE_H

#include <stdbool.h>

#include "mbgate/base/macros.h"

struct conf_bus;
struct loader;

/* Whether a text has the word PREFIX + TTY, with or without ",115200" behind it. */
bool console_is_named(const char *text, const char *prefix, const char *tty);

/* Refuses /dev/console as a port, and warns of a serial console. −ENOMEM. */
MUST_CHECK int check_console(struct loader *l, const struct conf_bus *b);

#endif
