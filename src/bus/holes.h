/* SPDX-License-Identifier: MIT */
/*
 * What illegal addresses teach about one device. A block that is refused is cut in two, and so on, until a
 * half answers on both sides of a cut (then the gap there is a hole) or a lone point is refused (then the
 * point is bad). Cuts that did not help are taken back. Pure; owned by the worker, one a device.
 *
 *   refused block ──► cut ──► both sides answer ──► hole for good
 *                      └────► a side is refused ──► innocent; cut again … lone point: bad
 *
 * A block of several points whose registers are not all the same is never given up: where no hole more can be
 * kept, the device is read with more care.
 */
#ifndef MBGATE_BUS_HOLES_H
#define MBGATE_BUS_HOLES_H

#include <stdbool.h>
#include <stddef.h>

#include "mbgate/bus/plan.h"

#define HOLES_MAX 64 /* of one device; when they are used up, holes_care says what is done without */

/* What a device of very many holes is spared, so that its points are read without knowing each of them. */
enum holes_care {
        HOLES_CARE_NONE,
        HOLES_CARE_GAPS,  /* no gap is ever read: holes in gaps need not be known */
        HOLES_CARE_JOINS, /* no two points are read at once: no hole need be known */
};

enum hole_state {
        HOLE_KNOWN,    /* for good */
        HOLE_TRIAL,    /* a cut that may explain the refusal */
        HOLE_INNOCENT, /* a cut that does not: goes when the bisection ends */
};

struct hole_note {
        enum hole_state state;
        uint32_t left, right; /* ids of the points on both sides of a cut */
        bool left_ok, right_ok;
        uint16_t gap_address, gap_count; /* what becomes of it when it proves right */
};

struct holes {
        struct plan_hole list[HOLES_MAX]; /* as the planner takes them */
        struct hole_note notes[HOLES_MAX];
        size_t n;
        enum holes_care care;
};

enum holes_verdict {
        HOLES_NOTHING = 0,
        HOLES_REPLAN = 1, /* plan the device anew */
        HOLES_BAD = 2,    /* the block's points are refused by themselves; plan anew too */
};

/* A block was answered. HOLES_NOTHING or HOLES_REPLAN. */
enum holes_verdict holes_answered(struct holes *h, const struct plan_block *block);

/* A block was refused with an illegal address or value. HOLES_REPLAN or HOLES_BAD. */
enum holes_verdict holes_refused(struct holes *h, const struct plan_block *block);

/* Whether nothing but a gap lies between two blocks. */
bool holes_are_neighbours(const struct plan_block *a, const struct plan_block *b);

/* One request for two neighbours was refused: they are read apart, for good if each answers. false: no room.
 */
bool holes_join_refused(struct holes *h, const struct plan_block *a, const struct plan_block *b);

/* Something known for good, from an earlier run. */
void holes_add_known(struct holes *h, const struct plan_hole *hole);

/* Forgets all but what is known for good: the points have other numbers now. */
void holes_keep_known(struct holes *h);

/* The same of care. */
void holes_add_care(struct holes *h, enum holes_care care);

/* Whether exactly this block was found to be refused by itself. */
bool holes_is_bad(const struct holes *h, const struct plan_block *block);

#endif
