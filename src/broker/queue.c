/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "queue.h"

enum item_state {
        ITEM_WAITING,
        ITEM_PUBACK,  /* awaits it */
        ITEM_PUBREC,  /* awaits it */
        ITEM_PUBCOMP, /* awaits it */
};

struct item {
        struct item *prev, *next;
        struct message *message;
        uint64_t number; /* of arrival */
        uint16_t packet_id;
        uint8_t state; /* enum item_state */
        uint8_t qos;
        bool retain;
        bool is_counted; /* against the receive maximum of this connection */
        uint8_t n_sub_ids;
        uint32_t sub_ids[];
};

struct list {
        struct item *first, *last;
        size_t n;
};

#define PAGE_IDS  1024
#define PAGE_BITS 64
#define PAGES     (65536 / PAGE_IDS)

/* Packet ids, a bit each. */
struct id_page {
        unsigned n; /* that are set */
        uint64_t bits[PAGE_IDS / PAGE_BITS];
};

struct queue {
        struct queue_limits limits;
        struct list waiting[2]; /* QoS 0; QoS 1 and 2 */
        struct list inflight;
        struct item *resend; /* of inflight, the next to be sent again */
        struct item *given;  /* by the last queue_next() */
        size_t n_bytes;
        size_t n_bytes_qos0; /* of these, what could be dropped */
        uint64_t n_pushed;
        struct queue_counts counts;
        queue_expired_fn on_expired;
        void *user;
        uint16_t last_id;
        uint16_t quota; /* messages that may still be sent before an acknowledgement, MQTT 5.0 §4.9 */
        uint16_t quota_max;
        uint16_t n_unreleased;
        struct id_page **unreleased; /* PAGES of them; NULL: none has been needed */
};

int queue_new(const struct queue_limits *limits, struct queue **ret_queue)
{
        struct queue *q = calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        q->limits = *limits;
        q->limits.max_unreleased = MBGATE_MIN(limits->max_unreleased, (unsigned)UINT16_MAX);
        q->limits.max_inflight = MBGATE_MIN(MBGATE_MAX(limits->max_inflight, 1u), QUEUE_INFLIGHT_MAX);
        queue_connect(q, UINT16_MAX);
        *ret_queue = q;
        return 0;
}

static void list_append(struct list *l, struct item *item)
{
        item->next = NULL;
        item->prev = l->last;
        *(l->last ? &l->last->next : &l->first) = item;
        l->last = item;
        l->n++;
}

static void list_remove(struct list *l, struct item *item)
{
        *(item->prev ? &item->prev->next : &l->first) = item->next;
        *(item->next ? &item->next->prev : &l->last) = item->prev;
        l->n--;
}

static size_t item_bytes(const struct message *m, size_t n_sub_ids)
{
        return sizeof(struct item) + n_sub_ids * sizeof(uint32_t) + sizeof(*m) + m->topic_bytes +
               m->payload_bytes + m->correlation_bytes + m->properties_bytes;
}

static struct list *item_list(struct queue *q, const struct item *item)
{
        return item->state != ITEM_WAITING ? &q->inflight : &q->waiting[item->qos > 0];
}

static void item_drop(struct queue *q, struct item *item)
{
        size_t n_bytes = item_bytes(item->message, item->n_sub_ids);

        list_remove(item_list(q, item), item);
        q->n_bytes -= n_bytes;
        q->n_bytes_qos0 -= item->qos == 0 ? n_bytes : 0;
        (void)message_unref(item->message);
        free(item);
}

/* What is on its way and has come to its end. */
static void item_done(struct queue *q, struct item *item)
{
        if (item == q->resend)
                q->resend = item->next;
        if (item == q->given)
                q->given = NULL;
        if (item->is_counted && q->quota < q->quota_max)
                q->quota++;
        item_drop(q, item);
}

/* QoS 0 that was handed over with the last call is forgotten with this one. */
static void forget_given(struct queue *q)
{
        struct item *item = TAKE(q->given);

        if (item && item->qos == 0)
                item_drop(q, item);
}

struct queue *queue_free(struct queue *q)
{
        if (!q)
                return NULL;
        for (size_t i = 0; i < ARRAY_SIZE(q->waiting); i++)
                while (q->waiting[i].first)
                        item_drop(q, q->waiting[i].first);
        while (q->inflight.first)
                item_drop(q, q->inflight.first);
        assert(q->n_bytes == 0 && q->inflight.n == 0 && queue_n_waiting(q) == 0);
        for (size_t i = 0; q->unreleased && i < PAGES; i++)
                free(q->unreleased[i]);
        free(q->unreleased);
        free(q);
        return NULL;
}

