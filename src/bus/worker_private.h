/* SPDX-License-Identifier: MIT */
/*
 * What the files of the worker share. Everything but the atomics, the mailboxes and port_cancel() belongs to
 * the worker's thread once it runs.
 *
 *   worker.c          the thread: mail, what next, sleep, stop
 *   worker_exchange.c one transaction and its consequences for counters, health and hold
 *   worker_poll.c     blocks, probes, and what comes of them
 *   worker_command.c  writes and reads asked for from above
 *   worker_output.c   what writes brought about: pauses, repetitions, what need not be written
 *   worker_raw.c      requests of any kind, the gateway's and other masters'
 *   worker_hint.c     what the counters say about the line, for the log
 *   worker_listen.c   instead of all these on a bus where another master asks
 *   worker_port.c     opening, losing and finding the port
 *   worker_report.c   samples, states and counters for above
 *   worker_setup.c    devices, plans and schedule out of a configuration, again at each reload
 */
#ifndef MBGATE_BUS_WORKER_PRIVATE_H
#define MBGATE_BUS_WORKER_PRIVATE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/histogram.h"
#include "mbgate/base/log.h"
#include "mbgate/bus/plan.h"
#include "mbgate/bus/worker.h"
#include "mbgate/model/bus_mail.h"

#include "gap.h"
#include "health.h"
#include "holes.h"
#include "path_watch.h"
#include "schedule.h"

#define WORKER_SLOW_US       (60 * USEC_PER_SEC) /* between readings of what the device refuses */
#define WORKER_SILENT_TURNS  3                   /* in a row, each with its retries; then values are stale */
#define WORKER_FAILED_TURNS  10                  /* in a row with "device failure"; then it is asked less */
#define WORKER_BUSY_TRIES    3                   /* after "busy" and "acknowledge" */
#define WORKER_BUSY_PAUSE_US UINT64_C(200000)    /* doubled each time */
#define WORKER_ONCE_AGAIN_US                                                                                \
        (10 * USEC_PER_SEC)                       /* after a reading that should be the only one and failed \
                                                   */
#define WORKER_WRITES_US      (60 * USEC_PER_SEC) /* a write lets others be expected so long */
#define WORKER_STOP_GRACE_US  USEC_PER_SEC        /* a transaction that takes longer is cancelled */
#define WORKER_REPLAN_REPLIES 8                   /* then the turnaround is known well enough to plan with */
#define WORKER_REPLAN_US      (60 * USEC_PER_SEC) /* a changed one makes no new plan more often */
#define WORKER_REPLAN_BY_US   500                 /* nor one that changed by less */

/* The command's next transaction. */
enum command_stage {
        COMMAND_MODIFY, /* read what the mask keeps */
        COMMAND_WRITE,
        COMMAND_READ, /* /get, or the read-back */
};

struct command {
        struct bus_command *mail;
        enum command_stage stage;
        bool has_begun;  /* something was sent: it cannot expire any more */
        bool is_running; /* its transaction is under way: who began it ends it */
        bool is_repeat;  /* asked for by nobody: no result */
        unsigned n_attempts;
        uint64_t not_before_us;
};

/* What is known of a point that takes commands. */
struct worker_output {
        uint32_t point;   /* its id */
        bool is_known;    /* regs is what the device holds, as far as it said so */
        bool has_written; /* a command was carried out: asked is what it wanted */
        uint16_t n_regs;
        uint16_t *regs, *asked, *mask; /* one allocation, of 3 × n_regs */
        uint64_t written_us;           /* when the last write was begun; 0: never */
        uint64_t touched_us;           /* the same of a raw request, the gateway's or another master's */
};

