/* SPDX-License-Identifier: MIT */
/*
 * From a file to a struct conf, with every error found in one go; and back to text. Blocks on the disk: at
 * start and on SIGHUP only.
 */
#ifndef MBGATE_CONFIG_LOAD_H
#define MBGATE_CONFIG_LOAD_H

#include <stdio.h>

#include "mbgate/config/conf.h"

/* A finding: "FILE:LINE: error: …" or "FILE:LINE: warning: …", complete, without a newline. */
struct conf_report {
        char **lines;
        size_t n_lines;
        size_t n_errors;
};

void conf_report_done(struct conf_report *report);

struct conf_load_options {
        const char *template_dir; /* looked in after `templates/` beside the file, before the installed one;
                                     or NULL */
        const char *cmdline_file; /* where console=… is looked for; NULL: what the kernel says */
};

/*
 * Loads and checks `file`. Paths in it begin at its own folder, and are complete in the result. 0 with
 * *ret_conf; −EINVAL with all errors in *report (warnings may be there in both cases); −ENOMEM.
 */
MUST_CHECK int conf_load(const char *file, const struct conf_load_options *options,
                         struct conf_report *report, struct conf **ret_conf);

/*
 * Writes the effective configuration, every default spelled out, as text that loads to the same again;
 * secrets are named by their files, never shown. −errno of the stream.
 */
MUST_CHECK int conf_dump(const struct conf *conf, FILE *out);

/* Writes the section of mbgated.conf(5) that describes every key, in mdoc(7), from the schema table. */
MUST_CHECK int conf_document(FILE *out);

/* Writes etc/mbgated.conf: all keys with help and default, commented out. −errno of the stream. */
MUST_CHECK int conf_annotate(FILE *out);

/* What SIGHUP must do for a bus or link, by comparison of two configurations. */
enum conf_change {
        CONF_SAME,    /* nothing that this part sees has changed */
        CONF_ADJUST,  /* devices, points or timing: the port or connection stays */
        CONF_REPLACE, /* port or line settings, host or credentials: a new one is needed */
};

enum conf_change conf_compare_bus(const struct conf_bus *a, const struct conf_bus *b);

/*
 * Whether both points are one value: the same registers of the same unit, decoded in the same way. How it is
 * called, shown and published does not count, nor what a command may ask for.
 */
bool conf_is_same_value(const struct conf_point *a, const struct conf_point *b);

/* The point of its name, on a device of its device's name, of a bus, if it is the same value; or NULL. */
const struct conf_point *conf_find_again(const struct conf_bus *bus, const struct conf_point *old);

enum conf_change conf_compare_link(const struct conf_link *a, const struct conf_link *b);

/* CONF_REPLACE: another socket is needed. */
enum conf_change conf_compare_listener(const struct conf_listener *a, const struct conf_listener *b);

/* Without its listeners. CONF_REPLACE: another store is needed, which takes a new start. */
enum conf_change conf_compare_broker(const struct conf_broker *a, const struct conf_broker *b);

#endif
