/* SPDX-License-Identifier: MIT */
/*
 * The messages between the gateway (main thread) and the bus workers. Everything that crosses is one of
 * these, moved by pointer through a mailbox: commands down, samples, results, states and counters up. Each
 * begins with a `struct mail` whose `kind` is below.
 *
 * Points, devices and buses are named by their index in the configuration of `generation`; a receiver that
 * has another generation drops the message (results excepted: they are named by command id).
 */
#ifndef MBGATE_MODEL_BUS_MAIL_H
#define MBGATE_MODEL_BUS_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/mailbox.h"
#include "mbgate/codec/pdu.h"
#include "mbgate/codec/value.h"
#include "mbgate/model/sample.h"
#include "mbgate/model/stats.h"

struct conf;

enum bus_mail_kind {
        /* down */
        BUS_MAIL_COMMAND = 1, /* struct bus_command */
        BUS_MAIL_RECONF,      /* struct bus_reconf */
        BUS_MAIL_RAW,         /* struct bus_raw */
        /* up */
        BUS_MAIL_SAMPLES = 16,    /* struct bus_samples; key: block + 1 */
        BUS_MAIL_RESULT,          /* struct bus_result; key 0 */
        BUS_MAIL_DEVICE,          /* struct bus_device_state; key: BUS_KEY_DEVICE + device */
        BUS_MAIL_PORT,            /* struct bus_port_state; key: BUS_KEY_PORT */
        BUS_MAIL_STATS,           /* struct bus_stats_mail; key: BUS_KEY_STATS */
        BUS_MAIL_REPORT,          /* struct bus_report; key: BUS_KEY_REPORT + device */
        BUS_MAIL_LEARNED,         /* struct bus_learned; key: BUS_KEY_LEARNED + device */
        BUS_MAIL_RAW_RESULT = 32, /* struct bus_raw_result; key 0 */
        BUS_MAIL_REGS,            /* struct bus_regs; key: BUS_KEY_REGS + its first point + 1, or 0 */
};

#define BUS_KEY_REGS    UINT32_C(0x10000000)
#define BUS_KEY_DEVICE  UINT32_C(0x40000000)
#define BUS_KEY_REPORT  UINT32_C(0x60000000)
#define BUS_KEY_LEARNED UINT32_C(0x70000000)
#define BUS_KEY_PORT    UINT32_C(0x80000000)
#define BUS_KEY_STATS   UINT32_C(0x80000001)

/*
 * Commands that may wait for one bus, for one device and for one point; the next is refused with a result
 * that says so. What waits for a pause of its point must not keep out others.
 */
#define BUS_COMMANDS_MAX        256
#define BUS_DEVICE_COMMANDS_MAX 64
#define BUS_POINT_COMMANDS_MAX  32

/* The same for raw requests of both kinds. */
#define BUS_RAWS_MAX 64

/* Mail that waits for a worker. */
#define BUS_BOX_MAX (BUS_COMMANDS_MAX + BUS_RAWS_MAX)

enum bus_command_op {
        BUS_OP_WRITE,
        BUS_OP_READ, /* /get: read the point's block now, publish whatever it brings */
};

struct bus_command {
        struct mail mail;
        uint64_t id; /* the asker's; comes back in the result */
        uint32_t generation;
        enum bus_command_op op;
        uint32_t point;
        uint64_t posted_us;   /* monotonic */
        uint64_t deadline_us; /* not begun until then: BUS_RESULT_EXPIRED */
        bool read_back;
        uint16_t n_regs;
        uint16_t regs[VALUE_REGS_MAX]; /* host order */
        uint16_t mask[VALUE_REGS_MAX]; /* all ones, or the bits to change (then the worker reads first) */
};

/* Whose a raw request is: the result goes there, and its turn is by that. */
enum bus_raw_class {
        BUS_RAW_COMMAND, /* the gateway's: as urgent as a write, and sent to units that are offline too */
        BUS_RAW_SHARED,  /* another master's: its own share of the line */
};

/* A request as it goes to the line, of any function, to any unit. It names no point: no generation. */
struct bus_raw {
        struct mail mail;
        uint64_t id;
        enum bus_raw_class raw_class;
        uint8_t unit;
        struct pdu pdu;
        uint64_t posted_us, deadline_us; /* as of a command; deadline 0: none */
        uint32_t timeout_ms;             /* response time-out of a unit that is no device of the bus */
};

struct bus_reconf {
        struct mail mail;
        struct conf *conf; /* a reference, given to the worker */
        uint32_t bus;      /* this worker's index in it */
};

enum bus_outcome {
        BUS_RESULT_OK,
        BUS_RESULT_EXCEPTION,  /* exception code in `exception` */
        BUS_RESULT_TIMEOUT,    /* no reply: whether it was written is not known */
        BUS_RESULT_PORT,       /* the port is not there */
        BUS_RESULT_LISTENS,    /* the bus only listens; nothing was sent */
        BUS_RESULT_OFFLINE,    /* the device does not answer; nothing was sent */
        BUS_RESULT_EXPIRED,    /* the deadline passed before its turn; nothing was sent */
        BUS_RESULT_STOPPED,    /* the worker stops or was reconfigured; nothing was sent */
        BUS_RESULT_REPLACED,   /* a newer command for the point came before; nothing was sent */
        BUS_RESULT_IMPOSSIBLE, /* no request can carry it; nothing was sent */
        BUS_RESULT_CROWDED, /* too many wait for its point or device, or it wants a pause; nothing was sent */
};