struct worker_device {
        const struct conf_device *conf;
        struct health health;
        struct holes holes;
        uint64_t holes_told; /* a sum over what is known for good when that was last posted */
        struct gap gap;
        bool picks_up_one;             /* it refused a join of several blocks: two neighbours will show why */
        bool picks_up_nothing;         /* and what else it refuses cannot be kept */
        struct plan_cost cost;         /* of its requests, as its plan was made */
        struct worker_output *outputs; /* one for each writable point; owned */
        size_t n_outputs;
        struct plan plan;
        struct device_stats stats;
        uint32_t turnaround_us;   /* smoothed; 0: not known */
        uint32_t planned_with_us; /* that of the plan */
        uint64_t planned_us;      /* when that was taken; 0: never */
        unsigned n_measured;
        uint64_t heard_us;   /* on a bus that listens: it answered the master; 0: never */
        uint64_t n_reported; /* stats.n_transactions when they were last posted */
};

/* One of the 256 unit ids, as far as raw requests go. */
struct worker_unit {
        uint64_t held_until_us;  /* a late reply could still come */
        uint64_t pause_until_us; /* it did not answer several times: masters are told so at once until then */
        unsigned n_silent;       /* in a row; of units that polls do not know to be there */
};

struct worker_raws {
        struct bus_raw *list[BUS_RAWS_MAX]; /* oldest first */
        size_t n;
        bool was_turn; /* of commands and raw requests as urgent, each goes in turn */
        struct worker_unit units[256];
};

/* What the schedule's job of the same index reads. */
struct worker_block {
        uint32_t device;
        const struct plan_block *plan;
        bool is_refused;          /* read slowly, and said so once */
        bool was_cut;             /* refused as a whole: its parts are read at once */
        bool is_stale;            /* silent while its device answers, and said so once */
        bool was_lost;            /* its last request had no reply at all */
        unsigned n_silent;        /* turns in a row without a reply */
        unsigned n_failed;        /* turns in a row with an exception that tells nothing of the request */
        uint64_t silent_since_us; /* the first of n_silent */
        uint64_t heard_us;        /* its last answer; 0: never */
};

struct worker_hint;
struct worker_listen;

struct worker {
        struct conf *conf;
        const struct conf_bus *bus;
        struct port *port;
        struct mailbox *up, *box;
        pthread_t thread;
        bool was_started;
        int stop_fd;
        atomic_bool stop;
        atomic_bool has_ended;
        _Atomic uint64_t busy_until_us; /* the call that runs ends by then; 0: none runs */
        struct heartbeat heartbeat;

        struct worker_device *devices;
        size_t n_devices;
        struct worker_block *blocks; /* parallel to schedule.jobs */
        struct schedule schedule;
        struct plan_cost cost;
        uint64_t writes_until_us; /* writes are expected until then */
        bool replan;              /* a device's holes or turnaround changed */

        struct command *commands[BUS_COMMANDS_MAX]; /* oldest first */
        size_t n_commands;
        struct worker_raws raws;
        struct mail *backlog; /* results that `up` did not take; oldest first */
        struct mail **backlog_tail;

        bool is_open;
        bool is_let_go; /* TCP: open for all who ask, but the next transaction has to connect first */
        unsigned n_open_failures; /* in a row */
        char open_reason[96];     /* why the last try failed, as it was said */
        uint64_t next_open_us;
        uint64_t lost_at_us;
        struct stat path;             /* as it was when opening failed; st_ino 0: nothing there */
        struct path_watch path_watch; /* while a serial port is not open */

        struct worker_hint *hint;     /* NULL on Modbus TCP */
        struct worker_listen *listen; /* with mode = "listen" only */

        struct bus_stats stats;
        struct histogram round_trip;
        uint64_t window_began_us, window_busy_us;
        uint64_t waited_us; /* for the silence before the next request, whatever that will be */
        uint64_t next_stats_us;
        uint64_t n_lost; /* samples that `up` refused */
};

/* worker_exchange.c: the device index, a PDU, how long to wait. enum port_result, or −errno with the port
 * given up. `kind` says whose time on the line it is. */
MUST_CHECK int worker_exchange(struct worker *w, uint32_t device, const struct pdu *pdu, uint64_t timeout_us,
                               enum schedule_kind kind, struct port_reply *ret_reply);

/* The same without consequences but for the line's time. */
MUST_CHECK int worker_transact(struct worker *w, const struct port_request *request, enum schedule_kind kind,
                               struct port_reply *ret_reply);

