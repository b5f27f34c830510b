/* SPDX-License-Identifier: MIT */
/* Without memory: each allocation of a message's way fails once. What a client gets is whole, and is never
 * named by an alias that it has not been told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"

#include "broker_private.h"
#include "broker_rig.h"

void *__real_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier): ld --wrap
void *__real_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)
void *__wrap_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier)
void *__wrap_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)

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

#define PAYLOAD_BYTES 1500 /* goes by reference */

/* PUBLISHes of this topic, or by the alias 1 once they have named it: how many. */
static unsigned expect_whole_packets(const uint8_t *bytes, size_t n)
{
        unsigned n_packets = 0;
        bool is_named = false;

        while (n > 0) {
                size_t n_body = (bytes[1] & 0x7Fu) | (size_t)bytes[2] << 7, n_topic = get_be16(bytes + 3);

                assert_int_equal(bytes[0], 0x30);
                assert_true(n >= 3 + n_body);
                assert_int_equal(bytes[3 + n_body - 1], '!');
                assert_true(n_topic == 1 || (n_topic == 0 && is_named));
                is_named |= bytes[5 + n_topic] > 0; /* properties: an alias */
                n_packets++;
                bytes += 3 + n_body;
                n -= 3 + n_body;
        }
        return n_packets;
}

/* false: nothing had to fail any more. */
static bool live(long n_allocations, unsigned *ret_packets)
{
        static const uint8_t hello_5[] = { 0x10, 0x11, 0, 4,    'M', 'Q', 'T', 'T', 5,  2,
                                           0,    0,    3, 0x22, 0,   1,   0,   1,   't' };
        static const uint8_t hello_4[] = { 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'f' };
        static const uint8_t subscribe[] = { 0x82, 7, 0, 1, 0, 0, 1, 'a', 0 };
        static uint8_t publish[3 + 3 + PAYLOAD_BYTES] = { 0x30, 0xDF, 0x0B, 0, 1, 'a' };
        struct broker_rig rig;
        bool has_failed;
        int to, from;

        publish[sizeof(publish) - 1] = '!';
        log_set_level(LOG_LEVEL_ERROR);
        broker_rig_init(&rig, "");
        to = broker_rig_connect(&rig);
        broker_rig_feed(&rig, to, hello_5, sizeof(hello_5));
        broker_rig_feed(&rig, to, subscribe, sizeof(subscribe));
        from = broker_rig_connect(&rig);
        broker_rig_feed(&rig, from, hello_4, sizeof(hello_4));
        broker_rig_clear(&rig, to);
        fail_after = n_allocations;
        broker_rig_feed(&rig, from, publish, sizeof(publish));
        has_failed = fail_after < 0;
        fail_after = -1;
        for (unsigned i = 0; i < 2; i++)
                broker_rig_feed(&rig, from, publish, sizeof(publish));
        *ret_packets = expect_whole_packets(rig.clients[to].out, rig.clients[to].n_out);
        broker_rig_done(&rig);
        return has_failed;
}

static void a_message_is_whole_or_not_there(void **state)
{
        unsigned n_packets, n_lost = 0;

        (void)state;
        for (long i = 0; live(i, &n_packets); i++) {
                assert_in_range(n_packets, 2, 3);
                n_lost += n_packets == 2;
        }
        assert_int_equal(n_packets, 3);
        assert_true(n_lost > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_message_is_whole_or_not_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
