/* SPDX-License-Identifier: MIT */
/*
 * A week of a bus in virtual time: the worker's own setup, plan, schedule and health, without its thread and
 * port. Devices die and return, the configuration changes, commands come in floods; what must always hold is
 * asserted after each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/base/random.h"

#include "bus_conf.h"
#include "fake_port.h"
#include "worker_private.h"

#define MS UINT64_C(1000)
#define S  UINT64_C(1000000)

#define UNITS          12 /* 1..12; at least 4 of them are configured */
#define TIMEOUT_MS     500
#define DEAD_MAX       6 /* as many as can be probed each 9 s with 5 % of a line of 9600 Bd */
#define RETURN_MAX_US  (10 * S)
#define SLOW_US        (400 * MS) /* of who comes back slower than it was known */
#define RELOAD_MINUTES 97

struct week {
        struct bus_conf confs[2]; /* what runs, and what comes, by turns */
        unsigned conf;
        struct worker *w;
        struct mailbox *up;
        struct random random;
        uint64_t now_us, began_us;
        uint64_t quiet_us; /* no flood, no reload, no change since then */
        bool is_dead[UNITS + 1];
        bool is_slow[UNITS + 1];     /* until it was heard again */
        uint64_t back_us[UNITS + 1]; /* when it returned; 0: long ago */
        uint64_t probe_us, command_us, poll_us;
        uint64_t n_polls, n_probes, n_heard, n_reloads, n_deaths, worst_return_us;
};

static struct week week;

/* A random configuration: some of the units, each with a few blocks. */
static struct conf *next_conf(struct week *k)
{
        static const uint32_t intervals_ms[] = { 1000, 5000, 20000, 60000, 3600000 };
        struct bus_conf *c = &k->confs[k->conf ^= 1];
        size_t n_skipped = 0;

        bus_conf_init(c, "/nonexistent/tty");
        c->conf.generation = (uint32_t)k->n_reloads + 1;
        for (uint8_t unit = 1; unit <= UNITS; unit++) {
                uint16_t address = 0;

                if (n_skipped < UNITS - 4 && random_below(&k->random, 4) == 0) {
                        n_skipped++;
                        continue;
                }
                (void)bus_conf_device(c, unit, TIMEOUT_MS, 1);
                for (size_t i = 0; i < 1 + unit % 3u; i++) {
                        struct conf_point *p = bus_conf_point(c, CONF_HOLDING, address, 2,
                                                              intervals_ms[random_below(&k->random, 5)]);

                        if (random_below(&k->random, 8) == 0)
                                p->poll = CONF_POLL_ONCE;
                        address = (uint16_t)(address + 40);
                }
        }
        return &c->conf;
}

static uint8_t unit_of(const struct week *k, uint32_t device)
{
        return k->w->devices[device].conf->unit_id;
}

static uint64_t read_us(const struct week *k, size_t job)
{
        const struct plan_block *b = k->w->blocks[job].plan;

        return plan_read_us(&k->w->cost, b->function, b->count);
}

static void check_job(const struct week *k, size_t i)
{
        const struct schedule_job *j = &k->w->schedule.jobs[i];
        const struct worker_device *d = &k->w->devices[j->device];
        uint64_t since_us;

        assert_true(k->w->blocks[i].device == j->device);
        assert_true(j->is_paused == (d->health.status == DEVICE_OFFLINE));
        assert_true(j->interval_us == worker_block_interval_us(&k->w->blocks[i]));
        assert_true(j->began_us <= k->now_us);
        if (j->is_paused)
                return;
        /* All blocks of who is back, or new. */
        since_us = MBGATE_MAX(j->due_us, k->quiet_us);
        if (j->is_first && !k->is_dead[unit_of(k, j->device)] && k->now_us > since_us)
                assert_true(k->now_us - since_us <= RETURN_MAX_US);
        if (j->interval_us == 0) {
                assert_true(j->is_first || j->due_us == CLOCK_NEVER_US || j->n_attempts > 0);
                return;
        }
        assert_true(j->due_us <= k->now_us + 2 * j->interval_us);
        /* The line is never more than half full: who lives is read in time, whoever else is dead. */
        since_us = MBGATE_MAX(j->began_us, k->quiet_us);
        if (!k->is_dead[unit_of(k, j->device)] && k->now_us > since_us)
                assert_true(k->now_us - since_us <= 2 * j->interval_us + 6 * TIMEOUT_MS * MS);
}

