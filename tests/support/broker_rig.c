/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "mbgate/config/load.h"

#include "broker_private.h"

#include "broker_rig.h"
#include "fake_loop.h"

#define TURNS_MAX 10000

struct rig_stream {
        struct stream stream;
        int poke; /* the other end of a pipe: readable when we say so, and never writable */
        struct rig_client *client;
};

static void die(const char *what)
{
        fprintf(stderr, "broker_rig: %s\n", what);
        abort();
}

/* ---- the stream of a client ---- */

static struct rig_client *client_of(const struct stream *s)
{
        return ((const struct rig_stream *)(const void *)s)->client;
}

static void stream_poke(struct stream *s)
{
        (void)!write(((struct rig_stream *)(void *)s)->poke, "", 1);
}

static ssize_t rig_read(struct stream *s, void *bytes, size_t n)
{
        struct rig_client *c = client_of(s);
        char ignored[64];

        if (c->n_in == 0 && (c->ends || c->is_shut))
                return 0;
        if (c->n_in == 0) {
                (void)!read(s->fd, ignored, sizeof(ignored));
                return -EAGAIN;
        }
        n = n < c->n_in ? n : c->n_in;
        if (c->piece > 0 && n > c->piece)
                n = c->piece;
        memcpy(bytes, c->in, n);
        c->in += n;
        c->n_in -= n;
        return (ssize_t)n;
}

static ssize_t rig_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct rig_client *c = client_of(s);
        size_t n_before = c->n_out;

        if (c->is_stuck || c->n_out == RIG_OUT_BYTES)
                return -EAGAIN;
        for (size_t i = 0; i < n_parts; i++) {
                size_t room = RIG_OUT_BYTES - c->n_out;
                size_t n = parts[i].iov_len < room ? parts[i].iov_len : room;

                memcpy(c->out + c->n_out, parts[i].iov_base, n);
                c->n_out += n;
        }
        return (ssize_t)(c->n_out - n_before);
}

static int rig_flush(struct stream *s)
{
        (void)s;
        return 0;
}

static uint32_t rig_events(const struct stream *s)
{
        (void)s;
        return 0;
}

static bool rig_has_input(const struct stream *s)
{
        (void)s;
        return false;
}

static void rig_shutdown(struct stream *s)
{
        client_of(s)->is_shut = true;
        stream_poke(s);
}

static void rig_free(struct stream *s)
{
        client_of(s)->is_closed = true;
        (void)close(s->fd);
        (void)close(((struct rig_stream *)(void *)s)->poke);
        free(s);
}

static const struct stream_ops rig_ops = {
        .read = rig_read,
        .write = rig_write,
        .flush = rig_flush,
        .events = rig_events,
        .has_input = rig_has_input,
        .shutdown = rig_shutdown,
        .free = rig_free,
};

/* ---- the rig ---- */

static struct conf *rig_load(const char *options)
{
        char path[] = "/tmp/mbgate-rig-XXXXXX";
        int fd = mkstemp(path);
        struct conf_report report = { .n_lines = 0 };
        struct conf *conf = NULL;

        if (fd < 0 ||
            dprintf(fd, "broker = { durability = \"none\"; store_directory = \"\"; %s };\n", options) < 0)
                die("no temporary file");
        (void)close(fd);
        if (conf_load(path, &(struct conf_load_options){ .template_dir = NULL }, &report, &conf) < 0) {
                for (size_t i = 0; i < report.n_lines; i++)
                        fprintf(stderr, "%s\n", report.lines[i]);
                die("bad configuration");
        }
        conf_report_done(&report);
        (void)unlink(path);
        return conf;
}

void broker_rig_init_with(struct broker_rig *rig, struct conf *conf)
{
        *rig = (struct broker_rig){ .conf = conf_ref(conf) };
        if (loop_new(&rig->loop) < 0)
                die("no loop");
        if (broker_new(&(struct broker_init){ .loop = rig->loop, .conf = conf }, &rig->broker) < 0)
                die("no broker");
}

void broker_rig_init(struct broker_rig *rig, const char *options)
{
        struct conf *conf = rig_load(options);

        broker_rig_init_with(rig, conf);
        (void)conf_unref(conf);
}

