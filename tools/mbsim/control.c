/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "mbgate/base/text.h"
#include "simclock.h"
#include "stats.h"

#define CONTROL_CONNECTIONS_MAX 16
#define CONTROL_LINE_BYTES      1024
#define CONTROL_REASON_BYTES    400

struct control_connection {
        struct source source;
        struct control *control;
        char line[CONTROL_LINE_BYTES];
        size_t n_line;
        bool used;
};

struct control {
        struct sim *sim;
        struct source listener;
        char *path;
        struct control_connection connections[CONTROL_CONNECTIONS_MAX];
};

/* "BUS/rest": whether this bus is meant; *ret_rest is what follows, or all of it. */
static bool target_names_bus(const char *target, const struct simbus *bus, const char **ret_rest)
{
        const char *slash = strchr(target, '/');
        size_t n = slash ? (size_t)(slash - target) : 0;

        *ret_rest = slash ? slash + 1 : target;
        return !slash || (strlen(bus->name) == n && memcmp(bus->name, target, n) == 0);
}

int control_set(struct sim *sim, const char *target, const char *generator, struct buf *error)
{
        int result = -ENOENT;

        for (size_t i = 0; i < sim->n_buses; i++) {
                const char *rest;
                int r = -ENOENT;

                if (target_names_bus(target, sim->buses[i], &rest))
                        r = map_set(sim->buses[i]->map, rest, generator, error);
                if (r == 0)
                        result = 0;
                else if (r != -ENOENT)
                        return r;
        }
        if (result == -ENOENT)
                buf_printf(error,
                           "there is no \"%s\" here; name a point by DEVICE.POINT or UNIT:AREA:ADDRESS",
                           target);
        return result;
}

int control_fault(struct sim *sim, const char *text, struct buf *error)
{
        struct fault_rule rule;
        unsigned n = 0;
        int r = fault_parse(text, &rule, error);

        if (r < 0)
                return r;
        for (size_t i = 0; i < sim->n_buses; i++) {
                if (rule.bus[0] != '\0' && strcmp(rule.bus, sim->buses[i]->name) != 0)
                        continue;
                n++;
                if (faults_add(&sim->buses[i]->faults, &rule) < 0) {
                        buf_printf(error, "a bus takes at most %d faults", FAULT_RULES_MAX);
                        return -EINVAL;
                }
        }
        if (n == 0) {
                buf_printf(error, "there is no bus \"%s\" here", rule.bus);
                return -EINVAL;
        }
        return 0;
}

static void control_answer(int r, const char *reason, FILE *out)
{
        if (r == 0)
                fputs("ok\n", out);
        else
                fprintf(out, "error: %s\n", reason[0] ? reason : strerror(-r));
}

static void command_fault(struct sim *sim, char *args, FILE *out)
{
        char reason[CONTROL_REASON_BYTES] = "";
        struct buf error = BUF_ON(reason);

        control_answer(control_fault(sim, args, &error), reason, out);
}

static void command_clear(struct sim *sim, char *args, FILE *out)
{
        (void)args;
        for (size_t i = 0; i < sim->n_buses; i++)
                sim->buses[i]->faults.n_rules = 0;
        fputs("ok\n", out);
}

static void command_set(struct sim *sim, char *args, FILE *out)
{
        char reason[CONTROL_REASON_BYTES] = "";
        struct buf error = BUF_ON(reason);
        char *generator = args + strcspn(args, " =");

        if (*generator != '\0')
                *generator++ = '\0';
        control_answer(control_set(sim, args, generator + strspn(generator, " ="), &error), reason, out);
}

static void command_get(struct sim *sim, char *args, FILE *out)
{
        uint16_t regs[VALUE_REGS_MAX];
        unsigned n;

        for (size_t i = 0; i < sim->n_buses; i++) {
                const char *rest;

                if (!target_names_bus(args, sim->buses[i], &rest) ||
                    map_get(sim->buses[i]->map, rest, simclock_now_ns(), regs, &n) < 0)
                        continue;
                fputs("ok", out);
                for (unsigned k = 0; k < n; k++)
                        fprintf(out, " %u", regs[k]);
                fputc('\n', out);
                return;
        }
        fprintf(out, "error: there is no \"%s\" here\n", args);
}

static void control_set_dead(struct sim *sim, const char *args, bool dead, FILE *out)
{
        unsigned n = 0;

        for (size_t i = 0; i < sim->n_buses; i++) {
                const char *rest;
                int64_t unit;

                if (!target_names_bus(args, sim->buses[i], &rest) ||
                    text_parse_i64(rest, strlen(rest), 0, 255, &unit) < 0 ||
                    !map_has_unit(sim->buses[i]->map, (uint8_t)unit))
                        continue;
                map_set_dead(sim->buses[i]->map, (uint8_t)unit, dead);
                n++;
        }
        if (n == 0)
                fprintf(out, "error: there is no unit \"%s\" here; name it by its number, or BUS/NUMBER\n",
                        args);
        else
                fputs("ok\n", out);
}

static void command_dead(struct sim *sim, char *args, FILE *out)
{
        control_set_dead(sim, args, true, out);
}

static void command_alive(struct sim *sim, char *args, FILE *out)
{
        control_set_dead(sim, args, false, out);
}

