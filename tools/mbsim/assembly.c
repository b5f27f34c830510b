/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "assembly.h"
#include "mbgate/base/byteorder.h"

size_t assembly_add(struct assembly *a, const uint8_t *bytes, size_t n_bytes)
{
        size_t n = MBGATE_MIN(n_bytes, sizeof(a->bytes) - a->n);

        memcpy(a->bytes + a->n, bytes, n);
        a->n += n;
        return n;
}

/* Moves the first n_adu bytes into a request whose PDU stands `at` there. */
static void assembly_move(struct assembly *a, size_t n_adu, size_t at, size_t n_pdu, struct request *ret)
{
        ret->n_adu = n_adu;
        memcpy(ret->adu, a->bytes, n_adu);
        ret->pdu.n_bytes = n_pdu;
        memcpy(ret->pdu.bytes, a->bytes + at, n_pdu);
        ret->unit = a->bytes[at > 0 ? at - 1 : 0];
        ret->tid = a->framing == FRAMING_MBAP && n_adu >= 2 ? get_be16(a->bytes) : 0;
        a->n -= n_adu;
        memmove(a->bytes, a->bytes + n_adu, a->n);
}

static enum assembly_result assembly_take_all(struct assembly *a, struct request *ret)
{
        size_t n = a->n;
        uint16_t crc = n >= 4 ? rtu_crc(a->bytes, n - 2) : 0;
        bool good = n >= 4 && n <= RTU_ADU_MAX_BYTES && a->bytes[n - 2] == (crc & 0xFF) &&
                    a->bytes[n - 1] == crc >> 8;

        assembly_move(a, n, good ? 1 : 0, good ? n - 3 : 0, ret);
        return good ? ASSEMBLY_REQUEST : ASSEMBLY_BROKEN;
}

static enum assembly_result assembly_take_rtu(struct assembly *a, struct request *ret)
{
        int n_pdu = a->n < 2 ? 0 : pdu_request_bytes(a->bytes + 1, a->n - 1);
        size_t rest, n;

        if (a->n == sizeof(a->bytes))
                return assembly_take_all(a, ret);
        if (n_pdu <= 0 || a->n < (size_t)n_pdu + 3)
                return ASSEMBLY_MORE; /* a function that nobody knows ends with the silence */
        n = (size_t)n_pdu + 3;
        rest = a->n - n;
        a->n = n;
        if (assembly_take_all(a, ret) == ASSEMBLY_BROKEN)
                return ASSEMBLY_BROKEN; /* where the next would begin is unknown: the rest goes too */
        memmove(a->bytes, a->bytes + n, rest);
        a->n = rest;
        return ASSEMBLY_REQUEST;
}

/* Messaging on TCP/IP 1.0b §3.1.3: transaction id, protocol 0, length of what follows. */
static enum assembly_result assembly_take_mbap(struct assembly *a, struct request *ret)
{
        size_t n_follow;

        if (a->n < MBAP_BYTES)
                return ASSEMBLY_MORE;
        n_follow = get_be16(a->bytes + 4);
        if (get_be16(a->bytes + 2) != 0 || n_follow < 2 || n_follow > PDU_MAX_BYTES + 1) {
                assembly_move(a, a->n, 0, 0, ret);
                return ASSEMBLY_BROKEN;
        }
        if (a->n < 6 + n_follow)
                return ASSEMBLY_MORE;
        assembly_move(a, 6 + n_follow, MBAP_BYTES, n_follow - 1, ret);
        return ASSEMBLY_REQUEST;
}

enum assembly_result assembly_take(struct assembly *a, struct request *ret)
{
        return a->framing == FRAMING_RTU ? assembly_take_rtu(a, ret) : assembly_take_mbap(a, ret);
}

enum assembly_result assembly_end(struct assembly *a, struct request *ret)
{
        if (a->n == 0 || a->framing == FRAMING_MBAP)
                return ASSEMBLY_MORE;
        return assembly_take_all(a, ret);
}
