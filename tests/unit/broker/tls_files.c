/* SPDX-License-Identifier: MIT */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tls_files.h"

#define DAY_S 86400L

static void must(int ok)
{
        if (ok <= 0)
                abort();
}

static X509 *certificate_new(EVP_PKEY *key, const char *common_name, int n, int from_days, int until_days)
{
        static long serial = 1;
        X509 *x = X509_new();

        must(X509_set_version(x, 2));
        must(ASN1_INTEGER_set(X509_get_serialNumber(x), serial++));
        must(X509_gmtime_adj(X509_getm_notBefore(x), from_days * DAY_S) != NULL);
        must(X509_gmtime_adj(X509_getm_notAfter(x), until_days * DAY_S) != NULL);
        must(X509_set_pubkey(x, key));
        must(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                        (const unsigned char *)common_name, n, -1, 0));
        return x;
}

static void write_certificate(const char *path, X509 *x)
{
        FILE *file = fopen(path, "w");

        must(file != NULL);
        must(PEM_write_X509(file, x));
        must(fclose(file) == 0);
}

void tls_files_init(struct tls_files *f)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = certificate_new(key, "test CA", -1, -1, 3650);
        ASN1_OCTET_STRING *constraints = ASN1_OCTET_STRING_new();
        X509_EXTENSION *e;

        (void)snprintf(f->folder, sizeof(f->folder), "/tmp/mbgate-tls-XXXXXX");
        must(mkdtemp(f->folder) != NULL);
        /* basicConstraints: CA:TRUE */
        must(ASN1_OCTET_STRING_set(constraints, (const unsigned char *)"\x30\x03\x01\x01\xff", 5));
        e = X509_EXTENSION_create_by_NID(NULL, NID_basic_constraints, 1, constraints);
        must(X509_add_ext(x, e, -1));
        X509_EXTENSION_free(e);
        ASN1_OCTET_STRING_free(constraints);
        must(X509_set_issuer_name(x, X509_get_subject_name(x)));
        must(X509_sign(x, key, EVP_sha256()));
        (void)snprintf(f->ca, sizeof(f->ca), "%s/ca.crt", f->folder);
        write_certificate(f->ca, x);
        f->ca_key = key;
        f->ca_certificate = x;
}

void tls_files_make(struct tls_files *f, const char *name, const char *common_name, int n, int from_days,
                    int until_days)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = certificate_new(key, common_name, n, from_days, until_days);
        FILE *file;

        must(X509_set_issuer_name(x, X509_get_subject_name(f->ca_certificate)));
        must(X509_sign(x, f->ca_key, EVP_sha256()));
        (void)snprintf(f->certificate, sizeof(f->certificate), "%s/%s.crt", f->folder, name);
        (void)snprintf(f->key, sizeof(f->key), "%s/%s.key", f->folder, name);
        write_certificate(f->certificate, x);
        file = fopen(f->key, "w");
        must(file != NULL && fchmod(fileno(file), 0600) == 0);
        must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
        must(fclose(file) == 0);
        X509_free(x);
        EVP_PKEY_free(key);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

void tls_files_done(struct tls_files *f)
{
        X509_free(f->ca_certificate);
        EVP_PKEY_free(f->ca_key);
        (void)nftw(f->folder, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}
