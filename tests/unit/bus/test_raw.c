/* SPDX-License-Identifier: MIT */
/* Raw requests through the worker on a fake port: any function, any unit, beside polls. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/bus/worker.h"
#include "mbgate/model/bus_mail.h"

#include "bus_conf.h"
#include "fake_port.h"

#define PATIENCE_US (30 * USEC_PER_SEC)

static struct {
        struct bus_conf c;
        struct fake_port *port;
        struct mailbox *up;
        struct worker *worker;
        uint64_t n_raws;
} rig;

static void quiet(void *user UNUSED, enum log_level level UNUSED, const struct log_fields *fields UNUSED,
                  const char *line UNUSED)
{
}

/* One shared bus with one device: unit 10, holding 0..3. */
static void rig_start_paused(uint32_t interval_ms, uint32_t write_pause_ms)
{
        memset(&rig, 0, sizeof(rig));
        log_set_sink(quiet, NULL);
        bus_conf_init(&rig.c, "/nonexistent/tty");
        rig.c.bus.share = (struct conf_share){ .on = true, .max_age_ms = 1000 };
        (void)bus_conf_device(&rig.c, 10, 50, 1);
        for (uint16_t i = 0; i < 4; i++)
                bus_conf_point(&rig.c, CONF_HOLDING, i, 1, interval_ms)->write_pause_ms = write_pause_ms;
        (void)bus_conf_device(&rig.c, 11, 20, 1); /* which has no points */
        assert_int_equal(fake_port_new(&rig.port), 0);
        assert_int_equal(mailbox_new(worker_up_capacity(&rig.c.conf, 0), &rig.up), 0);
        assert_int_equal(worker_new(&rig.c.conf, 0, &rig.port->port, rig.up, &rig.worker), 0);
        assert_int_equal(worker_start(rig.worker), 0);
}

static void rig_start(uint32_t interval_ms)
{
        rig_start_paused(interval_ms, 0);
}

static int rig_done(void **state UNUSED)
{
        rig.worker = worker_free(rig.worker);
        rig.up = mailbox_free(rig.up);
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
                mail_free(mail);
                if (!mail && ppoll(&fd, 1, &left, NULL) == 0)
                        fail_msg("nothing came from the worker");
        }
}

static void wait_device(enum device_status status)
{
        bool found;

        do {
                struct bus_device_state *m =
                        CONTAINER_OF(next_of(BUS_MAIL_DEVICE), struct bus_device_state, mail);

                found = m->status == status;
                mail_free(&m->mail);
        } while (!found);
}

static struct bus_raw *raw_new(enum bus_raw_class raw_class, uint8_t unit)
{
        struct bus_raw *raw;

        assert_int_equal(bus_raw_new(&raw), 0);
        raw->id = ++rig.n_raws;
        raw->raw_class = raw_class;
        raw->unit = unit;
        raw->timeout_ms = 20;
        return raw;
}

static void post(struct bus_raw *raw)
{
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &raw->mail), 0);
}

static void post_read(enum bus_raw_class raw_class, uint8_t unit, uint16_t address)
{
        struct bus_raw *raw = raw_new(raw_class, unit);

        pdu_read_request(&raw->pdu, PDU_READ_HOLDING, address, 2);
        post(raw);
}

static struct bus_raw_result next_result(void)
{
        struct bus_raw_result *m = CONTAINER_OF(next_of(BUS_MAIL_RAW_RESULT), struct bus_raw_result, mail);
        struct bus_raw_result copy = *m;

        mail_free(&m->mail);
        return copy;
}

static void assert_outcome(enum bus_outcome outcome)
{
        struct bus_raw_result r = next_result();

        assert_int_equal(r.id, rig.n_raws);
        assert_int_equal(r.outcome, outcome);
}

static size_t count_requests(uint8_t unit, unsigned function)
{
        struct fake_request r;
        size_t n = 0;

        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++)
                n += r.unit == unit && r.pdu.bytes[0] == function;
        return n;
}

