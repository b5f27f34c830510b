/* SPDX-License-Identifier: MIT */
/* The rules of a bus that is shared: where masters come in, and that nobody does by mistake. */
#include <arpa/inet.h>
#include <errno.h>

#include "loader.h"
#include "ranges.h"

#define REGISTER_FUNCTIONS "1-6,15,16,22,23" /* those that name what they touch */

/* An address in the form of IPv6: IPv4 is ::ffff:0:0/96 of it. Bits of its kind; 0: it is none. */
static unsigned parse_address(const char *text, uint8_t ret[16])
{
        static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };

        if (inet_pton(AF_INET6, text, ret) == 1)
                return 128;
        memcpy(ret, v4, sizeof(v4));
        return inet_pton(AF_INET, text, ret + sizeof(v4)) == 1 ? 32 : 0;
}

/* ---- allow ---- */

static bool parse_network(const char *text, struct conf_network *ret)
{
        char address[INET6_ADDRSTRLEN];
        size_t n = strcspn(text, "/");
        const char *end = text + n;
        unsigned n_bits;
        uint32_t given;

        if (n >= sizeof(address))
                return false;
        memcpy(address, text, n);
        address[n] = '\0';
        n_bits = parse_address(address, ret->bytes);
        given = n_bits;
        if (n_bits == 0)
                return false;
        if (*end == '/')
                end = ranges_take_number(end + 1, n_bits, &given);
        ret->n_bits = 128 - n_bits + given;
        return end && *end == '\0';
}

/* A list of numbers; `deflt` where none is given. */
static int check_ranges(struct loader *l, const char *key, char **text, const char *deflt, uint32_t max,
                        struct conf_ranges *ret)
{
        int r;

        if (!loader_own(l, key)) {
                *text = arena_copy(l->arena, deflt);
                if (!*text)
                        return -ENOMEM;
        }
        r = ranges_parse(l->arena, *text, max, ret);
        if (r != -EINVAL)
                return r;
        source_error(&l->source, loader_own_pos(l, key),
                     "%s: %s is \"%s\", it must be like \"1,2,5-18\", each from 0 to %u, %d of them at most",
                     PLACE(l), key, *text, (unsigned)max, RANGES_MAX);
        return 0;
}

int check_allow(struct loader *l, const struct conf_bus *b, struct conf_allow *allow)
{
        int r;

        if (loader_own(l, "address") && !parse_network(allow->address, &allow->network))
                source_error(&l->source, loader_own_pos(l, "address"),
                             "%s: address \"%s\" must be an IPv4 or IPv6 address, or a network such as "
                             "192.0.2.0/24 or 2001:db8::/64",
                             PLACE(l), allow->address);
        r = check_ranges(l, "units", &allow->units, b->kind == CONF_PORT_TCP ? "0-255" : "1-247",
                         b->kind == CONF_PORT_TCP ? 255 : 247, &allow->unit_ranges);
        if (r == 0)
                r = check_ranges(l, "functions", &allow->functions,
                                 loader_own(l, "registers") ? REGISTER_FUNCTIONS : "1-127", 127,
                                 &allow->function_ranges);
        if (r == 0)
                r = check_ranges(l, "registers", &allow->registers, "0-65535", UINT16_MAX,
                                 &allow->register_ranges);
        return r;
}

/* ---- unit_map ---- */

/* One "101:1" or "110-119:10". What stands behind it, or NULL. */
static const char *take_mapping(const char *text, uint8_t units[256], bool seen[256])
{
        struct conf_range asked;
        uint32_t to;
        const char *p = ranges_take(text, UINT8_MAX, &asked);

        if (!p || *p != ':')
                return NULL;
        p = ranges_take_number(p + 1, UINT8_MAX, &to);
        if (!p || to + (asked.last - asked.first) > UINT8_MAX)
                return NULL;
        for (uint32_t u = asked.first; u <= asked.last; u++, to++) {
                if (seen[u])
                        return NULL;
                seen[u] = true;
                units[u] = (uint8_t)to;
        }
        return p;
}

static bool parse_unit_map(const char *text, uint8_t units[256])
{
        bool seen[256] = { false };

        for (unsigned u = 0; u < 256; u++)
                units[u] = (uint8_t)u;
        if (!*text)
                return true;
        for (const char *p = text;; p++) {
                p = take_mapping(p, units, seen);
                if (!p || (*p != ',' && *p != '\0'))
                        return false;
                if (*p == '\0')
                        return true;
        }
}

/* ---- listen ---- */

static bool is_loopback(const uint8_t a[16])
{
        static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff }, one[16] = { [15] = 1 };

        return memcmp(a, one, sizeof(one)) == 0 || (memcmp(a, v4, sizeof(v4)) == 0 && a[12] == 127);
}

static void check_other_shares(struct loader *l, const struct conf_bus *b)
{
        for (const struct conf_bus *o = l->conf->buses; o < b; o++) {
                if (o->share.on && o->share.tcp_port == b->share.tcp_port &&
                    strcmp(o->share.host, b->share.host) == 0)
                        source_error(&l->source, loader_own_pos(l, "listen"),
                                     "%s: \"%s\" is where bus \"%s\" is shared already: give each its own",
                                     PLACE(l), b->share.listen, o->name);
        }
}

static int check_listen(struct loader *l, struct conf_bus *b)
{
        struct conf_share *share = &b->share;
        const struct tree *allow = loader_own(l, "allow");
        uint8_t address[16];
        char *host = l->empty;

        if (!loader_own(l, "listen"))
                return 0;
        if (!parse_host(l, share->listen, &host, &share->tcp_port) ||
            (host && parse_address(host, address) == 0)) {
                source_error(&l->source, loader_own_pos(l, "listen"),
                             "%s: listen is \"%s\", it must be an address of this machine and a port, as in "
                             "\"127.0.0.1:1502\" or \"[::1]:1502\"",
                             PLACE(l), share->listen);
                return 0;
        }
        if (!host)
                return -ENOMEM;
        share->host = host;
        if (!allow && !is_loopback(address))
                source_error(&l->source, loader_own_pos(l, "listen"),
                             "%s: others than this machine can reach \"%s\": say with the list allow what "
                             "they may ask for",
                             PLACE(l), share->listen);
        check_other_shares(l, b);
        return 0;
}

int check_share(struct loader *l, struct conf_bus *b)
{
        const struct tree *allow = loader_own(l, "allow");

        if (b->mode == CONF_MODE_LISTEN && b->share.max_age_ms == 0)
                source_error(&l->source, loader_own_pos(l, "share"),
                             "%s: with mode = \"listen\" nothing is sent, so others can have what was heard "
                             "at most: say with max_age_ms how old it may be",
                             PLACE(l));
        if (!parse_unit_map(b->share.unit_map, b->share.units))
                source_error(&l->source, loader_own_pos(l, "unit_map"),
                             "%s: unit_map is \"%s\", it must be like \"101:1,110-119:10\", each unit from 0 "
                             "to 255 and once",
                             PLACE(l), b->share.unit_map);
        if (allow && tree_is_sequence(allow) && allow->n_items == 0)
                source_error(&l->source, allow->pos,
                             "%s: allow is empty, so nobody can come in: leave it out for this machine alone",
                             PLACE(l));
        return check_listen(l, b);
}
