/* SPDX-License-Identifier: MIT */
/*
 * Control of a running mbsim: commands, one a line, each answered by one line: "ok", "ok …", "error: …", or
 * for stats a JSON object. They come over a Unix socket, or over standard input.
 */
#ifndef MBSIM_CONTROL_H
#define MBSIM_CONTROL_H

#include "sim.h"

struct control;

/* `path` of a Unix socket to listen on (a stale one is replaced), or "-": standard input. −errno. */
MUST_CHECK int control_new(struct sim *sim, const char *path, struct control **ret);
struct control *control_free(struct control *c);
DEFINE_CLEANUP(struct control *, control_free)

/* Does one command; the answer goes to `out`, with its newline. `line` is taken apart. */
void control_execute(struct sim *sim, char *line, FILE *out);

/* Gives a point of any bus another generator. 0; −ENOENT, −EINVAL with the reason in *error. */
MUST_CHECK int control_set(struct sim *sim, const char *target, const char *generator, struct buf *error);

/* Adds a fault rule to the buses that it names. −EINVAL with the reason in *error. */
MUST_CHECK int control_fault(struct sim *sim, const char *text, struct buf *error);

#endif
