/* SPDX-License-Identifier: MIT */
/*
 * The TLS side of a listener: certificate, key, who may come in. Immutable; counted, since connections go on
 * with what they began with when renewed certificates are read. Owned by the main thread.
 */
#ifndef MBGATE_BROKER_STREAM_TLS_H
#define MBGATE_BROKER_STREAM_TLS_H

#include "mbgate/base/macros.h"
#include "mbgate/config/conf.h"

struct tls_server;

/* What a fault may say of itself. */
#define TLS_FAULT_BYTES 384

/*
 * Reads certificate and key of a listener. −EINVAL: `fault` says which file is wrong, why, and what to do;
 * −ENOMEM.
 */
MUST_CHECK int tls_server_new(const struct conf_listener *conf, char fault[TLS_FAULT_BYTES],
                              struct tls_server **ret_tls);
struct tls_server *tls_server_ref(struct tls_server *tls);

/* Takes NULL, returns NULL; the last one frees. */
struct tls_server *tls_server_unref(struct tls_server *tls);
DEFINE_CLEANUP(struct tls_server *, tls_server_unref)

#endif
