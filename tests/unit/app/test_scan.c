/* SPDX-License-Identifier: MIT */
/* The pure parts of --scan and --dump: order of guesses, remaining time, identities, templates, tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/config/load.h"

#include "scan_conf.h"
#include "scan_device.h"
#include "scan_dump.h"
#include "scan_plan.h"

bool scan_is_stopped(void)
{
        return false;
}

static void assert_setting(const struct scan_plan *p, unsigned setting, const char *text)
{
        char got[SCAN_SETTING_BYTES];

        assert_string_equal(scan_setting_text(&p->settings[setting], got), text);
}

static void test_lists_of_the_command_line(void **state)
{
        struct scan_options o = { .n_speeds = 0 };

        (void)state;
        assert_int_equal(scan_options_speeds(&o, "9600,19200"), 0);
        assert_int_equal(o.n_speeds, 2);
        assert_int_equal(o.speeds[1], 19200);
        assert_int_equal(scan_options_formats(&o, "8N1,8E1,8O2"), 0);
        assert_int_equal(o.n_formats, 3);
        assert_int_equal(o.formats[2].parity, 'O');
        assert_int_equal(o.formats[2].stop_bits, 2);
        assert_int_equal(scan_options_units(&o, "7,1-3,2"), 0);
        assert_int_equal(o.n_units, 4);
        assert_int_equal(o.units[0], 7);
        assert_int_equal(o.units[3], 3);
        assert_int_equal(scan_options_units(&o, "1-247"), 0);
        assert_int_equal(o.n_units, 247);
        assert_int_equal(scan_options_timeout(&o, "250"), 0);
        assert_int_equal(scan_options_direction(&o, "kernel"), 0);
        assert_int_equal(o.direction, CONF_DIRECTION_KERNEL);
        assert_int_equal(scan_options_direction(&o, "left"), -EINVAL);
        assert_int_equal(scan_options_registers(&o, "input:0x10-0x1F"), 0);
        assert_int_equal(o.area, CONF_INPUT);
        assert_int_equal(o.address, 16);
        assert_int_equal(o.count, 16);
        assert_int_equal(scan_options_registers(&o, "coil:7"), 0);
        assert_int_equal(o.area, CONF_COIL);
        assert_int_equal(o.count, 1);
}

static void test_wrong_lists_change_nothing(void **state)
{
        static const char *const speeds[] = { "", "9600,", "1", "9600,9600", "fast", "9600 " };
        static const char *const formats[] = { "", "7E1", "8X1", "8N3", "8N1,8N1", "8N", "8N11" };
        static const char *const units[] = { "", "0", "248", "3-2", "1-", "-3", "1,,2", "1-247-3" };
        static const char *const registers[] = { "",        "holding",  "holding:",     "holding:9-3",
                                                 "x:1",     "input:1-", "input:-1",     "input:65536",
                                                 "coil:0x", "coil:1 ",  "input:0-2000", "holding:1-2-3" };
        struct scan_options o, before;

        (void)state;
        memset(&o, 0, sizeof(o));
        before = o;
        for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
                assert_int_equal(scan_options_speeds(&o, speeds[i]), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
                assert_int_equal(scan_options_formats(&o, formats[i]), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(units); i++)
                assert_int_equal(scan_options_units(&o, units[i]), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
                assert_int_equal(scan_options_registers(&o, registers[i]), -EINVAL);
        assert_int_equal(scan_options_timeout(&o, "4"), -EINVAL);
        assert_memory_equal(&o, &before, sizeof(o));
}

static void test_what_does_not_go_together(void **state)
{
        struct scan_options o = { .n_units = 1 };

        (void)state;
        assert_non_null(scan_options_wrong(&o)); /* without --scan */
        o.port = "/dev/ttyS0";
        assert_null(scan_options_wrong(&o));
        o.count = 3;
        assert_non_null(scan_options_wrong(&o)); /* --registers without --dump */
        o.is_dump = true;
        assert_null(scan_options_wrong(&o));
        o.n_units = 2;
        assert_non_null(scan_options_wrong(&o));
        o.n_units = 1;
        o.n_speeds = 2;
        assert_non_null(scan_options_wrong(&o));
}

