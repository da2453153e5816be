// SPDX-License-Identifier: MIT
/*
 * attacker.c: the scripted TLS peer, on libcrypto.
 *
 * A flight is made step by step. Making a message is always the same sequence:
 *
 *     what an honest peer would send -> edits of what is signed -> signature or
 *     binder -> edits -> transcript -> edits behind its back -> records
 *
 * The keys change where the protocol says so, whatever the edits are: behind the
 * step whose message changes them. So a script that leaves a message out or
 * sends it twice does so under the keys that the other end has then.
 *
 * What a message needs and the other end has not sent (a share, say) is zeros.
 * There is no state in which the attacker cannot go on.
 */
#include "attacker.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { TLS12 = 0x0303, TLS13 = 0x0304 };
enum { CCS = 20, ALERT, HANDSHAKE, DATA };
enum {
    EXT_NAME = 0,
    EXT_GROUPS = 10,
    EXT_POINTS = 11,
    EXT_SCHEMES = 13,
    EXT_ALPN = 16,
    EXT_EMS = 23,
    EXT_TICKET = 35,
    EXT_PSK = 41,
    EXT_VERSIONS = 43,
    EXT_COOKIE = 44,
    EXT_PSK_MODES = 45,
    EXT_SHARE = 51,
    EXT_RENEGOTIATION = 0xff01
};
enum { X25519 = 29, P256 = 23, P384 = 24 };

#define MUST(condition) \
    ((condition) ? (void)0 : must_fail(__LINE__, #condition))

__attribute__((noreturn)) static void must_fail(int line, const char *what)
{
    fprintf(stderr, "attacker.c:%d: %s does not hold\n", line, what);
    abort();
}

/* ---- Bytes ------------------------------------------------------------ */

struct bytes {
    unsigned char *at;
    size_t len, size;
};

static void put(struct bytes *b, const void *bytes, size_t n)
{
    if (n > b->size - b->len) {
        b->size = 2 * (b->len + n) + 64;
        b->at = realloc(b->at, b->size);
        MUST(b->at);
    }
    if (n > 0)
        memcpy(b->at + b->len, bytes, n);
    b->len += n;
}

static void put_number(struct bytes *b, size_t number, int n)
{
    while (n-- > 0) {
        unsigned char byte = (unsigned char)(number >> 8 * n);
        put(b, &byte, 1);
    }
}

/* Begin a vector whose length takes n bytes; end_vector() writes the length. */
static size_t begin_vector(struct bytes *b, int n)
{
    put_number(b, 0, n);
    return b->len;
}

static void end_vector(struct bytes *b, size_t mark, int n)
{
    size_t len = b->len - mark;
    for (int i = 0; i < n; i++)
        b->at[mark - 1 - (size_t)i] = (unsigned char)(len >> 8 * i);
}

/* At `at` take `cut` bytes out and put `n` in. */
static void splice(struct bytes *b, size_t at, size_t cut, const void *bytes,
                   size_t n)
{
    struct bytes made = { 0 };
    at = at < b->len ? at : b->len;
    cut = cut < b->len - at ? cut : b->len - at;
    put(&made, b->at, at);
    put(&made, bytes, n);
    if (b->len > at + cut)
        put(&made, b->at + at + cut, b->len - at - cut);
    free(b->at);
    *b = made;
}

static void clear(struct bytes *b)
{
    free(b->at);
    *b = (struct bytes){ 0 };
}

/* A reader that never goes beyond its end; `bad` is set when it would. */
struct view {
    const unsigned char *at;
    size_t len;
    bool bad;
};

static struct view take(struct view *v, size_t n)
{
    struct view part = { v->at, n, false };
    if (n > v->len) {
        v->bad = true;
        part.len = v->len;
        part.bad = true;
    }
    if (part.len > 0)
        v->at += part.len;
    v->len -= part.len;
    return part;
}

static size_t take_number(struct view *v, int n)
{
    struct view part = take(v, (size_t)n);
    size_t number = 0;
    for (size_t i = 0; i < part.len; i++)
        number = number << 8 | part.at[i];
    return part.bad ? 0 : number;
}

static struct view take_vector(struct view *v, int n)
{
    return take(v, take_number(v, n));
}

/* ---- Certificates ----------------------------------------------------- */

/* Those of the process. They are never freed. */
static struct {
    EVP_PKEY *authority_key, *keys[3], *aliens[3], *client_key;
    X509 *authority, *certs[3], *client;
    char authority_text[4096], stranger_text[4096], texts[3][8192],
        client_text[8192];
} pki;

static EVP_PKEY *key_new(enum att_key kind)
{
    EVP_PKEY *key = kind == ATT_RSA    ? EVP_RSA_gen(2048)
                    : kind == ATT_P384 ? EVP_EC_gen("P-384")
                                       : EVP_EC_gen("P-256");
    MUST(key);
    return key;
}

static void add_extension(X509 *cert, int nid, const char *text)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, text);
    MUST(ext && X509_add_ext(cert, ext, -1));
    X509_EXTENSION_free(ext);
}

/* `san` NULL: an authority. */
static X509 *cert_new(const char *subject, const char *san, const char *usage,
                      EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_NAME_new();
    MUST(cert && name);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 77);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               (const unsigned char *)subject, -1, -1, 0);
    X509_set_subject_name(cert, name);
    X509_set_issuer_name(cert,
                         san ? X509_get_subject_name(pki.authority) : name);
    X509_NAME_free(name);
    X509_set_pubkey(cert, key);
    if (san) {
        add_extension(cert, NID_subject_alt_name, san);
        add_extension(cert, NID_ext_key_usage, usage);
    } else {
        add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(cert, NID_key_usage, "critical,keyCertSign");
    }
    MUST(X509_sign(cert, san ? pki.authority_key : key, EVP_sha256()) > 0);
    return cert;
}

