/* SPDX-License-Identifier: MIT */
/*
 * The tree to structures. Each level hands the next a prototype of a device and of a point, filled with what
 * stands on it; so a default is inherited by a plain copy.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "loader.h"
#include "unit_ids.h"

/* What a level hands to what it holds. */
struct prototype {
        struct conf_device device;
        struct conf_point point;
};

/* ---- one group ---- */

/* Reports required keys that stand in neither group. */
static void require_keys(struct loader *l, enum schema_section section, const struct tree *group,
                         const struct tree *other)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section == section && (k->flags & SCHEMA_REQUIRED) && !tree_get(group, k->name) &&
                    !tree_get(other, k->name))
                        source_error(&l->source, group->pos, "%s: the key \"%s\" is missing", PLACE(l),
                                     k->name);
        }
}

/* Texts that nothing has set are "". */
static void fill_texts(struct loader *l, enum schema_section section, void *object)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                char **text = (char **)(void *)((char *)object + k->offset);

                if (k->section != section || (k->flags & SCHEMA_STRUCTURE) || k->size != sizeof(char *))
                        continue;
                if ((k->type == &schema_text || k->type == &schema_path || k->type == &schema_folder ||
                     k->type == &schema_interval_topic) &&
                    !*text)
                        *text = l->empty;
        }
}

static const char *group_name(const struct tree *group)
{
        const struct tree *name = tree_get(group, "name");

        return name && name->kind == TREE_TEXT ? name->text : NULL;
}

static bool is_enabled(const struct tree *group, const struct tree *other)
{
        const struct tree *enabled = tree_get(group, "enabled");

        if (!enabled)
                enabled = tree_get(other, "enabled");
        return !enabled || enabled->kind != TREE_BOOL || enabled->b;
}

/* The groups of a list; none when it is not there or no list (which loader_apply() has reported). */
static struct tree *list_of(const struct tree *group, const char *name, size_t *ret_n)
{
        const struct tree *list = tree_get(group, name);

        *ret_n = list && tree_is_sequence(list) ? list->n_items : 0;
        for (size_t i = 0; i < *ret_n; i++) {
                if (list->items[i].kind != TREE_GROUP)
                        *ret_n = 0;
        }
        return *ret_n ? list->items : NULL;
}

/* Reports a second name in one list; topics made of it would be reported all over again, so there are none.
 */
static int check_unique(struct loader *l, struct names *names, const char *name, source_pos pos)
{
        l->no_topics = l->no_device_topics || *name == '\0';
        if (*name == '\0')
                return 0;
        if (!names_find(names, name))
                return names_add(names, l->scratch, name, (struct names_use){ .pos = pos });
        source_error(&l->source, pos, "%s: there is another of this name: give each its own", PLACE(l));
        l->no_topics = true;
        return 0;
}

/* ---- points ---- */

static int build_labels(struct loader *l, const struct tree *group, struct value_format *f)
{
        const struct place *up = l->place;
        size_t n;
        struct tree *items = list_of(group, "map", &n);

        if (!tree_get(group, "map"))
                return 0;
        f->n_labels = 0;
        f->labels = arena_array(l->arena, n, sizeof(*f->labels));
        if (!f->labels)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                struct place place = { .noun = "map entry", .number = i + 1, .up = up };
                struct value_label *label = &f->labels[f->n_labels];
                void *objects[SCHEMA_SECTIONS] = { [SCHEMA_LABEL] = label };
                int r;

                l->place = &place;
                label->label = l->empty;
                r = loader_apply(l, &items[i], SCHEMA_LABEL, objects);
                if (r == 0)
                        require_keys(l, SCHEMA_LABEL, &items[i], NULL);
                l->place = up;
                if (r < 0)
                        return r;
                f->n_labels += tree_get(&items[i], "label") && tree_get(&items[i], "value");
        }
        return 0;
}

/* A point of a device, of its template, or of both: then what the device says goes before. */
struct point_source {
        const struct tree *own;
        const struct tree *templ;
};

