/* SPDX-License-Identifier: MIT */
/*
 * Loads an MQTT broker and measures it; one line of JSON is the result. Started by broker.py, see README.md.
 *
 *   flow      publishers → subscribers as fast as the broker delivers; no more than a window is under way, so
 *             that nothing has to be dropped; or at a fixed rate, with latencies
 *   idle      memory of the broker for a client that does nothing
 *   connects  CONNECT, CONNACK, DISCONNECT, closed by the broker; a few at a time
 *
 * The broker's CPU time is read by its process id: it holds where others use the machine, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mqtt_load.h"

#define NS_PER_S         UINT64_C(1000000000)
#define SETUP_NS         (20 * NS_PER_S)
#define LOST_NS          (2 * NS_PER_S)
#define CONNECTS_AT_ONCE 50 /* fits into any broker's backlog */
#define IDLE_BASE        100

struct options {
        struct load_settings settings;
        const char *mode;
        pid_t pid; /* the broker's */
        unsigned n_publishers, n_subscribers, n_clients;
        unsigned window;   /* messages under way, for each publisher */
        unsigned inflight; /* of them not acknowledged to the publisher, QoS 1 and 2 */
        unsigned rate;     /* messages a second of all; 0: as many as go */
        double seconds, warmup_s;
        bool spin; /* never sleep: a processor of our own */
};

struct run {
        const struct options *options;
        struct load *load;
        clockid_t broker_clock;
        int timer;        /* one expiry a message to send at a fixed rate; −1 */
        uint64_t n_due;   /* expired, but not sent */
        uint64_t n_lost;  /* given up */
        uint64_t turn_ns; /* end of the last turn */
        uint64_t idle_ns; /* in turns without work */
        uint64_t last_delivery_ns, n_deliveries_seen;
};

/* What the clocks say at an end of the measurement. */
struct mark {
        uint64_t ns, n_deliveries, n_visits, idle_ns;
        double broker_s, broker_wait_s, own_s;
};

