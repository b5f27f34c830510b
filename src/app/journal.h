/* SPDX-License-Identifier: MIT */
/* Where log lines go: the journal with its fields, or stderr. Main thread at start; the sink runs on any
 * thread. */
#ifndef MBGATE_APP_JOURNAL_H
#define MBGATE_APP_JOURNAL_H

#include <stdbool.h>

#include "options.h"

/* Installs the sink for a target. AUTO: the journal if $JOURNAL_STREAM names this stderr, else stderr. */
void journal_install(enum log_target target);

/* Whether $JOURNAL_STREAM ("device:inode") is what `fd` is: systemd.exec(5). */
bool journal_is_stream(const char *journal_stream, int fd);

#endif
