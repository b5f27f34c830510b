/* SPDX-License-Identifier: MIT */
/* What is known of points that take commands: for writes that may be skipped, must wait, or come again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker_private.h"

static bool point_needs_output(const struct conf_point *p)
{
        return p->write_function != 0 && (p->write_pause_ms || !p->write_unchanged || p->write_repeat_s);
}

static int output_init(struct worker_output *o, const struct conf_point *p)
{
        *o = (struct worker_output){ .point = p->id, .n_regs = (uint16_t)value_n_regs(&p->format) };
        o->regs = calloc((size_t)3 * o->n_regs, sizeof(*o->regs));
        if (!o->regs)
                return -ENOMEM;
        o->asked = o->regs + o->n_regs;
        o->mask = o->asked + o->n_regs;
        return 0;
}

/* The same point before: ids stay as long as a device's points do. */
static void output_carry(struct worker_output *o, const struct conf_point *p, const struct worker_device *old)
{
        for (size_t i = 0; i < old->n_outputs; i++) {
                const struct worker_output *from = &old->outputs[i];
                const struct conf_point *was = &old->conf->points[from->point - old->conf->points[0].id];

                if (strcmp(was->name, p->name) != 0 || was->area != p->area || was->address != p->address ||
                    from->n_regs != o->n_regs)
                        continue;
                memcpy(o->regs, from->regs, (size_t)3 * o->n_regs * sizeof(*o->regs));
                o->is_known = from->is_known;
                o->has_written = from->has_written;
                o->written_us = from->written_us;
                o->touched_us = from->touched_us;
                return;
        }
}

int worker_outputs_make(struct worker_device *d, const struct worker_device *old)
{
        size_t n = 0;

        d->outputs = NULL;
        d->n_outputs = 0;
        for (size_t i = 0; i < d->conf->n_points; i++)
                n += point_needs_output(&d->conf->points[i]);
        if (n == 0)
                return 0;
        d->outputs = calloc(n, sizeof(*d->outputs));
        if (!d->outputs)
                return -ENOMEM;
        for (size_t i = 0; i < d->conf->n_points; i++) {
                const struct conf_point *p = &d->conf->points[i];

                if (!point_needs_output(p))
                        continue;
                if (output_init(&d->outputs[d->n_outputs], p) < 0)
                        return -ENOMEM;
                if (old)
                        output_carry(&d->outputs[d->n_outputs], p, old);
                d->n_outputs++;
        }
        return 0;
}

void worker_outputs_done(struct worker_device *d)
{
        for (size_t i = 0; i < d->n_outputs; i++)
                free(d->outputs[i].regs);
        free(d->outputs);
        d->outputs = NULL;
        d->n_outputs = 0;
}

struct worker_output *worker_output(const struct worker_device *d, uint32_t point)
{
        for (size_t i = 0; i < d->n_outputs; i++) {
                if (d->outputs[i].point == point)
                        return &d->outputs[i];
        }
        return NULL;
}

void worker_outputs_read(struct worker *w, struct worker_device *d, const struct conf_point *const *points,
                         size_t n_points, uint16_t address, const uint16_t *regs)
{
        for (size_t i = 0; i < d->n_outputs; i++) {
                struct worker_output *o = &d->outputs[i];
                const struct conf_point *p = w->conf->points[o->point];

                for (size_t k = 0; k < n_points; k++) {
                        if (points[k] != p)
                                continue;
                        memcpy(o->regs, regs + (p->address - address), o->n_regs * sizeof(*regs));
                        o->is_known = true;
                }
        }
}

void worker_outputs_forget(struct worker_device *d)
{
        for (size_t i = 0; i < d->n_outputs; i++)
                d->outputs[i].is_known = false;
}

uint64_t worker_output_pause_us(const struct worker *w, const struct worker_output *o)
{
        uint64_t last_us = MBGATE_MAX(o->written_us, o->touched_us);

        return last_us == 0 ? 0 : last_us + w->conf->points[o->point]->write_pause_ms * USEC_PER_MSEC;
}

static bool is_in(const struct worker *w, const struct worker_output *o, const struct pdu_span *span)
{
        const struct conf_point *p = w->conf->points[o->point];

        return plan_function(p->area) == span->area && p->address < span->address + span->count &&
               span->address < p->address + o->n_regs;
}

void worker_outputs_touch(struct worker *w, struct worker_device *d, const struct pdu_span *span,
                          uint64_t now_us)
{
        for (size_t i = 0; i < d->n_outputs; i++) {
                if (is_in(w, &d->outputs[i], span))
                        d->outputs[i].touched_us = now_us;
        }
}

bool worker_outputs_pause(const struct worker *w, const struct worker_device *d, const struct pdu_span *span,
                          uint64_t now_us)
{
        for (size_t i = 0; i < d->n_outputs; i++) {
                if (is_in(w, &d->outputs[i], span) && worker_output_pause_us(w, &d->outputs[i]) > now_us)
                        return true;
        }
        return false;
}

void worker_output_written(struct worker_output *o, const struct bus_command *c, bool is_ok)
{
        bool is_whole = true;

        /* What the device holds now, it says at the next reading. */
        o->is_known = false;
        if (!is_ok || c->n_regs != o->n_regs)
                return;
        for (size_t i = 0; i < o->n_regs; i++) {
                o->asked[i] = c->regs[i];
                o->mask[i] = c->mask[i];
                is_whole = is_whole && c->mask[i] == UINT16_MAX;
        }
        o->has_written = true;
        if (is_whole) {
                memcpy(o->regs, o->asked, o->n_regs * sizeof(*o->regs));
                o->is_known = true;
        }
}

bool worker_output_holds(const struct worker_output *o, const struct bus_command *c)
{
        if (!o->is_known || c->n_regs != o->n_regs)
                return false;
        for (size_t i = 0; i < o->n_regs; i++) {
                if ((o->regs[i] ^ c->regs[i]) & c->mask[i])
                        return false;
        }
        return true;
}

static void repeat(struct worker *w, const struct worker_output *o)
{
        struct bus_command *c;

        if (bus_command_new(&c) < 0)
                return; /* next time */
        c->generation = w->conf->generation;
        c->op = BUS_OP_WRITE;
        c->point = o->point;
        c->n_regs = o->n_regs;
        memcpy(c->regs, o->asked, o->n_regs * sizeof(*c->regs));
        memcpy(c->mask, o->mask, o->n_regs * sizeof(*c->mask));
        worker_command_repeat(w, c);
}

uint64_t worker_outputs_repeat(struct worker *w, uint64_t now_us)
{
        uint64_t wake_us = CLOCK_NEVER_US;

        for (size_t d = 0; d < w->n_devices; d++) {
                for (size_t i = 0; i < w->devices[d].n_outputs; i++) {
                        struct worker_output *o = &w->devices[d].outputs[i];
                        uint64_t every_us = w->conf->points[o->point]->write_repeat_s * USEC_PER_SEC;

                        if (every_us == 0 || !o->has_written || w->devices[d].health.status != DEVICE_ONLINE)
                                continue;
                        if (o->written_us + every_us <= now_us && !worker_command_waits(w, o->point))
                                repeat(w, o);
                        else
                                wake_us =
                                        MBGATE_MIN(wake_us, MBGATE_MAX(o->written_us + every_us, now_us + 1));
                }
        }
        return wake_us;
}
