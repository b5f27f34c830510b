/* SPDX-License-Identifier: MIT */
/* Rebuilds the broker's tables from the rows of its store, which come in the order of enum record_table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/codec/topic.h"

#include "broker_private.h"
#include "persistence_private.h"

/* Seconds between then and now by the wall clock, if both were right; else none have passed. */
static uint64_t elapsed_s(int64_t then_us)
{
        int64_t now_us = clock_is_synchronised() ? clock_wall_us() : 0;

        return then_us > 0 && now_us > then_us ? (uint64_t)(now_us - then_us) / USEC_PER_SEC : 0;
}

/* 0; −ENOENT: it has expired; −ENOMEM. */
static int message_of(const struct persistence *p, const struct record_message *row, struct message **ret)
{
        uint64_t gone_s = row->expiry_s > 0 ? elapsed_s(row->wall_us) : 0;
        struct message_init init = {
                .topic = (const char *)row->topic.data,
                .topic_bytes = row->topic.n,
                .payload = row->payload.data,
                .payload_bytes = row->payload.n,
                .qos = row->qos,
                .retain = row->retain,
                .is_live = row->is_live,
                .expiry_s = row->expiry_s,
                .made_us = loop_now_us(p->broker->loop),
                .properties = row->properties.data,
                .properties_bytes = row->properties.n,
        };

        if (row->expiry_s > 0 && gone_s >= row->expiry_s)
                return -ENOENT;
        init.expiry_s -= (uint32_t)gone_s;
        return message_new(&init, ret);
}

/* NULL: there is none, or no memory. */
static char *text_of(struct mqtt_bytes bytes)
{
        return bytes.data ? strndup((const char *)bytes.data, bytes.n) : NULL;
}

static bool take_retained(struct persistence *p, struct mqtt_bytes value)
{
        struct broker *b = p->broker;
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        CLEANUP(cleanup_free)
        char *id = NULL;
        CLEANUP(cleanup_free)
        char *user = NULL;
        struct acl_client source;
        struct record_message row;
        uint64_t now_us = loop_now_us(b->loop);

        if (!record_take_message(value.data, value.n, &row) || message_of(p, &row, &m) < 0)
                return false;
        id = text_of(row.source_id);
        user = text_of(row.source_user);
        if ((row.source_id.data && !id) || (row.source_user.data && !user))
                return false;
        source = (struct acl_client){ .user = user, .id = id };
        if (b->known)
                (void)!retained_set(b->known, m, &source, now_us);
        return retained_set(b->retained, m, &source, now_us) == 0;
}

static bool take_message(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct record_message row;
        struct kept_message *kept;

        if (key.n != 8 || !record_take_message(value.data, value.n, &row))
                return false;
        kept = calloc(1, sizeof(*kept));
        if (!kept)
                return false;
        if (message_of(p, &row, &kept->message) < 0) {
                free(kept);
                return false;
        }
        kept->number = record_get_u64(key.data);
        p->last_message = MBGATE_MAX(p->last_message, kept->number);
        HASH_ADD(hh_number, p->by_number, number, sizeof(kept->number), kept);
        return true;
}

static bool take_session(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct record_session row;
        struct kept_session *kept;
        CLEANUP(cleanup_free)
        char *id = strndup((const char *)key.data, key.n);
        CLEANUP(cleanup_free)
        char *user = NULL;
        struct session_ask ask = { .id = id };

        if (!id || key.n == 0 || !record_take_session(value.data, value.n, &row))
                return false;
        user = text_of(row.user);
        ask.user = user;
        ask.is_proven = row.is_proven && user;
        ask.expiry_s = row.expiry_s;
        kept = calloc(1, sizeof(*kept));
        if (!kept || (row.user.data && !user) ||
            session_restore(p->broker, &ask, elapsed_s(row.away_us), &kept->session) < 0) {
                free(kept);
                return false;
        }
        kept->number = kept->session->stored = row.number;
        p->last_session = MBGATE_MAX(p->last_session, row.number);
        HASH_ADD(hh, p->sessions, number, sizeof(kept->number), kept);
        return true;
}

