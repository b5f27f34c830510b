/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "mbgate/base/text.h"

#define MAP_POINTS_MAX (1u << 20)

struct map_cell {
        uint32_t point;
        uint16_t address;
        uint16_t word; /* which register of the point's value */
        uint16_t value;
        bool written;
        bool writable;
};

struct map_area_cells {
        struct map_cell *cells;
        size_t n, size;
};

struct map_unit {
        bool dead;
        struct map_area_cells areas[MAP_AREAS];
};

struct map {
        struct map_unit *units[MAP_UNITS_MAX];
        struct map_point *points;
        size_t n_points, size_points;
        bool sparse_ok;
        uint64_t seed;
};

/* The registers of one point at one time, kept while neighbouring cells ask for them. */
struct map_words {
        uint32_t point;
        bool valid;
        uint16_t words[VALUE_REGS_MAX];
        uint16_t mask[VALUE_REGS_MAX];
};

static const char *const area_names[MAP_AREAS] = { "holding", "input", "coil", "discrete" };

int map_area_parse(const char *name, size_t len_bytes, enum map_area *ret)
{
        for (int i = 0; i < MAP_AREAS; i++) {
                if (text_equal_nocase(name, len_bytes, area_names[i])) {
                        *ret = (enum map_area)i;
                        return 0;
                }
        }
        return -EINVAL;
}

int map_new(bool sparse_ok, uint64_t seed, struct map **ret_map)
{
        struct map *map = calloc(1, sizeof(*map));

        if (!map)
                return -ENOMEM;
        map->sparse_ok = sparse_ok;
        map->seed = seed;
        *ret_map = map;
        return 0;
}

struct map *map_free(struct map *map)
{
        if (!map)
                return NULL;
        for (size_t u = 0; u < MAP_UNITS_MAX; u++) {
                for (int a = 0; map->units[u] && a < MAP_AREAS; a++)
                        free(map->units[u]->areas[a].cells);
                free(map->units[u]);
        }
        for (size_t i = 0; i < map->n_points; i++)
                free(map->points[i].name);
        free(map->points);
        free(map);
        return NULL;
}

int map_add_unit(struct map *map, uint8_t unit)
{
        if (!map->units[unit])
                map->units[unit] = calloc(1, sizeof(struct map_unit));
        return map->units[unit] ? 0 : -ENOMEM;
}

/* Room for one more element; doubles. */
static int map_grow(void **array, size_t n, size_t *size, size_t element_bytes)
{
        size_t wanted = *size == 0 ? 16 : *size * 2;
        void *p;

        if (n < *size)
                return 0;
        p = reallocarray(*array, wanted, element_bytes);
        if (!p)
                return -ENOMEM;
        *array = p;
        *size = wanted;
        return 0;
}

static int area_add_cell(struct map_area_cells *area, size_t at, const struct map_cell *cell)
{
        void *cells = area->cells;
        int r = map_grow(&cells, area->n, &area->size, sizeof(*cell));

        if (r < 0)
                return r;
        area->cells = cells;
        memmove(area->cells + at + 1, area->cells + at, (area->n - at) * sizeof(*cell));
        area->cells[at] = *cell;
        area->n++;
        return 0;
}

static int map_add_cells(struct map *map, const struct map_point *p, uint32_t index)
{
        struct map_area_cells *area = &map->units[p->unit]->areas[p->area];
        unsigned n_regs = value_n_regs(&p->format);

        for (uint32_t i = 0; i < p->count; i++) {
                struct map_cell cell = {
                        .point = index,
                        .address = (uint16_t)(p->first + i),
                        .word = (uint16_t)(i % n_regs),
                        .writable = p->writable,
                };
                int r = area_add_cell(area, area->n, &cell);

                if (r < 0)
                        return r;
        }
        return 0;
}

