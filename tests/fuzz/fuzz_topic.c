/* SPDX-License-Identifier: MIT */
/* A filter and a name, parted by the first NUL or newline. */
#include "mbgate/codec/topic.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const char *filter = (const char *)data;
        size_t n_filter = 0;

        while (n_filter < n && data[n_filter] != '\n' && data[n_filter] != 0)
                n_filter++;
        const char *name = filter + n_filter + (n_filter < n);
        size_t n_name = n - n_filter - (n_filter < n);
        bool is_filter = topic_is_filter(filter, n_filter), is_name = topic_is_name(name, n_name);

        if (topic_is_name(filter, n_filter)) {
                FUZZ_ASSERT(is_filter); /* every name is a filter, and matches itself */
                FUZZ_ASSERT(topic_matches(filter, n_filter, filter, n_filter));
        }
        if (is_name) {
                FUZZ_ASSERT(topic_matches("#", 1, name, n_name) == (name[0] != '$'));
                FUZZ_ASSERT(topic_matches(name, n_name, name, n_name));
        }
        if (is_filter && is_name && topic_matches(filter, n_filter, name, n_name) &&
            topic_is_name(filter, n_filter))
                FUZZ_ASSERT(n_filter == n_name && memcmp(filter, name, n_name) == 0);
        return 0;
}