static struct session *session_by_number(struct persistence *p, uint32_t number)
{
        struct kept_session *kept;

        HASH_FIND(hh, p->sessions, &number, sizeof(number), kept);
        return kept ? kept->session : NULL;
}

static bool take_subscription(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct record_subscription row;
        struct subscription_options options;
        struct session *s;

        if (key.n <= 4 || !record_take_subscription(value.data, value.n, &row))
                return false;
        s = session_by_number(p, get_be32(key.data));
        if (!s)
                return false;
        options = (struct subscription_options){
                .qos = row.qos,
                .no_local = row.no_local,
                .retain_as_published = row.retain_as_published,
                .id = row.id,
        };
        if (subscriptions_add(p->broker->subscriptions, &s->subscriber, (const char *)key.data + 4, key.n - 4,
                              &options) != 0)
                return false;
        session_charge(s, key.n - 4);
        return true;
}

static bool take_state(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct record_state row;
        struct kept_item *item;
        uint32_t session;
        uint64_t number;

        if (!record_take_item_key(key.data, key.n, &session, &number) ||
            !record_take_state(value.data, value.n, &row) || !session_by_number(p, session) ||
            persistence_item_new(p, session, number, &item) < 0)
                return false;
        item->state = row;
        return true;
}

static bool take_queued(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct record_queued row;
        struct queue_message m;
        struct kept_message *kept;
        struct kept_item *item;
        struct session *s;
        struct queue *q;
        uint32_t session;
        uint64_t number;

        if (!record_take_item_key(key.data, key.n, &session, &number) ||
            !record_take_queued(value.data, value.n, &row))
                return false;
        s = session_by_number(p, session);
        HASH_FIND(hh_number, p->by_number, &row.message, sizeof(row.message), kept);
        if (!s || !kept || session_queue(s, &q) < 0)
                return false;
        item = persistence_item(p, session, number);
        if (!item && persistence_item_new(p, session, number, &item) < 0)
                return false;
        m = (struct queue_message){ .message = kept->message,
                                    .qos = row.qos,
                                    .retain = row.retain,
                                    .n_sub_ids = row.n_sub_ids,
                                    .sub_ids = row.sub_ids };
        if (queue_restore(q, &m, number, item->state.packet_id, item->state.is_released) < 0)
                return false;
        item->message = kept;
        kept->n_items++;
        return true;
}

static bool take_unreleased(struct persistence *p, struct mqtt_bytes key)
{
        struct session *s = key.n == 6 ? session_by_number(p, get_be32(key.data)) : NULL;
        struct queue *q;

        return s && session_queue(s, &q) == 0 && queue_receive(q, get_be16(key.data + 4)) == 0;
}

/* By the wall clock, if it was right then and is now; what is left grows by no clock that has been set back.
 */
static uint64_t will_left_us(const struct record_will *row)
{
        int64_t now_us = clock_is_synchronised() ? clock_wall_us() : 0;

        if (row->wall_us == 0 || now_us == 0)
                return row->left_us;
        return now_us < row->wall_us ? MBGATE_MIN((uint64_t)(row->wall_us - now_us), row->left_us) : 0;
}

static bool take_will(struct persistence *p, struct mqtt_bytes key, struct mqtt_bytes value)
{
        struct session *s = key.n == 4 ? session_by_number(p, get_be32(key.data)) : NULL;
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct record_will row;

        if (!s || s->will || !record_take_will(value.data, value.n, &row) ||
            message_of(p, &row.message, &m) < 0)
                return false;
        session_restore_will(s, m, will_left_us(&row));
        return true;
}

