/* SPDX-License-Identifier: MIT */
/* The table as mdoc(7). */
#include <errno.h>

#include "schema.h"

/* Text for mdoc: a backslash is an escape, and a '.' or '\'' at the start of a line a request. */
static void doc_text(const char *text, FILE *out)
{
        for (const char *p = text; *p; p++) {
                if (*p == '\\')
                        (void)fputs("\\e", out);
                else if (*p == '\'')
                        (void)fputs("\\(aq", out);
                else if (*p == '"')
                        (void)fputs("\\(dq", out);
                else if (p[0] == '.' && p[1] == ' ') /* a new sentence begins a new line */
                        (void)fputs(".\n", out), p++;
                else
                        (void)fputc(*p, out);
        }
}

static void doc_line(const char *label, const char *text, FILE *out)
{
        (void)fputs(".br\n", out);
        (void)fputs(label, out);
        doc_text(text, out);
        (void)fputs(".\n", out);
}

static void doc_words(const struct schema_key *k, FILE *out)
{
        (void)fputs(".br\nOne of:", out);
        for (const struct schema_word *w = k->words; w->word; w++)
                (void)fprintf(out, "%s \\(dq%s\\(dq", w == k->words ? "" : ",", w->word);
        (void)fputs(".\n", out);
}

static void doc_places(const struct schema_key *k, FILE *out)
{
        if (!k->also)
                return;
        (void)fputs(".br\nAs a default, also on:", out);
        for (unsigned s = k->section; s-- > 0;) {
                if (k->also & SCHEMA_IN(s))
                        (void)fprintf(out, " %s%s", schema_section_name((enum schema_section)s),
                                      k->also & (SCHEMA_IN(s) - 1) ? "," : "");
        }
        (void)fputs(".\n", out);
}

static void doc_key(const struct schema_key *k, FILE *out)
{
        (void)fprintf(out, ".It Cm %s No = ", k->name);
        doc_text(k->type->name, out);
        (void)fputs("\n", out);
        doc_text(k->help, out);
        (void)fputs("\n", out);
        if (k->flags & SCHEMA_REQUIRED)
                (void)fputs(".br\nRequired.\n", out);
        if (k->words)
                doc_words(k, out);
        if (k->max > k->min && k->max < 1e18)
                (void)fprintf(out, ".br\nRange: %.17g to %.17g.\n", k->min, k->max);
        if (k->deflt)
                doc_line("Default: ", k->deflt, out);
        doc_places(k, out);
}

int conf_document(FILE *out)
{
        static const char *const titles[SCHEMA_SECTIONS] = {
                "The file",
                "gateway",
                "A bus, in the list buses",
                "A device, in the list devices of a bus",
                "A point, in the list points of a device",
                "An entry of a map",
                "A link, in the list links",
                "tls of a link",
                "broker",
                "A listener, in the list listeners of the broker",
                "tls of a listener",
                "share of a bus",
                "An entry of the list allow of a share",
        };

        for (unsigned s = 0; s < SCHEMA_SECTIONS; s++) {
                (void)fprintf(out, ".Ss %s\n.Bl -tag -width Ds\n", titles[s]);
                for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                        if (k->section == (enum schema_section)s)
                                doc_key(k, out);
                }
                (void)fputs(".El\n", out);
        }
        return ferror(out) ? -EIO : 0;
}
