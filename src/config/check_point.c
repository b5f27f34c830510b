/* SPDX-License-Identifier: MIT */
/* The rules of points: what a register can hold, and what can be done with it. */
#include <float.h>
#include <math.h>

#include "mbgate/base/text.h"
#include "mbgate/codec/pdu.h"

#include "loader.h"

#define POINT_ERROR(l, key, ...) source_error(&(l)->source, loader_pos((l), (key)), "%s: " __VA_ARGS__)

static bool is_bit_area(const struct conf_point *p)
{
        return p->area == CONF_COIL || p->area == CONF_DISCRETE;
}

static bool is_integer(enum value_type type)
{
        return type <= VALUE_TYPE_UINT64;
}

static bool is_float(enum value_type type)
{
        return type == VALUE_TYPE_FLOAT32 || type == VALUE_TYPE_FLOAT64;
}

/* Bits of the raw number of a point. */
static unsigned point_width(const struct conf_point *p)
{
        static const unsigned char widths[] = {
                [VALUE_TYPE_BOOL] = 16,   [VALUE_TYPE_INT16] = 16,   [VALUE_TYPE_UINT16] = 16,
                [VALUE_TYPE_INT32] = 32,  [VALUE_TYPE_UINT32] = 32,  [VALUE_TYPE_INT64] = 64,
                [VALUE_TYPE_UINT64] = 64, [VALUE_TYPE_FLOAT32] = 32, [VALUE_TYPE_FLOAT64] = 64,
                [VALUE_TYPE_BCD16] = 16,  [VALUE_TYPE_BCD32] = 32,   [VALUE_TYPE_STRING] = 0,
        };

        return is_bit_area(p) ? 1 : widths[p->format.type];
}

/* ---- where it is ---- */

static const char *const area_keys[] = { "holding", "input", "coil", "discrete" };

/* How many of the area keys stand in one group, and the last of them. */
static unsigned count_areas(const struct tree *group, const struct tree **ret_last)
{
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(area_keys); i++) {
                const struct tree *t = tree_get(group, area_keys[i]);

                if (t) {
                        n++;
                        *ret_last = t;
                }
        }
        return n;
}

static void check_area(struct loader *l)
{
        const struct tree *own = l->chain[CHAIN_POINT], *templ = l->chain[CHAIN_TEMPLATE_POINT], *last = NULL;
        unsigned n_templ = count_areas(templ, &last), n_own = count_areas(own, &last);

        if (n_own + n_templ == 0)
                source_error(&l->source, (own ? own : templ)->pos,
                             "%s: it has no address: one of holding, input, coil and discrete is needed",
                             PLACE(l));
        if (n_own > 1 || n_templ > 1)
                source_error(&l->source, last->pos,
                             "%s: it has several addresses: only one of holding, input, coil and "
                             "discrete can be there",
                             PLACE(l));
}

static const char *area_key(const struct conf_point *p)
{
        return area_keys[p->area];
}

/* ---- what it is ---- */

static void check_type(struct loader *l, struct conf_point *p)
{
        const struct tree *own = loader_own(l, "type");

        if (is_bit_area(p)) { /* a type inherited from above is meant for registers */
                if (own && p->format.type != VALUE_TYPE_BOOL)
                        POINT_ERROR(l, "type", "a %s is a bool and has no other type", PLACE(l), area_key(p));
                p->format.type = VALUE_TYPE_BOOL;
        } else if (!loader_origin(l, "type")) {
                p->format.type = loader_own(l, "bit") ? VALUE_TYPE_BOOL : VALUE_TYPE_UINT16;
        }
}

static void check_length(struct loader *l, struct conf_point *p)
{
        if (p->format.type == VALUE_TYPE_STRING && p->format.length_bytes == 0) {
                if (!loader_own(l, "length"))
                        POINT_ERROR(l, "type", "a string needs its length, in characters", PLACE(l));
                p->format.length_bytes = 1;
        }
        if (p->format.type != VALUE_TYPE_STRING && p->format.length_bytes) {
                POINT_ERROR(l, "length", "only strings have a length: the type says how long a number is",
                            PLACE(l));
                p->format.length_bytes = 0;
        }
}

