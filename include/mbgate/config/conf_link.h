/* SPDX-License-Identifier: MIT */
/* The part of struct conf (conf.h, which includes this) that is about MQTT: links, their TLS, the broker. */
#ifndef MBGATE_CONFIG_CONF_LINK_H
#define MBGATE_CONFIG_CONF_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf_tls {
        bool on;
        char *ca_file, *ca_path;
        char *cert_file, *key_file;
        char *version; /* "tlsv1.2", "tlsv1.3" */
        char *ciphers;
        char *alpn;
        bool insecure; /* the certificate's host name is not checked */
};

struct conf_link {
        uint32_t id;
        char *name;
        char *host;
        uint16_t port;
        unsigned protocol; /* 5: MQTT 5.0; 4: 3.1.1 */
        struct conf_tls tls;
        char *username;
        char *password; /* the text of password_file; never dumped or logged */
        char *password_file;
        char *client_id;
        uint32_t keepalive_s;
        bool clean_session;
        uint32_t session_expiry_s; /* MQTT 5, with clean_session = false */
        char **publish;            /* filters of topics that go out here, before the prefix; default "#" */
        size_t n_publish;
        char **subscribe; /* further filters whose messages are taken as commands */
        size_t n_subscribe;
        char *prefix;
        uint8_t qos;    /* the highest that goes out here; and of subscriptions */
        bool retain;    /* false: the retain flag is stripped */
        bool on_change; /* an unchanged payload of a topic is not sent again */
        bool publish_on_connect;
        uint32_t connect_timeout_s;
        uint32_t reconnect_min_s, reconnect_max_s;
        uint32_t queue_messages;
        uint32_t queue_bytes;
};

struct conf_listener {
        char *address;
        uint16_t port;
        bool websocket;
};

struct conf_broker {
        bool on;
        struct conf_listener *listeners;
        size_t n_listeners;
        char *password_file, *acl_file;
};

#endif
