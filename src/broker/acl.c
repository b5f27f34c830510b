/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/array.h"
#include "mbgate/broker/acl.h"
#include "mbgate/codec/topic.h"

#include "lines.h"
#include "subscriptions.h"

#define ACL_DENY      0u
#define ACL_READWRITE (ACL_READ | ACL_WRITE)

struct rule {
        const char *filter; /* in the text */
        size_t n_filter;
        unsigned access;       /* bits of enum acl_access; ACL_DENY */
        bool has_user, has_id; /* patterns: %u, %c */
};

struct rules {
        struct rule *list;
        size_t n, size;
};

struct acl_user {
        const char *name; /* in the text, terminated; NULL: clients without a name */
        struct rules rules;
};

struct acl {
        char *text;             /* copy of the file */
        struct acl_user *users; /* [0]: clients without a name; the others sorted after reading */
        size_t n_users, size_users;
        struct rules patterns;
};

/* A filter or name that is walked level by level. */
struct levels {
        const char *at;
        size_t n_left, n; /* n: of this level */
        bool more;        /* this level exists */
};

static struct levels levels_of(const char *text, size_t n_text)
{
        const char *slash = memchr(text, '/', n_text);

        return (struct levels){ text, n_text, slash ? (size_t)(slash - text) : n_text, true };
}

static void levels_next(struct levels *l)
{
        if (l->n == l->n_left) {
                *l = (struct levels){ .at = l->at };
                return;
        }
        *l = levels_of(l->at + l->n + 1, l->n_left - l->n - 1);
}

static bool level_is(const struct levels *l, char wildcard)
{
        return l->more && l->n == 1 && *l->at == wildcard;
}

static const char *placeholder(const struct acl_client *who, const char *at, size_t n)
{
        if (!who || n < 2 || at[0] != '%')
                return NULL;
        return at[1] == 'c' ? who->id : at[1] == 'u' ? who->user : NULL;
}

/* Whether a rule's level is this text, once its %c and %u are filled in. */
static bool level_equals(const struct levels *rule, const struct levels *text, const struct acl_client *who)
{
        size_t i = 0, at = 0;

        while (i < rule->n) {
                const char *name = placeholder(who, rule->at + i, rule->n - i);
                const char *part = name ? name : rule->at + i;
                size_t n_part = name ? strlen(name) : 1;

                if (n_part > text->n - at || memcmp(text->at + at, part, n_part) != 0)
                        return false;
                at += n_part;
                i += name ? 2 : 1;
        }
        return at == text->n;
}

enum relation {
        RULE_COVERS,   /* the rule matches every topic of the filter */
        RULE_OVERLAPS, /* some topic matches both */
};

/*
 * How a rule stands to a filter, which may also be a plain name: then both relations mean "matches". `who`:
 * NULL for rules without %c and %u.
 */
static bool rule_relates(const struct rule *rule, const struct acl_client *who, const char *filter,
                         size_t n_filter, enum relation relation)
{
        struct levels a = levels_of(rule->filter, rule->n_filter), b = levels_of(filter, n_filter);

        if ((*a.at == '$') != (*b.at == '$'))
                return false; /* '$' needs its own rule, and no wildcard reaches it: §4.7.2 */
        for (;; levels_next(&a), levels_next(&b)) {
                if (level_is(&a, '#'))
                        return true;
                if (level_is(&b, '#')) /* here and below, "a/#" includes "a" */
                        return relation == RULE_OVERLAPS;
                if (!a.more && !b.more)
                        return true;
                if (!a.more || !b.more) {
                        /* no topic of the other can end here: only "/#" could have */
                        return false;
                }
                if (level_is(&a, '+'))
                        continue;
                if (level_is(&b, '+')) {
                        if (relation == RULE_COVERS)
                                return false;
                        continue;
                }
                if (!level_equals(&a, &b, who))
                        return false;
        }
}

static bool name_is_safe(const char *name)
{
        return !name || !strpbrk(name, "+#/");
}

static int user_compare(const void *a, const void *b)
{
        return strcmp(((const struct acl_user *)a)->name, ((const struct acl_user *)b)->name);
}

static const struct rules *acl_rules(const struct acl *acl, const char *user)
{
        struct acl_user key = { .name = user }, *found;

        if (!user)
                return &acl->users[0].rules;
        found = bsearch(&key, acl->users + 1, acl->n_users - 1, sizeof(key), user_compare);
        return found ? &found->rules : NULL;
}

/* A question, and what the rules seen so far say to it. */
struct question {
        const struct acl_client *client;
        const char *topic; /* name or filter */
        size_t n_topic;
        unsigned access;
        bool is_allowed, is_denied;
};

