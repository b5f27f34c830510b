/* SPDX-License-Identifier: MIT */
#include <ftw.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/array.h"
#include "mbgate/base/log.h"

#include "store_rig.h"

static void on_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        struct store_rig *rig = user;

        (void)fields;
        if (level == LOG_LEVEL_ERROR)
                rig->n_errors++;
        else if (level == LOG_LEVEL_WARNING)
                rig->n_warnings++;
        else
                rig->n_infos++;
        (void)snprintf(rig->last_line, sizeof(rig->last_line), "%s", line);
}

static void die(const char *what)
{
        perror(what);
        abort();
}

void store_rig_init(struct store_rig *rig)
{
        char template[] = "/tmp/mbgate-store-XXXXXX";

        *rig = (struct store_rig){ .max_bytes = RIG_MAX_BYTES, .now_us = 1000000, .free_bytes = 1 };
        if (!mkdtemp(template) || asprintf(&rig->directory, "%s/store", template) < 0 ||
            asprintf(&rig->path, "%s/%s", rig->directory, RIG_FILE) < 0)
                die("store_rig");
        log_set_sink(on_line, rig);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void forget_rows(struct store_rig *rig)
{
        for (size_t i = 0; i < rig->n_rows; i++) {
                free(rig->rows[i].key);
                free(rig->rows[i].value);
        }
        rig->n_rows = 0;
}

void store_rig_done(struct store_rig *rig)
{
        store_rig_close(rig);
        forget_rows(rig);
        log_set_sink(NULL, NULL);
        *strrchr(rig->directory, '/') = '\0';
        (void)nftw(rig->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(rig->rows);
        free(rig->path);
        free(rig->directory);
}

static void *copy(const void *bytes, size_t n)
{
        void *to = calloc(1, n + 1);

        if (!to)
                abort();
        memcpy(to, bytes, n);
        return to;
}

static void on_row(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                   size_t n_value)
{
        struct store_rig *rig = user;

        rig->rows = array_reserve(rig->rows, rig->n_rows + 1, &rig->size_rows, sizeof(rig->rows[0]));
        if (!rig->rows)
                abort();
        rig->rows[rig->n_rows++] =
                (struct rig_row){ table, n_key, n_value, copy(key, n_key), copy(value, n_value) };
}

int store_rig_open(struct store_rig *rig)
{
        struct store_init init = { .directory = rig->directory,
                                   .name = RIG_FILE,
                                   .max_bytes = rig->max_bytes,
                                   .free_bytes = rig->free_bytes };

        forget_rows(rig);
        return store_new(&init, on_row, rig, &rig->store);
}

void store_rig_close(struct store_rig *rig)
{
        rig->store = store_free(rig->store);
}

void store_rig_again(struct store_rig *rig)
{
        store_rig_close(rig);
        if (store_rig_open(rig) != 0)
                die("store_rig_again");
}

uint64_t store_rig_put(struct store_rig *rig, uint8_t table, const char *key, const char *value, bool is_new)
{
        return store_put(rig->store, table, key, strlen(key), value, strlen(value), is_new);
}

uint64_t store_rig_delete(struct store_rig *rig, uint8_t table, const char *key)
{
        return store_delete(rig->store, table, key, strlen(key));
}

void store_rig_flush(struct store_rig *rig)
{
        struct pollfd p = { .fd = store_fd(rig->store), .events = POLLIN };

        store_flush(rig->store, rig->now_us);
        while (store_is_busy(rig->store)) {
                if (poll(&p, 1, 120000) <= 0)
                        die("the store's thread does not answer");
                store_take_results(rig->store, rig->now_us);
        }
}

const struct rig_row *store_rig_find(const struct store_rig *rig, uint8_t table, const char *key)
{
        for (size_t i = 0; i < rig->n_rows; i++) {
                const struct rig_row *row = &rig->rows[i];

                if (row->table == table && row->n_key == strlen(key) &&
                    memcmp(row->key, key, row->n_key) == 0)
                        return row;
        }
        return NULL;
}

bool store_rig_has(const struct store_rig *rig, uint8_t table, const char *key, const char *value)
{
        const struct rig_row *row = store_rig_find(rig, table, key);

        return row && row->n_value == strlen(value) && memcmp(row->value, value, row->n_value) == 0;
}

long store_rig_file_bytes(const struct store_rig *rig, const char *suffix)
{
        struct stat st;
        char path[512];

        (void)snprintf(path, sizeof(path), "%s%s", rig->path, suffix);
        return stat(path, &st) < 0 ? -1 : (long)st.st_size;
}
