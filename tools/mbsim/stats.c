/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "mbgate/base/macros.h"
#include "simbus.h"
#include "simclock.h"
#include "stats.h"

void stats_reset(struct stats *s, uint64_t now_ns)
{
        *s = (struct stats){ .gap_min_ns = LINE_NEVER, .start_ns = now_ns };
}

void stats_count_read(struct stats_unit *u, uint64_t now_ns)
{
        if (u->last_read_ns != 0)
                u->worst_ns = MBGATE_MAX(u->worst_ns, now_ns - u->last_read_ns);
        u->last_read_ns = now_ns;
}

static uint64_t us(uint64_t ns)
{
        return ns / NS_PER_US;
}

static double stats_utilisation(const struct stats *s)
{
        uint64_t ns = s->last_ns - s->first_ns;

        return ns == 0 ? 0 : 100.0 * (double)s->busy_ns / (double)ns;
}

static struct stats_unit stats_sum(const struct stats *s)
{
        struct stats_unit sum = { .n_requests = 0 };

        for (size_t i = 0; i < ARRAY_SIZE(s->units); i++) {
                const struct stats_unit *u = &s->units[i];

                sum.n_ok += u->n_ok;
                sum.n_exceptions += u->n_exceptions;
                sum.n_faults += u->n_faults;
                sum.n_silent += u->n_silent;
                sum.n_registers_read += u->n_registers_read;
                sum.n_bits_read += u->n_bits_read;
                sum.n_written += u->n_written;
                sum.worst_ns = MBGATE_MAX(sum.worst_ns, u->worst_ns);
        }
        return sum;
}

static void stats_print_counts(const struct stats_unit *u, FILE *out)
{
        fprintf(out,
                "\"ok\":%" PRIu64 ",\"exceptions\":%" PRIu64 ",\"silent\":%" PRIu64 ",\"faulted\":%" PRIu64
                ",\"registers_read\":%" PRIu64 ",\"bits_read\":%" PRIu64 ",\"written\":%" PRIu64
                ",\"worst_staleness_us\":%" PRIu64,
                u->n_ok, u->n_exceptions, u->n_silent, u->n_faults, u->n_registers_read, u->n_bits_read,
                u->n_written, us(u->worst_ns));
}

static void stats_print_units(const struct simbus *bus, uint64_t now_ns, FILE *out)
{
        const char *comma = "";

        fputs(",\"units\":{", out);
        for (int i = -1; (i = map_next_unit(bus->map, i)) >= 0; comma = ",") {
                const struct stats_unit *u = &bus->stats.units[i];

                fprintf(out, "%s\"%d\":{\"requests\":%" PRIu64 ",", comma, i, u->n_requests);
                stats_print_counts(u, out);
                if (u->last_read_ns != 0)
                        fprintf(out, ",\"age_us\":%" PRIu64, us(now_ns - u->last_read_ns));
                fprintf(out, ",\"dead\":%s}", map_is_dead(bus->map, (uint8_t)i) ? "true" : "false");
        }
        fputc('}', out);
}

static void stats_print_faults(const struct stats *s, FILE *out)
{
        const char *comma = "";

        fputs(",\"faults\":{", out);
        for (int k = 0; k < FAULT_KINDS; k++) {
                if (s->n_faults[k] == 0)
                        continue;
                fprintf(out, "%s\"%s\":%" PRIu64, comma, fault_kind_name((enum fault_kind)k), s->n_faults[k]);
                comma = ",";
        }
        fputc('}', out);
}

