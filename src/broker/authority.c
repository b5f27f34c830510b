/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "authority.h"
#include "hash_thread.h"
#include "slowdown.h"

/* A password file in use: by the authority, and by questions that were asked before it was read again. */
struct users {
        unsigned n_refs;
        struct passwd_file *file;
};

struct authority {
        struct loop *loop;
        struct users *users;    /* NULL: no password file */
        struct users *previous; /* before the latest reload; NULL: there was none */
        struct acl *acl;        /* NULL: no ACL file */
        struct hash_thread *thread;
        struct loop_io *done;
        struct loop_timer *timer;           /* of the first that waits */
        struct authority_ask *first, *last; /* answered, and waiting to be told: by due_us */
        size_t n_asks;                      /* that somebody wants to know */
        struct slowdown slowdown;
};

/*
 *   asked ──► in the thread ──► waiting ──► told, freed
 *                  │ forgotten: freed when it comes back
 */
struct authority_ask {
        struct hash_job job; /* first */
        struct authority *authority;
        struct users *users;    /* what the job looks at; NULL: none */
        authority_answer_fn fn; /* NULL: forgotten */
        void *user;
        char *address;
        enum authority_answer answer;
        bool is_waiting; /* in the list */
        uint64_t due_us;
        struct authority_ask *next, *previous;
        size_t n_secret;
        char secret[]; /* the password, then user and address, terminated */
};

/* ---- files ---- */

static struct users *users_unref(struct users *u)
{
        if (u && --u->n_refs == 0) {
                u->file = passwd_free(u->file);
                free(u);
        }
        return NULL;
}
DEFINE_CLEANUP(struct users *, users_unref)

static struct users *users_ref(struct users *u)
{
        if (u)
                u->n_refs++;
        return u;
}

static void findings_tell(const struct findings *f)
{
        for (size_t i = 0; i < f->n_texts; i++)
                log_error(NULL, "%s", f->texts[i]);
        if (f->n > f->n_texts)
                log_error(NULL, "broker: and %zu more of the kind", f->n - f->n_texts);
}

static int users_load(const char *name, struct findings *findings, struct users **ret_users)
{
        CLEANUP(users_unrefp)
        struct users *u = NULL;
        int r;

        if (!*name) {
                *ret_users = NULL;
                return 0;
        }
        u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->n_refs = 1;
        r = passwd_load(name, findings, &u->file);
        if (r < 0)
                return r;
        *ret_users = TAKE(u);
        return 0;
}

static void authority_on_done(void *user, int fd, uint32_t events);

static int authority_start_thread(struct authority *a)
{
        int r;

        if (a->thread || !a->users)
                return 0;
        r = hash_thread_start(&a->thread);
        if (r == 0)
                r = loop_add_io(a->loop, hash_thread_fd(a->thread), EPOLLIN, authority_on_done, a, &a->done);
        if (r < 0)
                a->thread = hash_thread_stop(a->thread);
        return r;
}

static void findings_donep(struct findings *f)
{
        findings_done(f);
}

int authority_reload(struct authority *a, const struct conf_broker *conf)
{
        CLEANUP(findings_donep)
        struct findings findings = { 0 };
        CLEANUP(users_unrefp)
        struct users *users = NULL;
        CLEANUP(acl_freep)
        struct acl *acl = NULL;
        struct users *old = a->users;
        int r = users_load(conf->password_file, &findings, &users), r_acl = 0;

        if (*conf->acl_file)
                r_acl = acl_load(conf->acl_file, &findings, &acl);
        findings_tell(&findings);
        if (r < 0 || r_acl < 0)
                return r < 0 ? r : r_acl;
        a->users = users;
        r = authority_start_thread(a);
        if (r < 0) {
                a->users = old;
                return r;
        }
        (void)users_unref(a->previous);
        a->previous = old;
        users = NULL;
        (void)acl_free(a->acl);
        a->acl = TAKE(acl);
        return 0;
}

/* ---- questions ---- */

