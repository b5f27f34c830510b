/* SPDX-License-Identifier: MIT */
/* CONNECT: who is it, may it come in, which session is its own (MQTT 5.0 §3.1, §3.2). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/text.h"
#include "mbgate/codec/mqtt_encode.h"
#include "mbgate/codec/topic.h"

#include "broker_private.h"

#define ASSIGNED_ID_BYTES 32

/* A CONNECT whose password is being checked, with a copy of the packet. */
struct connection_login {
        struct authority_ask *ask;
        struct mqtt_connect connect; /* points into packet[] */
        size_t n_packet;
        uint8_t packet[];
};

void connection_login_free(struct connection *c)
{
        struct connection_login *login = TAKE(c->login);

        if (!login)
                return;
        if (login->ask)
                authority_forget(login->ask);
        c->broker->n_input_bytes -= c->n_login;
        c->n_login = 0;
        explicit_bzero(login->packet, login->n_packet);
        free(login);
}

#define CONNACK_BYTES 128

static void connack_put(struct connection *c, const struct mqtt_connack *k)
{
        uint8_t packet[CONNACK_BYTES];

        connection_put(c, packet,
                       mqtt_encode_connack(packet, sizeof(packet), (enum mqtt_version)c->version, k));
}

void connection_refuse(struct connection *c, uint8_t reason)
{
        struct mqtt_connack k = {
                .reason = reason,
                .session_expiry_s = MQTT_CONNACK_NO_EXPIRY,
                .server_keepalive_s = UINT32_MAX,
                .max_qos = 2,
        };

        connection_doom(c, reason);
        connack_put(c, &k); /* or nothing, if its client does not take so much */
}

/* A text of a packet as a C string; its bytes have no NUL. NULL: absent or no memory. */
static char *text_copy(struct mqtt_bytes text)
{
        return text.data ? strndup((const char *)text.data, text.n) : NULL;
}

/* ---- the session that a client asks for ---- */

/* An id that no client has guessed: §3.1.3.1. */
static char *id_assign(struct broker *b)
{
        char text[ASSIGNED_ID_BYTES];

        b->id_counter++;
        (void)snprintf(text, sizeof(text), "auto-%08x%08x", (unsigned)(b->id_secret >> 32) ^ b->id_counter,
                       (unsigned)(b->id_secret * b->id_counter));
        return strdup(text);
}

/* How long the session is to live on without a connection. */
static uint32_t connect_expiry_s(const struct connection *c, const struct mqtt_connect *k)
{
        uint32_t max_s = broker_conf(c->broker)->max_session_expiry_s;

        if (c->options->session == CONF_SESSION_CLEAN)
                return 0;
        if (c->options->session == CONF_SESSION_KEEP)
                return max_s;
        if (k->version == MQTT_V5)
                return MBGATE_MIN(k->properties.session_expiry_s, max_s);
        return k->clean ? 0 : max_s;
}

/* Where mosquitto's bridges say that they are there: a will that is let in, and never published. */
static bool is_bridge_state(struct mqtt_bytes topic)
{
        static const char prefix[] = "$SYS/broker/connection/";

        return topic.n >= sizeof(prefix) - 1 && memcmp(topic.data, prefix, sizeof(prefix) - 1) == 0;
}

/* One that could never be sent is refused while its client can be told: MQTT-3.1.2-8 promises it. What the
 * ACL says is asked again when it is sent. */
static bool will_may_be_published(const struct broker *b, const struct mqtt_connect *k,
                                  const struct session_ask *ask)
{
        const struct acl_client client = { .user = ask->user, .id = ask->id };

        return is_bridge_state(k->will_topic) ||
               authority_may(b->authority, &client, ACL_WRITE, (const char *)k->will_topic.data,
                             k->will_topic.n);
}

