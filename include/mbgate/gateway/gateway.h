/* SPDX-License-Identifier: MIT */
/*
 * The gateway: between the buses (mail) and the links (messages). It maps points to topics, decides what is
 * published when, turns commands into bus commands and answers them, and keeps availability and status topics
 * true. Lives on the main thread; never blocks; knows buses and brokers only through model/.
 *
 *   bus mail ──► publish (policy) ──► link        link ──► command (check, encode) ──► bus mail
 */
#ifndef MBGATE_GATEWAY_GATEWAY_H
#define MBGATE_GATEWAY_GATEWAY_H

#include "mbgate/base/mailbox.h"
#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/bus_mail.h"
#include "mbgate/model/link.h"

struct gateway;

/* Takes a reference to `conf`. −ENOMEM, −errno. */
MUST_CHECK int gateway_new(struct loop *loop, struct conf *conf, struct gateway **ret_gateway);
struct gateway *gateway_free(struct gateway *g);
DEFINE_CLEANUP(struct gateway *, gateway_free)

/*
 * Gives it a link (borrowed), with its index in conf->links, or GATEWAY_LINK_LOCAL for the embedded broker.
 * The link's on_event must be gateway_on_link_event with user = the gateway. Subscribes to all command
 * topics. A link that it has already goes over to the settings of that index in the configuration in force:
 * only subscriptions that differ are made or taken back. −ENOMEM.
 */
#define GATEWAY_LINK_LOCAL UINT32_MAX

/*
 * The index of the link of the control socket. It is not subscribed to anything and given nothing but
 * answers: each message on it is a request (gateway/rpc.c) with a response topic, answered once.
 */
#define GATEWAY_LINK_CONTROL (UINT32_MAX - 1)
MUST_CHECK int gateway_add_link(struct gateway *g, struct link *link, uint32_t index);
void gateway_remove_link(struct gateway *g, struct link *link);

/*
 * The same for a link that a reload takes away or connects elsewhere: its broker is told first that gateway
 * and devices are offline (no will is sent at an orderly end), and the counters of buses are cleared there.
 */
void gateway_leave_link(struct gateway *g, struct link *link);
void gateway_on_link_event(void *user, struct link *link, const struct link_event *event);

/* Tells where commands for bus number `bus` go (borrowed; NULL: that bus is gone, and who waits is answered).
 */
void gateway_set_bus(struct gateway *g, uint32_t bus, struct mailbox *commands);

/* No result of what was posted there comes any more: who waits for one is answered. Before it is freed. */
void gateway_forget_bus(struct gateway *g, const struct mailbox *commands);

/* Handles one message that came up from a bus; the gateway owns it from here. */
void gateway_on_bus_mail(struct gateway *g, struct mail *mail);

/*
 * Goes over to a new configuration: state of what kept its topic is kept; retained topics of what is gone are
 * cleared; subscriptions follow. The caller adds all links again, with their new indices, and sets all buses
 * again. Who waits for a command goes on waiting: its result comes from the worker that has it, be it one
 * that goes on or one that ends, or from gateway_forget_bus(). What buses read under the old configuration is
 * still taken for points that are the same. −ENOMEM: nothing has changed.
 */
MUST_CHECK int gateway_reconfigure(struct gateway *g, struct conf *conf);

/* Refuses commands from now on and publishes `offline` for gateway and devices. */
void gateway_stop(struct gateway *g);

/* The will of a link: `offline` on the status topic, retained. −ENOMEM. */
MUST_CHECK int gateway_will_new(const struct conf *conf, struct message **ret_message);

#endif
