/* SPDX-License-Identifier: MIT */
/* What all parts of a load use: names of places, where a key was given, and the keys of one group. */
#include <errno.h>

#include "mbgate/base/buf.h"

#include "loader.h"

#define PLACE_LEVELS 2 /* a point of a device is enough: the line says which bus */

const char *place_text(const struct place *p, char text[PLACE_BYTES])
{
        struct buf b = buf_on(text, PLACE_BYTES);

        if (!p)
                buf_append(&b, "the file");
        for (unsigned level = 0; p && level < PLACE_LEVELS; p = p->up, level++) {
                if (p->name)
                        buf_printf(&b, "%s \"%.100s\"", p->noun, p->name);
                else if (p->number)
                        buf_printf(&b, "%s %zu", p->noun, p->number);
                else
                        buf_append(&b, p->noun);
                if (p->up && level + 1 < PLACE_LEVELS)
                        buf_append(&b, " of ");
        }
        return text;
}

const struct tree *loader_origin(const struct loader *l, const char *name)
{
        for (size_t i = 0; i < CHAIN_LINKS; i++) {
                const struct tree *t = tree_get(l->chain[i], name);

                if (t)
                        return t;
        }
        return NULL;
}

const struct tree *loader_own(const struct loader *l, const char *name)
{
        static const struct {
                enum chain_link own, templ;
        } levels[] = { { CHAIN_POINT, CHAIN_TEMPLATE_POINT },
                       { CHAIN_DEVICE, CHAIN_TEMPLATE },
                       { CHAIN_BUS, CHAIN_BUS },
                       { CHAIN_GATEWAY, CHAIN_GATEWAY } };

        for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
                const struct tree *own = l->chain[levels[i].own], *templ = l->chain[levels[i].templ];
                const struct tree *t = tree_get(own, name);

                if (own || templ)
                        return t ? t : tree_get(templ, name);
        }
        return NULL;
}

source_pos loader_own_pos(const struct loader *l, const char *name)
{
        const struct tree *t = loader_own(l, name);

        for (size_t i = 0; !t && i < CHAIN_LINKS; i++)
                t = l->chain[i];
        return t ? t->pos : 0;
}

source_pos loader_pos(const struct loader *l, const char *name)
{
        const struct tree *t = loader_origin(l, name);

        for (size_t i = 0; !t && i < CHAIN_LINKS; i++)
                t = l->chain[i];
        return t ? t->pos : 0;
}

char *loader_share(struct loader *l, const char *text)
{
        const struct names_use *use = names_find(&l->texts, text);
        char *copy;

        if (use)
                return (char *)(uintptr_t)use->thing;
        copy = arena_copy(l->arena, text);
        if (!copy || names_add(&l->texts, l->scratch, copy, (struct names_use){ .thing = copy }) < 0)
                return NULL;
        return copy;
}

static void unknown_key(struct loader *l, const struct tree *setting, enum schema_section section)
{
        const char *near = schema_suggest(section, setting->name);
        const char *where = PLACE(l);

        if (strcmp(setting->name, "password") == 0)
                source_error(&l->source, setting->pos,
                             "unknown key \"password\" in %s: passwords do not stand here, name a file with "
                             "password_file",
                             where);
        else if (near)
                source_error(&l->source, setting->pos, "unknown key \"%s\" in %s (did you mean \"%s\"?)",
                             setting->name, where, near);
        else
                source_error(&l->source, setting->pos, "unknown key \"%s\" in %s", setting->name, where);
}

int loader_apply(struct loader *l, const struct tree *group, enum schema_section section,
                 void *const objects[SCHEMA_SECTIONS])
{
        for (size_t i = 0; group && i < group->n_items; i++) {
                const struct tree *setting = &group->items[i];
                const struct schema_key *k = schema_find(section, setting->name);
                int r = 0;

                if (k)
                        r = k->type->set(l, k, setting, objects[k->section]);
                else
                        unknown_key(l, setting, section);
                if (r < 0)
                        return r;
        }
        return 0;
}
