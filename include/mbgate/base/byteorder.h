/* SPDX-License-Identifier: MIT */
/* Big-endian access to unaligned bytes: Modbus and MQTT both send the high byte first. */
#ifndef MBGATE_BASE_BYTEORDER_H
#define MBGATE_BASE_BYTEORDER_H

#include <stdint.h>

static inline uint16_t get_be16(const uint8_t *p)
{
        return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline uint32_t get_be32(const uint8_t *p)
{
        return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
        put_be16(p, (uint16_t)(v >> 16));
        put_be16(p + 2, (uint16_t)v);
}

#endif
