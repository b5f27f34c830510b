/* SPDX-License-Identifier: MIT */
/*
 * Mail that was under way at a reload names points by the configuration before. Of buses that go on it is as
 * true as ever: dropped, a value read once an hour would be an hour late.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_private.h"

int gw_past_new(const struct conf *conf, struct gw_past **ret)
{
        struct gw_past *past = malloc(sizeof(*past) + conf->n_points * sizeof(past->points[0]));

        if (!past)
                return -ENOMEM;
        past->generation = conf->generation;
        past->n_points = conf->n_points;
        for (size_t i = 0; i < past->n_points; i++)
                past->points[i] = GW_GONE;
        *ret = past;
        return 0;
}

void gw_past_begin(struct gateway *g, struct gw_past *past)
{
        free(g->pasts[GW_PASTS_MAX - 1]);
        memmove(&g->pasts[1], &g->pasts[0], (GW_PASTS_MAX - 1) * sizeof(g->pasts[0]));
        g->pasts[0] = past;
        for (size_t k = 1; k < GW_PASTS_MAX && g->pasts[k]; k++) {
                struct gw_past *older = g->pasts[k];

                for (size_t i = 0; i < older->n_points; i++) {
                        if (older->points[i] != GW_GONE)
                                older->points[i] = past->points[older->points[i]];
                }
        }
}

void gw_pasts_free(struct gateway *g)
{
        for (size_t k = 0; k < GW_PASTS_MAX; k++)
                free(g->pasts[k]);
}

struct gw_point *gw_point_named(const struct gateway *g, uint32_t generation, uint32_t point)
{
        if (generation == g->conf->generation)
                return point < g->conf->n_points ? g->points[point] : NULL;
        for (size_t k = 0; k < GW_PASTS_MAX && g->pasts[k]; k++) {
                const struct gw_past *past = g->pasts[k];

                if (past->generation != generation)
                        continue;
                if (point >= past->n_points || past->points[point] == GW_GONE)
                        return NULL;
                return g->points[past->points[point]];
        }
        return NULL;
}
