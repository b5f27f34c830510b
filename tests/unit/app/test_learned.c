/* SPDX-License-Identifier: MIT */
/* What was learned, over a restart: what is written is read, and nothing that does not fit or is not whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/base/random.h"
#include "mbgate/bus/plan.h"

#include "bus_conf.h"
#include "fake_loop.h"
#include "learned.h"

static struct bus_conf c;
static char folder[] = "/tmp/mbgate-learned-XXXXXX";
static char file[sizeof(folder) + sizeof("/" LEARNED_FILE)];

static void quiet(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        (void)line;
}

static int setup(void **state)
{
        (void)state;
        log_set_sink(quiet, NULL);
        assert_non_null(mkdtemp(folder));
        (void)snprintf(file, sizeof(file), "%s/%s", folder, LEARNED_FILE);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        (void)unlink(file);
        (void)rmdir(folder);
        (void)snprintf(folder, sizeof(folder), "/tmp/mbgate-learned-XXXXXX");
        return 0;
}

static void make_conf(void)
{
        bus_conf_init(&c, "/dev/null");
        c.conf.gateway.state_directory = folder;
        for (uint8_t unit = 1; unit <= 3; unit++) {
                (void)bus_conf_device(&c, unit, 500, 1);
                (void)bus_conf_point(&c, CONF_HOLDING, unit, 1, 1000);
                (void)bus_conf_point(&c, CONF_COIL, 5, 1, 1000);
        }
}

static struct loop *loop;

static struct learned *start(void)
{
        struct learned *l;

        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(learned_new(loop, &c.conf, &l), 0);
        return l;
}

static void stop(struct learned *l)
{
        (void)learned_free(l);
        loop = loop_free(loop);
}

static void note(struct learned *l, size_t device, const struct bus_hole *holes, size_t n)
{
        struct bus_learned *mail;

        assert_int_equal(bus_learned_new((uint32_t)device, n, &mail), 0);
        mail->fingerprint = plan_fingerprint(&c.devices[device]);
        if (n > 0)
                memcpy(mail->holes, holes, n * sizeof(*holes));
        learned_note(l, &c.devices[device], mail);
        mail_free(&mail->mail);
}

static size_t count(const struct learned *l, size_t device)
{
        size_t n = 0;

        return learned_find(l, &c.devices[device], &n) ? n : 0;
}

static const struct bus_hole some[] = {
        { CONF_HOLDING, 7, 3 }, { CONF_COIL, 65535, 1 }, { CONF_INPUT, 9, 0 }, { BUS_HOLE_ALL_GAPS, 0, 0 }
};

static void test_round_trip(void **state)
{
        const struct bus_hole *holes;
        struct learned *l;
        size_t n = 0;

        (void)state;
        make_conf();
        l = start();
        assert_int_equal(count(l, 0), 0);
        note(l, 0, some, 2);
        note(l, 1, some, 1);
        note(l, 0, some, 4); /* the newest counts */
        stop(l);
        l = start();
        holes = learned_find(l, &c.devices[0], &n);
        assert_int_equal(n, 4);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(holes[i].area, some[i].area);
                assert_int_equal(holes[i].address, some[i].address);
                assert_int_equal(holes[i].count, some[i].count);
        }
        assert_int_equal(count(l, 1), 1);
        assert_int_equal(count(l, 2), 0);
        note(l, 1, NULL, 0);
        stop(l);
        l = start();
        assert_int_equal(count(l, 0), 4);
        assert_int_equal(count(l, 1), 0);
        stop(l);
}

static void test_another_map(void **state)
{
        struct learned *l;

        (void)state;
        make_conf();
        l = start();
        for (size_t i = 0; i < 3; i++)
                note(l, i, some, 1);
        c.points[0].address = 77;
        c.devices[1].unit_id = 99;
        learned_reconfigure(l, &c.conf);
        assert_int_equal(count(l, 0), 0);
        assert_int_equal(count(l, 1), 0);
        assert_int_equal(count(l, 2), 1);
        stop(l);
        make_conf();
        l = start(); /* forgotten for good */
        assert_int_equal(count(l, 0), 0);
        assert_int_equal(count(l, 2), 1);
        c.points[4].address = 1;
        assert_int_equal(count(l, 2), 0);
        stop(l);
}

/* It is written some time after a change, and once for all of them. */
static void test_is_written_soon(void **state)
{
        struct learned *l;

        (void)state;
        make_conf();
        l = start();
        note(l, 0, some, 1);
        note(l, 1, some, 1);
        assert_true(fake_loop_next_us(loop) != CLOCK_NEVER_US);
        fake_loop_advance(loop, fake_loop_next_us(loop) - FAKE_LOOP_START_US);
        for (unsigned i = 0; i < 60000 && access(file, F_OK) < 0; i++)
                (void)usleep(1000);
        assert_int_equal(access(file, F_OK), 0);
        stop(l);
}

/* Whatever stands in the file: it starts, and takes nothing that could not be. */
static void test_damaged_file(void **state)
{
        struct random random = { .state = 4 };
        char text[2048];
        struct learned *l;
        size_t n_bytes;
        FILE *f;

        (void)state;
        make_conf();
        l = start();
        for (size_t i = 0; i < 3; i++)
                note(l, i, some, 3);
        stop(l);
        f = fopen(file, "re");
        assert_non_null(f);
        n_bytes = fread(text, 1, sizeof(text), f);
        (void)fclose(f);
        assert_true(n_bytes > 200 && n_bytes < sizeof(text));
        for (unsigned round = 0; round < 2000; round++) {
                char damaged[sizeof(text)];
                size_t n = (size_t)random_below(&random, n_bytes + 1);

                memcpy(damaged, text, n_bytes);
                for (unsigned i = 0; i < round % 8; i++)
                        damaged[random_below(&random, n_bytes)] = (char)random_below(&random, 256);
                f = fopen(file, "we");
                assert_non_null(f);
                assert_int_equal(fwrite(damaged, 1, n, f), n);
                assert_int_equal(fclose(f), 0);
                l = start();
                for (size_t d = 0; d < 3; d++) {
                        size_t n_holes = 0;
                        const struct bus_hole *holes = learned_find(l, &c.devices[d], &n_holes);

                        for (size_t i = 0; holes && i < n_holes; i++) {
                                assert_true(holes[i].area <= CONF_DISCRETE);
                                assert_true((uint32_t)holes[i].address + holes[i].count <= 65536);
                        }
                }
                stop(l);
        }
}

static void test_nowhere(void **state)
{
        static char none[] = "", missing[] = "/nonexistent/folder";
        struct learned *l;

        (void)state;
        make_conf();
        c.conf.gateway.state_directory = none;
        l = start();
        note(l, 0, some, 1);
        assert_int_equal(count(l, 0), 1);
        assert_true(fake_loop_next_us(loop) == CLOCK_NEVER_US);
        stop(l);
        c.conf.gateway.state_directory = missing;
        l = start();
        note(l, 0, some, 1);
        assert_int_equal(count(l, 0), 1);
        stop(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_another_map, setup, teardown),
                cmocka_unit_test_setup_teardown(test_is_written_soon, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nowhere, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
