/* SPDX-License-Identifier: MIT */
/*
 * Threads with a name, with every signal blocked (signals belong to the main thread), and with a heartbeat
 * that the watchdog can ask for.
 */
#ifndef MBGATE_BASE_THREAD_H
#define MBGATE_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

/*
 * Starts `fn(user)` on a new thread named `name` (cut at 15 bytes, pthread_setname_np(3)), with a stack of
 * 512 KiB. −errno of pthread_create(3).
 */
MUST_CHECK int thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *user), void *user);

/*
 * The promise of a thread to be seen again before a moment. The owner beats; anybody may ask. A thread that
 * goes to sleep for long promises a later moment first.
 */
struct heartbeat {
        _Atomic uint64_t due_us; /* CLOCK_MONOTONIC; 0: promises nothing */
};

static inline void heartbeat_promise(struct heartbeat *h, uint64_t due_us)
{
        atomic_store_explicit(&h->due_us, due_us, memory_order_release);
}

static inline int heartbeat_is_late(struct heartbeat *h, uint64_t now_us)
{
        uint64_t due_us = atomic_load_explicit(&h->due_us, memory_order_acquire);

        return due_us != 0 && now_us > due_us;
}

#endif