static void test_read(void **state UNUSED)
{
        struct bus_raw_result r;

        rig_start(20);
        wait_device(DEVICE_ONLINE);
        for (unsigned k = 0; k < 2; k++) {
                post_read(k ? BUS_RAW_COMMAND : BUS_RAW_SHARED, 77, 5); /* no device of ours */
                r = next_result();
                assert_int_equal(r.id, rig.n_raws);
                assert_int_equal(r.raw_class, k ? BUS_RAW_COMMAND : BUS_RAW_SHARED);
                assert_int_equal(r.outcome, BUS_RESULT_OK);
                assert_int_equal(r.unit, 77);
                assert_int_equal(r.reply.n_bytes, 6);
                assert_int_equal(get_be16(r.reply.bytes + 4), 77 * 256 + 6);
                assert_int_equal(r.request.bytes[0], PDU_READ_HOLDING);
                assert_true(r.began_us > 0 && r.done_us >= r.began_us);
        }
}

static void test_exception(void **state UNUSED)
{
        struct bus_raw_result r;

        rig_start(20);
        wait_device(DEVICE_ONLINE);
        fake_port_set_missing(rig.port, 10, 100, true);
        post_read(BUS_RAW_SHARED, 10, 100);
        r = next_result();
        assert_int_equal(r.outcome, BUS_RESULT_EXCEPTION);
        assert_int_equal(r.exception, PDU_EXC_ADDRESS);
        fake_port_set(rig.port, 12, FAKE_REFUSES, PDU_EXC_BUSY); /* handed on, not repeated */
        post_read(BUS_RAW_SHARED, 12, 0);
        r = next_result();
        assert_int_equal(r.exception, PDU_EXC_BUSY);
        assert_int_equal(count_requests(12, PDU_READ_HOLDING), 1);
}

/* What a master wrote is read by the poll at once, however long its interval is. */
static void test_write_is_seen(void **state UNUSED)
{
        static const uint16_t values[] = { 7, 8 };
        struct bus_raw *raw;
        size_t before;
        bool seen = false;

        rig_start(3600000);
        mail_free(next_of(BUS_MAIL_SAMPLES));
        before = count_requests(10, PDU_READ_HOLDING);
        raw = raw_new(BUS_RAW_SHARED, 10);
        pdu_write_request(&raw->pdu, PDU_WRITE_REGISTERS, 3, values, 2);
        post(raw);
        assert_outcome(BUS_RESULT_OK);
        while (!seen) {
                struct bus_samples *m = CONTAINER_OF(next_of(BUS_MAIL_SAMPLES), struct bus_samples, mail);

                for (size_t i = 0; i < m->n_samples; i++)
                        seen |= m->samples[i].point == 3 && m->samples[i].value.i == 7;
                mail_free(&m->mail);
        }
        assert_int_equal(count_requests(10, PDU_READ_HOLDING), before + 1);
        raw = raw_new(BUS_RAW_SHARED, 10); /* beyond what is read */
        pdu_write_request(&raw->pdu, PDU_WRITE_REGISTER, 4, values, 1);
        post(raw);
        assert_outcome(BUS_RESULT_OK);
        post_read(BUS_RAW_SHARED, 10, 0);
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_READ_HOLDING), before + 2);
}

/* Two are heard to be silent, then masters are told at once. */
static void assert_given_up(uint8_t unit)
{
        fake_port_set(rig.port, unit, FAKE_SILENT, 0);
        for (unsigned i = 0; i < 2; i++) {
                post_read(BUS_RAW_SHARED, unit, 0);
                assert_outcome(BUS_RESULT_TIMEOUT);
        }
        post_read(BUS_RAW_SHARED, unit, 0);
        assert_outcome(BUS_RESULT_OFFLINE);
        assert_int_equal(count_requests(unit, PDU_READ_HOLDING), 2);
}

/* Nobody is there, or a device that is never polled; a person may try all the same. */
static void test_silent_stranger(void **state UNUSED)
{
        rig_start(3600000);
        wait_device(DEVICE_ONLINE);
        assert_given_up(11);
        assert_given_up(33);
        post_read(BUS_RAW_COMMAND, 33, 0);
        assert_outcome(BUS_RESULT_TIMEOUT);
        fake_port_set(rig.port, 33, FAKE_ANSWERS, 0);
        post_read(BUS_RAW_COMMAND, 33, 0);
        assert_outcome(BUS_RESULT_OK);
        post_read(BUS_RAW_SHARED, 33, 0); /* it is back for all */
        assert_outcome(BUS_RESULT_OK);
        assert_true(worker_line_free_us(rig.worker) <= clock_monotonic_us());
}

