/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "store_private.h"

#define DIRECTORY_MODE 0700
#define FILE_MODE      0600
#define RETRY_US       (60 * USEC_PER_SEC)
#define CORRUPT_MAX    100 /* files moved aside */

struct store {
        struct store_thread *thread;
        struct store_change *changes; /* being gathered; uthash */
        uint64_t number;              /* of the latest change */
        uint64_t committed;
        uint64_t file_bytes;
        uint64_t retry_us;
        char *path;
        bool is_busy; /* the thread has a batch */
        bool is_failing;
};

/* ---- batches ---- */

static void change_free(struct store_change *c)
{
        if (!c)
                return;
        free(c->value);
        free(c);
}

static void changes_free(struct store_change **changes)
{
        struct store_change *c, *next;

        HASH_ITER (hh, *changes, c, next) {
                HASH_DEL(*changes, c);
                change_free(c);
        }
}

void store_batch_free(struct mail *mail)
{
        struct store_batch *batch = (struct store_batch *)(void *)mail;

        changes_free(&batch->changes);
        free(batch);
}

static int change_new(uint8_t table, const void *key, size_t n_key, const void *value, size_t n_value,
                      struct store_change **ret_change)
{
        struct store_change *c = calloc(1, sizeof(*c) + 1 + n_key);

        if (!c)
                return -ENOMEM;
        if (n_value > 0) {
                c->value = malloc(n_value);
                if (!c->value) {
                        free(c);
                        return -ENOMEM;
                }
                memcpy(c->value, value, n_value);
        }
        c->n_key = (uint32_t)(1 + n_key);
        c->n_value = (uint32_t)n_value;
        c->key[0] = table;
        memcpy(c->key + 1, key, n_key);
        *ret_change = c;
        return 0;
}

static struct store_change *changes_find(struct store_change *changes, const struct store_change *like)
{
        struct store_change *found;

        HASH_FIND(hh, changes, like->key, like->n_key, found);
        return found;
}

static void changes_add(struct store_change **changes, struct store_change *c)
{
        HASH_ADD_KEYPTR(hh, *changes, c->key, c->n_key, c);
}

/* Takes the place of an older change of the same key. */
static void store_take_change(struct store *s, struct store_change *c)
{
        struct store_change *old = changes_find(s->changes, c);

        if (old) {
                c->is_new = old->is_new;
                HASH_DEL(s->changes, old);
                change_free(old);
        }
        s->number++;
        if (c->is_delete && c->is_new)
                change_free(c); /* it came and went */
        else
                changes_add(&s->changes, c);
}

uint64_t store_put(struct store *s, uint8_t table, const void *key, size_t n_key, const void *value,
                   size_t n_value, bool is_new)
{
        struct store_change *c;

        if (change_new(table, key, n_key, value, n_value, &c) < 0)
                return 0;
        c->is_new = is_new;
        store_take_change(s, c);
        return s->number;
}

uint64_t store_delete(struct store *s, uint8_t table, const void *key, size_t n_key)
{
        struct store_change *c;

        if (change_new(table, key, n_key, NULL, 0, &c) < 0)
                return 0;
        c->is_delete = true;
        store_take_change(s, c);
        return s->number;
}

bool store_has_work(const struct store *s)
{
        return s->changes != NULL || s->committed < s->number;
}

void store_flush(struct store *s)
{
        struct store_batch *batch;

        if (s->is_busy || clock_monotonic_us() < s->retry_us)
                return;
        if (!s->changes) {
                s->committed = s->number; /* all of it came and went */
                return;
        }
        batch = calloc(1, sizeof(*batch));
        if (!batch)
                return; /* next time */
        *batch = (struct store_batch){
                .mail = { .kind = STORE_MAIL_BATCH, .free = store_batch_free },
                .changes = TAKE(s->changes),
                .number = s->number,
        };
        if (store_thread_give(s->thread, batch) < 0) {
                s->changes = TAKE(batch->changes);
                free(batch);
                return;
        }
        s->is_busy = true;
}

/* What could not be written comes under what came meanwhile. */
static void store_take_back(struct store *s, struct store_batch *batch)
{
        struct store_change *c, *next;

        HASH_ITER (hh, batch->changes, c, next) {
                struct store_change *newer = changes_find(s->changes, c);

                HASH_DEL(batch->changes, c);
                if (newer) {
                        newer->is_new = c->is_new;
                        change_free(c);
                } else {
                        changes_add(&s->changes, c);
                }
        }
}

static void store_take_result(struct store *s, struct store_batch *batch)
{
        s->is_busy = false;
        s->file_bytes = batch->file_bytes;
        if (batch->result == 0) {
                if (s->is_failing)
                        log_info(NULL, "store: %s: written again", s->path);
                s->is_failing = false;
                s->committed = batch->number;
                return;
        }
        if (!s->is_failing)
                log_error(&(struct log_fields){ .error = -batch->result },
                          "store: %s: cannot be written: %s: goes on in memory, and tries again every minute",
                          s->path, batch->reason);
        s->is_failing = true;
        s->retry_us = clock_monotonic_us() + RETRY_US;
        store_take_back(s, batch);
}

