/* SPDX-License-Identifier: MIT */
/* TLS against OpenSSL's client, over a socket pair and over a stream in memory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "fake_stream.h"
#include "stream.h"
#include "stream_tls.h"
#include "tls_files.h"

#define ROUNDS_MAX 1000

static struct tls_files files;

/* A server's side as it is used, and a client. */
struct fixture {
        struct conf_listener conf;
        struct tls_server *tls;
        struct stream *s;
        SSL_CTX *context;
        SSL *client;
        int client_fd;
        bool with_websocket;
        char got[300000];
        size_t n_got;
};

static void serve(struct fixture *f)
{
        char fault[TLS_FAULT_BYTES] = "";

        f->tls = tls_server_unref(f->tls);
        if (tls_server_new(&f->conf, fault, &f->tls) < 0)
                fail_msg("%s", fault);
}

static void connect_client(struct fixture *f)
{
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(stream_socket_new(fds[0], &f->s), 0);
        assert_int_equal(stream_tls_new(f->tls, f->s, &f->s), 0);
        if (f->with_websocket)
                assert_int_equal(stream_ws_new(f->s, &f->s), 0);
        f->client_fd = fds[1];
        f->client = SSL_new(f->context);
        assert_int_equal(SSL_set_fd(f->client, f->client_fd), 1);
        SSL_set_connect_state(f->client);
}

static void disconnect_client(struct fixture *f)
{
        f->s = stream_free(f->s);
        SSL_free(f->client);
        f->client = NULL;
        if (f->client_fd >= 0)
                (void)close(f->client_fd);
        f->client_fd = -1;
        f->n_got = 0;
        ERR_clear_error();
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        tls_files_make(&files, "server", "server", -1, -1, 30);
        f->conf = (struct conf_listener){ .tls = true,
                                          .cert_file = strdup(files.certificate),
                                          .key_file = strdup(files.key) };
        f->client_fd = -1;
        f->context = SSL_CTX_new(TLS_client_method());
        assert_int_equal(SSL_CTX_load_verify_locations(f->context, files.ca, NULL), 1);
        SSL_CTX_set_verify(f->context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_mode(f->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        serve(f);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        disconnect_client(f);
        SSL_CTX_free(f->context);
        f->tls = tls_server_unref(f->tls);
        free(f->conf.cert_file);
        free(f->conf.key_file);
        free(f);
        return 0;
}

/* What is there; what the last read said. */
static ssize_t server_reads(struct fixture *f)
{
        ssize_t n;

        while ((n = stream_read(f->s, f->got + f->n_got, sizeof(f->got) - f->n_got)) > 0)
                f->n_got += (size_t)n;
        return n;
}

/* Both sides in turn until the handshake is done for both or one has given up: what the server says. */
static ssize_t shake_hands(struct fixture *f)
{
        ssize_t r = -EAGAIN;

        for (unsigned i = 0; i < ROUNDS_MAX && r == -EAGAIN; i++) {
                int c = SSL_do_handshake(f->client);

                r = server_reads(f);
                if (c == 1 && SSL_is_init_finished(f->client) && i > 4)
                        return r;
                if (c != 1 && SSL_get_error(f->client, c) != SSL_ERROR_WANT_READ)
                        return r == -EAGAIN ? server_reads(f) : r;
        }
        return r;
}

static ssize_t write_one(struct stream *s, const void *bytes, size_t n)
{
        struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };

        return stream_write(s, &part, 1);
}

static ssize_t server_writes(struct fixture *f, const void *bytes, size_t n)
{
        return write_one(f->s, bytes, n);
}

static void expect_client_gets(struct fixture *f, const char *text)
{
        char got[64] = "";

        assert_int_equal(SSL_read(f->client, got, sizeof(got) - 1), (int)strlen(text));
        assert_string_equal(got, text);
}

static void expect_conversation(struct fixture *f)
{
        assert_int_equal(shake_hands(f), -EAGAIN);
        assert_int_equal(SSL_write(f->client, "hello", 5), 5);
        assert_int_equal(server_reads(f), -EAGAIN);
        assert_int_equal(f->n_got, 5);
        assert_memory_equal(f->got, "hello", 5);
        assert_int_equal(server_writes(f, "good day", 8), 8);
        assert_int_equal(stream_events(f->s), 0);
        expect_client_gets(f, "good day");
}

/* ---- conversations ---- */

static void test_versions(void **state)
{
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
        struct fixture *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
                SSL_CTX_set_min_proto_version(f->context, versions[i]);
                SSL_CTX_set_max_proto_version(f->context, versions[i]);
                connect_client(f);
                assert_int_equal(server_writes(f, "early", 5), -EAGAIN);
                expect_conversation(f);
                assert_int_equal(SSL_version(f->client), versions[i]);
                assert_null(stream_tls_client_name(f->s));
                disconnect_client(f);
        }
}

