/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "store_rig.h"

static int setup(void **state)
{
        static struct store_rig rig;

        store_rig_init(&rig);
        *state = &rig;
        return 0;
}

static int setup_open(void **state)
{
        setup(state);
        return store_rig_open(*state);
}

static int teardown(void **state)
{
        store_rig_done(*state);
        return 0;
}

/* ---- what is written is there again ---- */

static void rows_come_back_in_order(void **state)
{
        struct store_rig *rig = *state;

        assert_int_equal(rig->n_rows, 0);
        store_rig_put(rig, 2, "a", "1", false);
        store_rig_put(rig, 1, "z", "2", false);
        store_rig_put(rig, 1, "b", "", false);
        store_rig_put(rig, 1, "", "empty key", false);
        store_rig_put(rig, 255, "\x80\xff", "\x01\x02", true);
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 5);
        assert_int_equal(rig->rows[0].n_key, 0);
        assert_memory_equal(rig->rows[1].key, "b", 1);
        assert_memory_equal(rig->rows[2].key, "z", 1);
        assert_int_equal(rig->rows[3].table, 2);
        assert_int_equal(rig->rows[4].table, 255);
        assert_true(store_rig_has(rig, 1, "", "empty key"));
        assert_true(store_rig_has(rig, 1, "b", ""));
        assert_true(store_rig_has(rig, 255, "\x80\xff", "\x01\x02"));
        assert_int_equal(rig->n_errors + rig->n_warnings, 0);
}

static void large_keys_and_values(void **state)
{
        struct store_rig *rig = *state;
        size_t n_key = 65535, n_value = 8 * 1024 * 1024;
        uint8_t *key = malloc(n_key), *value, *room;

        assert_non_null(key);
        memset(key, 'k', n_key);
        assert_int_not_equal(store_put_room(rig->store, 1, key, n_key, n_value, false, &room), 0);
        for (size_t i = 0; i < n_value; i++)
                room[i] = (uint8_t)(i * 7);
        assert_true(store_is_overfull(rig->store));
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 1);
        assert_int_equal(rig->rows[0].n_key, n_key);
        assert_int_equal(rig->rows[0].n_value, n_value);
        value = rig->rows[0].value;
        for (size_t i = 0; i < n_value; i++)
                assert_int_equal(value[i], (uint8_t)(i * 7));
        free(key);
}

static void numbers_are_committed_in_order(void **state)
{
        struct store_rig *rig = *state;
        uint64_t a = store_rig_put(rig, 1, "a", "1", false), b;

        assert_true(a > store_committed(rig->store));
        assert_true(store_has_work(rig->store));
        store_flush(rig->store, rig->now_us);
        assert_true(store_is_busy(rig->store));
        b = store_rig_put(rig, 1, "b", "1", false);
        assert_int_equal(b, a + 1);
        assert_int_equal(store_last(rig->store), b);
        while (store_is_busy(rig->store))
                store_take_results(rig->store, rig->now_us);
        assert_int_equal(store_committed(rig->store), a);
        store_rig_flush(rig);
        assert_int_equal(store_committed(rig->store), b);
        assert_false(store_has_work(rig->store));
        assert_true(store_file_bytes(rig->store) > 0);
}

static void the_latest_of_a_key_wins(void **state)
{
        struct store_rig *rig = *state;

        store_rig_put(rig, 1, "a", "old", false);
        store_rig_flush(rig);
        store_rig_put(rig, 1, "a", "older", false);
        store_rig_delete(rig, 1, "a");
        store_rig_put(rig, 1, "a", "new", true);
        store_rig_put(rig, 1, "b", "there", false);
        store_rig_flush(rig);
        store_rig_delete(rig, 1, "b");
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 1);
        assert_true(store_rig_has(rig, 1, "a", "new"));
}

/* ---- what need not be written ---- */

static void what_comes_and_goes_is_never_written(void **state)
{
        struct store_rig *rig = *state;
        long wal;

        store_rig_put(rig, 1, "a", "1", false);
        store_rig_flush(rig);
        wal = store_rig_file_bytes(rig, "-wal");
        for (int i = 0; i < 10000; i++) {
                char key[16];

                (void)snprintf(key, sizeof(key), "%d", i);
                store_rig_put(rig, 1, key, "a message", true);
                store_rig_put(rig, 2, key, "its state", true);
                store_rig_delete(rig, 1, key);
                store_rig_delete(rig, 2, key);
        }
        assert_int_equal(store_gathered_bytes(rig->store), 0);
        assert_true(store_has_work(rig->store)); /* its owner has not been told yet */
        store_flush(rig->store, rig->now_us);
        assert_false(store_is_busy(rig->store));
        assert_int_equal(store_committed(rig->store), store_last(rig->store));
        assert_int_equal(store_rig_file_bytes(rig, "-wal"), wal);
}

