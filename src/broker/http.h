/* SPDX-License-Identifier: MIT */
/*
 * The one HTTP request that the broker takes: GET with an upgrade to WebSocket and the sub-protocol of MQTT
 * (RFC 6455 §4.2.1, MQTT 5.0 §6). Pure.
 */
#ifndef MBGATE_BROKER_HTTP_H
#define MBGATE_BROKER_HTTP_H

#include <stddef.h>

#define HTTP_REQUEST_MAX_BYTES 8192
#define HTTP_ANSWER_MAX_BYTES  512

/* A request and its answer, which is complete in any case. */
struct http_upgrade {
        int status;         /* 101, or why not: 400, 405, 426, 431, 505 */
        size_t n_request;   /* bytes of the request, its empty line included */
        const char *reason; /* in words; static */
        size_t n_answer;
        char answer[HTTP_ANSWER_MAX_BYTES];
};

/*
 * 1: *ret is what to answer. 0: more bytes are needed; in the first `n_scanned` of them there was no end yet
 * when this was asked before.
 */
int http_take_upgrade(const char *bytes, size_t n, size_t n_scanned, struct http_upgrade *ret);

#endif
