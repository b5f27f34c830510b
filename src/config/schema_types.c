/* SPDX-License-Identifier: MIT */
/* One small group of functions for each type of key. Own getters: what does not fit exactly is refused. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/text.h"

#include "loader.h"

static void *member(const struct schema_key *k, const void *object)
{
        return (char *)(uintptr_t)object + k->offset;
}

static void *member_2(const struct schema_key *k, const void *object)
{
        return (char *)(uintptr_t)object + k->offset_2;
}

static const char *const kind_names[] = {
        [TREE_GROUP] = "a group { }",     [TREE_LIST] = "a list ( )",    [TREE_ARRAY] = "an array [ ]",
        [TREE_INT] = "an integer",        [TREE_REAL] = "a real number", [TREE_BOOL] = "true or false",
        [TREE_TEXT] = "a text in quotes",
};

/* `bus "rs485": baud must be an integer, this is a text in quotes` */
static int wrong_kind(struct loader *l, const struct schema_key *k, const struct tree *v)
{
        source_error(&l->source, v->pos, "%s: %s must be %s, this is %s", PLACE(l), k->name, k->type->name,
                     kind_names[v->kind]);
        return 0;
}

/* ---- words ---- */

static const char *words_nearest(const struct schema_word *words, const char *text)
{
        unsigned best = 1 + (unsigned)strlen(text) / 3;
        const char *found = NULL;

        for (; words->word; words++) {
                unsigned distance = text_distance(words->word, text);

                if (text_equal_nocase(text, strlen(text), words->word) || (distance <= best && !found)) {
                        best = distance;
                        found = words->word;
                }
        }
        return found;
}

static int wrong_word(struct loader *l, const struct schema_key *k, const struct tree *v)
{
        char text[256];
        struct buf b = BUF_ON(text);
        const char *near = words_nearest(k->words, v->text);

        for (const struct schema_word *w = k->words; w->word; w++)
                buf_printf(&b, "%s\"%s\"", w == k->words ? "" : ", ", w->word);
        if (near)
                buf_printf(&b, " (did you mean \"%s\"?)", near);
        source_error(&l->source, v->pos, "%s: %s is \"%s\", it must be one of %s", PLACE(l), k->name, v->text,
                     text);
        return 0;
}

static const struct schema_word *words_find(const struct schema_word *words, const char *text)
{
        for (; words->word; words++) {
                if (strcmp(words->word, text) == 0)
                        return words;
        }
        return NULL;
}

/* ---- texts ---- */

/* The text with ${unit_id} put in; another ${…} is reported. NULL: no memory. */
static const char *text_fill(struct loader *l, const struct schema_key *k, const struct tree *v)
{
        static const char unit[] = "${unit_id}";
        const char *text = v->text, *p;

        if (!(k->flags & SCHEMA_PLACEHOLDERS))
                return text;
        while (text && l->unit_id && (p = strstr(text, unit)))
                text = arena_printf(l->scratch, "%.*s%s%s", (int)(p - text), text, l->unit_id,
                                    p + sizeof(unit) - 1);
        p = text ? strstr(text, "${") : NULL;
        if (p)
                source_error(&l->source, v->pos, "%s: %s has \"%s\", but only ${unit_id} can be put in",
                             PLACE(l), k->name, p);
        return text;
}

static int text_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        const char *text;
        char *copy;

        if (v->kind != TREE_TEXT)
                return wrong_kind(l, k, v);
        if (k->words && !words_find(k->words, v->text))
                return wrong_word(l, k, v);
        if (k->flags & SCHEMA_STRUCTURE)
                return 0;
        text = text_fill(l, k, v);
        if (!text)
                return -ENOMEM;
        copy = (k->flags & SCHEMA_SHARED) || k->words ? loader_share(l, text) : arena_copy(l->arena, text);
        if (!copy)
                return -ENOMEM;
        *(char **)member(k, object) = copy;
        return 0;
}

static bool text_is_shown(const struct schema_key *k, const void *object)
{
        return **(char **)member(k, object) != '\0';
}

void schema_print_text(const char *text, FILE *out)
{
        (void)fputc('"', out);
        for (const char *p = text; *p; p++) {
                unsigned char c = (unsigned char)*p;

                if (c == '"' || c == '\\')
                        (void)fprintf(out, "\\%c", c);
                else if (c < 0x20 || c == 0x7F)
                        (void)fprintf(out, "\\x%02x", c);
                else
                        (void)fputc(c, out);
        }
        (void)fputc('"', out);
}

