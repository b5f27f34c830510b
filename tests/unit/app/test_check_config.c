/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "check_config.h"
#include "mbgate/config/load.h"

/* What one configuration gives. */
struct printed {
        char *out, *err;
};

static struct conf *load(const char *text)
{
        char name[] = "/tmp/mbgate-check-XXXXXX";
        struct conf_report report = { 0 };
        struct conf *conf = NULL;
        int fd = mkstemp(name);
        int r;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        (void)close(fd);
        r = conf_load(name, NULL, &report, &conf);
        if (report.n_errors)
                print_error("%s\n", report.lines[0]);
        conf_report_done(&report);
        (void)unlink(name);
        assert_int_equal(r, 0);
        return conf;
}

static struct printed check(const char *text)
{
        struct conf *conf = load(text);
        struct printed p;
        size_t out_bytes, err_bytes;
        FILE *out = open_memstream(&p.out, &out_bytes), *err = open_memstream(&p.err, &err_bytes);

        assert_true(out && err);
        assert_int_equal(check_config_print(conf, out, err), 0);
        (void)fclose(out);
        (void)fclose(err);
        conf_unref(conf);
        return p;
}

static void printed_done(struct printed *p)
{
        free(p->out);
        free(p->err);
}

/* The comments behind the dump, from the first bus on. */
static const char *forecast(const struct printed *p)
{
        const char *at = strstr(p->out, "\n# bus ");

        assert_non_null(at);
        return at + 1;
}

#define SENSOR                                                                                    \
        "buses = ( { name = \"rs485\"; port = \"/dev/ttyUSB0\"; baud = 9600; format = \"8E1\";\n" \
        "  devices = ( { name = \"sensor\"; unit_id = 10; interval_ms = %INTERVAL%;\n"            \
        "    points = ( { name = \"temp\"; holding = 0; type = \"int16\"; },\n"                   \
        "               { name = \"hum\"; holding = 1; type = \"uint16\"; },\n"                   \
        "               { name = \"led\"; holding = 2; type = \"uint16\"; },\n"                   \
        "               { name = \"test\"; holding = 3; type = \"int16\"; } ); } ); } );\n"

static char *sensor_with(const char *interval)
{
        const char *mark = strstr(SENSOR, "%INTERVAL%");
        char *text = NULL;

        assert_true(asprintf(&text, "%.*s%s%s", (int)(mark - SENSOR), SENSOR, interval,
                             mark + strlen("%INTERVAL%")) > 0);
        return text;
}

/*
 * 8 request and 13 reply characters of 11 bits at 9600 Bd are 24.06 ms; two silences of 3.5 characters 8.02
 * ms; and 5 ms until the device answers.
 */
static void test_forecast_of_the_sensor(void **state)
{
        char *text = sensor_with("2000");
        struct printed p = check(text);

        (void)state;
        assert_string_equal(forecast(&p),
                            "# bus rs485: /dev/ttyUSB0, 9600 8E1\n"
                            "#   sensor (unit 10): function 3, address 0, count 4, every 2000 ms, "
                            "37.1 ms on the line: temp hum led test\n"
                            "# bus rs485: a full round is 1 request and 37.1 ms; the load is 1.9 %\n");
        assert_string_equal(p.err, "");
        printed_done(&p);
        free(text);
}

/* The device's gap stands in for the silence before the request: 200 instead of 4 ms. */
static void test_forecast_with_a_gap(void **state)
{
        char *text = sensor_with("200; gap_ms = 200");
        struct printed p = check(text);

        (void)state;
        assert_non_null(strstr(forecast(&p), "every 200 ms, 233.1 ms on the line"));
        assert_non_null(strstr(forecast(&p), "the load is 116.5 %"));
        assert_string_equal(p.err, "warning: bus rs485: asked for 117 % of what the line can carry; device "
                                   "sensor takes 117 % of it: set its interval_ms to 250 (now 200)\n");
        printed_done(&p);
        free(text);
}

/* Turning the driver takes 20 ms before the request; 30 ms behind it no reply is heard: 21 more than the
 * silence that ends it and 5 ms. */
static void test_forecast_with_rts_delays(void **state)
{
        struct printed p = check(
                "buses = ( { name = \"rs485\"; port = \"/dev/ttyUSB0\"; baud = 9600; format = \"8E1\";\n"
                "  direction = \"rts\"; rts_delay_before_ms = 20; rts_delay_after_ms = 30;\n"
                "  devices = ( { name = \"sensor\"; unit_id = 10; interval_ms = 2000;\n"
                "    points = ( { name = \"temp\"; holding = 0; } ); } ); } );\n");

        (void)state;
        assert_non_null(strstr(forecast(&p), "every 2000 ms, 71.2 ms on the line"));
        printed_done(&p);
}

static void test_all_of_it_loads_again_to_the_same(void **state)
{
        char *text = sensor_with("2000");
        struct printed first = check(text), second = check(first.out);

        (void)state;
        assert_string_equal(first.out, second.out);
        printed_done(&first);
        printed_done(&second);
        free(text);
}

static void test_an_overload_names_device_and_remedy(void **state)
{
        char *text = sensor_with("20");
        struct printed p = check(text);

        (void)state;
        assert_non_null(strstr(p.out, "\n# warning: bus rs485: asked for 185 %"));
        assert_non_null(strstr(p.err, "bus rs485"));
        assert_non_null(strstr(p.err, "device sensor"));
        assert_non_null(strstr(p.err, "set its interval_ms to 40 (now 20)"));
        printed_done(&p);
        free(text);
}

/* A remedy that is followed must be enough. */
static void test_the_remedy_is_enough(void **state)
{
        char *text = sensor_with("40");
        struct printed p = check(text);

        (void)state;
        assert_string_equal(p.err, "");
        printed_done(&p);
        free(text);
}

static void test_tcp_has_no_line_settings(void **state)
{
        struct printed p = check("buses = ( { name = \"net\"; port = \"tcp://192.0.2.7:502\"; devices = (\n"
                                 "  { name = \"plc\"; unit_id = 1; points = (\n"
                                 "    { name = \"a\"; coil = 5; type = \"bool\"; } ); } ); } );\n");

        (void)state;
        assert_non_null(strstr(p.out, "# bus net: tcp://192.0.2.7:502, Modbus TCP\n"));
        assert_non_null(strstr(p.out, "plc (unit 1): function 1, address 5, count 1"));
        printed_done(&p);
}

static void test_a_full_disk_is_told(void **state)
{
        char *text = sensor_with("2000");
        struct conf *conf = load(text);
        FILE *out = fopen("/dev/full", "we");

        (void)state;
        assert_non_null(out);
        assert_true(check_config_print(conf, out, stderr) < 0);
        (void)fclose(out);
        conf_unref(conf);
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_forecast_of_the_sensor),
                cmocka_unit_test(test_forecast_with_a_gap),
                cmocka_unit_test(test_forecast_with_rts_delays),
                cmocka_unit_test(test_all_of_it_loads_again_to_the_same),
                cmocka_unit_test(test_an_overload_names_device_and_remedy),
                cmocka_unit_test(test_the_remedy_is_enough),
                cmocka_unit_test(test_tcp_has_no_line_settings),
                cmocka_unit_test(test_a_full_disk_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
