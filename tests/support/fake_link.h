/* SPDX-License-Identifier: MIT */
/* A link that keeps what it is given, and says what the test wants it to say. */
#ifndef MBGATE_TESTS_FAKE_LINK_H
#define MBGATE_TESTS_FAKE_LINK_H

#include "mbgate/model/link.h"

#define FAKE_LINK_MESSAGES 512
#define FAKE_LINK_FILTERS  128

struct fake_link {
        struct link link;
        struct message *published[FAKE_LINK_MESSAGES];
        size_t n_published;
        char *filters[FAKE_LINK_FILTERS];
        size_t n_filters;
        unsigned n_subscribes, n_unsubscribes;
        uint8_t qos; /* of the last subscription */
        bool is_full;
        size_t capacity;  /* 0: none; it says that it has room until half of that is taken */
        bool is_stubborn; /* says that it has room, and takes nothing */
        bool is_blind;    /* takes everything and keeps nothing */
};

struct fake_link *fake_link_new(const char *name, link_event_fn on_event, void *user);

/* Frees what it keeps, too. Takes NULL, returns NULL. */
struct fake_link *fake_link_free(struct fake_link *l);

void fake_link_online(struct fake_link *l);
void fake_link_away(struct fake_link *l);

/* It has room again; and so that everything has to be sent again. */
void fake_link_room(struct fake_link *l);
void fake_link_lost(struct fake_link *l);

/* A message comes, if one of the filters lets it through; whether it did. */
bool fake_link_receive(struct fake_link *l, const struct message_init *init, bool was_retained);

/* Forgets what was published. */
void fake_link_clear(struct fake_link *l);

/* The last message of a topic since then, or NULL; and how many there were. */
const struct message *fake_link_last(const struct fake_link *l, const char *topic);
size_t fake_link_count(const struct fake_link *l, const char *topic);

bool fake_link_has_filter(const struct fake_link *l, const char *filter);

#endif
