/* SPDX-License-Identifier: MIT */
/* Packets as bytes, one rule of the specification a test; then every truncation and random bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"
#include "mbgate/codec/mqtt.h"

#define FRAME(f, ...)                                       \
        static const uint8_t f##_bytes[] = { __VA_ARGS__ }; \
        struct mqtt_frame f;                                \
        assert_int_equal(mqtt_frame(f##_bytes, sizeof(f##_bytes), MQTT_V311, &f), 1)

#define V31_HEAD  0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3
#define V311_HEAD 0, 4, 'M', 'Q', 'T', 'T', 4
#define V5_HEAD   0, 4, 'M', 'Q', 'T', 'T', 5

static void assert_bytes(struct mqtt_bytes b, const char *text)
{
        assert_int_equal(b.n, strlen(text));
        assert_memory_equal(b.data, text, b.n);
}

static void test_frame_needs_more_bytes(void **state)
{
        static const uint8_t bytes[] = { 0x30, 0x80, 0x01 };
        struct mqtt_frame f;

        (void)state;
        assert_int_equal(mqtt_frame(bytes, 0, MQTT_V311, &f), 0);
        assert_int_equal(mqtt_frame(bytes, 1, MQTT_V311, &f), 0);
        assert_int_equal(mqtt_frame(bytes, 2, MQTT_V311, &f), 0);
        assert_int_equal(f.n_total, 0);
        assert_int_equal(mqtt_frame(bytes, 3, MQTT_V311, &f), 0);
        assert_int_equal(f.n_total, 3 + 128);
}

static void test_frame_length_has_at_most_four_bytes_in_shortest_form(void **state)
{
        static const uint8_t five[] = { 0x30, 0x80, 0x80, 0x80, 0x80, 0x01 };
        static const uint8_t longer[] = { 0x30, 0x80, 0x00 };
        static const uint8_t largest[] = { 0x30, 0xFF, 0xFF, 0xFF, 0x7F };
        struct mqtt_frame f;

        (void)state;
        assert_true(mqtt_frame(five, sizeof(five), MQTT_V311, &f) < 0);
        assert_true(mqtt_frame(longer, sizeof(longer), MQTT_V311, &f) < 0);
        assert_int_equal(mqtt_frame(largest, sizeof(largest), MQTT_V311, &f), 0);
        assert_int_equal(f.n_total, 5 + (size_t)MQTT_REMAINING_MAX);
}

static void test_frame_flags_must_fit_the_type(void **state)
{
        (void)state;
        for (unsigned first = 0; first < 256; first++) {
                uint8_t bytes[] = { (uint8_t)first, 0 };
                unsigned type = first >> 4, flags = first & 15;
                bool two = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
                bool any = type == MQTT_PUBLISH || type == MQTT_CONNECT;
                bool right = any || (type != 0 && flags == (two ? 2u : 0u));
                bool right_31 = two ? (flags & 6) == 2 : type != 0; /* sent again, or not used */
                struct mqtt_frame f;

                assert_int_equal(mqtt_frame(bytes, 1, MQTT_V5, &f) == -EPROTO, type == 0);
                assert_int_equal(mqtt_frame(bytes, 2, MQTT_V311, &f) == 1, right);
                assert_int_equal(mqtt_frame(bytes, 2, MQTT_V5, &f) == 1, right);
                assert_int_equal(mqtt_frame(bytes, 2, MQTT_V31, &f) == 1, right_31);
        }
}

static void test_connect_v311_with_everything(void **state)
{
        struct mqtt_connect k;

        (void)state;
        FRAME(f, 0x10, 32, V311_HEAD, 0xF6, 0, 60, 0, 2, 'i', 'd', 0, 3, 'w', '/', 't', 0, 2, 'w', 'p', 0, 2,
              'u', 's', 0, 3, 'p', 0, 'w');
        assert_int_equal(mqtt_decode_connect(&f, &k), 0);
        assert_int_equal(k.version, MQTT_V311);
        assert_true(k.clean && k.has_will && k.will_retain);
        assert_int_equal(k.will_qos, 2);
        assert_int_equal(k.keepalive_s, 60);
        assert_bytes(k.client_id, "id");
        assert_bytes(k.will_topic, "w/t");
        assert_bytes(k.will_payload, "wp");
        assert_bytes(k.username, "us");
        assert_int_equal(k.password.n, 3);
}

