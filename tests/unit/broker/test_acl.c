/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/broker/acl.h"

static struct acl *parse(const char *text)
{
        struct findings findings = { 0 };
        struct acl *acl = NULL;

        if (acl_parse("acl", text, strlen(text), &findings, &acl) < 0)
                fail_msg("%s", findings.n_texts ? findings.texts[0] : "");
        return acl;
}

/* "r", "w", "rw" or "": what the client may do with the topic. */
static void expect(const struct acl *acl, const char *user, const char *id, const char *topic,
                   const char *access)
{
        struct acl_client client = { .user = user, .id = id };
        bool can_read = acl_check(acl, &client, ACL_READ, topic, strlen(topic));
        bool can_write = acl_check(acl, &client, ACL_WRITE, topic, strlen(topic));

        if (can_read != (strchr(access, 'r') != NULL) || can_write != (strchr(access, 'w') != NULL))
                fail_msg("%s %s %s: read %d, write %d", user ? user : "-", id, topic, can_read, can_write);
}

static void expect_filter(const struct acl *acl, const char *user, const char *filter, bool allowed)
{
        struct acl_client client = { .user = user, .id = "c" };

        if (acl_check_filter(acl, &client, filter, strlen(filter)) != allowed)
                fail_msg("%s: not %s", filter, allowed ? "allowed" : "refused");
}

static void test_empty_denies_all(void **state)
{
        static const char *const texts[] = { "", "\n\n", "# topic #\n", "user anna\n" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                CLEANUP(acl_freep)
                struct acl *acl = parse(texts[i]);

                expect(acl, NULL, "c", "a", "");
                expect(acl, "anna", "c", "a", "");
                expect_filter(acl, "anna", "#", false);
        }
}

static void test_blocks_of_users(void **state)
{
        CLEANUP(acl_freep)
        struct acl *acl = parse("topic read public/#\r\n"
                                "  user anna smith \t\r\n"
                                "topic a/+\n"
                                "topic   write \t log\n"
                                "# user carl\n"
                                "user bert\n"
                                "topic readwrite b c/d\n"
                                "user anna smith\n"
                                "topic deny a/x");

        (void)state;
        expect(acl, NULL, "c", "public/x", "r");
        expect(acl, NULL, "c", "a/b", "");
        expect(acl, "anna smith", "c", "a/b", "rw");
        expect(acl, "anna smith", "c", "a/x", "");
        expect(acl, "anna smith", "c", "a/b/c", "");
        expect(acl, "anna smith", "c", "log", "w");
        expect(acl, "anna smith", "c", "public/x", ""); /* those rules are for clients without a name */
        expect(acl, "bert", "c", "b c/d", "rw");
        expect(acl, "bert", "c", "a/b", "");
        expect(acl, "anna", "c", "a/b", "");
        expect(acl, "", "c", "public/x", "");
}

static void test_patterns(void **state)
{
        CLEANUP(acl_freep)
        struct acl *acl = parse("pattern write dev/%c/up\n"
                                "pattern read home/%u/#\n"
                                "pattern x%u/y%cz/%%c\n"
                                "topic literal/%c\n");

        (void)state;
        expect(acl, "anna", "id1", "dev/id1/up", "w");
        expect(acl, "anna", "id1", "dev/id2/up", "");
        expect(acl, "anna", "id1", "home/anna", "r");
        expect(acl, "anna", "id1", "home/anna/a/b", "r");
        expect(acl, "anna", "id1", "home/bert/a", "");
        expect(acl, "anna", "id1", "xanna/yid1z/%id1", "rw");
        expect(acl, "anna", "id1", "xanna/yid1/%id1", "");
        expect(acl, NULL, "id1", "dev/id1/up", "w");
        expect(acl, NULL, "id1", "home//a", "");
        expect(acl, NULL, "id1", "literal/%c", "rw");
        expect(acl, NULL, "id1", "literal/id1", "");
}

static void test_names_that_are_no_levels(void **state)
{
        static const char *const names[] = { "+", "#", "a/b", "/", "x+", "a#b" };
        CLEANUP(acl_freep)
        struct acl *acl = parse("pattern dev/%c/#\npattern user/%u/#\npattern free/#\nuser +\ntopic own\n"
                                "topic free/own\n");
        CLEANUP(acl_freep)
        struct acl *deny = parse("pattern deny dev/%c\nuser anna\ntopic #\n");

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                expect(acl, "anna", names[i], "dev/a/b", "");
                expect(acl, "anna", names[i], "free/x", "");
                expect(acl, names[i], "c", "user/a/b", "");
                expect(acl, names[i], "c", "dev/c/x", "");
                expect(deny, "anna", names[i], "x", ""); /* nobody knows what was to be denied */
        }
        expect(acl, "+", "c", "own", "rw");
        expect(deny, "anna", "c", "x", "rw");
        expect(deny, "anna", "c", "dev/c", "");
        expect(acl, "anna", "c", "dev/c/x", "rw");
}

