/* SPDX-License-Identifier: MIT */
/* Certificates and keys, made when a test runs, in a temporary folder. */
#ifndef MBGATE_TESTS_TLS_FILES_H
#define MBGATE_TESTS_TLS_FILES_H

#define TLS_PATH_BYTES 128

struct tls_files {
        char folder[64];
        void *ca_key, *ca_certificate;
        char ca[TLS_PATH_BYTES], certificate[TLS_PATH_BYTES], key[TLS_PATH_BYTES];
};

/* A folder with a CA's certificate in it. */
void tls_files_init(struct tls_files *f);
void tls_files_done(struct tls_files *f);

/*
 * NAME.crt and NAME.key, signed by the CA, valid from and until so many days from now; f->certificate and
 * f->key name them. The common name is `common_name`, of `n` bytes.
 */
void tls_files_make(struct tls_files *f, const char *name, const char *common_name, int n, int from_days,
                    int until_days);

#endif
