/* SPDX-License-Identifier: MIT */
/* An ACL file, a user, a client id, a topic and a filter, parted by NULs. */
#include <stdio.h>

#include "mbgate/broker/acl.h"
#include "mbgate/codec/topic.h"

#include "fuzz.h"

struct part {
        const char *text;
        size_t n;
};

static struct part part_take(const uint8_t **at, const uint8_t *end)
{
        const uint8_t *nul = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
        struct part part = { (const char *)*at, (size_t)((nul ? nul : end) - *at) };

        *at = nul ? nul + 1 : end;
        return part;
}

static void name_copy(char out[64], struct part part)
{
        (void)snprintf(out, 64, "%.*s", (int)part.n, part.n > 0 ? part.text : "");
}

static void check(const struct acl *acl, const struct acl_client *client, struct part topic,
                  struct part filter)
{
        bool can_read = acl_check(acl, client, ACL_READ, topic.text, topic.n);

        (void)acl_check(acl, client, ACL_WRITE, topic.text, topic.n);
        if (!topic_is_filter(filter.text, filter.n))
                return;
        /* What may be read may be subscribed to, by every filter that matches it. */
        if (!acl_check_filter(acl, client, filter.text, filter.n) && can_read &&
            (filter.n < 7 || memcmp(filter.text, "$share/", 7) != 0))
                FUZZ_ASSERT(!topic_matches(filter.text, filter.n, topic.text, topic.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const uint8_t *at = data, *end = data + n;
        struct part text = part_take(&at, end), user = part_take(&at, end), id = part_take(&at, end);
        struct part topic = part_take(&at, end), filter = part_take(&at, end);
        char user_name[64], client_id[64];
        struct acl_client client = { .user = user.n > 0 ? user_name : NULL, .id = client_id };
        struct findings findings = { 0 };
        struct acl *acl = NULL;
        int r = acl_parse("acl", text.text, text.n, &findings, &acl);

        FUZZ_ASSERT((r < 0) == (findings.n > 0) && (r < 0) == (acl == NULL));
        name_copy(user_name, user);
        name_copy(client_id, id);
        if (acl && topic_is_name(topic.text, topic.n))
                check(acl, &client, topic, filter);
        (void)acl_free(acl);
        findings_done(&findings);
        return 0;
}
