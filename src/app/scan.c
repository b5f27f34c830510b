/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "mbgate/base/clock.h"
#include "mbgate/bus/plan.h"

#include "scan.h"
#include "scan_conf.h"
#include "scan_device.h"
#include "scan_dump.h"

#define EXIT_STOPPED 130 /* 128 + SIGINT, as shells do */

#define LISTEN_US      UINT64_C(1200000) /* a master that polls each second is heard */
#define RETRY_US       UINT64_C(500000)
#define BROKEN_TRIES   3
#define SHOW_TTY_US    UINT64_C(200000)
#define SHOW_OTHERS_US UINT64_C(10000000)
#define PATH_BYTES     512

/* A reply that comes late belongs to one of so many units asked before. */
#define LATE_UNITS 4

/* Late replies are frames that answer nothing, too, but a few. */
#define FOREIGN_MANY 20

#define DUMP_COUNT 20 /* registers, when --registers does not say */
#define DUMP_BITS  64 /* the same of coils, read at a time */

static volatile sig_atomic_t is_stopped;

struct scan {
        const struct scan_options *o;
        FILE *out, *err;
        bool is_tty;
        bool is_wide; /* a line of progress stands on the terminal */
        struct scan_plan plan;
        struct scan_line line;
        unsigned setting; /* the port is open with it */
        struct scan_device *devices;
        size_t n_devices;
        size_t n_broken_units;               /* of them that never answered whole */
        struct scan_step silent[LATE_UNITS]; /* the last that did not answer, a ring */
        size_t n_silent;
        uint64_t asked_us; /* time that steps took */
        uint64_t next_show_us;
        struct scan_templates templates;
        uint64_t began_us; /* asking devices what they are, or a dump */
        size_t n_asked;    /* questions of it that are answered */
};

bool scan_is_stopped(void)
{
        return is_stopped;
}

static void on_signal(int number)
{
        (void)number;
        is_stopped = 1;
}

/* The first signal ends the search in good order, a second one the program. */
static void catch_signals(void)
{
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
}

static void show_clear(struct scan *s)
{
        if (s->is_wide)
                (void)fputs("\r\033[K", s->err);
        s->is_wide = false;
}

PRINTF_LIKE(2, 3) static void say(struct scan *s, const char *fmt, ...)
{
        va_list ap;

        show_clear(s);
        va_start(ap, fmt);
        (void)vfprintf(s->err, fmt, ap);
        va_end(ap);
        (void)fflush(s->err);
}

/* Progress: on a terminal one line that changes, elsewhere a line now and then. */
PRINTF_LIKE(2, 3) static void show(struct scan *s, const char *fmt, ...)
{
        uint64_t now_us = clock_monotonic_us();
        va_list ap;

        if (now_us < s->next_show_us)
                return;
        s->next_show_us = now_us + (s->is_tty ? SHOW_TTY_US : SHOW_OTHERS_US);
        show_clear(s);
        va_start(ap, fmt);
        (void)vfprintf(s->err, fmt, ap);
        va_end(ap);
        if (!s->is_tty)
                (void)fputc('\n', s->err);
        s->is_wide = s->is_tty;
        (void)fflush(s->err);
}

static void show_step(struct scan *s, const struct scan_step *step)
{
        uint64_t left_s = scan_plan_left_us(&s->plan, s->asked_us) / USEC_PER_SEC;
        char text[SCAN_SETTING_BYTES];

        show(s, "scan: %s, unit %u; %zu of %zu questions, at most %llu:%02llu left, %zu found",
             scan_setting_text(&s->plan.settings[step->setting], text), step->unit, s->plan.at,
             s->plan.n_steps, (unsigned long long)(left_s / 60), (unsigned long long)(left_s % 60),
             s->n_devices);
}

/* The rest of what is counted, at the pace so far. */
static uint64_t pace_left_s(const struct scan *s, size_t n)
{
        uint64_t gone_us = clock_monotonic_us() - s->began_us;

        return s->n_asked == 0 || s->n_asked >= n ? 0
                                                  : gone_us * (n - s->n_asked) / s->n_asked / USEC_PER_SEC;
}

