/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/text.h"
#include "regfile.h"

#define REGFILE_LINE_BYTES 512

const char regfile_reference[] =
        "unit 10\n"
        "holding 0 int16 scale 0.1 ro = walk 20.5..22.5 step 0.1   # temperature, deg C\n"
        "holding 1 uint16 scale 0.1 ro = walk 40..50 step 0.2      # humidity, %\n"
        "holding 2 = 0                                             # LED, 0..1023\n"
        "holding 3 ro = -157                                       # test value\n";

struct regfile {
        struct map *map;
        int unit; /* −1: none named yet */
        struct buf *error;
};

/* Cuts the comment off, but for a '#' between quotation marks. */
static void regfile_cut_comment(char *line)
{
        bool quoted = false;

        for (char *p = line; *p; p++) {
                if (*p == '"')
                        quoted = !quoted;
                if ((*p == '#' && !quoted) || *p == '\n' || *p == '\r') {
                        *p = '\0';
                        return;
                }
        }
}

static int regfile_unit(struct regfile *f, const char *word)
{
        int64_t unit;

        if (!word || text_parse_i64(word, strlen(word), 0, 255, &unit) < 0) {
                buf_append(f->error, "\"unit\" needs a number of 0..255 after it");
                return -EINVAL;
        }
        f->unit = (int)unit;
        return map_add_unit(f->map, (uint8_t)unit);
}

/* "3" or "0..999" */
static int regfile_addresses(struct regfile *f, const char *word, struct map_point *p, bool *ret_range)
{
        const char *dots = word ? strstr(word, "..") : NULL;
        int64_t first, last;

        if (!word || text_parse_i64(word, dots ? (size_t)(dots - word) : strlen(word), 0, 65535, &first) < 0)
                goto bad;
        last = first;
        if (dots && text_parse_i64(dots + 2, strlen(dots + 2), first, 65535, &last) < 0)
                goto bad;
        p->first = (uint16_t)first;
        p->count = (uint32_t)(last - first) + 1;
        *ret_range = dots != NULL;
        return 0;
bad:
        buf_printf(f->error, "\"%s\": an address of 0..65535 or a range such as 0..99 is needed",
                   word ? word : "");
        return -EINVAL;
}

static int regfile_order(const char *word, enum value_order *ret)
{
        static const char *const names[] = { "ABCD", "CDAB", "BADC", "DCBA" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(word, names[i]) == 0) {
                        *ret = (enum value_order)i;
                        return 0;
                }
        }
        return -EINVAL;
}

/* A word between address and '=': ro, a type, an order, "scale 0.1", or a string's length. */
static int regfile_word(struct regfile *f, const char *word, char **save, struct map_point *p)
{
        int64_t length;
        char *end;

        if (strcmp(word, "ro") == 0) {
                p->writable = false;
                return 0;
        }
        if (strcmp(word, "scale") == 0) {
                word = strtok_r(NULL, " \t", save);
                p->format.scale = word ? strtod(word, &end) : 0;
                if (word && *end == '\0' && p->format.scale > 0)
                        return 0;
                buf_append(f->error, "\"scale\" needs a number above 0 after it");
                return -EINVAL;
        }
        if (p->format.type == VALUE_TYPE_STRING &&
            text_parse_i64(word, strlen(word), 1, (int64_t)VALUE_TEXT_MAX_BYTES, &length) == 0) {
                p->format.length_bytes = (unsigned)length;
                return 0;
        }
        if (regfile_order(word, &p->format.order) == 0 || value_type_parse(word, &p->format.type) == 0)
                return 0;
        buf_printf(f->error,
                   "\"%s\" is no type (int16, uint16, ... float32, string), no order (ABCD ...), no "
                   "\"scale\" and "
                   "no \"ro\"",
                   word);
        return -EINVAL;
}

/* A whole point: the range is cut to whole values, one address grows to one value. */
static int regfile_add(struct regfile *f, struct map_point *p, bool range)
{
        unsigned n_regs = value_n_regs(&p->format);
        int r;

        if (!range)
                p->count = n_regs;
        if (p->count % n_regs != 0) {
                buf_printf(f->error, "the range holds %u registers, which is no multiple of the type's %u",
                           (unsigned)p->count, n_regs);
                return -EINVAL;
        }
        if (!map_generator_fits(&p->format, &p->gen)) {
                buf_printf(f->error, "the value does not fit into type %s", value_type_name(p->format.type));
                return -EINVAL;
        }
        r = map_add_point(f->map, p);
        if (r == -EINVAL)
                buf_append(f->error, "the value does not end before address 65536");
        return r;
}

/* A plain register takes −32768..65535: the type follows the number. */
static void regfile_plain_type(struct map_point *p)
{
        if (p->gen.kind != GEN_RAW && p->gen.low < 0)
                p->format.type = VALUE_TYPE_INT16;
}

static int regfile_point(struct regfile *f, enum map_area area, const char *generator, char **save)
{
        struct map_point p = { .area = area,
                               .unit = (uint8_t)f->unit,
                               .writable = area == MAP_HOLDING || area == MAP_COIL };
        bool range;
        int r;

        p.format.type = map_area_is_bits(area) ? VALUE_TYPE_BOOL : VALUE_TYPE_UINT16;
        p.format.scale = 1;
        p.format.length_bytes = 16;
        r = regfile_addresses(f, strtok_r(NULL, " \t", save), &p, &range);
        if (r < 0)
                return r;
        for (const char *word; (word = strtok_r(NULL, " \t", save));) {
                r = regfile_word(f, word, save, &p);
                if (r < 0)
                        return r;
        }
        r = gen_parse(generator, &p.gen, f->error);
        if (r < 0)
                return r;
        if (p.format.type == VALUE_TYPE_UINT16)
                regfile_plain_type(&p);
        return regfile_add(f, &p, range);
}

static int regfile_line(struct regfile *f, char *line)
{
        char *equals, *save = NULL;
        const char *word;
        enum map_area area;

        regfile_cut_comment(line);
        equals = strchr(line, '=');
        if (equals)
                *equals++ = '\0';
        word = strtok_r(line, " \t", &save);
        if (!word && !equals)
                return 0;
        if (word && strcmp(word, "unit") == 0)
                return regfile_unit(f, strtok_r(NULL, " \t", &save));
        if (!word || map_area_parse(word, strlen(word), &area) < 0) {
                buf_printf(f->error, "a line begins with unit, holding, input, coil or discrete, not \"%s\"",
                           word ? word : "=");
                return -EINVAL;
        }
        if (f->unit < 0) {
                buf_append(f->error, "a line \"unit 1\" must come before the first register");
                return -EINVAL;
        }
        if (!equals) {
                buf_append(f->error, "\"= VALUE\" is missing");
                return -EINVAL;
        }
        return regfile_point(f, area, equals, &save);
}

int regfile_load(FILE *file, const char *name, struct map *map, struct buf *error)
{
        char line[REGFILE_LINE_BYTES], text[300];
        struct buf reason = BUF_ON(text);
        struct regfile f = { .map = map, .unit = -1, .error = &reason };

        for (unsigned n = 1; fgets(line, sizeof(line), file); n++) {
                int r = regfile_line(&f, line);

                if (r < 0) {
                        buf_printf(error, "%s:%u: error: %s", name, n, r == -EINVAL ? text : strerror(-r));
                        return r;
                }
        }
        if (ferror(file)) {
                buf_printf(error, "%s: error: cannot be read: %s", name, strerror(errno));
                return -EIO;
        }
        return 0;
}
