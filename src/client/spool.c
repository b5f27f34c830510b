/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/text.h"

#define HASH_FUNCTION(key, n_bytes, ret) ((ret) = text_hash((const char *)(key), (n_bytes)))
#define HASH_NONFATAL_OOM                1 /* a failed insertion leaves hh.tbl NULL */
#include <uthash.h>
#include <utlist.h>

#include "spool.h"

/* gcc 12's analyzer does not follow an element into uthash's buckets and calls every insertion a leak. */
NO_ANALYZER_LEAKS

struct spool_entry {
        struct message *message;
        struct spool_entry *prev, *next; /* the queue */
        struct spool_entry *list_prev, *list_next;
        struct spool_entry **list; /* which one: NULL: of those that stay, the newest live of a topic */
        bool is_newest;            /* of its topic: in the table */
        UT_hash_handle hh;         /* key: the message's topic */
};

struct spool {
        struct spool_entry *queue;
        struct spool_entry *superseded; /* oldest first, as far as who was superseded first is older */
        struct spool_entry *events;     /* not live, oldest first */
        struct spool_entry *newest;     /* table: topic → its last message in the queue */
        size_t n_messages;
        size_t n_listed, max_messages; /* in one of the lists: what the bound is for */
        size_t n_bytes, max_bytes;
        bool has_lost;
};

int spool_new(size_t max_messages, size_t max_bytes, struct spool **ret_spool)
{
        struct spool *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->max_messages = MBGATE_MAX(max_messages, 1);
        s->max_bytes = max_bytes;
        *ret_spool = s;
        return 0;
}

size_t spool_message_bytes(const struct message *m)
{
        size_t response_bytes = m->response_topic ? strlen(m->response_topic) : 0;

        return sizeof(struct spool_entry) + sizeof(*m) + m->topic_bytes + m->payload_bytes + response_bytes +
               m->correlation_bytes;
}

static void spool_supersede(struct spool *s, struct spool_entry *e)
{
        e->list = &s->superseded;
        DL_APPEND2(s->superseded, e, list_prev, list_next);
        s->n_listed++;
}

/* The oldest stands first: what comes back goes to the front. */
static void spool_list_event(struct spool *s, struct spool_entry *e, bool at_front)
{
        e->list = &s->events;
        if (at_front)
                DL_PREPEND2(s->events, e, list_prev, list_next);
        else
                DL_APPEND2(s->events, e, list_prev, list_next);
        s->n_listed++;
}

/* Enters `e` as the newest of its topic, which supersedes the one that was. −ENOMEM. */
static int spool_enter(struct spool *s, struct spool_entry *e)
{
        struct spool_entry *old;

        HASH_FIND(hh, s->newest, e->message->topic, e->message->topic_bytes, old);
        if (old) {
                HASH_DEL(s->newest, old);
                old->is_newest = false;
        }
        HASH_ADD_KEYPTR(hh, s->newest, e->message->topic, e->message->topic_bytes, e);
        if (!e->hh.tbl)
                return -ENOMEM;
        e->is_newest = true;
        if (old && old->message->is_live)
                spool_supersede(s, old);
        return 0;
}

/* Unlinks and frees an entry; its message is the caller's. */
static struct message *spool_remove(struct spool *s, struct spool_entry *e)
{
        struct message *m = e->message;

        if (e->is_newest)
                HASH_DEL(s->newest, e);
        if (e->list) {
                DL_DELETE2(*e->list, e, list_prev, list_next);
                s->n_listed--;
        }
        DL_DELETE(s->queue, e);
        s->n_messages--;
        s->n_bytes -= spool_message_bytes(m);
        free(e);
        return m;
}

struct spool *spool_free(struct spool *s)
{
        if (!s)
                return NULL;
        while (s->queue)
                message_unref(spool_remove(s, s->queue));
        free(s);
        return NULL;
}

static int spool_entry_new(struct spool *s, struct message *m, struct spool_entry **ret)
{
        struct spool_entry *e = calloc(1, sizeof(*e));

        if (!e)
                return -ENOMEM;
        e->message = message_ref(m);
        s->n_messages++;
        s->n_bytes += spool_message_bytes(m);
        *ret = e;
        return 0;
}

/* Keeps the bounds; returns how many were dropped. A lone message always fits. */
static size_t spool_trim(struct spool *s)
{
        size_t n_dropped = 0;

        while (s->n_listed > s->max_messages || s->n_bytes > s->max_bytes) {
                struct spool_entry *e = s->superseded ? s->superseded : s->events;

                s->has_lost |= !e;
                message_unref(spool_remove(s, e ? e : s->queue));
                n_dropped++;
        }
        return n_dropped;
}

int spool_push(struct spool *s, struct message *m, size_t *ret_dropped)
{
        struct spool_entry *e;
        int r;

        if (spool_message_bytes(m) > s->max_bytes)
                return -EMSGSIZE;
        r = spool_entry_new(s, m, &e);
        if (r < 0)
                return r;
        /* It supersedes before room is made: its own predecessor goes first. */
        DL_APPEND(s->queue, e);
        r = spool_enter(s, e);
        if (r < 0) {
                message_unref(spool_remove(s, e));
                return r;
        }
        if (!m->is_live)
                spool_list_event(s, e, false);
        *ret_dropped = spool_trim(s);
        return 0;
}

int spool_push_front(struct spool *s, struct message *m)
{
        struct spool_entry *e, *newer;
        int r;

        r = spool_entry_new(s, m, &e);
        if (r < 0)
                return r;
        DL_PREPEND(s->queue, e);
        if (!m->is_live)
                spool_list_event(s, e, true);
        HASH_FIND(hh, s->newest, m->topic, m->topic_bytes, newer);
        if (!newer) {
                r = spool_enter(s, e);
                if (r < 0)
                        message_unref(spool_remove(s, e));
        } else if (m->is_live) {
                spool_supersede(s, e);
        }
        return r;
}

struct message *spool_pop(struct spool *s)
{
        return s->queue ? spool_remove(s, s->queue) : NULL;
}

bool spool_take_lost(struct spool *s)
{
        bool has_lost = s->has_lost;

        s->has_lost = false;
        return has_lost;
}

size_t spool_n_messages(const struct spool *s)
{
        return s->n_messages;
}

size_t spool_n_bytes(const struct spool *s)
{
        return s->n_bytes;
}
