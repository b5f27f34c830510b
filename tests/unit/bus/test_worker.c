/* SPDX-License-Identifier: MIT */
/* The worker on a fake port: samples, commands, exceptions, dead devices, lost ports, reload, stop. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/bus/plan.h"
#include "mbgate/bus/worker.h"
#include "mbgate/model/bus_mail.h"

#include "bus_conf.h"
#include "fake_port.h"

#define PATIENCE_US (30 * USEC_PER_SEC)

struct rig {
        struct bus_conf c;
        struct fake_port *port;
        struct mailbox *up;
        struct worker *worker;
        uint64_t n_commands;
};

static struct rig rig;

/* What the log is asked for: how many lines hold these words, and the last of them. */
static struct {
        const char *words; /* set before the worker starts */
        _Atomic unsigned n;
        char last[256];
} said;

static void listen_to(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        if (!said.words || !strstr(line, said.words))
                return;
        (void)snprintf(said.last, sizeof(said.last), "%s", line);
        atomic_fetch_add(&said.n, 1);
}

/* One bus with two devices: unit 10 with holding 0..3, unit 11 with holding 0..1. */
static void rig_init(void)
{
        memset(&rig, 0, sizeof(rig));
        said.words = NULL;
        atomic_store(&said.n, 0);
        log_set_sink(listen_to, NULL);
        bus_conf_init(&rig.c, "/nonexistent/tty");
        (void)bus_conf_device(&rig.c, 10, 50, 1);
        for (uint16_t i = 0; i < 4; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        (void)bus_conf_device(&rig.c, 11, 50, 1);
        for (uint16_t i = 0; i < 2; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        assert_int_equal(fake_port_new(&rig.port), 0);
        assert_int_equal(mailbox_new(worker_up_capacity(&rig.c.conf, 0), &rig.up), 0);
}

static void rig_start(void)
{
        assert_int_equal(worker_new(&rig.c.conf, 0, &rig.port->port, rig.up, &rig.worker), 0);
        assert_int_equal(worker_start(rig.worker), 0);
}

static int rig_done(void **state)
{
        (void)state;
        rig.worker = worker_free(rig.worker);
        rig.up = mailbox_free(rig.up);
        log_set_sink(NULL, NULL);
        return 0;
}

/* The next message; fails the test when none comes. */
static struct mail *next_mail(void)
{
        uint64_t give_up_us = clock_monotonic_us() + PATIENCE_US;
        struct pollfd fd = { .fd = mailbox_fd(rig.up), .events = POLLIN };
        struct mail *mail;

        while (!(mail = mailbox_take(rig.up))) {
                struct timespec left = clock_remaining(give_up_us, clock_monotonic_us());

                if (ppoll(&fd, 1, &left, NULL) == 0)
                        fail_msg("nothing came from the worker");
        }
        return mail;
}

static struct mail *next_of(enum bus_mail_kind kind)
{
        struct mail *mail;

        while ((mail = next_mail())->kind != (uint32_t)kind)
                mail_free(mail);
        return mail;
}

/* Waits for a sample of the point; returns its value (−1: not good). */
static int64_t next_value(uint32_t point, bool on_demand)
{
        for (;;) {
                struct bus_samples *m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
                int64_t value = -2;

                for (size_t i = 0; i < m->n_samples; i++) {
                        if (m->samples[i].point == point && m->on_demand == on_demand)
                                value = m->samples[i].quality == QUALITY_GOOD ? m->samples[i].value.i : -1;
                }
                mail_free(&m->mail);
                if (value != -2)
                        return value;
        }
}

/* Waits for a sample of the point; returns its quality. */
static enum quality next_quality(uint32_t point)
{
        for (;;) {
                struct bus_samples *m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
                int quality = -1;

                for (size_t i = 0; i < m->n_samples; i++) {
                        if (m->samples[i].point == point)
                                quality = (int)m->samples[i].quality;
                }
                mail_free(&m->mail);
                if (quality >= 0)
                        return (enum quality)quality;
        }
}

static enum device_status next_status(uint32_t device)
{
        for (;;) {
                struct bus_device_state *m =
                        CONTAINER_OF(next_of(BUS_MAIL_DEVICE), struct bus_device_state, mail);
                enum device_status status = m->status;
                bool found = m->device == device;

                mail_free(&m->mail);
                if (found)
                        return status;
        }
}

static void wait_port(bool is_open)
{
        for (bool found = false; !found;) {
                struct bus_port_state *p = CONTAINER_OF(next_of(BUS_MAIL_PORT), struct bus_port_state, mail);

                found = p->is_open == is_open;
                mail_free(&p->mail);
        }
}

static void wait_device(uint32_t device, enum device_status status)
{
        for (bool found = false; !found;) {
                struct bus_device_state *m =
                        CONTAINER_OF(next_of(BUS_MAIL_DEVICE), struct bus_device_state, mail);

                found = m->device == device && m->status == status;
                mail_free(&m->mail);
        }
}

static struct bus_command *command(enum bus_command_op op, uint32_t point, uint16_t value)
{
        struct bus_command *c;

        assert_int_equal(bus_command_new(&c), 0);
        c->id = ++rig.n_commands;
        c->generation = rig.c.conf.generation;
        c->op = op;
        c->point = point;
        c->posted_us = clock_monotonic_us();
        c->n_regs = 1;
        c->regs[0] = value;
        c->mask[0] = UINT16_MAX;
        return c;
}

static void post(struct bus_command *c)
{
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &c->mail), 0);
}

static struct bus_result next_result(void)
{
        struct bus_result *m = CONTAINER_OF(next_of(BUS_MAIL_RESULT), struct bus_result, mail);
        struct bus_result copy = *m;

        mail_free(&m->mail);
        return copy;
}

static void assert_outcome(enum bus_outcome outcome)
{
        struct bus_result r = next_result();

        assert_int_equal(r.id, rig.n_commands);
        assert_int_equal(r.outcome, outcome);
}

/* Requests of a function to a unit so far. */
static size_t count_requests(uint8_t unit, unsigned function)
{
        struct fake_request r;
        size_t n = 0;

        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++)
                n += r.unit == unit && r.pdu.bytes[0] == function;
        return n;
}

static void test_polls(void **state)
{
        struct bus_port_state *p;

        (void)state;
        rig_init();
        rig_start();
        p = CONTAINER_OF(next_of(BUS_MAIL_PORT), struct bus_port_state, mail);
        assert_true(p->is_open);
        mail_free(&p->mail);
        wait_device(0, DEVICE_ONLINE);
        assert_int_equal(next_value(2, false), 10 * 256 + 2);
        assert_int_equal(next_value(5, false), 11 * 256 + 1);
        fake_port_set_register(rig.port, 10, 2, 77);
        while (next_value(2, false) != 77)
                ;
        assert_false(heartbeat_is_late(worker_heartbeat(rig.worker), clock_monotonic_us()));
}

