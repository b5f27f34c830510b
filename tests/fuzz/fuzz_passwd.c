/* SPDX-License-Identifier: MIT */
/* A password file. */
#include "mbgate/broker/passwd.h"

#include "fuzz.h"

/* Whether a number is long enough to make a hash slow. */
static bool has_long_number(const uint8_t *data, size_t n)
{
        size_t n_digits = 0;

        for (size_t i = 0; i < n; i++) {
                n_digits = data[i] >= '0' && data[i] <= '9' ? n_digits + 1 : 0;
                if (n_digits > 3)
                        return true;
        }
        return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct findings findings = { 0 };
        struct passwd_file *p = NULL;
        int r = passwd_parse("passwd", (const char *)data, n, &findings, &p);

        FUZZ_ASSERT((r < 0) == (findings.n > 0) && (r < 0) == (p == NULL));
        if (p && !has_long_number(data, n)) {
                FUZZ_ASSERT(!passwd_verify(p, "nobody:", "", 0));
                FUZZ_ASSERT(!passwd_verify(p, "anna", data, n > 64 ? 64 : n)); /* would have met the hash */
        }
        (void)passwd_free(p);
        findings_done(&findings);
        return 0;
}
