/* SPDX-License-Identifier: MIT */
/*
 * Commands, oldest first, but a device that is held back does not keep the others' waiting.
 *
 *   write:  [ MODIFY: read what the mask keeps ] ─► WRITE ─► result ─► [ READ: read-back ]
 *   get:    READ ─► result, samples
 */
#include <stdlib.h>
#include <string.h>

#include "mbgate/config/load.h"

#include "worker_private.h"

static const struct conf_point *point_of(const struct worker *w, const struct bus_command *c)
{
        return w->conf->points[c->point];
}

static uint32_t device_of(const struct worker *w, const struct command *c)
{
        return point_of(w, c->mail)->device->id;
}

static void command_remove(struct worker *w, size_t i)
{
        mail_free(&w->commands[i]->mail->mail);
        free(w->commands[i]);
        w->n_commands--;
        memmove(&w->commands[i], &w->commands[i + 1], (w->n_commands - i) * sizeof(w->commands[0]));
}

/* A result for who asked; repetitions were asked for by nobody. */
static void command_answer(struct worker *w, const struct command *c, enum bus_outcome outcome,
                           const struct port_reply *reply)
{
        if (!c->is_repeat)
                worker_post_result(w, c->mail, outcome, reply);
}

static void command_refuse(struct worker *w, struct bus_command *c, enum bus_outcome outcome)
{
        worker_post_result(w, c, outcome, NULL);
        mail_free(&c->mail);
}

static bool mask_is_full(const struct bus_command *c)
{
        for (size_t i = 0; i < c->n_regs; i++) {
                if (c->mask[i] != UINT16_MAX)
                        return false;
        }
        return true;
}

static bool writes_by_mask(const struct conf_point *p, const struct bus_command *c)
{
        return p->write_function == PDU_MASK_WRITE && p->area == CONF_HOLDING && c->n_regs == 1;
}

static enum command_stage first_stage(const struct conf_point *p, const struct bus_command *c)
{
        if (c->op == BUS_OP_READ)
                return COMMAND_READ;
        if (p->area == CONF_HOLDING && !mask_is_full(c) && !writes_by_mask(p, c))
                return COMMAND_MODIFY;
        return COMMAND_WRITE;
}

/* Whether it belongs to this bus as it is configured now. */
static bool command_fits(const struct worker *w, const struct bus_command *c)
{
        return c->generation == w->conf->generation && c->point < w->conf->n_points &&
               point_of(w, c)->device->bus == w->bus;
}

/* Whether one request can carry it. */
static bool command_is_possible(const struct worker *w, const struct bus_command *c)
{
        return c->op == BUS_OP_READ ||
               (c->n_regs >= 1 && c->n_regs <= PDU_WRITE_REGS_MAX && point_of(w, c)->write_function != 0);
}

static struct worker_output *output_of(const struct worker *w, const struct command *c)
{
        return worker_output(&w->devices[device_of(w, c)], c->mail->point);
}

static bool waits_to_write(const struct command *c)
{
        return c->mail->op == BUS_OP_WRITE && !c->has_begun;
}

bool worker_command_waits(const struct worker *w, uint32_t point)
{
        for (size_t i = 0; i < w->n_commands; i++) {
                if (w->commands[i]->mail->point == point && w->commands[i]->mail->op == BUS_OP_WRITE)
                        return true;
        }
        return false;
}

/* The command takes the place of the one that waits for its point, if only the newest counts. true: done. */
static bool command_replace(struct worker *w, struct bus_command *mail)
{
        for (size_t i = 0; i < w->n_commands; i++) {
                struct command *c = w->commands[i];

                if (c->mail->point != mail->point || !waits_to_write(c) ||
                    (!c->is_repeat && point_of(w, mail)->writes != CONF_WRITES_NEWEST))
                        continue;
                command_answer(w, c, BUS_RESULT_REPLACED, NULL);
                mail_free(&c->mail->mail);
                c->mail = mail;
                c->stage = first_stage(point_of(w, mail), mail);
                c->is_repeat = false;
                c->n_attempts = 0;
                return true;
        }
        return false;
}

