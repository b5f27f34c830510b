/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "mbgate/model/bus_mail.h"

/* A reference that a message carries, and how to drop it. */
struct reconf {
        struct bus_reconf public;
        struct conf *(*unref)(struct conf *);
};

/* Every message begins with its mail and is one allocation. */
static void bus_mail_free(struct mail *mail)
{
        free(mail);
}

static void reconf_free(struct mail *mail)
{
        struct reconf *r = CONTAINER_OF(mail, struct reconf, public.mail);

        if (r->public.conf)
                r->public.conf = r->unref(r->public.conf);
        free(r);
}

/* Zeroed, or NULL. */
static void *bus_mail_new(size_t n_bytes, enum bus_mail_kind kind, uint32_t key)
{
        struct mail *mail = calloc(1, n_bytes);

        if (!mail)
                return NULL;
        mail->kind = kind;
        mail->key = key;
        mail->free = bus_mail_free;
        return mail;
}

int bus_command_new(struct bus_command **ret)
{
        struct bus_command *command = bus_mail_new(sizeof(*command), BUS_MAIL_COMMAND, 0);

        if (!command)
                return -ENOMEM;
        *ret = command;
        return 0;
}

bool bus_command_is_newer(const struct mail *old, const struct mail *new)
{
        const struct bus_command *a, *b;

        if (old->kind != BUS_MAIL_COMMAND || new->kind != BUS_MAIL_COMMAND)
                return false;
        a = CONTAINER_OF((uintptr_t)old, struct bus_command, mail);
        b = CONTAINER_OF((uintptr_t) new, struct bus_command, mail);
        return a->op == BUS_OP_WRITE && b->op == BUS_OP_WRITE && a->generation == b->generation &&
               a->point == b->point;
}

int bus_result_new(const struct bus_command *command, enum bus_outcome outcome, struct bus_result **ret)
{
        struct bus_result *result = bus_mail_new(sizeof(*result), BUS_MAIL_RESULT, 0);

        if (!result)
                return -ENOMEM;
        result->id = command->id;
        result->outcome = outcome;
        *ret = result;
        return 0;
}

int bus_raw_new(struct bus_raw **ret)
{
        struct bus_raw *raw = bus_mail_new(sizeof(*raw), BUS_MAIL_RAW, 0);

        if (!raw)
                return -ENOMEM;
        *ret = raw;
        return 0;
}

int bus_raw_result_new(const struct bus_raw *raw, enum bus_outcome outcome, struct bus_raw_result **ret)
{
        struct bus_raw_result *result = bus_mail_new(sizeof(*result), BUS_MAIL_RAW_RESULT, 0);

        if (!result)
                return -ENOMEM;
        result->id = raw->id;
        result->raw_class = raw->raw_class;
        result->outcome = outcome;
        result->unit = raw->unit;
        result->request = raw->pdu;
        *ret = result;
        return 0;
}

int bus_regs_new(uint32_t key, size_t n_regs, struct bus_regs **ret)
{
        struct bus_regs *regs =
                bus_mail_new(sizeof(*regs) + n_regs * sizeof(regs->regs[0]), BUS_MAIL_REGS, key);

        if (!regs)
                return -ENOMEM;
        regs->n_regs = n_regs;
        *ret = regs;
        return 0;
}

int bus_samples_new(uint32_t block, size_t n_samples, size_t text_bytes, struct bus_samples **ret,
                    char **ret_text)
{
        size_t head = sizeof(struct bus_samples) + n_samples * sizeof(struct sample);
        struct bus_samples *samples = bus_mail_new(head + text_bytes, BUS_MAIL_SAMPLES, block + 1);

        if (!samples)
                return -ENOMEM;
        samples->n_samples = n_samples;
        *ret = samples;
        *ret_text = (char *)samples + head;
        return 0;
}

int bus_device_state_new(uint32_t device, struct bus_device_state **ret)
{
        struct bus_device_state *state =
                bus_mail_new(sizeof(*state), BUS_MAIL_DEVICE, BUS_KEY_DEVICE + device);

        if (!state)
                return -ENOMEM;
        state->device = device;
        *ret = state;
        return 0;
}

int bus_report_new(uint32_t device, size_t n_blocks, struct bus_report **ret)
{
        struct bus_report *report = bus_mail_new(sizeof(*report) + n_blocks * sizeof(report->blocks[0]),
                                                 BUS_MAIL_REPORT, BUS_KEY_REPORT + device);

        if (!report)
                return -ENOMEM;
        report->device = device;
        report->n_blocks = n_blocks;
        *ret = report;
        return 0;
}

int bus_learned_new(uint32_t device, size_t n_holes, struct bus_learned **ret)
{
        struct bus_learned *learned = bus_mail_new(sizeof(*learned) + n_holes * sizeof(learned->holes[0]),
                                                   BUS_MAIL_LEARNED, BUS_KEY_LEARNED + device);

        if (!learned)
                return -ENOMEM;
        learned->device = device;
        learned->n_holes = n_holes;
        *ret = learned;
        return 0;
}

int bus_port_state_new(struct bus_port_state **ret)
{
        struct bus_port_state *state = bus_mail_new(sizeof(*state), BUS_MAIL_PORT, BUS_KEY_PORT);

        if (!state)
                return -ENOMEM;
        *ret = state;
        return 0;
}

int bus_stats_mail_new(struct bus_stats_mail **ret)
{
        struct bus_stats_mail *stats = bus_mail_new(sizeof(*stats), BUS_MAIL_STATS, BUS_KEY_STATS);

        if (!stats)
                return -ENOMEM;
        *ret = stats;
        return 0;
}

int bus_reconf_new(struct conf *conf, struct conf *(*unref)(struct conf *), uint32_t bus,
                   struct bus_reconf **ret)
{
        struct bus_reconf *m = bus_mail_new(sizeof(struct reconf), BUS_MAIL_RECONF, 0);

        if (!m)
                return -ENOMEM;
        m->mail.free = reconf_free;
        m->conf = conf;
        m->bus = bus;
        CONTAINER_OF(m, struct reconf, public)->unref = unref;
        *ret = m;
        return 0;
}

const char *bus_outcome_text(enum bus_outcome outcome)
{
        switch (outcome) {
        case BUS_RESULT_OK: return "ok";
        case BUS_RESULT_EXCEPTION: return "the device answered with an exception";
        case BUS_RESULT_TIMEOUT: return "no reply: whether it was written is not known";
        case BUS_RESULT_PORT: return "the port is not there";
        case BUS_RESULT_LISTENS: return "the bus only listens: another master asks there";
        case BUS_RESULT_OFFLINE: return "the device does not answer";
        case BUS_RESULT_EXPIRED: return "the bus was too busy: not sent in time";
        case BUS_RESULT_STOPPED: return "the bus is being stopped or reconfigured";
        case BUS_RESULT_REPLACED: return "a newer command for this point came first: not sent";
        case BUS_RESULT_IMPOSSIBLE: return "no request can write that: not sent";
        case BUS_RESULT_CROWDED:
                return "too many commands wait for this point or its device: try again later";
        }
        return "?";
}

const char *quality_name(enum quality q)
{
        switch (q) {
        case QUALITY_GOOD: return "good";
        case QUALITY_BAD: return "bad";
        case QUALITY_STALE: return "stale";
        }
        return "?";
}

const char *device_status_name(enum device_status status)
{
        switch (status) {
        case DEVICE_UNKNOWN: return "unknown";
        case DEVICE_ONLINE: return "online";
        case DEVICE_OFFLINE: return "offline";
        }
        return "?";
}
