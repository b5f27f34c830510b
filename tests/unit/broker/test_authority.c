/* SPDX-License-Identifier: MIT */
/* Logins in virtual time with the real thread: what it finds is waited for, what it delays is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"

#include "authority.h"
#include "fake_loop.h"
#include "hash_thread.h"
#include "slowdown.h"

#define LONG_MS 60000

static char folder[] = "/tmp/mbgate-authority-XXXXXX";
static char password_file[64], acl_file[64];
static unsigned n_logged;

static void count_line(void *user UNUSED, enum log_level level UNUSED, const struct log_fields *fields UNUSED,
                       const char *line)
{
        assert_null(strstr(line, "secret"));
        n_logged++;
}

static void write_file(const char *name, const char *text)
{
        FILE *f = fopen(name, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(name, 0600), 0);
}

static void users(const char *names)
{
        char command[512];

        (void)snprintf(command, sizeof(command),
                       "rm -f %s; umask 077; touch %s; for u in %s; do mosquitto_passwd -b %s $u secret-$u "
                       "|| exit 1; done",
                       password_file, password_file, names, password_file);
        assert_int_equal(system(command), 0);
}

static int setup(void **state UNUSED)
{
        if (!mkdtemp(folder))
                return -1;
        (void)snprintf(password_file, sizeof(password_file), "%s/passwd", folder);
        (void)snprintf(acl_file, sizeof(acl_file), "%s/acl", folder);
        log_set_sink(count_line, NULL);
        return 0;
}

static int teardown(void **state UNUSED)
{
        char command[64];

        (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command);
}

struct fixture {
        struct loop *loop;
        struct conf_broker conf;
        struct authority *authority;
};

static struct fixture start(const char *names, const char *acl)
{
        static char none[] = "";
        struct fixture f = { .conf = { .password_file = names ? password_file : none,
                                       .acl_file = acl ? acl_file : none } };

        n_logged = 0;
        if (names)
                users(names);
        if (acl)
                write_file(acl_file, acl);
        assert_int_equal(loop_new(&f.loop), 0);
        assert_int_equal(authority_new(f.loop, &f.conf, &f.authority), 0);
        return f;
}

static void finish(struct fixture *f)
{
        f->authority = authority_free(f->authority);
        f->loop = loop_free(f->loop);
}

struct asked {
        struct authority_ask *ask;
        int answer; /* −1: none yet */
};

static void on_answer(void *user, enum authority_answer answer)
{
        struct asked *asked = user;

        assert_int_equal(asked->answer, -1);
        asked->answer = (int)answer;
        asked->ask = NULL;
}

static void ask_from(struct fixture *f, const char *address, const char *user, const char *password,
                     struct asked *asked)
{
        asked->answer = -1;
        authority_ask(f->authority, address, user, password, strlen(password), on_answer, asked, &asked->ask);
        assert_non_null(asked->ask);
        assert_int_equal(asked->answer, -1);
}

/* The answer, and how long it was held back. */
static int answer_of(struct fixture *f, const char *address, const char *user, const char *password,
                     uint64_t *ret_us)
{
        uint64_t begin_us = loop_now_us(f->loop);
        struct asked asked;

        ask_from(f, address, user, password, &asked);
        while (asked.answer < 0) {
                fake_loop_turn(f->loop);
                if (asked.answer >= 0)
                        break;
                if (fake_loop_next_us(f->loop) == CLOCK_NEVER_US)
                        assert_true(fake_loop_poll(f->loop, LONG_MS));
                else
                        fake_loop_advance(f->loop, fake_loop_next_us(f->loop) - loop_now_us(f->loop));
        }
        if (ret_us)
                *ret_us = loop_now_us(f->loop) - begin_us;
        return asked.answer;
}