static void ask_rule(struct question *q, const struct rule *rule, const struct acl_client *who)
{
        if (rule->access == ACL_DENY)
                q->is_denied |= rule_relates(rule, who, q->topic, q->n_topic, RULE_COVERS);
        else if ((rule->access & q->access) && !q->is_allowed)
                q->is_allowed = rule_relates(rule, who, q->topic, q->n_topic, RULE_OVERLAPS);
}

static void ask_patterns(struct question *q, const struct rules *patterns)
{
        bool safe = name_is_safe(q->client->user) && name_is_safe(q->client->id);

        for (size_t i = 0; i < patterns->n && !q->is_denied; i++) {
                const struct rule *rule = &patterns->list[i];

                if (rule->has_user && !q->client->user)
                        continue;
                if (safe)
                        ask_rule(q, rule, q->client);
                else if (rule->access == ACL_DENY) /* cannot be filled in: then everything is denied */
                        q->is_denied |= rule->has_user || rule->has_id ||
                                        rule_relates(rule, NULL, q->topic, q->n_topic, RULE_COVERS);
        }
}

static bool acl_ask(const struct acl *acl, struct question *q)
{
        const struct rules *rules = acl_rules(acl, q->client->user);

        if (q->n_topic == 0)
                return false;
        for (size_t i = 0; rules && i < rules->n && !q->is_denied; i++)
                ask_rule(q, &rules->list[i], NULL);
        if (!q->is_denied)
                ask_patterns(q, &acl->patterns);
        return q->is_allowed && !q->is_denied;
}

bool acl_check(const struct acl *acl, const struct acl_client *client, enum acl_access access,
               const char *topic, size_t n_topic)
{
        struct question q = { .client = client, .topic = topic, .n_topic = n_topic, .access = access };

        return acl_ask(acl, &q);
}

bool acl_check_filter(const struct acl *acl, const struct acl_client *client, const char *filter,
                      size_t n_filter)
{
        struct question q = { .client = client, .topic = filter, .n_topic = n_filter, .access = ACL_READ };
        size_t n_group, at;
        int shared = subscriptions_shared(filter, n_filter, &n_group, &at);

        if (shared < 0)
                return false;
        if (shared > 0) {
                q.topic += at;
                q.n_topic -= at;
        }
        return acl_ask(acl, &q);
}

static int acl_add_user(struct acl *acl, const char *name)
{
        struct acl_user *users =
                array_reserve(acl->users, acl->n_users + 1, &acl->size_users, sizeof(struct acl_user));

        if (!users)
                return -ENOMEM;
        acl->users = users;
        acl->users[acl->n_users++] = (struct acl_user){ .name = name };
        return 0;
}

static int rules_add(struct rules *rules, const struct rule *rule)
{
        struct rule *list = array_reserve(rules->list, rules->n + 1, &rules->size, sizeof(*rule));

        if (!list)
                return -ENOMEM;
        rules->list = list;
        rules->list[rules->n++] = *rule;
        return 0;
}

/* The first word of a line; the rest without blanks before it. */
static size_t word_take(const char **rest, size_t *n_rest, const char **ret_word)
{
        size_t n = 0;

        *ret_word = *rest;
        while (n < *n_rest && (*rest)[n] != ' ' && (*rest)[n] != '\t')
                n++;
        *rest += n;
        *n_rest -= n;
        while (*n_rest > 0 && (**rest == ' ' || **rest == '\t')) {
                (*rest)++;
                (*n_rest)--;
        }
        return n;
}

static bool word_is(const char *word, size_t n, const char *what)
{
        return strlen(what) == n && memcmp(word, what, n) == 0;
}

static bool access_parse(const char *word, size_t n, unsigned *ret_access)
{
        static const struct {
                const char *word;
                unsigned access;
        } words[] = { { "read", ACL_READ },
                      { "write", ACL_WRITE },
                      { "readwrite", ACL_READWRITE },
                      { "deny", ACL_DENY } };

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                if (word_is(word, n, words[i].word)) {
                        *ret_access = words[i].access;
                        return true;
                }
        }
        return false;
}

/* Behind "topic" or "pattern". A filter with blanks needs its access before it, as for mosquitto. */
static bool rule_parse(struct lines *l, const char *rest, size_t n_rest, struct rule *ret_rule)
{
        struct rule rule = { .filter = rest, .n_filter = n_rest, .access = ACL_READWRITE };
        const char *word;
        size_t n = word_take(&rest, &n_rest, &word);

        if (n_rest > 0 && !access_parse(word, n, &rule.access)) {
                lines_complain(l, "\"%.*s\" is none of read, write, readwrite, deny", (int)MBGATE_MIN(n, 40u),
                               word);
                return false;
        }
        if (n_rest > 0) {
                rule.filter = rest;
                rule.n_filter = n_rest;
        }
        if (!topic_is_filter(rule.filter, rule.n_filter)) {
                lines_complain(l, rule.n_filter == 0 ? "the topic is missing"
                                                     : "this is not a topic filter: '+' fills a level, '#' "
                                                       "the last one");
                return false;
        }
        for (size_t i = 0; i + 1 < rule.n_filter; i++) {
                rule.has_id |= rule.filter[i] == '%' && rule.filter[i + 1] == 'c';
                rule.has_user |= rule.filter[i] == '%' && rule.filter[i + 1] == 'u';
        }
        *ret_rule = rule;
        return true;
}

