/* SPDX-License-Identifier: MIT */
/*
 * The bytes of one peer, whatever carries them: a TCP or Unix socket, TLS on it, WebSocket on either. Never
 * blocks. Owned by the main thread, by whoever has the pointer.
 *
 *   connection ─► stream_ws ─► stream_tls ─► stream_socket ─► descriptor
 *
 * A stream on another one owns it. Handshakes (TLS, WebSocket upgrade) happen inside reads and writes: until
 * they are done both give −EAGAIN, and stream_events() says what to wait for.
 */
#ifndef MBGATE_BROKER_STREAM_H
#define MBGATE_BROKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "mbgate/base/macros.h"

struct stream;

struct stream_ops {
        /*
         * Up to `n` bytes. > 0; 0: the peer has ended its side; −EAGAIN: none now; −EPROTO: what came is no
         * TLS or no WebSocket (stream_reason() says what); −errno: the connection is lost.
         */
        ssize_t (*read)(struct stream *s, void *bytes, size_t n);

        /*
         * Takes up to so many bytes: how many, or −EAGAIN, −errno. What has been taken may still wait inside
         * (a record, a frame): stream_events() asks for EPOLLOUT then, and stream_flush() sends it.
         */
        ssize_t (*write)(struct stream *s, const struct iovec *parts, size_t n_parts);

        /* Sends what waits inside. 0: nothing is left; −EAGAIN; −errno. */
        int (*flush)(struct stream *s);

        /* What the stream itself needs from epoll besides EPOLLIN: EPOLLOUT while bytes wait inside. */
        uint32_t (*events)(const struct stream *s);

        /* Whether bytes have been read from the socket that a read would give, or an end or a fault behind
         * them that it would tell: epoll does not. */
        bool (*has_input)(const struct stream *s);

        /* Says goodbye (close frame, close_notify) and ends our side; reads go on. Once. */
        void (*shutdown)(struct stream *s);

        void (*free)(struct stream *s); /* closes the descriptor */
};

struct stream {
        const struct stream_ops *ops;
        int fd;
        const char *reason; /* why −EPROTO; static */
};

/* A peer that has come in. */
struct peer {
        char *address;     /* "192.0.2.7", "2001:db8::1", "unix"; owned */
        char *certificate; /* the client certificate's common name once TLS is up; owned; NULL: none */
        uint16_t port;     /* 0: Unix socket */
        bool is_local;     /* loopback or Unix socket */
};

/* Wraps a connected, non-blocking socket, which it then owns. −ENOMEM: the socket is still the caller's. */
MUST_CHECK int stream_socket_new(int fd, struct stream **ret_stream);

/*
 * TLS, server side, over `inner` (taken over on success). `tls`: stream_tls.h. −ENOMEM.
 */
struct tls_server;
MUST_CHECK int stream_tls_new(struct tls_server *tls, struct stream *inner, struct stream **ret_stream);

/* The common name of the client certificate that was verified in the handshake, or NULL. Borrowed. */
const char *stream_tls_client_name(const struct stream *s);

/*
 * The server side of WebSocket (RFC 6455) with sub-protocol "mqtt" (or "mqttv3.1") over `inner` (taken over
 * on success): upgrade, frames, ping, close. Binary frames only; a packet may span frames and a frame may
 * hold many packets. −ENOMEM.
 */
MUST_CHECK int stream_ws_new(struct stream *inner, struct stream **ret_stream);

/* The stream below, if it is a WebSocket; else the stream itself. */
const struct stream *stream_ws_inner(const struct stream *s);

static inline ssize_t stream_read(struct stream *s, void *bytes, size_t n)
{
        return s->ops->read(s, bytes, n);
}

static inline ssize_t stream_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        return s->ops->write(s, parts, n_parts);
}

static inline int stream_flush(struct stream *s)
{
        return s->ops->flush(s);
}

static inline uint32_t stream_events(const struct stream *s)
{
        return s->ops->events(s);
}

static inline bool stream_has_input(const struct stream *s)
{
        return s->ops->has_input(s);
}

static inline void stream_shutdown(struct stream *s)
{
        s->ops->shutdown(s);
}

/* Takes NULL, returns NULL. */
static inline struct stream *stream_free(struct stream *s)
{
        if (s)
                s->ops->free(s);
        return NULL;
}
DEFINE_CLEANUP(struct stream *, stream_free)

#endif