/* Whether another may wait for its point: what waits for one must not keep out the others. */
static bool has_room(const struct worker *w, uint32_t point)
{
        const struct conf_device *device = w->conf->points[point]->device;
        size_t n_point = 0, n_device = 0;

        for (size_t i = 0; i < w->n_commands; i++) {
                n_point += w->commands[i]->mail->point == point;
                n_device += device_of(w, w->commands[i]) == device->id;
        }
        return n_point < BUS_POINT_COMMANDS_MAX && n_device < BUS_DEVICE_COMMANDS_MAX &&
               w->n_commands < BUS_COMMANDS_MAX;
}

static struct command *command_append(struct worker *w, struct bus_command *mail)
{
        struct command *command = calloc(1, sizeof(*command));

        if (!command)
                return NULL;
        command->mail = mail;
        command->stage = first_stage(point_of(w, mail), mail);
        w->commands[w->n_commands++] = command;
        return command;
}

/* Where one write comes others will: shorter readings until that is over. */
static void expect_writes(struct worker *w)
{
        if (w->bus->write_expected_block_ms == 0)
                return;
        w->writes_until_us = clock_monotonic_us() + WORKER_WRITES_US;
        if (w->cost.longest_us == 0)
                w->replan = true;
}

void worker_command_add(struct worker *w, struct bus_command *c)
{
        if (c->op == BUS_OP_WRITE)
                expect_writes(w);
        if (!command_fits(w, c))
                command_refuse(w, c, BUS_RESULT_STOPPED);
        else if (!command_is_possible(w, c))
                command_refuse(w, c, BUS_RESULT_IMPOSSIBLE);
        else if (w->listen)
                command_refuse(w, c, BUS_RESULT_LISTENS);
        else if (!w->is_open)
                command_refuse(w, c, BUS_RESULT_PORT);
        else if (w->devices[point_of(w, c)->device->id].health.status == DEVICE_OFFLINE)
                command_refuse(w, c, BUS_RESULT_OFFLINE);
        else if (c->op == BUS_OP_WRITE && command_replace(w, c))
                return;
        else if (!has_room(w, c->point))
                command_refuse(w, c, BUS_RESULT_CROWDED);
        else if (!command_append(w, c))
                command_refuse(w, c, BUS_RESULT_EXPIRED);
}

void worker_command_repeat(struct worker *w, struct bus_command *c)
{
        struct command *command = NULL;

        if (has_room(w, c->point))
                command = command_append(w, c);
        if (command)
                command->is_repeat = true;
        else
                mail_free(&c->mail);
}

/* Until when the point itself wants no other write. */
static uint64_t pause_us(const struct worker *w, const struct command *c)
{
        const struct worker_output *o = waits_to_write(c) ? output_of(w, c) : NULL;

        return o ? worker_output_pause_us(w, o) : 0;
}

static uint64_t ready_us(const struct worker *w, const struct command *c)
{
        uint64_t us = MBGATE_MAX(c->not_before_us, w->schedule.devices[device_of(w, c)].held_until_us);

        return MBGATE_MAX(us, pause_us(w, c));
}

/* A read-back that is still to come is no longer worth it; everything else gets its result. */
static void command_end(struct worker *w, size_t i, enum bus_outcome outcome)
{
        const struct command *c = w->commands[i];

        if (c->stage != COMMAND_READ || c->mail->op == BUS_OP_READ)
                command_answer(w, c, outcome, NULL);
        command_remove(w, i);
}

static void command_drop_stale(struct worker *w, uint64_t now_us)
{
        for (size_t i = w->n_commands; i-- > 0;) {
                const struct command *c = w->commands[i];

                if (w->devices[device_of(w, c)].health.status == DEVICE_OFFLINE)
                        command_end(w, i, BUS_RESULT_OFFLINE);
                else if (!c->has_begun && c->mail->deadline_us != 0 && now_us > c->mail->deadline_us)
                        command_end(w, i, BUS_RESULT_EXPIRED);
        }
}

