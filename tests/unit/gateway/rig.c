/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mbgate/base/log.h"
#include "mbgate/config/load.h"

#include "rig.h"

struct conf *rig_conf(const char *text)
{
        char name[] = "/tmp/mbgate-gateway-XXXXXX";
        int fd = mkstemp(name);
        struct conf_report report = { .n_lines = 0 };
        struct conf *conf = NULL;
        int r;

        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) != 0)
                abort();
        r = conf_load(name, NULL, &report, &conf);
        (void)unlink(name);
        for (size_t i = 0; i < report.n_lines && r < 0; i++)
                (void)fprintf(stderr, "%s\n", report.lines[i]);
        conf_report_done(&report);
        if (r < 0)
                fail_msg("the configuration does not load");
        return conf;
}

static void on_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        struct rig *r = user;

        (void)fields;
        if (level <= LOG_LEVEL_WARNING) {
                r->n_warnings++;
                (void)snprintf(r->warning, sizeof(r->warning), "%s", line);
        } else if (level <= LOG_LEVEL_INFO) {
                r->n_infos++;
                (void)snprintf(r->info, sizeof(r->info), "%s", line);
        }
}

static void connect_buses(struct rig *r)
{
        for (uint32_t i = 0; i < r->conf->n_buses; i++) {
                if (!r->boxes[i])
                        assert_int_equal(mailbox_new(4, &r->boxes[i]), 0);
                gateway_set_bus(r->gateway, i, r->boxes[i]);
        }
}

/* What the kernel says of the clock; linked in its place. */
static bool clock_is_right;

bool __wrap_clock_is_synchronised(void);
bool __wrap_clock_is_synchronised(void)
{
        return clock_is_right;
}

void rig_set_clock(bool is_right)
{
        clock_is_right = is_right;
}

struct rig *rig_new(const char *text)
{
        struct rig *r = calloc(1, sizeof(*r));

        assert_non_null(r);
        rig_set_clock(true);
        log_set_sink(on_line, r);
        r->conf = rig_conf(text);
        assert_int_equal(loop_new(&r->loop), 0);
        assert_int_equal(gateway_new(r->loop, r->conf, &r->gateway), 0);
        connect_buses(r);
        r->n_links = r->conf->n_links ? r->conf->n_links : 1;
        for (uint32_t i = 0; i < r->n_links; i++) {
                const char *name = r->conf->n_links ? r->conf->links[i].name : "local";

                r->links[i] = fake_link_new(name, gateway_on_link_event, r->gateway);
                assert_int_equal(gateway_add_link(r->gateway, &r->links[i]->link,
                                                  r->conf->n_links ? i : GATEWAY_LINK_LOCAL),
                                 0);
                fake_link_online(r->links[i]);
        }
        fake_loop_turn(r->loop);
        for (uint32_t i = 0; i < r->n_links; i++)
                fake_link_clear(r->links[i]);
        return r;
}

struct rig *rig_new_points(const char *points)
{
        char *text = NULL;
        struct rig *r;

        assert_true(asprintf(&text,
                             "gateway = { name = \"gw\"; };\n"
                             "buses = ( { name = \"b\"; port = \"/dev/ttyS0\";\n"
                             "  devices = ( { name = \"dev\"; unit_id = 1; points = (\n%s\n); } ); } );\n",
                             points) > 0);
        r = rig_new(text);
        free(text);
        return r;
}

void rig_free(struct rig *r)
{
        for (size_t i = 0; i < r->n_links; i++)
                gateway_remove_link(r->gateway, &r->links[i]->link);
        r->gateway = gateway_free(r->gateway);
        for (size_t i = 0; i < r->n_links; i++) {
                for (size_t k = 0; k < r->links[i]->n_published; k++)
                        assert_true(atomic_load(&r->links[i]->published[k]->n_refs) <= r->n_links);
                fake_link_free(r->links[i]);
        }
        for (size_t i = 0; i < RIG_MAX; i++)
                mailbox_free(r->boxes[i]);
        loop_free(r->loop);
        /* Only ours is left. */
        assert_int_equal(atomic_load(&r->conf->n_refs), 1);
        conf_unref(r->conf);
        log_set_sink(NULL, NULL);
        free(r);
}

void rig_reconfigure(struct rig *r, const char *text)
{
        struct conf *new = rig_conf(text);

        assert_int_equal(gateway_reconfigure(r->gateway, new), 0);
        for (uint32_t i = 0; i < r->n_links; i++)
                assert_int_equal(gateway_add_link(r->gateway, &r->links[i]->link,
                                                  new->n_links ? i : GATEWAY_LINK_LOCAL),
                                 0);
        conf_unref(r->conf);
        r->conf = new;
        connect_buses(r);
        fake_loop_turn(r->loop);
}

uint32_t rig_point(const struct rig *r, const char *name)
{
        for (size_t i = 0; i < r->conf->n_points; i++) {
                const struct conf_point *p = r->conf->points[i];
                size_t n = strlen(p->device->name);

                if (strncmp(p->device->name, name, n) == 0 && name[n] == '/' &&
                    strcmp(p->name, name + n + 1) == 0)
                        return p->id;
        }
        fail_msg("no point %s", name);
        return 0;
}

