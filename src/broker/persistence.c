/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"

#include "broker_private.h"
#include "persistence_private.h"

#define STORE_FILE         "broker.db"
#define HAND_OVER_AGAIN_US USEC_PER_SEC
#define WALK_LOOKS         1000

/* The store's own time of now; 0 when nobody has set the clock. */
static int64_t wall_now_us(void)
{
        return clock_is_synchronised() ? clock_wall_us() : 0;
}

/* ---- numbers ---- */

bool persistence_has(const struct persistence *p, uint64_t number)
{
        return !p || !p->is_sync || number <= store_committed(p->store) || store_is_failing(p->store);
}

uint64_t persistence_last(const struct persistence *p)
{
        return p ? store_last(p->store) : 0;
}

bool persistence_is_late(struct persistence *p, uint64_t now_us)
{
        return p && heartbeat_is_late(store_heartbeat(p->store), now_us);
}

void persistence_stats(const struct persistence *p, uint64_t *ret_n_messages, uint64_t *ret_n_bytes)
{
        *ret_n_messages = p ? HASH_COUNT(p->messages) : 0;
        *ret_n_bytes = p ? store_file_bytes(p->store) : 0;
}

static void persistence_arm_at(struct persistence *p, uint64_t at_us)
{
        p->is_armed = true;
        loop_timer_set(p->timer, at_us);
}

/*
 * Under "sync" at the end of the turn, so that all changes of a turn are one commit. What piles up in memory
 * goes to the disk whatever the durability is.
 */
static void persistence_arm(struct persistence *p)
{
        uint64_t now_us;

        if (store_is_overfull(p->store)) {
                persistence_arm_at(p, loop_now_us(p->broker->loop));
                return;
        }
        if (p->is_armed || p->pause_us == CLOCK_NEVER_US)
                return;
        now_us = loop_now_us(p->broker->loop);
        persistence_arm_at(p, MBGATE_MAX(now_us + p->pause_us, store_retry_us(p->store)));
}

static uint64_t persistence_put(struct persistence *p, enum record_table table, const void *key, size_t n_key,
                                const void *value, size_t n_value, bool is_new)
{
        uint64_t number = store_put(p->store, (uint8_t)table, key, n_key, value, n_value, is_new);

        persistence_arm(p);
        return number;
}

static uint64_t persistence_delete(struct persistence *p, enum record_table table, const void *key,
                                   size_t n_key)
{
        uint64_t number = store_delete(p->store, (uint8_t)table, key, n_key);

        persistence_arm(p);
        return number;
}

/* ---- messages ---- */

static uint64_t persistence_put_message(struct persistence *p, enum record_table table, const void *key,
                                        size_t n_key, const struct message *m,
                                        const struct acl_client *source, bool is_new)
{
        uint8_t *value;
        uint64_t number = store_put_room(p->store, (uint8_t)table, key, n_key,
                                         record_message_bytes(m, source), is_new, &value);

        if (number > 0)
                record_put_message(value, m, source, m->expiry_s > 0 ? wall_now_us() : 0);
        persistence_arm(p);
        return number;
}

uint64_t persistence_retain(struct persistence *p, struct message *m, const struct acl_client *source)
{
        if (!p)
                return 0;
        if (strncmp(m->topic, "$SYS/", 5) == 0)
                return 0; /* made anew */
        if (m->payload_bytes == 0 || m->is_live)
                return persistence_delete(p, RECORD_RETAINED, m->topic, m->topic_bytes);
        return persistence_put_message(p, RECORD_RETAINED, m->topic, m->topic_bytes, m, source, false);
}

static struct kept_message *persistence_keep_message(struct persistence *p, struct message *m)
{
        struct kept_message *kept;
        uint8_t key[8];

        HASH_FIND_PTR(p->messages, &m, kept);
        if (kept)
                return kept;
        kept = calloc(1, sizeof(*kept));
        if (!kept)
                return NULL;
        kept->message = message_ref(m);
        kept->number = ++p->last_message;
        HASH_ADD_PTR(p->messages, message, kept);
        record_put_u64(key, kept->number);
        (void)persistence_put_message(p, RECORD_MESSAGE, key, sizeof(key), m, NULL, true);
        return kept;
}

