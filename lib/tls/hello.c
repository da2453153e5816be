// SPDX-License-Identifier: MIT
/*
 * hello.c: the messages in which the two ends of TLS 1.3 and 1.2 agree.
 *
 * One ClientHello offers both versions, and the first ServerHello decides. What
 * an extension means depends on who sends it and in which message, so each
 * message has one function that looks at one extension. Around it stands the
 * same for all: the list is checked as a whole (no rest, no type twice), then
 * each extension is read, then what is missing is found.
 *
 * A client accepts in an answer nothing but what it has offered, and of that
 * only what may stand in that very message. A server passes over what it does
 * not know: the numbers that browsers make up so that nobody forgets this
 * (GREASE, RFC 8701) are in most hellos.
 *
 * Invariant: no work is more than linear in the length of a message.
 */
#include "hello.h"

/* Give up reading: the alert, and what is wrong. */
#define FAIL(what, alert, text) ((what)->why = (text), COILI_ALERT_##alert)

/* The SHA-256 of "HelloRetryRequest" (RFC 8446, 4.1.3). */
static const unsigned char retry_random[COILI_TLS_RANDOM_BYTES] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
    0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
    0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c
};

static const unsigned char schemes[] = { 0x04, 0x03, 0x05, 0x03, 0x08, 0x04,
                                         0x08, 0x05, 0x08, 0x06, 0x04, 0x01,
                                         0x05, 0x01, 0x06, 0x01 };
static const unsigned char schemes_cert[] = { 0x04, 0x03, 0x05, 0x03, 0x04,
                                              0x01, 0x05, 0x01, 0x06, 0x01 };

const struct coili_bytes coili_tls_schemes12 = { schemes, sizeof schemes };
const struct coili_bytes coili_tls_schemes13 = { schemes, 10 };
const struct coili_bytes coili_tls_schemes_cert = { schemes_cert,
                                                    sizeof schemes_cert };

/* Ours: P-384 last, as it costs most. */
static const unsigned groups[] = { COILI_GROUP_X25519, COILI_GROUP_P256,
                                   COILI_GROUP_P384 };
enum { GROUPS = sizeof groups / sizeof *groups };

bool coili_tls_is_share(unsigned group, struct coili_bytes share)
{
    switch (group) {
    case COILI_GROUP_X25519:
        return share.len == 32;
    case COILI_GROUP_P256:
        return share.len == 65 && share.at[0] == 4;
    case COILI_GROUP_P384:
        return share.len == 97 && share.at[0] == 4;
    default:
        return false;
    }
}

/* ---- Our ClientHello -------------------------------------------------- */

enum { PER_VERSION = 6 };

/* The suites of each version, by whether AES is slow. */
static const uint16_t suites13[2][PER_VERSION] = {
    { COILI_SUITE_AES_128_GCM, COILI_SUITE_AES_256_GCM, COILI_SUITE_CHACHA20 },
    { COILI_SUITE_CHACHA20, COILI_SUITE_AES_128_GCM, COILI_SUITE_AES_256_GCM }
};
static const uint16_t suites12[2][PER_VERSION] = {
    { COILI_SUITE_ECDSA_AES_128_GCM, COILI_SUITE_RSA_AES_128_GCM,
      COILI_SUITE_ECDSA_AES_256_GCM, COILI_SUITE_RSA_AES_256_GCM,
      COILI_SUITE_ECDSA_CHACHA20, COILI_SUITE_RSA_CHACHA20 },
    { COILI_SUITE_ECDSA_CHACHA20, COILI_SUITE_RSA_CHACHA20,
      COILI_SUITE_ECDSA_AES_128_GCM, COILI_SUITE_RSA_AES_128_GCM,
      COILI_SUITE_ECDSA_AES_256_GCM, COILI_SUITE_RSA_AES_256_GCM }
};

static bool offers(const struct coili_tls_offer *offer, unsigned version)
{
    return offer->version_min <= version && version <= offer->version_max;
}

static const uint16_t *suites_of(const struct coili_tls_offer *offer,
                                 unsigned version)
{
    return version == COILI_TLS13 ? suites13[offer->aes_is_slow]
                                  : suites12[offer->aes_is_slow];
}

bool coili_tls_offers_suite(const struct coili_tls_offer *offer,
                            unsigned version, unsigned suite)
{
    if (!offers(offer, version) || suite == 0)
        return false;
    const uint16_t *list = suites_of(offer, version);
    for (int i = 0; i < PER_VERSION; i++)
        if (list[i] == suite)
            return true;
    return false;
}

static void put_suites(struct coili_writer *w,
                       const struct coili_tls_offer *offer)
{
    size_t list = coili_put_begin(w, 2);
    for (unsigned version = COILI_TLS13; version >= COILI_TLS12; version--) {
        const uint16_t *suites = suites_of(offer, version);
        for (int i = 0; offers(offer, version) && i < PER_VERSION; i++)
            if (suites[i])
                coili_put_u16(w, suites[i]);
    }
    coili_put_end(w, 2, list);
}

static void put_empty_extension(struct coili_writer *w, unsigned type)
{
    coili_put_extension_end(w, coili_put_extension(w, type));
}

static void put_name(struct coili_writer *w, struct coili_bytes name)
{
    size_t extension = coili_put_extension(w, COILI_EXT_SERVER_NAME);
    size_t list = coili_put_begin(w, 2);
    coili_put_u8(w, 0); /* host_name */
    coili_put_vector(w, 2, name);
    coili_put_end(w, 2, list);
    coili_put_extension_end(w, extension);
}

