/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"
#include "mqtt_session.h"
#include "reason.h"

/* libmosquitto refuses shorter ones. */
#define KEEPALIVE_MIN_S     5
#define USER_TIMEOUT_MIN_MS 10000U
/* While libmosquitto is opening TLS it does not say whether it waits to read or to write: look this often. */
#define OPENING_TICK_US UINT64_C(100000)
/* Between calls of mosquitto_loop_misc(), which sends the pings. */
#define MISC_TICK_US UINT64_C(1000000)
/* libmosquitto may ask for writability with nothing to write (after TLS renegotiation): never spin on it. */
#define WRITE_PAUSE_US UINT64_C(5000)
/* Packets that may still lie in a connection that is dropped. */
#define DROP_READS_MAX 1000
/* Above what brokers use by themselves: mosquitto 2.0.11 can go over a limit of 20, which would end the
 * connection. */
#define RECEIVE_MAX         1000
#define REMAINING_MAX_BYTES UINT32_C(268435455) /* MQTT 5.0 §2.1.4 */

struct mqtt_session {
        struct mosquitto *mosq;
        const struct conf_link *conf;
        const struct mqtt_session_handler *handler;
        void *user;
        enum mqtt_session_phase phase;
        struct mqtt_session_failure failure;
        char detail[120];      /* the first error that libmosquitto logged in this attempt */
        int connack;           /* reason code; −1: none yet */
        int disconnect_reason; /* of the broker's DISCONNECT; 0: none */
        bool is_leaving;       /* DISCONNECT is on its way */
        uint16_t keepalive_s;  /* in effect */
        uint16_t receive_max;
        uint8_t max_qos;
        uint32_t packet_max_bytes; /* 0: no limit */
        uint64_t last_rx_us;
        uint64_t next_misc_us;
        uint64_t write_pause_until_us;
};

static bool mqtt_session_is_v5(const struct mqtt_session *s)
{
        return s->conf->protocol == 5;
}

/* What libmosquitto calls. */

static void session_read_limits(struct mqtt_session *s, const mosquitto_property *properties)
{
        uint16_t keepalive_s, receive_max;
        uint8_t max_qos;
        uint32_t packet_max;

        if (mosquitto_property_read_int16(properties, MQTT_PROP_SERVER_KEEP_ALIVE, &keepalive_s, false))
                s->keepalive_s = keepalive_s;
        if (mosquitto_property_read_int16(properties, MQTT_PROP_RECEIVE_MAXIMUM, &receive_max, false))
                s->receive_max = receive_max;
        if (mosquitto_property_read_byte(properties, MQTT_PROP_MAXIMUM_QOS, &max_qos, false))
                s->max_qos = max_qos;
        if (mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &packet_max, false))
                s->packet_max_bytes = packet_max;
}

static void session_on_connect(struct mosquitto *mosq, void *user, int code, int flags,
                               const mosquitto_property *properties)
{
        struct mqtt_session *s = user;

        (void)mosq;
        (void)flags; /* whether the broker had kept the session: libmosquitto sees to what is in flight */
        s->connack = code;
        session_read_limits(s, properties);
}

static void session_on_disconnect(struct mosquitto *mosq, void *user, int code,
                                  const mosquitto_property *properties)
{
        struct mqtt_session *s = user;

        (void)mosq;
        (void)properties;
        /* The broker's own reasons of interest are 0x80 and above, libmosquitto's errors below. */
        if (code >= 0x80)
                s->disconnect_reason = code;
}

static void session_on_publish(struct mosquitto *mosq, void *user, int mid, int reason,
                               const mosquitto_property *properties)
{
        struct mqtt_session *s = user;

        (void)mosq;
        (void)properties;
        s->handler->on_done(s->user, mid, (unsigned)reason);
}

static void session_on_subscribe(struct mosquitto *mosq, void *user, int mid, int n_codes, const int *codes,
                                 const mosquitto_property *properties)
{
        struct mqtt_session *s = user;

        (void)mosq;
        (void)properties;
        if (n_codes > 0)
                s->handler->on_suback(s->user, mid, codes, (size_t)n_codes);
}

