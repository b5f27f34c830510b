/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include <sqlite3.h>

#include "mbgate/base/text.h"

#include "store_private.h"

#define SCHEMA_VERSION  1
#define PAGE_BYTES      4096
#define PAGES_MIN       64
#define BUSY_TIMEOUT_MS 2000

struct database {
        sqlite3 *db;
        sqlite3_stmt *put, *delete, *begin, *commit, *rollback;
        char *path;
};

static int error_of(int code)
{
        switch (code & 0xFF) {
        case SQLITE_OK:
        case SQLITE_DONE:
        case SQLITE_ROW: return 0;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return DATABASE_CORRUPT;
        case SQLITE_NOMEM: return -ENOMEM;
        case SQLITE_FULL: return -ENOSPC;
        case SQLITE_READONLY:
        case SQLITE_PERM: return -EACCES;
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return -EBUSY;
        default: return -EIO;
        }
}

static int run(struct database *d, const char *sql)
{
        return error_of(sqlite3_exec(d->db, sql, NULL, NULL, NULL));
}

static int read_number(struct database *d, const char *sql, int64_t *ret)
{
        sqlite3_stmt *s;
        int code = sqlite3_prepare_v2(d->db, sql, -1, &s, NULL);

        if (code == SQLITE_OK) {
                code = sqlite3_step(s);
                *ret = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
        }
        (void)sqlite3_finalize(s);
        return error_of(code);
}

static int database_prepare(struct database *d)
{
        static const char *const texts[] = {
                "REPLACE INTO record(kind, key, value, sum) VALUES(?1, ?2, ?3, ?4)",
                "DELETE FROM record WHERE kind = ?1 AND key = ?2",
                "BEGIN IMMEDIATE",
                "COMMIT",
                "ROLLBACK",
        };
        sqlite3_stmt **const statements[] = { &d->put, &d->delete, &d->begin, &d->commit, &d->rollback };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                int code = sqlite3_prepare_v3(d->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, statements[i],
                                              NULL);

                if (code != SQLITE_OK)
                        return error_of(code);
        }
        return 0;
}

/* The write-ahead log is synced at each commit: what is committed survives a power cut. */
static int database_set_up(struct database *d, uint64_t max_bytes)
{
        static const char make[] =
                "CREATE TABLE IF NOT EXISTS record(kind INTEGER NOT NULL, key BLOB NOT NULL,"
                " value BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY(kind, key))"
                " WITHOUT ROWID";
        char limit[64], version[48];
        int64_t found = 0;
        int r;

        r = read_number(d, "PRAGMA user_version", &found);
        if (r != 0)
                return r;
        if (found > SCHEMA_VERSION)
                return DATABASE_NEWER;
        (void)snprintf(limit, sizeof(limit), "PRAGMA max_page_count = %llu",
                       (unsigned long long)MBGATE_MAX(max_bytes / PAGE_BYTES, (uint64_t)PAGES_MIN));
        (void)snprintf(version, sizeof(version), "PRAGMA user_version = %d", SCHEMA_VERSION);
        r = run(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
                   " PRAGMA cache_size = -512; PRAGMA wal_autocheckpoint = 256;");
        if (r == 0)
                r = run(d, limit);
        if (r == 0)
                r = run(d, make);
        if (r == 0 && found != SCHEMA_VERSION)
                r = run(d, version);
        return r == 0 ? database_prepare(d) : r;
}