static void test_lowest_version(void **state)
{
        char lowest[] = "tlsv1.3";
        struct fixture *f = *state;

        f->conf.tls_version = lowest;
        serve(f);
        SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
        assert_string_equal(f->s->reason, "unsupported protocol");
        disconnect_client(f);
        SSL_CTX_set_max_proto_version(f->context, TLS1_3_VERSION);
        connect_client(f);
        expect_conversation(f);
}

/* Nothing below 1.2, even for a client that wants nothing else. */
static void test_old_version(void **state)
{
        struct fixture *f = *state;

        SSL_CTX_set_security_level(f->context, 0);
        SSL_CTX_set_min_proto_version(f->context, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(f->context, TLS1_1_VERSION);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
}

static void test_alpn(void **state)
{
        struct fixture *f = *state;
        const unsigned char *chosen;
        unsigned n;

        assert_int_equal(SSL_CTX_set_alpn_protos(f->context, (const unsigned char *)"\x02h2\x04mqtt", 8), 0);
        connect_client(f);
        expect_conversation(f);
        SSL_get0_alpn_selected(f->client, &chosen, &n);
        assert_int_equal(n, 4);
        assert_memory_equal(chosen, "mqtt", 4);
        disconnect_client(f);
        assert_int_equal(SSL_CTX_set_alpn_protos(f->context, (const unsigned char *)"\x02h2", 3), 0);
        connect_client(f);
        expect_conversation(f);
        SSL_get0_alpn_selected(f->client, &chosen, &n);
        assert_int_equal(n, 0);
}

static void test_ciphers(void **state)
{
        char tls12[] = "ECDHE-ECDSA-AES128-GCM-SHA256", tls13[] = "TLS_CHACHA20_POLY1305_SHA256";
        struct fixture *f = *state;

        f->conf.ciphers = tls12;
        serve(f);
        SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION);
        connect_client(f);
        expect_conversation(f);
        assert_string_equal(SSL_get_cipher(f->client), tls12);
        disconnect_client(f);
        SSL_CTX_set_max_proto_version(f->context, 0);
        f->conf.ciphers = tls13;
        serve(f);
        connect_client(f);
        expect_conversation(f);
        assert_string_equal(SSL_get_cipher(f->client), tls13);
}

/* A ticket spares the second handshake the public keys; not where a certificate is wanted. */
static void test_resumption(void **state)
{
        struct fixture *f = *state;
        SSL_SESSION *session;

        connect_client(f);
        expect_conversation(f);
        session = SSL_get1_session(f->client);
        SSL_set_shutdown(f->client,
                         SSL_SENT_SHUTDOWN); /* OpenSSL forgets the session of a broken connection */
        disconnect_client(f);
        connect_client(f);
        assert_int_equal(SSL_set_session(f->client, session), 1);
        expect_conversation(f);
        assert_true(SSL_session_reused(f->client));
        SSL_set_shutdown(f->client, SSL_SENT_SHUTDOWN);
        disconnect_client(f);
        f->conf.ca_file = files.ca;
        serve(f);
        connect_client(f);
        assert_int_equal(SSL_set_session(f->client, session), 1);
        expect_conversation(f);
        assert_false(SSL_session_reused(f->client));
        SSL_SESSION_free(session);
}

static void test_change_of_keys(void **state)
{
        struct fixture *f = *state;

        SSL_CTX_set_min_proto_version(f->context, TLS1_3_VERSION);
        connect_client(f);
        expect_conversation(f);
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(SSL_key_update(f->client, SSL_KEY_UPDATE_REQUESTED), 1);
                f->n_got = 0;
                assert_int_equal(SSL_write(f->client, "hello", 5), 5);
                assert_int_equal(server_reads(f), -EAGAIN);
                assert_int_equal(f->n_got, 5);
                assert_int_equal(server_writes(f, "good day", 8), 8);
                expect_client_gets(f, "good day");
        }
}