static void persistence_drop_message(struct persistence *p, struct kept_message *kept)
{
        uint8_t key[8];

        record_put_u64(key, kept->number);
        (void)persistence_delete(p, RECORD_MESSAGE, key, sizeof(key));
        HASH_DEL(p->messages, kept);
        (void)message_unref(kept->message);
        free(kept);
}

/* ---- items ---- */

struct kept_item *persistence_item(struct persistence *p, uint32_t session, uint64_t number)
{
        struct kept_key key = { .session = session, .number = number };
        struct kept_item *item;

        HASH_FIND(hh, p->items, &key, sizeof(key), item);
        return item;
}

int persistence_item_new(struct persistence *p, uint32_t session, uint64_t number,
                         struct kept_item **ret_item)
{
        struct kept_item *item = calloc(1, sizeof(*item));

        if (!item)
                return -ENOMEM;
        item->key.session = session;
        item->key.number = number;
        HASH_ADD(hh, p->items, key, sizeof(item->key), item);
        *ret_item = item;
        return 0;
}

void persistence_item_free(struct persistence *p, struct kept_item *item)
{
        HASH_DEL(p->items, item);
        free(item);
}

/* Forgets it in the store too, and its message when nobody else waits for that. */
static void persistence_item_drop(struct persistence *p, struct kept_item *item)
{
        uint8_t key[RECORD_KEY_BYTES];

        record_put_item_key(key, item->key.session, item->key.number);
        (void)persistence_delete(p, RECORD_QUEUED, key, sizeof(key));
        if (item->state.packet_id != 0)
                (void)persistence_delete(p, RECORD_STATE, key, sizeof(key));
        if (item->message && --item->message->n_items == 0)
                persistence_drop_message(p, item->message);
        persistence_item_free(p, item);
}

uint64_t persistence_queued(struct persistence *p, struct session *s, const struct queue_message *m,
                            uint64_t number)
{
        uint8_t key[RECORD_KEY_BYTES], value[RECORD_QUEUED_BYTES];
        struct kept_message *kept;
        struct kept_item *item;
        size_t n;

        if (!p || s->stored == 0)
                return 0;
        kept = persistence_keep_message(p, m->message);
        if (!kept)
                return 0;
        if (persistence_item_new(p, s->stored, number, &item) < 0) {
                if (kept->n_items == 0)
                        persistence_drop_message(p, kept);
                return 0;
        }
        item->message = kept;
        kept->n_items++;
        record_put_item_key(key, s->stored, number);
        n = record_put_queued(value, kept->number, m->qos, m->retain, m->sub_ids, m->n_sub_ids);
        return persistence_put(p, RECORD_QUEUED, key, sizeof(key), value, n, true);
}

static uint64_t persistence_put_state(struct persistence *p, struct kept_item *item,
                                      struct record_state state)
{
        uint8_t key[RECORD_KEY_BYTES], value[RECORD_STATE_BYTES];
        bool is_new = item->state.packet_id == 0;

        item->state = state;
        record_put_item_key(key, item->key.session, item->key.number);
        record_put_state(value, &state);
        return persistence_put(p, RECORD_STATE, key, sizeof(key), value, sizeof(value), is_new);
}

uint64_t persistence_sent(struct persistence *p, struct session *s, uint64_t number, uint16_t packet_id)
{
        struct kept_item *item = p && s->stored != 0 ? persistence_item(p, s->stored, number) : NULL;

        return item ? persistence_put_state(p, item, (struct record_state){ .packet_id = packet_id }) : 0;
}

uint64_t persistence_pubrec(struct persistence *p, struct session *s, uint64_t number)
{
        struct kept_item *item = p && s->stored != 0 ? persistence_item(p, s->stored, number) : NULL;
        struct record_state state;

        if (!item || item->state.packet_id == 0)
                return 0;
        state = item->state;
        state.is_released = true;
        return persistence_put_state(p, item, state);
}

