/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan_draft.h"

/* Less is no improvement but rounding. */
#define BETTER_BY 1e-9

struct block {
        uint32_t begin, end; /* an end of 0: there is none */
        unsigned class;      /* its shortest interval's */
};

struct draft {
        const struct plan_search *in;
        struct search *search;
        const struct conf_point *const *points;
        size_t n;
        size_t *of;           /* the block of each point, < n */
        struct block *blocks; /* by number, 2 × n */
        uint64_t intervals_us[PLAN_INTERVALS];
        unsigned n_classes;
        const struct conf_point **some; /* those that are distributed anew */
        size_t *some_at, *some_of;      /* the index and the new block of each */
        size_t *numbers;                /* of blocks, 2 × n */
        /* When something became better in a class, and when each set was searched: [a][b][b] is a pair. */
        unsigned now, changed[PLAN_INTERVALS];
        unsigned searched[PLAN_INTERVALS][PLAN_INTERVALS][PLAN_INTERVALS];
};

/* The points' intervals from the shortest. */
static void draft_classes(struct draft *d)
{
        uint64_t found_us[PLAN_INTERVALS + 1];
        unsigned n = 0;

        for (size_t i = 0; i < d->n; i++) {
                uint64_t us = plan_point_interval_us(d->points[i]);
                unsigned k = n, closest = 1;

                while (k > 0 && found_us[k - 1] > us)
                        k--;
                if (k > 0 && found_us[k - 1] == us)
                        continue;
                memmove(&found_us[k + 1], &found_us[k], (n - k) * sizeof(found_us[0]));
                found_us[k] = us;
                if (++n <= PLAN_INTERVALS)
                        continue;
                for (k = 2; k < n; k++) {
                        if ((double)found_us[k] / (double)found_us[k - 1] <
                            (double)found_us[closest] / (double)found_us[closest - 1])
                                closest = k;
                }
                n--;
                memmove(&found_us[closest], &found_us[closest + 1], (n - closest) * sizeof(found_us[0]));
        }
        d->n_classes = n;
        memcpy(d->intervals_us, found_us, n * sizeof(found_us[0]));
}

static unsigned class_of(const struct draft *d, const struct conf_point *p)
{
        unsigned k = 0;

        while (k + 1 < d->n_classes && d->intervals_us[k + 1] <= plan_point_interval_us(p))
                k++;
        return k;
}

/* Numbers the blocks from 0 on, and measures them. */
static void draft_measure(struct draft *d)
{
        size_t n = 0;

        memset(d->numbers, 0, 2 * d->n * sizeof(*d->numbers));
        memset(d->blocks, 0, 2 * d->n * sizeof(*d->blocks));
        for (size_t i = 0; i < d->n; i++) {
                struct block *b;

                if (d->numbers[d->of[i]] == 0)
                        d->numbers[d->of[i]] = ++n;
                d->of[i] = d->numbers[d->of[i]] - 1;
                b = &d->blocks[d->of[i]];
                if (b->end == 0)
                        *b = (struct block){ d->points[i]->address, 0, PLAN_INTERVALS };
                b->end = MBGATE_MAX(b->end, plan_point_end(d->points[i]));
                b->class = MBGATE_MIN(b->class, class_of(d, d->points[i]));
        }
}

static bool is_in(unsigned class, const unsigned *set, unsigned n_set)
{
        for (unsigned i = 0; i < n_set; i++) {
                if (set[i] == class)
                        return true;
        }
        return false;
}

/* Searches for a better way to distribute the points of all blocks of a few classes. true: found. */
static bool draft_improve(struct draft *d, const unsigned *set, unsigned n_set)
{
        uint64_t intervals_us[PLAN_CLASSES];
        double before = 0;
        size_t n = 0;

        for (unsigned i = 0; i < n_set; i++)
                intervals_us[i] = d->intervals_us[set[i]];
        for (size_t b = 0; b < d->n && d->blocks[b].end != 0; b++) {
                if (is_in(d->blocks[b].class, set, n_set))
                        before += plan_search_rate(d->search, d->intervals_us[d->blocks[b].class],
                                                   d->blocks[b].begin, d->blocks[b].end);
        }
        for (size_t i = 0; i < d->n; i++) {
                if (!is_in(d->blocks[d->of[i]].class, set, n_set))
                        continue;
                d->some_at[n] = i;
                d->some[n++] = d->points[i];
        }
        if (plan_search_run(d->search, intervals_us, n_set, d->some, n, d->n, d->some_of) >=
            before * (1 - BETTER_BY))
                return false;
        for (size_t i = 0; i < n; i++)
                d->of[d->some_at[i]] = d->some_of[i];
        draft_measure(d);
        return true;
}

