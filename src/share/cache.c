/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/macros.h"

#include "cache.h"

struct cache_run {
        struct cache_run *next;
        uint8_t unit;
        enum pdu_function area;
        uint16_t address;
        size_t n_regs;
        uint64_t done_us;
        uint16_t regs[];
};

/* Takes the run at *at out and frees it. */
static void run_drop(struct cache *c, struct cache_run **at)
{
        struct cache_run *run = *at;

        *at = run->next;
        c->n_runs--;
        c->n_regs -= run->n_regs;
        free(run);
}

void cache_done(struct cache *c)
{
        while (c->runs)
                run_drop(c, &c->runs);
}

void cache_forget(struct cache *c, uint8_t unit)
{
        for (struct cache_run **at = &c->runs; *at;) {
                if (unit == 0 || (*at)->unit == unit)
                        run_drop(c, at);
                else
                        at = &(*at)->next;
        }
}

/* A run that the new one covers says nothing more. */
static void drop_covered(struct cache *c, const struct cache_run *new)
{
        for (struct cache_run **at = &c->runs; *at;) {
                const struct cache_run *run = *at;

                if (run->unit == new->unit && run->area == new->area && run->address >= new->address &&
                    run->address + run->n_regs <= new->address + new->n_regs)
                        run_drop(c, at);
                else
                        at = &(*at)->next;
        }
}

static void drop_oldest(struct cache *c)
{
        struct cache_run **at = &c->runs;

        while ((*at)->next)
                at = &(*at)->next;
        run_drop(c, at);
}

void cache_put(struct cache *c, uint8_t unit, enum pdu_function area, uint16_t address, const uint16_t *regs,
               size_t n_regs, uint64_t done_us)
{
        struct cache_run *run;

        if (n_regs == 0 || n_regs > PDU_READ_BITS_MAX)
                return;
        run = malloc(sizeof(*run) + n_regs * sizeof(*regs));
        if (!run)
                return;
        *run = (struct cache_run){
                .unit = unit, .area = area, .address = address, .n_regs = n_regs, .done_us = done_us
        };
        memcpy(run->regs, regs, n_regs * sizeof(*regs));
        drop_covered(c, run);
        run->next = c->runs;
        c->runs = run;
        c->n_runs++;
        c->n_regs += n_regs;
        while (c->n_runs > CACHE_RUNS_MAX || c->n_regs > CACHE_REGS_MAX)
                drop_oldest(c);
}

/* The newest run that has the register, or NULL. */
static const struct cache_run *run_of(const struct cache *c, uint8_t unit, enum pdu_function area, size_t reg)
{
        for (const struct cache_run *run = c->runs; run; run = run->next) {
                if (run->unit == unit && run->area == area && reg >= run->address &&
                    reg < run->address + run->n_regs)
                        return run;
        }
        return NULL;
}

bool cache_get(const struct cache *c, uint8_t unit, enum pdu_function area, uint16_t address, size_t n_regs,
               uint64_t since_us, uint16_t *regs)
{
        for (size_t i = 0; i < n_regs; i++) {
                const struct cache_run *run = run_of(c, unit, area, address + i);

                if (!run || run->done_us < since_us)
                        return false;
                regs[i] = run->regs[address + i - run->address];
        }
        return true;
}
