/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/hash.h"

#include "session_owner.h"
#include "slowdown.h"

struct session_owner {
        UT_hash_handle hh;
        size_t n_sessions;
        size_t n_key;
        char key[]; /* 'u' and a name, or 'a' and a slowdown_key */
};

static struct session_owner *owner_new(char kind, const void *bytes, size_t n)
{
        struct session_owner *o = calloc(1, sizeof(*o) + 1 + n);

        if (!o)
                return NULL;
        o->n_key = 1 + n;
        o->key[0] = kind;
        memcpy(o->key + 1, bytes, n);
        return o;
}

int session_owner_ref(struct session_owner **owners, const char *user, const char *address,
                      struct session_owner **ret_owner)
{
        struct slowdown_key key = user ? (struct slowdown_key){ { 0 } } : slowdown_key_of(address);
        struct session_owner *o, *found;

        o = user ? owner_new('u', user, strlen(user)) : owner_new('a', &key, sizeof(key));
        if (!o)
                return -ENOMEM;
        HASH_FIND(hh, *owners, o->key, o->n_key, found);
        if (found) {
                free(o);
                o = found;
        } else {
                HASH_ADD_KEYPTR(hh, *owners, o->key, o->n_key, o);
        }
        o->n_sessions++;
        *ret_owner = o;
        return 0;
}

struct session_owner *session_owner_unref(struct session_owner **owners, struct session_owner *o)
{
        if (!o)
                return NULL;
        assert(o->n_sessions > 0);
        if (--o->n_sessions == 0) {
                HASH_DEL(*owners, o);
                free(o);
        }
        return NULL;
}

size_t session_owner_n(const struct session_owner *o)
{
        return o ? o->n_sessions : 1;
}
