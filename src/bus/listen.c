/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "mbgate/base/clock.h"

#include "listen.h"

#define OVERHEAD_BYTES 3 /* unit and CRC around a PDU */
#define ADU_MIN_BYTES  4
#define BROADCAST      0

/* A whole frame in the window. */
struct frame {
        size_t at, n;
        bool may_ask, may_answer; /* by its length, as a request and as a reply */
};

enum sight {
        SIGHT_NOTHING, /* no frame begins here */
        SIGHT_PENDING, /* one may, more bytes will tell */
        SIGHT_FRAME,
};

void listen_init(struct listen *l, uint32_t t35_us, uint64_t reply_us)
{
        l->n = l->at = 0;
        l->last_us = l->before_us = 0;
        l->t35_us = t35_us;
        l->reply_us = reply_us;
        l->open.request.n_bytes = 0;
        l->open_is_broken = false;
        l->n_owed = 0;
        for (size_t i = 0; i < LISTEN_OWED_MAX; i++)
                l->owed[i].request.n_bytes = 0;
        l->in_junk = false;
        l->counts = (struct listen_counts){ 0 };
}

/* What is decided leaves the window. */
static void forget_decided(struct listen *l)
{
        if (l->at == 0)
                return;
        l->before_us = l->at_us[l->at - 1];
        l->n -= l->at;
        memmove(l->window, l->window + l->at, l->n);
        memmove(l->at_us, l->at_us + l->at, l->n * sizeof(*l->at_us));
        l->at = 0;
}

static void give_up_byte(struct listen *l, bool was_frame)
{
        l->counts.n_junk_bytes++;
        l->counts.n_broken += was_frame && !l->in_junk;
        l->in_junk = true;
        l->at++;
}

void listen_feed(struct listen *l, const uint8_t *bytes, size_t n, uint64_t now_us)
{
        forget_decided(l);
        n = MBGATE_MIN(n, (size_t)LISTEN_FEED_MAX);
        while (l->n + n > LISTEN_WINDOW_BYTES) { /* only if the caller did not ask for what there was */
                while (l->at < l->n && l->n - l->at + n > LISTEN_WINDOW_BYTES)
                        give_up_byte(l, false);
                forget_decided(l);
        }
        memcpy(l->window + l->n, bytes, n);
        for (size_t i = 0; i < n; i++)
                l->at_us[l->n + i] = now_us;
        l->n += n;
        if (n > 0)
                l->last_us = now_us;
}

/* Silence before a byte of the window. */
static uint64_t gap_before_us(const struct listen *l, size_t at)
{
        uint64_t before_us = at > 0 ? l->at_us[at - 1] : l->before_us;

        return before_us == 0 ? UINT64_MAX : l->at_us[at] - before_us;
}

static bool is_whole(const uint8_t *p, size_t n)
{
        return n >= ADU_MIN_BYTES && rtu_crc(p, n) == 0;
}

/* One of the two lengths that a function allows: whether a frame of it stands here. */
static enum sight look_length(const uint8_t *p, size_t n, int n_pdu, size_t *ret_n)
{
        if (n_pdu < 0)
                return SIGHT_NOTHING;
        *ret_n = (size_t)n_pdu + OVERHEAD_BYTES;
        if (n_pdu == 0 || *ret_n > n)
                return SIGHT_PENDING;
        return is_whole(p, *ret_n) ? SIGHT_FRAME : SIGHT_NOTHING;
}

/* What begins at a byte of the window. */
static enum sight look(const struct listen *l, size_t at, struct frame *ret)
{
        const uint8_t *p = l->window + at;
        size_t n = l->n - at, n_ask = 0, n_answer = 0;
        enum sight ask, answer;

        if (n < 2)
                return SIGHT_PENDING;
        ask = look_length(p, n, pdu_request_bytes(p + 1, n - 1), &n_ask);
        answer = look_length(p, n, pdu_reply_bytes_by_content(p + 1, n - 1), &n_answer);
        if (ask == SIGHT_FRAME || answer == SIGHT_FRAME) {
                bool is_answer = answer == SIGHT_FRAME && (ask != SIGHT_FRAME || n_answer <= n_ask);

                ret->at = at;
                ret->n = is_answer ? n_answer : n_ask;
                ret->may_ask = ask == SIGHT_FRAME && n_ask == ret->n;
                ret->may_answer = answer == SIGHT_FRAME && n_answer == ret->n;
                return SIGHT_FRAME;
        }
        return ask == SIGHT_PENDING || answer == SIGHT_PENDING ? SIGHT_PENDING : SIGHT_NOTHING;
}

/*
 * A function whose lengths nobody knows, between two silences: the whole run has a right CRC. It is looked
 * for only once the line has been silent.
 */