static struct scan_device *device_of(struct scan *s, unsigned setting, uint8_t unit)
{
        for (size_t i = 0; i < s->n_devices; i++) {
                if (s->devices[i].unit == unit && s->devices[i].setting == setting)
                        return &s->devices[i];
        }
        return NULL;
}

/* Asks one unit; a broken reply is asked for again. enum port_result, −errno. */
static int ask(struct scan *s, const struct scan_step *step, uint64_t timeout_us, struct port_reply *reply,
               unsigned *ret_n_broken)
{
        struct pdu request;
        unsigned n = 0;
        int r;

        pdu_read_request(&request, step->question == SCAN_ASK_INPUT ? PDU_READ_INPUT : PDU_READ_HOLDING, 0,
                         1);
        do {
                r = scan_line_ask(&s->line, step->unit, &request, timeout_us, reply);
                timeout_us = MBGATE_MAX(timeout_us, RETRY_US);
        } while (r == PORT_BROKEN && ++n < BROKEN_TRIES && !is_stopped);
        *ret_n_broken = n;
        return r;
}

/* A gateway says with these that there is nobody. */
static bool is_absent(int r, const struct port_reply *reply)
{
        return r == PORT_EXCEPTION &&
               (reply->exception == PDU_EXC_GATEWAY_PATH || reply->exception == PDU_EXC_GATEWAY_TARGET);
}

static void found(struct scan *s, const struct scan_step *step, int r, const struct port_reply *reply,
                  unsigned n_broken)
{
        const struct scan_setting *set = &s->plan.settings[step->setting];
        uint64_t wire_us =
                rtu_wire_us(set->speed, 9u + (set->parity != 'N') + set->stop_bits, reply->pdu.n_bytes + 3);
        uint64_t took_us = reply->done_us > reply->sent_us ? reply->done_us - reply->sent_us : 0;
        struct scan_device *d = device_of(s, step->setting, step->unit);
        char text[SCAN_SETTING_BYTES];

        if (d || s->n_devices == SCAN_UNITS_MAX)
                return;
        d = &s->devices[s->n_devices++];
        *d = (struct scan_device){ .unit = step->unit,
                                   .setting = step->setting,
                                   .answers = r != PORT_BROKEN,
                                   .n_broken = n_broken,
                                   .turnaround_us = took_us > wire_us ? took_us - wire_us : 0 };
        s->n_broken_units += !d->answers;
        say(s, "scan: unit %u %s at %s\n", d->unit, d->answers ? "answers" : "answers, but never whole,",
            scan_setting_text(set, text));
        if (!d->answers)
                return;
        scan_plan_skip(&s->plan, step->setting, step->unit);
        if (!s->o->finds_all)
                scan_plan_keep_setting(&s->plan, step->setting);
}

/* A reply to somebody asked before came late: those are asked again, with time. */
static int ask_late(struct scan *s)
{
        for (size_t i = 0; i < MBGATE_MIN(s->n_silent, (size_t)LATE_UNITS) && !is_stopped; i++) {
                const struct scan_step *step = &s->silent[i];
                struct port_reply reply;
                unsigned n_broken;
                int r;

                if (step->setting != s->setting || device_of(s, step->setting, step->unit))
                        continue;
                r = ask(s, step, SCAN_READ_US, &reply, &n_broken);
                if (r < 0)
                        return r;
                if ((r == PORT_OK || r == PORT_EXCEPTION) && !is_absent(r, &reply))
                        found(s, step, r, &reply, n_broken);
        }
        s->n_silent = 0;
        return 0;
}

static int take_step(struct scan *s, const struct scan_step *step)
{
        uint64_t began_us = clock_monotonic_us();
        struct port_reply reply;
        unsigned n_broken;
        int r = ask(s, step, s->plan.timeout_us, &reply, &n_broken);

        s->asked_us += clock_monotonic_us() - began_us;
        if (r < 0)
                return r;
        if (r == PORT_TIMEOUT || is_absent(r, &reply))
                s->silent[s->n_silent++ % LATE_UNITS] = *step;
        else
                found(s, step, r, &reply, n_broken);
        return reply.counts.n_foreign > 0 ? ask_late(s) : 0;
}

