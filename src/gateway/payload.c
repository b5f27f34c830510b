/* SPDX-License-Identifier: MIT */
#include "mbgate/base/clock.h"

#include "gateway_private.h"
#include "json.h"

uint64_t gw_fingerprint(const void *bytes, size_t n_bytes)
{
        const unsigned char *at = bytes;
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < n_bytes; i++)
                hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
        return hash;
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
        buf_printf(out, ",\"quality\":\"%s\",\"time\":", quality_name(p->value.quality));
        if (p->value.wall_us == GW_WALL_UNKNOWN) {
                buf_append(out, "null}");
                return;
        }
        clock_format_rfc3339(p->value.wall_us, time);
        buf_printf(out, "\"%s\"}", time);
}

/*
 * {"temp":21.5,"hum":48.1}: all points of the device that have this payload and were read. Beside values that
 * are new an old one would pass for new.
 */
void gw_payload_object(const struct gw_device *d, struct buf *out)
{
        char before = '{';

        for (size_t i = 0; i < d->conf->n_points; i++) {
                const struct gw_point *p = &d->points[i];

                if (p->conf->payload != CONF_PAYLOAD_OBJECT || !p->value.is_known)
                        continue;
                buf_append_char(out, before);
                before = ',';
                gw_json_string(p->conf->name, out);
                buf_append_char(out, ':');
                if (p->value.quality == QUALITY_STALE && d->status == DEVICE_ONLINE)
                        buf_append(out, "null");
                else
                        gw_payload_value(&p->value, out);
        }
        if (before == ',')
                buf_append_char(out, '}');
}
