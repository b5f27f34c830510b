/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/sha.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/text.h"

#include "http.h"

#define KEY_BYTES    24 /* Base64 of 16 bytes: RFC 6455 §4.1 */
#define ACCEPT_BYTES 28 /* Base64 of 20 bytes */

struct text {
        const char *at;
        size_t n;
};

/* What the header fields say; each wanted one at most once. */
struct fields {
        bool has_host, upgrades, connection_upgrades, has_key, has_version, version_is_13;
        bool is_broken;
        struct text key;
        const char *protocol; /* of those that we speak, the first that the client offers */
};

static bool is(struct text t, const char *word)
{
        return text_equal_nocase(t.at, t.n, word);
}

static struct text trim(const char *from, const char *to)
{
        while (from < to && (*from == ' ' || *from == '\t'))
                from++;
        while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
                to--;
        return (struct text){ from, (size_t)(to - from) };
}

/* The next element of a comma list; false: there is none. */
static bool next_word(struct text *list, struct text *ret)
{
        const char *comma, *end = list->at + list->n;

        if (list->n == 0)
                return false;
        comma = memchr(list->at, ',', list->n);
        *ret = trim(list->at, comma ? comma : end);
        list->at = comma ? comma + 1 : end;
        list->n = (size_t)(end - list->at);
        return true;
}

static bool list_has(struct text list, const char *word)
{
        struct text t;

        while (next_word(&list, &t)) {
                if (is(t, word))
                        return true;
        }
        return false;
}

/* Names of sub-protocols are compared as they are: RFC 6455 §11.5. */
static const char *list_protocol(struct text list)
{
        static const char ours[] = "mqtt", older[] = "mqttv3.1";
        const char *found = NULL;
        struct text t;

        while (next_word(&list, &t)) {
                if (t.n == sizeof(ours) - 1 && memcmp(t.at, ours, t.n) == 0)
                        return ours; /* MQTT-6.0.0-3: whatever else is offered */
                if (t.n == sizeof(older) - 1 && memcmp(t.at, older, t.n) == 0)
                        found = older;
        }
        return found;
}

/* The list may come in several lines: RFC 6455 §11.3.4. */
static void take_protocol(struct fields *f, const char *protocol)
{
        if (protocol && (!f->protocol || strcmp(protocol, "mqtt") == 0))
                f->protocol = protocol;
}

static bool is_base64(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' ||
               c == '/';
}

/* Base64 of 16 bytes: 22 digits and two signs that fill. */
static bool is_key(struct text t)
{
        if (t.n != KEY_BYTES || memcmp(t.at + KEY_BYTES - 2, "==", 2) != 0)
                return false;
        for (size_t i = 0; i < KEY_BYTES - 2; i++) {
                if (!is_base64(t.at[i]))
                        return false;
        }
        return true;
}

static void take_field(struct fields *f, struct text name, struct text value)
{
        if (is(name, "Host")) {
                f->is_broken |= f->has_host;
                f->has_host = true;
        } else if (is(name, "Upgrade")) {
                f->upgrades |= list_has(value, "websocket");
        } else if (is(name, "Connection")) {
                f->connection_upgrades |= list_has(value, "upgrade");
        } else if (is(name, "Sec-WebSocket-Key")) {
                f->is_broken |= f->has_key || !is_key(value);
                f->has_key = true;
                f->key = value;
        } else if (is(name, "Sec-WebSocket-Version")) {
                f->has_version = true;
                f->version_is_13 = is(value, "13");
        } else if (is(name, "Sec-WebSocket-Protocol")) {
                take_protocol(f, list_protocol(value));
        } else if (is(name, "Content-Length") && !is(value, "0")) {
                f->is_broken = true; /* an upgrade has no body */
        } else if (is(name, "Transfer-Encoding")) {
                f->is_broken = true;
        }
}

static bool is_token(struct text t)
{
        static const char others[] = "!#$%&'*+-.^_`|~";

        for (size_t i = 0; i < t.n; i++) {
                char c = t.at[i];
                bool is_alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

                if (!is_alnum && (c == '\0' || !strchr(others, c)))
                        return false;
        }
        return t.n > 0;
}

/* No control characters, a lone CR or LF among them, that could make two lines out of one. */
static bool is_clean(struct text line)
{
        for (size_t i = 0; i < line.n; i++) {
                unsigned char c = (unsigned char)line.at[i];

                if ((c < ' ' && c != '\t') || c == 0x7F)
                        return false;
        }
        return true;
}

static void take_line(struct fields *f, struct text line)
{
        const char *colon = memchr(line.at, ':', line.n);
        struct text name;

        if (!colon || !is_clean(line)) {
                f->is_broken = true;
                return;
        }
        name = (struct text){ line.at, (size_t)(colon - line.at) };
        f->is_broken |= !is_token(name); /* no blank before the colon: RFC 9112 §5.1 */
        take_field(f, name, trim(colon + 1, line.at + line.n));
}

/* RFC 6455 §4.2.2: Base64 of the SHA-1 of key and a fixed text. */
static void accept_key(struct text key, char ret[ACCEPT_BYTES + 1])
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char text[KEY_BYTES + 37];
        uint8_t hash[SHA_DIGEST_LENGTH + 1] = { 0 };

        (void)snprintf(text, sizeof(text), "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", KEY_BYTES, key.at);
        (void)SHA1((const unsigned char *)text, strlen(text), hash);
        for (size_t i = 0; i < ACCEPT_BYTES; i++) {
                uint32_t three = (uint32_t)hash[i / 4 * 3] << 16 | (uint32_t)hash[i / 4 * 3 + 1] << 8 |
                                 hash[i / 4 * 3 + 2];

                ret[i] = digits[three >> (18 - 6 * (i % 4)) & 63];
        }
        ret[ACCEPT_BYTES - 1] = '=';
        ret[ACCEPT_BYTES] = '\0';
}