static int will_new(const struct broker *b, const struct mqtt_connect *k, struct message **ret_will)
{
        CLEANUP(cleanup_free)
        uint8_t *properties = NULL;
        struct message_init init = {
                .topic = (const char *)k->will_topic.data,
                .topic_bytes = k->will_topic.n,
                .payload = k->will_payload.data,
                .payload_bytes = k->will_payload.n,
                .qos = k->will_qos,
                .retain = k->will_retain,
                .expiry_s = k->will_properties.seen & MQTT_HAS_EXPIRY
                                    ? MBGATE_MAX(k->will_properties.message_expiry_s, 1u)
                                    : 0, /* never */
                .made_us = transport_now_us(b->transport),
        };

        if (k->will_properties.all.n > 0) {
                properties = malloc(k->will_properties.all.n);
                if (!properties)
                        return -ENOMEM;
                init.properties = properties;
                init.properties_bytes = mqtt_pass_properties(&k->will_properties, properties);
        }
        return message_new(&init, ret_will);
}

static int session_result_reason(int r)
{
        switch (r) {
        case SESSION_FULL:
        case SESSION_TOO_LARGE: return MQTT_QUOTA_EXCEEDED;
        case SESSION_FOREIGN: return MQTT_NOT_AUTHORISED;
        default: return MQTT_SERVER_UNAVAILABLE;
        }
}

/* ---- letting in ---- */

static void connection_take_connect(struct connection *c, const struct mqtt_connect *k)
{
        const struct conf_broker *conf = broker_conf(c->broker);
        uint32_t keepalive_s = k->keepalive_s;

        c->is_bridge = k->is_bridge;
        if (k->version == MQTT_V5) {
                c->receive_max = k->properties.receive_max;
                c->alias_max = k->properties.alias_max;
        }
        if (conf->max_keepalive_s < UINT16_MAX && (keepalive_s == 0 || keepalive_s > conf->max_keepalive_s) &&
            k->version == MQTT_V5)
                keepalive_s = conf->max_keepalive_s;
        c->keepalive_ms = keepalive_s * 1000;
        c->told_packet_bytes = conf->max_packet_bytes;
        c->told_receive_max = (uint16_t)MBGATE_MIN(conf->max_inflight, UINT16_MAX);
        c->told_alias_max = (uint16_t)MBGATE_MIN(conf->max_topic_alias, CONNECTION_ALIASES_MAX);
        c->told_no_retain = conf->max_retained_messages == 0;
}

static struct mqtt_connack connection_welcome(const struct connection *c, const struct mqtt_connect *k,
                                              uint32_t expiry_s, const char *assigned_id)
{
        struct mqtt_connack answer = {
                .session_expiry_s = MQTT_CONNACK_NO_EXPIRY,
                .server_keepalive_s = UINT32_MAX,
                .max_qos = 2,
                .receive_max = c->told_receive_max,
                .max_packet_bytes = c->told_packet_bytes,
                .no_retain = c->told_no_retain,
                .alias_max = c->told_alias_max,
        };

        if (assigned_id)
                answer.assigned_id = (struct mqtt_bytes){ (const uint8_t *)assigned_id, strlen(assigned_id) };
        if (expiry_s != k->properties.session_expiry_s)
                answer.session_expiry_s = expiry_s;
        if (c->keepalive_ms != k->keepalive_s * UINT32_C(1000))
                answer.server_keepalive_s = c->keepalive_ms / 1000;
        return answer;
}

/* Nobody is let in who cannot be told so. */
static bool connection_can_say(const struct connection *c, const struct mqtt_connack *answer)
{
        uint8_t packet[CONNACK_BYTES];

        return mqtt_encode_connack(packet, sizeof(packet), (enum mqtt_version)c->version, answer) <=
               c->max_packet_bytes;
}

static void connection_log_welcome(const struct connection *c, bool is_present)
{
        static const char *const versions[] = {
                [MQTT_V31] = "3.1", [MQTT_V311] = "3.1.1", [MQTT_V5] = "5.0"
        };
        const struct session *s = c->session;

        if (broker_may_log(c->broker))
                log_info(&c->broker->fields, "broker: client \"%s\"%s%s connected from %s port %u, MQTT %s%s",
                         s->id, s->user ? " of user " : "", s->user ? s->user : "", c->peer->address,
                         c->peer->port, versions[c->version], is_present ? ", goes on with its session" : "");
}

