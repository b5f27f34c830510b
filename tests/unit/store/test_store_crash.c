/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at any moment, again and again on the same file: it always opens, what was told as committed is
 * there, and what is there is what had been said up to one moment, not a mixture.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "store_rig.h"

#define SEED   UINT64_C(1123)
#define ROUNDS 100
#define KEYS   300
#define TABLES 7

/* Seen by both processes. */
struct shared {
        _Atomic uint64_t n_said, n_committed; /* steps */
        _Atomic int is_running;
};

/* Step `i` of the whole history: a key that gets a value, or goes. */
struct step {
        uint8_t table;
        char key[16];
        char value[40];
        bool is_delete;
};

static struct step step_of(uint64_t i)
{
        struct random r = { .state = SEED * 1000003 + i };
        struct step s = { .is_delete = random_below(&r, 3) == 0 };
        unsigned key = (unsigned)random_below(&r, KEYS);

        s.table = (uint8_t)(1 + key % TABLES);
        (void)snprintf(s.key, sizeof(s.key), "%u", key);
        (void)snprintf(s.value, sizeof(s.value), "%llu %llx", (unsigned long long)i,
                       (unsigned long long)random_next(&r));
        return s;
}

/* Each step writes down how far the history has come, in the same commit. */
static void say(struct store_rig *rig, uint64_t i)
{
        struct step s = step_of(i);

        if (s.is_delete)
                store_rig_delete(rig, s.table, s.key);
        else
                store_rig_put(rig, s.table, s.key, s.value, false);
        (void)snprintf(s.value, sizeof(s.value), "%llu", (unsigned long long)(i + 1));
        store_rig_put(rig, 99, "steps", s.value, false);
}

static uint64_t steps_in(const struct store_rig *rig)
{
        const struct rig_row *row = store_rig_find(rig, 99, "steps");

        return row ? strtoull((const char *)row->value, NULL, 10) : 0;
}

/* The program that will be killed: it never stops by itself. */
static void child_run(struct store_rig *rig, struct shared *shared)
{
        uint64_t first, i;

        if (store_rig_open(rig) < 0)
                _exit(1);
        first = i = steps_in(rig);
        atomic_store(&shared->n_said, i);
        atomic_store(&shared->n_committed, i);
        atomic_store(&shared->is_running, 1);
        for (;;) {
                atomic_store(&shared->n_said, i + 1);
                say(rig, i++);
                if (i % 5 == 0)
                        store_flush(rig->store, rig->now_us);
                store_take_results(rig->store, rig->now_us);
                /* Two changes a step. */
                atomic_store(&shared->n_committed, first + store_committed(rig->store) / 2);
                if (i - first > 200000)
                        usleep(1000);
        }
}

/* Until it has written something. */
static void wait_for_child(const struct shared *shared, uint64_t n_before)
{
        for (unsigned i = 0; i < 60000 && atomic_load(&shared->n_committed) <= n_before + 1; i++)
                usleep(1000);
        assert_true(atomic_load(&shared->is_running));
        assert_true(atomic_load(&shared->n_committed) > n_before + 1);
}

/* What the rows must be after the first `n` steps. */
static void check_rows(const struct store_rig *rig, uint64_t n)
{
        static uint64_t latest[KEYS]; /* step + 1 */
        static uint64_t n_done;
        size_t n_rows = n > 0;

        for (; n_done < n; n_done++) {
                struct step s = step_of(n_done);

                latest[strtoul(s.key, NULL, 10)] = s.is_delete ? 0 : n_done + 1;
        }
        assert_int_equal(n_done, n); /* time does not run backwards */
        for (unsigned key = 0; key < KEYS; key++) {
                struct step s;

                if (latest[key] == 0)
                        continue;
                s = step_of(latest[key] - 1);
                assert_true(store_rig_has(rig, s.table, s.key, s.value));
                n_rows++;
        }
        assert_int_equal(rig->n_rows, n_rows);
}

static void killed_at_any_moment(void **state)
{
        struct shared *shared =
                mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct random r = { .state = SEED };
        struct store_rig rig;
        uint64_t n_lost = 0, n = 0;

        (void)state;
        assert_true(shared != MAP_FAILED);
        store_rig_init(&rig);
        for (unsigned round = 0; round < ROUNDS; round++) {
                uint64_t n_committed;
                pid_t child;
                int status;

                atomic_store(&shared->is_running, 0);
                child = fork();
                assert_true(child >= 0);
                if (child == 0)
                        child_run(&rig, shared);
                wait_for_child(shared, n);
                usleep((useconds_t)random_below(&r, 30000));
                assert_int_equal(kill(child, SIGKILL), 0);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFSIGNALED(status));
                n_committed = atomic_load(&shared->n_committed);

                assert_int_equal(store_rig_open(&rig), 0);
                n = steps_in(&rig);
                assert_true(n >= n_committed);
                assert_true(n <= atomic_load(&shared->n_said));
                check_rows(&rig, n);
                n_lost += atomic_load(&shared->n_said) - n;
                store_rig_close(&rig);
        }
        assert_int_equal(rig.n_errors + rig.n_warnings, 0);
        assert_true(n > ROUNDS);
        print_message("%llu steps written, %llu not yet when it was killed\n", (unsigned long long)n,
                      (unsigned long long)n_lost);
        store_rig_done(&rig);
        (void)munmap(shared, sizeof(*shared));
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(killed_at_any_moment) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