static void text_print(const struct schema_key *k, const void *object, FILE *out)
{
        schema_print_text(*(char **)member(k, object), out);
}

static bool text_equal(const struct schema_key *k, const void *a, const void *b)
{
        return (k->flags & SCHEMA_STRUCTURE) || strcmp(*(char **)member(k, a), *(char **)member(k, b)) == 0;
}

const struct schema_type schema_text = { "a text in quotes", text_set, text_is_shown, text_print,
                                         text_equal };

/* A path in the file is seen from the folder of the file, for it must not matter where the daemon starts. */
static int path_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        char *path;

        if (v->kind != TREE_TEXT)
                return wrong_kind(l, k, v);
        path = arena_printf(l->arena, "%s%s", *v->text == '/' || !*v->text ? "" : l->absolute_folder,
                            v->text);
        if (!path)
                return -ENOMEM;
        *(char **)member(k, object) = path;
        return 0;
}

const struct schema_type schema_path = { "a path in quotes", path_set, text_is_shown, text_print,
                                         text_equal };

/* A path whose being empty says something. */
const struct schema_type schema_folder = { "a path in quotes", path_set, NULL, text_print, text_equal };

static bool interval_topic_is_shown(const struct schema_key *k, const void *object)
{
        return **(char **)member_2(k, object) == '\0'; /* else both are the defaults */
}

const struct schema_type schema_interval_topic = { "a text in quotes", text_set, interval_topic_is_shown,
                                                   text_print, text_equal };

/* ---- numbers ---- */

static int out_of_range(struct loader *l, const struct schema_key *k, const struct tree *v)
{
        if (v->kind == TREE_INT)
                source_error(&l->source, v->pos, "%s: %s is %" PRId64 ", it must be %.15g to %.15g", PLACE(l),
                             k->name, v->i, k->min, k->max);
        else
                source_error(&l->source, v->pos, "%s: %s is %.15g, it must be %.15g to %.15g", PLACE(l),
                             k->name, v->r, k->min, k->max);
        return 0;
}

static uint64_t int_get(const struct schema_key *k, const void *object)
{
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;

        switch (k->size) {
        case 1: memcpy(&u8, member(k, object), 1); return u8;
        case 2: memcpy(&u16, member(k, object), 2); return u16;
        case 4: memcpy(&u32, member(k, object), 4); return u32;
        }
        memcpy(&u64, member(k, object), 8);
        return u64;
}

static void int_put(const struct schema_key *k, void *object, uint64_t v)
{
        uint8_t u8 = (uint8_t)v;
        uint16_t u16 = (uint16_t)v;
        uint32_t u32 = (uint32_t)v;

        switch (k->size) {
        case 1: memcpy(member(k, object), &u8, 1); return;
        case 2: memcpy(member(k, object), &u16, 2); return;
        case 4: memcpy(member(k, object), &u32, 4); return;
        }
        memcpy(member(k, object), &v, 8);
}

static int int_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        if (v->kind != TREE_INT)
                return wrong_kind(l, k, v);
        if ((double)v->i < k->min || (double)v->i > k->max)
                return out_of_range(l, k, v);
        int_put(k, object, (uint64_t)v->i);
        return 0;
}

/* 0 where 0 is not allowed: not set, and not needed. */
static bool int_is_shown(const struct schema_key *k, const void *object)
{
        return k->min <= 0 || int_get(k, object) != 0;
}

static void print_i64(int64_t v, FILE *out)
{
        (void)fprintf(out, "%" PRId64 "%s", v, v > INT32_MAX || v < INT32_MIN ? "L" : "");
}

static void int_print(const struct schema_key *k, const void *object, FILE *out)
{
        print_i64((int64_t)int_get(k, object), out);
}

static bool int_equal(const struct schema_key *k, const void *a, const void *b)
{
        return int_get(k, a) == int_get(k, b);
}

const struct schema_type schema_int = { "an integer", int_set, int_is_shown, int_print, int_equal };

static bool real_of(const struct tree *v, double *ret)
{
        *ret = v->kind == TREE_INT ? (double)v->i : v->r;
        return v->kind == TREE_INT || v->kind == TREE_REAL;
}

static int real_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        double d;

        if (!real_of(v, &d))
                return wrong_kind(l, k, v);
        if (!isfinite(d) || d < k->min || d > k->max)
                return out_of_range(l, k, v);
        *(double *)member(k, object) = d;
        return 0;
}

