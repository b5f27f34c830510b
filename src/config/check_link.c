/* SPDX-License-Identifier: MIT */
/* The rules of links: masks, files, and secrets that stay secret. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "mbgate/codec/topic.h"

#include "loader.h"

#define PASSWORD_MAX_BYTES 65535 /* MQTT 5.0 §3.1.3.6 */

/* The first line of the file. −ENOMEM. */
static int read_password(struct loader *l, struct conf_link *link)
{
        CLEANUP(cleanup_close)
        int fd = open_secret(l, "password_file", link->password_file);
        CLEANUP(cleanup_free)
        char *text = NULL;
        ssize_t n;

        if (fd < 0)
                return 0;
        text = calloc(1, PASSWORD_MAX_BYTES + 2);
        if (!text)
                return -ENOMEM;
        n = read(fd, text, PASSWORD_MAX_BYTES + 1);
        text[strcspn(text, "\r\n")] = '\0';
        if (n < 0 || *text == '\0' || strlen(text) > PASSWORD_MAX_BYTES)
                source_error(&l->source, loader_pos(l, "password_file"),
                             "%s: the first line of password_file \"%s\" must be the password", PLACE(l),
                             link->password_file);
        link->password = arena_copy(l->arena, text);
        explicit_bzero(text, PASSWORD_MAX_BYTES);
        return link->password ? 0 : -ENOMEM;
}

static int check_tls(struct loader *l, struct conf_tls *tls)
{
        if (!tls->on)
                return 0;
        if (!*tls->ca_file && !*tls->ca_path) {
                tls->ca_path = arena_copy(l->arena, "/etc/ssl/certs");
                if (!tls->ca_path)
                        return -ENOMEM;
        }
        check_file(l, "ca_file", tls->ca_file);
        check_folder(l, "ca_path", tls->ca_path);
        check_file(l, "cert_file", tls->cert_file);
        check_secret(l, "key_file", tls->key_file);
        if (!*tls->cert_file != !*tls->key_file)
                source_error(&l->source, loader_pos(l, *tls->cert_file ? "cert_file" : "key_file"),
                             "%s: cert_file and key_file belong together: one is missing", PLACE(l));
        return 0;
}

static int default_masks(struct loader *l, struct conf_link *link)
{
        if (loader_own(l, "publish"))
                return 0;
        link->publish = arena_array(l->arena, 1, sizeof(*link->publish));
        if (!link->publish)
                return -ENOMEM;
        link->publish[0] = loader_share(l, "#");
        link->n_publish = 1;
        return link->publish[0] ? 0 : -ENOMEM;
}

/* Two clients of one id throw each other out without end. */
static void check_client_id(struct loader *l, const struct conf_link *link)
{
        for (const struct conf_link *other = l->conf->links; other < link; other++) {
                if (link->port == other->port && strcmp(link->host, other->host) == 0 &&
                    strcmp(link->client_id, other->client_id) == 0)
                        source_error(&l->source, loader_own_pos(l, "client_id"),
                                     "%s: link \"%s\" is client \"%s\" of this broker already: set another "
                                     "client_id",
                                     PLACE(l), other->name, link->client_id);
        }
}

/* The prefix stands before these, too. */
static void check_subscribe(struct loader *l, const struct conf_link *link)
{
        const struct tree *t = loader_own(l, "subscribe");

        for (size_t i = 0; i < link->n_subscribe; i++) {
                size_t n = strlen(link->prefix) + strlen(link->subscribe[i]);

                if (n > CONF_TOPIC_BYTES_MAX)
                        source_error(&l->source, t ? t->items[i].pos : 0,
                                     "%s: subscribe has a filter of %zu bytes, prefix included, but at most "
                                     "%d can be: shorten it or the prefix",
                                     PLACE(l), n, CONF_TOPIC_BYTES_MAX);
        }
}

int check_link(struct loader *l, struct conf_link *link)
{
        int r = check_tls(l, &link->tls);

        if (r == 0)
                r = default_masks(l, link);
        if (r == 0 && *link->password_file)
                r = read_password(l, link);
        if (!link->password)
                link->password = l->empty;
        if (r < 0)
                return r;
        check_name(l, link->name);
        if (!link->port)
                link->port = link->tls.on ? 8883 : 1883;
        if (!*link->client_id)
                link->client_id = l->conf->gateway.name;
        if (loader_own(l, "host") && !*link->host)
                source_error(&l->source, loader_own_pos(l, "host"), "%s: host is empty", PLACE(l));
        if (*link->prefix && !topic_is_name(link->prefix, strlen(link->prefix)))
                source_error(&l->source, loader_own_pos(l, "prefix"),
                             "%s: prefix \"%s\" cannot begin a topic: + and # are for "
                             "filters",
                             PLACE(l), link->prefix);
        if (link->reconnect_min_s > link->reconnect_max_s)
                source_error(&l->source, loader_own_pos(l, "reconnect_min_s"),
                             "%s: reconnect_min_s %u is greater than reconnect_max_s %u", PLACE(l),
                             link->reconnect_min_s, link->reconnect_max_s);
        if (*link->password_file && !*link->username)
                source_error(&l->source, loader_own_pos(l, "password_file"),
                             "%s: there is a password_file but no username", PLACE(l));
        check_filters(l, "publish", link->publish, link->n_publish);
        check_filters(l, "subscribe", link->subscribe, link->n_subscribe);
        check_subscribe(l, link);
        topics_check_prefix(l, link->prefix);
        check_client_id(l, link);
        return 0;
}
