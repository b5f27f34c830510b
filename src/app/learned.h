/* SPDX-License-Identifier: MIT */
/*
 * What buses have learned of their devices, kept over a restart in the file "learned" of the state directory.
 * A cache: without it the same is learned again. Owned by the main thread; the file is written by a thread
 * that lives as long as that takes, at most once in LEARNED_PAUSE_US.
 */
#ifndef MBGATE_APP_LEARNED_H
#define MBGATE_APP_LEARNED_H

#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/bus_mail.h"

#define LEARNED_FILE     "learned"
#define LEARNED_PAUSE_US (5 * USEC_PER_SEC)

struct learned;

/* Reads the file, of which only what fits a device of `conf` is taken. −ENOMEM, −errno of timers. */
MUST_CHECK int learned_new(struct loop *loop, const struct conf *conf, struct learned **ret_learned);

/* Writes what has not been written. Takes NULL, returns NULL. */
struct learned *learned_free(struct learned *l);

/* Forgets what fits no device any more. */
void learned_reconfigure(struct learned *l, const struct conf *conf);

/* What is known of a device, the learned's until the next call; NULL: nothing. */
const struct bus_hole *learned_find(const struct learned *l, const struct conf_device *device, size_t *ret_n);

void learned_note(struct learned *l, const struct conf_device *device, const struct bus_learned *mail);

#endif
