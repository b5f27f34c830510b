/* SPDX-License-Identifier: MIT */
/*
 * TLS 1.2 and 1.3 with OpenSSL 3, never blocking.
 *
 * OpenSSL never sees the socket. What it writes goes into a buffer that all connections share, and from there
 * in one piece to the stream below; what that does not take waits in the connection's backlog. So OpenSSL
 * never has to be called again with the same bytes, and it is read only because there is something to read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "mbgate/base/log.h"

#include "stream.h"
#include "stream_backlog.h"
#include "stream_tls.h"

#define RECORD_BYTES      (16u * 1024) /* TLS 1.3 §5.1: the most in one record */
#define WRITE_MAX_BYTES   (64u * 1024) /* taken in one write */
#define CIPHER_BYTES      (WRITE_MAX_BYTES + 4096)
#define CLIENT_NAME_BYTES 256

struct tls_server {
        unsigned n_refs;
        SSL_CTX *context;
        BIO_METHOD *method;
        /* For the connection that is being served: empty between calls. */
        size_t n_cipher;
        uint8_t cipher[CIPHER_BYTES];
        uint8_t plain[RECORD_BYTES];
};

struct tls_stream {
        struct stream stream; /* the first member */
        struct stream *inner;
        struct tls_server *tls;
        SSL *ssl;
        struct stream_backlog backlog;
        char *client_name; /* of its certificate; NULL: none */
        int error;         /* −errno of the stream below, or −EPROTO; 0: none */
        bool has_end;      /* of the peer's side */
        bool owes_end;     /* that, an error or a goodbye came behind data: the next read tells */
        bool is_open;      /* the handshake is done */
        bool is_dry;       /* the last read got nothing: what OpenSSL holds is no whole record */
        bool has_shutdown; /* asked for */
        bool is_shut;      /* the stream below too */
};

/* ---- the listener's side ---- */

static int say(char fault[TLS_FAULT_BYTES], const char *what, const char *file, const char *why)
{
        (void)snprintf(fault, TLS_FAULT_BYTES, "%s \"%s\": %s", what, file, why);
        return -EINVAL;
}

/* What some of OpenSSL's words mean for who has to put it right; NULL: they say it themselves. */
static const char *file_words(unsigned long code)
{
        int lib = ERR_GET_LIB(code), reason = ERR_GET_REASON(code);

        if (lib == ERR_LIB_PEM && reason == PEM_R_BAD_PASSWORD_READ)
                return "it is encrypted: \"openssl pkey -in FILE -out NEWFILE\" takes the password off";
        if (lib == ERR_LIB_PEM && reason == PEM_R_NO_START_LINE)
                return "there is nothing of the kind in it in PEM format";
        if (lib == ERR_LIB_OSSL_DECODER)
                return "it cannot be decoded: it is damaged, or there is nothing of the kind in it in PEM "
                       "format";
        if (lib == ERR_LIB_X509)
                return "it does not belong to cert_file";
        return NULL;
}

/* Of all that OpenSSL complains of, what is understood first; its queue is empty afterwards. */
static const char *file_complaint(void)
{
        const char *words = NULL, *first = NULL;
        unsigned long code;

        while ((code = ERR_get_error()) != 0) {
                if (!words)
                        words = file_words(code);
                if (!first)
                        first = ERR_reason_error_string(code);
        }
        return words ? words : first ? first : "it cannot be used";
}

/* Nobody can be asked for the password of a key. */
static int on_password(char *buffer, int size, int for_writing, void *user)
{
        (void)buffer;
        (void)size;
        (void)for_writing;
        (void)user;
        return -1;
}

/* A key that everybody can read is no secret. */
static int check_key_mode(const char *file, char fault[TLS_FAULT_BYTES])
{
        struct stat st;

        if (stat(file, &st) < 0)
                return say(fault, "key_file", file, strerror(errno));
        if (st.st_mode & (S_IROTH | S_IWOTH)) {
                (void)snprintf(fault, TLS_FAULT_BYTES,
                               "key_file \"%s\": everybody can read or write it: chmod o-rw it", file);
                return -EINVAL;
        }
        return access(file, R_OK) < 0 ? say(fault, "key_file", file, strerror(errno)) : 0;
}

