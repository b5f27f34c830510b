/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "judge.h"

#define UNIT_MAX 247 /* on a serial line */

static bool is_in_network(const struct conf_network *n, const uint8_t address[16])
{
        unsigned n_bytes = n->n_bits / 8, n_bits = n->n_bits % 8;

        if (memcmp(n->bytes, address, n_bytes) != 0)
                return false;
        return n_bits == 0 || ((n->bytes[n_bytes] ^ address[n_bytes]) >> (8 - n_bits)) == 0;
}

static bool is_loopback(const uint8_t a[16])
{
        static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff }, one[16] = { [15] = 1 };

        return memcmp(a, one, sizeof(one)) == 0 || (memcmp(a, v4, sizeof(v4)) == 0 && a[12] == 127);
}

bool judge_address(const struct conf_share *share, const uint8_t address[16])
{
        for (size_t i = 0; i < share->n_allow; i++) {
                if (is_in_network(&share->allow[i].network, address))
                        return true;
        }
        return share->n_allow == 0 && is_loopback(address);
}

static bool is_in_ranges(const struct conf_ranges *ranges, uint32_t first, uint32_t last)
{
        for (size_t i = 0; i < ranges->n; i++) {
                if (first >= ranges->list[i].first && last <= ranges->list[i].last)
                        return true;
        }
        return false;
}

static bool spans_are_allowed(const struct conf_allow *allow, const struct pdu_span *spans, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                if (!is_in_ranges(&allow->register_ranges, spans[i].address,
                                  (uint32_t)spans[i].address + spans[i].count - 1))
                        return false;
        }
        return true;
}

/* How far a request comes with an entry. */
enum stage {
        STAGE_UNIT, /* refused there */
        STAGE_FUNCTION,
        STAGE_REGISTERS,
        STAGE_ALLOWED,
};

static enum stage entry_stage(const struct conf_allow *allow, uint8_t unit, const struct pdu *request,
                              const struct pdu_span *spans, unsigned n_spans)
{
        if (!is_in_ranges(&allow->unit_ranges, unit, unit))
                return STAGE_UNIT;
        if (!is_in_ranges(&allow->function_ranges, request->bytes[0], request->bytes[0]))
                return STAGE_FUNCTION;
        return spans_are_allowed(allow, spans, n_spans) ? STAGE_ALLOWED : STAGE_REGISTERS;
}

static enum stage best_stage(const struct conf_bus *bus, const uint8_t address[16], uint8_t unit,
                             const struct pdu *request, const struct pdu_span *spans, unsigned n_spans)
{
        const struct conf_share *share = &bus->share;
        enum stage best = STAGE_UNIT;

        if (share->n_allow == 0)
                return bus->kind == CONF_PORT_TCP || (unit >= 1 && unit <= UNIT_MAX) ? STAGE_ALLOWED
                                                                                     : STAGE_UNIT;
        for (size_t i = 0; i < share->n_allow; i++) {
                if (is_in_network(&share->allow[i].network, address))
                        best = MBGATE_MAX(best, entry_stage(&share->allow[i], unit, request, spans, n_spans));
        }
        return best;
}

/* All devices hear it and none answers: it must be a write. */
static bool is_lost_broadcast(const struct conf_bus *bus, uint8_t unit, const struct pdu_span *spans,
                              unsigned n_spans)
{
        if (bus->kind == CONF_PORT_TCP || bus->share.units[unit] != 0)
                return false;
        return n_spans != 1 || !spans[0].is_write;
}

unsigned judge_request(const struct conf_bus *bus, const uint8_t address[16], uint8_t unit,
                       const struct pdu *request)
{
        struct pdu_span spans[PDU_SPANS_MAX];
        unsigned exception = pdu_check_request(request), n_spans = 0;

        if (exception == 0)
                n_spans = pdu_spans(request, spans);
        switch (best_stage(bus, address, unit, request, spans, n_spans)) {
        case STAGE_UNIT: return PDU_EXC_GATEWAY_PATH;
        case STAGE_FUNCTION: return PDU_EXC_FUNCTION;
        case STAGE_REGISTERS: return PDU_EXC_ADDRESS;
        case STAGE_ALLOWED: break;
        }
        if (exception == 0 && is_lost_broadcast(bus, unit, spans, n_spans))
                return PDU_EXC_GATEWAY_PATH;
        return exception;
}
