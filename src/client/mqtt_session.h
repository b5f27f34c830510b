/* SPDX-License-Identifier: MIT */
/*
 * One MQTT session over libmosquitto, run as a foreign loop: the owner polls its descriptor for its events
 * and calls mqtt_session_run(). Nothing here blocks but mqtt_session_connect(), for files and names. Owned by
 * the link's thread. The handler's functions are called from mqtt_session_run() and mqtt_session_publish()
 * and must not call the session.
 *
 *   DOWN ──connect──► TCP ──► OPENING (TLS, CONNACK) ──► ACTIVE
 *     ▲                │          │                        │
 *     └────────────────┴──────────┴────────────────────────┘  MQTT_SESSION_E_DOWN: see the failure
 */
#ifndef MBGATE_CLIENT_MQTT_SESSION_H
#define MBGATE_CLIENT_MQTT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connector.h"
#include "mbgate/config/conf.h"
#include "mbgate/model/message.h"
#include "targets.h"

/* What libmosquitto holds of ours at a time. */
#define MQTT_SESSION_INFLIGHT_MAX 20
/* Larger packets the broker is asked not to send (MQTT 5). */
#define MQTT_SESSION_PACKET_MAX_BYTES (2U * 1024 * 1024)
/* Filters in one SUBSCRIBE: there are brokers that take no more than eight. */
#define MQTT_SESSION_FILTERS_MAX 8

struct mqtt_session;

enum mqtt_session_phase {
        MQTT_SESSION_DOWN,
        MQTT_SESSION_TCP,
        MQTT_SESSION_OPENING,
        MQTT_SESSION_ACTIVE,
};

enum mqtt_session_error {
        MQTT_SESSION_E_DOWN = 1, /* the connection ended or did not come about */
        MQTT_SESSION_E_POISON,   /* this message can never be sent */
};

struct mqtt_session_handler {
        /* The message's bytes are borrowed; `init->retain` is the flag as the broker sent it. */
        void (*on_message)(void *user, const struct message_init *init);

        /* Written (QoS 0) or acknowledged; reason ≥ 0x80: refused for good. */
        void (*on_done)(void *user, int mid, unsigned reason);
        void (*on_suback)(void *user, int mid, const int *codes, size_t n_codes);
};

struct mqtt_session_failure {
        enum connector_failure kind;
        int code;
        bool is_certificate; /* TLS: what was wrong is the certificate */
        char text[200];
};

struct mqtt_session_init {
        const struct conf_link *conf;
        const struct message *will; /* or NULL; borrowed for the call */
        const struct mqtt_session_handler *handler;
        void *user;
};

/* −ENOMEM; MQTT_SESSION_E_DOWN: a setting or file is not usable, the words are in *ret_failure. */
MUST_CHECK int mqtt_session_new(const struct mqtt_session_init *init,
                                struct mqtt_session_failure *ret_failure, struct mqtt_session **ret_session);

/* Drops the connection without a DISCONNECT: the broker publishes the will. Takes NULL, returns NULL. */
struct mqtt_session *mqtt_session_free(struct mqtt_session *s);
DEFINE_CLEANUP(struct mqtt_session *, mqtt_session_free)

/* Begins. 0 or MQTT_SESSION_E_DOWN. */
MUST_CHECK int mqtt_session_connect(struct mqtt_session *s, const struct target *target, uint64_t now_us);

/* Closes the connection at once, without a DISCONNECT; what is in flight stays with the session. */
void mqtt_session_drop(struct mqtt_session *s);

enum mqtt_session_phase mqtt_session_phase(const struct mqtt_session *s);
const struct mqtt_session_failure *mqtt_session_failure(const struct mqtt_session *s);

/* −1 when down. */
int mqtt_session_fd(const struct mqtt_session *s);

/* For poll(2). */
short mqtt_session_events(const struct mqtt_session *s, uint64_t now_us);

/* Be called again at the latest then, events or not. */
uint64_t mqtt_session_wake_us(const struct mqtt_session *s);

/* Handles what poll(2) brought, and what time brings. 0 or MQTT_SESSION_E_DOWN. */
MUST_CHECK int mqtt_session_run(struct mqtt_session *s, short revents, uint64_t now_us);

/*
 * Hands a message over, `expiry_s` = 0 for none. *ret_mid is set before on_done() can be called for it. 0,
 * MQTT_SESSION_E_POISON with the reason in *ret_reason, MQTT_SESSION_E_DOWN: the message may or may not have
 * gone.
 */
MUST_CHECK int mqtt_session_publish(struct mqtt_session *s, const struct message *m, uint8_t qos, bool retain,
                                    uint32_t expiry_s, int *ret_mid, const char **ret_reason);

/* Up to MQTT_SESSION_FILTERS_MAX filters; the answer is on_suback(). 0 or MQTT_SESSION_E_DOWN. */
MUST_CHECK int mqtt_session_subscribe(struct mqtt_session *s, const char *const *filters, size_t n_filters,
                                      uint8_t qos, int *ret_mid);
MUST_CHECK int mqtt_session_unsubscribe(struct mqtt_session *s, const char *filter);

/* Sends DISCONNECT; down when it is written. `with_will`: what should have been said was not (MQTT 5). */
void mqtt_session_disconnect(struct mqtt_session *s, bool with_will);

/* Messages the broker lets be in flight: its receive maximum, at most MQTT_SESSION_INFLIGHT_MAX. */
unsigned mqtt_session_quota(const struct mqtt_session *s);

/* "MQTT 5, TLS" */
const char *mqtt_session_describe(const struct mqtt_session *s);

MUST_CHECK int mqtt_session_global_init(void);
void mqtt_session_global_done(void);

/* Sets up what libmosquitto's first TLS connection does without a lock. On the main thread, any number of
 * times. */
void mqtt_session_prepare_tls(void);

#endif
