/* SPDX-License-Identifier: MIT */
/* The real loop, over sd-event; the service manager is a socket of ours (sd_notify(3)). */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <sys/wait.h>

#include "mbgate/base/clock.h"
#include "mbgate/loop/loop.h"

/* A machine that is this busy fails the test; otherwise nobody waits for it. */
#define LIMIT_US (30 * USEC_PER_SEC)

struct seen {
        struct loop *loop;
        struct loop_timer *timer;
        unsigned n_calls;
        unsigned n_wanted;
        uint64_t last_us;
        char text[128];
        bool is_alive;
        int notify_fd;
};

static void on_limit(void *user, uint64_t now_us)
{
        (void)now_us;
        loop_exit(user, 99);
}

/* Runs the loop until somebody ends it; 99 after the limit. */
static int run_limited(struct loop *loop)
{
        struct loop_timer *limit;
        int code;

        assert_int_equal(loop_add_timer(loop, on_limit, loop, &limit), 0);
        loop_timer_set(limit, clock_monotonic_us() + LIMIT_US);
        code = loop_run(loop);
        loop_timer_free(limit);
        return code;
}

static void on_io(void *user, int fd, uint32_t events)
{
        struct seen *s = user;
        ssize_t n = read(fd, s->text, sizeof(s->text) - 1);

        assert_true(events & EPOLLIN);
        assert_true(n > 0);
        s->text[n] = '\0';
        loop_exit(s->loop, 7);
}

static void test_io_reads_and_exit_code_comes_back(void **state)
{
        struct seen s = { 0 };
        struct loop_io *io;
        int fds[2];

        (void)state;
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(loop_add_io(s.loop, fds[0], EPOLLIN, on_io, &s, &io), 0);
        assert_int_equal(write(fds[1], "hello", 5), 5);
        assert_int_equal(run_limited(s.loop), 7);
        assert_string_equal(s.text, "hello");
        assert_null(loop_io_free(io));
        (void)close(fds[0]);
        (void)close(fds[1]);
        assert_null(loop_free(s.loop));
}

static void on_tick(void *user, uint64_t now_us)
{
        struct seen *s = user;

        s->last_us = now_us;
        if (++s->n_calls == s->n_wanted)
                loop_exit(s->loop, 0);
        else
                loop_timer_set(s->timer, now_us + 1000);
}

static void test_timer_is_one_shot_and_may_be_set_again(void **state)
{
        struct seen s = { .n_wanted = 3 };
        uint64_t begin_us = clock_monotonic_us();

        (void)state;
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(loop_add_timer(s.loop, on_tick, &s, &s.timer), 0);
        loop_timer_set(s.timer, begin_us + 1000);
        assert_int_equal(run_limited(s.loop), 0);
        assert_int_equal(s.n_calls, 3);
        assert_true(s.last_us >= begin_us + 3000);
        loop_timer_free(s.timer);
        loop_free(s.loop);
}

static void test_timer_that_is_switched_off_does_not_fire(void **state)
{
        struct seen off = { .n_wanted = 1 }, on = { .n_wanted = 2 };
        uint64_t now_us = clock_monotonic_us();

        (void)state;
        assert_int_equal(loop_new(&on.loop), 0);
        off.loop = on.loop;
        assert_int_equal(loop_add_timer(on.loop, on_tick, &off, &off.timer), 0);
        assert_int_equal(loop_add_timer(on.loop, on_tick, &on, &on.timer), 0);
        loop_timer_set(off.timer, now_us);
        loop_timer_set(off.timer, CLOCK_NEVER_US);
        loop_timer_set(on.timer, now_us + 1000);
        assert_int_equal(run_limited(on.loop), 0);
        assert_int_equal(off.n_calls, 0);
        loop_timer_free(off.timer);
        loop_timer_free(on.timer);
        loop_free(on.loop);
}

static void on_signal(void *user, int signo)
{
        struct seen *s = user;

        loop_exit(s->loop, signo);
}

static void test_signal_arrives_in_the_loop(void **state)
{
        struct seen s = { 0 };
        struct loop_signal *source;
        sigset_t set;

        (void)state;
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR1);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(loop_add_signal(s.loop, SIGUSR1, on_signal, &s, &source), 0);
        (void)kill(getpid(), SIGUSR1);
        assert_int_equal(run_limited(s.loop), SIGUSR1);
        loop_signal_free(source);
        loop_free(s.loop);
}