/* Clients judge that for themselves, and this machine's clock may be the one that is wrong. */
static void tell_validity(const char *file, const X509 *certificate)
{
        if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
                log_warn(NULL,
                         "broker: cert_file \"%s\" has expired, or this machine's clock is wrong: clients "
                         "will refuse it",
                         file);
        else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
                log_warn(NULL, "broker: cert_file \"%s\" is not valid yet, or this machine's clock is wrong",
                         file);
}

static int context_take_files(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        int r;

        SSL_CTX_set_default_passwd_cb(ctx, on_password);
        if (access(conf->cert_file, R_OK) < 0)
                return say(fault, "cert_file", conf->cert_file, strerror(errno));
        if (SSL_CTX_use_certificate_chain_file(ctx, conf->cert_file) != 1)
                return say(fault, "cert_file", conf->cert_file, file_complaint());
        r = check_key_mode(conf->key_file, fault);
        if (r < 0)
                return r;
        if (SSL_CTX_use_PrivateKey_file(ctx, conf->key_file, SSL_FILETYPE_PEM) != 1)
                return say(fault, "key_file", conf->key_file, file_complaint());
        if (SSL_CTX_check_private_key(ctx) != 1) {
                ERR_clear_error();
                return say(fault, "key_file", conf->key_file, "it does not belong to cert_file");
        }
        tell_validity(conf->cert_file, SSL_CTX_get0_certificate(ctx));
        return 0;
}

/*
 * A ticket lets a client come back without a new handshake of public keys, which takes a small board 20 ms.
 * Who needs a certificate shows it each time: it may have been withdrawn.
 */
