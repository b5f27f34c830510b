/* SPDX-License-Identifier: MIT */
/*
 * The control socket: a Unix stream socket on which an operator on this board asks the running program, with
 * mbgatectl(1) or by hand. A line is a request, and each gets one line of JSON, in order:
 *
 *   REQUEST [PAYLOAD]\n        set dev/led 512 │ get dev/temp │ raw rs485 0A 03 00 00 00 02 │ status
 *
 * To the gateway it is a link. Who may open it is decided by the file's mode, 0660. Main thread.
 */
#ifndef MBGATE_APP_CONTROL_H
#define MBGATE_APP_CONTROL_H

#include "mbgate/gateway/gateway.h"
#include "mbgate/loop/loop.h"

#define CONTROL_CLIENTS_MAX 16
#define CONTROL_LINE_BYTES  8192 /* of a request, without its end */

struct control;

/*
 * Listens at `path`; a socket that nobody serves any more is replaced. −ENAMETOOLONG, −EADDRINUSE: another
 * program serves it, −errno. The gateway is borrowed and must know the link (GATEWAY_LINK_CONTROL).
 */
MUST_CHECK int control_new(struct loop *loop, struct gateway *gateway, const char *path,
                           struct control **ret_control);
struct control *control_free(struct control *c);
DEFINE_CLEANUP(struct control *, control_free)

struct link *control_link(struct control *c);

/* "$RUNTIME_DIRECTORY/control", the caller's, or NULL: no such directory, or no memory. */
char *control_default_path(void);

#endif
