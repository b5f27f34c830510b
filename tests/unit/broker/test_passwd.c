/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mbgate/broker/passwd.h"

static char folder[] = "/tmp/mbgate-passwd-XXXXXX";

static int setup(void **state)
{
        (void)state;
        return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
        char command[64];

        (void)state;
        (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command);
}

static const char *path(void)
{
        static char text[64];

        (void)snprintf(text, sizeof(text), "%s/passwd", folder);
        return text;
}

PRINTF_LIKE(1, 2) static void shell(const char *fmt, ...)
{
        char command[512], line[600];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(command, sizeof(command), fmt, ap);
        va_end(ap);
        (void)snprintf(line, sizeof(line), "umask 077; cd %s && { %s; } >/dev/null 2>&1", folder, command);
        assert_int_equal(system(line), 0);
}

static bool verify(const struct passwd_file *p, const char *user, const char *password)
{
        return passwd_verify(p, user, password, strlen(password));
}

static struct passwd_file *load(void)
{
        struct findings findings = { 0 };
        struct passwd_file *p = NULL;
        int r = passwd_load(path(), &findings, &p);

        if (r < 0)
                fail_msg("%d: %s", r, findings.n_texts ? findings.texts[0] : "");
        return p;
}

static void check_made(struct passwd_file *p)
{
        assert_int_equal(passwd_n_users(p), 3);
        assert_true(verify(p, "anna", "secret"));
        assert_true(verify(p, "bert", "pass word: $7$ \xc3\xa4"));
        assert_true(verify(p, "c d", "x"));
        assert_false(verify(p, "anna", "Secret"));
        assert_false(verify(p, "anna", ""));
        assert_false(verify(p, "anna", "secret "));
        assert_false(verify(p, "bert", "secret"));
        assert_false(verify(p, "nobody", "secret"));
        assert_false(verify(p, "", ""));
        assert_false(passwd_verify(p, "anna", NULL, 0));
}

static void make_with(const char *options)
{
        shell("rm -f passwd; mosquitto_passwd %s -b -c passwd anna secret", options);
        shell("mosquitto_passwd %s -b passwd bert 'pass word: $7$ \xc3\xa4'", options);
        shell("mosquitto_passwd %s -b passwd 'c d' x", options);
}

static void test_pbkdf2_of_mosquitto_passwd(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;

        (void)state;
        make_with("");
        p = load();
        check_made(p);
}

static void test_sha512_of_mosquitto_passwd(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;

        (void)state;
        make_with("-H sha512");
        p = load();
        check_made(p);
}

static void test_mixed_and_upgraded(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;

        (void)state;
        shell("echo anna:secret > passwd; chmod 600 passwd; mosquitto_passwd -U passwd");
        shell("mosquitto_passwd -H sha512 -b passwd bert word");
        shell("sed -i 's/$/ \\r/; 1i # users\\n' passwd"); /* comments, blanks and CRLF */
        p = load();
        assert_int_equal(passwd_n_users(p), 2);
        assert_true(verify(p, "anna", "secret"));
        assert_true(verify(p, "bert", "word"));
        assert_false(verify(p, "bert", "secret"));
}

static void expect_finding(const char *text, const char *expected)
{
        struct passwd_file *p = NULL;
        struct findings findings = { 0 };

        if (text)
                assert_int_equal(passwd_parse("users", text, strlen(text), &findings, &p), -EINVAL);
        else
                assert_int_equal(passwd_load(path(), &findings, &p), -EINVAL);
        assert_null(p);
        assert_true(findings.n > 0);
        for (size_t i = 0; i < findings.n_texts; i++)
                if (strstr(findings.texts[i], expected)) {
                        findings_done(&findings);
                        return;
                }
        fail_msg("no \"%s\" in \"%s\"", expected, findings.texts[0]);
}

#define SALT   "AAAAAAAAAAAAAAAA"
#define HASH60 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define HASH   HASH60 "AAAAAAAAAAAAAAAAAAAAAAAAAA=="

static void test_faults_close(void **state)
{
        (void)state;
        expect_finding("anna", "users:1: error: there is no ':'");
        expect_finding("# x\n\n:$7$101$" SALT "$" HASH, "users:3: error: the user's name");
        expect_finding("a\xff:$7$101$" SALT "$" HASH, "not UTF-8");
        expect_finding("anna:secret", "users:1: error: user \"anna\": the password is not hashed");
        expect_finding("anna:$", "neither $6$ nor $7$");
        expect_finding("anna:$argon2id$v=19$m=1$x$y", "neither $6$ nor $7$");
        expect_finding("anna:$7$0$" SALT "$" HASH, "iterations");
        expect_finding("anna:$7$-1$" SALT "$" HASH, "iterations");
        expect_finding("anna:$7$99999999$" SALT "$" HASH, "iterations");
        expect_finding("anna:$7$" SALT "$" HASH, "iterations");
        expect_finding("anna:$7$101$$" HASH, "salt");
        expect_finding("anna:$7$101$AAA$" HASH, "salt");
        expect_finding("anna:$7$101$A===$" HASH, "salt");
        expect_finding("anna:$7$101$AA=A$" HASH, "salt");
        expect_finding("anna:$7$101$" SALT "$AAAA", "hash is not in Base64");
        expect_finding("anna:$7$101$" SALT "$", "hash is not in Base64");
        expect_finding("anna:$6$" SALT "$" HASH60, "right length");
        expect_finding("anna:$6$" SALT "$" HASH "x", "hash is not in Base64");
        expect_finding("anna:$6$" SALT "$" HASH "\nb:$6$" SALT "$" HASH "\nanna:$6$" SALT "$" HASH,
                       "users:3: error: user \"anna\" stands on line 1 already");
}

