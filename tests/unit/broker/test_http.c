/* SPDX-License-Identifier: MIT */
/* The upgrade to WebSocket: who is let in, who is told what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/macros.h"

#include "guarded.h"
#include "http.h"

#define LINE     "GET /mqtt HTTP/1.1\r\n"
#define HOST     "Host: 192.0.2.7:1884\r\n"
#define UPGRADE  "Upgrade: websocket\r\n"
#define CONNECT  "Connection: Upgrade\r\n"
#define KEY      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION  "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define END      "\r\n"

static const struct request {
        const char *text;
        int status;
} requests[] = {
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL END, 101 },
        /* what browsers and libraries send */
        { LINE "host:x\r\nupgrade:  WebSocket , h2c\r\nconnection: keep-alive, Upgrade\r\n"
               "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13 \r\n"
               "sec-websocket-protocol: soap, mqttv3.1,mqtt\r\nOrigin: http://example.com\r\n" END,
          101 },
        { "GET / HTTP/1.1\r\n" HOST UPGRADE CONNECT KEY VERSION PROTOCOL
          "Sec-WebSocket-Extensions: permessage-deflate\r\nCookie: a=b\r\nEmpty:\r\n" END,
          101 },
        { LINE HOST UPGRADE "Connection: keep-alive\r\n" CONNECT KEY VERSION
                            "Sec-WebSocket-Protocol: soap\r\n" PROTOCOL END,
          101 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "Content-Length: 0\r\n" END, 101 },
        /* a browser that only looks */
        { LINE HOST END, 426 },
        { LINE HOST CONNECT KEY VERSION PROTOCOL END, 426 },
        { LINE HOST UPGRADE KEY VERSION PROTOCOL END, 426 },
        { LINE HOST "Upgrade: websockets\r\n" CONNECT KEY VERSION PROTOCOL END, 426 },
        { LINE HOST UPGRADE CONNECT KEY PROTOCOL END, 426 },
        { LINE HOST UPGRADE CONNECT KEY "Sec-WebSocket-Version: 8\r\n" PROTOCOL END, 426 },
        { LINE HOST UPGRADE CONNECT KEY "Sec-WebSocket-Version: 130\r\n" PROTOCOL END, 426 },
        /* not correct */
        { LINE UPGRADE CONNECT KEY VERSION PROTOCOL END, 400 },
        { LINE HOST HOST UPGRADE CONNECT KEY VERSION PROTOCOL END, 400 },
        { LINE HOST UPGRADE CONNECT VERSION PROTOCOL END, 400 },
        { LINE HOST UPGRADE CONNECT KEY KEY VERSION PROTOCOL END, 400 },
        { LINE HOST UPGRADE CONNECT "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" VERSION PROTOCOL END,
          400 },
        { LINE HOST UPGRADE CONNECT "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=a\r\n" VERSION PROTOCOL END,
          400 },
        { LINE HOST UPGRADE CONNECT "Sec-WebSocket-Key: dGhl*HNhbXBsZSBub25jZQ==\r\n" VERSION PROTOCOL END,
          400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION "Sec-WebSocket-Protocol: MQTT\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION "Sec-WebSocket-Protocol: mqtt2\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION "Sec-WebSocket-Protocol:\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "Content-Length: 5\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "Transfer-Encoding: chunked\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "No colon\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL ": no name\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "Blank : x\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL " folded: x\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "X: a\rb\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "X: a\nUpgrade: b\r\n" END, 400 },
        { LINE HOST UPGRADE CONNECT KEY VERSION PROTOCOL "X: \x7F\r\n" END, 400 },
        /* not our kind of request */
        { "POST / HTTP/1.1\r\n" HOST END, 405 },
        { "HEAD / HTTP/1.1\r\n" HOST END, 405 },
        { "GET / HTTP/1.0\r\n" HOST END, 505 },
        { "GET / HTTP/2\r\n" HOST END, 505 },
        { "GET /\r\n" HOST END, 400 },
        { "GET  HTTP/1.1\r\n" HOST END, 400 },
        { "GET a b HTTP/1.1\r\n" HOST END, 400 },
        { "HELP\r\n\r\n", 400 },
};

/* Asks with more and more bytes, as they may come; the last answer is the whole one's. */
static int ask(const char *text, size_t n, struct http_upgrade *u)
{
        struct guarded room = guarded_new(HTTP_REQUEST_MAX_BYTES + 64);
        size_t n_scanned = 0, i;
        int r = 0;

        for (i = 1; i <= n && r == 0; i++) {
                r = http_take_upgrade((const char *)guarded_copy(&room, text, i), i, n_scanned, u);
                n_scanned = i;
        }
        if (r == 1)
                assert_int_equal(u->n_request, i - 1);
        guarded_done(&room);
        return r;
}