static void check_bits(struct loader *l, const struct conf_point *p)
{
        const char *key = loader_own(l, "bits") ? "bits" : "bit";

        if (tree_get(l->chain[CHAIN_POINT], "bit") && tree_get(l->chain[CHAIN_POINT], "bits"))
                POINT_ERROR(l, "bits", "it has both bit and bits: remove one", PLACE(l));
        if (!p->format.has_bits)
                return;
        if (is_bit_area(p) || !is_integer(p->format.type))
                POINT_ERROR(l, key, "%s can be taken of integers only", PLACE(l), key);
        else if (p->format.bit_hi >= point_width(p))
                POINT_ERROR(l, key, "bit %u is outside a number of %u bits", PLACE(l), p->format.bit_hi,
                            point_width(p));
}

static void check_extent(struct loader *l, const struct conf_point *p)
{
        unsigned n = value_n_regs(&p->format);

        if (p->device->even_addresses && !is_bit_area(p))
                n += p->address % 2u + (p->address + n) % 2u;
        if (p->address + n > 65536u)
                POINT_ERROR(l, area_key(p), "%u registers from %u on reach beyond address 65535", PLACE(l), n,
                            p->address);
        if (!is_bit_area(p) && n > p->device->max_registers)
                POINT_ERROR(l, area_key(p),
                            "it has %u registers, but one reply only brings %u (max_registers)", PLACE(l), n,
                            p->device->max_registers);
}

/* Decimals that a factor needs: 0.25 has two. */
static unsigned decimals_of(double v)
{
        for (unsigned n = 0; n < VALUE_DECIMALS_MAX; n++) {
                if (fabs(v - round(v)) <= 1e-9 * fabs(v))
                        return n;
                v *= 10;
        }
        return VALUE_DECIMALS_MAX;
}

static void check_scale(struct loader *l, struct conf_point *p)
{
        struct value_format *f = &p->format;
        bool is_number = f->type != VALUE_TYPE_BOOL && f->type != VALUE_TYPE_STRING;

        if (fpclassify(f->scale) == FP_ZERO) {
                POINT_ERROR(l, "scale", "scale is 0: every value would be the same", PLACE(l));
                f->scale = 1;
        }
        if (!is_number) { /* inherited ones are meant for numbers */
                const char *key = loader_own(l, "scale") && f->scale != 1.0 ? "scale" : "offset";

                if (loader_own(l, key) && (f->scale != 1.0 || f->offset != 0.0))
                        POINT_ERROR(l, key, "scale and offset are for numbers, this is a %s", PLACE(l),
                                    f->type == VALUE_TYPE_BOOL ? "bool" : "string");
                f->scale = 1;
                f->offset = 0;
                f->decimals = 0;
        } else if (!loader_origin(l, "decimals")) {
                f->decimals = MBGATE_MAX(decimals_of(f->scale), decimals_of(f->offset));
                if (is_float(f->type))
                        f->decimals = MBGATE_MAX(f->decimals, 3u);
        }
}

/* ---- which numbers it can hold ---- */

struct range {
        double low, high;
};

static struct range raw_range(const struct conf_point *p)
{
        const struct value_format *f = &p->format;
        bool is_signed =
                f->type == VALUE_TYPE_INT16 || f->type == VALUE_TYPE_INT32 || f->type == VALUE_TYPE_INT64;
        unsigned width = f->has_bits ? f->bit_hi - f->bit_lo + 1 : point_width(p);

        switch (f->type) {
        case VALUE_TYPE_FLOAT32: return (struct range){ -(double)FLT_MAX, (double)FLT_MAX };
        case VALUE_TYPE_FLOAT64: return (struct range){ -DBL_MAX, DBL_MAX };
        case VALUE_TYPE_BCD16: return (struct range){ 0, 9999 };
        case VALUE_TYPE_BCD32: return (struct range){ 0, 99999999 };
        case VALUE_TYPE_BOOL: return (struct range){ 0, 1 };
        case VALUE_TYPE_STRING: return (struct range){ 0, 0 };
        case VALUE_TYPE_INT16:
        case VALUE_TYPE_UINT16:
        case VALUE_TYPE_INT32:
        case VALUE_TYPE_UINT32:
        case VALUE_TYPE_INT64:
        case VALUE_TYPE_UINT64: break;
        }
        if (is_signed && !f->has_bits)
                return (struct range){ -ldexp(1, (int)width - 1), ldexp(1, (int)width - 1) - 1 };
        return (struct range){ 0, ldexp(1, (int)width) - 1 };
}

