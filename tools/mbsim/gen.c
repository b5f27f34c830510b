/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen.h"
#include "mbgate/base/text.h"
#include "simclock.h"

#define GEN_WORDS_MAX      12
#define GEN_WORD_BYTES     48
#define GEN_CATCH_UP_STEPS 1000 /* of a walk that nobody read for long */

struct gen_words {
        char word[GEN_WORDS_MAX][GEN_WORD_BYTES];
        unsigned n;
};

static int gen_split(const char *text, struct gen_words *ret)
{
        struct gen_words w = { .n = 0 };

        while (*(text += strspn(text, " \t")) != '\0') {
                size_t n = strcspn(text, " \t");

                if (w.n == GEN_WORDS_MAX || n >= GEN_WORD_BYTES)
                        return -EINVAL;
                memcpy(w.word[w.n], text, n);
                w.word[w.n++][n] = '\0';
                text += n;
        }
        *ret = w;
        return 0;
}

static int gen_number(const char *text, double *ret)
{
        char *end;
        double v;

        if (strcmp(text, "on") == 0 || strcmp(text, "true") == 0) {
                *ret = 1;
                return 0;
        }
        if (strcmp(text, "off") == 0 || strcmp(text, "false") == 0) {
                *ret = 0;
                return 0;
        }
        v = strtod(text, &end);
        if (end == text || *end != '\0' || !isfinite(v))
                return -EINVAL;
        *ret = v;
        return 0;
}

/* "18..25.5": strtod would take the first dot of the two for its own. */
static int gen_range(const char *text, double *ret_low, double *ret_high)
{
        char first[GEN_WORD_BYTES];
        const char *dots = strstr(text, "..");
        double low, high;

        if (!dots)
                return -EINVAL;
        memcpy(first, text, (size_t)(dots - text));
        first[dots - text] = '\0';
        if (gen_number(first, &low) < 0 || gen_number(dots + 2, &high) < 0 || low > high)
                return -EINVAL;
        *ret_low = low;
        *ret_high = high;
        return 0;
}

enum gen_range_rule { RANGE_NONE, RANGE_NEEDED, RANGE_OPTIONAL };

static const struct gen_keyword {
        const char *name;
        enum gen_kind kind;
        enum gen_range_rule range;
        const char *options[3]; /* words that a number follows */
} gen_keywords[] = {
        { "address", GEN_ADDRESS, RANGE_NONE, { NULL } },
        { "unit-address", GEN_UNIT_ADDRESS, RANGE_NONE, { NULL } },
        { "ramp", GEN_RAMP, RANGE_NEEDED, { "period" } },
        { "sine", GEN_SINE, RANGE_NEEDED, { "period" } },
        { "walk", GEN_WALK, RANGE_NEEDED, { "step", "every" } },
        { "random", GEN_RANDOM, RANGE_NEEDED, { NULL } },
        { "counter", GEN_COUNTER, RANGE_NONE, { "from", "rate" } },
        { "toggle", GEN_TOGGLE, RANGE_OPTIONAL, { "period" } },
};

/* One "period 60" behind the range. */
static int gen_option(struct gen *g, const struct gen_keyword *k, const char *name, const char *number)
{
        double v;

        for (size_t i = 0; i < ARRAY_SIZE(k->options) && k->options[i]; i++) {
                if (strcmp(name, k->options[i]) != 0)
                        continue;
                if (gen_number(number, &v) < 0)
                        return -EINVAL;
                if (strcmp(name, "step") == 0 || strcmp(name, "rate") == 0)
                        g->step = v;
                else if (strcmp(name, "from") == 0)
                        g->low = v;
                else if (v <= 0)
                        return -EINVAL;
                else
                        g->period_s = v;
                return 0;
        }
        return -EINVAL;
}

static int gen_parse_keyword(const struct gen_keyword *k, const struct gen_words *w, struct gen *ret,
                             struct buf *error)
{
        struct gen g = { .kind = k->kind, .period_s = k->kind == GEN_WALK ? 1 : 60, .high = 1, .step = 1 };
        unsigned i = 1;

        if (k->range == RANGE_NEEDED ||
            (k->range == RANGE_OPTIONAL && i < w->n && strstr(w->word[i], ".."))) {
                if (i == w->n || gen_range(w->word[i], &g.low, &g.high) < 0) {
                        buf_printf(error, "\"%s\" needs a range after it, such as 0..100", k->name);
                        return -EINVAL;
                }
                i++;
        }
        if (k->kind == GEN_COUNTER)
                g.low = 0;
        if (k->kind == GEN_WALK)
                g.step = (g.high - g.low) / 20;
        for (; i < w->n; i += 2) {
                if (i + 1 == w->n || gen_option(&g, k, w->word[i], w->word[i + 1]) < 0) {
                        buf_printf(error, "\"%s\" does not understand \"%s\"%s%s", k->name, w->word[i],
                                   k->options[0] ? "; it knows " : "", k->options[0] ? k->options[0] : "");
                        if (k->options[0] && k->options[1])
                                buf_printf(error, " and %s", k->options[1]);
                        return -EINVAL;
                }
        }
        g.position = g.low + (g.high - g.low) / 2;
        *ret = g;
        return 0;
}

