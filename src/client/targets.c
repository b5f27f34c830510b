/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "targets.h"

static void targets_add_address(struct targets *t, const struct addrinfo *ai)
{
        struct target *target = &t->list[t->n];

        if (t->n == TARGETS_MAX)
                return;
        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, target->host, sizeof(target->host), NULL, 0,
                        NI_NUMERICHOST) != 0)
                return;
        target->bind = NULL;
        t->n++;
}

/* One target for a family: libmosquitto skips addresses to which it cannot bind. */
static void targets_add_family(struct targets *t, const struct addrinfo *ai, const char *host)
{
        const char *bind = ai->ai_family == AF_INET6 ? "::" : "0.0.0.0";
        struct target *target = &t->list[t->n];

        for (size_t i = 0; i < t->n; i++) {
                if (strcmp(t->list[i].bind, bind) == 0)
                        return;
        }
        (void)snprintf(target->host, sizeof(target->host), "%s", host);
        target->bind = bind;
        t->n++;
}

int targets_resolve(const char *host, bool is_tls, struct targets *ret, char ret_text[TARGETS_TEXT_BYTES])
{
        struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
        struct addrinfo *list = NULL;
        struct targets t = { .n = 0 };
        int r;

        r = getaddrinfo(host, NULL, &hints, &list);
        if (r != 0) {
                (void)snprintf(ret_text, TARGETS_TEXT_BYTES, "%s",
                               r == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(r));
                return -EHOSTUNREACH;
        }
        for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
                if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
                        continue;
                if (is_tls)
                        targets_add_family(&t, ai, host);
                else
                        targets_add_address(&t, ai);
        }
        freeaddrinfo(list);
        if (t.n == 0) {
                (void)snprintf(ret_text, TARGETS_TEXT_BYTES, "the name has no address");
                return -EHOSTUNREACH;
        }
        /* One family alone needs no hint. */
        if (is_tls && t.n == 1)
                t.list[0].bind = NULL;
        *ret = t;
        return 0;
}
