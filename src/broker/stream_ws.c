/* SPDX-License-Identifier: MIT */
/*
 * WebSocket, server side: the upgrade by http.c, frames by wslay. What comes in binary frames is one stream
 * of bytes, wherever frames begin and end. What goes out is one frame a write; control frames of wslay go
 * between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <wslay/wslay.h>

#include "mbgate/base/byteorder.h"

#include "http.h"
#include "stream.h"

#define FRAME_MAX_BYTES  (32u * 1024)
#define FRAME_HEAD_BYTES 4
#define PARTS_MAX        64
#define CODE_UNSUPPORTED 1003 /* RFC 6455 §7.4.1: data of a kind that we do not take */

struct ws_stream {
        struct stream stream; /* the first member */
        struct stream *inner;
        wslay_event_context_ptr wslay;
        char *request; /* the upgrade as far as it has come, then what came behind it; NULL: all is taken */
        size_t n_request;
        uint8_t *rest; /* what the inner stream has not taken yet */
        size_t n_rest, at_rest;
        uint8_t *into; /* where the bytes of this read go */
        size_t n_into, size_into;
        size_t n_raw; /* bytes that this read may still take from the inner stream */
        int result;   /* of the inner stream, when it gave nothing */
        bool is_open, is_refused, is_broken, has_shutdown;
};

static struct ws_stream *of(struct stream *s)
{
        return (struct ws_stream *)(void *)s;
}

static const struct ws_stream *of_const(const struct stream *s)
{
        return (const struct ws_stream *)(const void *)s;
}

/* ---- bytes that wait inside ---- */

static int rest_send(struct ws_stream *w)
{
        while (w->n_rest > 0) {
                struct iovec part = { .iov_base = w->rest + w->at_rest, .iov_len = w->n_rest };
                ssize_t n = stream_write(w->inner, &part, 1);

                if (n < 0)
                        return (int)n;
                w->at_rest += (size_t)n;
                w->n_rest -= (size_t)n;
        }
        free(w->rest);
        w->rest = NULL;
        w->at_rest = 0;
        return 0;
}

/* Keeps what lies behind the first `n_sent` bytes of the parts. */
static int rest_keep(struct ws_stream *w, const struct iovec *parts, size_t n_parts, size_t n_sent)
{
        size_t n_total = 0;

        for (size_t i = 0; i < n_parts; i++)
                n_total += parts[i].iov_len;
        if (n_sent == n_total)
                return 0;
        w->rest = malloc(n_total - n_sent);
        if (!w->rest)
                return -ENOMEM;
        for (size_t i = 0; i < n_parts; i++) {
                size_t skip = MBGATE_MIN(n_sent, parts[i].iov_len);

                memcpy(w->rest + w->n_rest, (const uint8_t *)parts[i].iov_base + skip,
                       parts[i].iov_len - skip);
                w->n_rest += parts[i].iov_len - skip;
                n_sent -= skip;
        }
        return 0;
}

/* All of it, now or later. 0; −errno. */
static int put(struct ws_stream *w, const struct iovec *parts, size_t n_parts)
{
        ssize_t n = stream_write(w->inner, parts, n_parts);

        if (n < 0 && n != -EAGAIN)
                return (int)n;
        return rest_keep(w, parts, n_parts, n < 0 ? 0 : (size_t)n);
}

/* ---- wslay's callbacks ---- */

/* What came in one piece with the upgrade. */
static size_t take_early(struct ws_stream *w, uint8_t *bytes, size_t n)
{
        n = MBGATE_MIN(n, w->n_request);
        memcpy(bytes, w->request, n);
        w->n_request -= n;
        memmove(w->request, w->request + n, w->n_request);
        if (w->n_request == 0) {
                free(w->request);
                w->request = NULL;
        }
        return n;
}

