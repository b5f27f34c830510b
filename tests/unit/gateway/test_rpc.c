/* SPDX-License-Identifier: MIT */
/* Requests of the control socket: each is answered once, and nothing else goes there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static const char conf_text[] =
        "gateway = { name = \"gw\"; };\n"
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ( { name = \"dev\"; unit_id = 7; points "
        "= (\n"
        "  { name = \"temp\"; holding = 0; scale = 0.1; },\n"
        "  { name = \"led\"; holding = 2; write = true; max = 1023; topic = \"elsewhere\"; } ); } ); } );\n";

static struct fake_link *add_control(struct rig *r)
{
        struct fake_link *l = fake_link_new("control", gateway_on_link_event, r->gateway);

        assert_int_equal(gateway_add_link(r->gateway, &l->link, GATEWAY_LINK_CONTROL), 0);
        assert_int_equal(l->n_filters, 0);
        return l;
}

static void ask(struct rig *r, struct fake_link *l, const char *topic, const char *payload)
{
        const struct message_init init = {
                .topic = topic,
                .payload = payload,
                .payload_bytes = strlen(payload),
                .made_us = loop_now_us(r->loop),
                .response_topic = "control",
                .correlation = "1",
                .correlation_bytes = 1,
        };
        struct message *m;

        assert_int_equal(message_new(&init, &m), 0);
        gateway_on_link_event(r->gateway, &l->link,
                              &(struct link_event){ .kind = LINK_MESSAGE, .message = m });
        message_unref(m);
}

/* The one answer, which is `text`, or begins with it where that ends in "…". */
static void expect_answer(struct fake_link *l, const char *text)
{
        static const char more[] = "…";
        size_t n = strlen(text), n_more = sizeof(more) - 1;
        const struct message *m = l->published[0];

        assert_int_equal(l->n_published, 1);
        assert_string_equal(m->topic, "control");
        assert_memory_equal(m->correlation, "1", 1);
        if (n > n_more && strcmp(text + n - n_more, more) == 0)
                assert_memory_equal(m->payload, text, n - n_more);
        else
                assert_string_equal(m->payload, text);
        fake_link_clear(l);
}

static void done(struct rig *r, struct fake_link *l)
{
        gateway_remove_link(r->gateway, &l->link);
        fake_link_free(l);
        rig_free(r);
}

static void a_point_is_written(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);
        struct bus_command *c;

        (void)state;
        ask(r, l, "set/dev/led", "512");
        assert_int_equal(l->n_published, 0);
        c = rig_take(r, 0);
        assert_non_null(c);
        assert_int_equal(c->op, BUS_OP_WRITE);
        assert_int_equal(c->regs[0], 512);
        rig_answer(r, c, BUS_RESULT_OK, 4000);
        expect_answer(l, "{\"ok\":true,\"value\":512,\"error\":null,\"exception\":null,\"latency_ms\":4.0}");
        /* Those who look on by MQTT see it, too. */
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/led/result"), 1);
        done(r, l);
}

static void a_point_is_read(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);

        (void)state;
        ask(r, l, "get/dev/temp", "");
        rig_answer(r, rig_take(r, 0), BUS_RESULT_OK, 2000);
        assert_int_equal(l->n_published, 0); /* the value comes with the sample */
        r->on_demand = true;
        rig_sample(r, "dev/temp", REAL(21.5));
        expect_answer(l, "{\"ok\":true,\"value\":21.5,…");
        done(r, l);
}

static void what_is_wrong_is_answered(void **state)
{
        static const struct {
                const char *topic, *payload, *error;
        } cases[] = {
                { "set/dev/led", "5000", "out of range: 0 to 1023 is allowed" },
                { "set/dev/led", "", "unreadable: a number is wanted" },
                { "set/dev/temp", "1", "not writable" },
                { "set/dev/nope", "1", "no such point: its name is DEVICE/POINT" },
                { "set/dev", "1", "no such point: its name is DEVICE/POINT" },
                { "set/elsewhere", "1", "no such point: its name is DEVICE/POINT" },
                { "get/de/led", "", "no such point: its name is DEVICE/POINT" },
                { "get/dev/temp/", "", "no such point: its name is DEVICE/POINT" },
                { "raw/x", "07 03", "no such bus" },
                { "raw/b", "zz", "unreadable" },
                { "elsewhere", "1", "unknown request: set, get, raw and status are known" },
                { "set", "1", "unknown request: set, get, raw and status are known" },
                { "status/x", "", "unknown request: set, get, raw and status are known" },
                { "gw/dev/led/set", "1", "unknown request: set, get, raw and status are known" },
        };
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const struct message *m;

                ask(r, l, cases[i].topic, cases[i].payload);
                assert_int_equal(l->n_published, 1);
                m = l->published[0];
                assert_non_null(strstr(m->payload, "\"ok\":false"));
                if (!strstr(m->payload, cases[i].error))
                        fail_msg("%s %s: %s", cases[i].topic, cases[i].payload, (const char *)m->payload);
                assert_null(rig_take(r, 0));
                fake_link_clear(l);
        }
        done(r, l);
}

