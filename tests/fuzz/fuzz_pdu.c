/* SPDX-License-Identifier: MIT */
/* Any bytes as request and as reply PDU. */
#include <errno.h>

#include "mbgate/codec/pdu.h"

#include "fuzz.h"

/* Once told, a length stays the same whatever follows. */
static void check_foretold(int (*foretell)(const uint8_t *, size_t), const uint8_t *bytes, size_t n)
{
        int known = 0;

        for (size_t i = 0; i <= n; i++) {
                int r = foretell(bytes, i);

                FUZZ_ASSERT(known == 0 || r == known);
                FUZZ_ASSERT(r == -EBADMSG || (r >= 0 && r <= PDU_MAX_BYTES));
                known = r;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        struct pdu request, reply;
        uint16_t regs[PDU_READ_BITS_MAX];

        check_foretold(pdu_request_bytes, data, n < PDU_MAX_BYTES ? n : PDU_MAX_BYTES);
        check_foretold(pdu_reply_bytes_by_content, data, n < PDU_MAX_BYTES ? n : PDU_MAX_BYTES);
        request.n_bytes = 1 + fuzz_u8(&in) % 12;
        fuzz_take(&in, request.bytes, request.n_bytes);
        reply.n_bytes = in.n < PDU_MAX_BYTES ? in.n : PDU_MAX_BYTES;
        fuzz_take(&in, reply.bytes, reply.n_bytes);
        FUZZ_ASSERT(pdu_reply_bytes(&request) <= PDU_MAX_BYTES);
        for (size_t n_regs = 1; n_regs <= PDU_READ_BITS_MAX; n_regs += n_regs) {
                if (pdu_read_reply(&request, &reply, regs, n_regs) == 0)
                        FUZZ_ASSERT(pdu_is_reply(&request, reply.bytes, reply.n_bytes));
        }
        (void)pdu_is_exception(&request, reply.bytes, reply.n_bytes);
        return 0;
}
