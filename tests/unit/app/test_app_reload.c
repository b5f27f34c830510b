/* SPDX-License-Identifier: MIT */
/*
 * What a reload keeps, adjusts, replaces and lets wait: real workers on ports that are not there, and real
 * links to an address where nobody listens.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "app.h"

#define LIMIT_US (20 * USEC_PER_SEC) /* longer than anything here may take */
#define LOOK_US  (2 * USEC_PER_MSEC)

/* A bus and a link that never come up; %s are further keys. */
#define BUS(name, port, keys, points)                                                            \
        "{ name = \"" name "\"; port = \"/nowhere/" port "\"; " keys " devices = ( { name = \"d" \
        "-" name "\"; unit_id = 1; points = ( " points " ); } ); }"
#define P1          "{ name = \"p1\"; holding = 0; }"
#define P2          P1 ", { name = \"p2\"; holding = 1; }"
#define BUSES(list) "buses = ( " list " );\n"
#define LINK(name, keys) \
        "{ name = \"" name "\"; host = \"127.0.0.1\"; port = 1; client_id = \"" name "\"; " keys " }"
#define LINKS(list) "links = ( " list " );\n"

struct rig {
        char file[64];
        struct options options;
        struct app app;
        struct loop_timer *look;
        bool (*is_done)(struct rig *r);
        uint64_t limit_us;
};

static atomic_uint n_anew, n_errors;

static void count_lines(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)fields;
        if (strstr(line, "begins anew"))
                atomic_fetch_add(&n_anew, 1);
        if (level == LOG_LEVEL_ERROR)
                atomic_fetch_add(&n_errors, 1);
}

static void on_look(void *user, uint64_t now_us)
{
        struct rig *r = user;

        if (r->is_done(r))
                loop_exit(r->app.loop, 1);
        else if (now_us > r->limit_us)
                loop_exit(r->app.loop, 2);
        else
                loop_timer_set(r->look, now_us + LOOK_US);
}

/* Lets the program live until something is so. */
static void rig_wait(struct rig *r, bool (*is_done)(struct rig *r))
{
        r->is_done = is_done;
        r->limit_us = clock_monotonic_us() + LIMIT_US;
        loop_timer_set(r->look, clock_monotonic_us());
        assert_int_equal(loop_run(r->app.loop), 1);
}

/* The test reaps by itself, the moment matters; but for a stop, which goes on as in the program. */
static void on_reap(void *user, uint64_t now_us)
{
        struct rig *r = user;

        (void)now_us;
        if (r->app.phase == APP_RUNNING || r->app.stop_us == 0)
                return;
        (void)buses_reap(&r->app);
        (void)links_reap(&r->app);
        app_stop_continue(&r->app);
}

static bool has_reaped(struct rig *r)
{
        bool is_ending = buses_reap(&r->app);

        return !(links_reap(&r->app) || is_ending);
}

static bool has_nothing(struct rig *r)
{
        return has_reaped(r) && !r->app.buses && !r->app.links;
}

