/* SPDX-License-Identifier: MIT */
/*
 * Who may publish to and receive which topics: ACL files as mosquitto reads them.
 *
 *   topic [read|write|readwrite|deny] FILTER      before the first `user`: for clients without a user name
 *   user NAME                                     the `topic` lines that follow are NAME's
 *   pattern [read|write|readwrite|deny] FILTER    for everybody; %c is the client id, %u the user name
 *
 * What no rule allows is refused, so an empty file refuses everything. A matching `deny` wins over every
 * other rule (mosquitto lets a user's own rule win over a denying pattern). A topic that begins with '$'
 * needs a rule that does. A client whose id or user name contains '+', '#' or '/' gets nothing from patterns.
 *
 * Immutable once read; owned by one thread. A check allocates nothing.
 */
#ifndef MBGATE_BROKER_ACL_H
#define MBGATE_BROKER_ACL_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/broker/findings.h"

enum acl_access {
        ACL_READ = 1,  /* receive */
        ACL_WRITE = 2, /* publish */
};

struct acl;

struct acl_client {
        const char *user; /* NULL: none */
        const char *id;
};

/* −EINVAL with all errors in *findings; −ENOMEM. `name` is what findings call the text. */
MUST_CHECK int acl_load(const char *file, struct findings *findings, struct acl **ret_acl);
MUST_CHECK int acl_parse(const char *name, const char *text, size_t n_text, struct findings *findings,
                         struct acl **ret_acl);

/* Takes NULL, returns NULL. */
struct acl *acl_free(struct acl *acl);
DEFINE_CLEANUP(struct acl *, acl_free)

/* Whether the client may read from or write to the topic. */
bool acl_check(const struct acl *acl, const struct acl_client *client, enum acl_access access,
               const char *topic, size_t n_topic);

/*
 * Whether some topic of the filter could be read ("$share/GROUP/" is left out of account): false when no rule
 * allows any, or a `deny` covers all of them. What it matches is checked again by acl_check().
 */
bool acl_check_filter(const struct acl *acl, const struct acl_client *client, const char *filter,
                      size_t n_filter);

#endif
