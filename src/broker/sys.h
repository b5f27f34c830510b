/* SPDX-License-Identifier: MIT */
/*
 * The broker seen from outside: retained topics under $SYS/broker, with mosquitto's names, published every
 * sys_interval_s as far as they have changed. Owned by the main thread.
 */
#ifndef MBGATE_BROKER_SYS_H
#define MBGATE_BROKER_SYS_H

#include "mbgate/base/macros.h"

struct broker;
struct sys;

/* −ENOMEM, −errno of the loop. */
MUST_CHECK int sys_new(struct broker *b, struct sys **ret_sys);

/* The interval may have changed. */
void sys_reconfigure(struct sys *sys);

/* Takes NULL, returns NULL. */
struct sys *sys_free(struct sys *sys);

#endif
