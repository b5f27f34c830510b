/* SPDX-License-Identifier: MIT */
/* Between command.c (what is asked) and result.c (what became of it). Main thread. */
#ifndef MBGATE_GATEWAY_COMMAND_H
#define MBGATE_GATEWAY_COMMAND_H

#include "gateway_private.h"
#include "json.h"

#define GW_ERROR_BYTES 160

/* A command while it is looked at. */
struct gw_request {
        struct gw_link *from;
        struct message *message;
        struct gw_point *point;
        char *value_json;       /* what was asked for, as JSON; owned; NULL: cannot be repeated */
        char *id_json;          /* owned */
        uint64_t dedupe_key;    /* 0: without an id */
        const char *json_error; /* what is wrong with it, when it is no JSON command */
        char error_text[GW_ERROR_BYTES];
};

/*
 * Hands a command to the point's bus and notes who waits. 0; −ENOBUFS: too many wait; −ESHUTDOWN: the bus is
 * not there; −ENOMEM. Takes the texts of *q on success, and the command unless it fails.
 */
MUST_CHECK int gw_pending_post(struct gateway *g, struct gw_request *q, enum gw_target_kind kind,
                               struct bus_command *command);

/* Publishes a result, and to the response topic of the request on the link it came from (or NULL: gone). */
void gw_answer(struct gateway *g, struct gw_link *origin, const struct message *request,
               const char *result_topic, uint8_t qos, const struct gw_json_result *result);

/* The same with the result as JSON. */
void gw_answer_json(struct gateway *g, struct gw_link *origin, const struct message *request,
                    const char *result_topic, uint8_t qos, const char *json);

#endif
