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

/*
 * EXCLUSIVE: no second program writes into it, and the index of the log is in memory: no file that is mapped,
 * and a full disk can still be read. FULL: the log is synced at each commit: what is committed survives a
 * power cut.
 */
static const char set_up[] =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
        " PRAGMA cache_size = -512; PRAGMA wal_autocheckpoint = 256;"
        " PRAGMA journal_size_limit = 4194304;"
        "CREATE TABLE IF NOT EXISTS record(kind INTEGER NOT NULL, key BLOB NOT NULL,"
        " value BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY(kind, key))"
        " WITHOUT ROWID;";

struct database {
        sqlite3 *db;
        sqlite3_stmt *put, *delete, *find, *begin, *commit, *rollback;
        uint64_t free_bytes;
        char *path;
};

static int error_of(int code)
{
        switch (code) {
        case SQLITE_IOERR_READ:
        case SQLITE_IOERR_SHORT_READ:
        case SQLITE_IOERR_DATA: return DATABASE_CORRUPT; /* a sector is gone */
        }
        switch (code & 0xFF) {
        case SQLITE_OK:
        case SQLITE_DONE:
        case SQLITE_ROW: return 0;
        case SQLITE_ERROR: /* our statements are right: the tables are not ours */
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

static int run_number(struct database *d, const char *pragma, uint64_t number)
{
        char sql[96];

        (void)snprintf(sql, sizeof(sql), "PRAGMA %s = %llu", pragma, (unsigned long long)number);
        return run(d, sql);
}

static int read_number(struct database *d, const char *sql, int64_t *ret)
{
        sqlite3_stmt *s = NULL;
        int code = sqlite3_prepare_v2(d->db, sql, -1, &s, NULL);

        if (code == SQLITE_OK) {
                code = sqlite3_step(s);
                *ret = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
        }
        (void)sqlite3_finalize(s);
        return error_of(code);
}

/* Reads all of it, which its rows need afterwards anyhow. The quick check would not see keys out of order. */
static int database_check(struct database *d, char reason[STORE_REASON_BYTES])
{
        sqlite3_stmt *s = NULL;
        int code = sqlite3_prepare_v2(d->db, "PRAGMA integrity_check(1)", -1, &s, NULL);
        int r;

        if (code == SQLITE_OK)
                code = sqlite3_step(s);
        r = error_of(code);
        if (code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0) {
                (void)snprintf(reason, STORE_REASON_BYTES, "%.*s", STORE_REASON_BYTES - 1,
                               (const char *)sqlite3_column_text(s, 0));
                reason[strcspn(reason, "\n")] = '\0';
                r = DATABASE_CORRUPT;
        }
        (void)sqlite3_finalize(s);
        return r;
}

static int database_prepare(struct database *d)
{
        static const char *const texts[] = {
                "REPLACE INTO record(kind, key, value, sum) VALUES(?1, ?2, ?3, ?4)",
                "DELETE FROM record WHERE kind = ?1 AND key = ?2",
                "SELECT 1 FROM record WHERE kind = ?1 AND key = ?2",
                "BEGIN IMMEDIATE",
                "COMMIT",
                "ROLLBACK",
        };
        sqlite3_stmt **const statements[] = { &d->put,   &d->delete, &d->find,
                                              &d->begin, &d->commit, &d->rollback };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                int code = sqlite3_prepare_v3(d->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, statements[i],
                                              NULL);

                if (code != SQLITE_OK)
                        return error_of(code);
        }
        return 0;
}

static int database_set_up(struct database *d, uint64_t max_bytes, char reason[STORE_REASON_BYTES])
{
        int64_t version = 0;
        int r = run(d, "PRAGMA locking_mode = EXCLUSIVE");

        if (r == 0)
                r = read_number(d, "PRAGMA user_version", &version);
        if (r == 0 && version > SCHEMA_VERSION)
                return DATABASE_NEWER;
        if (r == 0 && sqlite3_db_readonly(d->db, "main") != 0) {
                /* The file could be opened for writing: its head names a format of the future. */
                (void)snprintf(reason, STORE_REASON_BYTES, "it is of another format");
                return DATABASE_CORRUPT;
        }
        if (r == 0)
                r = database_check(d, reason);
        if (r == 0)
                r = run(d, set_up);
        if (r == 0)
                r = run_number(d, "max_page_count", MBGATE_MAX(max_bytes / PAGE_BYTES, (uint64_t)PAGES_MIN));
        if (r == 0 && version != SCHEMA_VERSION)
                r = run_number(d, "user_version", SCHEMA_VERSION);
        /* What a damaged row may have become, and nobody could name. */
        if (r == 0)
                (void)run(d, "DELETE FROM record WHERE kind < 0 OR kind > 255");
        return r == 0 ? database_prepare(d) : r;
}

static int database_init(struct database *d, const char *path, const struct store_init *init,
                         char reason[STORE_REASON_BYTES])
{
        int r;

        d->free_bytes = init->free_bytes > 0 ? init->free_bytes : STORE_FREE_BYTES;
        d->path = strdup(path);
        if (!d->path)
                return -ENOMEM;
        r = error_of(sqlite3_open_v2(path, &d->db,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
        if (r != 0)
                return r;
        (void)sqlite3_extended_result_codes(d->db, 1);
        (void)sqlite3_busy_timeout(d->db, BUSY_TIMEOUT_MS);
        return database_set_up(d, init->max_bytes, reason);
}

int database_open(const char *path, const struct store_init *init, char reason[STORE_REASON_BYTES],
                  struct database **ret_database)
{
        CLEANUP(database_closep)
        struct database *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        reason[0] = '\0';
        r = database_init(d, path, init, reason);
        if (r != 0 && reason[0] == '\0')
                (void)snprintf(reason, STORE_REASON_BYTES, "%s",
                               r == -EBUSY ? "another program uses it"
                               : d->db     ? sqlite3_errmsg(d->db)
                                           : "out of memory");
        if (r != 0)
                return r;
        *ret_database = TAKE(d);
        return 0;
}

struct database *database_close(struct database *d)
{
        if (!d)
                return NULL;
        (void)sqlite3_finalize(d->put);
        (void)sqlite3_finalize(d->delete);
        (void)sqlite3_finalize(d->find);
        (void)sqlite3_finalize(d->begin);
        (void)sqlite3_finalize(d->commit);
        (void)sqlite3_finalize(d->rollback);
        (void)sqlite3_close(d->db);
        free(d->path);
        free(d);
        return NULL;
}

/* ---- rows ---- */

/* Of kind, key and value: a row that a dying card has changed is not believed. */
static uint32_t checksum(uint8_t kind, const void *key, size_t n_key, const void *value, size_t n_value)
{
        return text_hash((const char *)&kind, 1) ^ text_hash(key, n_key) * 31 ^
               text_hash(value, n_value) * 17;
}

static void read_row(sqlite3_stmt *s, database_row_fn fn, void *user)
{
        uint8_t kind = (uint8_t)sqlite3_column_int(s, 0);
        const void *key = sqlite3_column_blob(s, 1);
        size_t n_key = (size_t)sqlite3_column_bytes(s, 1);
        const void *value = sqlite3_column_blob(s, 2);
        size_t n_value = (size_t)sqlite3_column_bytes(s, 2);
        bool is_good;

        if (!key)
                key = ""; /* SQLite has no pointer to nothing */
        if (!value)
                value = "";
        is_good = checksum(kind, key, n_key, value, n_value) == sqlite3_column_int64(s, 3);
        fn(user, is_good, kind, key, n_key, is_good ? value : "", is_good ? n_value : 0);
}

int database_read(struct database *d, database_row_fn fn, void *user)
{
        static const char sql[] = "SELECT kind, key, value, sum FROM record ORDER BY kind, key";
        sqlite3_stmt *s = NULL;
        int code = sqlite3_prepare_v2(d->db, sql, -1, &s, NULL);

        if (code == SQLITE_OK) {
                while ((code = sqlite3_step(s)) == SQLITE_ROW)
                        read_row(s, fn, user);
        }
        (void)sqlite3_finalize(s);
        return error_of(code);
}

static void bind_key(sqlite3_stmt *s, const struct store_change *c)
{
        (void)sqlite3_bind_int(s, 1, c->bytes[0]);
        (void)sqlite3_bind_blob(s, 2, c->bytes + 1, (int)(c->n_key - 1), SQLITE_STATIC);
}

/* The result code of its only step. */
static int step_once(sqlite3_stmt *s)
{
        int code = sqlite3_step(s);

        (void)sqlite3_reset(s);
        (void)sqlite3_clear_bindings(s);
        return code;
}

static int write_delete(struct database *d, const struct store_change *c)
{
        bind_key(d->delete, c);
        return error_of(step_once(d->delete));
}

static int write_put(struct database *d, const struct store_change *c)
{
        const uint8_t *value = store_change_value(c);

        bind_key(d->put, c);
        (void)sqlite3_bind_blob(d->put, 3, value, (int)c->n_value, SQLITE_STATIC);
        (void)sqlite3_bind_int64(d->put, 4,
                                 checksum(c->bytes[0], c->bytes + 1, c->n_key - 1, value, c->n_value));
        return error_of(step_once(d->put));
}

/* Deletes first: they make room. A key is in a batch once, so their order means nothing else. */
static int write_changes(struct database *d, const struct store_batch *batch)
{
        int r = 0;

        for (const struct store_change *c = batch->changes; c && r == 0; c = c->hh.next)
                r = c->is_delete ? write_delete(d, c) : 0;
        for (const struct store_change *c = batch->changes; c && r == 0; c = c->hh.next)
                r = c->is_delete ? 0 : write_put(d, c);
        return r;
}

static int check_free(const struct database *d, char reason[STORE_REASON_BYTES])
{
        struct statvfs fs;

        if (statvfs(d->path, &fs) < 0)
                return -errno;
        if ((uint64_t)fs.f_bavail * fs.f_frsize >= d->free_bytes)
                return 0;
        (void)snprintf(reason, STORE_REASON_BYTES, "less than %llu MiB left on the file system",
                       (unsigned long long)(d->free_bytes >> 20));
        return -ENOSPC;
}

static void tell_failure(const struct database *d, int r, char reason[STORE_REASON_BYTES])
{
        if (reason[0] != '\0')
                return;
        (void)snprintf(reason, STORE_REASON_BYTES, "%s",
                       r == -ENOSPC ? "no room left (on the disk, or within store_max_bytes)"
                                    : sqlite3_errmsg(d->db));
}

static int write_all(struct database *d, struct store_batch *batch)
{
        int r = check_free(d, batch->reason);

        if (r == 0)
                r = error_of(step_once(d->begin));
        if (r == 0)
                r = write_changes(d, batch);
        if (r == 0)
                r = error_of(step_once(d->commit));
        if (r != 0)
                tell_failure(d, r, batch->reason);
        if (r != 0 && !sqlite3_get_autocommit(d->db))
                (void)step_once(d->rollback);
        return r;
}

/* So that what comes and goes while nothing can be written does not pile up. What cannot even be read counts
 * as not there. */
static void find_out_what_is_new(struct database *d, const struct store_batch *batch)
{
        for (struct store_change *c = batch->changes; c; c = c->hh.next) {
                bind_key(d->find, c);
                c->is_new = step_once(d->find) != SQLITE_ROW;
        }
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
        if (r != 0)
                find_out_what_is_new(d, batch);
        batch->file_bytes = file_bytes(d);
}