uint64_t persistence_acked(struct persistence *p, struct session *s, uint64_t number)
{
        struct kept_item *item = p && s->stored != 0 ? persistence_item(p, s->stored, number) : NULL;

        if (!item)
                return 0;
        persistence_item_drop(p, item);
        return store_last(p->store);
}

/* ---- messages from the client ---- */

static void unreleased_key(uint8_t key[6], const struct session *s, uint16_t packet_id)
{
        put_be32(key, s->stored);
        put_be16(key + 4, packet_id);
}

uint64_t persistence_received(struct persistence *p, struct session *s, uint16_t packet_id)
{
        uint8_t key[6];

        if (!p || s->stored == 0)
                return 0;
        unreleased_key(key, s, packet_id);
        return persistence_put(p, RECORD_UNRELEASED, key, sizeof(key), "", 0, true);
}

uint64_t persistence_released(struct persistence *p, struct session *s, uint16_t packet_id)
{
        uint8_t key[6];

        if (!p || s->stored == 0)
                return 0;
        unreleased_key(key, s, packet_id);
        return persistence_delete(p, RECORD_UNRELEASED, key, sizeof(key));
}

/* ---- sessions ---- */

void persistence_session(struct persistence *p, struct session *s)
{
        struct record_session row = { .expiry_s = s->expiry_s };
        CLEANUP(cleanup_free)
        uint8_t *value = NULL;
        bool is_new = s->stored == 0;

        if (!p || s->local)
                return;
        if (s->expiry_s == 0) {
                persistence_session_end(p, s);
                return;
        }
        if (s->user)
                row.user = (struct mqtt_bytes){ (const uint8_t *)s->user, strlen(s->user) };
        value = malloc(32 + row.user.n);
        if (!value)
                return;
        if (is_new)
                s->stored = ++p->last_session;
        row.number = s->stored;
        row.is_proven = s->is_proven;
        row.away_us = s->connection ? 0 : wall_now_us();
        (void)persistence_put(p, RECORD_SESSION, s->id, strlen(s->id), value, record_put_session(value, &row),
                              is_new);
}

static void persistence_will_end(struct persistence *p, struct session *s)
{
        uint8_t key[4];

        if (!s->is_will_stored)
                return;
        put_be32(key, s->stored);
        (void)persistence_delete(p, RECORD_WILL, key, sizeof(key));
        s->is_will_stored = false;
}

/* Of a client that is connected it is due so long after we have gone. */
static void persistence_put_will(struct persistence *p, struct session *s)
{
        uint64_t now_us = loop_now_us(p->broker->loop), left_us = s->will_delay_s * USEC_PER_SEC;
        int64_t wall_us = s->connection || s->will_us == CLOCK_NEVER_US ? 0 : wall_now_us();
        uint8_t key[4], *value;

        if (s->will_us != CLOCK_NEVER_US)
                left_us = s->will_us > now_us ? s->will_us - now_us : 0;
        put_be32(key, s->stored);
        if (store_put_room(p->store, RECORD_WILL, key, sizeof(key), record_will_bytes(s->will),
                           !s->is_will_stored, &value) > 0) {
                record_put_will(value, left_us, wall_us > 0 ? wall_us + (int64_t)left_us : 0, s->will);
                s->is_will_stored = true;
        }
        persistence_arm(p);
}

void persistence_will(struct persistence *p, struct session *s)
{
        if (!p || s->stored == 0)
                return;
        if (s->will)
                persistence_put_will(p, s);
        else
                persistence_will_end(p, s);
}

static void subscription_key(uint8_t *key, const struct session *s, struct mqtt_bytes filter)
{
        put_be32(key, s->stored);
        memcpy(key + 4, filter.data, filter.n);
}