static void test_connect_v5_properties(void **state)
{
        struct mqtt_connect k;

        (void)state;
        FRAME(f, 0x10, 26, V5_HEAD, 2, 0, 0, 13, 0x11, 0, 0, 1, 0, 0x21, 0, 7, 0x27, 0, 1, 0, 0, 0, 0);
        assert_int_equal(f.n_body, 26);
        assert_int_equal(mqtt_decode_connect(&f, &k), 0);
        assert_int_equal(k.properties.session_expiry_s, 256);
        assert_int_equal(k.properties.receive_max, 7);
        assert_int_equal(k.properties.max_packet_bytes, 65536);
        assert_true(k.properties.want_problem_information);
        assert_int_equal(k.client_id.n, 0);
}

static void test_connect_faults(void **state)
{
        struct mqtt_connect k;

        (void)state;
        FRAME(level, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&level, &k), MQTT_BAD_VERSION);
        assert_int_equal(k.version, MQTT_V311); /* the words of the answer */
        FRAME(name, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'Q', 4, 2, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&name, &k), MQTT_BAD_VERSION);
        FRAME(reserved, 0x10, 12, V311_HEAD, 3, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&reserved, &k), MQTT_MALFORMED);
        FRAME(will_qos, 0x10, 12, V311_HEAD, 0x0A, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&will_qos, &k), MQTT_MALFORMED);
        FRAME(password_only, 0x10, 15, V311_HEAD, 0x42, 0, 0, 0, 0, 0, 1, 'x');
        assert_int_equal(mqtt_decode_connect(&password_only, &k), MQTT_MALFORMED);
        FRAME(rest, 0x10, 13, V311_HEAD, 2, 0, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&rest, &k), MQTT_MALFORMED);
        FRAME(twice, 0x10, 19, V5_HEAD, 2, 0, 0, 6, 0x21, 0, 7, 0x21, 0, 7, 0, 0);
        assert_int_equal(mqtt_decode_connect(&twice, &k), MQTT_PROTOCOL_ERROR);
        FRAME(zero_receive_max, 0x10, 16, V5_HEAD, 2, 0, 0, 3, 0x21, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&zero_receive_max, &k), MQTT_PROTOCOL_ERROR);
        FRAME(not_here, 0x10, 16, V5_HEAD, 2, 0, 0, 3, 0x23, 0, 1, 0, 0);
        assert_int_equal(mqtt_decode_connect(&not_here, &k), MQTT_MALFORMED); /* §2.2.2.2 */
        FRAME(of_server, 0x10, 16, V5_HEAD, 2, 0, 0, 3, 0x13, 0, 1, 0, 0);
        assert_int_equal(mqtt_decode_connect(&of_server, &k), MQTT_MALFORMED);
        FRAME(flags, 0x12, 12, V311_HEAD, 2, 0, 0, 0, 0);
        assert_int_equal(mqtt_decode_connect(&flags, &k), MQTT_MALFORMED);
        FRAME(utf8, 0x10, 14, V311_HEAD, 2, 0, 0, 0, 2, 0xC0, 0x80);
        assert_int_equal(mqtt_decode_connect(&utf8, &k), MQTT_MALFORMED);
}

static void test_connect_will_faults(void **state)
{
        struct mqtt_connect k;

        (void)state;
        FRAME(wild, 0x10, 18, V311_HEAD, 6, 0, 0, 0, 0, 0, 2, 'a', '+', 0, 0);
        assert_int_equal(mqtt_decode_connect(&wild, &k), MQTT_MALFORMED);
        FRAME(answer, 0x10, 23, V5_HEAD, 6, 0, 0, 0, 0, 0, 4, 0x08, 0, 1, '#', 0, 1, 'a', 0, 0);
        assert_int_equal(mqtt_decode_connect(&answer, &k), MQTT_PROTOCOL_ERROR); /* MQTT-3.3.2-14 */
        FRAME(well, 0x10, 23, V5_HEAD, 6, 0, 0, 0, 0, 0, 4, 0x08, 0, 1, 'b', 0, 1, 'a', 0, 0);
        assert_int_equal(mqtt_decode_connect(&well, &k), 0);
}

