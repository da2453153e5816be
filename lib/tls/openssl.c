// SPDX-License-Identifier: MIT
/*
 * openssl.c: OpenSSL 3 behind the table of engines; the library coil-openssl.
 *
 * OpenSSL reads and writes through a BIO of its caller's. The BIO of this file
 * gives it the one record that the stream lends, and then says "retry"; what
 * OpenSSL writes is appended to the stream's block, so a write always takes all.
 *
 * The whole handshake is the costly step: start() and record() copy what has
 * come and give COILI_TLS_WORK; work() lets OpenSSL go on, and what it says is
 * kept in memory from malloc(), since work() may run in any thread; resume()
 * hands it over.
 *
 * OpenSSL decides nothing. SSL_CTX_set_cert_verify_callback() passes the chain
 * to trust.h: OpenSSL 3.0 itself believes a common name where there is no
 * subjectAltName, and a wildcard inside a label. Versions, suites, groups and
 * schemes are set here, whatever openssl.cnf says.
 *
 * Sessions are kept as OpenSSL writes them. Tickets of a server have OpenSSL's
 * own form, a cipher and a MAC, since it takes no other; but their keys are those
 * of ticket.h, and the key of the MAC is made of all that a ticket is bound to.
 *
 * The queue of errors belongs to a thread: it is cleared before each call and
 * read right after it.
 */
#include <coil/openssl.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "engine.h"
#include "key_log.h"
#include "setup.h"
#include "ticket.h"

#define SUITES_13 \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:" \
    "TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_12 \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256:P-384"
#define SCHEMES \
    "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:rsa_pss_rsae_sha256:" \
    "rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:" \
    "rsa_pkcs1_sha384:rsa_pkcs1_sha512"

/* The largest Certificate message; RFC 8446 has no limit of its own. */
#define CERTIFICATES_BYTES_MAX 65536

/* What records add to their data: head, explicit nonce, type, tag. */
/* Longer than any ticket is opened: the true bounds are ours. */
enum { SESSION_SECONDS_MAX = 8 * 24 * 3600 };

enum { OVERHEAD_13 = 22, OVERHEAD_12_GCM = 29, OVERHEAD_12_CHACHA = 21 };

/* What a handshake needs besides; from malloc(). */
struct shake {
    unsigned char *in, *out;
    size_t in_len, in_at, out_len, out_size;
    bool wants_choice, refused, no_memory;
    bool ended;           /* close_notify has come */
    bool asks_again;      /* the choice is made */
    bool offers_ems;      /* the client: the extended master secret */
    SSL_SESSION *session; /* client, TLS 1.2: a new one, to be kept at OPEN */
};

struct state {
    struct coili_tls_state base;
    SSL *ssl;
    struct shake *shake;     /* NULL: the connection is open */
    const unsigned char *in; /* what is lent to record() */
    size_t in_len, in_at;
    struct coili_tls_out *out; /* during a call */
    int err;                   /* of the last call of OpenSSL */
    int16_t alert;             /* that OpenSSL has sent; -1 */
    bool opened, owes_ticket;
    unsigned char *certificate; /* for info(); from malloc() */
    int certificate_len;
    char *alpn;
    char *name; /* server: what the client has asked for; NULL: nothing */
};

static struct state *state_of(struct coili_tls_state *base)
{
    return (struct state *)(void *)base;
}

/* ---- The BIO ---------------------------------------------------------- */

static int bio_read(BIO *bio, char *buf, int len)
{
    struct state *s = BIO_get_data(bio);
    const unsigned char *in = s->shake ? s->shake->in : s->in;
    size_t has = s->shake ? s->shake->in_len : s->in_len;
    size_t *at = s->shake ? &s->shake->in_at : &s->in_at;
    BIO_clear_retry_flags(bio);
    size_t n = has - *at < (size_t)len ? has - *at : (size_t)len;
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(buf, in + *at, n);
    *at += n;
    return (int)n;
}

static bool shake_append(struct shake *k, const char *data, size_t n)
{
    if (n > COILI_TLS_OUT_BYTES_MAX - k->out_len)
        return false;
    if (n > k->out_size - k->out_len) {
        size_t size = k->out_size ? k->out_size : 1024;
        while (size - k->out_len < n)
            size *= 2;
        unsigned char *out = realloc(k->out, size);
        if (!out)
            return false;
        k->out = out;
        k->out_size = size;
    }
    memcpy(k->out + k->out_len, data, n);
    k->out_len += n;
    return true;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct state *s = BIO_get_data(bio);
    size_t n = (size_t)len;
    BIO_clear_retry_flags(bio);
    if (s->shake) {
        if (shake_append(s->shake, data, n))
            return len;
        s->shake->no_memory = true;
        return -1;
    }
    unsigned char *to = s->out ? coili_tls_out_append(s->out, n) : NULL;
    if (!to)
        return -1;
    memcpy(to, data, n);
    return len;
}

