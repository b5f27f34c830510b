/* SPDX-License-Identifier: MIT */
/*
 * In which order an unknown line is asked: what is likely first. A step asks one unit at one setting of the
 * line with one function. Pure; owned by the scan.
 *
 *   rounds            settings   units     question
 *   1 quick           likely     likely    holding register 0
 *   2                 all        likely    holding register 0
 *   3                 likely     all       holding register 0
 *   4                 all        likely    input register 0
 *   5                 all        all       holding register 0
 *   6                 all        all       input register 0
 *
 * Each step stands in the first round that has it. Steps of one round are in order of settings, so that the
 * port is opened anew as seldom as can be.
 */
#ifndef MBGATE_APP_SCAN_PLAN_H
#define MBGATE_APP_SCAN_PLAN_H

#include "scan_options.h"

#define SCAN_SETTINGS_MAX (SCAN_SPEEDS_MAX * SCAN_FORMATS_MAX)

struct scan_setting {
        uint32_t speed; /* 0: a TCP port, which has none */
        char parity;
        uint8_t stop_bits;
};

enum scan_question {
        SCAN_ASK_HOLDING,
        SCAN_ASK_INPUT,
        SCAN_QUESTIONS,
};

struct scan_step {
        uint8_t setting; /* index in scan_plan.settings */
        uint8_t unit;
        uint8_t question;
};

struct scan_plan {
        struct scan_setting settings[SCAN_SETTINGS_MAX]; /* the likely ones first */
        size_t n_settings, n_likely;
        uint64_t timeout_us;
        struct scan_step *steps;
        size_t n_steps, at; /* the next one */
        uint64_t gone_us;   /* what the steps before `at` were foretold to take */
};

/* The whole plan. −ENOMEM. */
MUST_CHECK int scan_plan_init(struct scan_plan *p, const struct scan_options *o, bool is_tcp);
void scan_plan_done(struct scan_plan *p);

/* The next step, or NULL: over. */
const struct scan_step *scan_plan_next(struct scan_plan *p);

/* A device was found: other settings, of which a line has but one, are not asked any more. */
void scan_plan_keep_setting(struct scan_plan *p, unsigned setting);

/* A unit that has answered, or a setting that the port cannot do, is not asked again. 0: any unit. */
void scan_plan_skip(struct scan_plan *p, unsigned setting, uint8_t unit);

/* What a step takes when nobody answers. */
uint64_t scan_plan_step_us(const struct scan_plan *p, const struct scan_step *s);

/*
 * What the remaining steps take when nobody answers, corrected by how long those before took: `elapsed_us`
 * for what was foretold.
 */
uint64_t scan_plan_left_us(const struct scan_plan *p, uint64_t elapsed_us);

/* "9600 8E1"; "TCP" where there is none. */
#define SCAN_SETTING_BYTES 24
const char *scan_setting_text(const struct scan_setting *s, char text[SCAN_SETTING_BYTES]);

#endif
