/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/macros.h"

#include "stream.h"

struct fixture {
        struct stream *s;
        int peer;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(stream_socket_new(fds[0], &f->s), 0);
        f->peer = fds[1];
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        f->s = stream_free(f->s);
        if (f->peer >= 0)
                (void)close(f->peer);
        free(f);
        return 0;
}

static void test_bytes(void **state)
{
        struct fixture *f = *state;
        char first[] = "good ", second[] = "day", got[16] = "";
        struct iovec parts[] = { { first, 5 }, { second, 3 } };

        assert_int_equal(stream_read(f->s, got, sizeof(got)), -EAGAIN);
        assert_int_equal(stream_write(f->s, parts, 2), 8);
        assert_int_equal(read(f->peer, got, sizeof(got)), 8);
        assert_string_equal(got, "good day");
        assert_int_equal(write(f->peer, "hello", 5), 5);
        assert_int_equal(stream_read(f->s, got, 3), 3);
        assert_int_equal(stream_read(f->s, got + 3, 13), 2);
        assert_memory_equal(got, "hello", 5);
        assert_int_equal(stream_flush(f->s), 0);
        assert_int_equal(stream_events(f->s), 0);
        assert_false(stream_has_input(f->s));
        assert_null(stream_tls_client_name(f->s));
}

/* A reader that does not read: a part is taken, then nothing, then the rest; none is lost. */
static void test_full(void **state)
{
        static uint8_t bytes[1000000], got[sizeof(bytes)];
        struct fixture *f = *state;
        size_t n_sent = 0, n_got = 0;
        bool was_full = false;

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(i * 13 + i / 256);
        while (n_got < sizeof(bytes)) {
                struct iovec part = { bytes + n_sent, sizeof(bytes) - n_sent };
                ssize_t n = n_sent < sizeof(bytes) ? stream_write(f->s, &part, 1) : -EAGAIN;

                if (n > 0) {
                        n_sent += (size_t)n;
                        continue;
                }
                assert_int_equal(n, -EAGAIN);
                was_full = true;
                n = read(f->peer, got + n_got, 10000);
                assert_true(n > 0);
                n_got += (size_t)n;
        }
        assert_true(was_full);
        assert_memory_equal(bytes, got, sizeof(bytes));
}

static void test_shutdown(void **state)
{
        struct fixture *f = *state;
        char got[8];

        stream_shutdown(f->s);
        assert_int_equal(read(f->peer, got, sizeof(got)), 0);
        assert_int_equal(write(f->peer, "more", 4), 4); /* reads go on */
        assert_int_equal(stream_read(f->s, got, sizeof(got)), 4);
        assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
        assert_int_equal(stream_read(f->s, got, sizeof(got)), 0);
}

/* No signal ends the program. */
static void test_peer_is_gone(void **state)
{
        struct fixture *f = *state;
        char text[] = "x";
        struct iovec part = { text, 1 };

        (void)close(f->peer);
        f->peer = -1;
        assert_int_equal(stream_write(f->s, &part, 1), -EPIPE);
        assert_int_equal(stream_read(f->s, text, 1), 0);
}

static int tcp_option(int fd, int level, int option)
{
        int value = -1;

        assert_int_equal(getsockopt(fd, level, option, &value, &(socklen_t){ sizeof(value) }), 0);
        return value;
}

static void test_options(void **state)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct stream *s;

        (void)state;
        assert_int_equal(stream_socket_new(fd, &s), 0);
        assert_int_not_equal(tcp_option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
        assert_int_not_equal(tcp_option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        (void)stream_free(s);
        assert_int_equal(close(fd), -1); /* it was the stream's */
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_bytes),
                TEST(test_full),
                TEST(test_shutdown),
                TEST(test_peer_is_gone),
                cmocka_unit_test(test_options),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
