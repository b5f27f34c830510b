/* SPDX-License-Identifier: MIT */
/* A worker that only listens, on a pseudo-terminal: what another master reads becomes samples, nothing is
 * sent. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/bus/worker.h"
#include "mbgate/model/bus_mail.h"

#include "bus_conf.h"
#include "serial_mode.h"

#define PATIENCE_US (30 * USEC_PER_SEC)

struct rig {
        struct bus_conf c;
        int master, keeper; /* the line's other end; our own hold on it, so that it never hangs up */
        struct mailbox *up;
        struct worker *worker;
};

static struct rig rig;

static void quiet(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        (void)line;
}

/* Unit 10 with holding 0..3 and input 7, unit 11 with holding 0..1. */
static int rig_init(void **state)
{
        static char name[64];
        struct termios raw;
        struct port *port;

        (void)state;
        memset(&rig, 0, sizeof(rig));
        log_set_sink(quiet, NULL);
        rig.master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        assert_true(rig.master >= 0 && grantpt(rig.master) == 0 && unlockpt(rig.master) == 0);
        assert_int_equal(ptsname_r(rig.master, name, sizeof(name)), 0);
        rig.keeper = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(rig.keeper >= 0);
        assert_int_equal(tcgetattr(rig.keeper, &raw), 0);
        cfmakeraw(&raw);
        assert_int_equal(tcsetattr(rig.keeper, TCSANOW, &raw), 0);
        bus_conf_init(&rig.c, name);
        rig.c.bus.mode = CONF_MODE_LISTEN;
        (void)bus_conf_device(&rig.c, 10, 300, 1);
        for (uint16_t i = 0; i < 4; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        (void)bus_conf_point(&rig.c, CONF_INPUT, 7, 1, 20);
        (void)bus_conf_device(&rig.c, 11, 300, 1);
        for (uint16_t i = 0; i < 2; i++)
                (void)bus_conf_point(&rig.c, CONF_HOLDING, i, 1, 20);
        assert_int_equal(port_libmodbus_new(&rig.c.bus, &port), 0);
        assert_int_equal(mailbox_new(worker_up_capacity(&rig.c.conf, 0), &rig.up), 0);
        assert_int_equal(worker_new(&rig.c.conf, 0, port, rig.up, &rig.worker), 0);
        assert_int_equal(worker_start(rig.worker), 0);
        return 0;
}

static int rig_done(void **state)
{
        uint8_t byte;

        (void)state;
        /* Whatever happened, nothing was sent. */
        assert_true(read(rig.master, &byte, 1) < 0 && errno == EAGAIN);
        rig.worker = worker_free(rig.worker);
        rig.up = mailbox_free(rig.up);
        (void)close(rig.keeper);
        (void)close(rig.master);
        log_set_sink(NULL, NULL);
        return 0;
}

static struct mail *next_of(enum bus_mail_kind kind)
{
        uint64_t give_up_us = clock_monotonic_us() + PATIENCE_US;
        struct pollfd fd = { .fd = mailbox_fd(rig.up), .events = POLLIN };

        for (;;) {
                struct mail *mail = mailbox_take(rig.up);
                struct timespec left = clock_remaining(give_up_us, clock_monotonic_us());

                if (mail && mail->kind == (uint32_t)kind)
                        return mail;
                if (mail)
                        mail_free(mail);
                else if (ppoll(&fd, 1, &left, NULL) == 0)
                        fail_msg("nothing came from the worker");
        }
}

static void wait_open(void)
{
        struct bus_port_state *p = CONTAINER_OF(next_of(BUS_MAIL_PORT), struct bus_port_state, mail);

        assert_true(p->is_open);
        mail_free(&p->mail);
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

static void say(uint8_t unit, const char *pdu, size_t n)
{
        uint8_t bytes[PDU_MAX_BYTES], adu[RTU_ADU_MAX_BYTES];

        memcpy(bytes, pdu, n);
        n = rtu_frame(unit, bytes, n, adu);
        assert_int_equal(write(rig.master, adu, n), (ssize_t)n);
}
#define SAY(unit, pdu) say((unit), (pdu), sizeof(pdu) - 1)

static void test_values_of_another_master(void **state)
{
        struct bus_samples *m;

        (void)state;
        wait_open();
        /* Registers 1 to 2 of unit 10: two points; 11 is asked for more than is mapped. */
        SAY(10, "\x03\x00\x01\x00\x02");
        SAY(10, "\x03\x04\x00\x65\x00\x66");
        m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
        assert_int_equal(m->n_samples, 2);
        assert_int_equal(m->samples[0].point, 1);
        assert_int_equal(m->samples[0].value.i, 0x65);
        assert_int_equal(m->samples[1].point, 2);
        assert_int_equal(m->samples[1].value.i, 0x66);
        assert_false(m->on_demand);
        assert_true(m->done_us >= m->began_us && m->began_us > 0);
        mail_free(&m->mail);
        SAY(11, "\x03\x00\x00\x00\x04");
        SAY(11, "\x03\x08\x00\x01\x00\x02\x00\x03\x00\x04");
        m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
        assert_int_equal(m->n_samples, 2);
        assert_int_equal(m->samples[0].point, 5);
        assert_int_equal(m->samples[1].value.i, 2);
        mail_free(&m->mail);
        SAY(10, "\x04\x00\x07\x00\x01");
        SAY(10, "\x04\x02\x00\x09");
        m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
        assert_int_equal(m->samples[0].point, 4);
        mail_free(&m->mail);
        SAY(10, "\x17\x00\x03\x00\x01\x00\x00\x00\x01\x02\x00\x05"); /* reads 3, writes 0 */
        SAY(10, "\x17\x02\x00\x0A");
        m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
        assert_int_equal(m->samples[0].point, 3);
        assert_int_equal(m->samples[0].value.i, 10);
        mail_free(&m->mail);
}

static void test_a_reply_to_nothing_is_no_value(void **state)
{
        struct bus_samples *m;

        (void)state;
        wait_open();
        SAY(10, "\x03\x02\x00\x07"); /* an orphan: of which register? */
        SAY(10, "\x03\x00\x03\x00\x01");
        SAY(11, "\x03\x02\x00\x08"); /* of another unit */
        SAY(10, "\x03\x02\x00\x09");
        m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);
        assert_int_equal(m->n_samples, 1);
        assert_int_equal(m->samples[0].point, 3);
        assert_int_equal(m->samples[0].value.i, 9);
        mail_free(&m->mail);
}

static void test_silent_devices_go_offline(void **state)
{
        (void)state;
        wait_open();
        SAY(10, "\x03\x00\x00\x00\x01");
        SAY(10, "\x83\x02");
        wait_device(0, DEVICE_ONLINE); /* an exception is an answer */
        for (int i = 0; i < 3; i++)
                SAY(10, "\x03\x00\x00\x00\x01");
        wait_device(0, DEVICE_OFFLINE);
        SAY(10, "\x03\x00\x00\x00\x01");
        SAY(10, "\x03\x02\x00\x01");
        wait_device(0, DEVICE_ONLINE);
}

static void test_commands_are_refused(void **state)
{
        struct bus_command *c;
        struct bus_result *r;

        (void)state;
        wait_open();
        for (int op = BUS_OP_WRITE; op <= BUS_OP_READ; op++) {
                assert_int_equal(bus_command_new(&c), 0);
                c->id = 7;
                c->generation = rig.c.conf.generation;
                c->op = (enum bus_command_op)op;
                c->point = 2;
                c->n_regs = 1;
                c->mask[0] = UINT16_MAX;
                assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &c->mail), 0);
                r = CONTAINER_OF(next_of(BUS_MAIL_RESULT), struct bus_result, mail);
                assert_int_equal(r->outcome, BUS_RESULT_LISTENS);
                assert_int_equal(r->began_us, 0);
                mail_free(&r->mail);
        }
}

