/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong, and when. A rule is "KIND[:PARAMETER][@SELECTOR,…]", for example "late:800ms@p=0.02" or
 * "no-reply@unit=5,n=10". Every rule that selects a request takes effect on it. Pure; each bus has its own
 * set, with its own counts.
 */
#ifndef MBSIM_FAULT_H
#define MBSIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "mbgate/base/buf.h"
#include "mbgate/base/macros.h"
#include "mbgate/base/random.h"

#define FAULT_RULES_MAX 64

enum fault_kind {
        FAULT_NO_REPLY,     /* the device did not hear it: nothing is written either */
        FAULT_LOST_REPLY,   /* heard and done, but the reply is lost */
        FAULT_LATE,         /* parameter: how much later */
        FAULT_WRONG_CRC,    /* on Modbus TCP: a wrong transaction id */
        FAULT_TRUNCATE,     /* parameter: bytes cut off; 0: half of them */
        FAULT_TRICKLE,      /* parameter: pause before each byte but the first */
        FAULT_NOISE_BEFORE, /* parameter: bytes */
        FAULT_NOISE_AFTER,  /* parameter: bytes */
        FAULT_DUPLICATE,    /* the reply comes a second time, t3.5 later */
        FAULT_WRONG_UNIT,   /* parameter: the unit that answers; 0: the next one */
        FAULT_EXCEPTION,    /* parameter: code; nothing is written */
        FAULT_ECHO,         /* the request comes back while it is sent, dead devices' too */
        FAULT_HANGUP,       /* parameter: time until the port is back */
        FAULT_KINDS,
};

struct fault_rule {
        enum fault_kind kind;
        uint64_t param_min, param_max; /* count, or ns; uniform between */
        double probability;
        int unit, function, address; /* −1: any */
        uint32_t nth, every, max;    /* 0: not asked for; counted in requests that the rest selects */
        bool writes_only, reads_only;
        char bus[32]; /* "": any */
        uint32_t n_seen, n_hit;
};

struct faults {
        struct fault_rule rules[FAULT_RULES_MAX];
        unsigned n_rules;
};

struct fault_query {
        uint8_t unit;
        uint8_t function;
        bool has_address;
        uint16_t address, count;
};

struct fault_effects {
        uint32_t kinds; /* bit 1 << enum fault_kind */
        uint64_t param[FAULT_KINDS];
};

static inline bool fault_has(const struct fault_effects *e, enum fault_kind kind)
{
        return e->kinds >> kind & 1;
}

/* Reads a rule. 0, or −EINVAL with the reason in *error. */
MUST_CHECK int fault_parse(const char *text, struct fault_rule *ret, struct buf *error);

/* −ENOSPC: FAULT_RULES_MAX are there. */
MUST_CHECK int faults_add(struct faults *f, const struct fault_rule *rule);

/* Which rules take effect on this request, which is counted. */
void faults_choose(struct faults *f, struct random *random, const struct fault_query *query,
                   struct fault_effects *ret);

const char *fault_kind_name(enum fault_kind kind);

#endif