static void put_groups(struct coili_writer *w)
{
    size_t extension = coili_put_extension(w, COILI_EXT_SUPPORTED_GROUPS);
    size_t list = coili_put_begin(w, 2);
    for (size_t i = 0; i < GROUPS; i++)
        coili_put_u16(w, groups[i]);
    coili_put_end(w, 2, list);
    coili_put_extension_end(w, extension);
}

static void put_versions(struct coili_writer *w,
                         const struct coili_tls_offer *offer)
{
    size_t extension = coili_put_extension(w, COILI_EXT_SUPPORTED_VERSIONS);
    size_t list = coili_put_begin(w, 1);
    coili_put_u16(w, COILI_TLS13);
    if (offers(offer, COILI_TLS12))
        coili_put_u16(w, COILI_TLS12);
    coili_put_end(w, 1, list);
    coili_put_extension_end(w, extension);
}

static void put_key_share(struct coili_writer *w,
                          const struct coili_tls_offer *offer)
{
    size_t extension = coili_put_extension(w, COILI_EXT_KEY_SHARE);
    size_t list = coili_put_begin(w, 2);
    coili_put_u16(w, offer->share_group);
    coili_put_vector(w, 2, offer->share);
    coili_put_end(w, 2, list);
    coili_put_extension_end(w, extension);
}

/* One identity, and zeros in place of its binder. */
static void put_psk(struct coili_writer *w, const struct coili_tls_offer *offer)
{
    size_t extension = coili_put_extension(w, COILI_EXT_PRE_SHARED_KEY);
    size_t list = coili_put_begin(w, 2);
    coili_put_vector(w, 2, offer->psk);
    coili_put_u32(w, offer->psk_age);
    coili_put_end(w, 2, list);
    list = coili_put_begin(w, 2);
    size_t binder = coili_put_begin(w, 1);
    coili_put_zeros(w, coili_suite_hash_bytes(offer->psk_suite));
    coili_put_end(w, 1, binder);
    coili_put_end(w, 2, list);
    coili_put_extension_end(w, extension);
}

static void put_extensions12(struct coili_writer *w,
                             const struct coili_tls_offer *offer)
{
    static const unsigned char uncompressed[] = { 0 };
    put_empty_extension(w, COILI_EXT_EXTENDED_MASTER_SECRET);
    coili_put_vector_extension(w, COILI_EXT_RENEGOTIATION_INFO, 1,
                               (struct coili_bytes){ NULL, 0 });
    coili_put_vector_extension(w, COILI_EXT_EC_POINT_FORMATS, 1,
                               (struct coili_bytes){ uncompressed, 1 });
    size_t begin = coili_put_extension(w, COILI_EXT_SESSION_TICKET);
    coili_put_bytes(w, offer->ticket);
    coili_put_extension_end(w, begin);
}

/* psk_dhe_ke, without which servers send no tickets. */
static void put_extensions13(struct coili_writer *w,
                             const struct coili_tls_offer *offer)
{
    static const unsigned char dhe[] = { 1 };
    put_versions(w, offer);
    if (offer->cookie.len > 0)
        coili_put_vector_extension(w, COILI_EXT_COOKIE, 2, offer->cookie);
    coili_put_vector_extension(w, COILI_EXT_PSK_KEY_EXCHANGE_MODES, 1,
                               (struct coili_bytes){ dhe, 1 });
}

/*
 * The last extension. pre_shared_key must be that one (RFC 8446, 4.2.11); and
 * it must not be empty, as servers of 1.2 were seen to hang at that.
 */
static void put_last(struct coili_writer *w,
                     const struct coili_tls_offer *offer)
{
    if (!offers(offer, COILI_TLS13))
        coili_put_vector_extension(w, COILI_EXT_SIGNATURE_ALGORITHMS_CERT, 2,
                                   coili_tls_schemes_cert);
    else if (offer->psk.len > 0)
        put_psk(w, offer);
    else
        put_key_share(w, offer);
}

/*
 * Some load balancers stall at a hello of 256 to 511 bytes (RFC 7685): fill it
 * to 512. `len` is that of the message so far. The padding has 5 bytes at least,
 * so a few hellos become a little longer.
 */
static void put_padding(struct coili_writer *w, size_t len,
                        const struct coili_tls_offer *offer)
{
    struct coili_writer count = { .at = NULL };
    put_last(&count, offer);
    len += count.len;
    if (len < 256 || len > 511)
        return;
    size_t begin = coili_put_extension(w, COILI_EXT_PADDING);
    coili_put_zeros(w, len < 507 ? 512 - 4 - len : 1);
    coili_put_extension_end(w, begin);
}

void coili_tls_write_client_hello(struct coili_writer *w,
                                  const struct coili_tls_offer *offer)
{
    bool has12 = offers(offer, COILI_TLS12), has13 = offers(offer, COILI_TLS13);
    size_t start = w->len;
    size_t message = coili_put_message(w, COILI_TLS_CLIENT_HELLO);
    coili_put_u16(w, COILI_TLS12);
    coili_put_raw(w, offer->random, COILI_TLS_RANDOM_BYTES);
    coili_put_vector(w, 1, offer->session_id);
    put_suites(w, offer);
    coili_put_u16(w, 0x0100); /* one method of compression: none */

    size_t list = coili_put_begin(w, 2);
    if (offer->name.len > 0)
        put_name(w, offer->name);
    put_groups(w);
    if (has12)
        put_extensions12(w, offer);
    if (offer->alpn.len > 0)
        coili_put_vector_extension(w, COILI_EXT_ALPN, 2, offer->alpn);
    coili_put_vector_extension(w, COILI_EXT_SIGNATURE_ALGORITHMS, 2,
                               has12 ? coili_tls_schemes12
                                     : coili_tls_schemes13);
    if (has13) {
        coili_put_vector_extension(w, COILI_EXT_SIGNATURE_ALGORITHMS_CERT, 2,
                                   coili_tls_schemes_cert);
        put_extensions13(w, offer);
        if (offer->psk.len > 0)
            put_key_share(w, offer);
    }
    put_padding(w, w->len - start, offer);
    put_last(w, offer);
    coili_put_end(w, 2, list);
    coili_put_message_end(w, message);
}

