/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/codec/rtu.h"

#include "scan_plan.h"

#define UNIT_IDS 248

/* So few are all worth a quick guess. */
#define FEW_UNITS 16

#define SERIAL_TIMEOUT_US UINT64_C(120000)  /* a USB adapter's 16 ms included */
#define TCP_TIMEOUT_US    UINT64_C(1000000) /* a gateway waits for its own line */

#define REQUEST_CHARS 8
#define REPLY_CHARS   7

/* A forecast may be wrong by these factors before it is no longer believed. */
#define PACE_MIN_PERCENT 20
#define PACE_MAX_PERCENT 500
#define PACE_FROM_US     UINT64_C(1000000)

/* What leaves the factory: most meters and sensors, the default of the specification, then by habit. */
static const struct scan_setting likely_settings[] = {
        { 9600, 'N', 1 },   { 19200, 'E', 1 }, { 9600, 'E', 1 }, { 19200, 'N', 1 },
        { 115200, 'N', 1 }, { 38400, 'N', 1 }, { 2400, 'N', 1 }, { 4800, 'N', 1 },
};
static const uint32_t all_speeds[] = { 9600, 19200, 38400, 115200, 57600, 4800, 2400, 1200 };
static const struct scan_format all_formats[] = { { 'N', 1 }, { 'E', 1 }, { 'O', 1 }, { 'N', 2 } };
static const uint8_t likely_units[] = { 1, 2, 3, 10, 247, 4, 5, 100 };

static const struct {
        bool all_settings, all_units;
        enum scan_question question;
} rounds[] = {
        { false, false, SCAN_ASK_HOLDING }, { true, false, SCAN_ASK_HOLDING },
        { false, true, SCAN_ASK_HOLDING },  { true, false, SCAN_ASK_INPUT },
        { true, true, SCAN_ASK_HOLDING },   { true, true, SCAN_ASK_INPUT },
};

static bool is_same_setting(const struct scan_setting *a, const struct scan_setting *b)
{
        return a->speed == b->speed && a->parity == b->parity && a->stop_bits == b->stop_bits;
}

static void add_setting(struct scan_plan *p, const struct scan_setting *s)
{
        for (size_t i = 0; i < p->n_settings; i++) {
                if (is_same_setting(&p->settings[i], s))
                        return;
        }
        p->settings[p->n_settings++] = *s;
}

/* Whether the command line lets it in. */
static bool is_wanted(const struct scan_options *o, const struct scan_setting *s)
{
        bool speed = o->n_speeds == 0, format = o->n_formats == 0;

        for (size_t i = 0; i < o->n_speeds; i++)
                speed |= o->speeds[i] == s->speed;
        for (size_t i = 0; i < o->n_formats; i++)
                format |= o->formats[i].parity == s->parity && o->formats[i].stop_bits == s->stop_bits;
        return speed && format;
}

static void fill_settings(struct scan_plan *p, const struct scan_options *o)
{
        const uint32_t *speeds = o->n_speeds ? o->speeds : all_speeds;
        size_t n_speeds = o->n_speeds ? o->n_speeds : ARRAY_SIZE(all_speeds);
        const struct scan_format *formats = o->n_formats ? o->formats : all_formats;
        size_t n_formats = o->n_formats ? o->n_formats : ARRAY_SIZE(all_formats);

        for (size_t i = 0; i < ARRAY_SIZE(likely_settings); i++) {
                if (is_wanted(o, &likely_settings[i]))
                        add_setting(p, &likely_settings[i]);
        }
        p->n_likely = p->n_settings;
        for (size_t f = 0; f < n_formats; f++) {
                for (size_t s = 0; s < n_speeds; s++)
                        add_setting(p, &(struct scan_setting){ speeds[s], formats[f].parity,
                                                               formats[f].stop_bits });
        }
        if (p->n_likely == 0)
                p->n_likely = p->n_settings;
}

/* The units that the command line lets in, the likely ones first. Returns how many; *ret_n_likely of them. */
static size_t fill_units(const struct scan_options *o, uint8_t units[UNIT_IDS], size_t *ret_n_likely)
{
        bool wanted[UNIT_IDS] = { false };
        size_t n = 0;

        for (size_t i = 0; i < o->n_units; i++)
                wanted[o->units[i]] = true;
        for (unsigned u = 1; o->n_units == 0 && u < UNIT_IDS; u++)
                wanted[u] = true;
        for (size_t i = 0; i < ARRAY_SIZE(likely_units); i++) {
                if (wanted[likely_units[i]])
                        units[n++] = likely_units[i];
                wanted[likely_units[i]] = false;
        }
        *ret_n_likely = n;
        for (unsigned u = 1; u < UNIT_IDS; u++) {
                if (wanted[u])
                        units[n++] = (uint8_t)u;
        }
        if (*ret_n_likely == 0 || n <= FEW_UNITS)
                *ret_n_likely = n;
        return n;
}

