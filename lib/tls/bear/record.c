// SPDX-License-Identifier: MIT
/*
 * record.c: the protection of one direction of a connection.
 *
 *                nonce of 12 bytes            authenticated with the data
 *     1.3        iv XOR sequence              the head
 *     1.2 GCM    iv (4), explicit (8)         sequence, type, version, length
 *     1.2 ChaCha iv XOR sequence              the same
 *
 * The explicit part of a nonce stands in front of the ciphertext. Ours is the
 * sequence number, so none comes twice by one key; a peer may send any.
 *
 * Which code a processor runs is asked once per process: the question is a
 * CPUID, which in a virtual machine is a trap of 8 us, more than a whole record
 * takes. Code that reads tables by secret bytes (br_aes_big, br_aes_small) is
 * never used.
 */
#include "tls/bear/record.h"

#include <bearssl.h>
#include <pthread.h>
#include <string.h>

#include "base/check.h"

enum { TAG = 16, EXPLICIT_NONCE = 8, NONCE = 12 };

static struct {
    bool aes_is_fast;
    const br_block_ctr_class *aes;
    br_ghash ghash;
    br_poly1305_run poly1305;
    br_chacha20_run chacha20;
} code;

static void choose_code(void)
{
    code.aes = br_aes_x86ni_ctr_get_vtable();
    if (!code.aes)
        code.aes = br_aes_pwr8_ctr_get_vtable();
    code.aes_is_fast = code.aes != NULL;
    if (!code.aes)
        code.aes = &br_aes_ct64_ctr_vtable;
    code.ghash = br_ghash_pclmul_get();
    if (!code.ghash)
        code.ghash = br_ghash_pwr8_get();
    if (!code.ghash)
        code.ghash = br_ghash_ctmul64;
    code.poly1305 = br_poly1305_ctmulq_get();
    if (!code.poly1305)
        code.poly1305 = br_poly1305_ctmul_run;
    code.chacha20 = br_chacha20_sse2_get();
    if (!code.chacha20)
        code.chacha20 = br_chacha20_ct_run;
}

static void need_code(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose_code);
}

size_t coili_cipher_key_bytes(enum coili_cipher cipher)
{
    switch (cipher) {
    case COILI_CIPHER_NONE:
        break;
    case COILI_CIPHER_AES_128_GCM:
        return 16;
    case COILI_CIPHER_AES_256_GCM:
    case COILI_CIPHER_CHACHA20_POLY1305:
        return 32;
    }
    return 0;
}

size_t coili_cipher_iv_bytes12(enum coili_cipher cipher)
{
    return cipher == COILI_CIPHER_CHACHA20_POLY1305 ? NONCE
                                                    : NONCE - EXPLICIT_NONCE;
}

bool coili_cipher_aes_is_fast(void)
{
    need_code();
    return code.aes_is_fast;
}

void coili_record_start13(struct coili_protection *p, enum coili_cipher cipher,
                          enum coili_digest digest,
                          const struct coili_secret *traffic)
{
    *p = (struct coili_protection){ .version = COILI_TLS13,
                                    .cipher = (uint8_t)cipher };
    coili_secret_keys(traffic, digest, p->key, coili_cipher_key_bytes(cipher),
                      p->iv);
}

void coili_record_start12(struct coili_protection *p, enum coili_cipher cipher,
                          const unsigned char key[32],
                          const unsigned char iv[12])
{
    *p = (struct coili_protection){ .version = COILI_TLS12,
                                    .cipher = (uint8_t)cipher };
    memcpy(p->key, key, coili_cipher_key_bytes(cipher));
    memcpy(p->iv, iv, coili_cipher_iv_bytes12(cipher));
}

static bool is_13(const struct coili_protection *p)
{
    return p->version == COILI_TLS13;
}

static size_t explicit_bytes(const struct coili_protection *p)
{
    return p->version == COILI_TLS12 &&
                   p->cipher != COILI_CIPHER_CHACHA20_POLY1305
               ? EXPLICIT_NONCE
               : 0;
}