/* The certificate, and the key behind it if there is one. */
static void write_pem(char *text, size_t size, X509 *cert, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    MUST(bio && PEM_write_bio_X509(bio, cert));
    if (key)
        MUST(
            PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    long n = BIO_get_mem_data(bio, &data);
    MUST(n > 0 && (size_t)n < size);
    memcpy(text, data, (size_t)n);
    text[n] = '\0';
    BIO_free(bio);
}

const char *att_authority_pem(void)
{
    if (!pki.authority) {
        pki.authority_key = key_new(ATT_P256);
        pki.authority = cert_new("the authority", NULL, NULL,
                                 pki.authority_key);
        write_pem(pki.authority_text, sizeof pki.authority_text, pki.authority,
                  NULL);
    }
    return pki.authority_text;
}

const char *att_stranger_pem(void)
{
    if (!*pki.stranger_text) {
        EVP_PKEY *key = key_new(ATT_P256);
        X509 *cert = cert_new("a stranger", NULL, NULL, key);
        write_pem(pki.stranger_text, sizeof pki.stranger_text, cert, NULL);
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    return pki.stranger_text;
}

const char *att_server_pem(enum att_key kind)
{
    att_authority_pem();
    if (!pki.certs[kind]) {
        pki.keys[kind] = key_new(kind);
        pki.certs[kind] = cert_new("a.test", "DNS:a.test", "serverAuth",
                                   pki.keys[kind]);
        write_pem(pki.texts[kind], sizeof pki.texts[kind], pki.certs[kind],
                  pki.keys[kind]);
    }
    return pki.texts[kind];
}

const char *att_client_pem(void)
{
    att_authority_pem();
    if (!pki.client) {
        pki.client_key = key_new(ATT_P256);
        pki.client = cert_new("a client", "email:me@a.test", "clientAuth",
                              pki.client_key);
        write_pem(pki.client_text, sizeof pki.client_text, pki.client,
                  pki.client_key);
    }
    return pki.client_text;
}

static EVP_PKEY *alien_key(enum att_key kind)
{
    if (!pki.aliens[kind])
        pki.aliens[kind] = key_new(kind);
    return pki.aliens[kind];
}

/* ---- The attacker ----------------------------------------------------- */

struct keys {
    bool on;
    unsigned char key[32], iv[12], secret[48];
    uint64_t seq;
};

struct step {
    int what;
    bool if_full; /* not if a session is resumed */
    bool again;   /* the bytes that were sent last as `what` */
    bool cut;
    const void *bytes; /* instead of what is usual; NULL */
    size_t len;
};

enum { STEPS_MAX = 256, SHARES_MAX = 3 };

struct attacker {
    struct att_script script;
    struct step steps[STEPS_MAX];
    size_t steps_n, at;
    struct att_seen seen;
    const char *complaint;

    struct bytes wire;        /* the flight */
    struct bytes pending;     /* content of a record that is not complete */
    struct keys pending_keys; /* those that it is sent under, if since then */
    bool keys_changed;        /* the keys have changed */
    struct bytes incoming;
    struct bytes transcript;
    struct bytes sent[0x300];
    bool broken; /* a step was cut: nothing more is sent */

    uint16_t suite;
    unsigned char client_random[32], server_random[32];
    unsigned char session[32];
    size_t session_len;
    bool peer_ems, peer_ticket, peer_reneg, has_master, resumed;
    bool hello_was_sent, retried;
    unsigned char cookie[256];
    size_t cookie_len;

    EVP_PKEY *own; /* of `group` */
    uint16_t group;
    unsigned char share[133]; /* the peer's, of `group` */
    size_t share_len;
    EVP_PKEY *peer_key; /* of its certificate */

    unsigned char handshake_secret[48], master[48];
    unsigned char c_hs[48], s_hs[48], c_ap[48], s_ap[48], resumption[48];
    struct keys read, write, ready_read, ready_write;

    unsigned char psk_ticket[2048];
    size_t psk_ticket_len;
    struct att_session session_left;
    bool has_session;
};

static void complain(struct attacker *a, const char *what)
{
    if (!a->complaint)
        a->complaint = what;
}

/* ---- Hashes and secrets ----------------------------------------------- */

static const EVP_MD *hash_of(uint16_t suite)
{
    return suite == 0x1302 || suite == 0xc02c || suite == 0xc030 ? EVP_sha384()
                                                                 : EVP_sha256();
}

static size_t hash_len(const struct attacker *a)
{
    return (size_t)EVP_MD_get_size(hash_of(a->suite));
}

static bool is_chacha(uint16_t suite)
{
    return suite == 0x1303 || suite == 0xcca8 || suite == 0xcca9;
}

static size_t key_len(uint16_t suite)
{
    bool short_key = suite == 0x1301 || suite == 0xc02b || suite == 0xc02f;
    return short_key ? 16 : 32;
}

static void digest(const EVP_MD *md, const void *bytes, size_t n,
                   unsigned char *out)
{
    MUST(EVP_Digest(bytes, n, out, NULL, md, NULL));
}

static void transcript_hash(const struct attacker *a, unsigned char *out)
{
    digest(hash_of(a->suite), a->transcript.at ? a->transcript.at : out,
           a->transcript.len, out);
}

static void hmac(const EVP_MD *md, const void *key, size_t key_bytes,
                 const void *bytes, size_t n, unsigned char *out)
{
    unsigned len;
    MUST(HMAC(md, key, (int)key_bytes, bytes, n, out, &len));
}

/* RFC 8446, 7.1: HKDF-Expand-Label, for at most one block. */
static void expand(const struct attacker *a, const unsigned char *secret,
                   const char *label, const void *context, size_t context_len,
                   unsigned char *out, size_t n)
{
    struct bytes info = { 0 };
    unsigned char block[64];
    put_number(&info, n, 2);
    size_t mark = begin_vector(&info, 1);
    put(&info, "tls13 ", 6);
    put(&info, label, strlen(label));
    end_vector(&info, mark, 1);
    put_number(&info, context_len, 1);
    put(&info, context, context_len);
    put_number(&info, 1, 1);
    hmac(hash_of(a->suite), secret, hash_len(a), info.at, info.len, block);
    memcpy(out, block, n);
    clear(&info);
}

static void derive(const struct attacker *a, const unsigned char *secret,
                   const char *label, unsigned char *out)
{
    unsigned char hash[64];
    transcript_hash(a, hash);
    expand(a, secret, label, hash, hash_len(a), out, hash_len(a));
}

static void derive_empty(const struct attacker *a, const unsigned char *secret,
                         const char *label, unsigned char *out)
{
    unsigned char hash[64];
    digest(hash_of(a->suite), "", 0, hash);
    expand(a, secret, label, hash, hash_len(a), out, hash_len(a));
}

static void use_secret(const struct attacker *a, struct keys *keys,
                       const unsigned char *secret)
{
    memset(keys, 0, sizeof *keys);
    memcpy(keys->secret, secret, hash_len(a));
    expand(a, secret, "key", NULL, 0, keys->key, key_len(a->suite));
    expand(a, secret, "iv", NULL, 0, keys->iv, 12);
    keys->on = true;
}

static void next_secret(const struct attacker *a, struct keys *keys)
{
    unsigned char secret[64];
    expand(a, keys->secret, "traffic upd", NULL, 0, secret, hash_len(a));
    use_secret(a, keys, secret);
}

/* RFC 5246, 5. */
static void prf(const struct attacker *a, const unsigned char *secret,
                size_t secret_len, const char *label, const void *seed,
                size_t seed_len, unsigned char *out, size_t n)
{
    const EVP_MD *md = hash_of(a->suite);
    size_t h = hash_len(a);
    struct bytes whole = { 0 }, input = { 0 };
    unsigned char chain[64], block[64];
    put(&whole, label, strlen(label));
    put(&whole, seed, seed_len);
    hmac(md, secret, secret_len, whole.at, whole.len, chain);
    for (size_t i = 0; i < n; i += h) {
        input.len = 0;
        put(&input, chain, h);
        put(&input, whole.at, whole.len);
        hmac(md, secret, secret_len, input.at, input.len, block);
        memcpy(out + i, block, n - i < h ? n - i : h);
        hmac(md, secret, secret_len, chain, h, chain);
    }
    clear(&whole);
    clear(&input);
}

static void finished_value(const struct attacker *a, bool of_client,
                           struct bytes *out)
{
    unsigned char hash[64], key[64], mac[64];
    transcript_hash(a, hash);
    if (a->script.version == TLS13) {
        expand(a, of_client ? a->c_hs : a->s_hs, "finished", NULL, 0, key,
               hash_len(a));
        hmac(hash_of(a->suite), key, hash_len(a), hash, hash_len(a), mac);
        put(out, mac, hash_len(a));
    } else {
        prf(a, a->master, 48, of_client ? "client finished" : "server finished",
            hash, hash_len(a), mac, 12);
        put(out, mac, 12);
    }
}

/* ---- Key exchange ----------------------------------------------------- */

static EVP_PKEY *own_key(struct attacker *a)
{
    if (!a->own)
        a->own = a->group == P256   ? EVP_EC_gen("P-256")
                 : a->group == P384 ? EVP_EC_gen("P-384")
                                    : EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    MUST(a->own);
    return a->own;
}

static void use_group(struct attacker *a, uint16_t group)
{
    if (a->group == group)
        return;
    EVP_PKEY_free(a->own);
    a->own = NULL;
    a->group = group;
}

/* The own share, as the script wants it. */
static void put_share(struct attacker *a, struct bytes *b, int length_bytes)
{
    unsigned char *encoded = NULL;
    size_t n = EVP_PKEY_get1_encoded_public_key(own_key(a), &encoded);
    MUST(n > 0);
    size_t mark = begin_vector(b, length_bytes);
    switch (a->script.share) {
    case ATT_SHARE_ZEROS:
        memset(encoded, 0, n);
        break;
    case ATT_SHARE_SHORT:
        n--;
        break;
    case ATT_SHARE_OFF_CURVE:
        encoded[n - 1] ^= 1;
        break;
    case ATT_SHARE_FORM_02:
        encoded[0] = encoded[0] == 2 ? 3 : 2;
        break;
    case ATT_SHARE_GOOD:
    case ATT_SHARE_NONE:
        break;
    }
    put(b, encoded, n);
    end_vector(b, mark, length_bytes);
    OPENSSL_free(encoded);
}

/* The secret of both shares; zeros if the peer's is none. */
static size_t shared_secret(struct attacker *a, unsigned char out[66])
{
    size_t n = a->group == P384 ? 48 : 32;
    memset(out, 0, 66);
    if (a->share_len == 0 || a->script.share == ATT_SHARE_ZEROS)
        return n;
    EVP_PKEY *peer = NULL;
    if (a->group == X25519) {
        peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, a->share,
                                           a->share_len);
    } else {
        peer = EVP_PKEY_new();
        MUST(peer && EVP_PKEY_copy_parameters(peer, own_key(a)));
        if (EVP_PKEY_set1_encoded_public_key(peer, a->share, a->share_len) !=
            1) {
            EVP_PKEY_free(peer);
            peer = NULL;
        }
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own_key(a), NULL);
    size_t len = 66;
    if (!peer || EVP_PKEY_derive_init(ctx) != 1 ||
        EVP_PKEY_derive_set_peer(ctx, peer) != 1 ||
        EVP_PKEY_derive(ctx, out, &len) != 1)
        complain(a, "the share of the other end is no point");
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return n;
}

/* 1.3, behind the ServerHello. */
static void derive_handshake(struct attacker *a)
{
    unsigned char secret[66], early[64], derived[64], zeros[64] = { 0 };
    const EVP_MD *md = hash_of(a->suite);
    size_t h = hash_len(a), n = shared_secret(a, secret);
    const unsigned char *psk = zeros;
    if (a->resumed && a->script.resumes)
        psk = a->script.resumes->secret;
    hmac(md, zeros, h, psk, h, early);
    derive_empty(a, early, "derived", derived);
    hmac(md, derived, h, secret, n, a->handshake_secret);
    derive(a, a->handshake_secret, "c hs traffic", a->c_hs);
    derive(a, a->handshake_secret, "s hs traffic", a->s_hs);
    derive_empty(a, a->handshake_secret, "derived", derived);
    hmac(md, derived, h, zeros, h, a->master);
    a->has_master = true;
}

/* 1.3, behind the server's Finished. */
static void derive_application(struct attacker *a)
{
    derive(a, a->master, "c ap traffic", a->c_ap);
    derive(a, a->master, "s ap traffic", a->s_ap);
}

/* 1.2: the keys of both directions wait until CCS. */
static void derive_key_block(struct attacker *a)
{
    unsigned char seed[64], block[2 * 32 + 2 * 12];
    size_t k = key_len(a->suite), iv = is_chacha(a->suite) ? 12 : 4;
    memcpy(seed, a->server_random, 32);
    memcpy(seed + 32, a->client_random, 32);
    prf(a, a->master, 48, "key expansion", seed, 64, block, 2 * k + 2 * iv);
    struct keys client = { .on = true }, server = { .on = true };
    memcpy(client.key, block, k);
    memcpy(server.key, block + k, k);
    memcpy(client.iv, block + 2 * k, iv);
    memcpy(server.iv, block + 2 * k + iv, iv);
    a->ready_write = a->script.is_client ? client : server;
    a->ready_read = a->script.is_client ? server : client;
}

/* 1.2, behind ClientKeyExchange. */
static void derive_master(struct attacker *a)
{
    unsigned char secret[66], hash[64], seed[64];
    size_t n = shared_secret(a, secret);
    if (a->peer_ems && !a->script.no_ems) {
        transcript_hash(a, hash);
        prf(a, secret, n, "extended master secret", hash, hash_len(a),
            a->master, 48);
    } else {
        memcpy(seed, a->client_random, 32);
        memcpy(seed + 32, a->server_random, 32);
        prf(a, secret, n, "master secret", seed, 64, a->master, 48);
    }
    a->has_master = true;
    derive_key_block(a);
}

/* ---- Signatures ------------------------------------------------------- */

static const EVP_MD *scheme_hash(uint16_t scheme)
{
    switch (scheme) {
    case 0x0201:
        return EVP_sha1();
    case 0x0501:
    case 0x0503:
    case 0x0805:
        return EVP_sha384();
    case 0x0601:
    case 0x0603:
    case 0x0806:
        return EVP_sha512();
    default:
        return EVP_sha256();
    }
}

static uint16_t own_scheme(const struct attacker *a)
{
    enum att_key kind = a->script.is_client ? ATT_P256 : a->script.key;
    if (a->script.scheme)
        return a->script.scheme;
    return kind == ATT_RSA ? 0x0804 : kind == ATT_P384 ? 0x0503 : 0x0403;
}

/* Set up PSS if the scheme is of that kind. */
static void use_padding(EVP_PKEY_CTX *ctx, uint16_t scheme, int salt)
{
    if (scheme >> 8 != 8)
        return;
    MUST(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0);
    MUST(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt) > 0);
}

