/* SPDX-License-Identifier: MIT */
/*
 * What the buses bring up: a sample is one point's value, its quality and the moment its request began and
 * its reply was complete. Samples travel in messages, one for each block read; texts live in the message.
 */
#ifndef MBGATE_MODEL_SAMPLE_H
#define MBGATE_MODEL_SAMPLE_H

#include <stdint.h>

#include "mbgate/codec/value.h"

enum quality {
        QUALITY_GOOD,
        QUALITY_BAD,   /* the device answered, but with no value: sentinel, NaN, exception */
        QUALITY_STALE, /* the device does not answer; the value is the last one known */
};

/* "good", "bad", "stale". */
const char *quality_name(enum quality q);

struct sample {
        uint32_t point; /* index into the configuration's points */
        enum quality quality;
        struct value value; /* VALUE_NONE unless good */
};

#endif