static void answer_no(struct http_upgrade *u, int status, const char *why, const char *reason)
{
        static const char body[] =
                "This is an MQTT broker: connect by WebSocket with the sub-protocol mqtt.\n";

        u->status = status;
        u->reason = reason;
        u->n_answer = (size_t)snprintf(u->answer, sizeof(u->answer),
                                       "HTTP/1.1 %d %s\r\n"
                                       "Connection: %sclose\r\n%s"
                                       "Content-Type: text/plain\r\n"
                                       "Content-Length: %zu\r\n"
                                       "\r\n%s",
                                       status, why, status == 426 ? "Upgrade, " : "",
                                       status == 426   ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                       : status == 405 ? "Allow: GET\r\n"
                                                       : "",
                                       sizeof(body) - 1, body);
}

static void answer_yes(struct http_upgrade *u, const struct fields *f)
{
        char key[ACCEPT_BYTES + 1];

        accept_key(f->key, key);
        u->status = 101;
        u->n_answer = (size_t)snprintf(u->answer, sizeof(u->answer),
                                       "HTTP/1.1 101 Switching Protocols\r\n"
                                       "Upgrade: websocket\r\n"
                                       "Connection: Upgrade\r\n"
                                       "Sec-WebSocket-Accept: %s\r\n"
                                       "Sec-WebSocket-Protocol: %s\r\n"
                                       "\r\n",
                                       key, f->protocol);
}

static void answer_fields(struct http_upgrade *u, const struct fields *f)
{
        if (f->is_broken || !f->has_host)
                answer_no(u, 400, "Bad Request", "WebSocket: the HTTP request is not correct");
        else if (!f->upgrades || !f->connection_upgrades)
                answer_no(u, 426, "Upgrade Required", "WebSocket: HTTP without an upgrade");
        else if (!f->version_is_13)
                answer_no(u, 426, "Upgrade Required", "WebSocket: another version than 13");
        else if (!f->has_key || !f->protocol)
                answer_no(u, 400, "Bad Request",
                          f->has_key ? "WebSocket: the sub-protocol \"mqtt\" is not offered"
                                     : "WebSocket: an upgrade without a key");
        else
                answer_yes(u, f);
}

/* "GET <anything> HTTP/1.1". 0, or the status. */
static int request_line_check(struct text line)
{
        static const char get[] = "GET ", version[] = " HTTP/1.1";
        const size_t n_get = sizeof(get) - 1, n_version = sizeof(version) - 1;

        if (!is_clean(line) || !memmem(line.at, line.n, " HTTP/", 6))
                return 400;
        if (line.n < n_get || memcmp(line.at, get, n_get) != 0)
                return 405;
        if (line.n < n_version || memcmp(line.at + line.n - n_version, version, n_version) != 0)
                return 505;
        if (line.n < n_get + 1 + n_version || memchr(line.at + n_get, ' ', line.n - n_get - n_version))
                return 400;
        return 0;
}

static void answer_request_line(struct http_upgrade *u, int status)
{
        if (status == 405)
                answer_no(u, status, "Method Not Allowed", "WebSocket: HTTP with another method than GET");
        else if (status == 505)
                answer_no(u, status, "HTTP Version Not Supported", "WebSocket: another HTTP than 1.1");
        else
                answer_no(u, status, "Bad Request", "WebSocket: this is no HTTP");
}

static void answer_request(struct http_upgrade *u, const char *bytes)
{
        struct fields f = { .has_host = false };
        const char *at = bytes, *end = bytes + u->n_request - 2;
        bool is_first = true;

        while (at < end) {
                const char *eol = memmem(at, (size_t)(end - at), "\r\n", 2);
                struct text line = { at, (size_t)(eol - at) };
                int status = is_first ? request_line_check(line) : 0;

                if (status != 0) {
                        answer_request_line(u, status);
                        return;
                }
                if (!is_first)
                        take_line(&f, line);
                is_first = false;
                at = eol + 2;
        }
        answer_fields(u, &f);
}

int http_take_upgrade(const char *bytes, size_t n, size_t n_scanned, struct http_upgrade *ret)
{
        size_t skip = n_scanned > 3 ? n_scanned - 3 : 0;
        const char *end = memmem(bytes + skip, n - skip, "\r\n\r\n", 4);

        *ret = (struct http_upgrade){ .n_request = n };
        /* A method has capital letters: MQTT or TLS without WebSocket is not waited for. */
        if (n > 0 && (bytes[0] < 'A' || bytes[0] > 'Z')) {
                answer_request_line(ret, 400);
                return 1;
        }
        if (!end && n < HTTP_REQUEST_MAX_BYTES)
                return 0;
        if (!end || end + 4 > bytes + HTTP_REQUEST_MAX_BYTES) {
                answer_no(ret, 431, "Request Header Fields Too Large",
                          "WebSocket: the HTTP request is too long");
                return 1;
        }
        ret->n_request = (size_t)(end + 4 - bytes);
        answer_request(ret, bytes);
        return 1;
}