void schema_print_real(double v, FILE *out)
{
        char text[40];

        for (int digits = 15; digits <= 17; digits++) { /* the fewest that read back the same */
                (void)snprintf(text, sizeof(text), "%.*g", digits, v);
                if (strtod(text, NULL) == v) // NOLINT(clang-diagnostic-float-equal)
                        break;
        }
        (void)fprintf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void real_print(const struct schema_key *k, const void *object, FILE *out)
{
        schema_print_real(*(double *)member(k, object), out);
}

static bool real_equal(const struct schema_key *k, const void *a, const void *b)
{
        return *(double *)member(k, a) == *(double *)member(k, b);
}

const struct schema_type schema_real = { "a number", real_set, NULL, real_print, real_equal };

static int limit_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        double d;

        if (real_of(v, &d) && isfinite(d))
                *(bool *)member_2(k, object) = true;
        return real_set(l, k, v, object);
}

static bool limit_is_shown(const struct schema_key *k, const void *object)
{
        return *(bool *)member_2(k, object);
}

static bool limit_equal(const struct schema_key *k, const void *a, const void *b)
{
        return limit_is_shown(k, a) == limit_is_shown(k, b) && real_equal(k, a, b);
}

const struct schema_type schema_limit = { "a number", limit_set, limit_is_shown, real_print, limit_equal };

/* ---- switches and words ---- */

static int bool_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        if (v->kind != TREE_BOOL)
                return wrong_kind(l, k, v);
        if (!(k->flags & SCHEMA_STRUCTURE))
                *(bool *)member(k, object) = v->b;
        return 0;
}

static void bool_print(const struct schema_key *k, const void *object, FILE *out)
{
        (void)fputs(*(bool *)member(k, object) ? "true" : "false", out);
}

static bool bool_equal(const struct schema_key *k, const void *a, const void *b)
{
        return (k->flags & SCHEMA_STRUCTURE) || *(bool *)member(k, a) == *(bool *)member(k, b);
}

const struct schema_type schema_bool = { "true or false", bool_set, NULL, bool_print, bool_equal };

/* A switch that stands there by name means more than its default. */
static int said_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        if (v->kind == TREE_BOOL)
                *(bool *)member_2(k, object) = true;
        return bool_set(l, k, v, object);
}

static bool said_is_shown(const struct schema_key *k, const void *object)
{
        return *(bool *)member_2(k, object);
}

static bool said_equal(const struct schema_key *k, const void *a, const void *b)
{
        return said_is_shown(k, a) == said_is_shown(k, b) && bool_equal(k, a, b);
}

const struct schema_type schema_said = { "true or false", said_set, said_is_shown, bool_print, said_equal };

static int word_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        const struct schema_word *w;

        if (v->kind != TREE_TEXT)
                return wrong_kind(l, k, v);
        w = words_find(k->words, v->text);
        if (!w)
                return wrong_word(l, k, v);
        int_put(k, object, w->value);
        return 0;
}

static void word_print(const struct schema_key *k, const void *object, FILE *out)
{
        for (const struct schema_word *w = k->words; w->word; w++) {
                if (w->value == int_get(k, object))
                        schema_print_text(w->word, out);
        }
}

const struct schema_type schema_word = { "a text in quotes", word_set, NULL, word_print, int_equal };

/* ---- seconds, or never ---- */

static int expiry_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        if (v->kind != TREE_TEXT)
                return int_set(l, k, v, object);
        if (words_find(k->words, v->text))
                int_put(k, object, UINT32_MAX);
        else
                source_error(&l->source, v->pos, "%s: %s is \"%s\", it must be a number of seconds or \"%s\"",
                             PLACE(l), k->name, v->text, k->words->word);
        return 0;
}

static void expiry_print(const struct schema_key *k, const void *object, FILE *out)
{
        if (int_get(k, object) == UINT32_MAX)
                schema_print_text(k->words->word, out);
        else
                int_print(k, object, out);
}

const struct schema_type schema_expiry = { "an integer or \"never\"", expiry_set, NULL, expiry_print,
                                           int_equal };

/* ---- sequences ---- */

static int texts_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        char **texts;

        if (!tree_is_sequence(v))
                return wrong_kind(l, k, v);
        texts = arena_array(l->arena, v->n_items, sizeof(*texts));
        if (!texts)
                return -ENOMEM;
        for (size_t i = 0; i < v->n_items; i++) {
                if (v->items[i].kind != TREE_TEXT)
                        return wrong_kind(l, k, &v->items[i]);
                texts[i] = arena_copy(l->arena, v->items[i].text);
                if (!texts[i])
                        return -ENOMEM;
        }
        *(char ***)member(k, object) = texts;
        *(size_t *)member_2(k, object) = v->n_items;
        return 0;
}

