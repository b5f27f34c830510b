/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"

#include "rx.h"

#define RX_CHUNK_BYTES 512 /* and an incomplete frame fit into rx.mbap */

/* A line that babbles without a pause is given up for this transaction. */
#define RX_SILENCE_MAX_US UINT64_C(2000000)

/* rx_await() leaves this much of the silence, in which the request is made ready. */
#define RX_AHEAD_US UINT64_C(200)

/* No gap inside a frame is longer: USB adapters send every 16 ms, slow ones a little later. */
#define RX_SETTLE_US UINT64_C(40000)

enum rx_event {
        RX_DEADLINE = 0,
        RX_WAKE = 1,
        RX_CANCEL = -1, /* outside the range of −errno that a lost line gives: never returned to callers */
};

/* Beside enum port_result. */
#define RX_WOKEN (PORT_CANCELLED + 1)

void rx_open(struct rx *rx, int fd, bool is_mbap, uint32_t t35_us)
{
        rx->fd = fd;
        rx->is_mbap = is_mbap;
        rx->t35_us = t35_us;
        /* What was sent before it was closed may still be on the line. */
        rx->busy_us = MBGATE_MAX(rx->busy_us, clock_monotonic_us());
        rx->has_seen_byte = rx->babbles = false;
        rx->n_mbap = 0;
        rx->pending = (struct rtu_counts){ 0 };
        rtu_matcher_start(&rx->idle, 0, NULL, RTU_ECHO_OFF);
}

static void counts_add(struct rtu_counts *to, const struct rtu_counts *from)
{
        to->n_junk_bytes += from->n_junk_bytes;
        to->n_crc += from->n_crc;
        to->n_foreign += from->n_foreign;
        to->n_echo += from->n_echo;
        if (from->foreign_unit != 0)
                to->foreign_unit = from->foreign_unit;
}

/* read(2): > 0 bytes, 0 nothing there, −errno lost (the end of the file is a hang-up). */
static ssize_t rx_read(struct rx *rx, uint8_t *bytes, size_t size)
{
        ssize_t n = read(rx->fd, bytes, size);

        if (n > 0) {
                rx->busy_us = clock_monotonic_us();
                rx->has_seen_byte = true;
                return n;
        }
        if (n == 0)
                return rx->is_mbap ? -ECONNRESET : -ENODEV;
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/*
 * Waits for bytes until `until_us` (a moment that has passed: looks once), or until `wake_fd` (−1: none) is
 * readable and no byte is there. > 0 bytes read; 0 with *ret_event set; −errno lost.
 */
static ssize_t rx_wait_or_wake(struct rx *rx, uint64_t until_us, int wake_fd, uint8_t bytes[RX_CHUNK_BYTES],
                               enum rx_event *ret_event)
{
        struct pollfd fds[] = { { .fd = rx->fd, .events = POLLIN },
                                { .fd = rx->cancel_fd, .events = POLLIN },
                                { .fd = wake_fd, .events = POLLIN } };

        for (;;) {
                struct timespec left = clock_remaining(until_us, clock_monotonic_us());
                int n = ppoll(fds, ARRAY_SIZE(fds), &left, NULL);
                ssize_t n_bytes;

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n < 0)
                        continue;
                if (n == 0 || fds[1].revents != 0) {
                        *ret_event = n == 0 ? RX_DEADLINE : RX_CANCEL;
                        return 0;
                }
                if (fds[0].revents == 0) {
                        *ret_event = RX_WAKE;
                        return 0;
                }
                n_bytes = rx_read(rx, bytes, RX_CHUNK_BYTES);
                if (n_bytes != 0)
                        return n_bytes;
                if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
                        return -ENODEV;
        }
}

static ssize_t rx_wait(struct rx *rx, uint64_t until_us, uint8_t bytes[RX_CHUNK_BYTES],
                       enum rx_event *ret_event)
{
        return rx_wait_or_wake(rx, until_us, -1, bytes, ret_event);
}