void queue_connect(struct queue *q, uint16_t receive_max)
{
        unsigned max = MBGATE_MIN((unsigned)MBGATE_MAX(receive_max, 1), q->limits.max_inflight);

        forget_given(q);
        q->quota = q->quota_max = (uint16_t)max;
        for (struct item *item = q->inflight.first; item; item = item->next)
                item->is_counted = false;
        q->resend = q->inflight.first;
}

/* CLOCK_NEVER_US: never. */
static uint64_t expires_us(const struct message *m)
{
        return m->expiry_s > 0 ? m->made_us + m->expiry_s * USEC_PER_SEC : CLOCK_NEVER_US;
}

void queue_on_expired(struct queue *q, queue_expired_fn fn, void *user)
{
        q->on_expired = fn;
        q->user = user;
}

static void item_expire(struct queue *q, struct item *item)
{
        q->counts.n_expired++;
        if (item->qos > 0 && q->on_expired)
                q->on_expired(q->user, item->number);
        item_drop(q, item);
}

size_t queue_expire(struct queue *q, uint64_t now_us)
{
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(q->waiting); i++) {
                for (struct item *item = q->waiting[i].first, *next; item; item = next) {
                        next = item->next;
                        if (item == q->given || expires_us(item->message) > now_us)
                                continue;
                        item_expire(q, item);
                        n++;
                }
        }
        return n;
}

static bool has_room(const struct queue *q, size_t n_bytes)
{
        return queue_n_waiting(q) < q->limits.max_messages && n_bytes <= q->limits.max_bytes &&
               q->n_bytes <= q->limits.max_bytes - n_bytes;
}

/* Whether there would be room without QoS 0. */
static bool could_have_room(const struct queue *q, size_t n_bytes)
{
        return q->waiting[1].n < q->limits.max_messages && n_bytes <= q->limits.max_bytes &&
               q->n_bytes - q->n_bytes_qos0 <= q->limits.max_bytes - n_bytes;
}

static bool make_room(struct queue *q, size_t n_bytes, uint64_t now_us)
{
        struct item *oldest;

        if (!has_room(q, n_bytes))
                (void)queue_expire(q, now_us);
        if (!could_have_room(q, n_bytes))
                return false;
        while (!has_room(q, n_bytes) && (oldest = q->waiting[0].first) != NULL) {
                item_drop(q, oldest);
                q->counts.n_dropped_qos0++;
        }
        return has_room(q, n_bytes);
}

static int item_new(const struct queue_message *m, uint64_t number, struct item **ret_item)
{
        size_t n_ids = MBGATE_MIN(m->n_sub_ids, QUEUE_SUB_IDS_MAX);
        struct item *item = malloc(sizeof(*item) + n_ids * sizeof(item->sub_ids[0]));

        if (!item)
                return -ENOMEM;
        *item = (struct item){ .message = message_ref(m->message),
                               .number = number,
                               .qos = m->qos,
                               .retain = m->retain,
                               .n_sub_ids = (uint8_t)n_ids };
        if (n_ids > 0)
                memcpy(item->sub_ids, m->sub_ids, n_ids * sizeof(item->sub_ids[0]));
        *ret_item = item;
        return 0;
}

static void queue_append(struct queue *q, struct item *item)
{
        size_t n_bytes = item_bytes(item->message, item->n_sub_ids);

        list_append(item_list(q, item), item);
        q->n_bytes += n_bytes;
        q->n_bytes_qos0 += item->qos == 0 ? n_bytes : 0;
}

int queue_push(struct queue *q, const struct queue_message *m, uint64_t now_us)
{
        struct item *item;
        int r;

        forget_given(q);
        if (!make_room(q, item_bytes(m->message, MBGATE_MIN(m->n_sub_ids, QUEUE_SUB_IDS_MAX)), now_us)) {
                *(m->qos > 0 ? &q->counts.n_dropped : &q->counts.n_dropped_qos0) += 1;
                return QUEUE_FULL;
        }
        r = item_new(m, q->n_pushed + 1, &item);
        if (r < 0)
                return r;
        q->n_pushed++;
        queue_append(q, item);
        return 0;
}

