/* SPDX-License-Identifier: MIT */
/*
 * The running program. One of it, on the main thread; the parts are in buses.c, shares.c, links.c, reload.c,
 * shutdown.c and status.c.
 */
#ifndef MBGATE_APP_APP_H
#define MBGATE_APP_APP_H

#include <stdbool.h>

#include "mbgate/broker/broker.h"
#include "mbgate/bus/worker.h"
#include "mbgate/client/link_mosquitto.h"
#include "mbgate/config/load.h"
#include "mbgate/gateway/gateway.h"
#include "mbgate/loop/loop.h"
#include "mbgate/share/share.h"

#include "control.h"
#include "learned.h"
#include "options.h"

/* Whether threads have ended is asked this often, and only while something is ending. */
#define APP_REAP_INTERVAL_US (20 * USEC_PER_MSEC)

struct app;

/* A bus: its worker and the mail that comes up from it. */
struct app_bus {
        struct app *app;
        char *name, *port;
        uint32_t index; /* in conf->buses; of an older configuration when is_replaced */
        struct worker *worker;
        struct mailbox *up;
        struct loop_io *io;
        enum device_status *devices; /* for the status line */
        size_t n_devices, devices_size;
        bool is_ending;   /* asked to stop; freed when its thread has ended */
        bool is_replaced; /* a reload ended it: the gateway knows it no more */
        bool is_waiting;  /* not started: a predecessor on the same port is still ending */
        struct app_bus *next;
};

/* A server for other masters. */
struct app_share {
        char *name; /* of its bus */
        struct share *share;
        struct app_bus *bus; /* whose worker it asks; NULL: there is none now */
        struct app_share *next;
};

struct app_link {
        struct app *app;
        uint32_t index; /* in conf->links; GATEWAY_LINK_LOCAL: to the embedded broker */
        struct link *link;
        bool is_online;
        bool is_ending;
        bool has_stopped; /* LINK_STOPPED came */
        bool is_waiting;
        struct app_link *next;
};

enum app_phase {
        APP_RUNNING,
        APP_ENDING_BUSES,
        APP_ENDING_LINKS,
        APP_ENDING_BROKER,
};

struct app {
        const struct options *options;
        struct conf *conf;
        struct loop *loop;
        struct gateway *gateway;
        struct loop_socket *sockets; /* that the service manager opened */
        size_t n_sockets;
        struct learned *learned;
        struct control *control;     /* NULL: there is none */
        struct broker *broker;       /* NULL: none runs */
        uint64_t broker_deadline_us; /* it is ending: what its clients have not taken until then is lost; 0:
                                        it is not */
        bool broker_is_leaving;      /* and its clients were told */
        struct app_bus *buses;       /* those of conf, in order, and behind them what is ending */
        struct app_share *shares;
        struct app_link *links;
        struct loop_signal *signals[3];
        struct loop_timer *reap;
        struct loop_timer *guard; /* fires when a stop takes too long */
        enum app_phase phase;
        uint64_t stop_us;   /* when it was asked to stop */
        uint64_t phase_us;  /* until when the phase of a stop may last */
        bool leaves_behind; /* a thread did not end in time */
        bool has_old_conf;  /* the last reload failed: the file says something else than what runs */
        const char *late;   /* whose heartbeat was late, for the log; "" when none */
};

/*
 * Signals that the loop reads are blocked: first of all, so that one that comes while the configuration is
 * read waits for the loop instead of ending the program, and before the first thread starts.
 */
void app_block_signals(void);

/* Runs until a signal says stop. The exit code, sysexits(3). Takes a reference to `conf`. */
int app_run(const struct options *options, struct conf *conf);

/* buses.c: a worker for each bus of the configuration. 0 or −errno; `next` to no bus is ending. */
MUST_CHECK int buses_start(struct app *app);
MUST_CHECK int buses_reconfigure(struct app *app, struct conf *old, struct conf *new);
void buses_stop(struct app *app);

/* Who waits for one that does not end is answered. */
void buses_disconnect(struct app *app);

/* Frees workers whose threads have ended, starts what waited for them. True while any is still ending. */
bool buses_reap(struct app *app);
void buses_free(struct app *app);

/* shares.c: before the buses. −errno. */
MUST_CHECK int shares_start(struct app *app);
/* After the buses. What cannot be shared is said. */
void shares_reconfigure(struct app *app);
void shares_free(struct app *app);

/* The worker of a bus takes requests, or does not any more; a message from it, which stays the caller's. */
void shares_connect(struct app_bus *b);
void shares_disconnect(struct app_bus *b);
void shares_on_mail(struct app_bus *b, const struct mail *mail);

/* links.c: the same for links. */
MUST_CHECK int links_start(struct app *app);
MUST_CHECK int links_reconfigure(struct app *app, struct conf *old, struct conf *new);
void links_stop(struct app *app, uint64_t deadline_us);
bool links_reap(struct app *app);
void links_free(struct app *app);

/* Tells the embedded broker of all of them. */
void links_tell_states(const struct app *app);

/* The control socket is a link of the gateway, too. Told again of the gateway's configuration. −ENOMEM. */
MUST_CHECK int app_control_connect(struct app *app);

/* Whether one to the embedded broker is left. */
bool links_have_local(const struct app *app);

/*
 * broker.c: the embedded broker. It is started where the configuration has one; −errno: it is not there, and
 * the log says why.
 */
MUST_CHECK int app_broker_start(struct app *app);

/* Goes over to `new`. Before all else of a reload: −errno: nothing has changed. Otherwise 0 or
 * BROKER_PARTLY. */
MUST_CHECK int app_broker_reconfigure(struct app *app, struct conf *new);

/* Begins, or ends, what the configuration in force has or has not. −errno. */
MUST_CHECK int app_broker_follow(struct app *app);

/* Its links must end too: then its clients are told, and it is freed when they have gone or at the deadline.
 */
void app_broker_end(struct app *app, uint64_t deadline_us);

/* True while it is ending. */
bool app_broker_reap(struct app *app);
void app_broker_free(struct app *app);

/* reload.c: SIGHUP. */
void app_reload(struct app *app);

/* shutdown.c: begins an orderly stop; a second time, but not at once, leaves at once. */
void app_stop(struct app *app);
void app_stop_continue(struct app *app);

/* status.c: the line of `systemctl status`. `prefix`: "READY=1\n" or "". */
void app_notify_status(struct app *app, const char *prefix);

/* A thread may have ended, or a predecessor be gone: look soon. */
void app_reap_soon(struct app *app);

#endif