/* "no reply", "the port is not there" … for results and log lines. */
const char *bus_outcome_text(enum bus_outcome outcome);

struct bus_result {
        struct mail mail;
        uint64_t id;
        enum bus_outcome outcome;
        uint8_t exception;
        uint64_t began_us; /* first byte of the write on the wire; 0: never sent */
        uint64_t done_us;
};

struct bus_raw_result {
        struct mail mail;
        uint64_t id;
        enum bus_raw_class raw_class;
        enum bus_outcome outcome;
        uint8_t exception;
        uint8_t unit;
        struct pdu request, reply; /* reply: with BUS_RESULT_OK; empty after a broadcast */
        uint64_t began_us, done_us;
};

/*
 * Registers or bits that a poll of a shared bus brought, as they were on the line, for who asks for them
 * later. n_regs 0: what is known of the unit is no longer true, it was written to.
 */
struct bus_regs {
        struct mail mail;
        uint8_t unit;
        enum pdu_function area; /* the one of 1..4 that reads them */
        uint16_t address;
        size_t n_regs;
        uint64_t done_us;
        uint16_t regs[]; /* bits: 0 or 1 */
};

struct bus_samples {
        struct mail mail;
        uint32_t generation;
        uint32_t bus;
        bool on_demand;    /* asked for by /get or a read-back: published whether changed or not */
        uint64_t began_us; /* monotonic: the request's first byte */
        uint64_t done_us;  /* monotonic: the reply's last byte */
        int64_t wall_us;   /* wall clock at done_us */
        size_t n_samples;
        struct sample samples[];
        /* behind them: the characters of string values */
};

enum device_status {
        DEVICE_UNKNOWN, /* not asked yet */
        DEVICE_ONLINE,
        DEVICE_OFFLINE,
};

/* "unknown", "online", "offline". */
const char *device_status_name(enum device_status status);

struct bus_device_state {
        struct mail mail;
        uint32_t generation;
        uint32_t bus, device;
        enum device_status status;
        struct device_stats stats;
};

/* How one device does, and each of its blocks; at the bus's stats_interval_s when something happened. */
struct bus_report {
        struct mail mail;
        uint32_t generation;
        uint32_t bus, device;
        struct device_stats stats;
        size_t n_blocks;
        struct block_stats blocks[];
};

/* Of a device that refuses more than can be kept: all that no point asks for, or all reading of several
 * points at once. */
#define BUS_HOLE_ALL_GAPS  4
#define BUS_HOLE_ALL_JOINS 5
#define BUS_HOLE_AREAS     6

/* Registers or bits that a device refuses; `count` 0: what lies on both sides of `address` is not read at
 * once. */
struct bus_hole {
        uint8_t area; /* enum conf_area, or one of those below with 0 and 0 */
        uint16_t address, count;
};

/* What is known for good of one device's map, whenever that changes. */
struct bus_learned {
        struct mail mail;
        uint32_t generation;
        uint32_t bus, device;
        uint64_t fingerprint; /* of the map for which it holds */
        size_t n_holes;
        struct bus_hole holes[];
};

struct bus_port_state {
        struct mail mail;
        uint32_t generation;
        uint32_t bus;
        bool is_open;
        char reason[96]; /* "", or why not, for a person */
};

struct bus_stats_mail {
        struct mail mail;
        uint32_t generation;
        uint32_t bus;
        struct bus_stats stats;
};

/* Whether both are writes to one point, of which only the newer counts where that is configured so. */
bool bus_command_is_newer(const struct mail *old, const struct mail *new);

/* New messages, zeroed, with kind, key and free() set. −ENOMEM. Who gets one owns it until it is posted. */
MUST_CHECK int bus_command_new(struct bus_command **ret);
MUST_CHECK int bus_result_new(const struct bus_command *command, enum bus_outcome outcome,
                              struct bus_result **ret);
MUST_CHECK int bus_raw_new(struct bus_raw **ret);
MUST_CHECK int bus_raw_result_new(const struct bus_raw *raw, enum bus_outcome outcome,
                                  struct bus_raw_result **ret);
MUST_CHECK int bus_regs_new(uint32_t key, size_t n_regs, struct bus_regs **ret);
MUST_CHECK int bus_samples_new(uint32_t block, size_t n_samples, size_t text_bytes, struct bus_samples **ret,
                               char **ret_text);
MUST_CHECK int bus_device_state_new(uint32_t device, struct bus_device_state **ret);
MUST_CHECK int bus_report_new(uint32_t device, size_t n_blocks, struct bus_report **ret);
MUST_CHECK int bus_learned_new(uint32_t device, size_t n_holes, struct bus_learned **ret);
MUST_CHECK int bus_port_state_new(struct bus_port_state **ret);
MUST_CHECK int bus_stats_mail_new(struct bus_stats_mail **ret);

/* `unref` is called with the reference if the message is never handled. */
MUST_CHECK int bus_reconf_new(struct conf *conf, struct conf *(*unref)(struct conf *), uint32_t bus,
                              struct bus_reconf **ret);

#endif