static void texts_print(const struct schema_key *k, const void *object, FILE *out)
{
        char **texts = *(char ***)member(k, object);
        size_t n = *(size_t *)member_2(k, object);

        (void)fputs("[", out);
        for (size_t i = 0; i < n; i++) {
                (void)fputs(i ? ", " : " ", out);
                schema_print_text(texts[i], out);
        }
        (void)fputs(" ]", out);
}

static bool texts_equal(const struct schema_key *k, const void *a, const void *b)
{
        char **x = *(char ***)member(k, a), **y = *(char ***)member(k, b);
        size_t n = *(size_t *)member_2(k, a);

        if (n != *(size_t *)member_2(k, b))
                return false;
        for (size_t i = 0; i < n; i++) {
                if (strcmp(x[i], y[i]) != 0)
                        return false;
        }
        return true;
}

const struct schema_type schema_texts = { "texts in [ ]", texts_set, NULL, texts_print, texts_equal };

static int ints_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        int64_t *ints;

        if (!tree_is_sequence(v))
                return wrong_kind(l, k, v);
        ints = arena_array(l->arena, v->n_items, sizeof(*ints));
        if (!ints)
                return -ENOMEM;
        for (size_t i = 0; i < v->n_items; i++) {
                if (v->items[i].kind != TREE_INT)
                        return wrong_kind(l, k, &v->items[i]);
                ints[i] = v->items[i].i;
        }
        *(int64_t **)member(k, object) = ints;
        *(size_t *)member_2(k, object) = v->n_items;
        return 0;
}

static bool ints_is_shown(const struct schema_key *k, const void *object)
{
        return *(size_t *)member_2(k, object) > 0;
}

static void ints_print(const struct schema_key *k, const void *object, FILE *out)
{
        int64_t *ints = *(int64_t **)member(k, object);
        size_t n = *(size_t *)member_2(k, object);
        bool is_wide = false;

        for (size_t i = 0; i < n; i++)
                is_wide |= ints[i] > INT32_MAX || ints[i] < INT32_MIN;
        (void)fputs("[", out);
        for (size_t i = 0; i < n; i++) /* the elements of an array are of one type */
                (void)fprintf(out, "%s%" PRId64 "%s", i ? ", " : " ", ints[i], is_wide ? "L" : "");
        (void)fputs(" ]", out);
}

static bool ints_equal(const struct schema_key *k, const void *a, const void *b)
{
        size_t n = *(size_t *)member_2(k, a);

        return n == *(size_t *)member_2(k, b) &&
               (n == 0 ||
                memcmp(*(int64_t **)member(k, a), *(int64_t **)member(k, b), n * sizeof(int64_t)) == 0);
}

const struct schema_type schema_ints = { "integers in [ ]", ints_set, ints_is_shown, ints_print, ints_equal };

/* ---- parity, data_bits, stop_bits of a bus ---- */

static int format_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        struct conf_bus *b = object;

        if (v->kind != TREE_TEXT)
                return wrong_kind(l, k, v);
        if (strlen(v->text) != 3 || v->text[0] != '8' || !strchr("NEO", v->text[1]) ||
            !strchr("12", v->text[2])) {
                source_error(
                        &l->source, v->pos,
                        "%s: format is \"%s\", it must be 8, then N, E or O, then 1 or 2, as in \"8E1\"%s",
                        PLACE(l), v->text, *v->text == '7' ? ": RTU frames need 8 data bits" : "");
                return 0;
        }
        b->data_bits = 8;
        b->parity = v->text[1];
        b->stop_bits = (uint8_t)(v->text[2] - '0');
        return 0;
}

static void format_print(const struct schema_key *k UNUSED, const void *object, FILE *out)
{
        const struct conf_bus *b = object;

        (void)fprintf(out, "\"%u%c%u\"", b->data_bits, b->parity, b->stop_bits);
}

static bool format_equal(const struct schema_key *k UNUSED, const void *a, const void *b)
{
        const struct conf_bus *x = a, *y = b;

        return x->data_bits == y->data_bits && x->parity == y->parity && x->stop_bits == y->stop_bits;
}

