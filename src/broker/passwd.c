/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "mbgate/base/text.h"
#include "mbgate/broker/passwd.h"

#include "lines.h"

#define HASH_MAX_BYTES EVP_MAX_MD_SIZE /* 64: all of SHA-512 */
#define HASH_MIN_BYTES 32              /* a shorter one could be met by chance or by patience */
#define SALT_MAX_BYTES 1024

/* Of lines that we make. */
#define NEW_ITERATIONS 100000
#define NEW_SALT_BYTES 12

#define BASE64_BYTES(n) (((n) + 2) / 3 * 4 + 1)

struct entry {
        const char *name;           /* in the text, terminated */
        const uint8_t *salt, *hash; /* in the text, decoded */
        size_t n_salt, n_hash;
        int iterations; /* of PBKDF2; 0: plain SHA-512 */
        unsigned line;
};

struct passwd_file {
        char *text; /* copy of the file */
        size_t n_text;
        struct entry *entries; /* sorted by name */
        size_t n, size;
        const struct entry *dearest;
};

/* A part of a line, from which fields are taken. */
struct field {
        char *at;
        size_t n;
};

static int base64_digit(char c)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *found = c ? strchr(digits, c) : NULL;

        return found ? (int)(found - digits) : -1;
}

/* Decodes in place; whole groups of four only. False: not Base64. */
static bool base64_decode(struct field *f)
{
        size_t n_pad = 0, n_out = 0;

        if (f->n == 0 || f->n % 4 != 0)
                return false;
        while (n_pad < 2 && f->at[f->n - 1 - n_pad] == '=')
                n_pad++;
        for (size_t i = 0; i < f->n; i += 4) {
                size_t n = i + 4 == f->n ? 4 - n_pad : 4;
                uint32_t group = 0;

                for (size_t k = 0; k < 4; k++) {
                        int digit = k < n ? base64_digit(f->at[i + k]) : 0;

                        if (digit < 0)
                                return false;
                        group = group << 6 | (uint32_t)digit;
                }
                for (size_t k = 0; k + 1 < n; k++)
                        f->at[n_out++] = (char)(uint8_t)(group >> (16 - 8 * k));
        }
        f->n = n_out;
        return true;
}

/* What stands before the next `separator`; false: there is none. */
static bool field_take(struct field *rest, char separator, struct field *ret)
{
        char *end = memchr(rest->at, separator, rest->n);

        if (!end)
                return false;
        *ret = (struct field){ rest->at, (size_t)(end - rest->at) };
        rest->at = end + 1;
        rest->n -= ret->n + 1;
        return true;
}

/* "$7$101$SALT$HASH" behind the colon. */
static const char *hash_parse(struct field rest, struct entry *e)
{
        struct field kind, iterations, salt;
        int64_t number;

        if (rest.n == 0)
                return NULL; /* the empty password */
        if (rest.at[0] != '$')
                return "the password is not hashed: run mosquitto_passwd -U on the file";
        (void)field_take(&rest, '$', &kind);
        if (!field_take(&rest, '$', &kind) || kind.n != 1 || (kind.at[0] != '6' && kind.at[0] != '7'))
                return "the hash is neither $6$ nor $7$";
        if (kind.at[0] == '7') {
                if (!field_take(&rest, '$', &iterations) ||
                    text_parse_i64(iterations.at, iterations.n, 1, PASSWD_ITERATIONS_MAX, &number) < 0)
                        return "the number of iterations is not within 1 and 10000000";
                e->iterations = (int)number;
        }
        if (!field_take(&rest, '$', &salt) || !base64_decode(&salt) || salt.n > SALT_MAX_BYTES)
                return "the salt is not in Base64 or too long";
        if (!base64_decode(&rest) || rest.n > HASH_MAX_BYTES || rest.n < HASH_MIN_BYTES ||
            (e->iterations == 0 && rest.n != HASH_MAX_BYTES))
                return "the hash is not in Base64 or not of the right length";
        e->salt = (const uint8_t *)salt.at;
        e->n_salt = salt.n;
        e->hash = (const uint8_t *)rest.at;
        e->n_hash = rest.n;
        return NULL;
}

