/* SPDX-License-Identifier: MIT */
/*
 * The file, a line for each hole, what follows a # is a comment:
 *
 *   holding 12 3 0123456789abcdef rs485 meter1
 *   area, address, count (0: a cut before address), fingerprint of the device's unit id and map, bus, device
 *
 * "gaps 0 0 …" and "joins 0 0 …" stand for all of them, where more are refused than can be kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mbgate/base/array.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/log.h"
#include "mbgate/base/thread.h"
#include "mbgate/bus/plan.h"

#include "learned.h"

#define LEARNED_HEAD       "# mbgate: registers that devices refuse. Can be deleted while mbgated does not run.\n"
#define LEARNED_LINE_BYTES 1024
#define LEARNED_NAME_BYTES 256
#define LEARNED_LINES_MAX  100000 /* more are not read */

/* Of each device a few tens, as its bus limits them. */
struct entry {
        char *bus, *device;
        uint64_t fingerprint;
        struct bus_hole *holes;
        size_t n_holes, size;
};

struct learned {
        char *path, *new_path; /* NULL: nowhere */
        struct loop *loop;
        struct loop_timer *timer;
        struct entry *entries;
        size_t n_entries, size;
        bool is_dirty;
        bool has_failed; /* said once */
        /* The writer: between its start and its end these are its own. */
        pthread_t thread;
        bool is_writing;
        atomic_bool has_written;
        char *text;
        int error;
};

static const char *const areas[BUS_HOLE_AREAS] = {
        [CONF_HOLDING] = "holding",   [CONF_INPUT] = "input",       [CONF_COIL] = "coil",
        [CONF_DISCRETE] = "discrete", [BUS_HOLE_ALL_GAPS] = "gaps", [BUS_HOLE_ALL_JOINS] = "joins",
};

static void entry_done(struct entry *e)
{
        free(e->bus);
        free(e->device);
        free(e->holes);
        *e = (struct entry){ 0 };
}

static void entry_remove(struct learned *l, size_t i)
{
        entry_done(&l->entries[i]);
        l->entries[i] = l->entries[--l->n_entries];
}

static struct entry *entry_find(const struct learned *l, const char *bus, const char *device)
{
        for (size_t i = 0; i < l->n_entries; i++) {
                if (strcmp(l->entries[i].device, device) == 0 && strcmp(l->entries[i].bus, bus) == 0)
                        return &l->entries[i];
        }
        return NULL;
}

static struct entry *entry_add(struct learned *l, const char *bus, const char *device, uint64_t fingerprint)
{
        struct entry *entries = array_reserve(l->entries, l->n_entries + 1, &l->size, sizeof(*entries));
        struct entry e = { .bus = strdup(bus), .device = strdup(device), .fingerprint = fingerprint };

        if (entries)
                l->entries = entries;
        if (!entries || !e.bus || !e.device) {
                entry_done(&e);
                return NULL;
        }
        entries[l->n_entries] = e;
        return &entries[l->n_entries++];
}

static bool entry_add_hole(struct entry *e, const struct bus_hole *hole)
{
        struct bus_hole *holes = array_reserve(e->holes, e->n_holes + 1, &e->size, sizeof(*holes));

        if (!holes)
                return false;
        e->holes = holes;
        holes[e->n_holes++] = *hole;
        return true;
}

static const struct conf_device *conf_find(const struct conf *conf, const char *bus, const char *device)
{
        for (size_t b = 0; b < conf->n_buses; b++) {
                if (strcmp(conf->buses[b].name, bus) != 0)
                        continue;
                for (size_t d = 0; d < conf->buses[b].n_devices; d++) {
                        if (strcmp(conf->buses[b].devices[d].name, device) == 0)
                                return &conf->buses[b].devices[d];
                }
        }
        return NULL;
}

static bool area_parse(const char *word, uint8_t *ret)
{
        for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
                if (strcmp(areas[i], word) == 0) {
                        *ret = (uint8_t)i;
                        return true;
                }
        }
        return false;
}

/* What is not understood is left out: it is learned again. */
static void read_line(struct learned *l, const struct conf *conf, const char *line)
{
        char area[16], bus[LEARNED_NAME_BYTES], device[LEARNED_NAME_BYTES];
        const struct conf_device *d;
        unsigned address, count;
        struct bus_hole hole;
        uint64_t fingerprint;
        struct entry *e;

        if (*line == '#' || sscanf(line, "%15s %6u %6u %16" SCNx64 " %255s %255s", area, &address, &count,
                                   &fingerprint, bus, device) != 6)
                return;
        d = conf_find(conf, bus, device);
        if (!d || plan_fingerprint(d) != fingerprint || !area_parse(area, &hole.area) ||
            address > UINT16_MAX || address + count > UINT16_MAX + 1u || count > UINT16_MAX)
                return;
        hole.address = (uint16_t)address;
        hole.count = (uint16_t)count;
        e = entry_find(l, bus, device);
        if (!e)
                e = entry_add(l, bus, device, fingerprint);
        if (e)
                (void)entry_add_hole(e, &hole);
}

static void learned_read(struct learned *l, const struct conf *conf)
{
        char line[LEARNED_LINE_BYTES];
        FILE *f = fopen(l->path, "re");

        if (!f) {
                if (errno != ENOENT)
                        log_warn(NULL, "%s: cannot be read (%s): what devices refuse is learned again",
                                 l->path, strerror(errno));
                return;
        }
        for (unsigned n = 0; n < LEARNED_LINES_MAX && fgets(line, sizeof(line), f); n++)
                read_line(l, conf, line);
        (void)fclose(f);
}