static void test_right_and_wrong(void **state UNUSED)
{
        struct fixture f = start("alice bob", NULL);

        assert_true(authority_has_users(f.authority));
        assert_false(authority_has_acl(f.authority));
        assert_true(authority_knows(f.authority, "alice"));
        assert_false(authority_knows(f.authority, "carol"));
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-alice", NULL), AUTHORITY_OK);
        assert_int_equal(answer_of(&f, "192.0.2.1", "bob", "secret-bob", NULL), AUTHORITY_OK);
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-bob", NULL), AUTHORITY_REFUSED);
        assert_int_equal(answer_of(&f, "192.0.2.1", "carol", "secret-bob", NULL), AUTHORITY_REFUSED);
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "", NULL), AUTHORITY_REFUSED);
        assert_int_equal(n_logged, 0);
        assert_false(heartbeat_is_late(authority_heartbeat(f.authority), clock_monotonic_us()));
        assert_true(heartbeat_is_late(authority_heartbeat(f.authority),
                                      clock_monotonic_us() + UINT64_C(3600000000)));
        finish(&f);
}

static void test_failures_slow_down(void **state UNUSED)
{
        struct fixture f = start("alice", NULL);
        uint64_t waited_us, expected_us = 0;

        for (int i = 0; i < 10; i++) {
                assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "no", &waited_us), AUTHORITY_REFUSED);
                assert_int_equal(waited_us, expected_us);
                expected_us = i == 0 ? SLOWDOWN_FIRST_US : MBGATE_MIN(2 * expected_us, SLOWDOWN_MAX_US);
        }
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-alice", &waited_us), AUTHORITY_OK);
        assert_int_equal(waited_us, SLOWDOWN_MAX_US);
        assert_int_equal(answer_of(&f, "192.0.2.2", "alice", "secret-alice", &waited_us), AUTHORITY_OK);
        assert_int_equal(waited_us, 0); /* somebody else */
        fake_loop_advance(f.loop, SLOWDOWN_FORGET_US + 1);
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-alice", &waited_us), AUTHORITY_OK);
        assert_int_equal(waited_us, 0);
        finish(&f);
}

/* A hundred connections of one address guess no faster than one. */
static void test_many_connections_guess_no_faster(void **state UNUSED)
{
        static struct asked asked[100];
        struct fixture f = start("alice", NULL);
        unsigned n[AUTHORITY_BUSY + 1] = { 0 };
        uint64_t waited_us;

        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
                ask_from(&f, "192.0.2.1", "alice", i == 99 ? "secret-alice" : "no", &asked[i]);
        for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
                while (asked[i].answer < 0) {
                        (void)fake_loop_poll(f.loop, 10);
                        fake_loop_turn(f.loop);
                        if (fake_loop_next_us(f.loop) != CLOCK_NEVER_US && !fake_loop_poll(f.loop, 0))
                                fake_loop_advance(f.loop, fake_loop_next_us(f.loop) - loop_now_us(f.loop));
                }
                n[asked[i].answer]++;
        }
        assert_in_range(n[AUTHORITY_REFUSED], 1,
                        loop_now_us(f.loop) / SLOWDOWN_MAX_US + 8); /* the first seven come sooner */
        assert_int_equal(answer_of(&f, "192.0.2.2", "alice", "secret-alice", &waited_us), AUTHORITY_OK);
        assert_int_equal(waited_us, 0);
        finish(&f);
}

