/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"

#include "broker_private.h"

#define SYS_PREFIX "$SYS/broker/"

struct sys {
        struct broker *broker;
        struct loop_timer *timer;
        uint64_t start_us;
};

static void sys_say(struct sys *sys, const char *topic, const char *payload)
{
        char name[128];
        struct publication p = {
                .topic = name,
                .payload = payload,
                .n_payload = strlen(payload),
                .made_us = transport_now_us(sys->broker->transport),
                .retain = true,
        };
        uint64_t stored;

        p.n_topic = (size_t)snprintf(name, sizeof(name), SYS_PREFIX "%s", topic);
        (void)!router_publish(sys->broker, &p, NULL, &stored);
        publication_done(&p);
}

static void sys_say_number(struct sys *sys, const char *topic, uint64_t number)
{
        char text[24];

        (void)snprintf(text, sizeof(text), "%" PRIu64, number);
        sys_say(sys, topic, text);
}

static void sys_on_timer(void *user, uint64_t now_us)
{
        struct sys *sys = user;
        struct broker *b = sys->broker;
        char text[48];

        (void)snprintf(text, sizeof(text), "%" PRIu64 " seconds", (now_us - sys->start_us) / USEC_PER_SEC);
        sys_say(sys, "uptime", text);
        sys_say_number(sys, "clients/connected", b->n_clients);
        sys_reconfigure(sys);
        transport_wake(b->transport);
}

void sys_reconfigure(struct sys *sys)
{
        uint32_t interval_s = broker_conf(sys->broker)->sys_interval_s;

        loop_timer_set(sys->timer,
                       interval_s == 0 ? CLOCK_NEVER_US : clock_monotonic_us() + interval_s * USEC_PER_SEC);
}

int sys_new(struct broker *b, struct sys **ret_sys)
{
        struct sys *sys = calloc(1, sizeof(*sys));
        int r;

        if (!sys)
                return -ENOMEM;
        sys->broker = b;
        sys->start_us = clock_monotonic_us();
        r = loop_add_timer(b->loop, sys_on_timer, sys, &sys->timer);
        if (r < 0) {
                free(sys);
                return r;
        }
        sys_reconfigure(sys);
        *ret_sys = sys;
        return 0;
}

struct sys *sys_free(struct sys *sys)
{
        if (!sys)
                return NULL;
        sys->timer = loop_timer_free(sys->timer);
        free(sys);
        return NULL;
}
