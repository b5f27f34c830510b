/* SPDX-License-Identifier: MIT */
/* mbgated --hash-password: a line for the broker's password file, without any other program. */
#ifndef MBGATE_APP_HASH_PASSWORD_H
#define MBGATE_APP_HASH_PASSWORD_H

#include <stdio.h>

#include "mbgate/base/macros.h"

/*
 * Reads a password, twice and without echo from a terminal, else the first line of `in`; prints the line. An
 * exit code of sysexits(3); what is wrong is said on `err`.
 */
MUST_CHECK int hash_password(const char *user, FILE *in, FILE *out, FILE *err);

#endif
