/* SPDX-License-Identifier: MIT */
/*
 * Topics that are not configured, and the rule that holds them together: every topic has one meaning. One
 * that two points publish to, or that is published to and taken commands from, would be a riddle or a loop.
 */
#include <errno.h>

#include "mbgate/codec/topic.h"

#include "loader.h"

/* What goes between a topic and its next level: one '/', also when it ends in one. */
static const char *slash_after(const char *base)
{
        size_t n = strlen(base);

        return n > 0 && base[n - 1] == '/' ? "" : "/";
}

/* Reports a topic from the file that is none. */
static void topic_check(struct loader *l, const char *key, const char *topic)
{
        if (loader_own(l, key) && !topic_is_name(topic, strlen(topic)))
                source_error(&l->source, loader_own_pos(l, key),
                             "%s: %s \"%s\" is no topic: it needs 1 to %d bytes of UTF-8 without + and #",
                             PLACE(l), key, topic, CONF_TOPIC_BYTES_MAX);
}

/* Reports a topic that is too long, and notes the longest, for the prefixes of links. */
static bool topic_is_short(struct loader *l, const char *key, const char *topic, const char *meaning)
{
        size_t n = strlen(topic);

        if (n > CONF_TOPIC_BYTES_MAX) {
                source_error(&l->source, loader_own_pos(l, key),
                             "%s: its %s has %zu bytes, but at most %d can be: shorten the names and topics "
                             "that it is made of",
                             PLACE(l), meaning, n, CONF_TOPIC_BYTES_MAX);
                l->no_topics = true;
                return false;
        }
        if (n > l->longest.n_bytes)
                l->longest = (struct longest_topic){ n, meaning, loader_own_pos(l, key) };
        return true;
}

/*
 * Enters a topic with what it means; `key` says where it stands. Reports one that is taken: once for a thing,
 * as its other topics will be taken for the same reason. −ENOMEM.
 */
static int topic_claim(struct loader *l, const char *key, const char *topic, const char *meaning)
{
        const struct names_use *use;
        char where[SOURCE_NAME_BYTES];

        if (!*topic || l->no_topics)
                return 0;
        if (!topic_is_short(l, key, topic, meaning))
                return 0;
        use = names_find(&l->topics, topic);
        if (!use)
                return names_add(&l->topics, l->scratch, topic,
                                 (struct names_use){ .thing = meaning, .pos = loader_own_pos(l, key) });
        source_error(&l->source, loader_own_pos(l, key),
                     "%s: its %s \"%s\" is the %s of %s already: give one of them another", PLACE(l), meaning,
                     topic, (const char *)use->thing, source_name(&l->source, use->pos, where));
        l->no_topics = true;
        return 0;
}

/* The topic of a key: the configured one, or `base`/`level`. */
static int topic_default(struct loader *l, const char *key, char **topic, const char *base, const char *level)
{
        if (loader_own(l, key)) {
                topic_check(l, key, *topic);
                return 0;
        }
        *topic = arena_printf(l->arena, "%s%s%s", base, slash_after(base), level);
        return *topic ? 0 : -ENOMEM;
}

static int topics_take(struct loader *l, const char *key, char **topic, const char *base, const char *level,
                       const char *meaning)
{
        int r = topic_default(l, key, topic, base, level);

        return r < 0 ? r : topic_claim(l, key, *topic, meaning);
}

void topics_check_prefix(struct loader *l, const char *prefix)
{
        const struct longest_topic *t = &l->longest;
        size_t n = strlen(prefix);
        char where[SOURCE_NAME_BYTES];

        if (n > 0 && n + t->n_bytes > CONF_TOPIC_BYTES_MAX)
                source_error(&l->source, loader_own_pos(l, "prefix"),
                             "%s: with this prefix, the %s of %s has %zu bytes, but at most %d can be: "
                             "shorten one of them",
                             PLACE(l), t->meaning, source_name(&l->source, t->pos, where), n + t->n_bytes,
                             CONF_TOPIC_BYTES_MAX);
}

int topics_of_gateway(struct loader *l, struct conf_gateway *g)
{
        return topics_take(l, "status_topic", &g->status_topic, g->name, "status", "status topic");
}

static int topics_of_raw(struct loader *l, struct conf_bus *b)
{
        const char *slash = slash_after(b->topic);
        int r;

        b->raw_topic = b->raw_result_topic = l->empty;
        if (!b->raw)
                return 0;
        b->raw_topic = arena_printf(l->arena, "%s%sraw/set", b->topic, slash);
        b->raw_result_topic = arena_printf(l->arena, "%s%sraw/result", b->topic, slash);
        if (!b->raw_topic || !b->raw_result_topic)
                return -ENOMEM;
        r = topic_claim(l, "raw", b->raw_topic, "topic of raw requests");
        return r < 0 ? r : topic_claim(l, "raw", b->raw_result_topic, "result topic of raw requests");
}