/* ---- ServerHello, HelloRetryRequest ----------------------------------- */

/* True if `name` is one of the names that we have offered. */
bool coili_tls_alpn_has(struct coili_bytes alpn, struct coili_bytes name)
{
    struct coili_bytes one;
    while (coili_take_vector8(&alpn, &one))
        if (coili_bytes_equal(one, name))
            return true;
    return false;
}

/* Read the one protocol that a server has chosen. Result: 0 or an alert. */
static int read_chosen_alpn(struct coili_bytes data,
                            const struct coili_tls_offer *offer,
                            struct coili_bytes *alpn)
{
    struct coili_bytes list, name;
    if (offer->alpn.len == 0)
        return COILI_ALERT_UNSUPPORTED_EXTENSION;
    if (!coili_take_only(&data, 2, &list) ||
        !coili_take_only(&list, 1, &name) || name.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    if (!coili_tls_alpn_has(offer->alpn, name))
        return COILI_ALERT_ILLEGAL_PARAMETER;
    *alpn = name;
    return 0;
}

/* The server's acknowledgement of a name. Result: 0 or an alert. */
static int read_empty_name(struct coili_bytes data,
                           const struct coili_tls_offer *offer, bool *has_name)
{
    if (offer->name.len == 0)
        return COILI_ALERT_UNSUPPORTED_EXTENSION;
    *has_name = true;
    return data.len == 0 ? 0 : COILI_ALERT_DECODE_ERROR;
}

/* The group of a retry, or group and public key of a ServerHello. */
static int read_key_share(struct coili_bytes data,
                          const struct coili_tls_offer *offer,
                          struct coili_tls_server_hello *hello)
{
    if (!coili_take_u16(&data, &hello->group))
        return COILI_ALERT_DECODE_ERROR;
    if (hello->is_retry) {
        if (data.len > 0)
            return COILI_ALERT_DECODE_ERROR;
        if (!coili_tls_has_group(hello->group) ||
            hello->group == offer->share_group)
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the server asks for a key share that it has, or that "
                        "was not offered");
        return 0;
    }
    if (!coili_take_only(&data, 2, &hello->share) || hello->share.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    if (hello->group != offer->share_group ||
        !coili_tls_is_share(hello->group, hello->share))
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server's key share does not suit ours");
    return 0;
}

/* The index of the PSK that the server takes: there is one. */
static int read_selected_psk(struct coili_bytes data,
                             const struct coili_tls_offer *offer,
                             struct coili_tls_server_hello *hello)
{
    unsigned index;
    if (offer->psk.len == 0)
        return COILI_ALERT_UNSUPPORTED_EXTENSION;
    if (!coili_take_u16(&data, &index) || data.len > 0)
        return COILI_ALERT_DECODE_ERROR;
    if (index != 0 || coili_suite_hash_bytes(hello->suite) !=
                          coili_suite_hash_bytes(offer->psk_suite))
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server takes a session that does not suit");
    hello->psk_is_taken = true;
    return 0;
}

static int read_server_extension13(unsigned type, struct coili_bytes data,
                                   const struct coili_tls_offer *offer,
                                   struct coili_tls_server_hello *hello)
{
    switch (type) {
    case COILI_EXT_SUPPORTED_VERSIONS: /* read before */
        return 0;
    case COILI_EXT_KEY_SHARE:
        return read_key_share(data, offer, hello);
    case COILI_EXT_COOKIE: /* needs no offer */
        if (!hello->is_retry)
            return COILI_ALERT_ILLEGAL_PARAMETER;
        return coili_take_only(&data, 2, &hello->cookie) &&
                       hello->cookie.len > 0
                   ? 0
                   : COILI_ALERT_DECODE_ERROR;
    case COILI_EXT_PRE_SHARED_KEY:
        if (hello->is_retry)
            return COILI_ALERT_ILLEGAL_PARAMETER;
        return read_selected_psk(data, offer, hello);
    default:
        return coili_extension_alert(type);
    }
}

static int read_server_extension12(unsigned type, struct coili_bytes data,
                                   const struct coili_tls_offer *offer,
                                   struct coili_tls_server_hello *hello)
{
    struct coili_bytes content;
    switch (type) {
    case COILI_EXT_SERVER_NAME:
        return read_empty_name(data, offer, &hello->has_name);
    case COILI_EXT_SUPPORTED_GROUPS: /* forbidden, and sent by some (F5) */
        return 0;
    case COILI_EXT_EC_POINT_FORMATS:
        hello->has_point_formats = true;
        if (!coili_take_only(&data, 1, &content) || content.len == 0)
            return COILI_ALERT_DECODE_ERROR;
        return memchr(content.at, 0, content.len)
                   ? 0
                   : FAIL(hello, ILLEGAL_PARAMETER,
                          "the server does without uncompressed points");
    case COILI_EXT_ALPN:
        return read_chosen_alpn(data, offer, &hello->alpn);
    case COILI_EXT_EXTENDED_MASTER_SECRET:
        hello->has_ems = true;
        return data.len == 0 ? 0 : COILI_ALERT_DECODE_ERROR;
    case COILI_EXT_SESSION_TICKET:
        hello->has_ticket = true;
        return data.len == 0 ? 0 : COILI_ALERT_DECODE_ERROR;
    case COILI_EXT_RENEGOTIATION_INFO:
        hello->has_renegotiation_info = true;
        if (!coili_take_only(&data, 1, &content))
            return COILI_ALERT_DECODE_ERROR;
        return content.len == 0
                   ? 0
                   : FAIL(hello, HANDSHAKE_FAILURE,
                          "the server takes this for a renegotiation");
    default:
        return coili_extension_alert(type);
    }
}

/* True if the server says in its random that it has TLS 1.3 (RFC 8446, 4.1.3) */
static bool has_sentinel(const unsigned char *random)
{
    static const unsigned char sentinel[7] = "DOWNGRD";
    return memcmp(random + 24, sentinel, sizeof sentinel) == 0 &&
           random[31] <= 1;
}

/* The rules of 1.2 for a whole ServerHello. */
static int judge_server_hello12(const struct coili_tls_offer *offer,
                                struct coili_tls_server_hello *hello)
{
    if (!hello->has_renegotiation_info)
        return FAIL(hello, HANDSHAKE_FAILURE,
                    "the server lacks secure renegotiation");
    if (!hello->has_ems && offer->ems_required)
        return FAIL(hello, HANDSHAKE_FAILURE,
                    "the server lacks extended master secret");
    if (hello->session_id.len == 0 ||
        !coili_bytes_equal(hello->session_id, offer->session_id))
        return 0;
    /* The server claims to resume (RFC 5077, 3.4). */
    hello->is_resumed = true;
    if (offer->ticket.len == 0 || offer->ticket_suite != hello->suite)
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server resumes a session that was not offered");
    if (!hello->has_ems) /* sessions without are never kept; RFC 7627, 5.3 */
        return FAIL(hello, HANDSHAKE_FAILURE,
                    "the server resumes without extended master secret");
    return 0;
}

/* The rules of 1.3 for a whole ServerHello or HelloRetryRequest. */
static int judge_server_hello13(struct coili_tls_server_hello *hello)
{
    if (hello->is_retry && hello->group == 0 && hello->cookie.len == 0)
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server asks for the same hello again");
    if (!hello->is_retry && hello->group == 0)
        return FAIL(hello, MISSING_EXTENSION, "the server sends no key share");
    return 0;
}

/*
 * Which version a ServerHello picks: that of supported_versions, which is only
 * there for 1.3, else the one in front. Sets hello->version.
 */
static int choose_server_version(unsigned legacy, struct coili_bytes extensions,
                                 const struct coili_tls_offer *offer,
                                 struct coili_tls_server_hello *hello)
{
    struct coili_bytes data;
    unsigned type, version = 0;
    while (coili_take_extension(&extensions, &type, &data)) {
        if (type != COILI_EXT_SUPPORTED_VERSIONS)
            continue;
        if (!coili_take_u16(&data, &version) || data.len > 0)
            return COILI_ALERT_DECODE_ERROR;
        if (version != COILI_TLS13 || !offers(offer, COILI_TLS13) ||
            legacy != COILI_TLS12)
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the server picks a version that was not offered");
        hello->version = COILI_TLS13;
        return 0;
    }
    hello->version = COILI_TLS12;
    if (legacy == COILI_TLS12 && offers(offer, COILI_TLS13)) {
        /* So is a retry, which 1.2 does not know, and 1.2 behind one. */
        if (has_sentinel(hello->random)) {
            hello->is_downgrade = true;
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "somebody between prevents TLS 1.3");
        }
        if (hello->is_retry || offer->retry_suite)
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the server changes the version on the way");
    }
    if (hello->is_retry && legacy == COILI_TLS12)
        return COILI_ALERT_ILLEGAL_PARAMETER;
    if (legacy != COILI_TLS12 || !offers(offer, COILI_TLS12))
        return COILI_ALERT_PROTOCOL_VERSION;
    return 0;
}