static void session_on_message(struct mosquitto *mosq, void *user, const struct mosquitto_message *m,
                               const mosquitto_property *properties)
{
        CLEANUP(cleanup_free)
        char *response = NULL;
        CLEANUP(cleanup_free)
        void *correlation = NULL;
        struct mqtt_session *s = user;
        uint16_t correlation_bytes = 0;
        uint32_t expiry_s = 0;
        struct message_init init;

        (void)mosq;
        if (!m->topic || m->payloadlen < 0)
                return;
        (void)mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &response, false);
        (void)mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &correlation,
                                             &correlation_bytes, false);
        (void)mosquitto_property_read_int32(properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, &expiry_s, false);
        init = (struct message_init){
                .topic = m->topic,
                .payload = m->payload,
                .payload_bytes = (size_t)m->payloadlen,
                .qos = (uint8_t)m->qos,
                .retain = m->retain,
                .expiry_s = expiry_s,
                .made_us = clock_monotonic_us(),
                .response_topic = response,
                .correlation = correlation,
                .correlation_bytes = correlation_bytes,
        };
        s->handler->on_message(s->user, &init);
}

/* libmosquitto tells why TLS failed nowhere but in its log. */
static void session_on_log(struct mosquitto *mosq, void *user, int level, const char *text)
{
        struct mqtt_session *s = user;

        (void)mosq;
        if (level == MOSQ_LOG_ERR && s->detail[0] == '\0')
                (void)snprintf(s->detail, sizeof(s->detail), "%s", text);
}

/* A key that needs a pass phrase must not ask for it on a terminal. */
static int session_no_passphrase(char *buf, int size, int rwflag, void *user)
{
        (void)rwflag;
        (void)user;
        if (size > 0)
                buf[0] = '\0';
        return 0;
}

/* Failures. */

static int session_fail(struct mqtt_session *s, enum connector_failure kind, int code, const char *text)
{
        s->failure.kind = kind;
        s->failure.code = code;
        (void)snprintf(s->failure.text, sizeof(s->failure.text), "%s", text);
        s->phase = MQTT_SESSION_DOWN;
        return MQTT_SESSION_E_DOWN;
}

/* "OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed" → the last part */
static int session_fail_tls(struct mqtt_session *s)
{
        const char *colon = strrchr(s->detail, ':');
        bool is_openssl = strncmp(s->detail, "OpenSSL", 7) == 0;
        const char *text = is_openssl && colon ? colon + 1 : s->detail;
        char line[sizeof(s->failure.text)];

        s->failure.is_certificate = strstr(text, "certificate verify failed") != NULL;
        (void)snprintf(line, sizeof(line), "TLS: %s", text[0] ? text : "handshake failed");
        return session_fail(s, CONNECTOR_F_TLS, 0, line);
}

static int session_fail_connack(struct mqtt_session *s)
{
        unsigned code = (unsigned)s->connack;
        char line[sizeof(s->failure.text)];

        (void)snprintf(line, sizeof(line), "connection refused: %s",
                       reason_connack_text(mqtt_session_is_v5(s), code));
        return session_fail(s, reason_connack_failure(mqtt_session_is_v5(s), code), s->connack, line);
}

static int session_fail_opening(struct mqtt_session *s, int rc, int errnum)
{
        if (s->connack > 0)
                return session_fail_connack(s);
        if (s->conf->tls.on && (rc == MOSQ_ERR_TLS || s->detail[0]))
                return session_fail_tls(s);
        if (s->phase == MQTT_SESSION_TCP || rc == MOSQ_ERR_ERRNO)
                return session_fail(s, CONNECTOR_F_TCP, errnum, reason_library_text(rc, errnum));
        return session_fail(s, CONNECTOR_F_LOST, rc,
                            rc == MOSQ_ERR_CONN_LOST ? "the broker closed the connection before its CONNACK"
                                                     : reason_library_text(rc, errnum));
}

