/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define POOL_CHUNKS_MAX 512 /* 2 MiB kept for what flows */
#define CHUNK_ROOM      (OUTPUT_CHUNK_BYTES - sizeof(struct output_chunk))

void output_pool_done(struct output_pool *pool)
{
        while (pool->free) {
                struct output_chunk *c = pool->free;

                pool->free = c->next;
                free(c);
        }
        pool->n_free = 0;
}

static struct output_chunk *chunk_new(struct output_pool *pool, size_t size)
{
        struct output_chunk *c = size == CHUNK_ROOM ? pool->free : NULL;

        if (c) {
                pool->free = c->next;
                pool->n_free--;
        } else {
                c = malloc(sizeof(*c) + size);
                if (!c)
                        return NULL;
        }
        *c = (struct output_chunk){ .size = size };
        c->data = c->bytes;
        return c;
}

static void chunk_free(struct output_pool *pool, struct output_chunk *c)
{
        (void)message_unref(c->message);
        if (c->size == CHUNK_ROOM && pool->n_free < POOL_CHUNKS_MAX) {
                c->next = pool->free;
                pool->free = c;
                pool->n_free++;
        } else {
                free(c);
        }
}

static void output_append(struct output *o, struct output_chunk *c)
{
        c->next = NULL;
        *(o->last ? &o->last->next : &o->first) = c;
        o->last = c;
}

uint8_t *output_reserve(struct output *o, struct output_pool *pool, size_t n)
{
        struct output_chunk *c = o->last;

        if (!c || c->message || c->size - c->n < n) {
                c = chunk_new(pool, MBGATE_MAX(n, CHUNK_ROOM));
                if (!c)
                        return NULL;
                output_append(o, c);
        }
        return c->bytes + c->n;
}

void output_commit(struct output *o, size_t n)
{
        o->last->n += n;
        o->n_bytes += n;
}

void output_take_back(struct output *o, size_t n)
{
        o->last->n -= n;
        o->n_bytes -= n;
}

int output_put(struct output *o, struct output_pool *pool, const void *bytes, size_t n)
{
        uint8_t *room = output_reserve(o, pool, n);

        if (!room)
                return -ENOMEM;
        memcpy(room, bytes, n);
        output_commit(o, n);
        return 0;
}

int output_put_payload(struct output *o, struct output_pool *pool, struct message *m)
{
        struct output_chunk *c = chunk_new(pool, 0);

        if (!c)
                return -ENOMEM;
        c->message = message_ref(m);
        c->data = m->payload;
        c->n = m->payload_bytes;
        output_append(o, c);
        o->n_bytes += c->n;
        return 0;
}

static size_t output_parts(const struct output *o, struct iovec parts[OUTPUT_PARTS])
{
        size_t n = 0;

        for (struct output_chunk *c = o->first; c && n < OUTPUT_PARTS; c = c->next) {
                if (c->n == c->n_out)
                        continue;
                parts[n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)(c->data + c->n_out),
                                             .iov_len = c->n - c->n_out };
        }
        return n;
}

static void output_forget(struct output *o, struct output_pool *pool, size_t n)
{
        o->n_bytes -= n;
        while (o->first) {
                struct output_chunk *c = o->first;
                size_t n_here = MBGATE_MIN(n, c->n - c->n_out);

                c->n_out += n_here;
                n -= n_here;
                if (c->n_out < c->n)
                        return;
                o->first = c->next;
                if (!o->first)
                        o->last = NULL;
                chunk_free(pool, c);
        }
}

ssize_t output_send(struct output *o, struct output_pool *pool, struct stream *stream)
{
        ssize_t n_sent = 0;

        while (o->n_bytes > 0) {
                struct iovec parts[OUTPUT_PARTS];
                ssize_t n = stream_write(stream, parts, output_parts(o, parts));

                if (n == -EAGAIN && n_sent > 0)
                        break;
                if (n < 0)
                        return n;
                output_forget(o, pool, (size_t)n);
                n_sent += n;
        }
        return n_sent;
}

void output_clear(struct output *o, struct output_pool *pool)
{
        while (o->first) {
                struct output_chunk *c = o->first;

                o->first = c->next;
                chunk_free(pool, c);
        }
        *o = (struct output){ .n_bytes = 0 };
}