static int entries_add(struct passwd_file *p, const struct entry *e)
{
        if (p->n == p->size) {
                size_t size = p->size ? 2 * p->size : 8;
                struct entry *entries = reallocarray(p->entries, size, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                p->entries = entries;
                p->size = size;
        }
        p->entries[p->n++] = *e;
        return 0;
}

static int line_parse(struct passwd_file *p, struct lines *l, const char *line, size_t n_line)
{
        struct field rest = { p->text + (line - p->text), n_line }, name;
        struct entry e = { .line = l->number };
        const char *fault;

        if (!field_take(&rest, ':', &name)) {
                lines_complain(l, "there is no ':' behind the user's name");
                return 0;
        }
        while (name.n > 0 && (name.at[name.n - 1] == ' ' || name.at[name.n - 1] == '\t'))
                name.n--;
        if (!text_is_mqtt_utf8(name.at, name.n) || name.n == 0 || name.n > UINT16_MAX) {
                lines_complain(l, "the user's name is empty, too long or not UTF-8");
                return 0;
        }
        fault = hash_parse(rest, &e);
        name.at[name.n] = '\0';
        e.name = name.at;
        if (fault) {
                lines_complain(l, "user \"%.64s\": %s", e.name, fault);
                return 0;
        }
        return entries_add(p, &e);
}

static int entry_compare(const void *a, const void *b)
{
        return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void entries_index(struct passwd_file *p, struct lines *l)
{
        if (p->n > 0)
                qsort(p->entries, p->n, sizeof(struct entry), entry_compare);
        for (size_t i = 0; i < p->n; i++) {
                const struct entry *e = &p->entries[i];

                if (i > 0 && entry_compare(e - 1, e) == 0) {
                        l->number = MBGATE_MAX(e[-1].line, e->line);
                        lines_complain(l, "user \"%.64s\" stands on line %u already", e->name,
                                       MBGATE_MIN(e[-1].line, e->line));
                }
                if (!p->dearest || e->iterations > p->dearest->iterations)
                        p->dearest = e;
        }
}

/* Takes over the text, whose byte n_text can be written. */
static int passwd_parse_own(const char *name, char *text, size_t n_text, struct findings *findings,
                            struct passwd_file **ret_passwd)
{
        struct lines l = lines_of(name, text, n_text, findings);
        CLEANUP(passwd_freep)
        struct passwd_file *p = calloc(1, sizeof(*p));
        const char *line;
        size_t n_line;
        int r = 0;

        if (!p) {
                free(text);
                return -ENOMEM;
        }
        p->text = text;
        p->n_text = n_text;
        while (r == 0 && lines_next(&l, &line, &n_line))
                r = line_parse(p, &l, line, n_line);
        if (r < 0)
                return r;
        entries_index(p, &l);
        if (l.failed)
                return -EINVAL;
        *ret_passwd = TAKE(p);
        return 0;
}

int passwd_parse(const char *name, const char *text, size_t n_text, struct findings *findings,
                 struct passwd_file **ret_passwd)
{
        char *copy = malloc(n_text + 1);

        if (!copy)
                return -ENOMEM;
        if (n_text > 0)
                memcpy(copy, text, n_text);
        copy[n_text] = '\0';
        return passwd_parse_own(name, copy, n_text, findings, ret_passwd);
}

int passwd_load(const char *file, struct findings *findings, struct passwd_file **ret_passwd)
{
        char *text;
        size_t n_text;
        int r = lines_read_file(file, true, findings, &text, &n_text);

        return r < 0 ? r : passwd_parse_own(file, text, n_text, findings, ret_passwd);
}

struct passwd_file *passwd_free(struct passwd_file *p)
{
        if (!p)
                return NULL;
        OPENSSL_cleanse(p->text, p->n_text);
        free(p->text);
        free(p->entries);
        free(p);
        return NULL;
}

static bool sha512(const struct entry *e, const void *password, size_t n_password, uint8_t *out)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool ok = context && EVP_DigestInit_ex(context, EVP_sha512(), NULL) &&
                  EVP_DigestUpdate(context, password, n_password) &&
                  EVP_DigestUpdate(context, e->salt, e->n_salt) && EVP_DigestFinal_ex(context, out, NULL);

        EVP_MD_CTX_free(context);
        return ok;
}

static bool derive(const struct entry *e, const void *password, size_t n_password, uint8_t *out)
{
        if (e->iterations == 0)
                return sha512(e, password, n_password, out);
        return PKCS5_PBKDF2_HMAC(password, (int)n_password, e->salt, (int)e->n_salt, e->iterations,
                                 EVP_sha512(), (int)e->n_hash, out);
}

static const struct entry *entry_find(const struct passwd_file *p, const char *user)
{
        struct entry key = { .name = user };

        return p->n > 0 ? bsearch(&key, p->entries, p->n, sizeof(key), entry_compare) : NULL;
}

bool passwd_verify(const struct passwd_file *p, const char *user, const void *password, size_t n_password)
{
        const struct entry *found = entry_find(p, user);
        const struct entry *e = found ? found : p->dearest;
        uint8_t hash[HASH_MAX_BYTES];
        bool same;

        if (!e || n_password > UINT16_MAX)
                return false;
        same = derive(e, n_password > 0 ? password : "", n_password, hash) &&
               CRYPTO_memcmp(hash, e->hash, e->n_hash) == 0;
        OPENSSL_cleanse(hash, sizeof(hash));
        return found && (found->n_hash > 0 ? same : n_password == 0);
}

bool passwd_knows(const struct passwd_file *p, const char *user)
{
        return entry_find(p, user) != NULL;
}

bool passwd_is_same(const struct passwd_file *a, const struct passwd_file *b, const char *user)
{
        const struct entry *x = entry_find(a, user), *y = entry_find(b, user);

        return x && y && x->iterations == y->iterations && x->n_salt == y->n_salt && x->n_hash == y->n_hash &&
               (x->n_salt == 0 || memcmp(x->salt, y->salt, x->n_salt) == 0) &&
               (x->n_hash == 0 || memcmp(x->hash, y->hash, x->n_hash) == 0);
}

size_t passwd_n_users(const struct passwd_file *p)
{
        return p->n;
}

static bool is_name(const char *user)
{
        for (const char *p = user; *p; p++) {
                if (*p == ':' || (unsigned char)*p < 0x20 || *p == 0x7F)
                        return false;
        }
        return *user && *user != '#' && *user != ' ' && user[strlen(user) - 1] != ' ' &&
               text_is_mqtt_utf8(user, strlen(user));
}

int passwd_make_line(const char *user, const void *password, size_t n_password, char *ret_line, size_t size)
{
        uint8_t salt[NEW_SALT_BYTES], hash[HASH_MAX_BYTES];
        char salt_text[BASE64_BYTES(NEW_SALT_BYTES)], hash_text[BASE64_BYTES(HASH_MAX_BYTES)];
        const struct entry e = {
                .salt = salt, .n_salt = sizeof(salt), .n_hash = sizeof(hash), .iterations = NEW_ITERATIONS
        };

        if (!is_name(user))
                return -EINVAL;
        if (getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt) ||
            !derive(&e, password, n_password, hash))
                return -EIO;
        (void)EVP_EncodeBlock((unsigned char *)salt_text, salt, sizeof(salt));
        (void)EVP_EncodeBlock((unsigned char *)hash_text, hash, sizeof(hash));
        (void)snprintf(ret_line, size, "%s:$7$%d$%s$%s", user, NEW_ITERATIONS, salt_text, hash_text);
        return 0;
}