/* An abstract socket as $NOTIFY_SOCKET; its receiving end. */
static int listen_as_manager(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char name[64];
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int n = snprintf(name, sizeof(name), "@mbgate-test-%ld", (long)getpid());

        assert_true(fd >= 0);
        memcpy(address.sun_path, name, (size_t)n);
        address.sun_path[0] = '\0';
        assert_int_equal(bind(fd, (struct sockaddr *)&address,
                              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
                         0);
        (void)setenv("NOTIFY_SOCKET", name, 1);
        return fd;
}

static void stop_listening(int fd)
{
        (void)unsetenv("NOTIFY_SOCKET");
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("WATCHDOG_PID");
        (void)close(fd);
}

static void receive_text(int fd, char *text, size_t size)
{
        ssize_t n = recv(fd, text, size - 1, MSG_DONTWAIT);

        assert_true(n >= 0);
        text[n] = '\0';
}

static void test_notify_sends_what_was_formatted(void **state)
{
        int fd = listen_as_manager();
        struct loop *loop;
        char text[128];

        (void)state;
        assert_int_equal(loop_new(&loop), 0);
        loop_notify(loop, "READY=1\nSTATUS=%d of %d", 1, 2);
        receive_text(fd, text, sizeof(text));
        assert_string_equal(text, "READY=1\nSTATUS=1 of 2");
        loop_free(loop);
        stop_listening(fd);
}

static void test_notify_without_a_manager_does_nothing(void **state)
{
        static const char *const nobody[] = { "", "/nonexistent/notify", "@mbgate-test-nobody", "@",
                                              "relative/notify" };
        struct loop *loop;

        (void)state;
        assert_int_equal(loop_new(&loop), 0);
        (void)unsetenv("NOTIFY_SOCKET");
        loop_notify(loop, "READY=1");
        for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
                (void)setenv("NOTIFY_SOCKET", nobody[i], 1);
                loop_notify(loop, "READY=1");
        }
        (void)unsetenv("NOTIFY_SOCKET");
        loop_free(loop);
}

/* Makes the manager's queue full; how many messages it took. */
static unsigned fill_queue(int fd)
{
        struct sockaddr_un address;
        socklen_t length = sizeof(address);
        int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        unsigned n = 0;

        assert_true(out >= 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
        while (sendto(out, "FULL=1", 6, 0, (const struct sockaddr *)&address, length) == 6)
                n++;
        assert_int_equal(errno, EAGAIN);
        (void)close(out);
        return n;
}

static void on_read_all(void *user, uint64_t now_us)
{
        struct seen *s = user;
        char text[64];

        while (recv(s->notify_fd, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) > 0) {
                receive_text(s->notify_fd, text, sizeof(text));
                if (strcmp(text, "FULL=1") == 0)
                        continue;
                (void)snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text), "%s;", text);
                s->n_calls++;
        }
        if (s->n_calls >= s->n_wanted)
                loop_exit(s->loop, 0);
        else
                loop_timer_set(s->timer, now_us + 1000);
}

/* A manager that does not read holds up nobody, and is told everything in order once it does. */
static void test_notify_never_waits(void **state)
{
        struct seen s = { .n_wanted = 3, .notify_fd = listen_as_manager() };

        (void)state;
        assert_int_equal(loop_new(&s.loop), 0);
        assert_true(fill_queue(s.notify_fd) > 0);
        loop_notify(s.loop, "READY=1");
        loop_notify(s.loop, "STATUS=one");
        loop_notify(s.loop, "STATUS=two");
        assert_int_equal(loop_add_timer(s.loop, on_read_all, &s, &s.timer), 0);
        loop_timer_set(s.timer, 0);
        assert_int_equal(run_limited(s.loop), 0);
        assert_string_equal(s.text, "READY=1;STATUS=one;STATUS=two;");
        loop_timer_free(s.timer);
        /* More than can wait, and an end before they are gone. */
        (void)fill_queue(s.notify_fd);
        for (unsigned i = 0; i < 100; i++)
                loop_notify(s.loop, "STATUS=%u", i);
        loop_free(s.loop);
        stop_listening(s.notify_fd);
}