static void test_likely_guesses_come_first(void **state)
{
        struct scan_options o = { .port = "/dev/ttyS0" };
        struct scan_plan p;

        (void)state;
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        assert_int_equal(p.n_settings, 32);
        assert_int_equal(p.n_likely, 8);
        assert_setting(&p, 0, "9600 8N1");
        assert_setting(&p, 1, "19200 8E1");
        assert_setting(&p, 2, "9600 8E1");
        /* All units × settings × questions, each once. */
        assert_int_equal(p.n_steps, 247 * 32 * 2);
        assert_int_equal(p.steps[0].setting, 0);
        assert_int_equal(p.steps[0].unit, 1);
        assert_int_equal(p.steps[1].unit, 2);
        assert_int_equal(p.steps[4].unit, 247);
        /* The first round: eight units at eight settings, the second: the same at the others. */
        for (size_t i = 0; i < 64; i++)
                assert_true(p.steps[i].setting == i / 8 && p.steps[i].question == SCAN_ASK_HOLDING);
        assert_int_equal(p.steps[64].setting, 8);
        assert_int_equal(p.steps[255].setting, 31);
        /* Then all units at the likeliest setting, those who were asked left out. */
        assert_int_equal(p.steps[256].setting, 0);
        assert_int_equal(p.steps[256].unit, 6);
        scan_plan_done(&p);
}

static void test_each_question_is_asked_once(void **state)
{
        static bool has[SCAN_SETTINGS_MAX][248][SCAN_QUESTIONS];
        struct scan_options o = { .port = "/dev/ttyS0" };
        const struct scan_step *s;
        struct scan_plan p;
        size_t n = 0;

        (void)state;
        memset(has, 0, sizeof(has));
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        while ((s = scan_plan_next(&p))) {
                assert_true(s->unit >= 1 && s->unit <= 247 && s->setting < p.n_settings);
                assert_false(has[s->setting][s->unit][s->question]);
                has[s->setting][s->unit][s->question] = true;
                n++;
        }
        assert_int_equal(n, 247 * 32 * 2);
        scan_plan_done(&p);
}

static void test_a_found_device_cuts_the_plan(void **state)
{
        struct scan_options o = { .port = "/dev/ttyS0" };
        const struct scan_step *s;
        struct scan_plan p;
        size_t n = 0;

        (void)state;
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        do
                s = scan_plan_next(&p);
        while (s->setting != 1 || s->unit != 2);
        scan_plan_skip(&p, 1, 2);
        scan_plan_keep_setting(&p, 1);
        while ((s = scan_plan_next(&p))) {
                assert_int_equal(s->setting, 1);
                assert_int_not_equal(s->unit, 2);
                n++;
        }
        /* Units 1 and 2 were asked for holding registers, 2 not again for input registers. */
        assert_int_equal(n, 2 * 247 - 3);
        scan_plan_done(&p);
}

static void test_an_impossible_setting_is_left_out(void **state)
{
        struct scan_options o = { .port = "/dev/ttyS0" };
        const struct scan_step *s;
        struct scan_plan p;

        (void)state;
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        scan_plan_skip(&p, 2, 0);
        while ((s = scan_plan_next(&p)))
                assert_int_not_equal(s->setting, 2);
        scan_plan_done(&p);
}

static void test_what_is_asked_for_is_all_that_is_asked(void **state)
{
        struct scan_options o = { .port = "/dev/ttyS0", .units = { 50, 51 }, .n_units = 2 };
        struct scan_plan p;

        (void)state;
        assert_int_equal(scan_options_speeds(&o, "19200,2400"), 0);
        assert_int_equal(scan_options_formats(&o, "8E1"), 0);
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        assert_int_equal(p.n_settings, 2);
        assert_setting(&p, 0, "19200 8E1");
        assert_setting(&p, 1, "2400 8E1");
        assert_int_equal(p.n_steps, 2 * 2 * 2);
        assert_int_equal(p.steps[0].unit, 50);
        scan_plan_done(&p);
        assert_int_equal(scan_plan_init(&p, &o, true), 0);
        assert_int_equal(p.n_settings, 1);
        assert_setting(&p, 0, "TCP");
        assert_int_equal(p.n_steps, 2 * 2);
        scan_plan_done(&p);
}