static void rig_write(const struct rig *r, const char *text)
{
        FILE *f = fopen(r->file, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static struct rig *rig_new(const char *text)
{
        struct rig *r = calloc(1, sizeof(*r));
        struct conf_report report = { 0 };
        int fd;

        assert_non_null(r);
        (void)snprintf(r->file, sizeof(r->file), "/tmp/mbgate-reload-XXXXXX");
        fd = mkstemp(r->file);
        assert_true(fd >= 0);
        (void)close(fd);
        rig_write(r, text);
        r->options.config_file = r->file;
        r->app = (struct app){ .options = &r->options, .late = "" };
        n_anew = n_errors = 0;
        log_set_sink(count_lines, NULL);
        assert_int_equal(conf_load(r->file, NULL, &report, &r->app.conf), 0);
        conf_report_done(&report);
        assert_int_equal(loop_new(&r->app.loop), 0);
        assert_int_equal(loop_add_timer(r->app.loop, on_reap, r, &r->app.reap), 0);
        assert_int_equal(loop_add_timer(r->app.loop, on_look, r, &r->look), 0);
        assert_int_equal(gateway_new(r->app.loop, r->app.conf, &r->app.gateway), 0);
        assert_int_equal(buses_start(&r->app), 0);
        assert_int_equal(links_start(&r->app), 0);
        return r;
}

static void rig_free(struct rig *r)
{
        r->app.phase = APP_ENDING_LINKS;
        shares_free(&r->app);
        buses_stop(&r->app);
        links_stop(&r->app, clock_monotonic_us() + USEC_PER_SEC);
        rig_wait(r, has_nothing);
        r->app.gateway = gateway_free(r->app.gateway);
        r->app.reap = loop_timer_free(r->app.reap);
        r->look = loop_timer_free(r->look);
        r->app.loop = loop_free(r->app.loop);
        r->app.conf = conf_unref(r->app.conf);
        (void)unlink(r->file);
        log_set_sink(NULL, NULL);
        free(r);
}

static void rig_reload(struct rig *r, const char *text)
{
        rig_write(r, text);
        app_reload(&r->app);
}

static struct app_bus *bus_at(const struct rig *r, unsigned i)
{
        struct app_bus *b = r->app.buses;

        while (b && i-- > 0)
                b = b->next;
        if (!b)
                abort();
        return b;
}

static unsigned n_buses(const struct rig *r)
{
        unsigned n = 0;

        for (const struct app_bus *b = r->app.buses; b; b = b->next)
                n++;
        return n;
}

static struct app_link *link_at(const struct rig *r, unsigned i)
{
        struct app_link *l = r->app.links;

        while (l && i-- > 0)
                l = l->next;
        if (!l)
                abort();
        return l;
}

static unsigned n_links(const struct rig *r)
{
        unsigned n = 0;

        for (const struct app_link *l = r->app.links; l; l = l->next)
                n++;
        return n;
}

static void bus_is(const struct app_bus *b, const char *name, uint32_t index, bool is_waiting, bool is_ending)
{
        assert_string_equal(b->name, name);
        assert_int_equal(b->index, index);
        assert_int_equal(b->is_waiting, is_waiting);
        assert_int_equal(b->is_ending, is_ending);
        assert_int_equal(b->is_replaced, is_ending);
}

/* What did not change goes on: same thread, same connection, whatever the order in the file. */
static void test_what_is_the_same_stays(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1) ", " BUS("b", "2", "", P1))
                                        LINKS(LINK("x", "") ", " LINK("y", "")));
        struct app_bus *a = bus_at(r, 0), *b = bus_at(r, 1);
        struct app_link *x = link_at(r, 0), *y = link_at(r, 1);
        const struct worker *wa = a->worker, *wb = b->worker;
        const struct link *lx = x->link, *ly = y->link;

        (void)state;
        rig_reload(r, BUSES(BUS("b", "2", "", P1) ", " BUS("a", "1", "", P1))
                              LINKS(LINK("y", "") ", " LINK("x", "")));
        assert_ptr_equal(bus_at(r, 0), b);
        assert_ptr_equal(bus_at(r, 1), a);
        assert_int_equal(n_buses(r), 2);
        bus_is(b, "b", 0, false, false);
        bus_is(a, "a", 1, false, false);
        assert_ptr_equal(a->worker, wa);
        assert_ptr_equal(b->worker, wb);
        assert_ptr_equal(link_at(r, 0), y);
        assert_ptr_equal(link_at(r, 1), x);
        assert_int_equal(n_links(r), 2);
        assert_int_equal(x->index, 1);
        assert_int_equal(y->index, 0);
        assert_ptr_equal(x->link, lx);
        assert_ptr_equal(y->link, ly);
        assert_false(x->is_ending || y->is_ending || x->is_waiting || y->is_waiting);
        assert_int_equal(n_errors, 0);
        rig_free(r);
}

static void test_points_are_told_to_the_worker_that_goes_on(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)));
        struct app_bus *a = bus_at(r, 0);
        const struct worker *worker = a->worker;

        (void)state;
        a->devices[0] = DEVICE_ONLINE;
        rig_reload(r, BUSES(BUS("a", "1", "stats_interval_s = 7;", P2)));
        assert_ptr_equal(bus_at(r, 0), a);
        assert_ptr_equal(a->worker, worker);
        assert_int_equal(r->app.conf->n_points, 2);
        assert_int_equal(a->devices[0], DEVICE_UNKNOWN); /* the worker says how it is */
        assert_int_equal(n_buses(r), 1);
        assert_int_equal(n_errors, 0);
        rig_free(r);
}

static void test_another_line_is_another_worker_after_the_old_one(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)));
        struct app_bus *old = bus_at(r, 0), *new;

        (void)state;
        rig_reload(r, BUSES(BUS("a", "1", "baud = 19200;", P1)));
        new = bus_at(r, 0);
        assert_ptr_not_equal(new, old);
        assert_ptr_equal(bus_at(r, 1), old);
        bus_is(new, "a", 0, true, false);
        bus_is(old, "a", 0, false, true);
        assert_true(worker_has_ended(new->worker)); /* not begun */
        rig_wait(r, has_reaped);
        assert_ptr_equal(bus_at(r, 0), new);
        assert_int_equal(n_buses(r), 1);
        bus_is(new, "a", 0, false, false);
        assert_false(worker_has_ended(new->worker));
        rig_free(r);
}

