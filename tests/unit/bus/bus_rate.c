/* SPDX-License-Identifier: MIT */
/*
 * How fast and how rightly a worker reads one bus of a configuration: bus_rate CONFIG [SECONDS [BUS]]. Prints
 * registers a second, the counters, and the worst staleness of a point. With --address every value must equal
 * its point's address (mbsim --values address): exit 1 if one does not.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mbgate/base/clock.h"
#include "mbgate/bus/plan.h"
#include "mbgate/bus/worker.h"
#include "mbgate/config/load.h"
#include "mbgate/model/bus_mail.h"

struct tally {
        struct conf *conf;
        uint64_t *seen_us; /* of each point */
        uint64_t worst_us, n_regs, n_samples, n_bad, n_wrong;
        struct bus_stats stats;
        bool checks_address;
};

static void tally_samples(struct tally *t, const struct bus_samples *m)
{
        for (size_t i = 0; i < m->n_samples; i++) {
                const struct sample *s = &m->samples[i];
                const struct conf_point *p = t->conf->points[s->point];
                uint64_t *seen_us = &t->seen_us[s->point];

                if (*seen_us != 0)
                        t->worst_us = MBGATE_MAX(t->worst_us, m->done_us - *seen_us);
                *seen_us = m->done_us;
                t->n_samples++;
                t->n_regs += value_n_regs(&p->format);
                t->n_bad += s->quality != QUALITY_GOOD;
                if (t->checks_address && s->quality == QUALITY_GOOD &&
                    (s->value.kind != VALUE_INT || s->value.i != p->address)) {
                        t->n_wrong++;
                        printf("WRONG point %s address %u\n", p->name, (unsigned)p->address);
                }
        }
}

static void tally_mail(struct tally *t, struct mail *mail)
{
        if (mail->kind == BUS_MAIL_SAMPLES)
                tally_samples(t, CONTAINER_OF(mail, struct bus_samples, mail));
        else if (mail->kind == BUS_MAIL_STATS)
                t->stats = CONTAINER_OF(mail, struct bus_stats_mail, mail)->stats;
        mail_free(mail);
}

static void tally_run(struct tally *t, struct mailbox *up, uint64_t until_us)
{
        struct pollfd fd = { .fd = mailbox_fd(up), .events = POLLIN };
        struct mail *mail;

        while (clock_monotonic_us() < until_us) {
                struct timespec left = clock_remaining(until_us, clock_monotonic_us());

                (void)ppoll(&fd, 1, &left, NULL);
                while ((mail = mailbox_take(up)))
                        tally_mail(t, mail);
        }
}

static void tally_print(const struct tally *t, double seconds, double cpu_s)
{
        const struct bus_stats *s = &t->stats;

        printf("registers/s %.1f  samples %llu  bad %llu  wrong %llu  worst staleness %.3f s\n",
               (double)t->n_regs / seconds, (unsigned long long)t->n_samples, (unsigned long long)t->n_bad,
               (unsigned long long)t->n_wrong, (double)t->worst_us / 1e6);
        printf("transactions %llu ok %llu timeouts %llu crc %llu foreign %llu junk %llu retries %llu missed "
               "%llu\n",
               (unsigned long long)s->n_transactions, (unsigned long long)s->n_ok,
               (unsigned long long)s->n_timeouts, (unsigned long long)s->n_crc,
               (unsigned long long)s->n_foreign, (unsigned long long)s->n_junk_bytes,
               (unsigned long long)s->n_retries, (unsigned long long)s->n_missed_deadlines);
        printf("round trip p50 %u p99 %u max %u us  smallest gap %u us  port lost %llu  CPU s/1000 regs "
               "%.4f\n",
               s->round_trip_p50_us, s->round_trip_p99_us, s->round_trip_max_us, s->min_gap_us,
               (unsigned long long)s->n_port_lost, t->n_regs ? cpu_s * 1000 / (double)t->n_regs : 0.0);
}

static double cpu_seconds(void)
{
        struct rusage u;

        (void)getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_plan(const struct conf_bus *bus)
{
        struct plan_cost cost = plan_cost_of_bus(bus);
        size_t n_blocks = 0;

        for (size_t i = 0; i < bus->n_devices; i++) {
                struct plan plan;

                if (plan_device(&bus->devices[i], &cost, NULL, 0, &plan) < 0)
                        return;
                n_blocks += plan.n_blocks;
                plan_done(&plan);
        }
        printf("bus %s: %zu devices, %zu blocks\n", bus->name, bus->n_devices, n_blocks);
}

static int run(struct tally *t, uint32_t bus, double seconds)
{
        struct mailbox *up;
        struct worker *w;
        struct port *port;
        struct mail *mail;
        uint64_t now_us;

        if (mailbox_new(worker_up_capacity(t->conf, bus), &up) < 0 ||
            port_libmodbus_new(&t->conf->buses[bus], &port) < 0 ||
            worker_new(t->conf, bus, port, up, &w) < 0 || worker_start(w) < 0)
                return 1;
        print_plan(&t->conf->buses[bus]);
        now_us = clock_monotonic_us();
        tally_run(t, up, now_us + (uint64_t)(seconds * 1e6));
        worker_stop(w);
        worker_free(w);
        while ((mail = mailbox_take(up)))
                tally_mail(t, mail);
        mailbox_free(up);
        tally_print(t, seconds, cpu_seconds());
        return t->n_wrong > 0;
}

int main(int argc, char **argv)
{
        struct tally t = { 0 };
        struct conf_report report = { 0 };
        double seconds;
        int r;

        if (argc > 1 && strcmp(argv[1], "--address") == 0) {
                t.checks_address = true;
                argc--;
                argv++;
        }
        if (argc < 2) {
                fprintf(stderr, "Usage: bus_rate [--address] CONFIG [SECONDS [BUS]]\n");
                return 64;
        }
        seconds = argc > 2 ? strtod(argv[2], NULL) : 10;
        r = conf_load(argv[1], NULL, &report, &t.conf);
        for (size_t i = 0; i < report.n_lines; i++)
                fprintf(stderr, "%s\n", report.lines[i]);
        conf_report_done(&report);
        if (r < 0)
                return 78;
        t.seen_us = calloc(t.conf->n_points + 1, sizeof(*t.seen_us));
        if (!t.seen_us)
                return 71;
        r = run(&t, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0, seconds);
        free(t.seen_us);
        conf_unref(t.conf);
        return r;
}
