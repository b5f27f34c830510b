/* SPDX-License-Identifier: MIT */
/* What the files of the storage thread share. */
#ifndef MBGATE_STORE_STORE_PRIVATE_H
#define MBGATE_STORE_STORE_PRIVATE_H

#include "mbgate/base/hash.h"

#include "mbgate/base/mailbox.h"
#include "mbgate/store/store.h"

/* The latest change of one row. */
struct store_change {
        UT_hash_handle hh;
        bool is_delete;
        bool is_new;
        uint32_t n_key, n_value;
        uint8_t *value; /* of its own; NULL: none */
        uint8_t key[];  /* the table's number, then the row's key: n_key bytes together */
};

/* A batch on its way to the thread, and back with its result. */
struct store_batch {
        struct mail mail;
        struct store_change *changes; /* uthash; taken out by who frees them */
        uint64_t number;              /* of its latest change */
        uint64_t file_bytes;          /* result */
        int result;                   /* 0 or −errno */
        char reason[128];             /* of a failure */
};

enum store_mail {
        STORE_MAIL_BATCH,
        STORE_MAIL_STOP,
};

void store_batch_free(struct mail *mail);

/* ---- store_sqlite.c: on the thread, or before it has begun ---- */

struct database;

enum database_result {
        DATABASE_CORRUPT = 1, /* no database, or a damaged one */
        DATABASE_NEWER,       /* written by a later version */
};

/* 0; DATABASE_…; −errno. `reason`: why not. */
MUST_CHECK int database_open(const char *path, uint64_t max_bytes, char reason[128],
                             struct database **ret_database);
struct database *database_close(struct database *d);
DEFINE_CLEANUP(struct database *, database_close)

/* 0; DATABASE_CORRUPT; −errno. *ret_n_bad: rows with a wrong checksum, which are not told. */
MUST_CHECK int database_read(struct database *d, store_row_fn on_row, void *user, size_t *ret_n_bad);

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
