/* SPDX-License-Identifier: MIT */
#include "connector.h"

#include "mbgate/base/clock.h"
#include "mbgate/base/macros.h"

void connector_init(struct connector *c, uint64_t timeout_us, uint64_t min_us, uint64_t max_us, uint64_t seed)
{
        *c = (struct connector){ .state = CONNECTOR_WAITING, .timeout_us = timeout_us };
        backoff_init(&c->backoff, min_us, max_us, seed);
}

bool connector_is_due(const struct connector *c, uint64_t now_us)
{
        return c->state == CONNECTOR_WAITING && now_us >= c->next_us;
}

void connector_resolving(struct connector *c)
{
        c->state = CONNECTOR_RESOLVING;
}

/* Gives the current target its time. */
static void connector_begin(struct connector *c, uint64_t now_us)
{
        bool is_last = c->target + 1 == c->n_targets;

        c->state = CONNECTOR_CONNECTING;
        c->accepted_us = 0;
        c->deadline_us = now_us + c->timeout_us;
        c->tcp_deadline_us =
                is_last ? c->deadline_us : now_us + MBGATE_MIN(c->timeout_us, CONNECTOR_TCP_SHARE_US);
}

void connector_resolved(struct connector *c, size_t n_targets, uint64_t now_us)
{
        c->n_targets = n_targets;
        c->target = 0;
        connector_begin(c, now_us);
}

void connector_tcp_up(struct connector *c)
{
        c->tcp_deadline_us = c->deadline_us;
}

bool connector_is_overdue(const struct connector *c, uint64_t now_us)
{
        return c->state == CONNECTOR_CONNECTING && now_us >= MBGATE_MIN(c->tcp_deadline_us, c->deadline_us);
}

void connector_accepted(struct connector *c, uint64_t now_us)
{
        c->accepted_us = now_us;
        c->deadline_us = now_us + c->timeout_us;
        c->tcp_deadline_us = c->deadline_us;
}

void connector_online(struct connector *c, uint64_t now_us, struct connector_recovery *ret)
{
        ret->n_failures = c->n_failures;
        ret->duration_us = c->n_failures > 0 ? now_us - c->first_failure_us : 0;
        c->state = CONNECTOR_ONLINE;
        c->n_failures = 0;
        c->last_failure = 0;
}

bool connector_is_flapping(const struct connector *c)
{
        return c->n_quick_losses > CONNECTOR_QUICK_LOSSES;
}

/* Counts connections that ended right after CONNACK; true when there have been too many in a row. */
static bool connector_flaps(struct connector *c, enum connector_failure failure, uint64_t now_us)
{
        if (failure != CONNECTOR_F_LOST || c->accepted_us == 0)
                return false;
        if (now_us - c->accepted_us > CONNECTOR_QUICK_LOSS_US) {
                c->n_quick_losses = 0;
                return false;
        }
        c->n_quick_losses++;
        return connector_is_flapping(c);
}

bool connector_has_settled(struct connector *c, uint64_t now_us)
{
        if (c->state != CONNECTOR_ONLINE || !connector_is_flapping(c) ||
            now_us - c->accepted_us <= CONNECTOR_QUICK_LOSS_US)
                return false;
        c->n_quick_losses = 0;
        return true;
}

static uint64_t connector_pause_us(struct connector *c, enum connector_failure failure, bool is_flapping)
{
        uint64_t pause_us;

        if (is_flapping)
                return backoff_longest_us(&c->backoff);
        pause_us = backoff_next_us(&c->backoff);
        if (failure == CONNECTOR_F_AUTH)
                pause_us = MBGATE_MAX(pause_us, MBGATE_MIN(CONNECTOR_AUTH_PAUSE_US, c->backoff.max_us));
        return pause_us;
}

void connector_failed(struct connector *c, enum connector_failure failure, int code, uint64_t now_us,
                      struct connector_verdict *ret)
{
        bool is_flapping = connector_flaps(c, failure, now_us);
        bool was_up = c->state == CONNECTOR_ONLINE;

        *ret = (struct connector_verdict){ .is_flapping = is_flapping &&
                                                          c->n_quick_losses == CONNECTOR_QUICK_LOSSES + 1 };
        if (c->state == CONNECTOR_CONNECTING && c->target + 1 < c->n_targets &&
            (failure == CONNECTOR_F_TCP || failure == CONNECTOR_F_TIMEOUT)) {
                c->target++;
                connector_begin(c, now_us);
                ret->try_next = true;
                return;
        }
        if (was_up && now_us - c->accepted_us >= CONNECTOR_SETTLED_US)
                backoff_reset(&c->backoff);
        if (c->n_failures++ == 0)
                c->first_failure_us = now_us;
        /* A row of quick losses is told once, not at each of its short visits. */
        ret->is_news = (failure != c->last_failure || code != c->last_code) && c->n_quick_losses <= 1;
        c->last_failure = failure;
        c->last_code = code;
        ret->delay_us = connector_pause_us(c, failure, is_flapping);
        c->state = CONNECTOR_WAITING;
        c->accepted_us = 0;
        c->next_us = now_us + ret->delay_us;
}

uint64_t connector_wake_us(const struct connector *c)
{
        switch (c->state) {
        case CONNECTOR_WAITING: return c->next_us;
        case CONNECTOR_CONNECTING: return MBGATE_MIN(c->tcp_deadline_us, c->deadline_us);
        case CONNECTOR_RESOLVING:
        case CONNECTOR_ONLINE: break;
        }
        return CLOCK_NEVER_US;
}