/* Reads off what a time-out or broken frame left on the line. −errno: the port is lost. */
MUST_CHECK int worker_settle(struct worker *w);

/* What else was seen on the line; a late reply of a device that is offline has it probed at once. */
void worker_count_extras(struct worker *w, const struct rtu_counts *c);

/*
 * After silence the unit is left alone as long as a late reply could still come: README.md. A reply that came
 * broken has come. Modbus TCP tells replies apart. 0: it need not be.
 */
uint64_t worker_held_until_us(const struct worker *w, int result, uint64_t configured_us, uint64_t timeout_us,
                              const struct port_reply *reply);

/* Whether the result says that the device itself did not answer. */
bool worker_is_silence(int result, const struct port_reply *reply);

/* Before and after a call that blocks: heartbeat, and what worker_stop() must know. true: stop instead. */
bool worker_block_begin(struct worker *w, uint64_t until_us);
void worker_block_end(struct worker *w);

/* Silence before the next request to a device. */
uint64_t worker_gap_us(const struct worker_device *d);

/* Whether the device's turnaround is so far from that of its plan that another plan may be better. */
bool worker_turnaround_changed(const struct worker_device *d, uint64_t now_us);

/* How long the reply of this device is waited for. */
uint64_t worker_timeout_us(struct worker *w, uint32_t device);

/* worker_poll.c */
void worker_poll(struct worker *w, size_t job);
void worker_probe(struct worker *w, uint32_t device);

/* worker_output.c: −ENOMEM; what is known of points that are still there is taken from `old` (NULL: none). */
MUST_CHECK int worker_outputs_make(struct worker_device *d, const struct worker_device *old);
void worker_outputs_done(struct worker_device *d);
struct worker_output *worker_output(const struct worker_device *d, uint32_t point);
/* A reply brought these points' registers, from `address` on. */
void worker_outputs_read(struct worker *w, struct worker_device *d, const struct conf_point *const *points,
                         size_t n_points, uint16_t address, const uint16_t *regs);
void worker_outputs_forget(struct worker_device *d);
/* A raw request begins to write these registers: the pauses of their points begin. */
void worker_outputs_touch(struct worker *w, struct worker_device *d, const struct pdu_span *span,
                          uint64_t now_us);
/* Whether one of these registers belongs to a point whose pause is not over. */
bool worker_outputs_pause(const struct worker *w, const struct worker_device *d, const struct pdu_span *span,
                          uint64_t now_us);
/* Until when the point itself wants no other write; 0: it never was written. */
uint64_t worker_output_pause_us(const struct worker *w, const struct worker_output *o);
void worker_output_written(struct worker_output *o, const struct bus_command *c, bool is_ok);
/* Whether the device is known to hold what the command asks for. */
bool worker_output_holds(const struct worker_output *o, const struct bus_command *c);
/* Makes commands of the repetitions that are due; when the next one is. */
uint64_t worker_outputs_repeat(struct worker *w, uint64_t now_us);

/* worker_command.c */
void worker_command_add(struct worker *w, struct bus_command *c);
/* Whether a write to the point waits or is under way. */
bool worker_command_waits(const struct worker *w, uint32_t point);
/* Takes the command over; its result goes to nobody. */
void worker_command_repeat(struct worker *w, struct bus_command *c);
bool worker_command_ready(struct worker *w, uint64_t now_us, uint64_t *ret_wake_us);
/* The silence that the next one needs. */
uint64_t worker_command_gap_us(const struct worker *w, uint64_t now_us);
void worker_command_run(struct worker *w);
/* They name points of `old`: those that are the same go on, in whatever stage they are; the others end. */
void worker_command_follow(struct worker *w, const struct conf *old);
void worker_command_fail_all(struct worker *w, enum bus_outcome outcome);