static struct bus_samples *samples_new(struct rig *r, const char *const *points, size_t n)
{
        const struct conf_device *d = r->conf->points[rig_point(r, points[0])]->device;
        struct bus_samples *mail;
        char *text;

        assert_int_equal(bus_samples_new(0, n, 0, &mail, &text), 0);
        mail->generation = r->conf->generation;
        mail->bus = d->bus->id;
        mail->on_demand = r->on_demand;
        mail->began_us = r->began_us ? r->began_us : loop_now_us(r->loop);
        mail->done_us = mail->began_us + 1;
        mail->wall_us = RIG_WALL_US;
        for (size_t i = 0; i < n; i++)
                mail->samples[i].point = rig_point(r, points[i]);
        return mail;
}

void rig_samples(struct rig *r, const char *const *points, const struct value *values, size_t n)
{
        struct bus_samples *mail = samples_new(r, points, n);

        for (size_t i = 0; i < n; i++)
                mail->samples[i].value = values[i];
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fake_loop_turn(r->loop);
}

void rig_sample(struct rig *r, const char *point, struct value value)
{
        rig_samples(r, &point, &value, 1);
}

void rig_sample_bad(struct rig *r, const char *point)
{
        struct bus_samples *mail = samples_new(r, &point, 1);

        mail->samples[0].quality = QUALITY_BAD;
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fake_loop_turn(r->loop);
}

void rig_sample_stale(struct rig *r, const char *point)
{
        struct bus_samples *mail = samples_new(r, &point, 1);

        mail->samples[0].quality = QUALITY_STALE;
        mail->wall_us = RIG_WALL_US + USEC_PER_SEC;
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fake_loop_turn(r->loop);
}

void rig_device(struct rig *r, const char *device, enum device_status status)
{
        for (size_t i = 0; i < r->conf->n_points; i++) {
                const struct conf_device *d = r->conf->points[i]->device;
                struct bus_device_state *mail;

                if (strcmp(d->name, device) != 0)
                        continue;
                assert_int_equal(bus_device_state_new(d->id, &mail), 0);
                mail->generation = r->conf->generation;
                mail->bus = d->bus->id;
                mail->status = status;
                gateway_on_bus_mail(r->gateway, &mail->mail);
                fake_loop_turn(r->loop);
                return;
        }
        fail_msg("no device %s", device);
}

void rig_port(struct rig *r, uint32_t bus, bool is_open, const char *reason)
{
        struct bus_port_state *mail;

        assert_int_equal(bus_port_state_new(&mail), 0);
        mail->generation = r->conf->generation;
        mail->bus = bus;
        mail->is_open = is_open;
        (void)snprintf(mail->reason, sizeof(mail->reason), "%s", reason);
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fake_loop_turn(r->loop);
}

static void receive(struct rig *r, const char *topic, const char *payload, bool was_retained)
{
        assert_true(fake_link_receive(r->links[0],
                                      &(struct message_init){ .topic = topic,
                                                              .payload = payload,
                                                              .payload_bytes = strlen(payload),
                                                              .made_us = loop_now_us(r->loop) },
                                      was_retained));
        fake_loop_turn(r->loop);
}

void rig_command(struct rig *r, const char *topic, const char *payload)
{
        receive(r, topic, payload, false);
}

void rig_command_retained(struct rig *r, const char *topic, const char *payload)
{
        receive(r, topic, payload, true);
}

struct bus_command *rig_take(struct rig *r, uint32_t bus)
{
        return (void *)mailbox_take(r->boxes[bus]);
}

void rig_answer(struct rig *r, struct bus_command *c, enum bus_outcome outcome, uint64_t took_us)
{
        uint64_t began_us = loop_now_us(r->loop);
        struct bus_result *result;

        fake_loop_advance(r->loop, took_us);
        assert_int_equal(bus_result_new(c, outcome, &result), 0);
        result->done_us = loop_now_us(r->loop);
        if (outcome == BUS_RESULT_OK || outcome == BUS_RESULT_EXCEPTION || outcome == BUS_RESULT_TIMEOUT)
                result->began_us = began_us;
        if (outcome == BUS_RESULT_EXCEPTION)
                result->exception = 2;
        mail_free(&c->mail);
        gateway_on_bus_mail(r->gateway, &result->mail);
        fake_loop_turn(r->loop);
}

void rig_expect(struct rig *r, size_t link, ...)
{
        struct fake_link *l = r->links[link];
        const char *wanted;
        size_t i = 0;
        va_list ap;

        va_start(ap, link);
        while ((wanted = va_arg(ap, const char *))) {
                char *got = NULL;

                if (i == l->n_published)
                        fail_msg("nothing more was published; wanted: %s", wanted);
                assert_true(asprintf(&got, "%s %s", l->published[i]->topic,
                                     (const char *)l->published[i]->payload) > 0);
                assert_string_equal(got, wanted);
                free(got);
                i++;
        }
        va_end(ap);
        if (i < l->n_published)
                fail_msg("published too: %s %s", l->published[i]->topic,
                         (const char *)l->published[i]->payload);
        fake_link_clear(l);
}
