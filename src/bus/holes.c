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

static void holes_cut(struct holes *h, const struct plan_block *b, size_t k, uint16_t gap)
{
        enum conf_area area = b->points[0]->area;
        uint16_t address = b->points[k]->address;

        h->list[h->n] = (struct plan_hole){ .area = area, .address = address };
        h->notes[h->n] = (struct hole_note){
                .state = HOLE_TRIAL,
                .left = b->points[k - 1]->id,
                .right = b->points[k]->id,
                .gap_address = (uint16_t)(address - gap),
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
        if (k == 0 || h->n == HOLES_MAX)
                return holes_condemn(h, block);
        holes_cut(h, block, k, gap);
        return HOLES_REPLAN;
}