/* A device that is silent at what it does not know stays online; its polls wait for the late reply. */
static void test_silence_is_no_failure(void **state UNUSED)
{
        uint64_t silent_us = 0;
        struct fake_request r;
        struct mail *mail;

        rig_start(20);
        wait_device(DEVICE_ONLINE);
        fake_port_set(rig.port, 10, FAKE_DEAF, 0);
        for (unsigned i = 0; i < 5; i++) {
                struct bus_raw *raw = raw_new(BUS_RAW_SHARED, 10);

                raw->pdu.bytes[0] = 65;
                raw->pdu.n_bytes = 1;
                post(raw);
                assert_outcome(BUS_RESULT_TIMEOUT);
                mail_free(next_of(BUS_MAIL_SAMPLES));
        }
        while ((mail = mailbox_take(rig.up))) {
                assert_int_not_equal(mail->kind, BUS_MAIL_DEVICE);
                mail_free(mail);
        }
        for (size_t i = 0; fake_port_request(rig.port, i, &r); i++) {
                if (r.pdu.bytes[0] == 65)
                        silent_us = r.at_us;
                else if (silent_us != 0)
                        assert_true(r.at_us >= silent_us + 100 * USEC_PER_MSEC);
        }
}

static void test_refused(void **state UNUSED)
{
        struct bus_raw *raw;

        rig_start(20);
        wait_device(DEVICE_ONLINE);
        raw = raw_new(BUS_RAW_SHARED, 10);
        pdu_read_request(&raw->pdu, PDU_READ_HOLDING, 0, 1);
        raw->deadline_us = 1;
        post(raw);
        assert_outcome(BUS_RESULT_EXPIRED);
        fake_port_set(rig.port, 10, FAKE_SILENT, 0);
        wait_device(DEVICE_OFFLINE);
        post_read(BUS_RAW_SHARED, 10, 0);
        assert_outcome(BUS_RESULT_OFFLINE);
        fake_port_set_open_error(rig.port, -ENOENT);
        fake_port_lose(rig.port, -EIO);
        mail_free(next_of(BUS_MAIL_PORT));
        post_read(BUS_RAW_SHARED, 77, 0);
        assert_outcome(BUS_RESULT_PORT);
}

/* More than may wait: the last one is told so, and none is forgotten when the worker ends. */
static void test_too_many(void **state UNUSED)
{
        unsigned n[BUS_RESULT_STOPPED + 1] = { 0 };
        struct mail *mail;

        rig_start(3600000);
        mail_free(next_of(BUS_MAIL_SAMPLES));
        fake_port_block(rig.port, true);
        for (unsigned i = 0; i < BUS_RAWS_MAX + 1; i++) { /* the first is on the line */
                post_read(i % 2 ? BUS_RAW_SHARED : BUS_RAW_COMMAND, 77, 0);
                while (i == 0 && count_requests(77, PDU_READ_HOLDING) == 0)
                        ;
        }
        worker_stop(rig.worker);
        fake_port_block(rig.port, false);
        while (!worker_has_ended(rig.worker))
                ;
        while ((mail = mailbox_take(rig.up))) {
                if (mail->kind == BUS_MAIL_RAW_RESULT)
                        n[CONTAINER_OF(mail, struct bus_raw_result, mail)->outcome]++;
                mail_free(mail);
        }
        assert_int_equal(n[BUS_RESULT_OK] + n[BUS_RESULT_STOPPED], BUS_RAWS_MAX + 1);
        assert_true(n[BUS_RESULT_STOPPED] >= BUS_RAWS_MAX);
}

static void post_write(enum bus_raw_class raw_class, uint8_t unit, uint16_t address)
{
        struct bus_raw *raw = raw_new(raw_class, unit);

        pdu_write_request(&raw->pdu, PDU_WRITE_REGISTERS, address, (const uint16_t[]){ 1, 2 }, 2);
        post(raw);
}

