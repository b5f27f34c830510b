/* SPDX-License-Identifier: MIT */
/*
 * What a scan makes of a device's words about itself: replies to functions 43/14 and 17, and registers of any
 * value. Nothing that can be printed may keep the configuration from loading; the dump takes all registers.
 */
#include <errno.h>
#include <stdio.h>

#include "fuzz.h"
#include "scan_conf.h"
#include "scan_dump.h"

bool scan_is_stopped(void)
{
        return false;
}

static void take_reply(struct fuzz_input *in, struct scan_identity *id)
{
        uint8_t pdu[PDU_MAX_BYTES];
        uint8_t kind = fuzz_u8(in);
        size_t n = fuzz_u8(in) % (PDU_MAX_BYTES + 1u);

        n = n < in->n ? n : in->n;
        fuzz_take(in, pdu, n);
        if (kind & 1 && n >= 7) { /* a head that is right, so that what follows is looked at */
                pdu[0] = 43;
                pdu[1] = 14;
        }
        if (kind & 2 && n >= 3) {
                pdu[0] = 17;
                pdu[1] = (uint8_t)(n - 2);
        }
        if (scan_device_id_take(id, pdu, n) < 0)
                (void)(scan_server_id_take(id, pdu, n) < 0);
}

static void check_configuration(const struct scan_device *d)
{
        struct scan_options o = { .port = "/dev/ttyS7" };
        static struct scan_plan plan;
        struct conf *conf = NULL;
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return;
        if (plan.n_settings == 0)
                FUZZ_ASSERT(scan_plan_init(&plan, &o, true) == 0);
        scan_conf_print("/dev/ttyS7", CONF_DIRECTION_AUTO, &plan, d, 1, f);
        (void)fclose(f);
        FUZZ_ASSERT(scan_conf_from_text(text, NULL, NULL, &conf) == 0);
        FUZZ_ASSERT(conf->n_buses == 1 && conf->buses[0].n_devices == 1);
        FUZZ_ASSERT(conf->buses[0].devices[0].unit_id == d->unit);
        conf_unref(conf);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static struct scan_device d;
        struct scan_cell cells[16];
        struct fuzz_input in = { data, n };
        static FILE *sink;

        d = (struct scan_device){ .unit = (uint8_t)(1 + fuzz_u8(&in) % 247), .answers = true };
        d.turnaround_us = (uint64_t)fuzz_u16(&in) * 100;
        for (unsigned i = 0; i < SCAN_AREAS; i++) {
                d.runs[i].address = fuzz_u16(&in);
                d.runs[i].count = fuzz_u8(&in) % 126;
                if (d.runs[i].address + d.runs[i].count > UINT16_MAX)
                        d.runs[i].address = 0;
        }
        for (size_t i = 0; i < 16; i++) {
                cells[i] = (struct scan_cell){ .value = fuzz_u16(&in) };
                cells[i].exception = cells[i].value % 13 == 0 ? 2 : 0;
                d.runs[0].regs[i] = cells[i].value;
        }
        while (in.n > 0)
                take_reply(&in, &d.id);
        check_configuration(&d);
        if (!sink)
                sink = fopen("/dev/null", "we");
        if (sink)
                scan_dump_print(CONF_HOLDING, 65520, cells, 16, sink);
        return 0;
}
