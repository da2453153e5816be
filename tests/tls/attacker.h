// SPDX-License-Identifier: MIT
#ifndef ATTACKER_H
#define ATTACKER_H

/*
 * attacker.h: a TLS peer that does what it is told, and not what is right.
 *
 *     static const struct att_edit edits[] = {
 *         { ATT_SERVER_HELLO, ATT_SPLICE, .at = ATT_AT_SUITE, .cut = 2,
 *           .bytes = "\x13\x04", .len = 2 },
 *     };
 *     struct att_script script = { .version = 0x0304, .edits = edits,
 *                                  .edits_n = 1 };
 *
 * It is a client or a server, of TLS 1.3 or 1.2, and is built on libcrypto: it
 * shares no code with coil, and none with libssl. It has no socket: what it
 * sends is bytes in memory, and it is given what the other end sends.
 *
 * A script without edits is an honest peer. Its flights are a list of steps, one
 * for each message. An edit changes a step: the bytes of its message, whether it
 * is sent and where, or how it is put into records. All that depends on a change
 * is made again, so that nothing else is wrong: lengths, transcript, Finished,
 * encryption. An edit with .when says otherwise.
 *
 * It reads what the other end sends as a strict peer would. What it finds wrong
 * there is in att_complaint(): of an honest script it must be NULL.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a step sends: the type of a handshake message, or one of these. */
enum att_what {
    ATT_HELLO_REQUEST = 0,
    ATT_CLIENT_HELLO = 1,
    ATT_SERVER_HELLO = 2,
    ATT_TICKET = 4,
    ATT_END_OF_EARLY_DATA = 5,
    ATT_ENCRYPTED_EXTENSIONS = 8,
    ATT_CERTIFICATE = 11,
    ATT_SERVER_KEY_EXCHANGE = 12,
    ATT_CERTIFICATE_REQUEST = 13,
    ATT_SERVER_HELLO_DONE = 14,
    ATT_CERTIFICATE_VERIFY = 15,
    ATT_CLIENT_KEY_EXCHANGE = 16,
    ATT_FINISHED = 20,
    ATT_CERTIFICATE_STATUS = 22,
    ATT_KEY_UPDATE = 24,

    /* Records with `bytes` in them, or with something that is usual. */
    ATT_CCS = 0x114,
    ATT_ALERT,
    ATT_FRAGMENT, /* of a handshake message; no part of the transcript */
    ATT_DATA,

    ATT_HELLO_RETRY = 0x200, /* a ServerHello */
    ATT_SECOND_HELLO,        /* a ClientHello */
    ATT_FLUSH, /* the other end is given all that was sent, and answers */
    ATT_END    /* as the place of a new step: behind the last one */
};

enum att_op {
    ATT_NO_OP,

    /* The bytes of the message, without its head of 4. */
    ATT_SPLICE,    /* at `at` take `cut` bytes out, and put `bytes` in */
    ATT_ADD,       /* `cut` to the number of 3 bytes at `at` */
    ATT_XOR,       /* the byte at `at`, with `cut` */
    ATT_EXT_PUT,   /* the extension `at` has `bytes`; it is added if missing */
    ATT_EXT_DROP,  /* without the extension `at` */
    ATT_EXT_TWICE, /* the extension `at` stands there twice */
    ATT_EXT_LAST,  /* the extension `at` stands behind the others */
    ATT_LENGTH,    /* add `at` to the length in its head */

    /* The steps. */
    ATT_DROP,   /* it is not sent */
    ATT_TWICE,  /* it is sent again, the same bytes */
    ATT_BEFORE, /* before it a step `at` is sent, with `bytes` if not NULL */
    ATT_AFTER,  /* behind it */
    ATT_REPEAT, /* behind it `cut` steps `at` are sent, with `bytes` */
    ATT_CUT,    /* neither it nor anything behind it is sent */

    /* The records. */
    ATT_JOIN,   /* in the record of the message before it */
    ATT_CHUNKS, /* in records of `at` bytes */
    ATT_SPLIT,  /* in two records, the first one of `at` bytes */
    ATT_PLAIN,  /* not encrypted */
    ATT_TAIL,   /* `bytes` stand behind it in its record */
    ATT_PAD,    /* `at` zeros behind the type; TLS 1.3 */
    ATT_INNER,  /* type `at` inside the encryption */
    ATT_OUTER,  /* type `at` in the record's head */
    ATT_FLIP,   /* the byte `at` of its sealed records, with `cut` */
    ATT_REPLAY, /* its sealed records are sent again */
    ATT_HEAD    /* add `at` to the length in the last record's head */
};

/* At which moment an edit of bytes is made. */
enum att_when {
    ATT_SENT,   /* before the message is part of the transcript */
    ATT_SIGNED, /* before the message's own signature or binder is made */
    ATT_LIE     /* when the transcript has the message as it was */
};

/* Places for `at`: fields of hellos, and the end. Below 0: from the end. */
enum {
    ATT_AT_VERSION = 0x10000,
    ATT_AT_RANDOM,
    ATT_AT_SESSION, /* the byte with its length */
    ATT_AT_SUITE,
    ATT_AT_COMPRESSION,
    ATT_AT_EXTENSIONS, /* the length of all */
    ATT_AT_END
};

struct att_edit {
    int on; /* an enum att_what */
    enum att_op op;
    int at, cut;
    const void *bytes;
    size_t len;
    enum att_when when;
};

