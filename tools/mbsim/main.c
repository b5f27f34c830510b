/* SPDX-License-Identifier: MIT */
/* mbsim: plays Modbus devices. Builds the buses from the options, then runs the loop until told to stop. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "from_conf.h"
#include "mbgate/base/text.h"
#include "mbgate/config/load.h"
#include "options.h"
#include "regfile.h"
#include "sim.h"
#include "simclock.h"

#define REASON_BYTES 600
#define FLUSH_NS     (100 * NS_PER_MS) /* who reads the logs while they grow is so far behind at most */

struct program {
        struct options options;
        struct sim sim;
        struct conf *conf; /* NULL without a configuration */
        struct control *control;
        struct source signals;
};

static int fail(int code, const char *subject, const char *reason)
{
        fprintf(stderr, "mbsim: error: %s%s%s\n", subject, subject[0] ? ": " : "", reason);
        return code;
}

/* ---- the buses ---- */

static int bus_new(struct program *p, const char *name, struct simbus **ret)
{
        const struct options *o = &p->options;
        struct simbus *bus;

        if (p->sim.n_buses == SIM_BUSES_MAX)
                return fail(EX_CONFIG, name, "too many buses; choose one with --bus");
        bus = calloc(1, sizeof(*bus));
        if (!bus)
                return fail(EX_OSERR, name, strerror(ENOMEM));
        snprintf(bus->name, sizeof(bus->name), "%s", name);
        bus->random.state = o->seed ^ (uint64_t)text_hash(name, strlen(name)) << 32;
        bus->chunk = o->chunk;
        bus->strict = o->strict;
        bus->exact = o->exact;
        bus->garble = o->garble;
        bus->log = &p->sim.log;
        p->sim.buses[p->sim.n_buses++] = bus; /* freed there, whatever comes */
        if (map_new(o->sparse_ok, o->seed, &bus->map) < 0)
                return fail(EX_OSERR, name, strerror(ENOMEM));
        *ret = bus;
        return 0;
}

static int bus_set_line(const struct options *o, struct simbus *bus, uint32_t baud, const char *format,
                        bool tcp)
{
        uint64_t preset_ns = tcp ? 0 : 5 * NS_PER_MS;

        bus->pace.baud = o->baud != 0 ? o->baud : baud;
        if (pace_set_format(&bus->pace, o->format ? o->format : format) < 0)
                return fail(EX_CONFIG, format, "no line format that can be played; give --format 8E1");
        bus->pace.on = o->pace >= 0 ? o->pace : !tcp;
        bus->turnaround_min_ns = o->has_turnaround ? o->turnaround_min_ns : preset_ns;
        bus->turnaround_max_ns = o->has_turnaround ? o->turnaround_max_ns : preset_ns;
        return 0;
}

static int endpoint_failed(const char *what, const char *where, int r)
{
        char subject[PATH_MAX + 32];

        snprintf(subject, sizeof(subject), "%s %s", what, where);
        if (r == -EEXIST)
                return fail(EX_CANTCREAT, subject,
                            "something that is no symbolic link has that name; choose another with --link");
        if (r == -EINVAL)
                return fail(EX_USAGE, subject, "give ADDRESS:PORT, such as 127.0.0.1:1502");
        return fail(EX_CANTCREAT, subject, strerror(-r));
}

static int bus_open_tcp(struct program *p, struct simbus *bus, const char *address, enum framing framing)
{
        int r = endpoint_new_tcp(&p->sim.loop, bus, address, framing, &p->sim.endpoints[p->sim.n_buses - 1]);

        return r < 0 ? endpoint_failed("cannot listen on", address, r) : 0;
}

/* Where the pseudo-terminal's link goes: where the gateway would look for it, if that is not a device's
 * place. */
static void bus_choose_link(const struct options *o, const struct simbus *bus, const char *port, char *link,
                            size_t size_bytes)
{
        if (o->link)
                snprintf(link, size_bytes, "%s", o->link);
        else if (o->link_dir)
                snprintf(link, size_bytes, "%s/%s", o->link_dir, bus->name);
        else if (port && port[0] == '/' && strncmp(port, "/dev/", 5) != 0)
                snprintf(link, size_bytes, "%s", port);
        else
                snprintf(link, size_bytes, "/tmp/mbsim-%s", bus->name);
}

