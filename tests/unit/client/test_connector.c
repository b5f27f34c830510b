/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "connector.h"
#include "mbgate/base/clock.h"
#include "reason.h"
#include "subscriptions.h"

#define S USEC_PER_SEC

static void test_backoff(void **state)
{
        struct backoff b;
        uint64_t bound_us = 1 * S;

        (void)state;
        backoff_init(&b, 1 * S, 60 * S, 42);
        for (unsigned i = 0; i < 20; i++) {
                uint64_t us = backoff_next_us(&b);

                assert_in_range(us, bound_us / 2, bound_us);
                bound_us = MBGATE_MIN(bound_us * 2, 60 * S);
        }
        backoff_reset(&b);
        assert_in_range(backoff_next_us(&b), S / 2, S);
        assert_in_range(backoff_longest_us(&b), 30 * S, 60 * S);
        assert_in_range(backoff_next_us(&b), 30 * S, 60 * S);
}

static void test_backoff_odd_limits(void **state)
{
        struct backoff b;

        (void)state;
        backoff_init(&b, 0, 0, 1);
        assert_true(backoff_next_us(&b) >= 1);
        backoff_init(&b, 5 * S, 1 * S, 1);
        assert_in_range(backoff_next_us(&b), 5 * S / 2, 5 * S);
        assert_in_range(backoff_next_us(&b), 5 * S / 2, 5 * S);
}

/* Two gateways that lost one broker do not come back at the same moments. */
static void test_jitter(void **state)
{
        struct backoff a, b;

        (void)state;
        backoff_init(&a, 1 * S, 60 * S, 1);
        backoff_init(&b, 1 * S, 60 * S, 2);
        assert_int_not_equal(backoff_next_us(&a), backoff_next_us(&b));
}

static void init(struct connector *c)
{
        connector_init(c, 10 * S, 1 * S, 60 * S, 3);
}

static void go_online(struct connector *c, uint64_t now_us, struct connector_recovery *recovery)
{
        assert_true(connector_is_due(c, now_us));
        connector_resolving(c);
        connector_resolved(c, 1, now_us);
        connector_tcp_up(c);
        connector_accepted(c, now_us);
        connector_online(c, now_us, recovery);
}

static void test_happy(void **state)
{
        struct connector_recovery recovery;
        struct connector c;

        (void)state;
        init(&c);
        go_online(&c, 5, &recovery);
        assert_int_equal(recovery.n_failures, 0);
        assert_int_equal(c.state, CONNECTOR_ONLINE);
        assert_true(connector_wake_us(&c) == CLOCK_NEVER_US);
        assert_false(connector_is_overdue(&c, 1000 * S));
}

static void test_addresses_in_turn(void **state)
{
        struct connector_verdict v;
        struct connector c;

        (void)state;
        init(&c);
        connector_resolving(&c);
        connector_resolved(&c, 3, 0);
        assert_true(connector_wake_us(&c) == 3 * S); /* its share, since others are left */
        connector_failed(&c, CONNECTOR_F_TIMEOUT, 1, 3 * S, &v);
        assert_true(v.try_next);
        assert_int_equal(c.target, 1);
        connector_tcp_up(&c); /* up: CONNACK has all its time */
        assert_false(connector_is_overdue(&c, 12 * S));
        assert_true(connector_is_overdue(&c, 13 * S));
        connector_failed(&c, CONNECTOR_F_TCP, 111, 13 * S, &v);
        assert_true(v.try_next);
        assert_true(connector_wake_us(&c) == 23 * S); /* the last one */
        connector_failed(&c, CONNECTOR_F_TCP, 111, 14 * S, &v);
        assert_false(v.try_next);
        assert_true(v.is_news);
        assert_in_range(v.delay_us, S / 2, S);
        assert_int_equal(c.state, CONNECTOR_WAITING);
        assert_false(connector_is_due(&c, 14 * S));
        assert_true(connector_is_due(&c, 15 * S));
}

static void test_refused_does_not_try_other_addresses(void **state)
{
        struct connector_verdict v;
        struct connector c;

        (void)state;
        init(&c);
        connector_resolved(&c, 2, 0);
        connector_failed(&c, CONNECTOR_F_AUTH, 135, 0, &v);
        assert_false(v.try_next);
        assert_true(v.delay_us >= 30 * S);
}

static void test_news(void **state)
{
        struct connector_recovery recovery;
        struct connector_verdict v;
        struct connector c;
        uint64_t now_us = 0;

        (void)state;
        init(&c);
        for (unsigned i = 0; i < 5; i++) {
                connector_resolved(&c, 1, now_us);
                connector_failed(&c, CONNECTOR_F_TCP, 111, now_us, &v);
                assert_int_equal(v.is_news, i == 0);
                now_us = c.next_us;
        }
        connector_resolved(&c, 1, now_us);
        connector_failed(&c, CONNECTOR_F_TCP, 113, now_us, &v);
        assert_true(v.is_news); /* another errno */
        now_us = c.next_us;
        go_online(&c, now_us, &recovery);
        assert_int_equal(recovery.n_failures, 6);
        assert_true(recovery.duration_us == now_us);
}

