/* SPDX-License-Identifier: MIT */
#include "mbgate/base/buf.h"
#include "mbgate/base/clock.h"

#include "gateway_private.h"
#include "json.h"

void gw_payload_plain(const struct gw_point *p, struct buf *out)
{
        buf_append(out, p->value.text);
}

/* A number and true/false stand as they are, a text or label as a string. */
void gw_payload_value(const struct gw_value *v, struct buf *out)
{
        if (!v->text || v->quality == QUALITY_BAD)
                buf_append(out, "null");
        else if (v->kind == VALUE_TEXT || v->is_label)
                gw_json_string(v->text, out);
        else
                buf_append(out, v->text);
}

void gw_payload_json(const struct gw_point *p, struct buf *out)
{
        char time[CLOCK_RFC3339_BYTES];

        buf_append(out, "{\"value\":");
        gw_payload_value(&p->value, out);
        clock_format_rfc3339(p->value.wall_us, time);
        buf_printf(out, ",\"quality\":\"%s\",\"time\":\"%s\"}", quality_name(p->value.quality), time);
}