size_t coili_record_overhead(const struct coili_protection *p)
{
    if (p->cipher == COILI_CIPHER_NONE)
        return COILI_TLS_HEAD_BYTES;
    return COILI_TLS_HEAD_BYTES + (is_13(p) ? 1 : explicit_bytes(p)) + TAG;
}

static void put16(unsigned char *p, size_t v)
{
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
}

static void put64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (56 - 8 * i));
}

/*
 * Encrypt or decrypt record[at..at + len) in place, and compute the tag, which
 * is of the ciphertext both times. The head and, if there is one, the explicit
 * nonce right before the text are there.
 */
static void protect(const struct coili_protection *p, bool encrypt,
                    unsigned char *record, size_t at, size_t len,
                    unsigned char tag[TAG])
{
    unsigned char nonce[NONCE], aad[13];
    size_t aad_len = sizeof aad;
    need_code();
    put64(aad, p->sequence);
    memcpy(nonce, p->iv, sizeof nonce);
    if (explicit_bytes(p))
        memcpy(nonce + 4, record + at - EXPLICIT_NONCE, EXPLICIT_NONCE);
    else
        for (int i = 0; i < 8; i++)
            nonce[4 + i] ^= aad[i];
    if (is_13(p)) {
        aad_len = COILI_TLS_HEAD_BYTES;
        memcpy(aad, record, aad_len);
    } else {
        memcpy(aad + 8, record, 3);
        put16(aad + 11, len);
    }

    if (p->cipher == COILI_CIPHER_CHACHA20_POLY1305) {
        code.poly1305(p->key, nonce, record + at, len, aad, aad_len, tag,
                      code.chacha20, encrypt);
    } else {
        br_aes_gen_ctr_keys keys;
        br_gcm_context gcm;
        code.aes->init(&keys.vtable, p->key,
                       coili_cipher_key_bytes((enum coili_cipher)p->cipher));
        br_gcm_init(&gcm, &keys.vtable, code.ghash);
        br_gcm_reset(&gcm, nonce, sizeof nonce);
        br_gcm_aad_inject(&gcm, aad, aad_len);
        br_gcm_flip(&gcm);
        br_gcm_run(&gcm, encrypt, record + at, len);
        br_gcm_get_tag(&gcm, tag);
        explicit_bzero(&keys, sizeof keys);
        explicit_bzero(&gcm, sizeof gcm);
    }
}

size_t coili_record_seal(struct coili_protection *p,
                         enum coili_tls_record_type type, const void *data,
                         size_t len, size_t padding, unsigned char *out)
{
    bool is_plain = p->cipher == COILI_CIPHER_NONE ||
                    (is_13(p) && type == COILI_TLS_CHANGE_CIPHER_SPEC);
    size_t before = is_plain ? 0 : explicit_bytes(p);
    size_t at = COILI_TLS_HEAD_BYTES + before, n = len;
    coili_check(len <= COILI_TLS_PLAIN_BYTES_MAX &&
                    padding <= COILI_TLS_PLAIN_BYTES_MAX - len,
                "a record is longer than 16384 bytes");
    if (len)
        memmove(out + at, data, len);
    out[0] = (unsigned char)type;
    if (!is_plain && is_13(p)) {
        out[0] = COILI_TLS_DATA_RECORD;
        out[at + n++] = (unsigned char)type;
        memset(out + at + n, 0, padding);
        n += padding;
    }
    put16(out + 1, COILI_TLS12);
    put16(out + 3, before + n + (is_plain ? 0 : TAG));
    if (is_plain)
        return at + n;
    if (before)
        put64(out + COILI_TLS_HEAD_BYTES, p->sequence);
    protect(p, true, out, at, n, out + at + n);
    p->sequence++;
    return at + n + TAG;
}

