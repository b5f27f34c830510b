/* SPDX-License-Identifier: MIT */
/*
 * WebSocket (RFC 6455), server side: the upgrade by http.c, frames by wslay. What comes in binary frames is
 * one stream of bytes, wherever frames begin and end (MQTT 5.0 §6). What goes out is one frame a write, with
 * answers to pings between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <wslay/wslay.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/text.h"

#include "http.h"
#include "stream.h"
#include "stream_backlog.h"

/* gcc's analyzer does not see that who has the first member of a ws_stream has the whole. */
NO_ANALYZER_LEAKS

#define FRAME_MAX_BYTES   (64u * 1024 - 1) /* what a length of 16 bits can say */
#define FRAME_HEAD_BYTES  4
#define CONTROL_MAX_BYTES 125 /* RFC 6455 §5.5 */
#define PARTS_MAX         64
#define REQUEST_BYTES     512  /* at first: what browsers send */
#define PONGS_MAX_BYTES   4096 /* who pings and does not read gets no more answers than these */
#define READS_MAX         16   /* without data in them */
#define FINAL             0x80

struct ws_stream {
        struct stream stream; /* the first member */
        struct stream *inner;
        char *request; /* of the upgrade, as far as it has come; then what came right behind it; NULL: none */
        uint16_t n_request, size_request, at_request;
        uint16_t n_scanned; /* of the request: so far there is no end in it */
        bool is_open;       /* the upgrade is done */
        bool is_refused;    /* it has been refused, or a frame was wrong: nothing comes or goes any more */
        bool has_closed;    /* the peer sent its close frame */
        bool owes_end;      /* either, or an error, came behind data: the next read tells */
        int error;          /* −errno, for good; 0: none */
        bool has_sent_close;
        bool has_shutdown; /* asked for */
        bool is_shut;      /* the stream below too */
        bool is_in_frame, is_in_message;
        uint8_t n_control;
        wslay_frame_context_ptr wslay; /* NULL: between frames, nothing of the next one is here */
        size_t n_held;                 /* bytes that wslay has and has not given */
        uint64_t n_left;               /* of the payload of the frame that is coming */
        const uint8_t *raw;            /* of this read, for wslay */
        size_t n_raw;
        struct stream_backlog backlog;
        uint8_t control[CONTROL_MAX_BYTES]; /* payload of the control frame that is coming */
};

static struct ws_stream *of(struct stream *s)
{
        return (struct ws_stream *)(void *)s;
}

static const struct ws_stream *of_const(const struct stream *s)
{
        return (const struct ws_stream *)(const void *)s;
}

/* ---- out ---- */

/* RFC 6455 §5.2: final, not masked. */
static size_t frame_head(uint8_t head[FRAME_HEAD_BYTES], uint8_t opcode, size_t n)
{
        head[0] = FINAL | opcode;
        if (n <= CONTROL_MAX_BYTES) {
                head[1] = (uint8_t)n;
                return 2;
        }
        head[1] = 126;
        put_be16(head + 2, (uint16_t)n);
        return 4;
}

static int ws_put_control(struct ws_stream *w, uint8_t opcode, const uint8_t *bytes, size_t n)
{
        uint8_t frame[2 + CONTROL_MAX_BYTES];
        struct iovec part = { .iov_base = frame, .iov_len = frame_head(frame, opcode, n) + n };

        if (n > 0)
                memcpy(frame + 2, bytes, n);
        return stream_backlog_put(&w->backlog, w->inner, &part, 1);
}

/* RFC 6455 §5.5.1. Once; nothing may follow it. */
static int ws_put_close(struct ws_stream *w, uint16_t code)
{
        uint8_t payload[2];

        if (w->has_sent_close)
                return 0;
        w->has_sent_close = true;
        put_be16(payload, code);
        return ws_put_control(w, WSLAY_CONNECTION_CLOSE, payload, code > 0 ? sizeof(payload) : 0);
}

/* −EPROTO, with the reason that the peer is told too. */
static int ws_refuse(struct ws_stream *w, uint16_t code, const char *reason)
{
        w->is_refused = true;
        w->stream.reason = reason;
        (void)ws_put_close(w, code);
        return -EPROTO;
}

