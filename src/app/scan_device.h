/* SPDX-License-Identifier: MIT */
/* What a scan knows of a device, and how it is learned: who it is, which template fits, what can be read. */
#ifndef MBGATE_APP_SCAN_DEVICE_H
#define MBGATE_APP_SCAN_DEVICE_H

#include "scan_identify.h"
#include "scan_line.h"

#define SCAN_TEMPLATE_BYTES 64
#define SCAN_TEMPLATES_MAX  1000
#define SCAN_AREAS          4

/* Readable registers or bits from the first place where some were found. */
struct scan_run {
        uint16_t address;
        uint16_t count; /* 0: none found */
        uint16_t regs[PDU_READ_REGS_MAX];
};

struct scan_device {
        uint8_t unit, setting;
        bool answers;           /* false: only broken replies came */
        unsigned n_broken;      /* replies that came broken */
        uint64_t turnaround_us; /* of its first reply */
        struct scan_identity id;
        char template[SCAN_TEMPLATE_BYTES]; /* "": none fits */
        struct scan_run runs[SCAN_AREAS];   /* by enum conf_area; looked for where no template fits */
};

/* Asks a device who it is. −errno: the port is lost. What is not answered stays empty. */
MUST_CHECK int scan_device_identify(struct scan_line *l, struct scan_device *d);

struct scan_template {
        char name[SCAN_TEMPLATE_BYTES];
        const char *folder;
};

struct scan_templates {
        struct scan_template *list; /* by name */
        size_t n, size;
};

/* All of some folders (NULL: left out); of equal names that of the first. −ENOMEM. */
MUST_CHECK int scan_templates_find(struct scan_templates *t, const char *const *folders, size_t n_folders);
void scan_templates_done(struct scan_templates *t);

/* Takes the template for the device if it fits better than the one with the evidence `best` so far. −errno as
 * above. */
MUST_CHECK int scan_device_try_template(struct scan_line *l, struct scan_device *d,
                                        const struct scan_template *t, struct scan_evidence *best);

/* Looks for what can be read, area by area. −errno as above. */
MUST_CHECK int scan_device_survey(struct scan_line *l, struct scan_device *d);

#endif