/* Late replies: their transaction ids make them harmless. A broken stream is found by the next reply. */
static void rx_idle_mbap(struct rx *rx, const uint8_t *bytes, size_t n)
{
        size_t length;

        memcpy(rx->mbap + rx->n_mbap, bytes, n);
        rx->n_mbap += n;
        while (rx->n_mbap >= MBAP_BYTES) {
                length = MBAP_BYTES - 1 + (size_t)get_be16(rx->mbap + 4);
                if (length > rx->n_mbap)
                        return;
                rx->pending.foreign_unit = rx->mbap[MBAP_BYTES - 1];
                rx->n_mbap -= length;
                memmove(rx->mbap, rx->mbap + length, rx->n_mbap);
                rx->pending.n_foreign++;
        }
}

static void rx_idle_bytes(struct rx *rx, const uint8_t *bytes, size_t n)
{
        struct pdu spare;

        if (!rx->is_mbap)
                (void)rtu_matcher_feed(&rx->idle, bytes, n, &spare);
        else if (n <= sizeof(rx->mbap) - rx->n_mbap)
                rx_idle_mbap(rx, bytes, n);
}

/* The line is silent: what came is decided, and a frame that begins now is a new one. */
static void rx_idle_settle(struct rx *rx)
{
        if (rx->idle.n_window == 0 && rx->idle.scan.at == 0)
                return;
        (void)rtu_matcher_finish(&rx->idle);
        counts_add(&rx->pending, &rx->idle.scan.counts);
        rtu_matcher_start(&rx->idle, 0, NULL, RTU_ECHO_OFF);
}

static void rx_report(struct rx *rx, struct rtu_counts *counts)
{
        counts_add(counts, &rx->pending);
        rx->pending = (struct rtu_counts){ 0 };
}

/* Until the line has been silent for `need_us`, at *ret_now_us. 0, a result, RX_WOKEN, or −errno. */
static int rx_until_silent(struct rx *rx, uint64_t need_us, uint64_t give_up_us, int wake_fd,
                           uint64_t *ret_now_us)
{
        uint8_t bytes[RX_CHUNK_BYTES];
        enum rx_event event;

        for (;;) {
                ssize_t n = rx_wait_or_wake(rx, rx->busy_us + need_us, wake_fd, bytes, &event);
                uint64_t now_us;

                if (n < 0)
                        return (int)n;
                now_us = clock_monotonic_us();
                if (n > 0) {
                        rx_idle_bytes(rx, bytes, (size_t)n);
                        if (now_us > give_up_us)
                                return PORT_BROKEN;
                        continue;
                }
                if (event == RX_CANCEL)
                        return PORT_CANCELLED;
                if (event == RX_WAKE)
                        return RX_WOKEN;
                if (now_us < rx->busy_us + need_us)
                        continue;
                *ret_now_us = now_us;
                return 0;
        }
}

int rx_silence(struct rx *rx, uint64_t silence_us, uint64_t *ret_now_us, uint64_t *ret_gap_us)
{
        uint64_t give_up_us = clock_monotonic_us();
        uint64_t now_us = 0;
        int r;

        if (!rx->babbles)
                give_up_us += RX_SILENCE_MAX_US + silence_us;
        rx->babbles = false;
        r = rx_until_silent(rx, MBGATE_MAX(silence_us, (uint64_t)rx->t35_us), give_up_us, -1, &now_us);
        if (r != 0)
                return r;
        rx_idle_settle(rx);
        *ret_gap_us = rx->has_seen_byte ? now_us - rx->busy_us : UINT64_MAX;
        *ret_now_us = now_us;
        return 0;
}

int rx_await(struct rx *rx, uint64_t silence_us, int wake_fd)
{
        uint64_t give_up_us = clock_monotonic_us() + RX_SILENCE_MAX_US + silence_us;
        uint64_t need_us = MBGATE_MAX(silence_us, (uint64_t)rx->t35_us), now_us;
        int r = rx_until_silent(rx, need_us - MBGATE_MIN(need_us, RX_AHEAD_US), give_up_us, wake_fd, &now_us);

        rx->babbles = r == PORT_BROKEN;
        if (r < 0)
                return r;
        return r == RX_WOKEN ? 1 : 0;
}

