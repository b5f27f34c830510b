/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bus_conf.h"

void bus_conf_init(struct bus_conf *c, const char *port)
{
        static char name[] = "test";

        memset(c, 0, sizeof(*c));
        c->bus = (struct conf_bus){
                .name = name,
                .port = (char *)(uintptr_t)port,
                .host = NULL,
                .baud = 9600,
                .parity = 'E',
                .data_bits = 8,
                .stop_bits = 1,
                .direction = CONF_DIRECTION_NONE,
                .echo = RTU_ECHO_AUTO,
                .broadcast_delay_ms = 100,
                .connect_timeout_ms = 2000,
                .devices = c->devices,
        };
        c->conf.n_refs = 1;
        c->conf.generation = 1;
        c->conf.buses = &c->bus;
        c->conf.n_buses = 1;
        c->conf.points = c->by_id;
}

struct conf_device *bus_conf_device(struct bus_conf *c, uint8_t unit, uint32_t timeout_ms, uint32_t retries)
{
        size_t i = c->bus.n_devices++;
        struct conf_device *d = &c->devices[i];

        assert(i < BUS_CONF_DEVICES);
        (void)snprintf(c->device_names[i], sizeof(c->device_names[i]), "d%u", (unsigned)unit);
        *d = (struct conf_device){
                .bus = &c->bus,
                .id = (uint32_t)i,
                .name = c->device_names[i],
                .unit_id = unit,
                .response_timeout_ms = timeout_ms,
                .retries = retries,
                .max_registers = PDU_READ_REGS_MAX,
                .max_bits = PDU_READ_BITS_MAX,
                .join_gaps = true,
                .join_points = true,
                .points = &c->points[c->conf.n_points],
        };
        return d;
}

struct conf_point *bus_conf_point(struct bus_conf *c, enum conf_area area, uint16_t address, unsigned n_regs,
                                  uint32_t interval_ms)
{
        struct conf_device *d = &c->devices[c->bus.n_devices - 1];
        size_t id = c->conf.n_points++;
        struct conf_point *p = &c->points[id];
        bool is_bit = area == CONF_COIL || area == CONF_DISCRETE;

        assert(id < BUS_CONF_POINTS);
        (void)snprintf(c->names[id], sizeof(c->names[id]), "p%zu", id);
        *p = (struct conf_point){
                .id = (uint32_t)id,
                .device = d,
                .name = c->names[id],
                .area = area,
                .address = address,
                .format = { .type = VALUE_TYPE_UINT16, .scale = 1 },
                .interval_ms = interval_ms,
                .writable = true,
                .write_unchanged = true,
                .write_function = n_regs > 1 ? PDU_WRITE_REGISTERS : PDU_WRITE_REGISTER,
        };
        if (is_bit)
                p->format.type = VALUE_TYPE_BOOL;
        else if (n_regs > 1)
                p->format.type = n_regs == 2 ? VALUE_TYPE_UINT32 : VALUE_TYPE_UINT64;
        if (is_bit)
                p->write_function = PDU_WRITE_COIL;
        c->by_id[id] = p;
        d->n_points++;
        return p;
}
