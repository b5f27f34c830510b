/* SPDX-License-Identifier: MIT */
/*
 * What a device answers: a request's PDU and the registers make the reply's PDU (Modbus Application Protocol
 * 1.1b3 §6). Functions 1 to 6, 15, 16, 17, 22, 23 and 43/14. Pure.
 */
#ifndef MBSIM_SERVE_H
#define MBSIM_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "map.h"
#include "mbgate/codec/pdu.h"

struct serve_result {
        struct pdu reply;
        uint8_t exception;  /* 0: none */
        unsigned n_read;    /* registers or bits served */
        unsigned n_written; /* registers or bits taken */
};

/* Serves a request to a unit that exists. */
void serve_request(struct map *map, uint8_t unit, const struct pdu *request, uint64_t t_ns,
                   struct serve_result *ret);

/* An exception reply to a request. */
void serve_exception(const struct pdu *request, uint8_t code, struct serve_result *ret);

/* The first address and the count that a request names; false for functions without. */
bool serve_address(const struct pdu *request, uint16_t *ret_address, uint16_t *ret_count);

/* Whether a function changes the device. */
bool serve_is_write(uint8_t function);

#endif