static void post_command(uint32_t point, uint64_t patience_us)
{
        struct bus_command *c;

        assert_int_equal(bus_command_new(&c), 0);
        c->generation = rig.c.conf.generation;
        c->point = point;
        c->n_regs = 1;
        c->regs[0] = 5;
        c->mask[0] = UINT16_MAX;
        c->deadline_us = clock_monotonic_us() + patience_us;
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &c->mail), 0);
}

static enum bus_outcome next_command_outcome(void)
{
        struct bus_result *m = CONTAINER_OF(next_of(BUS_MAIL_RESULT), struct bus_result, mail);
        enum bus_outcome outcome = m->outcome;

        mail_free(&m->mail);
        return outcome;
}

/* Memories that wear out: whoever wrote, our own next write keeps the pause, and other masters have to. */
static void test_write_pause(void **state UNUSED)
{
        rig_start_paused(3600000, 60000);
        mail_free(next_of(BUS_MAIL_SAMPLES));
        post_write(BUS_RAW_SHARED, 10, 0);
        assert_outcome(BUS_RESULT_OK);
        post_command(1, 1000); /* it would wait for a minute */
        assert_int_equal(next_command_outcome(), BUS_RESULT_EXPIRED);
        post_command(2, PATIENCE_US);
        assert_int_equal(next_command_outcome(), BUS_RESULT_OK);
        post_write(BUS_RAW_SHARED, 10, 2); /* 2 was just written by a command */
        assert_outcome(BUS_RESULT_CROWDED);
        post_read(BUS_RAW_SHARED, 10, 2);
        assert_outcome(BUS_RESULT_OK);
        assert_int_equal(count_requests(10, PDU_WRITE_REGISTERS), 1);
        /* The gateway's raw requests may do anything, but are remembered; a broadcast is to all. */
        post_write(BUS_RAW_COMMAND, 0, 2);
        assert_outcome(BUS_RESULT_OK);
        post_command(3, 1000);
        assert_int_equal(next_command_outcome(), BUS_RESULT_EXPIRED);
}

static struct bus_regs *next_regs(void)
{
        return CONTAINER_OF(next_of(BUS_MAIL_REGS), struct bus_regs, mail);
}

/* What polls bring goes up as it was on the line; a command makes it untrue. */
static void test_regs(void **state UNUSED)
{
        struct bus_command *c;
        struct bus_regs *m;

        rig_start(3600000);
        m = next_regs();
        assert_int_equal(m->unit, 10);
        assert_int_equal(m->area, PDU_READ_HOLDING);
        assert_int_equal(m->address, 0);
        assert_int_equal(m->n_regs, 4);
        assert_int_equal(m->regs[3], 10 * 256 + 3);
        assert_true(m->done_us > 0);
        mail_free(&m->mail);
        assert_int_equal(bus_command_new(&c), 0);
        c->generation = rig.c.conf.generation;
        c->point = 1;
        c->n_regs = 1;
        c->regs[0] = 5;
        c->mask[0] = UINT16_MAX;
        c->read_back = true;
        assert_int_equal(mailbox_post(worker_mailbox(rig.worker), &c->mail), 0);
        m = next_regs();
        assert_int_equal(m->unit, 10);
        assert_int_equal(m->n_regs, 0);
        mail_free(&m->mail);
        m = next_regs();
        assert_int_equal(m->address, 1);
        assert_int_equal(m->n_regs, 1);
        assert_int_equal(m->regs[0], 5);
        mail_free(&m->mail);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_read, rig_done),
                cmocka_unit_test_teardown(test_exception, rig_done),
                cmocka_unit_test_teardown(test_write_is_seen, rig_done),
                cmocka_unit_test_teardown(test_silent_stranger, rig_done),
                cmocka_unit_test_teardown(test_silence_is_no_failure, rig_done),
                cmocka_unit_test_teardown(test_refused, rig_done),
                cmocka_unit_test_teardown(test_too_many, rig_done),
                cmocka_unit_test_teardown(test_write_pause, rig_done),
                cmocka_unit_test_teardown(test_regs, rig_done),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
