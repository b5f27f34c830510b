/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/codec/rtu.h"

#define RTU_OVERHEAD_BYTES 3 /* unit and CRC around a PDU */
#define RTU_ADU_MIN_BYTES  4

/* §2.5.1.1: above 19200 Bd t3.5 is fixed; up to there it counts characters of 11 bits, whatever the format.
 */
#define RTU_FAST_BAUD       19200
#define RTU_T35_FAST_US     1750
#define RTU_CHAR_BITS       11
#define RTU_EXCEPTION_BYTES 5

/* What stands at one place of the window. */
enum rtu_sight {
        RTU_SIGHT_NOTHING,   /* no frame begins here */
        RTU_SIGHT_PENDING,   /* one may, more bytes will tell */
        RTU_SIGHT_REPLY,     /* the answer */
        RTU_SIGHT_EXCEPTION, /* the answer */
        RTU_SIGHT_COPY,      /* the request itself */
        RTU_SIGHT_FOREIGN,
};

/* Reflected polynomial 0xA001, start 0xFFFF: Modbus over serial line 1.02 §6.2.2. */
static const uint16_t rtu_crc_table[256] = {
        0x0000, 0xC0C1, 0xC181, 0x0140, 0xC301, 0x03C0, 0x0280, 0xC241, 0xC601, 0x06C0, 0x0780, 0xC741,
        0x0500, 0xC5C1, 0xC481, 0x0440, 0xCC01, 0x0CC0, 0x0D80, 0xCD41, 0x0F00, 0xCFC1, 0xCE81, 0x0E40,
        0x0A00, 0xCAC1, 0xCB81, 0x0B40, 0xC901, 0x09C0, 0x0880, 0xC841, 0xD801, 0x18C0, 0x1980, 0xD941,
        0x1B00, 0xDBC1, 0xDA81, 0x1A40, 0x1E00, 0xDEC1, 0xDF81, 0x1F40, 0xDD01, 0x1DC0, 0x1C80, 0xDC41,
        0x1400, 0xD4C1, 0xD581, 0x1540, 0xD701, 0x17C0, 0x1680, 0xD641, 0xD201, 0x12C0, 0x1380, 0xD341,
        0x1100, 0xD1C1, 0xD081, 0x1040, 0xF001, 0x30C0, 0x3180, 0xF141, 0x3300, 0xF3C1, 0xF281, 0x3240,
        0x3600, 0xF6C1, 0xF781, 0x3740, 0xF501, 0x35C0, 0x3480, 0xF441, 0x3C00, 0xFCC1, 0xFD81, 0x3D40,
        0xFF01, 0x3FC0, 0x3E80, 0xFE41, 0xFA01, 0x3AC0, 0x3B80, 0xFB41, 0x3900, 0xF9C1, 0xF881, 0x3840,
        0x2800, 0xE8C1, 0xE981, 0x2940, 0xEB01, 0x2BC0, 0x2A80, 0xEA41, 0xEE01, 0x2EC0, 0x2F80, 0xEF41,
        0x2D00, 0xEDC1, 0xEC81, 0x2C40, 0xE401, 0x24C0, 0x2580, 0xE541, 0x2700, 0xE7C1, 0xE681, 0x2640,
        0x2200, 0xE2C1, 0xE381, 0x2340, 0xE101, 0x21C0, 0x2080, 0xE041, 0xA001, 0x60C0, 0x6180, 0xA141,
        0x6300, 0xA3C1, 0xA281, 0x6240, 0x6600, 0xA6C1, 0xA781, 0x6740, 0xA501, 0x65C0, 0x6480, 0xA441,
        0x6C00, 0xACC1, 0xAD81, 0x6D40, 0xAF01, 0x6FC0, 0x6E80, 0xAE41, 0xAA01, 0x6AC0, 0x6B80, 0xAB41,
        0x6900, 0xA9C1, 0xA881, 0x6840, 0x7800, 0xB8C1, 0xB981, 0x7940, 0xBB01, 0x7BC0, 0x7A80, 0xBA41,
        0xBE01, 0x7EC0, 0x7F80, 0xBF41, 0x7D00, 0xBDC1, 0xBC81, 0x7C40, 0xB401, 0x74C0, 0x7580, 0xB541,
        0x7700, 0xB7C1, 0xB681, 0x7640, 0x7200, 0xB2C1, 0xB381, 0x7340, 0xB101, 0x71C0, 0x7080, 0xB041,
        0x5000, 0x90C1, 0x9181, 0x5140, 0x9301, 0x53C0, 0x5280, 0x9241, 0x9601, 0x56C0, 0x5780, 0x9741,
        0x5500, 0x95C1, 0x9481, 0x5440, 0x9C01, 0x5CC0, 0x5D80, 0x9D41, 0x5F00, 0x9FC1, 0x9E81, 0x5E40,
        0x5A00, 0x9AC1, 0x9B81, 0x5B40, 0x9901, 0x59C0, 0x5880, 0x9841, 0x8801, 0x48C0, 0x4980, 0x8941,
        0x4B00, 0x8BC1, 0x8A81, 0x4A40, 0x4E00, 0x8EC1, 0x8F81, 0x4F40, 0x8D01, 0x4DC0, 0x4C80, 0x8C41,
        0x4400, 0x84C1, 0x8581, 0x4540, 0x8701, 0x47C0, 0x4680, 0x8641, 0x8201, 0x42C0, 0x4380, 0x8341,
        0x4100, 0x81C1, 0x8081, 0x4040,
};