static int context_take_clients(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        int mode = SSL_VERIFY_PEER | (conf->require_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);

        (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        (void)SSL_CTX_set_num_tickets(ctx, 1);
        if (!conf->ca_file || conf->ca_file[0] == '\0') {
                if (conf->require_certificate)
                        return say(fault, "ca_file", "", "require_certificate needs it");
                return 0;
        }
        (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(ctx, 0);
        if (access(conf->ca_file, R_OK) < 0)
                return say(fault, "ca_file", conf->ca_file, strerror(errno));
        if (SSL_CTX_load_verify_locations(ctx, conf->ca_file, NULL) != 1)
                return say(fault, "ca_file", conf->ca_file, file_complaint());
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(conf->ca_file));
        SSL_CTX_set_verify(ctx, mode, NULL);
        return 0;
}

static int context_take_versions(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        bool is_13 = conf->tls_version && strcmp(conf->tls_version, "tlsv1.3") == 0;
        int r;

        (void)SSL_CTX_set_min_proto_version(ctx, is_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
        if (!conf->ciphers || conf->ciphers[0] == '\0')
                return 0;
        /* Those of TLS 1.3 have a list of their own, and names that begin so. */
        r = strncmp(conf->ciphers, "TLS_", 4) == 0 ? SSL_CTX_set_ciphersuites(ctx, conf->ciphers)
                                                   : SSL_CTX_set_cipher_list(ctx, conf->ciphers);
        return r == 1 ? 0 : say(fault, "ciphers", conf->ciphers, file_complaint());
}

/* "mqtt" (registered with IANA) or, for WebSocket, "http/1.1" if the client offers it; else nothing. */
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

static int context_fill(SSL_CTX *ctx, const struct conf_listener *conf, char fault[TLS_FAULT_BYTES])
{
        int r;

        (void)SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
        (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_read_ahead(ctx, 1); /* a record in one system call, and the next ones with it */
        (void)SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"mbgate", 6);
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
        r = context_take_versions(ctx, conf, fault);
        if (r == 0)
                r = context_take_files(ctx, conf, fault);
        if (r == 0)
                r = context_take_clients(ctx, conf, fault);
        ERR_clear_error();
        return r;
}

static BIO_METHOD *method_new(void);

int tls_server_new(const struct conf_listener *conf, char fault[TLS_FAULT_BYTES], struct tls_server **ret_tls)
{
        CLEANUP(tls_server_unrefp)
        struct tls_server *tls = calloc(1, sizeof(*tls));
        int r;

        if (!tls)
                return -ENOMEM;
        tls->n_refs = 1;
        tls->method = method_new();
        tls->context = SSL_CTX_new(TLS_server_method());
        if (!tls->method || !tls->context) {
                ERR_clear_error();
                return -ENOMEM;
        }
        r = context_fill(tls->context, conf, fault);
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
        BIO_meth_free(tls->method);
        free(tls);
        return NULL;
}

/* ---- between OpenSSL and the stream below ---- */

static struct tls_stream *of(struct stream *s)
{
        return (struct tls_stream *)(void *)s;
}

static const struct tls_stream *of_const(const struct stream *s)
{
        return (const struct tls_stream *)(const void *)s;
}

/* Sends on what OpenSSL has written. 0, also when it has to wait; −errno. */
static int tls_send(struct tls_stream *t)
{
        struct iovec part = { .iov_base = t->tls->cipher, .iov_len = t->tls->n_cipher };
        int r;

        if (part.iov_len == 0)
                return 0;
        t->tls->n_cipher = 0;
        r = stream_backlog_put(&t->backlog, t->inner, &part, 1);
        if (r < 0 && t->error == 0)
                t->error = r;
        return r;
}

static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *ret_n)
{
        struct tls_stream *t = BIO_get_data(bio);
        struct tls_server *tls = t->tls;

        if (n > sizeof(tls->cipher) - tls->n_cipher && tls_send(t) < 0)
                return 0;
        n = MBGATE_MIN(n, sizeof(tls->cipher) - tls->n_cipher);
        memcpy(tls->cipher + tls->n_cipher, bytes, n);
        tls->n_cipher += n;
        *ret_n = n;
        return 1;
}

static int bio_read(BIO *bio, char *bytes, size_t n, size_t *ret_n)
{
        struct tls_stream *t = BIO_get_data(bio);
        ssize_t r = stream_read(t->inner, bytes, n);

        BIO_clear_retry_flags(bio);
        *ret_n = r > 0 ? (size_t)r : 0;
        if (r == -EAGAIN)
                BIO_set_retry_read(bio);
        else if (r == 0)
                t->has_end = true;
        else if (r < 0)
                t->error = (int)r;
        return r > 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
        const struct tls_stream *t = BIO_get_data(bio);

        (void)number;
        (void)pointer;
        return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && t->has_end);
}

static BIO_METHOD *method_new(void)
{
        BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "mbgate stream");

        if (m && BIO_meth_set_write_ex(m, bio_write) == 1 && BIO_meth_set_read_ex(m, bio_read) == 1 &&
            BIO_meth_set_ctrl(m, bio_ctrl) == 1)
                return m;
        BIO_meth_free(m);
        return NULL;
}

/* ---- a connection ---- */

/* Why the peer's TLS does not go with ours. What OpenSSL says is short and often misleading. */
static const char *peer_complaint(void)
{
        unsigned long code = ERR_peek_error();
        const char *text = ERR_reason_error_string(code);

        ERR_clear_error();
        if (ERR_GET_LIB(code) != ERR_LIB_SSL)
                return text ? text : "TLS fails";
        switch (ERR_GET_REASON(code)) {
        case SSL_R_WRONG_VERSION_NUMBER: return "this is no TLS";
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST: return "this is HTTP without TLS";
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the client has no certificate";
        default: return text ? text : "TLS fails";
        }
}

