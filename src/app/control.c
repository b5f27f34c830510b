/* SPDX-License-Identifier: MIT */
/*
 *   accept ──► reading ──line──► waiting ──answer──► writing ──written──► reading
 *                 │ EOF             │ EOF: answered first    │
 *                 ▼                 ▼                        ▼
 *               freed             freed                    freed
 *
 * A client has one request under way at a time; what it sends meanwhile stays in the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/codec/topic.h"

#include "control.h"

#define CONTROL_BACKLOG 16
#define CONTROL_MODE    0660

/* Answers say where they go by their correlation; the topic is the same for all. */
#define CONTROL_RESPONSE_TOPIC "control"

struct client {
        struct control *control;
        uint64_t id; /* never used again */
        int fd;
        struct loop_io *io;
        char in[CONTROL_LINE_BYTES + 1]; /* a line and its end */
        size_t n_in;
        char *out; /* the answer on its way; owned; NULL: none */
        size_t n_out, n_written;
        bool is_waiting; /* for an answer */
        bool has_ended;  /* it will send no more */
        bool is_gone;    /* freed at the end of the callback */
        struct client *next;
};

struct control {
        struct link link;
        struct loop *loop;
        struct gateway *gateway;
        char *path;
        dev_t dev; /* of the file that we made */
        ino_t ino;
        int fd;
        struct loop_io *io;
        struct client *clients;
        size_t n_clients;
        uint64_t last_id;
};

/* ---- clients ---- */

static struct client *client_free(struct client *k)
{
        if (!k)
                return NULL;
        k->io = loop_io_free(k->io);
        if (k->fd >= 0)
                (void)close(k->fd);
        free(k->out);
        free(k);
        return NULL;
}
DEFINE_CLEANUP(struct client *, client_free)

static void control_sweep(struct control *c)
{
        for (struct client **at = &c->clients; *at;) {
                struct client *k = *at;

                if (!k->is_gone) {
                        at = &k->next;
                        continue;
                }
                *at = k->next;
                c->n_clients--;
                client_free(k);
        }
}

/* What it waits for now: room, more bytes, or nothing but its end. */
static void client_watch(struct client *k)
{
        uint32_t events = k->out ? EPOLLOUT : k->is_waiting || k->has_ended ? 0 : EPOLLIN;

        if (!k->is_gone && loop_io_set_events(k->io, events) < 0)
                k->is_gone = true;
}

static void client_write(struct client *k)
{
        while (k->out && k->n_written < k->n_out) {
                ssize_t n = send(k->fd, k->out + k->n_written, k->n_out - k->n_written, MSG_NOSIGNAL);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n < 0) {
                        k->is_gone = true;
                        return;
                }
                k->n_written += (size_t)n;
        }
        free(k->out);
        k->out = NULL;
}

/* Written as soon as the loop says that there is room; after it comes the next request. */
static void client_answer(struct client *k, const void *text, size_t n_bytes)
{
        k->is_waiting = false;
        k->out = malloc(n_bytes + 1);
        if (!k->out) {
                k->is_gone = true;
                return;
        }
        memcpy(k->out, text, n_bytes);
        k->out[n_bytes] = '\n';
        k->n_out = n_bytes + 1;
        k->n_written = 0;
        client_watch(k);
}

static void client_refuse(struct client *k, const char *json)
{
        client_answer(k, json, strlen(json));
}

/* "set dev/led 512" is the message "512" at "set/dev/led". */
static int request_new(const struct client *k, const char *line, size_t n_bytes, struct message **ret)
{
        char topic[CONTROL_LINE_BYTES + 1];
        size_t n_topic = 0, at = 0;

        for (unsigned words = 0; words < 2 && at < n_bytes; words++) {
                if (words > 0)
                        topic[n_topic++] = '/';
                while (at < n_bytes && line[at] != ' ')
                        topic[n_topic++] = line[at++];
                while (at < n_bytes && line[at] == ' ')
                        at++;
        }
        topic[n_topic] = '\0';
        if (!topic_is_name(topic, n_topic))
                return -EINVAL;
        return message_new(
                &(struct message_init){
                        .topic = topic,
                        .topic_bytes = n_topic,
                        .payload = line + at,
                        .payload_bytes = n_bytes - at,
                        .made_us = clock_monotonic_us(),
                        .response_topic = CONTROL_RESPONSE_TOPIC,
                        .correlation = &k->id,
                        .correlation_bytes = sizeof(k->id),
                },
                ret);
}

