/* SPDX-License-Identifier: MIT */
/*
 * The registers and coils of every device of one bus. A cell is one address; a point gives the values of its
 * cells; what a master writes into a cell stays until somebody sets the point anew. Pure: given the time.
 *
 *   map ─► unit 10 ─► holding ─► cells by address ─► point ─► generator
 */
#ifndef MBSIM_MAP_H
#define MBSIM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen.h"
#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"
#include "mbgate/codec/value.h"

#define MAP_UNITS_MAX 256

/* The order of enum conf_area. */
enum map_area {
        MAP_HOLDING,
        MAP_INPUT,
        MAP_COIL,
        MAP_DISCRETE,
        MAP_AREAS,
};

enum map_error {
        MAP_E_ADDRESS = 1, /* nothing there, or not writable */
};

/* Registers `first` .. `first + count − 1` of an area, one value for every value_n_regs() of them. */
struct map_point {
        char *name;                 /* "device.point", or NULL */
        struct value_format format; /* what it points to is borrowed and must outlive the map */
        struct gen gen;
        uint8_t unit;
        enum map_area area;
        uint16_t first;
        uint32_t count; /* 1..65536 */
        bool writable;
};

struct map;

/* −ENOMEM. `sparse_ok`: what no point covers reads 0 and takes writes. */
MUST_CHECK int map_new(bool sparse_ok, uint64_t seed, struct map **ret_map);
struct map *map_free(struct map *map);
DEFINE_CLEANUP(struct map *, map_free)

/* A device without registers, unless points follow. −ENOMEM. */
MUST_CHECK int map_add_unit(struct map *map, uint8_t unit);

/*
 * Adds a point; takes over nothing (the name is copied). A later point on the same address covers an earlier
 * one, but for bits that its format leaves alone. −EINVAL: beyond address 65535; −ENOMEM.
 */
MUST_CHECK int map_add_point(struct map *map, const struct map_point *point);

/* Sorts the cells; to be called once all points are there and before the first read. */
void map_seal(struct map *map);

bool map_has_unit(const struct map *map, uint8_t unit);
unsigned map_n_units(const struct map *map);
/* The smallest unit above `after`, or −1. Start with −1. */
int map_next_unit(const struct map *map, int after);

/* A dead unit hears nothing. */
void map_set_dead(struct map *map, uint8_t unit, bool dead);
bool map_is_dead(const struct map *map, uint8_t unit);

/* Registers, or bits as 0 and 1. 0 or MAP_E_ADDRESS. The unit must exist. */
MUST_CHECK int map_read(struct map *map, uint8_t unit, enum map_area area, uint16_t address, unsigned count,
                        uint64_t t_ns, uint16_t *ret);

/* 0 or MAP_E_ADDRESS, then nothing is written. −ENOMEM (sparse only). */
MUST_CHECK int map_write(struct map *map, uint8_t unit, enum map_area area, uint16_t address, unsigned count,
                         const uint16_t *values);

/*
 * Gives a point another generator, by "DEVICE.POINT" or, for a raw register, "UNIT:AREA:ADDRESS". What was
 * written into it is forgotten. 0; −ENOENT: not of this bus; −EINVAL: with the reason in *error.
 */
MUST_CHECK int map_set(struct map *map, const char *target, const char *generator, struct buf *error);

/* Like map_set, for reading: the registers of a point. 0, −ENOENT. */
MUST_CHECK int map_get(struct map *map, const char *target, uint64_t t_ns, uint16_t ret[VALUE_REGS_MAX],
                       unsigned *ret_n);

/* Whether both ends of what the generator gives fit into the format. */
bool map_generator_fits(const struct value_format *format, const struct gen *gen);

/* "holding" → MAP_HOLDING. 0 or −EINVAL. */
MUST_CHECK int map_area_parse(const char *name, size_t len_bytes, enum map_area *ret);

static inline bool map_area_is_bits(enum map_area area)
{
        return area == MAP_COIL || area == MAP_DISCRETE;
}

#endif
