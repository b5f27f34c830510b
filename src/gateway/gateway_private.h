/* SPDX-License-Identifier: MIT */
/* The state behind struct gateway, shared by the files of this layer. Main thread. */
#ifndef MBGATE_GATEWAY_PRIVATE_H
#define MBGATE_GATEWAY_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/text.h"

/* uthash's own function falls through cases in a way that only gcc accepts. */
#define HASH_FUNCTION(key, n_bytes, ret) ((ret) = text_hash((const char *)(key), (n_bytes)))
/* Without memory an element is not added, and its hh.tbl is NULL: gw_was_added(). */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "mbgate/base/log.h"
#include "mbgate/gateway/gateway.h"

#include "dedupe.h"
#include "policy.h"

/* gcc 12's analyzer does not follow an element into uthash's buckets and calls every insertion a leak. */
NO_ANALYZER_LEAKS

#define gw_was_added(element) ((element)->hh.tbl != NULL)

/* Everything that a point's payload may need: a string of 250 bytes, each escaped, and its frame. */
#define GW_PAYLOAD_BYTES           2048
#define GW_OBJECT_BYTES_MAX        ((size_t)1024 * 1024)
#define GW_TOPIC_BYTES             (CONF_TOPIC_BYTES_MAX + 1)
#define GW_SEND_INTERVAL_DEFAULT_S 10

#define GW_WALL_UNKNOWN INT64_MIN

/* A line of the log that is said at once, and then once a minute at most, with how many there were. */
#define GW_QUIET_US    (60 * USEC_PER_SEC)
#define GW_QUIET_BYTES 64

struct gw_quiet {
        uint64_t until_us;
        unsigned n_unsaid;
};

/* Topics of no point that have been said, each for a minute; more at a time are for debug. */
#define GW_UNKNOWN_MAX 16

struct gw_unknown {
        uint32_t hash;
        uint64_t until_us;
};

struct gw_device;

/* The newest sample of a point, as text. */
struct gw_value {
        char *text; /* plain text; owned; NULL before the first good one */
        size_t text_size;
        uint64_t fingerprint; /* of the text */
        enum value_kind kind;
        bool is_label; /* the text is a label: a string in JSON */
        double number; /* NaN when there is none */
        enum quality quality;
        int64_t wall_us;   /* or GW_WALL_UNKNOWN */
        uint64_t began_us; /* of the read that brought it */
        bool is_known;
};

struct gw_point {
        const struct conf_point *conf;
        struct gw_device *device;
        struct gw_value value;
        struct policy_last last;
        uint64_t due_us;   /* a publication that waits for its interval; CLOCK_NEVER_US: none */
        unsigned n_writes; /* handed to the bus and not answered */
        uint64_t hold_us;  /* samples of reads that began before are older than the last write */
        size_t state;      /* its number */
        bool bad_said, retained_said;
        struct gw_quiet refused; /* commands that were, or failed */
};

struct gw_device {
        const struct conf_device *conf;
        struct gw_point *points;
        enum device_status status;
        size_t state, object_state; /* numbers of its availability and of its object */
        uint32_t send_interval_s;   /* 0: off */
        uint64_t send_due_us;
        uint64_t next_us; /* nothing of it is due before */
        const struct conf_point
                *object_first; /* the first in its object: its QoS and retain count; NULL: none */
        bool object_due;       /* its object payload has changed in this turn: it is in gateway.objects_due */
        struct gw_device *next_object;
};

struct gw_bus {
        const struct conf_bus *conf;
        struct gw_device *devices;
        struct mailbox *commands; /* borrowed; NULL: not there */
        size_t state;             /* the number of its counters */
        struct gw_quiet refused;  /* commands that it could not take */
        bool port_known, port_open;
        char port_reason[96];
        bool stats_known;
        struct bus_stats stats;
};

enum gw_state_kind {
        GW_STATE_STATUS,
        GW_STATE_BUS,
        GW_STATE_AVAILABILITY,
        GW_STATE_POINT,
        GW_STATE_OBJECT,
};

