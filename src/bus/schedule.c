/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "mbgate/base/clock.h"

#include "schedule.h"

int schedule_init(struct schedule *s, size_t n_jobs, size_t n_devices, uint64_t now_us)
{
        *s = (struct schedule){ .n_jobs = n_jobs, .n_devices = n_devices, .saved_at_us = now_us };
        s->jobs = calloc(n_jobs + 1, sizeof(*s->jobs));
        s->devices = calloc(n_devices + 1, sizeof(*s->devices));
        if (s->jobs && s->devices)
                return 0;
        schedule_done(s);
        return -ENOMEM;
}

void schedule_done(struct schedule *s)
{
        free(s->jobs);
        free(s->devices);
        *s = (struct schedule){ 0 };
}

void schedule_spread(struct schedule *s, uint64_t now_us)
{
        for (size_t i = 0; i < s->n_jobs; i++) {
                struct schedule_job *j = &s->jobs[i];

                if (!j->is_first)
                        continue;
                j->due_us = j->began_us = now_us;
                if (j->interval_us == 0)
                        continue;
                /* Evenly over the interval, whatever the others' intervals are. */
                j->phase_us = (now_us + j->interval_us * (i + 1) / (s->n_jobs + 1)) % j->interval_us;
        }
}

/* How long a turn may take; ≥ 1. */
static uint64_t job_patience_us(const struct schedule_job *j)
{
        if (j->interval_us == 0)
                return SCHEDULE_FIRST_US;
        return j->is_first ? MBGATE_MIN(j->interval_us, SCHEDULE_FIRST_US) : j->interval_us;
}

static uint64_t job_ready_us(const struct schedule *s, const struct schedule_job *j)
{
        uint64_t ready_us = MBGATE_MAX(j->due_us, j->not_before_us);

        return MBGATE_MAX(ready_us, s->devices[j->device].held_until_us);
}

/* How long ago its last turn was, in intervals. */
static double job_age(const struct schedule_job *j, uint64_t now_us)
{
        return (double)(now_us - j->began_us) / (double)job_patience_us(j);
}

static bool job_goes_before(const struct schedule *s, const struct schedule_job *a,
                            const struct schedule_job *b, uint64_t now_us)
{
        if (now_us < s->overload_until_us) {
                double age_a = job_age(a, now_us), age_b = job_age(b, now_us);

                if (age_a > age_b || age_b > age_a)
                        return age_a > age_b;
        } else {
                uint64_t deadline_a = a->due_us + job_patience_us(a);
                uint64_t deadline_b = b->due_us + job_patience_us(b);

                if (deadline_a != deadline_b)
                        return deadline_a < deadline_b;
        }
        return a->device != s->last_device && b->device == s->last_device;
}

/* The ready job that goes first, or n_jobs; *wake_us: when the next one becomes ready. */
static size_t pick_poll(const struct schedule *s, uint64_t now_us, uint64_t *wake_us)
{
        size_t best = s->n_jobs;

        for (size_t i = 0; i < s->n_jobs; i++) {
                const struct schedule_job *j = &s->jobs[i];
                uint64_t ready_us;

                if (j->is_paused)
                        continue;
                ready_us = job_ready_us(s, j);
                if (ready_us > now_us)
                        *wake_us = MBGATE_MIN(*wake_us, ready_us);
                else if (best == s->n_jobs || job_goes_before(s, j, &s->jobs[best], now_us))
                        best = i;
        }
        return best;
}

/* The device whose probe is longest overdue, or n_devices. */
static size_t pick_probe(const struct schedule *s, uint64_t now_us, uint64_t *wake_us)
{
        size_t best = s->n_devices;
        uint64_t best_us = CLOCK_NEVER_US;

        for (size_t i = 0; i < s->n_devices; i++) {
                const struct schedule_device *d = &s->devices[i];
                uint64_t due_us = MBGATE_MAX(d->probe_due_us, d->held_until_us);

                if (!d->is_probing)
                        continue;
                if (due_us > now_us) {
                        *wake_us = MBGATE_MIN(*wake_us, due_us);
                } else if (due_us < best_us) {
                        best = i;
                        best_us = due_us;
                }
        }
        return best;
}