static void put_signature(struct attacker *a, struct bytes *b,
                          const struct bytes *signed_bytes)
{
    const struct att_script *s = &a->script;
    enum att_key kind = s->key;
    EVP_PKEY *key;
    if (s->is_client) {
        att_client_pem();
        key = pki.client_key;
        kind = ATT_P256;
    } else {
        att_server_pem(kind);
        key = pki.keys[kind];
    }
    if (s->signature == ATT_SIGN_ALIEN)
        key = alien_key(kind);
    uint16_t scheme = own_scheme(a);
    unsigned char signature[512];
    size_t n = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx;
    MUST(EVP_DigestSignInit(ctx, &pkey_ctx, scheme_hash(scheme), NULL, key) ==
         1);
    if (EVP_PKEY_get_id(key) == EVP_PKEY_RSA)
        use_padding(pkey_ctx, scheme,
                    s->signature == ATT_SIGN_SALT_20 ? 20
                                                     : RSA_PSS_SALTLEN_DIGEST);
    MUST(EVP_DigestSign(ctx, signature, &n, signed_bytes->at,
                        signed_bytes->len) == 1);
    EVP_MD_CTX_free(ctx);
    if (s->signature == ATT_SIGN_BIT)
        signature[n - 1] ^= 1;
    size_t cut = s->signature == ATT_SIGN_SHORT;
    put_number(b, scheme, 2);
    put_number(b, n - cut, 2);
    put(b, signature + cut, n - cut);
}

/* What CertificateVerify of 1.3 signs: RFC 8446, 4.4.3. */
static void put_signed_13(const struct attacker *a, struct bytes *b,
                          bool of_client)
{
    unsigned char hash[64], spaces[64];
    const char *context = of_client ? "TLS 1.3, client CertificateVerify"
                                    : "TLS 1.3, server CertificateVerify";
    memset(spaces, ' ', sizeof spaces);
    transcript_hash(a, hash);
    put(b, spaces, sizeof spaces);
    put(b, context, strlen(context) + 1);
    put(b, hash, hash_len(a));
}

static void check_signature(struct attacker *a, struct view v,
                            const struct bytes *signed_bytes)
{
    uint16_t scheme = (uint16_t)take_number(&v, 2);
    struct view signature = take_vector(&v, 2);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx;
    if (v.bad || v.len > 0)
        complain(a, "a signature has other lengths");
    if (!a->peer_key ||
        EVP_DigestVerifyInit(ctx, &pkey_ctx, scheme_hash(scheme), NULL,
                             a->peer_key) != 1) {
        complain(a, "a signature without a key");
    } else {
        if (EVP_PKEY_get_id(a->peer_key) == EVP_PKEY_RSA)
            use_padding(pkey_ctx, scheme, RSA_PSS_SALTLEN_DIGEST);
        if (EVP_DigestVerify(ctx, signature.at, signature.len, signed_bytes->at,
                             signed_bytes->len) != 1)
            complain(a, "a signature is wrong");
    }
    EVP_MD_CTX_free(ctx);
}

/* ---- Records ---------------------------------------------------------- */

static const EVP_CIPHER *cipher_of(uint16_t suite)
{
    return is_chacha(suite)       ? EVP_chacha20_poly1305()
           : key_len(suite) == 16 ? EVP_aes_128_gcm()
                                  : EVP_aes_256_gcm();
}

/* Encrypt or decrypt `n` bytes; the tag stands at out[n] or in[n]. */
static bool aead(const struct attacker *a, const struct keys *keys,
                 const unsigned char nonce[12], const unsigned char *ad,
                 size_t ad_len, const unsigned char *in, size_t n,
                 unsigned char *out, bool encrypts)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;
    unsigned char tag[16], nothing[16];
    MUST(ctx && EVP_CipherInit_ex(ctx, cipher_of(a->suite), NULL, keys->key,
                                  nonce, encrypts) == 1);
    MUST(EVP_CipherUpdate(ctx, NULL, &len, ad, (int)ad_len) == 1);
    if (n > 0)
        MUST(EVP_CipherUpdate(ctx, out, &len, in, (int)n) == 1);
    if (!encrypts) {
        memcpy(tag, in + n, 16);
        MUST(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag) == 1);
    }
    bool ok = EVP_CipherFinal_ex(ctx, nothing, &len) == 1;
    if (encrypts)
        MUST(ok &&
             EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + n) == 1);
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static void xor_sequence(unsigned char nonce[12], const struct keys *keys)
{
    memcpy(nonce, keys->iv, 12);
    for (int i = 0; i < 8; i++)
        nonce[4 + i] ^= (unsigned char)(keys->seq >> 8 * (7 - i));
}

/* The nonce of 1.2; `explicit` is where it stands in the record, or will. */
static size_t nonce_12(const struct attacker *a, const struct keys *keys,
                       const unsigned char *explicit_part,
                       unsigned char nonce[12])
{
    if (is_chacha(a->suite)) {
        xor_sequence(nonce, keys);
        return 0;
    }
    memcpy(nonce, keys->iv, 4);
    memcpy(nonce + 4, explicit_part, 8);
    return 8;
}

static void additional_12(const struct keys *keys, unsigned char type,
                          size_t len, unsigned char ad[13])
{
    for (int i = 0; i < 8; i++)
        ad[i] = (unsigned char)(keys->seq >> 8 * (7 - i));
    memcpy(ad + 8,
           (unsigned char[]){ type, 3, 3, (unsigned char)(len >> 8),
                              (unsigned char)len },
           5);
}

/* How the records of one step are made. */
struct manner {
    bool plain;
    int inner, outer; /* -1: as usual */
    size_t pad;
};

/* One record, at the end of the flight. */
static void put_record(struct attacker *a, unsigned type,
                       const unsigned char *content, size_t n,
                       const struct manner *m)
{
    struct keys *keys = &a->write;
    struct bytes *wire = &a->wire;
    unsigned outer = m->outer >= 0 ? (unsigned)m->outer : type;
    bool is_13 = a->script.version == TLS13;
    bool sealed = keys->on && !m->plain && type != CCS;
    unsigned version = a->hello_was_sent || !a->script.is_client ? 0x0303
                                                                 : 0x0301;
    if (sealed && is_13 && m->outer < 0)
        outer = DATA;
    put_number(wire, outer, 1);
    put_number(wire, version, 2);
    size_t mark = begin_vector(wire, 2);
    if (!sealed) {
        put(wire, content, n);
        end_vector(wire, mark, 2);
        return;
    }
    struct bytes inner = { 0 };
    unsigned char nonce[12], ad[13], explicit_part[8];
    size_t ad_len = 13;
    put(&inner, content, n);
    if (is_13) {
        unsigned char zeros[256] = { 0 };
        put_number(&inner, m->inner >= 0 ? (size_t)m->inner : type, 1);
        for (size_t left = m->pad; left > 0;) {
            size_t part = left < sizeof zeros ? left : sizeof zeros;
            put(&inner, zeros, part);
            left -= part;
        }
        xor_sequence(nonce, keys);
        size_t len = inner.len + 16;
        memcpy(ad,
               (unsigned char[]){ (unsigned char)outer, 3, 3,
                                  (unsigned char)(len >> 8),
                                  (unsigned char)len },
               5);
        ad_len = 5;
    } else {
        for (int i = 0; i < 8; i++)
            explicit_part[i] = (unsigned char)(keys->seq >> 8 * (7 - i));
        put(wire, explicit_part, nonce_12(a, keys, explicit_part, nonce));
        additional_12(keys, (unsigned char)type, n, ad);
    }
    unsigned char *sealed_bytes = malloc(inner.len + 16);
    MUST(sealed_bytes);
    aead(a, keys, nonce, ad, ad_len, inner.at, inner.len, sealed_bytes, true);
    put(wire, sealed_bytes, inner.len + 16);
    end_vector(wire, mark, 2);
    free(sealed_bytes);
    clear(&inner);
    keys->seq++;
}

/*
 * Open a record with its head. Result: the content, in `out`, and its type; -1:
 * it does not open.
 */