static long bio_ctrl(BIO *bio, int cmd, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* One for the process; made by the first setup, in whatever thread. */
static BIO_METHOD *method;

__attribute__((destructor)) static void free_method(void)
{
    BIO_meth_free(method);
}

static void make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
                                 "coil");
    if (!m || !BIO_meth_set_read(m, bio_read) ||
        !BIO_meth_set_write(m, bio_write) || !BIO_meth_set_ctrl(m, bio_ctrl) ||
        !BIO_meth_set_create(m, bio_create)) {
        BIO_meth_free(m);
        return;
    }
    method = m;
}

/* ---- Errors ----------------------------------------------------------- */

static const int16_t no_alert = -1;

/* Called by OpenSSL for each alert, sent or received. */
static void on_info(const SSL *ssl, int where, int value)
{
    struct state *s = SSL_get_app_data(ssl);
    if ((where & SSL_CB_ALERT) && !(where & SSL_CB_READ) &&
        value >> 8 == SSL3_AL_FATAL)
        s->alert = (int16_t)(value & 0xff);
}

/* Errors whose reason says more than their alert. */
static int code_of(int reason, int alert)
{
    if (reason >= SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255)
        return COIL_TLS_BY_PEER + reason - SSL_AD_REASON_OFFSET;
    if (reason == SSL_R_INAPPROPRIATE_FALLBACK &&
        alert == COILI_ALERT_ILLEGAL_PARAMETER)
        return COIL_TLS_DOWNGRADED;
    if (reason == SSL_R_NO_RENEGOTIATION)
        return COIL_TLS_RENEGOTIATES;
    return alert == no_alert ? COILI_ALERT_INTERNAL_ERROR : alert;
}

/*
 * The error of a call of OpenSSL that has failed just now; an error of our own
 * callbacks counts first.
 */
static int take_error(struct state *s)
{
    unsigned long error = ERR_peek_last_error();
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    ERR_clear_error();
    if (s->err < 0)
        return s->err;
    if (s->shake && s->shake->no_memory)
        s->err = -ENOMEM;
    else if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
        s->err = -ENOMEM;
    else
        s->err = COIL_ETLS;
    if (s->err == COIL_ETLS)
        s->base.detail = coili_tls_detail(code_of(reason, s->alert));
    return s->err;
}

/* ---- Certificates: our policy ----------------------------------------- */

/* What OpenSSL makes an alert of. */
static const int x509_errors[] = {
    [COIL_CERT_OK] = X509_V_OK,
    [COIL_CERT_NAME] = X509_V_ERR_HOSTNAME_MISMATCH,
    [COIL_CERT_TIME] = X509_V_ERR_CERT_HAS_EXPIRED,
    [COIL_CERT_UNKNOWN] = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
    [COIL_CERT_SIGNATURE] = X509_V_ERR_HOSTNAME_MISMATCH,
    [COIL_CERT_WEAK] = X509_V_ERR_HOSTNAME_MISMATCH,
    [COIL_CERT_PURPOSE] = X509_V_ERR_INVALID_PURPOSE,
    [COIL_CERT_CONSTRAINT] = X509_V_ERR_HOSTNAME_MISMATCH,
    [COIL_CERT_MALFORMED] = X509_V_ERR_HOSTNAME_MISMATCH,
    [COIL_CERT_UNSUPPORTED] = X509_V_ERR_INVALID_PURPOSE,
    [COIL_CERT_PIN] = X509_V_ERR_HOSTNAME_MISMATCH,
};

/* The certificates as DER, one more than is allowed at most: judge() counts. */
struct ders {
    unsigned char *memory[COILI_CHAIN_MAX + 1];
    struct coili_der certs[COILI_CHAIN_MAX + 1];
    size_t n;
};

static void free_ders(struct ders *ders)
{
    for (size_t i = 0; i < ders->n; i++)
        OPENSSL_free(ders->memory[i]);
}