static void client_ask(struct client *k, const char *line, size_t n_bytes)
{
        struct control *c = k->control;
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        int r = request_new(k, line, n_bytes, &m);

        if (r == -EINVAL)
                return client_refuse(
                        k, "{\"ok\":false,\"error\":\"unreadable: a request is set, get, raw or status, "
                           "and what it is for\"}");
        if (r < 0)
                return client_refuse(k, "{\"ok\":false,\"error\":\"out of memory\"}");
        k->is_waiting = true;
        c->link.on_event(c->link.user, &c->link, &(struct link_event){ .kind = LINK_MESSAGE, .message = m });
}

/* Where the next line ends, or NULL; the last one needs no end. */
static char *client_line_end(struct client *k)
{
        char *end = memchr(k->in, '\n', k->n_in);

        return !end && k->has_ended && k->n_in > 0 ? k->in + k->n_in : end;
}

/* Asks for what has come next, if the one before has its answer. */
static void client_go_on(struct client *k)
{
        char *end;

        while (!k->is_gone && !k->is_waiting && !k->out && (end = client_line_end(k))) {
                char line[CONTROL_LINE_BYTES + 1];
                size_t n = (size_t)(end - k->in), n_taken = MBGATE_MIN(n + 1, k->n_in);

                memcpy(line, k->in, n);
                memmove(k->in, k->in + n_taken, k->n_in - n_taken);
                k->n_in -= n_taken;
                if (n > 0 && line[n - 1] == '\r')
                        n--;
                if (n > 0)
                        client_ask(k, line, n);
        }
        if (k->has_ended && !k->is_waiting && !k->out)
                k->is_gone = true;
        client_watch(k);
}

static void client_read(struct client *k)
{
        ssize_t n = recv(k->fd, k->in + k->n_in, sizeof(k->in) - k->n_in, 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n < 0) {
                k->is_gone = true;
                return;
        }
        k->has_ended = n == 0;
        k->n_in += (size_t)n;
        if (k->n_in == sizeof(k->in) && !memchr(k->in, '\n', k->n_in)) {
                k->n_in = 0;
                k->has_ended = true;
                client_refuse(k, "{\"ok\":false,\"error\":\"too long: a request has at most 8192 bytes\"}");
        }
}

static void client_on_io(void *user, int fd, uint32_t events)
{
        struct client *k = user;
        struct control *c = k->control;

        (void)fd;
        if (events & EPOLLOUT)
                client_write(k);
        if (events & EPOLLIN)
                client_read(k);
        else if (events & (EPOLLHUP | EPOLLERR))
                k->is_gone = true;
        client_go_on(k);
        control_sweep(c);
}

static int client_new(struct control *c, int fd)
{
        CLEANUP(client_freep)
        struct client *k = calloc(1, sizeof(*k));
        int r;

        if (!k) {
                (void)close(fd);
                return -ENOMEM;
        }
        k->control = c;
        k->id = ++c->last_id;
        k->fd = fd;
        r = loop_add_io(c->loop, fd, EPOLLIN, client_on_io, k, &k->io);
        if (r < 0)
                return r;
        k->next = c->clients;
        c->clients = TAKE(k);
        c->n_clients++;
        return 0;
}

/* ---- the link ---- */

static int control_publish(struct link *l, struct message *m)
{
        struct control *c = CONTAINER_OF(l, struct control, link);
        struct client *k = c->clients;
        uint64_t id = 0;

        if (m->correlation_bytes == sizeof(id))
                memcpy(&id, m->correlation, sizeof(id));
        while (k && (k->id != id || k->is_gone || !k->is_waiting))
                k = k->next;
        if (!k) /* it has hung up */
                return 0;
        client_answer(k, m->payload, m->payload_bytes);
        return 0;
}