static double clock_s(clockid_t clock)
{
        struct timespec at;

        if (clock_gettime(clock, &at) < 0)
                load_fail("the broker is gone");
        return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* How long the broker's main thread could have run, but had no processor. */
static double processor_wait_s(pid_t pid)
{
        char path[64];
        unsigned long long ran_ns, waited_ns = 0;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
        f = fopen(path, "re");
        if (f && fscanf(f, "%llu %llu", &ran_ns, &waited_ns) != 2)
                waited_ns = 0;
        if (f)
                (void)fclose(f);
        return (double)waited_ns / 1e9;
}

static struct mark mark_now(const struct run *run)
{
        return (struct mark){
                .ns = load_now_ns(),
                .n_deliveries = run->load->n_deliveries,
                .n_visits = run->load->n_visits,
                .idle_ns = run->idle_ns,
                .broker_s = clock_s(run->broker_clock),
                .broker_wait_s = processor_wait_s(run->options->pid),
                .own_s = clock_s(CLOCK_PROCESS_CPUTIME_ID),
        };
}

/* Adds clients, not too many at once, and waits until they are connected and have subscribed. */
static void add_clients(struct load *l, enum load_role role, size_t n)
{
        uint64_t end_ns = load_now_ns() + SETUP_NS;
        size_t target = l->n_clients + n;

        while (l->n_ready < target) {
                while (l->n_clients < target && l->n_clients - l->n_ready < CONNECTS_AT_ONCE)
                        (void)load_add(l, role);
                (void)load_turn(l, 100);
                if (load_now_ns() > end_ns)
                        load_fail("only %zu of %zu clients are ready", l->n_ready, target);
        }
}

/* ---- flow ---- */

/* Refilled by quarters of a window: a packet a system call would measure the system calls. */
static void publisher_fill(struct run *run, struct load_client *c, uint64_t now_ns)
{
        const struct options *o = run->options;
        struct load *l = run->load;
        int64_t n_waiting = (int64_t)(c->n_sent * l->n_subscribers) - c->n_delivered;
        int64_t n = o->window - n_waiting / (int64_t)l->n_subscribers;

        if (o->settings.qos > 0 && n > (int64_t)o->inflight - c->n_unacked)
                n = (int64_t)o->inflight - c->n_unacked;
        if (run->timer >= 0 && n > (int64_t)run->n_due)
                n = (int64_t)run->n_due;
        if (run->timer < 0 && n < (o->settings.qos > 0 ? o->inflight : o->window) / 4)
                n = 0;
        for (; n > 0 && load_publish(l, c, now_ns); n--)
                run->n_due -= run->n_due > 0;
        load_flush(l, c);
}

/* What has not come for two seconds does not come: its place in the windows is free again. */
static void give_up_lost(struct run *run, uint64_t now_ns)
{
        struct load *l = run->load;

        if (run->n_deliveries_seen != l->n_deliveries) {
                run->n_deliveries_seen = l->n_deliveries;
                run->last_delivery_ns = now_ns;
        }
        if (now_ns - run->last_delivery_ns < LOST_NS)
                return;
        run->last_delivery_ns = now_ns;
        for (size_t i = 0; i < l->n_clients; i++) {
                struct load_client *c = &l->clients[i];
                int64_t n_expected = (int64_t)(c->n_sent * l->n_subscribers);

                if (c->role != LOAD_PUBLISHER || n_expected <= c->n_delivered)
                        continue;
                run->n_lost += (uint64_t)(n_expected - c->n_delivered);
                c->n_delivered = n_expected;
        }
}

static void run_turn(struct run *run)
{
        struct load *l = run->load;
        int n_events = load_turn(l, run->options->spin ? 0 : 100);
        uint64_t now_ns = load_now_ns(), n_expired;

        if (n_events <= 0 && run->turn_ns > 0)
                run->idle_ns += now_ns - run->turn_ns;
        run->turn_ns = now_ns;
        if (run->timer >= 0 && read(run->timer, &n_expired, sizeof(n_expired)) == sizeof(n_expired))
                run->n_due += n_expired;
        for (size_t i = 0; i < l->n_clients && l->n_subscribers > 0; i++)
                if (l->clients[i].role == LOAD_PUBLISHER)
                        publisher_fill(run, &l->clients[i], now_ns);
        if (l->n_subscribers > 0)
                give_up_lost(run, now_ns);
}

static void run_for(struct run *run, double seconds)
{
        uint64_t end_ns = load_now_ns() + (uint64_t)(seconds * 1e9);

        while (load_now_ns() < end_ns)
                run_turn(run);
}

static void start_timer(struct run *run)
{
        uint64_t period_ns = NS_PER_S / run->options->rate;
        struct itimerspec when = { .it_interval = { .tv_sec = (time_t)(period_ns / NS_PER_S),
                                                    .tv_nsec = (long)(period_ns % NS_PER_S) } };
        struct epoll_event event = { .events = EPOLLIN };

        when.it_value = when.it_interval;
        run->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (run->timer < 0 || timerfd_settime(run->timer, 0, &when, NULL) < 0 ||
            epoll_ctl(run->load->epoll, EPOLL_CTL_ADD, run->timer, &event) < 0)
                load_fail("timer: %s", strerror(errno));
}

static int compare_doubles(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static void print_latencies(struct load *l)
{
        static const struct {
                const char *name;
                double part;
        } wanted[] = { { "p50", 0.5 }, { "p99", 0.99 }, { "p99.9", 0.999 }, { "max", 1 } };

        if (l->n_latencies == 0)
                load_fail("nothing was delivered");
        qsort(l->latencies_us, l->n_latencies, sizeof(*l->latencies_us), compare_doubles);
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                size_t at = (size_t)(wanted[i].part * (double)l->n_latencies);

                printf(", \"%s_us\": %.1f", wanted[i].name,
                       l->latencies_us[at < l->n_latencies ? at : l->n_latencies - 1]);
        }
}

static void print_measured(struct run *run, const struct mark *from, const struct mark *to)
{
        double seconds = (double)(to->ns - from->ns) / 1e9;

        printf("{\"seconds\": %.4f, \"deliveries\": %llu, \"visits\": %llu, \"broker_cpu_s\": %.6f, "
               "\"broker_wait_s\": %.6f, \"load_cpu_s\": %.6f, \"idle\": %.3f, \"lost\": %llu",
               seconds, (unsigned long long)(to->n_deliveries - from->n_deliveries),
               (unsigned long long)(to->n_visits - from->n_visits), to->broker_s - from->broker_s,
               to->broker_wait_s - from->broker_wait_s, to->own_s - from->own_s,
               (double)(to->idle_ns - from->idle_ns) / 1e9 / seconds, (unsigned long long)run->n_lost);
        if (run->load->latencies_us)
                print_latencies(run->load);
        puts("}");
}

static void measure(struct run *run)
{
        struct mark from, to;

        run->last_delivery_ns = load_now_ns();
        run_for(run, run->options->warmup_s);
        run->load->n_latencies = 0;
        run->n_lost = 0;
        from = mark_now(run);
        run_for(run, run->options->seconds);
        to = mark_now(run);
        print_measured(run, &from, &to);
}

static void flow(struct run *run)
{
        const struct options *o = run->options;
        struct load *l = run->load;

        add_clients(l, LOAD_SUBSCRIBER, o->n_subscribers);
        add_clients(l, LOAD_PUBLISHER, o->n_publishers);
        if (o->rate > 0) {
                l->max_latencies = (size_t)(o->seconds * 2 * o->rate * o->n_subscribers) + 1000;
                l->latencies_us = calloc(l->max_latencies, sizeof(*l->latencies_us));
                if (!l->latencies_us)
                        load_fail("%s", strerror(errno));
                start_timer(run);
        }
        measure(run);
}

/* ---- idle and connects ---- */

/* Bytes; `key` with its colon. */
static unsigned long broker_memory(pid_t pid, const char *key)
{
        char path[64], line[256];
        unsigned long kib = 0;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
                if (strncmp(line, key, strlen(key)) == 0)
                        kib = strtoul(line + strlen(key), NULL, 10);
        if (!f || fclose(f) != 0 || kib == 0)
                load_fail("%s: %s", path, strerror(errno));
        return kib * 1024;
}

/* The first hundred clients are not counted: they touch code and fill what is allocated by the page. */
static void idle(struct run *run)
{
        const struct options *o = run->options;
        double rss, anonymous;

        add_clients(run->load, LOAD_IDLE, IDLE_BASE);
        run_for(run, o->warmup_s);
        rss = (double)broker_memory(o->pid, "Rss:");
        anonymous = (double)broker_memory(o->pid, "Anonymous:");
        add_clients(run->load, LOAD_IDLE, o->n_clients);
        run_for(run, o->warmup_s);
        rss = (double)broker_memory(o->pid, "Rss:") - rss;
        anonymous = (double)broker_memory(o->pid, "Anonymous:") - anonymous;
        printf("{\"clients\": %u, \"rss_bytes_each\": %.0f, \"anonymous_bytes_each\": %.0f}\n", o->n_clients,
               rss / o->n_clients, anonymous / o->n_clients);
}

static void connects(struct run *run)
{
        for (unsigned i = 0; i < run->options->n_clients; i++)
                (void)load_add(run->load, LOAD_VISITOR);
        measure(run);
}

/* ---- main ---- */

static void usage(void)
{
        puts("Usage: mqtt_load MODE --port N --pid BROKER [OPTION...]\n\n"
             "  flow      [--publishers 1] [--subscribers 1] [--qos 0] [--window 512] [--inflight 20] "
             "[--rate N]\n"
             "  idle      [--clients 1000] [--subscribe]\n"
             "  connects  [--clients 20]\n\n"
             "  --address 127.0.0.1  --version 4|5  --payload 64  --seconds 5  --warmup 0.5\n"
             "  --spin       never sleep; for a machine with a processor to spare\n"
             "  --quick-ack  acknowledge TCP segments at once, for brokers without TCP_NODELAY");
}

static unsigned number(const char *name, const char *text, unsigned min, unsigned max)
{
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        if (end == text || *end || value < min || value > max)
                load_fail("--%s: a number from %u to %u is wanted", name, min, max);
        return (unsigned)value;
}

enum {
        OPTION_HELP = 'h',
        OPTION_ADDRESS = 256,
        OPTION_SECONDS,
        OPTION_WARMUP,
        OPTION_SUBSCRIBE,
        OPTION_SPIN,
        OPTION_QUICK_ACK,
        OPTION_PORT,
        OPTION_PID,
        OPTION_NUMBERS, /* those of number_options[], in its order */
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, OPTION_HELP },
        { "address", required_argument, NULL, OPTION_ADDRESS },
        { "seconds", required_argument, NULL, OPTION_SECONDS },
        { "warmup", required_argument, NULL, OPTION_WARMUP },
        { "subscribe", no_argument, NULL, OPTION_SUBSCRIBE },
        { "spin", no_argument, NULL, OPTION_SPIN },
        { "quick-ack", no_argument, NULL, OPTION_QUICK_ACK },
        { "port", required_argument, NULL, OPTION_PORT },
        { "pid", required_argument, NULL, OPTION_PID },
        { "publishers", required_argument, NULL, OPTION_NUMBERS },
        { "subscribers", required_argument, NULL, OPTION_NUMBERS + 1 },
        { "clients", required_argument, NULL, OPTION_NUMBERS + 2 },
        { "window", required_argument, NULL, OPTION_NUMBERS + 3 },
        { "inflight", required_argument, NULL, OPTION_NUMBERS + 4 },
        { "rate", required_argument, NULL, OPTION_NUMBERS + 5 },
        { "qos", required_argument, NULL, OPTION_NUMBERS + 6 },
        { "version", required_argument, NULL, OPTION_NUMBERS + 7 },
        { "payload", required_argument, NULL, OPTION_NUMBERS + 8 },
        { 0 },
};

