/* SPDX-License-Identifier: MIT */
/* The words for what a broker answers, and what kind of failure a refusal is. Pure. */
#ifndef MBGATE_CLIENT_REASON_H
#define MBGATE_CLIENT_REASON_H

#include <stdbool.h>

#include "connector.h"

/* MQTT 5.0 §2.4: "not authorised"; never NULL. */
const char *reason_text(unsigned code);

/* The code of a CONNACK: MQTT 5.0 §3.2.2.2, MQTT 3.1.1 §3.2.2.3. */
const char *reason_connack_text(bool is_v5, unsigned code);
enum connector_failure reason_connack_failure(bool is_v5, unsigned code);

/* Error `errnum` of libmosquitto (its enum mosq_err_t), 2.0.11 has no words for all of them. */
const char *reason_library_text(int error, int errnum);

#endif
