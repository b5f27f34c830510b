/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "mbgate/base/buf.h"

#include "holder.h"
#include "worker_private.h"

#define PATH_LOOK_US   USEC_PER_SEC        /* where nobody tells of changes */
#define NAME_LOOKUP_US (60 * USEC_PER_SEC) /* a resolver may take that long */
#define SERIAL_OPEN_US (5 * USEC_PER_SEC)  /* drivers may wait for an adapter */

static const unsigned backoff_s[] = { 1, 2, 5, 10, 30 };

static const char *error_text(int error)
{
        const char *text = strerrordesc_np(-error);

        return text ? text : "unknown error";
}

/* Remembers what the path leads to, so that a change shows. */
static void path_look(const struct worker *w, struct stat *ret)
{
        *ret = (struct stat){ 0 };
        if (w->bus->kind == CONF_PORT_SERIAL && stat(w->bus->port, ret) < 0)
                *ret = (struct stat){ 0 };
}

static bool path_is_new(const struct worker *w)
{
        struct stat now;

        path_look(w, &now);
        return now.st_ino != 0 && (now.st_ino != w->path.st_ino || now.st_dev != w->path.st_dev ||
                                   now.st_rdev != w->path.st_rdev || now.st_ctime != w->path.st_ctime);
}

/* Before the path is looked at, so that no change falls between. */
static void path_watch_begin(struct worker *w)
{
        if (w->bus->kind != CONF_PORT_SERIAL || w->path_watch.fd >= 0)
                return;
        if (path_watch_open(&w->path_watch, w->bus->port) < 0)
                log_debug(NULL, "bus %s: %s is looked at each second: nobody tells of its changes",
                          w->bus->name, w->bus->port);
}

void worker_port_path_changed(struct worker *w)
{
        path_watch_take(&w->path_watch, w->bus->port);
}

static unsigned put_off(struct worker *w, uint64_t now_us)
{
        size_t i = MBGATE_MIN(w->n_open_failures, ARRAY_SIZE(backoff_s) - 1);

        w->n_open_failures++;
        w->next_open_us = now_us + backoff_s[i] * USEC_PER_SEC;
        return backoff_s[i];
}

static void open_failed(struct worker *w, int error)
{
        struct log_fields fields = { .bus = w->bus->name, .error = -error };
        const char *about = port_describe(w->port);
        const char *reason = *about ? about : error_text(error);
        bool is_first = w->n_open_failures == 0;
        bool is_news = is_first || strncmp(w->open_reason, reason, sizeof(w->open_reason) - 1) != 0;
        unsigned next_s;

        path_watch_begin(w);
        path_look(w, &w->path);
        next_s = put_off(w, clock_monotonic_us());
        log_at(is_news ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, &fields,
               "bus %s: cannot open %s: %s, next try in %u s", w->bus->name, w->bus->port, reason, next_s);
        if (is_first)
                w->lost_at_us = clock_monotonic_us();
        if (is_news) {
                (void)snprintf(w->open_reason, sizeof(w->open_reason), "%s", reason);
                worker_post_port(w, reason);
        }
}

/* Tools on libmodbus take no lock, and respect none when they came first. Looked for once an opening. */
static void warn_of_others(const struct worker *w)
{
        struct log_fields fields = { .bus = w->bus->name };
        char text[64];
        struct buf name = BUF_ON(text);

        if (w->bus->kind != CONF_PORT_SERIAL || !holder_shares(w->bus->port, &name))
                return;
        log_warn(&fields,
                 "bus %s: %s is open in %s as well: each takes the other's replies, stop one of them",
                 w->bus->name, w->bus->port, text);
}

static void opened(struct worker *w)
{
        struct log_fields fields = { .bus = w->bus->name };
        uint64_t now_us = clock_monotonic_us();
        const char *about = port_describe(w->port);

        if (w->lost_at_us != 0)
                log_info(&fields, "bus %s: %s is open again after %llu s and %u %s%s%s", w->bus->name,
                         w->bus->port, (unsigned long long)((now_us - w->lost_at_us) / USEC_PER_SEC),
                         w->n_open_failures, w->n_open_failures == 1 ? "try" : "tries", *about ? ": " : "",
                         about);
        else
                log_info(&fields, "bus %s: %s is open%s%s", w->bus->name, w->bus->port, *about ? ": " : "",
                         about);
        w->is_open = true;
        warn_of_others(w);
        path_watch_close(&w->path_watch);
        for (uint32_t i = 0; i < w->n_devices; i++) {
                health_forget(&w->devices[i].health, now_us);
                schedule_pause(&w->schedule, i, now_us);
                schedule_resume(&w->schedule, i, now_us);
                w->schedule.devices[i].held_until_us = 0;
        }
        schedule_spread(&w->schedule, now_us);
        worker_hint_opened(w, now_us);
        if (w->listen)
                worker_listen_opened(w, now_us);
        worker_post_port(w, "");
}