static void test_remaining_time(void **state)
{
        struct scan_options o = { .port = "x", .units = { 1 }, .n_units = 1, .timeout_ms = 100 };
        struct scan_plan p;
        uint64_t step_us;

        (void)state;
        assert_int_equal(scan_options_speeds(&o, "9600"), 0);
        assert_int_equal(scan_options_formats(&o, "8N1"), 0);
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        assert_int_equal(p.n_steps, 2);
        /* 100 ms, t3.5 of 4.011 ms, 15 characters of 10 bits at 9600 Bd: 15.625 ms. */
        step_us = 100000 + 4011 + 15625;
        assert_int_equal(scan_plan_step_us(&p, &p.steps[0]), step_us);
        assert_int_equal(scan_plan_left_us(&p, 0), 2 * step_us);
        assert_non_null(scan_plan_next(&p));
        assert_int_equal(scan_plan_left_us(&p, step_us), step_us);
        assert_non_null(scan_plan_next(&p));
        assert_int_equal(scan_plan_left_us(&p, 2 * step_us), 0);
        assert_null(scan_plan_next(&p));
        scan_plan_done(&p);
}

static void test_remaining_time_follows_the_pace(void **state)
{
        struct scan_options o = { .port = "/dev/ttyS0" };
        struct scan_plan p;
        uint64_t left_us;

        (void)state;
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        for (unsigned i = 0; i < 100; i++)
                assert_non_null(scan_plan_next(&p));
        left_us = scan_plan_left_us(&p, p.gone_us);
        assert_int_equal(scan_plan_left_us(&p, p.gone_us * 2), left_us * 2);
        assert_int_equal(scan_plan_left_us(&p, p.gone_us * 100), left_us * 5);
        assert_int_equal(scan_plan_left_us(&p, 0), left_us / 5);
        scan_plan_done(&p);
}

static void test_device_identification(void **state)
{
        static const uint8_t reply[] = { 43,  14, 1, 1,   0,   0,   3,   0, 3, 'A', 'C',
                                         'M', 1,  4, ' ', 'P', '1', '"', 2, 1, '7' };
        static const uint8_t more[] = { 43, 14, 1, 1, 0xFF, 2, 1, 0, 2, 'X', 'Y' };
        struct scan_identity id = { .vendor = "" };
        struct pdu request;

        (void)state;
        scan_device_id_request(&request, 2);
        assert_int_equal(request.n_bytes, 4);
        assert_int_equal(request.bytes[3], 2);
        assert_int_equal(scan_device_id_take(&id, reply, sizeof(reply)), 0);
        assert_string_equal(id.vendor, "ACM");
        assert_string_equal(id.product, "P1\"");
        assert_string_equal(id.version, "7");
        assert_int_equal(scan_device_id_take(&id, more, sizeof(more)), 2);
        assert_string_equal(id.vendor, "XY");
        for (size_t n = 0; n < sizeof(reply); n++)
                assert_int_equal(scan_device_id_take(&id, reply, n), -EBADMSG);
        assert_string_equal(id.vendor, "XY");
}

static void test_server_id(void **state)
{
        static const uint8_t reply[] = { 17, 6, 0x01, 'S', 'D', 'M', ' ', 0xFF };
        struct scan_identity id = { .vendor = "" };

        (void)state;
        assert_int_equal(scan_server_id_take(&id, reply, sizeof(reply)), 0);
        assert_string_equal(id.server, "SDM");
        assert_int_equal(scan_server_id_take(&id, reply, 5), -EBADMSG);
        assert_int_equal(scan_server_id_take(&id, reply, 1), -EBADMSG);
}

