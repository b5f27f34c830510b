/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "mbgate/base/text.h"
#include "pace.h"
#include "serve.h"
#include "simclock.h"

#define FAULT_TEXT_MAX_BYTES 200
#define FAULT_NOISE_MAX      64

enum fault_param { PARAM_NONE, PARAM_COUNT, PARAM_TIME };

static const struct fault_description {
        const char *name;
        enum fault_param param;
        uint64_t preset; /* count, or ms */
        uint64_t max;    /* of a count */
} descriptions[FAULT_KINDS] = {
        [FAULT_NO_REPLY] = { "no-reply", PARAM_NONE, 0, 0 },
        [FAULT_LOST_REPLY] = { "lost-reply", PARAM_NONE, 0, 0 },
        [FAULT_LATE] = { "late", PARAM_TIME, 1000, 0 },
        [FAULT_WRONG_CRC] = { "wrong-crc", PARAM_NONE, 0, 0 },
        [FAULT_TRUNCATE] = { "truncate", PARAM_COUNT, 0, 255 },
        [FAULT_TRICKLE] = { "trickle", PARAM_TIME, 20, 0 },
        [FAULT_NOISE_BEFORE] = { "noise-before", PARAM_COUNT, 3, FAULT_NOISE_MAX },
        [FAULT_NOISE_AFTER] = { "noise-after", PARAM_COUNT, 3, FAULT_NOISE_MAX },
        [FAULT_DUPLICATE] = { "duplicate", PARAM_NONE, 0, 0 },
        [FAULT_WRONG_UNIT] = { "wrong-unit", PARAM_COUNT, 0, 255 },
        [FAULT_EXCEPTION] = { "exception", PARAM_COUNT, 4, 255 },
        [FAULT_ECHO] = { "echo", PARAM_NONE, 0, 0 },
        [FAULT_HANGUP] = { "hangup-and-return", PARAM_TIME, 2000, 0 },
};

const char *fault_kind_name(enum fault_kind kind)
{
        return descriptions[kind].name;
}

static int fault_parse_kind(const char *text, struct fault_rule *rule, struct buf *error)
{
        const char *best = descriptions[0].name;

        for (int k = 0; k < FAULT_KINDS; k++) {
                if (strcmp(text, descriptions[k].name) == 0) {
                        rule->kind = (enum fault_kind)k;
                        return 0;
                }
                if (text_distance(text, descriptions[k].name) < text_distance(text, best))
                        best = descriptions[k].name;
        }
        buf_printf(error, "unknown fault \"%s\" (did you mean \"%s\"? mbsim --help lists them)", text, best);
        return -EINVAL;
}

static int fault_parse_param(const char *text, struct fault_rule *rule, struct buf *error)
{
        const struct fault_description *d = &descriptions[rule->kind];
        int64_t count;

        rule->param_min = rule->param_max = d->preset * (d->param == PARAM_TIME ? NS_PER_MS : 1);
        if (!text)
                return 0;
        if (d->param == PARAM_TIME &&
            pace_parse_time_range(text, NS_PER_MS, &rule->param_min, &rule->param_max) == 0)
                return 0;
        if (d->param == PARAM_COUNT && text_parse_i64(text, strlen(text), 1, (int64_t)d->max, &count) == 0) {
                rule->param_min = rule->param_max = (uint64_t)count;
                return 0;
        }
        if (d->param == PARAM_NONE)
                buf_printf(error, "\"%s\" takes no parameter", d->name);
        else if (d->param == PARAM_TIME)
                buf_printf(error, "\"%s:%s\": a time such as 800ms, 2s or 100ms..900ms is needed", d->name,
                           text);
        else
                buf_printf(error, "\"%s:%s\": a number of 1..%u is needed", d->name, text, (unsigned)d->max);
        return -EINVAL;
}

static int fault_number(const char *value, int64_t min, int64_t max, int64_t *ret)
{
        return text_parse_i64(value, strlen(value), min, max, ret);
}