/* Rows that have expired, or belong to nothing: they are deleted once the store can be written. */
static void remember_unusable(struct persistence *p, uint8_t table, struct mqtt_bytes key)
{
        struct kept_unusable *u = malloc(sizeof(*u) + key.n);

        if (!u)
                return; /* next time */
        *u = (struct kept_unusable){ .next = p->unusable, .table = table, .n = key.n };
        memcpy(u->key, key.data, key.n);
        p->unusable = u;
}

void persistence_take_row(void *user, uint8_t table, const void *key_bytes, size_t n_key,
                          const void *value_bytes, size_t n_value)
{
        struct persistence *p = user;
        struct mqtt_bytes key = { key_bytes, n_key }, value = { value_bytes, n_value };
        bool is_good = false;

        switch (table) {
        case RECORD_RETAINED: is_good = take_retained(p, value); break;
        case RECORD_MESSAGE: is_good = take_message(p, key, value); break;
        case RECORD_SESSION: is_good = take_session(p, key, value); break;
        case RECORD_SUBSCRIPTION: is_good = take_subscription(p, key, value); break;
        case RECORD_STATE: is_good = take_state(p, key, value); break;
        case RECORD_QUEUED: is_good = take_queued(p, key, value); break;
        case RECORD_UNRELEASED: is_good = take_unreleased(p, key); break;
        case RECORD_WILL: is_good = take_will(p, key, value); break;
        default: break;
        }
        if (!is_good)
                remember_unusable(p, table, key);
}

/* ---- after the last row ---- */

static void tidy_up_messages(struct persistence *p)
{
        struct kept_message *m, *next;
        uint8_t key[8];

        HASH_ITER (hh_number, p->by_number, m, next) {
                HASH_DELETE(hh_number, p->by_number, m);
                if (m->n_items > 0) {
                        HASH_ADD_PTR(p->messages, message, m);
                        continue;
                }
                record_put_u64(key, m->number);
                (void)store_delete(p->store, RECORD_MESSAGE, key, sizeof(key));
                (void)message_unref(m->message);
                free(m);
        }
}

/* States without a message. */
static void tidy_up_items(struct persistence *p)
{
        struct kept_item *item, *next;
        uint8_t key[RECORD_KEY_BYTES];

        HASH_ITER (hh, p->items, item, next) {
                if (item->message)
                        continue;
                record_put_item_key(key, item->key.session, item->key.number);
                (void)store_delete(p->store, RECORD_STATE, key, sizeof(key));
                persistence_item_free(p, item);
        }
}

static void tidy_up_sessions(struct persistence *p)
{
        struct kept_session *s, *next;

        HASH_ITER (hh, p->sessions, s, next) {
                HASH_DEL(p->sessions, s);
                if (s->session->queue)
                        p->broker->n_queued_bytes += queue_n_bytes(s->session->queue);
                free(s);
        }
}

static void tidy_up_unusable(struct persistence *p)
{
        while (p->unusable) {
                struct kept_unusable *u = p->unusable;

                p->unusable = u->next;
                (void)store_delete(p->store, u->table, u->key, u->n);
                free(u);
        }
}

void persistence_give_up_reading(struct persistence *p)
{
        struct kept_message *m, *next;

        HASH_ITER (hh_number, p->by_number, m, next) {
                HASH_DELETE(hh_number, p->by_number, m);
                (void)message_unref(m->message);
                free(m);
        }
        tidy_up_sessions(p);
        while (p->unusable) {
                struct kept_unusable *u = p->unusable;

                p->unusable = u->next;
                free(u);
        }
}

void persistence_tidy_up(struct persistence *p)
{
        struct broker *b = p->broker;

        tidy_up_messages(p);
        tidy_up_items(p);
        tidy_up_sessions(p);
        tidy_up_unusable(p);
        log_info(&b->fields,
                 "broker: the store gave %zu retained message(s), %u session(s), %u message(s) for them",
                 retained_n_messages(b->retained), HASH_COUNT(b->sessions), HASH_COUNT(p->items));
}