/* A device's commands keep their order, but one whose point wants a pause only keeps its point's waiting. */
static bool command_is_first(const struct worker *w, size_t i, uint64_t now_us)
{
        for (size_t k = 0; k < i; k++) {
                if (device_of(w, w->commands[k]) == device_of(w, w->commands[i]) &&
                    (w->commands[k]->mail->point == w->commands[i]->mail->point ||
                     pause_us(w, w->commands[k]) <= now_us))
                        return false;
        }
        return true;
}

/* The first command that may run now, or n_commands. */
static size_t command_pick(const struct worker *w, uint64_t now_us, uint64_t *wake_us)
{
        for (size_t i = 0; i < w->n_commands; i++) {
                uint64_t at_us = ready_us(w, w->commands[i]);

                if (!command_is_first(w, i, now_us))
                        continue;
                if (at_us <= now_us)
                        return i;
                *wake_us = MBGATE_MIN(*wake_us, at_us);
        }
        return w->n_commands;
}

bool worker_command_ready(struct worker *w, uint64_t now_us, uint64_t *ret_wake_us)
{
        command_drop_stale(w, now_us);
        for (size_t i = 0; i < w->n_commands; i++) {
                const struct command *c = w->commands[i];

                if (!c->has_begun && c->mail->deadline_us != 0)
                        *ret_wake_us = MBGATE_MIN(*ret_wake_us, c->mail->deadline_us + 1);
        }
        return command_pick(w, now_us, ret_wake_us) < w->n_commands;
}

static void write_request(const struct conf_point *p, const struct bus_command *c, struct pdu *ret)
{
        enum pdu_function function = p->write_function;

        if (writes_by_mask(p, c)) {
                pdu_mask_write_request(ret, p->address, (uint16_t)~c->mask[0], c->regs[0] & c->mask[0]);
                return;
        }
        if (function == PDU_MASK_WRITE || c->n_regs > 1)
                function = p->area == CONF_COIL ? PDU_WRITE_COILS : PDU_WRITE_REGISTERS;
        pdu_write_request(ret, function, p->address, c->regs, c->n_regs);
}

/* What one reading of a point asks for. */
static struct plan_range read_range(const struct conf_point *p)
{
        return plan_range(p->device, p->area, p->address, p->address + value_n_regs(&p->format));
}

static void stage_request(const struct worker *w, const struct command *c, struct pdu *ret)
{
        const struct conf_point *p = point_of(w, c->mail);
        struct plan_range range = read_range(p);

        if (c->stage == COMMAND_WRITE)
                write_request(p, c->mail, ret);
        else
                pdu_read_request(ret, plan_function(p->area), range.address, range.count);
}

/* "Busy" is asked again after a pause; "acknowledge" of a write means accepted. true: put off. */
static bool put_off(struct command *c, int result, const struct port_reply *reply)
{
        bool waits = reply->exception == PDU_EXC_BUSY ||
                     (reply->exception == PDU_EXC_ACKNOWLEDGE && c->stage != COMMAND_WRITE);

        if (result != PORT_EXCEPTION || !waits || c->n_attempts >= WORKER_BUSY_TRIES)
                return false;
        c->not_before_us = reply->done_us + (WORKER_BUSY_PAUSE_US << c->n_attempts++);
        return true;
}

/* What was not written may be tried again, and what only reads. true: it stays, behind the hold. */
static bool try_again(struct worker *w, struct command *c, int result, const struct port_reply *reply)
{
        const struct conf_device *device = point_of(w, c->mail)->device;

        if (result != PORT_TIMEOUT && result != PORT_BROKEN)
                return false;
        if ((c->stage == COMMAND_WRITE && reply->began_us != 0) || c->n_attempts >= device->retries)
                return false;
        c->n_attempts++;
        w->stats.n_retries++;
        return true;
}