static void test_forgotten_in_the_thread_and_in_the_queue(void **state UNUSED)
{
        struct fixture f = start("alice", NULL);
        struct asked asked[3];

        (void)answer_of(&f, "192.0.2.1", "alice", "no", NULL);
        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
                ask_from(&f, "192.0.2.1", "alice", "secret-alice", &asked[i]);
        authority_forget(asked[1].ask); /* in the thread, or waiting for it, or done and not taken */
        while (fake_loop_next_us(f.loop) == CLOCK_NEVER_US)
                assert_true(fake_loop_poll(f.loop, LONG_MS));
        while (fake_loop_poll(f.loop, 100))
                continue;
        authority_forget(asked[0].ask); /* waiting to be told, or still in the thread */
        while (asked[2].answer < 0) {
                (void)fake_loop_poll(f.loop, 10);
                fake_loop_advance(f.loop, SLOWDOWN_MAX_US);
        }
        assert_int_equal(asked[0].answer, -1);
        assert_int_equal(asked[1].answer, -1);
        assert_int_equal(asked[2].answer, AUTHORITY_OK);
        ask_from(&f, "192.0.2.1", "alice", "secret-alice", &asked[0]);
        authority_forget(asked[0].ask); /* and the thread is stopped with it */
        finish(&f);
}

static void test_queue_is_bounded(void **state UNUSED)
{
        static struct asked asked[HASH_THREAD_JOBS + 20];
        struct fixture f = start("alice", NULL);
        unsigned n_busy = 0, n_ok = 0;

        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
                ask_from(&f, "192.0.2.1", "alice", "secret-alice", &asked[i]);
        fake_loop_turn(f.loop);
        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
                n_busy += asked[i].answer == AUTHORITY_BUSY;
        assert_int_equal(n_busy, 20);
        for (size_t i = 0; i < HASH_THREAD_JOBS; i++) {
                while (asked[i].answer < 0) {
                        assert_true(fake_loop_poll(f.loop, LONG_MS));
                        fake_loop_turn(f.loop);
                }
                n_ok += asked[i].answer == AUTHORITY_OK;
        }
        assert_int_equal(n_ok, HASH_THREAD_JOBS);
        finish(&f);
}

static void test_reload(void **state UNUSED)
{
        struct fixture f = start("alice", "user alice\ntopic a\n");
        const struct acl_client alice = { "alice", "c" };
        struct asked asked;

        assert_true(authority_may(f.authority, &alice, ACL_READ, "a", 1));
        ask_from(&f, "192.0.2.1", "alice", "secret-alice", &asked); /* answered by the new file */
        users("bob");
        write_file(acl_file, "user alice\ntopic b\n");
        assert_int_equal(authority_reload(f.authority, &f.conf), 0);
        assert_false(authority_knows(f.authority, "alice"));
        assert_false(authority_may(f.authority, &alice, ACL_READ, "a", 1));
        assert_true(authority_may(f.authority, &alice, ACL_READ, "b", 1));
        while (asked.answer < 0) {
                assert_true(fake_loop_poll(f.loop, LONG_MS));
                fake_loop_turn(f.loop);
        }
        assert_int_equal(asked.answer, AUTHORITY_REFUSED);
        assert_int_equal(n_logged, 0);
        finish(&f);
}

/* One that is answered already and waits to be told is asked again. */
static void test_reload_while_an_answer_waits(void **state UNUSED)
{
        struct fixture f = start("alice", NULL);
        struct asked asked;

        (void)answer_of(&f, "192.0.2.1", "alice", "no", NULL);
        ask_from(&f, "192.0.2.1", "alice", "secret-alice", &asked);
        while (fake_loop_next_us(f.loop) == CLOCK_NEVER_US)
                assert_true(fake_loop_poll(f.loop, LONG_MS));
        users("bob");
        assert_int_equal(authority_reload(f.authority, &f.conf), 0);
        fake_loop_advance(f.loop, SLOWDOWN_MAX_US);
        while (asked.answer < 0) {
                assert_true(fake_loop_poll(f.loop, LONG_MS));
                fake_loop_advance(f.loop, SLOWDOWN_MAX_US);
        }
        assert_int_equal(asked.answer, AUTHORITY_REFUSED);
        finish(&f);
}