static int build_point(struct loader *l, const struct point_source *from, struct names *names,
                       struct conf_point *p)
{
        const struct tree *group = from->own ? from->own : from->templ;
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_POINT] = p };
        int r;

        l->chain[CHAIN_POINT] = from->own;
        l->chain[CHAIN_TEMPLATE_POINT] = from->templ;
        r = loader_apply(l, from->templ, SCHEMA_POINT, objects);
        if (r == 0)
                r = build_labels(l, from->templ, &p->format);
        if (r == 0)
                r = loader_apply(l, from->own, SCHEMA_POINT, objects);
        if (r == 0)
                r = build_labels(l, from->own, &p->format);
        if (r < 0)
                return r;
        require_keys(l, SCHEMA_POINT, group, from->templ);
        fill_texts(l, SCHEMA_POINT, p);
        check_point(l, p);
        r = check_unique(l, names, p->name, group->pos);
        return r < 0 ? r : topics_of_point(l, p);
}

/* Pairs the points of a device with those of its template, in the template's order; *ret_n of them. */
static int pair_points(struct loader *l, const struct tree *own, const struct tree *templ,
                       struct point_source **ret_sources, size_t *ret_n)
{
        CLEANUP(names_done)
        struct names names = { 0 };
        size_t n_own, n_templ, n;
        struct tree *owns = list_of(own, "points", &n_own);
        struct tree *templs = list_of(templ, "points", &n_templ);
        struct point_source *sources = arena_array(l->scratch, n_own + n_templ, sizeof(*sources));

        if (!sources)
                return -ENOMEM;
        for (n = 0; n < n_templ; n++) {
                const char *name = group_name(&templs[n]);

                sources[n].templ = &templs[n];
                if (name && !names_find(&names, name) &&
                    names_add(&names, l->scratch, name, (struct names_use){ .thing = &sources[n] }) < 0)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < n_own; i++) {
                const char *name = group_name(&owns[i]);
                const struct names_use *use = name ? names_find(&names, name) : NULL;
                struct point_source *s = use ? (struct point_source *)(uintptr_t)use->thing : &sources[n];

                if (s == &sources[n] || s->own) /* a second one of the same name is found later */
                        s = &sources[n++];
                s->own = &owns[i];
        }
        *ret_sources = sources;
        *ret_n = n;
        return 0;
}

/* The template of a device as a place. */
static struct place template_place(const struct tree *device)
{
        const struct tree *name = tree_get(device, "template");

        return (struct place){ .noun = "template",
                               .name = name && name->kind == TREE_TEXT ? name->text : NULL };
}

static int build_points(struct loader *l, const struct tree *own, const struct tree *templ,
                        const struct conf_point *prototype, struct conf_device *d)
{
        CLEANUP(names_done)
        struct names names = { 0 };
        const struct place *up = l->place;
        struct place template = template_place(own);
        struct point_source *sources;
        size_t n;
        int r = pair_points(l, own, templ, &sources, &n);

        if (r < 0)
                return r;
        d->points = arena_array(l->arena, n, sizeof(*d->points));
        if (!d->points)
                return -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                const struct tree *group = sources[i].own ? sources[i].own : sources[i].templ;
                struct place place = { .noun = "point",
                                       .name = group_name(group),
                                       .number = i + 1,
                                       .up = sources[i].own ? up : &template };
                struct conf_point *p = &d->points[d->n_points];

                if (!is_enabled(sources[i].own, sources[i].templ))
                        continue;
                l->place = &place;
                *p = *prototype;
                p->device = d;
                d->n_points++;
                r = build_point(l, &sources[i], &names, p);
        }
        l->chain[CHAIN_POINT] = l->chain[CHAIN_TEMPLATE_POINT] = NULL;
        l->place = up;
        if (r == 0 && d->n_points == 0 && (templ || !tree_get(own, "template")))
                source_warning(&l->source, own->pos, "%s: it has no points, so nothing is read from it",
                               PLACE(l));
        return r;
}

/* ---- devices ---- */

/* One group of the list, and all that it becomes. */
struct device_source {
        const struct tree *group;
        const struct tree *templ;
        struct unit_ids ids; /* n 0: unit_id, or none */
        bool is_bad;         /* nobody knows its ids: only the rest is looked at */
};

