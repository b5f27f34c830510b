/* SPDX-License-Identifier: MIT */
/*
 * Raw requests by MQTT: LEN, so many bytes of payload, and the rest is the reply. Each is on its way to the
 * bus, as a function that there can be, or refused; and answered in JSON.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbgate/base/log.h"
#include "mbgate/base/text.h"
#include "mbgate/config/load.h"
#include "mbgate/gateway/gateway.h"

#include "fake_link.h"
#include "fake_loop.h"
#include "fuzz.h"

static const char conf_text[] =
        "gateway = { name = \"gw\"; };\n"
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; raw = true; devices = ( ); } );\n"
        "links = ( { name = \"l\"; host = \"h\"; } );\n";

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
        FUZZ_ASSERT(conf_load(name, NULL, &report, &conf) == 0);
        conf_report_done(&report);
        (void)close(fd);
        return conf;
}

static void check_answer(const struct fake_link *l)
{
        const struct message *m = fake_link_last(l, "gw/bus/b/raw/result");
        const char *text;

        FUZZ_ASSERT(m && fake_link_count(l, "gw/bus/b/raw/result") == 1);
        text = m->payload;
        FUZZ_ASSERT(strncmp(text, "{\"ok\":", 6) == 0 && text[m->payload_bytes - 1] == '}');
        FUZZ_ASSERT(text_is_mqtt_utf8(text, m->payload_bytes));
}

static void answer(struct gateway *g, struct bus_raw *raw, struct fuzz_input *in)
{
        enum bus_outcome outcome = (enum bus_outcome)(fuzz_u8(in) % (BUS_RESULT_STOPPED + 1));
        struct bus_raw_result *result;

        FUZZ_ASSERT(raw->raw_class == BUS_RAW_COMMAND);
        FUZZ_ASSERT(raw->pdu.n_bytes >= 1 && raw->pdu.n_bytes <= PDU_MAX_BYTES);
        FUZZ_ASSERT(raw->pdu.bytes[0] >= 1 && raw->pdu.bytes[0] <= PDU_FUNCTION_MAX);
        FUZZ_ASSERT(raw->timeout_ms >= 10 && raw->timeout_ms <= 10000);
        FUZZ_ASSERT(bus_raw_result_new(raw, outcome, &result) == 0);
        result->exception = fuzz_u8(in);
        if (outcome == BUS_RESULT_OK) {
                result->reply.n_bytes = fuzz_u8(in) % (PDU_MAX_BYTES + 1u);
                fuzz_take(in, result->reply.bytes, result->reply.n_bytes);
        }
        gateway_on_bus_mail(g, &result->mail);
        mail_free(&raw->mail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static struct conf *conf; /* one for all runs */
        struct fuzz_input in = { data, n };
        size_t n_payload = fuzz_u16(&in);
        struct gateway *g;
        struct mailbox *box;
        struct loop *loop;
        struct fake_link *l;
        void *raw;

        if (!conf)
                conf = load();
        log_set_sink(ignore_line, NULL);
        FUZZ_ASSERT(loop_new(&loop) == 0 && gateway_new(loop, conf, &g) == 0 && mailbox_new(1, &box) == 0);
        gateway_set_bus(g, 0, box);
        l = fake_link_new("l", gateway_on_link_event, g);
        FUZZ_ASSERT(gateway_add_link(g, &l->link, 0) == 0);
        n_payload = n_payload < in.n ? n_payload : in.n;
        FUZZ_ASSERT(fake_link_receive(l,
                                      &(struct message_init){ .topic = "gw/bus/b/raw/set",
                                                              .payload = n_payload ? in.data : NULL,
                                                              .payload_bytes = n_payload },
                                      false));
        in.data += n_payload;
        in.n -= n_payload;
        raw = mailbox_take(box);
        if (raw)
                answer(g, raw, &in);
        check_answer(l);
        gateway_remove_link(g, &l->link);
        gateway_free(g);
        fake_link_free(l);
        mailbox_free(box);
        loop_free(loop);
        return 0;
}