static ssize_t on_recv(wslay_event_context_ptr wslay, uint8_t *bytes, size_t n, int flags, void *user)
{
        struct ws_stream *w = user;
        ssize_t r;

        (void)flags;
        n = MBGATE_MIN(n, w->n_raw);
        if (n > 0 && w->request)
                r = (ssize_t)take_early(w, bytes, n);
        else
                r = n > 0 ? stream_read(w->inner, bytes, n) : -EAGAIN;
        if (r > 0) {
                w->n_raw -= (size_t)r;
                return r;
        }
        w->result = (int)r;
        wslay_event_set_error(wslay, r == -EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t n, int flags, void *user)
{
        struct ws_stream *w = user;
        struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
        ssize_t r = w->n_rest > 0 ? -EAGAIN : stream_write(w->inner, &part, 1);

        (void)flags;
        if (r >= 0)
                return r;
        wslay_event_set_error(wslay, r == -EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
}

/* MQTT 5.0 §6: binary frames only. */
static void on_frame_start(wslay_event_context_ptr wslay,
                           const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
        struct ws_stream *w = user;

        if (arg->opcode != WSLAY_TEXT_FRAME)
                return;
        w->stream.reason = "WebSocket: a text frame";
        (void)wslay_event_queue_close(wslay, CODE_UNSUPPORTED, NULL, 0);
        wslay_event_shutdown_read(wslay);
}

static void on_frame_chunk(wslay_event_context_ptr wslay,
                           const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
        struct ws_stream *w = user;

        if (!wslay_event_get_read_enabled(wslay))
                return;
        if (arg->data_length > w->size_into - w->n_into) {
                w->is_broken = true; /* more came out than went in */
                return;
        }
        memcpy(w->into + w->n_into, arg->data, arg->data_length);
        w->n_into += arg->data_length;
}

/* Data frames are told by their chunks; control frames have none of ours in them. */
static void on_msg(wslay_event_context_ptr wslay, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
        (void)wslay;
        (void)arg;
        (void)user;
}

static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame_start,
        .on_frame_recv_chunk_callback = on_frame_chunk,
        .on_msg_recv_callback = on_msg,
};

/* ---- the upgrade ---- */

static int upgrade_answer(struct ws_stream *w, const struct http_upgrade *u)
{
        struct iovec part = { .iov_base = (void *)(uintptr_t)u->answer, .iov_len = u->n_answer };

        w->is_open = u->status == 101;
        w->is_refused = !w->is_open;
        if (w->is_refused)
                w->stream.reason = "WebSocket: no upgrade with the sub-protocol mqtt";
        w->n_request -= u->n_request;
        memmove(w->request, w->request + u->n_request, w->n_request);
        if (w->n_request == 0 || w->is_refused) {
                free(w->request);
                w->request = NULL;
        }
        return put(w, &part, 1);
}

/* 0: done; −EAGAIN; −errno. */
static int upgrade_read(struct ws_stream *w)
{
        struct http_upgrade u;

        for (;;) {
                ssize_t n = stream_read(w->inner, w->request + w->n_request,
                                        HTTP_REQUEST_MAX_BYTES - w->n_request);

                if (n <= 0)
                        return n == 0 ? -ECONNRESET : (int)n;
                w->n_request += (size_t)n;
                if (http_take_upgrade(w->request, w->n_request, &u))
                        return upgrade_answer(w, &u);
        }
}

/* ---- reading and writing ---- */

static int ws_flush(struct stream *s)
{
        struct ws_stream *w = of(s);
        int r = rest_send(w);

        if (r < 0)
                return r;
        if (!w->request && !w->is_refused && wslay_event_want_write(w->wslay) &&
            wslay_event_send(w->wslay) != 0)
                return -ECONNRESET;
        r = stream_flush(w->inner);
        if (r < 0)
                return r;
        return w->n_rest > 0 || (w->is_open && wslay_event_want_write(w->wslay)) ? -EAGAIN : 0;
}

static ssize_t ws_read(struct stream *s, void *bytes, size_t n)
{
        struct ws_stream *w = of(s);
        int r;

        if (!w->is_open && !w->is_refused) {
                r = upgrade_read(w);
                if (r < 0)
                        return r;
        }
        if (w->is_refused)
                return w->has_shutdown ? stream_read(w->inner, bytes, n) : -EPROTO;
        if (w->is_broken)
                return -EPROTO;
        w->into = bytes;
        w->n_into = 0;
        w->size_into = n;
        w->n_raw = n;
        w->result = -EAGAIN;
        r = wslay_event_recv(w->wslay);
        if (w->n_into > 0)
                return (ssize_t)w->n_into;
        if (w->result != -EAGAIN)
                return w->result;
        if (r == 0 && !w->is_broken && wslay_event_get_read_enabled(w->wslay))
                return -EAGAIN;
        (void)ws_flush(s); /* the answer to a close frame */
        return wslay_event_get_close_received(w->wslay) ? 0 : -EPROTO;
}

/* RFC 6455 §5.2: final, binary, not masked. */
static size_t frame_head(uint8_t head[FRAME_HEAD_BYTES], size_t n)
{
        head[0] = 0x82;
        if (n < 126) {
                head[1] = (uint8_t)n;
                return 2;
        }
        head[1] = 126;
        put_be16(head + 2, (uint16_t)n);
        return 4;
}

static ssize_t ws_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct ws_stream *w = of(s);
        uint8_t head[FRAME_HEAD_BYTES];
        struct iovec frame[PARTS_MAX + 1];
        size_t n = 0, n_frame = 1;
        int r = w->is_open || w->is_refused ? ws_flush(s) : -EAGAIN;

        if (r < 0)
                return r;
        if (w->is_refused)
                return -EPIPE;
        for (size_t i = 0; i < n_parts && n_frame <= PARTS_MAX && n < FRAME_MAX_BYTES; i++) {
                frame[n_frame] = parts[i];
                frame[n_frame].iov_len = MBGATE_MIN(parts[i].iov_len, FRAME_MAX_BYTES - n);
                n += frame[n_frame++].iov_len;
        }
        frame[0] = (struct iovec){ .iov_base = head, .iov_len = frame_head(head, n) };
        r = put(w, frame, n_frame);
        return r < 0 ? r : (ssize_t)n;
}