/* The devices of a bus while they are built. */
struct device_list {
        struct conf_bus *bus;
        const struct prototype *above;
        struct names names;
        const struct conf_device *by_id[256];
};

/* Names and unit ids, each once on a bus. */
static int check_device_unique(struct loader *l, struct device_list *list, const struct conf_device *d,
                               source_pos pos)
{
        const struct conf_device **holder = &list->by_id[d->unit_id];

        if (*holder && (d->unit_id || d->bus->kind == CONF_PORT_TCP)) /* a wrong 0 was reported */
                source_error(&l->source, pos,
                             "%s: unit id %u is device \"%s\" already: each id answers once on a bus",
                             PLACE(l), d->unit_id, (*holder)->name);
        else if (loader_own(l, "unit_id") || loader_own(l, "unit_ids"))
                *holder = d;
        return check_unique(l, &list->names, d->name, pos);
}

/* What is wrong in a template is said of the template, once for all its devices. */
static int apply_template(struct loader *l, const struct device_source *from,
                          void *const objects[SCHEMA_SECTIONS])
{
        const struct place *device = l->place;
        struct place place = template_place(from->group);
        int r;

        l->place = &place;
        r = loader_apply(l, from->templ, SCHEMA_DEVICE, objects);
        l->place = device;
        return r;
}

/* One device; `unit_id` ≥ 0 is one of its group's unit_ids. */
static int build_device(struct loader *l, const struct device_source *from, struct device_list *list,
                        int unit_id)
{
        struct prototype proto = *list->above;
        struct conf_device *d = &list->bus->devices[list->bus->n_devices];
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_DEVICE] = d, [SCHEMA_POINT] = &proto.point };
        int r;

        *d = proto.device;
        d->bus = list->bus;
        d->id = (uint32_t)list->bus->n_devices++;
        r = apply_template(l, from, objects);
        if (r == 0)
                r = loader_apply(l, from->group, SCHEMA_DEVICE, objects);
        if (r < 0)
                return r;
        if (unit_id >= 0)
                d->unit_id = (uint8_t)unit_id;
        require_keys(l, SCHEMA_DEVICE, from->group, from->templ);
        fill_texts(l, SCHEMA_DEVICE, d);
        l->no_topics = from->is_bad;
        if (!from->is_bad) {
                check_device(l, d);
                r = check_device_unique(l, list, d, from->group->pos);
        }
        if (r == 0)
                r = topics_of_device(l, d);
        l->no_device_topics = l->no_topics;
        if (r == 0)
                r = build_points(l, from->group, from->templ, &proto.point, d);
        l->no_device_topics = false;
        return r;
}

static int read_unit_ids(struct loader *l, struct device_source *from)
{
        const struct tree *ids = tree_get(from->group, "unit_ids");
        const struct tree *id = tree_get(from->group, "unit_id");
        const struct tree *name = tree_get(from->group, "name");

        if (!ids && !id && !tree_get(from->templ, "unit_id"))
                source_error(&l->source, from->group->pos, "%s: the key \"unit_id\" is missing", PLACE(l));
        if (ids && id)
                source_error(&l->source, ids->pos, "%s: it has both unit_id and unit_ids: remove one",
                             PLACE(l));
        if (!ids || ids->kind != TREE_TEXT)
                return 0;
        if (!unit_ids_parse(ids->text, &from->ids)) {
                source_error(
                        &l->source, ids->pos,
                        "%s: unit_ids is \"%s\", it must be like \"1,2,5-18\", each from 0 to 255 and once",
                        PLACE(l), ids->text);
                from->is_bad = true;
        }
        if (from->ids.n > 1 && name && name->kind == TREE_TEXT && !strstr(name->text, "${unit_id}")) {
                from->is_bad = true;
                source_error(&l->source, name->pos,
                             "%s: these are %u devices: put ${unit_id} into the name to tell them apart",
                             PLACE(l), from->ids.n);
        }
        return 0;
}

