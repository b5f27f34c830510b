/* SPDX-License-Identifier: MIT */
/* Loads every configuration of good/ and bad/ and compares what comes out with what is kept: see README.md.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/macros.h"
#include "mbgate/config/load.h"

#define GOLDEN_DIR MBGATE_SOURCE_DIR "/tests/golden"

static char work_dir[4096];

/* libconfig 1.5 loses the text that it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void); // NOLINT(bugprone-reserved-identifier): its name
const char *__lsan_default_suppressions(void)  // NOLINT(bugprone-reserved-identifier)
{
        return "leak:libconfig.so\n";
}

static void run(const char *command)
{
        if (system(command) != 0) { // NOLINT(cert-env33-c): our own fixed commands
                (void)fprintf(stderr, "failed: %s\n", command);
                exit(1);
        }
}

static void enter_work_dir(void)
{
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(work_dir, sizeof(work_dir), "%s/mbgate-golden-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(work_dir) || chdir(work_dir) < 0 || !getcwd(work_dir, sizeof(work_dir))) {
                perror(work_dir);
                exit(1);
        }
        run("cp -R '" GOLDEN_DIR "'/good/*.conf '" GOLDEN_DIR "'/bad/*.conf '" GOLDEN_DIR
            "'/files '" GOLDEN_DIR "'/templates . && cp '" MBGATE_SOURCE_DIR
            "'/etc/templates/*.conf templates/ && cp '" MBGATE_SOURCE_DIR
            "'/etc/mbgated.conf '" MBGATE_SOURCE_DIR "'/etc/examples/*.conf . && chmod -R u+w . && "
            "chmod 0644 files/* && chmod 0600 files/*.secret && cp -p files/cloud.secret cloud.password && "
            "cp files/ca.crt .");
}

/* Replaces every `from` in a text on the heap. */
static char *replace(char *text, const char *from, const char *to)
{
        char *p;

        while ((p = strstr(text, from))) {
                char *next = NULL;

                if (asprintf(&next, "%.*s%s%s", (int)(p - text), text, to, p + strlen(from)) < 0)
                        abort();
                free(text);
                text = next;
        }
        return text;
}

static char *read_file(const char *name)
{
        FILE *f = fopen(name, "re");
        char *text = NULL;
        size_t size = 0;

        if (!f)
                return strdup("");
        if (getdelim(&text, &size, EOF, f) < 0) {
                free(text);
                text = strdup("");
        }
        (void)fclose(f);
        return text;
}

static void write_file(const char *name, const char *text)
{
        FILE *f = fopen(name, "we");

        if (!f || fputs(text, f) < 0 || fclose(f) != 0) {
                perror(name);
                exit(1);
        }
}

/* Findings, and the dump if it loads. */
static char *load(const char *name, int *ret_r)
{
        static const struct conf_load_options options = { .template_dir = "other-templates",
                                                          .cmdline_file = "files/cmdline" };
        CLEANUP(conf_unrefp)
        struct conf *conf = NULL;
        struct conf_report report = { 0 };
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                abort();
        *ret_r = conf_load(name, &options, &report, &conf);
        for (size_t i = 0; i < report.n_lines; i++)
                (void)fprintf(out, "%s\n", report.lines[i]);
        conf_report_done(&report);
        if (*ret_r == 0)
                *ret_r = conf_dump(conf, out);
        (void)fclose(out);
        return text;
}

/* Where the dump begins, behind the warnings. */
static const char *dump_of(const char *text)
{
        const char *p = strstr(text, "gateway = {\n");

        return p ? p : "";
}

/* Whether the dump is warned of what the configuration itself was not. */
static int warns_anew(const char *again, const char *text)
{
        for (const char *line = again; line < dump_of(again); line += strcspn(line, "\n") + 1) {
                const char *what = strstr(line, " warning: ");
                char warning[1024];

                if (!what)
                        break;
                (void)snprintf(warning, sizeof(warning), "%.*s", (int)strcspn(what, "\n") + 1, what);
                if (!strstr(text, warning))
                        return 1;
        }
        return 0;
}

/* The dump must load without warnings of its own, and give itself. */
static int check_fixed_point(const char *name, const char *text)
{
        int r;
        char *again;

        write_file("dump.conf", dump_of(text));
        again = load("dump.conf", &r);
        if (r < 0 || strcmp(dump_of(again), dump_of(text)) != 0 || warns_anew(again, text)) {
                (void)fprintf(stderr, "FAIL %s: its dump does not load to the same again:\n%s\n", name,
                              again);
                r = -1;
        }
        free(again);
        return r < 0;
}

static int check_expected(const char *folder, const char *name, const char *text)
{
        char file[4096];
        char *expected;
        int failed;

        (void)snprintf(file, sizeof(file), "%s/%s/%.*s.expected", GOLDEN_DIR, folder, (int)strcspn(name, "."),
                       name);
        if (getenv("MBGATE_UPDATE")) {
                write_file(file, text);
                return 0;
        }
        expected = read_file(file);
        if (!expected)
                abort();
        failed = strcmp(expected, text) != 0;
        if (failed)
                (void)fprintf(stderr, "FAIL %s/%s\n--- expected\n%s--- found\n%s\n", folder, name, expected,
                              text);
        free(expected);
        return failed;
}

static int check_one(const char *folder, const char *name, bool is_good)
{
        int r, failed = 0;
        char *text = load(name, &r);

        if ((r == 0) != is_good) {
                (void)fprintf(stderr, "FAIL %s: conf_load gave %d:\n%s\n", name, r, text);
                failed = 1;
        }
        if (r == 0 && is_good)
                failed += check_fixed_point(name, text);
        text = replace(replace(text, work_dir, "@DIR@"), MBGATE_TEMPLATE_DIR, "@INSTALLED@");
        if (folder)
                failed += check_expected(folder, name, text);
        free(text);
        return failed > 0;
}

static int is_conf(const struct dirent *entry)
{
        size_t n = strlen(entry->d_name);

        return n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

/* All configurations of a folder; those without expectations must just load. Returns the failures. */
static int check_folder(const char *path, const char *folder, bool is_good, int *n_done)
{
        struct dirent **entries = NULL;
        int n = scandir(path, &entries, is_conf, alphasort), failed = 0;

        if (n <= 0) {
                (void)fprintf(stderr, "FAIL %s: no configurations there\n", path);
                return 1;
        }
        for (int i = 0; i < n; i++) {
                failed += check_one(folder, entries[i]->d_name, is_good);
                free(entries[i]);
        }
        free(entries);
        *n_done += n;
        return failed;
}

int main(void)
{
        int failed, n_done = 0;

        (void)unsetenv("STATE_DIRECTORY"); /* a default comes from it */
        enter_work_dir();
        failed = check_folder(GOLDEN_DIR "/good", "good", true, &n_done);
        failed += check_folder(GOLDEN_DIR "/bad", "bad", false, &n_done);
        failed += check_one(NULL, "mbgated.conf", true);
        failed += check_folder(MBGATE_SOURCE_DIR "/etc/examples", NULL, true, &n_done);
        (void)printf("%d configurations, %d failed\n", n_done + 1, failed);
        run("rm -rf \"$PWD\"");
        return failed > 0;
}