static int ws_flush(struct stream *s)
{
        struct ws_stream *w = of(s);
        int r = stream_backlog_flush(&w->backlog, w->inner);

        if (r == 0 && w->has_shutdown && !w->is_shut) {
                w->is_shut = true;
                stream_shutdown(w->inner);
        }
        return r;
}

static ssize_t ws_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct ws_stream *w = of(s);
        uint8_t head[FRAME_HEAD_BYTES];
        struct iovec frame[1 + PARTS_MAX];
        size_t n = 0, n_frame = 1;
        int r = w->is_open ? ws_flush(s) : -EAGAIN;

        if (r < 0 && !w->is_refused)
                return r;
        for (size_t i = 0; i < n_parts && n_frame <= PARTS_MAX && n < FRAME_MAX_BYTES; i++) {
                frame[n_frame] = parts[i];
                frame[n_frame].iov_len = MBGATE_MIN(parts[i].iov_len, FRAME_MAX_BYTES - n);
                n += frame[n_frame++].iov_len;
        }
        if (n == 0 || w->has_sent_close || w->is_refused)
                return (ssize_t)n; /* nothing may follow a close frame: RFC 6455 §5.5.1 */
        frame[0] = (struct iovec){ .iov_base = head, .iov_len = frame_head(head, WSLAY_BINARY_FRAME, n) };
        r = stream_backlog_put(&w->backlog, w->inner, frame, n_frame);
        return r < 0 ? r : (ssize_t)n;
}

/* ---- the upgrade ---- */

static void request_free(struct ws_stream *w)
{
        free(w->request);
        w->request = NULL;
        w->n_request = w->size_request = w->at_request = 0;
}

/* Room for more of the request: it grows with what has come. One byte above the limit shows that it is over.
 */
static int request_reserve(struct ws_stream *w)
{
        size_t size = w->size_request == 0 ? REQUEST_BYTES : w->size_request * 2u;
        char *request;

        if (w->n_request < w->size_request)
                return 0;
        request = realloc(w->request, size);
        if (!request)
                return -ENOMEM;
        w->request = request;
        w->size_request = (uint16_t)size;
        return 0;
}

static int upgrade_answer(struct ws_stream *w, const struct http_upgrade *u)
{
        struct iovec part = { .iov_base = (void *)(uintptr_t)u->answer, .iov_len = u->n_answer };
        int r = stream_backlog_put(&w->backlog, w->inner, &part, 1);

        w->is_open = u->status == 101;
        w->at_request = (uint16_t)u->n_request;
        if (!w->is_open) {
                w->is_refused = true;
                w->stream.reason = u->reason;
        }
        if (!w->is_open || w->at_request == w->n_request)
                request_free(w);
        return r < 0 ? r : w->is_open ? 1 : -EPROTO;
}

/* 1: done; 0: the peer has gone; −EAGAIN; −EPROTO; −errno. */
static int ws_upgrade(struct ws_stream *w)
{
        struct http_upgrade u;

        for (;;) {
                ssize_t n = request_reserve(w);

                if (n == 0)
                        n = stream_read(w->inner, w->request + w->n_request,
                                        (size_t)w->size_request - w->n_request);
                if (n <= 0)
                        return (int)n;
                w->n_request = (uint16_t)(w->n_request + n);
                if (http_take_upgrade(w->request, w->n_request, w->n_scanned, &u))
                        return upgrade_answer(w, &u);
                w->n_scanned = w->n_request;
        }
}

/* ---- frames in ---- */

static ssize_t on_recv(uint8_t *bytes, size_t n, int flags, void *user)
{
        struct ws_stream *w = user;

        (void)flags;
        n = MBGATE_MIN(n, w->n_raw);
        if (n == 0)
                return -1;
        memcpy(bytes, w->raw, n);
        w->raw += n;
        w->n_raw -= n;
        w->n_held += n;
        return (ssize_t)n;
}

static size_t frame_head_bytes(const struct wslay_frame_iocb *f)
{
        size_t n_length = f->payload_length > UINT16_MAX ? 8 : f->payload_length > CONTROL_MAX_BYTES ? 2 : 0;

        return 2 + n_length + (f->mask ? 4u : 0u);
}