static void ask_wipe(struct mail *mail)
{
        struct authority_ask *ask = (struct authority_ask *)(void *)mail;

        (void)users_unref(ask->users);
        explicit_bzero(ask->secret, ask->n_secret);
        free(ask);
}

static void authority_set_timer(struct authority *a)
{
        loop_timer_set(a->timer, a->first ? a->first->due_us : CLOCK_NEVER_US);
}

/* Enters an answer by its time: most are due last, so the way is short. */
static void ask_wait(struct authority_ask *ask, enum authority_answer answer, uint64_t due_us)
{
        struct authority *a = ask->authority;
        struct authority_ask *before = a->last;

        ask->answer = answer;
        ask->due_us = due_us;
        ask->is_waiting = true;
        while (before && before->due_us > due_us)
                before = before->previous;
        ask->previous = before;
        ask->next = before ? before->next : a->first;
        *(ask->next ? &ask->next->previous : &a->last) = ask;
        *(before ? &before->next : &a->first) = ask;
        authority_set_timer(a);
}

static void ask_unlink(struct authority_ask *ask)
{
        struct authority *a = ask->authority;

        *(ask->previous ? &ask->previous->next : &a->first) = ask->next;
        *(ask->next ? &ask->next->previous : &a->last) = ask->previous;
        ask->is_waiting = false;
        authority_set_timer(a);
}

static int ask_post(struct authority_ask *ask)
{
        struct authority *a = ask->authority;

        (void)users_unref(ask->users);
        ask->users = users_ref(a->users);
        ask->job.file = a->users->file;
        return hash_thread_post(a->thread, &ask->job);
}

/* The users are others by now. */
static void ask_again(struct authority_ask *ask)
{
        if (ask_post(ask) < 0)
                ask_wait(ask, AUTHORITY_BUSY, loop_now_us(ask->authority->loop));
}

static void ask_tell(struct authority_ask *ask)
{
        authority_answer_fn fn = ask->fn;
        void *user = ask->user;
        enum authority_answer answer = ask->answer;

        ask->authority->n_asks--;
        ask_wipe(&ask->job.mail);
        fn(user, answer);
}

static void authority_on_timer(void *user, uint64_t now_us)
{
        struct authority *a = user;

        while (a->first && a->first->due_us <= now_us) {
                struct authority_ask *ask = a->first;

                ask_unlink(ask);
                if (ask->answer == AUTHORITY_OK && a->users && ask->users != a->users)
                        ask_again(ask);
                else
                        ask_tell(ask);
        }
        authority_set_timer(a);
}

/* The answer is there: right or wrong, it waits for what its address has done before. */
static void ask_finish(struct authority_ask *ask)
{
        struct authority *a = ask->authority;
        uint64_t now_us = loop_now_us(a->loop);
        uint64_t wait_us = slowdown_take_us(&a->slowdown, ask->address, now_us);

        if (!ask->job.is_right)
                slowdown_fail(&a->slowdown, ask->address, now_us);
        if (wait_us == SLOWDOWN_REFUSED)
                ask_wait(ask, AUTHORITY_BUSY, now_us);
        else
                ask_wait(ask, ask->job.is_right ? AUTHORITY_OK : AUTHORITY_REFUSED, now_us + wait_us);
}

static void authority_on_done(void *user, int fd UNUSED, uint32_t events UNUSED)
{
        struct authority *a = user;
        struct hash_job *job;

        while ((job = hash_thread_take(a->thread))) {
                struct authority_ask *ask = (struct authority_ask *)(void *)job;

                if (!ask->fn)
                        ask_wipe(&job->mail);
                else if (ask->users == a->users || !a->users)
                        ask_finish(ask);
                else
                        ask_again(ask);
        }
}

