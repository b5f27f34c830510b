/* SPDX-License-Identifier: MIT */
/* What a server sends, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/codec/mqtt_encode.h"

#define ASSERT_SENT(out, n, ...)                                  \
        do {                                                      \
                static const uint8_t want_[] = { __VA_ARGS__ };   \
                assert_int_equal((n), sizeof(want_));             \
                assert_memory_equal((out), want_, sizeof(want_)); \
        } while (0)

#define CONNACK_NOTHING \
        .session_expiry_s = MQTT_CONNACK_NO_EXPIRY, .max_qos = 2, .server_keepalive_s = UINT32_MAX

static struct mqtt_bytes bytes_of(const char *text)
{
        return (struct mqtt_bytes){ (const uint8_t *)text, strlen(text) };
}

static void test_connack(void **state)
{
        struct mqtt_connack plain = { CONNACK_NOTHING, .session_present = true };
        struct mqtt_connack rich = { CONNACK_NOTHING, .assigned_id = bytes_of("x"), .receive_max = 20 };
        struct mqtt_connack refused = { CONNACK_NOTHING, .reason = MQTT_BAD_CREDENTIALS,
                                        .session_present = true };
        uint8_t out[64];

        (void)state;
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V311, &plain), 0x20, 2, 1, 0);
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V31, &plain), 0x20, 2, 0, 0);
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V5, &plain), 0x20, 3, 1, 0, 0);
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V5, &rich), 0x20, 10, 0, 0, 7, 0x12, 0, 1,
                    'x', 0x21, 0, 20);
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V311, &refused), 0x20, 2, 0, 4);
        ASSERT_SENT(out, mqtt_encode_connack(out, sizeof(out), MQTT_V5, &refused), 0x20, 3, 0, 0x86, 0);
        assert_int_equal(mqtt_encode_connack(out, 3, MQTT_V5, &refused), 0);
}

static void test_acknowledgements(void **state)
{
        uint8_t out[16];

        (void)state;
        ASSERT_SENT(out, mqtt_encode_ack(out, sizeof(out), MQTT_V5, MQTT_PUBACK, 0x102, 0), 0x40, 2, 1, 2);
        ASSERT_SENT(out, mqtt_encode_ack(out, sizeof(out), MQTT_V5, MQTT_PUBACK, 3, 0x10), 0x40, 3, 0, 3,
                    0x10);
        ASSERT_SENT(out, mqtt_encode_ack(out, sizeof(out), MQTT_V311, MQTT_PUBREC, 3, 0x10), 0x50, 2, 0, 3);
        ASSERT_SENT(out, mqtt_encode_ack(out, sizeof(out), MQTT_V311, MQTT_PUBREL, 3, 0), 0x62, 2, 0, 3);
        assert_int_equal(mqtt_encode_ack(out, 3, MQTT_V311, MQTT_PUBREL, 3, 0), 0);
}

static void test_suback_and_unsuback(void **state)
{
        static const uint8_t reasons[] = { 0, 2, MQTT_NOT_AUTHORISED };
        uint8_t out[16];

        (void)state;
        ASSERT_SENT(out, mqtt_encode_suback(out, sizeof(out), MQTT_V311, MQTT_SUBACK, 9, reasons, 3), 0x90, 5,
                    0, 9, 0, 2, 0x80);
        ASSERT_SENT(out, mqtt_encode_suback(out, sizeof(out), MQTT_V5, MQTT_SUBACK, 9, reasons, 3), 0x90, 6,
                    0, 9, 0, 0, 2, 0x87);
        ASSERT_SENT(out, mqtt_encode_suback(out, sizeof(out), MQTT_V311, MQTT_UNSUBACK, 9, reasons, 3), 0xB0,
                    2, 0, 9);
        ASSERT_SENT(out, mqtt_encode_suback(out, sizeof(out), MQTT_V5, MQTT_UNSUBACK, 9, reasons, 1), 0xB0, 4,
                    0, 9, 0, 0);
}

static void test_disconnect_and_pingresp(void **state)
{
        uint8_t out[4];

        (void)state;
        ASSERT_SENT(out, mqtt_encode_disconnect(out, sizeof(out), MQTT_V5, MQTT_TAKEN_OVER), 0xE0, 1, 0x8E);
        assert_int_equal(mqtt_encode_disconnect(out, sizeof(out), MQTT_V311, MQTT_TAKEN_OVER), 0);
        ASSERT_SENT(out, mqtt_encode_pingresp(out, sizeof(out)), 0xD0, 0);
}

static void test_publish_head(void **state)
{
        static const uint32_t ids[] = { 1, 200 };
        struct mqtt_publish_head p = {
                .qos = 1, .packet_id = 7, .retain = true, .topic = bytes_of("a"), .n_payload = 3
        };
        uint8_t out[64];

        (void)state;
        ASSERT_SENT(out, mqtt_encode_publish_head(out, sizeof(out), MQTT_V311, &p), 0x33, 8, 0, 1, 'a', 0, 7);
        ASSERT_SENT(out, mqtt_encode_publish_head(out, sizeof(out), MQTT_V5, &p), 0x33, 9, 0, 1, 'a', 0, 7,
                    0);
        p.sub_ids = ids;
        p.n_sub_ids = 2;
        p.alias = 5;
        p.has_expiry = true;
        p.expiry_s = 258;
        p.properties = bytes_of("\x01\x01");
        ASSERT_SENT(out, mqtt_encode_publish_head(out, sizeof(out), MQTT_V5, &p), 0x33, 24, 0, 1, 'a', 0, 7,
                    15, 0x02, 0, 0, 1, 2, 0x23, 0, 5, 0x0B, 1, 0x0B, 0xC8, 1, 1, 1);
        p.n_payload = MQTT_REMAINING_MAX;
        assert_int_equal(mqtt_encode_publish_head(out, sizeof(out), MQTT_V5, &p), 0);
}

static void test_length_needs_one_to_four_bytes(void **state)
{
        static const struct {
                size_t n_payload, n_head;
        } rows[] = { { 124, 5 }, { 125, 6 }, { 16380, 6 }, { 16381, 7 }, { 2097148, 7 }, { 2097149, 8 } };
        struct mqtt_publish_head p = { .topic = bytes_of("a") };
        uint8_t out[16];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct mqtt_frame f;

                p.n_payload = rows[i].n_payload;
                assert_int_equal(mqtt_encode_publish_head(out, sizeof(out), MQTT_V311, &p), rows[i].n_head);
                assert_int_equal(mqtt_frame(out, rows[i].n_head, MQTT_V5, &f), 0);
                assert_int_equal(f.n_total, rows[i].n_head + rows[i].n_payload);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_connack),
                cmocka_unit_test(test_acknowledgements),
                cmocka_unit_test(test_suback_and_unsuback),
                cmocka_unit_test(test_disconnect_and_pingresp),
                cmocka_unit_test(test_publish_head),
                cmocka_unit_test(test_length_needs_one_to_four_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