/* 0; > 0: this port cannot do the setting; −errno. */
static int open_setting(struct scan *s, unsigned setting)
{
        char text[SCAN_SETTING_BYTES];
        int r = scan_line_open(&s->line, &s->plan.settings[setting]);

        s->n_silent = 0;
        if (r == -ENOTSUP) {
                say(s, "scan: %s is left out: %s\n", scan_setting_text(&s->plan.settings[setting], text),
                    scan_line_reason(&s->line, r));
                scan_plan_skip(&s->plan, setting, 0);
                return 1;
        }
        if (r < 0)
                say(s, "mbgated: cannot open %s: %s\n", s->o->port, scan_line_reason(&s->line, r));
        s->setting = setting;
        return r;
}

/*
 * Whether somebody else asks here: then a scan would disturb, and be disturbed. Bytes that make no frame may
 * be a master at another setting, so they are all listened to.
 */
static int listen(struct scan *s, bool *ret_other)
{
        char text[SCAN_SETTING_BYTES];

        for (unsigned i = 0; i < s->plan.n_likely && !is_stopped; i++) {
                int r = open_setting(s, i);

                if (r < 0)
                        return r;
                if (r == 0)
                        r = scan_line_listen(&s->line, LISTEN_US);
                if (r < 0)
                        return r;
                if (s->line.unasked.n_foreign > 0) {
                        say(s,
                            "mbgated: another master speaks on %s at %s: stop it first, or listen with "
                            "mode = \"listen\"\n",
                            s->o->port, scan_setting_text(&s->plan.settings[i], text));
                        *ret_other = true;
                        return 0;
                }
                if (i == 0 && s->line.unasked.n_junk_bytes == 0)
                        return 0;
        }
        say(s, "scan: %u bytes came that nobody asked for: noise, or another master\n",
            s->line.unasked.n_junk_bytes);
        return 0;
}

static int search(struct scan *s)
{
        const struct scan_step *step;

        s->setting = SCAN_SETTINGS_MAX;
        while (!is_stopped && (step = scan_plan_next(&s->plan))) {
                struct scan_step copy = *step; /* the plan may be cut behind it */
                int r = 0;

                if (copy.setting != s->setting)
                        r = open_setting(s, copy.setting);
                if (r > 0)
                        continue;
                if (r < 0)
                        return r;
                show_step(s, &copy);
                r = take_step(s, &copy);
                if (r < 0) {
                        say(s, "mbgated: %s is lost: %s\n", s->o->port, strerror(-r));
                        return r;
                }
        }
        show_clear(s);
        return 0;
}

/* Of each device: what it says of itself, the templates, and what else it has. */
static size_t n_learn_questions(const struct scan *s)
{
        return s->templates.n + 2;
}

static void show_learning(struct scan *s, const struct scan_device *d, const char *what)
{
        size_t n = s->n_devices * n_learn_questions(s);
        uint64_t left_s = pace_left_s(s, n);

        if (s->n_asked == 0)
                return;
        show(s, "scan: unit %u: %s; %zu of %zu, about %llu:%02llu left", d->unit, what, s->n_asked, n,
             (unsigned long long)(left_s / 60), (unsigned long long)(left_s % 60));
}

