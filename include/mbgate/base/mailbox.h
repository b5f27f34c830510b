/* SPDX-License-Identifier: MIT */
/*
 * A bounded queue of messages between threads: many may post, one takes. A message is moved by pointer: who
 * posts it gives it up, who takes it owns it. An eventfd is readable while messages wait, so that a taker can
 * sleep in poll(2). The mutex inside is held for a few pointer moves only.
 *
 *   post ──► [ oldest │ … │ newest ] ──► take
 *
 * Messages of one key replace each other when the box is full (samples of one block: the newest wins, and the
 * loss is counted); messages of key 0 are refused instead (commands and results: nothing is lost silently).
 */
#ifndef MBGATE_BASE_MAILBOX_H
#define MBGATE_BASE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

struct mailbox;

/* The head of every message: the first member of a message's own structure. */
struct mail {
        struct mail *next;
        uint32_t kind; /* the receiver's enum */
        uint32_t key;  /* 0, or what makes two messages the same thing at another time */
        void (*free)(struct mail *mail);
};

/* −ENOMEM, or eventfd(2)'s −errno. `capacity` ≥ 1 messages. */
MUST_CHECK int mailbox_new(size_t capacity, struct mailbox **ret_box);

/* Frees what is left in it by each message's own free(). No thread may still use it. Takes NULL, returns
 * NULL. */
struct mailbox *mailbox_free(struct mailbox *box);
DEFINE_CLEANUP(struct mailbox *, mailbox_free)

/*
 * Gives a message to the box. 0: taken. −ENOBUFS: full and nothing to replace; −ESHUTDOWN: closed. On an
 * error the caller still owns it. A full box replaces the oldest message with the same non-zero key, in that
 * one's place.
 */
MUST_CHECK int mailbox_post(struct mailbox *box, struct mail *mail);

/*
 * The same, full or not, for what only counts as the newest of its kind: takes the place of the message that
 * `is_same` finds, wherever that waits, and hands it back. With nothing to replace a full box takes one more.
 * 0; −ESHUTDOWN. *ret_old: NULL, or the caller's to free and to answer.
 */
MUST_CHECK int mailbox_post_newest(struct mailbox *box, struct mail *mail,
                                   bool (*is_same)(const struct mail *old, const struct mail *new),
                                   struct mail **ret_old);

/* The oldest message, or NULL when there is none. Never blocks. */
struct mail *mailbox_take(struct mailbox *box);

/* Readable while messages wait. Owned by the box. */
int mailbox_fd(const struct mailbox *box);

/* Messages that were replaced by newer ones since the box was made. */
uint64_t mailbox_replaced(struct mailbox *box);

/* Makes room for at least `capacity` messages; never takes room away. */
void mailbox_grow(struct mailbox *box, size_t capacity);

/* From now on every post is refused; what is in it can still be taken. */
void mailbox_close(struct mailbox *box);

/* mail->free(mail); takes NULL, returns NULL. */
struct mail *mail_free(struct mail *mail);
DEFINE_CLEANUP(struct mail *, mail_free)

#endif