static uint16_t rtu_crc_add(uint16_t crc, uint8_t byte)
{
        return (uint16_t)(crc >> 8 ^ rtu_crc_table[(crc ^ byte) & 0xFF]);
}

uint16_t rtu_crc(const uint8_t *bytes, size_t n_bytes)
{
        uint16_t crc = 0xFFFF;

        for (size_t i = 0; i < n_bytes; i++)
                crc = rtu_crc_add(crc, bytes[i]);
        return crc;
}

size_t rtu_frame(uint8_t unit, const uint8_t *pdu, size_t n_pdu, uint8_t ret_adu[RTU_ADU_MAX_BYTES])
{
        uint16_t crc;

        assert(n_pdu <= PDU_MAX_BYTES);
        ret_adu[0] = unit;
        memcpy(ret_adu + 1, pdu, n_pdu);
        crc = rtu_crc(ret_adu, n_pdu + 1);
        ret_adu[n_pdu + 1] = (uint8_t)crc;
        ret_adu[n_pdu + 2] = (uint8_t)(crc >> 8);
        return n_pdu + RTU_OVERHEAD_BYTES;
}

uint32_t rtu_t35_us(uint32_t baud)
{
        if (baud > RTU_FAST_BAUD)
                return RTU_T35_FAST_US;
        if (baud == 0)
                return 0;
        return (uint32_t)((UINT64_C(3500000) * RTU_CHAR_BITS + baud - 1) / baud);
}

uint64_t rtu_wire_us(uint32_t baud, unsigned bits_per_char, size_t n_chars)
{
        if (baud == 0)
                return 0;
        return (UINT64_C(1000000) * bits_per_char * n_chars + baud - 1) / baud;
}

/* A CRC over a frame and its own CRC leaves 0. */
static bool rtu_is_whole(const uint8_t *p, size_t n)
{
        return n >= RTU_ADU_MIN_BYTES && rtu_crc(p, n) == 0;
}

void rtu_matcher_start(struct rtu_matcher *m, uint8_t unit, const struct pdu *request, enum rtu_echo echo)
{
        m->n_window = 0;
        m->scan = (struct rtu_scan){ .at = 0 };
        m->unit = unit;
        m->echo = echo;
        m->request.n_bytes = 0;
        m->n_request_adu = 0;
        m->n_reply = 0;
        if (!request)
                return;
        assert(request->n_bytes >= 1);
        m->request = *request;
        m->n_request_adu = rtu_frame(unit, request->bytes, request->n_bytes, m->request_adu);
        m->n_reply = pdu_reply_bytes(request);
        if (m->n_reply)
                m->n_reply += RTU_OVERHEAD_BYTES;
}

