/* SPDX-License-Identifier: MIT */
/* Device templates: files with the keys of a device. Each is read once, however many devices use it. */
#include <errno.h>
#include <unistd.h>

#include "loader.h"

static struct template *template_find(const struct loader *l, const char *name)
{
        struct template *t = l->templates;

        while (t && strcmp(t->name, name) != 0)
                t = t->next;
        return t;
}

/* The first of the folders that has the file; *ret_file NULL: none has. −ENOMEM. */
static int template_locate(struct loader *l, const char *const folders[3], const char *name,
                           const char **ret_file)
{
        *ret_file = NULL;
        for (size_t i = 0; i < 3 && !*ret_file; i++) {
                const char *file = folders[i] ? arena_printf(l->scratch, "%s/%s.conf", folders[i], name) : "";

                if (!file)
                        return -ENOMEM;
                if (folders[i] && access(file, F_OK) == 0)
                        *ret_file = file;
        }
        return 0;
}

/* A template is a device's keys, and no more: it has no place on a bus. */
static void template_check(struct loader *l, const char *name, const struct tree *root)
{
        static const char *const not_here[] = { "template", "unit_ids" };

        for (size_t i = 0; i < ARRAY_SIZE(not_here); i++) {
                const struct tree *t = tree_get(root, not_here[i]);

                if (t)
                        source_error(&l->source, t->pos, "template \"%s\": %s cannot stand in a template",
                                     name, not_here[i]);
        }
}

/* The file of a template; *ret_file NULL with a finding: there is none. −ENOMEM. */
static int template_file(struct loader *l, const char *name, source_pos pos, const char **ret_file)
{
        const char *own = arena_printf(l->scratch, "%stemplates", l->folder);
        const char *const folders[3] = { own, l->options->template_dir, MBGATE_TEMPLATE_DIR };
        const char *given = folders[1] ? arena_printf(l->scratch, "\"%s\", ", folders[1]) : "";
        int r = own && given ? template_locate(l, folders, name, ret_file) : -ENOMEM;

        if (r == 0 && !*ret_file)
                source_error(&l->source, pos,
                             "%s: no template \"%s\": there is no %s.conf in %s\"%s\" or \"%s\"", PLACE(l),
                             name, name, given, own, MBGATE_TEMPLATE_DIR);
        return r;
}

static int template_add(struct loader *l, const char *name, source_pos pos, struct template **ret_template)
{
        struct template *t;
        const char *file;
        int r = template_file(l, name, pos, &file);

        if (r < 0 || !file)
                return r;
        t = arena_alloc(l->scratch, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->name = name;
        r = tree_read(&l->source, file, pos, &t->root);
        if (r < 0 && r != -EINVAL)
                return r;
        t->is_good = r == 0;
        if (t->is_good)
                template_check(l, t->name, &t->root);
        t->next = l->templates;
        l->templates = *ret_template = t;
        return 0;
}

int template_get(struct loader *l, const char *name, source_pos pos, const struct tree **ret_root)
{
        struct template *t = template_find(l, name);
        int r = 0;

        if (!*name || *name == '.' || strchr(name, '/')) {
                source_error(
                        &l->source, pos,
                        "%s: template \"%s\" must be the name of a file without folder and without .conf",
                        PLACE(l), name);
                return 0;
        }
        if (!t)
                r = template_add(l, name, pos, &t);
        if (r == 0 && t && t->is_good)
                *ret_root = &t->root;
        return r;
}
