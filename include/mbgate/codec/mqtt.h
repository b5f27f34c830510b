/* SPDX-License-Identifier: MIT */
/*
 * MQTT control packets of 3.1, 3.1.1 and 5.0, as a server sees them: what clients send is decoded, what
 * servers send is encoded (mqtt_encode.h). Decoders own no memory: texts and bytes in the result point into
 * the packet. Pure: no heap, no I/O, no log, no thread.
 *
 *   stream ──mqtt_frame()──► one whole packet ──mqtt_decode_…()──► struct, or the reason code to close with
 *
 * All decoders return 0, or a positive MQTT 5.0 reason code (§2.4) that names the fault: MQTT_MALFORMED
 * (0x81), MQTT_PROTOCOL_ERROR (0x82), and where the specification asks for it a more precise one.
 */
#ifndef MBGATE_CODEC_MQTT_H
#define MBGATE_CODEC_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

#define MQTT_REMAINING_MAX 268435455u /* §1.5.5: four bytes of seven bits */

enum mqtt_version {
        MQTT_V31 = 3,
        MQTT_V311 = 4,
        MQTT_V5 = 5,
};

enum mqtt_type {
        MQTT_CONNECT = 1,
        MQTT_CONNACK,
        MQTT_PUBLISH,
        MQTT_PUBACK,
        MQTT_PUBREC,
        MQTT_PUBREL,
        MQTT_PUBCOMP,
        MQTT_SUBSCRIBE,
        MQTT_SUBACK,
        MQTT_UNSUBSCRIBE,
        MQTT_UNSUBACK,
        MQTT_PINGREQ,
        MQTT_PINGRESP,
        MQTT_DISCONNECT,
        MQTT_AUTH,
};

/* Reason codes, MQTT 5.0 §2.4. */
enum mqtt_reason {
        MQTT_SUCCESS = 0x00,
        MQTT_DISCONNECT_WITH_WILL = 0x04,
        MQTT_NO_SUBSCRIBERS = 0x10,
        MQTT_NO_SUBSCRIPTION = 0x11,
        MQTT_UNSPECIFIED = 0x80,
        MQTT_MALFORMED = 0x81,
        MQTT_PROTOCOL_ERROR = 0x82,
        MQTT_IMPLEMENTATION = 0x83,
        MQTT_BAD_VERSION = 0x84,
        MQTT_BAD_CLIENT_ID = 0x85,
        MQTT_BAD_CREDENTIALS = 0x86,
        MQTT_NOT_AUTHORISED = 0x87,
        MQTT_SERVER_UNAVAILABLE = 0x88,
        MQTT_SERVER_BUSY = 0x89,
        MQTT_BANNED = 0x8A,
        MQTT_SHUTTING_DOWN = 0x8B,
        MQTT_BAD_AUTH_METHOD = 0x8C,
        MQTT_KEEPALIVE_TIMEOUT = 0x8D,
        MQTT_TAKEN_OVER = 0x8E,
        MQTT_BAD_FILTER = 0x8F,
        MQTT_BAD_TOPIC = 0x90,
        MQTT_ID_IN_USE = 0x91,
        MQTT_ID_NOT_FOUND = 0x92,
        MQTT_RECEIVE_MAXIMUM = 0x93,
        MQTT_BAD_ALIAS = 0x94,
        MQTT_TOO_LARGE = 0x95,
        MQTT_RATE_TOO_HIGH = 0x96,
        MQTT_QUOTA_EXCEEDED = 0x97,
        MQTT_ADMIN_ACTION = 0x98,
        MQTT_BAD_PAYLOAD_FORMAT = 0x99,
        MQTT_NO_RETAIN = 0x9A,
        MQTT_NO_QOS = 0x9B,
        MQTT_NO_SHARED = 0x9E,
        MQTT_NO_SUB_IDS = 0xA1,
        MQTT_NO_WILDCARDS = 0xA2,
};

/* Text or bytes inside a packet. data == NULL: absent. */
struct mqtt_bytes {
        const uint8_t *data;
        size_t n;
};

/* The properties that a client can send, all packets together; which may stand where is checked on decoding.
 */
struct mqtt_properties {
        uint32_t seen; /* bit of enum mqtt_property_bit */
        uint32_t session_expiry_s;
        uint32_t message_expiry_s;
        uint32_t will_delay_s;
        uint32_t max_packet_bytes;
        uint32_t subscription_id;
        uint16_t receive_max;
        uint16_t alias_max;
        uint16_t alias;
        bool payload_is_utf8;
        bool want_response_information;
        bool want_problem_information;
        struct mqtt_bytes content_type;
        struct mqtt_bytes response_topic;
        struct mqtt_bytes correlation;
        struct mqtt_bytes auth_method;
        struct mqtt_bytes auth_data;
        struct mqtt_bytes reason_string;
        struct mqtt_bytes server_reference; /* of no use to a server */
        struct mqtt_bytes all;              /* the encoded properties, for mqtt_pass_properties() */
};