int map_add_point(struct map *map, const struct map_point *point)
{
        void *points = map->points;
        struct map_point *p;
        int r;

        if (point->count == 0 || (uint32_t)point->first + point->count > 65536)
                return -EINVAL;
        r = map_add_unit(map, point->unit);
        if (r == 0)
                r = map_grow(&points, map->n_points, &map->size_points, sizeof(*p));
        if (r < 0)
                return r;
        map->points = points;
        p = &map->points[map->n_points];
        *p = *point;
        if (point->name) {
                p->name = strdup(point->name);
                if (!p->name)
                        return -ENOMEM;
        }
        gen_seed(&p->gen, map->seed + map->n_points);
        return map_add_cells(map, p, (uint32_t)map->n_points++);
}

static int cell_compare(const void *a, const void *b)
{
        const struct map_cell *x = a, *y = b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return x->point < y->point ? -1 : x->point > y->point;
}

void map_seal(struct map *map)
{
        for (size_t u = 0; u < MAP_UNITS_MAX; u++) {
                for (int a = 0; map->units[u] && a < MAP_AREAS; a++) {
                        struct map_area_cells *area = &map->units[u]->areas[a];

                        if (area->n > 1)
                                qsort(area->cells, area->n, sizeof(area->cells[0]), cell_compare);
                }
        }
}

bool map_has_unit(const struct map *map, uint8_t unit)
{
        return map->units[unit] != NULL;
}

int map_next_unit(const struct map *map, int after)
{
        for (int u = after + 1; u < MAP_UNITS_MAX; u++) {
                if (map->units[u])
                        return u;
        }
        return -1;
}

unsigned map_n_units(const struct map *map)
{
        unsigned n = 0;

        for (int u = -1; (u = map_next_unit(map, u)) >= 0;)
                n++;
        return n;
}

void map_set_dead(struct map *map, uint8_t unit, bool dead)
{
        if (map->units[unit])
                map->units[unit]->dead = dead;
}

bool map_is_dead(const struct map *map, uint8_t unit)
{
        return map->units[unit] && map->units[unit]->dead;
}

