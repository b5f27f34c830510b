/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>

#include "mbgate/base/thread.h"

/* Address space, not memory: getaddrinfo(3), TLS and the sanitizers' red zones fit. */
#define THREAD_STACK_BYTES ((size_t)512 * 1024)

int thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *user), void *user)
{
        char short_name[16];
        pthread_attr_t attr;
        sigset_t all, old;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return -r;
        (void)pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);

        /* The new thread inherits the mask of this one. */
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(ret_thread, &attr, fn, user);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void)pthread_attr_destroy(&attr);
        if (r != 0)
                return -r;

        (void)snprintf(short_name, sizeof(short_name), "%s", name);
        (void)pthread_setname_np(*ret_thread, short_name);
        return 0;
}
