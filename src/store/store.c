/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/log.h"

#include "store_private.h"

struct store {
        struct store_thread *thread;
        struct store_change *changes; /* being gathered; uthash */
        size_t n_bytes;               /* of them */
        size_t max_bytes;             /* more than that is handed over at once */
        uint64_t number;              /* of the latest change */
        uint64_t committed;
        uint64_t file_bytes;
        uint64_t retry_us; /* after a failure; 0: none */
        size_t n_damaged;  /* rows, at start */
        char *path;
        bool is_busy; /* the thread has a batch */
        bool is_failing;
};

/* ---- what is gathered ---- */

void store_batch_free(struct mail *mail)
{
        struct store_batch *batch = (struct store_batch *)(void *)mail;
        struct store_change *c, *next;

        HASH_ITER (hh, batch->changes, c, next) {
                HASH_DEL(batch->changes, c);
                free(c);
        }
        free(batch);
}

static size_t change_bytes(const struct store_change *c)
{
        return sizeof(*c) + c->n_key + c->n_value;
}

static struct store_change *change_new(uint8_t table, const void *key, size_t n_key, size_t n_value)
{
        struct store_change *c = malloc(sizeof(*c) + 1 + n_key + n_value);

        if (!c)
                return NULL;
        *c = (struct store_change){ .n_key = (uint32_t)(1 + n_key), .n_value = (uint32_t)n_value };
        c->bytes[0] = table;
        memcpy(c->bytes + 1, key, n_key);
        return c;
}

static struct store_change *store_find(const struct store *s, const struct store_change *like)
{
        struct store_change *found;

        HASH_FIND(hh, s->changes, like->bytes, like->n_key, found);
        return found;
}

static void store_add(struct store *s, struct store_change *c)
{
        HASH_ADD_KEYPTR(hh, s->changes, c->bytes, c->n_key, c);
        s->n_bytes += change_bytes(c);
}

static void store_remove(struct store *s, struct store_change *c)
{
        HASH_DEL(s->changes, c);
        s->n_bytes -= change_bytes(c);
        free(c);
}

/* Takes the place of an older change of the same key. */
static uint64_t store_take_change(struct store *s, struct store_change *c)
{
        struct store_change *old = store_find(s, c);

        if (old) {
                c->is_new = old->is_new;
                store_remove(s, old);
        }
        s->number++;
        if (c->is_delete && c->is_new)
                free(c); /* it came and went */
        else
                store_add(s, c);
        return s->number;
}

uint64_t store_put_room(struct store *s, uint8_t table, const void *key, size_t n_key, size_t n_value,
                        bool is_new, uint8_t **ret_value)
{
        struct store_change *c = change_new(table, key, n_key, n_value);

        if (!c)
                return 0;
        c->is_new = is_new;
        *ret_value = c->bytes + c->n_key;
        return store_take_change(s, c);
}

uint64_t store_put(struct store *s, uint8_t table, const void *key, size_t n_key, const void *value,
                   size_t n_value, bool is_new)
{
        uint8_t *room;
        uint64_t number = store_put_room(s, table, key, n_key, n_value, is_new, &room);

        if (number > 0 && n_value > 0)
                memcpy(room, value, n_value);
        return number;
}

uint64_t store_delete(struct store *s, uint8_t table, const void *key, size_t n_key)
{
        struct store_change *c = change_new(table, key, n_key, 0);

        if (!c)
                return 0;
        c->is_delete = true;
        return store_take_change(s, c);
}

/* ---- to the thread, and back ---- */

bool store_has_work(const struct store *s)
{
        return s->changes != NULL || s->committed < s->number;
}

bool store_is_busy(const struct store *s)
{
        return s->is_busy;
}

bool store_is_overfull(const struct store *s)
{
        return s->n_bytes > s->max_bytes;
}

uint64_t store_retry_us(const struct store *s)
{
        return s->retry_us;
}

static int store_give(struct store *s)
{
        struct store_batch *batch = calloc(1, sizeof(*batch));
        int r;

        if (!batch)
                return -ENOMEM;
        batch->mail = (struct mail){ .kind = STORE_MAIL_BATCH, .free = store_batch_free };
        batch->changes = s->changes;
        batch->number = s->number;
        r = store_thread_give(s->thread, batch);
        if (r < 0) {
                free(batch);
                return r;
        }
        s->changes = NULL;
        s->n_bytes = 0;
        s->is_busy = true;
        return 0;
}

void store_flush(struct store *s, uint64_t now_us)
{
        if (s->is_busy || (now_us < s->retry_us && !store_is_overfull(s)))
                return;
        if (!s->changes)
                s->committed = s->number; /* all of it came and went */
        else
                (void)!store_give(s); /* else next time: it is still gathered */
}

/* A change that could not be written comes under what came meanwhile. */
static void store_take_back_one(struct store *s, struct store_change *c)
{
        struct store_change *newer = store_find(s, c);

        if (newer) {
                newer->is_new = c->is_new;
                if (newer->is_delete && newer->is_new)
                        store_remove(s, newer);
        }
        if (newer || (c->is_delete && c->is_new))
                free(c);
        else
                store_add(s, c);
}