uint64_t queue_last_number(const struct queue *q)
{
        return q->n_pushed;
}

int queue_restore(struct queue *q, const struct queue_message *m, uint64_t number, uint16_t packet_id,
                  bool is_released)
{
        struct item *item;
        int r = item_new(m, number, &item);

        if (r < 0)
                return r;
        item->packet_id = packet_id;
        if (packet_id > 0) {
                item->state = is_released ? ITEM_PUBCOMP : m->qos == 1 ? ITEM_PUBACK : ITEM_PUBREC;
                q->last_id = packet_id;
        }
        q->n_pushed = MBGATE_MAX(q->n_pushed, number);
        queue_append(q, item);
        return 0;
}

static struct item *inflight_find(const struct queue *q, uint16_t packet_id)
{
        for (struct item *item = q->inflight.first; item; item = item->next)
                if (item->packet_id == packet_id)
                        return item;
        return NULL;
}

uint64_t queue_number_of(const struct queue *q, uint16_t packet_id)
{
        const struct item *item = inflight_find(q, packet_id);

        return item ? item->number : 0;
}

/* From 1 upward, without those in use: fewer than 65535 are. */
static uint16_t id_take(struct queue *q)
{
        do {
                q->last_id = q->last_id == UINT16_MAX ? 1 : (uint16_t)(q->last_id + 1);
        } while (inflight_find(q, q->last_id));
        return q->last_id;
}

static void say_publish(struct queue *q, struct item *item, uint64_t now_us, bool dup,
                        struct queue_next *ret_next)
{
        uint64_t at_us = expires_us(item->message);
        uint32_t left_s = at_us > now_us ? queue_left_s(at_us, now_us) : 1;

        q->given = item;
        *ret_next = (struct queue_next){ .send = QUEUE_PUBLISH,
                                         .out = { .message = item->message,
                                                  .qos = item->qos,
                                                  .retain = item->retain,
                                                  .n_sub_ids = item->n_sub_ids,
                                                  .sub_ids = item->sub_ids },
                                         .packet_id = item->packet_id,
                                         .number = item->number,
                                         .dup = dup,
                                         .expiry_s = at_us == CLOCK_NEVER_US ? 0 : left_s };
}

static bool next_resend(struct queue *q, uint64_t now_us, struct queue_next *ret_next)
{
        struct item *item = q->resend;

        if (!item)
                return false;
        if (item->state == ITEM_PUBCOMP) {
                *ret_next = (struct queue_next){ .send = QUEUE_PUBREL, .packet_id = item->packet_id };
        } else {
                if (q->quota == 0)
                        return false; /* nor may newer ones of QoS 1 and 2 */
                q->quota--;
                item->is_counted = true;
                say_publish(q, item, now_us, true, ret_next);
        }
        q->resend = item->next;
        return true;
}

/* The oldest of the waiting that may go now, or NULL. */
static struct item *next_waiting(struct queue *q, uint64_t now_us)
{
        struct item *best = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(q->waiting); i++) {
                struct item *item;

                while ((item = q->waiting[i].first) && expires_us(item->message) <= now_us) {
                        item_expire(q, item);
                }
                if (!item || (i > 0 && (q->quota == 0 || q->inflight.n >= q->limits.max_inflight)))
                        continue;
                if (!best || item->number < best->number)
                        best = item;
        }
        return best;
}

void queue_next(struct queue *q, uint64_t now_us, struct queue_next *ret_next)
{
        struct item *item;

        forget_given(q);
        *ret_next = (struct queue_next){ .send = QUEUE_NOTHING };
        if (next_resend(q, now_us, ret_next))
                return;
        item = next_waiting(q, now_us);
        if (!item)
                return;
        if (item->qos > 0) {
                list_remove(&q->waiting[1], item);
                item->packet_id = id_take(q);
                item->state = item->qos == 1 ? ITEM_PUBACK : ITEM_PUBREC;
                item->is_counted = true;
                q->quota--;
                list_append(&q->inflight, item);
        }
        say_publish(q, item, now_us, false, ret_next);
}

void queue_skip(struct queue *q)
{
        struct item *item = q->given;

        assert(item);
        if (item->qos > 0)
                item_done(q, item);
        else
                forget_given(q);
}