static void test_a_port_has_one_worker_at_a_time(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1) ", " BUS("b", "2", "", P1)));

        (void)state;
        /* The ports change places. */
        rig_reload(r, BUSES(BUS("a", "2", "", P1) ", " BUS("b", "1", "", P1)));
        bus_is(bus_at(r, 0), "a", 0, true, false);
        bus_is(bus_at(r, 1), "b", 1, true, false);
        bus_is(bus_at(r, 2), "a", 0, false, true);
        bus_is(bus_at(r, 3), "b", 1, false, true);
        rig_wait(r, has_reaped);
        bus_is(bus_at(r, 0), "a", 0, false, false);
        bus_is(bus_at(r, 1), "b", 1, false, false);
        assert_int_equal(n_buses(r), 2);
        /* A new name on an old port. */
        rig_reload(r, BUSES(BUS("c", "2", "", P1) ", " BUS("b", "1", "", P1)));
        bus_is(bus_at(r, 0), "c", 0, true, false);
        bus_is(bus_at(r, 1), "b", 1, false, false);
        bus_is(bus_at(r, 2), "a", 0, false, true);
        rig_wait(r, has_reaped);
        bus_is(bus_at(r, 0), "c", 0, false, false);
        rig_free(r);
}

static void test_buses_come_and_go(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1) ", " BUS("b", "2", "", P1)));
        struct app_bus *b = bus_at(r, 1);

        (void)state;
        rig_reload(r, BUSES(BUS("b", "2", "", P1) ", " BUS("c", "3", "", P1)));
        assert_ptr_equal(bus_at(r, 0), b);
        bus_is(b, "b", 0, false, false);
        bus_is(bus_at(r, 1), "c", 1, false, false); /* nobody else's port: at once */
        bus_is(bus_at(r, 2), "a", 0, false, true);
        rig_wait(r, has_reaped);
        assert_int_equal(n_buses(r), 2);
        rig_reload(r, LINKS(LINK("x", "")));
        bus_is(bus_at(r, 0), "b", 0, false, true);
        bus_is(bus_at(r, 1), "c", 1, false, true);
        rig_wait(r, has_reaped);
        assert_int_equal(n_buses(r), 0);
        assert_int_equal(n_errors, 0);
        rig_free(r);
}

/* A second reload before the first one's predecessor has ended. */
static void test_who_waits_may_be_adjusted_or_replaced_too(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)));
        struct app_bus *waiting;

        (void)state;
        rig_reload(r, BUSES(BUS("a", "1", "baud = 19200;", P1)));
        waiting = bus_at(r, 0);
        rig_reload(r, BUSES(BUS("z", "9", "", P1) ", " BUS("a", "1", "baud = 19200;", P2)));
        assert_ptr_equal(bus_at(r, 1), waiting);
        bus_is(waiting, "a", 1, true, false);
        rig_reload(r, BUSES(BUS("a", "1", "baud = 38400;", P2)));
        bus_is(bus_at(r, 0), "a", 0, true, false);
        assert_ptr_not_equal(bus_at(r, 0), waiting);
        bus_is(waiting, "a", 1, true, true); /* never begun */
        rig_wait(r, has_reaped);
        bus_is(bus_at(r, 0), "a", 0, false, false);
        assert_int_equal(n_buses(r), 1);
        assert_int_equal(n_errors, 0);
        rig_free(r);
}

/* A box that is full cannot take the news: a worker with the old points would be wrong for ever. */
static void test_a_worker_that_cannot_be_told_begins_anew(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)));
        const struct app_bus *waiting;

        (void)state;
        rig_reload(r, BUSES(BUS("a", "1", "baud = 19200;", P1)));
        waiting = bus_at(r, 0); /* its box is not emptied */
        for (unsigned i = 0; i < BUS_BOX_MAX; i++)
                rig_reload(r, BUSES(BUS("a", "1", "baud = 19200;", P1)));
        assert_ptr_equal(bus_at(r, 0), waiting);
        assert_int_equal(n_anew, 0);
        rig_reload(r, BUSES(BUS("a", "1", "baud = 19200;", P2)));
        assert_int_equal(n_anew, 1);
        assert_ptr_not_equal(bus_at(r, 0), waiting);
        bus_is(bus_at(r, 0), "a", 0, true, false);
        rig_wait(r, has_reaped);
        bus_is(bus_at(r, 0), "a", 0, false, false);
        assert_int_equal(n_buses(r), 1);
        rig_free(r);
}

