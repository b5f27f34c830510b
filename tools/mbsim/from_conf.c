/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "from_conf.h"

/* What a quantity looks like, by the unit of the configuration. */
static const struct {
        const char *unit;
        const char *generator;
} quantities[] = {
        { "°C", "walk 20.5..22.5 step 0.1" },
        { "°F", "walk 68..73 step 0.2" },
        { "K", "walk 293..296 step 0.1" },
        { "%", "walk 40..50 step 0.2" },
        { "%RH", "walk 40..50 step 0.2" },
        { "V", "walk 225..235 step 0.5" },
        { "kV", "walk 19.8..20.2 step 0.05" },
        { "mV", "walk 0..1000 step 10" },
        { "A", "walk 0..16 step 0.3" },
        { "mA", "walk 4..20 step 0.2" },
        { "W", "walk 100..3600 step 50" },
        { "kW", "walk 0.1..3.6 step 0.05" },
        { "VA", "walk 100..3600 step 50" },
        { "kVA", "walk 0.1..3.6 step 0.05" },
        { "var", "walk 0..500 step 20" },
        { "kvar", "walk 0..0.5 step 0.02" },
        { "Hz", "walk 49.95..50.05 step 0.01" },
        { "kWh", "counter from 1234.5 rate 0.001" },
        { "Wh", "counter from 123450 rate 1" },
        { "kvarh", "counter from 321.5 rate 0.0002" },
        { "m³", "counter from 815.2 rate 0.0005" },
        { "l", "counter from 4711 rate 0.2" },
        { "m³/h", "walk 0..3 step 0.1" },
        { "l/min", "walk 0..20 step 0.5" },
        { "m/s", "walk 0..12 step 0.4" },
        { "hPa", "walk 1000..1025 step 0.2" },
        { "mbar", "walk 1000..1025 step 0.2" },
        { "bar", "walk 1.5..2.5 step 0.05" },
        { "Pa", "walk 0..200 step 5" },
        { "kPa", "walk 100..103 step 0.05" },
        { "ppm", "walk 400..1200 step 15" },
        { "lx", "walk 50..800 step 20" },
        { "W/m²", "sine 0..900 period 600" },
        { "rpm", "walk 1400..1500 step 10" },
        { "°", "sine 0..359 period 300" },
        { "s", "counter from 0 rate 1" },
        { "h", "counter from 1200 rate 0.0003" },
};

static const char *quantity_generator(const char *unit)
{
        for (size_t i = 0; unit[0] != '\0' && i < ARRAY_SIZE(quantities); i++) {
                if (strcmp(unit, quantities[i].unit) == 0)
                        return quantities[i].generator;
        }
        return NULL;
}

/* A set point stays where it is put: at 0, or as near as it may go. */
static double rest_value(const struct value_format *f)
{
        if (f->n_labels > 0)
                return (double)f->labels[0].value;
        if (f->has_min && f->min > 0)
                return f->min;
        if (f->has_max && f->max < 0)
                return f->max;
        return f->type == VALUE_TYPE_BOOL ? 0 : 0 + f->offset;
}

static bool generator_fits(const struct conf_point *p, const char *text)
{
        struct gen gen;
        char reason[200];
        struct buf error = BUF_ON(reason);

        return gen_parse(text, &gen, &error) == 0 && map_generator_fits(&p->format, &gen);
}

void from_conf_generator(const struct conf_point *p, char *text, size_t size_bytes)
{
        const struct value_format *f = &p->format;
        const char *quantity = quantity_generator(p->unit);

        snprintf(text, size_bytes, "%.9g", rest_value(f));
        if (f->type == VALUE_TYPE_STRING)
                snprintf(text, size_bytes, f->length_bytes >= 5 ? "\"mbsim\"" : "\"m\"");
        else if (p->writable || f->n_labels > 0)
                return;
        else if (strcmp(p->name, "test") == 0 && generator_fits(p, "-157"))
                snprintf(text, size_bytes, "-157"); /* the reference sensor's */
        else if (f->type == VALUE_TYPE_BOOL)
                snprintf(text, size_bytes, "toggle period 20");
        else if (quantity && generator_fits(p, quantity))
                snprintf(text, size_bytes, "%s", quantity);
        else if (generator_fits(p, "ramp 0..100 period 60"))
                snprintf(text, size_bytes, "ramp 0..100 period 60");
}

static const char *point_generator(const struct conf_point *p, enum from_conf_values values, char *text,
                                   size_t size_bytes)
{
        switch (values) {
        case FROM_CONF_ADDRESS: return "address";
        case FROM_CONF_UNIT_ADDRESS: return "unit-address";
        case FROM_CONF_ZERO: return "raw 0";
        case FROM_CONF_PLAUSIBLE: break;
        }
        from_conf_generator(p, text, size_bytes);
        return text;
}

static int point_from_conf(const struct conf_point *p, enum from_conf_values values, struct map *map)
{
        static const enum map_area areas[] = {
                [CONF_HOLDING] = MAP_HOLDING,
                [CONF_INPUT] = MAP_INPUT,
                [CONF_COIL] = MAP_COIL,
                [CONF_DISCRETE] = MAP_DISCRETE,
        };
        struct map_point point = {
                .format = p->format,
                .unit = p->device->unit_id,
                .area = areas[p->area],
                .first = p->address,
                .count = value_n_regs(&p->format),
                .writable = p->writable,
        };
        char generator[100], name[256], reason[200];
        struct buf error = BUF_ON(reason);
        int r;

        snprintf(name, sizeof(name), "%s.%s", p->device->name, p->name);
        point.name = name;
        point.format.has_min = point.format.has_max = false; /* they limit commands, not devices */
        r = gen_parse(point_generator(p, values, generator, sizeof(generator)), &point.gen, &error);
        return r < 0 ? r : map_add_point(map, &point);
}

int from_conf(const struct conf_bus *bus, enum from_conf_values values, struct map *map)
{
        for (size_t d = 0; d < bus->n_devices; d++) {
                const struct conf_device *device = &bus->devices[d];
                int r = map_add_unit(map, device->unit_id);

                for (size_t i = 0; r == 0 && i < device->n_points; i++)
                        r = point_from_conf(&device->points[i], values, map);
                if (r < 0)
                        return r;
        }
        return 0;
}
