/* SPDX-License-Identifier: MIT */
/* MQTT topic names and topic filters (MQTT 5.0 §4.7). Pure. */
#ifndef MBGATE_CODEC_TOPIC_H
#define MBGATE_CODEC_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

#define TOPIC_MAX_BYTES 65535

/* 1..65535 bytes of MQTT UTF-8 without '+', '#' and U+0000: §4.7.1, §4.7.3. */
bool topic_is_name(const char *topic, size_t len_bytes);

/* A filter: '+' fills a level, '#' fills the last one: §4.7.1.2, §4.7.1.3. Shared subscriptions are names
 * here. */
bool topic_is_filter(const char *filter, size_t len_bytes);

/* Whether a valid filter matches a valid name. Leading wildcards do not match a name that starts with '$':
 * §4.7.2. */
bool topic_matches(const char *filter, size_t filter_bytes, const char *name, size_t name_bytes);

#endif
