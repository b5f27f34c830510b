/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/config/load.h"

#include "broker_private.h"
#include "stream_tls.h"

#define SYSTEMD_PREFIX       "systemd:"
#define SYSTEMD_PREFIX_BYTES (sizeof(SYSTEMD_PREFIX) - 1)

int listeners_prepare(struct broker *b, const struct broker_socket *sockets, size_t n_sockets)
{
        if (n_sockets == 0)
                return 0;
        b->sockets = calloc(n_sockets, sizeof(*b->sockets));
        if (!b->sockets)
                return -ENOMEM;
        for (size_t i = 0; i < n_sockets; i++) {
                b->sockets[i].fd = sockets[i].fd;
                b->sockets[i].name = strdup(sockets[i].name);
                if (!b->sockets[i].name)
                        return -ENOMEM;
                b->n_sockets++;
        }
        return 0;
}

void listeners_close(struct broker *b)
{
        for (size_t i = 0; i < b->n_listeners; i++)
                b->listeners[i] = listener_free(b->listeners[i]);
        for (struct connection *c = b->connections; c; c = c->next)
                c->listener = NULL;
        free(b->listeners);
        b->listeners = NULL;
        b->n_listeners = 0;
        for (size_t i = 0; i < b->n_sockets; i++)
                free(b->sockets[i].name);
        free(b->sockets);
        b->sockets = NULL;
        b->n_sockets = 0;
}

static void listeners_on_accept(void *user, struct listener *l, struct stream *stream, struct peer *peer)
{
        connection_accept(user, l, stream, peer);
}

/* The sockets of the service manager that belong to a listener "systemd:NAME". */
static size_t listener_inherits(const struct broker *b, const struct conf_listener *conf, int *fds)
{
        size_t n = 0;

        if (strncmp(conf->address, SYSTEMD_PREFIX, SYSTEMD_PREFIX_BYTES) != 0)
                return 0;
        for (size_t i = 0; i < b->n_sockets; i++) {
                if (strcmp(b->sockets[i].name, conf->address + SYSTEMD_PREFIX_BYTES) == 0)
                        fds[n++] = b->sockets[i].fd;
        }
        return n;
}

static int listener_open(struct broker *b, const struct conf_listener *listener,
                         struct listener **ret_listener)
{
        CLEANUP(cleanup_free)
        int *fds = calloc(b->n_sockets + 1, sizeof(*fds));
        struct listener_init init = {
                .transport = b->transport,
                .loop = b->loop,
                .conf = listener,
                .default_address = listener->is_loopback ? "localhost" : NULL,
                .accept = listeners_on_accept,
                .user = b,
        };
        int r;

        if (!fds)
                return -ENOMEM;
        init.inherited = fds;
        init.n_inherited = listener_inherits(b, listener, fds);
        r = listener_new(&init, ret_listener);
        if (r < 0)
                return r;
        log_info(&b->fields, "broker: listens on %s%s", listener_name(*ret_listener),
                 listener->is_loopback
                         ? ": only for this machine, since no users are configured (password_file)"
                         : "");
        return 0;
}

int broker_start(struct broker *b)
{
        const struct conf_broker *conf = broker_conf(b);
        int r;

        b->listeners = calloc(conf->n_listeners + 1, sizeof(*b->listeners));
        if (!b->listeners)
                return -ENOMEM;
        for (size_t i = 0; i < conf->n_listeners; i++) {
                r = listener_open(b, &conf->listeners[i], &b->listeners[b->n_listeners]);
                if (r < 0)
                        return r;
                b->n_listeners++;
        }
        return 0;
}

/* ---- another configuration ---- */

/* Takes out of `old` the listener that goes on as `conf`. */
static struct listener *listeners_take(struct listener **old, size_t n_old, const struct conf_listener *conf)
{
        for (size_t i = 0; i < n_old; i++) {
                if (old[i] && conf_compare_listener(listener_conf(old[i]), conf) != CONF_REPLACE)
                        return TAKE(old[i]);
        }
        return NULL;
}

/* Its clients have to go. */
static void listener_dismiss(struct broker *b, struct listener *l)
{
        for (struct connection *c = b->connections; c; c = c->next) {
                if (c->listener != l)
                        continue;
                connection_doom(c, MQTT_ADMIN_ACTION);
                c->listener = NULL;
        }
        log_info(&b->fields, "broker: listens no more on %s", listener_name(l));
        (void)listener_free(l);
}

static void listeners_adopt(struct broker *b, struct listener *l, const struct conf_listener *conf)
{
        listener_set_conf(l, conf);
        listener_reload_tls(l);
        for (struct connection *c = b->connections; c; c = c->next) {
                if (c->listener == l)
                        c->options = &conf->options;
        }
}

/* Those that stay, then those that come, after those that go: a new one may want an old one's port. */
static int listeners_reconfigure(struct broker *b, struct conf *conf)
{
        struct conf_broker *broker = &conf->broker;
        struct listener **all = calloc(broker->n_listeners + 1, sizeof(struct listener *)),
                        **old = b->listeners;
        size_t n = 0;
        int r, result = 0;

        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < broker->n_listeners; i++)
                all[i] = listeners_take(old, b->n_listeners, &broker->listeners[i]);
        for (size_t i = 0; i < b->n_listeners; i++) {
                if (old[i])
                        listener_dismiss(b, old[i]);
        }
        for (struct connection *c = b->connections; c; c = c->next) {
                if (!c->listener) /* of one that an earlier reload has dismissed */
                        c->options = &broker->options;
        }
        for (size_t i = 0; i < broker->n_listeners; i++) {
                struct listener *l = all[i];

                r = 0;
                if (l)
                        listeners_adopt(b, l, &broker->listeners[i]);
                else
                        r = listener_open(b, &broker->listeners[i], &l);
                if (r < 0)
                        result = r;
                else
                        all[n++] = l;
        }
        free(old);
        b->listeners = all;
        b->n_listeners = n;
        return result;
}

/* 0: the client may stay. It may not when its user has gone, nor when that would have to show another
 * password. */
static uint8_t broker_check_client(const struct broker *b, const struct connection *c)
{
        const struct session *s = c->session;

        if (c->listener && listener_conf(c->listener)->certificate_is_user &&
            stream_tls_client_name(c->stream))
                return 0;
        if (!s->user)
                return c->options->anonymous ? 0 : MQTT_NOT_AUTHORISED;
        if (!authority_knows(b->authority, s->user))
                return MQTT_NOT_AUTHORISED;
        return authority_is_unchanged(b->authority, s->user) ? 0 : MQTT_ADMIN_ACTION;
}

/* Who may not be here any more goes. */
static void broker_check_clients(struct broker *b)
{
        if (!authority_has_users(b->authority))
                return;
        for (struct connection *c = b->connections; c; c = c->next) {
                uint8_t reason = c->session ? broker_check_client(b, c) : 0;

                if (reason != 0)
                        connection_doom(c, reason);
        }
}

int broker_reconfigure(struct broker *b, struct conf *conf)
{
        struct conf *old = b->conf;
        int r;

        r = authority_reload(b->authority, &conf->broker);
        if (r < 0)
                return r;
        r = listeners_reconfigure(b, conf);
        b->conf = conf_ref(conf);
        (void)conf_unref(old);
        broker_check_clients(b);
        if (broker_adjust_tables(b) < 0)
                r = -ENOMEM;
        sys_reconfigure(b->sys);
        persistence_reconfigure(b->persistence);
        transport_wake(b->transport);
        return r < 0 ? BROKER_PARTLY : 0;
}
