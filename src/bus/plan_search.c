/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan_search.h"

/* A block that may still grow; an end of 0: there is none. */
struct open_block {
        uint32_t address, end;
};

/* How a point was placed. */
struct step {
        uint32_t before; /* the step that placed the point before it */
        uint8_t class;
        bool is_new;
};

struct way {
        double rate; /* line time for a second of all blocks so far */
        struct step step;
        struct open_block open[PLAN_INTERVALS];
};

struct search {
        const struct plan_search *in;
        enum conf_area area;
        uint64_t intervals_us[PLAN_INTERVALS]; /* from the shortest */
        double opening[PLAN_INTERVALS];        /* a new block costs no more than that beyond what it reads */
        double byte[PLAN_INTERVALS];
        uint32_t last_end; /* of all points */
        unsigned n_classes;
        struct way ways[2][PLAN_WAYS]; /* before and behind a point, by turns */
        size_t n_ways;
        struct step *steps; /* of point i at i × PLAN_WAYS */
};

static bool search_is_bits(const struct search *s)
{
        return s->area == CONF_COIL || s->area == CONF_DISCRETE;
}

/* As plan_read_us(), but not rounded: blocks that are equally long must not differ by where they begin. */
static double read_us(const struct search *s, unsigned count)
{
        const struct plan_cost *c = s->in->cost;
        double us = (double)plan_fixed_us(c);

        if (c->baud != 0)
                us += (double)(plan_read_chars(plan_function(s->area), count) * c->char_bits) * 1e6 / c->baud;
        return us;
}

static double range_rate(const struct search *s, unsigned class, uint32_t begin, uint32_t end)
{
        return read_us(s, plan_range(s->in->device, s->area, begin, end).count) /
               (double)s->intervals_us[class];
}

/* Whether the open block may take something from `address` on, so that it reaches to `end` at least. */
static bool block_may_reach(const struct search *s, const struct open_block *b, uint32_t address,
                            uint32_t end)
{
        struct plan_range range;

        end = MBGATE_MAX(b->end, end);
        if (b->end == 0 || (address > b->end && (!s->in->device->join_gaps || s->in->cost->skips_gaps)) ||
            end - b->address > PDU_READ_BITS_MAX)
                return false;
        range = plan_range(s->in->device, s->area, b->address, end);
        return plan_may_read(s->in->device, s->in->holes, s->in->n_holes, s->area, range) &&
               !plan_is_long(s->in->cost, plan_function(s->area), range.count);
}

/* Characters that `n` registers or bits more may cost, as a rate. */
static double more_rate(const struct search *s, unsigned k, uint32_t n)
{
        return s->byte[k] * (search_is_bits(s) ? n / 8 + 1 : 2 * n);
}

/*
 * What a must pay at most to have an open block that is as good as b's. One that begins later has more room,
 * and one that begins sooner has enough if everything that comes fits; one that ends later has been paid for.
 */
static double open_price(const struct search *s, const struct way *a, const struct way *b, unsigned k)
{
        const struct open_block *x = &a->open[k], *y = &b->open[k];
        double price = 0;

        if (y->end == 0)
                return 0;
        if (x->end == 0 || (x->address < y->address && !block_may_reach(s, x, x->end, s->last_end)))
                return s->opening[k];
        if (x->end < y->end)
                price = more_rate(s, k, y->end - x->end + s->in->device->even_addresses);
        if (search_is_bits(s) && (x->address - y->address) % 8 != 0)
                price += s->byte[k];
        return MBGATE_MIN(price, s->opening[k]);
}

/* Whatever b can become, a can become too, at no more. */
static bool way_is_as_good(const struct search *s, const struct way *a, const struct way *b)
{
        double rate = a->rate;

        for (unsigned k = 0; k < s->n_classes && rate <= b->rate; k++)
                rate += open_price(s, a, b, k);
        return rate <= b->rate;
}

static size_t worst_of(const struct way *ways, size_t n)
{
        size_t worst = 0;

        for (size_t i = 1; i < n; i++) {
                if (ways[i].rate > ways[worst].rate)
                        worst = i;
        }
        return worst;
}

static size_t ways_add(const struct search *s, struct way *ways, size_t n, const struct way *w)
{
        size_t at;

        for (size_t i = 0; i < n; i++) {
                if (way_is_as_good(s, &ways[i], w))
                        return n;
        }
        for (size_t i = n; i-- > 0;) {
                if (way_is_as_good(s, w, &ways[i]))
                        ways[i] = ways[--n];
        }
        if (n < PLAN_WAYS) {
                ways[n++] = *w;
                return n;
        }
        at = worst_of(ways, n);
        if (w->rate < ways[at].rate)
                ways[at] = *w;
        return n;
}

/* Blocks that no later point can join, since not even the next address is within their reach. */
static void way_close(const struct search *s, struct way *w, const struct conf_point *p)
{
        for (unsigned k = 0; k < s->n_classes; k++) {
                if (!block_may_reach(s, &w->open[k], p->address, p->address + 1))
                        w->open[k] = (struct open_block){ 0 };
        }
}

static unsigned class_of(const struct search *s, const struct conf_point *p)
{
        unsigned k = 0;

        while (k + 1 < s->n_classes && s->intervals_us[k + 1] <= plan_point_interval_us(p))
                k++;
        return k;
}