static void test_write_and_read_back(void **state)
{
        struct bus_command *c;
        struct bus_result r;

        (void)state;
        rig_init();
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        c = command(BUS_OP_WRITE, 2, 512);
        c->read_back = true;
        post(c);
        r = next_result();
        assert_int_equal(r.outcome, BUS_RESULT_OK);
        assert_true(r.began_us > 0 && r.done_us >= r.began_us);
        assert_int_equal(next_value(2, true), 512);
        assert_int_equal(fake_port_register(rig.port, 10, 2), 512);
        post(command(BUS_OP_READ, 1, 0));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(next_value(1, true), 10 * 256 + 1);
}

static void test_masked_write(void **state)
{
        struct bus_command *c;

        (void)state;
        rig_init();
        rig.c.points[1].write_function = PDU_MASK_WRITE;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        fake_port_set_register(rig.port, 10, 0, 0xABCD);
        c = command(BUS_OP_WRITE, 0, 0x0050);
        c->mask[0] = 0x00F0;
        post(c);
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(fake_port_register(rig.port, 10, 0), 0xAB5D);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 1);
        fake_port_set_register(rig.port, 10, 1, 0x1234);
        c = command(BUS_OP_WRITE, 1, 0x0500);
        c->mask[0] = 0x0F00;
        post(c);
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(fake_port_register(rig.port, 10, 1), 0x1534);
        assert_int_equal(count_requests(10, PDU_MASK_WRITE), 1);
}

static void test_commands_refused(void **state)
{
        struct bus_command *c;
        struct bus_result r;

        (void)state;
        rig_init();
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        c = command(BUS_OP_WRITE, 0, 1);
        c->generation = 99;
        post(c);
        assert_outcome(BUS_RESULT_STOPPED);
        post(command(BUS_OP_WRITE, 1000, 1));
        assert_outcome(BUS_RESULT_STOPPED);
        c = command(BUS_OP_WRITE, 0, 1);
        c->n_regs = PDU_WRITE_REGS_MAX + 1;
        post(c);
        assert_outcome(BUS_RESULT_IMPOSSIBLE);
        c = command(BUS_OP_WRITE, 0, 1);
        c->deadline_us = 1;
        post(c);
        assert_outcome(BUS_RESULT_EXPIRED);
        fake_port_set(rig.port, 10, FAKE_REFUSES, PDU_EXC_VALUE);
        post(command(BUS_OP_WRITE, 0, 1));
        r = next_result();
        assert_int_equal(r.outcome, BUS_RESULT_EXCEPTION);
        assert_int_equal(r.exception, PDU_EXC_VALUE);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 1);
}

static void test_write_without_reply_is_not_repeated(void **state)
{
        (void)state;
        rig_init();
        rig_start();
        wait_device(1, DEVICE_ONLINE);
        fake_port_block(rig.port, true);
        fake_port_set(rig.port, 11, FAKE_SILENT, 0);
        post(command(BUS_OP_WRITE, 4, 1));
        fake_port_block(rig.port, false);
        assert_outcome(BUS_RESULT_TIMEOUT);
        wait_device(1, DEVICE_OFFLINE);
        assert_int_equal(count_requests(11, PDU_WRITE_REGISTER), 1);
        post(command(BUS_OP_WRITE, 4, 1));
        assert_outcome(BUS_RESULT_OFFLINE);
        fake_port_set(rig.port, 11, FAKE_ANSWERS, 0);
        wait_device(1, DEVICE_ONLINE);
        assert_int_equal(next_value(4, false), 11 * 256);
}

/* A unit that was silent is left alone for twice its time-out; the other one goes on. */
static void test_hold(void **state)
{
        uint64_t silent_us[3] = { 0 };
        struct fake_request r;
        size_t n = 0;

        (void)state;
        rig_init();
        rig_start();
        wait_device(1, DEVICE_ONLINE);
        fake_port_set(rig.port, 11, FAKE_SILENT, 0);
        wait_device(1, DEVICE_OFFLINE);
        for (size_t i = 0, last = fake_port_n_requests(rig.port);
             i < last && fake_port_request(rig.port, i, &r); i++) {
                if (r.unit != 11)
                        continue;
                silent_us[0] = silent_us[1];
                silent_us[1] = silent_us[2];
                silent_us[2] = r.at_us;
                n++;
        }
        assert_true(n >= 3);
        assert_true(silent_us[1] - silent_us[0] >= 2 * 50 * USEC_PER_MSEC);
        assert_true(silent_us[2] - silent_us[1] >= 2 * 50 * USEC_PER_MSEC);
}

static void test_missing_register(void **state)
{
        (void)state;
        rig_init();
        fake_port_set_missing(rig.port, 10, 1, true);
        rig_start();
        assert_int_equal(next_value(1, false), -1);
        assert_int_equal(next_value(0, false), 10 * 256);
        assert_int_equal(next_value(2, false), 10 * 256 + 2);
        assert_int_equal(next_value(3, false), 10 * 256 + 3);
}

static void test_busy(void **state)
{
        (void)state;
        rig_init();
        fake_port_set(rig.port, 11, FAKE_REFUSES, PDU_EXC_BUSY);
        rig_start();
        wait_device(1, DEVICE_ONLINE); /* an exception proves that it lives */
        post(command(BUS_OP_WRITE, 4, 9));
        fake_port_set(rig.port, 11, FAKE_ANSWERS, 0);
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(fake_port_register(rig.port, 11, 0), 9);
}

/* "Acknowledge" to a write means that it was taken; to a reading, that it should be asked again. */
static void test_acknowledge(void **state)
{
        (void)state;
        rig_init();
        fake_port_set(rig.port, 11, FAKE_REFUSES, PDU_EXC_ACKNOWLEDGE);
        rig_start();
        wait_device(1, DEVICE_ONLINE);
        post(command(BUS_OP_WRITE, 4, 9));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(11, PDU_WRITE_REGISTER), 1);
        fake_port_set(rig.port, 11, FAKE_ANSWERS, 0);
        assert_int_equal(next_value(4, false), 11 * 256);
}

/* What will be refused tomorrow, too, is said to be bad and asked again a minute later. */
static void test_permanent_exception(void **state)
{
        (void)state;
        rig_init();
        fake_port_set(rig.port, 11, FAKE_REFUSES, PDU_EXC_FUNCTION);
        rig_start();
        assert_int_equal(next_value(4, false), -1);
        while (count_requests(10, PDU_READ_HOLDING) < 30)
                (void)poll(NULL, 0, 1);
        assert_int_equal(count_requests(11, PDU_READ_HOLDING), 1);
}