/* After an operation that has not succeeded: −EAGAIN; 0: the end of the peer's side; −errno, for good. */
static int tls_result(struct tls_stream *t, int r)
{
        int what = SSL_get_error(t->ssl, r);

        if (t->error == 0 && what != SSL_ERROR_WANT_READ && what != SSL_ERROR_ZERO_RETURN && !t->has_end) {
                t->error = -EPROTO;
                t->stream.reason = peer_complaint();
        }
        ERR_clear_error();
        if (t->error < 0)
                return t->error;
        if (t->has_end || what == SSL_ERROR_ZERO_RETURN)
                return 0;
        t->is_dry = true;
        return -EAGAIN;
}

/* The common name, unless there is a NUL in it that would hide its end. */
static void tls_take_client_name(struct tls_stream *t)
{
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);
        const X509_NAME *name = certificate ? X509_get_subject_name(certificate) : NULL;
        int at = name ? X509_NAME_get_index_by_NID(name, NID_commonName, -1) : -1;
        unsigned char *text = NULL;
        int n;

        if (at < 0 || SSL_get_verify_result(t->ssl) != X509_V_OK)
                return;
        n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
        if (n > 0 && n < CLIENT_NAME_BYTES && strlen((const char *)text) == (size_t)n)
                t->client_name = strdup((const char *)text);
        OPENSSL_free(text);
}

/* 1: done; 0: the peer has gone; −EAGAIN; −errno. */
static int tls_handshake(struct tls_stream *t)
{
        int r;

        if (t->is_open)
                return 1;
        ERR_clear_error();
        r = SSL_do_handshake(t->ssl);
        if (r == 1) {
                t->is_open = true;
                tls_take_client_name(t);
        } else {
                r = tls_result(t, r);
        }
        (void)tls_send(t); /* also the alert that says why not */
        return t->error < 0 ? t->error : r;
}

/* What comes while we say goodbye is nobody's any more, and need not be TLS. */
static ssize_t tls_read_away(struct tls_stream *t, void *bytes, size_t n)
{
        return t->has_end ? 0 : stream_read(t->inner, bytes, n);
}

/* All records that are there, as far as there is room. */
static ssize_t tls_read_records(struct tls_stream *t, uint8_t *bytes, size_t n)
{
        size_t n_read = 0;
        int r = 1;

        t->is_dry = false;
        ERR_clear_error(); /* of others on this thread: SSL_get_error(3) would take it for ours */
        while (n_read < n && r == 1) {
                size_t n_here = 0;

                r = SSL_read_ex(t->ssl, bytes + n_read, n - n_read, &n_here);
                n_read += n_here;
                if (r == 1 && !SSL_has_pending(t->ssl))
                        break;
        }
        if (r != 1)
                r = tls_result(t, r);
        t->owes_end = n_read > 0 && r != 1 && r != -EAGAIN;
        return n_read > 0 ? (ssize_t)n_read : r;
}

static ssize_t tls_read(struct stream *s, void *bytes, size_t n)
{
        struct tls_stream *t = of(s);
        ssize_t r;

        if (t->has_shutdown)
                return tls_read_away(t, bytes, n);
        t->owes_end = false;
        if (t->error < 0)
                return t->error;
        r = tls_handshake(t);
        if (r != 1)
                return r;
        r = tls_read_records(t, bytes, n);
        (void)tls_send(t); /* an answer to a change of keys, an alert */
        return r;
}

/* The next record: what one part holds of it as it is, small parts gathered. How many bytes; 0: no more. */
static size_t next_record(uint8_t *plain, const struct iovec *parts, size_t n_parts, size_t skip,
                          const uint8_t **ret_bytes)
{
        size_t n = 0;

        for (size_t i = 0; i < n_parts && n < RECORD_BYTES; i++) {
                const uint8_t *from = parts[i].iov_base;
                size_t n_skip = MBGATE_MIN(skip, parts[i].iov_len), n_here = parts[i].iov_len - n_skip;

                skip -= n_skip;
                if (n == 0 && n_here >= RECORD_BYTES) {
                        *ret_bytes = from + n_skip;
                        return RECORD_BYTES;
                }
                n_here = MBGATE_MIN(n_here, RECORD_BYTES - n);
                if (n_here > 0)
                        memcpy(plain + n, from + n_skip, n_here);
                n += n_here;
        }
        *ret_bytes = plain;
        return n;
}