/* The delete comes while the put is on its way: both reach the disk. */
static void deleted_while_it_is_written(void **state)
{
        struct store_rig *rig = *state;

        for (int i = 0; i < 100; i++) {
                store_rig_put(rig, 1, "a", "1", true);
                store_flush(rig->store, rig->now_us);
                store_rig_delete(rig, 1, "a");
                if (i % 2 == 0)
                        store_rig_put(rig, 1, "a", "2", true);
                if (i % 4 == 0)
                        store_rig_delete(rig, 1, "a");
                store_rig_flush(rig);
                store_rig_flush(rig);
                if (i % 10 != 0)
                        continue;
                store_rig_again(rig);
                assert_int_equal(rig->n_rows, i % 4 == 2);
                store_rig_delete(rig, 1, "a");
                store_rig_flush(rig);
        }
}

/* ---- the file ---- */

static void nobody_else_can_read_it(void **state)
{
        struct store_rig *rig = *state;
        mode_t mask = umask(0);
        struct stat st;
        char wal[256];

        assert_int_equal(store_rig_open(rig), 0);
        store_rig_put(rig, 1, "a", "1", false);
        store_rig_flush(rig);
        assert_int_equal(stat(rig->directory, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_int_equal(stat(rig->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        (void)snprintf(wal, sizeof(wal), "%s-wal", rig->path);
        assert_int_equal(stat(wal, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        store_rig_close(rig);
        assert_int_equal(chmod(rig->path, 0644), 0);
        assert_int_equal(store_rig_open(rig), 0);
        assert_int_equal(stat(rig->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        (void)umask(mask);
}

static void a_second_one_is_refused(void **state)
{
        struct store_rig *rig = *state;
        struct store *first = rig->store;

        store_rig_put(rig, 1, "a", "1", false);
        store_rig_flush(rig);
        rig->store = NULL;
        assert_int_equal(store_rig_open(rig), -EINVAL);
        assert_non_null(strstr(rig->last_line, "another program uses it"));
        assert_null(rig->store);
        assert_null(store_free(first));
        assert_int_equal(store_rig_open(rig), 0);
        assert_true(store_rig_has(rig, 1, "a", "1"));
}

static void a_newer_version_is_left_alone(void **state)
{
        struct store_rig *rig = *state;
        FILE *f;

        store_rig_put(rig, 1, "a", "1", false);
        store_rig_close(rig);
        f = fopen(rig->path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, 60, SEEK_SET), 0); /* user_version: fileformat2.html §1.3.12 */
        assert_int_equal(fwrite("\0\0\0\2", 4, 1, f), 1);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(store_rig_open(rig), -EINVAL);
        assert_int_equal(rig->n_errors, 1);
        assert_non_null(strstr(rig->last_line, "newer version"));
        assert_int_equal(store_rig_file_bytes(rig, ".corrupt-1"), -1);
}

static void expect_unusable(struct store_rig *rig)
{
        assert_int_equal(store_rig_open(rig), -EINVAL);
        assert_int_equal(rig->n_errors, 1);
        assert_non_null(strstr(rig->last_line, "nothing outlives the program"));
        rig->n_errors = 0;
}

static void what_cannot_be_a_store(void **state)
{
        struct store_rig *rig = *state;
        FILE *f;

        assert_int_equal(mkdir(rig->directory, 0700), 0);
        assert_int_equal(mkdir(rig->path, 0700), 0);
        expect_unusable(rig); /* a directory */
        assert_int_equal(rmdir(rig->path), 0);
        assert_int_equal(mkfifo(rig->path, 0600), 0);
        expect_unusable(rig);
        assert_int_equal(unlink(rig->path), 0);
        assert_int_equal(symlink("/dev/null", rig->path), 0);
        expect_unusable(rig);
        assert_int_equal(unlink(rig->path), 0);
        assert_int_equal(rmdir(rig->directory), 0);
        f = fopen(rig->directory, "w");
        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
        expect_unusable(rig); /* a file in the place of the directory */
}

/* As root nothing is read-only: as nobody then. */
static void a_file_that_is_read_only(void **state)
{
        struct store_rig *rig = *state;
        uid_t us = geteuid();
        uid_t owner = us == 0 ? 65534 : us;

        store_rig_put(rig, 1, "a", "1", false);
        store_rig_close(rig);
        *strrchr(rig->directory, '/') = '\0';
        assert_int_equal(chmod(rig->directory, 0711), 0);
        rig->directory[strlen(rig->directory)] = '/';
        assert_int_equal(chown(rig->directory, owner, (gid_t)-1), 0);
        assert_int_equal(chown(rig->path, owner, (gid_t)-1), 0);
        assert_int_equal(chmod(rig->path, 0400), 0);
        assert_int_equal(seteuid(owner), 0);
        expect_unusable(rig);
        assert_int_equal(seteuid(us), 0);
        assert_int_equal(chmod(rig->path, 0600), 0);
        assert_int_equal(store_rig_open(rig), 0);
        assert_true(store_rig_has(rig, 1, "a", "1"));
}

/* ---- no room ---- */

static char *text_of(size_t n)
{
        char *text = malloc(n + 1);

        if (!text)
                abort();
        memset(text, 'x', n);
        text[n] = '\0';
        return text;
}

static void more_than_it_may_have(void **state)
{
        struct store_rig *rig = *state;
        char *text = text_of(600 * 1024);
        uint64_t number;

        rig->max_bytes = 512 * 1024;
        assert_int_equal(store_rig_open(rig), 0);
        store_rig_put(rig, 1, "small", "1", false);
        store_rig_flush(rig);
        number = store_rig_put(rig, 1, "large", text, false);
        store_rig_flush(rig);
        assert_true(store_is_failing(rig->store));
        assert_int_equal(rig->n_errors, 1);
        assert_non_null(strstr(rig->last_line, "store_max_bytes"));
        assert_true(store_committed(rig->store) < number);

        /* Within the minute nothing is tried, and afterwards it is not told again. */
        store_flush(rig->store, rig->now_us);
        assert_false(store_is_busy(rig->store));
        assert_int_equal(store_retry_us(rig->store), rig->now_us + STORE_RETRY_US);
        rig->now_us += STORE_RETRY_US;
        store_rig_flush(rig);
        assert_true(store_is_failing(rig->store));
        assert_int_equal(rig->n_errors, 1);

        store_rig_delete(rig, 1, "large");
        store_rig_put(rig, 1, "other", "2", false);
        rig->now_us += STORE_RETRY_US;
        store_rig_flush(rig);
        assert_false(store_is_failing(rig->store));
        assert_int_equal(rig->n_infos, 1);
        assert_int_equal(store_committed(rig->store), store_last(rig->store));
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 2);
        assert_true(store_rig_has(rig, 1, "other", "2"));
        free(text);
}

/* A full file takes a batch that frees more than it needs. */
static void deletes_make_room(void **state)
{
        struct store_rig *rig = *state;
        char *text = text_of(300 * 1024);

        rig->max_bytes = 512 * 1024;
        assert_int_equal(store_rig_open(rig), 0);
        store_rig_put(rig, 1, "one", text, false);
        store_rig_flush(rig);
        store_rig_put(rig, 1, "two", text, false);
        store_rig_delete(rig, 1, "one");
        store_rig_flush(rig);
        assert_false(store_is_failing(rig->store));
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 1);
        free(text);
}

static void a_disk_that_is_almost_full(void **state)
{
        struct store_rig *rig = *state;

        rig->free_bytes = UINT64_MAX;
        assert_int_equal(store_rig_open(rig), 0);
        store_rig_put(rig, 1, "a", "1", false);
        store_rig_flush(rig);
        assert_true(store_is_failing(rig->store));
        assert_non_null(strstr(rig->last_line, "left on the file system"));
        rig->free_bytes = 1;
        store_rig_again(rig);
        assert_int_equal(rig->n_rows, 0);
}

static void limit_files(rlim_t bytes)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* write(2) fails in the middle of a transaction, and later does not any more. */
static void a_disk_that_fails(void **state)
{
        struct store_rig *rig = *state;
        char *text = text_of(100 * 1024);

        (void)signal(SIGXFSZ, SIG_IGN);
        store_rig_put(rig, 1, "before", "1", false);
        store_rig_flush(rig);
        limit_files(96 * 1024);
        store_rig_put(rig, 1, "during", text, true);
        store_rig_flush(rig);
        assert_true(store_is_failing(rig->store));
        assert_int_equal(rig->n_errors, 1);
        store_rig_put(rig, 1, "after", "2", true);
        limit_files(RLIM_INFINITY);
        rig->now_us += STORE_RETRY_US;
        store_rig_flush(rig);
        assert_false(store_is_failing(rig->store));
        store_rig_again(rig);
        assert_true(store_rig_has(rig, 1, "before", "1"));
        assert_true(store_rig_has(rig, 1, "during", text));
        assert_true(store_rig_has(rig, 1, "after", "2"));
        free(text);
}

/* What comes and goes while nothing can be written must not stay in memory, even if nobody knew that it was
 * new. What is on the disk is still deleted in the end. */
static void nothing_piles_up_while_it_fails(void **state)
{
        struct store_rig *rig = *state;
        size_t n_max = 0;

        store_rig_put(rig, 1, "there", "1", false);
        store_rig_close(rig);
        rig->free_bytes = UINT64_MAX;
        assert_int_equal(store_rig_open(rig), 0);
        store_rig_delete(rig, 1, "there");
        store_rig_put(rig, 1, "stays", "1", false);
        for (unsigned i = 0; i < 300000; i++) {
                char key[32];

                (void)snprintf(key, sizeof(key), "%u", i);
                store_rig_put(rig, 1, key, "some value", false);
                store_rig_delete(rig, 1, key);
                if (store_is_overfull(rig->store))
                        store_rig_flush(rig);
                n_max = MBGATE_MAX(n_max, store_gathered_bytes(rig->store));
        }
        store_rig_flush(rig);
        rig->now_us += STORE_RETRY_US;
        store_rig_flush(rig);
        assert_true(n_max < 2 * STORE_GATHER_BYTES);
        assert_true(store_gathered_bytes(rig->store) < 1024);
        assert_int_equal(rig->n_errors, 1);
        rig->free_bytes = 1;
        store_rig_again(rig); /* it could not be written to the end */
        assert_int_equal(rig->n_rows, 1);
        assert_true(store_rig_has(rig, 1, "there", "1"));
}

static void the_watchdog_sees_it(void **state)
{
        struct store_rig *rig = *state;
        struct heartbeat *beat = store_heartbeat(rig->store);
        uint64_t now_us = clock_monotonic_us();

        store_rig_put(rig, 1, "a", "1", false);
        store_rig_flush(rig);
        assert_false(heartbeat_is_late(beat, now_us));
        assert_true(heartbeat_is_late(beat, now_us + 3600 * USEC_PER_SEC));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(rows_come_back_in_order, setup_open, teardown),
                cmocka_unit_test_setup_teardown(large_keys_and_values, setup_open, teardown),
                cmocka_unit_test_setup_teardown(numbers_are_committed_in_order, setup_open, teardown),
                cmocka_unit_test_setup_teardown(the_latest_of_a_key_wins, setup_open, teardown),
                cmocka_unit_test_setup_teardown(what_comes_and_goes_is_never_written, setup_open, teardown),
                cmocka_unit_test_setup_teardown(deleted_while_it_is_written, setup_open, teardown),
                cmocka_unit_test_setup_teardown(nobody_else_can_read_it, setup, teardown),
                cmocka_unit_test_setup_teardown(a_second_one_is_refused, setup_open, teardown),
                cmocka_unit_test_setup_teardown(a_newer_version_is_left_alone, setup_open, teardown),
                cmocka_unit_test_setup_teardown(what_cannot_be_a_store, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_that_is_read_only, setup_open, teardown),
                cmocka_unit_test_setup_teardown(more_than_it_may_have, setup, teardown),
                cmocka_unit_test_setup_teardown(deletes_make_room, setup, teardown),
                cmocka_unit_test_setup_teardown(a_disk_that_is_almost_full, setup, teardown),
                cmocka_unit_test_setup_teardown(a_disk_that_fails, setup_open, teardown),
                cmocka_unit_test_setup_teardown(nothing_piles_up_while_it_fails, setup_open, teardown),
                cmocka_unit_test_setup_teardown(the_watchdog_sees_it, setup_open, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