static void test_port_lost(void **state)
{
        struct bus_port_state *p;

        (void)state;
        rig_init();
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        fake_port_lose(rig.port, -5);
        for (bool open = true; open;) {
                p = CONTAINER_OF(next_of(BUS_MAIL_PORT), struct bus_port_state, mail);
                open = p->is_open;
                assert_true(open || p->reason[0] != '\0');
                mail_free(&p->mail);
        }
        wait_device(1, DEVICE_OFFLINE);
        post(command(BUS_OP_WRITE, 0, 1));
        assert_outcome(BUS_RESULT_PORT);
        p = CONTAINER_OF(next_of(BUS_MAIL_PORT), struct bus_port_state, mail);
        assert_true(p->is_open);
        mail_free(&p->mail);
        wait_device(0, DEVICE_ONLINE);
}

/* A write that was on the line when the port went may have reached the device; a reading only has no value.
 */
static void test_port_lost_during_a_command(void **state)
{
        static const enum bus_command_op ops[] = { BUS_OP_WRITE, BUS_OP_READ };
        static const enum bus_outcome outcomes[] = { BUS_RESULT_TIMEOUT, BUS_RESULT_PORT };

        (void)state;
        rig_init();
        for (size_t i = 0; i < 4; i++)
                rig.c.points[i].interval_ms = 3600000;
        for (size_t i = 4; i < 6; i++)
                rig.c.points[i].poll = CONF_POLL_DEMAND;
        rig_start();
        for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
                struct bus_result r;
                size_t n;

                wait_device(0, DEVICE_ONLINE);
                n = fake_port_n_requests(rig.port);
                fake_port_block(rig.port, true);
                post(command(ops[i], 4, 1));
                while (fake_port_n_requests(rig.port) == n)
                        (void)poll(NULL, 0, 1);
                post(command(BUS_OP_WRITE, 5, 1)); /* this one waits behind it */
                fake_port_lose(rig.port, -EIO);
                fake_port_block(rig.port, false);
                for (unsigned k = 0; k < 2; k++) {
                        r = next_result();
                        assert_int_equal(r.outcome, r.id % 2 == 1 ? outcomes[i] : BUS_RESULT_PORT);
                        assert_true((r.began_us != 0) == (r.outcome == BUS_RESULT_TIMEOUT));
                }
        }
        assert_int_equal(count_requests(11, PDU_WRITE_REGISTER), 1);
}

/* What a device holds is not known any more once it was out of sight. */
static void test_what_it_held_is_forgotten_with_the_port(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[0].write_unchanged = false;
        rig.c.points[0].poll = CONF_POLL_DEMAND;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        for (unsigned i = 0; i < 2; i++) {
                post(command(BUS_OP_WRITE, 0, 7));
                assert_outcome(BUS_RESULT_OK);
        }
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 1);
        fake_port_lose(rig.port, -EIO);
        wait_port(false);
        wait_port(true);
        wait_device(0, DEVICE_ONLINE);
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 2);
}

/* In whatever order they come. */
static void wait_all_online(void)
{
        bool is_online[2] = { false };

        while (!is_online[0] || !is_online[1]) {
                struct bus_device_state *m =
                        CONTAINER_OF(next_of(BUS_MAIL_DEVICE), struct bus_device_state, mail);

                is_online[m->device] = m->status == DEVICE_ONLINE;
                mail_free(&m->mail);
        }
}

/* A server that closes what is idle: nobody hears of it, as long as it takes the next connection. */
static void test_hung_up_at_rest(void **state)
{
        (void)state;
        rig_init();
        rig.c.bus.kind = CONF_PORT_TCP;
        rig.c.points[0].write_unchanged = false;
        rig.c.points[0].poll = CONF_POLL_DEMAND;
        rig.port->about = "";
        said.words = "is open again";
        rig_start();
        wait_all_online();
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        for (unsigned i = 2; i < 5; i++) {
                fake_port_hang_up(rig.port);
                while (fake_port_n_opens(rig.port) < i) {
                        struct mail *m = next_mail();

                        assert_true(m->kind == BUS_MAIL_SAMPLES);
                        mail_free(m);
                }
        }
        /* It may have been restarted. */
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 2);
        /* Now it does not. */
        fake_port_set_open_error(rig.port, -ECONNREFUSED);
        fake_port_hang_up(rig.port);
        wait_port(false);
        wait_device(0, DEVICE_OFFLINE);
        fake_port_set_open_error(rig.port, 0);
        wait_port(true);
        wait_device(0, DEVICE_ONLINE);
        assert_int_equal(atomic_load(&said.n), 1);
        assert_true(strstr(said.last, " 1 try") && said.last[strlen(said.last) - 1] == 'y');
}

/* Which requests a unit got from the n-th of all on: the first two. */
static void first_two(uint8_t unit, size_t n, struct fake_request ret[2])
{
        struct fake_request r;
        unsigned found = 0;

        for (size_t i = n; found < 2 && fake_port_request(rig.port, i, &r); i++) {
                if (r.unit == unit)
                        ret[found++] = r;
        }
        assert_int_equal(found, 2);
}

/* A device became slower while the port was away: it is waited for as long as configured, and learned anew.
 */
static void test_slower_after_the_port(void **state)
{
        (void)state;
        rig_init();
        rig.c.devices[1].response_timeout_ms = 500;
        said.words = "no reply within";
        rig_start();
        while (count_requests(11, PDU_READ_HOLDING) < 100)
                mail_free(next_mail());
        fake_port_set(rig.port, 11, FAKE_SLOW, 0);
        fake_port_lose(rig.port, -EIO);
        wait_port(false);
        wait_device(1, DEVICE_OFFLINE); /* as all of them */
        wait_port(true);
        assert_int_equal(next_status(1), DEVICE_ONLINE);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(next_value(4, false), 11 * 256);
        assert_int_equal(atomic_load(&said.n), 0);
}

/* It became slower while it was away: the late reply to a short probe has it asked in full after the hold. */
static void test_slower_after_an_absence(void **state)
{
        struct fake_request r[2];
        size_t n;

        (void)state;
        rig_init();
        rig.c.devices[1].response_timeout_ms = 500;
        said.words = "no reply within";
        rig_start();
        while (count_requests(11, PDU_READ_HOLDING) < 100)
                mail_free(next_mail());
        fake_port_set(rig.port, 11, FAKE_SILENT, 0);
        wait_device(1, DEVICE_OFFLINE);
        n = fake_port_n_requests(rig.port);
        fake_port_set(rig.port, 11, FAKE_SLOW, 0);
        wait_device(1, DEVICE_ONLINE);
        first_two(11, n, r);
        assert_true(r[0].timeout_us < FAKE_SLOW_US && r[1].timeout_us == 500 * USEC_PER_MSEC);
        assert_true(r[1].at_us - r[0].at_us >= 2 * 500 * USEC_PER_MSEC); /* the hold was kept */
        /* And it stays. */
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(next_value(4, false), 11 * 256);
        assert_int_equal(atomic_load(&said.n), 1);
}

