/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "gateway_private.h"

uint64_t gw_dedupe_key(const char *topic, const void *payload, size_t n_bytes)
{
        uint64_t parts[] = { gw_fingerprint(topic, strlen(topic)), gw_fingerprint(payload, n_bytes) };
        uint64_t key = gw_fingerprint(parts, sizeof(parts));

        return key ? key : 1;
}

static struct gw_seen *seen_of(const struct gw_dedupe *d, uint64_t key)
{
        for (size_t i = 0; i < GW_DEDUPE_MAX && key != 0; i++) {
                if (d->seen[i].key == key)
                        return (struct gw_seen *)(uintptr_t)&d->seen[i];
        }
        return NULL;
}

static void seen_forget(struct gw_seen *s)
{
        free(s->answer);
        *s = (struct gw_seen){ .key = 0 };
}

const struct gw_seen *gw_dedupe_find(const struct gw_dedupe *d, uint64_t key, uint64_t now_us)
{
        const struct gw_seen *s = seen_of(d, key);

        return s && now_us - s->at_us < GW_DEDUPE_US ? s : NULL;
}

void gw_dedupe_begin(struct gw_dedupe *d, uint64_t key, uint64_t now_us)
{
        struct gw_seen *s = seen_of(d, key);

        if (!s) {
                s = &d->seen[d->next];
                d->next = (d->next + 1) % GW_DEDUPE_MAX;
        }
        seen_forget(s);
        *s = (struct gw_seen){ .key = key, .at_us = now_us };
}

void gw_dedupe_end(struct gw_dedupe *d, uint64_t key, const char *answer)
{
        struct gw_seen *s = seen_of(d, key);

        if (!s)
                return;
        free(s->answer);
        s->answer = answer ? strdup(answer) : NULL;
        if (!s->answer)
                seen_forget(s);
}

void gw_dedupe_done(struct gw_dedupe *d)
{
        for (size_t i = 0; i < GW_DEDUPE_MAX; i++)
                seen_forget(&d->seen[i]);
}
