/* SPDX-License-Identifier: MIT */
/* What writing and reading of the store share. Owned by the main thread. */
#ifndef MBGATE_BROKER_PERSISTENCE_PRIVATE_H
#define MBGATE_BROKER_PERSISTENCE_PRIVATE_H

#include "mbgate/base/hash.h"

#include "mbgate/loop/loop.h"
#include "mbgate/store/store.h"

#include "persistence.h"
#include "record.h"

/* A message that queues refer to: once in the store, however many sessions wait for it. */
struct kept_message {
        UT_hash_handle hh;        /* by the message's address */
        UT_hash_handle hh_number; /* by number, while the store is read */
        struct message *message;  /* a reference */
        uint64_t number;
        unsigned n_items;
};

struct kept_key {
        uint32_t session;
        uint32_t zero;
        uint64_t number; /* the queue's */
};

/* A message in a session's queue. */
struct kept_item {
        UT_hash_handle hh;
        struct kept_key key;
        struct kept_message *message; /* NULL: only its state has been read yet */
        struct record_state state;    /* packet id 0: it waits */
};

/* A session by its number, while the store is read. */
struct kept_session {
        UT_hash_handle hh;
        uint32_t number;
        struct session *session;
};

/* A row to be deleted. */
struct kept_unusable {
        struct kept_unusable *next;
        size_t n;
        uint8_t table;
        uint8_t key[];
};

struct persistence {
        struct broker *broker;
        struct store *store;
        struct loop_timer *timer;
        struct loop_io *io;
        persistence_committed_fn fn;
        void *user;
        uint64_t pause_us; /* between a change and its commit; CLOCK_NEVER_US: at the end only */
        bool is_sync;
        bool is_armed;
        uint64_t last_message;
        uint32_t last_session;
        struct kept_message *messages;
        struct kept_item *items;
        /* while the store is read */
        struct kept_message *by_number;
        struct kept_session *sessions;
        struct kept_unusable *unusable;
};

struct kept_item *persistence_item(struct persistence *p, uint32_t session, uint64_t number);

/* −ENOMEM. */
MUST_CHECK int persistence_item_new(struct persistence *p, uint32_t session, uint64_t number,
                                    struct kept_item **ret_item);
void persistence_item_free(struct persistence *p, struct kept_item *item);

/* persistence_load.c: a row of the store (store_row_fn), and what is to be done after the last one. */
void persistence_take_row(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                          size_t n_value);
void persistence_tidy_up(struct persistence *p);

/* Instead, when the store could not be read to its end: what came is in the broker's tables, no more. */
void persistence_give_up_reading(struct persistence *p);

#endif