/* A copy of all that is asked about, in one piece. */
static struct authority_ask *ask_new(const char *address, const char *user, const void *password,
                                     size_t n_password)
{
        size_t n_user = strlen(user) + 1, n_address = strlen(address) + 1;
        size_t n_secret = n_password + n_user + n_address;
        struct authority_ask *ask = calloc(1, sizeof(*ask) + n_secret);

        if (!ask)
                return NULL;
        ask->n_secret = n_secret;
        if (n_password > 0)
                memcpy(ask->secret, password, n_password);
        memcpy(ask->secret + n_password, user, n_user);
        memcpy(ask->secret + n_password + n_user, address, n_address);
        ask->job.mail.free = ask_wipe;
        ask->job.password = ask->secret;
        ask->job.n_password = n_password;
        ask->job.user = ask->secret + n_password;
        ask->address = ask->secret + n_password + n_user;
        atomic_init(&ask->job.is_unwanted, false);
        return ask;
}

void authority_ask(struct authority *a, const char *address, const char *user, const void *password,
                   size_t n_password, authority_answer_fn fn, void *callback_user,
                   struct authority_ask **ret_ask)
{
        struct authority_ask *ask = ask_new(address, user, password, n_password);

        *ret_ask = ask;
        if (!ask)
                return;
        ask->authority = a;
        ask->fn = fn;
        ask->user = callback_user;
        a->n_asks++;
        if (!a->users)
                ask_wait(ask, AUTHORITY_OK, loop_now_us(a->loop));
        else if (slowdown_is_full(&a->slowdown, address, loop_now_us(a->loop)) || ask_post(ask) < 0)
                ask_wait(ask, AUTHORITY_BUSY, loop_now_us(a->loop));
}

void authority_forget(struct authority_ask *ask)
{
        ask->authority->n_asks--;
        if (ask->is_waiting) {
                ask_unlink(ask);
                ask_wipe(&ask->job.mail);
                return;
        }
        ask->fn = NULL;
        atomic_store_explicit(&ask->job.is_unwanted, true, memory_order_relaxed);
}

/* ---- the whole ---- */

int authority_new(struct loop *loop, const struct conf_broker *conf, struct authority **ret_authority)
{
        CLEANUP(authority_freep)
        struct authority *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        a->loop = loop;
        r = loop_add_timer(loop, authority_on_timer, a, &a->timer);
        if (r == 0)
                r = authority_reload(a, conf);
        if (r < 0)
                return r;
        *ret_authority = TAKE(a);
        return 0;
}

struct authority *authority_free(struct authority *a)
{
        if (!a)
                return NULL;
        assert(a->n_asks == 0);
        a->done = loop_io_free(a->done);
        a->timer = loop_timer_free(a->timer);
        a->thread = hash_thread_stop(a->thread); /* with what was forgotten */
        a->users = users_unref(a->users);
        a->previous = users_unref(a->previous);
        a->acl = acl_free(a->acl);
        free(a);
        return NULL;
}

bool authority_has_users(const struct authority *a)
{
        return a->users != NULL;
}

bool authority_knows(const struct authority *a, const char *user)
{
        return a->users && passwd_knows(a->users->file, user);
}

bool authority_is_unchanged(const struct authority *a, const char *user)
{
        return a->users && a->previous && passwd_is_same(a->users->file, a->previous->file, user);
}

static bool is_sys(const char *topic, size_t n_topic)
{
        return n_topic >= 4 && memcmp(topic, "$SYS", 4) == 0 && (n_topic == 4 || topic[4] == '/');
}

bool authority_may(const struct authority *a, const struct acl_client *client, enum acl_access access,
                   const char *topic, size_t n_topic)
{
        if (access == ACL_WRITE && is_sys(topic, n_topic))
                return false;
        return !a->acl || acl_check(a->acl, client, access, topic, n_topic);
}

bool authority_may_subscribe(const struct authority *a, const struct acl_client *client, const char *filter,
                             size_t n_filter)
{
        return !a->acl || acl_check_filter(a->acl, client, filter, n_filter);
}

bool authority_has_acl(const struct authority *a)
{
        return a->acl != NULL;
}

struct heartbeat *authority_heartbeat(struct authority *a)
{
        static struct heartbeat none; /* promises nothing */

        return a->thread ? hash_thread_heartbeat(a->thread) : &none;
}
