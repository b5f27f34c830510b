/* SPDX-License-Identifier: MIT */
#include "holes.h"

static uint32_t point_end(const struct conf_point *p)
{
        return (uint32_t)p->address + value_n_regs(&p->format);
}

static bool block_has(const struct plan_block *b, uint32_t point)
{
        for (size_t i = 0; i < b->n_points; i++) {
                if (b->points[i]->id == point)
                        return true;
        }
        return false;
}

static void holes_remove(struct holes *h, size_t i)
{
        h->n--;
        h->list[i] = h->list[h->n];
        h->notes[i] = h->notes[h->n];
}

static void holes_drop_innocent(struct holes *h)
{
        for (size_t i = h->n; i-- > 0;) {
                if (h->notes[i].state == HOLE_INNOCENT)
                        holes_remove(h, i);
        }
}

/* A cut that was right becomes a hole; where there is no gap it stays a cut. */
static void holes_confirm(struct holes *h, size_t i)
{
        h->notes[i].state = HOLE_KNOWN;
        if (h->notes[i].gap_count > 0) {
                h->list[i].address = h->notes[i].gap_address;
                h->list[i].count = h->notes[i].gap_count;
        }
}

/* The number of the hole that is exactly this block, or h->n. */
static size_t holes_find(const struct holes *h, const struct plan_block *b)
{
        size_t i = 0;

        while (i < h->n && !(h->notes[i].state == HOLE_KNOWN && h->list[i].area == b->points[0]->area &&
                             h->list[i].address == b->address && h->list[i].count == b->count))
                i++;
        return i;
}

bool holes_is_bad(const struct holes *h, const struct plan_block *block)
{
        return holes_find(h, block) < h->n;
}

void holes_add_known(struct holes *h, const struct plan_hole *hole)
{
        if (h->n == HOLES_MAX)
                return;
        h->list[h->n] = *hole;
        h->notes[h->n++] = (struct hole_note){ .state = HOLE_KNOWN };
}

void holes_add_care(struct holes *h, enum holes_care care)
{
        h->care = MBGATE_MAX(h->care, care);
}

void holes_keep_known(struct holes *h)
{
        for (size_t i = h->n; i-- > 0;) {
                if (h->notes[i].state != HOLE_KNOWN)
                        holes_remove(h, i);
        }
}

enum holes_verdict holes_answered(struct holes *h, const struct plan_block *block)
{
        size_t bad = holes_find(h, block);
        bool confirmed = false;

        /* It exists after all (a device was exchanged or configured). */
        if (bad < h->n) {
                holes_remove(h, bad);
                confirmed = true;
        }
        for (size_t i = 0; i < h->n; i++) {
                struct hole_note *n = &h->notes[i];

                if (n->state != HOLE_TRIAL)
                        continue;
                n->left_ok = n->left_ok || block_has(block, n->left);
                n->right_ok = n->right_ok || block_has(block, n->right);
                if (n->left_ok && n->right_ok) {
                        holes_confirm(h, i);
                        confirmed = true;
                }
        }
        if (!confirmed)
                return HOLES_NOTHING;
        holes_drop_innocent(h);
        return HOLES_REPLAN;
}

/*
 * Where to cut: between points k−1 and k, the boundary nearest to the middle, one with a gap before one
 * without (what nobody asked for is the likelier culprit). 0: the points overlap, there is no boundary.
 */
static size_t block_boundary(const struct plan_block *b, uint16_t *ret_gap)
{
        uint32_t end = 0, best_distance = UINT32_MAX;
        size_t best = 0;
        bool best_is_gap = false;

        for (size_t k = 1; k < b->n_points; k++) {
                uint32_t address = b->points[k]->address;
                uint32_t middle2 = 2u * b->address + b->count, distance;
                bool is_gap;

                end = MBGATE_MAX(end, point_end(b->points[k - 1]));
                if (address < end)
                        continue;
                is_gap = address > end;
                distance = 2 * address > middle2 ? 2 * address - middle2 : middle2 - 2 * address;
                if ((is_gap && !best_is_gap) || (is_gap == best_is_gap && distance < best_distance)) {
                        best = k;
                        best_is_gap = is_gap;
                        best_distance = distance;
                        *ret_gap = (uint16_t)(address - end);
                }
        }
        return best;
}