static struct conf_point point_of(char *unit, enum value_type type, double scale)
{
        return (struct conf_point){ .unit = unit, .format = { .type = type, .scale = scale } };
}

static void test_a_template_fits_or_not(void **state)
{
        static char volt[] = "V", hertz[] = "Hz", watt[] = "W", none[] = "";
        static const uint16_t v230[] = { 0x4366, 0x8000 }, v50[] = { 0x4248, 0 }, zero[] = { 0, 0 },
                              nan[] = { 0x7FC0, 0 }, junk[] = { 0x00DE, 0x01BA }, w7[] = { 0x40E0, 0 };
        struct conf_point v = point_of(volt, VALUE_TYPE_FLOAT32, 1);
        struct conf_point hz = point_of(hertz, VALUE_TYPE_FLOAT32, 1);
        struct conf_point w = point_of(watt, VALUE_TYPE_FLOAT32, 1);
        struct conf_point raw = point_of(none, VALUE_TYPE_UINT16, 1);
        struct scan_evidence e = { 0 }, zeros = { 0 }, little = { 0 }, more;

        (void)state;
        scan_evidence_add(&e, &v, v230);
        scan_evidence_add(&e, &hz, v50);
        assert_true(scan_evidence_fits(&e));
        scan_evidence_add(&e, &w, zero);
        assert_false(scan_evidence_fits(&e)); /* two strong ones are not enough for three points */
        scan_evidence_add(&e, &w, w7);
        assert_true(scan_evidence_fits(&e));
        more = e;
        scan_evidence_add(&more, &w, w7);
        assert_true(scan_evidence_is_better(&more, &e));
        assert_false(scan_evidence_is_better(&e, &more));
        scan_evidence_add(&more, &v, junk); /* 2.04e-38 V */
        assert_false(scan_evidence_fits(&more));
        scan_evidence_add(&e, &v, nan);
        assert_false(scan_evidence_fits(&e));
        scan_evidence_add(&zeros, &v, zero);
        scan_evidence_add(&zeros, &hz, zero);
        assert_false(scan_evidence_fits(&zeros));
        scan_evidence_add(&little, &raw, v230);
        assert_false(scan_evidence_fits(&little));
        assert_false(scan_evidence_fits(&(struct scan_evidence){ 0 }));
}

static char *text;
static size_t text_bytes;

static FILE *open_text(void)
{
        FILE *f;

        free(text);
        text = NULL;
        f = open_memstream(&text, &text_bytes);
        assert_non_null(f);
        return f;
}

static int free_text(void **state)
{
        (void)state;
        free(text);
        return 0;
}

/* Blanks are only for the eye. */
static void squeeze(char *s)
{
        char *to = s;

        for (; *s; s++) {
                if (*s != ' ' || (to > text && to[-1] != ' '))
                        *to++ = *s;
        }
        *to = '\0';
}

/* A meter's input registers; what it does not have is 0, as of real ones. */
struct meter {
        bool is_sdm630;
        unsigned n_phases;
};

static float meter_value(const struct meter *m, uint32_t address)
{
        static const float sdm120[] = {
                [0] = 230.5F, [3] = 1.2F, [6] = 270, [9] = 276, [12] = 40, [15] = 0.97F
        };
        static const float phases[] = { 230.5F, 1.2F, 270, 276, 40, 0.97F };

        if (address == 0x46)
                return 50.02F;
        if ((address >= 0x48 && address <= 0x4E) || address == 0x156 || address == 0x158)
                return 1234.5F;
        if (address == 0x54 || address == 0x56 || address == 0x58 || address == 0x5A || address == 0x102 ||
            address == 0x108)
                return 271;
        if (!m->is_sdm630)
                return address < 2 * ARRAY_SIZE(sdm120) ? sdm120[address / 2] : 0;
        if (address < 36)
                return address / 2 % 3 < m->n_phases ? phases[address / 6] : 0;
        if (address == 0x34 || address == 0x38 || address == 0x3C)
                return 270 * (float)m->n_phases;
        if (address == 0x3E)
                return 0.97F;
        if (address >= 0xC8 && address <= 0xCC)
                return m->n_phases == 3 ? 399 : address == 0xCA ? 0 : 230.5F;
        if (address == 0xE0)
                return m->n_phases == 3 ? 0 : 1.2F;
        if (address >= 0xEA && address <= 0xEE)
                return (address - 0xEA) / 2 < m->n_phases ? 2.1F : 0;
        if (address >= 0x15A && address <= 0x16A)
                return (address - 0x15A) / 2 % 3 < m->n_phases ? 411.5F : 0;
        return 0;
}