/* What 3.1 leaves open: flags of the header, the lowest connect flag, and strings that a flag announces. */
static void test_connect_v31(void **state)
{
        struct mqtt_connect k;

        (void)state;
        FRAME(unused, 0x14, 15, V31_HEAD, 1, 0, 10, 0, 1, 'p');
        assert_int_equal(mqtt_decode_connect(&unused, &k), 0);
        assert_int_equal(k.version, MQTT_V31);
        assert_bytes(k.client_id, "p");
        FRAME(missing, 0x10, 15, V31_HEAD, 0xC2, 0, 10, 0, 1, 'p');
        assert_int_equal(mqtt_decode_connect(&missing, &k), 0);
        assert_null(k.username.data);
        assert_null(k.password.data);
        FRAME(no_password, 0x10, 18, V31_HEAD, 0xC2, 0, 10, 0, 1, 'p', 0, 1, 'u');
        assert_int_equal(mqtt_decode_connect(&no_password, &k), 0);
        assert_bytes(k.username, "u");
        assert_null(k.password.data);
        FRAME(half, 0x10, 16, V31_HEAD, 0x82, 0, 10, 0, 1, 'p', 0);
        assert_int_equal(mqtt_decode_connect(&half, &k), MQTT_MALFORMED);
        FRAME(later, 0x10, 13, V311_HEAD, 0x82, 0, 10, 0, 1, 'p');
        assert_int_equal(mqtt_decode_connect(&later, &k), MQTT_MALFORMED);
}

static void test_publish(void **state)
{
        struct mqtt_publish p;

        (void)state;
        FRAME(f, 0x3B, 10, 0, 3, 'a', '/', 'b', 0, 9, 'x', 'y', 'z');
        assert_int_equal(mqtt_decode_publish(&f, MQTT_V311, &p), 0);
        assert_true(p.dup && p.retain);
        assert_int_equal(p.qos, 1);
        assert_int_equal(p.packet_id, 9);
        assert_bytes(p.topic, "a/b");
        assert_bytes(p.payload, "xyz");
        FRAME(qos3, 0x36, 5, 0, 1, 'a', 0, 1);
        assert_int_equal(mqtt_decode_publish(&qos3, MQTT_V311, &p), MQTT_MALFORMED);
        FRAME(dup0, 0x38, 3, 0, 1, 'a');
        assert_int_equal(mqtt_decode_publish(&dup0, MQTT_V311, &p), MQTT_MALFORMED);
        FRAME(id0, 0x32, 5, 0, 1, 'a', 0, 0);
        assert_int_equal(mqtt_decode_publish(&id0, MQTT_V311, &p), MQTT_PROTOCOL_ERROR);
        FRAME(wild, 0x30, 3, 0, 1, '#');
        assert_int_equal(mqtt_decode_publish(&wild, MQTT_V311, &p), MQTT_MALFORMED);
        FRAME(empty, 0x30, 3, 0, 0, 0);
        assert_int_equal(mqtt_decode_publish(&empty, MQTT_V5, &p), MQTT_PROTOCOL_ERROR);
        FRAME(alias, 0x30, 6, 0, 0, 3, 0x23, 0, 5);
        assert_int_equal(mqtt_decode_publish(&alias, MQTT_V5, &p), 0);
        assert_int_equal(p.properties.alias, 5);
        FRAME(sub_id, 0x30, 6, 0, 1, 'a', 2, 0x0B, 1);
        assert_int_equal(mqtt_decode_publish(&sub_id, MQTT_V5, &p), MQTT_PROTOCOL_ERROR); /* MQTT-3.3.4-6 */
        FRAME(sub_id_cut, 0x30, 6, 0, 1, 'a', 2, 0x0B, 0x80);
        assert_int_equal(mqtt_decode_publish(&sub_id_cut, MQTT_V5, &p), MQTT_MALFORMED);
        FRAME(of_connect, 0x30, 9, 0, 1, 'a', 5, 0x11, 0, 0, 0, 1);
        assert_int_equal(mqtt_decode_publish(&of_connect, MQTT_V5, &p), MQTT_MALFORMED);
}