/* A frame begins: may it? */
static int frame_check(struct ws_stream *w, const struct wslay_frame_iocb *f)
{
        if (!f->mask)
                return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: a frame is not masked");
        if (f->rsv != 0)
                return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: reserved bits are set");
        switch (f->opcode) {
        case WSLAY_BINARY_FRAME:
        case WSLAY_CONTINUATION_FRAME:
                if (w->is_in_message != (f->opcode == WSLAY_CONTINUATION_FRAME))
                        return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: fragments in disorder");
                w->is_in_message = !f->fin;
                return 0;
        case WSLAY_TEXT_FRAME: return ws_refuse(w, WSLAY_CODE_UNSUPPORTED_DATA, "WebSocket: a text frame");
        case WSLAY_CONNECTION_CLOSE:
        case WSLAY_PING:
        case WSLAY_PONG: return 0;
        default: return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: an unknown kind of frame");
        }
}

/* RFC 6455 §7.4: codes that may be sent. */
static bool is_close_code(unsigned code)
{
        return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
               (code >= 3000 && code <= 4999);
}

/* UTF-8, RFC 6455 §5.5.1: here, other than in MQTT, with U+0000. */
static bool is_close_reason(const char *text, size_t n)
{
        while (n > 0) {
                size_t n_here = strnlen(text, n);

                if (!text_is_mqtt_utf8(text, n_here))
                        return false;
                n_here += n_here < n;
                text += n_here;
                n -= n_here;
        }
        return true;
}

static int ws_on_close(struct ws_stream *w)
{
        uint16_t code = w->n_control >= 2 ? get_be16(w->control) : 0;

        if (w->n_control == 1 || (w->n_control > 1 && !is_close_code(code)))
                return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: a close frame that says nothing");
        if (!is_close_reason((const char *)w->control + 2, w->n_control > 2 ? w->n_control - 2u : 0))
                return ws_refuse(w, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA,
                                 "WebSocket: a close frame whose reason is no text");
        w->has_closed = true;
        return ws_put_close(w, code);
}

/* A control frame is complete. */
static int ws_on_control(struct ws_stream *w, uint8_t opcode)
{
        if (opcode == WSLAY_CONNECTION_CLOSE)
                return ws_on_close(w);
        if (opcode == WSLAY_PING && !w->has_sent_close && stream_backlog_bytes(&w->backlog) < PONGS_MAX_BYTES)
                return ws_put_control(w, WSLAY_PONG, w->control, w->n_control);
        return 0;
}

/* A piece of a frame has come. What is data goes to `bytes`: how many, or −errno. */
static ssize_t ws_take_piece(struct ws_stream *w, const struct wslay_frame_iocb *f, uint8_t *bytes)
{
        bool is_control = wslay_is_ctrl_frame(f->opcode);

        w->n_held -= f->data_length;
        w->n_left -= f->data_length;
        w->is_in_frame = w->n_left > 0;
        if (!is_control) {
                memcpy(bytes, f->data, f->data_length);
                return (ssize_t)f->data_length;
        }
        memcpy(w->control + w->n_control, f->data, f->data_length); /* wslay sees to the limit of 125 */
        w->n_control = (uint8_t)(w->n_control + f->data_length);
        return w->is_in_frame ? 0 : ws_on_control(w, f->opcode);
}