static struct scan_evidence evidence_of(const char *template, const struct meter *m)
{
        struct scan_evidence e = { 0 };
        struct conf *conf;
        char file[256];

        (void)snprintf(
                file, sizeof(file),
                "buses = ( { name = \"b\"; port = \"/dev/null\"; devices = ( { name = \"d\"; unit_id = "
                "1; template = \"%s\"; } ); } );\n",
                template);
        assert_int_equal(scan_conf_from_text(file, MBGATE_SOURCE_DIR "/etc/templates", stderr, &conf), 0);
        for (size_t i = 0; i < conf->buses[0].devices[0].n_points; i++) {
                const struct conf_point *p = &conf->buses[0].devices[0].points[i];
                float f = meter_value(m, p->address);
                uint16_t regs[2];
                uint32_t bits;

                memcpy(&bits, &f, sizeof(bits));
                regs[0] = (uint16_t)(bits >> 16);
                regs[1] = (uint16_t)bits;
                scan_evidence_add(&e, p, regs);
        }
        (void)conf_unref(conf);
        return e;
}

/* Both give their readings at the same addresses, as far as both have them. */
static void test_one_phase_and_three(void **state)
{
        static const struct meter meters[] = { { false, 1 }, { true, 1 }, { true, 3 } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(meters); i++) {
                const struct meter *m = &meters[i];
                struct scan_evidence right =
                        evidence_of(m->is_sdm630 ? "eastron-sdm630" : "eastron-sdm120", m);
                struct scan_evidence wrong =
                        evidence_of(m->is_sdm630 ? "eastron-sdm120" : "eastron-sdm630", m);

                assert_true(scan_evidence_fits(&right));
                assert_true(scan_evidence_is_better(&right, &wrong));
        }
}

static void touch(const char *folder, const char *name)
{
        char path[256];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
        f = fopen(path, "we");
        assert_non_null(f);
        (void)fclose(f);
}

/* One's own go before those that are installed. */
static void test_templates_of_both_folders(void **state)
{
        char own[] = "/tmp/mbgate-own-XXXXXX", installed[] = "/tmp/mbgate-installed-XXXXXX";
        const char *folders[] = { own, installed, "/nonexistent", NULL };
        struct scan_templates t;
        char command[128];

        (void)state;
        assert_non_null(mkdtemp(own));
        assert_non_null(mkdtemp(installed));
        touch(own, "mine.conf");
        touch(own, "both.conf");
        touch(own, "note.txt");
        touch(installed, "both.conf");
        touch(installed, "theirs.conf");
        assert_int_equal(scan_templates_find(&t, folders, ARRAY_SIZE(folders)), 0);
        assert_int_equal(t.n, 3);
        assert_string_equal(t.list[0].name, "both");
        assert_ptr_equal(t.list[0].folder, own);
        assert_string_equal(t.list[1].name, "mine");
        assert_ptr_equal(t.list[1].folder, own);
        assert_string_equal(t.list[2].name, "theirs");
        scan_templates_done(&t);
        (void)snprintf(command, sizeof(command), "rm -r %s %s", own, installed);
        assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): our own fixed command
}

