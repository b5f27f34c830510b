/* SPDX-License-Identifier: MIT */
/*
 * The thread that computes password hashes. Jobs go in and come back on the thread that owns it, in order.
 *
 *   post ──► [ in ] ──► thread: passwd_verify() ──► [ out ] ──► take
 */
#ifndef MBGATE_BROKER_HASH_THREAD_H
#define MBGATE_BROKER_HASH_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/mailbox.h"
#include "mbgate/base/thread.h"
#include "mbgate/broker/passwd.h"

/* Jobs that are in the thread's hands, waiting ones included. */
#define HASH_THREAD_JOBS 256

struct hash_thread;

/* The head of a job; its owner touches nothing but is_unwanted until it is back. */
struct hash_job {
        struct mail mail; /* free is set by the owner */
        const struct passwd_file *file;
        const char *user;
        const void *password;
        size_t n_password;
        atomic_bool is_unwanted; /* not worth the work any more */
        bool is_right;           /* the result */
};

/* −ENOMEM, −errno. */
MUST_CHECK int hash_thread_start(struct hash_thread **ret_thread);

/* Waits for the job at hand; frees those that are in it. Takes NULL, returns NULL. */
struct hash_thread *hash_thread_stop(struct hash_thread *t);

/* −ENOBUFS: it has as many as it takes. */
MUST_CHECK int hash_thread_post(struct hash_thread *t, struct hash_job *job);

/* A job that is done, or NULL. */
struct hash_job *hash_thread_take(struct hash_thread *t);

/* Readable while jobs are done. */
int hash_thread_fd(const struct hash_thread *t);

struct heartbeat *hash_thread_heartbeat(struct hash_thread *t);

#endif