static bool take_ders(struct ders *ders, const STACK_OF(X509) * chain)
{
    int n = sk_X509_num(chain);
    ders->n = 0;
    for (int i = 0; i < n && i <= COILI_CHAIN_MAX; i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(sk_X509_value(chain, i), &der);
        if (len <= 0)
            return false;
        ders->memory[ders->n] = der;
        ders->certs[ders->n++] = (struct coili_der){ der, (size_t)len };
    }
    return true;
}

/*
 * The key of the chain that was believed, as trust.h read it, must be the one
 * that OpenSSL checks the handshake's signature with.
 */
static bool same_key(X509 *leaf, const struct coili_verdict *verdict)
{
    unsigned char *spki = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &spki);
    bool same = len > 0 && (size_t)len == verdict->key.spki.len &&
                memcmp(spki, verdict->key.spki.at, (size_t)len) == 0;
    OPENSSL_free(spki);
    return same;
}

/* Have coil judge the chain. Result: an X509_V_... */
static int judge(struct state *s, const struct ders *ders, X509 *leaf)
{
    struct coili_chain chain = { ders->certs, ders->n };
    struct coili_verdict verdict;
    s->err = coili_tls_judge(&s->base, &chain,
                             SSL_version(s->ssl) == TLS1_3_VERSION, &verdict);
    if (s->err == 0 && s->base.setup->verifies_name &&
        !same_key(leaf, &verdict)) {
        s->err = COIL_ECERT;
        verdict.fault = COIL_CERT_MALFORMED;
        s->base.detail = coili_tls_detail(COIL_CERT_MALFORMED);
        snprintf(s->base.handshake->why, COILI_SENTENCE_BYTES,
                 "the key of the certificate can be read in two ways");
    }
    return s->err == 0            ? X509_V_OK
           : s->err == COIL_ECERT ? x509_errors[verdict.fault]
                                  : X509_V_ERR_UNSPECIFIED;
}

/* Called by OpenSSL when the peer's certificates have come. 1: believed. */
static int verify(X509_STORE_CTX *ctx, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx,
                                          SSL_get_ex_data_X509_STORE_CTX_idx());
    struct state *s = SSL_get_app_data(ssl);
    struct ders ders;
    int error = X509_V_ERR_OUT_OF_MEM;
    if (take_ders(&ders, X509_STORE_CTX_get0_untrusted(ctx)))
        error = judge(s, &ders, X509_STORE_CTX_get0_cert(ctx));
    else
        s->err = -ENOMEM;
    free_ders(&ders);
    X509_STORE_CTX_set_error(ctx, error);
    return error == X509_V_OK;
}

/* ---- ALPN and SNI ----------------------------------------------------- */

/* The first protocol of the server that the client offers, too. */
static int select_alpn(SSL *ssl, const unsigned char **out,
                       unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    (void)arg;
    const struct state *s = SSL_get_app_data(ssl);
    const struct coili_tls_setup *setup = s->base.setup;
    unsigned char *chosen;
    if (setup->alpn_bytes == 0)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&chosen, out_len, setup->alpn, setup->alpn_bytes,
                              in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The host name in the extension server_name: RFC 6066, section 3. */
static void read_asked_name(SSL *ssl, char *asked, size_t size)
{
    const unsigned char *ext;
    size_t len;
    asked[0] = '\0';
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len) ||
        len < 5 || ext[2] != TLSEXT_NAMETYPE_host_name)
        return;
    size_t n = (size_t)ext[3] << 8 | ext[4];
    if (n > len - 5 || n >= size || memchr(ext + 5, '\0', n))
        return;
    memcpy(asked, ext + 5, n);
    asked[n] = '\0';
}

/* All that may differ between the setups of one server. */
static void use_setup(struct state *s)
{
    const struct coili_tls_setup *setup = s->base.setup;
    SSL_CTX *ctx = setup->prepared;
    SSL_set_SSL_CTX(s->ssl, ctx);
    SSL_set_verify(s->ssl, SSL_CTX_get_verify_mode(ctx), NULL);
    SSL_set_min_proto_version(s->ssl, setup->version_min);
    SSL_set_max_proto_version(s->ssl, setup->version_max);
    if (setup->ticket_keys)
        SSL_clear_options(s->ssl, SSL_OP_NO_TICKET);
    else
        SSL_set_options(s->ssl, SSL_OP_NO_TICKET);
}

