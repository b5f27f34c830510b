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

/* What a listener can do besides MQTT, for all its clients; the broker's are the defaults of its listeners.
 */
struct conf_listener_options {
        bool anonymous;         /* clients without a user name are let in */
        bool anonymous_is_said; /* it stands in the file: else it follows from whether there are users */
        bool on_change;         /* a payload that a topic has already is not sent on again */
        bool remember;     /* the last value of each topic is kept, retained or not, and given on SUBSCRIBE */
        bool strip_retain; /* nothing goes out with the retain flag */
        bool trace;        /* each message is logged */
        unsigned session;  /* enum conf_session */
        char **publish_on_connect; /* filters: what is known of these goes to each client that connects … */
        size_t n_publish_on_connect;
        uint32_t publish_delay_ms; /* … so long after it … */
        uint32_t publish_pause_ms; /* … one message each so often */
        char **ignore;             /* filters: what clients publish to these goes nowhere */
        size_t n_ignore;
};

enum conf_session {
        CONF_SESSION_CLIENT, /* as the client asks */
        CONF_SESSION_CLEAN,  /* none survives its connection */
        CONF_SESSION_KEEP,   /* every one does */
};

struct conf_listener {
        char *address; /* "": see is_loopback; a path: a Unix socket; "systemd:NAME": one that systemd opens
                        */
        bool is_loopback; /* address is "": 127.0.0.1 and ::1 instead of all addresses, for want of users */
        uint16_t port;    /* 0: no TCP */
        bool websocket;
        bool tls; /* the group is there */
        char *cert_file, *key_file, *ca_file;
        char *tls_version; /* the lowest: "tlsv1.2" */
        char *ciphers;
        bool require_certificate; /* of clients, signed by ca_file */
        bool certificate_is_user; /* its common name is the user name */
        uint32_t max_clients;     /* of this listener; 0: no limit of its own */
        struct conf_listener_options options;
};

enum conf_durability {
        CONF_DURABILITY_NONE,     /* kept in memory, written at an orderly stop */
        CONF_DURABILITY_INTERVAL, /* written once in store_interval_ms */
        CONF_DURABILITY_SYNC,     /* on the disk before it is acknowledged */
};

struct conf_broker {
        bool on;
        struct conf_listener *listeners;
        size_t n_listeners;
        char *password_file, *acl_file;
        struct conf_listener_options options; /* what the listeners begin with: anonymous as said */
        char *prefix;                         /* before the gateway's own topics */
        /* limits; of one client unless said otherwise */
        uint32_t max_clients; /* all together */
        uint32_t max_clients_per_address;
        uint32_t max_sessions; /* with and without a client */
        uint32_t max_packet_bytes;
        uint32_t max_topic_bytes;
        uint32_t max_topic_levels;
        uint32_t max_subscriptions; /* all together */
        uint32_t max_subscriptions_per_client;
        uint32_t max_client_bytes;       /* of its texts: id, user, filters, aliases, will */
        uint32_t max_client_bytes_total; /* all together */
        uint32_t max_inflight;
        uint32_t max_queued_messages;
        uint32_t max_queued_bytes;
        uint32_t max_queued_bytes_total; /* all together */
        uint32_t max_retained_messages;  /* all together */
        uint32_t max_retained_bytes;     /* all together */
        uint32_t max_topic_alias;
        uint32_t max_keepalive_s;
        uint32_t max_session_expiry_s; /* UINT32_MAX: never */
        uint32_t connect_timeout_s;
        uint32_t stall_timeout_s;  /* how long a client may take nothing of what waits for it */
        uint32_t packet_timeout_s; /* how long nothing may come of a packet that has begun */
        uint32_t sys_interval_s;   /* 0: no $SYS */
        /* what outlives the program */
        unsigned durability; /* enum conf_durability */
        uint32_t store_interval_ms;
        char *store_directory;
        uint32_t store_max_bytes;
};

#endif
