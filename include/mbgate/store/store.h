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

/* More than this is not gathered without a try to write it. */
#define STORE_GATHER_BYTES ((size_t)4 * 1024 * 1024)

/* After a failure it is tried again so much later. */
#define STORE_RETRY_US (UINT64_C(60) * 1000000)

struct store_init {
        const char *directory; /* made when it is not there */
        const char *name;      /* of the file in it */
        uint64_t max_bytes;    /* of the file */
        uint64_t free_bytes;   /* left free on the file system; 0: STORE_FREE_BYTES */
};

/* A row that is there at start. The bytes are the store's, during the call. Tables come in the order of their
 * numbers, rows in that of their keys' bytes. */
typedef void (*store_row_fn)(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                             size_t n_value);

/*
 * Opens or makes the file, reads all rows, starts the thread. What is wrong is told in the log once. −EINVAL:
 * there is no using it (directory, permissions, newer version, another program has it); −ENOMEM, −errno of
 * threads. Rows that were given before an error are not in the store.
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

/* The same, but the caller writes the `n_value` bytes into *ret_value before its next call. */
uint64_t store_put_room(struct store *s, uint8_t table, const void *key, size_t n_key, size_t n_value,
                        bool is_new, uint8_t **ret_value);

/* Hands what has been gathered to the thread, unless that is busy, or waits after a failure. */
void store_flush(struct store *s, uint64_t now_us);

/* Whether anything waits to be handed over or is being written. */
bool store_has_work(const struct store *s);

/* Whether the thread has a batch: store_fd() will tell when it is done. */
bool store_is_busy(const struct store *s);

/* So much has been gathered that store_flush() is due now, whatever its owner's interval is. */
bool store_is_overfull(const struct store *s);

/* Before this moment store_flush() does nothing, unless the store is overfull; 0: it is not waiting. */
uint64_t store_retry_us(const struct store *s);

/* Readable when the thread has finished a batch: call store_take_results() then. */
int store_fd(const struct store *s);
void store_take_results(struct store *s, uint64_t now_us);

/* The latest change that is on the disk, with all before it. */
uint64_t store_committed(const struct store *s);
uint64_t store_last(const struct store *s);

/* Whether the latest batch could not be written. */
bool store_is_failing(const struct store *s);

/* Bytes of the file after the latest commit. */
uint64_t store_file_bytes(const struct store *s);

/* Bytes that are gathered in memory. */
size_t store_gathered_bytes(const struct store *s);

struct heartbeat *store_heartbeat(struct store *s);

#endif
