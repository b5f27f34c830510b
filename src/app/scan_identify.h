/* SPDX-License-Identifier: MIT */
/*
 * What a device says of itself (functions 43/14 and 17), and whether a template fits what is in its
 * registers. Pure.
 */
#ifndef MBGATE_APP_SCAN_IDENTIFY_H
#define MBGATE_APP_SCAN_IDENTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/pdu.h"
#include "mbgate/config/conf.h"

#define SCAN_TEXT_BYTES   64
#define SCAN_SERVER_BYTES 100

/* Printable ASCII, cut; "" where nothing was said. */
struct scan_identity {
        char vendor[SCAN_TEXT_BYTES];
        char product[SCAN_TEXT_BYTES];
        char version[SCAN_TEXT_BYTES];
        char server[SCAN_SERVER_BYTES]; /* function 17, what of it can be read */
};

/* Modbus 1.1b3 §6.21: the basic objects from `object` on. */
void scan_device_id_request(struct pdu *ret, uint8_t object);

/*
 * Takes the objects out of a reply. 0: that was all; > 0: the object to go on with; −EBADMSG: no such reply,
 * or one that is cut off.
 */
MUST_CHECK int scan_device_id_take(struct scan_identity *id, const uint8_t *bytes, size_t n);

/* §6.13: function 17 has no data. */
void scan_server_id_request(struct pdu *ret);

/* Its reply: what of it are letters. −EBADMSG. */
MUST_CHECK int scan_server_id_take(struct scan_identity *id, const uint8_t *bytes, size_t n);

/* What the points of a template say of the registers they were laid over. */
struct scan_evidence {
        unsigned n_points;
        unsigned n_good;   /* numbers that such a point may have */
        unsigned n_strong; /* and that hardly come about by accident: 230 V, 50 Hz, a float of common size */
        unsigned n_wrong;  /* no number at all, or an impossible one */
};

void scan_evidence_add(struct scan_evidence *e, const struct conf_point *p, const uint16_t *regs);

/* Nothing speaks against the template, and enough for it. */
bool scan_evidence_fits(const struct scan_evidence *e);

/* Of two templates that fit: whether `a` explains more. */
bool scan_evidence_is_better(const struct scan_evidence *a, const struct scan_evidence *b);

#endif
