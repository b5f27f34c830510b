/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/array.h"
#include "mbgate/bus/plan.h"

#include "scan_device.h"

#define IDENTIFY_US      UINT64_C(500000)
#define DEVICE_ID_ROUNDS 4

/* Where devices commonly begin: sensors at 0 and 1, meters at 0x100, 0x1000 and 0x2000, others at 40000. */
static const uint16_t starts[] = { 0, 1, 100, 256, 1000, 4096, 8192, 40000 };

/* 43/14 in as many rounds as the device wants. */
static int ask_device_id(struct scan_line *l, struct scan_device *d)
{
        int object = 0;

        for (unsigned i = 0; i < DEVICE_ID_ROUNDS; i++) {
                struct port_reply reply;
                struct pdu request;
                int r;

                scan_device_id_request(&request, (uint8_t)object);
                r = scan_line_ask(l, d->unit, &request, IDENTIFY_US, &reply);
                if (r != PORT_OK)
                        return r < 0 ? r : 0;
                object = scan_device_id_take(&d->id, reply.pdu.bytes, reply.pdu.n_bytes);
                if (object <= 0)
                        break;
        }
        return 0;
}

int scan_device_identify(struct scan_line *l, struct scan_device *d)
{
        struct port_reply reply;
        struct pdu request;
        int r = ask_device_id(l, d);

        if (r < 0 || scan_is_stopped())
                return r;
        scan_server_id_request(&request);
        r = scan_line_ask(l, d->unit, &request, IDENTIFY_US, &reply);
        if (r == PORT_OK && scan_server_id_take(&d->id, reply.pdu.bytes, reply.pdu.n_bytes) < 0)
                d->id.server[0] = '\0';
        return r < 0 ? r : 0;
}

/* Reads the blocks of a template's device until one is refused. 0, > 0: it does not fit, −errno. */
static int read_blocks(struct scan_line *l, uint8_t unit, const struct plan *plan, struct scan_evidence *e)
{
        for (size_t i = 0; i < plan->n_blocks; i++) {
                const struct plan_block *b = &plan->blocks[i];
                uint16_t regs[PDU_READ_BITS_MAX];
                uint8_t exception;
                int r;

                if (scan_is_stopped())
                        return 1;
                r = scan_line_read(l, unit, b->points[0]->area, b->address, b->count, regs, &exception);
                if (r != PORT_OK)
                        return r;
                for (size_t k = 0; k < b->n_points; k++)
                        scan_evidence_add(e, b->points[k], regs + (b->points[k]->address - b->address));
                if (e->n_wrong > 0)
                        return 1;
        }
        return 0;
}

/* A device that uses the template, out of a configuration made for it. A template with an error: > 0. */
static int try_template(struct scan_line *l, uint8_t unit, const char *name, const char *template_dir,
                        struct scan_evidence *ret)
{
        struct conf *conf CLEANUP(conf_unrefp)
        = NULL;
        struct plan_cost cost = plan_cost_of_bus(&l->bus);
        struct scan_evidence e = { 0 };
        struct plan plan;
        char text[256];
        int r;

        (void)snprintf(text, sizeof(text),
                       "buses = ( { name = \"scan\"; port = \"/dev/null\"; devices = ( { name = \"device\"; "
                       "unit_id = 1; join_gaps = false; template = \"%s\"; } ); } );\n",
                       name);
        if (scan_conf_from_text(text, template_dir, NULL, &conf) < 0 || conf->buses[0].n_devices != 1)
                return 1;
        r = plan_device(&conf->buses[0].devices[0], &cost, NULL, 0, &plan);
        if (r < 0)
                return r;
        r = read_blocks(l, unit, &plan, &e);
        plan_done(&plan);
        *ret = e;
        return r;
}

/* "eastron-sdm120" of "eastron-sdm120.conf", if it can be a template's name. */
static bool template_name(const char *file, char ret[SCAN_TEMPLATE_BYTES])
{
        size_t n = strlen(file);

        if (n < 6 || n - 5 >= SCAN_TEMPLATE_BYTES || strcmp(file + n - 5, ".conf") != 0 || *file == '.' ||
            strpbrk(file, "\"\\"))
                return false;
        memcpy(ret, file, n - 5);
        ret[n - 5] = '\0';
        return true;
}

static bool templates_have(const struct scan_templates *t, const char *name)
{
        for (size_t i = 0; i < t->n; i++) {
                if (strcmp(t->list[i].name, name) == 0)
                        return true;
        }
        return false;
}