/* On trial, before `right`, which begins so many registers behind the end of what `left` belongs to. */
static void holes_cut(struct holes *h, const struct conf_point *left, const struct conf_point *right,
                      uint16_t gap)
{
        h->list[h->n] = (struct plan_hole){ .area = right->area, .address = right->address };
        h->notes[h->n] = (struct hole_note){
                .state = HOLE_TRIAL,
                .left = left->id,
                .right = right->id,
                .gap_address = (uint16_t)(right->address - gap),
                .gap_count = gap,
        };
        h->n++;
}

/* The points' own registers are refused: nobody else's block may hold them from now on. */
static enum holes_verdict holes_condemn(struct holes *h, const struct plan_block *b)
{
        holes_drop_innocent(h);
        if (h->n < HOLES_MAX) {
                h->list[h->n] = (struct plan_hole){ b->points[0]->area, b->address, b->count };
                h->notes[h->n] = (struct hole_note){ .state = HOLE_KNOWN };
                h->n++;
        }
        return HOLES_BAD;
}

static bool hole_has_point(const struct plan_hole *hole, const struct conf_device *device)
{
        for (size_t i = 0; i < device->n_points; i++) {
                const struct conf_point *p = &device->points[i];

                if (p->area == hole->area && p->address < (uint32_t)hole->address + hole->count &&
                    point_end(p) > hole->address)
                        return true;
        }
        return false;
}

/* There is no room for another hole: more care, and what need not be known any more makes room. */
static enum holes_verdict holes_take_care(struct holes *h, const struct plan_block *b)
{
        if (h->care == HOLES_CARE_JOINS)
                return HOLES_BAD; /* the plan is older than that */
        h->care = h->care == HOLES_CARE_NONE ? HOLES_CARE_GAPS : HOLES_CARE_JOINS;
        for (size_t i = h->n; i-- > 0;) {
                bool is_cut = h->list[i].count == 0;

                if (h->notes[i].state != HOLE_KNOWN || (is_cut && h->care == HOLES_CARE_JOINS) ||
                    (!is_cut && !hole_has_point(&h->list[i], b->device)))
                        holes_remove(h, i);
        }
        return HOLES_REPLAN;
}

enum holes_verdict holes_refused(struct holes *h, const struct plan_block *block)
{
        uint16_t gap = 0;
        size_t k;

        for (size_t i = 0; i < h->n; i++) {
                if (h->notes[i].state == HOLE_TRIAL &&
                    (block_has(block, h->notes[i].left) || block_has(block, h->notes[i].right)))
                        h->notes[i].state = HOLE_INNOCENT;
        }
        if (holes_is_bad(h, block))
                return HOLES_BAD;
        k = block_boundary(block, &gap);
        if (block->n_points > 1 && h->n == HOLES_MAX)
                return holes_take_care(h, block);
        if (k == 0)
                return holes_condemn(h, block);
        holes_cut(h, block->points[k - 1], block->points[k], gap);
        return HOLES_REPLAN;
}

/* What lies between two blocks: nothing when they touch. false: they overlap, or there are others' points. */
static bool gap_between(const struct plan_block *left, const struct plan_block *right,
                        struct plan_hole *ret_gap)
{
        uint32_t end = 0, begin = right->points[0]->address;

        for (size_t i = 0; i < left->n_points; i++)
                end = MBGATE_MAX(end, point_end(left->points[i]));
        if (begin < end)
                return false;
        *ret_gap = (struct plan_hole){ right->points[0]->area, (uint16_t)end, (uint16_t)(begin - end) };
        return !hole_has_point(ret_gap, left->device);
}

bool holes_are_neighbours(const struct plan_block *a, const struct plan_block *b)
{
        struct plan_hole gap;

        return gap_between(a->address <= b->address ? a : b, a->address <= b->address ? b : a, &gap);
}

bool holes_join_refused(struct holes *h, const struct plan_block *a, const struct plan_block *b)
{
        const struct plan_block *left = a->address <= b->address ? a : b, *right = left == a ? b : a;
        struct plan_hole gap;

        if (h->n == HOLES_MAX || !gap_between(left, right, &gap))
                return false;
        holes_cut(h, left->points[0], right->points[0], gap.count);
        return true;
}