static void test_requests(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
                struct http_upgrade u;
                char line[32];
                int r = ask(requests[i].text, strlen(requests[i].text), &u);

                if (r != 1 || u.status != requests[i].status)
                        fail_msg("%s\n%d instead of %d", requests[i].text, r ? u.status : 0,
                                 requests[i].status);
                (void)snprintf(line, sizeof(line), "HTTP/1.1 %d ", requests[i].status);
                assert_int_equal(u.n_answer, strlen(u.answer));
                assert_memory_equal(u.answer, line, strlen(line));
                assert_non_null(strstr(u.answer, "\r\n\r\n"));
                assert_int_equal(u.status == 101, u.reason == NULL);
                if (u.status != 101)
                        assert_non_null(strstr(u.answer, "close\r\n"));
        }
}

/* RFC 6455 §1.3 has this key and this answer. */
static void test_answer(void **state)
{
        struct http_upgrade u;

        (void)state;
        assert_int_equal(ask(requests[0].text, strlen(requests[0].text), &u), 1);
        assert_string_equal(u.answer, "HTTP/1.1 101 Switching Protocols\r\n"
                                      "Upgrade: websocket\r\n"
                                      "Connection: Upgrade\r\n"
                                      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                      "Sec-WebSocket-Protocol: mqtt\r\n"
                                      "\r\n");
}

/* "mqtt" whatever else is offered (MQTT-6.0.0-4), also in several lines; 3.1's name for who knows no other.
 */
static void test_protocols(void **state)
{
        static const struct {
                const char *offered, *chosen;
        } cases[] = {
                { "mqttv3.1, mqtt", "mqtt" },
                { "mqtt,mqttv3.1", "mqtt" },
                { "mqttv3.1\r\nSec-WebSocket-Protocol: mqtt", "mqtt" },
                { "mqtt\r\nSec-WebSocket-Protocol: mqttv3.1", "mqtt" },
                { "a, , mqttv3.1", "mqttv3.1" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[512], line[64];
                struct http_upgrade u;
                int n = snprintf(text, sizeof(text), "%sSec-WebSocket-Protocol: %s\r\n\r\n",
                                 LINE HOST UPGRADE CONNECT KEY VERSION, cases[i].offered);

                assert_int_equal(ask(text, (size_t)n, &u), 1);
                (void)snprintf(line, sizeof(line), "\r\nSec-WebSocket-Protocol: %s\r\n", cases[i].chosen);
                assert_non_null(strstr(u.answer, line));
        }
}

/* RFC 9110 §15.5.22, §7.8: 426 says what is wanted instead. */
static void test_upgrade_required(void **state)
{
        static const char text[] = LINE HOST END;
        struct http_upgrade u;

        (void)state;
        assert_int_equal(ask(text, sizeof(text) - 1, &u), 1);
        assert_non_null(strstr(u.answer, "\r\nConnection: Upgrade, close\r\n"));
        assert_non_null(strstr(u.answer, "\r\nUpgrade: websocket\r\n"));
        assert_non_null(strstr(u.answer, "\r\nSec-WebSocket-Version: 13\r\n"));
        assert_non_null(strstr(u.answer, "sub-protocol mqtt.\n"));
}

static void test_long(void **state)
{
        static char text[HTTP_REQUEST_MAX_BYTES + 64];
        struct http_upgrade u;
        size_t n = strlen(LINE "X: ");

        (void)state;
        memset(text, 'a', sizeof(text));
        memcpy(text, LINE "X: ", n);
        assert_int_equal(http_take_upgrade(text, HTTP_REQUEST_MAX_BYTES - 1, 0, &u), 0);
        assert_int_equal(http_take_upgrade(text, HTTP_REQUEST_MAX_BYTES, 0, &u), 1);
        assert_int_equal(u.status, 431);
        /* as long as it may be */
        memcpy(text + HTTP_REQUEST_MAX_BYTES - 4, "\r\n\r\n", 4);
        assert_int_equal(http_take_upgrade(text, HTTP_REQUEST_MAX_BYTES, 0, &u), 1);
        assert_int_equal(u.status, 400);
        /* and one byte longer */
        memcpy(text + HTTP_REQUEST_MAX_BYTES - 4, "a\r\n\r\n", 5);
        assert_int_equal(http_take_upgrade(text, HTTP_REQUEST_MAX_BYTES + 1, 0, &u), 1);
        assert_int_equal(u.status, 431);
}

/* MQTT or TLS without WebSocket is told at once, not after the time for CONNECT. */
static void test_no_http(void **state)
{
        struct http_upgrade u;

        (void)state;
        assert_int_equal(ask("\x10\x0e\x00\x04MQTT", 8, &u), 1);
        assert_int_equal(u.status, 400);
        assert_int_equal(ask("\x16\x03\x01", 3, &u), 1);
        assert_int_equal(u.status, 400);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_requests),  cmocka_unit_test(test_answer),
                cmocka_unit_test(test_protocols), cmocka_unit_test(test_upgrade_required),
                cmocka_unit_test(test_long),      cmocka_unit_test(test_no_http),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
