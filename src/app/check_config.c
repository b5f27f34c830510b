/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "mbgate/base/buf.h"
#include "mbgate/bus/plan.h"
#include "mbgate/config/load.h"

#include "check_config.h"

/* A remedy leaves this share of the line for commands and repeats. */
#define LOAD_AIM 0.95

/* What a device, or all of a bus, asks of the line. */
struct demand {
        const struct conf_device *device;
        size_t n_blocks;
        uint64_t round_us;
        double load; /* 1.0: all of it */
        uint64_t shortest_us, longest_us;
};

static void print_points(const struct plan_block *b, FILE *out)
{
        for (size_t i = 0; i < b->n_points; i++)
                (void)fprintf(out, " %s", b->points[i]->name);
}

static void print_block(const struct plan_block *b, uint64_t read_us, FILE *out)
{
        (void)fprintf(out, "#   %s (unit %u): function %d, address %u, count %u, ", b->device->name,
                      b->device->unit_id, (int)b->function, b->address, b->count);
        if (b->interval_us == 0)
                (void)fputs("once", out);
        else
                (void)fprintf(out, "every %" PRIu64 " ms", b->interval_us / 1000);
        (void)fprintf(out, ", %.1f ms on the line:", (double)read_us / 1000);
        print_points(b, out);
        (void)fputc('\n', out);
}

/* Adds a device's blocks to its demand; prints them where `out` is given. */
static int demand_of_device(const struct conf_device *device, FILE *out, struct demand *ret)
{
        struct plan_cost cost = plan_cost_of_device(device);
        struct demand d = { .device = device, .shortest_us = UINT64_MAX };
        struct plan plan;
        int r;

        r = plan_device(device, &cost, NULL, 0, &plan);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan.n_blocks; i++) {
                const struct plan_block *b = &plan.blocks[i];
                uint64_t read_us = plan_read_us(&cost, b->function, b->count);

                if (out)
                        print_block(b, read_us, out);
                if (b->interval_us == 0)
                        continue;
                d.n_blocks++;
                d.round_us += read_us;
                d.load += (double)read_us / (double)b->interval_us;
                d.shortest_us = MBGATE_MIN(d.shortest_us, b->interval_us);
                d.longest_us = MBGATE_MAX(d.longest_us, b->interval_us);
        }
        plan_done(&plan);
        *ret = d;
        return 0;
}

/* The sum over the bus, and the device that asks for most. */
static int demand_of_bus(const struct conf_bus *bus, FILE *out, struct demand *ret_sum,
                         struct demand *ret_most)
{
        struct demand sum = { 0 }, most = { 0 };

        for (size_t i = 0; i < bus->n_devices; i++) {
                struct demand d;
                int r = demand_of_device(&bus->devices[i], out, &d);

                if (r < 0)
                        return r;
                sum.n_blocks += d.n_blocks;
                sum.round_us += d.round_us;
                sum.load += d.load;
                if (!most.device || d.load > most.load)
                        most = d;
        }
        *ret_sum = sum;
        *ret_most = most;
        return 0;
}

/* Rounded up to what a person would write. */
static uint64_t round_interval_ms(double ms)
{
        uint64_t step = ms > 1000 ? 100 : 10;

        return ((uint64_t)ceil(ms) + step - 1) / step * step;
}

static void advise(const struct demand *sum, const struct demand *most, struct buf *ret_text)
{
        double others = sum->load - most->load;
        double factor = most->load / (LOAD_AIM - others);

        buf_printf(ret_text, "device %s takes %.0f %% of it: ", most->device->name, most->load * 100);
        if (others >= LOAD_AIM)
                buf_printf(ret_text, "all intervals of the bus must grow %.1f times",
                           ceil(sum->load / LOAD_AIM * 10) / 10);
        else if (most->shortest_us == most->longest_us)
                buf_printf(ret_text, "set its interval_ms to %" PRIu64 " (now %" PRIu64 ")",
                           round_interval_ms((double)most->shortest_us * factor / 1000),
                           most->shortest_us / 1000);
        else
                buf_printf(ret_text, "make its intervals %.1f times as long (the shortest is %" PRIu64 " ms)",
                           ceil(factor * 10) / 10, most->shortest_us / 1000);
}

static void print_overload(const struct conf_bus *bus, const struct demand *sum, const struct demand *most,
                           FILE *out, FILE *err)
{
        char text[512];
        struct buf b = BUF_ON(text);

        advise(sum, most, &b);
        (void)fprintf(out, "# warning: bus %s: asked for %.0f %% of what the line can carry; %s\n", bus->name,
                      sum->load * 100, text);
        (void)fprintf(err, "warning: bus %s: asked for %.0f %% of what the line can carry; %s\n", bus->name,
                      sum->load * 100, text);
}

static void print_line(const struct conf_bus *bus, FILE *out)
{
        if (bus->kind == CONF_PORT_TCP)
                (void)fprintf(out, "\n# bus %s: %s, Modbus TCP\n", bus->name, bus->port);
        else
                (void)fprintf(out, "\n# bus %s: %s, %" PRIu32 " %u%c%u\n", bus->name, bus->port, bus->baud,
                              bus->data_bits, bus->parity, bus->stop_bits);
}

static int print_bus(const struct conf_bus *bus, FILE *out, FILE *err)
{
        struct demand sum, most;
        int r;

        print_line(bus, out);
        if (bus->mode == CONF_MODE_LISTEN) {
                (void)fprintf(out, "# bus %s: listens only; another master asks\n", bus->name);
                return 0;
        }
        r = demand_of_bus(bus, out, &sum, &most);
        if (r < 0)
                return r;
        (void)fprintf(out, "# bus %s: a full round is %zu %s and %.1f ms; the load is %.1f %%\n", bus->name,
                      sum.n_blocks, sum.n_blocks == 1 ? "request" : "requests", (double)sum.round_us / 1000,
                      sum.load * 100);
        if (sum.load > 1 && most.device)
                print_overload(bus, &sum, &most, out, err);
        return 0;
}

int check_config_print(const struct conf *conf, FILE *out, FILE *err)
{
        int r;

        r = conf_dump(conf, out);
        for (size_t i = 0; r == 0 && i < conf->n_buses; i++)
                r = print_bus(&conf->buses[i], out, err);
        if (r < 0)
                return r;
        return fflush(out) != 0 || ferror(out) ? -(errno ? errno : EIO) : 0;
}
