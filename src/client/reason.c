/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "mbgate/base/macros.h"
#include "reason.h"

static const struct {
        unsigned code;
        const char *text;
} reason_texts[] = {
        { 0, "success" },
        { 4, "disconnected, will published" },
        { 16, "no matching subscribers" },
        { 128, "unspecified error" },
        { 129, "malformed packet" },
        { 130, "protocol error" },
        { 131, "implementation specific error" },
        { 132, "unsupported protocol version: set protocol = 4" },
        { 133, "client identifier not valid" },
        { 134, "bad user name or password" },
        { 135, "not authorised" },
        { 136, "server unavailable" },
        { 137, "server busy" },
        { 138, "banned" },
        { 139, "server shutting down" },
        { 140, "bad authentication method" },
        { 141, "keep alive timeout" },
        { 142, "session taken over: another client uses this client_id" },
        { 143, "topic filter invalid" },
        { 144, "topic name invalid" },
        { 145, "packet identifier in use" },
        { 147, "receive maximum exceeded" },
        { 148, "topic alias invalid" },
        { 149, "packet too large" },
        { 150, "message rate too high" },
        { 151, "quota exceeded" },
        { 152, "administrative action" },
        { 153, "payload format invalid" },
        { 154, "retain not supported" },
        { 155, "QoS not supported" },
        { 156, "use another server" },
        { 157, "server moved" },
        { 158, "shared subscriptions not supported" },
        { 159, "connection rate exceeded" },
        { 160, "maximum connect time" },
        { 161, "subscription identifiers not supported" },
        { 162, "wildcard subscriptions not supported" },
};

static const char *const reason_connack_311[] = {
        "success",
        "unacceptable protocol version",
        "client identifier rejected",
        "server unavailable",
        "bad user name or password",
        "not authorised",
};

/* By enum mosq_err_t. */
static const char *const reason_library[] = {
        [1] = "out of memory",
        [2] = "protocol error",
        [3] = "invalid argument",
        [4] = "not connected",
        [5] = "connection refused",
        [7] = "connection closed by the broker",
        [8] = "TLS error",
        [9] = "payload too large",
        [10] = "not supported",
        [15] = "name lookup failed",
        [18] = "malformed UTF-8",
        [19] = "no answer within the keepalive time",
        [21] = "malformed packet",
        [22] = "duplicate property",
        [23] = "TLS handshake failed",
        [24] = "QoS not supported",
        [25] = "packet too large",
        [28] = "retain not supported",
};

#define REASON_LIBRARY_ERRNO 14

const char *reason_text(unsigned code)
{
        for (size_t i = 0; i < ARRAY_SIZE(reason_texts); i++) {
                if (reason_texts[i].code == code)
                        return reason_texts[i].text;
        }
        return "unknown reason";
}

const char *reason_connack_text(bool is_v5, unsigned code)
{
        if (!is_v5 && code < ARRAY_SIZE(reason_connack_311))
                return reason_connack_311[code];
        return reason_text(code);
}

enum connector_failure reason_connack_failure(bool is_v5, unsigned code)
{
        bool is_auth = is_v5 ? code == 133 || code == 134 || code == 135 || code == 138 || code == 140
                             : code == 2 || code == 4 || code == 5;

        return is_auth ? CONNECTOR_F_AUTH : CONNECTOR_F_REFUSED;
}

const char *reason_library_text(int error, int errnum)
{
        if (error == REASON_LIBRARY_ERRNO && errnum > 0)
                return strerrordesc_np(errnum) ? strerrordesc_np(errnum) : "input/output error";
        if (error > 0 && (size_t)error < ARRAY_SIZE(reason_library) && reason_library[error])
                return reason_library[error];
        return "error of the MQTT library";
}
