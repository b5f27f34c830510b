/* SPDX-License-Identifier: MIT */
/* The counters of the bus, window by window, for hint.c; and what it makes of them for the log. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hint.h"
#include "worker_private.h"

#define LOOK_US     (10 * USEC_PER_SEC)
#define DEVICES_MAX 247

struct worker_hint {
        struct hints hints;
        struct bus_stats bus; /* when the window began */
        struct device_stats devices[DEVICES_MAX];
        size_t n_devices; /* otherwise: other ones are configured now, and the window begins anew */
        struct port_line_errors errors;
        bool has_errors; /* the driver counts them */
        uint64_t next_us;
        bool may_lack_parity;
        bool has_said_echo;
};

int worker_hint_new(struct worker *w)
{
        if (w->bus->kind == CONF_PORT_TCP)
                return 0;
        w->hint = calloc(1, sizeof(*w->hint));
        return w->hint ? 0 : -ENOMEM;
}

void worker_hint_free(struct worker *w)
{
        free(w->hint);
        w->hint = NULL;
}

/* "ch341-uart", by the link /sys/class/tty/ttyUSB0/device/driver. */
static bool driver_is(const char *port, const char *name)
{
        char node[PATH_MAX], link[PATH_MAX], target[PATH_MAX];
        ssize_t n;
        int len;

        if (!realpath(port, node))
                return false;
        len = snprintf(link, sizeof(link), "/sys/class/tty/%s/device/driver", basename(node));
        if (len < 0 || (size_t)len >= sizeof(link))
                return false;
        n = readlink(link, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = '\0';
        return strcmp(basename(target), name) == 0;
}

static void begin_window(struct worker *w, uint64_t now_us)
{
        struct worker_hint *h = w->hint;

        h->n_devices = MBGATE_MIN(w->n_devices, (size_t)DEVICES_MAX);
        for (size_t i = 0; i < h->n_devices; i++)
                h->devices[i] = w->devices[i].stats;
        h->bus = w->stats;
        h->has_errors = w->is_open && port_line_errors(w->port, &h->errors) == 0;
        h->next_us = now_us + LOOK_US;
}

void worker_hint_opened(struct worker *w, uint64_t now_us)
{
        if (!w->hint)
                return;
        w->hint->may_lack_parity = w->bus->kind == CONF_PORT_SERIAL && driver_is(w->bus->port, "ch341-uart");
        begin_window(w, now_us);
}

static struct hint_device device_window(const struct device_stats *now, const struct device_stats *before)
{
        uint64_t n_timeouts = now->n_timeouts - before->n_timeouts;
        uint64_t n_broken = MBGATE_MIN(now->n_crc - before->n_crc, n_timeouts);

        return (struct hint_device){
                .n_answers = now->n_ok - before->n_ok + now->n_exceptions - before->n_exceptions,
                .n_silent = n_timeouts - n_broken,
                .n_broken = n_broken,
        };
}

/* What the driver counted in this window. */
static void add_errors(struct worker *w, struct hint_window *window)
{
        struct worker_hint *h = w->hint;
        struct port_line_errors now;

        if (!h->has_errors || !w->is_open || port_line_errors(w->port, &now) < 0)
                return;
        window->n_parity_errors = now.n_parity - h->errors.n_parity; /* both wrap at 32 bits */
        window->n_framing_errors = now.n_framing - h->errors.n_framing;
        window->n_breaks = now.n_breaks - h->errors.n_breaks;
}

static void say(struct worker *w, enum hint hint, size_t device)
{
        struct log_fields fields = { .bus = w->bus->name };

        if ((hint == HINT_DUPLICATE || hint == HINT_LATE) && device < w->n_devices) {
                fields.device = w->devices[device].conf->name;
                log_warn(&fields, "bus %s: unit %u: hint: %s", w->bus->name,
                         (unsigned)w->devices[device].conf->unit_id, hint_text(hint));
        } else {
                log_warn(&fields, "bus %s: hint: %s", w->bus->name, hint_text(hint));
        }
}

static void say_echo(struct worker *w)
{
        struct log_fields fields = { .bus = w->bus->name };

        if (w->hint->has_said_echo || w->stats.n_echo == 0 || w->bus->echo == RTU_ECHO_ON)
                return;
        w->hint->has_said_echo = true;
        log_info(&fields, "bus %s: the adapter hears what it sends: it is left out", w->bus->name);
}

void worker_hint(struct worker *w, uint64_t now_us)
{
        struct hint_device devices[DEVICES_MAX];
        struct worker_hint *h = w->hint;
        enum hint new[HINTS];
        struct hint_window window = { .devices = devices };
        size_t n, device;

        if (!h || now_us < h->next_us)
                return;
        say_echo(w);
        if (h->n_devices != MBGATE_MIN(w->n_devices, (size_t)DEVICES_MAX)) {
                begin_window(w, now_us);
                return;
        }
        for (size_t i = 0; i < h->n_devices; i++)
                devices[i] = device_window(&w->devices[i].stats, &h->devices[i]);
        window.n_devices = h->n_devices;
        window.n_junk_bytes = w->stats.n_junk_bytes - h->bus.n_junk_bytes;
        window.n_foreign = w->stats.n_foreign - h->bus.n_foreign;
        add_errors(w, &window);
        window.has_parity = w->bus->parity != 'N';
        window.may_lack_parity = h->may_lack_parity;
        window.is_listening = w->bus->mode == CONF_MODE_LISTEN;
        h->next_us = now_us + LOOK_US;
        if (!hint_window_is_full(&window))
                return;
        n = hints_judge(&h->hints, &window, new, &device);
        for (size_t i = 0; i < n; i++)
                say(w, new[i], device);
        begin_window(w, now_us);
}
