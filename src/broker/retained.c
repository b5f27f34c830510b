/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"

#include "retained.h"
#include "topic_tree.h"

#define SLOT_ENTRY        0
#define EXPIRE_LOOKS_FULL 1000 /* before a message is refused */

struct entry {
        struct message *message;
        struct topic_node *node;
        struct entry *prev, *next; /* of those that can expire; a ring */
        uint64_t expires_us;       /* CLOCK_NEVER_US: never */
        uint64_t number;           /* of n_stored */
        struct acl_client source;  /* points into source_text; without an id: ours */
        char *source_text;
};

struct retained {
        struct topic_tree tree;
        struct retained_limits limits;
        struct entry *oldest; /* of those that can expire: its turn is longest ago */
        size_t n_messages, n_bytes, n_cursors;
        size_t n_expiring;
        uint64_t n_stored; /* ever */
        retained_expired_fn on_expired;
        void *user;
};

struct retained_cursor {
        struct retained *retained;
        struct topic_node *node; /* held; all before it has been given */
        const char *filter;
        size_t n_filter;
        uint64_t last;               /* the newest that it gives */
        size_t n_plain;              /* levels before "#" */
        bool has_multi;              /* a "#" at the end */
        struct topic_level levels[]; /* the filter's text follows */
};

int retained_new(const struct retained_limits *limits, struct retained **ret)
{
        struct retained *r = calloc(1, sizeof(*r));
        int result;

        if (!r)
                return -ENOMEM;
        result = topic_tree_init(&r->tree, TOPIC_TREE_NAMES, limits->max_levels, limits->max_nodes);
        if (result < 0) {
                free(r);
                return result;
        }
        r->limits = *limits;
        *ret = r;
        return 0;
}

/* All that a message keeps: its entry, itself, and its topic a second time, in the tree. */
static size_t message_bytes(const struct message *m)
{
        return sizeof(struct entry) + sizeof(*m) + 2 * m->topic_bytes + m->payload_bytes +
               m->properties_bytes + m->correlation_bytes +
               (m->response_topic ? strlen(m->response_topic) : 0);
}

static size_t source_bytes(const struct acl_client *source)
{
        if (!source || !source->id)
                return 0;
        return strlen(source->id) + 1 + (source->user ? strlen(source->user) + 1 : 0);
}

static size_t entry_bytes(const struct entry *e)
{
        return message_bytes(e->message) + source_bytes(&e->source);
}