/*
 * Called by OpenSSL before it looks at the ClientHello. The chooser is the
 * user's code and runs in the loop's thread: so the first call stops here, and
 * the second one finds the setup that was chosen.
 */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    struct state *s = SSL_get_app_data(ssl);
    struct shake *k = s->shake;
    if (!k->asks_again) {
        const unsigned char *ext;
        size_t len;
        k->offers_ems = SSL_client_hello_get0_ext(
            ssl, TLSEXT_TYPE_extended_master_secret, &ext, &len);
        read_asked_name(ssl, s->base.handshake->asked,
                        sizeof s->base.handshake->asked);
        if (!s->base.setup->choose)
            return SSL_CLIENT_HELLO_SUCCESS;
        k->wants_choice = true;
        return SSL_CLIENT_HELLO_RETRY;
    }
    if (k->refused) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    use_setup(s);
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- Sessions of a client --------------------------------------------- */

static void keep_session(struct state *s, SSL_SESSION *session)
{
    unsigned char *der = NULL;
    int len = i2d_SSL_SESSION(session, &der);
    unsigned long lifetime = SSL_SESSION_get_ticket_lifetime_hint(session);
    if (len <= 0)
        return;
    struct coili_tls_session kept = {
        .version = (uint16_t)SSL_SESSION_get_protocol_version(session),
        .lifetime = lifetime > UINT32_MAX ? UINT32_MAX : (uint32_t)lifetime,
        .ticket = { der, (size_t)len },
    };
    coili_tls_keep(&s->base, &kept);
    OPENSSL_clear_free(der, (size_t)len);
}

/*
 * Called by OpenSSL when the server gives a ticket: in TLS 1.2 inside work(), in
 * 1.3 inside record().
 *
 * Result    1: `session` is taken
 */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct state *s = SSL_get_app_data(ssl);
    if (!s->base.sessions || !SSL_SESSION_has_ticket(session) ||
        !SSL_SESSION_is_resumable(session))
        return 0;
    if (!s->shake) {
        keep_session(s, session);
        return 0;
    }
    SSL_SESSION_free(s->shake->session);
    s->shake->session = session;
    return 1;
}

/* What OpenSSL cannot read any more is not offered. */
static void offer_session(struct state *s)
{
    const struct coili_tls_session *kept = s->base.handshake->session;
    if (s->base.sessions)
        SSL_clear_options(s->ssl, SSL_OP_NO_TICKET);
    if (!kept)
        return;
    const unsigned char *at = kept->ticket.at;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &at, (long)kept->ticket.len);
    if (session)
        SSL_set_session(s->ssl, session);
    SSL_SESSION_free(session);
    ERR_clear_error();
}

/* ---- Tickets of a server ---------------------------------------------- */

/* For a ticket's data: until when the session may be resumed, big-endian. */
enum { UNTIL_BYTES = 8 };

/* The name of a key in a ticket: its id, and which form this is. */
enum { KEY_NAME_BYTES = 16 };
static const unsigned char form[] = "OpenSSL";
_Static_assert(COILI_TICKET_ID_BYTES + sizeof form == KEY_NAME_BYTES,
               "the name of a key has 16 bytes");

static const char *asked_name(const struct state *s)
{
    return s->base.handshake ? s->base.handshake->asked
           : s->name         ? s->name
                             : "";
}

/* One key for each setup and name: others find that the MAC is wrong. */
static bool use_mac_key(const struct state *s, EVP_MAC_CTX *mac,
                        const struct coili_ticket_key *key)
{
    unsigned char bound_key[32];
    char digest[] = "SHA256";
    coili_ticket_mac_key(key, s->base.setup, asked_name(s), bound_key);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    bool ok = EVP_MAC_init(mac, bound_key, sizeof bound_key, params) == 1;
    OPENSSL_cleanse(bound_key, sizeof bound_key);
    return ok;
}

/*
 * RFC 7627, 5.4: without the extended master secret there is no resumption. In
 * the handshake SSL_get_extms_support() does not say.
 */
static bool may_give_ticket(const struct state *s)
{
    return SSL_version(s->ssl) == TLS1_3_VERSION || s->shake->offers_ems;
}