void store_take_results(struct store *s)
{
        struct store_batch *batch;

        while ((batch = store_thread_take(s->thread)) != NULL) {
                store_take_result(s, batch);
                store_batch_free(&batch->mail);
        }
}

int store_fd(const struct store *s)
{
        return store_thread_fd(s->thread);
}

uint64_t store_committed(const struct store *s)
{
        return s->committed;
}

uint64_t store_last(const struct store *s)
{
        return s->number;
}

bool store_is_failing(const struct store *s)
{
        return s->is_failing;
}

uint64_t store_file_bytes(const struct store *s)
{
        return s->file_bytes;
}

struct heartbeat *store_heartbeat(struct store *s)
{
        return store_thread_heartbeat(s->thread);
}

/* ---- opening ---- */

static int directory_prepare(const char *directory)
{
        struct stat st;

        if (mkdir(directory, DIRECTORY_MODE) < 0 && errno != EEXIST)
                return -errno;
        if (stat(directory, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* Made here, so that nobody else can read it from the first moment. */
static int file_prepare(const char *path)
{
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        int r = fd < 0 ? -errno : 0;

        if (fd >= 0)
                (void)close(fd);
        return r;
}

/* The name of the directory's entry is on the disk too. */
static void directory_sync(const char *directory)
{
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return;
        (void)fsync(fd);
        (void)close(fd);
}

/* A damaged file is evidence: it is kept. Its log belongs to it. */
static int move_aside(const char *path, const char *reason)
{
        static const char *const parts[] = { "", "-wal", "-shm" };
        char from[512], to[544];

        for (unsigned i = 1; i <= CORRUPT_MAX; i++) {
                (void)snprintf(to, sizeof(to), "%s.corrupt-%u", path, i);
                if (access(to, F_OK) == 0)
                        continue;
                log_error(NULL, "store: %s is damaged (%s): kept as %s; begins with an empty one", path,
                          reason, to);
                for (size_t k = 0; k < ARRAY_SIZE(parts); k++) {
                        (void)snprintf(from, sizeof(from), "%s%s", path, parts[k]);
                        (void)snprintf(to, sizeof(to), "%s.corrupt-%u%s", path, i, parts[k]);
                        if (rename(from, to) < 0 && errno != ENOENT)
                                return -errno;
                }
                return 0;
        }
        return -EEXIST;
}

static int open_and_read(const char *path, uint64_t max_bytes, store_row_fn on_row, void *user,
                         char reason[128], struct database **ret_database)
{
        CLEANUP(database_closep)
        struct database *d = NULL;
        size_t n_bad;
        int r;

        r = file_prepare(path);
        if (r < 0) {
                (void)snprintf(reason, 128, "%s", strerror(-r));
                return r;
        }
        r = database_open(path, max_bytes, reason, &d);
        if (r != 0)
                return r;
        r = database_read(d, on_row, user, &n_bad);
        if (r != 0) {
                (void)snprintf(reason, 128, "rows cannot be read");
                return r;
        }
        if (n_bad > 0)
                log_warn(NULL, "store: %s: %zu row(s) are damaged and left out", path, n_bad);
        *ret_database = TAKE(d);
        return 0;
}

static int store_open(struct store *s, const struct store_init *init, store_row_fn on_row, void *user)
{
        CLEANUP(database_closep)
        struct database *d = NULL;
        char reason[128] = "";
        int r = directory_prepare(init->directory);

        if (r < 0)
                (void)snprintf(reason, sizeof(reason), "%s", strerror(-r));
        else
                r = open_and_read(s->path, init->max_bytes, on_row, user, reason, &d);
        if (r == DATABASE_CORRUPT) {
                r = move_aside(s->path, reason);
                if (r == 0)
                        r = open_and_read(s->path, init->max_bytes, on_row, user, reason, &d);
        }
        if (r != 0) {
                log_error(&(struct log_fields){ .error = r < 0 ? -r : 0 },
                          "store: %s cannot be used: %s: nothing outlives the program", s->path,
                          r == DATABASE_NEWER ? "a newer version of mbgated has written it" : reason);
                return -EINVAL;
        }
        directory_sync(init->directory);
        r = store_thread_new(d, &s->thread);
        if (r < 0)
                return r;
        d = NULL;
        return 0;
}

int store_new(const struct store_init *init, store_row_fn on_row, void *user, struct store **ret_store)
{
        CLEANUP(store_freep)
        struct store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        if (asprintf(&s->path, "%s/%s", init->directory, init->name) < 0) {
                s->path = NULL;
                return -ENOMEM;
        }
        r = store_open(s, init, on_row, user);
        if (r < 0)
                return r;
        *ret_store = TAKE(s);
        return 0;
}

static void store_wait(struct store *s)
{
        struct pollfd p = { .fd = store_fd(s), .events = POLLIN };

        while (s->is_busy) {
                (void)poll(&p, 1, -1);
                store_take_results(s);
        }
}

struct store *store_free(struct store *s)
{
        if (!s)
                return NULL;
        if (s->thread) {
                store_wait(s);
                s->retry_us = 0;
                store_flush(s);
                store_wait(s);
        }
        s->thread = store_thread_free(s->thread);
        changes_free(&s->changes);
        free(s->path);
        free(s);
        return NULL;
}