static bool draft_is_over(const struct draft *d)
{
        return !d->in->is_thorough && plan_search_work(d->search) >= PLAN_WORK;
}

/* One set, unless nothing has changed there since. b = c: a pair. true: better. */
static bool draft_try(struct draft *d, unsigned a, unsigned b, unsigned c)
{
        const unsigned set[] = { a, b, c };
        unsigned n_set = b == c ? 2 : 3, *searched = &d->searched[a][b][c];
        unsigned changed = MBGATE_MAX(MBGATE_MAX(d->changed[a], d->changed[b]), d->changed[c]);
        bool is_better;

        if (*searched > changed || draft_is_over(d))
                return false;
        is_better = draft_improve(d, set, n_set);
        if (is_better)
                d->changed[a] = d->changed[b] = d->changed[c] = d->now;
        *searched = ++d->now;
        return is_better;
}

/* Every two classes, or every three of them. true: something became better. */
static bool draft_try_all(struct draft *d, bool are_three)
{
        bool is_better = false;

        for (unsigned a = 0; a < d->n_classes; a++) {
                for (unsigned b = a + 1; b < d->n_classes; b++) {
                        if (!are_three)
                                is_better |= draft_try(d, a, b, b);
                        for (unsigned c = b + 1; are_three && c < d->n_classes; c++)
                                is_better |= draft_try(d, a, b, c);
                }
        }
        return is_better;
}

/* Points of one class only, read with no others. */
static size_t draft_class(struct draft *d, unsigned class, size_t first)
{
        size_t n = 0, next = first;

        for (size_t i = 0; i < d->n; i++) {
                if (class_of(d, d->points[i]) != class)
                        continue;
                d->some_at[n] = i;
                d->some[n++] = d->points[i];
        }
        (void)plan_search_run(d->search, &d->intervals_us[class], 1, d->some, n, first, d->some_of);
        for (size_t i = 0; i < n; i++) {
                d->of[d->some_at[i]] = d->some_of[i];
                next = MBGATE_MAX(next, d->some_of[i] + 1);
        }
        return next;
}

/* true: that is the optimum. */
static bool draft_begin(struct draft *d)
{
        size_t first = 0;

        if (d->n_classes <= (d->in->is_thorough ? PLAN_CLASSES : PLAN_AT_ONCE)) {
                (void)plan_search_run(d->search, d->intervals_us, d->n_classes, d->points, d->n, 0, d->of);
                /* All of them at once would be the same search again. */
                if (d->n_classes == 3)
                        d->searched[0][1][2] = d->now;
                return d->n_classes <= 2 || !plan_search_was_cut(d->search);
        }
        for (unsigned k = 0; k < d->n_classes; k++)
                first = draft_class(d, k, first);
        return false;
}

static void draft_make(struct draft *d)
{
        d->now = 1;
        draft_classes(d);
        if (draft_begin(d))
                return;
        draft_measure(d);
        while (!draft_is_over(d) && (draft_try_all(d, false) || draft_try_all(d, true)))
                ;
}

static void draft_free(struct draft *d)
{
        plan_search_free(d->search);
        free(d->blocks);
        free(d->some);
        free(d->some_at);
        free(d->some_of);
        free(d->numbers);
        free(d);
}

int plan_draft_run(const struct plan_search *in, const struct conf_point *const *points, size_t n,
                   size_t *ret_blocks)
{
        struct draft *d;

        if (n == 0)
                return 0;
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->in = in;
        d->points = points;
        d->n = n;
        d->of = ret_blocks;
        d->blocks = calloc(2 * n, sizeof(*d->blocks));
        d->some = calloc(n, sizeof(*d->some));
        d->some_at = calloc(n, sizeof(*d->some_at));
        d->some_of = calloc(n, sizeof(*d->some_of));
        d->numbers = calloc(2 * n, sizeof(*d->numbers));
        if (!d->blocks || !d->some || !d->some_at || !d->some_of || !d->numbers ||
            plan_search_new(in, points[0]->area, n, &d->search) < 0) {
                draft_free(d);
                return -ENOMEM;
        }
        draft_make(d);
        draft_free(d);
        return 0;
}
