/* SPDX-License-Identifier: MIT */
/*
 * Who may come in and what they may do: password and ACL file of the broker, and a thread that computes
 * password hashes, since one can take 0.1 s. Owned by the main thread; answers come on it.
 *
 *   authority_ask ─► (thread: PBKDF2) ─► answer: AUTHORITY_OK / _REFUSED, after a delay for an address that
 *                                        has failed lately
 */
#ifndef MBGATE_BROKER_AUTHORITY_H
#define MBGATE_BROKER_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/thread.h"
#include "mbgate/broker/acl.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"

struct authority;
struct authority_ask; /* a question under way */

enum authority_answer {
        AUTHORITY_OK,
        AUTHORITY_REFUSED, /* MQTT 5.0 reason 0x86 */
        AUTHORITY_BUSY,    /* too many questions wait: reason 0x89 */
};

typedef void (*authority_answer_fn)(void *user, enum authority_answer answer);

/* Files that cannot be used are told line by line in the log: −EINVAL. Starts no thread without a password
 * file. −ENOMEM, −errno. */
MUST_CHECK int authority_new(struct loop *loop, const struct conf_broker *conf,
                             struct authority **ret_authority);

/* No question may be under way. Takes NULL, returns NULL. */
struct authority *authority_free(struct authority *a);
DEFINE_CLEANUP(struct authority *, authority_free)

/*
 * Reads the files again, as `conf` names them now. On a fault all is told, the old ones stay: −EINVAL. After
 * success the caller asks authority_knows(), authority_is_unchanged() and authority_may() for everybody who
 * is there.
 */
MUST_CHECK int authority_reload(struct authority *a, const struct conf_broker *conf);

/* Whether there is a password file at all: without one everybody is let in under any name. */
bool authority_has_users(const struct authority *a);

/* Whether the user is (still) in the password file. */
bool authority_knows(const struct authority *a, const char *user);

/* Whether the latest authority_reload() has left the user's password as it was; false, too, when there was
 * no password file before. */
bool authority_is_unchanged(const struct authority *a, const char *user);

/*
 * Asks whether that is the user's password. The answer comes from the loop, never from within the call,
 * unless *ret_ask is NULL after it: then it has failed for want of memory. Failures of one `address` (counted
 * for some minutes) make its next answers, right or wrong, wait longer, up to 5 s, one behind the other; when
 * too many wait the answer is AUTHORITY_BUSY. The password is copied and
 * wiped after use.
 */
void authority_ask(struct authority *a, const char *address, const char *user, const void *password,
                   size_t n_password, authority_answer_fn fn, void *callback_user,
                   struct authority_ask **ret_ask);

/* The answer is not wanted any more: fn will not be called. */
void authority_forget(struct authority_ask *ask);

/* Whether the ACL lets the client read from or write to the topic. Without an ACL file everything but
 * writing to "$SYS/…" is allowed, which is never. */
bool authority_may(const struct authority *a, const struct acl_client *client, enum acl_access access,
                   const char *topic, size_t n_topic);

/* Whether it may subscribe to the filter at all (the part behind "$share/GROUP/"). */
bool authority_may_subscribe(const struct authority *a, const struct acl_client *client, const char *filter,
                             size_t n_filter);

/* Whether an ACL file is in force: else deliveries need not be checked one by one. */
bool authority_has_acl(const struct authority *a);

/* The thread's promise, for the watchdog. */
struct heartbeat *authority_heartbeat(struct authority *a);

#endif