static void test_acknowledgements(void **state)
{
        struct mqtt_ack a;

        (void)state;
        FRAME(plain, 0x40, 2, 1, 2);
        assert_int_equal(mqtt_decode_ack(&plain, MQTT_V5, &a), 0);
        assert_int_equal(a.packet_id, 0x102);
        FRAME(reason, 0x50, 3, 1, 2, 0x87);
        assert_int_equal(mqtt_decode_ack(&reason, MQTT_V5, &a), 0);
        assert_int_equal(a.reason, MQTT_NOT_AUTHORISED);
        assert_int_equal(mqtt_decode_ack(&reason, MQTT_V311, &a), MQTT_MALFORMED);
        FRAME(unknown, 0x40, 3, 1, 2, 0x01);
        assert_int_equal(mqtt_decode_ack(&unknown, MQTT_V5, &a), MQTT_PROTOCOL_ERROR);
        FRAME(release, 0x62, 3, 1, 2, 0x92);
        assert_int_equal(mqtt_decode_ack(&release, MQTT_V5, &a), 0);
        FRAME(zero, 0x40, 2, 0, 0);
        assert_int_equal(mqtt_decode_ack(&zero, MQTT_V5, &a), MQTT_PROTOCOL_ERROR);
}

static void test_disconnect_and_auth(void **state)
{
        struct mqtt_ack a;

        (void)state;
        FRAME(empty, 0xE0, 0);
        assert_int_equal(mqtt_decode_disconnect(&empty, MQTT_V311, &a), 0);
        FRAME(expiry, 0xE0, 7, 4, 5, 0x11, 0, 0, 0, 9);
        assert_int_equal(mqtt_decode_disconnect(&expiry, MQTT_V5, &a), 0);
        assert_int_equal(a.reason, MQTT_DISCONNECT_WITH_WILL);
        assert_int_equal(a.properties.session_expiry_s, 9);
        FRAME(server_only, 0xE0, 1, 0x8E);
        assert_int_equal(mqtt_decode_disconnect(&server_only, MQTT_V5, &a), MQTT_PROTOCOL_ERROR);
        FRAME(reference, 0xE0, 6, 0, 4, 0x1C, 0, 1, 'p');
        assert_int_equal(mqtt_decode_disconnect(&reference, MQTT_V5, &a), 0);
        FRAME(auth, 0xF0, 1, 0x18);
        assert_int_equal(mqtt_decode_disconnect(&auth, MQTT_V5, &a), 0);
}

static void test_subscribe(void **state)
{
        struct mqtt_subscribe s;
        struct mqtt_filter filter;

        (void)state;
        FRAME(f, 0x82, 16, 0, 7, 2, 0x0B, 3, 0, 3, 'a', '/', '#', 0x2D, 0, 1, '+', 2, 0);
        (void)f;
        FRAME(g, 0x82, 15, 0, 7, 2, 0x0B, 3, 0, 3, 'a', '/', '#', 0x2D, 0, 1, '+', 2);
        assert_int_equal(mqtt_decode_subscribe(&g, MQTT_V5, &s), 0);
        assert_int_equal(s.properties.subscription_id, 3);
        assert_int_equal(mqtt_next_filter(&s, true, &filter), 1);
        assert_bytes(filter.filter, "a/#");
        assert_int_equal(filter.qos, 1);
        assert_true(filter.no_local && filter.retain_as_published);
        assert_int_equal(filter.retain_handling, 2);
        assert_int_equal(mqtt_next_filter(&s, true, &filter), 1);
        assert_bytes(filter.filter, "+");
        assert_int_equal(mqtt_next_filter(&s, true, &filter), 0);
        assert_int_equal(mqtt_decode_subscribe(&f, MQTT_V5, &s), MQTT_MALFORMED);
}