/* One block is silent while the other of its device answers: its values are old, and that is said. */
static void test_silent_block(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[3].block = 1;
        said.words = "unit 10: point p3";
        rig_start();
        assert_int_equal(next_value(3, false), 10 * 256 + 3);
        fake_port_set_silent(rig.port, 10, 3, true);
        while (next_quality(3) == QUALITY_GOOD)
                ;
        assert_int_equal(atomic_load(&said.n), 1);
        assert_non_null(strstr(said.last, "no reply to function 3, 1 from 3, 3 times in a row"));
        /* Again and again, but said once; the other block goes on. */
        assert_int_equal(next_quality(3), QUALITY_STALE);
        assert_int_equal(next_value(0, false), 10 * 256);
        assert_int_equal(atomic_load(&said.n), 1);
        fake_port_set_silent(rig.port, 10, 3, false);
        while (next_quality(3) == QUALITY_STALE)
                ;
        assert_int_equal(atomic_load(&said.n), 2);
        assert_non_null(strstr(said.last, "answers again after"));
}

/* One block is silent from the start: it is named and asked less often, and takes nobody down. */
static void test_silent_block_from_the_start(void **state)
{
        size_t n;

        (void)state;
        rig_init();
        rig.c.points[3].area = CONF_INPUT;
        fake_port_set_silent(rig.port, 10, 3, true);
        said.words = "unit 10: no reply within";
        rig_start();
        while (next_quality(3) == QUALITY_GOOD)
                ;
        n = count_requests(10, PDU_READ_INPUT);
        assert_in_range(n, 3, 20);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(next_value(0, false), 10 * 256);
        /* 100 turns of the others are a handful of it. */
        assert_true(count_requests(10, PDU_READ_INPUT) - n <= 5);
        assert_int_equal(atomic_load(&said.n), 0);
        fake_port_set_silent(rig.port, 10, 3, false);
        while (next_quality(3) == QUALITY_STALE)
                ;
}

/* Broken replies alone take a device down in the end, and the log says so. */
static void test_broken_replies_only(void **state)
{
        (void)state;
        rig_init();
        fake_port_set(rig.port, 11, FAKE_BROKEN, 0);
        said.words = "unit 11: broken replies only";
        rig_start();
        assert_int_equal(next_status(1), DEVICE_OFFLINE);
        assert_int_equal(atomic_load(&said.n), 1);
        assert_in_range(count_requests(11, PDU_READ_HOLDING), 12, 13);
        fake_port_set(rig.port, 11, FAKE_ANSWERS, 0);
        assert_int_equal(next_status(1), DEVICE_ONLINE);
}

/* A device becomes slower while it is read: it is never taken for dead, and learned anew. */
static void test_slower_while_read(void **state)
{
        (void)state;
        rig_init();
        rig.c.devices[1].response_timeout_ms = 500;
        said.words = "no reply within";
        rig_start();
        while (count_requests(11, PDU_READ_HOLDING) < 100)
                mail_free(next_mail());
        fake_port_set(rig.port, 11, FAKE_SLOW, 0);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(next_value(4, false), 11 * 256);
        assert_int_equal(atomic_load(&said.n), 0);
}

/* "Device failure" for good: said once, and asked less often; at once as before when it is over. */
static void test_lasting_device_failure(void **state)
{
        size_t n;

        (void)state;
        rig_init();
        fake_port_set(rig.port, 11, FAKE_REFUSES, PDU_EXC_FAILURE);
        said.words = "unit 11: point p4, p5: exception 4";
        rig_start();
        while (atomic_load(&said.n) == 0)
                assert_int_equal(next_value(4, false), -1);
        n = count_requests(11, PDU_READ_HOLDING);
        assert_in_range(n, 10, 11); /* the next one may be on its way */
        for (unsigned i = 0; i < 80; i++)
                (void)next_value(0, false);
        assert_in_range(count_requests(11, PDU_READ_HOLDING) - n, 1, 40);
        assert_int_equal(atomic_load(&said.n), 1);
        fake_port_set(rig.port, 11, FAKE_ANSWERS, 0);
        while (next_value(4, false) < 0)
                ;
        n = count_requests(11, PDU_READ_HOLDING);
        for (unsigned i = 0; i < 20; i++)
                (void)next_value(0, false);
        assert_true(count_requests(11, PDU_READ_HOLDING) - n >= 10);
}

/* Who refuses many points is named with the first of them, and how many there are. */
static void test_refused_points_are_named(void **state)
{
        (void)state;
        rig_init();
        for (uint16_t i = 2; i < 12; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        rig.up = mailbox_free(rig.up);
        assert_int_equal(mailbox_new(worker_up_capacity(&rig.c.conf, 0), &rig.up), 0);
        fake_port_set(rig.port, 11, FAKE_REFUSES, PDU_EXC_FUNCTION);
        said.words = "point p4, p5, p6, p7, p8, p9, p10, p11 and 4 others: refused with exception 1";
        rig_start();
        assert_int_equal(next_value(4, false), -1);
        while (atomic_load(&said.n) == 0)
                mail_free(next_mail());
}

static void test_reload(void **state)
{
        static struct bus_conf other;
        struct bus_reconf *m;
        struct bus_samples *s;
        uint32_t generation;

        (void)state;
        rig_init();
        rig_start();
        wait_device(1, DEVICE_ONLINE);
        bus_conf_init(&other, "/nonexistent/tty");
        other.conf.generation = 2;
        (void)bus_conf_device(&other, 11, 50, 1);
        (void)bus_conf_point(&other, CONF_HOLDING, 1, 1, 20);
        assert_int_equal(bus_reconf_new(conf_ref(&other.conf), conf_unref, 0, &m), 0);
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &m->mail), 0);
        do {
                s = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
                generation = s->generation;
                if (generation == 2) {
                        assert_int_equal(s->n_samples, 1);
                        assert_int_equal(s->samples[0].point, 0);
                        assert_int_equal(s->samples[0].value.i, 11 * 256 + 1);
                }
                mail_free(&s->mail);
        } while (generation != 2);
        post(command(BUS_OP_WRITE, 0, 1)); /* of the old generation */
        assert_outcome(BUS_RESULT_STOPPED);
        worker_free(rig.worker);
        rig.worker = NULL;
        assert_int_equal(atomic_load(&other.conf.n_refs), 1);
        assert_int_equal(atomic_load(&rig.c.conf.n_refs), 1);
}

static void wait_end(void)
{
        while (!worker_has_ended(rig.worker))
                (void)poll(NULL, 0, 1);
}