static void check(struct week *k)
{
        const struct worker *w = k->w;

        for (uint32_t i = 0; i < w->n_devices; i++) {
                const struct health *h = &w->devices[i].health;
                uint8_t unit = unit_of(k, i);

                assert_true(w->schedule.devices[i].is_probing == (h->status == DEVICE_OFFLINE));
                assert_true(h->pause_us <= HEALTH_PAUSE_MAX_US);
                if (!k->is_dead[unit] && k->back_us[unit] != 0 && h->status != DEVICE_ONLINE)
                        assert_true(k->now_us - k->back_us[unit] <= RETURN_MAX_US);
        }
        for (size_t i = 0; i < w->schedule.n_jobs; i++)
                check_job(k, i);
        assert_true(w->schedule.probe_saved_us <= SCHEDULE_PROBE_SAVED_US);
        assert_true(w->schedule.command_ahead_us >= 0);
        /* 5 % for the dead, and what may be saved up, and one probe too long. */
        assert_true(k->probe_us <= (k->now_us - k->began_us) / 20 + 2 * S);
}

static void silence(struct week *k, uint32_t device, enum schedule_kind kind, uint64_t timeout_us)
{
        struct health *h = &k->w->devices[device].health;
        struct schedule *s = &k->w->schedule;

        k->now_us += timeout_us;
        schedule_charge(s, kind, timeout_us);
        s->devices[device].held_until_us = k->now_us + TIMEOUT_MS * MS;
        if (health_failed(h, k->now_us))
                schedule_pause(s, device, k->now_us + h->pause_us);
        else if (h->status == DEVICE_OFFLINE)
                s->devices[device].probe_due_us = k->now_us + h->pause_us;
}

static void answer(struct week *k, uint32_t device, enum schedule_kind kind, uint64_t takes_us)
{
        struct health *h = &k->w->devices[device].health;
        bool was_offline = h->status == DEVICE_OFFLINE;
        uint8_t unit = unit_of(k, device);

        k->now_us += takes_us;
        schedule_charge(&k->w->schedule, kind, takes_us);
        health_measured(h, k->is_slow[unit] ? SLOW_US : 5 * MS + random_below(&k->random, 5 * MS), takes_us);
        k->is_slow[unit] = false;
        if (!health_answered(h, k->now_us))
                return;
        if (was_offline)
                schedule_resume(&k->w->schedule, device, k->now_us);
        if (was_offline && k->back_us[unit] != 0)
                k->worst_return_us = MBGATE_MAX(k->worst_return_us, k->now_us - k->back_us[unit]);
        k->back_us[unit] = 0;
}

static void poll_block(struct week *k, size_t job)
{
        struct schedule_job *j = &k->w->schedule.jobs[job];
        uint64_t start_us = k->now_us, takes_us = read_us(k, job);
        uint32_t device = j->device;

        assert_true(j->due_us <= start_us && j->not_before_us <= start_us && !j->is_paused);
        assert_true(k->w->schedule.devices[device].held_until_us <= start_us);
        k->n_polls++;
        k->poll_us += takes_us;
        if (!k->is_dead[unit_of(k, device)]) {
                answer(k, device, SCHEDULE_POLL, takes_us);
                schedule_served(&k->w->schedule, job, start_us);
                return;
        }
        silence(k, device, SCHEDULE_POLL,
                takes_us + health_timeout_us(&k->w->devices[device].health, TIMEOUT_MS * MS, 0, true));
        if (k->w->devices[device].health.status != DEVICE_OFFLINE && j->n_attempts == 0)
                schedule_retry(&k->w->schedule, job, 0);
        else if (j->interval_us == 0)
                schedule_retry(&k->w->schedule, job, k->now_us + WORKER_ONCE_AGAIN_US);
        else
                schedule_served(&k->w->schedule, job, start_us);
}

static void probe(struct week *k, uint32_t device)
{
        struct health *h = &k->w->devices[device].health;
        uint64_t start_us = k->now_us, takes_us = plan_read_us(&k->w->cost, PDU_READ_HOLDING, 2);
        uint8_t unit = unit_of(k, device);
        uint64_t timeout_us;
        unsigned n_dead = 0;

        assert_true(h->status == DEVICE_OFFLINE);
        for (uint32_t i = 0; i < k->w->n_devices; i++)
                n_dead += k->w->schedule.devices[i].is_probing;
        k->n_probes++;
        timeout_us = health_probe_timeout_us(h, TIMEOUT_MS * MS, n_dead, takes_us,
                                             k->w->schedule.probe_saved_us >= 0);
        if (k->is_dead[unit] || (k->is_slow[unit] && timeout_us < SLOW_US))
                silence(k, device, SCHEDULE_PROBE, takes_us + timeout_us);
        else
                answer(k, device, SCHEDULE_PROBE, takes_us + (k->is_slow[unit] ? SLOW_US : 0));
        /* The late reply is heard in the silence that follows. */
        if (!k->is_dead[unit] && k->is_slow[unit] && health_heard(h)) {
                k->n_heard++;
                k->w->schedule.devices[device].held_until_us = 0;
                k->w->schedule.devices[device].probe_due_us = k->now_us + SLOW_US - timeout_us;
        }
        k->probe_us += k->now_us - start_us;
}