static int gen_parse_text(const char *text, struct gen *ret, struct buf *error)
{
        size_t n = strlen(text);
        struct gen g = { .kind = GEN_TEXT };

        while (n > 1 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
                n--;
        if (n < 2 || text[n - 1] != '"' || n - 2 > GEN_TEXT_MAX_BYTES) {
                buf_printf(error, "a text needs a quotation mark at both ends and at most %d bytes between",
                           GEN_TEXT_MAX_BYTES);
                return -EINVAL;
        }
        memcpy(g.text, text + 1, n - 2);
        *ret = g;
        return 0;
}

static int gen_parse_raw(const struct gen_words *w, struct gen *ret, struct buf *error)
{
        struct gen g = { .kind = GEN_RAW };

        for (unsigned i = 1; i < w->n; i++) {
                char *end;
                long v = strtol(w->word[i], &end, 0);

                if (*end != '\0' || v < -32768 || v > 65535 || g.n_raw == GEN_RAW_MAX) {
                        g.n_raw = 0;
                        break;
                }
                g.raw[g.n_raw++] = (uint16_t)v;
        }
        if (g.n_raw == 0) {
                buf_printf(error, "\"raw\" needs 1 to %d register values after it, such as 0x7FC0 0x0000",
                           GEN_RAW_MAX);
                return -EINVAL;
        }
        *ret = g;
        return 0;
}

int gen_parse(const char *text, struct gen *ret, struct buf *error)
{
        struct gen_words w;
        struct gen g = { .kind = GEN_CONSTANT };

        text += strspn(text, " \t");
        if (text[0] == '"')
                return gen_parse_text(text, ret, error);
        if (gen_split(text, &w) < 0 || w.n == 0) {
                buf_append(error, "a value is missing: a number or a generator such as \"sine 0..100\"");
                return -EINVAL;
        }
        if (strcmp(w.word[0], "raw") == 0)
                return gen_parse_raw(&w, ret, error);
        for (size_t i = 0; i < ARRAY_SIZE(gen_keywords); i++) {
                if (strcmp(w.word[0], gen_keywords[i].name) == 0)
                        return gen_parse_keyword(&gen_keywords[i], &w, ret, error);
        }
        if (w.n != 1 || gen_number(w.word[0], &g.low) < 0) {
                buf_printf(error,
                           "\"%s\" is no number, no \"text\" and none of raw, address, unit-address, ramp, "
                           "sine, "
                           "walk, random, counter, toggle",
                           text);
                return -EINVAL;
        }
        *ret = g;
        return 0;
}

void gen_seed(struct gen *g, uint64_t seed)
{
        g->random.state = seed;
}

static double gen_walk(struct gen *g, double t_s)
{
        uint64_t due = (uint64_t)(t_s / g->period_s);

        if (due > g->n_steps + GEN_CATCH_UP_STEPS)
                g->n_steps = due - GEN_CATCH_UP_STEPS;
        for (; g->n_steps < due; g->n_steps++) {
                double next = g->position + (2 * random_unit(&g->random) - 1) * g->step;

                g->position = fmin(g->high, fmax(g->low, next));
        }
        return g->position;
}

double gen_value(struct gen *g, uint64_t t_ns)
{
        double t_s = (double)t_ns / 1e9;
        double phase = g->period_s > 0 ? fmod(t_s, g->period_s) / g->period_s : 0;
        double width = g->high - g->low;

        switch (g->kind) {
        case GEN_CONSTANT: return g->low;
        case GEN_RAMP: return g->low + width * phase;
        case GEN_SINE: return g->low + width * (0.5 + 0.5 * sin(phase * 2 * 3.14159265358979323846));
        case GEN_WALK: return gen_walk(g, t_s);
        case GEN_RANDOM: return g->low + width * random_unit(&g->random);
        case GEN_COUNTER: return g->low + g->step * t_s;
        case GEN_TOGGLE: return phase < 0.5 ? g->low : g->high;
        case GEN_TEXT:
        case GEN_RAW:
        case GEN_ADDRESS:
        case GEN_UNIT_ADDRESS: break;
        }
        return 0;
}