static void test_subscribe_faults(void **state)
{
        struct mqtt_subscribe s;

        (void)state;
        FRAME(id0, 0x82, 6, 0, 0, 0, 1, 'a', 0);
        assert_int_equal(mqtt_decode_subscribe(&id0, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(none, 0x82, 2, 0, 7);
        assert_int_equal(mqtt_decode_subscribe(&none, MQTT_V311, &s), MQTT_PROTOCOL_ERROR);
        FRAME(qos3, 0x82, 6, 0, 7, 0, 1, 'a', 3);
        assert_int_equal(mqtt_decode_subscribe(&qos3, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(options, 0x82, 6, 0, 7, 0, 1, 'a', 4);
        assert_int_equal(mqtt_decode_subscribe(&options, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(handling, 0x82, 7, 0, 7, 0, 0, 1, 'a', 0x30);
        assert_int_equal(mqtt_decode_subscribe(&handling, MQTT_V5, &s), MQTT_PROTOCOL_ERROR);
        FRAME(wild, 0x82, 8, 0, 7, 0, 3, 'a', '#', 'b', 0);
        assert_int_equal(mqtt_decode_subscribe(&wild, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(empty, 0x82, 5, 0, 7, 0, 0, 0);
        assert_int_equal(mqtt_decode_subscribe(&empty, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(share, 0x82, 14, 0, 7, 0, 9, '$', 's', 'h', 'a', 'r', 'e', '/', '/', 'a', 0);
        assert_int_equal(mqtt_decode_subscribe(&share, MQTT_V311, &s), MQTT_PROTOCOL_ERROR);
        FRAME(in_name, 0x82, 15, 0, 7, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', '#', '/', 'a', 0);
        assert_int_equal(mqtt_decode_subscribe(&in_name, MQTT_V311, &s), MQTT_MALFORMED);
        FRAME(no_local, 0x82, 16, 0, 7, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'a', 4);
        assert_int_equal(mqtt_decode_subscribe(&no_local, MQTT_V5, &s), MQTT_PROTOCOL_ERROR);
}

/* Decodes whatever it is, in both versions, and walks the filters. */
static void decode_anything(const uint8_t *bytes, size_t n)
{
        static const enum mqtt_version versions[] = { MQTT_V31, MQTT_V311, MQTT_V5 };
        struct mqtt_subscribe s;
        struct mqtt_connect k;
        struct mqtt_publish p;
        struct mqtt_filter filter;
        struct mqtt_frame f;
        struct mqtt_ack a;
        int r;

        if (mqtt_frame(bytes, n, MQTT_V311, &f) != 1)
                return;
        r = mqtt_decode_connect(&f, &k);
        for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
                r |= mqtt_decode_publish(&f, versions[i], &p);
                r |= mqtt_decode_ack(&f, versions[i], &a);
                r |= mqtt_decode_disconnect(&f, versions[i], &a);
                if (mqtt_decode_subscribe(&f, versions[i], &s) == 0) {
                        while (mqtt_next_filter(&s, f.type == MQTT_SUBSCRIBE, &filter))
                                ;
                }
        }
        (void)r;
}

static void test_random_packets_never_read_too_far(void **state)
{
        struct random rnd = { 20261123 };

        (void)state;
        for (unsigned round = 0; round < 200000; round++) {
                size_t n = 2 + (size_t)random_below(&rnd, 40);
                uint8_t *bytes = malloc(n); /* exact size: ASan sees an over-read */

                assert_non_null(bytes);
                for (size_t i = 0; i < n; i++)
                        bytes[i] =
                                (uint8_t)(random_below(&rnd, 3) ? random_below(&rnd, 48) : random_next(&rnd));
                bytes[0] = (uint8_t)((1 + random_below(&rnd, 15)) << 4 | (random_below(&rnd, 2) ? 2 : 0));
                bytes[1] = (uint8_t)(n - 2);
                decode_anything(bytes, n);
                free(bytes);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_frame_needs_more_bytes),
                cmocka_unit_test(test_frame_length_has_at_most_four_bytes_in_shortest_form),
                cmocka_unit_test(test_frame_flags_must_fit_the_type),
                cmocka_unit_test(test_connect_v311_with_everything),
                cmocka_unit_test(test_connect_v5_properties),
                cmocka_unit_test(test_connect_faults),
                cmocka_unit_test(test_connect_will_faults),
                cmocka_unit_test(test_connect_v31),
                cmocka_unit_test(test_publish),
                cmocka_unit_test(test_acknowledgements),
                cmocka_unit_test(test_disconnect_and_auth),
                cmocka_unit_test(test_subscribe),
                cmocka_unit_test(test_subscribe_faults),
                cmocka_unit_test(test_random_packets_never_read_too_far),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