/* The connection has ended: rc and errno of the call that saw it. */
static int session_ended(struct mqtt_session *s, int rc, int errnum)
{
        if (s->disconnect_reason > 0) {
                char line[sizeof(s->failure.text)];

                (void)snprintf(line, sizeof(line), "disconnected by the broker: %s",
                               reason_text((unsigned)s->disconnect_reason));
                return session_fail(s, CONNECTOR_F_LOST, s->disconnect_reason, line);
        }
        if (s->phase != MQTT_SESSION_ACTIVE)
                return session_fail_opening(s, rc, errnum);
        if (s->conf->tls.on && s->detail[0])
                return session_fail_tls(s);
        return session_fail(s, CONNECTOR_F_LOST, rc ? rc : MOSQ_ERR_CONN_LOST,
                            reason_library_text(rc ? rc : MOSQ_ERR_CONN_LOST, errnum));
}

/* Setting up. */

static const char *session_or_null(const char *text)
{
        return text[0] ? text : NULL;
}

static int session_check_file(struct mqtt_session *s, const char *key, const char *path)
{
        char line[sizeof(s->failure.text)];

        if (!path[0] || access(path, R_OK) == 0)
                return 0;
        (void)snprintf(line, sizeof(line), "TLS: %s \"%s\": %s", key, path, strerrordesc_np(errno));
        return session_fail(s, CONNECTOR_F_LOCAL, errno, line);
}

