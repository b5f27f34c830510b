/* SPDX-License-Identifier: MIT */
/* Whatever happens on the way to a device's name is told: folders, links and what they lead to come and go.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "path_watch.h"

#define PATIENCE_MS 30000
#define PATH_BYTES  128

static char folder[] = "/tmp/mbgate-watch-XXXXXX";
static char dev[PATH_BYTES], by_id[PATH_BYTES], name[PATH_BYTES], node[PATH_BYTES], other[PATH_BYTES];
static struct path_watch watch;

static void touch(const char *path)
{
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
}

/* TMP/dev with nodes, TMP/dev/by-id with links; nothing of it is there at first. */
static int setup(void **state)
{
        (void)state;
        (void)snprintf(folder, sizeof(folder), "/tmp/mbgate-watch-XXXXXX");
        assert_non_null(mkdtemp(folder));
        (void)snprintf(dev, sizeof(dev), "%s/dev", folder);
        (void)snprintf(by_id, sizeof(by_id), "%s/dev/by-id", folder);
        (void)snprintf(name, sizeof(name), "%s/dev/by-id/adapter", folder);
        (void)snprintf(node, sizeof(node), "%s/dev/ttyUSB0", folder);
        (void)snprintf(other, sizeof(other), "%s/dev/ttyUSB1", folder);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        path_watch_close(&watch);
        (void)unlink(name);
        (void)unlink(node);
        (void)unlink(other);
        (void)rmdir(by_id);
        (void)rmdir(dev);
        return rmdir(folder);
}

static bool is_told(int timeout_ms)
{
        struct pollfd fd = { .fd = watch.fd, .events = POLLIN };

        return poll(&fd, 1, timeout_ms) == 1;
}

static void assert_told(void)
{
        assert_true(is_told(PATIENCE_MS));
        path_watch_take(&watch, name);
        assert_true(watch.fd >= 0);
        assert_false(is_told(0));
}

static void test_from_nothing(void **state)
{
        (void)state;
        assert_int_equal(path_watch_open(&watch, name), 0);
        assert_false(is_told(0));
        assert_int_equal(mkdir(dev, 0755), 0);
        assert_told();
        assert_int_equal(mkdir(by_id, 0755), 0);
        assert_told();
        assert_int_equal(symlink("../ttyUSB0", name), 0);
        assert_told();
        touch(node);
        assert_told();
        assert_int_equal(chmod(node, 0640), 0);
        assert_told();
}

static void test_back_under_another_node(void **state)
{
        (void)state;
        assert_int_equal(mkdir(dev, 0755), 0);
        assert_int_equal(mkdir(by_id, 0755), 0);
        touch(node);
        assert_int_equal(symlink("../ttyUSB0", name), 0);
        assert_int_equal(path_watch_open(&watch, name), 0);
        /* The adapter goes, and udev takes its folder away with the last link. */
        assert_int_equal(unlink(node), 0);
        assert_told();
        assert_int_equal(unlink(name), 0);
        assert_told();
        assert_int_equal(rmdir(by_id), 0);
        assert_told();
        /* And comes back. */
        touch(other);
        assert_told();
        assert_int_equal(mkdir(by_id, 0755), 0);
        assert_told();
        assert_int_equal(symlink(other, name), 0);
        assert_told();
        assert_int_equal(chmod(other, 0600), 0);
        assert_told();
}

static void test_a_node_by_itself(void **state)
{
        (void)state;
        assert_int_equal(mkdir(dev, 0755), 0);
        assert_int_equal(path_watch_open(&watch, node), 0);
        touch(node);
        assert_true(is_told(PATIENCE_MS));
        path_watch_take(&watch, node);
        assert_int_equal(unlink(node), 0);
        assert_true(is_told(PATIENCE_MS));
}

static void test_links_in_a_circle(void **state)
{
        (void)state;
        assert_int_equal(mkdir(dev, 0755), 0);
        assert_int_equal(symlink("ttyUSB1", node), 0);
        assert_int_equal(symlink("ttyUSB0", other), 0);
        assert_int_equal(path_watch_open(&watch, node), 0);
        assert_false(is_told(0));
}

static void test_no_path_at_all(void **state)
{
        (void)state;
        assert_true(path_watch_open(&watch, "tty") < 0);
        assert_int_equal(watch.fd, -1);
        path_watch_close(&watch);
        assert_int_equal(path_watch_open(&watch, "/nothing-of-that-name"), 0); /* the root is there */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_from_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_back_under_another_node, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_node_by_itself, setup, teardown),
                cmocka_unit_test_setup_teardown(test_links_in_a_circle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_path_at_all, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