/* Whether n bytes at p could be the head of our reply, of a kind whose length is known. */
static bool rtu_looks_like_reply(const struct rtu_matcher *m, const uint8_t *p, size_t n)
{
        if (m->n_reply == 0 || n < 2 || p[0] != m->unit || p[1] != m->request.bytes[0])
                return false;
        if (p[1] == PDU_WRITE_COIL || p[1] == PDU_WRITE_REGISTER || p[1] == PDU_WRITE_COILS ||
            p[1] == PDU_WRITE_REGISTERS || p[1] == PDU_MASK_WRITE)
                return true;
        return n < 3 || p[2] == m->n_reply - RTU_OVERHEAD_BYTES - 2;
}

static enum rtu_sight rtu_judge(const struct rtu_matcher *m, const uint8_t *p, size_t n)
{
        if (m->n_request_adu == n && memcmp(p, m->request_adu, n) == 0)
                return RTU_SIGHT_COPY;
        if (m->request.n_bytes == 0 || p[0] != m->unit)
                return RTU_SIGHT_FOREIGN;
        if (pdu_is_exception(&m->request, p + 1, n - RTU_OVERHEAD_BYTES))
                return RTU_SIGHT_EXCEPTION;
        if (pdu_is_reply(&m->request, p + 1, n - RTU_OVERHEAD_BYTES))
                return RTU_SIGHT_REPLY;
        return RTU_SIGHT_FOREIGN;
}

/* On a line that may echo, the request itself goes before anything shorter that it begins with. */
static bool rtu_expects_copy(const struct rtu_matcher *m)
{
        return m->echo != RTU_ECHO_OFF && !m->scan.echo_seen && m->n_request_adu > 0;
}

/* The shortest run of bytes with a right CRC, from n_min to n_max bytes. */
static enum rtu_sight rtu_look_run(const struct rtu_matcher *m, const uint8_t *p, size_t n, size_t n_min,
                                   size_t n_max, size_t *ret_len)
{
        uint16_t crc = 0xFFFF;

        for (size_t i = 0; i < n && i < n_max; i++) {
                crc = rtu_crc_add(crc, p[i]);
                if (crc == 0 && i + 1 >= n_min) {
                        *ret_len = i + 1;
                        return rtu_judge(m, p, i + 1);
                }
        }
        return n < n_max ? RTU_SIGHT_PENDING : RTU_SIGHT_NOTHING;
}

/* The reply of our unit to a function whose reply tells no length, or an exception to it. */
static enum rtu_sight rtu_look_unknown(const struct rtu_matcher *m, const uint8_t *p, size_t n,
                                       size_t *ret_len)
{
        uint8_t function = m->request.bytes[0];

        if (p[1] == function)
                return rtu_look_run(m, p, n, RTU_ADU_MIN_BYTES, RTU_ADU_MAX_BYTES, ret_len);
        if (p[1] == (function | PDU_EXCEPTION_FLAG))
                return rtu_look_run(m, p, n, RTU_EXCEPTION_BYTES, RTU_EXCEPTION_BYTES, ret_len);
        return RTU_SIGHT_NOTHING;
}

/* Takes the candidate length of a PDU, as pdu_…_bytes() tell it, into account. */
static bool rtu_try(const uint8_t *p, size_t n, int n_pdu, bool *pending, size_t *ret_len)
{
        size_t len = n_pdu > 0 ? (size_t)n_pdu + RTU_OVERHEAD_BYTES : 0;

        if (n_pdu < 0)
                return false;
        if (n_pdu == 0 || len > n) {
                *pending = true;
                return false;
        }
        if (!rtu_is_whole(p, len))
                return false;
        *ret_len = len;
        return true;
}

/* The two lengths that a known function allows, the shorter first, so that it does not matter what has come.
 */
static enum rtu_sight rtu_look_known(const struct rtu_matcher *m, const uint8_t *p, size_t n, size_t *ret_len)
{
        int n_reply = pdu_reply_bytes_by_content(p + 1, n - 1);
        int n_request = pdu_request_bytes(p + 1, n - 1);
        bool pending = false;

        if (rtu_try(p, n, MBGATE_MIN(n_reply, n_request), &pending, ret_len) ||
            rtu_try(p, n, MBGATE_MAX(n_reply, n_request), &pending, ret_len))
                return rtu_judge(m, p, *ret_len);
        return pending ? RTU_SIGHT_PENDING : RTU_SIGHT_NOTHING;
}

