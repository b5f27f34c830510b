/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include "mbgate/base/macros.h"
#include "mbgate/base/text.h"

#include "slowdown.h"

/* "192.0.2.7" and "::ffff:192.0.2.7" are one, and all of a /64. */
struct slowdown_key slowdown_key_of(const char *address)
{
        struct slowdown_key key = { { 0 } };
        struct in6_addr v6;
        struct in_addr v4;
        uint32_t hash;

        if (inet_pton(AF_INET, address, &v4) == 1) {
                memcpy(key.bytes + 12, &v4, 4);
        } else if (inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_V4MAPPED(&v6)) {
                memcpy(key.bytes + 12, v6.s6_addr + 12, 4);
        } else if (inet_pton(AF_INET6, address, &v6) == 1) {
                key.bytes[8] = 6;
                memcpy(key.bytes, v6.s6_addr, 8);
        } else {
                key.bytes[8] =
                        strcmp(address, "unix") == 0 ? 2 : 1; /* a Unix socket; an address with a zone */
                hash = text_hash(address, strlen(address));
                memcpy(key.bytes, &hash, sizeof(hash));
        }
        return key;
}

static bool is_old(const struct slowdown_entry *e, uint64_t now_us)
{
        return e->n_failures == 0 || now_us - e->last_us > SLOWDOWN_FORGET_US;
}

static bool has_key(const struct slowdown_entry *e, const struct slowdown_key *key)
{
        return e->n_failures > 0 && memcmp(&e->key, key, sizeof(*key)) == 0;
}

/* An index, or SLOWDOWN_ADDRESSES: none. */
static size_t find_at(const struct slowdown *s, const struct slowdown_key *key)
{
        size_t i = 0;

        while (i < SLOWDOWN_ADDRESSES && !has_key(&s->entries[i], key))
                i++;
        return i;
}

static const struct slowdown_entry *find(const struct slowdown *s, const struct slowdown_key *key)
{
        size_t i = find_at(s, key);

        return i < SLOWDOWN_ADDRESSES ? &s->entries[i] : NULL;
}

/* Who is on this machine already has nearer things to guess at; a broken script there holds up itself only.
 */
static bool is_local(const struct slowdown_key *key)
{
        static const uint8_t loopback6[8] = { 0 };

        if (key->bytes[8] == 6)
                return memcmp(key->bytes, loopback6, sizeof(loopback6)) == 0;
        return key->bytes[8] == 2 || (key->bytes[8] == 0 && key->bytes[12] == 127);
}

static uint64_t delay_us(const struct slowdown_entry *e, uint64_t now_us)
{
        uint64_t max_us = is_local(&e->key) ? SLOWDOWN_FIRST_US : SLOWDOWN_MAX_US;
        uint64_t us = SLOWDOWN_FIRST_US;

        if (is_old(e, now_us))
                return 0;
        for (uint32_t i = 1; i < e->n_failures && us < max_us; i++)
                us *= 2;
        return MBGATE_MIN(us, max_us);
}

/* How long those wait that came before. */
static uint64_t queue_us(const struct slowdown_entry *e, uint64_t now_us)
{
        return is_local(&e->key) || e->free_us <= now_us ? 0 : e->free_us - now_us;
}

uint64_t slowdown_delay_us(const struct slowdown *s, const char *address, uint64_t now_us)
{
        struct slowdown_key key = slowdown_key_of(address);
        const struct slowdown_entry *e = find(s, &key);

        return e ? delay_us(e, now_us) : 0;
}

bool slowdown_is_full(const struct slowdown *s, const char *address, uint64_t now_us)
{
        struct slowdown_key key = slowdown_key_of(address);
        const struct slowdown_entry *e = find(s, &key);

        return e && queue_us(e, now_us) > SLOWDOWN_QUEUE_US;
}

uint64_t slowdown_take_us(struct slowdown *s, const char *address, uint64_t now_us)
{
        struct slowdown_key key = slowdown_key_of(address);
        size_t i = find_at(s, &key);
        struct slowdown_entry *e;
        uint64_t wait_us;

        if (i == SLOWDOWN_ADDRESSES)
                return 0;
        e = &s->entries[i];
        wait_us = queue_us(e, now_us);
        if (wait_us > SLOWDOWN_QUEUE_US)
                return SLOWDOWN_REFUSED;
        wait_us += delay_us(e, now_us);
        e->free_us = now_us + wait_us;
        return wait_us;
}

/* The address's own entry, else a free one, else that of the oldest failure. */
static struct slowdown_entry *entry_for(struct slowdown *s, const struct slowdown_key *key)
{
        struct slowdown_entry *best = &s->entries[0];

        for (size_t i = 0; i < SLOWDOWN_ADDRESSES; i++) {
                struct slowdown_entry *e = &s->entries[i];

                if (has_key(e, key))
                        return e;
                if (best->n_failures > 0 && (e->n_failures == 0 || e->last_us < best->last_us))
                        best = e;
        }
        *best = (struct slowdown_entry){ .key = *key };
        return best;
}

void slowdown_fail(struct slowdown *s, const char *address, uint64_t now_us)
{
        struct slowdown_key key = slowdown_key_of(address);
        struct slowdown_entry *e = entry_for(s, &key);

        if (is_old(e, now_us))
                e->n_failures = 0;
        e->n_failures += e->n_failures < UINT32_MAX;
        e->last_us = now_us;
}