/*
 * Called by OpenSSL to seal and to open a ticket.
 *
 * Result    1; 2: it opens, but a new one is due; 0: no ticket; -1: an error
 */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv,
                      EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seals)
{
    const struct state *s = SSL_get_app_data(ssl);
    struct coil_tls_ticket_keys *keys = s->base.setup->ticket_keys;
    int64_t now = coili_tls_now(&s->base);
    struct coili_ticket_key key, newest;
    const EVP_CIPHER *aes = EVP_aes_256_cbc();
    if (!keys || !coili_ticket_key_get(keys, NULL, now, &newest))
        return 0;
    bool ok, found = true;
    key = newest;
    if (seals) {
        memcpy(name, key.id, sizeof key.id);
        memcpy(name + sizeof key.id, form, sizeof form);
        found = may_give_ticket(s);
        ok = found && RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) == 1 &&
             EVP_EncryptInit_ex(cipher, aes, NULL, key.cipher, iv) == 1;
    } else {
        found = memcmp(name + sizeof key.id, form, sizeof form) == 0 &&
                coili_ticket_key_get(keys, name, now, &key);
        ok = found &&
             EVP_DecryptInit_ex(cipher, aes, NULL, key.cipher, iv) == 1;
    }
    ok = ok && use_mac_key(s, mac, &key);
    bool is_newest = memcmp(key.id, newest.id, sizeof key.id) == 0;
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(&newest, sizeof newest);
    return !found ? 0 : !ok ? -1 : is_newest ? 1 : 2;
}

/* Called by OpenSSL before it seals a session: what a ticket has besides. */
static int on_seal(SSL *ssl, void *arg)
{
    (void)arg;
    const struct state *s = SSL_get_app_data(ssl);
    SSL_SESSION *session = SSL_get_session(ssl);
    unsigned char bytes[UNTIL_BYTES];
    struct coili_ticket_key key;
    int64_t now = coili_tls_now(&s->base);
    int64_t until = coili_tls_believed_until(&s->base,
                                             (uint16_t)SSL_version(ssl));
    for (int i = 0; i < UNTIL_BYTES; i++)
        bytes[i] = (unsigned char)(until >> (56 - 8 * i));
    if (coili_ticket_key_get(s->base.setup->ticket_keys, NULL, now, &key)) {
        SSL_SESSION_set_timeout(session,
                                (long)coili_ticket_lifetime(&key, until, now));
        OPENSSL_cleanse(&key, sizeof key);
    }
    return SSL_SESSION_set1_ticket_appdata(session, bytes, sizeof bytes);
}

/* The time that on_seal() has written; 0: none. */
static int64_t believed_until(SSL_SESSION *session)
{
    void *data;
    size_t len;
    uint64_t until = 0;
    if (!SSL_SESSION_get0_ticket_appdata(session, &data, &len) ||
        len != UNTIL_BYTES)
        return 0;
    for (int i = 0; i < UNTIL_BYTES; i++)
        until = until << 8 | ((unsigned char *)data)[i];
    return (int64_t)until;
}

/* Called by OpenSSL when it has opened a ticket, or could not. */
static SSL_TICKET_RETURN on_ticket(SSL *ssl, SSL_SESSION *session,
                                   const unsigned char *name, size_t name_len,
                                   SSL_TICKET_STATUS status, void *arg)
{
    (void)name;
    (void)name_len;
    (void)arg;
    const struct state *s = SSL_get_app_data(ssl);
    if (status == SSL_TICKET_EMPTY || status == SSL_TICKET_NO_DECRYPT)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_ABORT;
    if (believed_until(session) <= s->base.handshake->now)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE
                                        : SSL_TICKET_RETURN_USE_RENEW;
}

static bool use_tickets(SSL_CTX *ctx, const struct coili_tls_setup *setup)
{
    if (setup->ticket_keys)
        SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_timeout(ctx, SESSION_SECONDS_MAX);
    return SSL_CTX_set_session_id_context(ctx, setup->id, sizeof setup->id) &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key) &&
           SSL_CTX_set_session_ticket_cb(ctx, on_seal, on_ticket, NULL);
}

/* Both ends have agreed on a session of before: what is known of it counts. */
static void take_resumption(struct state *s)
{
    struct coili_tls_session session = { 0 };
    if (!SSL_session_reused(s->ssl))
        return;
    if (!s->base.setup->is_server) {
        coili_tls_resumed(&s->base, s->base.handshake->session);
        return;
    }
    session.believed_until = believed_until(SSL_get_session(s->ssl));
    coili_tls_resumed(&s->base, &session);
}

/* ---- Key log ---------------------------------------------------------- */

#ifdef COIL_DEBUG_KEYS

static void log_keys(const SSL *ssl, const char *line)
{
    (void)ssl;
    coili_key_log_line(line);
}

static void use_key_log(SSL_CTX *ctx)
{
    SSL_CTX_set_keylog_callback(ctx, log_keys);
}

#else