static int read_server_hello(struct coili_bytes body,
                             const struct coili_tls_offer *offer,
                             struct coili_tls_server_hello *hello)
{
    struct coili_bytes random, extensions = { NULL, 0 }, rest, data;
    unsigned legacy, compression, type;
    if (!coili_take_u16(&body, &legacy) ||
        !coili_take_bytes(&body, COILI_TLS_RANDOM_BYTES, &random) ||
        !coili_take_vector8(&body, &hello->session_id) ||
        hello->session_id.len > COILI_TLS_SESSION_ID_BYTES_MAX ||
        !coili_take_u16(&body, &hello->suite) ||
        !coili_take_u8(&body, &compression))
        return COILI_ALERT_DECODE_ERROR;
    /* In 1.2 the list may be missing. */
    if (body.len > 0 && !coili_take_only(&body, 2, &extensions))
        return COILI_ALERT_DECODE_ERROR;
    int alert = coili_extensions_check(extensions);
    if (alert)
        return alert;
    hello->random = random.at;
    hello->is_retry = memcmp(random.at, retry_random, sizeof retry_random) == 0;

    alert = choose_server_version(legacy, extensions, offer, hello);
    if (alert)
        return alert;
    if (hello->is_retry && offer->retry_suite)
        return FAIL(hello, UNEXPECTED_MESSAGE,
                    "the server asks for a third hello");
    if (!coili_tls_offers_suite(offer, hello->version, hello->suite) ||
        (offer->retry_suite && offer->retry_suite != hello->suite))
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server picks a cipher that was not offered");
    if (compression != 0)
        return FAIL(hello, ILLEGAL_PARAMETER, "the server wants to compress");
    if (hello->version == COILI_TLS13 &&
        !coili_bytes_equal(hello->session_id, offer->session_id))
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the server does not echo the session id");