static int open_record(struct attacker *a, const unsigned char *record,
                       size_t len, struct bytes *out)
{
    struct keys *keys = &a->read;
    unsigned type = record[0];
    bool is_13 = a->script.version == TLS13;
    bool sealed = keys->on && (is_13 ? type == DATA : type != CCS);
    if (!sealed) {
        put(out, record + 5, len - 5);
        return (int)type;
    }
    unsigned char nonce[12], ad[13];
    size_t at = 5, ad_len = 5;
    if (len < at + 16)
        return -1;
    if (is_13) {
        xor_sequence(nonce, keys);
        memcpy(ad, record, 5);
    } else {
        if (!is_chacha(a->suite) && len < 5 + 8 + 16)
            return -1;
        at += nonce_12(a, keys, record + 5, nonce);
        additional_12(keys, (unsigned char)type, len - at - 16, ad);
        ad_len = 13;
    }
    size_t n = len - at - 16;
    unsigned char *plain = malloc(n + 16);
    MUST(plain);
    if (!aead(a, keys, nonce, ad, ad_len, record + at, n, plain, false)) {
        free(plain);
        return -1;
    }
    keys->seq++;
    put(out, plain, n);
    free(plain);
    if (!is_13)
        return (int)type;
    while (out->len > 0 && out->at[out->len - 1] == 0)
        out->len--;
    return out->len > 0 ? out->at[--out->len] : -1;
}

/* ---- Messages --------------------------------------------------------- */

static size_t begin_extension(struct bytes *b, unsigned type)
{
    put_number(b, type, 2);
    return begin_vector(b, 2);
}

static void put_extension(struct bytes *b, unsigned type, const void *bytes,
                          size_t n)
{
    size_t mark = begin_extension(b, type);
    put(b, bytes, n);
    end_vector(b, mark, 2);
}

#define PUT_EXTENSION(b, type, literal) \
    put_extension((b), (type), (literal), sizeof(literal) - 1)

static void put_alpn(struct bytes *b, const char *name)
{
    size_t mark = begin_extension(b, EXT_ALPN), list = begin_vector(b, 2);
    size_t one = begin_vector(b, 1);
    put(b, name, strlen(name));
    end_vector(b, one, 1);
    end_vector(b, list, 2);
    end_vector(b, mark, 2);
}

static void put_name(struct bytes *b, const char *name)
{
    size_t mark = begin_extension(b, EXT_NAME), list = begin_vector(b, 2);
    put_number(b, 0, 1);
    size_t one = begin_vector(b, 2);
    put(b, name, strlen(name));
    end_vector(b, one, 2);
    end_vector(b, list, 2);
    end_vector(b, mark, 2);
}

static void build_client_hello(struct attacker *a, struct bytes *b, bool second)
{
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    const struct att_session *r = s->resumes;
    put_number(b, TLS12, 2);
    put(b, a->client_random, 32);
    size_t mark = begin_vector(b, 1);
    if (is_13 || (r && r->version == TLS12))
        put(b, a->session, 32);
    end_vector(b, mark, 1);
    mark = begin_vector(b, 2);
    put_number(b, a->suite, 2);
    if (!is_13 && !s->suite)
        put_number(b, 0xc02f, 2);
    if (s->scsv)
        put_number(b, 0x5600, 2);
    end_vector(b, mark, 2);
    put(b, "\1\0", 2);
    size_t all = begin_vector(b, 2);
    if (!s->no_sni)
        put_name(b, s->sni ? s->sni : "a.test");
    mark = begin_extension(b, EXT_GROUPS);
    size_t list = begin_vector(b, 2);
    put_number(b, s->group ? s->group : X25519, 2);
    if (!is_13) /* the curves of certificates, too */
        put(b, "\0\x17\0\x18", 4);
    end_vector(b, list, 2);
    end_vector(b, mark, 2);
    PUT_EXTENSION(b, EXT_SCHEMES,
                  "\0\x10\4\3\5\3\x08\4\x08\5\x08\6\4\1\5\1\6\1");
    if (s->alpn)
        put_alpn(b, s->alpn);
    if (!is_13) {
        PUT_EXTENSION(b, EXT_POINTS, "\1\0");
        PUT_EXTENSION(b, EXT_RENEGOTIATION, "\0");
        if (!s->no_ems)
            PUT_EXTENSION(b, EXT_EMS, "");
        if (s->ticket || r)
            put_extension(b, EXT_TICKET, r ? r->ticket : NULL,
                          r ? r->ticket_len : 0);
    }
    if (second && a->cookie_len)
        put_extension(b, EXT_COOKIE, a->cookie, a->cookie_len);
    if (is_13) {
        PUT_EXTENSION(b, EXT_VERSIONS, "\2\3\4");
        PUT_EXTENSION(b, EXT_PSK_MODES, "\1\1");
        mark = begin_extension(b, EXT_SHARE);
        list = begin_vector(b, 2);
        if (s->share != ATT_SHARE_NONE && (!s->retry || second)) {
            put_number(b, a->group, 2);
            put_share(a, b, 2);
        }
        end_vector(b, list, 2);
        end_vector(b, mark, 2);
    }
    if (is_13 && r) {
        unsigned char zeros[48] = { 0 };
        mark = begin_extension(b, EXT_PSK);
        list = begin_vector(b, 2);
        size_t one = begin_vector(b, 2);
        put(b, r->ticket, r->ticket_len);
        end_vector(b, one, 2);
        put_number(b, r->age_add + 1, 4);
        end_vector(b, list, 2);
        list = begin_vector(b, 2);
        one = begin_vector(b, 1);
        put(b, zeros, hash_len(a));
        end_vector(b, one, 1);
        end_vector(b, list, 2);
        end_vector(b, mark, 2);
    }
    end_vector(b, all, 2);
}

static const unsigned char retry_random[32] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
    0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
    0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c
};

static void build_server_hello(struct attacker *a, struct bytes *b, bool retry)
{
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    put_number(b, TLS12, 2);
    put(b, retry ? retry_random : a->server_random, 32);
    size_t mark = begin_vector(b, 1);
    if (is_13 || s->echoes || (s->resumes && a->resumed))
        put(b, a->session, a->session_len);
    end_vector(b, mark, 1);
    put_number(b, a->suite, 2);
    put_number(b, 0, 1);
    size_t all = begin_vector(b, 2);
    if (is_13) {
        PUT_EXTENSION(b, EXT_VERSIONS, "\3\4");
        mark = begin_extension(b, EXT_SHARE);
        put_number(b, retry ? s->retry : a->group, 2);
        if (!retry)
            put_share(a, b, 2);
        end_vector(b, mark, 2);
        if (retry && s->cookie)
            PUT_EXTENSION(b, EXT_COOKIE, "\0\4cook");
        if (!retry && s->resumes && a->resumed)
            PUT_EXTENSION(b, EXT_PSK, "\0\0");
    } else {
        PUT_EXTENSION(b, EXT_RENEGOTIATION, "\0");
        PUT_EXTENSION(b, EXT_POINTS, "\1\0");
        if (a->peer_ems && !s->no_ems)
            PUT_EXTENSION(b, EXT_EMS, "");
        if (s->ticket)
            PUT_EXTENSION(b, EXT_TICKET, "");
        if (s->alpn)
            put_alpn(b, s->alpn);
    }
    end_vector(b, all, 2);
}

static void build_certificate(struct attacker *a, struct bytes *b)
{
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    X509 *cert = NULL;
    if (s->is_client && s->presents) {
        att_client_pem();
        cert = pki.client;
    } else if (!s->is_client) {
        att_server_pem(s->key);
        cert = pki.certs[s->key];
    }
    if (is_13)
        put_number(b, 0, 1);
    size_t all = begin_vector(b, 3);
    if (cert) {
        unsigned char *der = NULL;
        int n = i2d_X509(cert, &der);
        MUST(n > 0);
        size_t one = begin_vector(b, 3);
        put(b, der, (size_t)n);
        end_vector(b, one, 3);
        if (is_13)
            put_number(b, 0, 2);
        OPENSSL_free(der);
    }
    end_vector(b, all, 3);
}

static void build_certificate_request(struct attacker *a, struct bytes *b)
{
    static const char schemes[] = "\0\x0c\4\3\5\3\x08\4\x08\5\x08\6\4\1";
    if (a->script.version == TLS13) {
        put_number(b, 0, 1);
        size_t all = begin_vector(b, 2);
        put_extension(b, EXT_SCHEMES, schemes, sizeof schemes - 1);
        end_vector(b, all, 2);
    } else {
        put(b, "\2\1\x40", 3);
        put(b, schemes, sizeof schemes - 1);
        put_number(b, 0, 2);
    }
}

static void build_ticket(struct attacker *a, struct bytes *b)
{
    unsigned char ticket[32];
    RAND_bytes(ticket, sizeof ticket);
    put_number(b, 7200, 4);
    if (a->script.version == TLS13) {
        put_number(b, 0x01020304, 4);
        put(b, "\1\7", 2);
    }
    size_t mark = begin_vector(b, 2);
    put(b, ticket, sizeof ticket);
    end_vector(b, mark, 2);
    if (a->script.version == TLS13)
        put_number(b, 0, 2);
}

