/* SPDX-License-Identifier: MIT */
/*
 * Users and their passwords: files as mosquitto_passwd(1) writes them.
 *
 *   NAME:$7$ITERATIONS$SALT$HASH    PBKDF2 with HMAC-SHA-512
 *   NAME:$6$SALT$HASH               SHA-512 of password and salt
 *   NAME:                           the empty password, or none
 *
 * Salt and hash are in Base64. Any fault makes the whole file unusable: nobody is let in by a line that could
 * not be read. Immutable once read; may be asked by any thread.
 */
#ifndef MBGATE_BROKER_PASSWD_H
#define MBGATE_BROKER_PASSWD_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/broker/findings.h"

#define PASSWD_ITERATIONS_MAX 10000000

struct passwd_file;

/*
 * −EINVAL with all errors in *findings, among them a file that everybody can read; −ENOMEM. `name` is what
 * findings call the text.
 */
MUST_CHECK int passwd_load(const char *file, struct findings *findings, struct passwd_file **ret_passwd);
MUST_CHECK int passwd_parse(const char *name, const char *text, size_t n_text, struct findings *findings,
                            struct passwd_file **ret_passwd);

/* Wipes the hashes. Takes NULL, returns NULL. */
struct passwd_file *passwd_free(struct passwd_file *p);
DEFINE_CLEANUP(struct passwd_file *, passwd_free)

/*
 * Whether that is the user's password. Takes the time of its hash: 0.1 ms for the 101 iterations of
 * mosquitto 2.0, 0.1 s for 100 000. For a user who does not exist it takes that of the file's dearest hash.
 */
bool passwd_verify(const struct passwd_file *p, const char *user, const void *password, size_t n_password);

/* Whether there is such a user. Takes no care of how long it takes: not for those who ask for a way in. */
bool passwd_knows(const struct passwd_file *p, const char *user);

/* Whether both files have the user with the same salt and hash. */
bool passwd_is_same(const struct passwd_file *a, const struct passwd_file *b, const char *user);

size_t passwd_n_users(const struct passwd_file *p);

/* What a line takes besides the name, its end included. */
#define PASSWD_LINE_EXTRA_BYTES 128

/*
 * A line for such a file, "NAME:$7$100000$SALT$HASH" without a newline, with a random salt; takes 0.1 s and
 * more. `size` ≥ strlen(user) + PASSWD_LINE_EXTRA_BYTES. −EINVAL: the name is empty, or has a ':' or a
 * control character; −EIO: OpenSSL or the system's random numbers have failed.
 */
MUST_CHECK int passwd_make_line(const char *user, const void *password, size_t n_password, char *ret_line,
                                size_t size);

#endif
