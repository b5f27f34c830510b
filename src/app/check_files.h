/* SPDX-License-Identifier: MIT */
/* Files that the configuration names and only their readers can judge: the broker's users and rules. */
#ifndef MBGATE_APP_CHECK_FILES_H
#define MBGATE_APP_CHECK_FILES_H

#include <stdio.h>

#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"

/* Prints all that is wrong, "FILE:LINE: error: …", one a line. −EINVAL when there is any; −ENOMEM. */
MUST_CHECK int check_files(const struct conf *conf, FILE *err);

#endif