static void test_no_renegotiation(void **state)
{
        struct fixture *f = *state;

        SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION);
        connect_client(f);
        expect_conversation(f);
        assert_int_equal(SSL_renegotiate(f->client), 1);
        (void)SSL_do_handshake(f->client);
        assert_int_equal(server_reads(f), -EAGAIN);
        (void)SSL_do_handshake(f->client); /* it has got a warning alert */
        assert_int_not_equal(SSL_renegotiate_pending(f->client) && SSL_is_init_finished(f->client), 1);
        assert_int_equal(server_writes(f, "good day", 8), 8);
}

/* ---- much at once ---- */

static void test_many_small_parts(void **state)
{
        struct iovec parts[64];
        struct fixture *f = *state;
        char got[128];

        connect_client(f);
        expect_conversation(f);
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                parts[i] = (struct iovec){ .iov_base = (void *)(uintptr_t) "ab", .iov_len = 2 };
        assert_int_equal(stream_write(f->s, parts, ARRAY_SIZE(parts)), 128);
        assert_int_equal(SSL_read(f->client, got, sizeof(got)), 128); /* SSL_read(3) gives one record */
}

/* More than a socket holds, to a client that reads late: every byte in order, nothing twice. */
static void test_slow_reader(void **state)
{
        static uint8_t sent[2000000], got[sizeof(sent)];
        struct fixture *f = *state;
        size_t n_sent = 0, n_got = 0;
        unsigned n_again = 0;

        for (size_t i = 0; i < sizeof(sent); i++)
                sent[i] = (uint8_t)(i * 31 + i / 251);
        connect_client(f);
        expect_conversation(f);
        while (n_got < sizeof(sent)) {
                size_t half = MBGATE_MIN((sizeof(sent) - n_sent) / 2, (size_t)40000);
                struct iovec parts[] = { { sent + n_sent, half },
                                         { sent + n_sent + half,
                                           MBGATE_MIN(sizeof(sent) - n_sent - half, (size_t)20000) } };
                ssize_t n = n_sent < sizeof(sent) ? stream_write(f->s, parts, 2) : -EAGAIN;

                if (n > 0) {
                        assert_in_range(n, 1, 64 * 1024);
                        n_sent += (size_t)n;
                        continue;
                }
                assert_int_equal(n, -EAGAIN);
                n_again++;
                if (n_sent < sizeof(sent))
                        assert_int_equal(stream_events(f->s), EPOLLOUT);
                for (int r; (r = SSL_read(f->client, got + n_got, 3000)) > 0;)
                        n_got += (size_t)r;
                assert_int_not_equal(stream_flush(f->s), -EPIPE);
        }
        assert_true(n_again > 3);
        assert_memory_equal(sent, got, sizeof(sent));
        assert_int_equal(stream_flush(f->s), 0);
        assert_int_equal(stream_events(f->s), 0);
}

/* More than the reader's buffer holds: epoll will not tell of what OpenSSL has already. */
static void test_has_input(void **state)
{
        static char text[40000];
        struct fixture *f = *state;
        size_t n_sent = 0, n_got = 0;

        memset(text, 'x', sizeof(text));
        connect_client(f);
        expect_conversation(f);
        while (n_sent < sizeof(text)) {
                int n = SSL_write(f->client, text + n_sent,
                                  (int)MBGATE_MIN(sizeof(text) - n_sent, (size_t)700));

                assert_true(n > 0);
                n_sent += (size_t)n;
        }
        while (n_got < sizeof(text)) {
                char got[100];
                ssize_t n = stream_read(f->s, got, sizeof(got));

                assert_int_equal(n, 100);
                n_got += (size_t)n;
                if (n_got < sizeof(text) && n_got % 700 != 0)
                        assert_true(stream_has_input(f->s));
        }
        assert_int_equal(server_reads(f), -EAGAIN);
        assert_false(stream_has_input(f->s));
}