static void fill_steps(struct scan_plan *p, const uint8_t *units, size_t n_units, size_t n_likely)
{
        /* By setting, unit and question: whether an earlier round has it. */
        static bool has[SCAN_SETTINGS_MAX][UNIT_IDS][SCAN_QUESTIONS];

        memset(has, 0, sizeof(has));
        for (size_t r = 0; r < ARRAY_SIZE(rounds); r++) {
                size_t n_settings = rounds[r].all_settings ? p->n_settings : p->n_likely;
                size_t n = rounds[r].all_units ? n_units : n_likely;

                for (size_t s = 0; s < n_settings; s++) {
                        for (size_t u = 0; u < n; u++) {
                                bool *it = &has[s][units[u]][rounds[r].question];

                                if (!*it)
                                        p->steps[p->n_steps++] =
                                                (struct scan_step){ (uint8_t)s, units[u],
                                                                    (uint8_t)rounds[r].question };
                                *it = true;
                        }
                }
        }
}

int scan_plan_init(struct scan_plan *p, const struct scan_options *o, bool is_tcp)
{
        uint8_t units[UNIT_IDS];
        size_t n_likely = 0, n_units = fill_units(o, units, &n_likely);

        *p = (struct scan_plan){ .timeout_us = is_tcp ? TCP_TIMEOUT_US : SERIAL_TIMEOUT_US };
        if (o->timeout_ms > 0)
                p->timeout_us = o->timeout_ms * UINT64_C(1000);
        if (is_tcp)
                p->n_settings = p->n_likely = 1; /* all zero */
        else
                fill_settings(p, o);
        p->steps = calloc(p->n_settings * n_units * SCAN_QUESTIONS + 1, sizeof(*p->steps));
        if (!p->steps)
                return -ENOMEM;
        fill_steps(p, units, n_units, n_likely);
        return 0;
}

void scan_plan_done(struct scan_plan *p)
{
        free(p->steps);
        *p = (struct scan_plan){ .n_steps = 0 };
}

uint64_t scan_plan_step_us(const struct scan_plan *p, const struct scan_step *s)
{
        const struct scan_setting *set = &p->settings[s->setting];
        unsigned bits = set->speed ? 9u + (set->parity != 'N') + set->stop_bits : 0;

        return p->timeout_us + rtu_t35_us(set->speed) +
               rtu_wire_us(set->speed, bits, REQUEST_CHARS + REPLY_CHARS);
}

const struct scan_step *scan_plan_next(struct scan_plan *p)
{
        const struct scan_step *s;

        if (p->at == p->n_steps)
                return NULL;
        s = &p->steps[p->at++];
        p->gone_us += scan_plan_step_us(p, s);
        return s;
}

/* Leaves the remaining steps that `keeps` says. */
static void filter(struct scan_plan *p, bool (*keeps)(const struct scan_step *, unsigned, uint8_t),
                   unsigned setting, uint8_t unit)
{
        size_t n = p->at;

        for (size_t i = p->at; i < p->n_steps; i++) {
                if (keeps(&p->steps[i], setting, unit))
                        p->steps[n++] = p->steps[i];
        }
        p->n_steps = n;
}

static bool is_of_setting(const struct scan_step *s, unsigned setting, uint8_t unit)
{
        (void)unit;
        return s->setting == setting;
}

static bool is_other(const struct scan_step *s, unsigned setting, uint8_t unit)
{
        return s->setting != setting || (unit != 0 && s->unit != unit);
}

void scan_plan_keep_setting(struct scan_plan *p, unsigned setting)
{
        filter(p, is_of_setting, setting, 0);
}

void scan_plan_skip(struct scan_plan *p, unsigned setting, uint8_t unit)
{
        filter(p, is_other, setting, unit);
}

uint64_t scan_plan_left_us(const struct scan_plan *p, uint64_t elapsed_us)
{
        uint64_t left_us = 0, percent = 100;

        for (size_t i = p->at; i < p->n_steps; i++)
                left_us += scan_plan_step_us(p, &p->steps[i]);
        if (p->gone_us >= PACE_FROM_US)
                percent = elapsed_us * 100 / p->gone_us;
        percent = MBGATE_MAX(percent, (uint64_t)PACE_MIN_PERCENT);
        percent = MBGATE_MIN(percent, (uint64_t)PACE_MAX_PERCENT);
        return left_us * percent / 100;
}

const char *scan_setting_text(const struct scan_setting *s, char text[SCAN_SETTING_BYTES])
{
        if (s->speed == 0)
                (void)snprintf(text, SCAN_SETTING_BYTES, "TCP");
        else
                (void)snprintf(text, SCAN_SETTING_BYTES, "%lu 8%c%u", (unsigned long)s->speed, s->parity,
                               (unsigned)s->stop_bits);
        return text;
}
