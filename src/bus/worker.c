/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker_private.h"

/* A worker looks round at least so often, whatever it waits for. */
#define IDLE_MAX_US (30 * USEC_PER_SEC)

/* Results that `up` did not take are offered again so often. */
#define BACKLOG_US UINT64_C(50000)

/* A line that does not become silent is left to the transaction, which fails at it. */
#define SILENCE_MAX_US (3 * USEC_PER_SEC)

#define THREAD_NAME_BYTES 32

int worker_new(struct conf *conf, uint32_t bus, struct port *port, struct mailbox *up,
               struct worker **ret_worker)
{
        struct worker *w = calloc(1, sizeof(*w));
        uint64_t now_us = clock_monotonic_us();
        int r = 0;

        if (!w) {
                port_free(port);
                return -ENOMEM;
        }
        w->conf = conf_ref(conf);
        w->port = port;
        w->up = up;
        w->backlog_tail = &w->backlog;
        w->window_began_us = now_us;
        w->path_watch.fd = -1;
        w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->stop_fd < 0)
                r = -errno;
        if (r == 0)
                r = mailbox_new(BUS_BOX_MAX, &w->box);
        if (r == 0)
                r = worker_setup(w, w->conf, bus, now_us);
        if (r == 0)
                r = worker_hint_new(w);
        if (r == 0 && w->bus->mode == CONF_MODE_LISTEN)
                r = worker_listen_new(w);
        if (r < 0) {
                worker_free(w);
                return r;
        }
        *ret_worker = w;
        return 0;
}

struct mailbox *worker_mailbox(struct worker *w)
{
        return w->box;
}

struct heartbeat *worker_heartbeat(struct worker *w)
{
        return &w->heartbeat;
}

bool worker_has_ended(struct worker *w)
{
        return !w->was_started || atomic_load(&w->has_ended);
}

uint64_t worker_line_free_us(const struct worker *w)
{
        uint64_t free_us = worker_raw_free_us(w);

        for (size_t i = 0; i < w->n_devices; i++)
                free_us = MBGATE_MAX(free_us, w->schedule.devices[i].held_until_us);
        return free_us;
}

size_t worker_up_capacity(const struct conf *conf, uint32_t bus)
{
        const struct conf_bus *b = &conf->buses[bus];
        size_t n = 3 * b->n_devices + 2 * (size_t)(BUS_COMMANDS_MAX + BUS_RAWS_MAX) + 4;

        /* A block has at least one point of its own, and each point may be read on demand. */
        for (size_t i = 0; i < b->n_devices; i++)
                n += (b->share.on ? 3 : 2) * b->devices[i].n_points;
        return n;
}

static void take_reconf(struct worker *w, struct bus_reconf *m)
{
        struct log_fields fields = { .bus = w->bus->name };
        struct conf *conf = m->conf;
        int r;

        r = worker_setup(w, conf, m->bus, clock_monotonic_us());
        if (r < 0) {
                log_error(&fields, "bus %s: no memory for the new configuration, the old one stays",
                          w->bus->name);
                return;
        }
        m->conf = w->conf; /* goes with the message */
        w->conf = conf;
        worker_command_follow(w, m->conf);
        worker_hint_opened(w, clock_monotonic_us()); /* other devices may have the numbers now */
        for (uint32_t i = 0; i < w->n_devices; i++) {
                if (w->devices[i].health.status != DEVICE_UNKNOWN)
                        worker_post_device(w, i);
        }
        worker_post_learned(w);
        worker_post_port(w, w->is_open ? "" : "not open");
        worker_post_stats(w, clock_monotonic_us());
}

static void take_mail(struct worker *w)
{
        struct mail *mail;

        /* With results still to be delivered, further commands wait. */
        while (!w->backlog && (mail = mailbox_take(w->box))) {
                switch ((enum bus_mail_kind)mail->kind) {
                case BUS_MAIL_COMMAND:
                        worker_command_add(w, CONTAINER_OF(mail, struct bus_command, mail));
                        continue;
                case BUS_MAIL_RAW: worker_raw_add(w, CONTAINER_OF(mail, struct bus_raw, mail)); continue;
                case BUS_MAIL_RECONF: take_reconf(w, CONTAINER_OF(mail, struct bus_reconf, mail)); break;
                case BUS_MAIL_SAMPLES:
                case BUS_MAIL_RESULT:
                case BUS_MAIL_DEVICE:
                case BUS_MAIL_PORT:
                case BUS_MAIL_RAW_RESULT:
                case BUS_MAIL_REGS:
                case BUS_MAIL_STATS:
                case BUS_MAIL_REPORT:
                case BUS_MAIL_LEARNED: break; /* go up, never down */
                }
                mail_free(mail);
        }
}