int topics_of_bus(struct loader *l, struct conf_bus *b)
{
        CLEANUP(cleanup_free)
        char *level = NULL;
        int r;

        if (asprintf(&level, "bus/%s", b->name) < 0) {
                level = NULL;
                return -ENOMEM;
        }
        r = topics_take(l, "topic", &b->topic, l->conf->gateway.name, level, "counters' topic");
        return r < 0 ? r : topics_of_raw(l, b);
}

/* The gateway makes these topics when it needs them: here they are only claimed. */
static int topics_of_send_interval_result(struct loader *l, const struct conf_device *d)
{
        const char *topic =
                arena_printf(l->scratch, "%s%ssend_interval/result", d->topic, slash_after(d->topic));

        return topic ? topic_claim(l, "send_interval_topic", topic, "send interval result topic") : -ENOMEM;
}

static int topics_of_send_interval(struct loader *l, struct conf_device *d)
{
        int r = topics_take(l, "send_interval_topic", &d->send_interval_topic, d->topic, "send_interval/set",
                            "send interval topic");

        d->send_interval_topic_short = l->empty;
        if (r == 0)
                r = topics_of_send_interval_result(l, d);
        if (r < 0 || loader_own(l, "send_interval_topic"))
                return r;
        d->send_interval_topic_short =
                arena_printf(l->arena, "%s%ssend_interval", d->topic, slash_after(d->topic));
        if (!d->send_interval_topic_short)
                return -ENOMEM;
        return topic_claim(l, "send_interval_topic", d->send_interval_topic_short, "send interval topic");
}

/* Of the device and its requests, below those of its bus. */
static int topics_of_counters(struct loader *l, const struct conf_device *d)
{
        const char *topic = arena_printf(l->scratch, "%s/%s", d->bus->topic, d->name);

        if (!topic)
                return -ENOMEM;
        return d->bus->stats_interval_s > 0 ? topic_claim(l, "name", topic, "counters' topic") : 0;
}

int topics_of_device(struct loader *l, struct conf_device *d)
{
        int r = topic_default(l, "topic", &d->topic, l->conf->gateway.name, d->name);

        if (r == 0)
                r = topics_take(l, "availability_topic", &d->availability_topic, d->topic, "availability",
                                "availability topic");
        if (r == 0)
                r = topics_of_send_interval(l, d);
        return r < 0 ? r : topics_of_counters(l, d);
}

/* The point's own topics, with `name`/`what` for those that are not configured. */
static int topics_take_sub(struct loader *l, const struct conf_point *p, const char *key, char **topic,
                           const char *what, const char *meaning)
{
        int r = 0;

        if (loader_own(l, key)) {
                topic_check(l, key, *topic);
        } else {
                *topic = arena_printf(l->arena, "%s%s%s/%s", p->device->topic, slash_after(p->device->topic),
                                      p->name, what);
                r = *topic ? 0 : -ENOMEM;
        }
        return r < 0 ? r : topic_claim(l, key, *topic, meaning);
}

/* Points in one object share the topic of their device. */
static int topics_of_object(struct loader *l, const struct conf_point *p)
{
        static const char meaning[] = "object topic";
        const struct names_use *use = names_find(&l->topics, p->device->topic);

        if (l->no_topics || (use && use->thing == meaning && use->pos == loader_pos(l, "points")))
                return 0;
        if (use)
                return topic_claim(l, "name", p->device->topic, meaning);
        return names_add(&l->topics, l->scratch, p->device->topic,
                         (struct names_use){ .thing = meaning, .pos = loader_pos(l, "points") });
}

int topics_of_point(struct loader *l, struct conf_point *p)
{
        int r = topic_default(l, "topic", &p->topic, p->device->topic, p->name);

        if (r == 0)
                r = p->payload == CONF_PAYLOAD_OBJECT ? topics_of_object(l, p)
                                                      : topic_claim(l, "topic", p->topic, "topic");
        if (r == 0 && p->writable)
                r = topics_take_sub(l, p, "command_topic", &p->command_topic, "set", "command topic");
        if (r == 0 && !p->writable)
                p->command_topic = l->empty;
        if (r == 0)
                r = topics_take_sub(l, p, "get_topic", &p->get_topic, "get", "get topic");
        return r < 0 ? r : topics_take_sub(l, p, "result_topic", &p->result_topic, "result", "result topic");
}