static int read_device_source(struct loader *l, const struct tree *group, struct device_source *from)
{
        const struct tree *templ = tree_get(group, "template");
        int r = 0;

        from->group = group;
        if (templ && templ->kind == TREE_TEXT)
                r = template_get(l, templ->text, templ->pos, &from->templ);
        return r < 0 ? r : read_unit_ids(l, from);
}

/* What ${unit_id} stands for in a device with a plain unit_id. */
static int plain_unit_id(const struct device_source *from)
{
        const struct tree *id = tree_get(from->group, "unit_id");

        if (!id)
                id = tree_get(from->templ, "unit_id");
        return id && id->kind == TREE_INT && id->i >= 0 && id->i <= UINT8_MAX ? (int)id->i : 0;
}

static int build_device_group(struct loader *l, const struct device_source *from, struct device_list *list)
{
        unsigned n = from->ids.n ? from->ids.n : 1;
        int r = 0;

        l->chain[CHAIN_DEVICE] = from->group;
        l->chain[CHAIN_TEMPLATE] = from->templ;
        for (unsigned i = 0; i < n && r == 0; i++) {
                int unit_id = from->ids.n ? from->ids.ids[i] : -1;
                char text[16];

                (void)snprintf(text, sizeof(text), "%d", unit_id >= 0 ? unit_id : plain_unit_id(from));
                l->unit_id = text;
                r = build_device(l, from, list, unit_id);
                l->unit_id = NULL;
        }
        l->chain[CHAIN_DEVICE] = l->chain[CHAIN_TEMPLATE] = NULL;
        return r;
}

/* Reads templates and unit ids of all groups; *ret_n devices will come of them. */
static int read_device_sources(struct loader *l, struct tree *items, size_t n, struct device_source *sources,
                               size_t *ret_n)
{
        const struct place *up = l->place;
        int r = 0;

        *ret_n = 0;
        for (size_t i = 0; i < n && r == 0; i++) {
                struct place place = {
                        .noun = "device", .name = group_name(&items[i]), .number = i + 1, .up = up
                };

                l->place = &place;
                r = read_device_source(l, &items[i], &sources[i]);
                *ret_n += sources[i].ids.n ? sources[i].ids.n : 1;
        }
        l->place = up;
        return r;
}

static void device_list_done(struct device_list *list)
{
        names_done(&list->names);
}

static int build_devices(struct loader *l, const struct tree *group, const struct prototype *proto,
                         struct conf_bus *b)
{
        CLEANUP(device_list_done)
        struct device_list list = { .bus = b, .above = proto };
        const struct place *up = l->place;
        size_t n, n_devices = 0;
        struct tree *items = list_of(group, "devices", &n);
        struct device_source *sources = arena_array(l->scratch, n, sizeof(*sources));
        int r = sources ? read_device_sources(l, items, n, sources, &n_devices) : -ENOMEM;

        b->devices = arena_array(l->arena, n_devices, sizeof(*b->devices));
        if (r == 0 && !b->devices)
                r = -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                struct place place = {
                        .noun = "device", .name = group_name(&items[i]), .number = i + 1, .up = up
                };

                if (!is_enabled(&items[i], sources[i].templ))
                        continue;
                l->place = &place;
                r = build_device_group(l, &sources[i], &list);
        }
        l->place = up;
        return r;
}

/* ---- buses ---- */

static int build_allow(struct loader *l, const struct tree *list, struct conf_bus *b)
{
        const struct place *up = l->place;
        struct conf_share *share = &b->share;
        size_t n;
        struct tree *items = list_of(list, "allow", &n);
        int r = 0;

        share->allow = arena_array(l->arena, n, sizeof(*share->allow));
        if (!share->allow)
                return -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                struct place place = { .noun = "allow entry", .number = i + 1, .up = up };
                struct conf_allow *allow = &share->allow[share->n_allow++];
                void *objects[SCHEMA_SECTIONS] = { [SCHEMA_ALLOW] = allow };

                l->place = &place;
                l->chain[CHAIN_POINT] = &items[i];
                r = loader_apply(l, &items[i], SCHEMA_ALLOW, objects);
                if (r < 0)
                        break;
                require_keys(l, SCHEMA_ALLOW, &items[i], NULL);
                fill_texts(l, SCHEMA_ALLOW, allow);
                r = check_allow(l, b, allow);
        }
        l->chain[CHAIN_POINT] = NULL;
        l->place = up;
        return r;
}

