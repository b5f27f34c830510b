/* SPDX-License-Identifier: MIT */
/*
 * The configuration as plain structures: what load.c makes of the file and everything else reads. A struct
 * conf is immutable once loaded and reference-counted; any thread may hold a reference. Strings and arrays
 * live in its arena and go with it; strings are never NULL unless it says so; an absent text is "". Units are
 * in the names. The keys, defaults and ranges of every member stand in one table, src/config/schema.c, from
 * which mbgated.conf(5) is made.
 */
#ifndef MBGATE_CONFIG_CONF_H
#define MBGATE_CONFIG_CONF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"
#include "mbgate/codec/pdu.h"
#include "mbgate/codec/rtu.h"
#include "mbgate/codec/value.h"
#include "mbgate/config/conf_link.h"
#include "mbgate/config/conf_share.h"

/* No topic, with the prefix of any link or of the broker before it, is longer; nor a filter that we subscribe
 * to. */
#define CONF_TOPIC_BYTES_MAX 1023

enum conf_area {
        CONF_HOLDING,
        CONF_INPUT,
        CONF_COIL,
        CONF_DISCRETE,
};

enum conf_publish {
        CONF_PUBLISH_CHANGE,
        CONF_PUBLISH_ALWAYS,
};

enum conf_payload {
        CONF_PAYLOAD_PLAIN,  /* "21.5" */
        CONF_PAYLOAD_JSON,   /* {"value":21.5,"quality":"good","time":"…"} */
        CONF_PAYLOAD_OBJECT, /* all points of the device in one object on the device's topic */
};

/* When a point is read. */
enum conf_poll {
        CONF_POLL_INTERVAL,
        CONF_POLL_ONCE,   /* when the device is first heard, and each time it comes back */
        CONF_POLL_DEMAND, /* only when somebody asks, and after a write */
};

/* Which of several commands to one point that were not sent yet are carried out. */
enum conf_writes {
        CONF_WRITES_ALL, /* in order */
        CONF_WRITES_NEWEST,
};

/* Who says that the wall clock is right. */
enum conf_clock {
        CONF_CLOCK_NTP, /* the kernel, once NTP has set it */
        CONF_CLOCK_ALWAYS,
};

struct conf_bus;
struct conf_device;

struct conf_point {
        uint32_t id; /* index in conf.points */
        const struct conf_device *device;
        char *name;
        enum conf_area area;
        uint16_t address;
        struct value_format format;
        char *unit;          /* of the value, "°C" */
        char *topic;         /* the state's, complete; never "" */
        char *command_topic; /* complete; "" when not writable */
        char *get_topic;     /* complete */
        char *result_topic;  /* complete */
        enum conf_poll poll;
        uint32_t interval_ms;
        uint32_t block; /* points of one number are read by one request of their own; 0: as it is cheapest */
        enum conf_publish publish;
        double deadband;         /* engineering units; 0: off */
        double deadband_percent; /* of the last published value; 0: off */
        double min_interval_s;   /* 0: as often as it changes */
        double max_interval_s;   /* 0: only when it changes */
        enum conf_payload payload;
        bool retain;
        uint8_t qos;
        bool writable;
        enum pdu_function write_function; /* 5, 6, 15, 16 or 22; 0 for input and discrete */
        bool read_back;
        bool accept_retained;
        enum conf_writes writes;
        uint32_t write_pause_ms; /* between two writes; 0: none */
        bool write_unchanged;    /* also what the device is known to hold */
        uint32_t write_repeat_s; /* what was written last is written again so often; 0: never */
};

