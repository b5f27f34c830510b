/* SPDX-License-Identifier: MIT */
/* What a reload must do to a bus, a link or the broker: the costliest class among its unequal keys. */
#include "schema.h"

static bool labels_equal(const struct value_format *a, const struct value_format *b)
{
        if (a->n_labels != b->n_labels)
                return false;
        for (size_t i = 0; i < a->n_labels; i++) {
                if (schema_compare(SCHEMA_LABEL, &a->labels[i], &b->labels[i]) != CONF_SAME)
                        return false;
        }
        return true;
}

static bool points_equal(const struct conf_point *a, const struct conf_point *b)
{
        return schema_compare(SCHEMA_POINT, a, b) == CONF_SAME && labels_equal(&a->format, &b->format);
}

static bool devices_equal(const struct conf_device *a, const struct conf_device *b)
{
        if (a->n_points != b->n_points || schema_compare(SCHEMA_DEVICE, a, b) != CONF_SAME ||
            strcmp(a->send_interval_topic_short, b->send_interval_topic_short) != 0)
                return false;
        for (size_t i = 0; i < a->n_points; i++) {
                if (!points_equal(&a->points[i], &b->points[i]))
                        return false;
        }
        return true;
}

static bool shares_equal(const struct conf_share *a, const struct conf_share *b)
{
        if (a->on != b->on || a->n_allow != b->n_allow)
                return false;
        for (size_t i = 0; i < a->n_allow; i++) {
                if (schema_compare(SCHEMA_ALLOW, &a->allow[i], &b->allow[i]) != CONF_SAME)
                        return false;
        }
        return !a->on || schema_compare(SCHEMA_SHARE, a, b) == CONF_SAME;
}

enum conf_change conf_compare_bus(const struct conf_bus *a, const struct conf_bus *b)
{
        enum conf_change change = schema_compare(SCHEMA_BUS, a, b);

        if (change != CONF_SAME)
                return change;
        if (a->n_devices != b->n_devices || !shares_equal(&a->share, &b->share))
                return CONF_ADJUST;
        for (size_t i = 0; i < a->n_devices; i++) {
                if (!devices_equal(&a->devices[i], &b->devices[i]))
                        return CONF_ADJUST;
        }
        return CONF_SAME;
}

static bool numbers_equal(double a, double b)
{
        return !(a < b || a > b);
}

bool conf_is_same_value(const struct conf_point *a, const struct conf_point *b)
{
        const struct value_format *f = &a->format, *o = &b->format;

        return a->area == b->area && a->address == b->address && a->device->unit_id == b->device->unit_id &&
               f->type == o->type && f->order == o->order && f->length_bytes == o->length_bytes &&
               f->has_bits == o->has_bits && f->bit_lo == o->bit_lo && f->bit_hi == o->bit_hi &&
               numbers_equal(f->scale, o->scale) && numbers_equal(f->offset, o->offset);
}

/* The device of that name; most are where they were. */
static const struct conf_device *find_device(const struct conf_bus *bus, const struct conf_device *old)
{
        if (old->id < bus->n_devices && strcmp(bus->devices[old->id].name, old->name) == 0)
                return &bus->devices[old->id];
        for (size_t i = 0; i < bus->n_devices; i++) {
                if (strcmp(bus->devices[i].name, old->name) == 0)
                        return &bus->devices[i];
        }
        return NULL;
}

static const struct conf_point *find_point(const struct conf_device *d, const struct conf_point *old)
{
        size_t at = (size_t)(old - old->device->points);

        if (at < d->n_points && strcmp(d->points[at].name, old->name) == 0)
                return &d->points[at];
        for (size_t i = 0; i < d->n_points; i++) {
                if (strcmp(d->points[i].name, old->name) == 0)
                        return &d->points[i];
        }
        return NULL;
}

const struct conf_point *conf_find_again(const struct conf_bus *bus, const struct conf_point *old)
{
        const struct conf_device *d = find_device(bus, old->device);
        const struct conf_point *p = d ? find_point(d, old) : NULL;

        return p && conf_is_same_value(p, old) ? p : NULL;
}

enum conf_change conf_compare_link(const struct conf_link *a, const struct conf_link *b)
{
        enum conf_change change = schema_compare(SCHEMA_LINK, a, b);

        if (a->tls.on != b->tls.on || strcmp(a->password, b->password) != 0)
                return CONF_REPLACE;
        return a->tls.on ? MBGATE_MAX(change, schema_compare(SCHEMA_TLS, &a->tls, &b->tls)) : change;
}

enum conf_change conf_compare_listener(const struct conf_listener *a, const struct conf_listener *b)
{
        enum conf_change change = schema_compare(SCHEMA_LISTENER, a, b);

        if (a->tls != b->tls || a->is_loopback != b->is_loopback)
                return CONF_REPLACE;
        return a->tls ? MBGATE_MAX(change, schema_compare(SCHEMA_SERVER, a, b)) : change;
}

enum conf_change conf_compare_broker(const struct conf_broker *a, const struct conf_broker *b)
{
        return schema_compare(SCHEMA_BROKER, a, b);
}