static int session_set_up_tls(struct mqtt_session *s)
{
        const struct conf_tls *tls = &s->conf->tls;
        const char *ca_path = tls->ca_path;
        int rc;

        if (session_check_file(s, "ca_file", tls->ca_file) ||
            session_check_file(s, "ca_path", tls->ca_path) ||
            session_check_file(s, "cert_file", tls->cert_file) ||
            session_check_file(s, "key_file", tls->key_file))
                return MQTT_SESSION_E_DOWN;
        /* Without one of them libmosquitto does no TLS at all; where OpenSSL's own are is a compiled-in
         * matter. */
        if (!tls->ca_file[0] && !tls->ca_path[0]) {
                ca_path = "/etc/ssl/certs";
                (void)mosquitto_int_option(s->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
        }
        rc = mosquitto_tls_set(s->mosq, session_or_null(tls->ca_file), session_or_null(ca_path),
                               session_or_null(tls->cert_file), session_or_null(tls->key_file),
                               session_no_passphrase);
        if (rc == MOSQ_ERR_SUCCESS) /* the default of 2.0.11 lets TLS 1.1 in */
                rc = mosquitto_tls_opts_set(s->mosq, 1, tls->version[0] ? tls->version : "tlsv1.2",
                                            session_or_null(tls->ciphers));
        if (rc == MOSQ_ERR_SUCCESS)
                rc = mosquitto_tls_insecure_set(s->mosq, tls->insecure);
        if (rc == MOSQ_ERR_SUCCESS && tls->alpn[0])
                rc = mosquitto_string_option(s->mosq, MOSQ_OPT_TLS_ALPN, tls->alpn);
        if (rc == MOSQ_ERR_SUCCESS)
                return 0;
        return session_fail(s, CONNECTOR_F_LOCAL, rc, "TLS: a setting is not usable");
}

/*
 * libmosquitto takes CONNECT properties only together with a blocking connect. It keeps them before it looks
 * at the port, so that a port that cannot be leaves them behind and connects nowhere.
 */
static int session_set_connect_properties(struct mqtt_session *s)
{
        mosquitto_property *list = NULL;
        int rc;

        rc = mosquitto_property_add_int32(&list, MQTT_PROP_MAXIMUM_PACKET_SIZE,
                                          MQTT_SESSION_PACKET_MAX_BYTES);
        if (rc == MOSQ_ERR_SUCCESS && !s->conf->clean_session)
                rc = mosquitto_property_add_int32(&list, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                                  s->conf->session_expiry_s);
        if (rc == MOSQ_ERR_SUCCESS) {
                rc = mosquitto_connect_bind_v5(s->mosq, "", -1, KEEPALIVE_MIN_S, NULL, list);
                rc = rc == MOSQ_ERR_INVAL ? MOSQ_ERR_SUCCESS : MOSQ_ERR_UNKNOWN;
        }
        mosquitto_property_free_all(&list);
        return rc;
}

static int session_set_up_will(struct mqtt_session *s, const struct message *will)
{
        if (!will)
                return MOSQ_ERR_SUCCESS;
        return mosquitto_will_set(s->mosq, will->topic, (int)will->payload_bytes, will->payload,
                                  MBGATE_MIN(will->qos, s->conf->qos), will->retain && s->conf->retain);
}

static int session_set_up(struct mqtt_session *s, const struct message *will)
{
        int rc;

        rc = mosquitto_int_option(s->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                                  mqtt_session_is_v5(s) ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
        if (rc == MOSQ_ERR_SUCCESS)
                rc = mosquitto_int_option(s->mosq, MOSQ_OPT_TCP_NODELAY, 1);
        if (rc == MOSQ_ERR_SUCCESS)
                rc = mosquitto_int_option(s->mosq, MOSQ_OPT_SEND_MAXIMUM, MQTT_SESSION_INFLIGHT_MAX);
        if (rc == MOSQ_ERR_SUCCESS)
                rc = mosquitto_int_option(s->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, RECEIVE_MAX);
        if (rc == MOSQ_ERR_SUCCESS && s->conf->username[0])
                rc = mosquitto_username_pw_set(s->mosq, s->conf->username,
                                               session_or_null(s->conf->password));
        if (rc == MOSQ_ERR_SUCCESS)
                rc = session_set_up_will(s, will);
        if (rc == MOSQ_ERR_SUCCESS && mqtt_session_is_v5(s))
                rc = session_set_connect_properties(s);
        if (rc != MOSQ_ERR_SUCCESS)
                return session_fail(s, CONNECTOR_F_LOCAL, rc, reason_library_text(rc, 0));
        return s->conf->tls.on ? session_set_up_tls(s) : 0;
}

static void session_set_callbacks(struct mqtt_session *s)
{
        /* The v5 ones are called for MQTT 3.1.1 too. */
        mosquitto_connect_v5_callback_set(s->mosq, session_on_connect);
        mosquitto_disconnect_v5_callback_set(s->mosq, session_on_disconnect);
        mosquitto_publish_v5_callback_set(s->mosq, session_on_publish);
        mosquitto_subscribe_v5_callback_set(s->mosq, session_on_subscribe);
        mosquitto_message_v5_callback_set(s->mosq, session_on_message);
        mosquitto_log_callback_set(s->mosq, session_on_log);
}

int mqtt_session_new(const struct mqtt_session_init *init, struct mqtt_session_failure *ret_failure,
                     struct mqtt_session **ret_session)
{
        CLEANUP(mqtt_session_freep)
        struct mqtt_session *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->conf = init->conf;
        s->handler = init->handler;
        s->user = init->user;
        s->mosq = mosquitto_new(session_or_null(init->conf->client_id), init->conf->clean_session, s);
        if (!s->mosq)
                return -errno;
        session_set_callbacks(s);
        if (session_set_up(s, init->will)) {
                *ret_failure = s->failure;
                return MQTT_SESSION_E_DOWN;
        }
        *ret_session = TAKE(s);
        return 0;
}

struct mqtt_session *mqtt_session_free(struct mqtt_session *s)
{
        if (!s)
                return NULL;
        if (s->mosq)
                mosquitto_destroy(s->mosq);
        free(s);
        return NULL;
}

/* Connecting. */

static uint16_t session_keepalive_s(const struct mqtt_session *s)
{
        uint32_t keepalive_s = MBGATE_MIN(s->conf->keepalive_s, (uint32_t)UINT16_MAX);

        return (uint16_t)(keepalive_s == 0 ? 0 : MBGATE_MAX(keepalive_s, (uint32_t)KEEPALIVE_MIN_S));
}

/* Unacknowledged bytes end a connection after half a keepalive time, but not at a mere hiccup: tcp(7). Best
 * effort. */
static void session_set_user_timeout(const struct mqtt_session *s)
{
        unsigned timeout_ms = MBGATE_MAX(s->keepalive_s * 1000U / 2, USER_TIMEOUT_MIN_MS);

        if (s->keepalive_s > 0)
                (void)setsockopt(mosquitto_socket(s->mosq), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                                 sizeof(timeout_ms));
}

static void session_reset(struct mqtt_session *s, uint64_t now_us)
{
        s->failure = (struct mqtt_session_failure){ .kind = 0 };
        s->detail[0] = '\0';
        s->connack = -1;
        s->disconnect_reason = 0;
        s->is_leaving = false;
        s->keepalive_s = session_keepalive_s(s);
        s->receive_max = UINT16_MAX;
        s->max_qos = 2;
        s->packet_max_bytes = 0;
        s->last_rx_us = now_us;
        s->next_misc_us = now_us + MISC_TICK_US;
        s->write_pause_until_us = 0;
}

int mqtt_session_connect(struct mqtt_session *s, const struct target *target, uint64_t now_us)
{
        int rc;

        session_reset(s, now_us);
        s->phase = MQTT_SESSION_TCP;
        errno = 0;
        rc = mosquitto_connect_bind_async(s->mosq, target->host, s->conf->port, s->keepalive_s, target->bind);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(s->mosq) < 0)
                return session_ended(s, rc, errno);
        session_set_user_timeout(s);
        return 0;
}

void mqtt_session_drop(struct mqtt_session *s)
{
        int fd = mosquitto_socket(s->mosq);

        s->phase = MQTT_SESSION_DOWN;
        if (fd < 0)
                return;
        /* There is no call that just closes; reading to the end of a socket that is shut down does. */
        (void)shutdown(fd, SHUT_RDWR);
        for (unsigned i = 0; i < DROP_READS_MAX && mosquitto_socket(s->mosq) >= 0; i++)
                (void)mosquitto_loop_read(s->mosq, 1);
}

enum mqtt_session_phase mqtt_session_phase(const struct mqtt_session *s)
{
        return s->phase;
}

const struct mqtt_session_failure *mqtt_session_failure(const struct mqtt_session *s)
{
        return &s->failure;
}

int mqtt_session_fd(const struct mqtt_session *s)
{
        return s->phase == MQTT_SESSION_DOWN ? -1 : mosquitto_socket(s->mosq);
}

short mqtt_session_events(const struct mqtt_session *s, uint64_t now_us)
{
        bool wants_write = mosquitto_want_write(s->mosq) && now_us >= s->write_pause_until_us;

        switch (s->phase) {
        case MQTT_SESSION_TCP: return POLLOUT;
        case MQTT_SESSION_OPENING:
                /* With TLS, writability says nothing: see OPENING_TICK_US. */
                return s->conf->tls.on ? POLLIN | POLLRDHUP : (short)(POLLIN | (wants_write ? POLLOUT : 0));
        case MQTT_SESSION_ACTIVE: return (short)(POLLIN | (wants_write ? POLLOUT : 0));
        case MQTT_SESSION_DOWN: break;
        }
        return 0;
}

/* A path that is dead though TCP does not know: nothing came for 1.5 keepalive times, pings or not. */
static uint64_t session_silence_us(const struct mqtt_session *s)
{
        return s->keepalive_s == 0 ? CLOCK_NEVER_US : s->last_rx_us + s->keepalive_s * USEC_PER_SEC * 3 / 2;
}

uint64_t mqtt_session_wake_us(const struct mqtt_session *s)
{
        uint64_t at_us;

        switch (s->phase) {
        case MQTT_SESSION_OPENING: return s->conf->tls.on ? s->next_misc_us : CLOCK_NEVER_US;
        case MQTT_SESSION_ACTIVE:
                at_us = MBGATE_MIN(s->next_misc_us, session_silence_us(s));
                if (mosquitto_want_write(s->mosq) && s->write_pause_until_us > 0)
                        at_us = MBGATE_MIN(at_us, s->write_pause_until_us);
                return at_us;
        case MQTT_SESSION_TCP:
        case MQTT_SESSION_DOWN: break;
        }
        return CLOCK_NEVER_US;
}

/* Running. */

/* Checks what a call of libmosquitto left. */
static int session_check(struct mqtt_session *s, int rc, int errnum)
{
        if (rc == MOSQ_ERR_SUCCESS && mosquitto_socket(s->mosq) >= 0)
                return 0;
        return session_ended(s, rc, errnum);
}

static int session_read(struct mqtt_session *s)
{
        int rc;

        errno = 0;
        rc = mosquitto_loop_read(s->mosq, 1);
        return session_check(s, rc, errno);
}

static int session_write(struct mqtt_session *s)
{
        int rc;

        errno = 0;
        rc = mosquitto_loop_write(s->mosq, 1);
        return session_check(s, rc, errno);
}

/*
 * False: the connect failed. With TLS, libmosquitto writes before TCP is up, and a refusal that comes by then
 * (on this machine at once) is reported to OpenSSL, which takes it for a pause: SO_ERROR tells it once only.
 */
static bool session_has_peer(const struct mqtt_session *s)
{
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);

        return getpeername(mosquitto_socket(s->mosq), (struct sockaddr *)&peer, &len) == 0 ||
               errno != ENOTCONN;
}

