/* SPDX-License-Identifier: MIT */
/* What a reload costs: each line of the table is a change to one configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/macros.h"

#include "config_tmp.h"

static const char base[] =
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; baud = 9600; format = \"8E1\"; "
        "stats_interval_s = 60;\n"
        "  devices = ( { name = \"d\"; unit_id = 1; retries = 1; topic = \"d\";\n"
        "    points = ( { name = \"p\"; holding = 0; type = \"int16\"; scale = 0.1; write "
        "= true; min = 0; invalid = [ 1 ];\n"
        "                 map = ( { value = 0; label = \"off\"; } ); } ); } ); } );\n"
        "links = ( { name = \"l\"; host = \"h\"; port = 1883; keepalive_s = 60; publish = "
        "[ \"a\", \"b\" ]; qos = 1;\n"
        "  tls = { ca_path = \"/\"; alpn = \"x\"; }; } );\n"
        "broker = { max_inflight = 20; store_max_bytes = 2000000; ignore = [ \"i\" ]; anonymous = true;\n"
        "  listeners = ( { address = \"\"; port = 1900; protocol = \"mqtt\"; max_clients = 5; } ); };\n";

static struct conf *load(const char *text)
{
        struct conf_report report = { 0 };
        struct conf *c = NULL;
        int r = config_load_text(text, strlen(text), &report, &c);

        for (size_t i = 0; i < report.n_lines; i++)
                print_message("%s\n", report.lines[i]);
        conf_report_done(&report);
        assert_int_equal(r, 0);
        return c;
}

static struct conf *load_changed(const char *from, const char *to)
{
        char text[2 * sizeof(base)];
        const char *p = strstr(base, from);

        assert_non_null(p);
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(p - base), base, to, p + strlen(from));
        return load(text);
}

static const struct {
        const char *from, *to;
        enum conf_change bus, link;
} changes[] = {
        { "9600", "9600", CONF_SAME, CONF_SAME },
        { "buses = (", "# a comment\nbuses = (", CONF_SAME, CONF_SAME },
        { "retries = 1;", "", CONF_SAME, CONF_SAME }, /* the default */
        { "/dev/ttyS0", "/dev/ttyS1", CONF_REPLACE, CONF_SAME },
        { "/dev/ttyS0", "tcp://192.0.2.7", CONF_REPLACE, CONF_SAME },
        { "9600", "19200", CONF_REPLACE, CONF_SAME },
        { "8E1", "8N1", CONF_REPLACE, CONF_SAME },
        { "8E1", "8E2", CONF_REPLACE, CONF_SAME },
        { "baud = 9600;", "echo = \"on\";", CONF_REPLACE, CONF_SAME },
        { "baud = 9600;", "rts_on_send = false;", CONF_REPLACE, CONF_SAME },
        { "_s = 60;\n", "_s = 61;\n", CONF_ADJUST, CONF_SAME },
        { "unit_id = 1", "unit_id = 2", CONF_ADJUST, CONF_SAME },
        { "retries = 1", "retries = 2", CONF_ADJUST, CONF_SAME },
        { "topic = \"d\"", "topic = \"e\"", CONF_ADJUST, CONF_SAME },
        { "topic = \"d\"", "topic = \"d\"; send_interval_topic = \"d/send_interval/set\"", CONF_ADJUST,
          CONF_SAME },
        { "name = \"p\"", "name = \"q\"", CONF_ADJUST, CONF_SAME },
        { "holding = 0", "holding = 1", CONF_ADJUST, CONF_SAME },
        { "holding = 0", "holding = 0; bit = 3", CONF_ADJUST, CONF_SAME },
        { "0.1", "0.01", CONF_ADJUST, CONF_SAME },
        { "min = 0", "max = 1", CONF_ADJUST, CONF_SAME },
        { "min = 0;", "", CONF_ADJUST, CONF_SAME },
        { "[ 1 ]", "[ 2 ]", CONF_ADJUST, CONF_SAME },
        { "[ 1 ]", "[ 1, 2 ]", CONF_ADJUST, CONF_SAME },
        { "off", "aus", CONF_ADJUST, CONF_SAME },
        { "value = 0", "value = 1", CONF_ADJUST, CONF_SAME },
        { "points = (", "points = ( { name = \"x\"; holding = 9; },", CONF_ADJUST, CONF_SAME },
        { "devices = (",
          "devices = ( { name = \"x\"; unit_id = 9; points = ( { name = \"x\"; holding = 9; } ); },",
          CONF_ADJUST, CONF_SAME },
        { "\"h\"", "\"i\"", CONF_SAME, CONF_REPLACE },
        { "1883", "1884", CONF_SAME, CONF_REPLACE },
        { "keepalive_s = 60", "keepalive_s = 30", CONF_SAME, CONF_REPLACE },
        { "keepalive_s = 60", "prefix = \"x/\"", CONF_SAME, CONF_REPLACE },
        { "\"x\"", "\"y\"", CONF_SAME, CONF_REPLACE },
        { "tls = { ca_path = \"/\"; alpn = \"x\"; };", "", CONF_SAME, CONF_REPLACE },
        { "\"a\", \"b\"", "\"a\"", CONF_SAME, CONF_ADJUST },
        { "\"a\", \"b\"", "\"a\", \"c\"", CONF_SAME, CONF_ADJUST },
        { "qos = 1", "qos = 2", CONF_SAME, CONF_REPLACE },
        { "qos = 1", "queue_messages = 5", CONF_SAME, CONF_REPLACE },
};