static void test_what_it_counts(void **state)
{
        struct bus_stats_mail *m;

        (void)state;
        wait_open();
        SAY(10, "\x03\x00\x00\x00\x01");
        SAY(10, "\x03\x02\x00\x01");
        SAY(10, "\x03\x00\x00\x00\x01");
        SAY(10, "\x83\x06");
        SAY(99, "\x06\x00\x01\x00\x01"); /* nobody's device: counted all the same */
        SAY(99, "\x06\x00\x01\x00\x01");
        SAY(10, "\x03\x02\x00\x01"); /* orphan */
        SAY(0, "\x06\x00\x01\x00\x01");
        assert_int_equal(write(rig.master, "\x00\x00\x00", 3), 3);
        SAY(11, "\x03\x00\x00\x00\x01");
        SAY(11, "\x03\x02\x00\x01");
        wait_device(1, DEVICE_ONLINE);
        worker_stop(rig.worker); /* posts the last counters */
        do
                m = CONTAINER_OF(next_of(BUS_MAIL_STATS), struct bus_stats_mail, mail);
        while (m->stats.n_ok < 4 && (mail_free(&m->mail), true));
        assert_int_equal(m->stats.n_transactions, 5);
        assert_int_equal(m->stats.n_ok, 4);
        assert_int_equal(m->stats.n_exceptions[6], 1);
        assert_int_equal(m->stats.n_writes, 2);
        assert_int_equal(m->stats.n_foreign, 1);
        assert_int_equal(m->stats.n_junk_bytes, 3);
        assert_int_equal(m->stats.n_timeouts, 0);
        mail_free(&m->mail);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_values_of_another_master, rig_init, rig_done),
                cmocka_unit_test_setup_teardown(test_a_reply_to_nothing_is_no_value, rig_init, rig_done),
                cmocka_unit_test_setup_teardown(test_silent_devices_go_offline, rig_init, rig_done),
                cmocka_unit_test_setup_teardown(test_commands_are_refused, rig_init, rig_done),
                cmocka_unit_test_setup_teardown(test_what_it_counts, rig_init, rig_done),
        };

        if (!serial_mode_is_known()) {
                print_message("skipped: serial lines cannot be set up here (TCGETS2)\n");
                return SERIAL_MODE_SKIPPED;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