/* Byte by byte in both directions, from the first one on. */
static void test_single_bytes(void **state)
{
        struct fixture *f = *state;
        struct fake_stream inner;
        BIO *to_client = BIO_new(BIO_s_mem()), *from_client = BIO_new(BIO_s_mem());
        SSL *client = SSL_new(f->context);
        struct stream *s;
        char got[64] = "";
        bool has_asked = false;

        fake_stream_init(&inner);
        BIO_set_mem_eof_return(to_client, -1);
        SSL_set_bio(client, to_client, from_client);
        SSL_set_connect_state(client);
        assert_int_equal(stream_tls_new(f->tls, &inner.stream, &s), 0);
        for (unsigned i = 0; i < 100000 && f->n_got < 5; i++) {
                char byte;

                (void)SSL_do_handshake(client);
                if (SSL_is_init_finished(client) && !has_asked)
                        has_asked = SSL_write(client, "hello", 5) == 5;
                if (inner.n_input == 0 && BIO_read(from_client, &byte, 1) == 1)
                        fake_stream_feed(&inner, &byte, 1);
                inner.room = 1;
                (void)stream_flush(s);
                for (ssize_t n; (n = stream_read(s, f->got + f->n_got, 64)) > 0;)
                        f->n_got += (size_t)n;
                if (inner.n_output > 0)
                        assert_int_equal(BIO_write(to_client, inner.output, (int)inner.n_output),
                                         (int)inner.n_output);
                inner.n_output = 0;
        }
        assert_int_equal(f->n_got, 5);
        assert_memory_equal(f->got, "hello", 5);
        inner.room = SIZE_MAX;
        assert_int_equal(stream_flush(s), 0); /* the ticket */
        if (inner.n_output > 0)
                assert_int_equal(BIO_write(to_client, inner.output, (int)inner.n_output),
                                 (int)inner.n_output);
        inner.n_output = inner.room = 0;
        assert_int_equal(write_one(s, "good day", 8), 8);
        for (unsigned i = 0; i < 1000 && SSL_read(client, got, sizeof(got)) <= 0; i++) {
                inner.room = 1;
                (void)stream_flush(s);
                if (inner.n_output > 0)
                        assert_int_equal(BIO_write(to_client, inner.output, (int)inner.n_output),
                                         (int)inner.n_output);
                inner.n_output = 0;
        }
        assert_string_equal(got, "good day");
        (void)stream_free(s);
        SSL_free(client);
        fake_stream_done(&inner);
}

/* ---- ends ---- */

static void test_shutdown(void **state)
{
        struct fixture *f = *state;
        char byte;

        connect_client(f);
        expect_conversation(f);
        stream_shutdown(f->s);
        assert_int_equal(SSL_read(f->client, &byte, 1), 0);
        assert_int_equal(SSL_get_error(f->client, 0), SSL_ERROR_ZERO_RETURN);
        assert_int_equal(recv(f->client_fd, &byte, 1, 0), 0);
        /* what still comes is thrown away until the client ends its side too */
        assert_int_equal(SSL_write(f->client, "more", 4), 4);
        assert_int_equal(server_reads(f), -EAGAIN);
        assert_int_equal(shutdown(f->client_fd, SHUT_WR), 0);
        assert_int_equal(server_reads(f), 0);
        assert_false(stream_has_input(f->s));
}

static void test_client_says_goodbye(void **state)
{
        struct fixture *f = *state;

        connect_client(f);
        expect_conversation(f);
        (void)SSL_shutdown(f->client);
        assert_int_equal(server_reads(f), 0);
        assert_int_equal(server_reads(f), 0);
        assert_int_equal(server_writes(f, "good day", 8), 8);
}

/* In one segment: epoll says nothing more of it. */
static void test_goodbye_behind_data(void **state)
{
        struct fixture *f = *state;
        char bytes[64];

        connect_client(f);
        expect_conversation(f);
        assert_int_equal(SSL_write(f->client, "last words", 10), 10);
        (void)SSL_shutdown(f->client);
        assert_int_equal(stream_read(f->s, bytes, sizeof(bytes)), 10);
        assert_true(stream_has_input(f->s));
        assert_int_equal(stream_read(f->s, bytes, sizeof(bytes)), 0);
        assert_false(stream_has_input(f->s));
}