static void step(struct week *k, uint64_t until_us, bool flood)
{
        struct schedule_choice c = schedule_next(&k->w->schedule, k->now_us, flood);

        switch (c.kind) {
        case SCHEDULE_IDLE:
                assert_true(c.wake_us > k->now_us);
                k->now_us = MBGATE_MIN(c.wake_us, until_us);
                break;
        case SCHEDULE_COMMAND:
                k->now_us += 20 * MS;
                k->command_us += 20 * MS;
                schedule_charge(&k->w->schedule, SCHEDULE_COMMAND, 20 * MS);
                break;
        case SCHEDULE_SHARED: fail(); break;
        case SCHEDULE_POLL: poll_block(k, c.index); break;
        case SCHEDULE_PROBE: probe(k, (uint32_t)c.index); break;
        }
        if (flood)
                k->quiet_us = k->now_us;
        check(k);
}

/* What stays keeps its health and its turns. */
static void reload(struct week *k)
{
        struct conf *conf = next_conf(k);
        enum device_status before[UNITS + 1];
        struct worker *w = k->w;

        memset(before, DEVICE_UNKNOWN, sizeof(before));
        for (uint32_t i = 0; i < w->n_devices; i++)
                before[unit_of(k, i)] = w->devices[i].health.status;
        assert_int_equal(worker_setup(w, conf, 0, k->now_us), 0);
        conf_unref(w->conf);
        w->conf = conf_ref(conf);
        for (uint32_t i = 0; i < w->n_devices; i++)
                assert_int_equal(w->devices[i].health.status, before[unit_of(k, i)]);
        for (uint8_t unit = 1; unit <= UNITS; unit++)
                k->back_us[unit] = 0; /* what is new is looked for from now on */
        k->n_reloads++;
        k->quiet_us = k->now_us;
        check(k);
}

static void toggle(struct week *k)
{
        uint8_t unit = (uint8_t)(1 + random_below(&k->random, UNITS));
        unsigned n_dead = 0;

        for (uint8_t u = 1; u <= UNITS; u++)
                n_dead += k->is_dead[u];
        if (n_dead == DEAD_MAX && !k->is_dead[unit])
                return;

        k->is_dead[unit] = !k->is_dead[unit];
        k->is_slow[unit] = !k->is_dead[unit] && random_below(&k->random, 3) == 0;
        k->back_us[unit] = k->is_dead[unit] ? 0 : k->now_us;
        k->n_deaths += k->is_dead[unit];
        k->quiet_us = k->now_us;
}

static void test_week(void **state)
{
        struct week *k = &week;
        struct fake_port *port;

        (void)state;
        k->random.state = 42;
        assert_int_equal(fake_port_new(&port), 0);
        assert_int_equal(mailbox_new(1000, &k->up), 0);
        assert_int_equal(worker_new(next_conf(k), 0, &port->port, k->up, &k->w), 0);
        k->began_us = k->now_us = k->quiet_us = clock_monotonic_us();
        for (unsigned minute = 0; minute < 7 * 24 * 60; minute++) {
                uint64_t until_us = k->began_us + (minute + 1) * 60 * S;
                bool flood = random_below(&k->random, 200) == 0;

                if (minute % RELOAD_MINUTES == RELOAD_MINUTES - 1)
                        reload(k);
                if (random_below(&k->random, 3) == 0)
                        toggle(k);
                while (k->now_us < until_us)
                        step(k, until_us, flood);
        }
        assert_true(k->n_polls > 1000000);
        assert_true(k->n_heard > 100 && k->n_probes > 100000 && k->n_deaths > 1000 && k->n_reloads > 100);
        assert_true(k->worst_return_us > 0 && k->worst_return_us <= RETURN_MAX_US);
        print_message("polls %llu probes %llu (%.2f %% of the line) deaths %llu reloads %llu, return at most "
                      "%.1f s\n",
                      (unsigned long long)k->n_polls, (unsigned long long)k->n_probes,
                      100.0 * (double)k->probe_us / (double)(k->now_us - k->began_us),
                      (unsigned long long)k->n_deaths, (unsigned long long)k->n_reloads,
                      (double)k->worst_return_us / 1e6);
        k->w = worker_free(k->w);
        k->up = mailbox_free(k->up);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_week) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
