/* SPDX-License-Identifier: MIT */
/*
 * MQTT control packets as a server sends them. Encoders write into memory of the caller and never further;
 * they return the number of bytes, or 0 when it does not fit. Pure: no heap, no I/O, no log, no thread.
 */
#ifndef MBGATE_CODEC_MQTT_ENCODE_H
#define MBGATE_CODEC_MQTT_ENCODE_H

#include "mbgate/codec/mqtt.h"

/* What a server may say in CONNACK, §3.2.2.3; a member at its "absent" value is not sent. */
struct mqtt_connack {
        bool session_present;
        uint8_t reason; /* 5.0 reason code; sent to 3.x clients as the return code of §3.2.2.3 that is nearest
                         */
        struct mqtt_bytes assigned_id; /* absent: data == NULL, as for all texts */
        struct mqtt_bytes reason_string;
        struct mqtt_bytes response_information;
        uint32_t session_expiry_s;   /* absent: UINT32_MAX − 1 */
        uint32_t max_packet_bytes;   /* absent: 0 */
        uint16_t receive_max;        /* absent: 0 */
        uint16_t alias_max;          /* absent: 0 */
        uint32_t server_keepalive_s; /* absent: UINT32_MAX */
        uint8_t max_qos;             /* absent: 2 */
        bool no_retain, no_wildcards, no_sub_ids, no_shared;
};

#define MQTT_CONNACK_NO_EXPIRY (UINT32_MAX - 1)

size_t mqtt_encode_connack(uint8_t *out, size_t size, enum mqtt_version v, const struct mqtt_connack *k);

/*
 * PUBACK, PUBREC, PUBREL, PUBCOMP. With 5.0 the reason is left out when it is 0 and there is no text. 3.x:
 * the reason is not sent.
 */
size_t mqtt_encode_ack(uint8_t *out, size_t size, enum mqtt_version v, enum mqtt_type type,
                       uint16_t packet_id, uint8_t reason);

/* SUBACK and UNSUBACK with one reason code a filter; to 3.x clients failures become 0x80, and UNSUBACK has
 * none. */
size_t mqtt_encode_suback(uint8_t *out, size_t size, enum mqtt_version v, enum mqtt_type type,
                          uint16_t packet_id, const uint8_t *reasons, size_t n_reasons);

/* 5.0 only: 3.x servers cannot say why (0 bytes). */
size_t mqtt_encode_disconnect(uint8_t *out, size_t size, enum mqtt_version v, uint8_t reason);

size_t mqtt_encode_pingresp(uint8_t *out, size_t size);

/*
 * Everything of a PUBLISH before its payload, whose length must be known. Properties: `message` holds encoded
 * ones that are passed through unchanged (§3.3.2.3: all but alias and subscription ids); the rest differs for
 * each client.
 */
struct mqtt_publish_head {
        bool dup, retain;
        uint8_t qos;
        uint16_t packet_id;
        struct mqtt_bytes topic; /* empty when the alias says it */
        uint16_t alias;          /* 0: none */
        bool has_expiry;
        uint32_t expiry_s;
        const uint32_t *sub_ids;
        size_t n_sub_ids;
        struct mqtt_bytes properties; /* passed through; n == 0: none */
        size_t n_payload;
};

size_t mqtt_encode_publish_head(uint8_t *out, size_t size, enum mqtt_version v,
                                const struct mqtt_publish_head *p);

#endif