static void wait_requests(size_t n)
{
        while (fake_port_n_requests(rig.port) < n)
                (void)poll(NULL, 0, 1);
}

/* The worker stands in a transaction: what is posted now waits for its end. */
static void hold_worker(void)
{
        fake_port_block(rig.port, true);
        wait_requests(fake_port_n_requests(rig.port) + 1);
}

/* The same bus by another configuration: one more point before those of the first device. */
static void reload_shifted(struct bus_conf *other)
{
        struct bus_reconf *m;

        bus_conf_init(other, "/nonexistent/tty");
        other->conf.generation = 2;
        (void)bus_conf_device(other, 10, 50, 1);
        (void)snprintf(bus_conf_point(other, CONF_HOLDING, 9, 1, 3600 * 1000)->name, 8, "new");
        for (uint16_t i = 0; i < 4; i++)
                (void)snprintf(bus_conf_point(other, CONF_HOLDING, i, 1, 3600 * 1000)->name, 8, "p%u", i);
        assert_int_equal(bus_reconf_new(conf_ref(&other->conf), conf_unref, 0, &m), 0);
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &m->mail), 0);
}

/* Everything was read and will not be for an hour: only commands bring requests. */
static void rig_start_idle(void)
{
        rig_init();
        for (size_t i = 0; i < rig.c.conf.n_points; i++)
                rig.c.points[i].interval_ms = 3600 * 1000;
        rig_start();
        while (count_requests(10, PDU_READ_HOLDING) == 0 || count_requests(11, PDU_READ_HOLDING) == 0)
                (void)poll(NULL, 0, 1);
}

static void end_before(const struct bus_conf *other)
{
        rig.worker = worker_free(rig.worker);
        assert_int_equal(atomic_load(&other->conf.n_refs), 1);
}

/* One is on the wire. */
static void wait_write(uint8_t unit)
{
        while (count_requests(unit, PDU_WRITE_REGISTER) == 0)
                (void)poll(NULL, 0, 1);
}

static struct bus_command *write_with_read_back(uint32_t point, uint16_t value)
{
        struct bus_command *c = command(BUS_OP_WRITE, point, value);

        c->read_back = true;
        return c;
}

/* Whatever a command of an unchanged point is at, it goes on: on the wire, waiting, before its read-back. */
static void test_reload_keeps_commands(void **state)
{
        static struct bus_conf other;

        (void)state;
        rig_start_idle();
        fake_port_block(rig.port, true);
        post(write_with_read_back(2, 512));
        wait_write(10);
        post(write_with_read_back(1, 77));
        reload_shifted(&other);
        fake_port_block(rig.port, false);
        assert_int_equal(next_result().outcome, BUS_RESULT_OK);
        assert_int_equal(next_value(3, true), 512); /* read back under the new configuration */
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(next_value(2, true), 77);
        assert_int_equal(fake_port_register(rig.port, 10, 1), 77);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 2);
        end_before(&other);
}

/* What is not the same point any more is not written; a write on the wire has its own end. */
static void test_reload_ends_commands_of_what_is_gone(void **state)
{
        static struct bus_conf other;

        (void)state;
        rig_start_idle();
        fake_port_block(rig.port, true);
        post(command(BUS_OP_WRITE, 5, 3));
        wait_write(11);
        post(command(BUS_OP_WRITE, 4, 4)); /* unit 11 will not be there */
        reload_shifted(&other);
        fake_port_block(rig.port, false);
        assert_int_equal(next_result().outcome, BUS_RESULT_OK);
        assert_outcome(BUS_RESULT_STOPPED);
        assert_int_equal(fake_port_register(rig.port, 11, 1), 3);
        assert_int_equal(count_requests(11, PDU_WRITE_REGISTER), 1);
        end_before(&other);
}

/* The value of the n-th write of one register to a unit and address. */
static uint16_t written_value(uint8_t unit, uint16_t address, size_t n, uint64_t *ret_at_us)
{
        struct fake_request r;

        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++) {
                if (r.unit != unit || r.pdu.bytes[0] != PDU_WRITE_REGISTER ||
                    get_be16(r.pdu.bytes + 1) != address || n-- > 0)
                        continue;
                *ret_at_us = r.at_us;
                return get_be16(r.pdu.bytes + 3);
        }
        fail_msg("no such write");
        return 0;
}

/* Readings of a function 3 request of exactly this range. */
static size_t count_reads(uint8_t unit, uint16_t address, uint16_t count)
{
        struct fake_request r;
        size_t n = 0;

        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++)
                n += r.unit == unit && r.pdu.bytes[0] == PDU_READ_HOLDING &&
                     get_be16(r.pdu.bytes + 1) == address && get_be16(r.pdu.bytes + 3) == count;
        return n;
}

static void test_newest_write_wins(void **state)
{
        static const enum bus_outcome outcomes[] = { BUS_RESULT_REPLACED, BUS_RESULT_REPLACED,
                                                     BUS_RESULT_OK };
        uint64_t at_us;

        (void)state;
        rig_init();
        rig.c.points[0].writes = CONF_WRITES_NEWEST;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        hold_worker();
        for (uint16_t i = 0; i < 3; i++)
                post(command(BUS_OP_WRITE, 0, (uint16_t)(100 + i)));
        fake_port_block(rig.port, false);
        for (size_t i = 0; i < 3; i++) {
                struct bus_result r = next_result();

                assert_int_equal(r.id, i + 1);
                assert_int_equal(r.outcome, outcomes[i]);
        }
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 1);
        assert_int_equal(written_value(10, 0, 0, &at_us), 102);
        /* The other points' are all carried out, in order. */
        hold_worker();
        for (uint16_t i = 0; i < 3; i++)
                post(command(BUS_OP_WRITE, 1, (uint16_t)(200 + i)));
        fake_port_block(rig.port, false);
        for (uint16_t i = 0; i < 3; i++) {
                assert_int_equal(next_result().outcome, BUS_RESULT_OK);
                assert_int_equal(written_value(10, 1, i, &at_us), 200 + i);
        }
}

static void test_write_pause(void **state)
{
        uint64_t first_us = 0, second_us = 0, other_us = 0, late_id = 4;
        struct bus_command *late;

        (void)state;
        rig_init();
        rig.c.points[0].write_pause_ms = 200;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        hold_worker();
        post(command(BUS_OP_WRITE, 0, 1));
        post(command(BUS_OP_WRITE, 0, 2));
        post(command(BUS_OP_WRITE, 1, 3));
        fake_port_block(rig.port, false);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(next_result().outcome, BUS_RESULT_OK);
        assert_int_equal(written_value(10, 0, 0, &first_us), 1);
        assert_int_equal(written_value(10, 0, 1, &second_us), 2);
        assert_int_equal(written_value(10, 1, 0, &other_us), 3);
        assert_true(second_us >= first_us + 200 * USEC_PER_MSEC);
        assert_true(other_us < second_us);
        /* Who would have to wait too long is told so. */
        late = command(BUS_OP_WRITE, 0, 5);
        late->deadline_us = late->posted_us + 20 * USEC_PER_MSEC;
        post(command(BUS_OP_WRITE, 0, 4));
        post(late);
        for (size_t i = 0; i < 2; i++) {
                struct bus_result r = next_result();

                assert_int_equal(r.outcome, r.id == late_id ? BUS_RESULT_EXPIRED : BUS_RESULT_OK);
        }
}