static int bus_open_pty(struct program *p, struct simbus *bus, const char *port)
{
        char link[PATH_MAX];
        int r;

        bus_choose_link(&p->options, bus, port, link, sizeof(link));
        if (p->options.link_dir && mkdir(p->options.link_dir, 0755) < 0 && errno != EEXIST)
                return fail(EX_CANTCREAT, p->options.link_dir, strerror(errno));
        r = endpoint_new_pty(&p->sim.loop, bus, link, &p->sim.endpoints[p->sim.n_buses - 1]);
        return r < 0 ? endpoint_failed("cannot make", link, r) : 0;
}

static bool host_is_loopback(const char *host)
{
        return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* A TCP bus of the configuration is played where it stands, when that is this machine. */
static int bus_open_configured_tcp(struct program *p, struct simbus *bus, const struct conf_bus *conf)
{
        char address[300];

        if (!host_is_loopback(conf->host))
                return fail(EX_CONFIG, conf->port,
                            "not on this machine; give --tcp 127.0.0.1:PORT or --link PATH");
        snprintf(address, sizeof(address), strchr(conf->host, ':') ? "[%s]:%u" : "%s:%u", conf->host,
                 (unsigned)conf->tcp_port);
        return bus_open_tcp(p, bus, address, conf->kind == CONF_PORT_TCP ? FRAMING_MBAP : FRAMING_RTU);
}

static bool plays_on_tcp(const struct options *o, const struct conf_bus *conf)
{
        if (o->tcp || o->rtu_tcp)
                return true;
        if (!conf || conf->kind == CONF_PORT_SERIAL || o->link)
                return false;
        return !o->link_dir || host_is_loopback(conf->host);
}

static int bus_open(struct program *p, struct simbus *bus, const struct conf_bus *conf)
{
        const struct options *o = &p->options;

        map_seal(bus->map);
        if (o->tcp)
                return bus_open_tcp(p, bus, o->tcp, FRAMING_MBAP);
        if (o->rtu_tcp)
                return bus_open_tcp(p, bus, o->rtu_tcp, FRAMING_RTU);
        if (plays_on_tcp(o, conf))
                return bus_open_configured_tcp(p, bus, conf);
        return bus_open_pty(p, bus, conf ? conf->port : NULL);
}

/* ---- the three sources ---- */

static int play_conf_bus(struct program *p, const struct conf_bus *conf)
{
        char format[4] = { (char)('0' + conf->data_bits), conf->parity, (char)('0' + conf->stop_bits), '\0' };
        struct simbus *bus;
        int r = bus_new(p, conf->name, &bus);

        if (r != 0)
                return r;
        r = from_conf(conf, p->options.values, bus->map);
        if (r < 0)
                return fail(r == -ENOMEM ? EX_OSERR : EX_CONFIG, conf->name, strerror(-r));
        r = bus_set_line(&p->options, bus, conf->baud, format, plays_on_tcp(&p->options, conf));
        return r != 0 ? r : bus_open(p, bus, conf);
}

static int play_conf_buses(struct program *p)
{
        const struct options *o = &p->options;
        bool single = o->link || o->tcp || o->rtu_tcp;
        unsigned n = 0;

        if (single && !o->bus && p->conf->n_buses > 1)
                return fail(EX_USAGE, o->config,
                            "has several buses; choose one with --bus, or use --link-dir");
        for (size_t i = 0; i < p->conf->n_buses; i++) {
                int r;

                if (o->bus && strcmp(o->bus, p->conf->buses[i].name) != 0)
                        continue;
                n++;
                r = play_conf_bus(p, &p->conf->buses[i]);
                if (r != 0)
                        return r;
        }
        if (n == 0)
                return fail(EX_CONFIG, o->config, o->bus ? "has no bus of that name" : "has no bus to play");
        return 0;
}

static int play_conf(struct program *p)
{
        struct conf_load_options load = { .template_dir = p->options.template_dir };
        struct conf_report report = { .lines = NULL };
        int r;

        if (access(p->options.config, R_OK) < 0)
                return fail(EX_NOINPUT, p->options.config, strerror(errno));
        r = conf_load(p->options.config, &load, &report, &p->conf);

        for (size_t i = 0; i < report.n_lines; i++)
                fprintf(stderr, "%s\n", report.lines[i]);
        conf_report_done(&report);
        if (r < 0)
                return fail(EX_CONFIG, p->options.config, r == -EINVAL ? "cannot be played" : strerror(-r));
        return play_conf_buses(p);
}

static int play_registers(struct program *p, FILE *file, const char *file_name, const char *name)
{
        char reason[REASON_BYTES];
        struct buf error = BUF_ON(reason);
        struct simbus *bus = NULL;
        int r = bus_new(p, name, &bus);

        if (r != 0 || !bus)
                return r;
        r = regfile_load(file, file_name, bus->map, &error);
        if (r < 0)
                return fail(EX_CONFIG, "", reason);
        if (map_n_units(bus->map) == 0)
                return fail(EX_CONFIG, file_name, "describes no device; begin with a line \"unit 1\"");
        r = bus_set_line(&p->options, bus, 9600, "8E1", p->options.tcp || p->options.rtu_tcp);
        return r != 0 ? r : bus_open(p, bus, NULL);
}

static int play_register_file(struct program *p)
{
        FILE *file = fopen(p->options.registers, "re");
        int r;

        if (!file)
                return fail(EX_NOINPUT, p->options.registers, strerror(errno));
        r = play_registers(p, file, p->options.registers, p->options.bus ? p->options.bus : "sim");
        fclose(file);
        return r;
}

static int play_reference(struct program *p)
{
        FILE *file = fmemopen((void *)(uintptr_t)regfile_reference, strlen(regfile_reference), "r");
        int r;

        if (!file)
                return fail(EX_OSERR, "", strerror(errno));
        r = play_registers(p, file, "reference", p->options.bus ? p->options.bus : "rs485");
        fclose(file);
        return r;
}

/* ---- options that need the buses ---- */

static int apply_set(struct program *p, const char *text)
{
        char target[256], reason[REASON_BYTES] = "";
        struct buf error = BUF_ON(reason);
        const char *equals = strchr(text, '=');

        if (!equals || (size_t)(equals - text) >= sizeof(target))
                return fail(EX_USAGE, "--set", "give DEVICE.POINT=VALUE");
        memcpy(target, text, (size_t)(equals - text));
        target[equals - text] = '\0';
        if (control_set(&p->sim, target, equals + 1, &error) < 0)
                return fail(EX_USAGE, "--set", reason);
        return 0;
}

static int apply_lists(struct program *p)
{
        char reason[REASON_BYTES] = "";
        struct buf error = BUF_ON(reason);
        int r = 0;

        for (unsigned i = 0; r == 0 && i < p->options.sets.n; i++)
                r = apply_set(p, p->options.sets.items[i]);
        for (unsigned i = 0; r == 0 && i < p->options.faults.n; i++) {
                if (control_fault(&p->sim, p->options.faults.items[i], &error) < 0)
                        r = fail(EX_USAGE, "--fault", reason);
        }
        return r;
}

static void signals_ready(struct source *s, uint32_t events)
{
        struct program *p = CONTAINER_OF(s, struct program, signals);
        struct signalfd_siginfo info;

        (void)events;
        if (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
                p->sim.stop = true;
}

static int open_signals(struct program *p)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        p->signals = (struct source){ .ready = signals_ready };
        p->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return p->signals.fd < 0 ? -errno : loop_add(&p->sim.loop, &p->signals);
}

static int prepare(struct program *p)
{
        const struct options *o = &p->options;
        const char *failed;
        int r = loop_open(&p->sim.loop, o->spin_us * NS_PER_US);

        if (r == 0)
                r = open_signals(p);
        if (r < 0)
                return fail(EX_OSERR, "", strerror(-r));
        r = framelog_open(&p->sim.log, o->log, o->csv, &failed);
        if (r < 0)
                return fail(EX_CANTCREAT, failed, strerror(-r));
        simclock_start(o->speed);
        r = o->config ? play_conf(p) : o->registers ? play_register_file(p) : play_reference(p);
        if (r == 0)
                r = apply_lists(p);
        if (r != 0 || !o->control)
                return r;
        r = control_new(&p->sim, o->control, &p->control);
        return r < 0 ? fail(EX_CANTCREAT, o->control, strerror(-r)) : 0;
}

/* ---- running ---- */

static void announce(const struct sim *sim)
{
        for (size_t i = 0; i < sim->n_buses; i++) {
                const struct simbus *b = sim->buses[i];
                char where[PATH_MAX];
                struct buf out = BUF_ON(where);

                sim->endpoints[i]->ops->describe(sim->endpoints[i], &out);
                printf("mbsim: ready: bus %s on %s (%" PRIu32 " %s)\n", b->name, where, b->pace.baud,
                       b->pace.format);
        }
        fflush(stdout);
}

static uint64_t next_deadline_ns(const struct sim *sim, bool *ret_sharp)
{
        uint64_t next_ns = LINE_NEVER;

        *ret_sharp = false;
        for (size_t i = 0; i < sim->n_buses; i++) {
                bool sharp;
                uint64_t at_ns = sim->endpoints[i]->ops->next_ns(sim->endpoints[i], &sharp);

                if (at_ns < next_ns) {
                        next_ns = at_ns;
                        *ret_sharp = sharp;
                }
        }
        return next_ns == LINE_NEVER ? LINE_NEVER : simclock_to_real_ns(next_ns);
}

static void advance(struct sim *sim)
{
        for (size_t i = 0; i < sim->n_buses; i++)
                sim->endpoints[i]->ops->advance(sim->endpoints[i], simclock_now_ns());
}

/* Hands the logs on from time to time; returns when to do so again. */
static uint64_t flush_logs(struct framelog *log, uint64_t due_ns)
{
        uint64_t now_ns = simclock_real_ns();

        if (!framelog_is_on(log))
                return LINE_NEVER;
        if (now_ns < due_ns)
                return due_ns;
        framelog_flush(log);
        return now_ns + FLUSH_NS;
}

/* So that it is seen when we are not given a processor, we want one so often. */
#define LOOK_NS (20 * NS_PER_MS)

static int run(struct program *p)
{
        struct sim *sim = &p->sim;
        uint64_t end_ns = LINE_NEVER, flush_ns = 0;

        if (p->options.for_s > 0)
                end_ns = simclock_real_ns() + (uint64_t)(p->options.for_s * 1e9);
        while (!sim->stop && simclock_real_ns() < end_ns) {
                bool sharp;
                uint64_t next_ns = next_deadline_ns(sim, &sharp);
                uint64_t wake_ns = MBGATE_MIN(next_ns, end_ns), now_ns;
                int r;

                flush_ns = flush_logs(&sim->log, flush_ns);
                wake_ns = MBGATE_MIN(wake_ns, flush_ns);
                wake_ns = MBGATE_MIN(wake_ns, simclock_real_ns() + LOOK_NS);
                r = loop_wait(&sim->loop, wake_ns, sharp && wake_ns == next_ns);
                if (r < 0)
                        return fail(EX_OSERR, "waiting", strerror(-r));
                advance(sim);
                now_ns = simclock_real_ns();
                simclock_note_stall(now_ns - MBGATE_MIN(now_ns, wake_ns));
        }
        return 0;
}

static int report(const struct program *p)
{
        const struct simbus *const *buses = (const struct simbus *const *)p->sim.buses;
        uint64_t now_ns = simclock_now_ns();
        FILE *file;

        for (size_t i = 0; i < p->sim.n_buses; i++)
                stats_print_summary(buses[i], now_ns, stderr);
        if (!p->options.stats)
                return 0;
        file = fopen(p->options.stats, "we");
        if (!file)
                return fail(EX_CANTCREAT, p->options.stats, strerror(errno));
        stats_print_all(buses, p->sim.n_buses, now_ns, file);
        return fclose(file) == 0 ? 0 : fail(EX_IOERR, p->options.stats, strerror(errno));
}

static void clean_up(struct program *p)
{
        control_free(p->control);
        for (size_t i = 0; i < p->sim.n_buses; i++) {
                endpoint_free(p->sim.endpoints[i]);
                map_free(p->sim.buses[i]->map);
                free(p->sim.buses[i]);
        }
        conf_unref(p->conf);
        framelog_close(&p->sim.log);
        if (p->signals.fd > 0)
                close(p->signals.fd);
        loop_close(&p->sim.loop);
}

int main(int argc, char **argv)
{
        static struct program p;
        int r = options_parse(argc, argv, &p.options);

        if (r != 0)
                return r == OPTIONS_HELP ? EX_OK : EX_USAGE;
        r = prepare(&p);
        if (r == 0) {
                for (size_t i = 0; i < p.sim.n_buses; i++)
                        stats_reset(&p.sim.buses[i]->stats, simclock_now_ns());
                announce(&p.sim);
                r = run(&p);
        }
        if (r == 0)
                r = report(&p);
        clean_up(&p);
        return r;
}
