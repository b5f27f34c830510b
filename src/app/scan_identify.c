/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "scan_identify.h"

#define FUNCTION_SERVER_ID 17
#define FUNCTION_DEVICE_ID 43
#define MEI_DEVICE_ID      14
#define DEVICE_ID_BASIC    1
#define DEVICE_ID_HEAD     7 /* function, MEI type, code, conformity, more follows, next object, objects */
#define MORE_FOLLOWS       0xFF

#define STRONG_MIN 3

enum { OBJECT_VENDOR, OBJECT_PRODUCT, OBJECT_VERSION, OBJECTS };

/* A copy of what can be printed; blanks at the ends cut. */
static void take_text(char *ret, size_t size, const uint8_t *bytes, size_t n)
{
        size_t len = 0;

        for (size_t i = 0; i < n && len + 1 < size; i++) {
                bool is_printable = bytes[i] >= ' ' && bytes[i] <= '~';

                if (is_printable && (len > 0 || bytes[i] != ' '))
                        ret[len++] = (char)bytes[i];
        }
        while (len > 0 && ret[len - 1] == ' ')
                len--;
        ret[len] = '\0';
}

void scan_device_id_request(struct pdu *ret, uint8_t object)
{
        const uint8_t bytes[] = { FUNCTION_DEVICE_ID, MEI_DEVICE_ID, DEVICE_ID_BASIC, object };

        memcpy(ret->bytes, bytes, sizeof(bytes));
        ret->n_bytes = sizeof(bytes);
}

int scan_device_id_take(struct scan_identity *id, const uint8_t *bytes, size_t n)
{
        struct scan_identity got = *id;
        char *const texts[OBJECTS] = { got.vendor, got.product, got.version };
        size_t at = DEVICE_ID_HEAD;

        if (n < DEVICE_ID_HEAD || bytes[0] != FUNCTION_DEVICE_ID || bytes[1] != MEI_DEVICE_ID)
                return -EBADMSG;
        for (unsigned i = 0; i < bytes[6]; i++) {
                if (n - at < 2 || n - at - 2 < bytes[at + 1])
                        return -EBADMSG;
                if (bytes[at] < OBJECTS)
                        take_text(texts[bytes[at]], SCAN_TEXT_BYTES, bytes + at + 2, bytes[at + 1]);
                at += 2u + bytes[at + 1];
        }
        *id = got;
        return bytes[4] == MORE_FOLLOWS && bytes[5] < OBJECTS ? bytes[5] : 0;
}

void scan_server_id_request(struct pdu *ret)
{
        ret->bytes[0] = FUNCTION_SERVER_ID;
        ret->n_bytes = 1;
}

int scan_server_id_take(struct scan_identity *id, const uint8_t *bytes, size_t n)
{
        if (n < 3 || bytes[0] != FUNCTION_SERVER_ID || bytes[1] != n - 2)
                return -EBADMSG;
        take_text(id->server, sizeof(id->server), bytes + 2, n - 2);
        return 0;
}

/* What values of a unit can be, and between which bounds they are hardly an accident. */
static const struct {
        const char *unit;
        double min, max, strong_min, strong_max;
} units[] = {
        { "V", 0, 1000, 50, 500 },      { "Hz", 0, 500, 45, 65 },      { "A", -10000, 10000, 0.01, 1000 },
        { "°C", -100, 1000, -40, 150 }, { "%", -100, 1000, 1, 100 },   { "W", -1e7, 1e7, 0.1, 1e6 },
        { "kWh", 0, 1e9, 0.01, 1e7 },   { "ppm", 0, 1e5, 200, 10000 },
};

/* Any float that means something; four bytes of something else mostly have another size. */
#define FLOAT_MIN 1e-5
#define FLOAT_MAX 1e9

static bool is_float(const struct conf_point *p)
{
        return p->format.type == VALUE_TYPE_FLOAT32 || p->format.type == VALUE_TYPE_FLOAT64;
}

static void judge(struct scan_evidence *e, const struct conf_point *p, double v)
{
        bool fits = !is_float(p) || v == 0 || (fabs(v) >= FLOAT_MIN && fabs(v) <= FLOAT_MAX);
        bool is_strong = is_float(p) && v != 0;

        for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
                if (strcmp(units[i].unit, p->unit) != 0)
                        continue;
                fits = fits && v >= units[i].min && v <= units[i].max;
                is_strong = v != 0 && v >= units[i].strong_min && v <= units[i].strong_max;
        }
        e->n_good += fits;
        e->n_strong += fits && is_strong;
        e->n_wrong += !fits;
}

void scan_evidence_add(struct scan_evidence *e, const struct conf_point *p, const uint16_t *regs)
{
        char text[VALUE_TEXT_MAX_BYTES];
        struct value v;
        int r = value_decode(&p->format, regs, text, &v);

        e->n_points++;
        if (r == VALUE_E_SENTINEL)
                return; /* a device that has no such sensor says so */
        if (r != 0)
                e->n_wrong++;
        else if (v.kind == VALUE_INT || v.kind == VALUE_UINT || v.kind == VALUE_REAL)
                judge(e, p, value_as_double(&v));
        else
                e->n_good++;
}

bool scan_evidence_fits(const struct scan_evidence *e)
{
        unsigned n_enough = MBGATE_MIN(e->n_points, (unsigned)STRONG_MIN);

        return e->n_points > 0 && e->n_wrong == 0 && e->n_good > 0 && e->n_strong >= n_enough;
}

bool scan_evidence_is_better(const struct scan_evidence *a, const struct scan_evidence *b)
{
        if (a->n_strong != b->n_strong)
                return a->n_strong > b->n_strong;
        return a->n_points > b->n_points;
}