/* Nor of what is no record. */
static void test_fault_behind_data(void **state)
{
        static const char record[5 + 32] = "\x17\x03\x03\0\x20 this is no record of ours";
        struct fixture *f = *state;
        char bytes[64];

        connect_client(f);
        expect_conversation(f);
        assert_int_equal(SSL_write(f->client, "last words", 10), 10);
        assert_int_equal(write(f->client_fd, record, sizeof(record)), sizeof(record));
        assert_int_equal(stream_read(f->s, bytes, sizeof(bytes)), 10);
        assert_true(stream_has_input(f->s));
        assert_int_equal(stream_read(f->s, bytes, sizeof(bytes)), -EPROTO);
        assert_false(stream_has_input(f->s));
}

static void test_client_is_gone(void **state)
{
        struct fixture *f = *state;

        connect_client(f);
        expect_conversation(f);
        (void)close(f->client_fd);
        f->client_fd = -1;
        assert_int_equal(server_reads(f), 0);
        assert_int_equal(server_writes(f, "good day", 8), -EPIPE); /* and no signal */
        disconnect_client(f);
        connect_client(f);
        (void)SSL_do_handshake(f->client);
        (void)close(f->client_fd);
        f->client_fd = -1;
        assert_true(server_reads(f) <= 0);
        stream_shutdown(f->s);
}

/* ---- what is no TLS ---- */

static ssize_t answer_to(struct fixture *f, const void *bytes, size_t n)
{
        connect_client(f);
        assert_int_equal(write(f->client_fd, bytes, n), n);
        return server_reads(f);
}

static void test_garbage(void **state)
{
        static const char mqtt[] = "\x10\x10\0\4MQTT\4\2\0\x3c\0\4test";
        struct fixture *f = *state;
        uint8_t byte;

        assert_int_equal(answer_to(f, mqtt, sizeof(mqtt) - 1), -EPROTO);
        assert_string_equal(f->s->reason, "this is no TLS");
        assert_int_equal(server_reads(f), -EPROTO);
        assert_int_equal(server_writes(f, "x", 1), -EPROTO);
        stream_shutdown(f->s);
        assert_true(server_reads(f) <= 0);
        assert_int_equal(recv(f->client_fd, &byte, 1, 0), 0);
        disconnect_client(f);
        assert_int_equal(answer_to(f, "GET / HTTP/1.1\r\n\r\n", 18), -EPROTO);
        assert_string_equal(f->s->reason, "this is HTTP without TLS");
        disconnect_client(f);
        assert_int_equal(answer_to(f, "\x16\x03\x01\xff\xff", 5), -EPROTO);
        disconnect_client(f);
        assert_int_equal(answer_to(f, "\x16\x03\x01\x00\x05\x01\x00", 7), -EAGAIN);
}

/* Random bytes in the place of records, before and after the handshake: never more than an end. */
static void test_random_garbage(void **state)
{
        struct fixture *f = *state;
        uint32_t seed = 7;

        for (unsigned i = 0; i < 200; i++) {
                uint8_t bytes[64];

                connect_client(f);
                if (i % 2 == 0)
                        expect_conversation(f);
                for (size_t k = 0; k < sizeof(bytes); k++) {
                        seed = seed * 1664525 + 1013904223;
                        bytes[k] = (uint8_t)(seed >> 24);
                }
                if (i % 3 == 0)
                        memcpy(bytes, i % 2 ? "\x16\x03\x01\x00\x3b" : "\x17\x03\x03\x00\x3b", 5);
                assert_int_equal(write(f->client_fd, bytes, sizeof(bytes)), sizeof(bytes));
                (void)shutdown(f->client_fd, SHUT_WR);
                f->n_got = 0;
                assert_true(server_reads(f) <= 0);
                assert_int_equal(f->n_got, 0);
                stream_shutdown(f->s);
                disconnect_client(f);
        }
}

/* ---- certificates of clients ---- */