static void take_option(struct options *o, int option)
{
        const struct {
                const char *name;
                unsigned *value, min, max;
        } numbers[] = {
                { "publishers", &o->n_publishers, 1, LOAD_CLIENTS_MAX / 2 },
                { "subscribers", &o->n_subscribers, 1, LOAD_CLIENTS_MAX / 2 },
                { "clients", &o->n_clients, 1, LOAD_CLIENTS_MAX - IDLE_BASE },
                { "window", &o->window, 4, 100000 },
                { "inflight", &o->inflight, 4, 10000 },
                { "rate", &o->rate, 1, 1000000 },
                { "qos", &o->settings.qos, 0, 2 },
                { "version", &o->settings.version, 4, 5 },
                { "payload", &o->settings.n_payload, LOAD_PAYLOAD_MIN, LOAD_PAYLOAD_MAX },
        };

        if (option == OPTION_HELP) {
                usage();
                exit(EXIT_SUCCESS);
        } else if (option >= OPTION_NUMBERS) {
                size_t i = (size_t)(option - OPTION_NUMBERS);

                *numbers[i].value = number(numbers[i].name, optarg, numbers[i].min, numbers[i].max);
        } else if (option == OPTION_ADDRESS) {
                if (inet_pton(AF_INET, optarg, &o->settings.address.sin_addr) != 1)
                        load_fail("--address: an IPv4 address is wanted");
        } else if (option == OPTION_PORT) {
                o->settings.address.sin_port = htons((uint16_t)number("port", optarg, 1, UINT16_MAX));
        } else if (option == OPTION_PID) {
                o->pid = (pid_t)number("pid", optarg, 1, INT32_MAX);
        } else if (option == OPTION_SUBSCRIBE) {
                o->settings.subscribe = true;
        } else if (option == OPTION_SPIN) {
                o->spin = true;
        } else if (option == OPTION_QUICK_ACK) {
                o->settings.quick_ack = true;
        } else if (option == OPTION_SECONDS || option == OPTION_WARMUP) {
                *(option == OPTION_SECONDS ? &o->seconds : &o->warmup_s) = strtod(optarg, NULL);
        } else {
                usage();
                exit(EX_USAGE);
        }
}