/* What an honest peer would send, without the head of the message. */
static void build(struct attacker *a, int what, struct bytes *b)
{
    size_t mark;
    switch (what) {
    case ATT_CLIENT_HELLO:
    case ATT_SECOND_HELLO:
        build_client_hello(a, b, what == ATT_SECOND_HELLO);
        break;
    case ATT_SERVER_HELLO:
    case ATT_HELLO_RETRY:
        build_server_hello(a, b, what == ATT_HELLO_RETRY);
        break;
    case ATT_ENCRYPTED_EXTENSIONS:
        mark = begin_vector(b, 2);
        if (a->script.alpn)
            put_alpn(b, a->script.alpn);
        end_vector(b, mark, 2);
        break;
    case ATT_CERTIFICATE:
        build_certificate(a, b);
        break;
    case ATT_CERTIFICATE_REQUEST:
        build_certificate_request(a, b);
        break;
    case ATT_SERVER_KEY_EXCHANGE:
        put_number(b, 3, 1);
        put_number(b, a->group, 2);
        put_share(a, b, 1);
        break;
    case ATT_CLIENT_KEY_EXCHANGE:
        put_share(a, b, 1);
        break;
    case ATT_FINISHED:
        finished_value(a, a->script.is_client, b);
        break;
    case ATT_TICKET:
        build_ticket(a, b);
        break;
    case ATT_KEY_UPDATE:
        put_number(b, 0, 1);
        break;
    case ATT_CERTIFICATE_STATUS:
        put(b, "\1\0\0\1x", 5);
        break;
    case ATT_HELLO_REQUEST:
    case ATT_SERVER_HELLO_DONE:
    case ATT_END_OF_EARLY_DATA:
    case ATT_CERTIFICATE_VERIFY: /* see sign() */
        break;
    default:
        put(b, "\0\0\0\0", 4);
    }
}

static void add_bytes(struct bytes *b, const struct bytes *more)
{
    put(b, more->at, more->len);
}

/*
 * RFC 8446, 4.2.11.2: over the transcript, and the hello without its binders, of
 * which there is one.
 */
static void binder_of(const struct attacker *a, const unsigned char *hello,
                      size_t len, unsigned char *binder)
{
    size_t h = hash_len(a);
    unsigned char early[64], key[64], hash[64], zeros[64] = { 0 };
    struct bytes whole = { 0 };
    put(&whole, a->transcript.at, a->transcript.len);
    put_number(&whole, ATT_CLIENT_HELLO, 1);
    put_number(&whole, len, 3);
    put(&whole, hello, len - h - 3);
    digest(hash_of(a->suite), whole.at, whole.len, hash);
    hmac(hash_of(a->suite), zeros, h, a->script.resumes->secret, h, early);
    derive_empty(a, early, "res binder", key);
    expand(a, key, "finished", NULL, 0, key, h);
    hmac(hash_of(a->suite), key, h, hash, h, binder);
    clear(&whole);
}

static void put_binder(struct attacker *a, struct bytes *b)
{
    unsigned char binder[64];
    size_t h = hash_len(a);
    if (b->len < h + 3)
        return;
    binder_of(a, b->at, b->len, binder);
    memcpy(b->at + b->len - h, binder, h);
}

/* The signature of a message, or the binder, over what there is of it. */
static void sign(struct attacker *a, int what, struct bytes *b)
{
    struct bytes covered = { 0 };
    bool is_hello = what == ATT_CLIENT_HELLO || what == ATT_SECOND_HELLO;
    if (is_hello && a->script.version == TLS13 && a->script.resumes)
        put_binder(a, b);
    if (what == ATT_SERVER_KEY_EXCHANGE) {
        put(&covered, a->client_random, 32);
        put(&covered, a->server_random, 32);
        add_bytes(&covered, b);
    } else if (what == ATT_CERTIFICATE_VERIFY && a->script.version == TLS13) {
        bool as_client = a->script.is_client;
        if (a->script.signature == ATT_SIGN_OTHER_ROLE)
            as_client = !as_client;
        put_signed_13(a, &covered, as_client);
    } else if (what == ATT_CERTIFICATE_VERIFY) {
        add_bytes(&covered, &a->transcript);
    } else {
        return;
    }
    if (a->script.signature == ATT_SIGN_OTHER_TRANSCRIPT && covered.len > 0)
        covered.at[covered.len - 1] ^= 1;
    put_signature(a, b, &covered);
    clear(&covered);
}

/* ---- Edits of bytes --------------------------------------------------- */

/* Where the extensions of a message begin, with their length; or its end. */
static size_t extensions_at(int what, const struct bytes *b, int version)
{
    struct view v = { b->at, b->len, false };
    switch (what) {
    case ATT_CLIENT_HELLO:
    case ATT_SECOND_HELLO:
        take(&v, 34);
        take_vector(&v, 1);
        take_vector(&v, 2);
        take_vector(&v, 1);
        break;
    case ATT_SERVER_HELLO:
    case ATT_HELLO_RETRY:
        take(&v, 34);
        take_vector(&v, 1);
        take(&v, 3);
        break;
    case ATT_ENCRYPTED_EXTENSIONS:
        break;
    case ATT_CERTIFICATE_REQUEST:
        take_vector(&v, 1);
        break;
    case ATT_CERTIFICATE: /* those of the leaf */
        if (version == TLS13)
            take_vector(&v, 1);
        take(&v, 3);
        take_vector(&v, 3);
        break;
    case ATT_TICKET:
        take(&v, 8);
        take_vector(&v, 1);
        take_vector(&v, 2);
        break;
    default:
        take(&v, b->len);
    }
    return b->len - v.len;
}

static size_t place(int what, const struct bytes *b, int at)
{
    size_t session = 34 < b->len ? b->at[34] : 0, n;
    switch (at) {
    case ATT_AT_VERSION:
        return 0;
    case ATT_AT_RANDOM:
        return 2;
    case ATT_AT_SESSION:
        return 34;
    case ATT_AT_SUITE:
        return 35 + session;
    case ATT_AT_COMPRESSION:
        n = 35 + session;
        if (what == ATT_SERVER_HELLO || what == ATT_HELLO_RETRY)
            return n + 2;
        return n + 2 + (n + 1 < b->len ? b->at[n + 1] : 0);
    case ATT_AT_EXTENSIONS:
        return extensions_at(what, b, TLS13);
    case ATT_AT_END:
        return b->len;
    default:
        break;
    }
    if (at >= 0)
        return (size_t)at;
    return (size_t)-at < b->len ? b->len - (size_t)-at : 0;
}

/* Change the extensions and write their length again. */
static void edit_extension(const struct attacker *a, const struct att_edit *e,
                           struct bytes *b)
{
    size_t begin = extensions_at(e->on, b, a->script.version);
    if (begin + 2 > b->len)
        return;
    struct view v = { b->at + begin, b->len - begin, false };
    struct view list = take_vector(&v, 2);
    struct bytes made = { 0 }, last = { 0 };
    bool found = false;
    while (list.len > 0 && !list.bad) {
        unsigned type = (unsigned)take_number(&list, 2);
        struct view body = take_vector(&list, 2);
        bool is_it = type == (unsigned)e->at;
        found = found || is_it;
        if (is_it && e->op == ATT_EXT_DROP)
            continue;
        if (is_it && e->op == ATT_EXT_PUT)
            put_extension(&made, type, e->bytes, e->len);
        else
            put_extension(is_it && e->op == ATT_EXT_LAST ? &last : &made, type,
                          body.at, body.len);
        if (is_it && e->op == ATT_EXT_TWICE)
            put_extension(&made, type, body.at, body.len);
    }
    if (!found && e->op == ATT_EXT_PUT)
        put_extension(&made, (unsigned)e->at, e->bytes, e->len);
    add_bytes(&made, &last);
    size_t old = b->len - begin - 2 - v.len;
    splice(b, begin + 2, old, made.at, made.len);
    b->at[begin] = (unsigned char)(made.len >> 8);
    b->at[begin + 1] = (unsigned char)made.len;
    /* In Certificate two more lengths surround the extensions. */
    if (e->on == ATT_CERTIFICATE && b->len > 4) {
        size_t len = b->len - 4;
        b->at[1] = (unsigned char)(len >> 16);
        b->at[2] = (unsigned char)(len >> 8);
        b->at[3] = (unsigned char)len;
    }
    clear(&made);
    clear(&last);
}

static void add_number(unsigned char at[3], size_t more)
{
    size_t sum = ((size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2]) + more;
    at[0] = (unsigned char)(sum >> 16);
    at[1] = (unsigned char)(sum >> 8);
    at[2] = (unsigned char)sum;
}

static void edit_bytes(const struct attacker *a, int what, enum att_when when,
                       struct bytes *b)
{
    for (size_t i = 0; i < a->script.edits_n; i++) {
        const struct att_edit *e = &a->script.edits[i];
        if (e->on != what || e->when != when)
            continue;
        size_t at = place(what, b, e->at);
        if (e->op == ATT_SPLICE)
            splice(b, at, (size_t)e->cut, e->bytes, e->len);
        else if (e->op == ATT_ADD && at + 3 <= b->len)
            add_number(b->at + at, (size_t)e->cut);
        else if (e->op == ATT_XOR && at < b->len)
            b->at[at] ^= (unsigned char)e->cut;
        else if (e->op >= ATT_EXT_PUT && e->op <= ATT_EXT_LAST)
            edit_extension(a, e, b);
    }
}

/* The edit of this kind of this step, or NULL. */
static const struct att_edit *edit_of(const struct attacker *a, int what,
                                      enum att_op op)
{
    for (size_t i = 0; i < a->script.edits_n; i++)
        if (a->script.edits[i].on == what && a->script.edits[i].op == op)
            return &a->script.edits[i];
    return NULL;
}

/* ---- Sending ---------------------------------------------------------- */

static void replace_transcript(struct attacker *a)
{
    unsigned char hash[64];
    transcript_hash(a, hash);
    a->transcript.len = 0;
    put_number(&a->transcript, 254, 1);
    put_number(&a->transcript, hash_len(a), 3);
    put(&a->transcript, hash, hash_len(a));
}

