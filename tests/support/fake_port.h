/* SPDX-License-Identifier: MIT */
/*
 * A port without a line, for tests of the worker: each device is a table of registers, and what happens to a
 * request is asked of a script. Calls take no real time. The worker's thread calls it; the test's thread may
 * change it through the functions below only (there is a mutex).
 */
#ifndef MBGATE_TESTS_FAKE_PORT_H
#define MBGATE_TESTS_FAKE_PORT_H

#include <pthread.h>
#include <stdbool.h>

#include "mbgate/model/port.h"

#define FAKE_PORT_REGS 256
#define FAKE_PORT_LOG  4096
#define FAKE_SLOW_US   UINT64_C(400000)

enum fake_device {
        FAKE_ANSWERS,
        FAKE_SILENT,
        FAKE_BROKEN,
        FAKE_REFUSES, /* with `exception` */
        FAKE_DEAF,    /* to functions that it does not know, above 23 */
        FAKE_SLOW,    /* answers after FAKE_SLOW_US: who does not wait so long drains the late reply */
};

struct fake_unit {
        enum fake_device state;
        uint8_t exception;
        bool missing[FAKE_PORT_REGS]; /* illegal data address */
        bool silent[FAKE_PORT_REGS];  /* no reply to who asks for it */
        uint16_t regs[FAKE_PORT_REGS];
};

struct fake_request {
        uint8_t unit;
        struct pdu pdu;
        uint64_t timeout_us, at_us;
};

struct fake_port {
        struct port port;
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        struct fake_unit units[248];
        struct fake_request log[FAKE_PORT_LOG]; /* the first so many */
        size_t n_log;
        int open_error; /* −errno of open() */
        int lost_error; /* −errno of the next transact(), once */
        unsigned n_opens, n_closes, n_drains, n_awaits;
        uint64_t turnaround_us; /* replies say that they took so long, which they did not */
        bool is_busy;           /* the line does not become silent */
        uint64_t await_us;      /* what the last await() asked for */
        bool is_open, is_cancelled;
        bool blocks; /* transact() does not return until cancelled or unblocked */
        bool hung_up;
        uint8_t late_unit; /* whose reply the next drain() finds */
        const char *about; /* what describe() says; set before the worker starts */
        int fd;            /* an eventfd that is readable once the other end has hung up */
};

/* 0 or −errno. The port belongs to the worker it is given to, and dies with it. */
MUST_CHECK int fake_port_new(struct fake_port **ret);

void fake_port_set(struct fake_port *f, uint8_t unit, enum fake_device state, uint8_t exception);
void fake_port_set_register(struct fake_port *f, uint8_t unit, uint16_t address, uint16_t value);
uint16_t fake_port_register(struct fake_port *f, uint8_t unit, uint16_t address);
void fake_port_set_missing(struct fake_port *f, uint8_t unit, uint16_t address, bool missing);
void fake_port_set_silent(struct fake_port *f, uint8_t unit, uint16_t address, bool silent);
void fake_port_set_turnaround(struct fake_port *f, uint64_t turnaround_us);
void fake_port_set_open_error(struct fake_port *f, int error);
void fake_port_lose(struct fake_port *f, int error);

/* The other end closes the connection, at rest. It takes the next one. */
void fake_port_hang_up(struct fake_port *f);
void fake_port_block(struct fake_port *f, bool blocks);

/* await() does not return but when woken. */
void fake_port_keep_busy(struct fake_port *f, bool is_busy);

/* Calls of await() so far, and what the last one asked for. */
unsigned fake_port_n_awaits(struct fake_port *f, uint64_t *ret_silence_us);

bool fake_port_is_cancelled(struct fake_port *f);

unsigned fake_port_n_opens(struct fake_port *f);

/* Requests seen so far; one of them (false: not there). */
size_t fake_port_n_requests(struct fake_port *f);
bool fake_port_request(struct fake_port *f, size_t i, struct fake_request *ret);

#endif