/* −ENOMEM. A folder that is not there has none. */
static int templates_add(struct scan_templates *t, const char *folder)
{
        DIR *dir = opendir(folder);
        struct dirent *entry;
        int r = 0;

        while (dir && r == 0 && t->n < SCAN_TEMPLATES_MAX && (entry = readdir(dir))) {
                struct scan_template new = { .folder = folder };
                struct scan_template *list;

                if (!template_name(entry->d_name, new.name) || templates_have(t, new.name))
                        continue;
                list = array_reserve(t->list, t->n + 1, &t->size, sizeof(*list));
                if (!list) {
                        r = -ENOMEM;
                        break;
                }
                t->list = list;
                list[t->n++] = new;
        }
        if (dir)
                (void)closedir(dir);
        return r;
}

static int by_name(const void *a, const void *b)
{
        const struct scan_template *x = a, *y = b;

        return strcmp(x->name, y->name);
}

int scan_templates_find(struct scan_templates *t, const char *const *folders, size_t n_folders)
{
        *t = (struct scan_templates){ 0 };
        for (size_t i = 0; i < n_folders; i++) {
                int r = folders[i] ? templates_add(t, folders[i]) : 0;

                if (r < 0) {
                        scan_templates_done(t);
                        return r;
                }
        }
        if (t->n > 0)
                qsort(t->list, t->n, sizeof(*t->list), by_name);
        return 0;
}

void scan_templates_done(struct scan_templates *t)
{
        free(t->list);
        *t = (struct scan_templates){ 0 };
}

int scan_device_try_template(struct scan_line *l, struct scan_device *d, const struct scan_template *t,
                             struct scan_evidence *best)
{
        struct scan_evidence e;
        int r = try_template(l, d->unit, t->name, t->folder, &e);

        if (r == 0 && scan_evidence_fits(&e) && (!*d->template || scan_evidence_is_better(&e, best))) {
                *best = e;
                memcpy(d->template, t->name, sizeof(d->template));
        }
        return r < 0 ? r : 0;
}

/* Whether `count` can be read at once; then they are kept. enum port_result, −errno. */
static int try_run(struct scan_line *l, uint8_t unit, unsigned area, uint16_t address, unsigned count,
                   struct scan_run *run, uint8_t *ret_exception)
{
        uint16_t regs[PDU_READ_REGS_MAX];
        int r = scan_line_read(l, unit, (enum conf_area)area, address, (uint16_t)count, regs, ret_exception);

        if (r != PORT_OK)
                return r;
        run->address = address;
        run->count = (uint16_t)count;
        memcpy(run->regs, regs, count * sizeof(*regs));
        return r;
}

/* The longest run from where one begins: doubled until it is refused, then halved in between. */
static int grow_run(struct scan_line *l, uint8_t unit, unsigned area, struct scan_run *run)
{
        unsigned refused = PDU_READ_REGS_MAX + 1;
        uint8_t exception;

        while (run->count + 1u < refused && !scan_is_stopped()) {
                unsigned next = refused > PDU_READ_REGS_MAX ? 2u * run->count : (run->count + refused) / 2;
                int r;

                next = MBGATE_MIN(next, (unsigned)PDU_READ_REGS_MAX);
                r = try_run(l, unit, area, run->address, next, run, &exception);
                if (r < 0)
                        return r;
                if (r != PORT_OK)
                        refused = next;
        }
        return 0;
}

/* The first place of an area where something can be read. */
static int survey_area(struct scan_line *l, struct scan_device *d, unsigned area)
{
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                /* Some meters read pairs only. */
                for (unsigned count = 1; count <= 2; count++) {
                        uint8_t exception = 0;
                        int r;

                        if (scan_is_stopped())
                                return 0;
                        r = try_run(l, d->unit, area, starts[i], count, &d->runs[area], &exception);
                        if (r == PORT_OK)
                                return grow_run(l, d->unit, area, &d->runs[area]);
                        if (r != PORT_EXCEPTION || exception == PDU_EXC_FUNCTION)
                                return r < 0 ? r : 0; /* it does not know this area */
                }
        }
        return 0;
}

int scan_device_survey(struct scan_line *l, struct scan_device *d)
{
        int r = 0;

        for (unsigned area = 0; r == 0 && area < SCAN_AREAS && !scan_is_stopped(); area++)
                r = survey_area(l, d, area);
        return r;
}