static int build_share(struct loader *l, const struct tree *group, struct conf_bus *b)
{
        const struct place *up = l->place;
        struct place place = { .noun = "share", .up = up };
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_SHARE] = &b->share };
        int r = schema_set_defaults(l, SCHEMA_SHARE, &b->share);

        fill_texts(l, SCHEMA_SHARE, &b->share);
        b->share.host = l->empty;
        if (r < 0 || !group || group->kind != TREE_GROUP)
                return r;
        b->share.on = true;
        l->place = &place;
        l->chain[CHAIN_DEVICE] = group;
        r = loader_apply(l, group, SCHEMA_SHARE, objects);
        if (r == 0) {
                require_keys(l, SCHEMA_SHARE, group, NULL);
                r = build_allow(l, group, b);
        }
        if (r == 0)
                r = check_share(l, b);
        l->chain[CHAIN_DEVICE] = NULL;
        l->place = up;
        return r;
}

static int build_bus(struct loader *l, const struct tree *group, const struct prototype *above,
                     struct names *names, struct conf_bus *b)
{
        struct prototype proto = *above;
        void *objects[SCHEMA_SECTIONS] = {
                [SCHEMA_BUS] = b, [SCHEMA_DEVICE] = &proto.device, [SCHEMA_POINT] = &proto.point
        };
        int r = schema_set_defaults(l, SCHEMA_BUS, b);

        l->chain[CHAIN_BUS] = group;
        if (r == 0)
                r = loader_apply(l, group, SCHEMA_BUS, objects);
        if (r < 0)
                return r;
        require_keys(l, SCHEMA_BUS, group, NULL);
        fill_texts(l, SCHEMA_BUS, b);
        r = check_bus(l, b);
        if (r == 0)
                r = check_unique(l, names, b->name, group->pos);
        if (r == 0)
                r = topics_of_bus(l, b);
        if (r == 0)
                r = build_share(l, tree_get(group, "share"), b);
        if (r == 0)
                r = build_devices(l, group, &proto, b);
        if (r == 0 && b->n_devices == 0)
                source_warning(&l->source, group->pos, "%s: it has no devices", PLACE(l));
        l->chain[CHAIN_BUS] = NULL;
        return r;
}

static int build_buses(struct loader *l, const struct tree *root, const struct prototype *proto)
{
        CLEANUP(names_done)
        struct names names = { 0 };
        struct conf *c = l->conf;
        size_t n;
        struct tree *items = list_of(root, "buses", &n);
        int r = 0;

        c->buses = arena_array(l->arena, n, sizeof(*c->buses));
        if (!c->buses)
                return -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                struct place place = { .noun = "bus", .name = group_name(&items[i]), .number = i + 1 };
                struct conf_bus *b = &c->buses[c->n_buses];

                if (!is_enabled(&items[i], NULL))
                        continue;
                l->place = &place;
                b->id = (uint32_t)c->n_buses++;
                r = build_bus(l, &items[i], proto, &names, b);
        }
        l->place = NULL;
        return r;
}

/* ---- links and broker ---- */

static int build_tls(struct loader *l, const struct tree *group, struct conf_tls *tls)
{
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_TLS] = tls };
        int r = schema_set_defaults(l, SCHEMA_TLS, tls);

        fill_texts(l, SCHEMA_TLS, tls);
        if (r < 0 || !group || group->kind != TREE_GROUP)
                return r;
        tls->on = true;
        return loader_apply(l, group, SCHEMA_TLS, objects);
}

