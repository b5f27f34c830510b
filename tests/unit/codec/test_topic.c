/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/topic.h"

#include "guarded.h"

static void test_names_and_filters(void **state)
{
        static const struct {
                const char *text;
                bool is_name, is_filter;
        } rows[] = {
                { "", false, false },     { "a", true, true },
                { "/", true, true },      { "a/b", true, true },
                { "a//b/", true, true },  { "a b", true, true },
                { "$SYS/x", true, true }, { "\xC3\xBC", true, true },
                { "\xC3", false, false }, { "\xED\xA0\x80", false, false },
                { "+", false, true },     { "#", false, true },
                { "a/+", false, true },   { "a/#", false, true },
                { "+/b/#", false, true }, { "/+", false, true },
                { "+/+", false, true },   { "a+", false, false },
                { "+a", false, false },   { "a#", false, false },
                { "#/a", false, false },  { "a/#/b", false, false },
                { "a/b#", false, false }, { "a/+b/c", false, false },
                { "##", false, false },   { "a/##", false, false },
                { "+#", false, false },
        };
        struct guarded g = guarded_new(TOPIC_MAX_BYTES + 1);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                size_t n = strlen(rows[i].text);
                const char *text = (const char *)guarded_copy(&g, rows[i].text, n);

                assert_int_equal(topic_is_name(text, n), rows[i].is_name);
                assert_int_equal(topic_is_filter(text, n), rows[i].is_filter);
        }
        assert_false(topic_is_name("a\0b", 3));
        memset(g.map, 'x', TOPIC_MAX_BYTES + 1);
        assert_true(topic_is_name((char *)g.map, TOPIC_MAX_BYTES));
        assert_false(topic_is_name((char *)g.map, TOPIC_MAX_BYTES + 1));
        guarded_done(&g);
}

static void test_matching(void **state)
{
        static const struct {
                const char *filter, *name;
                bool match;
        } rows[] = {
                /* The examples of MQTT 5.0 §4.7.1 and §4.7.2. */
                { "sport/tennis/player1/#", "sport/tennis/player1", true },
                { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
                { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
                { "sport/#", "sport", true },
                { "sport/tennis/+", "sport/tennis/player1", true },
                { "sport/tennis/+", "sport/tennis/player1/ranking", false },
                { "sport/+", "sport", false },
                { "sport/+", "sport/", true },
                { "+/+", "/finance", true },
                { "/+", "/finance", true },
                { "+", "/finance", false },
                { "#", "$SYS/a", false },
                { "+/monitor/Clients", "$SYS/monitor/Clients", false },
                { "$SYS/#", "$SYS/a", true },
                { "$SYS/monitor/+", "$SYS/monitor/Clients", true },
                { "a", "a", true },
                { "a", "A", false },
                { "a", "b", false },
                { "a", "a/", false },
                { "a/", "a", false },
                { "a/b", "a", false },
                { "a", "a/b", false },
                { "a//b", "a//b", true },
                { "a/+/b", "a//b", true },
                { "#", "a/b/c", true },
                { "#", "/", true },
                { "/#", "/", true },
                { "/#", "a", false },
                { "+/#", "a", true },
                { "+/+/#", "a", false },
                { "+/+/#", "a/b", true },
                { "a/+/c/#", "a/b/c", true },
                { "a/+/c/#", "a/b/d", false },
                { "ab/#", "a", false },
                { "sport/#", "sports", false },
                { "", "a", false },
                { "a", "", false },
        };
        struct guarded f = guarded_new(64), t = guarded_new(64);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                size_t n_filter = strlen(rows[i].filter), n_name = strlen(rows[i].name);

                if (topic_matches((char *)guarded_copy(&f, rows[i].filter, n_filter), n_filter,
                                  (char *)guarded_copy(&t, rows[i].name, n_name), n_name) != rows[i].match)
                        fail_msg("%s on %s", rows[i].filter, rows[i].name);
        }
        guarded_done(&f);
        guarded_done(&t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names_and_filters),
                cmocka_unit_test(test_matching),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
