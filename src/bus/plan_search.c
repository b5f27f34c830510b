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
        double burden;
        struct step step;
        struct open_block open[PLAN_CLASSES];
};

struct search {
        const struct plan_search *in;
        enum conf_area area;
        uint64_t intervals_us[PLAN_CLASSES]; /* from the shortest */
        double opening[PLAN_CLASSES];        /* a new block costs no more than that beyond what it reads */
        double byte[PLAN_CLASSES];
        double request_us, byte_us; /* of a block: what it costs, and what each byte of data adds */
        unsigned max_count;         /* registers or bits that one request may ask for */
        uint32_t last_end;          /* of all points */
        uint32_t here;              /* the end of the point that is placed */
        unsigned n_classes;
        struct way *ways[2]; /* before and behind a point, by turns */
        size_t n_ways, max_ways;
        struct step *steps; /* of point i at i × max_ways */
        bool was_cut;       /* ways were dropped for want of room */
        uint64_t n_compared;
};

static bool search_is_bits(const struct search *s)
{
        return s->area == CONF_COIL || s->area == CONF_DISCRETE;
}

/* What all blocks have in common. */
static void search_costs(struct search *s)
{
        const struct conf_device *d = s->in->device;
        const struct plan_cost *c = s->in->cost;
        enum pdu_function function = plan_function(s->area);

        s->request_us = (double)plan_fixed_us(c);
        if (c->baud != 0) {
                s->byte_us = c->char_bits * 1e6 / c->baud;
                s->request_us += s->byte_us * (double)plan_read_chars(function, 0);
        }
        s->max_count = search_is_bits(s) ? d->max_bits : d->max_registers;
        while (s->max_count > 0 && plan_is_long(c, function, s->max_count))
                s->max_count--;
}

/* As plan_read_us(), but not rounded: blocks that are equally long must not differ by where they begin. */
static double read_us(const struct search *s, unsigned count)
{
        unsigned n_bytes = search_is_bits(s) ? (count + 7) / 8 : 2 * count;

        return s->request_us + s->byte_us * n_bytes;
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
        return range.count <= s->max_count && range.address + (uint32_t)range.count <= UINT16_MAX + 1u &&
               (s->in->n_holes == 0 ||
                plan_may_read(s->in->device, s->in->holes, s->in->n_holes, s->area, range));
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

/*
 * By what ways are compared when there are too many: the rate, and what the open blocks would save the points
 * that come next. That is, of two that cost the same the one with less open stays, found by trial: its points
 * are in blocks that are finished, and what it lacks each can open, while those with much open resemble one
 * another.
 */
static double way_burden(const struct search *s, const struct way *w)
{
        double burden = w->rate;

        for (unsigned k = 0; k < s->n_classes; k++) {
                const struct open_block *b = &w->open[k];

                if (b->end != 0)
                        burden += MBGATE_MAX(
                                s->opening[k] - (s->here > b->end ? more_rate(s, k, s->here - b->end) : 0),
                                0.0);
        }
        return burden;
}

static size_t worst_of(const struct way *ways, size_t n)
{
        size_t worst = 0;

        for (size_t i = 1; i < n; i++) {
                if (ways[i].burden > ways[worst].burden)
                        worst = i;
        }
        return worst;
}

static size_t ways_add(struct search *s, struct way *ways, size_t n, struct way *w)
{
        size_t at;

        s->n_compared += n + 1;
        for (size_t i = 0; i < n; i++) {
                if (way_is_as_good(s, &ways[i], w))
                        return n;
        }
        for (size_t i = n; i-- > 0;) {
                if (way_is_as_good(s, w, &ways[i]))
                        ways[i] = ways[--n];
        }
        w->burden = way_burden(s, w);
        if (n < s->max_ways) {
                ways[n++] = *w;
                return n;
        }
        s->was_cut = true;
        at = worst_of(ways, n);
        if (w->burden < ways[at].burden)
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

        s->here = plan_point_end(p);
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
                s->steps[i * s->max_ways + v] = behind[v].step;
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

/* Numbers the blocks along the best way, from `first` on; its rate. */
static double search_result(const struct search *s, size_t n, size_t first, size_t *ret_blocks)
{
        const struct way *ways = s->ways[n % 2];
        size_t numbers[PLAN_CLASSES] = { 0 }, best = 0;
        double rate;

        for (size_t v = 1; v < s->n_ways; v++) {
                if (ways[v].rate < ways[best].rate)
                        best = v;
        }
        rate = ways[best].rate;
        /* Backwards the way is found, forwards the blocks are numbered. */
        for (size_t i = n; i-- > 0;) {
                ret_blocks[i] = best;
                best = s->steps[i * s->max_ways + best].before;
        }
        for (size_t i = 0; i < n; i++) {
                const struct step *step = &s->steps[i * s->max_ways + ret_blocks[i]];

                if (step->is_new)
                        numbers[step->class] = first++;
                ret_blocks[i] = numbers[step->class];
        }
        return rate;
}

double plan_search_run(struct search *s, const uint64_t *intervals_us, unsigned n_intervals,
                       const struct conf_point *const *points, size_t n, size_t first, size_t *ret_blocks)
{
        s->n_classes = n_intervals;
        memcpy(s->intervals_us, intervals_us, n_intervals * sizeof(*intervals_us));
        search_prepare(s, points, n);
        s->was_cut = false;
        s->n_ways = 1;
        s->ways[0][0] = (struct way){ 0 };
        for (size_t i = 0; i < n; i++)
                search_place(s, points, i);
        return search_result(s, n, first, ret_blocks);
}

double plan_search_rate(const struct search *s, uint64_t interval_us, uint32_t begin, uint32_t end)
{
        return read_us(s, plan_range(s->in->device, s->area, begin, end).count) / (double)interval_us;
}

bool plan_search_was_cut(const struct search *s)
{
        return s->was_cut;
}

uint64_t plan_search_work(const struct search *s)
{
        return s->n_compared;
}

int plan_search_new(const struct plan_search *in, enum conf_area area, size_t n_points,
                    struct search **ret_search)
{
        struct search *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->in = in;
        s->area = area;
        search_costs(s);
        s->max_ways = in->is_thorough ? PLAN_WAYS_THOROUGH : PLAN_WAYS;
        s->ways[0] = calloc(s->max_ways, sizeof(*s->ways[0]));
        s->ways[1] = calloc(s->max_ways, sizeof(*s->ways[1]));
        s->steps = calloc(n_points, s->max_ways * sizeof(*s->steps));
        if (!s->ways[0] || !s->ways[1] || !s->steps) {
                plan_search_free(s);
                return -ENOMEM;
        }
        *ret_search = s;
        return 0;
}

void plan_search_free(struct search *s)
{
        if (!s)
                return;
        free(s->ways[0]);
        free(s->ways[1]);
        free(s->steps);
        free(s);
}