static void test_reload_fails_closed(void **state UNUSED)
{
        struct fixture f = start("alice", "user alice\ntopic a\n");
        const struct acl_client alice = { "alice", "c" };

        users("bob");
        write_file(acl_file, "user alice\ntopicc b\n");
        assert_int_equal(authority_reload(f.authority, &f.conf), -EINVAL);
        assert_int_equal(n_logged, 1);
        assert_true(authority_knows(f.authority, "alice")); /* both, or none */
        assert_true(authority_may(f.authority, &alice, ACL_READ, "a", 1));
        write_file(password_file, "bob:clear\ncarol\n");
        assert_int_equal(authority_reload(f.authority, &f.conf), -EINVAL);
        assert_int_equal(n_logged, 4);
        assert_int_equal(chmod(password_file, 0644), 0);
        write_file(acl_file, "");
        assert_int_equal(unlink(password_file), 0);
        assert_int_equal(authority_reload(f.authority, &f.conf), -EINVAL);
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-alice", NULL), AUTHORITY_OK);
        finish(&f);
}

static void test_bad_files_at_start(void **state UNUSED)
{
        struct conf_broker conf = { .password_file = password_file, .acl_file = acl_file };
        struct authority *a = NULL;
        struct loop *loop;

        users("alice");
        write_file(acl_file, "nonsense\n");
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(authority_new(loop, &conf, &a), -EINVAL);
        assert_null(a);
        (void)loop_free(loop);
}

static void test_users_come_later(void **state UNUSED)
{
        struct fixture f = start(NULL, NULL);

        assert_false(authority_has_users(f.authority));
        assert_false(authority_knows(f.authority, "alice"));
        assert_int_equal(answer_of(&f, "192.0.2.1", "anybody", "x", NULL), AUTHORITY_OK);
        users("alice");
        f.conf.password_file = password_file;
        assert_int_equal(authority_reload(f.authority, &f.conf), 0);
        assert_int_equal(answer_of(&f, "192.0.2.1", "anybody", "x", NULL), AUTHORITY_REFUSED);
        assert_int_equal(answer_of(&f, "192.0.2.1", "alice", "secret-alice", NULL), AUTHORITY_OK);
        finish(&f);
}

static void test_sys_is_ours(void **state UNUSED)
{
        struct fixture f = start(NULL, NULL);
        const struct acl_client c = { NULL, "c" };

        assert_false(authority_may(f.authority, &c, ACL_WRITE, "$SYS/broker/uptime", 18));
        assert_false(authority_may(f.authority, &c, ACL_WRITE, "$SYS", 4));
        assert_true(authority_may(f.authority, &c, ACL_WRITE, "$SYSTEM", 7));
        assert_true(authority_may(f.authority, &c, ACL_READ, "$SYS/broker/uptime", 18));
        assert_true(authority_may_subscribe(f.authority, &c, "#", 1));
        finish(&f);
        f = start("alice", "user alice\ntopic readwrite $SYS/#\ntopic a/#\n");
        assert_false(
                authority_may(f.authority, &(struct acl_client){ "alice", "c" }, ACL_WRITE, "$SYS/x", 6));
        assert_true(authority_may(f.authority, &(struct acl_client){ "alice", "c" }, ACL_READ, "$SYS/x", 6));
        assert_true(authority_may_subscribe(f.authority, &(struct acl_client){ "alice", "c" }, "a/b", 3));
        assert_false(authority_may_subscribe(f.authority, &(struct acl_client){ "alice", "c" }, "b", 1));
        finish(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_right_and_wrong),
                cmocka_unit_test(test_failures_slow_down),
                cmocka_unit_test(test_many_connections_guess_no_faster),
                cmocka_unit_test(test_reload_while_an_answer_waits),
                cmocka_unit_test(test_forgotten_in_the_thread_and_in_the_queue),
                cmocka_unit_test(test_queue_is_bounded),
                cmocka_unit_test(test_reload),
                cmocka_unit_test(test_reload_fails_closed),
                cmocka_unit_test(test_bad_files_at_start),
                cmocka_unit_test(test_users_come_later),
                cmocka_unit_test(test_sys_is_ours),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