void persistence_subscribe(struct persistence *p, struct session *s, struct mqtt_bytes filter,
                           const struct subscription_options *options)
{
        struct record_subscription row = {
                .id = options->id,
                .qos = options->qos,
                .no_local = options->no_local,
                .retain_as_published = options->retain_as_published,
        };
        uint8_t value[RECORD_SUBSCRIBED_BYTES];
        CLEANUP(cleanup_free)
        uint8_t *key = NULL;

        if (!p || s->stored == 0)
                return;
        key = malloc(4 + filter.n);
        if (!key)
                return;
        subscription_key(key, s, filter);
        record_put_subscription(value, &row);
        (void)persistence_put(p, RECORD_SUBSCRIPTION, key, 4 + filter.n, value, sizeof(value), false);
}

void persistence_unsubscribe(struct persistence *p, struct session *s, struct mqtt_bytes filter)
{
        CLEANUP(cleanup_free)
        uint8_t *key = NULL;

        if (!p || s->stored == 0)
                return;
        key = malloc(4 + filter.n);
        if (!key)
                return;
        subscription_key(key, s, filter);
        (void)persistence_delete(p, RECORD_SUBSCRIPTION, key, 4 + filter.n);
}

static void session_end_filter(void *user, const char *filter, size_t n_filter)
{
        struct session *s = user;

        persistence_unsubscribe(s->broker->persistence, s,
                                (struct mqtt_bytes){ (const uint8_t *)filter, n_filter });
}

static void session_end_item(void *user, uint64_t number)
{
        struct session *s = user;

        (void)persistence_acked(s->broker->persistence, s, number);
}

static void session_end_unreleased(void *user, uint16_t packet_id)
{
        struct session *s = user;

        (void)persistence_released(s->broker->persistence, s, packet_id);
}

void persistence_session_end(struct persistence *p, struct session *s)
{
        if (!p || s->stored == 0)
                return;
        subscriptions_each(&s->subscriber, session_end_filter, s);
        if (s->queue)
                queue_each(s->queue, session_end_item, session_end_unreleased, s);
        persistence_will_end(p, s);
        (void)persistence_delete(p, RECORD_SESSION, s->id, strlen(s->id));
        s->stored = 0;
}

/* ---- the whole ---- */

static void persistence_on_timer(void *user, uint64_t now_us)
{
        struct persistence *p = user;

        p->is_armed = false;
        store_flush(p->store, now_us);
        if (p->is_sync && store_committed(p->store) == store_last(p->store))
                p->fn(p->user); /* all of it came and went */
        if (store_has_work(p->store) && !store_is_busy(p->store) && p->pause_us != CLOCK_NEVER_US)
                persistence_arm_at(p, now_us + HAND_OVER_AGAIN_US); /* no memory for it */
}

static void persistence_on_io(void *user, int fd, uint32_t events)
{
        struct persistence *p = user;

        (void)fd;
        (void)events;
        store_take_results(p->store, loop_now_us(p->broker->loop));
        if (p->is_sync)
                p->fn(p->user);
        if (store_has_work(p->store))
                persistence_arm(p);
}

static void persistence_set_durability(struct persistence *p, const struct conf_broker *conf)
{
        p->is_sync = conf->durability == CONF_DURABILITY_SYNC;
        p->pause_us = conf->durability == CONF_DURABILITY_NONE ? CLOCK_NEVER_US
                      : p->is_sync                             ? 0
                                                               : conf->store_interval_ms * USEC_PER_MSEC;
}

/* What has been gathered waits for the new interval at the longest, and nobody for what need not be committed
 * any more. */
void persistence_reconfigure(struct persistence *p)
{
        bool was_sync;

        if (!p)
                return;
        was_sync = p->is_sync;
        persistence_set_durability(p, broker_conf(p->broker));
        p->is_armed = false;
        loop_timer_set(p->timer, CLOCK_NEVER_US);
        if (store_has_work(p->store))
                persistence_arm(p);
        if (was_sync && !p->is_sync)
                p->fn(p->user);
}

static int persistence_start(struct persistence *p, const struct conf_broker *conf)
{
        int r;

        persistence_set_durability(p, conf);
        r = loop_add_timer(p->broker->loop, persistence_on_timer, p, &p->timer);
        if (r < 0)
                return r;
        return loop_add_io(p->broker->loop, store_fd(p->store), EPOLLIN, persistence_on_io, p, &p->io);
}