static int build_link(struct loader *l, const struct tree *group, struct conf_link *link)
{
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_LINK] = link };
        int r = schema_set_defaults(l, SCHEMA_LINK, link);

        l->chain[CHAIN_DEVICE] = group;
        l->chain[CHAIN_TEMPLATE] = tree_get(group, "tls");
        if (l->chain[CHAIN_TEMPLATE] && l->chain[CHAIN_TEMPLATE]->kind != TREE_GROUP)
                l->chain[CHAIN_TEMPLATE] = NULL;
        if (r == 0)
                r = loader_apply(l, group, SCHEMA_LINK, objects);
        if (r == 0)
                r = build_tls(l, tree_get(group, "tls"), &link->tls);
        if (r < 0)
                return r;
        require_keys(l, SCHEMA_LINK, group, NULL);
        fill_texts(l, SCHEMA_LINK, link);
        r = check_link(l, link);
        l->chain[CHAIN_DEVICE] = l->chain[CHAIN_TEMPLATE] = NULL;
        return r;
}

static int build_links(struct loader *l, const struct tree *root)
{
        CLEANUP(names_done)
        struct names names = { 0 };
        struct conf *c = l->conf;
        size_t n;
        struct tree *items = list_of(root, "links", &n);
        int r = 0;

        c->links = arena_array(l->arena, n, sizeof(*c->links));
        if (!c->links)
                return -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                struct place place = { .noun = "link", .name = group_name(&items[i]), .number = i + 1 };
                struct conf_link *link = &c->links[c->n_links];

                if (!is_enabled(&items[i], NULL))
                        continue;
                l->place = &place;
                link->id = (uint32_t)c->n_links++;
                r = build_link(l, &items[i], link);
                if (r == 0)
                        r = check_unique(l, &names, link->name, items[i].pos);
        }
        l->place = NULL;
        return r;
}

/* `item`: NULL for the one that is there when none is named. */
static int build_listener(struct loader *l, const struct tree *item, struct conf_listener *listener)
{
        const struct tree *tls = tree_get(item, "tls");
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_LISTENER] = listener, [SCHEMA_SERVER] = listener };
        int r = loader_apply(l, item, SCHEMA_LISTENER, objects);

        if (r == 0)
                r = schema_set_defaults(l, SCHEMA_SERVER, listener);
        if (r < 0)
                return r;
        if (tls && tls->kind == TREE_GROUP) {
                listener->tls = true;
                r = loader_apply(l, tls, SCHEMA_SERVER, objects);
                require_keys(l, SCHEMA_SERVER, tls, NULL);
        }
        fill_texts(l, SCHEMA_LISTENER, listener);
        fill_texts(l, SCHEMA_SERVER, listener);
        l->chain[CHAIN_DEVICE] = item;
        l->chain[CHAIN_TEMPLATE] = listener->tls ? tls : NULL;
        check_listener(l, listener);
        l->chain[CHAIN_DEVICE] = l->chain[CHAIN_TEMPLATE] = NULL;
        return r;
}

static int build_listeners(struct loader *l, const struct tree *group, const struct conf_listener *prototype)
{
        const struct place *up = l->place;
        struct conf_broker *broker = &l->conf->broker;
        size_t n;
        struct tree *items = list_of(group, "listeners", &n);
        int r = 0;

        broker->listeners = arena_array(l->arena, MBGATE_MAX(n, 1), sizeof(*broker->listeners));
        if (!broker->listeners)
                return -ENOMEM;
        for (size_t i = 0; i < MBGATE_MAX(n, 1) && r == 0; i++) {
                struct place place = { .noun = "listener", .number = i + 1, .up = up };

                l->place = &place;
                broker->listeners[i] = *prototype;
                broker->n_listeners++;
                r = build_listener(l, items ? &items[i] : NULL, &broker->listeners[i]);
        }
        l->place = up;
        return r;
}

/* What stands on the broker is the default of its listeners. */
static int build_broker_group(struct loader *l, const struct tree *group, struct conf_broker *broker)
{
        struct conf_listener prototype = { 0 };
        void *objects[SCHEMA_SECTIONS] = { [SCHEMA_BROKER] = broker, [SCHEMA_LISTENER] = &prototype };
        int r = schema_set_defaults(l, SCHEMA_BROKER, broker);

        if (r == 0)
                r = schema_set_defaults(l, SCHEMA_LISTENER, &prototype);
        if (r == 0)
                r = loader_apply(l, group, SCHEMA_BROKER, objects);
        if (r < 0)
                return r;
        broker->on = true;
        broker->options = prototype.options;
        fill_texts(l, SCHEMA_BROKER, broker);
        r = build_listeners(l, group, &prototype);
        return r < 0 ? r : check_broker(l, broker);
}

