/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "config_tmp.h"

/* libconfig 1.5 loses the text that it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void); // NOLINT(bugprone-reserved-identifier): its name
const char *__lsan_default_suppressions(void)  // NOLINT(bugprone-reserved-identifier)
{
        return "leak:libconfig.so\n";
}

static const char sensor[] = MBGATE_SOURCE_DIR "/etc/examples/sensor.conf";

static char *read_file(const char *name, size_t *ret_n)
{
        FILE *f = fopen(name, "re");
        char *text = calloc(1, 1 << 20);

        assert_non_null(f);
        assert_non_null(text);
        *ret_n = fread(text, 1, (1 << 20) - 1, f);
        (void)fclose(f);
        return text;
}

static struct conf *load_sensor(void)
{
        struct conf_report report = { 0 };
        struct conf *c = NULL;

        assert_int_equal(conf_load(sensor, NULL, &report, &c), 0);
        assert_int_equal(report.n_lines, 0);
        conf_report_done(&report);
        return c;
}

static void test_reference_installation(void **state UNUSED)
{
        struct conf *c = load_sensor();
        const struct conf_device *d = &c->buses[0].devices[0];
        const struct conf_point *led = &d->points[2];

        assert_int_equal(c->n_points, 4);
        assert_string_equal(c->gateway.status_topic, "mbgate/status");
        assert_string_equal(c->buses[0].topic, "mbgate/bus/rs485");
        assert_int_equal(conf_bus_char_bits(&c->buses[0]), 11);
        assert_int_equal(d->unit_id, 10);
        assert_int_equal(d->send_interval_s, 10);
        assert_string_equal(d->availability_topic, "modbusgateway/availability");
        assert_string_equal(d->send_interval_topic, "modbusgateway/send_interval/set");
        assert_string_equal(d->send_interval_topic_short, "modbusgateway/send_interval");
        assert_string_equal(d->points[0].topic, "modbusgateway/temp");
        assert_string_equal(d->points[1].topic, "modbusgateway/hum");
        assert_string_equal(d->points[3].topic, "modbusgateway/test");
        assert_string_equal(d->points[0].command_topic, "");
        assert_string_equal(led->topic, "modbusgateway/led/state");
        assert_string_equal(led->command_topic, "modbusgateway/led");
        assert_string_equal(led->get_topic, "modbusgateway/led/get");
        assert_string_equal(led->result_topic, "modbusgateway/led/result");
        assert_int_equal(led->write_function, PDU_WRITE_REGISTER);
        assert_true(led->writable && led->accept_retained && led->format.has_max);
        assert_int_equal(d->points[0].format.decimals, 1);
        assert_int_equal(d->points[0].interval_ms, 2000);
        (void)conf_unref(c);
}

static void test_points_know_where_they_are(void **state UNUSED)
{
        struct conf *c = load_sensor();

        for (uint32_t i = 0; i < c->n_points; i++) {
                assert_int_equal(c->points[i]->id, i);
                assert_ptr_equal(c->points[i]->device, &c->buses[0].devices[0]);
        }
        assert_ptr_equal(c->buses[0].devices[0].bus, &c->buses[0]);
        (void)conf_unref(c);
}

static void test_references_and_generations(void **state UNUSED)
{
        struct conf *a = load_sensor();
        struct conf *b = load_sensor();
        struct conf *again = conf_ref(a);

        assert_true(a->generation != 0 && b->generation > a->generation);
        assert_ptr_equal(again, a);
        assert_null(conf_unref(a));
        assert_string_equal(again->gateway.name, "mbgate"); /* still there */
        (void)conf_unref(again);
        (void)conf_unref(b);
        assert_null(conf_unref(NULL));
}

static void test_file_that_is_not_there(void **state UNUSED)
{
        struct conf_report report = { 0 };
        struct conf *c = NULL;

        assert_int_equal(conf_load("/nowhere/mbgated.conf", NULL, &report, &c), -EINVAL);
        assert_null(c);
        assert_int_equal(report.n_errors, 1);
        assert_string_equal(report.lines[0],
                            "/nowhere/mbgated.conf: error: cannot read \"/nowhere/mbgated.conf\": "
                            "No such file or directory");
        conf_report_done(&report);
        assert_int_equal(conf_load("/dev/zero", NULL, &report, &c), -EINVAL);
        assert_non_null(strstr(report.lines[0], "it is not a regular file"));
        conf_report_done(&report);
}

/* Whatever is cut off or put in, the loader says no, or yes, and leaks nothing. */
static void test_every_truncation(void **state UNUSED)
{
        size_t n;
        char *text = read_file(sensor, &n);

        for (size_t i = 0; i < n; i++) {
                struct conf_report report = { 0 };
                struct conf *c = NULL;
                int r = config_load_text(text, i, &report, &c);

                assert_true(r == 0 || (r == -EINVAL && report.n_errors > 0));
                conf_report_done(&report);
                (void)conf_unref(c);
        }
        free(text);
}