/* The ways behind a point out of those before it. */
static void search_place(struct search *s, const struct conf_point *const *points, size_t i)
{
        const struct conf_point *p = points[i];
        const struct way *before = s->ways[i % 2];
        struct way *behind = s->ways[(i + 1) % 2];
        unsigned class = class_of(s, p);
        size_t n = 0;

        for (size_t v = 0; v < s->n_ways; v++) {
                struct way way = before[v];

                way_close(s, &way, p);
                for (unsigned k = 0; k <= class; k++) {
                        const struct open_block *b = &way.open[k];
                        struct way next = way;
                        uint32_t end = MBGATE_MAX(b->end, plan_point_end(p));

                        next.step = (struct step){ .before = (uint32_t)v, .class = (uint8_t)k };
                        if (block_may_reach(s, b, p->address, end)) {
                                next.rate += range_rate(s, k, b->address, end) -
                                             range_rate(s, k, b->address, b->end);
                                next.open[k].end = end;
                                n = ways_add(s, behind, n, &next);
                        }
                        next = way;
                        next.step =
                                (struct step){ .before = (uint32_t)v, .class = (uint8_t)k, .is_new = true };
                        next.open[k] = (struct open_block){ p->address, plan_point_end(p) };
                        next.rate += range_rate(s, k, p->address, plan_point_end(p));
                        n = ways_add(s, behind, n, &next);
                }
        }
        s->n_ways = n;
        for (size_t v = 0; v < s->n_ways; v++)
                s->steps[i * PLAN_WAYS + v] = behind[v].step;
}

/* The points' intervals from the shortest; where there are too many, those that differ least are taken as
 * one. */
static void search_classes(struct search *s, const struct conf_point *const *points, size_t n)
{
        uint64_t found_us[PLAN_INTERVALS + 1];
        unsigned n_found = 0;

        for (size_t i = 0; i < n; i++) {
                uint64_t us = plan_point_interval_us(points[i]);
                unsigned k = n_found, closest = 1;

                while (k > 0 && found_us[k - 1] > us)
                        k--;
                if (k > 0 && found_us[k - 1] == us)
                        continue;
                memmove(&found_us[k + 1], &found_us[k], (n_found - k) * sizeof(found_us[0]));
                found_us[k] = us;
                if (++n_found <= PLAN_INTERVALS)
                        continue;
                for (k = 2; k < n_found; k++) {
                        if ((double)found_us[k] / (double)found_us[k - 1] <
                            (double)found_us[closest] / (double)found_us[closest - 1])
                                closest = k;
                }
                n_found--;
                memmove(&found_us[closest], &found_us[closest + 1],
                        (n_found - closest) * sizeof(found_us[0]));
        }
        s->n_classes = n_found;
        memcpy(s->intervals_us, found_us, n_found * sizeof(found_us[0]));
}

/* What the bounds of the search rest on. */
static void search_prepare(struct search *s, const struct conf_point *const *points, size_t n)
{
        uint32_t n_more = s->in->device->even_addresses ? 2 : 0;

        for (size_t i = 0; i < n; i++) {
                /* Where points overlap, a block that begins later may reach less far. */
                if (s->last_end > points[i]->address)
                        n_more = MBGATE_MAX(n_more, s->last_end - points[i]->address + 1);
                s->last_end = MBGATE_MAX(s->last_end, plan_point_end(points[i]));
        }
        for (unsigned k = 0; k < s->n_classes; k++) {
                s->byte[k] = (read_us(s, search_is_bits(s) ? 9 : 1) - read_us(s, search_is_bits(s) ? 1 : 0)) /
                             (search_is_bits(s) ? 1.0 : 2.0) / (double)s->intervals_us[k];
                s->opening[k] = read_us(s, 0) / (double)s->intervals_us[k] +
                                (search_is_bits(s) || n_more > 0 ? more_rate(s, k, n_more) : 0);
        }
}

/* Numbers the blocks along the best way. */
static void search_result(const struct search *s, size_t n, size_t *ret_blocks)
{
        const struct way *ways = s->ways[n % 2];
        size_t numbers[PLAN_INTERVALS] = { 0 }, n_blocks = 0, best = 0;

        for (size_t v = 1; v < s->n_ways; v++) {
                if (ways[v].rate < ways[best].rate)
                        best = v;
        }
        /* Backwards the way is found, forwards the blocks are numbered. */
        for (size_t i = n; i-- > 0;) {
                ret_blocks[i] = best;
                best = s->steps[i * PLAN_WAYS + best].before;
        }
        for (size_t i = 0; i < n; i++) {
                const struct step *step = &s->steps[i * PLAN_WAYS + ret_blocks[i]];

                if (step->is_new)
                        numbers[step->class] = n_blocks++;
                ret_blocks[i] = numbers[step->class];
        }
}

int plan_search_run(const struct plan_search *in, const struct conf_point *const *points, size_t n,
                    size_t *ret_blocks)
{
        struct search *s;

        if (n == 0)
                return 0;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->steps = calloc(n, PLAN_WAYS * sizeof(*s->steps));
        if (!s->steps) {
                free(s);
                return -ENOMEM;
        }
        s->in = in;
        s->area = points[0]->area;
        s->n_ways = 1;
        search_classes(s, points, n);
        search_prepare(s, points, n);
        for (size_t i = 0; i < n; i++)
                search_place(s, points, i);
        search_result(s, n, ret_blocks);
        free(s->steps);
        free(s);
        return 0;
}