static void probe_save(struct schedule *s, uint64_t now_us)
{
        if (now_us > s->saved_at_us) {
                uint64_t elapsed_us = now_us - s->saved_at_us;

                s->probe_saved_us += (int64_t)(elapsed_us * SCHEDULE_PROBE_PERMILLE / 1000);
                s->probe_saved_us = MBGATE_MIN(s->probe_saved_us, SCHEDULE_PROBE_SAVED_US);
                /* What the division cut off is kept for the next time. */
                s->saved_at_us =
                        now_us - elapsed_us * SCHEDULE_PROBE_PERMILLE % 1000 / SCHEDULE_PROBE_PERMILLE;
        }
}

/* A probe waits for its budget: when that will be there. */
static uint64_t probe_wake_us(const struct schedule *s, uint64_t now_us)
{
        int64_t missing_us = 1 - SCHEDULE_PROBE_SAVED_US - s->probe_saved_us;

        return now_us + (uint64_t)MBGATE_MAX(missing_us, INT64_C(1)) * 1000 / SCHEDULE_PROBE_PERMILLE + 1;
}

/* Whether the poll that should be next is so late that other masters have to stand back. */
static bool poll_is_pressed(const struct schedule *s, size_t poll, uint64_t now_us)
{
        const struct schedule_job *j = &s->jobs[poll];
        uint64_t half_us = MBGATE_MIN(j->interval_us / 2, SCHEDULE_SHARED_PRESSED_US);

        return now_us > j->due_us && now_us - j->due_us > half_us;
}

/* Whether a request of another master goes before `poll` (n_jobs: none is due). */
static bool shared_goes(struct schedule *s, size_t poll, uint64_t now_us)
{
        struct schedule_shared *c = &s->shared;
        uint64_t elapsed_us = now_us - MBGATE_MIN(now_us, c->saved_at_us);
        unsigned permille = SCHEDULE_SHARED_PERMILLE;

        if (poll < s->n_jobs && poll_is_pressed(s, poll, now_us))
                permille = SCHEDULE_SHARED_PRESSED_PERMILLE;
        c->saved_us += (int64_t)(elapsed_us * permille / 1000);
        c->saved_us = MBGATE_MIN(c->saved_us, SCHEDULE_SHARED_SAVED_US);
        c->saved_at_us = now_us;
        c->is_free = poll == s->n_jobs;
        return c->is_ready && (c->is_free || c->saved_us > 0);
}

/*
 * Commands have to do with what is left of their half. Each pays for others at most as much as it takes
 * itself, and only once it has had its turn, so that a lone one still starts at once.
 */
static void others_charge(struct schedule *s, uint64_t busy_us)
{
        if (s->poll_waits)
                s->others_ahead_us += (int64_t)busy_us;
}

static void command_charge(struct schedule *s, uint64_t busy_us)
{
        int64_t others_us = MBGATE_MIN(s->others_ahead_us, (int64_t)busy_us);

        s->command_ahead_us += (int64_t)busy_us + others_us;
        s->others_ahead_us -= others_us;
}

static void poll_charge(struct schedule *s, uint64_t busy_us)
{
        int64_t left_us = s->command_ahead_us - (int64_t)busy_us;

        s->command_ahead_us = MBGATE_MAX(left_us, 0);
        s->others_ahead_us = MBGATE_MAX(s->others_ahead_us + MBGATE_MIN(left_us, 0), 0);
}

static void shared_charge(struct schedule_shared *c, uint64_t busy_us)
{
        if (!c->is_free)
                c->saved_us = MBGATE_MAX(c->saved_us - (int64_t)busy_us, -SCHEDULE_SHARED_OWED_US);
}

struct schedule_choice schedule_next(struct schedule *s, uint64_t now_us, bool commands_ready)
{
        uint64_t wake_us = CLOCK_NEVER_US;
        size_t poll = pick_poll(s, now_us, &wake_us);
        size_t probe = pick_probe(s, now_us, &wake_us);