/* The keys that change behind a message of the own. */
static void after_sent(struct attacker *a, int what)
{
    struct keys before = a->write;
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    if (what == ATT_CLIENT_HELLO)
        a->hello_was_sent = true;
    if (what == ATT_HELLO_RETRY)
        use_group(a, s->retry);
    if (what == ATT_SERVER_HELLO && is_13 && !s->is_client) {
        derive_handshake(a);
        use_secret(a, &a->write, a->s_hs);
        use_secret(a, &a->read, a->c_hs);
    } else if (what == ATT_SERVER_HELLO && !is_13 && !s->is_client &&
               a->resumed && s->resumes) {
        memcpy(a->master, s->resumes->secret, 48);
        a->has_master = true;
        derive_key_block(a);
    } else if (what == ATT_FINISHED && is_13 && a->has_master) {
        if (!s->is_client)
            derive_application(a);
        use_secret(a, &a->write, s->is_client ? a->c_ap : a->s_ap);
        if (s->is_client)
            derive(a, a->master, "res master", a->resumption);
    } else if (what == ATT_KEY_UPDATE && is_13 && a->write.on) {
        next_secret(a, &a->write);
    } else if (what == ATT_CLIENT_KEY_EXCHANGE && !is_13 && s->is_client) {
        derive_master(a);
    } else if (what == ATT_CCS && !is_13 && a->has_master) {
        /* One that comes before there are keys is the lie of CVE-2014-0224. */
        a->write = a->ready_write;
    }
    if (a->pending.len > 0 && !a->keys_changed &&
        memcmp(&before, &a->write, sizeof before) != 0) {
        a->pending_keys = before;
        a->keys_changed = true;
    }
}

static struct manner manner_of(const struct attacker *a, int what)
{
    const struct att_edit *inner = edit_of(a, what, ATT_INNER);
    const struct att_edit *outer = edit_of(a, what, ATT_OUTER);
    const struct att_edit *pad = edit_of(a, what, ATT_PAD);
    return (struct manner){
        .plain = edit_of(a, what, ATT_PLAIN),
        .inner = inner ? inner->at : -1,
        .outer = outer ? outer->at : -1,
        .pad = pad ? (size_t)pad->at : 0,
    };
}

/* A record under the keys of the time when the first message in it was made. */
static void put_pending(struct attacker *a, const unsigned char *content,
                        size_t n, const struct manner *m)
{
    struct keys now = a->write;
    if (a->keys_changed)
        a->write = a->pending_keys;
    put_record(a, HANDSHAKE, content, n, m);
    if (a->keys_changed) {
        a->pending_keys = a->write;
        a->write = now;
    }
}

static void end_pending(struct attacker *a)
{
    a->pending.len = 0;
    a->keys_changed = false;
}

/* What waits for a message that shares its record. */
static void flush_pending(struct attacker *a)
{
    if (a->pending.len == 0)
        return;
    struct manner usual = { .inner = -1, .outer = -1 };
    put_pending(a, a->pending.at, a->pending.len, &usual);
    end_pending(a);
}

/* Changes of records that are made already, from `from` on. */
static void edit_records(struct attacker *a, int what, size_t from)
{
    const struct att_edit *e = edit_of(a, what, ATT_FLIP);
    struct bytes *wire = &a->wire;
    if (e) {
        size_t n = wire->len - from;
        size_t at = e->at < 0 ? n - (size_t)-e->at : (size_t)e->at;
        if (at < n)
            wire->at[from + at] ^= (unsigned char)e->cut;
    }
    e = edit_of(a, what, ATT_HEAD);
    if (e && wire->len >= from + 5) {
        unsigned len = (unsigned)wire->at[from + 3] << 8 | wire->at[from + 4];
        len += (unsigned)e->at;
        wire->at[from + 3] = (unsigned char)(len >> 8);
        wire->at[from + 4] = (unsigned char)len;
    }
    if (edit_of(a, what, ATT_REPLAY)) {
        struct bytes copy = { 0 };
        put(&copy, wire->at + from, wire->len - from);
        add_bytes(wire, &copy);
        clear(&copy);
    }
}

static bool joins(const struct attacker *a, size_t at)
{
    return at < a->steps_n && a->steps[at].what < 0x100 &&
           edit_of(a, a->steps[at].what, ATT_JOIN);
}

/* A key changes behind it, so an honest peer ends the record with it. */
static bool changes_keys(int what)
{
    return what == ATT_SERVER_HELLO || what == ATT_FINISHED ||
           what == ATT_KEY_UPDATE || what == ATT_HELLO_RETRY ||
           what == ATT_CLIENT_HELLO || what == ATT_SECOND_HELLO ||
           what == ATT_SERVER_HELLO_DONE;
}

/* Put a whole message, with its head, into records. */
static void put_message(struct attacker *a, int what, const struct bytes *m)
{
    const struct att_edit *chunks = edit_of(a, what, ATT_CHUNKS);
    const struct att_edit *split = edit_of(a, what, ATT_SPLIT);
    struct manner manner = manner_of(a, what);
    size_t chunk = chunks ? (size_t)chunks->at : a->script.chunk;
    bool one = a->script.one && !changes_keys(what) && a->at < a->steps_n &&
               a->steps[a->at].what < 0x100;
    if (a->pending.len > 0 && !joins(a, a->at - 1) && !a->script.one)
        flush_pending(a);
    if (a->pending.len == 0)
        a->pending_keys = a->write;
    add_bytes(&a->pending, m);
    if (joins(a, a->at) || one)
        return;
    const struct att_edit *tail = edit_of(a, what, ATT_TAIL);
    if (tail)
        put(&a->pending, tail->bytes, tail->len);
    size_t first = split ? (size_t)split->at : 0, from = a->wire.len;
    if (what == a->script.split_on)
        first = a->script.split_at;
    struct view v = { a->pending.at, a->pending.len, false };
    if (first > 0 && first < v.len) {
        struct view part = take(&v, first);
        put_pending(a, part.at, part.len, &manner);
    }
    if (chunk == 0)
        chunk = 16384;
    do {
        struct view part = take(&v, v.len < chunk ? v.len : chunk);
        put_pending(a, part.at, part.len, &manner);
    } while (v.len > 0);
    end_pending(a);
    edit_records(a, what, from);
}

static unsigned char type_of(int what)
{
    return what == ATT_HELLO_RETRY    ? ATT_SERVER_HELLO
           : what == ATT_SECOND_HELLO ? ATT_CLIENT_HELLO
                                      : (unsigned char)what;
}

static void send_message(struct attacker *a, const struct step *step)
{
    int what = step->what;
    struct bytes body = { 0 }, whole = { 0 };
    if (what == ATT_HELLO_RETRY)
        replace_transcript(a);
    if (what == ATT_SERVER_HELLO && a->script.version == TLS12 &&
        a->script.resumes && a->peer_ticket && !a->script.declines)
        a->resumed = true;
    if (step->again) {
        add_bytes(&body, &a->sent[what]);
    } else if (step->bytes) {
        put(&body, step->bytes, step->len);
    } else {
        build(a, what, &body);
        edit_bytes(a, what, ATT_SIGNED, &body);
        sign(a, what, &body);
        edit_bytes(a, what, ATT_SENT, &body);
    }
    put_number(&whole, type_of(what), 1);
    put_number(&whole, body.len, 3);
    add_bytes(&whole, &body);
    if (what == ATT_CLIENT_HELLO && body.len > 34) {
        a->session_len = body.at[34] <= 32 ? body.at[34] : 0;
        if (body.len >= 35 + a->session_len)
            memcpy(a->session, body.at + 35, a->session_len);
    }
    bool counts = a->script.version == TLS13 || what != ATT_HELLO_REQUEST;
    if (counts)
        add_bytes(&a->transcript, &whole);
    if (!step->again && !step->bytes) {
        edit_bytes(a, what, ATT_LIE, &body);
        whole.len = 0;
        put_number(&whole, type_of(what), 1);
        put_number(&whole, body.len, 3);
        add_bytes(&whole, &body);
    }
    if (!step->again) {
        a->sent[what].len = 0;
        add_bytes(&a->sent[what], &body);
    }
    const struct att_edit *length = edit_of(a, what, ATT_LENGTH);
    if (length) {
        size_t len = body.len + (size_t)length->at;
        whole.at[1] = (unsigned char)(len >> 16);
        whole.at[2] = (unsigned char)(len >> 8);
        whole.at[3] = (unsigned char)len;
    }
    put_message(a, what, &whole);
    after_sent(a, what);
    clear(&body);
    clear(&whole);
}

/* A record that is no message: CCS, an alert, a fragment, data. */
static void send_record(struct attacker *a, const struct step *step)
{
    static const struct {
        const char *bytes;
        size_t len;
    } usual[] = {
        { "\1", 1 }, { "\2\x28", 2 }, { "\x0b\0", 2 }, { "data", 4 }
    };
    unsigned type = (unsigned)(step->what - ATT_CCS);
    struct manner manner = manner_of(a, step->what);
    size_t from = a->wire.len;
    flush_pending(a);
    put_record(a, type + CCS,
               step->bytes ? step->bytes : (const void *)usual[type].bytes,
               step->bytes ? step->len : usual[type].len, &manner);
    edit_records(a, step->what, from);
    after_sent(a, step->what);
}

/* ---- Reading ---------------------------------------------------------- */

/* The share of this group, of a ClientHello. */
static void read_shares(struct attacker *a, struct view v)
{
    struct view list = take_vector(&v, 2);
    while (list.len > 0 && !list.bad) {
        unsigned group = (unsigned)take_number(&list, 2);
        struct view share = take_vector(&list, 2);
        if (group == a->group && share.len <= sizeof a->share) {
            memcpy(a->share, share.at, share.len);
            a->share_len = share.len;
        }
    }
    if (list.bad || v.len > 0)
        complain(a, "key_share has other lengths");
}

