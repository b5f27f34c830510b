/* SPDX-License-Identifier: MIT */
/* When a value is published: the rules one by one, on the pure function. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "policy.h"

#define AT UINT64_C(1000000000)

struct judge {
        struct conf_point conf;
        struct policy_last last;
        struct policy_now now;
        uint64_t due_us;
};

/* Published 1 s ago: 20; the newest is 20 again. */
static struct judge same_again(void)
{
        return (struct judge){
                .last = { .is_known = true,
                          .at_us = AT,
                          .fingerprint = 20,
                          .number = 20,
                          .quality = QUALITY_GOOD },
                .now = { .now_us = AT + USEC_PER_SEC,
                         .fingerprint = 20,
                         .number = 20,
                         .quality = QUALITY_GOOD },
                .due_us = 77,
        };
}

static struct judge changed_to(double number)
{
        struct judge j = same_again();

        j.now.number = number;
        j.now.fingerprint = 99;
        return j;
}

static enum policy_verdict judge(struct judge *j)
{
        return policy_judge(&j->conf, &j->last, &j->now, &j->due_us);
}

static void first_value_goes_out(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.last.is_known = false;
        j.now.is_paced = true;
        j.conf.min_interval_s = 60;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void on_change_is_silent_about_the_same(void **state)
{
        struct judge j = same_again();

        (void)state;
        assert_int_equal(judge(&j), POLICY_SILENT);
        assert_int_equal(j.due_us, 77);
        j = changed_to(21);
        assert_int_equal(judge(&j), POLICY_NOW);
}

/* Rounded away: the number differs, what people see does not. */
static void on_change_goes_by_the_text(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.now.number = 20.0001;
        assert_int_equal(judge(&j), POLICY_SILENT);
}

static void always_repeats_the_same(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.conf.publish = CONF_PUBLISH_ALWAYS;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void deadband_is_absolute(void **state)
{
        struct judge j = changed_to(20.4);

        (void)state;
        j.conf.deadband = 0.5;
        assert_int_equal(judge(&j), POLICY_SILENT);
        j = changed_to(20.5);
        j.conf.deadband = 0.5;
        assert_int_equal(judge(&j), POLICY_NOW);
        j = changed_to(19.4);
        j.conf.deadband = 0.5;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void deadband_percent_is_of_the_last(void **state)
{
        struct judge j = changed_to(21.9);

        (void)state;
        j.conf.deadband_percent = 10;
        assert_int_equal(judge(&j), POLICY_SILENT);
        j = changed_to(22);
        j.conf.deadband_percent = 10;
        assert_int_equal(judge(&j), POLICY_NOW);
        j = changed_to(-22);
        j.last.number = -20;
        j.conf.deadband_percent = 10;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void both_deadbands_must_be_left(void **state)
{
        struct judge j = changed_to(21);

        (void)state;
        j.conf.deadband = 0.5;
        j.conf.deadband_percent = 10;
        assert_int_equal(judge(&j), POLICY_SILENT);
}

static void deadband_knows_no_texts(void **state)
{
        struct judge j = changed_to((double)NAN);

        (void)state;
        j.conf.deadband = 1000;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void min_interval_delays(void **state)
{
        struct judge j = changed_to(30);

        (void)state;
        j.conf.min_interval_s = 2.5;
        assert_int_equal(judge(&j), POLICY_LATER);
        assert_int_equal(j.due_us, AT + 2500000);
        j.now.now_us = AT + 2500000;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void min_interval_delays_always_too(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.conf.publish = CONF_PUBLISH_ALWAYS;
        j.conf.min_interval_s = 5;
        assert_int_equal(judge(&j), POLICY_LATER);
}

static void quality_goes_out_at_once(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.conf.min_interval_s = 60;
        j.conf.deadband = 1000;
        j.now.is_paced = true;
        j.now.quality = QUALITY_BAD;
        assert_int_equal(judge(&j), POLICY_NOW);
        j.last.quality = QUALITY_BAD;
        assert_int_equal(judge(&j), POLICY_SILENT);
        j.now.quality = QUALITY_GOOD;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void on_demand_goes_out_at_once(void **state)
{
        struct judge j = same_again();

        (void)state;
        j.conf.min_interval_s = 60;
        j.now.is_paced = true;
        j.now.on_demand = true;
        assert_int_equal(judge(&j), POLICY_NOW);
}

static void paced_is_silent_in_between(void **state)
{
        struct judge j = changed_to(99);

        (void)state;
        j.now.is_paced = true;
        j.conf.publish = CONF_PUBLISH_ALWAYS;
        assert_int_equal(judge(&j), POLICY_SILENT);
}

static void max_interval_repeats(void **state)
{
        struct judge j = same_again();

        (void)state;
        assert_true(policy_repeat_us(&j.conf, &j.last) == CLOCK_NEVER_US);
        j.conf.max_interval_s = 60;
        assert_int_equal(policy_repeat_us(&j.conf, &j.last), AT + 60 * USEC_PER_SEC);
        j.last.is_known = false;
        assert_true(policy_repeat_us(&j.conf, &j.last) == CLOCK_NEVER_US);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(first_value_goes_out),
                cmocka_unit_test(on_change_is_silent_about_the_same),
                cmocka_unit_test(on_change_goes_by_the_text),
                cmocka_unit_test(always_repeats_the_same),
                cmocka_unit_test(deadband_is_absolute),
                cmocka_unit_test(deadband_percent_is_of_the_last),
                cmocka_unit_test(both_deadbands_must_be_left),
                cmocka_unit_test(deadband_knows_no_texts),
                cmocka_unit_test(min_interval_delays),
                cmocka_unit_test(min_interval_delays_always_too),
                cmocka_unit_test(quality_goes_out_at_once),
                cmocka_unit_test(on_demand_goes_out_at_once),
                cmocka_unit_test(paced_is_silent_in_between),
                cmocka_unit_test(max_interval_repeats),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