    rest = extensions;
    while (coili_take_extension(&rest, &type, &data)) {
        alert = hello->version == COILI_TLS13
                    ? read_server_extension13(type, data, offer, hello)
                    : read_server_extension12(type, data, offer, hello);
        if (alert)
            return alert;
    }
    return hello->version == COILI_TLS13 ? judge_server_hello13(hello)
                                         : judge_server_hello12(offer, hello);
}

int coili_tls_read_server_hello(struct coili_bytes body,
                                const struct coili_tls_offer *offer,
                                struct coili_tls_server_hello *hello)
{
    *hello = (struct coili_tls_server_hello){ 0 };
    int alert = read_server_hello(body, offer, hello);
    if (alert)
        *hello = (struct coili_tls_server_hello){
            .is_downgrade = hello->is_downgrade, .why = hello->why
        };
    return alert;
}

static void put_chosen_alpn(struct coili_writer *w, struct coili_bytes name)
{
    size_t extension = coili_put_extension(w, COILI_EXT_ALPN);
    size_t list = coili_put_begin(w, 2);
    coili_put_vector(w, 1, name);
    coili_put_end(w, 2, list);
    coili_put_extension_end(w, extension);
}

static void put_server_extensions13(struct coili_writer *w,
                                    const struct coili_tls_server_hello *hello)
{
    size_t begin = coili_put_extension(w, COILI_EXT_SUPPORTED_VERSIONS);
    coili_put_u16(w, COILI_TLS13);
    coili_put_extension_end(w, begin);
    if (hello->group) {
        begin = coili_put_extension(w, COILI_EXT_KEY_SHARE);
        coili_put_u16(w, hello->group);
        if (!hello->is_retry)
            coili_put_vector(w, 2, hello->share);
        coili_put_extension_end(w, begin);
    }
    if (hello->is_retry && hello->cookie.len > 0)
        coili_put_vector_extension(w, COILI_EXT_COOKIE, 2, hello->cookie);
    if (hello->psk_is_taken) {
        begin = coili_put_extension(w, COILI_EXT_PRE_SHARED_KEY);
        coili_put_u16(w, hello->psk);
        coili_put_extension_end(w, begin);
    }
}

static void put_server_extensions12(struct coili_writer *w,
                                    const struct coili_tls_server_hello *hello)
{
    static const unsigned char uncompressed[] = { 0 };
    if (hello->has_name)
        put_empty_extension(w, COILI_EXT_SERVER_NAME);
    if (hello->has_renegotiation_info)
        coili_put_vector_extension(w, COILI_EXT_RENEGOTIATION_INFO, 1,
                                   (struct coili_bytes){ NULL, 0 });
    if (hello->has_point_formats)
        coili_put_vector_extension(w, COILI_EXT_EC_POINT_FORMATS, 1,
                                   (struct coili_bytes){ uncompressed, 1 });
    if (hello->has_ticket)
        put_empty_extension(w, COILI_EXT_SESSION_TICKET);
    if (hello->alpn.len > 0)
        put_chosen_alpn(w, hello->alpn);
    if (hello->has_ems)
        put_empty_extension(w, COILI_EXT_EXTENDED_MASTER_SECRET);
}

void coili_tls_write_server_hello(struct coili_writer *w,
                                  const struct coili_tls_server_hello *hello)
{
    size_t message = coili_put_message(w, COILI_TLS_SERVER_HELLO);
    coili_put_u16(w, COILI_TLS12);
    coili_put_raw(w, hello->is_retry ? retry_random : hello->random,
              COILI_TLS_RANDOM_BYTES);
    coili_put_vector(w, 1, hello->session_id);
    coili_put_u16(w, hello->suite);
    coili_put_u8(w, 0);
    size_t list = coili_put_begin(w, 2);
    if (hello->version == COILI_TLS13)
        put_server_extensions13(w, hello);
    else
        put_server_extensions12(w, hello);
    coili_put_end(w, 2, list);
    coili_put_message_end(w, message);
}

/* ---- EncryptedExtensions ---------------------------------------------- */

static int
read_encrypted_extension(unsigned type, struct coili_bytes data,
                         const struct coili_tls_offer *offer,
                         struct coili_tls_encrypted_extensions *extensions)
{
    int alert;
    switch (type) {
    case COILI_EXT_SERVER_NAME:
        return read_empty_name(data, offer, &extensions->has_name);
    case COILI_EXT_SUPPORTED_GROUPS: /* what the server would like to see */
        return 0;
    case COILI_EXT_ALPN:
        alert = read_chosen_alpn(data, offer, &extensions->alpn);
        if (alert)
            extensions->why = "the server picks a protocol (ALPN) that was not "
                              "offered";
        return alert;
    default:
        return coili_extension_alert(type);
    }
}

int coili_tls_read_encrypted_extensions(
    struct coili_bytes body, const struct coili_tls_offer *offer,
    struct coili_tls_encrypted_extensions *extensions)
{
    struct coili_bytes list, data;
    unsigned type;
    *extensions = (struct coili_tls_encrypted_extensions){ .has_name = false };
    if (!coili_take_only(&body, 2, &list))
        return COILI_ALERT_DECODE_ERROR;
    int alert = coili_extensions_check(list);
    while (!alert && coili_take_extension(&list, &type, &data))
        alert = read_encrypted_extension(type, data, offer, extensions);
    if (alert)
        *extensions = (struct coili_tls_encrypted_extensions){
            .why = extensions->why
        };
    return alert;
}