enum att_key { ATT_P256, ATT_P384, ATT_RSA };

enum att_share {
    ATT_SHARE_GOOD,
    ATT_SHARE_ZEROS,     /* of an X25519 share: the secret is zeros, too */
    ATT_SHARE_SHORT,     /* a byte is missing */
    ATT_SHARE_OFF_CURVE, /* the last byte is changed */
    ATT_SHARE_FORM_02,   /* begins with 02 */
    ATT_SHARE_NONE       /* a client: no shares at all */
};

enum att_signature {
    ATT_SIGN_GOOD,
    ATT_SIGN_OTHER_TRANSCRIPT,
    ATT_SIGN_OTHER_ROLE, /* the context string of the other end */
    ATT_SIGN_SALT_20,
    ATT_SIGN_SHORT, /* its first byte is missing */
    ATT_SIGN_ALIEN, /* by another key of that kind */
    ATT_SIGN_BIT    /* one bit is changed */
};

/* A session that a connection has left, to be resumed by the next one. */
struct att_session {
    uint16_t version, suite;
    unsigned char secret[48]; /* the PSK, or the master secret */
    size_t secret_len;
    unsigned char ticket[2048];
    size_t ticket_len;
    uint32_t lifetime, age_add;
};

/* What is zero is what an honest peer would do. */
struct att_script {
    bool is_client;
    uint16_t version; /* 0x0304, 0x0303 */
    uint16_t suite;   /* 0: 0x1301; in 1.2 0xc02b or 0xc02f */
    uint16_t group;   /* 0: 29 */
    uint16_t retry;   /* server: a HelloRetryRequest for this group; client,
                            not 0: the first hello has no share */
    bool cookie;      /* server: the HelloRetryRequest has a cookie */
    enum att_key key; /* of the own certificate */
    uint16_t scheme;  /* of the own signature; 0: what suits the key */
    bool asks;        /* server: sends a CertificateRequest */
    bool presents;    /* client: has a certificate, and sends it if asked */
    bool no_ems;      /* 1.2: no extended master secret */
    bool no_sni;      /* client */
    const char *sni;  /* client; NULL: a.test */
    const char *alpn; /* server: chooses it; client: offers it */
    bool ticket;      /* server 1.2: announces and sends one; client: offers
                            an empty one */
    bool scsv;        /* client: 5600 among the suites */
    enum att_share share;
    enum att_signature signature;
    bool echoes;            /* server 1.2: the session id of the hello */
    unsigned char sentinel; /* 1, 2: the random says "no 1.3", or "no 1.2" */
    const struct att_session *resumes; /* the client offers it, and the server
                                          takes it */
    bool declines;                     /* server: but it does not take it */

    size_t chunk; /* handshake messages in records of so many bytes */
    bool one;     /* messages that follow each other share a record */
    int split_on; /* with split_at > 0: this message in two records */
    size_t split_at;

    /* Stop before the step `stop_at`, and send this one message instead. */
    bool stops;
    size_t stop_at;
    int then; /* an enum att_what */
    const void *then_bytes;
    size_t then_len;

    const struct att_edit *edits;
    size_t edits_n;
};

struct attacker;

struct attacker *att_new(const struct att_script *script);
void att_free(struct attacker *a);

/*
 * Make the bytes of the next flight: `bytes` and `len` until the next call.
 *
 * Result    false: there is none, the script is over
 */
bool att_next(struct attacker *a, const unsigned char **bytes, size_t *len);

/* What the other end has sent: whole records. */
void att_take(struct attacker *a, const unsigned char *bytes, size_t len);

/* Seal a record of the script's moment: for what goes on after the script. */
void att_say(struct attacker *a, int what, const void *bytes, size_t len,
             const unsigned char **out, size_t *out_len);

/* What the other end has sent so far. */
struct att_seen {
    int alerts;        /* how many */
    int level, alert;  /* of the last one; -1 */
    bool alert_sealed; /* it was encrypted */
    bool unreadable;   /* a record was, so perhaps an alert was missed */
    bool hello;        /* ClientHello or ServerHello */
    bool retry;        /* HelloRetryRequest */
    bool asked;        /* CertificateRequest */
    bool resumed;      /* the session was taken, by whichever end */
    bool certificate;  /* one that is not empty */
    bool finished;     /* and its value is right */
    int tickets;
    bool offers_ticket; /* session_ticket in its ClientHello */
    int key_updates;
    size_t data;                /* bytes of plaintext */
    unsigned char messages[64]; /* the types, in order */
    size_t messages_n;
    size_t records;
};
const struct att_seen *att_seen(struct attacker *a);

/* What is wrong with what the other end has sent; NULL: nothing. */
const char *att_complaint(const struct attacker *a);

/* The last ticket with its secret: after it was taken. False: none. */
bool att_session(const struct attacker *a, struct att_session *out);

/* The steps of a script, with its structural edits made. */
size_t att_steps(const struct attacker *a, int *what, size_t size);

/* How many bytes the message had that was sent last as `what`; 0: none. */
size_t att_sent_len(const struct attacker *a, int what);

/* Certificates of this process, as PEM texts, the key in the same text. */
const char *att_authority_pem(void);
const char *att_stranger_pem(void); /* an authority that signs nothing */
const char *att_server_pem(enum att_key key);
const char *att_client_pem(void);

#endif