static bool look_unknown(const struct listen *l, size_t at, struct frame *ret)
{
        size_t end = at + 1;

        if (pdu_request_bytes(l->window + at + 1, 1) >= 0 || gap_before_us(l, at) < l->t35_us)
                return false;
        while (end < l->n && gap_before_us(l, end) < l->t35_us)
                end++;
        if (end - at > RTU_ADU_MAX_BYTES || !is_whole(l->window + at, end - at))
                return false;
        *ret = (struct frame){ .at = at, .n = end - at, .may_ask = true, .may_answer = true };
        return true;
}

/* Whether a whole frame stands behind `at`, after a silence that no frame has inside. */
static bool has_frame_behind(const struct listen *l, size_t at)
{
        struct frame spare;

        for (size_t i = at + 1; i + ADU_MIN_BYTES <= l->n; i++) {
                if (gap_before_us(l, i) >= l->t35_us && l->t35_us > 0 && look(l, i, &spare) == SIGHT_FRAME)
                        return true;
        }
        return false;
}

/* Whether a byte may be the unit of a function that everybody knows, or of its exception. */
static bool has_known_function(const struct listen *l, size_t at)
{
        return l->n - at >= 2 && pdu_request_bytes(&(uint8_t){ l->window[at + 1] & 0x7Fu }, 1) >= 0;
}

/* The head of a reply that comes to nothing: the unit has answered, and owes nothing any more. */
static void note_broken_reply(struct listen *l)
{
        if (!l->in_junk && l->open.request.n_bytes > 0 && has_known_function(l, l->at) &&
            l->window[l->at] == l->open.unit && (l->window[l->at + 1] & 0x7Fu) == l->open.request.bytes[0])
                l->open_is_broken = true;
}

/* The next whole frame; what is none is counted on the way. */
static bool next_frame(struct listen *l, uint64_t now_us, struct frame *ret)
{
        bool is_silent = l->n > 0 && now_us >= l->last_us + LISTEN_SETTLE_US;

        while (l->at < l->n) {
                enum sight sight = look(l, l->at, ret);

                if (sight != SIGHT_FRAME && l->n - l->at >= 2 && is_silent && look_unknown(l, l->at, ret))
                        sight = SIGHT_FRAME;
                if (sight == SIGHT_FRAME) {
                        l->counts.n_frames++;
                        l->in_junk = false;
                        l->at += ret->n;
                        return true;
                }
                /* An unknown function may become a frame when the line falls silent. */
                if (sight == SIGHT_NOTHING && !is_silent && !l->in_junk && l->n - l->at < RTU_ADU_MAX_BYTES &&
                    !has_known_function(l, l->at))
                        sight = SIGHT_PENDING;
                if (sight == SIGHT_PENDING && !is_silent && !has_frame_behind(l, l->at))
                        return false;
                note_broken_reply(l);
                give_up_byte(l, has_known_function(l, l->at));
        }
        return false;
}

static bool is_write(uint8_t function)
{
        return function == PDU_WRITE_COIL || function == PDU_WRITE_REGISTER || function == PDU_MASK_WRITE;
}

/* Whether a frame answers the request that waits. */
static bool answers(const struct listen *l, const struct frame *f)
{
        const struct pdu *request = &l->open.request;
        const uint8_t *pdu = l->window + f->at + 1;
        size_t n = f->n - OVERHEAD_BYTES;

        if (request->n_bytes == 0 || l->window[f->at] != l->open.unit)
                return false;
        if (pdu_is_exception(request, pdu, n))
                return true;
        if (!f->may_answer || !pdu_is_reply(request, pdu, n))
                return false;
        if (is_write(pdu[0]))
                return true;
        /* The master has asked again: a reply of the same bytes would be a great accident. */
        return n != request->n_bytes || memcmp(pdu, request->bytes, n) != 0;
}

static void take_pdu(const struct listen *l, const struct frame *f, struct pdu *ret)
{
        ret->n_bytes = f->n - OVERHEAD_BYTES;
        memcpy(ret->bytes, l->window + f->at + 1, ret->n_bytes);
}

/* A late answer to the request that is given up may still come. */
static void owe(struct listen *l)
{
        struct listen_owed *o;

        if (l->open_is_broken)
                return;
        o = &l->owed[l->n_owed++ % LISTEN_OWED_MAX];
        o->unit = l->open.unit;
        o->request = l->open.request;
        o->until_us = l->open.asked_to_us + l->reply_us;
}

static bool is_same(const struct pdu *a, const struct pdu *b)
{
        return a->n_bytes == b->n_bytes && memcmp(a->bytes, b->bytes, a->n_bytes) == 0;
}

