/* SPDX-License-Identifier: MIT */
/*
 * Any message on any topic: one byte chooses the topic, a second what surrounds the message, the rest is its
 * payload. Each command for a point is either on its way to the bus, within its limits, or answered with a
 * refusal.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbgate/base/log.h"
#include "mbgate/base/text.h"
#include "mbgate/config/load.h"
#include "mbgate/gateway/gateway.h"

#include "fake_link.h"
#include "fake_loop.h"
#include "fuzz.h"

#define LED_MAX 1023

static const char conf_text[] =
        "gateway = { name = \"gw\"; };\n"
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ( { name = \"dev\"; unit_id = 1; points "
        "= (\n"
        "  { name = \"led\"; holding = 0; write = true; min = 0; max = 1023; },\n"
        "  { name = \"real\"; holding = 10; type = \"float64\"; write = true; },\n"
        "  { name = \"big\"; holding = 20; type = \"uint64\"; order = \"DCBA\"; write = true; },\n"
        "  { name = \"bcd\"; holding = 30; type = \"bcd32\"; scale = 0.01; offset = -7.0; write = true; },\n"
        "  { name = \"bits\"; holding = 40; bits = [ 3, 9 ]; write = true; },\n"
        "  { name = \"mode\"; holding = 50; write = true; map = ( { value = 1; label = \"heat\"; } ); },\n"
        "  { name = \"name\"; holding = 60; type = \"string\"; length = 20; write = true; },\n"
        "  { name = \"coil\"; coil = 0; write = true; accept_retained = true; },\n"
        "  { name = \"input\"; input = 0; } ); } ); } );\n"
        "links = ( { name = \"l\"; host = \"h\"; subscribe = [ \"remote/#\", \"#\" ]; } );\n";

static const char *const topics[] = {
        "gw/dev/led/set",        "gw/dev/real/set",   "gw/dev/big/set",           "gw/dev/bcd/set",
        "gw/dev/bits/set",       "gw/dev/mode/set",   "gw/dev/name/set",          "gw/dev/coil/set",
        "gw/dev/input/set",      "gw/dev/led/get",    "gw/dev/send_interval/set", "gw/dev/send_interval",
        "remote/gw/dev/led/set", "gw/dev/nosuch/set",
};
#define N_POINT_TOPICS 10

struct world {
        struct loop *loop;
        struct gateway *gateway;
        struct fake_link *link;
        struct mailbox *box;
        struct conf *conf;
};

static void ignore_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        FUZZ_ASSERT(strlen(line) < LOG_LINE_BYTES);
}

static struct conf *load(void)
{
        int fd = memfd_create("config", MFD_CLOEXEC);
        struct conf_report report = { .n_lines = 0 };
        struct conf *conf = NULL;
        char name[32];

        FUZZ_ASSERT(fd >= 0 && write(fd, conf_text, sizeof(conf_text) - 1) == (ssize_t)sizeof(conf_text) - 1);
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        if (conf_load(name, NULL, &report, &conf) < 0)
                (void)fprintf(stderr, "%s\n", report.lines[0]);
        FUZZ_ASSERT(conf);
        conf_report_done(&report);
        (void)close(fd);
        return conf;
}

static struct world world_new(void)
{
        static struct conf *conf; /* one for all runs */
        struct world w;

        if (!conf)
                conf = load();
        w.conf = conf;

        log_set_sink(ignore_line, NULL);
        log_set_level(LOG_LEVEL_DEBUG);
        FUZZ_ASSERT(loop_new(&w.loop) == 0);
        FUZZ_ASSERT(gateway_new(w.loop, w.conf, &w.gateway) == 0);
        FUZZ_ASSERT(mailbox_new(1, &w.box) == 0);
        gateway_set_bus(w.gateway, 0, w.box);
        w.link = fake_link_new("l", gateway_on_link_event, w.gateway);
        FUZZ_ASSERT(gateway_add_link(w.gateway, &w.link->link, 0) == 0);
        return w;
}

static void world_done(struct world *w)
{
        gateway_remove_link(w->gateway, &w->link->link);
        gateway_free(w->gateway);
        fake_link_free(w->link);
        mailbox_free(w->box);
        loop_free(w->loop);
}

static void check_command(const struct bus_command *c)
{
        FUZZ_ASSERT(c->point < 9);
        if (c->op == BUS_OP_READ)
                return;
        FUZZ_ASSERT(c->n_regs >= 1 && c->n_regs <= VALUE_REGS_MAX);
        FUZZ_ASSERT(c->point != 0 || c->regs[0] <= LED_MAX);
        FUZZ_ASSERT(c->point != 4 || (c->regs[0] & ~0x03f8) == 0);
        FUZZ_ASSERT(c->point != 7 || c->regs[0] <= 1);
        FUZZ_ASSERT(c->point != 8);
}

static void check_published(const struct fake_link *l)
{
        for (size_t i = 0; i < l->n_published; i++) {
                const struct message *m = l->published[i];
                const char *text = m->payload;

                FUZZ_ASSERT(strncmp(text, "{\"ok\":", 6) == 0 && text[m->payload_bytes - 1] == '}');
                FUZZ_ASSERT(text_is_mqtt_utf8(text, m->payload_bytes));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        unsigned topic = fuzz_u8(&in) % ARRAY_SIZE(topics), how = fuzz_u8(&in);
        struct world w = world_new();
        struct bus_command *c;
        struct bus_result *result;

        FUZZ_ASSERT(fake_link_receive(w.link,
                                      &(struct message_init){ .topic = topics[topic],
                                                              .payload = in.n ? in.data : NULL,
                                                              .payload_bytes = in.n,
                                                              .response_topic = how & 1 ? "me" : NULL },
                                      how & 2));
        c = (void *)mailbox_take(w.box);
        if (c)
                check_command(c);
        if (topic < N_POINT_TOPICS && !(how & 2))
                FUZZ_ASSERT((c == NULL) == (fake_link_count(w.link, "me") + w.link->n_published > 0));
        if (c) {
                FUZZ_ASSERT(bus_result_new(c, (enum bus_outcome)(how % 7), &result) == 0);
                gateway_on_bus_mail(w.gateway, &result->mail);
                mail_free(&c->mail);
        }
        check_published(w.link);
        world_done(&w);
        return 0;
}