static ssize_t tls_write_records(struct tls_stream *t, const struct iovec *parts, size_t n_parts)
{
        size_t n_taken = 0;
        int r;

        while (n_taken < WRITE_MAX_BYTES) {
                const uint8_t *bytes;
                size_t n = next_record(t->tls->plain, parts, n_parts, n_taken, &bytes), n_written;

                if (n == 0)
                        break;
                r = SSL_write_ex(t->ssl, bytes, n, &n_written);
                if (r != 1) {
                        t->error = t->error < 0 ? t->error : -EPROTO;
                        t->stream.reason = peer_complaint();
                        break;
                }
                n_taken += n;
        }
        r = tls_send(t);
        return r < 0 ? r : (ssize_t)n_taken;
}

static int tls_flush(struct stream *s)
{
        struct tls_stream *t = of(s);
        int r;

        r = stream_backlog_flush(&t->backlog, t->inner);
        if (r < 0 && r != -EAGAIN && t->error == 0)
                t->error = r;
        if (r == 0 && t->has_shutdown && !t->is_shut) {
                t->is_shut = true;
                stream_shutdown(t->inner);
        }
        return r;
}

static ssize_t tls_write(struct stream *s, const struct iovec *parts, size_t n_parts)
{
        struct tls_stream *t = of(s);
        int r = t->error;

        if (r == 0)
                r = tls_handshake(t);
        if (r <= 0)
                return r == 0 ? -EPIPE : r;
        if (t->has_shutdown)
                return -EPIPE;
        r = tls_flush(s);
        return r < 0 ? r : tls_write_records(t, parts, n_parts);
}

static uint32_t tls_events(const struct stream *s)
{
        const struct tls_stream *t = of_const(s);

        return stream_events(t->inner) | (stream_backlog_bytes(&t->backlog) > 0 ? EPOLLOUT : 0u);
}

static bool tls_has_input(const struct stream *s)
{
        const struct tls_stream *t = of_const(s);

        if (t->owes_end && !t->has_shutdown)
                return true;
        return t->is_open && t->error == 0 && !t->has_shutdown && !t->is_dry && SSL_has_pending(t->ssl);
}

static void tls_shutdown(struct stream *s)
{
        struct tls_stream *t = of(s);

        if (t->is_open && t->error == 0) {
                (void)SSL_shutdown(t->ssl);
                ERR_clear_error();
                (void)tls_send(t);
        }
        t->has_shutdown = true;
        (void)tls_flush(s);
}

static void tls_free(struct stream *s)
{
        struct tls_stream *t = of(s);

        SSL_free(t->ssl);
        (void)stream_free(t->inner);
        (void)tls_server_unref(t->tls);
        stream_backlog_done(&t->backlog);
        free(t->client_name);
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

static SSL *ssl_new(struct tls_stream *t, const struct tls_server *tls)
{
        SSL *ssl = SSL_new(tls->context);
        BIO *bio = BIO_new(tls->method);

        if (!ssl || !bio) {
                SSL_free(ssl);
                (void)BIO_free(bio);
                ERR_clear_error();
                return NULL;
        }
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl, bio, bio);
        SSL_set_accept_state(ssl);
        return ssl;
}

int stream_tls_new(struct tls_server *tls, struct stream *inner, struct stream **ret_stream)
{
        struct tls_stream *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->ssl = ssl_new(t, tls);
        if (!t->ssl) {
                free(t);
                return -ENOMEM;
        }
        t->stream = (struct stream){ .ops = &tls_ops, .fd = inner->fd };
        t->inner = inner;
        t->tls = tls_server_ref(tls);
        *ret_stream = &t->stream;
        return 0;
}

const char *stream_tls_client_name(const struct stream *s)
{
        s = stream_ws_inner(s);
        return s->ops == &tls_ops ? of_const(s)->client_name : NULL;
}
