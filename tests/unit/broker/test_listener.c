/* SPDX-License-Identifier: MIT */
/* Where clients come in: addresses, sockets of all kinds, what stands in the way, and no descriptors left. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/log.h"

#include "fake_loop.h"
#include "listener.h"
#include "tls_files.h"

#define CLIENTS_MAX 256
#define WAIT_MS     10000

struct fixture {
        struct loop *loop;
        struct transport *transport;
        struct conf_listener conf;
        struct listener_init init;
        struct listener *l;
        struct stream *streams[CLIENTS_MAX];
        struct peer *peers[CLIENTS_MAX];
        size_t n;
        int clients[CLIENTS_MAX];
        size_t n_clients;
        char log[4096];
        char folder[64];
        char path[128];
};

static void on_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        struct fixture *f = user;
        size_t n = strlen(f->log);

        (void)fields;
        (void)snprintf(f->log + n, sizeof(f->log) - n, "%s: %s\n", log_level_name(level), line);
}

static void expect_log(struct fixture *f, const char *words)
{
        if (!strstr(f->log, words))
                fail_msg("\"%s\" is not in: %s", words, f->log);
        f->log[0] = '\0';
}

static void on_accept(void *user, struct listener *l, struct stream *stream, struct peer *peer)
{
        struct fixture *f = user;

        assert_ptr_equal(l, f->l);
        assert_true(f->n < CLIENTS_MAX);
        f->streams[f->n] = stream;
        f->peers[f->n++] = peer;
}

static void on_batch(void *user)
{
        (void)user;
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_int_equal(loop_new(&f->loop), 0);
        assert_int_equal(transport_new(f->loop, on_batch, f, &f->transport), 0);
        (void)strcpy(f->folder, "/tmp/mbgate-listener-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof(f->path), "%s/mqtt.sock", f->folder);
        f->init = (struct listener_init){
                .transport = f->transport, .loop = f->loop, .conf = &f->conf, .accept = on_accept, .user = f
        };
        log_set_sink(on_line, f);
        *state = f;
        return 0;
}

static void let_go(struct fixture *f)
{
        while (f->n > 0) {
                f->n--;
                (void)stream_free(f->streams[f->n]);
                (void)peer_free(f->peers[f->n]);
        }
        while (f->n_clients > 0)
                (void)close(f->clients[--f->n_clients]);
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        let_go(f);
        f->l = listener_free(f->l);
        f->transport = transport_free(f->transport);
        f->loop = loop_free(f->loop);
        (void)unlink(f->path);
        (void)rmdir(f->folder);
        log_set_sink(NULL, NULL);
        free(f);
        return 0;
}

static int open_at(struct fixture *f, const char *address)
{
        f->conf.address = (char *)(uintptr_t)address;
        return listener_new(&f->init, &f->l);
}

static void must_open_at(struct fixture *f, const char *address)
{
        if (open_at(f, address) < 0)
                fail_msg("%s", f->log);
}

/* The port of "127.0.0.1:1883 …". */
static uint16_t port_of(const char *name)
{
        const char *at = strchr(name[0] == '[' ? strchr(name, ']') : name, ':');

        return (uint16_t)strtoul(at + 1, NULL, 10);
}

/* A port that is free now for both families. */
static uint16_t free_port(void)
{
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in6 at = { .sin6_family = AF_INET6 };
        socklen_t n = sizeof(at);

        assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
        (void)close(fd);
        return ntohs(at.sin6_port);
}

static int new_client(struct fixture *f, int family)
{
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0 && f->n_clients < CLIENTS_MAX);
        f->clients[f->n_clients++] = fd;
        return fd;
}

static int connect_v4(int fd, uint16_t port)
{
        struct sockaddr_in at = { .sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        return connect(fd, (struct sockaddr *)&at, sizeof(at));
}

static int connect_v6(int fd, uint16_t port)
{
        struct sockaddr_in6 at = { .sin6_family = AF_INET6,
                                   .sin6_port = htons(port),
                                   .sin6_addr = in6addr_loopback };

        return connect(fd, (struct sockaddr *)&at, sizeof(at));
}

static struct sockaddr_un path_address(const char *path)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };

        assert_true(strlen(path) < sizeof(at.sun_path));
        memcpy(at.sun_path, path, strlen(path));
        return at;
}