/* Whether the reply would do as well for another request that is still owed one. */
static bool is_doubtful(const struct listen *l, const struct listen_pair *pair, uint64_t began_us)
{
        for (size_t i = 0; i < LISTEN_OWED_MAX; i++) {
                const struct listen_owed *o = &l->owed[i];

                if (o->request.n_bytes > 0 && o->unit == pair->unit && began_us <= o->until_us &&
                    !is_same(&o->request, &pair->request) &&
                    pdu_is_reply(&o->request, pair->reply.bytes, pair->reply.n_bytes))
                        return true;
        }
        return false;
}

static enum listen_kind close_open(struct listen *l, struct listen_pair *ret)
{
        l->counts.n_unanswered++;
        owe(l);
        *ret = l->open;
        ret->kind = LISTEN_SILENCE;
        l->open.request.n_bytes = 0;
        return LISTEN_SILENCE;
}

static enum listen_kind take_answer(struct listen *l, const struct frame *f, struct listen_pair *ret)
{
        *ret = l->open;
        take_pdu(l, f, &ret->reply);
        ret->done_us = l->at_us[f->at + f->n - 1];
        ret->n_bytes += f->n;
        ret->kind = pdu_is_exception(&ret->request, ret->reply.bytes, ret->reply.n_bytes) ? LISTEN_EXCEPTION
                                                                                          : LISTEN_REPLY;
        ret->is_doubtful = ret->kind == LISTEN_REPLY && is_doubtful(l, ret, l->at_us[f->at]);
        l->open.request.n_bytes = 0;
        l->counts.n_pairs++;
        l->counts.n_doubtful += ret->is_doubtful;
        return ret->kind;
}

static void fill_request(const struct listen *l, const struct frame *f, struct listen_pair *ret)
{
        ret->kind = LISTEN_NONE;
        ret->is_doubtful = false;
        ret->unit = l->window[f->at];
        take_pdu(l, f, &ret->request);
        ret->reply.n_bytes = 0;
        ret->asked_us = l->at_us[f->at];
        ret->asked_to_us = ret->done_us = l->at_us[f->at + f->n - 1];
        ret->n_bytes = f->n;
}

static enum listen_kind take_orphan(struct listen *l, const struct frame *f, struct listen_pair *ret)
{
        fill_request(l, f, ret);
        ret->reply = ret->request;
        ret->request.n_bytes = 0;
        ret->kind = LISTEN_ORPHAN;
        l->counts.n_orphans++;
        return LISTEN_ORPHAN;
}

/* A request: it waits, and the one before it has waited in vain. */
static enum listen_kind take_request(struct listen *l, const struct frame *f, struct listen_pair *ret)
{
        bool was_open = l->open.request.n_bytes > 0;

        if (l->window[f->at] == BROADCAST) {
                if (was_open) {
                        l->at = f->at; /* comes again after this */
                        l->counts.n_frames--;
                        return close_open(l, ret);
                }
                fill_request(l, f, ret);
                ret->kind = LISTEN_BROADCAST;
                l->counts.n_broadcasts++;
                return LISTEN_BROADCAST;
        }
        if (was_open)
                (void)close_open(l, ret);
        fill_request(l, f, &l->open);
        l->open_is_broken = false;
        return was_open ? LISTEN_SILENCE : LISTEN_NONE;
}

static bool has_waited_too_long(const struct listen *l, uint64_t now_us)
{
        return l->open.request.n_bytes > 0 && now_us > l->open.asked_to_us + l->reply_us;
}

enum listen_kind listen_next(struct listen *l, uint64_t now_us, struct listen_pair *ret)
{
        struct frame f;

        while (next_frame(l, now_us, &f)) {
                enum listen_kind kind = LISTEN_NONE;

                /* Its own time counts: an answer may be looked at late, but must have come early. */
                if (has_waited_too_long(l, l->at_us[f.at])) {
                        l->at = f.at;
                        l->counts.n_frames--;
                        return close_open(l, ret);
                }
                if (answers(l, &f))
                        return take_answer(l, &f, ret);
                kind = f.may_ask ? take_request(l, &f, ret) : take_orphan(l, &f, ret);
                if (kind != LISTEN_NONE)
                        return kind;
        }
        /* What is still undecided may be the answer. */
        if (l->at == l->n && has_waited_too_long(l, now_us))
                return close_open(l, ret);
        return LISTEN_NONE;
}

uint64_t listen_wake_us(const struct listen *l)
{
        if (l->at < l->n)
                return l->last_us + LISTEN_SETTLE_US;
        if (l->open.request.n_bytes > 0)
                return l->open.asked_to_us + l->reply_us + 1;
        return CLOCK_NEVER_US;
}
