/* SPDX-License-Identifier: MIT */
/* Raw requests by MQTT: what they become, and what is answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define SET "gw/bus/b/raw/set"

static struct rig *rig_raw(const char *more)
{
        char text[512];

        (void)snprintf(
                text, sizeof(text),
                "gateway = { name = \"gw\"; command_max_bytes = 600; };\n"
                "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; %s\n"
                "  devices = ( { name = \"dev\"; unit_id = 1; points = ( { name = \"p\"; holding = 0; } ); "
                "} ); } );\n",
                more);
        return rig_new(text);
}

static struct bus_raw *take(struct rig *r)
{
        struct mail *mail = mailbox_take(r->boxes[0]);

        if (!mail)
                return NULL;
        assert_int_equal(mail->kind, BUS_MAIL_RAW);
        return CONTAINER_OF(mail, struct bus_raw, mail);
}

/* The bus answers with these bytes. */
static void answer(struct rig *r, struct bus_raw *raw, enum bus_outcome outcome, const uint8_t *bytes,
                   size_t n)
{
        struct bus_raw_result *result;

        assert_int_equal(bus_raw_result_new(raw, outcome, &result), 0);
        if (outcome == BUS_RESULT_EXCEPTION)
                result->exception = bytes[0];
        else if (n > 0)
                memcpy(result->reply.bytes, bytes, n);
        result->reply.n_bytes = outcome == BUS_RESULT_OK ? n : 0;
        mail_free(&raw->mail);
        fake_loop_advance(r->loop, 1500);
        gateway_on_bus_mail(r->gateway, &result->mail);
}

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void every_form(void **state)
{
        static const struct {
                const char *payload;
                const char *hex; /* unit and PDU */
        } cases[] = {
                { "0A 03 0000 0002", "0a0300000002" },
                { " 0a:03,00\t00\r\n00 02 ", "0a0300000002" },
                { "0A2B0E0100", "0a2b0e0100" },
                { "{\"bytes\":\"F8 03 00 00 00 00\"}", "f80300000000" }, /* bytes go as they are */
                { "{\"unit\":10,\"function\":3,\"address\":7,\"count\":2}", "0a0300070002" },
                { "{\"unit\":10,\"function\":1,\"address\":7}", "0a0100070001" },
                { "{\"unit\":10,\"function\":5,\"address\":7,\"value\":true}", "0a050007ff00" },
                { "{\"unit\":10,\"function\":5,\"address\":7,\"value\":0}", "0a0500070000" },
                { "{\"unit\":10,\"function\":6,\"address\":7,\"value\":-1}", "0a060007ffff" },
                { "{\"unit\":10,\"function\":15,\"address\":0,\"values\":[1,0,true,false,0,0,0,0,1]}",
                  "0a0f00000009020501" },
                { "{\"unit\":10,\"function\":16,\"address\":1,\"values\":[258,3]}",
                  "0a10000100020401020003" },
                { "{\"unit\":10,\"function\":16,\"address\":1,\"value\":258}", "0a1000010001020102" },
                { "{\"unit\":10,\"function\":22,\"address\":4,\"and_mask\":242,\"or_mask\":37}",
                  "0a16000400f20025" },
                { "{\"unit\":10,\"function\":23,\"address\":3,\"count\":2,\"write_address\":9,\"values\":[1]"
                  "}",
                  "0a170003000200090001020001" },
                { "{\"unit\":10,\"function\":17}", "0a11" },
                { "{\"unit\":0,\"function\":100,\"data\":\"01 02\"}", "00640102" },
                { "{\"unit\":255,\"function\":8,\"data\":\"0000 A537\"}", "ff080000a537" },
        };
        struct rig *r = rig_raw("raw = true;");

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char hex[600];
                struct bus_raw *raw;
                size_t n;

                rig_command(r, SET, cases[i].payload);
                raw = take(r);
                if (!raw) {
                        fail_msg("%s: %s", cases[i].payload,
                                 (const char *)r->links[0]->published[0]->payload);
                        break;
                }
                n = (size_t)snprintf(hex, sizeof(hex), "%02x", raw->unit);
                for (size_t k = 0; k < raw->pdu.n_bytes; k++)
                        n += (size_t)snprintf(hex + n, sizeof(hex) - n, "%02x", raw->pdu.bytes[k]);
                assert_string_equal(hex, cases[i].hex);
                assert_int_equal(raw->raw_class, BUS_RAW_COMMAND);
                assert_int_equal(raw->timeout_ms, 500);
                assert_true(raw->deadline_us > raw->posted_us && raw->posted_us == loop_now_us(r->loop));
                answer(r, raw, BUS_RESULT_STOPPED, NULL, 0);
        }
        rig_free(r);
}