static void test_deny_wins(void **state)
{
        CLEANUP(acl_freep)
        struct acl *acl = parse("user anna\n"
                                "topic #\n"
                                "topic deny secret/#\n"
                                "topic secret/a\n"
                                "pattern deny no/%u\n");

        (void)state;
        expect(acl, "anna", "c", "x", "rw");
        expect(acl, "anna", "c", "secret", "");
        expect(acl, "anna", "c", "secret/a", "");
        expect(acl, "anna", "c", "no/anna", ""); /* over the user's own rule too */
        expect(acl, "anna", "c", "no/bert", "rw");
}

static void test_dollar_needs_its_own_rule(void **state)
{
        CLEANUP(acl_freep)
        struct acl *acl = parse("topic #\ntopic +/x\npattern %c/x\nuser anna\ntopic read $SYS/broker/#\n");

        (void)state;
        expect(acl, NULL, "$SYS", "$SYS/x", "");
        expect(acl, NULL, "c", "$SYS", "");
        expect(acl, "anna", "c", "$SYS/broker/uptime", "r");
        expect(acl, "anna", "c", "$SYS/x", "");
        expect(acl, "anna", "c", "a", "");
        expect_filter(acl, NULL, "$SYS/#", false);
        expect_filter(acl, NULL, "#", true);
        expect_filter(acl, "anna", "$SYS/#", true);
        expect_filter(acl, "anna", "#", true); /* its pattern %c/x */
        expect_filter(acl, "anna", "a/#", false);
}

static void test_filters(void **state)
{
        CLEANUP(acl_freep)
        struct acl *acl = parse("topic read a/+/c\n"
                                "topic write w/#\n"
                                "topic read d/#\n"
                                "topic deny d/e/#\n"
                                "topic read x/%c\n"
                                "pattern read p/%c/#\n");
        static const struct {
                const char *filter;
                bool allowed;
        } cases[] = {
                { "a/b/c", true },
                { "a/b/d", false },
                { "a/+/c", true },
                { "a/#", true },
                { "a", false },
                { "#", true },
                { "+/+/+", true },
                { "+", true },
                { "a/b/c/#", true },
                { "w/x", false },
                { "d", true },
                { "d/#", true },
                { "d/e", false },
                { "d/e/+", false },
                { "d/e/#", false },
                { "d/+", true },
                { "p/c", true },
                { "p/d", false },
                { "p/+/x", true },
                { "p/d/#", false },
                { "x/%c", true },
                { "x/c", false },
                { "$share/g/a/b/c", true },
                { "$share/g/w/x", false },
                { "$share/g", false },
                { "a/b", false },
                { "+/b/c/d", true },
                { "a/b/c/d", false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                expect_filter(acl, NULL, cases[i].filter, cases[i].allowed);
        expect_filter(acl, "nobody", "a/b/c", false);
        expect_filter(acl, "nobody", "p/c", true);
}

static void test_faults(void **state)
{
        static const struct {
                const char *text, *finding;
        } cases[] = {
                { "topic", "acl:1: error: the topic is missing" },
                { "\n\ntopic\n", "acl:3: error: the topic is missing" },
                { "topic a b", "\"a\" is none of read" },
                { "topic allow a", "\"allow\" is none of read" },
                { "topic read a#", "not a topic filter" },
                { "topic a/#/b", "not a topic filter" },
                { "pattern %c+", "not a topic filter" },
                { "user", "the user's name is missing" },
                { "User anna", "not with \"User\"" },
                { "acl x", "not with \"acl\"" },
                { "topic \xff", "not a topic filter" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct findings findings = { 0 };
                struct acl *acl = NULL;

                assert_int_equal(acl_parse("acl", cases[i].text, strlen(cases[i].text), &findings, &acl),
                                 -EINVAL);
                assert_null(acl);
                assert_int_equal(findings.n, 1);
                if (!strstr(findings.texts[0], cases[i].finding))
                        fail_msg("\"%s\" is not in \"%s\"", cases[i].finding, findings.texts[0]);
                findings_done(&findings);
        }
}

static void test_many_faults(void **state)
{
        char text[4096] = "";
        struct findings findings = { 0 };
        struct acl *acl = NULL;

        (void)state;
        for (unsigned i = 0; i < 100; i++)
                (void)strcat(text, "topic a b\n");
        assert_int_equal(acl_parse("acl", text, strlen(text), &findings, &acl), -EINVAL);
        assert_int_equal(findings.n, 100);
        assert_int_equal(findings.n_texts, FINDINGS_MAX);
        findings_done(&findings);
        assert_int_equal(acl_load("/nowhere/acl", &findings, &acl), -EINVAL);
        assert_non_null(strstr(findings.texts[0], "/nowhere/acl: error: No such file"));
        findings_done(&findings);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty_denies_all), cmocka_unit_test(test_blocks_of_users),
                cmocka_unit_test(test_patterns),         cmocka_unit_test(test_names_that_are_no_levels),
                cmocka_unit_test(test_deny_wins),        cmocka_unit_test(test_dollar_needs_its_own_rule),
                cmocka_unit_test(test_filters),          cmocka_unit_test(test_faults),
                cmocka_unit_test(test_many_faults),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