/* Sleeps until something happens or `wake_us`. */
static void rest(struct worker *w, uint64_t now_us, uint64_t wake_us)
{
        struct pollfd fds[] = {
                { .fd = w->stop_fd, .events = POLLIN },
                { .fd = w->backlog ? -1 : mailbox_fd(w->box), .events = POLLIN },
                { .fd = w->is_open ? port_fd(w->port) : w->path_watch.fd, .events = POLLIN },
        };
        struct timespec left;

        wake_us = MBGATE_MIN(MBGATE_MIN(wake_us, w->next_stats_us), now_us + IDLE_MAX_US);
        if (w->backlog)
                wake_us = MBGATE_MIN(wake_us, now_us + BACKLOG_US);
        if (wake_us <= now_us)
                return;
        heartbeat_promise(&w->heartbeat, wake_us + IDLE_MAX_US);
        left = clock_remaining(wake_us, now_us);
        if (ppoll(fds, ARRAY_SIZE(fds), &left, NULL) <= 0 || fds[2].revents == 0)
                return;
        if (w->is_open)
                worker_port_listen(w);
        else
                worker_port_path_changed(w);
}

/* Raw requests and commands take turns. */
static bool raw_is_next(const struct worker *w, bool has_command, bool has_raw)
{
        return has_raw && !(has_command && w->raws.was_turn);
}

static void run_command(struct worker *w, bool is_raw)
{
        w->raws.was_turn = is_raw;
        if (is_raw)
                worker_raw_run(w, BUS_RAW_COMMAND);
        else
                worker_command_run(w);
}

/* The silence that a choice needs. */
static uint64_t choice_gap_us(const struct worker *w, struct schedule_choice choice, bool is_raw,
                              uint64_t now_us)
{
        switch (choice.kind) {
        case SCHEDULE_COMMAND:
                return is_raw ? worker_raw_gap_us(w, BUS_RAW_COMMAND, now_us)
                              : worker_command_gap_us(w, now_us);
        case SCHEDULE_SHARED: return worker_raw_gap_us(w, BUS_RAW_SHARED, now_us);
        case SCHEDULE_POLL: return worker_gap_us(&w->devices[w->schedule.jobs[choice.index].device]);
        case SCHEDULE_PROBE: return worker_gap_us(&w->devices[choice.index]);
        case SCHEDULE_IDLE: break;
        }
        return 0;
}

/*
 * Waits for the silence before a request. false: mail came meanwhile, so that another one may be more urgent,
 * or the port went: choose again.
 */
static bool wait_for_silence(struct worker *w, uint64_t now_us, uint64_t gap_us)
{
        int r;

        if (w->is_let_go || w->waited_us > SILENCE_MAX_US + gap_us)
                return true;
        if (worker_block_begin(w, now_us + SILENCE_MAX_US + gap_us))
                return false;
        r = port_await(w->port, gap_us, w->backlog ? -1 : mailbox_fd(w->box));
        worker_block_end(w);
        w->waited_us += clock_monotonic_us() - now_us;
        if (r < 0 && !worker_port_let_go(w, r))
                worker_port_lost(w, r);
        return r == 0;
}

/* The wait was its, too. */
static void charge_silence(struct worker *w, enum schedule_kind kind)
{
        schedule_charge(&w->schedule, kind, w->waited_us);
        w->window_busy_us += kind == SCHEDULE_IDLE ? 0 : w->waited_us;
        w->waited_us = 0;
}