/* The same in engineering units. */
static struct range value_range(const struct conf_point *p)
{
        struct range raw = raw_range(p);
        double a = raw.low * p->format.scale + p->format.offset;
        double b = raw.high * p->format.scale + p->format.offset;

        return (struct range){ MBGATE_MIN(a, b), MBGATE_MAX(a, b) };
}

static bool is_in_range(const struct conf_point *p, double v)
{
        struct range r = value_range(p);
        double slack = 1e-9 * fabs(p->format.scale); /* of the multiplication, not of the value */

        return v >= r.low - slack && v <= r.high + slack;
}

static void check_limit(struct loader *l, const struct conf_point *p, const char *key, double v)
{
        struct range r = value_range(p);

        if (!is_in_range(p, v))
                POINT_ERROR(l, key, "%s is %.15g, but its registers hold %.15g to %.15g only", PLACE(l), key,
                            v, r.low, r.high);
}

static void check_limits(struct loader *l, const struct conf_point *p)
{
        const struct value_format *f = &p->format;

        if (!f->has_min && !f->has_max)
                return;
        if (f->type == VALUE_TYPE_STRING) {
                POINT_ERROR(l, f->has_min ? "min" : "max", "min and max are for numbers, this is a string",
                            PLACE(l));
                return;
        }
        if (f->has_min && f->has_max && f->min > f->max)
                POINT_ERROR(l, "min", "min %.15g is greater than max %.15g", PLACE(l), f->min, f->max);
        if (f->has_min)
                check_limit(l, p, "min", f->min);
        if (f->has_max)
                check_limit(l, p, "max", f->max);
        if (!p->writable)
                source_warning(&l->source, loader_pos(l, f->has_min ? "min" : "max"),
                               "%s: min and max have no effect without write = true", PLACE(l));
}

static void check_label(struct loader *l, const struct conf_point *p, size_t i)
{
        const struct value_format *f = &p->format;
        const struct value_label *label = &f->labels[i];

        if (!is_in_range(p, (double)label->value))
                POINT_ERROR(l, "map", "the map has a label for %lld, but its registers never hold that",
                            PLACE(l), (long long)label->value);
        if (!*label->label)
                POINT_ERROR(l, "map", "the map has an empty label", PLACE(l));
        for (size_t j = 0; j < i; j++) {
                if (f->labels[j].value == label->value)
                        POINT_ERROR(l, "map", "the map has two labels for %lld", PLACE(l),
                                    (long long)label->value);
                if (text_equal_nocase(label->label, strlen(label->label), f->labels[j].label))
                        POINT_ERROR(l, "map", "the map has the label \"%s\" twice", PLACE(l), label->label);
        }
}

static void check_map(struct loader *l, const struct conf_point *p)
{
        if (p->format.n_labels > 256)
                POINT_ERROR(l, "map", "a map has at most 256 entries", PLACE(l));
        else if (p->format.n_labels && (p->format.type == VALUE_TYPE_STRING || is_float(p->format.type)))
                POINT_ERROR(l, "map", "a map is for whole numbers, this is a %s", PLACE(l),
                            p->format.type == VALUE_TYPE_STRING ? "string" : "float");
        else
                for (size_t i = 0; i < p->format.n_labels; i++)
                        check_label(l, p, i);
}

static void check_invalid(struct loader *l, struct conf_point *p)
{
        const struct value_format *f = &p->format;
        unsigned width = f->has_bits ? f->bit_hi - f->bit_lo + 1 : point_width(p);

        if (f->n_invalid && (is_bit_area(p) || width == 0)) {
                if (loader_own(l, "invalid"))
                        POINT_ERROR(l, "invalid", "invalid is for numbers in registers", PLACE(l));
                p->format.n_invalid = 0;
        }
        for (size_t i = 0; i < f->n_invalid; i++) {
                double v = (double)f->invalid[i];

                if (loader_own(l, "invalid") && width < 64 &&
                    (v < -ldexp(1, (int)width - 1) || v >= ldexp(1, (int)width)))
                        POINT_ERROR(l, "invalid", "invalid has %lld, which %u bits never hold", PLACE(l),
                                    (long long)f->invalid[i], width);
        }
}

/* ---- writing ---- */

