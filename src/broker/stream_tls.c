/* SPDX-License-Identifier: MIT */
/* TLS 1.2 and 1.3 with OpenSSL 3, never blocking. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "stream.h"
#include "stream_tls.h"

#define RECORD_BYTES      (16u * 1024) /* TLS 1.3 §5.1: the largest record */
#define CLIENT_NAME_BYTES 256

struct tls_server {
        unsigned n_refs;
        SSL_CTX *context;
};

struct tls_stream {
        struct stream stream; /* the first member */
        struct stream *inner;
        struct tls_server *tls;
        SSL *ssl;
        uint8_t *record; /* plain bytes that OpenSSL has begun to write and must be given again */
        size_t n_record;
        bool wants_write;
        bool is_broken;
        char name[CLIENT_NAME_BYTES]; /* of the client's certificate */
};

/* ---- the listener's side ---- */

/* OpenSSL's first complaint; all others are thrown away. */
static const char *ssl_complaint(void)
{
        unsigned long code = ERR_get_error();
        const char *text = code ? ERR_reason_error_string(code) : NULL;

        ERR_clear_error();
        return text ? text : "not readable";
}

static int say(char fault[TLS_FAULT_BYTES], const char *what, const char *file, const char *why)
{
        (void)snprintf(fault, TLS_FAULT_BYTES, "%s \"%s\": %s", what, file ? file : "", why);
        return -EINVAL;
}

/* A key that everybody can read is no secret. */
static int check_key_mode(const char *file, char fault[TLS_FAULT_BYTES])
{
        struct stat st;

        if (stat(file, &st) < 0)
                return say(fault, "key_file", file, strerror(errno));
        if (st.st_mode & S_IROTH)
                return say(fault, "key_file", file, "everybody can read it: chmod o-r it");
        return 0;
}

static int context_take_files(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        int r = check_key_mode(conf->key_file, fault);

        if (r < 0)
                return r;
        if (SSL_CTX_use_certificate_chain_file(ctx, conf->cert_file) != 1)
                return say(fault, "cert_file", conf->cert_file, ssl_complaint());
        if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx))) < 0)
                return say(fault, "cert_file", conf->cert_file,
                           "it has expired, or this machine's clock is wrong");
        if (SSL_CTX_use_PrivateKey_file(ctx, conf->key_file, SSL_FILETYPE_PEM) != 1)
                return say(fault, "key_file", conf->key_file, ssl_complaint());
        if (SSL_CTX_check_private_key(ctx) != 1)
                return say(fault, "key_file", conf->key_file, "it does not belong to cert_file");
        return 0;
}

static int context_take_clients(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        int mode = SSL_VERIFY_PEER | (conf->require_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);

        if (!conf->ca_file || conf->ca_file[0] == '\0')
                return 0;
        if (SSL_CTX_load_verify_locations(ctx, conf->ca_file, NULL) != 1)
                return say(fault, "ca_file", conf->ca_file, ssl_complaint());
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(conf->ca_file));
        SSL_CTX_set_verify(ctx, mode, NULL);
        return 0;
}

static int context_take_versions(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        bool is_13 = conf->tls_version && strcmp(conf->tls_version, "tlsv1.3") == 0;

        (void)SSL_CTX_set_min_proto_version(ctx, is_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
        if (conf->ciphers && conf->ciphers[0] != '\0' && SSL_CTX_set_cipher_list(ctx, conf->ciphers) != 1)
                return say(fault, "ciphers", conf->ciphers, ssl_complaint());
        return 0;
}

/* "mqtt" if the client offers it (the name that IANA has registered), nothing otherwise. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out, const unsigned char *in,
                   unsigned n_in, void *user)
{
        static const unsigned char ours[] = "\x04mqtt\x08http/1.1";
        unsigned char *chosen;

        (void)ssl;
        (void)user;
        if (SSL_select_next_proto(&chosen, n_out, ours, sizeof(ours) - 1, in, n_in) != OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_NOACK;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
}

int tls_server_new(const struct conf_listener *conf, char fault[TLS_FAULT_BYTES], struct tls_server **ret_tls)
{
        CLEANUP(tls_server_unrefp)
        struct tls_server *tls = calloc(1, sizeof(*tls));
        int r;

        if (!tls)
                return -ENOMEM;
        tls->n_refs = 1;
        tls->context = SSL_CTX_new(TLS_server_method());
        if (!tls->context)
                return -ENOMEM;
        (void)SSL_CTX_set_options(tls->context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                                        SSL_OP_CIPHER_SERVER_PREFERENCE);
        (void)SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        (void)SSL_CTX_set_session_id_context(tls->context, (const unsigned char *)"mbgate", 6);
        SSL_CTX_set_alpn_select_cb(tls->context, on_alpn, NULL);
        r = context_take_versions(tls->context, conf, fault);
        if (r == 0)
                r = context_take_files(tls->context, conf, fault);
        if (r == 0)
                r = context_take_clients(tls->context, conf, fault);
        if (r < 0)
                return r;
        *ret_tls = TAKE(tls);
        return 0;
}

struct tls_server *tls_server_ref(struct tls_server *tls)
{
        tls->n_refs++;
        return tls;
}

struct tls_server *tls_server_unref(struct tls_server *tls)
{
        if (!tls || --tls->n_refs > 0)
                return NULL;
        SSL_CTX_free(tls->context);
        free(tls);
        return NULL;
}

/* ---- a connection ---- */

static struct tls_stream *of(struct stream *s)
{
        return (struct tls_stream *)(void *)s;
}

static const struct tls_stream *of_const(const struct stream *s)
{
        return (const struct tls_stream *)(const void *)s;
}

/* What OpenSSL's answer means for the caller. */
static int tls_result(struct tls_stream *t, int r)
{
        int error = SSL_get_error(t->ssl, r);

        t->wants_write = error == SSL_ERROR_WANT_WRITE;
        switch (error) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE: return -EAGAIN;
        case SSL_ERROR_ZERO_RETURN: return 0;
        case SSL_ERROR_SYSCALL:
                t->is_broken = true;
                ERR_clear_error();
                return errno > 0 ? -errno : -ECONNRESET;
        default:
                t->is_broken = true;
                if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
                        ERR_clear_error(); /* the peer went without close_notify */
                        return -ECONNRESET;
                }
                t->stream.reason = ssl_complaint();
                return -EPROTO;
        }
}

