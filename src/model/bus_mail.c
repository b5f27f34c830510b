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

static int bus_mail_new(size_t n_bytes, enum bus_mail_kind kind, uint32_t key, void **ret)
{
        struct mail *mail = calloc(1, n_bytes);

        if (!mail)
                return -ENOMEM;
        mail->kind = kind;
        mail->key = key;
        mail->free = bus_mail_free;
        *ret = mail;
        return 0;
}

int bus_command_new(struct bus_command **ret)
{
        return bus_mail_new(sizeof(**ret), BUS_MAIL_COMMAND, 0, (void **)ret);
}

int bus_result_new(const struct bus_command *command, enum bus_outcome outcome, struct bus_result **ret)
{
        struct bus_result *result;
        int r;

        r = bus_mail_new(sizeof(*result), BUS_MAIL_RESULT, 0, (void **)&result);
        if (r < 0)
                return r;
        result->id = command->id;
        result->outcome = outcome;
        *ret = result;
        return 0;
}

int bus_samples_new(uint32_t block, size_t n_samples, size_t text_bytes, struct bus_samples **ret,
                    char **ret_text)
{
        size_t head = sizeof(struct bus_samples) + n_samples * sizeof(struct sample);
        int r;

        r = bus_mail_new(head + text_bytes, BUS_MAIL_SAMPLES, block + 1, (void **)ret);
        if (r < 0)
                return r;
        (*ret)->n_samples = n_samples;
        *ret_text = (char *)*ret + head;
        return 0;
}

int bus_device_state_new(uint32_t device, struct bus_device_state **ret)
{
        int r = bus_mail_new(sizeof(**ret), BUS_MAIL_DEVICE, BUS_KEY_DEVICE + device, (void **)ret);

        if (r == 0)
                (*ret)->device = device;
        return r;
}

int bus_port_state_new(struct bus_port_state **ret)
{
        return bus_mail_new(sizeof(**ret), BUS_MAIL_PORT, BUS_KEY_PORT, (void **)ret);
}

int bus_stats_mail_new(struct bus_stats_mail **ret)
{
        return bus_mail_new(sizeof(**ret), BUS_MAIL_STATS, BUS_KEY_STATS, (void **)ret);
}

int bus_stop_new(struct mail **ret)
{
        return bus_mail_new(sizeof(**ret), BUS_MAIL_STOP, 0, (void **)ret);
}

int bus_reconf_new(struct conf *conf, struct conf *(*unref)(struct conf *), uint32_t bus,
                   struct bus_reconf **ret)
{
        struct reconf *m;
        int r;

        r = bus_mail_new(sizeof(*m), BUS_MAIL_RECONF, 0, (void **)&m);
        if (r < 0)
                return r;
        m->public.mail.free = reconf_free;
        m->public.conf = conf;
        m->public.bus = bus;
        m->unref = unref;
        *ret = &m->public;
        return 0;
}

const char *bus_outcome_text(enum bus_outcome outcome)
{
        switch (outcome) {
        case BUS_RESULT_OK: return "ok";
        case BUS_RESULT_EXCEPTION: return "the device answered with an exception";
        case BUS_RESULT_TIMEOUT: return "no reply: whether it was written is not known";
        case BUS_RESULT_PORT: return "the port is not there";
        case BUS_RESULT_OFFLINE: return "the device does not answer";
        case BUS_RESULT_EXPIRED: return "the bus was too busy: not sent in time";
        case BUS_RESULT_STOPPED: return "the bus is being stopped or reconfigured";
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