        s->poll_waits = poll < s->n_jobs;
        probe_save(s, now_us);
        if (commands_ready && (poll == s->n_jobs || s->command_ahead_us < (int64_t)SCHEDULE_COMMAND_AHEAD_US))
                return (struct schedule_choice){ .kind = SCHEDULE_COMMAND };
        if (probe < s->n_devices && s->probe_saved_us > -SCHEDULE_PROBE_SAVED_US)
                return (struct schedule_choice){ .kind = SCHEDULE_PROBE, .index = probe };
        if (shared_goes(s, poll, now_us))
                return (struct schedule_choice){ .kind = SCHEDULE_SHARED };
        if (poll < s->n_jobs)
                return (struct schedule_choice){ .kind = SCHEDULE_POLL, .index = poll };
        if (probe < s->n_devices)
                wake_us = MBGATE_MIN(wake_us, probe_wake_us(s, now_us));
        s->command_ahead_us = s->others_ahead_us = 0; /* nobody has to wait */
        return (struct schedule_choice){ .kind = SCHEDULE_IDLE, .wake_us = wake_us };
}

void schedule_charge(struct schedule *s, enum schedule_kind kind, uint64_t busy_us)
{
        switch (kind) {
        case SCHEDULE_COMMAND: command_charge(s, busy_us); break;
        case SCHEDULE_POLL: poll_charge(s, busy_us); break;
        case SCHEDULE_PROBE:
                s->probe_saved_us -= (int64_t)busy_us;
                others_charge(s, busy_us);
                break;
        case SCHEDULE_SHARED:
                shared_charge(&s->shared, busy_us);
                others_charge(s, busy_us);
                break;
        case SCHEDULE_IDLE: break;
        }
}

/* The first moment ≥ from_us that has the phase of the job. */
static uint64_t phase_after(const struct schedule_job *j, uint64_t from_us)
{
        uint64_t at = from_us % j->interval_us;

        return from_us + (j->phase_us + j->interval_us - at) % j->interval_us;
}

/* Lateness and missed turns, for who wants to know why values are old. */
static void job_note(struct schedule *s, struct schedule_job *j, uint64_t late_us)
{
        uint64_t n_missed = j->interval_us ? late_us / j->interval_us : 0;

        j->n_served++;
        j->n_missed += n_missed;
        s->n_missed += n_missed;
        if (j->is_first)
                return;
        j->late_us = (j->late_us * (SCHEDULE_SMOOTH - 1) + late_us) / SCHEDULE_SMOOTH;
        j->late_max_us = MBGATE_MAX(j->late_max_us, late_us);
        if (n_missed > 0)
                s->overload_until_us =
                        MBGATE_MAX(s->overload_until_us,
                                   j->began_us + MBGATE_MIN(2 * j->interval_us, SCHEDULE_OVERLOAD_MAX_US));
}

void schedule_served(struct schedule *s, size_t job, uint64_t began_us)
{
        struct schedule_job *j = &s->jobs[job];
        uint64_t late_us = began_us > j->due_us ? began_us - j->due_us : 0;

        s->last_device = j->device;
        j->began_us = began_us;
        job_note(s, j, late_us);
        if (j->interval_us == 0)
                j->due_us = CLOCK_NEVER_US;
        else if (j->is_first)
                j->due_us = phase_after(j, began_us + j->interval_us / 2);
        else
                j->due_us += (late_us / j->interval_us + 1) * j->interval_us;
        j->is_first = false;
        j->not_before_us = 0;
        j->n_attempts = 0;
}

void schedule_retry(struct schedule *s, size_t job, uint64_t not_before_us)
{
        s->jobs[job].n_attempts++;
        s->jobs[job].not_before_us = not_before_us;
        s->last_device = s->jobs[job].device;
}

void schedule_hurry(struct schedule *s, size_t job, uint64_t now_us)
{
        struct schedule_job *j = &s->jobs[job];

        j->due_us = MBGATE_MIN(j->due_us, now_us);
}

void schedule_pause(struct schedule *s, uint32_t device, uint64_t probe_due_us)
{
        for (size_t i = 0; i < s->n_jobs; i++) {
                if (s->jobs[i].device == device)
                        s->jobs[i].is_paused = true;
        }
        s->devices[device].is_probing = true;
        s->devices[device].probe_due_us = probe_due_us;
}

void schedule_resume(struct schedule *s, uint32_t device, uint64_t now_us)
{
        for (size_t i = 0; i < s->n_jobs; i++) {
                struct schedule_job *j = &s->jobs[i];

                if (j->device != device || !j->is_paused)
                        continue;
                j->is_paused = false;
                j->is_first = true;
                j->due_us = j->began_us = now_us;
                j->not_before_us = 0;
                j->n_attempts = 0;
        }
        s->devices[device].is_probing = false;
}