/* All of it as text; NULL: no memory. */
static char *learned_text(const struct learned *l)
{
        char *text = NULL;
        size_t n_bytes = 0;
        FILE *f = open_memstream(&text, &n_bytes);

        if (!f)
                return NULL;
        (void)fputs(LEARNED_HEAD, f);
        for (size_t i = 0; i < l->n_entries; i++) {
                const struct entry *e = &l->entries[i];

                for (size_t k = 0; k < e->n_holes; k++)
                        (void)fprintf(f, "%s %u %u %016" PRIx64 " %s %s\n", areas[e->holes[k].area],
                                      (unsigned)e->holes[k].address, (unsigned)e->holes[k].count,
                                      e->fingerprint, e->bus, e->device);
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int write_all(int fd, const char *text)
{
        size_t left = strlen(text);

        while (left > 0) {
                ssize_t n = write(fd, text, left);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        text += n;
                        left -= (size_t)n;
                }
        }
        return fsync(fd) < 0 ? -errno : 0;
}

/* Whole or not at all, also when the power goes. */
static int write_file(const struct learned *l)
{
        int fd = open(l->new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, l->text);
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r == 0 && rename(l->new_path, l->path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(l->new_path);
        return r;
}

static void *writer_run(void *user)
{
        struct learned *l = user;

        l->error = -write_file(l);
        atomic_store(&l->has_written, true);
        return NULL;
}

static void writer_join(struct learned *l)
{
        if (!l->is_writing)
                return;
        (void)pthread_join(l->thread, NULL);
        l->is_writing = false;
        free(l->text);
        l->text = NULL;
        if (l->error != 0) {
                l->is_dirty = true;
                if (!l->has_failed)
                        log_warn(&(struct log_fields){ .error = l->error },
                                 "%s: cannot be written (%s): what devices refuse is learned again after a "
                                 "restart",
                                 l->path, strerror(l->error));
        }
        l->has_failed = l->error != 0;
}

static void writer_start(struct learned *l)
{
        l->text = learned_text(l);
        if (!l->text)
                return; /* next time */
        atomic_store(&l->has_written, false);
        if (thread_start(&l->thread, "learned", writer_run, l) < 0) {
                free(l->text);
                l->text = NULL;
                return;
        }
        l->is_writing = true;
        l->is_dirty = false;
}

static void learned_on_timer(void *user, uint64_t now_us)
{
        struct learned *l = user;

        if (l->is_writing && atomic_load(&l->has_written))
                writer_join(l);
        if (l->is_dirty && !l->is_writing)
                writer_start(l);
        if (l->is_dirty || l->is_writing)
                loop_timer_set(l->timer, now_us + (l->has_failed ? 60 * USEC_PER_SEC : LEARNED_PAUSE_US));
}

static void learned_changed(struct learned *l)
{
        if (!l->is_dirty && !l->is_writing && l->path)
                loop_timer_set(l->timer, loop_now_us(l->loop) + LEARNED_PAUSE_US);
        l->is_dirty = l->path != NULL;
}

int learned_new(struct loop *loop, const struct conf *conf, struct learned **ret_learned)
{
        const char *folder = conf->gateway.state_directory;
        struct learned *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->loop = loop;
        r = loop_add_timer(loop, learned_on_timer, l, &l->timer);
        if (r == 0 && folder && *folder) {
                if (asprintf(&l->path, "%s/%s", folder, LEARNED_FILE) < 0)
                        l->path = NULL;
                if (asprintf(&l->new_path, "%s/%s.new", folder, LEARNED_FILE) < 0)
                        l->new_path = NULL;
                if (!l->path || !l->new_path)
                        r = -ENOMEM;
                if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                        log_warn(NULL, "%s: cannot be made: %s", folder, strerror(errno));
        }
        if (r < 0) {
                (void)learned_free(l);
                return r;
        }
        if (l->path)
                learned_read(l, conf);
        *ret_learned = l;
        return 0;
}

struct learned *learned_free(struct learned *l)
{
        if (!l)
                return NULL;
        writer_join(l);
        if (l->is_dirty) {
                writer_start(l);
                writer_join(l);
        }
        l->timer = loop_timer_free(l->timer);
        while (l->n_entries > 0)
                entry_remove(l, l->n_entries - 1);
        free(l->entries);
        free(l->path);
        free(l->new_path);
        free(l);
        return NULL;
}

void learned_reconfigure(struct learned *l, const struct conf *conf)
{
        for (size_t i = l->n_entries; i-- > 0;) {
                const struct conf_device *d = conf_find(conf, l->entries[i].bus, l->entries[i].device);

                if (d && plan_fingerprint(d) == l->entries[i].fingerprint)
                        continue;
                entry_remove(l, i);
                learned_changed(l);
        }
}

const struct bus_hole *learned_find(const struct learned *l, const struct conf_device *device, size_t *ret_n)
{
        const struct entry *e = entry_find(l, device->bus->name, device->name);

        if (!e || e->fingerprint != plan_fingerprint(device))
                return NULL;
        *ret_n = e->n_holes;
        return e->holes;
}

void learned_note(struct learned *l, const struct conf_device *device, const struct bus_learned *mail)
{
        struct entry *e = entry_find(l, device->bus->name, device->name);

        if (e)
                entry_remove(l, (size_t)(e - l->entries));
        learned_changed(l);
        if (mail->n_holes == 0 || mail->fingerprint != plan_fingerprint(device))
                return;
        e = entry_add(l, device->bus->name, device->name, mail->fingerprint);
        for (size_t i = 0; e && i < mail->n_holes; i++) {
                if (!entry_add_hole(e, &mail->holes[i]))
                        return;
        }
}