static void what_cannot_be_read(void **state)
{
        static const char *const payloads[] = {
                "",
                "0A",
                "0A 0",
                "0A 03 0G",
                "0A 83 02",
                "0A 00",
                "{",
                "{}",
                "{\"unit\":10}",
                "{\"unit\":256,\"function\":3,\"address\":0}",
                "{\"unit\":10,\"function\":128,\"data\":\"\"}",
                "{\"unit\":10,\"function\":3}",
                "{\"unit\":10,\"function\":3,\"address\":65536}",
                "{\"unit\":10,\"function\":3,\"address\":65535,\"count\":2}",
                "{\"unit\":10,\"function\":3,\"address\":0,\"count\":126}",
                "{\"unit\":10,\"function\":3,\"address\":0,\"count\":99999999999}",
                "{\"unit\":10,\"function\":6,\"address\":0}",
                "{\"unit\":10,\"function\":6,\"address\":0,\"value\":65536}",
                "{\"unit\":10,\"function\":6,\"address\":0,\"value\":\"7\"}",
                "{\"unit\":10,\"function\":6,\"address\":0,\"values\":[1,2]}",
                "{\"unit\":10,\"function\":6,\"address\":0,\"value\":1,\"values\":[1]}",
                "{\"unit\":10,\"function\":16,\"address\":0,\"values\":[]}",
                "{\"unit\":10,\"function\":22,\"address\":0,\"and_mask\":1}",
                "{\"unit\":10,\"function\":43}",
                "{\"unit\":10,\"function\":43,\"data\":\"0E0\"}",
                "{\"unit\":10,\"function\":3,\"addres\":0}",
                "{\"unit\":\"10\",\"function\":3,\"address\":0}",
                "[1]",
        };
        struct rig *r = rig_raw("raw = true;");
        char text[1024];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
                const struct message *m;

                rig_command(r, SET, payloads[i]);
                assert_null(take(r));
                m = fake_link_last(r->links[0], "gw/bus/b/raw/result");
                assert_non_null(m);
                if (!strstr(m->payload, "\"ok\":false") ||
                    !(strstr(m->payload, "unreadable: ") || strstr(m->payload, "out of range: ")))
                        fail_msg("%s: %s", payloads[i], (const char *)m->payload);
                fake_link_clear(r->links[0]);
        }
        memset(text, '0', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        rig_command(r, SET, text);
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload, "too long"));
        text[510] = '\0'; /* 255 bytes */
        memcpy(text, "0103", 4);
        rig_command(r, SET, text);
        assert_null(take(r));
        text[508] = '\0';
        rig_command(r, SET, text);
        answer(r, take(r), BUS_RESULT_TIMEOUT, NULL, 0);
        rig_free(r);
}

static void answers(void **state)
{
        struct rig *r = rig_raw("raw = true;");

        (void)state;
        rig_command(r, SET, "{\"unit\":10,\"function\":3,\"address\":7,\"count\":2,\"id\":[7]}");
        answer(r, take(r), BUS_RESULT_OK, BYTES(3, 4, 0, 215, 1, 0xC2));
        rig_expect(
                r, 0,
                "gw/bus/b/raw/result {\"ok\":true,\"value\":{\"unit\":10,\"function\":3,\"bytes\":\"0A 03 04 "
                "00 D7 01 C2\",\"values\":[215,450]},\"error\":null,\"exception\":null,\"latency_ms\":1.5,"
                "\"id\":[7]}",
                NULL);
        rig_command(r, SET, "0A 01 0000 0003");
        answer(r, take(r), BUS_RESULT_OK, BYTES(1, 1, 5));
        rig_expect(
                r, 0,
                "gw/bus/b/raw/result {\"ok\":true,\"value\":{\"unit\":10,\"function\":1,\"bytes\":\"0A 01 01 "
                "05\",\"values\":[1,0,1]},\"error\":null,\"exception\":null,\"latency_ms\":1.5}",
                NULL);
        rig_command(r, SET, "0A 17 0000 0001 0000 0001 02 0009");
        answer(r, take(r), BUS_RESULT_OK, BYTES(23, 2, 0, 8));
        rig_expect(r, 0,
                   "gw/bus/b/raw/result {\"ok\":true,\"value\":{\"unit\":10,\"function\":23,\"bytes\":\"0A "
                   "17 02 "
                   "00 08\",\"values\":[8]},\"error\":null,\"exception\":null,\"latency_ms\":1.5}",
                   NULL);
        rig_command(r, SET, "00 06 0000 0001");
        answer(r, take(r), BUS_RESULT_OK, NULL, 0);
        rig_expect(r, 0,
                   "gw/bus/b/raw/result {\"ok\":true,\"value\":{\"unit\":0,\"function\":6,\"bytes\":null},"
                   "\"error\":null,\"exception\":null,\"latency_ms\":1.5}",
                   NULL);
        rig_command(r, SET, "0A 64");
        answer(r, take(r), BUS_RESULT_EXCEPTION, BYTES(1));
        rig_expect(r, 0,
                   "gw/bus/b/raw/result {\"ok\":false,\"value\":null,\"error\":\"exception 1: illegal "
                   "function\","
                   "\"exception\":1,\"latency_ms\":1.5}",
                   NULL);
        rig_command(r, SET, "0A 64");
        answer(r, take(r), BUS_RESULT_TIMEOUT, NULL, 0);
        rig_expect(
                r, 0,
                "gw/bus/b/raw/result {\"ok\":false,\"value\":null,\"error\":\"no reply\",\"exception\":null,"
                "\"latency_ms\":1.5}",
                NULL);
        rig_free(r);
}