static void test_changes(void **state UNUSED)
{
        struct conf *a = load(base);

        for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
                struct conf *b = load_changed(changes[i].from, changes[i].to);

                if (conf_compare_bus(&a->buses[0], &b->buses[0]) != changes[i].bus ||
                    conf_compare_bus(&b->buses[0], &a->buses[0]) != changes[i].bus ||
                    conf_compare_link(&a->links[0], &b->links[0]) != changes[i].link)
                        fail_msg("%s -> %s: bus %d, link %d", changes[i].from, changes[i].to,
                                 (int)conf_compare_bus(&a->buses[0], &b->buses[0]),
                                 (int)conf_compare_link(&a->links[0], &b->links[0]));
                (void)conf_unref(b);
        }
        (void)conf_unref(a);
}

static const struct {
        const char *from, *to;
        enum conf_change broker, listener;
} broker_changes[] = {
        { "broker = {", "# a comment\nbroker = {", CONF_SAME, CONF_SAME },
        { "max_inflight = 20;", "", CONF_SAME, CONF_SAME }, /* the default */
        { "max_inflight = 20", "max_inflight = 30", CONF_ADJUST, CONF_SAME },
        { "max_inflight = 20", "max_session_expiry_s = 5", CONF_ADJUST, CONF_SAME },
        { "max_inflight = 20", "durability = \"none\"", CONF_ADJUST, CONF_SAME },
        { "store_max_bytes = 2000000", "store_max_bytes = 3000000", CONF_REPLACE, CONF_SAME },
        { "max_inflight = 20", "store_directory = \"/x\"", CONF_REPLACE, CONF_SAME },
        { "[ \"i\" ]", "[ \"j\" ]", CONF_SAME, CONF_ADJUST },
        { "anonymous = true;", "", CONF_SAME, CONF_REPLACE }, /* this machine only */
        { "max_inflight = 20", "remember = true", CONF_SAME, CONF_ADJUST },
        { "max_clients = 5", "max_clients = 6", CONF_SAME, CONF_ADJUST },
        { "address = \"\"", "address = \"::\"", CONF_SAME, CONF_REPLACE },
        { "port = 1900", "port = 1901", CONF_SAME, CONF_REPLACE },
        { "protocol = \"mqtt\"", "protocol = \"websocket\"", CONF_SAME, CONF_REPLACE },
};

static void test_broker_changes(void **state UNUSED)
{
        struct conf *a = load(base);

        for (size_t i = 0; i < ARRAY_SIZE(broker_changes); i++) {
                struct conf *b = load_changed(broker_changes[i].from, broker_changes[i].to);

                if (conf_compare_broker(&a->broker, &b->broker) != broker_changes[i].broker ||
                    conf_compare_broker(&b->broker, &a->broker) != broker_changes[i].broker ||
                    conf_compare_listener(&a->broker.listeners[0], &b->broker.listeners[0]) !=
                            broker_changes[i].listener ||
                    conf_compare_listener(&b->broker.listeners[0], &a->broker.listeners[0]) !=
                            broker_changes[i].listener)
                        fail_msg("%s -> %s", broker_changes[i].from, broker_changes[i].to);
                (void)conf_unref(b);
        }
        (void)conf_unref(a);
}

static void test_listener_tls(void **state UNUSED)
{
        struct conf *conf = load(base);
        char other[] = "/other.crt";
        struct conf_listener plain = conf->broker.listeners[0], a = plain, b;

        a.tls = true;
        b = a;
        assert_int_equal(conf_compare_listener(&plain, &a), CONF_REPLACE);
        assert_int_equal(conf_compare_listener(&a, &b), CONF_SAME);
        b.cert_file = other;
        assert_int_equal(conf_compare_listener(&a, &b), CONF_ADJUST);
        (void)conf_unref(conf);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_broker_changes),
                cmocka_unit_test(test_listener_tls),
                cmocka_unit_test(test_changes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