static bool function_fits(const struct conf_point *p, unsigned function)
{
        switch (function) {
        case PDU_WRITE_COIL:
        case PDU_WRITE_COILS: return p->area == CONF_COIL;
        case PDU_WRITE_REGISTER:
        case PDU_MASK_WRITE: return p->area == CONF_HOLDING && value_n_regs(&p->format) == 1;
        case PDU_WRITE_REGISTERS: return p->area == CONF_HOLDING;
        }
        return false;
}

static enum pdu_function default_function(const struct conf_point *p)
{
        if (p->area == CONF_COIL)
                return PDU_WRITE_COIL;
        return value_n_regs(&p->format) == 1 ? PDU_WRITE_REGISTER : PDU_WRITE_REGISTERS;
}

static void check_write(struct loader *l, struct conf_point *p)
{
        bool is_read_only = p->area == CONF_INPUT || p->area == CONF_DISCRETE;

        if (p->writable && is_read_only)
                POINT_ERROR(l, "write", "write is true, but nobody can write %s", PLACE(l),
                            p->area == CONF_INPUT ? "input registers" : "discrete inputs");
        if (p->writable && p->device->bus->mode == CONF_MODE_LISTEN)
                source_warning(&l->source, loader_own_pos(l, "write"),
                               "%s: write = true has no effect: the bus only listens", PLACE(l));
        if (is_read_only) {
                p->write_function = 0;
                return;
        }
        if (p->write_function && !function_fits(p, p->write_function)) {
                if (loader_own(l, "write_function"))
                        POINT_ERROR(l, "write_function", "function %u cannot write %s%s", PLACE(l),
                                    (unsigned)p->write_function,
                                    p->area == CONF_COIL           ? "coils"
                                    : value_n_regs(&p->format) > 1 ? "several "
                                                                   : "",
                                    p->area == CONF_COIL ? "" : "holding registers");
                p->write_function = 0; /* an inherited one is for those that it fits */
        }
        if (!p->write_function)
                p->write_function = default_function(p);
        if (p->writable && p->area == CONF_HOLDING && value_n_regs(&p->format) > PDU_WRITE_REGS_MAX)
                POINT_ERROR(l, "length",
                            "one request writes at most %u registers: make length %u at most, or leave out "
                            "write",
                            PLACE(l), (unsigned)PDU_WRITE_REGS_MAX, 2u * PDU_WRITE_REGS_MAX);
        if (!p->writable && loader_own(l, "command_topic"))
                source_warning(&l->source, loader_own_pos(l, "command_topic"),
                               "%s: command_topic has no effect without write = true", PLACE(l));
}

/* ---- publishing ---- */

void check_paced(struct loader *l, const struct tree *group)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                const struct tree *t = k->flags & SCHEMA_BETWEEN ? tree_get(group, k->name) : NULL;

                if (t && ((t->kind == TREE_INT && t->i > 0) || (t->kind == TREE_REAL && t->r > 0)))
                        source_warning(&l->source, t->pos,
                                       "%s: %s has no effect with send_interval_s: all points go out at each "
                                       "tick, and not in between",
                                       PLACE(l), k->name);
        }
}

static void check_policy(struct loader *l, const struct conf_point *p)
{
        if (p->max_interval_s > 0 && p->min_interval_s > p->max_interval_s)
                POINT_ERROR(l, "min_interval_s", "min_interval_s %.15g is greater than max_interval_s %.15g",
                            PLACE(l), p->min_interval_s, p->max_interval_s);
        if (p->publish == CONF_PUBLISH_ALWAYS && loader_own(l, "deadband") && p->deadband > 0)
                source_warning(&l->source, loader_pos(l, "deadband"),
                               "%s: a deadband has no effect with publish = \"always\"", PLACE(l));
        if (p->publish == CONF_PUBLISH_ALWAYS && loader_own(l, "deadband_percent") && p->deadband_percent > 0)
                source_warning(&l->source, loader_pos(l, "deadband_percent"),
                               "%s: deadband_percent has no effect with publish = \"always\"", PLACE(l));
        if (p->device->send_interval_s > 0)
                check_paced(l, l->chain[CHAIN_POINT]);
}

void check_point(struct loader *l, struct conf_point *p)
{
        check_name(l, p->name);
        check_area(l);
        check_type(l, p);
        check_length(l, p);
        check_bits(l, p);
        check_extent(l, p);
        check_scale(l, p);
        check_invalid(l, p);
        check_map(l, p);
        check_limits(l, p);
        check_write(l, p);
        check_policy(l, p);
}