/* The rules for a content whose type is known. */
static int judge(const unsigned char *record, const struct coili_record *o)
{
    switch (o->type) {
    case COILI_TLS_CHANGE_CIPHER_SPEC:
        return o->len == 1 && record[o->at] == 1
                   ? 0
                   : COILI_ALERT_UNEXPECTED_MESSAGE;
    case COILI_TLS_ALERT:
    case COILI_TLS_HANDSHAKE:
        return o->len ? 0 : COILI_ALERT_UNEXPECTED_MESSAGE;
    case COILI_TLS_DATA_RECORD:
        return 0;
    }
    return COILI_ALERT_UNEXPECTED_MESSAGE;
}

static int open_plain(const unsigned char *record, size_t len,
                      struct coili_record *o)
{
    *o = (struct coili_record){ .type = (enum coili_tls_record_type)record[0],
                                .at = COILI_TLS_HEAD_BYTES,
                                .len = len - COILI_TLS_HEAD_BYTES };
    if (o->len > COILI_TLS_PLAIN_BYTES_MAX)
        return COILI_ALERT_RECORD_OVERFLOW;
    return o->type == COILI_TLS_DATA_RECORD ? COILI_ALERT_UNEXPECTED_MESSAGE
                                            : judge(record, o);
}

/*
 * Find the inner type behind the content: the last byte that is not zero. How
 * long this takes tells how long the padding is, as in all implementations.
 */
static int strip_padding(const unsigned char *record, struct coili_record *o)
{
    size_t n = o->len;
    while (n > 0 && record[o->at + n - 1] == 0)
        n--;
    if (n == 0)
        return COILI_ALERT_UNEXPECTED_MESSAGE;
    o->len = n - 1;
    o->type = (enum coili_tls_record_type)record[o->at + n - 1];
    return o->type == COILI_TLS_CHANGE_CIPHER_SPEC
               ? COILI_ALERT_UNEXPECTED_MESSAGE
               : judge(record, o);
}

int coili_record_open(struct coili_protection *p, unsigned char *record,
                      size_t len, struct coili_record *o)
{
    unsigned char tag[TAG];
    coili_check(len >= COILI_TLS_HEAD_BYTES, "a record without its head");
    if (p->cipher == COILI_CIPHER_NONE ||
        (is_13(p) && record[0] == COILI_TLS_CHANGE_CIPHER_SPEC))
        return open_plain(record, len, o);
    if (is_13(p) ? record[0] != COILI_TLS_DATA_RECORD
                 : record[0] < COILI_TLS_CHANGE_CIPHER_SPEC ||
                       record[0] > COILI_TLS_DATA_RECORD)
        return COILI_ALERT_UNEXPECTED_MESSAGE;

    /* In 1.3 there is a type too. */
    size_t at = COILI_TLS_HEAD_BYTES + explicit_bytes(p), type = is_13(p);
    if (len < at + type + TAG)
        return COILI_ALERT_BAD_RECORD_MAC;
    size_t n = len - at - TAG;
    if (n > COILI_TLS_PLAIN_BYTES_MAX + type)
        return COILI_ALERT_RECORD_OVERFLOW;
    protect(p, false, record, at, n, tag);
    bool is_right = coili_digest_equal(tag, record + at + n, TAG);
    explicit_bzero(tag, sizeof tag);
    if (!is_right)
        return COILI_ALERT_BAD_RECORD_MAC;
    p->sequence++;

    *o = (struct coili_record){ .type = (enum coili_tls_record_type)record[0],
                                .at = at,
                                .len = n };
    return is_13(p) ? strip_padding(record, o) : judge(record, o);
}

enum coili_record_limit coili_record_limit(const struct coili_protection *p)
{
    if (is_13(p))
        return p->sequence < (uint64_t)1 << 23 ? COILI_RECORD_GO_ON
                                               : COILI_RECORD_UPDATE;
    return p->sequence < (uint64_t)1 << 32 ? COILI_RECORD_GO_ON
                                           : COILI_RECORD_CLOSE;
}

void coili_record_wipe(struct coili_protection *p)
{
    explicit_bzero(p, sizeof *p);
}
