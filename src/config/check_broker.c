/* SPDX-License-Identifier: MIT */
/* The rules of the broker and its listeners: who can come in from where, and that nobody does by mistake. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/un.h>

#include "mbgate/codec/topic.h"

#include "loader.h"

#define STATE_DIRECTORY "/var/lib/mbgate"
#define SYSTEMD_PREFIX  "systemd:"

/* ---- addresses ---- */

enum address_kind {
        ADDRESS_DEFAULT,
        ADDRESS_V4,
        ADDRESS_V6,
        ADDRESS_UNIX,
        ADDRESS_SYSTEMD,
        ADDRESS_NONE, /* it is no address */
};

/* "fe80::1%eth0": the zone is not the address's. */
static bool is_v6(const char *text)
{
        char address[INET6_ADDRSTRLEN];
        struct in6_addr bytes;
        size_t n = strcspn(text, "%");

        if (n >= sizeof(address))
                return false;
        memcpy(address, text, n);
        address[n] = '\0';
        return inet_pton(AF_INET6, address, &bytes) == 1;
}

static enum address_kind address_kind(const char *address)
{
        struct in_addr bytes;

        if (!*address)
                return ADDRESS_DEFAULT;
        if (*address == '/')
                return ADDRESS_UNIX;
        if (strncmp(address, SYSTEMD_PREFIX, strlen(SYSTEMD_PREFIX)) == 0)
                return ADDRESS_SYSTEMD;
        if (inet_pton(AF_INET, address, &bytes) == 1)
                return ADDRESS_V4;
        return is_v6(address) ? ADDRESS_V6 : ADDRESS_NONE;
}

static bool is_tcp(enum address_kind kind)
{
        return kind == ADDRESS_DEFAULT || kind == ADDRESS_V4 || kind == ADDRESS_V6;
}

static bool is_any(const struct conf_listener *c)
{
        return (!*c->address && !c->is_loopback) || strcmp(c->address, "0.0.0.0") == 0 ||
               strcmp(c->address, "::") == 0;
}

static bool is_v4_loopback(const char *address)
{
        return strncmp(address, "127.", 4) == 0;
}

static bool is_loopback(const struct conf_listener *c)
{
        return c->is_loopback || is_v4_loopback(c->address) || strcmp(c->address, "::1") == 0;
}