static void test_a_user_with_an_empty_password(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;
        struct findings findings = { 0 };

        (void)state;
        assert_int_equal(passwd_parse("users", "anna:\n", 6, &findings, &p), 0);
        assert_true(verify(p, "anna", ""));
        assert_true(passwd_verify(p, "anna", NULL, 0));
        assert_false(verify(p, "anna", "x"));
        assert_false(verify(p, "nobody", "")); /* though its hash would be no longer than that */
        p = passwd_free(p);
        shell("rm -f passwd; mosquitto_passwd -b -c passwd bert word; printf 'anna: \\r\\n' >> passwd");
        p = load();
        assert_true(verify(p, "anna", ""));
        assert_false(verify(p, "anna", "word"));
        assert_true(verify(p, "bert", "word"));
        assert_false(verify(p, "bert", ""));
}

static void test_all_faults_are_told(void **state)
{
        static const char text[] = "a\nb\nc:$6$" SALT "$" HASH "\nd\n";
        struct passwd_file *p = NULL;
        struct findings findings = { 0 };

        (void)state;
        assert_int_equal(passwd_parse("f", text, sizeof(text) - 1, &findings, &p), -EINVAL);
        assert_int_equal(findings.n, 3);
        assert_non_null(strstr(findings.texts[2], "f:4: "));
        findings_done(&findings);
}

static void test_files_that_are_refused(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;

        (void)state;
        make_with("");
        assert_int_equal(chmod(path(), 0644), 0);
        expect_finding(NULL, "everybody can read it: chmod o-rwx");
        assert_int_equal(chmod(path(), 0642), 0);
        expect_finding(NULL, "chmod o-w");
        assert_int_equal(chmod(path(), 0640), 0);
        p = load();
        shell("rm passwd");
        expect_finding(NULL, "No such file");
        shell("mkfifo passwd");
        expect_finding(NULL, "not a regular file");
        shell("rm passwd && mkdir passwd");
        expect_finding(NULL, "not a regular file");
        shell("rmdir passwd");
}

/* Thread CPU time of one refusal in µs. */
static double cpu_us(const struct passwd_file *p, const char *user)
{
        struct timespec a, b;

        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        assert_false(verify(p, user, "wrong"));
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        return (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
}

static void test_unknown_users_cost_the_same(void **state)
{
        static const char text[] = "anna:$7$20000$" SALT "$" HASH "\n";
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;
        struct findings findings = { 0 };
        double known = 1e9, unknown = 1e9;

        (void)state;
        assert_int_equal(passwd_parse("f", text, sizeof(text) - 1, &findings, &p), 0);
        for (unsigned i = 0; i < 20; i++) { /* the least of many: what else the machine does adds only */
                known = MBGATE_MIN(known, cpu_us(p, "anna"));
                unknown = MBGATE_MIN(unknown, cpu_us(p, "nobody"));
        }
        assert_true(unknown > known / 2 && known > unknown / 2);
}

static void test_empty_file_knows_nobody(void **state)
{
        CLEANUP(passwd_freep)
        struct passwd_file *p = NULL;
        struct findings findings = { 0 };

        (void)state;
        assert_int_equal(passwd_parse("f", "# none\n", 7, &findings, &p), 0);
        assert_false(verify(p, "anna", ""));
        assert_false(verify(p, "", ""));
}

static void test_lines_that_we_make(void **state)
{
        struct findings findings = { .n = 0 };
        struct passwd_file *p = NULL;
        char line[64 + PASSWD_LINE_EXTRA_BYTES], again[sizeof(line)];

        (void)state;
        assert_int_equal(passwd_make_line("alice", "secret", 6, line, sizeof(line)), 0);
        assert_int_equal(passwd_make_line("alice", "secret", 6, again, sizeof(again)), 0);
        assert_string_not_equal(line, again); /* the salt */
        assert_null(strstr(line, "secret"));
        assert_int_equal(passwd_parse("made", line, strlen(line), &findings, &p), 0);
        assert_true(verify(p, "alice", "secret"));
        assert_false(verify(p, "alice", "Secret"));
        p = passwd_free(p);
        assert_int_equal(passwd_make_line("bob", "", 0, line, sizeof(line)), 0);
        assert_int_equal(passwd_parse("made", line, strlen(line), &findings, &p), 0);
        assert_true(verify(p, "bob", ""));
        p = passwd_free(p);
        assert_int_equal(passwd_make_line("", "x", 1, line, sizeof(line)), -EINVAL);
        assert_int_equal(passwd_make_line("a:b", "x", 1, line, sizeof(line)), -EINVAL);
        assert_int_equal(passwd_make_line("a\nb", "x", 1, line, sizeof(line)), -EINVAL);
        assert_int_equal(passwd_make_line("#a", "x", 1, line, sizeof(line)), -EINVAL);
        assert_int_equal(passwd_make_line("a ", "x", 1, line, sizeof(line)), -EINVAL);
        assert_int_equal(passwd_make_line("\xff", "x", 1, line, sizeof(line)), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines_that_we_make),
                cmocka_unit_test(test_pbkdf2_of_mosquitto_passwd),
                cmocka_unit_test(test_sha512_of_mosquitto_passwd),
                cmocka_unit_test(test_mixed_and_upgraded),
                cmocka_unit_test(test_faults_close),
                cmocka_unit_test(test_a_user_with_an_empty_password),
                cmocka_unit_test(test_all_faults_are_told),
                cmocka_unit_test(test_files_that_are_refused),
                cmocka_unit_test(test_unknown_users_cost_the_same),
                cmocka_unit_test(test_empty_file_knows_nobody),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