void coili_tls_write_encrypted_extensions(
    struct coili_writer *w,
    const struct coili_tls_encrypted_extensions *extensions)
{
    size_t message = coili_put_message(w, COILI_TLS_ENCRYPTED_EXTENSIONS);
    size_t list = coili_put_begin(w, 2);
    if (extensions->has_name)
        put_empty_extension(w, COILI_EXT_SERVER_NAME);
    if (extensions->alpn.len > 0)
        put_chosen_alpn(w, extensions->alpn);
    coili_put_end(w, 2, list);
    coili_put_message_end(w, message);
}

/* ---- ClientHello, as a server reads it -------------------------------- */

/* The host name; other kinds of names are passed over. RFC 6066, 3. */
static int read_name(struct coili_bytes data,
                     struct coili_tls_client_hello *hello)
{
    struct coili_bytes list, name;
    unsigned kind;
    bool found = false;
    if (!coili_take_only(&data, 2, &list) || list.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    while (list.len > 0) {
        if (!coili_take_u8(&list, &kind) || !coili_take_vector16(&list, &name))
            return COILI_ALERT_DECODE_ERROR;
        if (kind != 0)
            continue;
        if (name.len == 0)
            return COILI_ALERT_DECODE_ERROR;
        if (found || name.len > 255 || memchr(name.at, 0, name.len))
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the client asks for two names, or for none that can "
                        "be");
        hello->name = name;
        found = true;
    }
    return 0;
}