static void test_every_interpretation(void **state)
{
        static const struct scan_cell cells[] = { { .value = 0x4366 }, { .value = 0x8000 },
                                                  { .value = 0x4142 }, { .value = 0x4344 },
                                                  { .exception = 2 },  { .is_silent = true } };
        FILE *f = open_text();

        (void)state;
        scan_dump_print(CONF_INPUT, 30, cells, ARRAY_SIZE(cells), f);
        (void)fclose(f);
        squeeze(text);
        assert_non_null(strstr(text, "input 30 (0x001E): 0x4366 \"Cf\"\n uint16 17254 26179 \n"));
        assert_non_null(strstr(text, " bcd16 4366 6643 \n")); /* 0x6643 */
        assert_non_null(strstr(text, " float32 230.500000* "));
        assert_non_null(strstr(text, " uint32 1130790912 2147500902 1715667072 8414787 \n"));
        assert_non_null(
                strstr(text, "input 31 (0x001F): 0x8000 \"..\"\n uint16 32768 128 \n int16 -32768 128 "));
        assert_non_null(strstr(text, " uint64 4856709986748875588 "));
        assert_non_null(strstr(text, "input 34 (0x0022): exception 2, illegal data address\n"));
        assert_non_null(strstr(text, "input 35 (0x0023): no answer\n"));
        assert_non_null(strstr(text, "input 30 as string, ABCD: \"Cf..ABCD....\"\n"));
        assert_non_null(strstr(text, "input 30 as string, BADC: \"fC..BADC....\"\n"));
}

static void test_bits_and_sizes(void **state)
{
        static const struct scan_cell cells[] = {
                { .value = 1 }, { .value = 0 }, { .exception = 2 }, { .is_silent = true }
        };
        FILE *f = open_text();

        (void)state;
        scan_dump_print(CONF_COIL, 7, cells, ARRAY_SIZE(cells), f);
        (void)fclose(f);
        assert_string_equal(text, "coil     7: 1 0 E2 ?\n");
        assert_true(scan_dump_is_likely(230.5) && scan_dump_is_likely(-0.01));
        assert_false(scan_dump_is_likely(0) || scan_dump_is_likely(1e-30) || scan_dump_is_likely(1e30));
}

/* What is printed must load, whatever a device says of itself. */
static void test_the_configuration_loads(void **state)
{
        static struct scan_device devices[5];
        struct scan_options o = { .port = "/dev/ttyS7" };
        struct conf *conf = NULL;
        struct scan_plan p;
        FILE *f = open_text();

        (void)state;
        assert_int_equal(scan_plan_init(&p, &o, false), 0);
        memset(devices, 0, sizeof(devices));
        devices[0] = (struct scan_device){ .unit = 17,
                                           .setting = 1,
                                           .answers = true,
                                           .turnaround_us = 5000,
                                           .id = { .product = "\"};#\n SDM-120 \\" },
                                           .template = "eastron-sdm120" };
        devices[1] =
                (struct scan_device){ .unit = 3, .setting = 1, .answers = true, .turnaround_us = 250000 };
        for (unsigned area = 0; area < SCAN_AREAS; area++)
                devices[1].runs[area] = (struct scan_run){ .address = (uint16_t)(100 * area), .count = 20 };
        devices[2] = (struct scan_device){ .unit = 4, .setting = 1, .answers = false, .n_broken = 3 };
        devices[3] = (struct scan_device){ .unit = 5, .setting = 1, .answers = true };
        devices[4] = (struct scan_device){ .unit = 17, .setting = 5, .answers = true };
        scan_conf_print("/dev/ttyS7", CONF_DIRECTION_RTS, &p, devices, ARRAY_SIZE(devices), f);
        (void)fclose(f);
        assert_int_equal(scan_conf_from_text(text, MBGATE_SOURCE_DIR "/etc/templates", stderr, &conf), 0);
        assert_int_equal(conf->n_buses, 1); /* the second is not enabled */
        assert_string_equal(conf->buses[0].port, "/dev/ttyS7");
        assert_int_equal(conf->buses[0].baud, 19200);
        assert_int_equal(conf->buses[0].direction, CONF_DIRECTION_RTS);
        assert_int_equal(conf->buses[0].parity, 'E');
        assert_int_equal(conf->buses[0].n_devices, 3);
        assert_string_equal(conf->buses[0].devices[0].name, "sdm-120-17");
        assert_int_equal(conf->buses[0].devices[0].n_points, 21);
        assert_int_equal(conf->buses[0].devices[1].n_points, 64);
        assert_int_equal(conf->buses[0].devices[1].response_timeout_ms, 1300);
        assert_int_equal(conf->buses[0].devices[2].n_points, 0);
        conf_unref(conf);
        scan_plan_done(&p);
}