static int connect_unix(int fd, const char *path)
{
        struct sockaddr_un at = path_address(path);

        return connect(fd, (struct sockaddr *)&at, sizeof(at));
}

static void wait_for(struct fixture *f, size_t n)
{
        while (f->n < n)
                assert_true(fake_loop_poll(f->loop, WAIT_MS));
        assert_int_equal(f->n, n);
}

/* ---- addresses ---- */

static void test_v4(void **state)
{
        struct fixture *f = *state;
        int fd;
        char got[8];

        must_open_at(f, "127.0.0.1");
        fd = new_client(f, AF_INET);
        assert_int_equal(connect_v4(fd, port_of(listener_name(f->l))), 0);
        wait_for(f, 1);
        assert_string_equal(f->peers[0]->address, "127.0.0.1");
        assert_true(f->peers[0]->port > 0);
        assert_true(f->peers[0]->is_local);
        assert_null(f->peers[0]->certificate);
        assert_int_equal(write(fd, "hello", 5), 5);
        assert_int_equal(stream_read(f->streams[0], got, sizeof(got)), 5);
        assert_true(fcntl(f->streams[0]->fd, F_GETFD) & FD_CLOEXEC);
        assert_ptr_equal(listener_conf(f->l), &f->conf);
}

static bool has_v6(void)
{
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
        bool has = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

        if (fd >= 0)
                (void)close(fd);
        return has;
}

static void expect_both(struct fixture *f, const char *address, const char *v4, const char *v6)
{
        char text[128];

        f->conf.port = free_port();
        must_open_at(f, address);
        (void)snprintf(text, sizeof(text), "%s:%u and %s:%u", v4, f->conf.port, v6, f->conf.port);
        assert_string_equal(listener_name(f->l), text);
        assert_int_equal(connect_v4(new_client(f, AF_INET), f->conf.port), 0);
        wait_for(f, 1);
        assert_string_equal(f->peers[0]->address, "127.0.0.1");
        assert_int_equal(connect_v6(new_client(f, AF_INET6), f->conf.port), 0);
        wait_for(f, 2);
        assert_string_equal(f->peers[1]->address, "::1");
        assert_true(f->peers[1]->is_local);
}

static void test_loopback(void **state)
{
        struct fixture *f = *state;

        if (!has_v6())
                skip();
        expect_both(f, "localhost", "127.0.0.1", "[::1]");
}

static void test_any(void **state)
{
        if (!has_v6())
                skip();
        expect_both(*state, "", "0.0.0.0", "[::]");
}

static void test_default_address(void **state)
{
        struct fixture *f = *state;

        f->init.default_address = "127.0.0.1";
        must_open_at(f, "");
        assert_memory_equal(listener_name(f->l), "127.0.0.1:", 10);
}

/* Nothing is looked up: that could block. */
static void test_host_name(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(open_at(f, "broker.example.com"), -EINVAL);
        expect_log(f, "\"broker.example.com\" is no numeric address");
}

/* At boot the network may come up later than we do. */
static void test_address_of_later(void **state)
{
        struct fixture *f = *state;

        f->conf.port = free_port();
        must_open_at(f, "192.0.2.7");
        expect_log(f, "warning: broker: 192.0.2.7:");
}

static void test_in_use(void **state)
{
        struct fixture *f = *state;
        struct listener *first;
        char name[16], words[64];

        f->conf.port = free_port();
        must_open_at(f, "127.0.0.1");
        first = f->l;
        f->l = NULL;
        assert_int_equal(open_at(f, "127.0.0.1"), -EADDRINUSE);
        assert_int_equal(prctl(PR_GET_NAME, name), 0); /* under qemu-user it is qemu's */
        (void)snprintf(words, sizeof(words), ": %s (process %d) has it", name, (int)getpid());
        if (!strstr(f->log, "error: broker: cannot listen on 127.0.0.1:"))
                fail_msg("%s", f->log);
        expect_log(f, words);
        f->l = listener_free(first);
        must_open_at(f, "127.0.0.1"); /* and again at once */
}

static void test_name_of_kind(void **state)
{
        struct fixture *f = *state;

        f->conf.websocket = true;
        must_open_at(f, "127.0.0.1");
        assert_non_null(strstr(listener_name(f->l), " (websocket)"));
}

/* ---- Unix sockets ---- */