static enum bus_outcome outcome_of(const struct command *c, int result, const struct port_reply *reply)
{
        if (result == PORT_OK)
                return BUS_RESULT_OK;
        if (result == PORT_EXCEPTION)
                return c->stage == COMMAND_WRITE && reply->exception == PDU_EXC_ACKNOWLEDGE
                               ? BUS_RESULT_OK
                               : BUS_RESULT_EXCEPTION;
        if (result == PORT_CANCELLED && reply->began_us == 0)
                return BUS_RESULT_STOPPED;
        /* Before the write, silence means that nothing was written. */
        return c->stage == COMMAND_MODIFY || reply->began_us == 0 ? BUS_RESULT_OFFLINE : BUS_RESULT_TIMEOUT;
}

static void modified(struct worker *w, size_t i, const struct pdu *request, const struct port_reply *reply)
{
        struct command *c = w->commands[i];
        const struct conf_point *p = point_of(w, c->mail);
        struct plan_range range = read_range(p);
        uint16_t regs[VALUE_REGS_MAX + 2];
        const uint16_t *old = regs + (p->address - range.address);

        if (pdu_read_reply(request, &reply->pdu, regs, range.count) < 0) {
                command_end(w, i, BUS_RESULT_EXCEPTION);
                return;
        }
        for (size_t k = 0; k < c->mail->n_regs; k++)
                c->mail->regs[k] =
                        (uint16_t)((old[k] & ~c->mail->mask[k]) | (c->mail->regs[k] & c->mail->mask[k]));
        c->stage = COMMAND_WRITE;
        c->n_attempts = 0;
}

/* A write is over; its point is read back, also after silence: only the device knows what it holds. */
static void written(struct worker *w, size_t i, enum bus_outcome outcome, const struct port_reply *reply)
{
        struct command *c = w->commands[i];
        bool reads_back = c->mail->read_back && (outcome == BUS_RESULT_OK || outcome == BUS_RESULT_TIMEOUT);
        struct worker_output *o = output_of(w, c);

        worker_raw_forget(w, w->devices[device_of(w, c)].conf->unit_id);
        if (o)
                worker_output_written(o, c->mail, outcome == BUS_RESULT_OK);
        command_answer(w, c, outcome, reply);
        if (!reads_back) {
                command_remove(w, i);
                return;
        }
        c->stage = COMMAND_READ;
        c->n_attempts = 0;
        c->not_before_us = 0;
}

static void was_read(struct worker *w, size_t i, const struct pdu *request, enum bus_outcome outcome,
                     const struct port_reply *reply)
{
        const struct command *c = w->commands[i];
        const struct conf_point *p = point_of(w, c->mail);
        struct plan_range range = read_range(p);
        uint16_t regs[VALUE_REGS_MAX + 2];
        bool is_good =
                outcome == BUS_RESULT_OK && pdu_read_reply(request, &reply->pdu, regs, range.count) == 0;

        if (is_good)
                worker_outputs_read(w, &w->devices[device_of(w, c)], &p, 1, range.address, regs);
        if (c->mail->op == BUS_OP_READ)
                worker_post_result(w, c->mail, outcome, reply);
        if (is_good || outcome == BUS_RESULT_EXCEPTION)
                worker_post_samples(w, &p, 1, range.address, is_good ? regs : NULL, reply, true);
        command_remove(w, i);
}

static void command_done(struct worker *w, size_t i, const struct pdu *request, int result,
                         const struct port_reply *reply)
{
        struct command *c = w->commands[i];
        enum bus_outcome outcome = outcome_of(c, result, reply);

        if (put_off(c, result, reply) || try_again(w, c, result, reply))
                return;
        if (c->stage == COMMAND_MODIFY && outcome == BUS_RESULT_OK)
                modified(w, i, request, reply);
        else if (c->stage == COMMAND_READ)
                was_read(w, i, request, outcome, reply);
        else
                written(w, i, outcome, reply);
}

