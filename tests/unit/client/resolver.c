/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#include "resolver.h"

typedef int (*getaddrinfo_fn)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static atomic_bool is_hanging, is_released;

bool resolver_hangs(struct rig *rig, void *arg)
{
        (void)rig;
        (void)arg;
        return atomic_load(&is_hanging);
}

void resolver_release(void)
{
        atomic_store(&is_released, true);
}

static getaddrinfo_fn real_getaddrinfo(void)
{
        void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
        getaddrinfo_fn fn;

        memcpy(&fn, &symbol, sizeof(fn));
        return fn;
}

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
        getaddrinfo_fn real = real_getaddrinfo();
        struct addrinfo **last = ret;
        int r;

        if (name && strcmp(name, RESOLVER_HANG_NAME) == 0) {
                atomic_store(&is_hanging, true);
                while (!atomic_load(&is_released))
                        (void)poll(NULL, 0, 10);
                return EAI_NONAME;
        }
        if (name && strcmp(name, RESOLVER_NONE_NAME) == 0)
                return EAI_NONAME;
        if (!name || strcmp(name, RESOLVER_TWO_NAME) != 0)
                return real(name, service, hints, ret);
        r = real("::1", service, hints, ret);
        while (r == 0 && *last)
                last = &(*last)->ai_next;
        return r == 0 ? real("127.0.0.1", service, hints, last) : r;
}