struct conf_device {
        const struct conf_bus *bus;
        uint32_t id; /* index in bus->devices */
        char *name;
        uint8_t unit_id;
        char *topic;                     /* complete; never "" */
        char *availability_topic;        /* complete */
        char *send_interval_topic;       /* the command's, complete: <device>/send_interval/set */
        char *send_interval_topic_short; /* the same command's: <device>/send_interval; "" when one is
                                            configured */
        uint32_t send_interval_s;        /* 0: points go out by their own policy */
        uint32_t response_timeout_ms;
        uint32_t response_timeout_min_ms; /* the learned one is never shorter */
        uint32_t retries;
        uint32_t gap_ms;        /* silence before each request to it; 0: t3.5 */
        uint32_t gap_max_ms;    /* the longest that may be found by itself; 0: none is looked for */
        uint32_t max_registers; /* of one request, 1..125 */
        uint32_t max_bits;      /* of one request, 1..2000 */
        bool join_gaps;         /* read registers nobody asked for when that is cheaper */
        bool join_points;       /* several points in one request */
        bool even_addresses;    /* requests begin at even registers and ask for an even number */
        struct conf_point *points;
        size_t n_points;
};

enum conf_port_kind {
        CONF_PORT_SERIAL,  /* /dev/… */
        CONF_PORT_TCP,     /* tcp://host:port, Modbus TCP */
        CONF_PORT_RTU_TCP, /* rtu+tcp://host:port, RTU frames in a TCP stream */
};

enum conf_mode {
        CONF_MODE_POLL,
        CONF_MODE_LISTEN, /* another master asks: nothing is ever sent */
};

enum conf_direction {
        CONF_DIRECTION_AUTO,
        CONF_DIRECTION_KERNEL, /* TIOCSRS485 */
        CONF_DIRECTION_RTS,
        CONF_DIRECTION_NONE,
};

struct conf_bus {
        uint32_t id; /* index in conf.buses */
        char *name;
        char *topic; /* of its counters, complete */
        enum conf_port_kind kind;
        char *port; /* as written */
        char *host; /* TCP kinds */
        uint16_t tcp_port;
        enum conf_mode mode;
        uint32_t baud;
        char parity;       /* 'N', 'E', 'O' */
        uint8_t data_bits; /* 7 or 8; RTU needs 8 */
        uint8_t stop_bits;
        enum conf_direction direction;
        bool rts_on_send; /* RTS level while sending */
        uint32_t rts_delay_before_ms, rts_delay_after_ms;
        enum rtu_echo echo;
        bool low_latency;
        uint32_t broadcast_delay_ms;
        uint32_t connect_timeout_ms;      /* TCP kinds */
        uint32_t stats_interval_s;        /* of its counters' topic; 0: never */
        uint32_t write_expected_block_ms; /* the longest reading while writes are expected; 0: any */
        bool raw;                         /* requests of any kind are taken at … */
        char *raw_topic;                  /* <bus topic>/raw/set; "" without raw */
        char *raw_result_topic;
        struct conf_share share;
        struct conf_device *devices;
        size_t n_devices;
};

struct conf_gateway {
        char *name;
        char *status_topic; /* complete */
        char *log_level;
        uint32_t command_max_bytes;
        uint32_t command_timeout_ms; /* not sent to the bus until then: refused */
        char *state_directory;       /* "": nowhere */
        enum conf_clock clock;
};

struct arena;

struct conf {
        atomic_uint n_refs;
        struct arena *arena; /* all memory below, this structure included; NULL: made by hand, not freed */
        uint32_t generation; /* grows with each load of this process; never 0 */
        char *file;
        struct conf_gateway gateway;
        struct conf_bus *buses;
        size_t n_buses;
        struct conf_link *links;
        size_t n_links;
        struct conf_broker broker;
        const struct conf_point **points; /* all, by id */
        size_t n_points;
};

struct conf *conf_ref(const struct conf *conf);

/* Takes NULL, returns NULL; the last one frees. */
struct conf *conf_unref(struct conf *conf);
DEFINE_CLEANUP(struct conf *, conf_unref)

/* bits of one character on the line: start, data, parity, stop. */
static inline unsigned conf_bus_char_bits(const struct conf_bus *b)
{
        return 1u + b->data_bits + (b->parity != 'N') + b->stop_bits;
}

#endif