/* The worker has begun to wait for silence once more; what for. */
static uint64_t next_await_us(void)
{
        uint64_t silence_us;
        unsigned n = fake_port_n_awaits(rig.port, &silence_us);

        while (fake_port_n_awaits(rig.port, &silence_us) == n)
                (void)poll(NULL, 0, 1);
        return silence_us;
}

/* Until the line is free nothing is settled: a write that comes in the silence goes before the poll. */
static void test_choice_is_made_after_the_silence(void **state)
{
        struct fake_request r;
        uint64_t silence_us;
        unsigned n_awaits;
        size_t n;

        (void)state;
        rig_init();
        rig.c.devices[0].gap_ms = rig.c.devices[0].gap_max_ms = 7;
        for (size_t i = 4; i < 6; i++)
                rig.c.points[i].interval_ms = 3600 * 1000; /* unit 11 is not polled */
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        wait_device(1, DEVICE_ONLINE);
        fake_port_keep_busy(rig.port, true);
        while (next_await_us() != 7 * USEC_PER_MSEC) /* a poll of unit 10 is next */
                ;
        n = fake_port_n_requests(rig.port);
        n_awaits = fake_port_n_awaits(rig.port, &silence_us);
        post(command(BUS_OP_WRITE, 4, 8));
        while (fake_port_n_awaits(rig.port, &silence_us) == n_awaits)
                (void)poll(NULL, 0, 1);
        assert_int_equal(silence_us, 0); /* unit 11 needs no more than the line's own */
        fake_port_keep_busy(rig.port, false);
        assert_outcome(BUS_RESULT_OK);
        assert_true(fake_port_request(rig.port, n, &r));
        assert_int_equal(r.unit, 11);
        assert_int_equal(r.pdu.bytes[0], PDU_WRITE_REGISTER);
}

/* What waits for the pause of a point keeps out nobody else: no other point, no other device, no reload. */
static void test_flooded_point(void **state)
{
        static struct bus_conf other;
        unsigned n[BUS_RESULT_CROWDED + 1] = { 0 };
        uint64_t late_id;

        (void)state;
        rig_init();
        rig.c.points[0].write_pause_ms = 60 * 1000;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        hold_worker();
        for (uint16_t i = 0; i < 300; i++)
                post(command(BUS_OP_WRITE, 0, i));
        fake_port_block(rig.port, false);
        for (unsigned i = 0; i < 300 - BUS_POINT_COMMANDS_MAX + 1; i++) /* one was written */
                n[next_result().outcome]++;
        assert_int_equal(n[BUS_RESULT_CROWDED], 300 - BUS_POINT_COMMANDS_MAX);
        assert_int_equal(n[BUS_RESULT_OK], 1);
        post(command(BUS_OP_WRITE, 1, 7)); /* of the same device */
        assert_outcome(BUS_RESULT_OK);
        post(command(BUS_OP_WRITE, 4, 8));
        assert_outcome(BUS_RESULT_OK);
        post(command(BUS_OP_READ, 4, 0));
        assert_outcome(BUS_RESULT_OK);
        post(command(BUS_OP_WRITE, 0, 9)); /* the place of the one that was written */
        post(command(BUS_OP_WRITE, 0, 9));
        assert_outcome(BUS_RESULT_CROWDED);
        late_id = rig.n_commands;
        reload_shifted(&other); /* which wants no pause */
        for (unsigned i = 0; i < BUS_POINT_COMMANDS_MAX; i++) {
                struct bus_result r = next_result();

                assert_int_equal(r.outcome, BUS_RESULT_OK);
                assert_true(r.id < late_id);
        }
        end_before(&other);
}

/* All the commands that one device may have, and still there is room for another's. */
static void test_flooded_device(void **state)
{
        unsigned n[BUS_RESULT_CROWDED + 1] = { 0 };

        (void)state;
        rig_init();
        for (size_t i = 0; i < 4; i++)
                rig.c.points[i].write_pause_ms = 60 * 1000;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        for (uint32_t i = 0; i < 4; i++) {
                post(command(BUS_OP_WRITE, i, 0));
                assert_outcome(BUS_RESULT_OK);
        }
        for (unsigned i = 0; i < 100; i++)
                post(command(BUS_OP_WRITE, i % 4, 0));
        for (unsigned i = 0; i < 100 - BUS_DEVICE_COMMANDS_MAX; i++)
                n[next_result().outcome]++;
        assert_int_equal(n[BUS_RESULT_CROWDED], 100 - BUS_DEVICE_COMMANDS_MAX);
        post(command(BUS_OP_WRITE, 4, 8));
        assert_outcome(BUS_RESULT_OK);
}

static void test_what_it_holds_is_not_written(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[0].write_unchanged = false;
        rig_start();
        assert_int_equal(next_value(0, false), 10 * 256);
        post(command(BUS_OP_WRITE, 0, 10 * 256));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 0);
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 1);
        /* The device has changed its mind, and a reading has shown it. */
        fake_port_set_register(rig.port, 10, 0, 8);
        while (next_value(0, false) != 8)
                ;
        post(command(BUS_OP_WRITE, 0, 7));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTER), 2);
}

static void test_write_is_repeated(void **state)
{
        uint64_t first_us, second_us;

        (void)state;
        rig_init();
        rig.c.points[0].write_repeat_s = 1;
        rig_start();
        wait_device(0, DEVICE_ONLINE);
        post(command(BUS_OP_WRITE, 0, 77));
        assert_outcome(BUS_RESULT_OK);
        fake_port_set_register(rig.port, 10, 0, 0); /* it has fallen back */
        while (fake_port_register(rig.port, 10, 0) != 77)
                (void)poll(NULL, 0, 1);
        assert_int_equal(written_value(10, 0, 0, &first_us), 77);
        assert_int_equal(written_value(10, 0, 1, &second_us), 77);
        assert_true(second_us >= first_us + USEC_PER_SEC);
}

