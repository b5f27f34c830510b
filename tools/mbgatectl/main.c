/* SPDX-License-Identifier: MIT */
/*
 * mbgatectl: asks a running mbgated by its control socket (src/app/control.h). One request, one answer.
 *
 *   command line ──► "set dev/led 512\n" ──► mbgated ──► {"ok":true,"value":512,…} ──► text and exit code
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/text.h"

#define SOCKET_DEFAULT    "/run/mbgate/control"
#define TIMEOUT_DEFAULT_S 60
#define REQUEST_BYTES     8192
#define ANSWER_BYTES_MAX  ((size_t)16 * 1024 * 1024)
#define EX_REFUSED        1

struct options {
        const char *socket;
        int64_t timeout_s;
        bool wants_json;
};

static void print_help(FILE *out)
{
        (void)fputs("Usage: mbgatectl [OPTION...] status\n"
                    "       mbgatectl [OPTION...] get DEVICE/POINT\n"
                    "       mbgatectl [OPTION...] set DEVICE/POINT VALUE\n"
                    "       mbgatectl [OPTION...] raw BUS BYTES...|JSON\n"
                    "\n"
                    "Asks the mbgated that runs on this board.\n"
                    "\n"
                    "  status  the buses, their ports, and which devices answer\n"
                    "  get     read a point now, and print its value\n"
                    "  set     write a point: a number, on, off, a label\n"
                    "  raw     any Modbus request: unit and PDU in hexadecimal without CRC, or JSON fields\n"
                    "\n"
                    "  -s, --socket PATH   of the program; default " SOCKET_DEFAULT "\n"
                    "  -t, --timeout S     how long to wait for the answer; default 60\n"
                    "  -j, --json          print the answer as it came\n"
                    "  -h, --help          this text\n"
                    "  -V, --version       the version\n"
                    "\n"
                    "Exit code: 0 done; 1 refused or failed, and why; 64 wrong words; 69 nobody to ask.\n"
                    "More: mbgatectl(1)\n",
                    out);
}

/* ---- the exchange ---- */

static int say_unavailable(const struct options *o, int error)
{
        const char *remedy = error == ENOENT || error == ECONNREFUSED
                                     ? ": does mbgated run? its --control says where it listens"
                             : error == EACCES ? ": you must be root or in the group of its service, mbgate"
                                               : "";

        (void)fprintf(stderr, "mbgatectl: %s: %s%s\n", o->socket, strerror(error), remedy);
        return EX_UNAVAILABLE;
}

/* A connected socket whose calls end in time, or −errno. */
static int connect_to(const struct options *o)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        struct timeval limit = { .tv_sec = o->timeout_s };
        int fd, r;

        if (strlen(o->socket) >= sizeof(at.sun_path))
                return -ENAMETOOLONG;
        (void)strcpy(at.sun_path, o->socket);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
            connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
                return fd;
        r = -errno;
        (void)close(fd);
        return r;
}

/* Reads up to the end of the line. 0 or −errno. */
static int read_line(int fd, char **ret_line)
{
        size_t n = 0, size = 4096;
        CLEANUP(cleanup_free)
        char *line = malloc(size);

        while (line && n < ANSWER_BYTES_MAX) {
                ssize_t got = recv(fd, line + n, size - n - 1, 0);

                if (got <= 0)
                        return got == 0 ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
                n += (size_t)got;
                line[n] = '\0';
                if (line[n - 1] == '\n') {
                        line[n - 1] = '\0';
                        *ret_line = TAKE(line);
                        return 0;
                }
                if (size - n < 2) {
                        char *more = realloc(line, size *= 2);

                        if (!more)
                                return -ENOMEM;
                        line = more;
                }
        }
        return line ? -EMSGSIZE : -ENOMEM;
}

static int exchange(const struct options *o, const struct buf *request, char **ret_line)
{
        CLEANUP(cleanup_close)
        int fd = connect_to(o);
        size_t n = 0;

        if (fd < 0)
                return fd;
        while (n < request->len_bytes) {
                ssize_t sent = send(fd, request->data + n, request->len_bytes - n, MSG_NOSIGNAL);

                if (sent < 0)
                        return -errno;
                n += (size_t)sent;
        }
        return read_line(fd, ret_line);
}

/* ---- the answer ---- */

