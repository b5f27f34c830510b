/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "mbgate/base/text.h"
#include "mbgate/codec/topic.h"

static bool topic_is_text(const char *text, size_t len_bytes)
{
        return len_bytes >= 1 && len_bytes <= TOPIC_MAX_BYTES && text_is_mqtt_utf8(text, len_bytes);
}

bool topic_is_name(const char *topic, size_t len_bytes)
{
        return topic_is_text(topic, len_bytes) && !memchr(topic, '+', len_bytes) &&
               !memchr(topic, '#', len_bytes);
}

bool topic_is_filter(const char *filter, size_t len_bytes)
{
        if (!topic_is_text(filter, len_bytes))
                return false;
        for (size_t i = 0; i < len_bytes; i++) {
                bool begins = i == 0 || filter[i - 1] == '/';
                bool is_last = i + 1 == len_bytes;

                if (filter[i] == '#' && !(begins && is_last))
                        return false;
                if (filter[i] == '+' && !(begins && (is_last || filter[i + 1] == '/')))
                        return false;
        }
        return true;
}

/* Bytes up to the next '/' or the end. */
static size_t topic_level(const char *text, size_t n)
{
        const char *slash = memchr(text, '/', n);

        return slash ? (size_t)(slash - text) : n;
}

/* Goes behind a level and its '/'; false after the last one. */
static bool topic_next_level(const char **text, size_t *n, size_t n_level)
{
        if (n_level == *n)
                return false;
        *text += n_level + 1;
        *n -= n_level + 1;
        return true;
}

bool topic_matches(const char *filter, size_t filter_bytes, const char *name, size_t name_bytes)
{
        if (filter_bytes == 0 || name_bytes == 0 ||
            (name[0] == '$' && (filter[0] == '+' || filter[0] == '#')))
                return false;
        for (;;) {
                size_t n_filter = topic_level(filter, filter_bytes);
                size_t n_name = topic_level(name, name_bytes);
                bool more_filter, more_name;

                if (n_filter == 1 && filter[0] == '#')
                        return true;
                if (!(n_filter == 1 && filter[0] == '+') &&
                    (n_filter != n_name || memcmp(filter, name, n_name) != 0))
                        return false;
                more_filter = topic_next_level(&filter, &filter_bytes, n_filter);
                more_name = topic_next_level(&name, &name_bytes, n_name);
                if (!more_filter)
                        return !more_name;
                if (!more_name) /* "a/#" matches "a" too: §4.7.1.2 */
                        return filter_bytes == 1 && filter[0] == '#';
        }
}