static void test_once_and_on_demand(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[4].poll = CONF_POLL_ONCE;
        rig.c.points[5].poll = CONF_POLL_DEMAND;
        rig_start();
        assert_int_equal(next_value(4, false), 11 * 256);
        while (count_requests(10, PDU_READ_HOLDING) < 20)
                (void)poll(NULL, 0, 1);
        assert_int_equal(count_requests(11, PDU_READ_HOLDING), 1);
        post(command(BUS_OP_READ, 5, 0));
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(next_value(5, true), 11 * 256 + 1);
        assert_int_equal(count_reads(11, 1, 1), 1);
}

/* What is read seldom comes along with what is read often when that is cheaper than another request. */
static void test_picks_up_neighbours(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[3].address = 11;
        rig.c.points[3].interval_ms = 300;
        rig_start();
        assert_int_equal(next_value(3, false), 10 * 256 + 11);
        while (count_reads(10, 0, 12) < 4)
                (void)poll(NULL, 0, 1);
        assert_int_equal(count_reads(10, 11, 1), 0);
        assert_true(count_reads(10, 0, 3) > 4);
        /* Unless the device refuses what lies between. */
        fake_port_set_missing(rig.port, 10, 7, true);
        while (count_reads(10, 11, 1) < 3)
                (void)poll(NULL, 0, 1);
        assert_int_equal(next_value(3, false), 10 * 256 + 11);
}

/* How dear a request is depends on the silence that the device wants before it, too. */
static void test_picks_up_neighbours_over_a_gap(void **state)
{
        (void)state;
        rig_init();
        rig.c.devices[0].gap_ms = 200;
        rig.c.points[3].address = 60;
        rig.c.points[3].interval_ms = 300;
        rig_start();
        while (count_reads(10, 0, 61) < 2)
                mail_free(next_mail());
        assert_int_equal(count_reads(10, 60, 1), 0);
}

/* What lies between two blocks is refused: these two are read apart, others still together; it is remembered.
 */
static void test_refused_join(void **state)
{
        struct bus_learned *m;
        size_t n;

        (void)state;
        rig_init();
        rig.c.points[2].address = 4;
        rig.c.points[2].interval_ms = 200;
        rig.c.points[3].address = 11;
        rig.c.points[3].interval_ms = 600;
        fake_port_set_turnaround(rig.port, 20000);
        fake_port_set_missing(rig.port, 10, 7, true);
        rig_start();
        m = CONTAINER_OF(next_of(BUS_MAIL_LEARNED), struct bus_learned, mail);
        assert_int_equal(m->n_holes, 1);
        assert_int_equal(m->holes[0].address, 5);
        assert_int_equal(m->holes[0].count, 6);
        mail_free(&m->mail);
        n = count_reads(10, 11, 1);
        while (count_reads(10, 11, 1) < n + 2)
                (void)poll(NULL, 0, 1);
        n = count_reads(10, 0, 5);
        while (count_reads(10, 0, 5) < n + 2)
                (void)poll(NULL, 0, 1);
        assert_true(count_reads(10, 4, 8) + count_reads(10, 0, 12) <= 3);
}

/* Devices that take long to reply are asked for more at once, as soon as that is known. */
static void test_slow_replies(void **state)
{
        (void)state;
        rig_init();
        rig.c.points[2].address = 30;
        rig.c.points[3].address = 31;
        fake_port_set_turnaround(rig.port, 100000);
        rig_start();
        while (count_reads(10, 0, 32) < 10)
                (void)poll(NULL, 0, 1);
        /* By then it has been measured: two requests a round, of which two may be joined when both are due.
         */
        assert_true(count_reads(10, 0, 2) <= 8);
        /* The pick-up counts with it, too. */
        (void)rig_done(state);
        rig_init();
        rig.c.points[3].address = 31;
        rig.c.points[3].interval_ms = 300;
        fake_port_set_turnaround(rig.port, 100000);
        rig_start();
        while (count_reads(10, 0, 32) < 3)
                (void)poll(NULL, 0, 1);
        assert_true(count_reads(10, 0, 3) > 3);
}

/* Where a write came others are expected: readings are cut short. */
static void test_expected_writes(void **state)
{
        struct fake_request r;
        size_t n;

        (void)state;
        rig_init();
        rig.c.bus.write_expected_block_ms = 60;
        for (uint16_t i = 2; i < 80; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        rig_start();
        assert_int_equal(next_value(83, false), 11 * 256 + 79);
        assert_true(count_reads(11, 0, 80) > 0);
        post(command(BUS_OP_WRITE, 0, 1));
        assert_outcome(BUS_RESULT_OK);
        n = fake_port_n_requests(rig.port);
        while (fake_port_n_requests(rig.port) < n + 30)
                (void)poll(NULL, 0, 1);
        for (size_t i = n + 1; i < n + 30 && fake_port_request(rig.port, i, &r); i++)
                assert_true(r.pdu.bytes[0] != PDU_READ_HOLDING || get_be16(r.pdu.bytes + 3) <= 20);
        assert_int_equal(next_value(83, false), 11 * 256 + 79);
}

/* What a device refuses is told above, and what is known from above is not asked for again. */
static void test_learned(void **state)
{
        struct bus_hole holes[4];
        struct bus_learned *m;
        size_t n_holes = 0, n_asked = 0;
        struct fake_request r;

        (void)state;
        for (unsigned run = 0; run < 2; run++) {
                rig_init();
                rig.c.points[2].address = 5;
                rig.c.points[3].address = 6;
                for (uint16_t i = 2; i < 5; i++)
                        fake_port_set_missing(rig.port, 10, i, true);
                assert_int_equal(worker_new(&rig.c.conf, 0, &rig.port->port, rig.up, &rig.worker), 0);
                worker_learn(rig.worker, 0, holes, n_holes);
                assert_int_equal(worker_start(rig.worker), 0);
                assert_int_equal(next_value(3, false), 10 * 256 + 6);
                if (run == 0) {
                        m = CONTAINER_OF(next_of(BUS_MAIL_LEARNED), struct bus_learned, mail);
                        assert_int_equal(m->device, 0);
                        assert_true(m->fingerprint == plan_fingerprint(&rig.c.devices[0]));
                        assert_in_range(m->n_holes, 1, 4);
                        n_holes = m->n_holes;
                        memcpy(holes, m->holes, n_holes * sizeof(holes[0]));
                        assert_int_equal(holes[0].address, 2);
                        assert_int_equal(holes[0].count, 3);
                        mail_free(&m->mail);
                        assert_true(count_reads(10, 0, 7) > 0);
                        (void)rig_done(state);
                }
        }
        while (count_requests(10, PDU_READ_HOLDING) < 20)
                (void)poll(NULL, 0, 1);
        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++)
                n_asked += r.unit == 10 && get_be16(r.pdu.bytes + 1) + get_be16(r.pdu.bytes + 3) > 2 &&
                           get_be16(r.pdu.bytes + 1) < 5;
        assert_int_equal(n_asked, 0);
}