/* What begins at p, of which n bytes are there. `is_last`: no more will come. */
static enum rtu_sight rtu_look(const struct rtu_matcher *m, const uint8_t *p, size_t n, bool is_last,
                               size_t *ret_len)
{
        enum rtu_sight sight;

        if (n < 2)
                return RTU_SIGHT_PENDING;
        if (rtu_expects_copy(m) && memcmp(p, m->request_adu, MBGATE_MIN(n, m->n_request_adu)) == 0) {
                *ret_len = m->n_request_adu;
                if (n >= m->n_request_adu)
                        return RTU_SIGHT_COPY;
                if (!is_last)
                        return RTU_SIGHT_PENDING;
        }
        sight = rtu_look_known(m, p, n, ret_len);
        if (sight == RTU_SIGHT_NOTHING && m->request.n_bytes > 0 && m->n_reply == 0 && p[0] == m->unit)
                sight = rtu_look_unknown(m, p, n, ret_len);
        return sight;
}

/* A frame of ours that is not right: said once, when it is given up. */
static void rtu_count_broken(struct rtu_matcher *m, const uint8_t *p, size_t n)
{
        size_t len = m->n_reply;

        if (m->request.n_bytes == 0 || n < 2 || p[0] != m->unit)
                return;
        if (p[1] == (m->request.bytes[0] | PDU_EXCEPTION_FLAG))
                len = RTU_EXCEPTION_BYTES;
        else if (!rtu_looks_like_reply(m, p, n))
                return;
        m->scan.of_device_seen = true;
        if (n >= len)
                m->scan.counts.n_crc++;
}

static void rtu_give_up_byte(struct rtu_matcher *m, const uint8_t *p, size_t n)
{
        rtu_count_broken(m, p, n);
        m->scan.counts.n_junk_bytes++;
        m->scan.at++;
}

/*
 * Goes behind a foreign frame; but if our reply seems to begin inside it and to end behind it, the frame may
 * be a mirage of noise and the head of the reply: goes there only.
 */
static void rtu_skip_foreign(struct rtu_matcher *m, const uint8_t *p, size_t len)
{
        m->scan.counts.n_foreign++;
        m->scan.counts.foreign_unit = p[0];
        if (m->request.n_bytes > 0 && p[0] == m->unit)
                m->scan.of_device_seen = true;
        for (size_t i = 1; i + 3 <= len; i++) {
                if (i + m->n_reply > len && rtu_looks_like_reply(m, p + i, len - i)) {
                        m->scan.at += i;
                        return;
                }
        }
        m->scan.at += len;
}

/* A copy of the request, which is an echo or, for some functions, the answer: enum rtu_echo. */
static bool rtu_copy_is_reply(struct rtu_matcher *m)
{
        struct rtu_scan *s = &m->scan;
        bool is_first = !s->echo_seen;

        if (rtu_echo_is_ambiguous(&m->request)) {
                if (m->echo == RTU_ECHO_OFF || !is_first || s->copy_seen)
                        return true;
                if (m->echo == RTU_ECHO_AUTO) {
                        s->copy_seen = true;
                        return false;
                }
        }
        s->echo_seen = true;
        if (is_first)
                s->counts.n_echo++;
        else
                s->counts.n_foreign++;
        return false;
}

static enum rtu_match rtu_take(struct rtu_matcher *m, const uint8_t *p, size_t len, struct pdu *ret_reply)
{
        struct rtu_scan *s = &m->scan;

        s->at += len;
        if (s->copy_seen && !s->echo_seen) { /* what came before was the echo */
                s->echo_seen = true;
                s->counts.n_echo++;
        }
        ret_reply->n_bytes = len - RTU_OVERHEAD_BYTES;
        memcpy(ret_reply->bytes, p + 1, ret_reply->n_bytes);
        return pdu_is_exception(&m->request, ret_reply->bytes, ret_reply->n_bytes) ? RTU_MATCH_EXCEPTION
                                                                                   : RTU_MATCH_REPLY;
}

