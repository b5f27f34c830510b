/* SPDX-License-Identifier: MIT */
/* What the files of the storage thread share. */
#ifndef MBGATE_STORE_STORE_PRIVATE_H
#define MBGATE_STORE_STORE_PRIVATE_H

#include "mbgate/base/hash.h"

#include "mbgate/base/mailbox.h"
#include "mbgate/store/store.h"

#define STORE_REASON_BYTES 160

/* The latest change of one row, in one allocation. */
struct store_change {
        UT_hash_handle hh;
        bool is_delete;
        bool is_new; /* the row is not on the disk */
        uint32_t n_key, n_value;
        uint8_t bytes[]; /* the table's number and the row's key: n_key bytes together; then the value */
};

static inline const uint8_t *store_change_value(const struct store_change *c)
{
        return c->bytes + c->n_key;
}

/* A batch on its way to the thread, and back with its result. */
struct store_batch {
        struct mail mail;
        struct store_change *changes; /* uthash; taken out by who frees them */
        uint64_t number;              /* of its latest change */
        uint64_t file_bytes;          /* result */
        int result; /* 0 or −errno; after a failure `is_new` of each change is right again */
        char reason[STORE_REASON_BYTES];
};

enum store_mail {
        STORE_MAIL_BATCH,
        STORE_MAIL_STOP,
};

void store_batch_free(struct mail *mail);

/* ---- store_file.c: what is done with the file as a file ---- */

enum database_result {
        DATABASE_CORRUPT = 1, /* no database, or a damaged one */
        DATABASE_NEWER,       /* written by a later version */
};

/*
 * Makes directory and file when they are not there; nobody else may read the file. 0; DATABASE_CORRUPT: it is
 * shorter than a database can be; −errno. `reason`: why not.
 */
MUST_CHECK int store_file_prepare(const char *directory, const char *path, char reason[STORE_REASON_BYTES]);

/* Renames the file with its log to "PATH.corrupt-N", and tells why. −errno, told. */
MUST_CHECK int store_file_move_aside(const char *path, const char *reason);

/* ---- store_sqlite.c: on the thread, or before it has begun ---- */

struct database;

/* 0; DATABASE_…; −errno. `reason`: why not. */
MUST_CHECK int database_open(const char *path, const struct store_init *init, char reason[STORE_REASON_BYTES],
                             struct database **ret_database);
struct database *database_close(struct database *d);
DEFINE_CLEANUP(struct database *, database_close)

/* A row; with a wrong checksum it is not good, and its value not given. */
typedef void (*database_row_fn)(void *user, bool is_good, uint8_t table, const void *key, size_t n_key,
                                const void *value, size_t n_value);

/* 0; DATABASE_CORRUPT; −errno. */
MUST_CHECK int database_read(struct database *d, database_row_fn fn, void *user);

/* Writes all of a batch or nothing. Sets its result. */
void database_write(struct database *d, struct store_batch *batch);

/* ---- store_thread.c ---- */

struct store_thread;

MUST_CHECK int store_thread_new(struct database *d, struct store_thread **ret_thread);

/* After the last batch; takes NULL, returns NULL. Frees the database. */
struct store_thread *store_thread_free(struct store_thread *t);

/* Hands a batch over; at most one at a time. −ENOBUFS. */
MUST_CHECK int store_thread_give(struct store_thread *t, struct store_batch *batch);

/* A batch that is done, or NULL. */
struct store_batch *store_thread_take(struct store_thread *t);
int store_thread_fd(const struct store_thread *t);
struct heartbeat *store_thread_heartbeat(struct store_thread *t);

#endif