int database_open(const char *path, uint64_t max_bytes, char reason[128], struct database **ret_database)
{
        CLEANUP(database_closep)
        struct database *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->path = strdup(path);
        if (!d->path)
                return -ENOMEM;
        r = error_of(sqlite3_open_v2(path, &d->db,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
        if (r == 0) {
                (void)sqlite3_extended_result_codes(d->db, 1);
                (void)sqlite3_busy_timeout(d->db, BUSY_TIMEOUT_MS);
                r = database_set_up(d, max_bytes);
        }
        if (r != 0) {
                (void)snprintf(reason, 128, "%s", d->db ? sqlite3_errmsg(d->db) : "out of memory");
                return r;
        }
        *ret_database = TAKE(d);
        return 0;
}

struct database *database_close(struct database *d)
{
        if (!d)
                return NULL;
        (void)sqlite3_finalize(d->put);
        (void)sqlite3_finalize(d->delete);
        (void)sqlite3_finalize(d->begin);
        (void)sqlite3_finalize(d->commit);
        (void)sqlite3_finalize(d->rollback);
        (void)sqlite3_close(d->db);
        free(d->path);
        free(d);
        return NULL;
}

/* Of kind, key and value: a row that a dying card has changed is not believed. */
static uint32_t checksum(uint8_t kind, const void *key, size_t n_key, const void *value, size_t n_value)
{
        return text_hash((const char *)&kind, 1) ^ text_hash(key, n_key) * 31 ^
               text_hash(value, n_value) * 17;
}

int database_read(struct database *d, store_row_fn on_row, void *user, size_t *ret_n_bad)
{
        static const char sql[] = "SELECT kind, key, value, sum FROM record ORDER BY kind, key";
        sqlite3_stmt *s;
        int code = sqlite3_prepare_v2(d->db, sql, -1, &s, NULL);

        *ret_n_bad = 0;
        while (code == SQLITE_OK || code == SQLITE_ROW) {
                const void *key, *value;
                size_t n_key, n_value;
                uint8_t kind;

                code = sqlite3_step(s);
                if (code != SQLITE_ROW)
                        break;
                kind = (uint8_t)sqlite3_column_int(s, 0);
                key = sqlite3_column_blob(s, 1);
                n_key = (size_t)sqlite3_column_bytes(s, 1);
                value = sqlite3_column_blob(s, 2);
                n_value = (size_t)sqlite3_column_bytes(s, 2);
                if ((int64_t)checksum(kind, key ? key : "", n_key, value ? value : "", n_value) !=
                    sqlite3_column_int64(s, 3))
                        (*ret_n_bad)++;
                else
                        on_row(user, kind, key ? key : "", n_key, value ? value : "", n_value);
        }
        (void)sqlite3_finalize(s);
        return error_of(code);
}

static int write_change(struct database *d, const struct store_change *c)
{
        sqlite3_stmt *s = c->is_delete ? d->delete : d->put;
        const uint8_t *key = c->key + 1;
        size_t n_key = c->n_key - 1;
        const void *value = c->value ? (const void *)c->value : "";
        int code;

        (void)sqlite3_bind_int(s, 1, c->key[0]);
        (void)sqlite3_bind_blob(s, 2, key, (int)n_key, SQLITE_STATIC);
        if (!c->is_delete) {
                (void)sqlite3_bind_blob(s, 3, value, (int)c->n_value, SQLITE_STATIC);
                (void)sqlite3_bind_int64(s, 4, checksum(c->key[0], key, n_key, value, c->n_value));
        }
        code = sqlite3_step(s);
        (void)sqlite3_reset(s);
        (void)sqlite3_clear_bindings(s);
        return error_of(code);
}

static int step(sqlite3_stmt *s)
{
        int code = sqlite3_step(s);

        (void)sqlite3_reset(s);
        return error_of(code);
}

static int check_free(const struct database *d)
{
        struct statvfs fs;

        if (statvfs(d->path, &fs) < 0)
                return -errno;
        return (uint64_t)fs.f_bavail * fs.f_frsize < STORE_FREE_BYTES ? -ENOSPC : 0;
}

static int write_all(struct database *d, const struct store_batch *batch)
{
        int r = check_free(d);

        if (r == 0)
                r = step(d->begin);
        if (r != 0)
                return r;
        for (const struct store_change *c = batch->changes; c && r == 0; c = c->hh.next)
                r = write_change(d, c);
        if (r == 0)
                r = step(d->commit);
        if (r != 0 && !sqlite3_get_autocommit(d->db))
                (void)step(d->rollback);
        return r;
}

static uint64_t file_bytes(struct database *d)
{
        int64_t pages = 0;

        if (read_number(d, "PRAGMA page_count", &pages) != 0)
                return 0;
        return (uint64_t)pages * PAGE_BYTES;
}

void database_write(struct database *d, struct store_batch *batch)
{
        int r = write_all(d, batch);

        batch->result = r > 0 ? -EIO : r;
        batch->file_bytes = file_bytes(d);
        if (r != 0)
                (void)snprintf(batch->reason, sizeof(batch->reason), "%s",
                               r == -ENOSPC ? "no room left (disk, or store_max_bytes)"
                                            : sqlite3_errmsg(d->db));
}
