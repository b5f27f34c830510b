/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mbgate/base/mailbox.h"

struct mailbox {
        pthread_mutex_t mutex;
        struct mail *head;
        struct mail **tail;
        size_t n_mails;
        size_t capacity;
        uint64_t n_replaced;
        int fd;
        bool closed;
};

int mailbox_new(size_t capacity, struct mailbox **ret_box)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = calloc(1, sizeof(*box));
        int r;

        if (!box)
                return -ENOMEM;
        box->fd = -1;
        box->tail = &box->head;
        box->capacity = capacity;
        r = pthread_mutex_init(&box->mutex, NULL);
        if (r != 0) {
                free(TAKE(box));
                return -r;
        }
        box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (box->fd < 0)
                return -errno;
        *ret_box = TAKE(box);
        return 0;
}

struct mailbox *mailbox_free(struct mailbox *box)
{
        struct mail *mail;

        if (!box)
                return NULL;
        while ((mail = box->head)) {
                box->head = mail->next;
                mail_free(mail);
        }
        if (box->fd >= 0)
                (void)close(box->fd);
        (void)pthread_mutex_destroy(&box->mutex);
        free(box);
        return NULL;
}

static bool has_same_key(const struct mail *old, const struct mail *new)
{
        return old->key == new->key;
}

/* Puts `mail` where the oldest message that is the same stands and returns that one, or NULL: there is none.
 */
static struct mail *mailbox_replace(struct mailbox *box, struct mail *mail,
                                    bool (*is_same)(const struct mail *old, const struct mail *new))
{
        for (struct mail **at = &box->head; *at; at = &(*at)->next) {
                struct mail *old = *at;

                if (!is_same(old, mail))
                        continue;
                mail->next = old->next;
                *at = mail;
                if (!mail->next)
                        box->tail = &mail->next;
                return old;
        }
        return NULL;
}

static void mailbox_append(struct mailbox *box, struct mail *mail)
{
        mail->next = NULL;
        *box->tail = mail;
        box->tail = &mail->next;
        if (box->n_mails++ == 0) {
                /* Fails only on overflow of the counter, which stays at 0 or 1 here. */
                ssize_t n = write(box->fd, &(uint64_t){ 1 }, sizeof(uint64_t));
                (void)n;
        }
}

int mailbox_post(struct mailbox *box, struct mail *mail)
{
        struct mail *old = NULL;
        int r = 0;

        (void)pthread_mutex_lock(&box->mutex);
        if (box->closed) {
                r = -ESHUTDOWN;
        } else if (box->n_mails < box->capacity) {
                mailbox_append(box, mail);
        } else {
                old = mail->key != 0 ? mailbox_replace(box, mail, has_same_key) : NULL;
                box->n_replaced += old != NULL;
                if (!old)
                        r = -ENOBUFS;
        }
        (void)pthread_mutex_unlock(&box->mutex);

        mail_free(old);
        return r;
}

int mailbox_post_newest(struct mailbox *box, struct mail *mail,
                        bool (*is_same)(const struct mail *old, const struct mail *new),
                        struct mail **ret_old)
{
        struct mail *old = NULL;
        int r = 0;

        (void)pthread_mutex_lock(&box->mutex);
        if (box->closed) {
                r = -ESHUTDOWN;
        } else {
                old = mailbox_replace(box, mail, is_same);
                if (!old)
                        mailbox_append(box, mail);
        }
        (void)pthread_mutex_unlock(&box->mutex);
        *ret_old = old;
        return r;
}

struct mail *mailbox_take(struct mailbox *box)
{
        struct mail *mail;

        (void)pthread_mutex_lock(&box->mutex);
        mail = box->head;
        if (mail) {
                box->head = mail->next;
                if (!box->head)
                        box->tail = &box->head;
                mail->next = NULL;
                if (--box->n_mails == 0) {
                        uint64_t count;
                        ssize_t n = read(box->fd, &count, sizeof(count));
                        (void)n;
                }
        }
        (void)pthread_mutex_unlock(&box->mutex);
        return mail;
}

int mailbox_fd(const struct mailbox *box)
{
        return box->fd;
}

uint64_t mailbox_replaced(struct mailbox *box)
{
        uint64_t n;

        (void)pthread_mutex_lock(&box->mutex);
        n = box->n_replaced;
        (void)pthread_mutex_unlock(&box->mutex);
        return n;
}

void mailbox_grow(struct mailbox *box, size_t capacity)
{
        (void)pthread_mutex_lock(&box->mutex);
        box->capacity = MBGATE_MAX(box->capacity, capacity);
        (void)pthread_mutex_unlock(&box->mutex);
}

void mailbox_close(struct mailbox *box)
{
        (void)pthread_mutex_lock(&box->mutex);
        box->closed = true;
        (void)pthread_mutex_unlock(&box->mutex);
}

struct mail *mail_free(struct mail *mail)
{
        if (mail)
                mail->free(mail);
        return NULL;
}