static int try_templates(struct scan *s, struct scan_device *d)
{
        struct scan_evidence best = { 0 };

        for (size_t i = 0; i < s->templates.n && !is_stopped; i++) {
                int r;

                show_learning(s, d, s->templates.list[i].name);
                r = scan_device_try_template(&s->line, d, &s->templates.list[i], &best);
                s->n_asked++;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int learn(struct scan *s, struct scan_device *d)
{
        int r = 0;

        if (d->setting != s->setting)
                r = open_setting(s, d->setting);
        show_learning(s, d, "what it says of itself");
        if (r == 0)
                r = scan_device_identify(&s->line, d);
        s->n_asked++;
        if (r == 0 && !is_stopped)
                r = try_templates(s, d);
        show_learning(s, d, "what else it has");
        if (r == 0 && !is_stopped && !*d->template)
                r = scan_device_survey(&s->line, d);
        return r;
}

/* A port that is lost now does not take away what has been found. */
static void learn_all(struct scan *s)
{
        s->began_us = clock_monotonic_us();
        for (size_t i = 0; i < s->n_devices && !is_stopped; i++) {
                struct scan_device *d = &s->devices[i];
                int r;

                s->n_asked = i * n_learn_questions(s);
                if (!d->answers)
                        continue;
                say(s, "scan: asking unit %u what it is, %zu of %zu\n", d->unit, i + 1, s->n_devices);
                r = learn(s, d);
                if (r < 0) {
                        say(s, "mbgated: %s is lost: %s\n", s->o->port, strerror(-r));
                        return;
                }
                if (*d->template)
                        say(s, "scan: unit %u: template %s fits\n", d->unit, d->template);
        }
}

static void explain_nothing(struct scan *s)
{
        const struct rtu_counts *c = &s->line.counts;

        say(s, "scan: nobody answered\n");
        if (c->n_echo > 0)
                say(s, "scan: but the adapter hears what it sends: the line is driven\n");
        if (c->n_junk_bytes > 0)
                say(s,
                    "scan: but %u bytes came that make no frame: try --speeds and --formats, or A and B are "
                    "swapped\n",
                    c->n_junk_bytes);
        else
                say(s, "scan: look at the wiring (A and B, ground, supply), or try --reply-timeout 1000\n");
}

static int by_unit(const void *a, const void *b)
{
        const struct scan_device *x = a, *y = b;

        return x->setting != y->setting ? x->setting - y->setting : x->unit - y->unit;
}

static int conclude(struct scan *s)
{
        char port[PATH_BYTES];

        if (s->line.counts.n_foreign >= FOREIGN_MANY)
                say(s, "scan: %u frames came that answered nothing: another master on the line?\n",
                    s->line.counts.n_foreign);
        if (s->n_devices == 0) {
                if (!is_stopped)
                        explain_nothing(s);
                return is_stopped ? EXIT_STOPPED : EX_UNAVAILABLE;
        }
        qsort(s->devices, s->n_devices, sizeof(*s->devices), by_unit);
        scan_conf_stable_port(s->o->port, "/dev/serial", port, sizeof(port));
        scan_conf_print(port, s->o->direction, &s->plan, s->devices, s->n_devices, s->out);
        if (fflush(s->out) != 0 || ferror(s->out))
                return EX_IOERR;
        return is_stopped ? EXIT_STOPPED : EX_OK;
}

/* With everything made ready. */
static int scan_all(struct scan *s)
{
        uint64_t left_s = scan_plan_left_us(&s->plan, 0) / USEC_PER_SEC;
        bool is_other = false;
        int r;

        say(s, "scan: %zu questions at %zu settings, at most %llu min; nothing is written, Ctrl-C ends it\n",
            s->plan.n_steps, s->plan.n_settings, (unsigned long long)(left_s + 59) / 60);
        r = listen(s, &is_other);
        if (r < 0)
                return EX_NOINPUT;
        if (is_other)
                return EX_TEMPFAIL;
        r = search(s);
        if (r < 0 && s->n_devices == 0)
                return EX_IOERR;
        if (r == 0)
                learn_all(s);
        return conclude(s);
}

/* One piece of a dump; what is refused as a whole is asked for one by one. −errno. */
static int dump_piece(struct scan *s, uint16_t address, uint16_t count, struct scan_cell *cells)
{
        uint16_t regs[PDU_READ_BITS_MAX];
        uint8_t exception;
        int r = scan_line_read(&s->line, s->o->units[0], s->o->area, address, count, regs, &exception);

        if (r < 0)
                return r;
        if (r == PORT_EXCEPTION && count > 1 && exception != PDU_EXC_FUNCTION) {
                for (uint16_t i = 0; i < count && !is_stopped; i++) {
                        r = dump_piece(s, (uint16_t)(address + i), 1, cells + i);
                        if (r < 0)
                                return r;
                }
                return 0;
        }
        for (uint16_t i = 0; i < count; i++)
                cells[i] = (struct scan_cell){ .value = r == PORT_OK ? regs[i] : 0,
                                               .exception = exception,
                                               .is_silent = r != PORT_OK && r != PORT_EXCEPTION };
        return 0;
}

/* What was not said is as in a configuration: 9600 8N1. */
static void set_dump_setting(struct scan *s)
{
        const struct scan_options *o = s->o;
        struct scan_setting *set = &s->plan.settings[0];

        if (s->line.bus.kind != CONF_PORT_SERIAL)
                return;
        *set = (struct scan_setting){ o->n_speeds ? o->speeds[0] : 9600, 'N', 1 };
        if (o->n_formats) {
                set->parity = o->formats[0].parity;
                set->stop_bits = o->formats[0].stop_bits;
        }
}

static void show_dump(struct scan *s, unsigned n, unsigned count)
{
        uint64_t left_s;

        s->n_asked = n;
        left_s = pace_left_s(s, count);
        if (n > 0)
                show(s, "dump: %u of %u read, about %llu:%02llu left", n, count,
                     (unsigned long long)(left_s / 60), (unsigned long long)(left_s % 60));
}

static int dump(struct scan *s)
{
        bool is_bit = s->o->area == CONF_COIL || s->o->area == CONF_DISCRETE;
        unsigned count = s->o->count ? s->o->count : DUMP_COUNT, n = 0;
        struct scan_cell cells[PDU_READ_BITS_MAX];
        int r;

        s->began_us = clock_monotonic_us();
        set_dump_setting(s);
        r = open_setting(s, 0);
        if (r != 0)
                return EX_NOINPUT;
        while (n < count && !is_stopped) {
                unsigned piece = MBGATE_MIN(count - n, is_bit ? (unsigned)DUMP_BITS : DUMP_COUNT);

                show_dump(s, n, count);
                r = dump_piece(s, (uint16_t)(s->o->address + n), (uint16_t)piece, cells + n);
                if (r < 0) {
                        say(s, "mbgated: %s is lost: %s\n", s->o->port, strerror(-r));
                        return EX_IOERR;
                }
                if (n == 0 && cells[0].is_silent) {
                        say(s, "mbgated: unit %u does not answer\n", s->o->units[0]);
                        return EX_UNAVAILABLE;
                }
                n += piece;
        }
        show_clear(s);
        scan_dump_print(s->o->area, s->o->address, cells, n, s->out);
        if (fflush(s->out) != 0 || ferror(s->out))
                return EX_IOERR;
        return is_stopped ? EXIT_STOPPED : EX_OK;
}

static int scan_start(struct scan *s)
{
        int r = scan_line_init(&s->line, s->o, s->err);

        if (r < 0)
                return r == -EINVAL ? EX_USAGE : EX_OSERR;
        s->devices = calloc(SCAN_UNITS_MAX, sizeof(*s->devices));
        r = scan_plan_init(&s->plan, s->o, s->line.bus.kind != CONF_PORT_SERIAL);
        if (r == 0 && !s->o->is_dump)
                r = scan_templates_find(&s->templates, s->o->template_dirs, ARRAY_SIZE(s->o->template_dirs));
        if (!s->devices || r < 0)
                return EX_OSERR;
        catch_signals();
        return s->o->is_dump ? dump(s) : scan_all(s);
}

int scan_run(const struct scan_options *o, FILE *out, FILE *err)
{
        struct scan s = { .o = o, .out = out, .err = err, .is_tty = isatty(fileno(err)) };
        int code = scan_start(&s);

        scan_line_done(&s.line);
        scan_plan_done(&s.plan);
        scan_templates_done(&s.templates);
        free(s.devices);
        return code;
}