const struct schema_type schema_format = { "a text such as \"8E1\"", format_set, NULL, format_print,
                                           format_equal };

/* ---- area and address of a point: four keys for two members ---- */

static int area_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        struct conf_point *p = object;

        if (v->kind != TREE_INT)
                return wrong_kind(l, k, v);
        if (v->i < 0 || v->i > UINT16_MAX)
                return out_of_range(l, k, v);
        p->area = (enum conf_area)k->arg;
        p->address = (uint16_t)v->i;
        return 0;
}

static bool area_is_shown(const struct schema_key *k, const void *object)
{
        return ((const struct conf_point *)object)->area == (enum conf_area)k->arg;
}

static void area_print(const struct schema_key *k UNUSED, const void *object, FILE *out)
{
        (void)fprintf(out, "%u", ((const struct conf_point *)object)->address);
}

static bool area_equal(const struct schema_key *k UNUSED, const void *a, const void *b)
{
        const struct conf_point *x = a, *y = b;

        return x->area == y->area && x->address == y->address;
}

const struct schema_type schema_area = { "an integer", area_set, area_is_shown, area_print, area_equal };

/* ---- bits of a point: two keys for three members ---- */

static int bits_take(struct loader *l, const struct schema_key *k, const struct tree *low,
                     const struct tree *high, struct value_format *f)
{
        if (low->kind != TREE_INT || high->kind != TREE_INT)
                return wrong_kind(l, k, low->kind != TREE_INT ? low : high);
        if (low->i < 0 || high->i > 63 || low->i > high->i) {
                source_error(&l->source, low->pos, "%s: bits go from 0 to 63 at most, the lower one first",
                             PLACE(l));
                return 0;
        }
        f->has_bits = true;
        f->bit_lo = (unsigned)low->i;
        f->bit_hi = (unsigned)high->i;
        return 0;
}

static int bit_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        return bits_take(l, k, v, v, &((struct conf_point *)object)->format);
}

static int bits_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object)
{
        if (!tree_is_sequence(v) || v->n_items != 2)
                return wrong_kind(l, k, v);
        return bits_take(l, k, &v->items[0], &v->items[1], &((struct conf_point *)object)->format);
}

static bool bit_is_shown(const struct schema_key *k UNUSED, const void *object)
{
        const struct value_format *f = &((const struct conf_point *)object)->format;

        return f->has_bits && f->bit_lo == f->bit_hi;
}

static bool bits_is_shown(const struct schema_key *k UNUSED, const void *object)
{
        const struct value_format *f = &((const struct conf_point *)object)->format;

        return f->has_bits && f->bit_lo != f->bit_hi;
}

static void bit_print(const struct schema_key *k UNUSED, const void *object, FILE *out)
{
        (void)fprintf(out, "%u", ((const struct conf_point *)object)->format.bit_lo);
}

static void bits_print(const struct schema_key *k UNUSED, const void *object, FILE *out)
{
        const struct value_format *f = &((const struct conf_point *)object)->format;

        (void)fprintf(out, "[ %u, %u ]", f->bit_lo, f->bit_hi);
}

static bool bits_equal(const struct schema_key *k UNUSED, const void *a, const void *b)
{
        const struct value_format *x = &((const struct conf_point *)a)->format;
        const struct value_format *y = &((const struct conf_point *)b)->format;

        return x->has_bits == y->has_bits && x->bit_lo == y->bit_lo && x->bit_hi == y->bit_hi;
}

const struct schema_type schema_bit = { "an integer", bit_set, bit_is_shown, bit_print, bits_equal };
const struct schema_type schema_bits = { "two integers, [ low, high ]", bits_set, bits_is_shown, bits_print,
                                         bits_equal };

/* ---- groups and lists of groups: build.c goes into them ---- */

static int group_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object UNUSED)
{
        return v->kind == TREE_GROUP ? 0 : wrong_kind(l, k, v);
}

static int list_set(struct loader *l, const struct schema_key *k, const struct tree *v, void *object UNUSED)
{
        if (!tree_is_sequence(v))
                return wrong_kind(l, k, v);
        for (size_t i = 0; i < v->n_items; i++) {
                if (v->items[i].kind != TREE_GROUP)
                        return wrong_kind(l, k, &v->items[i]);
        }
        return 0;
}

const struct schema_type schema_group = { "a group { … }", group_set, NULL, NULL, NULL };
const struct schema_type schema_list = { "a list of groups ( { … }, … )", list_set, NULL, NULL, NULL };