static void use_certificate(struct fixture *f, const char *name, int n, int until_days)
{
        tls_files_make(&files, "client", name, n, -2, until_days);
        assert_int_equal(SSL_CTX_use_certificate_file(f->context, files.certificate, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(f->context, files.key, SSL_FILETYPE_PEM), 1);
}

static void test_client_certificate(void **state)
{
        struct fixture *f = *state;

        f->conf.ca_file = files.ca;
        f->conf.require_certificate = true;
        serve(f);
        use_certificate(f, "anna \xc3\xa4", -1, 30);
        connect_client(f);
        expect_conversation(f);
        assert_string_equal(stream_tls_client_name(f->s), "anna \xc3\xa4");
}

static void test_no_client_certificate(void **state)
{
        struct fixture *f = *state;

        f->conf.ca_file = files.ca;
        serve(f); /* one may be shown */
        connect_client(f);
        expect_conversation(f);
        assert_null(stream_tls_client_name(f->s));
        disconnect_client(f);
        f->conf.require_certificate = true;
        serve(f);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
        assert_string_equal(f->s->reason, "the client has no certificate");
}

static void test_bad_client_certificates(void **state)
{
        struct fixture *f = *state;
        struct tls_files others;

        f->conf.ca_file = files.ca;
        serve(f);
        use_certificate(f, "anna", -1, -1);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
        assert_string_equal(f->s->reason, "certificate verify failed");
        disconnect_client(f);
        tls_files_init(&others);
        tls_files_make(&others, "client", "anna", -1, -1, 30);
        assert_int_equal(SSL_CTX_use_certificate_file(f->context, others.certificate, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(f->context, others.key, SSL_FILETYPE_PEM), 1);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
        tls_files_done(&others);
}

/* A name that looks shorter to C than it is. */
static void test_nul_in_client_name(void **state)
{
        struct fixture *f = *state;

        f->conf.ca_file = files.ca;
        serve(f);
        use_certificate(f, "admin\0.example.com", 18, 30);
        connect_client(f);
        expect_conversation(f);
        assert_null(stream_tls_client_name(f->s));
}

/* ---- certificates of ours ---- */

static void expect_fault(struct fixture *f, const char *words)
{
        char fault[TLS_FAULT_BYTES] = "";
        struct tls_server *tls = NULL;

        assert_int_equal(tls_server_new(&f->conf, fault, &tls), -EINVAL);
        assert_null(tls);
        if (!strstr(fault, words))
                fail_msg("\"%s\" is not in: %s", words, fault);
        assert_int_equal(ERR_peek_error(), 0);
}

static void test_missing_files(void **state)
{
        struct fixture *f = *state;
        char missing[] = "/nonexistent/file", folder[] = "/tmp";
        char *certificate = f->conf.cert_file, *key = f->conf.key_file;

        f->conf.cert_file = missing;
        expect_fault(f, "cert_file \"/nonexistent/file\": No such file");
        f->conf.cert_file = folder;
        expect_fault(f, "cert_file \"/tmp\"");
        f->conf.cert_file = certificate;
        f->conf.key_file = missing;
        expect_fault(f, "key_file \"/nonexistent/file\": No such file");
        f->conf.key_file = key;
        f->conf.ca_file = missing;
        expect_fault(f, "ca_file \"/nonexistent/file\": No such file");
        f->conf.ca_file = key;
        expect_fault(f, "ca_file");
        f->conf.ca_file = NULL;
        f->conf.require_certificate = true;
        expect_fault(f, "require_certificate");
}

static void test_mixed_up_files(void **state)
{
        struct fixture *f = *state;
        char *certificate = f->conf.cert_file, *key = f->conf.key_file;

        f->conf.key_file = certificate;
        assert_int_equal(chmod(certificate, 0600), 0);
        expect_fault(f, "nothing of the kind");
        f->conf.key_file = key;
        f->conf.cert_file = key;
        expect_fault(f, "cert_file");
        f->conf.cert_file = certificate;
        tls_files_make(&files, "other", "other", -1, -1, 30);
        f->conf.key_file = files.key;
        expect_fault(f, "does not belong to cert_file");
        f->conf.key_file = key;
}

static void test_key_for_everybody(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(chmod(f->conf.key_file, 0644), 0);
        expect_fault(f, "chmod o-rw");
        assert_int_equal(chmod(f->conf.key_file, 0640), 0);
        serve(f);
}

static void test_bad_ciphers(void **state)
{
        char none[] = "NO-SUCH-CIPHER";
        struct fixture *f = *state;

        f->conf.ciphers = none;
        expect_fault(f, "ciphers \"NO-SUCH-CIPHER\"");
}

/* This machine's clock may be the one that is wrong: it is told (in the log), and clients decide. */
static void test_expired(void **state)
{
        struct fixture *f = *state;

        tls_files_make(&files, "server", "server", -1, -20, -10);
        serve(f);
        connect_client(f);
        assert_int_equal(shake_hands(f), -EPROTO);
        assert_non_null(strstr(f->s->reason, "alert certificate expired"));
}

/* A renewed certificate is for those who come now; who is there stays. */
static void test_renewed(void **state)
{
        struct fixture *f = *state;
        struct stream *old;
        SSL *old_client;
        int old_fd;
        char got[64] = "";

        connect_client(f);
        expect_conversation(f);
        old = f->s;
        old_client = f->client;
        old_fd = f->client_fd;
        tls_files_make(&files, "server", "renewed", -1, -1, 60);
        serve(f);
        f->n_got = 0;
        connect_client(f);
        expect_conversation(f);
        assert_non_null(X509_NAME_oneline(X509_get_subject_name(SSL_get0_peer_certificate(f->client)), got,
                                          sizeof(got)));
        assert_string_equal(got, "/CN=renewed");
        assert_int_equal(write_one(old, "still", 5), 5);
        memset(got, 0, sizeof(got));
        assert_int_equal(SSL_read(old_client, got, sizeof(got)), 5);
        assert_string_equal(got, "still");
        (void)stream_free(old);
        SSL_free(old_client);
        (void)close(old_fd);
}

/* ---- WebSocket on it ---- */

static void test_websocket(void **state)
{
        static const char request[] =
                "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        struct fixture *f = *state;
        char got[256] = "";

        f->with_websocket = true;
        connect_client(f);
        assert_int_equal(shake_hands(f), -EAGAIN);
        assert_int_equal(SSL_write(f->client, request, sizeof(request) - 1), sizeof(request) - 1);
        assert_int_equal(server_reads(f), -EAGAIN);
        assert_true(SSL_read(f->client, got, sizeof(got)) > 0);
        assert_memory_equal(got, "HTTP/1.1 101", 12);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(SSL_write(f->client, "\x82\x83\0\0\0\0abc", 9), 9);
        assert_int_equal(server_reads(f), -EAGAIN);
        assert_int_equal(f->n_got, 300);
        assert_int_equal(server_writes(f, "good day", 8), 8);
        expect_client_gets(f, "\x82\x08"
                              "good day");
        assert_null(stream_tls_client_name(f->s));
        stream_shutdown(f->s);
        expect_client_gets(f, "\x88\x02\x03\xe8");
        assert_int_equal(SSL_read(f->client, got, 1), 0);
        assert_int_equal(SSL_get_error(f->client, 0), SSL_ERROR_ZERO_RETURN);
}

static int make_files(void **state)
{
        (void)state;
        tls_files_init(&files);
        return 0;
}

static int remove_files(void **state)
{
        (void)state;
        tls_files_done(&files);
        return 0;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_versions),
                TEST(test_lowest_version),
                TEST(test_old_version),
                TEST(test_alpn),
                TEST(test_ciphers),
                TEST(test_resumption),
                TEST(test_change_of_keys),
                TEST(test_no_renegotiation),
                TEST(test_many_small_parts),
                TEST(test_slow_reader),
                TEST(test_has_input),
                TEST(test_single_bytes),
                TEST(test_shutdown),
                TEST(test_client_says_goodbye),
                TEST(test_goodbye_behind_data),
                TEST(test_fault_behind_data),
                TEST(test_client_is_gone),
                TEST(test_garbage),
                TEST(test_random_garbage),
                TEST(test_client_certificate),
                TEST(test_no_client_certificate),
                TEST(test_bad_client_certificates),
                TEST(test_nul_in_client_name),
                TEST(test_missing_files),
                TEST(test_mixed_up_files),
                TEST(test_key_for_everybody),
                TEST(test_bad_ciphers),
                TEST(test_expired),
                TEST(test_renewed),
                TEST(test_websocket),
        };

        return cmocka_run_group_tests(tests, make_files, remove_files);
}