static void parse(struct options *o, int argc, char **argv)
{
        int option;

        o->settings.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        o->settings.address.sin_family = AF_INET;
        while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
                take_option(o, option);
        if (optind != argc - 1 || o->pid == 0 || o->settings.address.sin_port == 0) {
                usage();
                exit(EX_USAGE);
        }
        o->mode = argv[optind];
        if (o->n_clients == 0)
                o->n_clients = strcmp(o->mode, "idle") == 0 ? 1000 : 20;
}

static void raise_descriptor_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

int main(int argc, char **argv)
{
        static struct load load;
        struct options options = {
                .settings = { .version = 4, .n_payload = 64 },
                .n_publishers = 1,
                .n_subscribers = 1,
                .window = 512,
                .inflight = 20,
                .seconds = 5,
                .warmup_s = 0.5,
        };
        struct run run = { .options = &options, .load = &load, .timer = -1 };

        parse(&options, argc, argv);
        raise_descriptor_limit();
        if (clock_getcpuclockid(options.pid, &run.broker_clock) != 0)
                load_fail("there is no process %d", (int)options.pid);
        load_init(&load, &options.settings, LOAD_CLIENTS_MAX);
        if (strcmp(options.mode, "flow") == 0)
                flow(&run);
        else if (strcmp(options.mode, "idle") == 0)
                idle(&run);
        else if (strcmp(options.mode, "connects") == 0)
                connects(&run);
        else
                load_fail("there is no mode \"%s\"", options.mode);
        if (run.timer >= 0)
                (void)close(run.timer);
        load_done(&load);
        return EXIT_SUCCESS;
}