/* Alive at first; then not, for three questions; then the loop ends. */
static bool on_alive(void *user)
{
        struct seen *s = user;

        s->n_calls++;
        if (s->n_calls == s->n_wanted)
                loop_exit(s->loop, 0);
        return s->n_calls <= 2;
}

static void test_watchdog_is_fed_only_while_alive(void **state)
{
        struct seen s = { .n_wanted = 5 };
        int fd = listen_as_manager();
        unsigned n_fed = 0;
        char text[64];

        (void)state;
        (void)setenv("WATCHDOG_USEC", "20000", 1);
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(loop_watch(s.loop, on_alive, &s), 0);
        assert_int_equal(run_limited(s.loop), 0);
        while (recv(fd, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) > 0) {
                receive_text(fd, text, sizeof(text));
                assert_string_equal(text, "WATCHDOG=1");
                n_fed++;
        }
        assert_int_equal(n_fed, 2);
        loop_free(s.loop);
        stop_listening(fd);
}

static void test_a_watchdog_that_cannot_be_read_is_none(void **state)
{
        static const char *const wrong[] = { "abc", "", "0", "-1", "1000x" };
        struct seen s = { .n_wanted = 1 };

        (void)state;
        assert_int_equal(loop_new(&s.loop), 0);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                (void)setenv("WATCHDOG_USEC", wrong[i], 1);
                assert_int_equal(loop_watch(s.loop, on_alive, &s), LOOP_WATCHDOG_UNREADABLE);
        }
        (void)unsetenv("WATCHDOG_USEC");
        assert_int_equal(s.n_calls, 0);
        loop_free(s.loop);
}

static void test_without_a_watchdog_nobody_is_asked(void **state)
{
        struct seen s = { .n_wanted = 1 };

        (void)state;
        (void)unsetenv("WATCHDOG_USEC");
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(loop_watch(s.loop, on_alive, &s), 0);
        assert_int_equal(loop_add_timer(s.loop, on_tick, &s, &s.timer), 0);
        loop_timer_set(s.timer, 0);
        assert_int_equal(run_limited(s.loop), 0);
        assert_int_equal(s.n_calls, 1);
        loop_timer_free(s.timer);
        loop_free(s.loop);
}

/* Descriptors begin at 3, so a process of its own plays the service manager's child. */
static int take_sockets(void)
{
        struct loop_socket *sockets = NULL;
        size_t n = 0;
        int fds[2];

        if (pipe(fds) < 0 || dup2(fds[0], 4) < 0 || dup2(fds[0], 3) < 0)
                return 1;
        if (loop_take_sockets(&sockets, &n) != 0 || n != 2)
                return 2;
        if (sockets[0].fd != 3 || strcmp(sockets[0].name, "mqtt") != 0 || sockets[1].fd != 4 ||
            strcmp(sockets[1].name, "web") != 0)
                return 3;
        loop_sockets_free(sockets, n);
        if (loop_take_sockets(&sockets, &n) != 0 || n != 0) /* only once */
                return 4;
        loop_sockets_free(sockets, n);
        return 0;
}

static void test_sockets_of_the_service_manager(void **state)
{
        char pid[24];
        int status;
        pid_t child = fork();

        (void)state;
        if (child == 0) {
                (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
                (void)setenv("LISTEN_PID", pid, 1);
                (void)setenv("LISTEN_FDS", "2", 1);
                (void)setenv("LISTEN_FDNAMES", "mqtt:web", 1);
                _exit(take_sockets());
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sockets_of_the_service_manager),
                cmocka_unit_test(test_io_reads_and_exit_code_comes_back),
                cmocka_unit_test(test_timer_is_one_shot_and_may_be_set_again),
                cmocka_unit_test(test_timer_that_is_switched_off_does_not_fire),
                cmocka_unit_test(test_signal_arrives_in_the_loop),
                cmocka_unit_test(test_notify_sends_what_was_formatted),
                cmocka_unit_test(test_notify_without_a_manager_does_nothing),
                cmocka_unit_test(test_notify_never_waits),
                cmocka_unit_test(test_a_watchdog_that_cannot_be_read_is_none),
                cmocka_unit_test(test_watchdog_is_fed_only_while_alive),
                cmocka_unit_test(test_without_a_watchdog_nobody_is_asked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