/* A stop comes at the boundary of a transaction, if that is near: the line is free then. */
static void test_stop_lets_a_transaction_end(void **state)
{
        (void)state;
        rig_init();
        fake_port_block(rig.port, true);
        rig_start();
        wait_requests(1);
        worker_stop(rig.worker);
        assert_false(fake_port_is_cancelled(rig.port));
        fake_port_block(rig.port, false);
        wait_end();
        assert_int_equal(worker_line_free_us(rig.worker), 0);
}

/* Who gets the port next must not take for its own what is still to come. */
static void test_stop_says_when_the_line_is_free(void **state)
{
        struct fake_request last;

        (void)state;
        rig_init();
        rig.c.devices[0].response_timeout_ms = 5000;
        rig.c.devices[1].response_timeout_ms = 5000;
        fake_port_block(rig.port, true);
        rig_start();
        wait_requests(1);
        worker_stop(rig.worker);
        wait_end();
        assert_true(fake_port_is_cancelled(rig.port));
        assert_true(fake_port_request(rig.port, 0, &last));
        assert_true(worker_line_free_us(rig.worker) >= last.at_us + 10 * USEC_PER_SEC);
        assert_true(worker_line_free_us(rig.worker) < last.at_us + 11 * USEC_PER_SEC);
}

static void test_line_is_not_free_after_silence(void **state)
{
        struct fake_request last;

        (void)state;
        rig_init();
        fake_port_set(rig.port, 10, FAKE_SILENT, 0);
        fake_port_set(rig.port, 11, FAKE_SILENT, 0);
        rig_start();
        wait_requests(1);
        worker_stop(rig.worker);
        wait_end();
        assert_true(fake_port_request(rig.port, fake_port_n_requests(rig.port) - 1, &last));
        assert_true(worker_line_free_us(rig.worker) >= last.at_us + 300 * USEC_PER_MSEC);
}

static void test_stop_answers_all(void **state)
{
        unsigned n_stopped = 0;
        struct mail *mail;

        (void)state;
        rig_init();
        for (size_t i = 0; i < 2; i++)
                rig.c.devices[i].response_timeout_ms = 5000;
        fake_port_block(rig.port, true);
        rig_start();
        wait_requests(1);
        for (unsigned i = 0; i < 20; i++)
                post(command(BUS_OP_WRITE, 0, 1));
        worker_stop(rig.worker); /* the transaction under way would take long: it is cancelled */
        worker_free(rig.worker);
        rig.worker = NULL;
        while ((mail = mailbox_take(rig.up))) {
                if (mail->kind == BUS_MAIL_RESULT)
                        n_stopped++;
                mail_free(mail);
        }
        assert_int_equal(n_stopped, 20);
}

/* Nobody takes the mail: results are kept, samples replaced, and the worker goes on polling. */
static void test_up_is_full(void **state)
{
        unsigned n_results = 0;

        (void)state;
        rig_init();
        mailbox_free(rig.up);
        assert_int_equal(mailbox_new(8, &rig.up), 0);
        rig_start();
        for (unsigned i = 0; i < 30; i++)
                post(command(BUS_OP_WRITE, 0, (uint16_t)i));
        while (fake_port_n_requests(rig.port) < 100)
                (void)poll(NULL, 0, 1);
        while (n_results < 30) {
                (void)next_result();
                n_results++;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_polls, rig_done),
                cmocka_unit_test_teardown(test_write_and_read_back, rig_done),
                cmocka_unit_test_teardown(test_masked_write, rig_done),
                cmocka_unit_test_teardown(test_commands_refused, rig_done),
                cmocka_unit_test_teardown(test_write_without_reply_is_not_repeated, rig_done),
                cmocka_unit_test_teardown(test_hold, rig_done),
                cmocka_unit_test_teardown(test_missing_register, rig_done),
                cmocka_unit_test_teardown(test_busy, rig_done),
                cmocka_unit_test_teardown(test_acknowledge, rig_done),
                cmocka_unit_test_teardown(test_permanent_exception, rig_done),
                cmocka_unit_test_teardown(test_port_lost, rig_done),
                cmocka_unit_test_teardown(test_port_lost_during_a_command, rig_done),
                cmocka_unit_test_teardown(test_what_it_held_is_forgotten_with_the_port, rig_done),
                cmocka_unit_test_teardown(test_hung_up_at_rest, rig_done),
                cmocka_unit_test_teardown(test_slower_after_the_port, rig_done),
                cmocka_unit_test_teardown(test_slower_after_an_absence, rig_done),
                cmocka_unit_test_teardown(test_silent_block, rig_done),
                cmocka_unit_test_teardown(test_silent_block_from_the_start, rig_done),
                cmocka_unit_test_teardown(test_broken_replies_only, rig_done),
                cmocka_unit_test_teardown(test_slower_while_read, rig_done),
                cmocka_unit_test_teardown(test_lasting_device_failure, rig_done),
                cmocka_unit_test_teardown(test_refused_points_are_named, rig_done),
                cmocka_unit_test_teardown(test_reload, rig_done),
                cmocka_unit_test_teardown(test_reload_keeps_commands, rig_done),
                cmocka_unit_test_teardown(test_reload_ends_commands_of_what_is_gone, rig_done),
                cmocka_unit_test_teardown(test_newest_write_wins, rig_done),
                cmocka_unit_test_teardown(test_write_pause, rig_done),
                cmocka_unit_test_teardown(test_choice_is_made_after_the_silence, rig_done),
                cmocka_unit_test_teardown(test_flooded_point, rig_done),
                cmocka_unit_test_teardown(test_flooded_device, rig_done),
                cmocka_unit_test_teardown(test_what_it_holds_is_not_written, rig_done),
                cmocka_unit_test_teardown(test_write_is_repeated, rig_done),
                cmocka_unit_test_teardown(test_once_and_on_demand, rig_done),
                cmocka_unit_test_teardown(test_picks_up_neighbours, rig_done),
                cmocka_unit_test_teardown(test_picks_up_neighbours_over_a_gap, rig_done),
                cmocka_unit_test_teardown(test_refused_join, rig_done),
                cmocka_unit_test_teardown(test_slow_replies, rig_done),
                cmocka_unit_test_teardown(test_expected_writes, rig_done),
                cmocka_unit_test_teardown(test_learned, rig_done),
                cmocka_unit_test_teardown(test_stop_lets_a_transaction_end, rig_done),
                cmocka_unit_test_teardown(test_stop_says_when_the_line_is_free, rig_done),
                cmocka_unit_test_teardown(test_line_is_not_free_after_silence, rig_done),
                cmocka_unit_test_teardown(test_stop_answers_all, rig_done),
                cmocka_unit_test_teardown(test_up_is_full, rig_done),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
