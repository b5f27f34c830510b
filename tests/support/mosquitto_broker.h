/* SPDX-License-Identifier: MIT */
/*
 * A real mosquitto(8) for a test: on a free loopback port, with its files in a temporary folder, killed with
 * the test. Failures end the test (cmocka).
 */
#ifndef MBGATE_TESTS_MOSQUITTO_BROKER_H
#define MBGATE_TESTS_MOSQUITTO_BROKER_H

#include <stdint.h>
#include <sys/types.h>

struct mosquitto_broker {
        char folder[64];
        uint16_t port;
        pid_t pid; /* 0: not running */
};

/* Makes the folder and chooses the port; writes `settings` (lines of mosquitto.conf(5)) behind its own. */
void mosquitto_broker_init(struct mosquitto_broker *b, const char *settings);

/* Starts it and waits until it listens. May be called again after kill() or stop(). */
void mosquitto_broker_start(struct mosquitto_broker *b);

/* SIGKILL, at once. */
void mosquitto_broker_kill(struct mosquitto_broker *b);

/* SIGTERM, and waits. */
void mosquitto_broker_stop(struct mosquitto_broker *b);

/* Kills it and removes the folder. */
void mosquitto_broker_done(struct mosquitto_broker *b);

/* Runs a shell command in the folder; it has to succeed. */
void mosquitto_broker_shell(const struct mosquitto_broker *b, const char *command);

/* A loopback TCP port that nobody listens on now. */
uint16_t test_free_port(void);

#endif