void rx_sent(struct rx *rx, uint64_t sent_us)
{
        rx->busy_us = sent_us;
        rx->has_seen_byte = true;
}

/* A reply in doubt, until another one comes. RTU_MATCH_MORE: there is none. */
struct rx_held {
        enum rtu_match match;
        struct pdu pdu;
        uint64_t done_us;
};

static bool rx_is_doubtful(const struct rx_doubt *doubt, const struct pdu *pdu)
{
        return doubt && pdu->n_bytes == doubt->last->n_bytes &&
               memcmp(pdu->bytes, doubt->last->bytes, pdu->n_bytes) == 0;
}

/* What the matcher found, or did not find at the end, as a result. */
static int rx_conclude(struct rx *rx, struct rtu_matcher *m, enum rtu_match match, const struct rx_held *held,
                       struct rx_doubt *doubt, struct port_reply *reply)
{
        bool of_device = rtu_matcher_finish(m);

        if (held->match != RTU_MATCH_MORE && (match != RTU_MATCH_MORE || of_device || doubt->is_refused)) {
                reply->counts.n_foreign++; /* the last reply once more; its own one may be broken */
                doubt->was_repeated = match != RTU_MATCH_MORE;
                of_device = true;
        } else if (held->match != RTU_MATCH_MORE) {
                match = held->match;
                reply->pdu = held->pdu;
                reply->done_us = held->done_us;
        }
        counts_add(&reply->counts, &m->scan.counts);
        rx_report(rx, &reply->counts);
        switch (match) {
        case RTU_MATCH_REPLY: return PORT_OK;
        case RTU_MATCH_EXCEPTION: reply->exception = reply->pdu.bytes[1]; return PORT_EXCEPTION;
        case RTU_MATCH_MORE: break;
        }
        return of_device || m->scan.counts.n_crc > 0 ? PORT_BROKEN : PORT_TIMEOUT;
}

/*
 * Whether what has come is the whole reply, but for its CRC: then nothing more is on its way, and waiting for
 * the deadline only costs time on the line. Asked after RX_SETTLE_US of silence.
 */
static bool rx_has_come_broken(const struct rtu_matcher *m)
{
        struct rtu_matcher copy = *m;

        return rtu_matcher_finish(&copy) && copy.scan.counts.n_crc > 0;
}

/* A frame that has begun when the waiting for another reply ends may be that one. false: nothing has. */
static bool rx_goes_on(const struct rx *rx, const struct rtu_matcher *m, uint64_t last_us,
                       uint64_t *deadline_us)
{
        uint64_t until_us = MBGATE_MIN(rx->busy_us + RX_SETTLE_US, last_us);

        if (!rtu_matcher_is_pending(m) || until_us <= *deadline_us)
                return false;
        *deadline_us = until_us;
        return true;
}

int rx_reply(struct rx *rx, struct rtu_matcher *m, struct rx_doubt *doubt, uint64_t deadline_us,
             struct port_reply *reply)
{
        struct rx_held held = { .match = RTU_MATCH_MORE };
        const uint64_t last_us = deadline_us;
        uint8_t bytes[RX_CHUNK_BYTES];

