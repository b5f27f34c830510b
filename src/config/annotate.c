/* SPDX-License-Identifier: MIT */
/* The table as a configuration file in which everything is commented out: etc/mbgated.conf. */
#include <errno.h>

#include "mbgate/base/buf.h"

#include "schema.h"

#define ANNOTATE_COLUMNS 100

static const char intro[] =
        "# SPDX-License-Identifier: MIT\n"
        "#\n"
        "# The configuration of mbgated. Every key stands here with what it means and with its default, or "
        "with an example\n"
        "# where there is none; take away the '#' to set one. mbgated.conf(5) says the same at more length.\n"
        "#\n"
        "# After a change:   mbgated --check-config /etc/mbgate/mbgated.conf && systemctl reload mbgated\n"
        "#\n"
        "# Short files to begin with are in share/doc/mbgate/examples under /usr/local or /usr.\n"
        "# What stands on the gateway, a bus or a device\n"
        "# is the default of what it holds: interval_ms = 5000; on a bus is meant for all its points. Paths "
        "begin at the\n"
        "# folder of this file. @include \"other.conf\" at the start of a line puts another file in its "
        "place.\n"
        "\n";

/* How lines of a group begin, and its settings. */
struct annotate {
        FILE *out;
        char lead[64];
        const char *mark; /* "#" in a group that is there itself, "" in one that is commented out */
};

/* A text in lines that begin with "LEAD# ". */
static void annotate_comment(const struct annotate *a, const char *text)
{
        size_t room = ANNOTATE_COLUMNS - strlen(a->lead);

        while (*text) {
                size_t n = strlen(text);

                if (n > room) {
                        for (n = room; n > 0 && text[n] != ' '; n--)
                                ;
                        n = n ? n : strcspn(text, " ");
                }
                (void)fprintf(a->out, "%s# %.*s\n", a->lead, (int)n, text);
                text += n;
                text += strspn(text, " ");
        }
}

/* Help, choice, range and places of a key as one paragraph. */
static void annotate_help(const struct annotate *a, const struct schema_key *k)
{
        char text[1024];
        struct buf b = BUF_ON(text);

        buf_append(&b, k->help);
        if (k->flags & SCHEMA_REQUIRED)
                buf_append(&b, " Required.");
        for (const struct schema_word *w = k->words; w && w->word; w++)
                buf_printf(&b, "%s \"%s\"%s", w == k->words ? " One of" : ",", w->word, w[1].word ? "" : ".");
        if (k->max > k->min && k->max < 1e15)
                buf_printf(&b, " %.15g to %.15g.", k->min, k->max);
        if (k->deflt && (k->flags & SCHEMA_COMPUTED))
                buf_printf(&b, " Default: %s.", k->deflt);
        annotate_comment(a, text);
}

static void annotate_section(const struct annotate *a, enum schema_section section);

/* A group, or a list with one group in it; commented out unless it is the gateway. */
static void annotate_group(const struct annotate *a, const struct schema_key *k)
{
        struct annotate inner = { .out = a->out, .mark = "" };
        bool is_list = k->type == &schema_list;
        bool is_there = k->section == SCHEMA_TOP && k->arg != SCHEMA_BROKER;
        const char *hash = is_there || !*a->mark ? "" : "#";

        struct buf lead = BUF_ON(inner.lead);

        (void)fprintf(a->out, "%s%s%s = %s\n", a->lead, hash, k->name, is_list ? "(" : "{");
        buf_printf(&lead, "%s%s  ", a->lead, hash);
        if (is_list) {
                (void)fprintf(a->out, "%s%s{\n", inner.lead, is_there ? "#" : "");
                buf_printf(&lead, "%s  ", is_there ? "#" : "");
        } else if (is_there) {
                inner.mark = "#";
        }
        annotate_section(&inner, (enum schema_section)k->arg);
        if (is_list)
                (void)fprintf(a->out, "%s%s  %s}\n", a->lead, hash, is_there ? "#" : "");
        (void)fprintf(a->out, "%s%s%s\n", a->lead, hash, is_list ? ");" : "};");
}

static void annotate_key(const struct annotate *a, const struct schema_key *k)
{
        annotate_help(a, k);
        if (k->type == &schema_group || k->type == &schema_list)
                annotate_group(a, k);
        else
                (void)fprintf(a->out, "%s%s%s = %s;\n", a->lead, a->mark, k->name,
                              k->example ? k->example : k->deflt);
}

static void annotate_section(const struct annotate *a, enum schema_section section)
{
        bool is_first = true;

        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section != section)
                        continue;
                if (!is_first)
                        (void)fprintf(a->out, "%.*s\n",
                                      (int)(strrchr(a->lead, '#') ? strrchr(a->lead, '#') - a->lead + 1 : 0),
                                      a->lead);
                is_first = false;
                annotate_key(a, k);
        }
}

int conf_annotate(FILE *out)
{
        const struct annotate a = { .out = out, .lead = "", .mark = "#" };

        (void)fputs(intro, out);
        annotate_section(&a, SCHEMA_TOP);
        return ferror(out) ? -EIO : 0;
}