static void test_nothing_is_written(void **state)
{
        struct scan_line l = { .port = NULL }; /* it does not come to that */
        struct port_reply reply;
        struct pdu request = { .n_bytes = 5 };

        (void)state;
        for (unsigned f = 0; f < 256; f++) {
                request.bytes[0] = (uint8_t)f;
                if ((f < 1 || f > 4) && f != 17 && f != 43)
                        assert_int_equal(scan_line_ask(&l, 1, &request, 1000, &reply), -EPERM);
        }
}

static void test_a_port_without_other_names(void **state)
{
        char name[64];

        (void)state;
        scan_conf_stable_port("/dev/null", "/nonexistent", name, sizeof(name));
        assert_string_equal(name, "/dev/null");
        scan_conf_stable_port("tcp://192.0.2.7:502", "/dev/serial", name, sizeof(name));
        assert_string_equal(name, "tcp://192.0.2.7:502");
}

static void test_the_stable_name_of_a_port(void **state)
{
        char folder[] = "/tmp/mbgate-scan-XXXXXX", path[512], name[128];

        (void)state;
        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof(path),
                       "mkdir %s/by-id %s/by-path && ln -s /dev/zero %s/by-id/usb-FTDI_x && "
                       "ln -s /dev/zero %s/by-path/usb-1",
                       folder, folder, folder, folder);
        assert_int_equal(system(path), 0);
        scan_conf_stable_port("/dev/zero", folder, name, sizeof(name));
        assert_non_null(strstr(name, "/by-id/usb-FTDI_x"));
        /* An adapter without a serial number shares its name by id with its like. */
        (void)snprintf(path, sizeof(path), "mv %s/by-id/usb-FTDI_x %s/by-id/usb-1a86_USB_Serial", folder,
                       folder);
        assert_int_equal(system(path), 0);
        scan_conf_stable_port("/dev/zero", folder, name, sizeof(name));
        assert_non_null(strstr(name, "/by-path/usb-1"));
        (void)snprintf(path, sizeof(path), "rm -r %s", folder);
        assert_int_equal(system(path), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lists_of_the_command_line),
                cmocka_unit_test(test_wrong_lists_change_nothing),
                cmocka_unit_test(test_what_does_not_go_together),
                cmocka_unit_test(test_likely_guesses_come_first),
                cmocka_unit_test(test_each_question_is_asked_once),
                cmocka_unit_test(test_a_found_device_cuts_the_plan),
                cmocka_unit_test(test_an_impossible_setting_is_left_out),
                cmocka_unit_test(test_what_is_asked_for_is_all_that_is_asked),
                cmocka_unit_test(test_remaining_time),
                cmocka_unit_test(test_remaining_time_follows_the_pace),
                cmocka_unit_test(test_device_identification),
                cmocka_unit_test(test_server_id),
                cmocka_unit_test(test_a_template_fits_or_not),
                cmocka_unit_test(test_one_phase_and_three),
                cmocka_unit_test(test_templates_of_both_folders),
                cmocka_unit_test(test_every_interpretation),
                cmocka_unit_test(test_bits_and_sizes),
                cmocka_unit_test(test_the_configuration_loads),
                cmocka_unit_test(test_nothing_is_written),
                cmocka_unit_test(test_a_port_without_other_names),
                cmocka_unit_test(test_the_stable_name_of_a_port),
        };

        return cmocka_run_group_tests(tests, NULL, free_text);
}
