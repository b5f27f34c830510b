/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdlib.h>

#include "mbgate/base/array.h"

void *array_reserve(void *array, size_t n_wanted, size_t *size, size_t item_bytes)
{
        size_t new_size;
        void *p;

        if (array && n_wanted <= *size)
                return array;
        if (MBGATE_MAX(n_wanted, *size) > SIZE_MAX / 2 / item_bytes)
                return NULL;
        new_size = MBGATE_MAX(MBGATE_MAX(n_wanted, *size * 2), 1);
        p = realloc(array, new_size * item_bytes);
        if (p)
                *size = new_size;
        return p;
}