/* 0, −errno, or PORT_CANCELLED: the worker stops instead. */
static int port_try_open(struct worker *w)
{
        uint64_t limit_us = SERIAL_OPEN_US;
        int r;

        if (w->bus->kind != CONF_PORT_SERIAL)
                limit_us = w->bus->connect_timeout_ms * USEC_PER_MSEC + NAME_LOOKUP_US;
        if (worker_block_begin(w, clock_monotonic_us() + limit_us))
                return PORT_CANCELLED;
        r = port_open(w->port);
        worker_block_end(w);
        return r;
}

void worker_port_try(struct worker *w)
{
        int r;

        if (clock_monotonic_us() < w->next_open_us && !path_is_new(w))
                return;
        r = port_try_open(w);
        if (r < 0)
                open_failed(w, r);
        else if (r == 0)
                opened(w);
}

bool worker_port_let_go(struct worker *w, int error)
{
        bool hung_up = error == -ECONNRESET || error == -ENODEV || error == -EPIPE;

        if (w->bus->kind == CONF_PORT_SERIAL || !w->is_open || w->is_let_go || !hung_up)
                return false;
        log_debug(NULL, "bus %s: %s closed the connection while nothing was asked", w->bus->name,
                  w->bus->port);
        port_close(w->port);
        w->is_let_go = true;
        /* It may have been restarted. */
        for (uint32_t i = 0; i < w->n_devices; i++)
                worker_outputs_forget(&w->devices[i]);
        return true;
}

int worker_port_again(struct worker *w)
{
        int r;

        if (!w->is_let_go)
                return 0;
        r = port_try_open(w);
        if (r == 0)
                w->is_let_go = false;
        return r;
}

void worker_port_lost(struct worker *w, int error)
{
        struct log_fields fields = { .bus = w->bus->name, .error = -error };
        uint64_t now_us = clock_monotonic_us();
        char reason[96];
        unsigned next_s;

        if (!w->is_open)
                return;
        path_watch_begin(w);
        path_look(w, &w->path);
        port_close(w->port); /* at once: a node that stays open keeps its name from the adapter's return */
        w->is_open = false;
        w->is_let_go = false;
        w->stats.n_port_lost++;
        w->lost_at_us = now_us;
        next_s = put_off(w, now_us);
        (void)snprintf(reason, sizeof(reason), "lost: %s", error_text(error));
        log_warn(&fields, "bus %s: %s %s, next try in %u s", w->bus->name, w->bus->port, reason, next_s);
        worker_post_port(w, reason);
        worker_command_fail_all(w, BUS_RESULT_PORT);
        worker_raw_fail_all(w, BUS_RESULT_PORT);
        for (uint32_t i = 0; i < w->n_devices; i++) {
                worker_outputs_forget(&w->devices[i]);
                if (w->devices[i].health.status == DEVICE_OFFLINE)
                        continue;
                w->devices[i].health.status = DEVICE_OFFLINE;
                worker_post_device(w, i);
        }
        worker_post_stats(w, now_us);
}

/* A device answered: the line is in order, and the next loss is a new one. */
void worker_port_works(struct worker *w)
{
        w->n_open_failures = 0;
        w->lost_at_us = 0;
}

uint64_t worker_port_wake_us(const struct worker *w, uint64_t now_us)
{
        if (w->bus->kind == CONF_PORT_SERIAL && w->path_watch.fd < 0)
                return MBGATE_MIN(w->next_open_us, now_us + PATH_LOOK_US);
        return w->next_open_us;
}

/* Bytes or a hang-up while nothing was asked. */
void worker_port_listen(struct worker *w)
{
        struct rtu_counts counts = { 0 };
        uint64_t now_us = clock_monotonic_us();
        int r;

        if (w->listen) {
                worker_listen_receive(w);
                return;
        }
        if (worker_block_begin(w, now_us + SERIAL_OPEN_US))
                return;
        r = port_drain(w->port, now_us, &counts);
        worker_block_end(w);
        worker_count_extras(w, &counts);
        if (r < 0 && !worker_port_let_go(w, r))
                worker_port_lost(w, r);
}
