/* SPDX-License-Identifier: MIT */
/*
 * What the gateway itself costs: gateway_rate CONFIG [VALUES]. Every point of the configuration changes in
 * turn, one sample a message, and goes to as many links as are configured (which take it and do nothing).
 * Prints processor time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mbgate/base/clock.h"
#include "mbgate/config/load.h"
#include "mbgate/gateway/gateway.h"

#include "fake_link.h"
#include "fake_loop.h"

#define VALUES 1000000
#define LINKS  16

struct rate {
        struct loop *loop;
        struct conf *conf;
        struct gateway *gateway;
        struct fake_link *links[LINKS];
        size_t n_links;
};

static double cpu_us(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool rate_begin(struct rate *r, const char *file)
{
        struct conf_report report = { .n_lines = 0 };
        int e = conf_load(file, NULL, &report, &r->conf);

        for (size_t i = 0; i < report.n_lines; i++)
                (void)fprintf(stderr, "%s\n", report.lines[i]);
        conf_report_done(&report);
        if (e < 0 || loop_new(&r->loop) < 0 || gateway_new(r->loop, r->conf, &r->gateway) < 0)
                return false;
        r->n_links = MBGATE_MIN(r->conf->n_links ? r->conf->n_links : 1, LINKS);
        for (uint32_t i = 0; i < r->n_links; i++) {
                r->links[i] = fake_link_new("rate", gateway_on_link_event, r->gateway);
                r->links[i]->is_blind = true;
                if (gateway_add_link(r->gateway, &r->links[i]->link,
                                     r->conf->n_links ? i : GATEWAY_LINK_LOCAL) < 0)
                        return false;
        }
        return r->conf->n_points > 0;
}

static bool rate_change(struct rate *r, unsigned long i)
{
        const struct conf_point *p = r->conf->points[i % r->conf->n_points];
        struct bus_samples *mail;
        char *text;

        if (bus_samples_new(0, 1, 0, &mail, &text) < 0)
                return false;
        mail->generation = r->conf->generation;
        mail->bus = p->device->bus->id;
        mail->began_us = loop_now_us(r->loop);
        mail->wall_us = clock_wall_us();
        mail->samples[0].point = p->id;
        mail->samples[0].value = (struct value){ .kind = VALUE_REAL, .r = (double)(i % 30000) / 10 };
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fake_loop_advance(r->loop, USEC_PER_MSEC);
        return true;
}

static void rate_end(struct rate *r)
{
        for (size_t i = 0; i < r->n_links; i++) {
                if (r->links[i])
                        gateway_remove_link(r->gateway, &r->links[i]->link);
                fake_link_free(r->links[i]);
        }
        gateway_free(r->gateway);
        loop_free(r->loop);
        conf_unref(r->conf);
}

int main(int argc, char **argv)
{
        unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : VALUES;
        struct rate r = { .n_links = 0 };
        double began_us;
        bool is_good;

        if (argc < 2 || n == 0) {
                (void)fprintf(stderr, "usage: gateway_rate CONFIG [VALUES]\n");
                return 2;
        }
        is_good = rate_begin(&r, argv[1]);
        began_us = cpu_us();
        for (unsigned long i = 0; i < n && is_good; i++)
                is_good = rate_change(&r, i);
        if (is_good)
                (void)printf("%zu points, %zu links: %.2f us of processor time a value\n", r.conf->n_points,
                             r.n_links, (cpu_us() - began_us) / (double)n);
        rate_end(&r);
        return is_good ? 0 : 1;
}