static void read_psk(struct attacker *a, struct view v)
{
    struct view list = take_vector(&v, 2);
    struct view ticket = take_vector(&list, 2);
    const struct att_session *r = a->script.resumes;
    a->psk_ticket_len = 0;
    if (ticket.len <= sizeof a->psk_ticket) {
        memcpy(a->psk_ticket, ticket.at, ticket.len);
        a->psk_ticket_len = ticket.len;
    }
    if (r && !a->script.declines && a->psk_ticket_len == r->ticket_len &&
        !memcmp(r->ticket, a->psk_ticket, r->ticket_len))
        a->resumed = true;
}

static void read_client_hello(struct attacker *a, struct view v)
{
    struct view whole = v;
    a->seen.hello = true;
    a->share_len = 0;
    a->resumed = false;
    take(&v, 2);
    struct view random = take(&v, 32);
    memcpy(a->client_random, random.at, random.len);
    struct view session = take_vector(&v, 1);
    a->session_len = session.len <= 32 ? session.len : 0;
    memcpy(a->session, session.at, a->session_len);
    struct view suites = take_vector(&v, 2);
    bool offered = false;
    while (suites.len > 0)
        offered |= take_number(&suites, 2) == a->suite;
    if (!offered)
        complain(a, "the suite of the script is not offered");
    take_vector(&v, 1);
    struct view list = take_vector(&v, 2);
    if (v.len > 0)
        complain(a, "ClientHello is longer than its parts");
    while (list.len > 0 && !list.bad) {
        unsigned type = (unsigned)take_number(&list, 2);
        struct view body = take_vector(&list, 2);
        if (type == EXT_SHARE)
            read_shares(a, body);
        else if (type == EXT_EMS)
            a->peer_ems = true;
        else if (type == EXT_TICKET && (a->seen.offers_ticket = true))
            a->peer_ticket = a->script.resumes &&
                             body.len == a->script.resumes->ticket_len &&
                             !memcmp(body.at, a->script.resumes->ticket,
                                     body.len);
        else if (type == EXT_PSK)
            read_psk(a, body);
    }
    if (v.bad || list.bad)
        complain(a, "ClientHello cannot be read");
    unsigned char binder[64];
    size_t h = hash_len(a);
    if (!a->resumed || whole.len < h + 3)
        return;
    binder_of(a, whole.at, whole.len, binder);
    if (memcmp(binder, whole.at + whole.len - h, h) != 0)
        complain(a, "the binder is wrong");
}

static void read_server_hello(struct attacker *a, struct view v, bool retry)
{
    a->seen.hello = a->seen.hello || !retry;
    a->seen.retry = a->seen.retry || retry;
    take(&v, 2);
    struct view random = take(&v, 32);
    memcpy(a->server_random, random.at, random.len);
    struct view session = take_vector(&v, 1);
    if (a->script.version == TLS13 &&
        (session.len != a->session_len ||
         memcmp(session.at, a->session, session.len) != 0))
        complain(a, "the session id is not echoed");
    if (a->script.version == TLS12 && a->script.resumes && session.len == 32 &&
        !memcmp(session.at, a->session, 32))
        a->resumed = true;
    a->suite = (uint16_t)take_number(&v, 2);
    take(&v, 1);
    struct view list = take_vector(&v, 2);
    bool ems = false;
    while (list.len > 0 && !list.bad) {
        unsigned type = (unsigned)take_number(&list, 2);
        struct view body = take_vector(&list, 2);
        if (type == EXT_SHARE) {
            use_group(a, (uint16_t)take_number(&body, 2));
            struct view share = take_vector(&body, 2);
            a->share_len = share.len <= sizeof a->share ? share.len : 0;
            memcpy(a->share, share.at, a->share_len);
        } else if (type == EXT_COOKIE && body.len <= sizeof a->cookie) {
            memcpy(a->cookie, body.at, body.len);
            a->cookie_len = body.len;
        } else if (type == EXT_EMS) {
            ems = true;
        } else if (type == EXT_PSK) {
            a->resumed = true;
        }
    }
    a->peer_ems = ems;
    if (v.bad || list.bad || v.len > 0)
        complain(a, "ServerHello cannot be read");
}

static void read_certificate(struct attacker *a, struct view v)
{
    if (a->script.version == TLS13)
        take_vector(&v, 1);
    struct view list = take_vector(&v, 3);
    struct view der = take_vector(&list, 3);
    if (list.bad || der.len == 0)
        return;
    const unsigned char *at = der.at;
    X509 *cert = d2i_X509(NULL, &at, (long)der.len);
    if (!cert) {
        complain(a, "the certificate is none");
        return;
    }
    a->seen.certificate = true;
    EVP_PKEY_free(a->peer_key);
    a->peer_key = X509_get_pubkey(cert);
    X509_free(cert);
}

/* 1.2: verify, then take the point. */
static void read_key_exchange(struct attacker *a, struct view v)
{
    struct bytes covered = { 0 };
    struct view from = v;
    take(&v, 1);
    use_group(a, (uint16_t)take_number(&v, 2));
    struct view share = take_vector(&v, 1);
    a->share_len = share.len <= sizeof a->share ? share.len : 0;
    memcpy(a->share, share.at, a->share_len);
    put(&covered, a->client_random, 32);
    put(&covered, a->server_random, 32);
    put(&covered, from.at, from.len - v.len);
    check_signature(a, v, &covered);
    clear(&covered);
}

static void read_finished(struct attacker *a, struct view v)
{
    struct bytes expected = { 0 };
    finished_value(a, !a->script.is_client, &expected);
    if (v.len == expected.len && !memcmp(v.at, expected.at, v.len))
        a->seen.finished = true;
    else
        complain(a, "Finished is wrong");
    clear(&expected);
}

static void read_ticket(struct attacker *a, struct view v)
{
    struct att_session *left = &a->session_left;
    unsigned char nonce[256];
    a->seen.tickets++;
    *left = (struct att_session){ .version = a->script.version,
                                  .suite = a->suite };
    left->lifetime = (uint32_t)take_number(&v, 4);
    if (a->script.version == TLS13) {
        left->age_add = (uint32_t)take_number(&v, 4);
        struct view n = take_vector(&v, 1);
        memcpy(nonce, n.at, n.len);
        expand(a, a->resumption, "resumption", nonce, n.len, left->secret,
               hash_len(a));
        left->secret_len = hash_len(a);
    } else {
        memcpy(left->secret, a->master, 48);
        left->secret_len = 48;
    }
    struct view ticket = take_vector(&v, 2);
    a->has_session = !v.bad && ticket.len > 0 &&
                     ticket.len <= sizeof left->ticket;
    if (a->has_session) {
        memcpy(left->ticket, ticket.at, ticket.len);
        left->ticket_len = ticket.len;
    }
}

/* A whole message of the other end. */
static void read_message(struct attacker *a, int type,
                         const unsigned char *message, size_t len)
{
    struct view v = { message + 4, len - 4, false };
    bool is_13 = a->script.version == TLS13, is_client = a->script.is_client;
    struct bytes covered = { 0 };
    bool retry = type == ATT_SERVER_HELLO && v.len >= 34 &&
                 !memcmp(v.at + 2, retry_random, 32);
    if (a->seen.messages_n < sizeof a->seen.messages)
        a->seen.messages[a->seen.messages_n++] = (unsigned char)type;
    switch (type) {
    case ATT_CLIENT_HELLO:
        read_client_hello(a, v);
        break;
    case ATT_SERVER_HELLO:
        read_server_hello(a, v, retry);
        if (retry)
            replace_transcript(a);
        break;
    case ATT_CERTIFICATE_REQUEST:
        a->seen.asked = true;
        break;
    case ATT_CERTIFICATE:
        read_certificate(a, v);
        break;
    case ATT_SERVER_KEY_EXCHANGE:
        read_key_exchange(a, v);
        break;
    case ATT_CERTIFICATE_VERIFY:
        if (is_13)
            put_signed_13(a, &covered, !is_client);
        else
            add_bytes(&covered, &a->transcript);
        check_signature(a, v, &covered);
        clear(&covered);
        break;
    case ATT_CLIENT_KEY_EXCHANGE: {
        struct view share = take_vector(&v, 1);
        a->share_len = share.len <= sizeof a->share ? share.len : 0;
        memcpy(a->share, share.at, a->share_len);
        break;
    }
    case ATT_FINISHED:
        read_finished(a, v);
        break;
    case ATT_TICKET:
        read_ticket(a, v);
        break;
    case ATT_KEY_UPDATE:
        a->seen.key_updates++;
        next_secret(a, &a->read);
        break;
    default:
        break;
    }
    put(&a->transcript, message, len);
    if (type == ATT_SERVER_HELLO && is_13 && is_client && !retry) {
        derive_handshake(a);
        use_secret(a, &a->read, a->s_hs);
        use_secret(a, &a->write, a->c_hs);
    } else if (type == ATT_FINISHED && is_13) {
        if (is_client)
            derive_application(a);
        use_secret(a, &a->read, is_client ? a->s_ap : a->c_ap);
        if (!is_client)
            derive(a, a->master, "res master", a->resumption);
    } else if (type == ATT_CLIENT_KEY_EXCHANGE && !is_13 && !is_client) {
        derive_master(a);
    } else if (type == ATT_SERVER_HELLO && !is_13 && is_client && a->resumed) {
        memcpy(a->master, a->script.resumes->secret, 48);
        a->has_master = true;
        derive_key_block(a);
    }
}

