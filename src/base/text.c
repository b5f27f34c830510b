/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "mbgate/base/text.h"

#define TEXT_DISTANCE_MAX_BYTES 63

int text_parse_i64(const char *text, size_t len_bytes, int64_t min, int64_t max, int64_t *ret)
{
        bool negative = len_bytes > 0 && text[0] == '-';
        int64_t v = 0;

        if (len_bytes == (negative ? 1u : 0u))
                return -EINVAL;
        for (size_t i = negative; i < len_bytes; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return -EINVAL;
        }
        for (size_t i = negative; i < len_bytes; i++) {
                int digit = text[i] - '0';

                if (__builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, negative ? -digit : digit, &v))
                        return -ERANGE;
        }
        if (v < min || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

/* Unicode 15, table 3-7. */
size_t text_utf8_sequence(const char *text, size_t n)
{
        const unsigned char *p = (const unsigned char *)text;
        unsigned char low = 0x80, high = 0xBF;
        size_t len;

        if (p[0] < 0x80)
                return p[0] != 0;
        if (p[0] < 0xC2 || p[0] > 0xF4)
                return 0;
        len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
        if (len > n)
                return 0;
        if (p[0] == 0xE0)
                low = 0xA0;
        else if (p[0] == 0xED)
                high = 0x9F;
        else if (p[0] == 0xF0)
                low = 0x90;
        else if (p[0] == 0xF4)
                high = 0x8F;
        if (p[1] < low || p[1] > high)
                return 0;
        for (size_t i = 2; i < len; i++) {
                if (p[i] < 0x80 || p[i] > 0xBF)
                        return 0;
        }
        return len;
}

bool text_is_mqtt_utf8(const char *text, size_t len_bytes)
{
        size_t i = 0;

        while (i < len_bytes) {
                size_t n = text_utf8_sequence(text + i, len_bytes - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

static int text_lower(char c)
{
        return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool text_equal_nocase(const char *a, size_t a_len_bytes, const char *b)
{
        if (strlen(b) != a_len_bytes)
                return false;
        for (size_t i = 0; i < a_len_bytes; i++) {
                if (text_lower(a[i]) != text_lower(b[i]))
                        return false;
        }
        return true;
}

unsigned text_distance(const char *a, const char *b)
{
        unsigned row[TEXT_DISTANCE_MAX_BYTES + 1];
        size_t n_a = strnlen(a, TEXT_DISTANCE_MAX_BYTES);
        size_t n_b = strnlen(b, TEXT_DISTANCE_MAX_BYTES);

        for (size_t j = 0; j <= n_b; j++)
                row[j] = (unsigned)j;
        for (size_t i = 1; i <= n_a; i++) {
                unsigned diagonal = row[0];

                row[0] = (unsigned)i;
                for (size_t j = 1; j <= n_b; j++) {
                        unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
                        unsigned edit = MBGATE_MIN(row[j], row[j - 1]) + 1;

                        diagonal = row[j];
                        row[j] = MBGATE_MIN(replace, edit);
                }
        }
        return row[n_b];
}

uint32_t text_hash(const char *text, size_t len_bytes)
{
        uint32_t h = UINT32_C(2166136261);

        for (size_t i = 0; i < len_bytes; i++)
                h = (h ^ (unsigned char)text[i]) * UINT32_C(16777619);
        return h;
}