static int build_broker(struct loader *l, const struct tree *root)
{
        const struct tree *group = tree_get(root, "broker");
        struct place place = { .noun = "broker" };
        int r;

        fill_texts(l, SCHEMA_BROKER, &l->conf->broker);
        if (!group || group->kind != TREE_GROUP)
                return 0;
        l->place = &place;
        l->chain[CHAIN_BUS] = group;
        r = build_broker_group(l, group, &l->conf->broker);
        l->chain[CHAIN_BUS] = NULL;
        l->place = NULL;
        return r;
}

/* ---- the whole ---- */

static int build_gateway(struct loader *l, const struct tree *root, struct prototype *proto)
{
        const struct tree *group = tree_get(root, "gateway");
        struct conf_gateway *g = &l->conf->gateway;
        struct place place = { .noun = "gateway" };
        void *objects[SCHEMA_SECTIONS] = {
                [SCHEMA_GATEWAY] = g, [SCHEMA_DEVICE] = &proto->device, [SCHEMA_POINT] = &proto->point
        };
        int r = schema_set_defaults(l, SCHEMA_GATEWAY, g);

        l->place = &place;
        if (group && group->kind != TREE_GROUP)
                group = NULL;
        l->chain[CHAIN_GATEWAY] = group;
        if (r == 0)
                r = loader_apply(l, group, SCHEMA_GATEWAY, objects);
        fill_texts(l, SCHEMA_GATEWAY, g);
        check_name(l, g->name);
        if (r == 0)
                r = topics_of_gateway(l, g);
        if (r == 0 && !loader_own(l, "state_directory"))
                r = loader_state_directory(l, "", &g->state_directory);
        l->place = NULL;
        return r;
}

/* Numbers all points through. */
static int build_index(struct loader *l)
{
        struct conf *c = l->conf;
        size_t n = 0;

        for (size_t i = 0; i < c->n_buses; i++) {
                for (size_t j = 0; j < c->buses[i].n_devices; j++)
                        n += c->buses[i].devices[j].n_points;
        }
        c->points = arena_array(l->arena, n, sizeof(c->points[0])); // NOLINT(bugprone-sizeof-expression)
        if (!c->points)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_buses; i++) {
                for (size_t j = 0; j < c->buses[i].n_devices; j++) {
                        struct conf_device *d = &c->buses[i].devices[j];

                        for (size_t k = 0; k < d->n_points; k++) {
                                d->points[k].id = (uint32_t)c->n_points;
                                c->points[c->n_points++] = &d->points[k];
                        }
                }
        }
        return 0;
}

static int build_prototype(struct loader *l, struct prototype *proto)
{
        int r = schema_set_defaults(l, SCHEMA_DEVICE, &proto->device);

        if (r == 0)
                r = schema_set_defaults(l, SCHEMA_POINT, &proto->point);
        return r;
}

static void warn_of_nothing(struct loader *l)
{
        const struct conf *c = l->conf;

        if (c->n_buses == 0)
                source_warning(&l->source, 0, "there are no buses, so nothing is read");
        if (c->n_links == 0 && !c->broker.on)
                source_warning(&l->source, 0, "there are no links and no broker, so nothing is published");
}

int build_conf(struct loader *l, const struct tree *root)
{
        struct prototype proto = { 0 };
        void *objects[SCHEMA_SECTIONS] = { NULL };
        int r = build_prototype(l, &proto);

        if (r == 0)
                r = loader_apply(l, root, SCHEMA_TOP, objects);
        if (r == 0)
                r = build_gateway(l, root, &proto);
        if (r == 0)
                r = build_buses(l, root, &proto);
        if (r == 0)
                r = build_links(l, root);
        if (r == 0)
                r = build_broker(l, root);
        if (l->source.n_errors == 0)
                warn_of_nothing(l);
        return r < 0 ? r : build_index(l);
}
