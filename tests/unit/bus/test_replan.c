/* SPDX-License-Identifier: MIT */
/* When a measured turnaround is worth another plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker_private.h"

#define MS UINT32_C(1000)

static void test_changed(void **state)
{
        struct worker_device d = { .turnaround_us = 50 * MS, .n_measured = WORKER_REPLAN_REPLIES - 1 };
        uint64_t now_us = USEC_PER_SEC;

        (void)state;
        assert_false(worker_turnaround_changed(&d, now_us)); /* not known well enough */
        d.n_measured++;
        assert_true(worker_turnaround_changed(&d, now_us));
        d.planned_us = now_us;
        d.planned_with_us = d.turnaround_us;
        assert_false(worker_turnaround_changed(&d, now_us + 10 * WORKER_REPLAN_US));
        d.turnaround_us = 62 * MS;
        assert_false(worker_turnaround_changed(&d, now_us + WORKER_REPLAN_US));
        d.turnaround_us = 63 * MS;
        assert_false(worker_turnaround_changed(&d, now_us + WORKER_REPLAN_US - 1));
        assert_true(worker_turnaround_changed(&d, now_us + WORKER_REPLAN_US));
        d.turnaround_us = 37 * MS;
        assert_true(worker_turnaround_changed(&d, now_us + WORKER_REPLAN_US));
        d.planned_with_us = 200;
        d.turnaround_us = 600; /* twice as much of hardly anything */
        assert_false(worker_turnaround_changed(&d, now_us + WORKER_REPLAN_US));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_changed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
