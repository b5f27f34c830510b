/* SPDX-License-Identifier: MIT */
/* Descriptors in batches: who is called, who is not, and when the end of a batch comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "fake_loop.h"
#include "transport.h"

#define SOURCES (2 * TRANSPORT_BATCH + 10)

struct source {
        struct transport_io io;
        struct fixture *f;
        int fd;
        unsigned n_calls;
        uint32_t events;
        struct source *removes; /* when called */
        bool keeps;             /* what made it readable */
        bool wakes;
};

struct fixture {
        struct loop *loop;
        struct transport *t;
        struct source sources[SOURCES];
        size_t n_sources;
        unsigned n_ends;
        unsigned n_called; /* since the last end */
        unsigned most_in_a_batch;
        uint64_t batch_us;
        unsigned wakes_left; /* at the end of a batch */
};

static void at_end(void *user)
{
        struct fixture *f = user;

        f->n_ends++;
        f->most_in_a_batch = MBGATE_MAX(f->most_in_a_batch, f->n_called);
        f->n_called = 0;
        f->batch_us = 0;
        if (f->wakes_left > 0) {
                f->wakes_left--;
                transport_wake(f->t);
        }
}

static void source_remove(struct source *s)
{
        transport_remove(&s->io);
        (void)close(s->fd);
        s->fd = -1;
}

static void on_io(struct transport_io *io, uint32_t events)
{
        struct source *s = CONTAINER_OF(io, struct source, io);
        struct fixture *f = s->f;
        uint64_t value;

        s->n_calls++;
        s->events = events;
        f->n_called++;
        if (f->batch_us == 0)
                f->batch_us = transport_now_us(f->t);
        assert_int_equal(transport_now_us(f->t), f->batch_us);
        if (s->wakes)
                transport_wake(f->t);
        if (s->removes)
                source_remove(s->removes);
        if (s->fd >= 0 && !s->keeps && events & EPOLLIN)
                assert_int_equal(read(s->fd, &value, sizeof(value)), sizeof(value));
}

static struct source *source_add(struct fixture *f, uint32_t events)
{
        struct source *s = &f->sources[f->n_sources++];

        *s = (struct source){ .f = f, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
        assert_true(s->fd >= 0);
        assert_int_equal(transport_add(f->t, &s->io, s->fd, events, on_io), 0);
        return s;
}

static void source_make_ready(struct source *s)
{
        assert_int_equal(eventfd_write(s->fd, 1), 0);
}

/* Serves what is ready until nothing is. */
static void serve(struct fixture *f)
{
        for (unsigned i = 0; i < 100; i++) {
                fake_loop_turn(f->loop);
                if (!fake_loop_poll(f->loop, 0))
                        return;
        }
        fail();
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_int_equal(loop_new(&f->loop), 0);
        assert_int_equal(transport_new(f->loop, at_end, f, &f->t), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        for (size_t i = 0; i < f->n_sources; i++) {
                if (f->sources[i].fd >= 0)
                        source_remove(&f->sources[i]);
        }
        f->t = transport_free(f->t);
        f->loop = loop_free(f->loop);
        free(f);
        return 0;
}

static void test_one(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);

        serve(f);
        assert_int_equal(s->n_calls, 0);
        assert_int_equal(f->n_ends, 0);
        source_make_ready(s);
        serve(f);
        assert_int_equal(s->n_calls, 1);
        assert_int_equal(s->events, EPOLLIN);
        assert_int_equal(f->n_ends, 1);
}

/* More than a batch: all are served, no batch is too large, and each has its end. */
static void test_many(void **state)
{
        struct fixture *f = *state;

        for (size_t i = 0; i < SOURCES; i++)
                source_make_ready(source_add(f, EPOLLIN));
        serve(f);
        for (size_t i = 0; i < SOURCES; i++)
                assert_int_equal(f->sources[i].n_calls, 1);
        assert_int_equal(f->most_in_a_batch, TRANSPORT_BATCH);
        assert_int_equal(f->n_ends, 3);
}

/* A source that is always ready does not keep the loop to itself. */
static void test_turn_ends(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);

        s->keeps = true;
        source_make_ready(s);
        assert_true(fake_loop_poll(f->loop, 0));
        assert_in_range(s->n_calls, 1, 16);
}

static void test_events(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);

        transport_set_events(&s->io, EPOLLIN | EPOLLOUT);
        assert_true(fake_loop_poll(f->loop, 0));
        assert_true(s->n_calls > 0);
        assert_int_equal(s->events, EPOLLOUT);
        transport_set_events(&s->io, 0);
        source_make_ready(s);
        s->n_calls = 0;
        serve(f);
        assert_int_equal(s->n_calls, 0);
        transport_set_events(&s->io, EPOLLIN);
        serve(f);
        assert_int_equal(s->n_calls, 1);
}

/* What is removed in a batch is not called in it any more, whoever comes first; its memory may be gone. */
static void test_remove_another(void **state)
{
        struct fixture *f = *state;
        struct source *a = source_add(f, EPOLLIN), *b = source_add(f, EPOLLIN);

        a->removes = b;
        b->removes = a;
        source_make_ready(a);
        source_make_ready(b);
        serve(f);
        assert_int_equal(a->n_calls + b->n_calls, 1);
        assert_int_equal(f->n_ends, 1);
}

static void test_remove_itself(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);

        s->removes = s;
        source_make_ready(s);
        serve(f);
        assert_int_equal(s->n_calls, 1);
        assert_null(s->io.transport);
}

/* The kernel ties a registration to the open file: one that lives on elsewhere must not be told of. */
static void test_remove_with_a_copy(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);
        int copy = dup(s->fd);

        source_remove(s);
        assert_int_equal(eventfd_write(copy, 1), 0);
        serve(f);
        assert_int_equal(s->n_calls, 0);
        (void)close(copy);
}

static void test_wake(void **state)
{
        struct fixture *f = *state;

        transport_wake(f->t);
        transport_wake(f->t);
        assert_int_equal(f->n_ends, 0);
        serve(f);
        assert_int_equal(f->n_ends, 1);
        serve(f);
        assert_int_equal(f->n_ends, 1);
}

/* In a batch its end comes anyway; at the end another batch follows. */
static void test_wake_in_a_batch(void **state)
{
        struct fixture *f = *state;
        struct source *s = source_add(f, EPOLLIN);

        s->wakes = true;
        source_make_ready(s);
        serve(f);
        assert_int_equal(f->n_ends, 1);
        f->wakes_left = 50;
        source_make_ready(s);
        serve(f);
        assert_int_equal(f->n_ends, 52);
}

static void test_time(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(transport_now_us(f->t), loop_now_us(f->loop));
        fake_loop_advance(f->loop, 5 * USEC_PER_SEC);
        assert_int_equal(transport_now_us(f->t), loop_now_us(f->loop));
        assert_true(transport_fd(f->t) >= 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_one),
                TEST(test_many),
                TEST(test_turn_ends),
                TEST(test_events),
                TEST(test_remove_another),
                TEST(test_remove_itself),
                TEST(test_remove_with_a_copy),
                TEST(test_wake),
                TEST(test_wake_in_a_batch),
                TEST(test_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
