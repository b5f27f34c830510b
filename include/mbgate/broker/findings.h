/* SPDX-License-Identifier: MIT */
/* What is wrong with a password or ACL file: all of it, not the first fault only. Owned by the caller. */
#ifndef MBGATE_BROKER_FINDINGS_H
#define MBGATE_BROKER_FINDINGS_H

#include <stddef.h>

/* More than these are counted only. */
#define FINDINGS_MAX 32

struct findings {
        char *texts[FINDINGS_MAX]; /* "FILE:LINE: error: …", without a newline */
        size_t n_texts;
        size_t n; /* including those that are counted only */
};

/* Frees the texts; all zero afterwards, as at start. */
void findings_done(struct findings *f);

#endif
