/* SPDX-License-Identifier: MIT */
/*
 * Generators: what a simulated point's value is at a time. Made from text such as "21.5", "sine 0..100 period
 * 60" or "walk 18..25 step 0.1"; the same text and seed give the same values at the same times. Pure.
 */
#ifndef MBSIM_GEN_H
#define MBSIM_GEN_H

#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"
#include "mbgate/base/random.h"

#define GEN_TEXT_MAX_BYTES 250
#define GEN_RAW_MAX        8

enum gen_kind {
        GEN_CONSTANT,
        GEN_TEXT,         /* "hello" */
        GEN_RAW,          /* raw 0x7FC0 0x0000: the registers themselves */
        GEN_ADDRESS,      /* each register holds its own address; a bit is that of odd addresses */
        GEN_UNIT_ADDRESS, /* unit × 1000 + address, modulo 65536 */
        GEN_RAMP,         /* from low to high in a period, then from low again */
        GEN_SINE,
        GEN_WALK,    /* random steps of up to `step`, kept between low and high */
        GEN_RANDOM,  /* anew for each reading */
        GEN_COUNTER, /* low + rate × seconds */
        GEN_TOGGLE,  /* low, then high, half a period each */
};

struct gen {
        enum gen_kind kind;
        double low, high; /* of a constant: low */
        double period_s;
        double step; /* walk: the largest step; counter: units a second */
        char text[GEN_TEXT_MAX_BYTES + 1];
        uint16_t raw[GEN_RAW_MAX];
        unsigned n_raw;
        struct random random;
        uint64_t n_steps;
        double position;
};

/* Reads a generator. 0, or −EINVAL with what is wrong in *error. */
MUST_CHECK int gen_parse(const char *text, struct gen *ret, struct buf *error);

/* Makes its random numbers those of a seed. */
void gen_seed(struct gen *g, uint64_t seed);

/* The value at a time since the start, in ns. Kinds of TEXT, RAW and the ADDRESSes have none (0). */
double gen_value(struct gen *g, uint64_t t_ns);

#endif
