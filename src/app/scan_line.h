/* SPDX-License-Identifier: MIT */
/*
 * The line that --scan and --dump ask: a port of the bus layer, opened with one setting after another. It can
 * send only what reads: functions 1 to 4, 17 and 43. Main thread of a program that does nothing
 * else.
 */
#ifndef MBGATE_APP_SCAN_LINE_H
#define MBGATE_APP_SCAN_LINE_H

#include <stdbool.h>
#include <stdio.h>

#include "mbgate/config/conf.h"
#include "mbgate/model/port.h"

#include "scan_plan.h"

/* For what must be right: long enough for slow devices, and a late reply is waited for. */
#define SCAN_READ_US UINT64_C(1000000)

struct scan_line {
        struct conf *conf; /* holds the strings of `bus` */
        struct conf_bus bus;
        struct port *port;         /* NULL: not open */
        struct rtu_counts counts;  /* of all transactions: what nobody asked for */
        struct rtu_counts unasked; /* heard while nothing was asked */
};

/*
 * Reads a configuration that is given as text, with all its findings on `err` (NULL: none are shown).
 * −EINVAL, −errno.
 */
MUST_CHECK int scan_conf_from_text(const char *text, const char *template_dir, FILE *err,
                                   struct conf **ret_conf);

/* Not open yet. −EINVAL: no such port can be, said on `err`; −errno. */
MUST_CHECK int scan_line_init(struct scan_line *l, const struct scan_options *o, FILE *err);
void scan_line_done(struct scan_line *l);

/* Opens it anew with a setting. −errno; scan_line_reason() says why. */
MUST_CHECK int scan_line_open(struct scan_line *l, const struct scan_setting *s);
const char *scan_line_reason(const struct scan_line *l, int error);

/* What is on the line while nothing is asked. −errno: lost. */
MUST_CHECK int scan_line_listen(struct scan_line *l, uint64_t time_us);

/* enum port_result, or −errno: lost; −EPERM: what writes is not sent. */
MUST_CHECK int scan_line_ask(struct scan_line *l, uint8_t unit, const struct pdu *request,
                             uint64_t timeout_us, struct port_reply *ret);

/*
 * Reads registers or bits from a device that is there, once more if need be. PORT_OK, PORT_EXCEPTION with the
 * code, another enum port_result, or −errno.
 */
MUST_CHECK int scan_line_read(struct scan_line *l, uint8_t unit, enum conf_area area, uint16_t address,
                              uint16_t count, uint16_t *ret_regs, uint8_t *ret_exception);

/* Whether somebody has asked this program to stop (SIGINT, SIGTERM). */
bool scan_is_stopped(void);

#endif
