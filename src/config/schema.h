/* SPDX-License-Identifier: MIT */
/*
 * The table of all keys, and what can be done with a key of each type: taken over from a tree into its
 * member, printed, compared. Read only.
 */
#ifndef MBGATE_CONFIG_SCHEMA_H
#define MBGATE_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "mbgate/config/load.h"

#include "tree.h"

struct loader;
struct schema_key;

/* The groups that a file is made of. Each has its structure; TOP has none. */
enum schema_section {
        SCHEMA_TOP,
        SCHEMA_GATEWAY,  /* struct conf_gateway */
        SCHEMA_BUS,      /* struct conf_bus */
        SCHEMA_DEVICE,   /* struct conf_device */
        SCHEMA_POINT,    /* struct conf_point */
        SCHEMA_LABEL,    /* struct value_label */
        SCHEMA_LINK,     /* struct conf_link */
        SCHEMA_TLS,      /* struct conf_tls */
        SCHEMA_BROKER,   /* struct conf_broker */
        SCHEMA_LISTENER, /* struct conf_listener */
        SCHEMA_SERVER,   /* struct conf_listener: its tls */
        SCHEMA_SHARE,    /* struct conf_share */
        SCHEMA_ALLOW,    /* struct conf_allow */
        SCHEMA_SECTIONS,
};

struct schema_type {
        const char *name; /* "an integer" */
        /* Takes a value over. Wrong ones are reported, and leave the member alone. 0 or −ENOMEM. */
        int (*set)(struct loader *l, const struct schema_key *k, const struct tree *value, void *object);
        /* Whether there is something to print; NULL: always. */
        bool (*is_shown)(const struct schema_key *k, const void *object);
        void (*print)(const struct schema_key *k, const void *object, FILE *out);
        bool (*equal)(const struct schema_key *k, const void *a, const void *b);
};

struct schema_word {
        const char *word; /* NULL ends the list */
        unsigned value;
};

enum schema_flags {
        SCHEMA_REQUIRED = 1 << 0,
        SCHEMA_COMPUTED = 1 << 1,     /* `deflt` is for a person: the loader works it out */
        SCHEMA_PLACEHOLDERS = 1 << 2, /* ${unit_id} is put in */
        SCHEMA_SHARED = 1 << 3,       /* a text that many objects have in common: kept once */
        SCHEMA_STRUCTURE = 1 << 4,    /* read by build.c itself; has no member of its own */
        SCHEMA_SERIAL = 1 << 5,       /* of a bus: means something on serial devices only */
        SCHEMA_PACED = 1 << 6,        /* of a bus: means nothing on Modbus TCP */
        SCHEMA_ON_CHANGE = 1 << 7,    /* of a point: means nothing with publish = "always" */
        SCHEMA_BETWEEN = 1 << 8,      /* of a point: means nothing with a send interval */
};

struct schema_key {
        enum schema_section section;
        unsigned also; /* SCHEMA_IN(section) …: sections where it stands as a default of what they hold */
        const char *name;
        const struct schema_type *type;
        size_t offset, size;             /* of its member in the section's structure */
        size_t offset_2;                 /* of a second one: a count, or whether there is a value */
        unsigned arg;                    /* the type's own; of groups and lists of them: their section */
        double min, max;                 /* of numbers; min = max = 0: any */
        const struct schema_word *words; /* all that is allowed */
        const char *deflt;               /* as in a file; NULL: none */
        const char *example;             /* for people, where there is no literal default */
        unsigned flags;
        enum conf_change change; /* what a change of it costs at a reload */
        const char *help;
};

#define SCHEMA_IN(section) (1u << (section))

extern const struct schema_key schema_keys[];
extern const size_t schema_n_keys;

extern const struct schema_type schema_text, schema_path, schema_folder, schema_int, schema_real, schema_bool,
        schema_word, schema_texts, schema_ints, schema_format, schema_area, schema_bit, schema_bits,
        schema_limit, schema_said, schema_expiry, schema_interval_topic, schema_group, schema_list;

/* Whether a key may stand in a section. */
static inline bool schema_stands_in(const struct schema_key *k, enum schema_section section)
{
        return k->section == section || (k->also & SCHEMA_IN(section));
}

/* The key of that name where it may stand, or NULL. */
const struct schema_key *schema_find(enum schema_section section, const char *name);

/* The nearest name of a key of the section, or NULL when none is near. */
const char *schema_suggest(enum schema_section section, const char *name);

/* "bus", "point" … */
const char *schema_section_name(enum schema_section section);

/* Whether a key has no effect, as other keys of its object are: it is warned of, and not dumped. */
bool schema_is_idle(const struct schema_key *k, const void *object);

/* Sets all members of a section's structure that have a literal default. −ENOMEM. */
MUST_CHECK int schema_set_defaults(struct loader *l, enum schema_section section, void *object);

/* The first `change` among unequal keys of a section: the costliest. */
enum conf_change schema_compare(enum schema_section section, const void *a, const void *b);

/* A real so that it reads back the same, with a point or an exponent. */
void schema_print_real(double v, FILE *out);
void schema_print_text(const char *text, FILE *out);

#endif