static void test_backoff_resets_only_when_settled(void **state)
{
        struct connector_recovery recovery;
        struct connector_verdict v;
        struct connector c;
        uint64_t now_us = 0, last_us = 0;

        (void)state;
        init(&c);
        for (unsigned i = 0; i < 5; i++) {
                go_online(&c, now_us, &recovery);
                connector_failed(&c, CONNECTOR_F_LOST, 7, now_us + 5 * S, &v);
                assert_true(v.delay_us > last_us / 2);
                last_us = v.delay_us;
                now_us = c.next_us;
        }
        assert_true(last_us >= 8 * S);
        go_online(&c, now_us, &recovery);
        connector_failed(&c, CONNECTOR_F_LOST, 7, now_us + 11 * S, &v);
        assert_in_range(v.delay_us, S / 2, S);
}

static void test_flapping(void **state)
{
        struct connector_recovery recovery;
        struct connector_verdict v;
        struct connector c;
        uint64_t now_us = S;
        unsigned n_news = 0;

        (void)state;
        init(&c);
        for (unsigned i = 1; i <= 8; i++) {
                go_online(&c, now_us, &recovery);
                connector_failed(&c, CONNECTOR_F_LOST, 142, now_us + S, &v);
                assert_int_equal(v.is_flapping, i == 4);
                n_news += v.is_news;
                if (i >= 4)
                        assert_true(v.delay_us >= 30 * S);
                now_us = c.next_us;
        }
        assert_int_equal(n_news, 1);
        go_online(&c, now_us, &recovery);
        assert_true(connector_is_flapping(&c));
        assert_false(connector_has_settled(&c, now_us + 2 * S));
        assert_true(connector_has_settled(&c, now_us + 3 * S));
        assert_false(connector_has_settled(&c, now_us + 4 * S));
        connector_failed(&c, CONNECTOR_F_LOST, 142, now_us + 60 * S, &v);
        assert_true(v.is_news);
        assert_int_equal(c.n_quick_losses, 0);
}

static void test_reasons(void **state)
{
        (void)state;
        assert_string_equal(reason_connack_text(false, 5), "not authorised");
        assert_string_equal(reason_connack_text(true, 135), "not authorised");
        assert_string_equal(reason_connack_text(true, 77), "unknown reason");
        assert_string_equal(reason_connack_text(false, 6), "unknown reason");
        assert_int_equal(reason_connack_failure(false, 4), CONNECTOR_F_AUTH);
        assert_int_equal(reason_connack_failure(false, 3), CONNECTOR_F_REFUSED);
        assert_int_equal(reason_connack_failure(true, 134), CONNECTOR_F_AUTH);
        assert_int_equal(reason_connack_failure(true, 137), CONNECTOR_F_REFUSED);
        assert_string_equal(reason_library_text(19, 0), "no answer within the keepalive time");
        assert_string_equal(reason_library_text(14, 111), "Connection refused");
        assert_string_equal(reason_library_text(-7, 0), "error of the MQTT library");
        assert_string_equal(reason_library_text(9999, 0), "error of the MQTT library");
}

static void test_subscriptions(void **state)
{
        struct subscriptions subs = { .n = 0 };
        struct subscription *sub;

        (void)state;
        assert_int_equal(link_subscriptions_add(&subs, "a", 1, &sub), 0);
        link_subscriptions_sent(&subs, sub, 7);
        assert_int_equal(link_subscriptions_add(&subs, "b", 1, &sub), 0);
        link_subscriptions_sent(&subs, sub, 7);
        assert_int_equal(link_subscriptions_add(&subs, "a", 2, &sub), 0);
        assert_int_equal(subs.n, 2);
        assert_int_equal(subs.n_waiting, 2);
        assert_string_equal(link_subscriptions_answered(&subs, 7)->filter, "a");
        assert_string_equal(link_subscriptions_answered(&subs, 7)->filter, "b");
        assert_null(link_subscriptions_answered(&subs, 7));
        assert_null(link_subscriptions_answered(&subs, 0));
        assert_int_equal(subs.n_waiting, 0);
        link_subscriptions_sent(&subs, &subs.list[0], 8);
        link_subscriptions_remove(&subs, "a", true);
        assert_int_equal(subs.n, 2);
        link_subscriptions_purge(&subs);
        assert_int_equal(subs.n, 1);
        assert_int_equal(subs.n_waiting, 0);
        link_subscriptions_remove(&subs, "nothing", false);
        link_subscriptions_remove(&subs, "b", false);
        assert_int_equal(subs.n, 0);
        for (unsigned i = 0; i < 100; i++) {
                char filter[8] = { (char)('0' + i / 10), (char)('0' + i % 10) };

                assert_int_equal(link_subscriptions_add(&subs, filter, 0, &sub), 0);
                link_subscriptions_sent(&subs, sub, 1);
        }
        link_subscriptions_reset(&subs);
        assert_int_equal(subs.n_waiting, 0);
        link_subscriptions_done(&subs);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_backoff),
                cmocka_unit_test(test_backoff_odd_limits),
                cmocka_unit_test(test_jitter),
                cmocka_unit_test(test_happy),
                cmocka_unit_test(test_addresses_in_turn),
                cmocka_unit_test(test_refused_does_not_try_other_addresses),
                cmocka_unit_test(test_news),
                cmocka_unit_test(test_backoff_resets_only_when_settled),
                cmocka_unit_test(test_flapping),
                cmocka_unit_test(test_reasons),
                cmocka_unit_test(test_subscriptions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