static uint32_t ws_events(const struct stream *s)
{
        const struct ws_stream *w = of_const(s);
        bool waits = w->n_rest > 0 || (w->is_open && wslay_event_want_write(w->wslay));

        return stream_events(w->inner) | (waits ? EPOLLOUT : 0u);
}

static bool ws_has_input(const struct stream *s)
{
        return (of_const(s)->is_open && of_const(s)->request) || stream_has_input(of_const(s)->inner);
}

static void ws_shutdown(struct stream *s)
{
        struct ws_stream *w = of(s);

        w->has_shutdown = true;
        if (w->is_open) {
                (void)wslay_event_queue_close(w->wslay, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
                (void)ws_flush(s);
        }
        stream_shutdown(w->inner);
}

static void ws_free(struct stream *s)
{
        struct ws_stream *w = of(s);

        wslay_event_context_free(w->wslay);
        (void)stream_free(w->inner);
        free(w->request);
        free(w->rest);
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
        w->request = malloc(HTTP_REQUEST_MAX_BYTES);
        if (!w->request || wslay_event_context_server_init(&w->wslay, &callbacks, w) != 0) {
                free(w->request);
                free(w);
                return -ENOMEM;
        }
        wslay_event_config_set_no_buffering(w->wslay, 1);
        wslay_event_config_set_max_recv_msg_length(w->wslay, UINT64_MAX >> 1);
        w->stream = (struct stream){ .ops = &ws_ops, .fd = inner->fd };
        w->inner = inner;
        *ret_stream = &w->stream;
        return 0;
}

const struct stream *stream_ws_inner(const struct stream *s)
{
        return s->ops == &ws_ops ? of_const(s)->inner : s;
}