static void test_a_wrong_file_changes_nothing(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)) LINKS(LINK("x", "")));
        const struct app_bus *a = bus_at(r, 0);
        const struct app_link *x = link_at(r, 0);
        const struct conf *conf = r->app.conf;

        (void)state;
        rig_reload(r, BUSES(BUS("a", "1", "bauds = 19200;", P1)));
        assert_true(n_errors >= 2); /* which, and that the old one stays */
        assert_ptr_equal(r->app.conf, conf);
        assert_ptr_equal(bus_at(r, 0), a);
        assert_ptr_equal(link_at(r, 0), x);
        assert_false(a->is_ending || x->is_ending);
        (void)unlink(r->file);
        app_reload(&r->app);
        assert_ptr_equal(r->app.conf, conf);
        rig_free(r);
}

static void test_a_link_keeps_its_connection_over_what_is_not_its_own(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)) LINKS(LINK("x", "on_change = true;")));
        struct app_link *x = link_at(r, 0);
        const struct link *link = x->link;

        (void)state;
        rig_reload(r, BUSES(BUS("a", "1", "", P2))
                              LINKS(LINK("x", "on_change = false; publish = [ \"a/#\" ];")));
        assert_ptr_equal(link_at(r, 0), x);
        assert_ptr_equal(x->link, link);
        assert_false(x->is_ending || x->is_waiting);
        assert_int_equal(n_links(r), 1);
        rig_free(r);
}

static void test_a_link_to_elsewhere_waits_for_the_old_one(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("x", "keepalive_s = 30;")));
        struct app_link *old = link_at(r, 0), *new;

        (void)state;
        rig_reload(r, LINKS(LINK("w", "") ", " LINK("x", "keepalive_s = 31;")));
        new = link_at(r, 1);
        assert_false(link_at(r, 0)->is_waiting); /* a new name has nobody to wait for */
        assert_ptr_equal(link_at(r, 2), old);
        assert_true(new->is_waiting);
        assert_true(old->is_ending);
        rig_wait(r, has_reaped);
        assert_ptr_equal(link_at(r, 1), new);
        assert_int_equal(n_links(r), 2);
        assert_false(new->is_waiting);
        rig_free(r);
}

static void test_a_new_will_is_a_new_link(void **state)
{
        struct rig *r = rig_new(LINKS(LINK("x", "")));
        const struct app_link *old = link_at(r, 0);

        (void)state;
        rig_reload(r, "gateway = { status_topic = \"elsewhere\"; };\n" LINKS(LINK("x", "")));
        assert_ptr_not_equal(link_at(r, 0), old);
        assert_true(link_at(r, 0)->is_waiting);
        /* And again, before it has begun: it has the right will already. */
        rig_reload(r, "gateway = { status_topic = \"elsewhere\"; };\n" LINKS(LINK("x", "")));
        assert_ptr_equal(link_at(r, 1), old);
        assert_int_equal(n_links(r), 2);
        /* Gone while it waits: nothing is left but the old one, which ends. */
        rig_reload(r, BUSES(BUS("a", "1", "", P1)));
        assert_true(link_at(r, 0)->is_ending);
        rig_wait(r, has_reaped);
        assert_int_equal(n_links(r), 0);
        assert_int_equal(n_errors, 0);
        rig_free(r);
}

static uint16_t free_port(void)
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof(at);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
        (void)close(fd);
        return ntohs(at.sin_port);
}

/* A bus of 9600 or 19200 Bd, shared or not. */
static void reload_shared(struct rig *r, const char *name, unsigned baud, unsigned port)
{
        char share[64] = "", text[512];

        if (port)
                (void)snprintf(share, sizeof(share), "share = { listen = \"127.0.0.1:%u\"; };", port);
        (void)snprintf(text, sizeof(text),
                       "buses = ( { name = \"%s\"; port = \"/nowhere/1\"; baud = %u; %s devices = ( { name = "
                       "\"d\"; unit_id = 1; points = ( " P1 " ); } ); } );\n",
                       name, baud, share);
        rig_reload(r, text);
}