static bool is_same_text(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* NULL in *ret_text: nobody, with *ret all zero. −ENOMEM. */
static int source_copy(const struct acl_client *source, struct acl_client *ret, char **ret_text)
{
        size_t n = source_bytes(source), n_id;
        char *text;

        *ret = (struct acl_client){ .id = NULL };
        *ret_text = NULL;
        if (n == 0)
                return 0;
        text = malloc(n);
        if (!text)
                return -ENOMEM;
        n_id = strlen(source->id) + 1;
        ret->id = memcpy(text, source->id, n_id);
        if (source->user)
                ret->user = memcpy(text + n_id, source->user, n - n_id);
        *ret_text = text;
        return 0;
}

static uint64_t message_expires_us(const struct message *m)
{
        return m->expiry_s > 0 ? m->made_us + m->expiry_s * USEC_PER_SEC : CLOCK_NEVER_US;
}

static void ring_link(struct retained *r, struct entry *e)
{
        if (e->expires_us == CLOCK_NEVER_US)
                return;
        e->prev = e->next = e;
        if (r->oldest) {
                e->next = r->oldest;
                e->prev = r->oldest->prev;
                e->prev->next = e->next->prev = e;
        } else {
                r->oldest = e;
        }
        r->n_expiring++;
}

static void ring_unlink(struct retained *r, struct entry *e)
{
        if (e->expires_us == CLOCK_NEVER_US)
                return;
        e->prev->next = e->next;
        e->next->prev = e->prev;
        if (r->oldest == e)
                r->oldest = e->next == e ? NULL : e->next;
        r->n_expiring--;
}

/* Puts a message into an entry, or takes it out with NULL. */
static void entry_put(struct retained *r, struct entry *e, struct message *m)
{
        if (e->message) {
                ring_unlink(r, e);
                r->n_bytes -= entry_bytes(e);
                r->n_messages--;
                (void)message_unref(e->message);
        }
        e->message = m ? message_ref(m) : NULL;
        if (m) {
                e->number = ++r->n_stored;
                e->expires_us = message_expires_us(m);
                ring_link(r, e);
                r->n_bytes += entry_bytes(e);
                r->n_messages++;
        }
}

/* The same, from another source. −ENOMEM: nothing has changed. */
static int entry_put_from(struct retained *r, struct entry *e, struct message *m,
                          const struct acl_client *source)
{
        static const struct acl_client nobody;
        struct acl_client copy;
        char *text;

        if (!source)
                source = &nobody;
        if (is_same_text(e->source.id, source->id) && is_same_text(e->source.user, source->user)) {
                entry_put(r, e, m);
                return 0;
        }
        if (source_copy(source, &copy, &text) < 0)
                return -ENOMEM;
        entry_put(r, e, NULL);
        free(e->source_text);
        e->source = copy;
        e->source_text = text;
        entry_put(r, e, m);
        return 0;
}

static void entry_drop(struct retained *r, struct entry *e)
{
        entry_put(r, e, NULL);
        e->node->slots[SLOT_ENTRY] = NULL;
        topic_tree_release(&r->tree, e->node);
        free(e->source_text);
        free(e);
}

/* Walks the tree without recursion, leaves first. */
struct retained *retained_free(struct retained *r)
{
        if (!r)
                return NULL;
        assert(r->n_cursors == 0);
        while (r->tree.root->first_child) {
                struct topic_node *node = r->tree.root->first_child;

                while (node->first_child)
                        node = node->first_child;
                entry_drop(r, node->slots[SLOT_ENTRY]);
        }
        assert(r->n_messages == 0 && r->n_bytes == 0 && r->n_expiring == 0 && !r->oldest);
        topic_tree_done(&r->tree);
        free(r);
        return NULL;
}

static bool has_room(const struct retained *r, const struct entry *old, size_t n_new)
{
        size_t n = r->n_messages - (old ? 1 : 0);
        size_t n_bytes = r->n_bytes - (old ? entry_bytes(old) : 0);

        return n < r->limits.max_messages && n_new <= r->limits.max_bytes &&
               n_bytes <= r->limits.max_bytes - n_new;
}

static int entry_new(struct retained *r, const struct message *m, struct entry **ret)
{
        struct entry *e = calloc(1, sizeof(*e));
        int result;

        if (!e)
                return -ENOMEM;
        result = topic_tree_add(&r->tree, m->topic, m->topic_bytes, &e->node);
        if (result != 0) {
                free(e);
                return result == TOPIC_TREE_FULL       ? RETAINED_FULL
                       : result == TOPIC_TREE_TOO_DEEP ? RETAINED_TOO_DEEP
                                                       : result;
        }
        e->node->slots[SLOT_ENTRY] = e;
        *ret = e;
        return 0;
}

static struct entry *entry_find(const struct retained *r, const char *topic, size_t n_topic)
{
        const struct topic_node *node = topic_tree_find(&r->tree, topic, n_topic);

        return node ? node->slots[SLOT_ENTRY] : NULL;
}

int retained_set(struct retained *r, struct message *m, const struct acl_client *source, uint64_t now_us)
{
        struct entry *e = entry_find(r, m->topic, m->topic_bytes);
        size_t n_bytes = message_bytes(m) + source_bytes(source);
        int result;

        if (m->payload_bytes == 0 && !r->limits.keeps_empty) {
                if (e)
                        entry_drop(r, e);
                return 0;
        }
        if (!has_room(r, e, n_bytes)) {
                (void)retained_expire(r, now_us, EXPIRE_LOOKS_FULL);
                e = entry_find(r, m->topic, m->topic_bytes);
                if (!has_room(r, e, n_bytes))
                        return RETAINED_FULL;
        }
        if (!e) {
                result = entry_new(r, m, &e);
                if (result != 0)
                        return result;
        }
        result = entry_put_from(r, e, m, source);
        if (result < 0 && !e->message)
                entry_drop(r, e);
        return result;
}

struct message *retained_get(const struct retained *r, const char *topic, size_t n_topic, uint64_t now_us)
{
        const struct entry *e = entry_find(r, topic, n_topic);

        return e && e->expires_us > now_us ? e->message : NULL;
}

bool retained_is_from(const struct retained *r, const char *topic, size_t n_topic,
                      const struct acl_client *source)
{
        const struct entry *e = entry_find(r, topic, n_topic);

        return e && is_same_text(e->source.id, source ? source->id : NULL) &&
               is_same_text(e->source.user, source ? source->user : NULL);
}

void retained_on_expired(struct retained *r, retained_expired_fn fn, void *user)
{
        r->on_expired = fn;
        r->user = user;
}

size_t retained_expire(struct retained *r, uint64_t now_us, size_t max_looks)
{
        size_t n_dropped = 0;

        for (size_t n = MBGATE_MIN(max_looks, r->n_expiring); n > 0; n--) {
                struct entry *e = r->oldest;

                r->oldest = e->next;
                if (e->expires_us <= now_us) {
                        if (r->on_expired)
                                r->on_expired(r->user, e->message);
                        entry_drop(r, e);
                        n_dropped++;
                }
        }
        return n_dropped;
}

size_t retained_n_messages(const struct retained *r)
{
        return r->n_messages;
}

size_t retained_n_bytes(const struct retained *r)
{
        return r->n_bytes;
}

int retained_cursor_new(struct retained *r, const char *filter, size_t n_filter,
                        struct retained_cursor **ret_cursor)
{
        struct topic_level levels[TOPIC_TREE_LEVELS_MAX];
        struct retained_cursor *c;
        size_t n_levels;
        char *text;

        if (topic_tree_split(&r->tree, filter, n_filter, levels, &n_levels) != 0)
                return RETAINED_TOO_DEEP;
        c = malloc(sizeof(*c) + n_levels * sizeof(levels[0]) + n_filter);
        if (!c)
                return -ENOMEM;
        *c = (struct retained_cursor){
                .retained = r, .node = r->tree.root, .n_filter = n_filter, .last = UINT64_MAX
        };
        memcpy(c->levels, levels, n_levels * sizeof(levels[0]));
        text = (char *)(c->levels + n_levels);
        memcpy(text, filter, n_filter);
        c->filter = text;
        c->has_multi = filter[n_filter - 1] == '#';
        c->n_plain = n_levels - c->has_multi;
        topic_tree_hold(c->node);
        r->n_cursors++;
        *ret_cursor = c;
        return 0;
}

void retained_cursor_skip_newer(struct retained_cursor *c)
{
        c->last = c->retained->n_stored;
}

bool retained_cursor_is_on(const struct retained_cursor *c, const char *filter, size_t n_filter)
{
        return c->n_filter == n_filter && memcmp(c->filter, filter, n_filter) == 0;
}

static void cursor_move(struct retained_cursor *c, struct topic_node *node)
{
        struct topic_node *left = c->node;

        if (node)
                topic_tree_hold(node);
        c->node = node;
        if (left)
                topic_tree_unhold(&c->retained->tree, left);
}

struct retained_cursor *retained_cursor_free(struct retained_cursor *c)
{
        if (!c)
                return NULL;
        cursor_move(c, NULL);
        assert(c->retained->n_cursors > 0);
        c->retained->n_cursors--;
        free(c);
        return NULL;
}

/* Whether the filter has a wildcard for the children of a node at this depth. */
static bool cursor_is_wild(const struct retained_cursor *c, size_t depth)
{
        const struct topic_level *level = &c->levels[depth];

        return depth >= c->n_plain || (level->n == 1 && c->filter[level->at] == '+');
}

/* §4.7.2: no wildcard at the first level reaches these. */
static bool cursor_may_not_enter(const struct retained_cursor *c, const struct topic_node *node)
{
        return node->depth == 1 && node->n_level > 0 && node->level[0] == '$' && cursor_is_wild(c, 0);
}

static struct topic_node *cursor_down(const struct retained_cursor *c)
{
        const struct topic_node *node = c->node;

        if (cursor_may_not_enter(c, node) || (node->depth >= c->n_plain && !c->has_multi))
                return NULL;
        if (cursor_is_wild(c, node->depth))
                return node->first_child;
        return topic_tree_child(&c->retained->tree, node, c->filter, &c->levels[node->depth]);
}

static struct topic_node *cursor_after(const struct retained_cursor *c)
{
        struct topic_node *next = cursor_down(c);

        for (const struct topic_node *node = c->node; !next && node->parent; node = node->parent)
                if (cursor_is_wild(c, node->depth - 1u))
                        next = node->next;
        return next;
}

static struct message *cursor_message(const struct retained_cursor *c, uint64_t now_us)
{
        const struct topic_node *node = c->node;
        const struct entry *e = node->slots[SLOT_ENTRY];

        if (!e || e->message->payload_bytes == 0 || e->expires_us <= now_us || e->number > c->last ||
            cursor_may_not_enter(c, node) || node->depth < c->n_plain)
                return NULL;
        return node->depth == c->n_plain || c->has_multi ? e->message : NULL;
}

int retained_cursor_next(struct retained_cursor *c, uint64_t now_us, size_t *looks, struct message **ret)
{
        while (c->node) {
                struct message *m;

                if (*looks == 0)
                        return RETAINED_MORE;
                --*looks;
                cursor_move(c, cursor_after(c));
                m = c->node ? cursor_message(c, now_us) : NULL;
                if (m) {
                        *ret = m;
                        return RETAINED_MESSAGE;
                }
        }
        return 0;
}

const struct acl_client *retained_cursor_source(const struct retained_cursor *c)
{
        const struct entry *e = c->node->slots[SLOT_ENTRY];

        return e->source.id ? &e->source : NULL;
}

void retained_set_limits(struct retained *r, const struct retained_limits *limits)
{
        r->limits = *limits;
        r->tree.max_nodes = limits->max_nodes;
        r->tree.max_levels = MBGATE_MIN(limits->max_levels, TOPIC_TREE_LEVELS_MAX);
}