/* The form of a list of protocols. */
static int read_offered_alpn(struct coili_bytes data, struct coili_bytes *alpn)
{
    struct coili_bytes list, names, name;
    if (!coili_take_only(&data, 2, &list) || list.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    for (names = list; names.len > 0;)
        if (!coili_take_vector8(&names, &name) || name.len == 0)
            return COILI_ALERT_DECODE_ERROR;
    *alpn = list;
    return 0;
}

static bool take_share(struct coili_bytes *shares, unsigned *group,
                       struct coili_bytes *share)
{
    return coili_take_u16(shares, group) && coili_take_vector16(shares, share);
}

/* The form of the shares. That none of our groups comes twice is seen later. */
static int read_shares(struct coili_bytes data, struct coili_bytes *shares)
{
    struct coili_bytes list, rest, share;
    unsigned group;
    if (!coili_take_only(&data, 2, &list))
        return COILI_ALERT_DECODE_ERROR;
    for (rest = list; rest.len > 0;)
        if (!take_share(&rest, &group, &share) || share.len == 0)
            return COILI_ALERT_DECODE_ERROR;
    *shares = list;
    return 0;
}

/* Identities, and as many binders. */
static int read_psks(struct coili_bytes data,
                     struct coili_tls_client_hello *hello)
{
    struct coili_bytes psks, binders, rest, one;
    uint32_t age;
    size_t binders_n = 0;
    if (!coili_take_vector16(&data, &psks) || psks.len == 0 ||
        !coili_take_only(&data, 2, &binders) || binders.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    for (rest = psks; rest.len > 0; hello->psks_n++)
        if (!coili_take_vector16(&rest, &one) || one.len == 0 ||
            !coili_take_u32(&rest, &age))
            return COILI_ALERT_DECODE_ERROR;
    for (rest = binders; rest.len > 0; binders_n++)
        if (!coili_take_vector8(&rest, &one) || one.len < 32)
            return COILI_ALERT_DECODE_ERROR;
    if (binders_n != hello->psks_n)
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the client's tickets and binders are not as many");
    hello->psks = psks;
    hello->binders = binders;
    return 0;
}

/* What the 1.2 extensions with lists of single bytes say. */
static int read_bytes_extension(unsigned type, struct coili_bytes data,
                                struct coili_tls_client_hello *hello,
                                bool *has_uncompressed)
{
    struct coili_bytes list;
    if (!coili_take_only(&data, 1, &list))
        return COILI_ALERT_DECODE_ERROR;
    if (type == COILI_EXT_RENEGOTIATION_INFO) {
        hello->has_renegotiation_info = true;
        return list.len == 0 ? 0
                             : FAIL(hello, HANDSHAKE_FAILURE,
                                    "the client takes this for a "
                                    "renegotiation");
    }
    if (list.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    if (type == COILI_EXT_EC_POINT_FORMATS) {
        hello->has_point_formats = true;
        *has_uncompressed = memchr(list.at, 0, list.len) != NULL;
    } else {
        hello->psk_with_dhe = memchr(list.at, 1, list.len) != NULL;
    }
    return 0;
}

/* What of the hello is needed only until it is judged. */
struct offered {
    struct coili_bytes versions, compressions;
    bool has_shares, has_modes, has_uncompressed;
};

static int read_client_extension(unsigned type, struct coili_bytes data,
                                 struct coili_tls_client_hello *hello,
                                 struct offered *offered)
{
    struct coili_bytes ignored;
    bool ok = true;
    switch (type) {
    case COILI_EXT_SERVER_NAME:
        return read_name(data, hello);
    case COILI_EXT_SUPPORTED_GROUPS:
        ok = coili_take_only_list(&data, 2, &hello->groups);
        break;
    case COILI_EXT_SIGNATURE_ALGORITHMS:
        ok = coili_take_only_list(&data, 2, &hello->schemes);
        break;
    case COILI_EXT_SIGNATURE_ALGORITHMS_CERT:
        ok = coili_take_only_list(&data, 2, &hello->schemes_cert);
        break;
    case COILI_EXT_SUPPORTED_VERSIONS:
        ok = coili_take_only_list(&data, 1, &offered->versions);
        break;
    case COILI_EXT_ALPN:
        return read_offered_alpn(data, &hello->alpn);
    case COILI_EXT_PSK_KEY_EXCHANGE_MODES:
        offered->has_modes = true;
        return read_bytes_extension(type, data, hello, NULL);
    case COILI_EXT_EC_POINT_FORMATS:
    case COILI_EXT_RENEGOTIATION_INFO:
        return read_bytes_extension(type, data, hello,
                                    &offered->has_uncompressed);
    case COILI_EXT_EXTENDED_MASTER_SECRET:
        hello->has_ems = true;
        ok = data.len == 0;
        break;
    case COILI_EXT_SESSION_TICKET:
        hello->has_ticket = true;
        hello->ticket = data;
        break;
    case COILI_EXT_EARLY_DATA:
        hello->has_early_data = true;
        ok = data.len == 0;
        break;
    case COILI_EXT_COOKIE: /* we send none, so it means nothing to us */
        ok = coili_take_only(&data, 2, &ignored) && ignored.len > 0;
        break;
    case COILI_EXT_KEY_SHARE:
        offered->has_shares = true;
        return read_shares(data, &hello->shares);
    case COILI_EXT_PRE_SHARED_KEY:
        return read_psks(data, hello);
    default:
        break;
    }
    return ok ? 0 : COILI_ALERT_DECODE_ERROR;
}

/*
 * The highest common version. supported_versions decides alone if it is there;
 * else the version in front is the client's highest.
 */
static int choose_client_version(unsigned legacy, const struct offered *offered,
                                 unsigned version_min, unsigned version_max,
                                 struct coili_tls_client_hello *hello)
{
    bool has12 = legacy >= COILI_TLS12, has13 = false;
    if (offered->versions.len > 0) {
        has12 = coili_list_has(offered->versions, COILI_TLS12);
        has13 = coili_list_has(offered->versions, COILI_TLS13);
    }
    /* SSL 3.0 is refused whatever stands beside it (RFC 8446, D.5), and 2.0. */
    if (legacy <= 0x0300)
        return COILI_ALERT_PROTOCOL_VERSION;
    if (has13 && version_max >= COILI_TLS13)
        hello->version = COILI_TLS13;
    else if (has12 && version_min <= COILI_TLS12)
        hello->version = COILI_TLS12;
    else
        return COILI_ALERT_PROTOCOL_VERSION;
    /* RFC 7507: a second attempt of a client that failed with a higher one. */
    if (hello->version < version_max &&
        coili_list_has(hello->suites, COILI_SUITE_FALLBACK))
        return COILI_ALERT_INAPPROPRIATE_FALLBACK;
    return 0;
}

/* None of our groups has two shares, or one without being in the list. */
static int judge_shares(struct coili_tls_client_hello *hello)
{
    struct coili_bytes rest = hello->shares, share;
    unsigned group, seen = 0;
    while (take_share(&rest, &group, &share)) {
        if (!coili_tls_has_group(group))
            continue;
        if (seen & 1u << group || !coili_list_has(hello->groups, group))
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the client has two key shares of a group, or one of a "
                        "group that it does not offer");
        seen |= 1u << group;
    }
    return 0;
}

/* The rules of 1.3 for a whole ClientHello (RFC 8446, 9.2). */
static int judge_client_hello13(struct coili_tls_client_hello *hello,
                                const struct offered *offered)
{
    if (!coili_bytes_are(offered->compressions, "\0", 1))
        return FAIL(hello, ILLEGAL_PARAMETER, "the client wants to compress");
    if (hello->groups.len == 0 || !offered->has_shares ||
        (hello->psks_n == 0 && hello->schemes.len == 0))
        return FAIL(hello, MISSING_EXTENSION,
                    "the client names no groups, key shares or signature "
                    "schemes");
    if (hello->psks_n > 0 && !offered->has_modes)
        return FAIL(hello, MISSING_EXTENSION,
                    "the client does not say how its tickets are used");
    return judge_shares(hello);
}

static int judge_client_hello12(struct coili_tls_client_hello *hello,
                                const struct offered *offered)
{
    if (!memchr(offered->compressions.at, 0, offered->compressions.len))
        return FAIL(hello, ILLEGAL_PARAMETER, "the client must compress");
    if (hello->has_point_formats && !offered->has_uncompressed)
        return FAIL(hello, ILLEGAL_PARAMETER,
                    "the client does without uncompressed points");
    if (coili_list_has(hello->suites, COILI_SUITE_EMPTY_RENEGOTIATION_INFO))
        hello->has_renegotiation_info = true;
    return 0;
}

/* What stands in front of the extensions, and is in every hello. */
static bool take_client_head(struct coili_bytes *body, unsigned *legacy,
                             struct coili_tls_client_hello *hello,
                             struct coili_bytes *compressions)
{
    struct coili_bytes random;
    if (!coili_take_u16(body, legacy) ||
        !coili_take_bytes(body, COILI_TLS_RANDOM_BYTES, &random) ||
        !coili_take_vector8(body, &hello->session_id) ||
        hello->session_id.len > COILI_TLS_SESSION_ID_BYTES_MAX ||
        !coili_take_vector16(body, &hello->suites) || hello->suites.len == 0 ||
        hello->suites.len % 2 || !coili_take_vector8(body, compressions) ||
        compressions->len == 0)
        return false;
    hello->random = random.at;
    return true;
}

static int read_client_hello(struct coili_bytes body, unsigned version_min,
                             unsigned version_max,
                             struct coili_tls_client_hello *hello)
{
    struct offered offered = { .has_shares = false };
    struct coili_bytes whole = body, rest, data;
    unsigned legacy, type;
    if (!take_client_head(&body, &legacy, hello, &offered.compressions) ||
        (body.len > 0 && !coili_take_only(&body, 2, &hello->extensions)))
        return COILI_ALERT_DECODE_ERROR;
    int alert = coili_extensions_check(hello->extensions);
    if (alert)
        return alert;
    rest = hello->extensions;
    while (coili_take_extension(&rest, &type, &data)) {
        alert = read_client_extension(type, data, hello, &offered);
        if (alert)
            return alert;
        if (type == COILI_EXT_PRE_SHARED_KEY && rest.len > 0)
            return FAIL(hello, ILLEGAL_PARAMETER,
                        "the client's tickets do not stand last");
    }
    /* The list of binders is the last of the body. */
    if (hello->psks_n > 0)
        hello->binders_at = whole.len - hello->binders.len - 2;
    alert = choose_client_version(legacy, &offered, version_min, version_max,
                                  hello);
    if (alert)
        return alert;
    return hello->version == COILI_TLS13
               ? judge_client_hello13(hello, &offered)
               : judge_client_hello12(hello, &offered);
}

int coili_tls_read_client_hello(struct coili_bytes body, unsigned version_min,
                                unsigned version_max,
                                struct coili_tls_client_hello *hello)
{
    *hello = (struct coili_tls_client_hello){ 0 };
    int alert = read_client_hello(body, version_min, version_max, hello);
    if (alert)
        *hello = (struct coili_tls_client_hello){ .why = hello->why };
    return alert;
}

bool coili_tls_find_share(const struct coili_tls_client_hello *hello,
                          unsigned group, struct coili_bytes *share)
{
    struct coili_bytes rest = hello->shares, one;
    unsigned found;
    while (take_share(&rest, &found, &one))
        if (found == group) {
            *share = one;
            return true;
        }
    return false;
}

bool coili_tls_take_psk(struct coili_bytes *psks, struct coili_bytes *binders,
                        struct coili_tls_psk *psk)
{
    return coili_take_vector16(psks, &psk->identity) &&
           coili_take_u32(psks, &psk->age) &&
           coili_take_vector8(binders, &psk->binder);
}

/* ---- The second ClientHello ------------------------------------------- */

static bool may_change(unsigned type)
{
    return type == COILI_EXT_KEY_SHARE || type == COILI_EXT_PRE_SHARED_KEY ||
           type == COILI_EXT_COOKIE || type == COILI_EXT_PADDING ||
           type == COILI_EXT_EARLY_DATA;
}

/* The next extension that may not change; false at the end. */
static bool take_fixed(struct coili_bytes *list, unsigned *type,
                       struct coili_bytes *data)
{
    while (coili_take_extension(list, type, data))
        if (!may_change(*type))
            return true;
    return false;
}

/* True if the two lists are the same but for what may differ. */
static bool same_extensions(struct coili_bytes first, struct coili_bytes second)
{
    for (;;) {
        struct coili_bytes a = { NULL, 0 }, b = a;
        unsigned type_a = 0, type_b = 0;
        bool more = take_fixed(&first, &type_a, &a);
        if (more != take_fixed(&second, &type_b, &b))
            return false;
        if (!more)
            return true;
        if (type_a != type_b || !coili_bytes_equal(a, b))
            return false;
    }
}

/* The extensions of a hello, and all before them. */
static bool split(struct coili_bytes body, struct coili_bytes *head,
                  struct coili_tls_client_hello *hello, bool *has_early_data)
{
    struct coili_bytes whole = body, compressions, rest, data, list;
    unsigned legacy, type;
    hello->extensions = hello->shares = (struct coili_bytes){ NULL, 0 };
    if (!take_client_head(&body, &legacy, hello, &compressions))
        return false;
    *head = (struct coili_bytes){ whole.at, whole.len - body.len };
    if (body.len > 0 && !coili_take_only(&body, 2, &hello->extensions))
        return false;
    *has_early_data = false;
    for (rest = hello->extensions; coili_take_extension(&rest, &type, &data);) {
        if (type == COILI_EXT_EARLY_DATA)
            *has_early_data = true;
        if (type == COILI_EXT_KEY_SHARE && coili_take_only(&data, 2, &list))
            hello->shares = list;
    }
    return rest.len == 0;
}

int coili_tls_compare_client_hellos(struct coili_bytes first_body,
                                    struct coili_bytes second_body,
                                    unsigned group, const char **why)
{
    struct coili_tls_client_hello first, second;
    struct coili_bytes head1, head2, share;
    bool early1, early2;
    unsigned found;
    *why = "the client's second hello is not like its first";
    if (!split(first_body, &head1, &first, &early1) ||
        !split(second_body, &head2, &second, &early2) || early2 ||
        !coili_bytes_equal(head1, head2) ||
        !same_extensions(first.extensions, second.extensions))
        return COILI_ALERT_ILLEGAL_PARAMETER;
    if (!take_share(&second.shares, &found, &share) || found != group ||
        second.shares.len > 0) {
        *why = "the client does not send the key share that was asked for";
        return COILI_ALERT_ILLEGAL_PARAMETER;
    }
    *why = NULL;
    return 0;
}