static void stats_print_times(const struct simbus *bus, uint64_t now_ns, FILE *out)
{
        const struct stats *s = &bus->stats;

        fprintf(out,
                ",\"busy_us\":%" PRIu64 ",\"line_us\":%" PRIu64 ",\"elapsed_us\":%" PRIu64
                ",\"wall_us\":%" PRIu64,
                us(s->busy_ns), us(s->last_ns - s->first_ns), us(now_ns - s->start_ns),
                (uint64_t)((double)us(now_ns - s->start_ns) / simclock_speed()));
        fprintf(out, ",\"stall_max_us\":%" PRIu64, us(simclock_stall_max_ns()));
        if (bus->pace.on)
                fprintf(out, ",\"utilisation_percent\":%.2f", stats_utilisation(s));
        if (s->gap_min_ns != LINE_NEVER)
                fprintf(out, ",\"gap_min_us\":%" PRIu64 ",\"gap_p50_us\":%" PRIu32, us(s->gap_min_ns),
                        histogram_percentile_us(&s->gaps, 500));
        if (s->n_sent > 0)
                fprintf(out, ",\"lateness_mean_us\":%.1f,\"lateness_max_us\":%" PRIu64,
                        (double)s->late_sum_ns / 1e3 / (double)s->n_sent, us(s->late_max_ns));
}

void stats_print(const struct simbus *bus, uint64_t now_ns, FILE *out)
{
        const struct stats *s = &bus->stats;
        struct stats_unit sum = stats_sum(s);

        fprintf(out,
                "{\"name\":\"%s\",\"baud\":%" PRIu32 ",\"format\":\"%s\",\"paced\":%s,\"t35_us\":%" PRIu64
                ",\"turnaround_us\":[%" PRIu64 ",%" PRIu64 "],\"requests\":%" PRIu64 ",",
                bus->name, bus->pace.baud, bus->pace.format, bus->pace.on ? "true" : "false",
                us(pace_t35_ns(&bus->pace)), us(bus->turnaround_min_ns), us(bus->turnaround_max_ns),
                s->n_requests);
        stats_print_counts(&sum, out);
        fprintf(out,
                ",\"unknown_unit\":%" PRIu64 ",\"broken\":%" PRIu64 ",\"t35_violations\":%" PRIu64
                ",\"collisions\":%" PRIu64 ",\"lost_bytes\":%" PRIu64 ",\"hangups\":%" PRIu64,
                s->n_unknown_unit, s->n_broken, s->n_too_early, s->n_collisions, s->n_lost_bytes,
                s->n_hangups);
        stats_print_times(bus, now_ns, out);
        stats_print_faults(s, out);
        stats_print_units(bus, now_ns, out);
        fputc('}', out);
}

void stats_print_all(const struct simbus *const *buses, size_t n_buses, uint64_t now_ns, FILE *out)
{
        fprintf(out, "{\"speed\":%g,\"buses\":[", simclock_speed());
        for (size_t i = 0; i < n_buses; i++) {
                if (i > 0)
                        fputc(',', out);
                stats_print(buses[i], now_ns, out);
        }
        fputs("]}\n", out);
}

void stats_print_summary(const struct simbus *bus, uint64_t now_ns, FILE *out)
{
        const struct stats *s = &bus->stats;
        struct stats_unit sum = stats_sum(s);

        fprintf(out,
                "mbsim: bus %s: %" PRIu64 " requests in %.1f s: %" PRIu64 " ok, %" PRIu64
                " exceptions, %" PRIu64 " without reply, %" PRIu64 " with faults, %" PRIu64
                " broken, %" PRIu64 " to unknown units\n",
                bus->name, s->n_requests, (double)(now_ns - s->start_ns) / 1e9, sum.n_ok, sum.n_exceptions,
                sum.n_silent, sum.n_faults, s->n_broken, s->n_unknown_unit);
        if (bus->pace.on)
                fprintf(out, "mbsim: bus %s: line used %.1f %%, %" PRIu64 " t3.5 violations", bus->name,
                        stats_utilisation(s), s->n_too_early);
        if (bus->pace.on && s->gap_min_ns != LINE_NEVER)
                fprintf(out, ", smallest gap %" PRIu64 " us (t3.5 is %" PRIu64 ")", us(s->gap_min_ns),
                        us(pace_t35_ns(&bus->pace)));
        if (bus->pace.on)
                fputc('\n', out);
}
