/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/thread.h"

#include "store_private.h"

#define BOX_MAILS     4
#define BEAT_IDLE_US  (60 * USEC_PER_SEC)  /* wakes so often with nothing to do */
#define BEAT_LIMIT_US (120 * USEC_PER_SEC) /* a dying card may take long for a commit; longer is stuck */

struct store_thread {
        struct database *database;
        struct mailbox *in, *out;
        struct heartbeat heartbeat;
        pthread_t thread;
        bool has_thread;
};

static void stop_free(struct mail *mail)
{
        free(mail);
}

static void wait_for_mail(struct store_thread *t)
{
        struct pollfd p = { .fd = mailbox_fd(t->in), .events = POLLIN };

        heartbeat_promise(&t->heartbeat, clock_monotonic_us() + BEAT_IDLE_US + BEAT_LIMIT_US);
        (void)poll(&p, 1, (int)(BEAT_IDLE_US / USEC_PER_MSEC));
}

static void *store_thread_run(void *user)
{
        struct store_thread *t = user;

        for (;;) {
                struct mail *mail = mailbox_take(t->in);

                if (!mail) {
                        wait_for_mail(t);
                        continue;
                }
                if (mail->kind == STORE_MAIL_STOP) {
                        (void)mail_free(mail);
                        break;
                }
                heartbeat_promise(&t->heartbeat, clock_monotonic_us() + BEAT_LIMIT_US);
                database_write(t->database, (struct store_batch *)(void *)mail);
                if (mailbox_post(t->out, mail) < 0)
                        (void)mail_free(mail);
        }
        heartbeat_promise(&t->heartbeat, 0);
        return NULL;
}

static int store_thread_init(struct store_thread *t)
{
        int r;

        r = mailbox_new(BOX_MAILS, &t->in);
        if (r < 0)
                return r;
        r = mailbox_new(BOX_MAILS, &t->out);
        if (r < 0)
                return r;
        r = thread_start(&t->thread, "store", store_thread_run, t);
        t->has_thread = r == 0;
        return r;
}

int store_thread_new(struct database *d, struct store_thread **ret_thread)
{
        struct store_thread *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        t->database = d;
        r = store_thread_init(t);
        if (r < 0) {
                t->database = NULL; /* still the caller's */
                (void)store_thread_free(t);
                return r;
        }
        *ret_thread = t;
        return 0;
}

struct store_thread *store_thread_free(struct store_thread *t)
{
        struct mail *stop;

        if (!t)
                return NULL;
        if (t->has_thread) {
                stop = calloc(1, sizeof(*stop));
                if (!stop)
                        abort(); /* the thread could never be joined */
                *stop = (struct mail){ .kind = STORE_MAIL_STOP, .free = stop_free };
                if (mailbox_post(t->in, stop) < 0)
                        abort(); /* at most one batch is in it */
                (void)pthread_join(t->thread, NULL);
        }
        t->in = mailbox_free(t->in);
        t->out = mailbox_free(t->out);
        t->database = database_close(t->database);
        free(t);
        return NULL;
}

int store_thread_give(struct store_thread *t, struct store_batch *batch)
{
        return mailbox_post(t->in, &batch->mail);
}

struct store_batch *store_thread_take(struct store_thread *t)
{
        return (struct store_batch *)(void *)mailbox_take(t->out);
}

int store_thread_fd(const struct store_thread *t)
{
        return mailbox_fd(t->out);
}

struct heartbeat *store_thread_heartbeat(struct store_thread *t)
{
        return &t->heartbeat;
}
