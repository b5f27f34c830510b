/* SPDX-License-Identifier: MIT */
/* Rows of the broker's store. The first byte is the kind; what is decoded lies inside the row, and goes back
 * into the same bytes. */
#include "record.h"

#include "fuzz.h"

static char *text_of(struct mqtt_bytes bytes)
{
        char *text = bytes.data ? strndup((const char *)bytes.data, bytes.n) : NULL;

        FUZZ_ASSERT(!bytes.data || text);
        return text;
}

static bool has_nul(struct mqtt_bytes bytes)
{
        return bytes.n > 0 && memchr(bytes.data, 0, bytes.n);
}

static void check_message(const uint8_t *bytes, size_t n)
{
        struct record_message row;
        struct acl_client source;
        struct message *m;
        uint8_t *again;

        if (!record_take_message(bytes, n, &row) || has_nul(row.source_id) || has_nul(row.source_user))
                return;
        source = (struct acl_client){ .user = text_of(row.source_user), .id = text_of(row.source_id) };
        FUZZ_ASSERT(message_new(&(struct message_init){ .topic = (const char *)row.topic.data,
                                                        .topic_bytes = row.topic.n,
                                                        .payload = row.payload.data,
                                                        .payload_bytes = row.payload.n,
                                                        .qos = row.qos,
                                                        .retain = row.retain,
                                                        .expiry_s = row.expiry_s,
                                                        .properties = row.properties.data,
                                                        .properties_bytes = row.properties.n },
                                &m) == 0);
        FUZZ_ASSERT(record_message_bytes(m, source.id ? &source : NULL) == n);
        again = malloc(n);
        FUZZ_ASSERT(again);
        record_put_message(again, m, source.id ? &source : NULL, row.wall_us);
        FUZZ_ASSERT(memcmp(again + 1, bytes + 1, n - 1) == 0);
        free(again);
        free((void *)(uintptr_t)source.user);
        free((void *)(uintptr_t)source.id);
        (void)message_unref(m);
}

static void check_session(const uint8_t *bytes, size_t n)
{
        static uint8_t again[RECORD_SESSION_BYTES + 64];
        struct record_session row;

        if (!record_take_session(bytes, n, &row))
                return;
        FUZZ_ASSERT(record_put_session(again, &row) == 17 + row.user.n);
        FUZZ_ASSERT(memcmp(again, bytes, 16) == 0);
}

static void check_queued(const uint8_t *bytes, size_t n)
{
        uint8_t again[RECORD_QUEUED_BYTES];
        struct record_queued row;

        if (record_take_queued(bytes, n, &row))
                FUZZ_ASSERT(record_put_queued(again, row.message, row.qos, row.retain, row.sub_ids,
                                              row.n_sub_ids) == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        struct record_subscription subscription;
        struct record_state state;
        struct record_will will;
        uint32_t session;
        uint64_t number;

        switch (fuzz_u8(&in) % 7) {
        case 0: check_message(in.data, in.n); break;
        case 1: check_session(in.data, in.n); break;
        case 2: check_queued(in.data, in.n); break;
        case 3: (void)record_take_subscription(in.data, in.n, &subscription); break;
        case 4: (void)record_take_state(in.data, in.n, &state); break;
        case 5: (void)record_take_item_key(in.data, in.n, &session, &number); break;
        default: (void)record_take_will(in.data, in.n, &will); break;
        }
        return 0;
}