static enum rtu_match rtu_scan(struct rtu_matcher *m, bool is_last, struct pdu *ret_reply)
{
        while (m->scan.at < m->n_window) {
                const uint8_t *p = m->window + m->scan.at;
                size_t n = m->n_window - m->scan.at;
                size_t len = 0;

                switch (rtu_look(m, p, n, is_last, &len)) {
                case RTU_SIGHT_PENDING:
                        if (!is_last)
                                return RTU_MATCH_MORE;
                        rtu_give_up_byte(m, p, n);
                        break;
                case RTU_SIGHT_NOTHING: rtu_give_up_byte(m, p, n); break;
                case RTU_SIGHT_FOREIGN: rtu_skip_foreign(m, p, len); break;
                case RTU_SIGHT_COPY:
                        if (rtu_copy_is_reply(m))
                                return rtu_take(m, p, len, ret_reply);
                        m->scan.at += len;
                        break;
                case RTU_SIGHT_REPLY:
                case RTU_SIGHT_EXCEPTION: return rtu_take(m, p, len, ret_reply);
                }
        }
        return RTU_MATCH_MORE;
}

/* Forgets what is decided; when that makes no room, the oldest byte goes as junk. */
static void rtu_make_room(struct rtu_matcher *m)
{
        if (m->scan.at == 0 && m->n_window == sizeof(m->window))
                rtu_give_up_byte(m, m->window, 0);
        memmove(m->window, m->window + m->scan.at, m->n_window - m->scan.at);
        m->n_window -= m->scan.at;
        m->scan.at = 0;
}

enum rtu_match rtu_matcher_feed(struct rtu_matcher *m, const uint8_t *bytes, size_t n_bytes,
                                struct pdu *ret_reply)
{
        enum rtu_match match = RTU_MATCH_MORE;

        while (n_bytes > 0) {
                size_t n;

                rtu_make_room(m);
                n = MBGATE_MIN(n_bytes, sizeof(m->window) - m->n_window);
                memcpy(m->window + m->n_window, bytes, n);
                m->n_window += n;
                bytes += n;
                n_bytes -= n;
                if (match == RTU_MATCH_MORE)
                        match = rtu_scan(m, false, ret_reply);
        }
        return match;
}

enum rtu_match rtu_matcher_settle(struct rtu_matcher *m, struct pdu *ret_reply)
{
        struct rtu_scan saved = m->scan;
        enum rtu_match match = rtu_scan(m, true, ret_reply);

        if (match == RTU_MATCH_MORE)
                m->scan = saved;
        return match;
}

bool rtu_matcher_is_pending(const struct rtu_matcher *m)
{
        return m->scan.at < m->n_window;
}

bool rtu_matcher_finish(struct rtu_matcher *m)
{
        struct pdu spare;

        while (rtu_scan(m, true, &spare) != RTU_MATCH_MORE) {
                m->scan.counts.n_foreign++;
                m->scan.counts.foreign_unit = m->unit;
                m->scan.of_device_seen = true;
        }
        if (m->scan.copy_seen && !m->scan.echo_seen) {
                m->scan.echo_seen = true;
                m->scan.counts.n_echo++;
        }
        return m->scan.of_device_seen;
}

bool rtu_echo_is_ambiguous(const struct pdu *request)
{
        return pdu_is_reply(request, request->bytes, request->n_bytes);
}

/* A damaged echo is at least this much of junk before the reply; a glitch at turnaround is less. */
static bool rtu_is_clean(const struct rtu_matcher *m)
{
        const struct rtu_counts *c = &m->scan.counts;

        return c->n_junk_bytes < m->n_request_adu / 2 && c->n_crc == 0 && c->n_foreign == 0 && c->n_echo == 0;
}

enum rtu_echo rtu_echo_learn(enum rtu_echo known, const struct rtu_matcher *m, enum rtu_match result)
{
        if (m->request.n_bytes == 0)
                return known;
        if (rtu_echo_is_ambiguous(&m->request) && result != RTU_MATCH_EXCEPTION)
                return known;
        if (m->scan.echo_seen)
                return RTU_ECHO_ON;
        return result != RTU_MATCH_MORE && rtu_is_clean(m) ? RTU_ECHO_OFF : known;
}
