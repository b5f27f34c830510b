/* SPDX-License-Identifier: MIT */
/*
 * Whose sessions there are, and how many of each: an owner is a user whose name has been proven, else the
 * address that a client came from (slowdown.h says which are one). An owner lives as long as it has sessions.
 * Owned by the main thread.
 */
#ifndef MBGATE_BROKER_SESSION_OWNER_H
#define MBGATE_BROKER_SESSION_OWNER_H

#include <stddef.h>

#include "mbgate/base/macros.h"

struct session_owner;

/* One session more; `user`: NULL: it is the address that counts. −ENOMEM. */
MUST_CHECK int session_owner_ref(struct session_owner **owners, const char *user, const char *address,
                                 struct session_owner **ret_owner);

/* One less. Takes NULL, returns NULL. */
struct session_owner *session_owner_unref(struct session_owner **owners, struct session_owner *o);

/* How many sessions it has. NULL: nobody knows whose the session is: it stands alone. */
size_t session_owner_n(const struct session_owner *o);

#endif