static void check_address(struct loader *l, const struct conf_listener *c, enum address_kind kind)
{
        source_pos pos = loader_own_pos(l, "address");

        if (kind == ADDRESS_NONE)
                source_error(&l->source, pos,
                             "%s: address \"%s\" must be an IPv4 or IPv6 address of this machine, the full "
                             "path of a "
                             "Unix socket, or " SYSTEMD_PREFIX "NAME",
                             PLACE(l), c->address);
        if (kind == ADDRESS_UNIX && strlen(c->address) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
                source_error(&l->source, pos, "%s: the path of a Unix socket has at most %zu bytes", PLACE(l),
                             sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        if (kind == ADDRESS_SYSTEMD && !c->address[strlen(SYSTEMD_PREFIX)])
                source_error(&l->source, pos,
                             "%s: the name of the socket is missing, as in \"" SYSTEMD_PREFIX "mqtt\"",
                             PLACE(l));
        if (!is_tcp(kind) && kind != ADDRESS_NONE && loader_own(l, "port"))
                source_warning(&l->source, loader_own_pos(l, "port"), "%s: port has no effect on \"%s\"",
                               PLACE(l), c->address);
}

static void fill_port(struct conf_listener *c, enum address_kind kind)
{
        if (!is_tcp(kind))
                c->port = 0;
        else if (c->port == 0)
                c->port = (uint16_t)((c->tls ? 8883 : 1883) + c->websocket);
}

/* ---- two listeners ---- */

/* Whether a port of one address cannot be had twice: what stands for several addresses has all of them. */
static bool addresses_overlap(const struct conf_listener *a, const struct conf_listener *b)
{
        enum address_kind x = address_kind(a->address), y = address_kind(b->address);

        if (x == y && strcmp(a->address, b->address) == 0)
                return true;
        if (!is_tcp(x) || !is_tcp(y))
                return false;
        if (x != ADDRESS_DEFAULT && y != ADDRESS_DEFAULT)
                return x == y && (is_any(a) || is_any(b));
        return is_any(a) || is_any(b) || (is_loopback(a) && is_loopback(b));
}

static void check_other_listeners(struct loader *l, const struct conf_listener *c)
{
        for (const struct conf_listener *other = l->conf->broker.listeners; other < c; other++) {
                if (c->port != other->port || !addresses_overlap(c, other))
                        continue;
                if (c->port)
                        source_error(&l->source, loader_own_pos(l, "port"),
                                     "%s: listener %zu has port %u already: give each its own", PLACE(l),
                                     (size_t)(other - l->conf->broker.listeners) + 1, c->port);
                else
                        source_error(&l->source, loader_own_pos(l, "address"),
                                     "%s: listener %zu has \"%s\" already: give each its own", PLACE(l),
                                     (size_t)(other - l->conf->broker.listeners) + 1, c->address);
        }
}

/* ---- who comes in ---- */

static bool has_users(const struct loader *l, const struct conf_listener *c)
{
        return *l->conf->broker.password_file || (c->require_certificate && c->certificate_is_user);
}

/*
 * Without users, and unless anonymous = true stands there, nobody can come in from elsewhere: the default
 * address is this machine, and another one is an error.
 */
static void check_anonymous(struct loader *l, struct conf_listener *c, enum address_kind kind)
{
        struct conf_listener_options *o = &c->options;

        if (!o->anonymous_is_said)
                o->anonymous = !has_users(l, c);
        if (has_users(l, c))
                return;
        if (!o->anonymous)
                source_error(&l->source, loader_pos(l, "anonymous"),
                             "%s: there are no users and anonymous is false, so nobody can come in: name a "
                             "password_file",
                             PLACE(l));
        if (o->anonymous_is_said)
                return;
        c->is_loopback = kind == ADDRESS_DEFAULT;
        if (kind != ADDRESS_UNIX && kind != ADDRESS_NONE && !is_loopback(c))
                source_error(
                        &l->source, loader_own_pos(l, "address"),
                        "%s: there are no users, so everybody could come in at \"%s\": name a password_file, "
                        "or say that this is meant with anonymous = true",
                        PLACE(l), c->address);
}

static void warn_of_anybody(struct loader *l, const struct conf_listener *c, enum address_kind kind)
{
        if (has_users(l, c) || !c->options.anonymous_is_said || !c->options.anonymous || is_loopback(c) ||
            !(is_tcp(kind) || kind == ADDRESS_SYSTEMD))
                return;
        source_warning(
                &l->source, loader_pos(l, "anonymous"),
                "%s: there are no users: everybody who reaches this machine can read and command all of it",
                PLACE(l));
}

/* ---- tls ---- */

static void check_server_tls(struct loader *l, const struct conf_listener *c)
{
        if (!c->tls)
                return;
        check_file(l, "cert_file", c->cert_file);
        check_secret(l, "key_file", c->key_file);
        check_file(l, "ca_file", c->ca_file);
        if (c->require_certificate && !*c->ca_file)
                source_error(&l->source, loader_own_pos(l, "require_certificate"),
                             "%s: require_certificate needs a ca_file that the certificates are signed by",
                             PLACE(l));
        if (c->certificate_is_user && !c->require_certificate)
                source_error(&l->source, loader_own_pos(l, "certificate_is_user"),
                             "%s: certificate_is_user needs require_certificate = true", PLACE(l));
}

void check_listener(struct loader *l, struct conf_listener *c)
{
        enum address_kind kind = address_kind(c->address);

        check_address(l, c, kind);
        fill_port(c, kind);
        check_server_tls(l, c);
        check_anonymous(l, c, kind);
        warn_of_anybody(l, c, kind);
        check_other_listeners(l, c);
        if (l->chain[CHAIN_DEVICE] && tree_get(l->chain[CHAIN_DEVICE], "publish_on_connect"))
                check_filters(l, "publish_on_connect", c->options.publish_on_connect,
                              c->options.n_publish_on_connect);
        if (l->chain[CHAIN_DEVICE] && tree_get(l->chain[CHAIN_DEVICE], "ignore"))
                check_filters(l, "ignore", c->options.ignore, c->options.n_ignore);
}

/* ---- broker ---- */

/* A part cannot be more than the whole. */
static void check_at_most(struct loader *l, const char *part, uint32_t part_value, const char *whole,
                          uint32_t whole_value)
{
        if (part_value > whole_value)
                source_error(&l->source, loader_own_pos(l, loader_own(l, part) ? part : whole),
                             "%s: %s %" PRIu32 " is greater than %s %" PRIu32, PLACE(l), part, part_value,
                             whole, whole_value);
}

static void check_limits(struct loader *l, const struct conf_broker *b)
{
        check_at_most(l, "max_clients", b->max_clients, "max_sessions", b->max_sessions);
        check_at_most(l, "max_subscriptions_per_client", b->max_subscriptions_per_client, "max_subscriptions",
                      b->max_subscriptions);
        check_at_most(l, "max_client_bytes", b->max_client_bytes, "max_client_bytes_total",
                      b->max_client_bytes_total);
        check_at_most(l, "max_queued_bytes", b->max_queued_bytes, "max_queued_bytes_total",
                      b->max_queued_bytes_total);
}

int loader_state_directory(struct loader *l, const char *otherwise, char **ret)
{
        const char *given = getenv("STATE_DIRECTORY");

        if (!given || *given != '/')
                given = otherwise;
        *ret = arena_copy_bytes(l->arena, given, strcspn(given, ":"));
        return *ret ? 0 : -ENOMEM;
}

static int fill_store_directory(struct loader *l, struct conf_broker *b)
{
        if (loader_own(l, "store_directory"))
                return 0;
        return loader_state_directory(l, STATE_DIRECTORY, &b->store_directory);
}

static void check_prefix(struct loader *l, const struct conf_broker *b)
{
        if (!*b->prefix || (topic_is_name(b->prefix, strlen(b->prefix)) && *b->prefix != '$'))
                return;
        source_error(&l->source, loader_own_pos(l, "prefix"),
                     "%s: prefix \"%s\" cannot begin a topic: + and # are for filters, and $ for the broker "
                     "itself",
                     PLACE(l), b->prefix);
}

/* A user name that nobody has to prove says nothing. */
static void check_acl(struct loader *l, const struct conf_broker *b)
{
        check_file(l, "acl_file", b->acl_file);
        for (size_t i = 0; *b->acl_file && i < b->n_listeners; i++) {
                if (has_users(l, &b->listeners[i]))
                        continue;
                source_error(&l->source, loader_own_pos(l, "acl_file"),
                             "%s: there is an acl_file but no password_file, so clients could take any "
                             "user's name: name a password_file, an empty one if there are no users",
                             PLACE(l));
                return;
        }
}

int check_broker(struct loader *l, struct conf_broker *b)
{
        const struct tree *list = loader_own(l, "listeners");

        check_secret(l, "password_file", b->password_file);
        check_acl(l, b);
        check_prefix(l, b);
        topics_check_prefix(l, b->prefix);
        check_limits(l, b);
        check_filters(l, "publish_on_connect", b->options.publish_on_connect,
                      b->options.n_publish_on_connect);
        check_filters(l, "ignore", b->options.ignore, b->options.n_ignore);
        if (list && tree_is_sequence(list) && list->n_items == 0)
                source_error(&l->source, list->pos,
                             "%s: listeners is empty: leave it out for one on port 1883 of this machine",
                             PLACE(l));
        return fill_store_directory(l, b);
}
