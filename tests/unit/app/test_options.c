/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal.h"
#include "options.h"

#define ARGS_MAX 8

static char *out_text, *err_text;

/* Parses one command line, kept as words; what is printed goes to out_text and err_text. */
static enum options_result parse(const char *line, struct options *ret)
{
        static char words[256];
        char *argv[ARGS_MAX + 1], *rest = NULL;
        size_t out_bytes, err_bytes;
        FILE *out, *err;
        enum options_result r;
        int argc = 0;

        free(out_text);
        free(err_text);
        out = open_memstream(&out_text, &out_bytes);
        err = open_memstream(&err_text, &err_bytes);
        assert_true(out && err);
        (void)snprintf(words, sizeof(words), "mbgated %s", line);
        for (char *w = strtok_r(words, " ", &rest); w && argc < ARGS_MAX; w = strtok_r(NULL, " ", &rest))
                argv[argc++] = w;
        argv[argc] = NULL;
        r = options_parse(argc, argv, out, err, ret);
        (void)fclose(out);
        (void)fclose(err);
        return r;
}

static void test_defaults(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("", &o), OPTIONS_RUN);
        assert_string_equal(o.config_file, MBGATE_CONFIG_FILE);
        assert_null(o.template_dir);
        assert_null(o.control_path);
        assert_false(o.check_config);
        assert_false(o.has_log_level);
        assert_int_equal(o.log_target, LOG_TARGET_AUTO);
}

static void test_file_by_option_or_alone(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("--config a.conf", &o), OPTIONS_RUN);
        assert_string_equal(o.config_file, "a.conf");
        assert_int_equal(parse("-c b.conf", &o), OPTIONS_RUN);
        assert_string_equal(o.config_file, "b.conf");
        assert_int_equal(parse("c.conf", &o), OPTIONS_RUN);
        assert_string_equal(o.config_file, "c.conf");
        assert_int_equal(parse("--check-config d.conf", &o), OPTIONS_RUN);
        assert_string_equal(o.config_file, "d.conf");
        assert_true(o.check_config);
}

static void test_log_options(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("--log-level debug --log-target stderr --template-dir=t --control=c", &o),
                         OPTIONS_RUN);
        assert_true(o.has_log_level);
        assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
        assert_int_equal(o.log_target, LOG_TARGET_STDERR);
        assert_string_equal(o.template_dir, "t");
        assert_string_equal(o.control_path, "c");
        assert_int_equal(parse("--log-target journal", &o), OPTIONS_RUN);
        assert_int_equal(o.log_target, LOG_TARGET_JOURNAL);
}

static void test_help_and_version_are_printed(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("--help", &o), OPTIONS_DONE);
        assert_non_null(strstr(out_text, "--check-config FILE"));
        assert_string_equal(err_text, "");
        assert_int_equal(parse("--version", &o), OPTIONS_DONE);
        assert_string_equal(out_text, "mbgated " MBGATE_VERSION "\n");
}

static void test_what_is_wrong_is_named(void **state)
{
        static const struct {
                const char *line, *said;
        } wrong[] = {
                { "--nonsense", "--nonsense" }, { "-x", "-x" },
                { "--config", "argument" },     { "--check-config", "argument" },
                { "a.conf b.conf", "b.conf" },  { "--config a.conf --check-config b.conf", "b.conf" },
                { "--log-level loud", "loud" }, { "--log-target syslog", "syslog" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                struct options o = { .config_file = "untouched" };

                assert_int_equal(parse(wrong[i].line, &o), OPTIONS_WRONG);
                assert_string_equal(o.config_file, "untouched");
                assert_non_null(strstr(err_text, wrong[i].said));
                assert_string_equal(out_text, "");
        }
}

static void test_journal_stream_is_recognised(void **state)
{
        FILE *f = tmpfile();
        char text[64];
        struct stat st;

        (void)state;
        assert_non_null(f);
        assert_int_equal(fstat(fileno(f), &st), 0);
        (void)snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        assert_true(journal_is_stream(text, fileno(f)));
        (void)snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
        assert_false(journal_is_stream(text, fileno(f)));
        assert_false(journal_is_stream(NULL, fileno(f)));
        assert_false(journal_is_stream("", fileno(f)));
        assert_false(journal_is_stream(text, -1));
        (void)fclose(f);
}

static int free_texts(void **state)
{
        (void)state;
        free(out_text);
        free(err_text);
        return 0;
}

static void test_hash_password(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("--hash-password alice", &o), OPTIONS_RUN);
        assert_string_equal(o.hash_user, "alice");
        assert_int_equal(parse("", &o), OPTIONS_RUN);
        assert_null(o.hash_user);
        assert_int_equal(parse("--hash-password", &o), OPTIONS_WRONG);
}

static void test_scan(void **state)
{
        struct options o;

        (void)state;
        assert_int_equal(parse("--scan /dev/ttyS1 --units 1-3 --template-dir t", &o), OPTIONS_RUN);
        assert_string_equal(o.scan.port, "/dev/ttyS1");
        assert_string_equal(o.scan.template_dirs[0], MBGATE_OWN_TEMPLATE_DIR);
        assert_string_equal(o.scan.template_dirs[1], "t");
        assert_int_equal(o.scan.n_units, 3);
        assert_int_equal(parse("--dump tcp://h --units 3 --registers input:1-2", &o), OPTIONS_RUN);
        assert_true(o.scan.is_dump);
        assert_null(o.scan.template_dirs[1]);
        assert_string_equal(o.scan.template_dirs[2], MBGATE_TEMPLATE_DIR);
        assert_int_equal(parse("", &o), OPTIONS_RUN);
        assert_null(o.scan.port);
        assert_int_equal(parse("--scan", &o), OPTIONS_WRONG);
        assert_int_equal(parse("--scan a --dump b", &o), OPTIONS_WRONG);
        assert_int_equal(parse("--scan a b.conf", &o), OPTIONS_WRONG);
        assert_int_equal(parse("--units 3", &o), OPTIONS_WRONG);
        assert_int_equal(parse("--scan a --units 300", &o), OPTIONS_WRONG);
        assert_non_null(strstr(err_text, "300"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hash_password),
                cmocka_unit_test(test_scan),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_file_by_option_or_alone),
                cmocka_unit_test(test_log_options),
                cmocka_unit_test(test_help_and_version_are_printed),
                cmocka_unit_test(test_what_is_wrong_is_named),
                cmocka_unit_test(test_journal_stream_is_recognised),
        };

        return cmocka_run_group_tests(tests, NULL, free_texts);
}
