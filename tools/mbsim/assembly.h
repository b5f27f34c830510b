/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a master become requests. An RTU request ends where its function says so, and else (unknown
 * functions, broken frames) at a silence, as in Modbus over serial line 1.02 §2.5.1.1. Pure.
 */
#ifndef MBSIM_ASSEMBLY_H
#define MBSIM_ASSEMBLY_H

#include <stddef.h>
#include <stdint.h>

#include "mbgate/codec/pdu.h"
#include "mbgate/codec/rtu.h"

#define ASSEMBLY_MAX_BYTES (RTU_ADU_MAX_BYTES + MBAP_BYTES)

enum framing {
        FRAMING_RTU,
        FRAMING_MBAP, /* Modbus TCP */
};

enum assembly_result {
        ASSEMBLY_MORE,
        ASSEMBLY_REQUEST,
        ASSEMBLY_BROKEN, /* no request; what was there is forgotten */
};

struct request {
        uint8_t unit;
        uint16_t tid; /* Modbus TCP: transaction id */
        struct pdu pdu;
        uint8_t adu[ASSEMBLY_MAX_BYTES]; /* as it came, of a broken one too */
        size_t n_adu;
};

struct assembly {
        enum framing framing;
        uint8_t bytes[ASSEMBLY_MAX_BYTES];
        size_t n;
};

/* Takes as many bytes as there is room for; returns how many. */
size_t assembly_add(struct assembly *a, const uint8_t *bytes, size_t n_bytes);

/* The next request in it. Fills *ret->adu for ASSEMBLY_BROKEN too. */
enum assembly_result assembly_take(struct assembly *a, struct request *ret);

/* The line has fallen silent: what is there is a whole frame or a broken one. ASSEMBLY_MORE: it was empty. */
enum assembly_result assembly_end(struct assembly *a, struct request *ret);

#endif