/* "hangup [BUS] [TIME]" */
static void command_hangup(struct sim *sim, char *args, FILE *out)
{
        uint64_t duration_ns = 2 * NS_PER_S;
        const char *bus = NULL;
        char *save = NULL;
        unsigned n = 0;

        for (char *word = strtok_r(args, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
                if (pace_parse_time(word, strlen(word), NS_PER_S, &duration_ns) < 0)
                        bus = word;
        }
        for (size_t i = 0; i < sim->n_buses; i++) {
                if (bus && strcmp(bus, sim->buses[i]->name) != 0)
                        continue;
                endpoint_hangup(sim->endpoints[i], simclock_now_ns(), duration_ns);
                n++;
        }
        if (n == 0)
                fprintf(out, "error: there is no bus \"%s\" here\n", bus ? bus : "");
        else
                fputs("ok\n", out);
}

static void command_stats(struct sim *sim, char *args, FILE *out)
{
        (void)args;
        stats_print_all((const struct simbus *const *)sim->buses, sim->n_buses, simclock_now_ns(), out);
}

static void command_reset(struct sim *sim, char *args, FILE *out)
{
        (void)args;
        for (size_t i = 0; i < sim->n_buses; i++)
                stats_reset(&sim->buses[i]->stats, simclock_now_ns());
        fputs("ok\n", out);
}

static void command_quit(struct sim *sim, char *args, FILE *out)
{
        (void)args;
        sim->stop = true;
        fputs("ok\n", out);
}

static const struct {
        const char *name;
        void (*run)(struct sim *sim, char *args, FILE *out);
} commands[] = {
        { "fault", command_fault }, { "clear", command_clear },   { "set", command_set },
        { "get", command_get },     { "dead", command_dead },     { "alive", command_alive },
        { "stats", command_stats }, { "hangup", command_hangup }, { "reset", command_reset },
        { "quit", command_quit },
};

void control_execute(struct sim *sim, char *line, FILE *out)
{
        char *args;
        size_t n = strcspn(line, "\r\n");

        while (n > 0 && line[n - 1] == ' ')
                n--;
        line[n] = '\0';
        args = line + strcspn(line, " ");
        if (*args != '\0')
                *args++ = '\0';
        args += strspn(args, " ");
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
                if (strcmp(line, commands[i].name) == 0) {
                        commands[i].run(sim, args, out);
                        return;
                }
        }
        fprintf(out, "error: \"%s\" is none of fault clear set get dead alive hangup stats reset quit\n",
                line);
}

static void control_connection_close(struct control_connection *c)
{
        if (c->source.fd < 0)
                return;
        loop_remove(&c->control->sim->loop, &c->source);
        if (c->source.fd != STDIN_FILENO)
                close(c->source.fd);
        c->source.fd = -1;
        c->used = false;
}

static void control_reply(struct control_connection *c, const char *text, size_t n_bytes)
{
        if (c->source.fd == STDIN_FILENO) {
                (void)fwrite(text, 1, n_bytes, stdout);
                (void)fflush(stdout);
        } else if (send(c->source.fd, text, n_bytes, MSG_NOSIGNAL) != (ssize_t)n_bytes) {
                control_connection_close(c);
        }
}

static void control_line(struct control_connection *c, char *line)
{
        char *text = NULL;
        size_t n_bytes = 0;
        FILE *out = open_memstream(&text, &n_bytes);

        if (!out) {
                control_connection_close(c);
                return;
        }
        control_execute(c->control->sim, line, out);
        fclose(out);
        control_reply(c, text, n_bytes);
        free(text);
}

static void control_lines(struct control_connection *c)
{
        char *newline;

        while (c->source.fd >= 0 && (newline = memchr(c->line, '\n', c->n_line))) {
                char line[CONTROL_LINE_BYTES];
                size_t n = (size_t)(newline - c->line);

                memcpy(line, c->line, n);
                line[n] = '\0';
                c->n_line -= n + 1;
                memmove(c->line, newline + 1, c->n_line);
                control_line(c, line);
        }
        if (c->n_line == sizeof(c->line))
                control_connection_close(c);
}

static void control_connection_ready(struct source *s, uint32_t events)
{
        struct control_connection *c = CONTAINER_OF(s, struct control_connection, source);
        ssize_t n = read(s->fd, c->line + c->n_line, sizeof(c->line) - c->n_line);

        (void)events;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                control_connection_close(c);
                return;
        }
        c->n_line += (size_t)n;
        control_lines(c);
}

static int control_connect(struct control *control, int fd)
{
        for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
                struct control_connection *c = &control->connections[i];

                if (c->used)
                        continue;
                *c = (struct control_connection){ .control = control, .used = true };
                c->source = (struct source){ .fd = fd, .ready = control_connection_ready };
                return loop_add(&control->sim->loop, &c->source);
        }
        return -EMFILE;
}

static void control_listener_ready(struct source *s, uint32_t events)
{
        struct control *control = CONTAINER_OF(s, struct control, listener);
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

        (void)events;
        if (fd >= 0 && control_connect(control, fd) < 0)
                close(fd);
}

static int control_listen(struct control *c)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct stat st;

        if (strlen(c->path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, c->path, strlen(c->path));
        if (lstat(c->path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(c->path);
        c->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->listener.fd < 0 || bind(c->listener.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(c->listener.fd, CONTROL_CONNECTIONS_MAX) < 0)
                return -errno;
        return loop_add(&c->sim->loop, &c->listener);
}

int control_new(struct sim *sim, const char *path, struct control **ret)
{
        CLEANUP(control_freep)
        struct control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->sim = sim;
        c->listener = (struct source){ .fd = -1, .ready = control_listener_ready };
        if (strcmp(path, "-") == 0) {
                r = control_connect(c, STDIN_FILENO);
        } else {
                c->path = strdup(path);
                r = c->path ? control_listen(c) : -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

struct control *control_free(struct control *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
                if (c->connections[i].used)
                        control_connection_close(&c->connections[i]);
        }
        if (c->listener.fd >= 0) {
                close(c->listener.fd);
                (void)unlink(c->path);
        }
        free(c->path);
        free(c);
        return NULL;
}