/* Only debug builds (COIL_DEBUG) write keys anywhere. */
static void use_key_log(SSL_CTX *ctx)
{
    (void)ctx;
}

#endif

/* ---- Setups ----------------------------------------------------------- */

static X509 *x509_of(struct coili_der der)
{
    const unsigned char *at = der.at;
    return d2i_X509(NULL, &at, (long)der.len);
}

static bool use_identity(SSL_CTX *ctx, const struct coili_identity *identity)
{
    const unsigned char *der = identity->key.der.at;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, (long)identity->key.der.len);
    bool ok = key != NULL;
    for (size_t i = 0; ok && i < identity->chain.n; i++) {
        X509 *cert = x509_of(identity->chain.certs[i]);
        ok = cert && (i == 0 ? SSL_CTX_use_certificate(ctx, cert)
                             : SSL_CTX_add1_chain_cert(ctx, cert)) == 1;
        X509_free(cert);
    }
    ok = ok && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
         SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    return ok;
}

/* Everything that openssl.cnf could set otherwise. */
static bool use_profile(SSL_CTX *ctx, const struct coili_tls_setup *setup)
{
    SSL_CTX_clear_options(ctx, SSL_CTX_get_options(ctx));
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(ctx, setup->is_server
                                            ? SSL_SESS_CACHE_OFF
                                            : SSL_SESS_CACHE_CLIENT |
                                                  SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_security_level(ctx, 1); /* keys of peers: see trust.h */
    SSL_CTX_set_max_cert_list(ctx, CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_read_ahead(ctx, 0);
    return SSL_CTX_set_min_proto_version(ctx, setup->version_min) &&
           SSL_CTX_set_max_proto_version(ctx, setup->version_max) &&
           SSL_CTX_set_ciphersuites(ctx, SUITES_13) &&
           SSL_CTX_set_cipher_list(ctx, SUITES_12) &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) &&
           SSL_CTX_set1_sigalgs_list(ctx, SCHEMES) &&
           SSL_CTX_set1_client_sigalgs_list(ctx, SCHEMES);
}

static void use_callbacks(SSL_CTX *ctx, const struct coili_tls_setup *setup)
{
    int mode = SSL_VERIFY_NONE;
    if (!setup->is_server || setup->ask != COIL_TLS_ASK_NOT)
        mode = SSL_VERIFY_PEER;
    if (setup->is_server && setup->ask == COIL_TLS_ASK_ALWAYS)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
    SSL_CTX_set_info_callback(ctx, on_info);
    use_key_log(ctx);
    if (setup->is_server) {
        SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    } else {
        SSL_CTX_sess_set_new_cb(ctx, on_session);
    }
}

static int openssl_prepare(struct coili_tls_setup *setup, char *why)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    ERR_clear_error();
    if (!CRYPTO_THREAD_run_once(&once, make_method) || !method)
        return -ENOMEM;
    SSL_CTX *ctx = SSL_CTX_new(setup->is_server ? TLS_server_method()
                                                : TLS_client_method());
    if (!ctx)
        return -ENOMEM;
    bool ok = use_profile(ctx, setup) &&
              (!setup->is_server || use_tickets(ctx, setup)) &&
              (!setup->identity || use_identity(ctx, setup->identity));
    if (!ok) {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());
        snprintf(why, COILI_SENTENCE_BYTES, "OpenSSL refuses the setup: %s",
                 reason ? reason : "it does not say why");
        ERR_clear_error();
        SSL_CTX_free(ctx);
        return -EINVAL;
    }
    use_callbacks(ctx, setup);
    setup->prepared = ctx;
    return 0;
}

static void openssl_forget(struct coili_tls_setup *setup)
{
    SSL_CTX_free(setup->prepared);
}

/* ---- The handshake ---------------------------------------------------- */

static void free_shake(struct state *s)
{
    struct shake *k = s->shake;
    s->shake = NULL;
    if (!k)
        return;
    SSL_SESSION_free(k->session);
    free(k->in);
    free(k->out);
    free(k);
}

/* What a client offers: the name of the server, and protocols. */
static bool offer(SSL *ssl, const struct coili_tls_handshake *h)
{
    return (!*h->asked || SSL_set_tlsext_host_name(ssl, h->asked) == 1) &&
           (h->alpn_bytes == 0 ||
            SSL_set_alpn_protos(ssl, h->alpn, h->alpn_bytes) == 0);
}