static void tls_remember_name(struct tls_stream *t)
{
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);

        if (certificate && SSL_get_verify_result(t->ssl) == X509_V_OK &&
            X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, t->name,
                                      sizeof(t->name)) < 0)
                t->name[0] = '\0';
}

static ssize_t tls_read(struct stream *s, void *bytes, size_t n)
{
        struct tls_stream *t = of(s);
        bool was_new = !SSL_is_init_finished(t->ssl);
        size_t n_read;
        int r;

        if (t->is_broken)
                return -ECONNRESET;
        ERR_clear_error();
        errno = 0;
        r = SSL_read_ex(t->ssl, bytes, n, &n_read);
        if (was_new && SSL_is_init_finished(t->ssl))
                tls_remember_name(t);
        return r == 1 ? (ssize_t)n_read : tls_result(t, r);
}

/* What OpenSSL has begun must be given to it again, the same bytes. 0; −EAGAIN; −errno. */
static int tls_flush(struct stream *s)
{
        struct tls_stream *t = of(s);

        while (t->n_record > 0) {
                size_t n;
                int r;

                if (t->is_broken)
                        return -ECONNRESET;
                ERR_clear_error();
                errno = 0;
                r = SSL_write_ex(t->ssl, t->record, t->n_record, &n);
                if (r != 1) {
                        r = tls_result(t, r);
                        return r == 0 ? -EPIPE : r;
                }
                t->wants_write = false;
                memmove(t->record, t->record + n, t->n_record - n);
                t->n_record -= n;
        }
        free(t->record);
        t->record = NULL;
        return 0;
}

/* Small parts become one record. */
static ssize_t tls_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct tls_stream *t = of(s);
        size_t n_taken = 0;
        int r;

        if (t->n_record > 0)
                r = tls_flush(s);
        else
                r = 0;
        if (r < 0)
                return r;
        t->record = malloc(RECORD_BYTES);
        if (!t->record)
                return -ENOMEM;
        for (size_t i = 0; i < n_parts && n_taken < RECORD_BYTES; i++) {
                size_t n = MBGATE_MIN(parts[i].iov_len, RECORD_BYTES - n_taken);

                memcpy(t->record + n_taken, parts[i].iov_base, n);
                n_taken += n;
        }
        t->n_record = n_taken;
        r = tls_flush(s);
        return r < 0 && r != -EAGAIN ? r : (ssize_t)n_taken;
}

static uint32_t tls_events(const struct stream *s)
{
        return of_const(s)->wants_write ? EPOLLOUT : 0;
}

static bool tls_has_input(const struct stream *s)
{
        return SSL_pending(of_const(s)->ssl) > 0;
}

static void tls_shutdown(struct stream *s)
{
        struct tls_stream *t = of(s);

        ERR_clear_error();
        if (!t->is_broken && SSL_is_init_finished(t->ssl))
                (void)SSL_shutdown(t->ssl);
        stream_shutdown(t->inner);
}

static void tls_free(struct stream *s)
{
        struct tls_stream *t = of(s);

        SSL_free(t->ssl);
        (void)stream_free(t->inner);
        (void)tls_server_unref(t->tls);
        free(t->record);
        free(t);
        ERR_clear_error();
}

static const struct stream_ops tls_ops = {
        .read = tls_read,
        .write = tls_write,
        .flush = tls_flush,
        .events = tls_events,
        .has_input = tls_has_input,
        .shutdown = tls_shutdown,
        .free = tls_free,
};

int stream_tls_new(struct tls_server *tls, struct stream *inner, struct stream **ret_stream)
{
        struct tls_stream *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->ssl = SSL_new(tls->context);
        if (!t->ssl || SSL_set_fd(t->ssl, inner->fd) != 1) {
                SSL_free(t->ssl);
                free(t);
                ERR_clear_error();
                return -ENOMEM;
        }
        SSL_set_accept_state(t->ssl);
        t->stream = (struct stream){ .ops = &tls_ops, .fd = inner->fd };
        t->inner = inner;
        t->tls = tls_server_ref(tls);
        *ret_stream = &t->stream;
        return 0;
}

const char *stream_tls_client_name(const struct stream *s)
{
        const struct tls_stream *t;

        s = stream_ws_inner(s);
        if (s->ops != &tls_ops)
                return NULL;
        t = of_const(s);
        return t->name[0] != '\0' ? t->name : NULL;
}