/* The text is the ACL's own: names are terminated in it. */
static int user_parse(struct acl *acl, struct lines *l, const char *name, size_t n_name)
{
        char *end = acl->text + (name - acl->text) + n_name;

        if (n_name == 0) {
                lines_complain(l, "the user's name is missing");
                return 0;
        }
        if (memchr(name, '\0', n_name)) {
                lines_complain(l, "the user's name contains a NUL");
                return 0;
        }
        *end = '\0';
        return acl_add_user(acl, name);
}

static int line_parse(struct acl *acl, struct lines *l, const char *line, size_t n_line)
{
        const char *word;
        size_t n = word_take(&line, &n_line, &word);
        struct rule rule;

        if (word_is(word, n, "user"))
                return user_parse(acl, l, line, n_line);
        if (word_is(word, n, "topic") || word_is(word, n, "pattern")) {
                if (!rule_parse(l, line, n_line, &rule))
                        return 0;
                return rules_add(*word == 't' ? &acl->users[acl->n_users - 1].rules : &acl->patterns, &rule);
        }
        lines_complain(l, "a line begins with topic, user or pattern, not with \"%.*s\"",
                       (int)MBGATE_MIN(n, 40u), word);
        return 0;
}

static int rules_append(struct rules *to, struct rules *from)
{
        int r = 0;

        for (size_t i = 0; i < from->n && r == 0; i++)
                r = rules_add(to, &from->list[i]);
        free(from->list);
        *from = (struct rules){ 0 };
        return r;
}

/* Sorts the users and joins the blocks of one name. */
static int acl_index(struct acl *acl)
{
        size_t kept = 1;

        qsort(acl->users + 1, acl->n_users - 1, sizeof(struct acl_user), user_compare);
        for (size_t i = 1; i < acl->n_users; i++) {
                if (kept > 1 && user_compare(&acl->users[kept - 1], &acl->users[i]) == 0) {
                        int r = rules_append(&acl->users[kept - 1].rules, &acl->users[i].rules);

                        if (r < 0)
                                return r;
                } else {
                        struct acl_user moved = acl->users[i];

                        acl->users[i].rules = (struct rules){ 0 };
                        acl->users[kept++] = moved;
                }
        }
        acl->n_users = kept;
        return 0;
}

/* Takes over the text, whose byte n_text can be written. */
static int acl_parse_own(const char *name, char *text, size_t n_text, struct findings *findings,
                         struct acl **ret_acl)
{
        struct lines l = lines_of(name, text, n_text, findings);
        CLEANUP(acl_freep)
        struct acl *acl = calloc(1, sizeof(*acl));
        const char *line;
        size_t n_line;
        int r;

        if (!acl) {
                free(text);
                return -ENOMEM;
        }
        acl->text = text;
        r = acl_add_user(acl, NULL);
        while (r == 0 && lines_next(&l, &line, &n_line))
                r = line_parse(acl, &l, line, n_line);
        if (r == 0)
                r = acl_index(acl);
        if (r < 0)
                return r;
        if (l.failed)
                return -EINVAL;
        *ret_acl = TAKE(acl);
        return 0;
}

int acl_parse(const char *name, const char *text, size_t n_text, struct findings *findings,
              struct acl **ret_acl)
{
        char *copy = malloc(n_text + 1);

        if (!copy)
                return -ENOMEM;
        if (n_text > 0)
                memcpy(copy, text, n_text);
        copy[n_text] = '\0';
        return acl_parse_own(name, copy, n_text, findings, ret_acl);
}

int acl_load(const char *file, struct findings *findings, struct acl **ret_acl)
{
        char *text;
        size_t n_text;
        int r = lines_read_file(file, false, findings, &text, &n_text);

        return r < 0 ? r : acl_parse_own(file, text, n_text, findings, ret_acl);
}

struct acl *acl_free(struct acl *acl)
{
        if (!acl)
                return NULL;
        for (size_t i = 0; i < acl->n_users; i++)
                free(acl->users[i].rules.list);
        free(acl->users);
        free(acl->patterns.list);
        free(acl->text);
        free(acl);
        return NULL;
}
