/* SPDX-License-Identifier: MIT */
/* A stream of Modbus TCP. What is consumed was there; what is answered fits. */
#include <errno.h>

#include "mbgate/codec/rtu.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        uint16_t tid = fuzz_u16(&in);
        uint8_t unit = fuzz_u8(&in);
        struct pdu request, reply;

        request.n_bytes = 1 + fuzz_u8(&in) % 12;
        fuzz_take(&in, request.bytes, request.n_bytes);
        while (in.n > 0) {
                enum rtu_match match = RTU_MATCH_MORE;
                int r = mbap_match(tid, unit, &request, in.data, in.n, &match, &reply);

                if (r <= 0) {
                        FUZZ_ASSERT(r == 0 || r == -EBADMSG);
                        break;
                }
                FUZZ_ASSERT((size_t)r <= in.n && r > MBAP_BYTES);
                if (match == RTU_MATCH_REPLY)
                        FUZZ_ASSERT(pdu_is_reply(&request, reply.bytes, reply.n_bytes));
                in.data += r;
                in.n -= (size_t)r;
        }
        return 0;
}