/* The first cell at or above an address. */
static size_t area_find(const struct map_area_cells *area, uint32_t address)
{
        size_t low = 0, high = area->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (area->cells[middle].address < address)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* A generator's number as the value that a format encodes. */
static struct value point_value(const struct value_format *format, struct gen *gen, uint64_t t_ns)
{
        struct value v = { .kind = VALUE_REAL };

        if (format->type == VALUE_TYPE_STRING) {
                v.kind = VALUE_TEXT;
                v.text.data = gen->text;
                v.text.len_bytes = strlen(gen->text);
        } else if (format->type == VALUE_TYPE_BOOL) {
                v.kind = VALUE_BOOL;
                v.b = gen_value(gen, t_ns) >= 0.5;
        } else {
                v.r = gen_value(gen, t_ns);
        }
        return v;
}

static void words_fill(struct map_words *w, unsigned n, uint16_t mask)
{
        for (unsigned i = 0; i < n; i++) {
                w->words[i] = 0;
                w->mask[i] = mask;
        }
}

/* What does not fit any more (a counter that has run over) reads 0. */
static void words_of_point(struct map *map, uint32_t index, uint64_t t_ns, struct map_words *w)
{
        struct map_point *p = &map->points[index];
        unsigned n = value_n_regs(&p->format);

        if (w->valid && w->point == index)
                return;
        w->point = index;
        w->valid = true;
        words_fill(w, n, 0xFFFF);
        if (p->gen.kind == GEN_RAW) {
                for (unsigned i = 0; i < n; i++)
                        w->words[i] = p->gen.raw[i % p->gen.n_raw];
                return;
        }
        struct value v = point_value(&p->format, &p->gen, t_ns);

        if (value_encode(&p->format, &v, w->words, w->mask) != 0)
                words_fill(w, n, 0xFFFF);
}

static uint16_t cell_tag(const struct map_point *p, uint16_t address)
{
        if (map_area_is_bits(p->area))
                return address & 1;
        return (uint16_t)(p->gen.kind == GEN_ADDRESS ? address : p->unit * 1000u + address);
}

/* One cell's part of its register. */
static void cell_read(struct map *map, const struct map_cell *c, uint64_t t_ns, struct map_words *w,
                      uint16_t *value)
{
        const struct map_point *p = &map->points[c->point];

        if (p->gen.kind == GEN_ADDRESS || p->gen.kind == GEN_UNIT_ADDRESS) {
                *value = cell_tag(p, c->address);
                return;
        }
        words_of_point(map, c->point, t_ns, w);
        *value = (uint16_t)((*value & ~w->mask[c->word]) | (w->words[c->word] & w->mask[c->word]));
}

/* Reads the register of cells[i], which several points' bits may share; returns the index behind them. */
static size_t area_read_one(struct map *map, const struct map_area_cells *area, size_t i, uint64_t t_ns,
                            struct map_words *w, uint16_t *ret)
{
        uint16_t address = area->cells[i].address;
        uint16_t value = 0;
        bool written = area->cells[i].written;

        if (written)
                value = area->cells[i].value;
        for (; i < area->n && area->cells[i].address == address; i++) {
                if (!written)
                        cell_read(map, &area->cells[i], t_ns, w, &value);
        }
        *ret = value;
        return i;
}

int map_read(struct map *map, uint8_t unit, enum map_area area_kind, uint16_t address, unsigned count,
             uint64_t t_ns, uint16_t *ret)
{
        const struct map_area_cells *area = &map->units[unit]->areas[area_kind];
        struct map_words words = { .valid = false };
        size_t i = area_find(area, address);

        for (unsigned k = 0; k < count; k++) {
                if (i < area->n && area->cells[i].address == (uint32_t)address + k)
                        i = area_read_one(map, area, i, t_ns, &words, &ret[k]);
                else if (map->sparse_ok)
                        ret[k] = 0;
                else
                        return MAP_E_ADDRESS;
        }
        return 0;
}

static bool area_takes(const struct map_area_cells *area, uint16_t address, unsigned count, bool sparse_ok)
{
        size_t i = area_find(area, address);

        for (unsigned k = 0; k < count; k++) {
                bool writable = false;

                if (i == area->n || area->cells[i].address != (uint32_t)address + k) {
                        if (!sparse_ok)
                                return false;
                        continue;
                }
                for (; i < area->n && area->cells[i].address == (uint32_t)address + k; i++)
                        writable |= area->cells[i].writable;
                if (!writable)
                        return false;
        }
        return true;
}

/* A cell that no point covers, made by the first write under sparse_ok. It borrows point 0, which it never
 * shows. */
static int area_write_one(struct map_area_cells *area, uint16_t address, uint16_t value)
{
        size_t i = area_find(area, address);
        struct map_cell cell = { .address = address, .value = value, .written = true, .writable = true };

        if (i == area->n || area->cells[i].address != address)
                return area_add_cell(area, i, &cell);
        area->cells[i].value = value;
        area->cells[i].written = true;
        return 0;
}

int map_write(struct map *map, uint8_t unit, enum map_area area_kind, uint16_t address, unsigned count,
              const uint16_t *values)
{
        struct map_area_cells *area = &map->units[unit]->areas[area_kind];

        if (!area_takes(area, address, count, map->sparse_ok))
                return MAP_E_ADDRESS;
        for (unsigned k = 0; k < count; k++) {
                int r = area_write_one(area, (uint16_t)(address + k), values[k]);

                if (r < 0)
                        return r;
        }
        return 0;
}

bool map_generator_fits(const struct value_format *format, const struct gen *gen)
{
        uint16_t words[VALUE_REGS_MAX], mask[VALUE_REGS_MAX];
        struct gen end = *gen;

        if (gen->kind == GEN_RAW || gen->kind == GEN_ADDRESS || gen->kind == GEN_UNIT_ADDRESS)
                return true;
        if ((gen->kind == GEN_TEXT) != (format->type == VALUE_TYPE_STRING))
                return false;
        end.kind = gen->kind == GEN_TEXT ? GEN_TEXT : GEN_CONSTANT;
        for (int i = 0; i < 2; i++) {
                struct value v = point_value(format, &end, 0);

                if (value_encode(format, &v, words, mask) != 0)
                        return false;
                if (gen->kind == GEN_CONSTANT || gen->kind == GEN_COUNTER || gen->kind == GEN_TEXT)
                        return true;
                end.low = gen->high;
        }
        return true;
}

/* "10:holding:3": unit, area and address. */
static int target_parse(const char *target, uint8_t *ret_unit, enum map_area *ret_area, uint16_t *ret_address)
{
        const char *colon1 = strchr(target, ':');
        const char *colon2 = colon1 ? strchr(colon1 + 1, ':') : NULL;
        int64_t unit, address;

        if (!colon2 || text_parse_i64(target, (size_t)(colon1 - target), 0, 255, &unit) < 0 ||
            text_parse_i64(colon2 + 1, strlen(colon2 + 1), 0, 65535, &address) < 0 ||
            map_area_parse(colon1 + 1, (size_t)(colon2 - colon1 - 1), ret_area) < 0)
                return -EINVAL;
        *ret_unit = (uint8_t)unit;
        *ret_address = (uint16_t)address;
        return 0;
}

static void point_forget_written(struct map *map, uint32_t index)
{
        const struct map_point *p = &map->points[index];
        struct map_area_cells *area = &map->units[p->unit]->areas[p->area];

        for (size_t i = area_find(area, p->first);
             i < area->n && area->cells[i].address < (uint32_t)p->first + p->count; i++)
                area->cells[i].written = false;
}

static int point_find(const struct map *map, const char *name, uint32_t *ret_index)
{
        for (size_t i = 0; i < map->n_points; i++) {
                if (map->points[i].name && strcmp(map->points[i].name, name) == 0) {
                        *ret_index = (uint32_t)i;
                        return 0;
                }
        }
        return -ENOENT;
}

/* A raw address takes a constant, as if written. */
static int map_set_raw(struct map *map, const char *target, const struct gen *gen, struct buf *error)
{
        enum map_area area;
        uint16_t address;
        uint8_t unit;
        double low = gen->kind == GEN_RAW ? gen->raw[0] : gen->low;

        if (target_parse(target, &unit, &area, &address) < 0 || !map_has_unit(map, unit))
                return -ENOENT;
        if ((gen->kind != GEN_CONSTANT && gen->kind != GEN_RAW) || low < -32768 || low > 65535) {
                buf_printf(error, "%s: a single register takes a number of -32768..65535", target);
                return -EINVAL;
        }
        return area_write_one(&map->units[unit]->areas[area], address, (uint16_t)(int32_t)low);
}

int map_set(struct map *map, const char *target, const char *generator, struct buf *error)
{
        struct gen gen;
        uint32_t index;
        int r = gen_parse(generator, &gen, error);

        if (r < 0)
                return r;
        if (point_find(map, target, &index) < 0)
                return map_set_raw(map, target, &gen, error);
        if (!map_generator_fits(&map->points[index].format, &gen)) {
                buf_printf(error, "%s: \"%s\" does not fit into its type %s", target, generator,
                           value_type_name(map->points[index].format.type));
                return -EINVAL;
        }
        gen_seed(&gen, map->seed + index);
        map->points[index].gen = gen;
        point_forget_written(map, index);
        return 0;
}

int map_get(struct map *map, const char *target, uint64_t t_ns, uint16_t ret[VALUE_REGS_MAX], unsigned *ret_n)
{
        enum map_area area;
        uint16_t address;
        uint32_t index;
        uint8_t unit;
        unsigned n = 1;

        if (point_find(map, target, &index) == 0) {
                const struct map_point *p = &map->points[index];

                unit = p->unit;
                area = p->area;
                address = p->first;
                n = value_n_regs(&p->format);
        } else if (target_parse(target, &unit, &area, &address) < 0 || !map_has_unit(map, unit)) {
                return -ENOENT;
        }
        if (map_read(map, unit, area, address, n, t_ns, ret) != 0)
                return -ENOENT;
        *ret_n = n;
        return 0;
}
