/* SPDX-License-Identifier: MIT */
/* Where a master meets a simulated bus: a pseudo-terminal, or a TCP port. */
#ifndef MBSIM_ENDPOINT_H
#define MBSIM_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "assembly.h"
#include "loop.h"
#include "mbgate/base/buf.h"
#include "simbus.h"

struct endpoint;

struct endpoint_ops {
        uint64_t (*next_ns)(struct endpoint *e, bool *ret_sharp);
        void (*advance)(struct endpoint *e, uint64_t now_ns);
        /* Goes away now and comes back at `back_ns`. */
        void (*hangup)(struct endpoint *e, uint64_t back_ns);
        void (*describe)(struct endpoint *e, struct buf *out);
        void (*free)(struct endpoint *e);
};

struct endpoint {
        const struct endpoint_ops *ops;
        struct simbus *bus;
        struct loop *loop;
        uint64_t back_ns; /* hung up until then; LINE_NEVER: it is there */
};

/*
 * A pseudo-terminal behind the symbolic link `link`, which is made, or pointed anew when it is a link
 * already. 0; −EEXIST: something else has that name; −errno.
 */
MUST_CHECK int endpoint_new_pty(struct loop *loop, struct simbus *bus, const char *link,
                                struct endpoint **ret);

/* A listening TCP socket for Modbus TCP, or for RTU frames. "ADDRESS:PORT", port 0: any. −EINVAL, −errno. */
MUST_CHECK int endpoint_new_tcp(struct loop *loop, struct simbus *bus, const char *address,
                                enum framing framing, struct endpoint **ret);

struct endpoint *endpoint_free(struct endpoint *e);

void endpoint_hangup(struct endpoint *e, uint64_t now_ns, uint64_t duration_ns);

#endif
