/* SPDX-License-Identifier: MIT */
/* Files that a dying card, or somebody, has changed: the store opens, and never gives what was not written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "store_rig.h"

#define SEED   UINT64_C(20261123)
#define N_ROWS 400
#define FLIPS  200

static void value_of(unsigned i, char value[256])
{
        struct random r = { .state = SEED + i };
        unsigned n = (unsigned)random_below(&r, 200);

        for (unsigned k = 0; k < n; k++)
                value[k] = (char)('a' + random_below(&r, 26));
        value[n] = '\0';
}

static void key_of(unsigned i, char key[16])
{
        (void)snprintf(key, 16, "key-%u", i);
}

/* A closed file with N_ROWS rows, and its bytes. */
static int setup(void **state)
{
        static struct store_rig rig;

        store_rig_init(&rig);
        *state = &rig;
        if (store_rig_open(&rig) < 0)
                return -1;
        for (unsigned i = 0; i < N_ROWS; i++) {
                char key[16], value[256];

                key_of(i, key);
                value_of(i, value);
                store_rig_put(&rig, (uint8_t)(1 + i % 7), key, value, true);
        }
        store_rig_close(&rig);
        return 0;
}

static int teardown(void **state)
{
        store_rig_done(*state);
        return 0;
}

static uint8_t *read_file(const char *path, size_t *ret_n)
{
        FILE *f = fopen(path, "rb");
        uint8_t *bytes = malloc(1024 * 1024);

        assert_non_null(f);
        assert_non_null(bytes);
        *ret_n = fread(bytes, 1, 1024 * 1024, f);
        assert_in_range(*ret_n, 8192, 1024 * 1024 - 1);
        assert_int_equal(fclose(f), 0);
        return bytes;
}

static void write_file(const char *path, const void *bytes, size_t n)
{
        FILE *f = fopen(path, "wb");

        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
}

/* Each row that it gives is one that was written. */
static void check_rows(const struct store_rig *rig)
{
        for (size_t i = 0; i < rig->n_rows; i++) {
                const struct rig_row *row = &rig->rows[i];
                unsigned number = (unsigned)strtoul((const char *)row->key + 4, NULL, 10);
                char key[16], value[256];

                assert_true(number < N_ROWS);
                key_of(number, key);
                value_of(number, value);
                assert_string_equal((const char *)row->key, key);
                assert_int_equal(row->table, 1 + number % 7);
                assert_int_equal(row->n_value, strlen(value));
                assert_string_equal((const char *)row->value, value);
        }
}

static bool is_aside(const struct store_rig *rig)
{
        return store_rig_file_bytes(rig, ".corrupt-1") >= 0;
}

static void forget_aside(const struct store_rig *rig)
{
        char path[512];

        (void)snprintf(path, sizeof(path), "%s.corrupt-1", rig->path);
        (void)unlink(path);
}

struct counts {
        unsigned n_aside, n_rows_lost, n_unharmed;
};

/* It opens, tells what it lost, and the next start finds nothing wrong. */
static void open_damaged(struct store_rig *rig, struct counts *counts)
{
        rig->n_errors = rig->n_warnings = 0;
        assert_int_equal(store_rig_open(rig), 0);
        check_rows(rig);
        assert_int_equal(rig->n_errors, is_aside(rig));
        counts->n_unharmed += rig->n_rows == N_ROWS;
        if (is_aside(rig)) {
                counts->n_aside++;
                assert_int_equal(rig->n_rows, 0);
                assert_non_null(strstr(rig->last_line, ".corrupt-1"));
        } else if (rig->n_rows < N_ROWS) {
                counts->n_rows_lost++;
                assert_int_equal(rig->n_warnings, 1);
        }
        store_rig_put(rig, 9, "after", "1", true);
        store_rig_again(rig);
        assert_int_equal(rig->n_errors, is_aside(rig));
        assert_in_range(rig->n_warnings, 0, 1);
        assert_true(store_rig_has(rig, 9, "after", "1"));
        store_rig_close(rig);
        forget_aside(rig);
}