/*
 * The port went during the only transaction that is left: all other commands have ended. What was on the wire
 * may have been written.
 */
static void command_lost(struct worker *w, struct port_reply *reply)
{
        struct command *c = w->commands[0];

        c->is_running = false;
        reply->done_us = clock_monotonic_us();
        if (c->stage != COMMAND_WRITE || reply->began_us == 0) {
                command_end(w, 0, BUS_RESULT_PORT);
                return;
        }
        c->mail->read_back = false;
        written(w, 0, BUS_RESULT_TIMEOUT, reply);
}

/* Nothing to do: the device holds it already. */
static bool command_skip(struct worker *w, size_t i)
{
        const struct command *c = w->commands[i];
        const struct worker_output *o = output_of(w, c);

        if (!o || !waits_to_write(c) || c->is_repeat || point_of(w, c->mail)->write_unchanged ||
            !worker_output_holds(o, c->mail))
                return false;
        command_end(w, i, BUS_RESULT_OK);
        return true;
}

/* What its next transaction writes to, or NULL. */
static struct worker_output *command_output(const struct worker *w, const struct command *c)
{
        return c->stage == COMMAND_WRITE ? output_of(w, c) : NULL;
}

uint64_t worker_command_gap_us(const struct worker *w, uint64_t now_us)
{
        uint64_t wake_us = CLOCK_NEVER_US;
        size_t i = command_pick(w, now_us, &wake_us);

        return i < w->n_commands ? worker_gap_us(&w->devices[device_of(w, w->commands[i])]) : 0;
}

void worker_command_run(struct worker *w)
{
        uint64_t wake_us = CLOCK_NEVER_US;
        size_t i = command_pick(w, clock_monotonic_us(), &wake_us);
        struct port_reply reply = { 0 };
        struct worker_output *o;
        struct pdu request;
        uint32_t device;
        int r;

        if (i == w->n_commands)
                return;
        if (command_skip(w, i))
                return;
        device = device_of(w, w->commands[i]);
        o = command_output(w, w->commands[i]);
        w->commands[i]->has_begun = true;
        w->commands[i]->is_running = true;
        stage_request(w, w->commands[i], &request);
        r = worker_exchange(w, device, &request, w->devices[device].conf->response_timeout_ms * USEC_PER_MSEC,
                            SCHEDULE_COMMAND, &reply);
        if (o)
                o->written_us = clock_monotonic_us();
        if (r < 0 || !w->is_open) {
                command_lost(w, &reply);
                return;
        }
        w->commands[i]->is_running = false;
        command_done(w, i, &request, r, &reply);
}

void worker_command_fail_all(struct worker *w, enum bus_outcome outcome)
{
        size_t i = 0;

        while (i < w->n_commands) {
                if (w->commands[i]->is_running)
                        i++;
                else
                        command_end(w, i, outcome);
        }
}

static bool limits_are_equal(const struct value_format *a, const struct value_format *b)
{
        return a->has_min == b->has_min && a->has_max == b->has_max &&
               !(a->has_min && (a->min < b->min || a->min > b->min)) &&
               !(a->has_max && (a->max < b->max || a->max > b->max));
}

/* What is still to be written must be allowed now, too. */
static bool may_go_on(const struct command *c, const struct conf_point *p, const struct conf_point *old)
{
        return c->stage == COMMAND_READ ||
               (p->write_function != 0 && limits_are_equal(&p->format, &old->format));
}

void worker_command_follow(struct worker *w, const struct conf *old)
{
        for (size_t i = w->n_commands; i-- > 0;) {
                struct command *c = w->commands[i];
                const struct conf_point *was = old->points[c->mail->point], *p = conf_find_again(w->bus, was);

                if (!p || !may_go_on(c, p, was)) {
                        command_end(w, i, BUS_RESULT_STOPPED);
                        continue;
                }
                c->mail->point = p->id;
                c->mail->generation = w->conf->generation;
                if (!c->has_begun)
                        c->stage = first_stage(p, c->mail);
        }
}