/* Ends the item of an id, if it awaits what has come. */
static int item_end(struct queue *q, uint16_t packet_id, enum item_state state)
{
        struct item *item = inflight_find(q, packet_id);

        if (!item)
                return QUEUE_UNKNOWN;
        if (item->state != state)
                return QUEUE_WRONG;
        item_done(q, item);
        return 0;
}

int queue_puback(struct queue *q, uint16_t packet_id)
{
        return item_end(q, packet_id, ITEM_PUBACK);
}

int queue_pubrec(struct queue *q, uint16_t packet_id, uint8_t reason)
{
        struct item *item = inflight_find(q, packet_id);

        if (!item)
                return QUEUE_UNKNOWN;
        /* A second PUBREC is answered by a second PUBREL: §4.3.3. */
        if (item->state != ITEM_PUBREC && item->state != ITEM_PUBCOMP)
                return QUEUE_WRONG;
        if (reason >= 0x80)
                item_done(q, item);
        else
                item->state = ITEM_PUBCOMP;
        return 0;
}

int queue_pubcomp(struct queue *q, uint16_t packet_id)
{
        return item_end(q, packet_id, ITEM_PUBCOMP);
}

static uint64_t *id_bits(struct id_page *page, uint16_t id, uint64_t *ret_bit)
{
        *ret_bit = UINT64_C(1) << id % PAGE_BITS;
        return &page->bits[id % PAGE_IDS / PAGE_BITS];
}

bool queue_has_received(const struct queue *q, uint16_t packet_id)
{
        struct id_page *page = q->unreleased ? q->unreleased[packet_id / PAGE_IDS] : NULL;
        uint64_t bit;

        return page && (*id_bits(page, packet_id, &bit) & bit) != 0;
}

static struct id_page *id_page_get(struct queue *q, uint16_t packet_id)
{
        struct id_page **page;

        if (!q->unreleased)
                q->unreleased = calloc(PAGES, sizeof(q->unreleased[0]));
        if (!q->unreleased)
                return NULL;
        page = &q->unreleased[packet_id / PAGE_IDS];
        if (!*page)
                *page = calloc(1, sizeof(**page));
        return *page;
}

int queue_receive(struct queue *q, uint16_t packet_id)
{
        struct id_page *page;
        uint64_t *bits, bit;

        if (queue_has_received(q, packet_id))
                return QUEUE_AGAIN;
        if (q->n_unreleased >= q->limits.max_unreleased)
                return QUEUE_EXCEEDED;
        page = id_page_get(q, packet_id);
        if (!page)
                return -ENOMEM;
        bits = id_bits(page, packet_id, &bit);
        *bits |= bit;
        page->n++;
        q->n_unreleased++;
        return 0;
}

int queue_release(struct queue *q, uint16_t packet_id)
{
        struct id_page *page;
        uint64_t *bits, bit;

        if (!queue_has_received(q, packet_id))
                return QUEUE_UNKNOWN;
        page = q->unreleased[packet_id / PAGE_IDS];
        bits = id_bits(page, packet_id, &bit);
        *bits &= ~bit;
        q->n_unreleased--;
        if (--page->n == 0 && q->n_unreleased > 0) { /* one that is alone in its page comes and goes often */
                q->unreleased[packet_id / PAGE_IDS] = NULL;
                free(page);
        }
        return 0;
}

size_t queue_n_waiting(const struct queue *q)
{
        return q->waiting[0].n + q->waiting[1].n;
}

size_t queue_n_inflight(const struct queue *q)
{
        return q->inflight.n;
}

size_t queue_n_unreleased(const struct queue *q)
{
        return q->n_unreleased;
}

size_t queue_n_bytes(const struct queue *q)
{
        return q->n_bytes;
}

struct queue_counts queue_counts(const struct queue *q)
{
        return q->counts;
}

void queue_each(const struct queue *q, void (*item)(void *user, uint64_t number),
                void (*unreleased)(void *user, uint16_t packet_id), void *user)
{
        for (const struct item *i = q->inflight.first; i; i = i->next)
                item(user, i->number);
        for (const struct item *i = q->waiting[1].first; i; i = i->next)
                item(user, i->number);
        for (uint32_t id = 0; q->n_unreleased > 0 && id <= UINT16_MAX; id++)
                if (queue_has_received(q, (uint16_t)id))
                        unreleased(user, (uint16_t)id);
}