static void read_record(struct attacker *a, const unsigned char *record,
                        size_t len)
{
    struct bytes content = { 0 };
    bool sealed = a->read.on &&
                  (a->script.version == TLS12 || record[0] == DATA);
    int type = open_record(a, record, len, &content);
    a->seen.records++;
    switch (type) {
    case CCS:
        if (content.len != 1 || content.at[0] != 1)
            complain(a, "a ChangeCipherSpec is none");
        if (a->script.version == TLS12) {
            if (!a->has_master)
                complain(a, "ChangeCipherSpec comes early");
            a->read = a->ready_read;
        }
        break;
    case ALERT:
        if (content.len != 2) {
            complain(a, "an alert has not two bytes");
            break;
        }
        a->seen.alerts++;
        a->seen.level = content.at[0];
        a->seen.alert = content.at[1];
        a->seen.alert_sealed = sealed;
        break;
    case HANDSHAKE:
        add_bytes(&a->incoming, &content);
        while (a->incoming.len >= 4) {
            size_t n = 4 + ((size_t)a->incoming.at[1] << 16 |
                            (size_t)a->incoming.at[2] << 8 | a->incoming.at[3]);
            if (n > a->incoming.len)
                break;
            read_message(a, a->incoming.at[0], a->incoming.at, n);
            splice(&a->incoming, 0, n, NULL, 0);
        }
        break;
    case DATA:
        if (!sealed)
            complain(a, "data are not encrypted");
        a->seen.data += content.len;
        break;
    default:
        a->seen.unreadable = true;
        complain(a, "a record cannot be opened");
    }
    clear(&content);
}

void att_take(struct attacker *a, const unsigned char *bytes, size_t len)
{
    while (len > 0) {
        size_t n = len < 5 ? SIZE_MAX : 5 + ((size_t)bytes[3] << 8 | bytes[4]);
        if (n > len) {
            complain(a, "a record is not whole");
            return;
        }
        if (n > 5 + 16384 + 256)
            complain(a, "a record is too long");
        read_record(a, bytes, n);
        bytes += n;
        len -= n;
    }
}

/* ---- Scripts ---------------------------------------------------------- */

static void add_step(struct attacker *a, int what)
{
    MUST(a->steps_n < STEPS_MAX);
    a->steps[a->steps_n++] = (struct step){ .what = what };
}

static void add_steps(struct attacker *a, const int *what)
{
    for (; *what >= 0; what++)
        add_step(a, *what);
}

#define ADD(a, ...) add_steps((a), (const int[]){ __VA_ARGS__, -1 })

/* The last `n` steps are those of a full handshake. */
static void mark_full(struct attacker *a, size_t n)
{
    for (size_t i = 1; i <= n; i++)
        a->steps[a->steps_n - i].if_full = true;
}

static void plan_server(struct attacker *a)
{
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    if (is_13 && s->retry)
        ADD(a, ATT_HELLO_RETRY, ATT_CCS, ATT_FLUSH);
    ADD(a, ATT_SERVER_HELLO);
    if (is_13) {
        if (!s->retry)
            ADD(a, ATT_CCS);
        ADD(a, ATT_ENCRYPTED_EXTENSIONS);
    }
    size_t from = a->steps_n;
    if (is_13 && s->asks)
        ADD(a, ATT_CERTIFICATE_REQUEST);
    ADD(a, ATT_CERTIFICATE);
    if (is_13) {
        ADD(a, ATT_CERTIFICATE_VERIFY);
        mark_full(a, a->steps_n - from);
    } else {
        ADD(a, ATT_SERVER_KEY_EXCHANGE);
        if (s->asks)
            ADD(a, ATT_CERTIFICATE_REQUEST);
        ADD(a, ATT_SERVER_HELLO_DONE, ATT_FLUSH);
        mark_full(a, a->steps_n - from);
        if (s->ticket)
            ADD(a, ATT_TICKET);
        ADD(a, ATT_CCS);
    }
    ADD(a, ATT_FINISHED, ATT_FLUSH);
}

static void plan_client(struct attacker *a)
{
    const struct att_script *s = &a->script;
    bool is_13 = s->version == TLS13;
    ADD(a, ATT_CLIENT_HELLO, ATT_FLUSH);
    if (is_13)
        ADD(a, ATT_CCS);
    if (is_13 && s->retry)
        ADD(a, ATT_SECOND_HELLO, ATT_FLUSH);
    size_t from = a->steps_n;
    if (s->asks)
        ADD(a, ATT_CERTIFICATE);
    if (!is_13)
        ADD(a, ATT_CLIENT_KEY_EXCHANGE);
    if (s->asks && s->presents)
        ADD(a, ATT_CERTIFICATE_VERIFY);
    mark_full(a, a->steps_n - from);
    if (!is_13)
        ADD(a, ATT_CCS);
    ADD(a, ATT_FINISHED, ATT_FLUSH);
}

static size_t find_step(const struct attacker *a, int what)
{
    if (what == ATT_END)
        return a->steps_n;
    for (size_t i = 0; i < a->steps_n; i++)
        if (a->steps[i].what == what)
            return i;
    return SIZE_MAX;
}

static void insert_step(struct attacker *a, size_t at, struct step step)
{
    if (a->steps_n == STEPS_MAX || at > a->steps_n)
        return;
    memmove(a->steps + at + 1, a->steps + at,
            (a->steps_n - at) * sizeof *a->steps);
    a->steps[at] = step;
    a->steps_n++;
}

static void edit_steps(struct attacker *a, const struct att_edit *e)
{
    size_t at = find_step(a, e->on);
    struct step step = { .what = e->at, .bytes = e->bytes, .len = e->len };
    if (at == SIZE_MAX)
        return;
    size_t behind = at < a->steps_n ? at + 1 : at;
    switch (e->op) {
    case ATT_DROP:
        if (at < a->steps_n) {
            memmove(a->steps + at, a->steps + at + 1,
                    (a->steps_n - at - 1) * sizeof *a->steps);
            a->steps_n--;
        }
        break;
    case ATT_TWICE:
        insert_step(a, behind, (struct step){ .what = e->on, .again = true });
        break;
    case ATT_BEFORE:
        insert_step(a, at, step);
        break;
    case ATT_AFTER:
        insert_step(a, behind, step);
        break;
    case ATT_REPEAT:
        for (int i = 0; i < e->cut; i++)
            insert_step(a, behind, step);
        break;
    case ATT_CUT:
        a->steps_n = at;
        break;
    default:
        break;
    }
}

struct attacker *att_new(const struct att_script *script)
{
    struct attacker *a = calloc(1, sizeof *a);
    MUST(a);
    a->script = *script;
    a->seen.level = a->seen.alert = -1;
    bool rsa = !script->is_client && script->key == ATT_RSA;
    a->suite = script->suite              ? script->suite
               : script->version == TLS13 ? 0x1301
               : rsa                      ? 0xc02f
                                          : 0xc02b;
    a->group = script->group ? script->group : X25519;
    MUST(RAND_bytes(a->client_random, 32) == 1);
    MUST(RAND_bytes(a->server_random, 32) == 1);
    MUST(RAND_bytes(a->session, 32) == 1);
    a->session_len = 32;
    if (script->sentinel)
        memcpy(a->server_random + 24,
               script->sentinel == 1 ? "DOWNGRD\1" : "DOWNGRD\0", 8);
    if (script->is_client)
        plan_client(a);
    else
        plan_server(a);
    for (size_t i = 0; i < script->edits_n; i++)
        edit_steps(a, &script->edits[i]);
    if (script->stops) {
        a->steps_n = script->stop_at < a->steps_n ? script->stop_at
                                                  : a->steps_n;
        ADD(a, ATT_FLUSH, script->then, ATT_FLUSH);
        a->steps[a->steps_n - 2].bytes = script->then_bytes;
        a->steps[a->steps_n - 2].len = script->then_len;
    }
    return a;
}

void att_free(struct attacker *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < sizeof a->sent / sizeof *a->sent; i++)
        free(a->sent[i].at);
    free(a->wire.at);
    free(a->pending.at);
    free(a->incoming.at);
    free(a->transcript.at);
    EVP_PKEY_free(a->own);
    EVP_PKEY_free(a->peer_key);
    free(a);
}

bool att_next(struct attacker *a, const unsigned char **bytes, size_t *len)
{
    a->wire.len = 0;
    if (a->at >= a->steps_n)
        return false;
    while (a->at < a->steps_n) {
        const struct step *step = &a->steps[a->at++];
        if (step->if_full && a->resumed)
            continue;
        if (step->what == ATT_FLUSH)
            break;
        if (step->what >= ATT_CCS && step->what <= ATT_DATA)
            send_record(a, step);
        else
            send_message(a, step);
    }
    flush_pending(a);
    *bytes = a->wire.at;
    *len = a->wire.len;
    return true;
}

void att_say(struct attacker *a, int what, const void *bytes, size_t len,
             const unsigned char **out, size_t *out_len)
{
    struct step step = { .what = what, .bytes = bytes, .len = len };
    a->wire.len = 0;
    if (what >= ATT_CCS && what <= ATT_DATA)
        send_record(a, &step);
    else
        send_message(a, &step);
    flush_pending(a);
    *out = a->wire.at;
    *out_len = a->wire.len;
}

const struct att_seen *att_seen(struct attacker *a)
{
    a->seen.resumed = a->resumed;
    return &a->seen;
}

const char *att_complaint(const struct attacker *a)
{
    return a->complaint;
}

bool att_session(const struct attacker *a, struct att_session *out)
{
    if (a->has_session)
        *out = a->session_left;
    return a->has_session;
}

size_t att_steps(const struct attacker *a, int *what, size_t size)
{
    for (size_t i = 0; i < a->steps_n && i < size; i++)
        what[i] = a->steps[i].what;
    return a->steps_n;
}

size_t att_sent_len(const struct attacker *a, int what)
{
    return what >= 0 && what < 0x300 ? a->sent[what].len : 0;
}
