/* SPDX-License-Identifier: MIT */
/*
 * libconfig reads the syntax, and nothing more: its typed getters answer 0 for a text, cut reals and turn
 * large integers round, so its settings become our own tree at once.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <libconfig.h>

#include "mbgate/base/text.h"

#include "loader.h"

#define CONF_CHUNK_BYTES    (32u << 10)
#define SCRATCH_CHUNK_BYTES (256u << 10) /* mapped by itself, and so given back to the system */

/* Lists in lists in lists: no configuration needs more, and the walk below is recursive. */
#define TREE_DEPTH_MAX 64

struct tree_walk {
        struct source *source;
        source_pos base;
};

static int tree_convert(const struct tree_walk *w, const config_setting_t *setting, unsigned depth,
                        struct tree *ret);

static int tree_convert_items(const struct tree_walk *w, const config_setting_t *setting, unsigned depth,
                              struct tree *ret)
{
        unsigned n = (unsigned)config_setting_length(setting);

        if (depth >= TREE_DEPTH_MAX) {
                source_error(w->source, ret->pos, "more than %d brackets are nested here", TREE_DEPTH_MAX);
                n = 0;
        }
        ret->items = arena_array(w->source->arena, n, sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        ret->n_items = n;
        for (unsigned i = 0; i < n; i++) {
                int r = tree_convert(w, config_setting_get_elem(setting, i), depth + 1, &ret->items[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int tree_convert_text(const struct tree_walk *w, const config_setting_t *setting, struct tree *ret)
{
        const char *text = config_setting_get_string(setting);

        if (!text)
                text = "";
        ret->kind = TREE_TEXT;
        if (!text_is_mqtt_utf8(text, strlen(text))) {
                source_error(w->source, ret->pos, "a \\x in this text makes it something else than UTF-8");
                text = "x"; /* so that it is not complained of again */
        }
        ret->text = arena_copy(w->source->arena, text);
        return ret->text ? 0 : -ENOMEM;
}

static int tree_convert(const struct tree_walk *w, const config_setting_t *setting, unsigned depth,
                        struct tree *ret)
{
        const char *name = config_setting_name(setting);

        ret->pos = w->base + config_setting_source_line(setting);
        if (name) {
                ret->name = arena_copy(w->source->arena, name);
                if (!ret->name)
                        return -ENOMEM;
        }
        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                ret->kind = TREE_INT;
                ret->i = config_setting_get_int64(setting);
                return 0;
        case CONFIG_TYPE_FLOAT:
                ret->kind = TREE_REAL;
                ret->r = config_setting_get_float(setting);
                return 0;
        case CONFIG_TYPE_BOOL:
                ret->kind = TREE_BOOL;
                ret->b = config_setting_get_bool(setting);
                return 0;
        case CONFIG_TYPE_STRING: return tree_convert_text(w, setting, ret);
        case CONFIG_TYPE_ARRAY: ret->kind = TREE_ARRAY; break;
        case CONFIG_TYPE_LIST: ret->kind = TREE_LIST; break;
        default: ret->kind = TREE_GROUP; break;
        }
        return tree_convert_items(w, setting, depth, ret);
}

/* What libconfig says, in our words where its own are short. */
static const char *tree_error_text(const config_t *config)
{
        const char *text = config_error_text(config);

        if (!text || strcmp(text, "syntax error") == 0)
                return "syntax error here or just before: a bracket, quote, '=' or ',' is missing or too "
                       "many";
        if (strcmp(text, "duplicate setting name") == 0)
                return "this key stands here twice: remove one";
        if (strcmp(text, "mismatched element type in array") == 0)
                return "the elements in [ ] must be of one type: use ( ) for mixed ones";
        return text;
}

static void tree_config_destroy(config_t *config)
{
        config_destroy(config);
}

int tree_read(struct source *s, const char *file, source_pos asked, struct tree *ret_root)
{
        struct tree_walk w = { .source = s };
        char *text;
        config_t config CLEANUP(tree_config_destroy);
        int r;

        config_init(&config);
        r = source_read(s, file, asked, &text, &w.base);
        if (r < 0)
                return r;
        if (!config_read_string(&config, text)) {
                source_error(s, w.base + (source_pos)config_error_line(&config), "%s",
                             tree_error_text(&config));
                return -EINVAL;
        }
        return tree_convert(&w, config_root_setting(&config), 0, ret_root);
}

static int loader_init(struct loader *l, const char *file, const struct conf_load_options *options,
                       struct arena *arena, struct arena *scratch)
{
        static const struct conf_load_options none;
        CLEANUP(cleanup_free)
        char *absolute = NULL;

        *l = (struct loader){ .options = options ? options : &none, .arena = arena, .scratch = scratch };
        source_init(&l->source, scratch, file);
        l->folder = source_folder(scratch, file);
        absolute = realpath(l->folder && *l->folder ? l->folder : ".", NULL);
        l->absolute_folder = arena_printf(scratch, "%s/", absolute ? absolute : ".");
        l->conf = arena_alloc(arena, sizeof(*l->conf));
        l->empty = arena_copy(arena, "");
        if (!l->folder || !l->absolute_folder || !l->conf || !l->empty)
                return -ENOMEM;
        l->conf->file = arena_copy(arena, file);
        return l->conf->file ? 0 : -ENOMEM;
}

static void loader_done(struct loader *l)
{
        names_done(&l->texts);
        names_done(&l->topics);
        source_done(&l->source);
}

static int loader_run(struct loader *l, const char *file)
{
        struct tree root;
        int r = tree_read(&l->source, file, 0, &root);

        return r < 0 ? r : build_conf(l, &root);
}

int conf_load(const char *file, const struct conf_load_options *options, struct conf_report *report,
              struct conf **ret_conf)
{
        static atomic_uint generations;
        CLEANUP(arena_freep)
        struct arena *arena = NULL;
        CLEANUP(arena_freep)
        struct arena *scratch = NULL;
        CLEANUP(loader_done)
        struct loader l = { 0 };
        struct conf_report found = { 0 };
        int r = arena_new(CONF_CHUNK_BYTES, &arena);

        if (r < 0 || (r = arena_new(SCRATCH_CHUNK_BYTES, &scratch)) < 0)
                return r;
        r = loader_init(&l, file, options, arena, scratch);
        if (r == 0)
                r = loader_run(&l, file);
        if (r < 0 && r != -EINVAL)
                return r;
        if (source_report(&l.source, &found) < 0)
                return -ENOMEM;
        *report = found;
        if (r < 0 || found.n_errors > 0)
                return -EINVAL;
        l.conf->arena = TAKE(arena);
        atomic_init(&l.conf->n_refs, 1);
        l.conf->generation = atomic_fetch_add(&generations, 1) + 1;
        *ret_conf = l.conf;
        return 0;
}