/* "send every known topic matching a mask at connect, paced" */
static void connection_begin_pushes(struct connection *c)
{
        const struct conf_listener_options *o = c->options;
        uint64_t now_us = transport_now_us(c->broker->transport);
        struct session_walk walk = {
                .next_us = now_us + o->publish_delay_ms * USEC_PER_MSEC,
                .pause_us = (uint32_t)(o->publish_pause_ms * USEC_PER_MSEC),
                .is_known = true,
                .is_push = true,
        };

        for (size_t i = 0; c->broker->known && i < o->n_publish_on_connect; i++) {
                const char *filter = o->publish_on_connect[i];

                if (session_walk_begin(c->session, &walk, filter, strlen(filter)) < 0)
                        connection_doom(c, MQTT_SERVER_UNAVAILABLE);
        }
}

static void connection_open(struct connection *c, const struct mqtt_connack *welcome)
{
        struct broker *b = c->broker;
        struct session *s = c->session;

        s->connection = c;
        b->n_away--;
        b->n_clients++;
        b->stats.n_connects++;
        b->stats.max_connected = MBGATE_MAX(b->stats.max_connected, b->n_clients);
        s->n_dropped = 0;
        if (s->queue)
                queue_connect(s->queue, c->receive_max);
        c->state = CONNECTION_OPEN;
        c->taken_us = transport_now_us(b->transport);
        connack_put(c, welcome);
        connection_log_welcome(c, welcome->session_present);
        connection_begin_pushes(c);
        if (c->keepalive_ms > 0)
                broker_wake_at(b, c->seen_us + c->keepalive_ms * USEC_PER_MSEC * 3 / 2);
        connection_mark_dirty(c);
}

/* The client has shown who it is, or need not; `user`: NULL when it has no name. */
static int connection_let_in(struct connection *c, const struct mqtt_connect *k, const char *user,
                             bool is_proven)
{
        bool is_assigned = k->client_id.n == 0;
        CLEANUP(cleanup_free)
        char *id = is_assigned ? id_assign(c->broker) : text_copy(k->client_id);
        CLEANUP(message_unrefp)
        struct message *will = NULL;
        struct session_ask ask = {
                .id = id,
                .user = user,
                .is_proven = is_proven,
                .address = c->peer->address,
                .will_delay_s = k->will_properties.will_delay_s,
        };
        struct mqtt_connack welcome;
        int r;

        if (!id)
                return MQTT_SERVER_UNAVAILABLE;
        if (k->has_will && !will_may_be_published(c->broker, k, &ask))
                return MQTT_NOT_AUTHORISED;
        if (k->has_will && will_new(c->broker, k, &will) < 0)
                return MQTT_SERVER_UNAVAILABLE;
        connection_take_connect(c, k);
        ask.will = will;
        ask.expiry_s = connect_expiry_s(c, k);
        welcome = connection_welcome(c, k, ask.expiry_s, is_assigned && k->version == MQTT_V5 ? id : NULL);
        if (!connection_can_say(c, &welcome))
                return MQTT_TOO_LARGE;
        ask.clean = c->options->session == CONF_SESSION_CLEAN ||
                    (k->clean && c->options->session == CONF_SESSION_CLIENT);
        r = session_open(c->broker, &ask, &c->session);
        if (r != 0 && r != SESSION_RESUMED)
                return session_result_reason(r);
        welcome.session_present = r == SESSION_RESUMED;
        connection_open(c, &welcome);
        return 0;
}

/* ---- asking who it is ---- */

static void connection_on_answer(void *user, enum authority_answer answer)
{
        struct connection *c = user;
        struct connection_login *login = c->login;
        CLEANUP(cleanup_free)
        char *name = text_copy(login->connect.username);
        int reason = 0;

        login->ask = NULL;
        c->state = CONNECTION_CONNECT;
        if (answer == AUTHORITY_OK)
                reason = name ? connection_let_in(c, &login->connect, name,
                                                  authority_has_users(c->broker->authority))
                              : MQTT_SERVER_UNAVAILABLE;
        else
                reason = answer == AUTHORITY_BUSY ? MQTT_SERVER_BUSY : MQTT_BAD_CREDENTIALS;
        if (reason != 0)
                connection_refuse(c, (uint8_t)reason);
        connection_login_free(c);
        if (reason == 0)
                connection_resume(c);
        connection_mark_dirty(c);
}