static int session_run_tcp(struct mqtt_session *s, short revents, uint64_t now_us)
{
        int error = 0;
        socklen_t len = sizeof(error);

        if (!revents)
                return 0;
        if (getsockopt(mosquitto_socket(s->mosq), SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                error = errno;
        if (error == 0 && !session_has_peer(s))
                error = ECONNREFUSED;
        if (error != 0)
                return session_fail(s, CONNECTOR_F_TCP, error, reason_library_text(MOSQ_ERR_ERRNO, error));
        s->phase = MQTT_SESSION_OPENING;
        s->next_misc_us = now_us + OPENING_TICK_US;
        /* libmosquitto 2.0.11 begins TLS here and in no call that a plain loop would make. */
        if (s->conf->tls.on && session_read(s))
                return MQTT_SESSION_E_DOWN;
        return session_write(s);
}

static int session_run_opening(struct mqtt_session *s, short revents, uint64_t now_us)
{
        bool is_tick = s->conf->tls.on && now_us >= s->next_misc_us;

        if (is_tick)
                s->next_misc_us = now_us + OPENING_TICK_US;
        if ((is_tick || (revents & ~POLLOUT)) && session_read(s))
                return MQTT_SESSION_E_DOWN;
        if ((is_tick || revents) && session_write(s))
                return MQTT_SESSION_E_DOWN;
        if (s->connack == 0) {
                s->phase = MQTT_SESSION_ACTIVE;
                s->last_rx_us = now_us;
                session_set_user_timeout(s);
        } else if (s->conf->tls.on && (revents & (POLLRDHUP | POLLHUP | POLLERR))) {
                /* libmosquitto takes an end in mid-handshake for a pause. */
                return session_fail(s, CONNECTOR_F_TLS, ECONNRESET,
                                    "the broker closed the connection during the TLS handshake");
        }
        return 0;
}

static int session_run_misc(struct mqtt_session *s, uint64_t now_us)
{
        int rc;

        if (now_us >= session_silence_us(s)) {
                char line[sizeof(s->failure.text)];

                (void)snprintf(line, sizeof(line), "nothing from the broker for %" PRIu64 " s",
                               (now_us - s->last_rx_us) / USEC_PER_SEC);
                return session_fail(s, CONNECTOR_F_LOST, MOSQ_ERR_KEEPALIVE, line);
        }
        if (now_us < s->next_misc_us)
                return 0;
        s->next_misc_us = now_us + MISC_TICK_US;
        rc = mosquitto_loop_misc(s->mosq);
        return session_check(s, rc, 0);
}

static int session_run_active(struct mqtt_session *s, short revents, uint64_t now_us)
{
        if (revents & ~POLLOUT) {
                if (session_read(s))
                        return MQTT_SESSION_E_DOWN;
                s->last_rx_us = now_us;
        }
        if (revents & POLLOUT) {
                if (session_write(s))
                        return MQTT_SESSION_E_DOWN;
                s->write_pause_until_us = mosquitto_want_write(s->mosq) ? now_us + WRITE_PAUSE_US : 0;
        }
        return session_run_misc(s, now_us);
}

int mqtt_session_run(struct mqtt_session *s, short revents, uint64_t now_us)
{
        switch (s->phase) {
        case MQTT_SESSION_TCP: return session_run_tcp(s, revents, now_us);
        case MQTT_SESSION_OPENING: return session_run_opening(s, revents, now_us);
        case MQTT_SESSION_ACTIVE: return session_run_active(s, revents, now_us);
        case MQTT_SESSION_DOWN: break;
        }
        return MQTT_SESSION_E_DOWN;
}

/* Publishing. */

static uint32_t session_varint_bytes(uint32_t n)
{
        return n < 128 ? 1 : n < 16384 ? 2 : n < 2097152 ? 3 : 4;
}

/* The whole PUBLISH packet: MQTT 5.0 §3.3. libmosquitto's own check is off by a byte or two. */
static uint64_t session_packet_bytes(const struct mqtt_session *s, const struct message *m, uint8_t qos,
                                     uint32_t expiry_s)
{
        uint64_t n = 2 + (uint64_t)m->topic_bytes + m->payload_bytes + (qos > 0 ? 2 : 0);
        uint32_t properties = 0;

        if (mqtt_session_is_v5(s)) {
                properties += expiry_s > 0 ? 5 : 0;
                properties += m->response_topic ? 3 + (uint32_t)strlen(m->response_topic) : 0;
                properties += m->correlation ? 3 + (uint32_t)m->correlation_bytes : 0;
                n += properties + session_varint_bytes(properties);
        }
        return n > REMAINING_MAX_BYTES ? UINT64_MAX : 1 + session_varint_bytes((uint32_t)n) + n;
}

static int session_publish_properties(const struct message *m, uint32_t expiry_s, mosquitto_property **list)
{
        int rc = MOSQ_ERR_SUCCESS;

        if (expiry_s > 0)
                rc = mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, expiry_s);
        if (rc == MOSQ_ERR_SUCCESS && m->response_topic)
                rc = mosquitto_property_add_string(list, MQTT_PROP_RESPONSE_TOPIC, m->response_topic);
        if (rc == MOSQ_ERR_SUCCESS && m->correlation)
                rc = mosquitto_property_add_binary(list, MQTT_PROP_CORRELATION_DATA, m->correlation,
                                                   (uint16_t)m->correlation_bytes);
        return rc;
}

/* Whether libmosquitto refused the message itself. After any other error a message of QoS ≥ 1 is queued in
 * it. */
static bool session_is_poison(int rc)
{
        return rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_PAYLOAD_SIZE || rc == MOSQ_ERR_MALFORMED_UTF8 ||
               rc == MOSQ_ERR_QOS_NOT_SUPPORTED || rc == MOSQ_ERR_OVERSIZE_PACKET ||
               rc == MOSQ_ERR_NOT_SUPPORTED || rc == MOSQ_ERR_DUPLICATE_PROPERTY || rc == MOSQ_ERR_PROTOCOL;
}

int mqtt_session_publish(struct mqtt_session *s, const struct message *m, uint8_t qos, bool retain,
                         uint32_t expiry_s, int *ret_mid, const char **ret_reason)
{
        mosquitto_property *list = NULL;
        int rc = MOSQ_ERR_SUCCESS;
        int errnum;

        if (session_packet_bytes(s, m, qos, expiry_s) >
            (s->packet_max_bytes > 0 ? s->packet_max_bytes : UINT64_MAX - 1)) {
                *ret_reason = "larger than the broker takes";
                return MQTT_SESSION_E_POISON;
        }
        if (mqtt_session_is_v5(s))
                rc = session_publish_properties(m, expiry_s, &list);
        errno = 0;
        if (rc == MOSQ_ERR_SUCCESS)
                rc = mosquitto_publish_v5(s->mosq, ret_mid, m->topic, (int)m->payload_bytes, m->payload,
                                          MBGATE_MIN(qos, s->max_qos), retain, list);
        errnum = errno;
        mosquitto_property_free_all(&list);
        if (session_is_poison(rc)) {
                *ret_reason = reason_library_text(rc, errnum);
                return MQTT_SESSION_E_POISON;
        }
        return session_check(s, rc, errnum);
}

int mqtt_session_subscribe(struct mqtt_session *s, const char *const *filters, size_t n_filters, uint8_t qos,
                           int *ret_mid)
{
        char *list[MQTT_SESSION_FILTERS_MAX];
        int rc;

        /* libmosquitto's type is char *const *, though it only reads. */
        memcpy(list, filters, n_filters * sizeof(*list));
        errno = 0;
        rc = mosquitto_subscribe_multiple(s->mosq, ret_mid, (int)n_filters, list, qos, 0, NULL);
        return session_check(s, rc, errno);
}

int mqtt_session_unsubscribe(struct mqtt_session *s, const char *filter)
{
        int rc;

        errno = 0;
        rc = mosquitto_unsubscribe(s->mosq, NULL, filter);
        return session_check(s, rc, errno);
}

void mqtt_session_disconnect(struct mqtt_session *s, bool with_will)
{
        s->is_leaving = true;
        if (with_will && mqtt_session_is_v5(s))
                (void)mosquitto_disconnect_v5(s->mosq, MQTT_RC_DISCONNECT_WITH_WILL_MSG, NULL);
        else if (!with_will)
                (void)mosquitto_disconnect(s->mosq);
        if (with_will || mosquitto_socket(s->mosq) < 0)
                s->phase = MQTT_SESSION_DOWN;
}

unsigned mqtt_session_quota(const struct mqtt_session *s)
{
        return MBGATE_MIN(MBGATE_MAX(s->receive_max, 1U), (unsigned)MQTT_SESSION_INFLIGHT_MAX);
}

const char *mqtt_session_describe(const struct mqtt_session *s)
{
        if (mqtt_session_is_v5(s))
                return s->conf->tls.on ? "MQTT 5, TLS" : "MQTT 5";
        return s->conf->tls.on ? "MQTT 3.1.1, TLS" : "MQTT 3.1.1";
}

int mqtt_session_global_init(void)
{
        return mosquitto_lib_init() == MOSQ_ERR_SUCCESS ? 0 : -EIO;
}

void mqtt_session_global_done(void)
{
        (void)mosquitto_lib_cleanup();
}

void mqtt_session_prepare_tls(void)
{
        static bool is_done;
        CLEANUP(cleanup_close)
        int fd = -1;
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof(address);
        struct mosquitto *mosq;

        if (is_done)
                return;
        is_done = true;
        /*
         * 2.0.11 initialises OpenSSL's globals at its first TLS connection, whichever threads make it. A
         * first connection to ourselves, here, keeps them from doing it at once. Failing costs only that.
         */
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 1) < 0 ||
            getsockname(fd, (struct sockaddr *)&address, &len) < 0)
                return;
        mosq = mosquitto_new(NULL, true, NULL);
        if (!mosq)
                return;
        if (mosquitto_tls_set(mosq, NULL, "/", NULL, NULL, NULL) == MOSQ_ERR_SUCCESS)
                (void)mosquitto_connect_async(mosq, "127.0.0.1", ntohs(address.sin_port), KEEPALIVE_MIN_S);
        mosquitto_destroy(mosq);
}
