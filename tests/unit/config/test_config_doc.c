/* SPDX-License-Identifier: MIT */
/* The manual page and the annotated configuration say what the table says. MBGATE_UPDATE=1 makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/config/load.h"

#include "schema.h"

static const char page[] = MBGATE_SOURCE_DIR "/src/config/mbgated.conf.5";
static const char annotated[] = MBGATE_SOURCE_DIR "/etc/mbgated.conf";
static const char begin[] = ".\\\" BEGIN KEYS\n", end[] = ".\\\" END KEYS\n";

/* Inlined, gcc 12 takes the text for the variable that points to it, and warns of that. */
__attribute__((noinline)) static char *read_file(const char *name)
{
        FILE *f = fopen(name, "re");
        char *text = NULL;
        size_t size = 0;

        assert_non_null(f);
        assert_true(getdelim(&text, &size, EOF, f) > 0);
        (void)fclose(f);
        return text;
}

__attribute__((noinline)) static char *print(int (*fn)(FILE *out))
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(fn(out), 0);
        (void)fclose(out);
        return text;
}

/* Replaces what is between two places of a file. */
static void update(const char *name, const char *before, size_t n_before, const char *middle,
                   const char *after)
{
        FILE *f = fopen(name, "we");

        assert_non_null(f);
        (void)fprintf(f, "%.*s%s%s", (int)n_before, before, middle, after);
        assert_int_equal(fclose(f), 0);
}

static void test_manual_page(void **state UNUSED)
{
        char *text = read_file(page), *made = print(conf_document);
        char *from = strstr(text, begin), *to = strstr(text, end);

        assert_non_null(from);
        assert_non_null(to);
        from += sizeof(begin) - 1;
        if (getenv("MBGATE_UPDATE"))
                update(page, text, (size_t)(from - text), made, to);
        else if ((size_t)(to - from) != strlen(made) || memcmp(from, made, strlen(made)) != 0)
                fail_msg("%s is not what the table says: run this test with MBGATE_UPDATE=1", page);
        free(made);
        free(text);
}

static void test_annotated_configuration(void **state UNUSED)
{
        char *text = read_file(annotated), *made = print(conf_annotate);

        if (getenv("MBGATE_UPDATE"))
                update(annotated, "", 0, made, "");
        else if (strcmp(text, made) != 0)
                fail_msg("%s is not what the table says: run this test with MBGATE_UPDATE=1", annotated);
        free(made);
        free(text);
}

static bool is_name(const char *text)
{
        return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

static void test_table_is_whole(void **state UNUSED)
{
        for (size_t i = 0; i < schema_n_keys; i++) {
                const struct schema_key *k = &schema_keys[i];

                assert_true(is_name(k->name));
                assert_non_null(k->help);
                assert_true(*k->help && k->help[strlen(k->help) - 1] == '.');
                assert_ptr_equal(schema_find(k->section, k->name), k); /* no second one of the name */
                if (k->type != &schema_group && k->type != &schema_list && !k->example &&
                    !(k->deflt && !(k->flags & SCHEMA_COMPUTED)))
                        fail_msg("%s: neither a default nor an example", k->name);
                for (unsigned s = 0; s < SCHEMA_SECTIONS; s++) {
                        if (k->also & SCHEMA_IN(s))
                                assert_ptr_equal(schema_find((enum schema_section)s, k->name), k);
                }
        }
}

static void test_suggestions(void **state UNUSED)
{
        assert_string_equal(schema_suggest(SCHEMA_BUS, "bauds"), "baud");
        assert_string_equal(schema_suggest(SCHEMA_POINT, "interval"), "interval_ms");
        assert_string_equal(schema_suggest(SCHEMA_BUS, "baudrate"), "baud");
        assert_null(schema_suggest(SCHEMA_LINK, "zzzzzzzz"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_manual_page),
                cmocka_unit_test(test_annotated_configuration),
                cmocka_unit_test(test_table_is_whole),
                cmocka_unit_test(test_suggestions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