/* Waits for the answer: nothing is read meanwhile. */
static int connection_ask(struct connection *c, const struct mqtt_frame *f, const char *name)
{
        struct connection_login *login = NULL;
        struct mqtt_frame copy = *f;
        struct mqtt_bytes password;

        if (connection_input_room(c, f->n_body) == 0)
                login = malloc(sizeof(*login) + f->n_body);
        if (!login)
                return MQTT_SERVER_UNAVAILABLE;
        c->begin_us = transport_now_us(c->broker->transport);
        c->n_login = f->n_body;
        c->broker->n_input_bytes += c->n_login;
        *login = (struct connection_login){ .n_packet = f->n_body };
        memcpy(login->packet, f->body, f->n_body);
        copy.body = login->packet;
        c->login = login;
        if (mqtt_decode_connect(&copy, &login->connect) != 0)
                return MQTT_IMPLEMENTATION; /* it was well a moment ago */
        password = login->connect.password;
        c->state = CONNECTION_LOGIN;
        authority_ask(c->broker->authority, c->peer->address, name, password.data, password.n,
                      connection_on_answer, c, &login->ask);
        return login->ask ? 0 : MQTT_SERVER_UNAVAILABLE;
}

/* By what it has shown already, or not at all. MQTT_SUCCESS: let it in. */
static int connection_identify(struct connection *c, const struct mqtt_connect *k, const struct mqtt_frame *f)
{
        const struct authority *a = c->broker->authority;
        const char *certificate = NULL;
        CLEANUP(cleanup_free)
        char *name = text_copy(k->username);

        if (k->username.data && !name)
                return MQTT_SERVER_UNAVAILABLE;
        if (c->listener && listener_conf(c->listener)->certificate_is_user)
                certificate = stream_tls_client_name(c->stream);
        if (certificate)
                return connection_let_in(c, k, certificate, true);
        if (!authority_has_users(a))
                return connection_let_in(c, k, name, false);
        if (name)
                return connection_ask(c, f, name);
        return c->options->anonymous ? connection_let_in(c, k, NULL, false) : MQTT_NOT_AUTHORISED;
}

static bool topic_is_too_deep(struct mqtt_bytes topic, unsigned max_levels)
{
        unsigned n = 1;

        for (size_t i = 0; i < topic.n; i++)
                n += topic.data[i] == '/';
        return n > max_levels;
}

/* The will must be what a PUBLISH would have to be: §3.1.3.2.3, §3.3.2.3.2. */
static int will_check(const struct conf_broker *conf, const struct mqtt_connect *k)
{
        if (k->will_topic.n > conf->max_topic_bytes ||
            topic_is_too_deep(k->will_topic, conf->max_topic_levels))
                return MQTT_BAD_TOPIC;
        if (k->will_properties.payload_is_utf8 &&
            !text_is_mqtt_utf8((const char *)k->will_payload.data, k->will_payload.n))
                return MQTT_BAD_PAYLOAD_FORMAT;
        if (k->will_retain && k->version == MQTT_V5 && conf->max_retained_messages == 0)
                return MQTT_NO_RETAIN;
        return 0;
}

static int connect_check(const struct connection *c, const struct mqtt_connect *k)
{
        if (k->properties.auth_method.data)
                return MQTT_BAD_AUTH_METHOD;
        if (k->client_id.n == 0 && (k->version == MQTT_V31 || (k->version == MQTT_V311 && !k->clean)))
                return MQTT_BAD_CLIENT_ID; /* MQTT-3.1.3-8 of 3.1.1 */
        return k->has_will ? will_check(broker_conf(c->broker), k) : 0;
}

int connection_on_connect(struct connection *c, const struct mqtt_frame *f)
{
        struct mqtt_connect k;
        int r;

        r = mqtt_decode_connect(f, &k);
        c->version = (uint8_t)k.version;
        if (r == 0 && k.version == MQTT_V5)
                c->max_packet_bytes = k.properties.max_packet_bytes;
        if (r == 0)
                r = connect_check(c, &k);
        else if (r != MQTT_BAD_VERSION && k.version != MQTT_V5)
                return r; /* 3.x: closed without a word, MQTT-3.1.4-1 */
        if (r == 0)
                r = connection_identify(c, &k, f);
        if (r == 0)
                return 0;
        connection_refuse(c, (uint8_t)r);
        return 0;
}
