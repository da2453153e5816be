// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_HELLO_H
#define COILI_TLS_HELLO_H

/*
 * hello.h: ClientHello, ServerHello, HelloRetryRequest, EncryptedExtensions:
 * the messages in which the two ends agree, of TLS 1.3 and 1.2.
 *
 * A reader gets the body of one whole message: what stands behind the 4 bytes
 * of its head. The result is 0, or the alert to be sent (never 0, as that is
 * close_notify): decode_error for what is no such message, illegal_parameter for
 * what the standard forbids or was not offered, and so on. After an alert the
 * struct has nothing but `why`: what is wrong, for a sentence to a person; NULL
 * if the alert's own name says enough. All views of the struct go into the
 * body.
 *
 * A writer appends the whole message, its head included. It is given the struct
 * that a reader gives (for the ClientHello: the offer), and writes what is set.
 */

#include "protocol.h"
#include "wire.h"

/* ---- What a client offers --------------------------------------------- */

/*
 * All that our ClientHello says: it is written from this, and what the server
 * answers is read against it. The owner of a handshake keeps it up to date: a
 * HelloRetryRequest changes the fields that say so.
 */
struct coili_tls_offer {
    unsigned version_min, version_max; /* COILI_TLS12, COILI_TLS13 */
    bool aes_is_slow;  /* ChaCha20 stands first in each version */
    bool ems_required; /* refuse TLS 1.2 without extended master secret */
    const unsigned char *random;   /* 32 bytes */
    struct coili_bytes session_id; /* 32 random bytes, or none */
    struct coili_bytes name;       /* server_name: not for an address, and
                                        without a final dot; empty: none */
    struct coili_bytes alpn;       /* as in setup.h: a length byte before each
                                        name; empty: none */
    unsigned share_group;          /* the one group of key_share, */
    struct coili_bytes share;      /* and the public key; 1.3 alone */

    /* After a HelloRetryRequest, with a new share if it named a group: */
    unsigned retry_suite;      /* its suite; 0: there was none */
    struct coili_bytes cookie; /* its cookie; empty: none */

    /*
     * A ticket of 1.3: the identity of pre_shared_key, its age with age_add, and
     * the suite of its session. The writer leaves room for the binder, whose
     * length is that of the suite's hash. Empty: none.
     */
    struct coili_bytes psk;
    uint32_t psk_age;
    unsigned psk_suite;

    /* Or a ticket of 1.2, and the suite of its session. Empty: none. */
    struct coili_bytes ticket;
    unsigned ticket_suite;
};

/*
 * Write the ClientHello. With a PSK its binder, the last bytes of the message,
 * is zeros: the hash that it is made from covers the message without the
 * coili_tls_binders_bytes() at its end.
 */
void coili_tls_write_client_hello(struct coili_writer *w,
                                  const struct coili_tls_offer *offer);

/* Bytes of a hash: of the suite's, for the transcript, PSK, binder, Finished. */
static inline size_t coili_suite_hash_bytes(unsigned suite)
{
    return suite == COILI_SUITE_AES_256_GCM ||
                   suite == COILI_SUITE_ECDSA_AES_256_GCM ||
                   suite == COILI_SUITE_RSA_AES_256_GCM
               ? 48
               : 32;
}

/* Bytes of the list of binders that our ClientHello with a PSK ends with. */
static inline size_t
coili_tls_binders_bytes(const struct coili_tls_offer *offer)
{
    return 2 + 1 + coili_suite_hash_bytes(offer->psk_suite);
}

/* True if an offer of these versions has the suite, and it is of `version`. */
bool coili_tls_offers_suite(const struct coili_tls_offer *offer,
                            unsigned version, unsigned suite);

/* True for the groups that we offer and have: X25519, P-256, P-384. */
static inline bool coili_tls_has_group(unsigned group)
{
    return group == COILI_GROUP_X25519 || group == COILI_GROUP_P256 ||
           group == COILI_GROUP_P384;
}

/*
 * Check the form of a public key of one of our groups: its length, and 04 in
 * front of a point of a curve. Not that it lies on the curve, nor its order.
 */
bool coili_tls_is_share(unsigned group, struct coili_bytes share);

/*
 * The schemes that we verify, as the list of signature_algorithms, and those of
 * signature_algorithms_cert. The first is for ServerKeyExchange and
 * CertificateVerify of 1.2; 1.3 has no PKCS#1 there.
 */
extern const struct coili_bytes coili_tls_schemes12, coili_tls_schemes13,
    coili_tls_schemes_cert;

/* ---- ServerHello, HelloRetryRequest ----------------------------------- */

struct coili_tls_server_hello {
    unsigned version; /* COILI_TLS12 or COILI_TLS13 */
    bool is_retry;    /* a HelloRetryRequest: 1.3 */
    const unsigned char
        *random; /* 32 bytes; written as it must be in a retry */
    struct coili_bytes session_id;
    unsigned suite;

    /* 1.3. In a retry `share` is empty, and `group` may be 0. */
    unsigned group;
    struct coili_bytes share;
    struct coili_bytes cookie; /* of a retry; empty: none */
    bool psk_is_taken;         /* a reader accepts only psk 0, our one */
    unsigned psk;              /* which one */