static int openssl_start(struct coili_tls_state *base,
                         struct coili_tls_out *out)
{
    (void)out;
    struct state *s = state_of(base);
    const struct coili_tls_setup *setup = base->setup;
    s->alert = no_alert;
    s->shake = calloc(1, sizeof *s->shake);
    s->ssl = SSL_new(setup->prepared);
    BIO *bio = BIO_new(method);
    if (!s->shake || !s->ssl || !bio ||
        (!setup->is_server && !offer(s->ssl, base->handshake))) {
        BIO_free(bio);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    if (setup->is_server) {
        SSL_set_accept_state(s->ssl);
        return 0;
    }
    SSL_set_connect_state(s->ssl);
    offer_session(s);
    return COILI_TLS_WORK;
}

/* In any thread. */
static void openssl_work(struct coili_tls_state *base)
{
    struct state *s = state_of(base);
    ERR_clear_error();
    int n = SSL_do_handshake(s->ssl);
    int what = n == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, n);
    if (n == 1)
        s->opened = true;
    else if (what == SSL_ERROR_ZERO_RETURN)
        s->shake->ended = true;
    else if (what != SSL_ERROR_WANT_READ &&
             what != SSL_ERROR_WANT_CLIENT_HELLO_CB)
        take_error(s);
    ERR_clear_error();
}

static uint8_t overhead_of(const SSL *ssl)
{
    if (SSL_version(ssl) == TLS1_3_VERSION)
        return OVERHEAD_13;
    int cipher = SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl));
    return cipher == NID_chacha20_poly1305 ? OVERHEAD_12_CHACHA
                                           : OVERHEAD_12_GCM;
}

static int openssl_resume(struct coili_tls_state *base,
                          struct coili_tls_out *out)
{
    struct state *s = state_of(base);
    struct shake *k = s->shake;
    if (k->out_len > 0) {
        unsigned char *to = coili_tls_out_append(out, k->out_len);
        if (!to)
            return -ENOMEM;
        memcpy(to, k->out, k->out_len);
        k->out_len = 0;
    }
    if (s->err < 0)
        return s->err;
    if (k->wants_choice) {
        k->wants_choice = false;
        k->asks_again = true;
        k->refused = !coili_tls_choose(base);
        return COILI_TLS_WORK;
    }
    if (!s->opened)
        return k->ended ? COILI_TLS_ENDED : COILI_TLS_QUIET;
    base->overhead = overhead_of(s->ssl);
    take_resumption(s);
    if (base->setup->is_server && *base->handshake->asked)
        s->name = strdup(base->handshake->asked);
    s->owes_ticket = base->setup->ticket_keys &&
                     SSL_version(s->ssl) == TLS1_3_VERSION;
    if (k->session && SSL_get_extms_support(s->ssl) == 1)
        keep_session(s, k->session);
    free_shake(s);
    ERR_clear_error();
    return COILI_TLS_OPEN;
}

/* ---- Records ---------------------------------------------------------- */

/* The record is kept for work(). */
static int keep_record(struct state *s, const unsigned char *record, size_t len)
{
    struct shake *k = s->shake;
    unsigned char *in = realloc(k->in, len);
    if (!in)
        return -ENOMEM;
    memcpy(in, record, len);
    k->in = in;
    k->in_len = len;
    k->in_at = 0;
    return COILI_TLS_WORK;
}

/*
 * OpenSSL has taken the whole record before it gives plaintext, so that may be
 * written over the record.
 */
static int openssl_record(struct coili_tls_state *base, unsigned char *record,
                          size_t len, struct coili_tls_data *data,
                          struct coili_tls_out *out)
{
    struct state *s = state_of(base);
    if (s->shake)
        return keep_record(s, record, len);
    s->in = record;
    s->in_len = len;
    s->in_at = 0;
    s->out = out;
    ERR_clear_error();
    int n, event = COILI_TLS_QUIET;
    while ((n = SSL_read(s->ssl, record + data->len, (int)(len - data->len))) >
           0)
        data->len += (size_t)n;
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        event = data->len > 0 ? COILI_TLS_DATA : COILI_TLS_QUIET;
        break;
    case SSL_ERROR_ZERO_RETURN:
        event = COILI_TLS_ENDED;
        break;
    default:
        event = take_error(s);
    }
    ERR_clear_error();
    s->in = NULL;
    s->in_len = s->in_at = 0;
    s->out = NULL;
    return event;
}