static void store_take_back(struct store *s, struct store_batch *batch)
{
        struct store_change *c, *next;

        HASH_ITER (hh, batch->changes, c, next) {
                HASH_DEL(batch->changes, c);
                store_take_back_one(s, c);
        }
        s->max_bytes = MBGATE_MAX(STORE_GATHER_BYTES, 2 * s->n_bytes);
}

static void store_on_written(struct store *s, const struct store_batch *batch)
{
        if (s->is_failing)
                log_info(NULL, "store: %s: can be written again", s->path);
        s->is_failing = false;
        s->retry_us = 0;
        s->max_bytes = STORE_GATHER_BYTES;
        s->committed = batch->number;
}

static void store_on_failure(struct store *s, struct store_batch *batch, uint64_t now_us)
{
        if (!s->is_failing)
                log_error(&(struct log_fields){ .error = -batch->result },
                          "store: %s: cannot be written: %s: goes on in memory, and tries again every minute",
                          s->path, batch->reason);
        s->is_failing = true;
        s->retry_us = now_us + STORE_RETRY_US;
        store_take_back(s, batch);
}

void store_take_results(struct store *s, uint64_t now_us)
{
        struct store_batch *batch;

        while ((batch = store_thread_take(s->thread)) != NULL) {
                s->is_busy = false;
                s->file_bytes = batch->file_bytes;
                if (batch->result == 0)
                        store_on_written(s, batch);
                else
                        store_on_failure(s, batch, now_us);
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

size_t store_gathered_bytes(const struct store *s)
{
        return s->n_bytes;
}

struct heartbeat *store_heartbeat(struct store *s)
{
        return store_thread_heartbeat(s->thread);
}

/* ---- opening ---- */

struct reading {
        struct store *store;
        store_row_fn on_row;
        void *user;
};

/* A damaged row is told once: the next start does not find it any more. */
static void store_on_row(void *user, bool is_good, uint8_t table, const void *key, size_t n_key,
                         const void *value, size_t n_value)
{
        const struct reading *r = user;

        if (is_good) {
                r->on_row(r->user, table, key, n_key, value, n_value);
                return;
        }
        r->store->n_damaged++;
        (void)store_delete(r->store, table, key, n_key);
}

static int store_try_file(const char *path, const struct store_init *init, char reason[STORE_REASON_BYTES],
                          struct database **ret_database)
{
        int r = store_file_prepare(init->directory, path, reason);

        return r == 0 ? database_open(path, init, reason, ret_database) : r;
}

/* 0; DATABASE_NEWER; −errno. A damaged file is replaced by an empty one. */
static int store_open_file(const char *path, const struct store_init *init, char reason[STORE_REASON_BYTES],
                           struct database **ret_database)
{
        int r = store_try_file(path, init, reason, ret_database);

        if (r != DATABASE_CORRUPT)
                return r;
        r = store_file_move_aside(path, reason);
        if (r == 0)
                r = store_try_file(path, init, reason, ret_database);
        return r == DATABASE_CORRUPT ? -EIO : r;
}

static int store_open(struct store *s, const struct store_init *init, store_row_fn on_row, void *user)
{
        CLEANUP(database_closep)
        struct database *d = NULL;
        struct reading reading = { .store = s, .on_row = on_row, .user = user };
        char reason[STORE_REASON_BYTES] = "";
        int r = store_open_file(s->path, init, reason, &d);

        if (r != 0) {
                log_error(&(struct log_fields){ .error = r < 0 ? -r : 0 },
                          "store: %s cannot be used: %s: nothing outlives the program", s->path,
                          r == DATABASE_NEWER ? "a newer version of mbgated has written it" : reason);
                return -EINVAL;
        }
        r = database_read(d, store_on_row, &reading);
        if (r != 0) {
                /* It passed its check and broke meanwhile: what was given is kept in memory only. */
                d = database_close(d);
                (void)!store_file_move_aside(s->path, "it cannot be read to its end");
                return -EINVAL;
        }
        if (s->n_damaged > 0)
                log_warn(NULL, "store: %s: %zu row(s) are damaged and left out", s->path, s->n_damaged);
        r = store_thread_new(d, &s->thread);
        if (r < 0)
                return r;
        d = NULL; /* the thread's now */
        return 0;
}

int store_new(const struct store_init *init, store_row_fn on_row, void *user, struct store **ret_store)
{
        CLEANUP(store_freep)
        struct store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->max_bytes = STORE_GATHER_BYTES;
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
                store_take_results(s, 0);
        }
}

struct store *store_free(struct store *s)
{
        struct store_change *c, *next;

        if (!s)
                return NULL;
        if (s->thread) {
                store_wait(s);
                store_flush(s, UINT64_MAX);
                store_wait(s);
        }
        s->thread = store_thread_free(s->thread);
        HASH_ITER (hh, s->changes, c, next)
                store_remove(s, c);
        free(s->path);
        free(s);
        return NULL;
}
