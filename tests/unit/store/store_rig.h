/* SPDX-License-Identifier: MIT */
/* A store in a folder of its own, the rows that it gave at start, and what it told. */
#ifndef MBGATE_TESTS_STORE_RIG_H
#define MBGATE_TESTS_STORE_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/store/store.h"

#define RIG_FILE      "test.db"
#define RIG_MAX_BYTES ((uint64_t)64 * 1024 * 1024)

struct rig_row {
        uint8_t table;
        size_t n_key, n_value;
        uint8_t *key, *value;
};

struct store_rig {
        char *directory, *path;
        struct store *store;
        struct rig_row *rows;
        size_t n_rows, size_rows;
        uint64_t now_us;
        uint64_t max_bytes, free_bytes;
        /* lines of the log */
        unsigned n_errors, n_warnings, n_infos;
        char last_line[1024];
};

/* Makes the folder. Sets the sink of the log. */
void store_rig_init(struct store_rig *rig);
void store_rig_done(struct store_rig *rig);

/* store_new()'s result; the rows in `rows`. */
int store_rig_open(struct store_rig *rig);
void store_rig_close(struct store_rig *rig);

/* Close, open, as a stop and a start. */
void store_rig_again(struct store_rig *rig);

/* Texts as keys and values. */
uint64_t store_rig_put(struct store_rig *rig, uint8_t table, const char *key, const char *value, bool is_new);
uint64_t store_rig_delete(struct store_rig *rig, uint8_t table, const char *key);

/* store_flush(), and waits until the thread has nothing to do. */
void store_rig_flush(struct store_rig *rig);

const struct rig_row *store_rig_find(const struct store_rig *rig, uint8_t table, const char *key);
bool store_rig_has(const struct store_rig *rig, uint8_t table, const char *key, const char *value);

/* Of a file beside the store's: "" is the file itself. Bytes, or −1: there is none. */
long store_rig_file_bytes(const struct store_rig *rig, const char *suffix);

#endif