    /* 1.2 */
    bool is_resumed; /* the session id is ours, and we sent a ticket */
    bool has_ems;    /* extended master secret */
    bool has_ticket; /* a NewSessionTicket will come */
    bool has_renegotiation_info; /* a reader accepts no hello without */
    bool has_name;               /* server_name, empty */
    bool has_point_formats;
    struct coili_bytes alpn; /* the name of the protocol; empty: none */

    bool is_downgrade; /* with alert 47: the random says that the server has
                          1.3, so somebody between prevents it */
    const char *why;
};

/*
 * Read one in a client. All is checked that does not need cryptography: the
 * suite, group and versions were offered, the session id is echoed, a retry
 * changes something and comes once, a share has the right form, 1.2 has the
 * empty renegotiation_info and resumes only what was offered.
 *
 * For retry_suite != 0 the hello is that behind a retry: another suite, or 1.2,
 * is 47, and a second retry 10.
 */
int coili_tls_read_server_hello(struct coili_bytes body,
                                const struct coili_tls_offer *offer,
                                struct coili_tls_server_hello *hello);

/*
 * Write one. In 1.3 key_share is written if `group` is not 0, without a public
 * key in a retry. For 1.2 is_resumed means nothing: the session id is as given.
 */
void coili_tls_write_server_hello(struct coili_writer *w,
                                  const struct coili_tls_server_hello *hello);

/* ---- EncryptedExtensions ---------------------------------------------- */

struct coili_tls_encrypted_extensions {
    struct coili_bytes alpn; /* the name of the protocol; empty: none */
    bool has_name;           /* server_name, empty */
    const char *why;
};

int coili_tls_read_encrypted_extensions(
    struct coili_bytes body, const struct coili_tls_offer *offer,
    struct coili_tls_encrypted_extensions *extensions);

void coili_tls_write_encrypted_extensions(
    struct coili_writer *w,
    const struct coili_tls_encrypted_extensions *extensions);

/* ---- ClientHello, as a server reads it -------------------------------- */

struct coili_tls_client_hello {
    /* The version that the server goes on with: COILI_TLS12 or COILI_TLS13. */
    unsigned version;
    const unsigned char *random; /* 32 bytes */
    struct coili_bytes session_id;
    struct coili_bytes suites; /* a list for coili_list_has(), as those below */
    struct coili_bytes
        extensions; /* all, checked; for coili_take_extension() */

    /* Lists; empty: the extension is not there. */
    struct coili_bytes groups;
    struct coili_bytes schemes;
    struct coili_bytes schemes_cert;
    struct coili_bytes
        name; /* of server_name: 1 to 255 bytes, none of them 0 */
    struct coili_bytes alpn; /* a length byte before each name */

    /* 1.3. It has groups and shares, and schemes unless there are PSKs. */
    struct coili_bytes shares; /* see coili_tls_find_share(); may be empty */
    bool has_early_data;
    bool psk_with_dhe; /* psk_key_exchange_modes has psk_dhe_ke */
    size_t psks_n;     /* identities, and as many binders */
    struct coili_bytes psks, binders; /* see coili_tls_take_psk() */
    size_t binders_at; /* where the list of binders begins in the body, with its
                          length: the hash that a binder is made from covers the
                          message up to there */

    /* 1.2 */
    bool has_ems;
    bool has_renegotiation_info; /* or 00ff among the suites */
    bool has_point_formats;
    bool has_ticket;           /* session_ticket */
    struct coili_bytes ticket; /* empty: the client asks for one */

    const char *why;
};

/*
 * Read one in a server that speaks the versions from `version_min` to
 * `version_max`. What the server does not know is passed over in each list. Of
 * what it knows all must be well-formed, whatever the version.
 *
 * Besides 47 and 50 the alerts are 70 (no common version), 86 (5600 among the
 * suites, and the server has a higher version), 109, and 40 (renegotiation_info
 * that is not empty).
 */
int coili_tls_read_client_hello(struct coili_bytes body, unsigned version_min,
                                unsigned version_max,
                                struct coili_tls_client_hello *hello);

/* The share of a group. Result: false: none was sent. */
bool coili_tls_find_share(const struct coili_tls_client_hello *hello,
                          unsigned group, struct coili_bytes *share);

/* True if the client's ALPN has this name. */
bool coili_tls_alpn_has(struct coili_bytes alpn, struct coili_bytes name);

struct coili_tls_psk {
    struct coili_bytes identity; /* a ticket; at least 1 byte */
    uint32_t age;                /* obfuscated */
    struct coili_bytes binder;   /* 32 to 255 bytes */
};

/*
 * Take the next PSK off the copies that the caller has of hello->psks and
 * hello->binders. Result: false: that was all.
 */
bool coili_tls_take_psk(struct coili_bytes *psks, struct coili_bytes *binders,
                        struct coili_tls_psk *psk);

/*
 * Is `second`, the hello behind a HelloRetryRequest for `group`, the first one
 * but for what may differ (RFC 8446, 4.1.2): key_share, which has one share, of
 * the group; pre_shared_key; early_data, which must be gone; cookie and padding?
 * Both were read without an alert, and their bodies are still there.
 *
 * Result    0, or 47 and `why`
 */
int coili_tls_compare_client_hellos(struct coili_bytes first_body,
                                    struct coili_bytes second_body,
                                    unsigned group, const char **why);

#endif
