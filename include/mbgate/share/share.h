/* SPDX-License-Identifier: MIT */
/*
 * A bus shared with other masters: a Modbus TCP server whose requests go to the bus's worker, or are answered
 * with what was read lately. Lives on the main thread; never blocks; knows the bus only through model/.
 */
#ifndef MBGATE_SHARE_SHARE_H
#define MBGATE_SHARE_SHARE_H

#include "mbgate/base/mailbox.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/bus_mail.h"

struct share;

/*
 * A server for bus number `bus` of `conf` (takes a reference), whose share is on. Listens at once; an address
 * that cannot be had is said in the log and tried again. −ENOMEM, −errno of the loop.
 */
MUST_CHECK int share_new(struct loop *loop, struct conf *conf, uint32_t bus, struct share **ret_share);

/* Closes listener and connections. Takes NULL, returns NULL. */
struct share *share_free(struct share *s);
DEFINE_CLEANUP(struct share *, share_free)

/* Where requests go (borrowed; NULL: the bus is gone; who waits is answered, and what was read forgotten). */
void share_set_bus(struct share *s, struct mailbox *requests);

/* A message of the bus: BUS_MAIL_RAW_RESULT of anybody, BUS_MAIL_REGS. It stays the caller's. */
void share_on_bus_mail(struct share *s, const struct mail *mail);

/*
 * Goes over to a new configuration. Connections stay unless it listens elsewhere now, or they are no longer
 * allowed.
 */
void share_reconfigure(struct share *s, struct conf *conf, uint32_t bus);

/* How many masters are connected. */
size_t share_n_clients(const struct share *s);

#endif
