/* SPDX-License-Identifier: MIT */
/*
 * What a message costs the broker's matching as subscriptions grow, two thirds of them with wildcards. Three
 * of them match each message. Prints a table: for messages on the same few topics, and for messages spread
 * over all topics, where the tree no longer fits into the caches. Ratios are to the smallest tree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"
#include "subscriptions.h"

#define N_TOPICS    1000
#define N_MESSAGES  1000000
#define TOPIC_BYTES 64

static struct subscriber *clients;

static void count_hit(void *user, const struct subscription_hit *hit)
{
        (void)hit;
        ++*(size_t *)user;
}

static void subscribe(struct subscriptions *subs, size_t client, const char *filter)
{
        struct subscription_options options = { .qos = 1 };

        if (subscriptions_add(subs, &clients[client], filter, strlen(filter), &options) < 0)
                exit(EXIT_FAILURE);
}

/* Three filters for each room, of which the topics of that room match all. */
static void subscribe_number(struct subscriptions *subs, size_t i)
{
        char filter[64];
        size_t room = i / 3;

        if (i % 3 == 0)
                (void)snprintf(filter, sizeof(filter), "site/%zu/device%zu/temp", room, room);
        else if (i % 3 == 1)
                (void)snprintf(filter, sizeof(filter), "site/%zu/+/temp", room);
        else
                (void)snprintf(filter, sizeof(filter), "site/%zu/device%zu/#", room, room);
        subscribe(subs, i, filter);
}

/* ns for each of `n_messages` whose topics belong to the first `n_rooms` rooms, in an order without order. */
static double measure_match(struct subscriptions *subs, size_t n_rooms, size_t n_messages)
{
        struct subscriptions_calls calls = { .hit = count_hit };
        struct random r = { .state = 1 };
        char(*topics)[TOPIC_BYTES] = calloc(N_TOPICS, sizeof(*topics));
        size_t n_hits = 0;
        uint64_t took_us = 0, start_us;

        if (!topics)
                exit(EXIT_FAILURE);
        for (size_t done = 0; done < n_messages; done += N_TOPICS) {
                for (size_t i = 0; i < N_TOPICS; i++) {
                        size_t room = (size_t)random_below(&r, n_rooms);

                        (void)snprintf(topics[i], TOPIC_BYTES, "site/%zu/device%zu/temp", room, room);
                }
                start_us = clock_monotonic_us();
                for (size_t i = 0; i < N_TOPICS; i++)
                        (void)subscriptions_match(subs, topics[i], strlen(topics[i]), NULL, &calls, &n_hits);
                took_us += clock_monotonic_us() - start_us;
        }
        free(topics);
        if (n_hits != 3 * n_messages)
                exit(EXIT_FAILURE);
        return (double)took_us * 1000.0 / (double)n_messages;
}

static struct subscriptions *make(size_t n)
{
        struct subscriptions_limits limits = {
                .max_levels = 200, .max_nodes = 10 * n, .max_total = n, .max_per_subscriber = n
        };
        struct subscriptions *subs;

        if (subscriptions_new(&limits, &subs) < 0)
                exit(EXIT_FAILURE);
        for (size_t i = 0; i < n; i++)
                subscribe_number(subs, i);
        return subs;
}

int main(void)
{
        static const size_t sizes[] = { 99, 999, 9999, 99999 };
        double first_ns[2] = { 0 };

        clients = calloc(sizes[ARRAY_SIZE(sizes) - 1], sizeof(*clients));
        if (!clients)
                return EXIT_FAILURE;
        puts("| subscriptions | 33 topics, ns | ratio | all topics, ns | ratio |\n"
             "| ------------: | ------------: | ----: | -------------: | ----: |");
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                struct subscriptions *subs = make(sizes[i]);
                double few_ns = measure_match(subs, 33, N_MESSAGES);
                double all_ns = measure_match(subs, sizes[i] / 3, N_MESSAGES);

                if (i == 0) {
                        first_ns[0] = few_ns;
                        first_ns[1] = all_ns;
                }
                printf("| %13zu | %13.0f | %5.2f | %14.0f | %5.2f |\n", sizes[i], few_ns,
                       few_ns / first_ns[0], all_ns, all_ns / first_ns[1]);
                for (size_t k = 0; k < sizes[i]; k++)
                        subscriptions_clear(subs, &clients[k]);
                (void)subscriptions_free(subs);
        }
        free(clients);
        return EXIT_SUCCESS;
}