/* A retained message has expired. */
static void persistence_on_expired(void *user, const struct message *m)
{
        struct persistence *p = user;

        (void)persistence_delete(p, RECORD_RETAINED, m->topic, m->topic_bytes);
}

static int persistence_open(struct persistence *p, const struct conf_broker *conf)
{
        struct store_init init = {
                .directory = conf->store_directory,
                .name = STORE_FILE,
                .max_bytes = conf->store_max_bytes,
        };
        int r = store_new(&init, persistence_take_row, p, &p->store);

        if (r < 0)
                return r;
        r = persistence_start(p, conf);
        if (r < 0)
                return r;
        persistence_tidy_up(p);
        retained_on_expired(p->broker->retained, persistence_on_expired, p);
        if (store_has_work(p->store))
                persistence_arm(p);
        return 0;
}

int persistence_new(struct broker *b, persistence_committed_fn fn, void *user,
                    struct persistence **ret_persistence)
{
        const struct conf_broker *conf = broker_conf(b);
        struct persistence *p;
        int r;

        *ret_persistence = NULL;
        if (!conf->store_directory || conf->store_directory[0] == '\0')
                return 0;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->broker = b;
        p->fn = fn;
        p->user = user;
        r = persistence_open(p, conf);
        if (r < 0)
                (void)persistence_free(p);
        else
                *ret_persistence = p;
        return r == -EINVAL ? 0 : r; /* told: it goes on without */
}

/* At an orderly stop: the values that the gateway published itself, as they are now. */
static void persistence_put_live(struct persistence *p)
{
        struct broker *b = p->broker;
        struct retained_cursor *c;
        size_t looks = WALK_LOOKS;
        struct message *m;
        int r;

        if (retained_cursor_new(b->retained, "#", 1, &c) != 0)
                return;
        while ((r = retained_cursor_next(c, loop_now_us(b->loop), &looks, &m)) != 0) {
                if (r == RETAINED_MORE)
                        looks = WALK_LOOKS;
                else if (m->is_live)
                        (void)persistence_put_message(p, RECORD_RETAINED, m->topic, m->topic_bytes, m,
                                                      retained_cursor_source(c), false);
        }
        (void)retained_cursor_free(c);
}

/* At an orderly stop: what is left of the time of those who are away, and of their wills, for a board that
 * does not know how long it was off. */
static void persistence_put_away(struct persistence *p)
{
        uint64_t now_us = loop_now_us(p->broker->loop);

        for (struct session *s = p->broker->sessions; s; s = s->hh.next) {
                if (s->stored != 0 && s->will)
                        persistence_put_will(p, s);
                if (s->stored == 0 || s->ends_us == CLOCK_NEVER_US || s->ends_us <= now_us)
                        continue;
                s->expiry_s = (uint32_t)((s->ends_us - now_us + USEC_PER_SEC - 1) / USEC_PER_SEC);
                persistence_session(p, s);
        }
}

static void persistence_stop(struct persistence *p)
{
        p->pause_us = CLOCK_NEVER_US; /* store_free() writes it */
        retained_on_expired(p->broker->retained, NULL, NULL);
        persistence_put_live(p);
        persistence_put_away(p);
}

struct persistence *persistence_free(struct persistence *p)
{
        struct kept_message *m, *next_message;
        struct kept_item *item, *next_item;

        if (!p)
                return NULL;
        if (p->io)
                persistence_stop(p);
        else
                persistence_give_up_reading(p);
        p->io = loop_io_free(p->io);
        p->timer = loop_timer_free(p->timer);
        p->store = store_free(p->store);
        HASH_ITER (hh, p->items, item, next_item)
                persistence_item_free(p, item);
        HASH_ITER (hh, p->messages, m, next_message) {
                HASH_DEL(p->messages, m);
                (void)message_unref(m->message);
                free(m);
        }
        free(p);
        return NULL;
}