/* One "unit=5". */
static int fault_parse_condition(const char *name, const char *value, struct fault_rule *rule)
{
        int64_t v = 0;
        char *end;

        if (strcmp(name, "p") == 0) {
                rule->probability = strtod(value, &end);
                return *end == '\0' && rule->probability >= 0 && rule->probability <= 1 ? 0 : -EINVAL;
        }
        if (strcmp(name, "bus") == 0) {
                if (strlen(value) >= sizeof(rule->bus))
                        return -EINVAL;
                memcpy(rule->bus, value, strlen(value) + 1);
                return 0;
        }
        if (strcmp(name, "unit") == 0 && fault_number(value, 0, 255, &v) == 0)
                rule->unit = (int)v;
        else if (strcmp(name, "function") == 0 && fault_number(value, 1, 127, &v) == 0)
                rule->function = (int)v;
        else if (strcmp(name, "address") == 0 && fault_number(value, 0, 65535, &v) == 0)
                rule->address = (int)v;
        else if (strcmp(name, "n") == 0 && fault_number(value, 1, UINT32_MAX, &v) == 0)
                rule->nth = (uint32_t)v;
        else if (strcmp(name, "every") == 0 && fault_number(value, 1, UINT32_MAX, &v) == 0)
                rule->every = (uint32_t)v;
        else if (strcmp(name, "max") == 0 && fault_number(value, 1, UINT32_MAX, &v) == 0)
                rule->max = (uint32_t)v;
        else
                return -EINVAL;
        return 0;
}

static int fault_parse_selector(char *text, struct fault_rule *rule, struct buf *error)
{
        char *save = NULL;

        for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
                char *equals = strchr(word, '=');

                if (strcmp(word, "write") == 0) {
                        rule->writes_only = true;
                        continue;
                }
                if (strcmp(word, "read") == 0) {
                        rule->reads_only = true;
                        continue;
                }
                if (equals)
                        *equals = '\0';
                if (!equals || fault_parse_condition(word, equals + 1, rule) < 0) {
                        buf_printf(error,
                                   "cannot use the selector \"%s%s%s\"; there are unit= function= address= "
                                   "bus= p=0..1 "
                                   "n= every= max= read write",
                                   word, equals ? "=" : "", equals ? equals + 1 : "");
                        return -EINVAL;
                }
        }
        return 0;
}

int fault_parse(const char *text, struct fault_rule *ret, struct buf *error)
{
        struct fault_rule rule = { .probability = 1, .unit = -1, .function = -1, .address = -1 };
        char copy[FAULT_TEXT_MAX_BYTES];
        char *selector, *param;
        int r;

        if (strlen(text) >= sizeof(copy)) {
                buf_printf(error, "a fault has at most %zu characters", sizeof(copy) - 1);
                return -EINVAL;
        }
        memcpy(copy, text, strlen(text) + 1);
        selector = strchr(copy, '@');
        if (selector)
                *selector++ = '\0';
        param = strchr(copy, ':');
        if (param)
                *param++ = '\0';
        r = fault_parse_kind(copy, &rule, error);
        if (r == 0)
                r = fault_parse_param(param, &rule, error);
        if (r == 0 && selector)
                r = fault_parse_selector(selector, &rule, error);
        if (r == 0)
                *ret = rule;
        return r;
}

int faults_add(struct faults *f, const struct fault_rule *rule)
{
        if (f->n_rules == FAULT_RULES_MAX)
                return -ENOSPC;
        f->rules[f->n_rules++] = *rule;
        return 0;
}

static bool rule_selects(const struct fault_rule *r, const struct fault_query *q)
{
        bool is_write = serve_is_write(q->function);

        if (r->unit >= 0 && r->unit != q->unit)
                return false;
        if (r->function >= 0 && r->function != q->function)
                return false;
        if (r->address >= 0 &&
            (!q->has_address || r->address < q->address || r->address >= q->address + q->count))
                return false;
        return !(r->writes_only && !is_write) && !(r->reads_only && is_write);
}

static bool rule_hits(struct fault_rule *r, struct random *random)
{
        r->n_seen++;
        if (r->max != 0 && r->n_hit >= r->max)
                return false;
        if (r->nth != 0 && r->n_seen != r->nth)
                return false;
        if (r->every != 0 && r->n_seen % r->every != 0)
                return false;
        if (r->probability < 1 && random_unit(random) >= r->probability)
                return false;
        r->n_hit++;
        return true;
}

void faults_choose(struct faults *f, struct random *random, const struct fault_query *query,
                   struct fault_effects *ret)
{
        struct fault_effects e = { .kinds = 0 };

        for (unsigned i = 0; i < f->n_rules; i++) {
                struct fault_rule *r = &f->rules[i];

                if (!rule_selects(r, query) || !rule_hits(r, random))
                        continue;
                e.kinds |= 1u << r->kind;
                e.param[r->kind] = r->param_min + random_below(random, r->param_max - r->param_min + 1);
        }
        *ret = e;
}
