/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mbgate/bus/plan.h"
#include "mbgate/bus/worker.h"
#include "mbgate/config/load.h"

#include "scan_line.h"

#define TRIES 2

#define FUNCTION_SERVER_ID 17
#define FUNCTION_DEVICE_ID 43

#define TEXT_BYTES 4352

static void print_errors(const struct conf_report *report, FILE *err)
{
        for (size_t i = 0; err && i < report->n_lines; i++) {
                const char *said = strstr(report->lines[i], "error: ");

                if (said)
                        (void)fprintf(err, "mbgated: %s\n", said);
        }
}

int scan_conf_from_text(const char *text, const char *template_dir, FILE *err, struct conf **ret_conf)
{
        struct conf_load_options options = { .template_dir = template_dir };
        struct conf_report report = { .n_lines = 0 };
        int fd CLEANUP(cleanup_close)
        = memfd_create("mbgate-scan", MFD_CLOEXEC);
        size_t n = strlen(text);
        char path[32];
        int r;

        if (fd < 0)
                return -errno;
        if (write(fd, text, n) != (ssize_t)n)
                return -EIO;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = conf_load(path, &options, &report, ret_conf);
        print_errors(&report, err);
        conf_report_done(&report);
        return r;
}

int scan_line_init(struct scan_line *l, const struct scan_options *o, FILE *err)
{
        const char *port = o->port;
        char text[TEXT_BYTES];
        struct buf b = BUF_ON(text);
        int r;

        *l = (struct scan_line){ .port = NULL };
        buf_append(&b, "buses = ( { name = \"scan\"; port = \"");
        for (; *port; port++) {
                if (*port == '"' || *port == '\\')
                        buf_append_char(&b, '\\');
                buf_append_char(&b, *port);
        }
        buf_append(&b, "\"; } );\n");
        if (b.overflowed)
                return -ENAMETOOLONG;
        r = scan_conf_from_text(text, NULL, err, &l->conf);
        if (r < 0)
                return r;
        l->bus = l->conf->buses[0];
        l->bus.direction = o->direction;
        return 0;
}

static void line_close(struct scan_line *l)
{
        l->port = port_free(l->port);
}

void scan_line_done(struct scan_line *l)
{
        line_close(l);
        l->conf = conf_unref(l->conf);
}

int scan_line_open(struct scan_line *l, const struct scan_setting *s)
{
        int r;

        line_close(l);
        if (s->speed > 0) {
                l->bus.baud = s->speed;
                l->bus.parity = s->parity;
                l->bus.stop_bits = s->stop_bits;
        }
        r = port_libmodbus_new(&l->bus, &l->port);
        return r < 0 ? r : port_open(l->port);
}

const char *scan_line_reason(const struct scan_line *l, int error)
{
        const char *about = l->port ? port_describe(l->port) : "";

        return *about ? about : strerror(-error);
}

static void add(struct rtu_counts *to, const struct rtu_counts *from)
{
        to->n_junk_bytes += from->n_junk_bytes;
        to->n_crc += from->n_crc;
        to->n_foreign += from->n_foreign;
        to->n_echo += from->n_echo;
}

int scan_line_listen(struct scan_line *l, uint64_t time_us)
{
        struct rtu_counts counts = { 0 };
        int r = port_drain(l->port, clock_monotonic_us() + time_us, &counts);

        add(&l->unasked, &counts);
        return r;
}

static bool only_reads(uint8_t function)
{
        return (function >= PDU_READ_COILS && function <= PDU_READ_INPUT) || function == FUNCTION_SERVER_ID ||
               function == FUNCTION_DEVICE_ID;
}

int scan_line_ask(struct scan_line *l, uint8_t unit, const struct pdu *request, uint64_t timeout_us,
                  struct port_reply *ret)
{
        struct port_request r_request = { .unit = unit, .pdu = *request, .timeout_us = timeout_us };
        int r;

        if (!only_reads(request->bytes[0]))
                return -EPERM;
        r = port_transact(l->port, &r_request, ret);
        if (r >= 0)
                add(&l->counts, &ret->counts);
        return r;
}

int scan_line_read(struct scan_line *l, uint8_t unit, enum conf_area area, uint16_t address, uint16_t count,
                   uint16_t *ret_regs, uint8_t *ret_exception)
{
        struct port_reply reply = { .exception = 0 };
        struct pdu request;
        int r = PORT_TIMEOUT;

        pdu_read_request(&request, plan_function(area), address, count);
        for (unsigned i = 0; i < TRIES && (r == PORT_TIMEOUT || r == PORT_BROKEN); i++) {
                r = scan_line_ask(l, unit, &request, SCAN_READ_US, &reply);
                if (r == PORT_TIMEOUT || r == PORT_BROKEN) {
                        struct rtu_counts counts = { 0 };
                        int drained = port_drain(l->port, reply.deadline_us + SCAN_READ_US, &counts);

                        if (drained < 0)
                                return drained;
                }
        }
        *ret_exception = r == PORT_EXCEPTION ? reply.exception : 0;
        if (r == PORT_OK && pdu_read_reply(&request, &reply.pdu, ret_regs, count) < 0)
                return PORT_BROKEN;
        return r;
}