/* One ticket, in front of the first data; see engine.h. */
static void give_ticket(struct state *s)
{
    struct coil_tls_ticket_keys *keys = s->base.setup->ticket_keys;
    struct coili_ticket_key key;
    s->owes_ticket = false;
    coili_ticket_keys_turn(keys);
    if (!coili_ticket_key_get(keys, NULL, coili_tls_now(&s->base), &key))
        return;
    OPENSSL_cleanse(&key, sizeof key);
    SSL_new_session_ticket(s->ssl);
}

static int openssl_seal(struct coili_tls_state *base, const void *data,
                        size_t len, struct coili_tls_out *out)
{
    struct state *s = state_of(base);
    s->out = out;
    ERR_clear_error();
    if (s->owes_ticket)
        give_ticket(s);
    int n = SSL_write(s->ssl, data, (int)len);
    s->out = NULL;
    if (n == (int)len)
        return 0;
    return take_error(s);
}

/* 0 of SSL_shutdown() is success, too: the peer has not ended yet. */
static int openssl_end(struct coili_tls_state *base, struct coili_tls_out *out)
{
    struct state *s = state_of(base);
    s->out = out;
    ERR_clear_error();
    int n = SSL_shutdown(s->ssl);
    s->out = NULL;
    return n >= 0 ? 0 : take_error(s);
}

/*
 * OpenSSL sends no alert that it is asked for. Before the keys an alert is
 * plain; later OpenSSL is shown a head that it answers with the alert.
 */
static void openssl_alert(struct coili_tls_state *base, int alert,
                          struct coili_tls_out *out)
{
    struct state *s = state_of(base);
    if (s->shake || !s->ssl) {
        unsigned char *to = coili_tls_out_append(out, 7);
        if (to)
            memcpy(to,
                   (unsigned char[]){ COILI_TLS_ALERT, 3, 3, 0, 2,
                                      SSL3_AL_FATAL, (unsigned char)alert },
                   7);
        return;
    }
    unsigned char head[] = { COILI_TLS_DATA_RECORD, 3, 3, 0xff, 0xff };
    unsigned char byte;
    if (alert != COILI_ALERT_RECORD_OVERFLOW)
        memcpy(head, (unsigned char[]){ 99, 3, 3, 0, 1 }, sizeof head);
    s->in = head;
    s->in_len = sizeof head;
    s->in_at = 0;
    s->out = out;
    SSL_read(s->ssl, &byte, 1);
    ERR_clear_error();
    s->in = NULL;
    s->in_len = s->in_at = 0;
    s->out = NULL;
}

/* ---- info, free ------------------------------------------------------- */

static void tell_certificate(struct state *s, struct coil_tls_info *info)
{
    X509 *leaf = SSL_get0_peer_certificate(s->ssl);
    if (!leaf)
        return;
    if (!s->certificate)
        s->certificate_len = i2d_X509(leaf, &s->certificate);
    if (s->certificate_len <= 0)
        return;
    info->certificate = s->certificate;
    info->certificate_bytes = (size_t)s->certificate_len;
    EVP_Digest(s->certificate, info->certificate_bytes,
               info->certificate_sha256, NULL, EVP_sha256(), NULL);
}

static void openssl_info(struct coili_tls_state *base,
                         struct coil_tls_info *info)
{
    struct state *s = state_of(base);
    const unsigned char *alpn;
    unsigned len;
    info->version = (enum coil_tls_version)SSL_version(s->ssl);
    info->suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(s->ssl));
    info->resumed = SSL_session_reused(s->ssl);
    SSL_get0_alpn_selected(s->ssl, &alpn, &len);
    if (len > 0 && !s->alpn)
        s->alpn = strndup((const char *)alpn, len);
    if (s->alpn)
        info->alpn = s->alpn;
    if (s->name)
        info->name = s->name;
    tell_certificate(s, info);
    ERR_clear_error();
}

static void openssl_free(struct coili_tls_state *base)
{
    struct state *s = state_of(base);
    free_shake(s);
    SSL_free(s->ssl);
    OPENSSL_free(s->certificate);
    free(s->alpn);
    free(s->name);
}

const struct coil_tls_engine *coil_openssl_engine(void)
{
    static const struct coil_tls_engine engine = {
        .name = "OpenSSL",
        .state_bytes = sizeof(struct state),
        .prepare = openssl_prepare,
        .forget = openssl_forget,
        .start = openssl_start,
        .record = openssl_record,
        .work = openssl_work,
        .resume = openssl_resume,
        .seal = openssl_seal,
        .end = openssl_end,
        .alert = openssl_alert,
        .info = openssl_info,
        .free = openssl_free,
    };
    return &engine;
}