/* Something of which brokers keep the newest message, and which can be said again at any time. */
struct gw_state {
        enum gw_state_kind kind;
        union {
                struct gw_bus *bus;
                struct gw_device *device;
                struct gw_point *point;
        };
};

/* All of a configuration, by their numbers; 0 stands for none. */
struct gw_states {
        struct gw_state *list; /* owned */
        size_t n;
};

#define GW_STATE_OF_GATEWAY 1

enum gw_target_kind {
        GW_TARGET_SET,
        GW_TARGET_GET,
        GW_TARGET_SEND_INTERVAL,
        GW_TARGET_RAW,
};

/* A command topic and what it means. */
struct gw_target {
        const char *topic; /* borrowed from the configuration, or own_topic */
        enum gw_target_kind kind;
        uint32_t point;           /* SET, GET */
        uint32_t bus;             /* RAW */
        struct gw_device *device; /* SEND_INTERVAL */
        UT_hash_handle hh;
        char own_topic[]; /* of a point that takes no commands: it says so */
};

/* What was last sent to a topic of a link with on_change. */
struct gw_sent {
        uint64_t fingerprint; /* of the payload */
        size_t payload_bytes;
        UT_hash_handle hh;
        char topic[];
};

struct gw_link {
        struct link *link;
        const struct conf_link *conf; /* NULL: the embedded broker, or the control socket */
        struct conf *conf_ref;        /* keeps conf alive */
        char **filters;               /* given to the link, prefix included */
        size_t n_filters;
        struct gw_sent *sent;
        uint64_t *owed;      /* bits by the numbers of states that it is still to be given */
        uint64_t *owed_next; /* during a reload: room for the bits of the new configuration */
        size_t owed_from;    /* no bit is set in the words before this one */
        uint64_t pay_us;     /* when to go on with that; CLOCK_NEVER_US: an event of the link says so */
        bool takes_all;      /* its publish mask is "#" */
        bool is_control;     /* requests and their answers, nothing else */
        bool is_online;
        struct gw_link *next;
};

/* Reloads that mail may be late by. */
#define GW_PASTS_MAX 4

/* A point of an earlier configuration that is not there any more. */
#define GW_GONE UINT32_MAX

/* An earlier configuration: which points of the one in force its points are. */
struct gw_past {
        uint32_t generation;
        size_t n_points;
        uint32_t points[]; /* by id: the id now, or GW_GONE */
};

/* A command on its way. */
struct gw_pending {
        uint64_t id;
        enum gw_target_kind kind;
        const struct mailbox *box;      /* where it was posted */
        uint32_t point;                 /* in the configuration in force; GW_GONE: no more there */
        struct conf *conf_ref;          /* under which it was asked */
        const struct conf_point *asked; /* of that one: what the answer is called */
        uint64_t deadline_us;           /* the bus has answered until then, or never will */
        bool is_answered;               /* GET: the read was done, its sample comes next */
        struct link *origin;            /* NULL: gone */
        struct message *request;
        char *value_json;    /* what was asked for */
        char *id_json;       /* "id" of the command, or NULL */
        uint64_t dedupe_key; /* 0: it cannot be told when it comes again */
        UT_hash_handle hh;
};

/* Raw requests that may wait, of all buses together. */
#define GW_RAWS_MAX 16

/* A raw request on its way. */
struct gw_raw {
        uint64_t id;
        const struct mailbox *box;    /* where it was posted */
        struct conf *conf_ref;        /* under which it was asked */
        const struct conf_bus *asked; /* of that one */
        uint64_t deadline_us;
        struct link *origin; /* NULL: gone */
        struct message *request;
        char *id_json; /* or NULL */
        struct gw_raw *next;
};

/* Of wall.c. */
struct gw_wall {
        bool is_right;
        bool is_said;    /* that it was not */
        uint64_t ask_us; /* not again before */
};

