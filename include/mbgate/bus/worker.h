/* SPDX-License-Identifier: MIT */
/*
 * The worker: the thread that owns a bus, its port, its schedule and the health of its devices. It is driven
 * by mail from above (model/bus_mail.h) and answers by mail. Made, started and freed on the main thread.
 */
#ifndef MBGATE_BUS_WORKER_H
#define MBGATE_BUS_WORKER_H

#include "mbgate/base/mailbox.h"
#include "mbgate/base/thread.h"
#include "mbgate/config/conf.h"
#include "mbgate/model/bus_mail.h"
#include "mbgate/model/port.h"

struct worker;

/*
 * A worker for bus number `bus` of `conf` (takes a reference), which speaks through `port` (takes it over,
 * also on error) and posts to `up` (borrowed; must outlive it). −ENOMEM, −errno of eventfd(2).
 */
MUST_CHECK int worker_new(struct conf *conf, uint32_t bus, struct port *port, struct mailbox *up,
                          struct worker **ret_worker);

/*
 * What an earlier run learned of a device (struct bus_learned), for the same map; before worker_start(). What
 * is too much is left out.
 */
void worker_learn(struct worker *w, uint32_t device, const struct bus_hole *holes, size_t n_holes);

/* Commands go in here. It is closed by worker_stop(). */
struct mailbox *worker_mailbox(struct worker *w);

MUST_CHECK int worker_start(struct worker *w);

/* Asks it to end at the next transaction boundary; returns at once. */
void worker_stop(struct worker *w);

/* Whether the thread has ended or never ran (worker_free() will not block then). */
bool worker_has_ended(struct worker *w);

/*
 * Until when a reply may still come on the line of a worker that has ended: a request was sent that nobody
 * answered in time, or that was cancelled. Whoever opens the port before takes that reply for its own.
 */
uint64_t worker_line_free_us(const struct worker *w);

/* For the watchdog: late when a transaction takes longer than any could. */
struct heartbeat *worker_heartbeat(struct worker *w);

/* Stops if need be, joins, frees port and all. Takes NULL, returns NULL. */
struct worker *worker_free(struct worker *w);
DEFINE_CLEANUP(struct worker *, worker_free)

/* The port of this bus (bus/port_libmodbus.c): serial, Modbus TCP or RTU over TCP. */
MUST_CHECK int port_libmodbus_new(const struct conf_bus *bus, struct port **ret_port);

/* Mail that `up` must hold for one bus: nothing is ever refused with this capacity. */
size_t worker_up_capacity(const struct conf *conf, uint32_t bus);

#endif
