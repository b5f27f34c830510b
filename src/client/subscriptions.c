/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/array.h"

#include "subscriptions.h"

/* gcc 12's analyzer loses the filters in the list: an array whose index it does not know. */
NO_ANALYZER_LEAKS

void link_subscriptions_done(struct subscriptions *subs)
{
        for (size_t i = 0; i < subs->n; i++)
                free(subs->list[i].filter);
        free(subs->list);
        *subs = (struct subscriptions){ .n = 0 };
}

static struct subscription *link_subscriptions_find(struct subscriptions *subs, const char *filter)
{
        for (size_t i = 0; i < subs->n; i++) {
                if (strcmp(subs->list[i].filter, filter) == 0)
                        return &subs->list[i];
        }
        return NULL;
}

static int link_subscriptions_append(struct subscriptions *subs, const char *filter)
{
        struct subscription *list;
        char *copy;

        list = array_reserve(subs->list, subs->n + 1, &subs->n_allocated, sizeof(*list));
        if (!list)
                return -ENOMEM;
        subs->list = list;
        copy = strdup(filter);
        if (!copy)
                return -ENOMEM;
        list[subs->n++] = (struct subscription){ .filter = copy };
        return 0;
}

int link_subscriptions_add(struct subscriptions *subs, const char *filter, uint8_t qos,
                           struct subscription **ret)
{
        struct subscription *sub = link_subscriptions_find(subs, filter);
        int r;

        if (!sub) {
                r = link_subscriptions_append(subs, filter);
                if (r < 0)
                        return r;
                sub = &subs->list[subs->n - 1];
        }
        sub->qos = qos;
        sub->is_gone = false;
        *ret = sub;
        return 0;
}

static void link_subscriptions_settle(struct subscriptions *subs, struct subscription *sub)
{
        if (sub->mid != 0)
                subs->n_waiting--;
        sub->mid = 0;
}

static void link_subscriptions_forget(struct subscriptions *subs, struct subscription *sub)
{
        link_subscriptions_settle(subs, sub);
        free(sub->filter);
        subs->n--;
        memmove(sub, sub + 1, (size_t)(subs->list + subs->n - sub) * sizeof(*sub));
}

void link_subscriptions_remove(struct subscriptions *subs, const char *filter, bool keep)
{
        struct subscription *sub = link_subscriptions_find(subs, filter);

        if (sub && keep)
                sub->is_gone = true;
        else if (sub)
                link_subscriptions_forget(subs, sub);
}

void link_subscriptions_purge(struct subscriptions *subs)
{
        for (size_t i = subs->n; i > 0; i--) {
                if (subs->list[i - 1].is_gone)
                        link_subscriptions_forget(subs, &subs->list[i - 1]);
        }
}

void link_subscriptions_reset(struct subscriptions *subs)
{
        for (size_t i = 0; i < subs->n; i++)
                link_subscriptions_settle(subs, &subs->list[i]);
}

void link_subscriptions_sent(struct subscriptions *subs, struct subscription *sub, int mid)
{
        link_subscriptions_settle(subs, sub);
        sub->mid = mid;
        subs->n_waiting++;
}

const struct subscription *link_subscriptions_answered(struct subscriptions *subs, int mid)
{
        for (size_t i = 0; i < subs->n; i++) {
                struct subscription *sub = &subs->list[i];

                if (sub->mid == mid && mid != 0) {
                        link_subscriptions_settle(subs, sub);
                        return sub;
                }
        }
        return NULL;
}
