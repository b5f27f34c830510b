/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"

#include "hash_thread.h"

/* The thread is seen at least this often; a hash of 10 million iterations takes a minute on an old board. */
#define HASH_SLEEP_MS    10000
#define HASH_PROMISE_US  UINT64_C(30000000)
#define HASH_WORK_MAX_US UINT64_C(180000000)

enum hash_mail {
        HASH_JOB,
        HASH_STOP,
};

struct hash_thread {
        pthread_t thread;
        bool is_running;
        struct mailbox *in, *out; /* each has room for all jobs: what is taken can always be given back */
        size_t n_jobs;            /* of the owner: posted and not taken back */
        struct mail stop;
        struct heartbeat heartbeat;
};

static void hash_work(struct hash_thread *t, struct hash_job *job)
{
        heartbeat_promise(&t->heartbeat, clock_monotonic_us() + HASH_WORK_MAX_US);
        job->is_right = !atomic_load_explicit(&job->is_unwanted, memory_order_relaxed) &&
                        passwd_verify(job->file, job->user, job->password, job->n_password);
        if (mailbox_post(t->out, &job->mail) < 0)
                abort(); /* n_jobs has seen to the room */
}

static void *hash_run(void *user)
{
        struct hash_thread *t = user;

        for (;;) {
                struct pollfd p = { .fd = mailbox_fd(t->in), .events = POLLIN };
                struct mail *mail;

                heartbeat_promise(&t->heartbeat, clock_monotonic_us() + HASH_PROMISE_US);
                (void)poll(&p, 1, HASH_SLEEP_MS);
                while ((mail = mailbox_take(t->in))) {
                        if (mail->kind == HASH_STOP)
                                return NULL;
                        hash_work(t, CONTAINER_OF(mail, struct hash_job, mail));
                }
        }
}

static void hash_stop_free(struct mail *mail UNUSED)
{
}

static void hash_thread_stopp(struct hash_thread **t)
{
        if (*t)
                (void)hash_thread_stop(*t);
}

int hash_thread_start(struct hash_thread **ret_thread)
{
        CLEANUP(hash_thread_stopp)
        struct hash_thread *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        t->stop = (struct mail){ .kind = HASH_STOP, .free = hash_stop_free };
        r = mailbox_new(HASH_THREAD_JOBS + 1, &t->in);
        if (r == 0)
                r = mailbox_new(HASH_THREAD_JOBS, &t->out);
        if (r == 0)
                r = thread_start(&t->thread, "broker-hash", hash_run, t);
        if (r < 0)
                return r;
        t->is_running = true;
        *ret_thread = TAKE(t);
        return 0;
}

struct hash_thread *hash_thread_stop(struct hash_thread *t)
{
        struct mail *mail;

        if (!t)
                return NULL;
        if (t->is_running) {
                /* What waits before it is not worth the work any more. */
                while ((mail = mailbox_take(t->in)))
                        (void)mail_free(mail);
                if (mailbox_post(t->in, &t->stop) < 0)
                        abort();
                (void)pthread_join(t->thread, NULL);
        }
        t->in = mailbox_free(t->in);
        t->out = mailbox_free(t->out);
        free(t);
        return NULL;
}

int hash_thread_post(struct hash_thread *t, struct hash_job *job)
{
        int r;

        if (t->n_jobs == HASH_THREAD_JOBS)
                return -ENOBUFS;
        job->mail.kind = HASH_JOB;
        r = mailbox_post(t->in, &job->mail);
        t->n_jobs += r == 0;
        return r;
}

struct hash_job *hash_thread_take(struct hash_thread *t)
{
        struct mail *mail = mailbox_take(t->out);

        if (!mail)
                return NULL;
        t->n_jobs--;
        return CONTAINER_OF(mail, struct hash_job, mail);
}

int hash_thread_fd(const struct hash_thread *t)
{
        return mailbox_fd(t->out);
}

struct heartbeat *hash_thread_heartbeat(struct hash_thread *t)
{
        return &t->heartbeat;
}