#define MQTT_HAS_SESSION_EXPIRY (1 << 6) /* bit of mqtt_properties.seen */

/* What of a PUBLISH's or a will's properties is for the server alone and differs for each receiver. */
enum mqtt_property_own {
        MQTT_HAS_EXPIRY = 1 << 1,
        MQTT_HAS_WILL_DELAY = 1 << 10,
        MQTT_HAS_ALIAS = 1 << 15,
        MQTT_HAS_OWN = MQTT_HAS_EXPIRY | MQTT_HAS_WILL_DELAY | MQTT_HAS_ALIAS,
};

/* A packet in a stream. */
struct mqtt_frame {
        enum mqtt_type type;
        uint8_t flags;       /* the low four bits of the first byte */
        const uint8_t *body; /* behind the fixed header */
        size_t n_body;
        size_t n_total;
};

struct mqtt_connect {
        enum mqtt_version version;
        bool is_bridge; /* 3.x with bit 7 of the level set, as mosquitto's bridges do: they want nothing of
                           their own back, and the retain flag as it was */
        bool clean;
        bool has_will;
        uint8_t will_qos;
        bool will_retain;
        uint16_t keepalive_s;
        struct mqtt_bytes client_id;
        struct mqtt_bytes will_topic;
        struct mqtt_bytes will_payload;
        struct mqtt_bytes username;
        struct mqtt_bytes password;
        struct mqtt_properties properties;
        struct mqtt_properties will_properties;
};

struct mqtt_publish {
        bool dup;
        uint8_t qos;
        bool retain;
        uint16_t packet_id;      /* 0 with QoS 0 */
        struct mqtt_bytes topic; /* n == 0 only with an alias */
        struct mqtt_bytes payload;
        struct mqtt_properties properties;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP; DISCONNECT and AUTH without the id. */
struct mqtt_ack {
        uint16_t packet_id;
        uint8_t reason;
        struct mqtt_properties properties;
};

/* SUBSCRIBE and UNSUBSCRIBE: the filters are taken one by one with mqtt_next_filter(). */
struct mqtt_subscribe {
        uint16_t packet_id;
        struct mqtt_properties properties;
        struct mqtt_bytes filters; /* what is still to be taken */
};

struct mqtt_filter {
        struct mqtt_bytes filter; /* a valid topic filter, $share/… included */
        uint8_t qos;
        bool no_local;
        bool retain_as_published;
        uint8_t retain_handling; /* 0..2 */
};

/*
 * The packet at the head of a stream. 1: *ret_frame is whole. 0: more bytes are needed; *ret_frame.n_total is
 * known (not 0) once the fixed header is whole, so that a limit can be enforced before the body comes.
 * −EBADMSG: no packet starts like this (wrong flags §2.1.3, length of more than four bytes §1.5.5). −EPROTO:
 * type 0, which is forbidden.
 * `v`: of the connection; any before CONNECT, whose flags mqtt_decode_connect() looks at.
 */
int mqtt_frame(const uint8_t *bytes, size_t n_bytes, enum mqtt_version v, struct mqtt_frame *ret_frame);

/* For MQTT_BAD_VERSION and other faults, ret_connect->version says how the CONNACK must look. */
MUST_CHECK int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret_connect);
MUST_CHECK int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v,
                                   struct mqtt_publish *ret_publish);
MUST_CHECK int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *ret_ack);
MUST_CHECK int mqtt_decode_subscribe(const struct mqtt_frame *f, enum mqtt_version v,
                                     struct mqtt_subscribe *ret_subscribe);
MUST_CHECK int mqtt_decode_disconnect(const struct mqtt_frame *f, enum mqtt_version v,
                                      struct mqtt_ack *ret_ack);

/*
 * The encoded properties of a PUBLISH or a will that go on to subscribers unchanged and in order (§3.3.2.3):
 * all but MQTT_HAS_OWN. Writes at most p->all.n bytes; returns how many.
 */
size_t mqtt_pass_properties(const struct mqtt_properties *p, uint8_t *out);

/* What a request (§4.10) carries among such encoded properties. Absent: data == NULL. */
void mqtt_request_properties(struct mqtt_bytes encoded, struct mqtt_bytes *ret_response_topic,
                             struct mqtt_bytes *ret_correlation);

/* 1: the next filter of a decoded packet, which has been checked whole; 0: there is none. */
int mqtt_next_filter(struct mqtt_subscribe *s, bool with_options, struct mqtt_filter *ret_filter);

#endif