static const char *text_of(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

static void print_status(const json_t *value)
{
        json_t *bus, *device;
        size_t b, d;

        json_array_foreach(json_object_get(value, "buses"), b, bus)
        {
                bool is_open = json_is_true(json_object_get(bus, "open"));

                (void)printf("bus %s: %s: %s\n", text_of(bus, "name"), text_of(bus, "port"),
                             is_open ? "open" : text_of(bus, "reason"));
                json_array_foreach(json_object_get(bus, "devices"), d, device)(void)
                        printf("  %-24s unit %3d  %s\n", text_of(device, "name"),
                               (int)json_integer_value(json_object_get(device, "unit_id")),
                               text_of(device, "status"));
        }
}

static void print_value(const json_t *value)
{
        const char *bytes = json_string_value(json_object_get(value, "bytes"));
        char *text;

        if (json_is_object(value) && json_object_get(value, "buses"))
                return print_status(value);
        if (bytes || json_is_string(value)) {
                (void)puts(bytes ? bytes : json_string_value(value));
                return;
        }
        text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
        if (text && !json_is_null(value))
                (void)puts(text);
        free(text);
}

static int print_answer(const struct options *o, const char *line)
{
        json_error_t where;
        json_t *answer = json_loads(line, JSON_DECODE_ANY, &where);
        bool is_ok = json_is_true(json_object_get(answer, "ok"));

        if (o->wants_json) {
                (void)puts(line);
        } else if (!answer) {
                (void)fprintf(stderr, "mbgatectl: the answer cannot be read: %s\n", where.text);
        } else if (!is_ok) {
                (void)fprintf(stderr, "mbgatectl: %s\n", text_of(answer, "error"));
        } else {
                print_value(json_object_get(answer, "value"));
        }
        json_decref(answer);
        return is_ok ? EX_OK : EX_REFUSED;
}

/* ---- the command line ---- */

static int wrong_words(const char *what, const char *word)
{
        (void)fprintf(stderr, "mbgatectl: %s%s%s; see mbgatectl --help\n", word, *word ? ": " : "", what);
        return EX_USAGE;
}

/* EX_OK with the request as a line, or what to exit with. */
static int request_of(int n_words, char *const *words, struct buf *request)
{
        static const struct {
                const char *verb, *wanted;
                int n_least, n_most;
        } verbs[] = {
                { "status", "takes nothing more", 1, 1 },
                { "get", "DEVICE/POINT is wanted", 2, 2 },
                { "set", "DEVICE/POINT and a value are wanted", 3, 3 },
                { "raw", "a bus, and bytes or JSON are wanted", 3, REQUEST_BYTES },
        };

        if (n_words == 0)
                return wrong_words("what shall be done?", "");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (strcmp(words[0], verbs[i].verb) != 0)
                        continue;
                if (n_words < verbs[i].n_least || n_words > verbs[i].n_most)
                        return wrong_words(verbs[i].wanted, words[0]);
                for (int k = 0; k < n_words; k++) {
                        if (strchr(words[k], '\n') || (k == 1 && strchr(words[k], ' ')))
                                return wrong_words("no line breaks, and no blanks in names", words[0]);
                        buf_printf(request, "%s%s", k ? " " : "", words[k]);
                }
                buf_append_char(request, '\n');
                return request->overflowed ? wrong_words("too long", words[0]) : EX_OK;
        }
        return wrong_words("unknown", words[0]);
}

/* EX_OK: go on; below 0: --help or --version were printed. */
static int options_parse(int argc, char *argv[], struct options *o)
{
        static const struct option known[] = {
                { "socket", required_argument, NULL, 's' }, { "timeout", required_argument, NULL, 't' },
                { "json", no_argument, NULL, 'j' },         { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },      { 0 },
        };
        int key;

        opterr = 0;
        while ((key = getopt_long(argc, argv, "+:s:t:jhV", known, NULL)) != -1) {
                switch (key) {
                case 's': o->socket = optarg; break;
                case 't':
                        if (text_parse_i64(optarg, strlen(optarg), 1, 86400, &o->timeout_s) < 0)
                                return wrong_words("--timeout takes seconds, 1 to 86400", optarg);
                        break;
                case 'j': o->wants_json = true; break;
                case 'h': print_help(stdout); return -1;
                case 'V': (void)puts("mbgatectl " MBGATE_VERSION); return -1;
                case ':': return wrong_words("an argument is missing", argv[optind - 1]);
                default: return wrong_words("unknown option", argv[optind - 1]);
                }
        }
        return EX_OK;
}

int main(int argc, char *argv[])
{
        struct options o = { .socket = SOCKET_DEFAULT, .timeout_s = TIMEOUT_DEFAULT_S };
        char text[REQUEST_BYTES];
        struct buf request = BUF_ON(text);
        CLEANUP(cleanup_free)
        char *line = NULL;
        int r = options_parse(argc, argv, &o);

        if (r == EX_OK)
                r = request_of(argc - optind, argv + optind, &request);
        if (r != EX_OK)
                return r < 0 ? EX_OK : r;
        r = exchange(&o, &request, &line);
        if (r < 0)
                return say_unavailable(&o, -r);
        return print_answer(&o, line);
}