struct gateway {
        struct loop *loop;
        struct loop_timer *timer;
        uint64_t timer_us;
        struct conf *conf;
        struct gw_bus *buses;
        struct gw_point **points; /* by id */
        struct gw_target *map;
        struct gw_past *pasts[GW_PASTS_MAX]; /* the last first; NULL: none */
        struct gw_states states;
        struct gw_link *links;
        struct gw_pending *pending; /* by id */
        struct gw_raw *raws;
        size_t n_raws;
        uint64_t pending_due_us;       /* no deadline of theirs is earlier */
        struct gw_device *objects_due; /* their objects go out at the end of this turn */
        char *object_text;             /* where objects are written */
        size_t object_size;
        struct gw_wall wall;
        struct gw_dedupe dedupe;
        uint64_t next_command_id;
        struct gw_unknown unknown[GW_UNKNOWN_MAX];
        bool is_stopping;
};

/* gateway.c */
void gw_wake_at(struct gateway *g, uint64_t at_us);

/* What the gateway knows of a link; NULL: it has gone, or there is none. */
struct gw_link *gw_link_find(struct gateway *g, const struct link *link);

/* The level at which to say it now, and what to add to a warning, or "". */
enum log_level gw_quiet_level(struct gw_quiet *q, uint64_t now_us, char ret_more[GW_QUIET_BYTES]);

/* map.c: buses, devices, points and the map of a configuration. */
MUST_CHECK int gw_state_new(struct conf *conf, struct gw_bus **ret_buses, struct gw_point ***ret_points,
                            struct gw_target **ret_map);
void gw_state_free(const struct conf *conf, struct gw_bus *buses, struct gw_point **points,
                   struct gw_target *map);

/* past.c: all points are gone at first. −ENOMEM. */
MUST_CHECK int gw_past_new(const struct conf *conf, struct gw_past **ret);
/* The configuration in force becomes that past; those before it follow. */
void gw_past_begin(struct gateway *g, struct gw_past *past);
void gw_pasts_free(struct gateway *g);
/* A point as mail of some generation names it, or NULL. */
struct gw_point *gw_point_named(const struct gateway *g, uint32_t generation, uint32_t point);

/* sample.c */
void gw_on_samples(struct gateway *g, const struct bus_samples *samples);
void gw_objects_flush(struct gateway *g);
void gw_publish_point_to(struct gateway *g, struct gw_point *p, struct gw_link *only);
void gw_publish_object_to(struct gateway *g, struct gw_device *d, struct gw_link *only);
void gw_points_became_stale(struct gateway *g, struct gw_device *d);

/* Something of the device is due at `at_us`. */
void gw_device_wake_at(struct gateway *g, struct gw_device *d, uint64_t at_us);

/* Publishes what is due at `now_us` and notes when the next thing is. */
void gw_device_tick(struct gateway *g, struct gw_device *d, uint64_t now_us);

/* wall.c: a time of the wall clock, or GW_WALL_UNKNOWN while that cannot be believed, which is said once. */
int64_t gw_wall_us(struct gateway *g, int64_t wall_us);

/* payload.c: texts into `out`. */
void gw_payload_json(const struct gw_point *p, struct buf *out);
void gw_payload_value(const struct gw_value *v, struct buf *out);
void gw_payload_object(const struct gw_device *d, struct buf *out);

/* FNV-1a of 64 bits: two payloads of one topic with the same are taken for equal. */
uint64_t gw_fingerprint(const void *bytes, size_t n_bytes);

/* route.c */
struct gw_publication {
        const char *topic;
        const void *payload;
        size_t payload_bytes;
        uint8_t qos;
        bool retain;
        bool is_state;           /* the newest is enough; on a link with on_change only when it is another */
        bool is_forced;          /* goes out even so */
        bool ignores_masks;      /* goes to every link, whatever its publish masks say */
        bool is_resent;          /* each connection brings it: nothing for the queue of a link that is away */
        size_t state;            /* a link that has no room for it is given this one later; 0: none */
        const struct link *also; /* goes to this one, whatever its masks say; or NULL */
};
void gw_publish(struct gateway *g, const struct gw_publication *p, struct gw_link *only);