static int control_subscribe(struct link *l, const char *filter, uint8_t qos)
{
        (void)l, (void)filter, (void)qos;
        return 0;
}

static int control_unsubscribe(struct link *l, const char *filter)
{
        (void)l, (void)filter;
        return 0;
}

static void control_stats(const struct link *l, struct link_stats *ret)
{
        (void)l;
        *ret = (struct link_stats){ .is_online = true };
}

/* Started and freed by control_new() and control_free(). */
static const struct link_ops control_ops = {
        .publish = control_publish,
        .subscribe = control_subscribe,
        .unsubscribe = control_unsubscribe,
        .stats = control_stats,
};

struct link *control_link(struct control *c)
{
        return &c->link;
}

/* ---- the socket ---- */

static void control_on_connect(void *user, int fd, uint32_t events)
{
        static const char full[] = "{\"ok\":false,\"error\":\"too many clients: try again later\"}\n";
        struct control *c = user;
        int taken = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        (void)events;
        if (taken < 0)
                return;
        if (c->n_clients >= CONTROL_CLIENTS_MAX) {
                ssize_t n = send(taken, full, sizeof(full) - 1, MSG_NOSIGNAL);

                (void)n;
                (void)close(taken);
                return;
        }
        if (client_new(c, taken) < 0)
                log_warn(NULL, "control: %s: out of memory: a client was sent away", c->path);
}

/* What a program that was killed has left behind is removed, and nothing else. */
static void remove_stale(const struct sockaddr_un *at)
{
        struct stat st;
        int fd;

        if (lstat(at->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
                return;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 && errno == ECONNREFUSED)
                (void)unlink(at->sun_path);
        (void)close(fd);
}

static int control_listen(struct control *c)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        struct stat st;

        if (strlen(c->path) >= sizeof(at.sun_path))
                return -ENAMETOOLONG;
        (void)strcpy(at.sun_path, c->path);
        remove_stale(&at);
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || bind(c->fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
                return -errno;
        /* The mode is set before anybody can connect: before listen(2). */
        if (lstat(c->path, &st) < 0)
                return -errno;
        c->dev = st.st_dev;
        c->ino = st.st_ino;
        if (chmod(c->path, CONTROL_MODE) < 0 || listen(c->fd, CONTROL_BACKLOG) < 0)
                return -errno;
        return loop_add_io(c->loop, c->fd, EPOLLIN, control_on_connect, c, &c->io);
}

int control_new(struct loop *loop, struct gateway *gateway, const char *path, struct control **ret_control)
{
        CLEANUP(control_freep)
        struct control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->link = (struct link){
                .ops = &control_ops,
                .name = "control",
                .on_event = gateway_on_link_event,
                .user = gateway,
        };
        c->loop = loop;
        c->fd = -1;
        c->path = strdup(path);
        if (!c->path)
                return -ENOMEM;
        r = control_listen(c);
        if (r < 0)
                return r;
        *ret_control = TAKE(c);
        return 0;
}

/* Only the file that we made: another program may have put its own in its place. */
static void control_remove_path(const struct control *c)
{
        struct stat st;

        if (c->ino && lstat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
                (void)unlink(c->path);
}

struct control *control_free(struct control *c)
{
        if (!c)
                return NULL;
        while (c->clients) {
                struct client *k = c->clients;

                c->clients = k->next;
                client_free(k);
        }
        c->io = loop_io_free(c->io);
        control_remove_path(c);
        if (c->fd >= 0)
                (void)close(c->fd);
        free(c->path);
        free(c);
        return NULL;
}

char *control_default_path(void)
{
        const char *folder =
                getenv("RUNTIME_DIRECTORY"); /* several are separated by colons: systemd.exec(5) */
        size_t n = folder ? strcspn(folder, ":") : 0;
        char *path;

        return n > 0 && asprintf(&path, "%.*s/control", (int)n, folder) > 0 ? path : NULL;
}