void broker_rig_done(struct broker_rig *rig)
{
        rig->broker = broker_free(rig->broker);
        for (int i = 0; i < RIG_CLIENTS; i++)
                free(rig->clients[i].out);
        rig->loop = loop_free(rig->loop);
        rig->conf = conf_unref(rig->conf);
}

void broker_rig_reload(struct broker_rig *rig, const char *options)
{
        struct broker *b = rig->broker;

        (void)conf_unref(b->conf);
        (void)conf_unref(rig->conf);
        rig->conf = rig_load(options);
        b->conf = conf_ref(rig->conf);
        for (struct connection *c = b->connections; c; c = c->next)
                c->options = &b->conf->broker.options;
        if (broker_adjust_tables(b) < 0)
                die("out of memory");
        broker_rig_turn(rig);
}

int broker_rig_connect(struct broker_rig *rig)
{
        return broker_rig_connect_from(rig, "127.0.0.1");
}

int broker_rig_connect_from(struct broker_rig *rig, const char *address)
{
        struct rig_stream *s = calloc(1, sizeof(*s));
        struct peer *peer = calloc(1, sizeof(*peer));
        int i = 0, ends[2];

        while (i < RIG_CLIENTS && rig->clients[i].is_used)
                i++;
        if (i == RIG_CLIENTS || !s || !peer) {
                free(s);
                free(peer);
                return -1;
        }
        free(rig->clients[i].out);
        rig->clients[i] = (struct rig_client){ .is_used = true, .out = malloc(RIG_OUT_BYTES) };
        peer->address = strdup(address);
        peer->is_local = true;
        s->stream.ops = &rig_ops;
        if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
                die("no pipe");
        s->stream.fd = ends[0];
        s->poke = ends[1];
        s->client = &rig->clients[i];
        if (!rig->clients[i].out || !peer->address)
                die("out of memory");
        connection_accept(rig->broker, NULL, &s->stream, peer);
        broker_rig_turn(rig);
        return i;
}

/* Everything that waits for a client to be read, readable again: is asked for by the rig itself. */
static void rig_poke(struct broker_rig *rig)
{
        for (struct connection *c = rig->broker->connections; c; c = c->next) {
                const struct rig_client *client = client_of(c->stream);

                if (client->n_in > 0 || client->ends || client->is_shut || c->output.n_bytes > 0)
                        stream_poke(c->stream);
                if (c->output.n_bytes > 0)
                        connection_mark_dirty(c); /* a pipe's end that is read is never writable */
        }
}

static bool rig_is_busy(const struct broker_rig *rig)
{
        for (const struct connection *c = rig->broker->connections; c; c = c->next) {
                const struct rig_client *client = client_of(c->stream);

                if ((client->n_in > 0 || c->is_paused) && c->state != CONNECTION_LOGIN &&
                    !connection_is_held_up(c))
                        return true;
                if ((client->ends || client->is_shut) && c->state != CONNECTION_LOGIN)
                        return true;
        }
        return false;
}

void broker_rig_turn(struct broker_rig *rig)
{
        for (unsigned i = 0; i < TURNS_MAX; i++) {
                rig_poke(rig);
                fake_loop_fire_io(rig->loop, transport_fd(rig->broker->transport), EPOLLIN);
                fake_loop_turn(rig->loop);
                if (!rig_is_busy(rig))
                        return;
        }
        die("does not come to rest");
}

void broker_rig_feed(struct broker_rig *rig, int client, const void *bytes, size_t n)
{
        struct rig_client *c = &rig->clients[client];

        c->in = bytes;
        c->n_in = n;
        broker_rig_turn(rig);
        c->n_in = 0;
}

void broker_rig_close(struct broker_rig *rig, int client)
{
        struct rig_client *c = &rig->clients[client];

        c->ends = true;
        broker_rig_turn(rig);
        c->is_used = !c->is_closed;
}

void broker_rig_advance(struct broker_rig *rig, uint64_t us)
{
        fake_loop_advance(rig->loop, us);
        broker_rig_turn(rig);
}

void broker_rig_clear(struct broker_rig *rig, int client)
{
        rig->clients[client].n_out = 0;
}
