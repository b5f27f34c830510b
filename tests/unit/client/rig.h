/* SPDX-License-Identifier: MIT */
/* A loop, a configuration made by hand, and links whose events are written down. */
#ifndef MBGATE_TESTS_RIG_H
#define MBGATE_TESTS_RIG_H

#include "mbgate/config/conf.h"
#include "mbgate/loop/loop.h"
#include "mbgate/model/link.h"

#define RIG_LINKS   4
#define RIG_MAX     20000
#define RIG_WAIT_MS 30000

struct rig_received {
        struct message *message;
        bool was_retained;
        uint64_t at_us;
};

struct rig_link {
        struct link *link;
        bool is_online, is_stopped;
        unsigned n_online, n_away, n_stopped, n_room, n_lost;
        char reason[256]; /* of the last LINK_AWAY */
        struct rig_received *received;
        size_t n_received;
};

struct rig {
        struct loop *loop;
        struct conf conf;
        struct conf_link links[RIG_LINKS];
        struct rig_link at[RIG_LINKS];
        char log[65536]; /* every line, debug too */
        size_t n_log;
};

/* Links on 127.0.0.1:`port` with short pauses: protocol 5, clean, QoS 2, keepalive 60. Change before
 * rig_open(). */
void rig_init(struct rig *rig, uint16_t port);
void rig_open(struct rig *rig, unsigned i, struct message *will);
void rig_start(struct rig *rig, unsigned i);

/* Stops (if need be) and frees all links; the stop has to keep its deadline, and nothing may be left over. */
void rig_done(struct rig *rig);
void rig_stop(struct rig *rig, unsigned i, unsigned timeout_ms);

/* Runs the loop until the condition holds; fails after RIG_WAIT_MS. */
typedef bool (*rig_condition_fn)(struct rig *rig, void *arg);
void rig_wait(struct rig *rig, rig_condition_fn condition, void *arg);
void rig_run_ms(struct rig *rig, unsigned ms);

void rig_wait_online(struct rig *rig, unsigned i);
void rig_wait_away(struct rig *rig, unsigned i, const char *reason);
void rig_wait_received(struct rig *rig, unsigned i, size_t n);
void rig_wait_log(struct rig *rig, const char *text);
void rig_wait_sent(struct rig *rig, unsigned i, uint64_t n);
void rig_expect_log(struct rig *rig, const char *text);
bool rig_has_logged(struct rig *rig, const char *text);

void rig_publish(struct rig *rig, unsigned i, const char *topic, const char *payload, uint8_t qos,
                 bool retain);
struct link_stats rig_stats(struct rig *rig, unsigned i);

#endif