static void test_every_changed_byte(void **state UNUSED)
{
        static const char bytes[] = "\"{)0,\\#";
        size_t n;
        char *text = read_file(sensor, &n);

        for (size_t i = 0; i < n; i++) {
                struct conf_report report = { 0 };
                struct conf *c = NULL;
                char kept = text[i];

                text[i] = bytes[i % (sizeof(bytes) - 1)];
                int r = config_load_text(text, n, &report, &c);
                text[i] = kept;
                assert_true(r == 0 || (r == -EINVAL && report.n_errors > 0));
                conf_report_done(&report);
                (void)conf_unref(c);
        }
        free(text);
}

static void test_deep_nesting(void **state UNUSED)
{
        size_t n = 3000;
        char *text = calloc(1, 2 * n + 16);
        struct conf_report report = { 0 };
        struct conf *c = NULL;

        assert_non_null(text);
        (void)snprintf(text, 9, "links = ");
        memset(text + 8, '(', n);
        memset(text + 8 + n, ')', n);
        assert_int_equal(config_load_text(text, strlen(text), &report, &c), -EINVAL);
        conf_report_done(&report);
        free(text);
}

/* Four buses of 50 devices with 250 points each. */
static char *many_points(size_t *ret_n)
{
        char *text = NULL;
        FILE *f = open_memstream(&text, ret_n);

        assert_non_null(f);
        (void)fputs("buses = (\n", f);
        for (int b = 0; b < 4; b++) {
                (void)fprintf(f, "%s{ name = \"bus%d\"; port = \"/dev/ttyS%d\"; devices = (\n", b ? "," : "",
                              b, b);
                for (int d = 1; d <= 50; d++) {
                        (void)fprintf(f, "%s{ name = \"b%dd%d\"; unit_id = %d; points = (\n",
                                      d > 1 ? "," : "", b, d, d);
                        for (int p = 0; p < 250; p++)
                                (void)fprintf(f,
                                              "%s{ name = \"point%d\"; holding = %d; type = \"int16\"; scale "
                                              "= 0.1; "
                                              "unit = \"V\"; }\n",
                                              p ? "," : "", p, p);
                        (void)fputs("); }\n", f);
                }
                (void)fputs("); }\n", f);
        }
        (void)fputs(");\n", f);
        (void)fclose(f);
        return text;
}

static void test_fifty_thousand_points(void **state UNUSED)
{
        size_t n;
        char *text = many_points(&n);
        struct conf_report report = { 0 };
        struct conf *c = NULL;
        uint64_t began_us = clock_monotonic_us(), took_us;

        assert_int_equal(config_load_text(text, n, &report, &c), 0);
        took_us = clock_monotonic_us() - began_us;
        print_message("50 000 points, %zu bytes: %u ms\n", n, (unsigned)(took_us / USEC_PER_MSEC));
        assert_int_equal(c->n_points, 50000);
        assert_true(took_us < 60 * USEC_PER_SEC); /* seconds with sanitizers; a square would take hours */
        conf_report_done(&report);
        (void)conf_unref(c);
        free(text);
}

/* ---- out of memory: the linker sends the layer's allocations here ---- */

void *__real_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier): ld --wrap
void *__real_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)
void *__real_realloc(void *p, size_t n); // NOLINT(bugprone-reserved-identifier)
void *__wrap_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier)
void *__wrap_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)
void *__wrap_realloc(void *p, size_t n); // NOLINT(bugprone-reserved-identifier)

static long fail_after = -1; /* allocations that still succeed; −1: all */

static bool is_refused(void)
{
        if (fail_after < 0)
                return false;
        return fail_after-- == 0;
}

void *__wrap_malloc(size_t n) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_calloc(n, m);
}

void *__wrap_realloc(void *p, size_t n) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_realloc(p, n);
}

static void fail_each_allocation(const char *file, int expected)
{
        for (long i = 0;; i++) {
                struct conf_report report = { 0 };
                struct conf *c = NULL;
                int r;

                fail_after = i;
                r = conf_load(file, NULL, &report, &c);
                if (fail_after >= 0) { /* that many were not needed */
                        fail_after = -1;
                        assert_int_equal(r, expected);
                        conf_report_done(&report);
                        (void)conf_unref(c);
                        assert_true(i > 5);
                        return;
                }
                fail_after = -1;
                assert_int_equal(r, -ENOMEM);
                assert_null(c);
                assert_int_equal(report.n_lines, 0);
        }
}

static void test_no_memory(void **state UNUSED)
{
        fail_each_allocation(sensor, 0);
        fail_each_allocation(MBGATE_SOURCE_DIR "/tests/golden/good/template.conf", -EINVAL);
        fail_each_allocation(MBGATE_SOURCE_DIR "/tests/golden/bad/many-errors.conf", -EINVAL);
        fail_each_allocation(MBGATE_SOURCE_DIR "/tests/golden/bad/unit-ids-wrong.conf", -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reference_installation),
                cmocka_unit_test(test_points_know_where_they_are),
                cmocka_unit_test(test_references_and_generations),
                cmocka_unit_test(test_file_that_is_not_there),
                cmocka_unit_test(test_every_truncation),
                cmocka_unit_test(test_every_changed_byte),
                cmocka_unit_test(test_deep_nesting),
                cmocka_unit_test(test_fifty_thousand_points),
                cmocka_unit_test(test_no_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
