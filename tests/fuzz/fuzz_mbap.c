/* SPDX-License-Identifier: MIT */
/* A stream of Modbus TCP. What is consumed was there; what is answered fits. */
#include <errno.h>

#include "mbgate/codec/rtu.h"

#include "fuzz.h"

/* As a server sees it: what is taken out can be framed to the same bytes. */
static void requests(struct fuzz_input in)
{
        while (in.n > 0) {
                uint8_t adu[MBAP_ADU_MAX_BYTES], unit;
                struct pdu request;
                uint16_t tid;
                int r = mbap_request(in.data, in.n, &tid, &unit, &request);

                if (r <= 0) {
                        FUZZ_ASSERT(r == -EBADMSG || in.n < MBAP_ADU_MAX_BYTES);
                        return;
                }
                FUZZ_ASSERT((size_t)r <= in.n && request.n_bytes >= 1 && request.n_bytes <= PDU_MAX_BYTES);
                FUZZ_ASSERT(mbap_frame(tid, unit, request.bytes, request.n_bytes, adu) == (size_t)r);
                FUZZ_ASSERT(memcmp(adu, in.data, (size_t)r) == 0);
                if (pdu_check_request(&request) == 0) {
                        struct pdu_span spans[PDU_SPANS_MAX];
                        unsigned n = pdu_spans(&request, spans);

                        for (unsigned i = 0; i < n; i++)
                                FUZZ_ASSERT(spans[i].count >= 1 &&
                                            spans[i].address + spans[i].count <= 65536);
                }
                in.data += r;
                in.n -= (size_t)r;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        uint16_t tid = fuzz_u16(&in);
        uint8_t unit = fuzz_u8(&in);
        struct pdu request, reply;

        requests(in);
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