static void flipped_bits(void **state)
{
        struct store_rig *rig = *state;
        struct random r = { .state = SEED };
        struct counts counts = { 0, 0, 0 };
        size_t n;
        uint8_t *bytes = read_file(rig->path, &n);

        for (unsigned i = 0; i < FLIPS; i++) {
                size_t at = i < 100 ? i : (size_t)random_below(&r, n);
                uint8_t was = bytes[at];

                if (at >= 60 && at < 64)
                        continue; /* the version: see a_newer_version_is_left_alone */
                bytes[at] ^= (uint8_t)(1u << random_below(&r, 8));
                write_file(rig->path, bytes, n);
                bytes[at] = was;
                open_damaged(rig, &counts);
        }
        print_message("of %u: %u moved aside, %u with rows left out, %u unharmed\n", FLIPS, counts.n_aside,
                      counts.n_rows_lost, counts.n_unharmed);
        assert_true(counts.n_aside > 0);
        assert_true(counts.n_rows_lost > 0);
        free(bytes);
}

static void cut_off(void **state)
{
        static const size_t lengths[] = {
                1, 15, 16, 99, 100, 511, 512, 4095, 4096, 4097, 8192, 12288, 20000
        };
        struct store_rig *rig = *state;
        size_t n;
        uint8_t *bytes = read_file(rig->path, &n);

        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
                write_file(rig->path, bytes, lengths[i]);
                open_damaged(rig, &(struct counts){ 0, 0, 0 });
        }
        free(bytes);
}

static void no_database(void **state)
{
        struct store_rig *rig = *state;
        uint8_t bytes[10000] = { 0 };

        write_file(rig->path, bytes, sizeof(bytes));
        open_damaged(rig, &(struct counts){ 0, 0, 0 });
        write_file(rig->path, "password = secret\n", 18);
        open_damaged(rig, &(struct counts){ 0, 0, 0 });
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(i * 31 >> 2);
        write_file(rig->path, bytes, sizeof(bytes));
        open_damaged(rig, &(struct counts){ 0, 0, 0 });
        memcpy(bytes, "SQLite format 3", 16);
        write_file(rig->path, bytes, sizeof(bytes));
        open_damaged(rig, &(struct counts){ 0, 0, 0 });
        write_file(rig->path, bytes, 0); /* an empty one is a new one */
        assert_int_equal(store_rig_open(rig), 0);
        assert_false(is_aside(rig));
}

/* A log of something else, or of nothing: SQLite's checksums refuse it. */
static void a_foreign_log(void **state)
{
        struct store_rig *rig = *state;
        char path[512];
        size_t n;
        uint8_t *bytes = read_file(rig->path, &n);

        (void)snprintf(path, sizeof(path), "%s-wal", rig->path);
        write_file(path, bytes, n);
        assert_int_equal(store_rig_open(rig), 0);
        assert_int_equal(rig->n_rows, N_ROWS);
        check_rows(rig);
        free(bytes);
}

/* A dying card does not fill itself with evidence. */
static void few_are_kept_aside(void **state)
{
        struct store_rig *rig = *state;

        for (unsigned i = 0; i < 10; i++) {
                write_file(rig->path, "no database, that is for sure", 29);
                assert_int_equal(store_rig_open(rig), 0);
                store_rig_close(rig);
        }
        assert_true(store_rig_file_bytes(rig, ".corrupt-4") > 0);
        assert_int_equal(store_rig_file_bytes(rig, ".corrupt-5"), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(flipped_bits, setup, teardown),
                cmocka_unit_test_setup_teardown(cut_off, setup, teardown),
                cmocka_unit_test_setup_teardown(no_database, setup, teardown),
                cmocka_unit_test_setup_teardown(a_foreign_log, setup, teardown),
                cmocka_unit_test_setup_teardown(few_are_kept_aside, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