/* Two thousand bits are too many to be listed; the answer still comes whole. */
static void the_longest_answer(void **state)
{
        struct rig *r = rig_raw("raw = true;");
        uint8_t reply[252] = { 1, 250 };
        const char *text;

        (void)state;
        rig_command(r, SET, "{\"unit\":10,\"function\":1,\"address\":0,\"count\":2000}");
        answer(r, take(r), BUS_RESULT_OK, reply, sizeof(reply));
        text = fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload;
        assert_non_null(strstr(text, "\"ok\":true"));
        assert_non_null(strstr(text, "\"bytes\":\"0A 01 FA 00"));
        assert_null(strstr(text, "values"));
        rig_command(r, SET, "{\"unit\":10,\"function\":3,\"address\":0,\"count\":125}");
        memset(reply, 0xFF, sizeof(reply));
        reply[0] = 3;
        reply[1] = 250;
        answer(r, take(r), BUS_RESULT_OK, reply, sizeof(reply));
        text = fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload;
        assert_non_null(strstr(text, "65535,65535]}"));
        rig_free(r);
}

static void off_unless_allowed(void **state)
{
        struct rig *r = rig_raw("");

        (void)state;
        for (size_t i = 0; i < r->links[0]->n_filters; i++)
                assert_null(strstr(r->links[0]->filters[i], "raw"));
        rig_free(r);
        r = rig_raw("raw = true;");
        rig_command_retained(r, SET, "0A 03 0000 0001");
        assert_null(take(r));
        rig_free(r);
}

static void limits_and_ends(void **state)
{
        struct rig *r = rig_raw("raw = true;");
        struct mail *mail;

        (void)state;
        for (unsigned i = 0; i < 5; i++) /* the box takes four */
                rig_command(r, SET, "0A 03 0000 0001");
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload, "too many"));
        while ((mail = mailbox_take(r->boxes[0])))
                mail_free(mail);
        for (unsigned i = 0; i < 12; i++) {
                rig_command(r, SET, "0A 03 0000 0001");
                mail_free(mailbox_take(r->boxes[0]));
        }
        fake_link_clear(r->links[0]);
        rig_command(r, SET, "0A 03 0000 0001"); /* the seventeenth */
        assert_null(take(r));
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload, "too many"));
        fake_link_clear(r->links[0]);
        gateway_set_bus(r->gateway, 0, NULL);
        assert_int_equal(r->links[0]->n_published, 16);
        rig_command(r, SET, "0A 03 0000 0001");
        assert_int_equal(r->links[0]->n_published, 17);
        gateway_set_bus(r->gateway, 0, r->boxes[0]);
        fake_link_clear(r->links[0]);
        rig_command(r, SET, "0A 03 0000 0001");
        mail_free(&take(r)->mail);
        fake_loop_advance(r->loop, 600 * USEC_PER_SEC); /* an answer that is lost */
        assert_non_null(strstr(fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload, "no reply"));
        rig_command(r, SET, "0A 03 0000 0001"); /* one that is never answered */
        rig_free(r);
}

static void a_reload_is_nothing_to_who_waits(void **state)
{
        struct rig *r = rig_raw("raw = true;");
        struct bus_raw *raw;

        (void)state;
        rig_command(r, SET, "0A 03 0000 0001");
        raw = take(r);
        r->boxes[1] = r->boxes[0];
        r->boxes[0] = NULL;
        rig_reconfigure(r,
                        "gateway = { name = \"gw\"; };\nbuses = ( { name = \"a\"; port = \"/dev/ttyS1\"; },\n"
                        "  { name = \"b\"; port = \"/dev/ttyS0\"; raw = true; devices = ( { name = \"dev\"; "
                        "unit_id = 1; points = ( { name = \"p\"; holding = 0; } ); } ); } );\n");
        rig_expect_nothing(r, 0);
        answer(r, raw, BUS_RESULT_OK, BYTES(3, 2, 0, 7));
        assert_non_null(
                strstr(fake_link_last(r->links[0], "gw/bus/b/raw/result")->payload, "\"values\":[7]"));
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_form),
                cmocka_unit_test(what_cannot_be_read),
                cmocka_unit_test(answers),
                cmocka_unit_test(the_longest_answer),
                cmocka_unit_test(off_unless_allowed),
                cmocka_unit_test(limits_and_ends),
                cmocka_unit_test(a_reload_is_nothing_to_who_waits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
