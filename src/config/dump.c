/* SPDX-License-Identifier: MIT */
/* The effective configuration as text that loads to the same again: each section's rows of the table in
 * order. */
#include <errno.h>

#include "schema.h"

struct dump {
        FILE *out;
        unsigned indent;
};

static void dump_line_start(const struct dump *d)
{
        (void)fprintf(d->out, "%*s", (int)d->indent, "");
}

static void dump_key(const struct dump *d, const struct schema_key *k, const void *object)
{
        if ((k->flags & SCHEMA_STRUCTURE) || schema_is_idle(k, object) ||
            (k->type->is_shown && !k->type->is_shown(k, object)))
                return;
        dump_line_start(d);
        (void)fprintf(d->out, "%s = ", k->name);
        k->type->print(k, object, d->out);
        (void)fputs(";\n", d->out);
}

/* All keys of a section that have a member. */
static void dump_keys(const struct dump *d, enum schema_section section, const void *object)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section == section)
                        dump_key(d, k, object);
        }
}

static void dump_open(struct dump *d, const char *text)
{
        dump_line_start(d);
        (void)fprintf(d->out, "%s\n", text);
        d->indent += 2;
}

static void dump_close(struct dump *d, const char *text)
{
        d->indent -= 2;
        dump_line_start(d);
        (void)fprintf(d->out, "%s\n", text);
}

static void dump_labels(struct dump *d, const struct value_format *f)
{
        if (f->n_labels == 0)
                return;
        dump_open(d, "map = (");
        for (size_t i = 0; i < f->n_labels; i++) {
                dump_open(d, "{");
                dump_keys(d, SCHEMA_LABEL, &f->labels[i]);
                dump_close(d, i + 1 < f->n_labels ? "}," : "}");
        }
        dump_close(d, ");");
}

static void dump_device(struct dump *d, const struct conf_device *device)
{
        dump_keys(d, SCHEMA_DEVICE, device);
        dump_open(d, "points = (");
        for (size_t i = 0; i < device->n_points; i++) {
                dump_open(d, "{");
                dump_keys(d, SCHEMA_POINT, &device->points[i]);
                dump_labels(d, &device->points[i].format);
                dump_close(d, i + 1 < device->n_points ? "}," : "}");
        }
        dump_close(d, ");");
}

static void dump_share(struct dump *d, const struct conf_share *share)
{
        if (!share->on)
                return;
        dump_open(d, "share = {");
        dump_keys(d, SCHEMA_SHARE, share);
        for (size_t i = 0; i < share->n_allow; i++) {
                dump_open(d, i == 0 ? "allow = ( {" : "{");
                dump_keys(d, SCHEMA_ALLOW, &share->allow[i]);
                dump_close(d, i + 1 < share->n_allow ? "}," : "} );");
        }
        dump_close(d, "};");
}

static void dump_bus(struct dump *d, const struct conf_bus *b)
{
        dump_keys(d, SCHEMA_BUS, b);
        dump_share(d, &b->share);
        dump_open(d, "devices = (");
        for (size_t i = 0; i < b->n_devices; i++) {
                dump_open(d, "{");
                dump_device(d, &b->devices[i]);
                dump_close(d, i + 1 < b->n_devices ? "}," : "}");
        }
        dump_close(d, ");");
}

static void dump_link(struct dump *d, const struct conf_link *link)
{
        dump_keys(d, SCHEMA_LINK, link);
        if (!link->tls.on)
                return;
        dump_open(d, "tls = {");
        dump_keys(d, SCHEMA_TLS, &link->tls);
        dump_close(d, "};");
}

static void dump_listener(struct dump *d, const struct conf_listener *listener)
{
        dump_keys(d, SCHEMA_LISTENER, listener);
        if (!listener->tls)
                return;
        dump_open(d, "tls = {");
        dump_keys(d, SCHEMA_SERVER, listener);
        dump_close(d, "};");
}

/* What listeners begin with. */
static void dump_listener_defaults(const struct dump *d, const struct conf_broker *broker)
{
        const struct conf_listener prototype = { .options = broker->options };

        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section == SCHEMA_LISTENER && schema_stands_in(k, SCHEMA_BROKER))
                        dump_key(d, k, &prototype);
        }
}

static void dump_broker(struct dump *d, const struct conf_broker *broker)
{
        if (!broker->on)
                return;
        dump_open(d, "broker = {");
        dump_keys(d, SCHEMA_BROKER, broker);
        dump_listener_defaults(d, broker);
        dump_open(d, "listeners = (");
        for (size_t i = 0; i < broker->n_listeners; i++) {
                dump_open(d, "{");
                dump_listener(d, &broker->listeners[i]);
                dump_close(d, i + 1 < broker->n_listeners ? "}," : "}");
        }
        dump_close(d, ");");
        dump_close(d, "};");
}

int conf_dump(const struct conf *conf, FILE *out)
{
        struct dump d = { .out = out };

        dump_open(&d, "gateway = {");
        dump_keys(&d, SCHEMA_GATEWAY, &conf->gateway);
        dump_close(&d, "};");
        dump_open(&d, "buses = (");
        for (size_t i = 0; i < conf->n_buses; i++) {
                dump_open(&d, "{");
                dump_bus(&d, &conf->buses[i]);
                dump_close(&d, i + 1 < conf->n_buses ? "}," : "}");
        }
        dump_close(&d, ");");
        dump_open(&d, "links = (");
        for (size_t i = 0; i < conf->n_links; i++) {
                dump_open(&d, "{");
                dump_link(&d, &conf->links[i]);
                dump_close(&d, i + 1 < conf->n_links ? "}," : "}");
        }
        dump_close(&d, ");");
        dump_broker(&d, &conf->broker);
        return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}