/* How many bytes of data came; −EAGAIN: wslay has nothing more; −errno. */
static ssize_t ws_next_piece(struct ws_stream *w, uint8_t *bytes)
{
        struct wslay_frame_iocb f;
        ssize_t r = wslay_frame_recv(w->wslay, &f);

        if (r == WSLAY_ERR_WANT_READ)
                return -EAGAIN;
        if (r < 0)
                return ws_refuse(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket: no frame can begin like this");
        if (!w->is_in_frame) {
                r = frame_check(w, &f);
                if (r < 0)
                        return r;
                w->n_held -= frame_head_bytes(&f);
                w->n_left = f.payload_length;
                w->n_control = 0;
        }
        return ws_take_piece(w, &f, bytes);
}

/* Between frames nothing needs to be kept: wslay's buffer is 4 KiB. */
static void ws_rest(struct ws_stream *w)
{
        if (w->is_in_frame || w->n_held > 0)
                return;
        wslay_frame_context_free(w->wslay);
        w->wslay = NULL;
}

/*
 * Turns `n` bytes as they came into the data in them, in place: there is never more of it than went into
 * wslay. How many; 0: no data; −errno.
 */
static ssize_t ws_unwrap(struct ws_stream *w, uint8_t *bytes, size_t n)
{
        static const struct wslay_frame_callbacks callbacks = { .recv_callback = on_recv };
        size_t n_out = 0;
        ssize_t r = 0;

        if (!w->wslay && wslay_frame_context_init(&w->wslay, &callbacks, w) != 0)
                return -ENOMEM;
        w->raw = bytes;
        w->n_raw = n;
        while (r >= 0 && !w->has_closed) {
                r = ws_next_piece(w, bytes + n_out);
                n_out += r > 0 ? (size_t)r : 0;
        }
        if (r == -EAGAIN || r >= 0)
                r = 0;
        w->error = (int)r;
        if (!w->is_refused && !w->has_closed)
                ws_rest(w);
        return n_out > 0 ? (ssize_t)n_out : r;
}

/* What came right behind the upgrade, then what the stream below has. */
static ssize_t ws_read_raw(struct ws_stream *w, void *bytes, size_t n)
{
        size_t n_here = MBGATE_MIN(n, (size_t)w->n_request - w->at_request);

        if (!w->request)
                return stream_read(w->inner, bytes, n);
        memcpy(bytes, w->request + w->at_request, n_here);
        w->at_request = (uint16_t)(w->at_request + n_here);
        if (w->at_request == w->n_request)
                request_free(w);
        return (ssize_t)n_here;
}

/* Frames without data end when nothing more is there; what has left the socket already is never left behind,
 * since epoll does not tell of it. */
static ssize_t ws_read_frames(struct ws_stream *w, uint8_t *bytes, size_t n)
{
        for (unsigned i = 0; i < READS_MAX || stream_has_input(w->inner) || w->request; i++) {
                ssize_t r = ws_read_raw(w, bytes, n);

                if (r > 0)
                        r = ws_unwrap(w, bytes, (size_t)r);
                else
                        return r;
                if (r != 0)
                        return r;
                if (w->has_closed)
                        return 0;
        }
        return -EAGAIN;
}

static ssize_t ws_read(struct stream *s, void *bytes, size_t n)
{
        struct ws_stream *w = of(s);
        ssize_t r = 1;

        if (w->has_shutdown)
                return stream_read(w->inner, bytes, n); /* nobody's any more, and need not be frames */
        w->owes_end = false;
        if (w->is_refused)
                return -EPROTO;
        if (w->has_closed || w->error < 0)
                return w->error;
        if (!w->is_open)
                r = ws_upgrade(w);
        if (r > 0)
                r = ws_read_frames(w, bytes, n);
        w->owes_end = r > 0 && (w->has_closed || w->error < 0);
        if (r == -EPROTO && !w->stream.reason)
                w->stream.reason = w->inner->reason;
        return r;
}

static uint32_t ws_events(const struct stream *s)
{
        const struct ws_stream *w = of_const(s);

        return stream_events(w->inner) | (stream_backlog_bytes(&w->backlog) > 0 ? EPOLLOUT : 0u);
}

static bool ws_has_input(const struct stream *s)
{
        const struct ws_stream *w = of_const(s);

        if (w->is_refused || w->has_closed || w->has_shutdown || w->error < 0)
                return w->owes_end && !w->has_shutdown;
        return (w->is_open && w->request) || stream_has_input(w->inner);
}

static void ws_shutdown(struct stream *s)
{
        struct ws_stream *w = of(s);

        if (w->is_open)
                (void)ws_put_close(w, WSLAY_CODE_NORMAL_CLOSURE);
        w->has_shutdown = true;
        (void)ws_flush(s);
}

static void ws_free(struct stream *s)
{
        struct ws_stream *w = of(s);

        wslay_frame_context_free(w->wslay);
        (void)stream_free(w->inner);
        stream_backlog_done(&w->backlog);
        free(w->request);
        free(w);
}

static const struct stream_ops ws_ops = {
        .read = ws_read,
        .write = ws_write,
        .flush = ws_flush,
        .events = ws_events,
        .has_input = ws_has_input,
        .shutdown = ws_shutdown,
        .free = ws_free,
};

int stream_ws_new(struct stream *inner, struct stream **ret_stream)
{
        struct ws_stream *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        w->stream = (struct stream){ .ops = &ws_ops, .fd = inner->fd };
        w->inner = inner;
        *ret_stream = &w->stream;
        return 0;
}

const struct stream *stream_ws_inner(const struct stream *s)
{
        return s->ops == &ws_ops ? of_const(s)->inner : s;
}
