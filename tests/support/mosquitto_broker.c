/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mosquitto_broker.h"

#define BROKER_START_TRIES 1000 /* of 10 ms */

uint16_t test_free_port(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        (void)close(fd);
        return ntohs(a.sin_port);
}

void mosquitto_broker_init(struct mosquitto_broker *b, const char *settings)
{
        char path[128];
        FILE *f;

        *b = (struct mosquitto_broker){ .port = test_free_port() };
        (void)snprintf(b->folder, sizeof(b->folder), "/tmp/mbgate-broker-XXXXXX");
        assert_non_null(mkdtemp(b->folder));
        (void)snprintf(path, sizeof(path), "%s/mosquitto.conf", b->folder);
        f = fopen(path, "we");
        assert_non_null(f);
        if (geteuid() == 0)
                (void)fprintf(f, "user root\n");
        (void)fprintf(f, "listener %u 127.0.0.1\nlog_dest file %s/log\n%s", b->port, b->folder, settings);
        assert_int_equal(fclose(f), 0);
}

static void broker_exec(const struct mosquitto_broker *b)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(null_fd, STDOUT_FILENO);
        (void)dup2(null_fd, STDERR_FILENO);
        if (chdir(b->folder) == 0)
                (void)execl("/usr/sbin/mosquitto", "mosquitto", "-c", "mosquitto.conf", (char *)NULL);
        _exit(127);
}

static int broker_listens(const struct mosquitto_broker *b)
{
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_addr = { htonl(INADDR_LOOPBACK) },
                                 .sin_port = htons(b->port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = connect(fd, (struct sockaddr *)&a, sizeof(a));

        (void)close(fd);
        return r == 0;
}

void mosquitto_broker_start(struct mosquitto_broker *b)
{
        int status;

        b->pid = fork();
        assert_true(b->pid >= 0);
        if (b->pid == 0)
                broker_exec(b);
        for (unsigned i = 0; i < BROKER_START_TRIES; i++) {
                if (broker_listens(b))
                        return;
                assert_int_equal(waitpid(b->pid, &status, WNOHANG), 0);
                (void)poll(NULL, 0, 10);
        }
        fail_msg("mosquitto does not listen on port %u", b->port);
}

static void broker_end(struct mosquitto_broker *b, int signo)
{
        if (b->pid <= 0)
                return;
        (void)kill(b->pid, signo);
        while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        b->pid = 0;
}

void mosquitto_broker_kill(struct mosquitto_broker *b)
{
        broker_end(b, SIGKILL);
}

void mosquitto_broker_stop(struct mosquitto_broker *b)
{
        broker_end(b, SIGTERM);
}

void mosquitto_broker_shell(const struct mosquitto_broker *b, const char *command)
{
        char line[2048];

        assert_true(snprintf(line, sizeof(line), "cd %s && { %s; } >>shell.log 2>&1", b->folder, command) <
                    (int)sizeof(line));
        assert_int_equal(system(line), 0);
}

void mosquitto_broker_done(struct mosquitto_broker *b)
{
        mosquitto_broker_kill(b);
        if (b->folder[0])
                mosquitto_broker_shell(b, "rm -rf \"$PWD\"");
        b->folder[0] = '\0';
}