/* A retained state of qos 1 that goes out each time. */
void gw_publish_state(struct gateway *g, const char *topic, const char *text, struct gw_link *only);

/* Answers at the response topic of a request, as it is: without mask and prefix. */
void gw_respond(struct gw_link *l, const struct message *request, const char *json);
void gw_sent_free(struct gw_link *l);

/* What stands before every topic there. */
const char *gw_link_prefix(const struct gw_link *l);

/* owed.c: the states that links are still to be given */
MUST_CHECK int gw_states_new(const struct conf *conf, struct gw_bus *buses, struct gw_states *ret);
MUST_CHECK int gw_owed_new(const struct gw_states *states, uint64_t **ret_owed);

/* A reload: room for what links owe in numbers of other states, which then come into force, or do not. */
MUST_CHECK int gw_owed_prepare(struct gateway *g, const struct gw_states *states);
void gw_owed_renumber(struct gateway *g, const struct gw_states *states);
void gw_owed_forget_next(struct gateway *g);

void gw_owe(struct gateway *g, struct gw_link *l, size_t state);
void gw_owe_all(struct gateway *g, struct gw_link *l, bool with_values);
void gw_owe_nothing(struct gateway *g, struct gw_link *l);
void gw_owed_clear(struct gw_link *l, size_t state);

/* Publishes what the link has room for, at most a piece; the rest follows by itself. */
void gw_pay(struct gateway *g, struct gw_link *l);
void gw_pay_tick(struct gateway *g, uint64_t now_us);

/* subscribe.c: gives a link the filters that it should have and takes back the others. */
MUST_CHECK int gw_subscribe_all(struct gateway *g, struct gw_link *l);
void gw_filters_free(struct gw_link *l);

/* command.c: a message on a link; one that is for a point, for SET or GET. */
void gw_on_message(struct gateway *g, struct gw_link *l, const struct link_event *event);
void gw_on_point_message(struct gateway *g, struct gw_link *l, const struct link_event *event,
                         enum gw_target_kind kind, uint32_t point);

/* rpc.c */
void gw_on_control_message(struct gateway *g, struct gw_link *l, const struct link_event *event);

/* result.c */
void gw_on_result(struct gateway *g, const struct bus_result *result);

/* Answers those whose /get it was, with a value that the point itself may not have taken. */
void gw_on_demanded_sample(struct gateway *g, const struct gw_point *p, const struct gw_value *v);
void gw_pending_drop_bus(struct gateway *g, const struct mailbox *box);

/* After a reload: where their points are now. */
void gw_pending_follow(struct gateway *g, const struct gw_past *past);
void gw_pending_drop_link(struct gateway *g, const struct link *link);

/* Answers those whose time is over. */
void gw_pending_tick(struct gateway *g, uint64_t now_us);
void gw_pending_free(struct gateway *g);

/* raw.c */
void gw_on_raw_message(struct gateway *g, struct gw_link *l, const struct link_event *event, uint32_t bus);
void gw_on_raw_result(struct gateway *g, const struct bus_raw_result *result);
void gw_raw_drop_bus(struct gateway *g, const struct mailbox *box);
void gw_raw_drop_link(struct gateway *g, const struct link *link);
void gw_raw_tick(struct gateway *g, uint64_t now_us);
void gw_raw_free(struct gateway *g);

/* status.c */
void gw_set_device_status(struct gateway *g, struct gw_device *d, enum device_status status);
void gw_on_port(struct gateway *g, const struct bus_port_state *state);
void gw_on_stats(struct gateway *g, const struct bus_stats_mail *mail);

/* Counters of one device and its blocks, on the topic <bus topic>/<device>. */
void gw_on_report(struct gateway *g, const struct bus_report *report);

/* A state as it is now, to a link that owes it. */
void gw_publish_owed(struct gateway *g, const struct gw_state *state, struct gw_link *only);
void gw_publish_offline(struct gateway *g);

/* To a link that is left: offline, and no counters. */
void gw_publish_farewell(struct gateway *g, struct gw_link *l);

#endif
