/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/codec/rtu.h"

#define MBAP_LENGTH_AT    4 /* the length counts what stands behind it: unit and PDU */
#define MBAP_LENGTH_BYTES 6
#define MBAP_UNIT_AT      6

/* A server that is no gateway may answer with the unit of its own choice. */
static bool mbap_unit_fits(uint8_t asked, uint8_t answered)
{
        return answered == asked || answered == 0 || answered == 255;
}

/* 0: the header's bytes so far can be Modbus TCP. */
static int mbap_check_header(const uint8_t *bytes, size_t n_bytes)
{
        if (n_bytes >= 3 && bytes[2] != 0)
                return -EBADMSG;
        if (n_bytes >= MBAP_LENGTH_AT && bytes[3] != 0)
                return -EBADMSG;
        if (n_bytes >= MBAP_LENGTH_BYTES) {
                unsigned length = get_be16(bytes + MBAP_LENGTH_AT);

                if (length < 2 || length > 1 + PDU_MAX_BYTES)
                        return -EBADMSG;
        }
        return 0;
}

int mbap_match(uint16_t tid, uint8_t unit, const struct pdu *request, const uint8_t *bytes, size_t n_bytes,
               enum rtu_match *ret_match, struct pdu *ret_reply)
{
        enum rtu_match match = RTU_MATCH_MORE;
        const uint8_t *pdu = bytes + MBAP_BYTES;
        size_t n_total, n_pdu;
        int r = mbap_check_header(bytes, n_bytes);

        if (r < 0)
                return r;
        if (n_bytes < MBAP_LENGTH_BYTES)
                return 0;
        n_total = MBAP_LENGTH_BYTES + (size_t)get_be16(bytes + MBAP_LENGTH_AT);
        if (n_bytes < n_total)
                return 0;

        n_pdu = n_total - MBAP_BYTES;
        if (get_be16(bytes) == tid && mbap_unit_fits(unit, bytes[MBAP_UNIT_AT])) {
                if (pdu_is_exception(request, pdu, n_pdu))
                        match = RTU_MATCH_EXCEPTION;
                else if (pdu_is_reply(request, pdu, n_pdu))
                        match = RTU_MATCH_REPLY;
        }
        *ret_match = match;
        if (match != RTU_MATCH_MORE) {
                memcpy(ret_reply->bytes, pdu, n_pdu);
                ret_reply->n_bytes = n_pdu;
        }
        return (int)n_total;
}

int mbap_request(const uint8_t *bytes, size_t n_bytes, uint16_t *ret_tid, uint8_t *ret_unit,
                 struct pdu *ret_request)
{
        size_t n_total;
        int r = mbap_check_header(bytes, n_bytes);

        if (r < 0)
                return r;
        if (n_bytes < MBAP_LENGTH_BYTES)
                return 0;
        n_total = MBAP_LENGTH_BYTES + (size_t)get_be16(bytes + MBAP_LENGTH_AT);
        if (n_bytes < n_total)
                return 0;
        *ret_tid = get_be16(bytes);
        *ret_unit = bytes[MBAP_UNIT_AT];
        ret_request->n_bytes = n_total - MBAP_BYTES;
        memcpy(ret_request->bytes, bytes + MBAP_BYTES, ret_request->n_bytes);
        return (int)n_total;
}

size_t mbap_frame(uint16_t tid, uint8_t unit, const uint8_t *pdu, size_t n_pdu,
                  uint8_t ret_adu[MBAP_ADU_MAX_BYTES])
{
        put_be16(ret_adu, tid);
        put_be16(ret_adu + 2, 0);
        put_be16(ret_adu + MBAP_LENGTH_AT, (uint16_t)(1 + n_pdu));
        ret_adu[MBAP_UNIT_AT] = unit;
        memcpy(ret_adu + MBAP_BYTES, pdu, n_pdu);
        return MBAP_BYTES + n_pdu;
}