/* A server for other masters stays while its bus is replaced, and goes with the group. */
static void test_a_share_follows_its_bus(void **state)
{
        struct rig *r = rig_new(BUSES(BUS("a", "1", "", P1)));
        unsigned port = free_port();
        struct app_share *share;

        (void)state;
        assert_null(r->app.shares);
        reload_shared(r, "a", 9600, port);
        share = r->app.shares;
        assert_non_null(share);
        assert_ptr_equal(share->bus, bus_at(r, 0));
        reload_shared(r, "a", 19200, port); /* another worker, which waits for the first */
        assert_ptr_equal(r->app.shares, share);
        assert_null(share->bus);
        rig_wait(r, has_reaped);
        assert_ptr_equal(share->bus, bus_at(r, 0));
        reload_shared(r, "b", 19200, port); /* the address goes from one to the other */
        assert_non_null(r->app.shares);
        assert_null(r->app.shares->next);
        assert_string_equal(r->app.shares->name, "b");
        rig_wait(r, has_reaped);
        assert_ptr_equal(r->app.shares->bus, bus_at(r, 0));
        reload_shared(r, "b", 19200, 0);
        assert_null(r->app.shares);
        assert_int_equal(n_errors, 0);
        reload_shared(r, "b", 19200, port);
        rig_free(r);
}

/* ---- a name server that does not answer ---- */

#define HANG_NAME "hangs.invalid"

static atomic_bool is_hanging;
static int said[2]; /* a letter for each line that matters */

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
        void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

        if (name && strcmp(name, HANG_NAME) == 0) {
                atomic_store(&is_hanging, true);
                for (;;)
                        (void)pause();
        }
        memcpy(&real, &symbol, sizeof(real));
        return real(name, service, hints, ret);
}

static bool hangs(struct rig *r)
{
        (void)r;
        return atomic_load(&is_hanging);
}

static bool never(struct rig *r)
{
        (void)r;
        return false;
}

static void tell_lines(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        char what = level == LOG_LEVEL_ERROR ? line[0] : strstr(line, "left behind") ? '.' : '\0';

        (void)user;
        (void)fields;
        if (what && write(said[1], &what, 1) != 1)
                abort();
}

static void stop_beside_a_hanging_bus(void)
{
        struct rig *r = rig_new("buses = ( { name = \"h\"; port = \"tcp://" HANG_NAME
                                "\"; devices = ( { name = \"dh\"; unit_id = 1; points = ( " P1
                                " ); } ); }, " BUS("a", "1", "", P1) " );\n" LINKS(LINK("x", "")));

        rig_wait(r, hangs);
        log_set_sink(tell_lines, NULL);
        (void)unlink(r->file);
        app_stop(&r->app);
        app_stop(&r->app); /* as timeout(1) does */
        rig_wait(r, never);
}

/* One bus that hangs does not keep the others, the links and the broker from an orderly end. */
static void test_a_stop_leaves_behind_what_hangs(void **state)
{
        char lines[16] = "";
        int status;
        pid_t child;

        (void)state;
        assert_int_equal(pipe(said), 0);
        child = fork();
        if (child == 0) {
                stop_beside_a_hanging_bus();
                _exit(1);
        }
        (void)close(said[1]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EX_SOFTWARE);
        assert_true(read(said[0], lines, sizeof(lines) - 1) > 0);
        (void)close(said[0]);
        assert_string_equal(lines, "b."); /* the bus, no link, and not at the guard's 5 s */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_the_same_stays),
                cmocka_unit_test(test_points_are_told_to_the_worker_that_goes_on),
                cmocka_unit_test(test_another_line_is_another_worker_after_the_old_one),
                cmocka_unit_test(test_a_port_has_one_worker_at_a_time),
                cmocka_unit_test(test_buses_come_and_go),
                cmocka_unit_test(test_who_waits_may_be_adjusted_or_replaced_too),
                cmocka_unit_test(test_a_worker_that_cannot_be_told_begins_anew),
                cmocka_unit_test(test_a_wrong_file_changes_nothing),
                cmocka_unit_test(test_a_share_follows_its_bus),
                cmocka_unit_test(test_a_link_keeps_its_connection_over_what_is_not_its_own),
                cmocka_unit_test(test_a_link_to_elsewhere_waits_for_the_old_one),
                cmocka_unit_test(test_a_new_will_is_a_new_link),
                cmocka_unit_test(test_a_stop_leaves_behind_what_hangs),
        };
        int r;

        if (link_mosquitto_global_init() < 0)
                return 1;
        r = cmocka_run_group_tests(tests, NULL, NULL);
        link_mosquitto_global_done();
        return r;
}
