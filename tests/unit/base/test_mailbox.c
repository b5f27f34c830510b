/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mbgate/base/mailbox.h"
#include "mbgate/base/thread.h"

#define N_POSTERS 4
#define N_EACH    5000

struct letter {
        struct mail mail;
        unsigned writer, number;
};

static atomic_int n_alive;

static void letter_free(struct mail *mail)
{
        atomic_fetch_sub(&n_alive, 1);
        free(CONTAINER_OF(mail, struct letter, mail));
}

static struct mail *letter_new(uint32_t key, unsigned writer, unsigned number)
{
        struct mail *m = calloc(1, sizeof(struct letter));

        if (!m)
                abort();
        *CONTAINER_OF(m, struct letter, mail) = (struct letter){ .mail = { .key = key, .free = letter_free },
                                                                 .writer = writer,
                                                                 .number = number };
        atomic_fetch_add(&n_alive, 1);
        return m;
}

static struct letter *take(struct mailbox *box)
{
        struct mail *m = mailbox_take(box);

        return m ? CONTAINER_OF(m, struct letter, mail) : NULL;
}

static bool is_readable(struct mailbox *box)
{
        struct pollfd p = { .fd = mailbox_fd(box), .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

static void test_order_is_kept_and_descriptor_tells(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;

        (void)state;
        assert_int_equal(mailbox_new(3, &box), 0);
        assert_false(is_readable(box));
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(mailbox_post(box, letter_new(0, 0, i)), 0);
        assert_true(is_readable(box));
        for (unsigned i = 0; i < 3; i++) {
                struct letter *l = take(box);

                assert_int_equal(l->number, i);
                mail_free(&l->mail);
        }
        assert_false(is_readable(box));
        assert_null(take(box));
        assert_int_equal(atomic_load(&n_alive), 0);
}

static void test_full_box_refuses_what_has_no_key(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;
        struct mail *second = letter_new(0, 0, 2);

        (void)state;
        assert_int_equal(mailbox_new(1, &box), 0);
        assert_int_equal(mailbox_post(box, letter_new(0, 0, 1)), 0);
        assert_int_equal(mailbox_post(box, second), -ENOBUFS);
        mail_free(second);
}

static void test_full_box_replaces_the_oldest_of_a_key_in_its_place(void **state)
{
        static const unsigned want[] = { 9, 2, 3 };
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;

        (void)state;
        assert_int_equal(mailbox_new(3, &box), 0);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 1)), 0);
        assert_int_equal(mailbox_post(box, letter_new(8, 0, 2)), 0);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 3)), 0);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 9)), 0);
        assert_int_equal(mailbox_replaced(box), 1);
        assert_int_equal(atomic_load(&n_alive), 3);
        for (size_t i = 0; i < 3; i++) {
                struct letter *l = take(box);

                assert_int_equal(l->number, want[i]);
                mail_free(&l->mail);
        }
}

static void test_replacing_the_last_keeps_the_tail(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;
        struct letter *l;

        (void)state;
        assert_int_equal(mailbox_new(1, &box), 0);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 1)), 0);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 2)), 0);
        l = take(box);
        assert_int_equal(l->number, 2);
        mail_free(&l->mail);
        assert_int_equal(mailbox_post(box, letter_new(7, 0, 3)), 0);
        l = take(box);
        assert_int_equal(l->number, 3);
        mail_free(&l->mail);
}

static bool has_writer_of(const struct mail *old, const struct mail *new)
{
        return CONTAINER_OF((uintptr_t)old, struct letter, mail)->writer ==
               CONTAINER_OF((uintptr_t) new, struct letter, mail)->writer;
}

/* Full or not, one of each is left, the newest, where the first one stood; what gave way comes back. */
static void test_the_newest_takes_the_place_of_the_older(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;
        struct mail *late, *old;

        (void)state;
        assert_int_equal(mailbox_new(2, &box), 0);
        for (unsigned i = 0; i < 9; i++) { /* from three writers in turn: one more than there is room for */
                assert_int_equal(mailbox_post_newest(box, letter_new(0, i % 3, i), has_writer_of, &old), 0);
                assert_true((old != NULL) == (i >= 3));
                assert_true(!old || CONTAINER_OF(old, struct letter, mail)->number == i - 3);
                mail_free(old);
        }
        for (unsigned i = 0; i < 3; i++) {
                struct letter *l = take(box);

                assert_int_equal(l->number, 6 + i);
                mail_free(&l->mail);
        }
        assert_null(take(box));
        assert_false(is_readable(box));
        mailbox_close(box);
        late = letter_new(0, 0, 0);
        assert_int_equal(mailbox_post_newest(box, late, has_writer_of, &old), -ESHUTDOWN);
        assert_null(old);
        mail_free(late);
        assert_int_equal(atomic_load(&n_alive), 0);
}

static void test_closed_box_refuses_but_can_be_emptied(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;
        struct mail *second = letter_new(0, 0, 2);
        struct letter *l;

        (void)state;
        assert_int_equal(mailbox_new(2, &box), 0);
        assert_int_equal(mailbox_post(box, letter_new(0, 0, 1)), 0);
        mailbox_close(box);
        assert_int_equal(mailbox_post(box, second), -ESHUTDOWN);
        mail_free(second);
        l = take(box);
        assert_int_equal(l->number, 1);
        mail_free(&l->mail);
}

struct poster {
        struct mailbox *box;
        unsigned writer;
        pthread_t thread;
};

static void *poster_run(void *user)
{
        struct poster *p = user;

        for (unsigned i = 0; i < N_EACH; i++) {
                struct mail *m = letter_new(0, p->writer, i);

                while (mailbox_post(p->box, m) == -ENOBUFS)
                        sched_yield();
        }
        return NULL;
}

static void test_many_writers_lose_nothing_and_keep_their_order(void **state)
{
        CLEANUP(mailbox_freep)
        struct mailbox *box = NULL;
        struct poster posters[N_POSTERS];
        unsigned next[N_POSTERS] = { 0 };

        (void)state;
        assert_int_equal(mailbox_new(16, &box), 0);
        for (unsigned i = 0; i < N_POSTERS; i++) {
                posters[i] = (struct poster){ .box = box, .writer = i };
                assert_int_equal(thread_start(&posters[i].thread, "poster", poster_run, &posters[i]), 0);
        }
        for (unsigned n = 0; n < N_POSTERS * N_EACH;) {
                struct pollfd p = { .fd = mailbox_fd(box), .events = POLLIN };
                struct letter *l;

                assert_true(poll(&p, 1, 60000) == 1);
                while ((l = take(box))) {
                        assert_int_equal(l->number, next[l->writer]++);
                        mail_free(&l->mail);
                        n++;
                }
        }
        for (unsigned i = 0; i < N_POSTERS; i++)
                assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
        assert_int_equal(atomic_load(&n_alive), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order_is_kept_and_descriptor_tells),
                cmocka_unit_test(test_full_box_refuses_what_has_no_key),
                cmocka_unit_test(test_full_box_replaces_the_oldest_of_a_key_in_its_place),
                cmocka_unit_test(test_replacing_the_last_keeps_the_tail),
                cmocka_unit_test(test_the_newest_takes_the_place_of_the_older),
                cmocka_unit_test(test_closed_box_refuses_but_can_be_emptied),
                cmocka_unit_test(test_many_writers_lose_nothing_and_keep_their_order),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
