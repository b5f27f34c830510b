/* SPDX-License-Identifier: MIT */
/* Commands that come twice: what is known again, for how long, and how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dedupe.h"
#include "mbgate/base/macros.h"

#define KEY(topic, payload) gw_dedupe_key((topic), (payload), strlen(payload))

static struct gw_dedupe d;

static int start(void **state)
{
        (void)state;
        d = (struct gw_dedupe){ .next = 0 };
        return 0;
}

static int stop(void **state)
{
        (void)state;
        gw_dedupe_done(&d);
        return 0;
}

static void topic_and_payload_make_the_key(void **state UNUSED)
{
        uint64_t key = KEY("led", "{\"value\":1,\"id\":1}");

        assert_true(key == KEY("led", "{\"value\":1,\"id\":1}"));
        assert_true(key != KEY("led", "{\"value\":0,\"id\":1}"));
        assert_true(key != KEY("led", "{\"value\":1,\"id\":2}"));
        assert_true(key != KEY("fan", "{\"value\":1,\"id\":1}"));
        assert_true(KEY("ab", "c") != KEY("a", "bc"));
}

static void known_until_it_is_too_old(void **state UNUSED)
{
        const struct gw_seen *s;

        assert_null(gw_dedupe_find(&d, 7, 100));
        gw_dedupe_begin(&d, 7, 100);
        s = gw_dedupe_find(&d, 7, 100);
        assert_non_null(s);
        assert_null(s->answer);
        gw_dedupe_end(&d, 7, "done");
        assert_string_equal(gw_dedupe_find(&d, 7, 99 + GW_DEDUPE_US)->answer, "done");
        assert_null(gw_dedupe_find(&d, 7, 100 + GW_DEDUPE_US));
        gw_dedupe_begin(&d, 7, 100 + GW_DEDUPE_US); /* carried out again: a new one */
        assert_null(gw_dedupe_find(&d, 7, 100 + GW_DEDUPE_US)->answer);
}

static void what_came_to_nothing_is_forgotten(void **state UNUSED)
{
        gw_dedupe_begin(&d, 7, 1);
        gw_dedupe_end(&d, 7, NULL);
        assert_null(gw_dedupe_find(&d, 7, 1));
        gw_dedupe_end(&d, 7, "late");
        gw_dedupe_end(&d, 0, "no id");
        assert_null(gw_dedupe_find(&d, 7, 1));
        assert_null(gw_dedupe_find(&d, 0, 1));
}

static void the_oldest_goes(void **state UNUSED)
{
        for (uint64_t key = 1; key <= GW_DEDUPE_MAX; key++) {
                gw_dedupe_begin(&d, key, key);
                gw_dedupe_end(&d, key, "x");
        }
        assert_non_null(gw_dedupe_find(&d, 1, GW_DEDUPE_MAX));
        gw_dedupe_begin(&d, 1000, 1000);
        assert_null(gw_dedupe_find(&d, 1, 1000));
        assert_non_null(gw_dedupe_find(&d, 2, 1000));
        assert_non_null(gw_dedupe_find(&d, 1000, 1000));
        gw_dedupe_end(&d, 1, "of one that is forgotten");
        assert_null(gw_dedupe_find(&d, 1, 1000));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(topic_and_payload_make_the_key, start, stop),
                cmocka_unit_test_setup_teardown(known_until_it_is_too_old, start, stop),
                cmocka_unit_test_setup_teardown(what_came_to_nothing_is_forgotten, start, stop),
                cmocka_unit_test_setup_teardown(the_oldest_goes, start, stop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
