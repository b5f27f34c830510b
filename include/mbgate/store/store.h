/* SPDX-License-Identifier: MIT */
/*
 * Durable tables of keys and values, written by a thread of their own. Everything here is called on the
 * owner's thread, and nothing but store_new() and store_free() waits for the disk (src/store/README.md).
 */
#ifndef MBGATE_STORE_STORE_H
#define MBGATE_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/thread.h"

struct store;

/* So many bytes are left free on the file system. */
#define STORE_FREE_BYTES (UINT64_C(16) * 1024 * 1024)

struct store_init {
        const char *directory; /* made when it is not there */
        const char *name;      /* of the file in it */
        uint64_t max_bytes;    /* of the file */
};

/* A row that is there at start. The bytes are the store's, during the call. Tables come in the order of their
 * numbers, rows in that of their keys' bytes. */
typedef void (*store_row_fn)(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                             size_t n_value);

/*
 * Opens or makes the file, reads all rows, starts the thread. What is wrong is told in the log once. −EINVAL:
 * there is no using it (directory, permissions, newer version); −ENOMEM, −errno of threads.
 */
MUST_CHECK int store_new(const struct store_init *init, store_row_fn on_row, void *user,
                         struct store **ret_store);

/* Writes what is left, as far as it can be written, and ends the thread. Takes NULL, returns NULL. */
struct store *store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free)

/*
 * Changes a row (copies); the number of the change, or 0: no memory. `is_new`: the key has not been there: if
 * it is deleted before it was handed over, nothing is written at all.
 */
uint64_t store_put(struct store *s, uint8_t table, const void *key, size_t n_key, const void *value,
                   size_t n_value, bool is_new);
uint64_t store_delete(struct store *s, uint8_t table, const void *key, size_t n_key);

/* Hands what has been gathered to the thread, unless that is busy, or waits after a failure. */
void store_flush(struct store *s);

/* Whether anything waits to be handed over. */
bool store_has_work(const struct store *s);

/* Readable when the thread has finished a batch: call store_take_results() then. */
int store_fd(const struct store *s);
void store_take_results(struct store *s);

/* The latest change that is on the disk, with all before it. */
uint64_t store_committed(const struct store *s);
uint64_t store_last(const struct store *s);

/* Whether the latest batch could not be written. */
bool store_is_failing(const struct store *s);

/* Bytes of the file after the latest commit. */
uint64_t store_file_bytes(const struct store *s);

struct heartbeat *store_heartbeat(struct store *s);

#endif
