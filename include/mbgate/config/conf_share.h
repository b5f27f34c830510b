/* SPDX-License-Identifier: MIT */
/* The part of struct conf (conf.h, which includes this) that is about other masters on a bus. */
#ifndef MBGATE_CONFIG_CONF_SHARE_H
#define MBGATE_CONFIG_CONF_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf_range {
        uint32_t first, last;
};

struct conf_ranges {
        struct conf_range *list;
        size_t n;
};

/* Addresses of masters: an IPv6 network; IPv4 is ::ffff:0:0/96. */
struct conf_network {
        uint8_t bytes[16];
        unsigned n_bits;
};

/* What masters from one network may ask for. */
struct conf_allow {
        char *address; /* as written, and read: */
        struct conf_network network;
        char *units; /* as masters call them */
        struct conf_ranges unit_ranges;
        char *functions;
        struct conf_ranges function_ranges;
        char *registers; /* and coils: all that a request touches must be in one of them */
        struct conf_ranges register_ranges;
};

/* A Modbus TCP server on a bus. */
struct conf_share {
        bool on;      /* the group is there */
        char *listen; /* as written, and read: */
        char *host;
        uint16_t tcp_port;
        uint32_t max_age_ms; /* values read so recently are an answer; 0: every request goes to the device */
        uint32_t max_clients;
        uint32_t max_requests; /* of one client that wait */
        uint32_t idle_timeout_s;
        uint32_t request_timeout_ms;  /* not sent to the line until then: refused as busy */
        uint32_t response_timeout_ms; /* of units that are no device of the bus */
        char *unit_map;               /* as written, and read: */
        uint8_t units[256];           /* the unit on the line, by the unit that masters ask for */
        struct conf_allow *allow;     /* none: all of it, for masters on this machine */
        size_t n_allow;
};

#endif
