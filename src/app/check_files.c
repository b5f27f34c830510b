/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "mbgate/broker/acl.h"
#include "mbgate/broker/passwd.h"

#include "check_files.h"

static void print_findings(struct findings *f, FILE *err)
{
        for (size_t i = 0; i < f->n_texts; i++)
                (void)fprintf(err, "%s\n", f->texts[i]);
        if (f->n > f->n_texts)
                (void)fprintf(err, "and %zu more of the kind\n", f->n - f->n_texts);
        findings_done(f);
}

int check_files(const struct conf *conf, FILE *err)
{
        CLEANUP(passwd_freep)
        struct passwd_file *users = NULL;
        CLEANUP(acl_freep)
        struct acl *acl = NULL;
        struct findings findings = { .n = 0 };
        int r = 0, r_acl = 0;

        if (*conf->broker.password_file)
                r = passwd_load(conf->broker.password_file, &findings, &users);
        if (*conf->broker.acl_file)
                r_acl = acl_load(conf->broker.acl_file, &findings, &acl);
        print_findings(&findings, err);
        return r < 0 ? r : r_acl;
}