/* One transaction, or a rest until there is one to do. */
static void work(struct worker *w, uint64_t now_us)
{
        uint64_t wake_us = worker_outputs_repeat(w, now_us);
        bool has_command = worker_command_ready(w, now_us, &wake_us);
        bool has_raw = worker_raw_ready(w, BUS_RAW_COMMAND, now_us, &wake_us);
        bool is_raw = raw_is_next(w, has_command, has_raw);
        struct schedule_choice choice;

        w->schedule.shared.is_ready = worker_raw_ready(w, BUS_RAW_SHARED, now_us, &wake_us);
        choice = schedule_next(&w->schedule, now_us, has_command || has_raw);
        if (choice.kind != SCHEDULE_IDLE &&
            !wait_for_silence(w, now_us, choice_gap_us(w, choice, is_raw, now_us)))
                return;
        charge_silence(w, choice.kind);
        switch (choice.kind) {
        case SCHEDULE_COMMAND: run_command(w, is_raw); break;
        case SCHEDULE_SHARED: worker_raw_run(w, BUS_RAW_SHARED); break;
        case SCHEDULE_POLL: worker_poll(w, choice.index); break;
        case SCHEDULE_PROBE: worker_probe(w, (uint32_t)choice.index); break;
        case SCHEDULE_IDLE: rest(w, now_us, MBGATE_MIN(wake_us, choice.wake_us)); break;
        }
        if (w->cost.longest_us != 0 && now_us >= w->writes_until_us)
                w->replan = true;
        if (w->replan)
                worker_replan(w, now_us);
}

static void refuse_mail(struct worker *w)
{
        struct mail *mail;

        while ((mail = mailbox_take(w->box))) {
                if (mail->kind == BUS_MAIL_RAW) {
                        worker_raw_refuse(w, CONTAINER_OF(mail, struct bus_raw, mail), BUS_RESULT_STOPPED);
                        continue;
                }
                if (mail->kind == BUS_MAIL_COMMAND)
                        worker_post_result(w, CONTAINER_OF(mail, struct bus_command, mail),
                                           BUS_RESULT_STOPPED, NULL);
                mail_free(mail);
        }
}

static void *worker_run(void *user)
{
        struct worker *w = user;

        w->next_stats_us = w->bus->stats_interval_s
                                   ? clock_monotonic_us() + w->bus->stats_interval_s * USEC_PER_SEC
                                   : CLOCK_NEVER_US;
        if (w->replan) /* for what was learned before */
                worker_replan(w, clock_monotonic_us());
        while (!atomic_load(&w->stop)) {
                uint64_t now_us;

                worker_post_backlog(w);
                take_mail(w);
                if (!w->is_open)
                        worker_port_try(w);
                now_us = clock_monotonic_us();
                if (now_us >= w->next_stats_us)
                        worker_post_stats(w, now_us);
                worker_hint(w, now_us);
                if (atomic_load(&w->stop))
                        break;
                if (!w->is_open)
                        rest(w, now_us, worker_port_wake_us(w, now_us));
                else if (w->listen)
                        rest(w, now_us, worker_listen(w, now_us));
                else
                        work(w, now_us);
        }
        /* Closed first, so that nothing comes in behind what is answered here. */
        mailbox_close(w->box);
        worker_command_fail_all(w, BUS_RESULT_STOPPED);
        worker_raw_fail_all(w, BUS_RESULT_STOPPED);
        refuse_mail(w);
        worker_post_stats(w, clock_monotonic_us());
        worker_post_backlog(w);
        port_close(w->port);
        heartbeat_promise(&w->heartbeat, 0);
        atomic_store(&w->has_ended, true);
        return NULL;
}

int worker_start(struct worker *w)
{
        char name[THREAD_NAME_BYTES];
        int r;

        (void)snprintf(name, sizeof(name), "bus-%s", w->bus->name);
        r = thread_start(&w->thread, name, worker_run, w);
        w->was_started = r == 0;
        return r;
}

void worker_stop(struct worker *w)
{
        uint64_t busy_until_us;
        ssize_t n;

        mailbox_close(w->box);
        atomic_store(&w->stop, true);
        n = write(w->stop_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
        (void)n; /* readable already */
        busy_until_us = atomic_load(&w->busy_until_us);
        if (busy_until_us > clock_monotonic_us() + WORKER_STOP_GRACE_US)
                port_cancel(w->port);
}

struct worker *worker_free(struct worker *w)
{
        struct mail *next;

        if (!w)
                return NULL;
        if (w->was_started) {
                worker_stop(w);
                (void)pthread_join(w->thread, NULL);
        }
        worker_command_fail_all(w, BUS_RESULT_STOPPED);
        worker_raw_fail_all(w, BUS_RESULT_STOPPED);
        for (struct mail *mail = w->backlog; mail; mail = next) {
                next = mail->next;
                mail_free(mail);
        }
        worker_setup_done(w);
        worker_hint_free(w);
        worker_listen_free(w);
        mailbox_free(w->box);
        if (w->stop_fd >= 0)
                (void)close(w->stop_fd);
        path_watch_close(&w->path_watch);
        port_free(w->port);
        conf_unref(w->conf);
        free(w);
        return NULL;
}