        for (;;) {
                bool undecided = rtu_matcher_is_pending(m) || m->scan.counts.n_crc > 0;
                bool settles = undecided && rx->busy_us + RX_SETTLE_US < deadline_us;
                uint64_t until_us = settles ? rx->busy_us + RX_SETTLE_US : deadline_us;
                enum rtu_match match = RTU_MATCH_MORE;
                enum rx_event event = RX_DEADLINE;
                bool is_over;
                ssize_t n;

                /* Once what is pending has been looked at, only more bytes can change it. */
                if (settles && clock_monotonic_us() > until_us)
                        until_us = deadline_us;
                n = rx_wait(rx, until_us, bytes, &event);
                if (n < 0)
                        return (int)n;
                if (n == 0 && event == RX_CANCEL)
                        return PORT_CANCELLED;
                if (n > 0)
                        match = rtu_matcher_feed(m, bytes, (size_t)n, &reply->pdu);
                else
                        match = rtu_matcher_settle(m, &reply->pdu);
                if (match != RTU_MATCH_MORE && held.match == RTU_MATCH_MORE &&
                    rx_is_doubtful(doubt, &reply->pdu)) {
                        held = (struct rx_held){ match, reply->pdu, rx->busy_us };
                        deadline_us = MBGATE_MIN(doubt->until_us, last_us);
                        continue;
                }
                is_over = match != RTU_MATCH_MORE ||
                          (n == 0 && until_us < deadline_us && rx_has_come_broken(m));
                reply->done_us = is_over ? rx->busy_us : deadline_us;
                if (is_over ||
                    (n == 0 && until_us == deadline_us && !rx_goes_on(rx, m, last_us, &deadline_us)))
                        return rx_conclude(rx, m, match, &held, doubt, reply);
        }
}

/* Takes frames out of the buffer until one answers. RTU_MATCH_MORE: none there. −EBADMSG: no Modbus TCP. */
static int rx_take_mbap(struct rx *rx, uint16_t tid, const struct port_request *request,
                        struct port_reply *reply)
{
        for (;;) {
                enum rtu_match match = RTU_MATCH_MORE;
                int n = mbap_match(tid, request->unit, &request->pdu, rx->mbap, rx->n_mbap, &match,
                                   &reply->pdu);

                if (n <= 0)
                        return n;
                if (match == RTU_MATCH_MORE)
                        reply->counts.foreign_unit = rx->mbap[MBAP_BYTES - 1];
                rx->n_mbap -= (size_t)n;
                memmove(rx->mbap, rx->mbap + n, rx->n_mbap);
                if (match != RTU_MATCH_MORE)
                        return (int)match;
                reply->counts.n_foreign++;
        }
}

int rx_reply_mbap(struct rx *rx, uint16_t tid, const struct port_request *request, uint64_t deadline_us,
                  struct port_reply *reply)
{
        uint8_t bytes[RX_CHUNK_BYTES];

        for (;;) {
                enum rx_event event = RX_DEADLINE;
                int r = rx_take_mbap(rx, tid, request, reply);
                ssize_t n;

                if (r < 0)
                        return r;
                reply->done_us = r > 0 ? rx->busy_us : deadline_us;
                if (r == RTU_MATCH_REPLY)
                        return PORT_OK;
                if (r == RTU_MATCH_EXCEPTION) {
                        reply->exception = reply->pdu.bytes[1];
                        return PORT_EXCEPTION;
                }
                n = rx_wait(rx, deadline_us, bytes, &event);
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return event == RX_CANCEL ? PORT_CANCELLED : PORT_TIMEOUT;
                /* At most one incomplete frame is left from before: there is room. */
                memcpy(rx->mbap + rx->n_mbap, bytes, (size_t)n);
                rx->n_mbap += (size_t)n;
        }
}

int rx_drain(struct rx *rx, uint64_t until_us, struct rtu_counts *ret_counts)
{
        uint64_t give_up_us = MBGATE_MAX(until_us, clock_monotonic_us()) + RX_SILENCE_MAX_US;
        uint8_t bytes[RX_CHUNK_BYTES];
        enum rx_event event;

        for (;;) {
                uint64_t quiet_us = MBGATE_MAX(until_us, rx->busy_us + rx->t35_us);
                ssize_t n = rx_wait(rx, quiet_us, bytes, &event);

                if (n < 0)
                        return (int)n;
                if (n > 0)
                        rx_idle_bytes(rx, bytes, (size_t)n);
                if (n == 0 || clock_monotonic_us() > give_up_us)
                        break;
        }
        rx_idle_settle(rx);
        rx_report(rx, ret_counts);
        return 0;
}

int rx_receive(struct rx *rx, uint8_t *bytes, size_t n_bytes)
{
        return (int)rx_read(rx, bytes, n_bytes);
}
