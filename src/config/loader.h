/* SPDX-License-Identifier: MIT */
/* One run of conf_load(): what its parts share. Lives on the stack of conf_load(); one thread. */
#ifndef MBGATE_CONFIG_LOADER_H
#define MBGATE_CONFIG_LOADER_H

#include "arena.h"
#include "names.h"
#include "schema.h"
#include "source.h"
#include "tree.h"

/* Where the loader is, for the texts of findings: points inside devices inside buses. */
struct place {
        const char *noun;       /* "bus" */
        const char *name;       /* or NULL: then by number */
        size_t number;          /* from 1 */
        const struct place *up; /* named too, or NULL */
};

/* A template that was read: kept, as many devices use one. */
struct template
{
        struct template *next;
        const char *name;
        bool is_good;
        struct tree root;
};

/* Settings that can have given a key its value, the nearest first; what is not there is NULL. */
enum chain_link {
        CHAIN_POINT,
        CHAIN_TEMPLATE_POINT,
        CHAIN_DEVICE,
        CHAIN_TEMPLATE,
        CHAIN_BUS,
        CHAIN_GATEWAY,
        CHAIN_LINKS,
};

/* The longest topic so far, for the prefixes that will stand before it. */
struct longest_topic {
        size_t n_bytes;
        const char *meaning;
        source_pos pos;
};

struct loader {
        const struct conf_load_options *options;
        struct conf *conf;
        struct arena *arena;   /* the configuration's */
        struct arena *scratch; /* gone after the load */
        struct source source;
        const char *folder;          /* of the main file, as written, with its '/' or "" */
        const char *absolute_folder; /* the same from the root, for paths in the file */
        struct template *templates;
        struct names texts;  /* of SCHEMA_SHARED, each kept once */
        struct names topics; /* all topics in use */
        struct longest_topic longest;
        const struct place *place;
        const struct tree *chain[CHAIN_LINKS];
        bool no_device_topics; /* of the points of the device at hand */
        bool no_topics;        /* of the thing at hand: its name is wrong, and said to be */
        const char *unit_id;   /* replaces ${unit_id}, or NULL */
        char *empty;           /* "" of the configuration */
};

#define PLACE_BYTES 320

/* `point "temp" of device "meter"`, into `text`; returns it. */
const char *place_text(const struct place *p, char text[PLACE_BYTES]);
#define PLACE(l) place_text((l)->place, (char[PLACE_BYTES]){ "" })

/* Takes all settings of `group` over into the objects of their sections; unknown keys are reported. −ENOMEM.
 */
MUST_CHECK int loader_apply(struct loader *l, const struct tree *group, enum schema_section section,
                            void *const objects[SCHEMA_SECTIONS]);

/* The setting that gave the key its value, or NULL when it is a default. */
const struct tree *loader_origin(const struct loader *l, const char *name);

/* Where that stands; for a default, where the nearest thing begins. */
source_pos loader_pos(const struct loader *l, const char *name);

/* The same for keys that are not inherited: only what the thing itself, or its template, says. */
const struct tree *loader_own(const struct loader *l, const char *name);
source_pos loader_own_pos(const struct loader *l, const char *name);

/* A text of the configuration, kept once however often it is asked for. NULL: no memory. */
char *loader_share(struct loader *l, const char *text);

/* ---- build.c, check*.c, topics.c, template.c: each its part ---- */

/* The tree to l->conf. −ENOMEM. */
MUST_CHECK int build_conf(struct loader *l, const struct tree *root);

/* Topics that are not configured; reports those that are taken. −ENOMEM. */
MUST_CHECK int topics_of_gateway(struct loader *l, struct conf_gateway *g);
MUST_CHECK int topics_of_bus(struct loader *l, struct conf_bus *b);
MUST_CHECK int topics_of_device(struct loader *l, struct conf_device *d);
MUST_CHECK int topics_of_point(struct loader *l, struct conf_point *p);

/* Reports the prefix of a link or of the broker, when a topic would be too long behind it. After all buses.
 */
void topics_check_prefix(struct loader *l, const char *prefix);

/* Fill in what follows from other keys, and report what cannot be. */
MUST_CHECK int check_bus(struct loader *l, struct conf_bus *b);
/*
 * "host:port", "[address]:port", "host"; 502 without a port. False: it is none of them. *ret_host NULL: no
 * memory.
 */
bool parse_host(struct loader *l, const char *text, char **ret_host, uint16_t *ret_port);

void check_device(struct loader *l, struct conf_device *d);
void check_point(struct loader *l, struct conf_point *p);

/*
 * Warns of settings in a group of the file, a point's or a device's, that a send interval makes idle. What
 * comes from a template or from above is meant for devices without one.
 */
void check_paced(struct loader *l, const struct tree *group);
MUST_CHECK int check_link(struct loader *l, struct conf_link *link);
/* The folder that the service manager made for us, the first if there are several. −ENOMEM. */
MUST_CHECK int loader_state_directory(struct loader *l, const char *otherwise, char **ret);

MUST_CHECK int check_broker(struct loader *l, struct conf_broker *broker);
void check_listener(struct loader *l, struct conf_listener *listener);

/* Of the bus `b`, whose share and allow it is. −ENOMEM. */
MUST_CHECK int check_share(struct loader *l, struct conf_bus *b);
MUST_CHECK int check_allow(struct loader *l, const struct conf_bus *b, struct conf_allow *allow);

/* ---- check_file.c ---- */

/* Report a file or folder that is named and cannot be used; of a secret also that others can read it. */
void check_file(struct loader *l, const char *key, const char *file);
void check_folder(struct loader *l, const char *key, const char *folder);
void check_secret(struct loader *l, const char *key, const char *file);

/* A descriptor of a file that others cannot read, or −1 with a finding. */
int open_secret(struct loader *l, const char *key, const char *file);

/* Reports texts of the key that are no topic filters. */
void check_filters(struct loader *l, const char *key, char *const *filters, size_t n);

/* Reports the name of the thing at hand when it cannot be a level of a topic. */
void check_name(struct loader *l, const char *name);

/* The template of that name, or NULL with a finding at `pos`. −ENOMEM. */
MUST_CHECK int template_get(struct loader *l, const char *name, source_pos pos, const struct tree **ret_root);

#endif