static void test_unix(void **state)
{
        struct fixture *f = *state;
        struct stat st;

        must_open_at(f, f->path);
        assert_string_equal(listener_name(f->l), f->path);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0660);
        assert_int_equal(connect_unix(new_client(f, AF_UNIX), f->path), 0);
        wait_for(f, 1);
        assert_string_equal(f->peers[0]->address, "unix");
        assert_int_equal(f->peers[0]->port, 0);
        assert_true(f->peers[0]->is_local);
        f->l = listener_free(f->l);
        assert_int_equal(access(f->path, F_OK), -1);
}

/* What a broker that was killed has left is replaced. */
static void test_unix_stale(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un at = path_address(f->path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        (void)close(fd);
        must_open_at(f, f->path);
        assert_int_equal(connect_unix(new_client(f, AF_UNIX), f->path), 0);
}

static void test_unix_in_use(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un at = path_address(f->path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(open_at(f, f->path), -EADDRINUSE);
        expect_log(f, f->path);
        assert_int_equal(access(f->path, F_OK), 0);
        (void)close(fd);
}

/* Somebody's file is not touched. */
static void test_unix_file(void **state)
{
        struct fixture *f = *state;
        int fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        (void)close(fd);
        assert_int_equal(open_at(f, f->path), -EADDRINUSE);
        assert_int_equal(access(f->path, F_OK), 0);
}

/* Nor is the socket that another program has put in the place of ours. */
static void test_unix_replaced(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un at = path_address(f->path);
        int fd;

        must_open_at(f, f->path);
        assert_int_equal(unlink(f->path), 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        f->l = listener_free(f->l);
        assert_int_equal(access(f->path, F_OK), 0);
        (void)close(fd);
}

static void test_unix_bad_paths(void **state)
{
        struct fixture *f = *state;
        char path[300];

        assert_int_equal(open_at(f, "/nonexistent/folder/mqtt.sock"), -ENOENT);
        expect_log(f, "cannot listen on /nonexistent/folder/mqtt.sock: No such file");
        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(open_at(f, path), -ENAMETOOLONG);
}

/* ---- sockets of the service manager ---- */

/* One that takes IPv4 too, as systemd's ListenStream=1883 makes it. */
static int dual_socket(uint16_t *ret_port)
{
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in6 at = { .sin6_family = AF_INET6 };
        socklen_t n = sizeof(at);

        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
        *ret_port = ntohs(at.sin6_port);
        return fd;
}

static void test_inherited(void **state)
{
        struct fixture *f = *state;
        uint16_t port;
        int fd;

        if (!has_v6())
                skip();
        fd = dual_socket(&port);
        assert_int_equal(listen(fd, 1), 0);
        f->init.inherited = &fd;
        f->init.n_inherited = 1;
        must_open_at(f, "systemd:mqtt");
        assert_int_equal(connect_v4(new_client(f, AF_INET), port), 0);
        wait_for(f, 1);
        assert_string_equal(f->peers[0]->address, "127.0.0.1"); /* not ::ffff:127.0.0.1 */
        assert_true(f->peers[0]->is_local);
        f->l = listener_free(f->l);
        assert_int_equal(connect_v4(new_client(f, AF_INET), port), 0); /* it is the service manager's */
        must_open_at(f, "systemd:mqtt");
        wait_for(f, 2);
        f->l = listener_free(f->l);
        (void)close(fd);
}

static void test_inherited_bad(void **state)
{
        struct fixture *f = *state;
        uint16_t port;
        int fds[2] = { dual_socket(&port), socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) };

        assert_int_equal(open_at(f, "systemd:mqtt"), -ENOENT);
        expect_log(f, "systemd:mqtt: the service manager has given no socket of this name");
        f->init.n_inherited = 1;
        for (size_t i = 0; i < 2; i++) {
                f->init.inherited = &fds[i];
                assert_int_equal(open_at(f, "systemd:mqtt"), -EPROTOTYPE);
                expect_log(f, "ListenStream=");
                (void)close(fds[i]);
        }
}

/* ---- many, and no descriptors ---- */

static void test_many(void **state)
{
        struct fixture *f = *state;

        must_open_at(f, "127.0.0.1");
        for (size_t i = 0; i < 200; i++)
                assert_int_equal(connect_v4(new_client(f, AF_INET), port_of(listener_name(f->l))), 0);
        wait_for(f, 200);
}

/* Takes all that this program may have, but no more than so many: *ret_fds are to be closed. */
static size_t take_descriptors(int ret_fds[CLIENTS_MAX], struct rlimit *ret_old)
{
        struct rlimit few;
        size_t n = 0;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_old), 0);
        few = (struct rlimit){ .rlim_cur = CLIENTS_MAX, .rlim_max = ret_old->rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((ret_fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
                n++;
        assert_int_equal(errno, EMFILE);
        return n;
}

static void expect_sent_away(struct fixture *f, int fd)
{
        char byte;

        assert_true(fake_loop_poll(f->loop, WAIT_MS));
        assert_int_equal(f->n, 0);
        assert_int_equal(read(fd, &byte, 1), 0);
}

static void test_no_descriptors(void **state)
{
        struct fixture *f = *state;
        struct rlimit old;
        int fds[CLIENTS_MAX];
        uint16_t port;
        size_t n;

        must_open_at(f, "127.0.0.1");
        port = port_of(listener_name(f->l));
        for (size_t i = 0; i < 3; i++)
                (void)new_client(f, AF_INET);
        n = take_descriptors(fds, &old);
        assert_int_equal(connect_v4(f->clients[0], port), 0);
        expect_sent_away(f, f->clients[0]);
        /* the listener rests a while, whoever comes */
        assert_int_equal(connect_v4(f->clients[1], port), 0);
        assert_false(fake_loop_poll(f->loop, 0));
        fake_loop_advance(f->loop, 99999);
        assert_false(fake_loop_poll(f->loop, 0));
        fake_loop_advance(f->loop, 1);
        expect_sent_away(f, f->clients[1]);
        assert_ptr_equal(strchr(f->log, '\n'), strrchr(f->log, '\n')); /* said once */
        expect_log(f, "clients are sent away: Too many open files: LimitNOFILE= of the service is too low");
        while (n > 0)
                (void)close(fds[--n]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        fake_loop_advance(f->loop, 100000);
        assert_int_equal(connect_v4(f->clients[2], port), 0);
        wait_for(f, 1);
        expect_log(f, "clients come in again, after 0.2 s in which 2 were sent away");
}

/* ---- TLS ---- */

static void test_tls(void **state)
{
        struct fixture *f = *state;
        struct tls_files files;
        char hello[] = "\x16\x03\x01\x00\x05";
        char missing[] = "/nonexistent/server.crt";

        tls_files_init(&files);
        tls_files_make(&files, "server", "server", -1, -1, 30);
        f->conf.tls = true;
        f->conf.websocket = true;
        f->conf.cert_file = missing;
        f->conf.key_file = files.key;
        assert_int_equal(open_at(f, "127.0.0.1"), -EINVAL);
        expect_log(f, "cert_file \"/nonexistent/server.crt\": No such file");
        f->conf.cert_file = files.certificate;
        must_open_at(f, "127.0.0.1");
        assert_non_null(strstr(listener_name(f->l), " (websocket, TLS)"));
        f->conf.cert_file = missing;
        listener_reload_tls(f->l);
        expect_log(f, "No such file or directory: it goes on with the certificate that it has");
        f->conf.cert_file = files.certificate;
        listener_reload_tls(f->l);
        assert_string_equal(f->log, "");
        assert_int_equal(connect_v4(new_client(f, AF_INET), port_of(listener_name(f->l))), 0);
        wait_for(f, 1);
        assert_int_equal(write(f->clients[0], hello, sizeof(hello) - 1), sizeof(hello) - 1);
        assert_int_equal(stream_read(f->streams[0], hello, sizeof(hello)), -EAGAIN);
        tls_files_done(&files);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_v4),
                TEST(test_loopback),
                TEST(test_any),
                TEST(test_default_address),
                TEST(test_host_name),
                TEST(test_address_of_later),
                TEST(test_in_use),
                TEST(test_name_of_kind),
                TEST(test_unix),
                TEST(test_unix_stale),
                TEST(test_unix_in_use),
                TEST(test_unix_file),
                TEST(test_unix_replaced),
                TEST(test_unix_bad_paths),
                TEST(test_inherited),
                TEST(test_inherited_bad),
                TEST(test_many),
                TEST(test_no_descriptors),
                TEST(test_tls),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
