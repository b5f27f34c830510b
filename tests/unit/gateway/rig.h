/* SPDX-License-Identifier: MIT */
/* A gateway on a fake loop, fake links and mailboxes that stand for buses. */
#ifndef MBGATE_TESTS_GATEWAY_RIG_H
#define MBGATE_TESTS_GATEWAY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"
#include "mbgate/gateway/gateway.h"

#include "fake_link.h"
#include "fake_loop.h"

#define RIG_MAX 4

/* The wall clock of every sample, and as text. */
#define RIG_WALL_US   INT64_C(1795428930123000)
#define RIG_WALL_TEXT "2026-11-23T10:15:30.123Z"

struct rig {
        struct loop *loop;
        struct conf *conf;
        struct gateway *gateway;
        struct fake_link
                *links[RIG_MAX]; /* one for each of the configuration, else one for the embedded broker */
        size_t n_links;
        struct mailbox *boxes[RIG_MAX];
        uint64_t began_us; /* of the next samples; 0: now */
        bool on_demand;    /* of the next samples */
        unsigned n_warnings, n_infos;
        char warning[512], info[512];
};

/* From the text of a configuration; links are online, and what they were told then is forgotten. */
struct rig *rig_new(const char *text);

/* Whether the kernel says that the clock is synchronised; true in a new rig. */
void rig_set_clock(bool is_right);

/* `links` is put behind a gateway "gw" with one bus "b" of one device "dev" with `points`. */
struct rig *rig_new_points(const char *points);

/* Frees all; fails when a message is still referenced by the gateway. */
void rig_free(struct rig *r);

struct conf *rig_conf(const char *text);

/* Goes over to another configuration, as the program does. */
void rig_reconfigure(struct rig *r, const char *text);

/* The id of "dev/temp". */
uint32_t rig_point(const struct rig *r, const char *name);

#define INT(n)  ((struct value){ .kind = VALUE_INT, .i = (n) })
#define UINT(n) ((struct value){ .kind = VALUE_UINT, .u = (n) })
#define REAL(x) ((struct value){ .kind = VALUE_REAL, .r = (x) })
#define BOOL(x) ((struct value){ .kind = VALUE_BOOL, .b = (x) })
#define TEXT(s) ((struct value){ .kind = VALUE_TEXT, .text = { (s), strlen(s) } })

/* The bus has read a point, or several with one reply. */
void rig_sample(struct rig *r, const char *point, struct value value);
void rig_sample_bad(struct rig *r, const char *point);

/* Its block has become silent. */
void rig_sample_stale(struct rig *r, const char *point);
void rig_samples(struct rig *r, const char *const *points, const struct value *values, size_t n);

void rig_device(struct rig *r, const char *device, enum device_status status);
void rig_port(struct rig *r, uint32_t bus, bool is_open, const char *reason);

/* A message comes on link 0; fails when no subscription lets it through. */
void rig_command(struct rig *r, const char *topic, const char *payload);
void rig_command_retained(struct rig *r, const char *topic, const char *payload);

/* What has come to a bus, or NULL; the caller frees it. */
struct bus_command *rig_take(struct rig *r, uint32_t bus);

/* The bus answers a command, which began now and was done `took_us` later (time moves on), and frees it. */
void rig_answer(struct rig *r, struct bus_command *c, enum bus_outcome outcome, uint64_t took_us);

/* All that a link was given since the last time, in order, "topic payload", ended by NULL. */
void rig_expect(struct rig *r, size_t link, ...) __attribute__((sentinel));

/* Nothing was. */
#define rig_expect_nothing(r, link) rig_expect((r), (link), NULL)

#endif