/* worker_raw.c */
void worker_raw_add(struct worker *w, struct bus_raw *raw);
bool worker_raw_ready(struct worker *w, enum bus_raw_class raw_class, uint64_t now_us, uint64_t *ret_wake_us);
uint64_t worker_raw_gap_us(const struct worker *w, enum bus_raw_class raw_class, uint64_t now_us);
void worker_raw_run(struct worker *w, enum bus_raw_class raw_class);
void worker_raw_fail_all(struct worker *w, enum bus_outcome outcome);
void worker_raw_refuse(struct worker *w, struct bus_raw *raw, enum bus_outcome outcome);

/* When replies to raw requests can no longer come. */
uint64_t worker_raw_free_us(const struct worker *w);

/* For other masters: what was read of these points, and that what was read of a device is no longer true. */
void worker_raw_note(struct worker *w, const struct conf_point *const *points, size_t n_points,
                     uint16_t address, const uint16_t *regs, const struct port_reply *reply);
void worker_raw_forget(struct worker *w, uint8_t unit);

/* worker_port.c */
void worker_port_try(struct worker *w);
void worker_port_lost(struct worker *w, int error);
void worker_port_works(struct worker *w);
/*
 * The other end of a TCP connection hung up while nothing was asked, as servers do to connections that are
 * idle: closed, and connected again by the next transaction. false: it is lost.
 */
bool worker_port_let_go(struct worker *w, int error);
/* Connects again if that is needed. 0, −errno, or PORT_CANCELLED. */
MUST_CHECK int worker_port_again(struct worker *w);
uint64_t worker_port_wake_us(const struct worker *w, uint64_t now_us);
void worker_port_listen(struct worker *w);
void worker_port_path_changed(struct worker *w);

/* worker_hint.c: _new() −ENOMEM; _opened() looks at the adapter; worker_hint() is cheap and may be called
 * often. */
MUST_CHECK int worker_hint_new(struct worker *w);
void worker_hint_free(struct worker *w);
void worker_hint_opened(struct worker *w, uint64_t now_us);
void worker_hint(struct worker *w, uint64_t now_us);

/*
 * worker_listen.c, with mode = "listen" only. _new() −ENOMEM; _opened() begins anew; _receive() takes what
 * has come; worker_listen() does what is due and returns when it wants to be called again.
 */
MUST_CHECK int worker_listen_new(struct worker *w);
void worker_listen_free(struct worker *w);
void worker_listen_opened(struct worker *w, uint64_t now_us);
void worker_listen_receive(struct worker *w);
uint64_t worker_listen(struct worker *w, uint64_t now_us);

/* worker_report.c */
void worker_post(struct worker *w, struct mail *mail);
void worker_post_backlog(struct worker *w);
void worker_post_result(struct worker *w, const struct bus_command *c, enum bus_outcome outcome,
                        const struct port_reply *reply);
void worker_post_samples(struct worker *w, const struct conf_point *const *points, size_t n_points,
                         uint16_t address, const uint16_t *regs, const struct port_reply *reply,
                         bool on_demand);
/* The last known values of these points are too old. */
void worker_post_stale(struct worker *w, const struct conf_point *const *points, size_t n_points,
                       const struct port_reply *reply);
void worker_post_device(struct worker *w, uint32_t device);
void worker_post_port(struct worker *w, const char *reason);
void worker_post_stats(struct worker *w, uint64_t now_us);
void worker_post_report(struct worker *w, uint32_t device);
/* Of all devices for which that has changed. */
void worker_post_learned(struct worker *w);
/* What is known of it came from above. */
void worker_note_learned(struct worker_device *d);
/* `timeout_us` 0: replies came, but none was whole. */
void worker_log_offline(struct worker *w, uint32_t device, uint64_t timeout_us);
void worker_log_online(struct worker *w, uint32_t device, uint64_t since_us, uint64_t n_lost);

/* worker_setup.c: −ENOMEM leaves everything as it was. */
MUST_CHECK int worker_setup(struct worker *w, struct conf *conf, uint32_t bus, uint64_t now_us);
void worker_setup_done(struct worker *w);
void worker_replan(struct worker *w, uint64_t now_us);

/* The interval at which a block is read: its own, or a longer one while it is refused, silent or failing. */
uint64_t worker_block_interval_us(const struct worker_block *b);

#endif
