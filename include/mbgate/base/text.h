/* SPDX-License-Identifier: MIT */
/* Questions about text: strict numbers, UTF-8, how close two words are. Pure. */
#ifndef MBGATE_BASE_TEXT_H
#define MBGATE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbgate/base/macros.h"

/*
 * A whole decimal number and nothing else: optional '-', digits. 0; −EINVAL: not a number; −ERANGE: outside
 * min..max. *ret untouched on error. `text` need not be terminated.
 */
MUST_CHECK int text_parse_i64(const char *text, size_t len_bytes, int64_t min, int64_t max, int64_t *ret);

/* The length of the well-formed UTF-8 sequence at `text`, of which `n` > 0 bytes are there; 0: none, or
 * U+0000. */
size_t text_utf8_sequence(const char *text, size_t n);

/* Well-formed UTF-8 (no surrogates, no overlong forms, ≤ U+10FFFF) and no U+0000: MQTT 5.0 §1.5.4. */
bool text_is_mqtt_utf8(const char *text, size_t len_bytes);

/* Equal but for the case of ASCII letters. `a` need not be terminated; `b` is. */
bool text_equal_nocase(const char *a, size_t a_len_bytes, const char *b);

/* Levenshtein distance, of the first 63 bytes of each. For "did you mean". */
unsigned text_distance(const char *a, const char *b);

/* FNV-1a of the bytes. */
uint32_t text_hash(const char *text, size_t len_bytes);

#endif
