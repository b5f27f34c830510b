/* SPDX-License-Identifier: MIT */
/* What the table cannot say of a key alone: what follows from several, and what cannot go together. */
#include <errno.h>
#include <sys/stat.h>

#include "mbgate/base/text.h"

#include "console.h"
#include "loader.h"

void check_name(struct loader *l, const char *name)
{
        const struct tree *given = loader_own(l, "name");
        source_pos pos = given ? given->pos : 0;
        size_t n = strlen(name);

        if (!given || given->kind != TREE_TEXT) /* a default, or reported already */
                return;
        if (n == 0 || n > 128) {
                source_error(&l->source, pos, "%s: a name has 1 to 128 bytes", PLACE(l));
                return;
        }
        for (size_t i = 0; i < n; i++) {
                char c = name[i];

                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr("._-", c) || (unsigned char)c >= 0x80)
                        continue;
                source_error(&l->source, pos,
                             "%s: the name has '%c', but only letters, digits, '.', '_' and '-' can be in it",
                             PLACE(l), c);
                return;
        }
}

/* ---- ports ---- */

bool parse_host(struct loader *l, const char *text, char **ret_host, uint16_t *ret_port)
{
        const char *colon = strrchr(text, ':');
        const char *end = text + strlen(text);
        int64_t port = 502;

        if (*text == '[') {
                const char *close = strchr(text, ']');

                if (!close || (close[1] != '\0' && close[1] != ':'))
                        return false;
                colon = close[1] ? close + 1 : NULL;
                text++;
                end = close;
        } else if (colon) {
                end = colon;
        }
        if (colon && text_parse_i64(colon + 1, strlen(colon + 1), 1, UINT16_MAX, &port) < 0)
                return false;
        if (end == text || memchr(text, '/', (size_t)(end - text)))
                return false;
        *ret_port = (uint16_t)port;
        *ret_host = arena_copy_bytes(l->arena, text, (size_t)(end - text));
        return true;
}

static const struct {
        const char *scheme;
        enum conf_port_kind kind;
} schemes[] = { { "tcp://", CONF_PORT_TCP }, { "rtu+tcp://", CONF_PORT_RTU_TCP } };

static int check_tcp_port(struct loader *l, struct conf_bus *b, const char *host)
{
        if (!parse_host(l, host, &b->host, &b->tcp_port)) {
                source_error(
                        &l->source, loader_own_pos(l, "port"),
                        "%s: port \"%s\" must be like tcp://192.0.2.7:502 or rtu+tcp://[2001:db8::7]:4001",
                        PLACE(l), b->port);
                return 0;
        }
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section == SCHEMA_BUS && schema_is_idle(k, b) && loader_own(l, k->name))
                        source_warning(&l->source, loader_own_pos(l, k->name),
                                       "%s: %s has no effect on a TCP port", PLACE(l), k->name);
        }
        return b->host ? 0 : -ENOMEM;
}

static int check_port(struct loader *l, struct conf_bus *b)
{
        source_pos pos = loader_own_pos(l, "port");

        for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
                size_t n = strlen(schemes[i].scheme);

                if (strncmp(b->port, schemes[i].scheme, n) == 0) {
                        b->kind = schemes[i].kind;
                        return check_tcp_port(l, b, b->port + n);
                }
        }
        b->kind = CONF_PORT_SERIAL;
        if (strstr(b->port, "://"))
                source_error(
                        &l->source, pos,
                        "%s: port \"%s\" must be a device in /dev, tcp://host:port or rtu+tcp://host:port",
                        PLACE(l), b->port);
        else if (*b->port && *b->port != '/')
                source_error(&l->source, pos, "%s: port \"%s\" is no full path (did you mean \"/dev/%s\"?)",
                             PLACE(l), b->port, b->port);
        else if (*b->port)
                return check_console(l, b);
        return 0;
}

/* Whether two names lead to one serial device; false while either is not there. */
static bool is_same_device(const struct conf_bus *a, const struct conf_bus *b)
{
        struct stat x, y;

        return a->kind == CONF_PORT_SERIAL && b->kind == CONF_PORT_SERIAL && stat(a->port, &x) == 0 &&
               stat(b->port, &y) == 0 && S_ISCHR(x.st_mode) && S_ISCHR(y.st_mode) && x.st_rdev == y.st_rdev;
}

static bool is_same_port(const struct conf_bus *a, const struct conf_bus *b)
{
        if (a->host && b->host)
                return strcmp(a->host, b->host) == 0 && a->tcp_port == b->tcp_port;
        return *a->port && (strcmp(a->port, b->port) == 0 || is_same_device(a, b));
}

static void check_other_buses(struct loader *l, const struct conf_bus *b)
{
        for (const struct conf_bus *other = l->conf->buses; other < b; other++) {
                if (is_same_port(b, other))
                        source_error(&l->source, loader_own_pos(l, "port"),
                                     "%s: port \"%s\" is the port of bus \"%s\" already: put the devices of "
                                     "one line into "
                                     "one bus",
                                     PLACE(l), b->port, other->name);
        }
}

int check_bus(struct loader *l, struct conf_bus *b)
{
        int r;

        b->host = l->empty;
        check_name(l, b->name);
        b->host = NULL;
        r = check_port(l, b);
        if (r < 0)
                return r;
        if (b->mode == CONF_MODE_LISTEN && b->raw)
                source_error(&l->source, loader_own_pos(l, "raw"),
                             "%s: with mode = \"listen\" nothing is sent: remove raw", PLACE(l));
        if (b->mode == CONF_MODE_LISTEN && b->kind == CONF_PORT_TCP)
                source_error(&l->source, loader_own_pos(l, "mode"),
                             "%s: mode = \"listen\" hears nothing on Modbus TCP, where each master has a "
                             "connection of its own",
                             PLACE(l));
        check_other_buses(l, b);
        if (!b->host)
                b->host = l->empty;
        return 0;
}

void check_device(struct loader *l, struct conf_device *d)
{
        const struct tree *id = loader_own(l, "unit_ids");

        check_name(l, d->name);
        if (d->send_interval_s > 0)
                check_paced(l, l->chain[CHAIN_DEVICE]);
        if (!id)
                id = loader_own(l, "unit_id");
        if (!id || (id->kind == TREE_INT && id->i != d->unit_id) || d->bus->kind == CONF_PORT_TCP)
                return;
        if (d->unit_id == 0 || d->unit_id > 247)
                source_error(&l->source, id->pos, "%s: unit id %u must be 1 to 247%s", PLACE(l), d->unit_id,
                             d->unit_id ? "" : ": 0 speaks to all devices at once");
}