/* The bus does not have raw = true: that is for those who come by MQTT. */
static void raw_needs_no_leave(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);
        struct bus_raw_result *result;
        struct bus_raw *raw;
        struct mail *mail;

        (void)state;
        ask(r, l, "raw/b", "07 03 0000 0001");
        mail = mailbox_take(r->boxes[0]);
        assert_non_null(mail);
        assert_int_equal(mail->kind, BUS_MAIL_RAW);
        raw = CONTAINER_OF(mail, struct bus_raw, mail);
        assert_int_equal(raw->unit, 7);
        assert_int_equal(raw->raw_class, BUS_RAW_COMMAND);
        assert_int_equal(bus_raw_result_new(raw, BUS_RESULT_OK, &result), 0);
        memcpy(result->reply.bytes, (const uint8_t[]){ 3, 2, 0, 99 }, 4);
        result->reply.n_bytes = 4;
        mail_free(&raw->mail);
        gateway_on_bus_mail(r->gateway, &result->mail);
        expect_answer(l, "{\"ok\":true,\"value\":{\"unit\":7,\"function\":3,\"bytes\":\"07 03 02 00 63\","
                         "\"values\":[99]},…");
        assert_int_equal(r->links[0]->n_published, 0);
        done(r, l);
}

static void status_names_all(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);

        (void)state;
        ask(r, l, "status", "");
        expect_answer(
                l,
                "{\"ok\":true,\"value\":{\"gateway\":\"gw\",\"buses\":[{\"name\":\"b\",\"port\":\"/dev/"
                "ttyS0\","
                "\"open\":false,\"reason\":\"not opened yet\",\"devices\":[{\"name\":\"dev\",\"unit_id\":7,"
                "\"status\":\"unknown\"}]}]}}");
        rig_port(r, 0, true, "");
        rig_device(r, "dev", DEVICE_OFFLINE);
        assert_int_equal(l->n_published, 0); /* no states, no values: only answers */
        ask(r, l, "status", "");
        expect_answer(l, "{\"ok\":true,\"value\":{\"gateway\":\"gw\",\"buses\":[{\"name\":\"b\",\"port\":\"/"
                         "dev/ttyS0\","
                         "\"open\":true,\"reason\":\"\",\"devices\":[{\"name\":\"dev\",\"unit_id\":7,"
                         "\"status\":\"offline\"}]}]}}");
        rig_port(r, 0, false, "a \"name\"\n");
        ask(r, l, "status", "");
        assert_non_null(strstr(l->published[0]->payload, "\"reason\":\"a \\\"name\\\"\\n\""));
        done(r, l);
}

static void values_do_not_go_there(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);

        (void)state;
        rig_device(r, "dev", DEVICE_ONLINE);
        rig_sample(r, "dev/temp", REAL(20.0));
        assert_true(r->links[0]->n_published > 0);
        rig_reconfigure(r, conf_text);
        assert_int_equal(gateway_add_link(r->gateway, &l->link, GATEWAY_LINK_CONTROL), 0);
        gateway_stop(r->gateway);
        assert_int_equal(l->n_published, 0);
        assert_int_equal(l->n_filters, 0);
        ask(r, l, "set/dev/led", "1");
        expect_answer(l, "{\"ok\":false,\"value\":null,\"error\":\"the gateway is stopping\",…");
        done(r, l);
}

/* Who types a command twice wants it twice; nothing delivers again here. */
static void the_same_id_twice_is_two_commands(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);

        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                struct bus_command *c;

                ask(r, l, "set/dev/led", "{\"value\":1,\"id\":1}");
                c = rig_take(r, 0);
                assert_non_null(c);
                rig_answer(r, c, BUS_RESULT_OK, 0);
                expect_answer(l, "{\"ok\":true,\"value\":1,…");
        }
        done(r, l);
}

static void who_hangs_up_is_forgotten(void **state)
{
        struct rig *r = rig_new(conf_text);
        struct fake_link *l = add_control(r);
        struct bus_command *c;

        (void)state;
        ask(r, l, "set/dev/led", "3");
        gateway_remove_link(r->gateway, &l->link);
        fake_link_free(l);
        c = rig_take(r, 0);
        assert_non_null(c);
        rig_answer(r, c, BUS_RESULT_OK, 1000);
        assert_int_equal(fake_link_count(r->links[0], "gw/dev/led/result"), 1);
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_point_is_written),
                cmocka_unit_test(a_point_is_read),
                cmocka_unit_test(what_is_wrong_is_answered),
                cmocka_unit_test(raw_needs_no_leave),
                cmocka_unit_test(status_names_all),
                cmocka_unit_test(values_do_not_go_there),
                cmocka_unit_test(the_same_id_twice_is_two_commands),
                cmocka_unit_test(who_hangs_up_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
